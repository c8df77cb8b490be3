"""The dense VAE: as a program, as a codec of two backends that write the same messages, and in its file."""

import copy
import math
import subprocess
import sys

import numpy as np
import pytest
import torch
from family_checks import (
    check_codes_and_learns,
    check_inputs_stay_within_the_bound,
    check_latents_cost_what_the_bound_says,
    check_presets_pop_few_bits,
)
from tiny_models import edited_codec_file, tensor, tensors_of

from bbcodec.codec.codec import LANES_PIXELS, PixelFormat
from bbcodec.codec.engine_backend import EngineBackend, runs_without_torch
from bbcodec.codec.file import load_codec, save_codec
from bbcodec.codec.torch_backend import TorchBackend
from bbcodec.engine.compiling import VARIABLE, available
from bbcodec.errors import BadCodecFile, DamagedArchive, InputError
from bbcodec.exact.layers import exact_layers
from bbcodec.model.interpreters import elbo
from bbcodec.models.families import PRESETS
from bbcodec.models.training.recipes import configure
from bbcodec.models.vae import FAMILY, Vae, preset
from bbcodec.models.vae_config import VaeConfig
from bbcodec.models.vae_engine import engine

HEIGHT, WIDTH = 9, 7
SIZES = {"height": HEIGHT, "width": WIDTH, "hidden": 20, "latents": 5}
CONFIGS = {
    "shallow": VaeConfig(**SIZES),
    "deep": VaeConfig(**{**SIZES, "hidden": 33}, layers=3, steps_per_unit=64),
    "coarse": VaeConfig(height=1, width=1, hidden=1, latents=1, steps_per_unit=1),
}


def tiny(c: VaeConfig, seed: int = 0) -> Vae:
    """An untrained model that began, with random biases."""
    torch.manual_seed(seed)
    model = Vae(c)
    model.initialise_from(tensor(pictures(c, 50, seed=99)))
    with torch.no_grad():
        for layer in exact_layers(model).values():
            layer.bias += 0.3 * torch.rand_like(layer.bias)
    return model.eval()


def pictures(c: VaeConfig, count: int, seed: int = 0) -> np.ndarray:
    """Strokes of two levels, (N, H, W, 1) uint8."""
    rng = np.random.default_rng(seed)
    i, j = np.mgrid[: c.height, : c.width]
    slope, start = rng.uniform(-1, 1, (count, 1, 1)), rng.uniform(0, c.height, (count, 1, 1))
    return (np.abs(i - start - slope * j) < 1.5).astype(np.uint8)[..., None]


def saved(model: Vae) -> bytes:
    return save_codec(copy.deepcopy(model), "vae", model.config, PixelFormat(1, 2), {})


@pytest.fixture(autouse=True, scope="module")
def _small_answers():
    """Codecs have whole answers: another process loads one."""


@pytest.fixture(scope="module")
def files():
    """Codec files of the tiny models."""
    return {name: saved(tiny(c)) for name, c in CONFIGS.items()}


@pytest.mark.parametrize("name", ["shallow", "deep"])
def test_it_codes_and_learns(name):
    model = tiny(CONFIGS[name])
    check_codes_and_learns(model, tensor(pictures(model.config, 40)), ["z", "x"])


def test_latents_cost_what_the_bound_says():
    model = tiny(CONFIGS["shallow"])
    check_latents_cost_what_the_bound_says(model, tensor(pictures(model.config, 300)))


@pytest.mark.parametrize("gain", [1.0, 30.0])
def test_inputs_stay_within_the_bound(gain):
    check_inputs_stay_within_the_bound(tiny(CONFIGS["deep"]), HEIGHT, WIDTH, gain)


def test_it_starts_at_the_mean_image():
    """Before the first step pixels cost their entropy, about."""
    c = CONFIGS["shallow"]
    images = pictures(c, 500)
    model = Vae(c)
    model.initialise_from(tensor(images))
    share = np.clip(images.mean(0), 1e-9, 1 - 1e-9)
    entropy = -(share * np.log(share) + (1 - share) * np.log(1 - share)).sum()
    with torch.no_grad():
        cost = -elbo(model, tensor(images), torch.Generator().manual_seed(0))["x"].mean().item()
    assert cost == pytest.approx(entropy, rel=0.1)


# --- two implementations ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize("kernels", available())
@pytest.mark.parametrize("name", CONFIGS)
def test_the_engine_writes_the_messages_of_torch(files, name, kernels, monkeypatch):
    """With every instruction set, fast path and safe one; each decodes what another wrote."""
    monkeypatch.setenv(VARIABLE, kernels)
    compiled, network = load_codec(files[name], "cpu"), load_codec(files[name], "cpu", engine=False)
    assert isinstance(compiled.backend, EngineBackend)
    assert isinstance(network.backend, TorchBackend)
    for count in (1, 3, 40):
        images = pictures(CONFIGS[name], count, seed=count)
        message = compiled.encode(images)
        for safe in (False, True):
            network.set_safe(safe)
            assert network.encode(images) == message
            assert np.array_equal(network.decode(message), images)
        assert np.array_equal(compiled.decode(message), images)


def test_large_messages_have_two_heads(files):
    images = pictures(CONFIGS["shallow"], -(-LANES_PIXELS // (HEIGHT * WIDTH)))
    codecs = [load_codec(files["shallow"], "cpu", engine=one) for one in (True, False)]
    for codec in codecs:
        assert codec.lanes(images.shape) == 2
        assert codec.lanes(images[1:].shape) == 1
    message = codecs[0].encode(images)
    assert codecs[1].encode(images) == message
    assert np.array_equal(codecs[1].decode(message), images)
    assert np.array_equal(codecs[0].decode(message), images)


def test_little_is_lost_beyond_the_account(files):
    """A message is as long as its images cost, and the initial bits of one image: five latents and two heads."""
    images = pictures(CONFIGS["shallow"], 3000)
    for codec in (load_codec(files["shallow"], "cpu", engine=one) for one in (True, False)):
        bits = np.zeros(len(images))
        message = codec.encode_message(images, bits)
        assert bits.sum() < 8 * len(message) < bits.sum() + 5 * math.log2(4.13 * 8) + 2 * 64 + 64


def test_coding_imports_no_torch(files, tmp_path):
    path = tmp_path / "my.bbc"
    path.write_bytes(files["shallow"])
    assert runs_without_torch(files["shallow"], "auto")
    code = (
        "import sys, numpy as np, bbcodec\n"
        f"codec, images = bbcodec.load_codec({str(path)!r}), np.zeros((5, {HEIGHT}, {WIDTH}, 1), np.uint8)\n"
        "assert np.array_equal(codec.decode(codec.encode(images)), images)\n"
        "assert 'torch' not in sys.modules\n"
    )
    subprocess.run([sys.executable, "-P", "-c", code], check=True)


# --- files -----------------------------------------------------------------------------------------------------------


def test_a_codec_can_be_saved_again(files):
    for name, content in files.items():
        assert saved(load_codec(content, "cpu", engine=False).backend.model) == content, name


CHANGES = {
    "a layer too few": lambda t: t.pop("decoder.head.shift"),
    "a layer too many": lambda t: t.update({"decoder.inner.0.weight": t["decoder.head.weight"].clone()}),
    "another size": lambda t: t.update({"encoder.stem.weight": t["encoder.stem.weight"][:, 1:].clone()}),
    "weights beyond the bound": lambda t: t["encoder.head.weight"].fill_(2048),
    "sums beyond the bound": lambda t: t["decoder.stem.bias"].fill_(2**24),
    "another type": lambda t: t.update({"decoder.stem.bias": t["decoder.stem.bias"].long()}),
    "a shift of 0": lambda t: t["decoder.head.shift"].zero_(),
}


@pytest.mark.parametrize("change", CHANGES)
def test_files_with_other_tensors_are_refused(files, change):
    tensors = tensors_of(files["shallow"])
    CHANGES[change](tensors)
    with pytest.raises(ValueError, match=r".+"):
        engine(vars(CONFIGS["shallow"]), {name: one.numpy() for name, one in tensors.items()})
    with pytest.raises(BadCodecFile):
        load_codec(edited_codec_file(files["shallow"], tensors), "cpu")


def test_other_weights_fail_the_known_answers(files):
    """Of one pixel whose logit is one more."""
    tensors = tensors_of(files["shallow"])
    tensors["decoder.head.bias"][20] += 1 << int(tensors["decoder.head.shift"][20])
    codec = engine(vars(CONFIGS["shallow"]), {name: one.numpy() for name, one in tensors.items()})
    assert codec.image_size == (HEIGHT, WIDTH)
    with pytest.raises(BadCodecFile, match="fails its known-answer test"):
        load_codec(edited_codec_file(files["shallow"], tensors), "cpu")


def test_images_of_another_size_are_refused(files):
    with pytest.raises(InputError, match="expected images of 9 x 7 pixels, got 7 x 9"):
        elbo(tiny(CONFIGS["shallow"]), torch.zeros(1, 1, WIDTH, HEIGHT))
    codec = load_codec(files["shallow"], "cpu")
    with pytest.raises(InputError, match="images of 9 x 7 pixels only, not 7 x 9"):
        codec.encode(np.zeros((2, WIDTH, HEIGHT, 1), np.uint8))
    with pytest.raises(InputError, match="values below 2, not 2"):
        codec.encode(np.full((2, HEIGHT, WIDTH, 1), 2, np.uint8))
    message = codec.encode_message(pictures(CONFIGS["shallow"], 2))
    with pytest.raises(DamagedArchive, match="7 x 9"):
        codec.decode_message(message, 2, WIDTH, HEIGHT)


def test_damage_is_found(files):
    codec, images = load_codec(files["shallow"], "cpu"), pictures(CONFIGS["shallow"], 40)
    message = codec.encode(images)
    for at in range(4, len(message), 7):
        damaged = bytearray(message)
        damaged[at] ^= 1
        with pytest.raises(DamagedArchive):
            codec.decode(bytes(damaged))


# --- configs ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("change", "told"),
    [
        ({"levels": 256}, "levels is 256, expected 2"),
        ({"channels": 3}, "1 channel x 2 levels"),
        ({"height": 40, "width": 30}, "images have 1200 pixels, expected at most 1024"),
        ({"hidden": 1025}, "hidden is 1025, expected a whole number from 1 to 1024"),
        ({"layers": 0}, "layers is 0"),
        ({"latents": 257}, "latents is 257"),
        ({"latents": 2.0}, "latents is 2.0"),
        ({"steps_per_unit": 3}, "steps_per_unit is 3, expected a power of two"),
    ],
)
def test_configs_that_cannot_be_are_refused(change, told):
    with pytest.raises(ValueError, match=told):
        VaeConfig(**change)


def test_the_largest_config_can_be():
    c = VaeConfig(height=32, width=32, hidden=1024, latents=256, steps_per_unit=64)
    codec = load_codec(saved(tiny(c)), "cpu")
    images = pictures(c, 5)
    assert np.array_equal(codec.decode(codec.encode(images)), images)


@pytest.mark.parametrize("strength", PRESETS)
def test_presets_make_models(strength):
    found = preset(strength, PixelFormat(1, 2), (28, 28), True)
    config, settings = configure(VaeConfig, {"channels": 1, "levels": 2}, found)
    assert (config.height, config.width, settings.batch) == (28, 28, 100)


def test_presets_pop_few_bits():
    check_presets_pop_few_bits(FAMILY, 200)


@pytest.mark.parametrize(
    ("pixels", "smallest", "one_size", "told"),
    [
        (PixelFormat(1, 256), (28, 28), True, "two levels only: use --set binarise=true"),
        (PixelFormat(3, 256), (28, 28), True, "two levels only"),
        (PixelFormat(1, 2), (28, 28), False, "one size only, got several sizes"),
        (PixelFormat(1, 2), (33, 32), True, "images of 33 x 32 pixels are too large"),
    ],
)
def test_presets_for_images_that_it_does_not_take_are_refused(pixels, smallest, one_size, told):
    with pytest.raises(InputError, match=told):
        preset("balanced", pixels, smallest, one_size)
