"""The VampPrior family: every prior with every decoder and depth, as a program, as a codec, and in its file."""

import copy
import json
import math
from dataclasses import asdict, replace
from itertools import product
from pathlib import Path

import numpy as np
import pytest
import torch
from family_checks import (
    check_codes_and_learns,
    check_inputs_stay_within_the_bound,
    check_latents_cost_what_the_bound_says,
)
from PIL import Image
from scipy.special import logsumexp
from test_input_bounds import Watch
from tiny_models import edited_codec_file, pictures, random_stack, tensor, tensors_of

import bbcodec
from bbcodec.codec.codec import PixelFormat
from bbcodec.codec.file import load_codec, save_codec
from bbcodec.codec.known_answers import KNOWN_ANSWERS, answers
from bbcodec.distributions.gaussian import Gaussian
from bbcodec.distributions.mixture import Mixture
from bbcodec.errors import BadCodecFile, DamagedArchive, InputError
from bbcodec.exact.arithmetic import guard
from bbcodec.exact.layers import exact_layers, set_exact
from bbcodec.model.coding import encode
from bbcodec.model.interpreters import elbo
from bbcodec.models.training.recipes import configure
from bbcodec.models.vamp import DECODERS, FAMILY, PRIORS, RANGES, Vamp, VampConfig, preset

HEIGHT, WIDTH = 9, 6
SIZES = {
    "height": HEIGHT, "width": WIDTH, "latents": 5, "components": 13, "hidden": 12, "features": 6, "local_layers": 1,
    "radius": 1, "logistics": 2,
}  # fmt: skip
KINDS = {"binary": (1, 2), "grey": (1, 256), "RGB": (3, 256)}
EVERY = [
    *product(["binary"], DECODERS, (1, 2), PRIORS), *product(["grey"], DECODERS, [1], ["vamp"]),
    *product(["RGB"], DECODERS, [2], ["mog"]),
]  # fmt: skip


def config(kind: str = "binary", **changes: object) -> VampConfig:
    channels, levels = KINDS[kind]
    return VampConfig(**{"channels": channels, "levels": levels, **SIZES, **changes})


def tiny(c: VampConfig, seed: int = 0) -> Vamp:
    """An untrained model that began, with random biases, so that every weight has something to say."""
    torch.manual_seed(seed)
    model = Vamp(c)
    with torch.no_grad():
        for layer in exact_layers(model).values():
            layer.bias += 0.3 * torch.randn_like(layer.bias)
            if not layer.weight.any():
                layer.weight.normal_(0, 0.1)
        if c.prior == "weighted":
            model.components.log_weights.normal_()
    model.initialise_from(images(c, 8, seed=99))
    return model.eval()


def images(c: VampConfig, count: int, seed: int = 0) -> torch.Tensor:
    return tensor(arrays(c, count, seed))


def arrays(c: VampConfig, count: int, seed: int = 0) -> np.ndarray:
    kind = next(kind for kind, pixels in KINDS.items() if pixels == (c.channels, c.levels))
    return pictures(kind, count, c.height, c.width, seed)


def saved(model: Vamp) -> bytes:
    return save_codec(model, "vamp", model.config, PixelFormat(model.config.channels, model.config.levels), {})


# --- every variant ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("kind", "decoder", "layers", "prior"), EVERY)
def test_every_variant_codes_and_learns(kind, decoder, layers, prior):
    c = config(kind, decoder=decoder, layers=layers, prior=prior)
    sites = [*(["z"] if layers == 1 else ["z2", "z1"]), "x"]
    check_codes_and_learns(tiny(c), images(c, 3), sites, ["pseudo_inputs"] if prior == "vamp-data" else [])


SOME = [
    ("binary", "mlp", 1, "vamp"), ("binary", "pixelcnn", 2, "weighted"), ("grey", "conv", 2, "mog"),
    ("grey", "mlp", 2, "vamp-data"), ("RGB", "pixelcnn", 1, "standard"), ("RGB", "conv", 1, "vamp"),
]  # fmt: skip


@pytest.fixture(scope="module")
def codecs():
    """Of some variants: the model that learned, its codec file, and the codec that was loaded from it."""
    found = {}
    for kind, decoder, layers, prior in SOME:
        model = tiny(config(kind, decoder=decoder, layers=layers, prior=prior))
        content = saved(copy.deepcopy(model))
        found[kind, decoder, layers, prior] = model, content, load_codec(content, "cpu")
    return found


@pytest.mark.parametrize("variant", SOME)
def test_a_saved_codec_is_the_model_that_learned(codecs, variant):
    """The same words from what learned and from what was loaded, which gives the images back."""
    model, _, codec = codecs[variant]
    x = arrays(model.config, 12)
    message = codec.encode_message(x)
    assert np.array_equal(codec.decode_message(message, 12, HEIGHT, WIDTH), x)
    one, other = random_stack(2), random_stack(2)
    encode(model, one, tensor(x))
    encode(codec.backend.model, other, tensor(x))
    assert np.array_equal(one.flatten(), other.flatten())
    assert not codec.safe


@pytest.mark.parametrize("variant", SOME)
def test_a_codec_holds_components_but_no_images(codecs, variant):
    """K (2 M + 1) whole numbers of two bytes in place of pseudo-inputs, which may be training images."""
    model, content, _ = codecs[variant]
    c, tensors = model.config, tensors_of(content)
    prior = {name: value for name, value in tensors.items() if name.startswith("components.")}
    shapes = {"means": [13, 5], "log_sigmas": [13, 5], "log_weights": [13]} if c.prior != "standard" else {}
    assert {name: list(value.shape) for name, value in prior.items()} == {
        f"components.{key}": value for key, value in shapes.items()
    }
    assert {str(value.dtype) for value in prior.values()} <= {"torch.int16"}
    assert not any("pseudo" in name for name in tensors)
    assert all(value.numel() != c.components * c.values for value in tensors.values())


def test_a_codec_can_be_saved_again(codecs):
    """The same file, whatever pseudo-inputs the loaded model was built with: they say nothing of those that learned."""
    model, content, codec = codecs["grey", "mlp", 2, "vamp-data"]
    assert not torch.equal(codec.backend.model.pseudo_inputs, model.pseudo_inputs)
    assert saved(copy.deepcopy(codec.backend.model)) == content


@pytest.mark.parametrize(
    ("name", "change"), [("means", lambda t: t[:3]), ("log_weights", lambda t: t + 30000), ("log_sigmas", None)]
)
def test_codecs_with_damaged_components_are_refused(codecs, name, change):
    content = codecs[SOME[0]][1]
    tensors = tensors_of(content)
    value = tensors.pop(f"components.{name}")
    if change is not None:
        tensors[f"components.{name}"] = change(value)
    with pytest.raises(BadCodecFile):
        load_codec(edited_codec_file(content, tensors), "cpu")


# --- the prior -------------------------------------------------------------------------------------------------------


def test_the_vampprior_is_the_mean_of_posteriors_at_pseudo_inputs():
    """p(z) = 1/K sum_k q(z | u_k), by the posterior of the images that the pseudo-inputs are, one by one."""
    c = config(prior="vamp-data", components=6)
    model = tiny(c)
    u = images(c, 8, seed=99)[:6]  # what the model began with
    with torch.no_grad(), guard():
        prior = model.top_prior(4)
        q = model.top_posterior(model.embed(u))
        z = model.top_posterior(model.embed(images(c, 4))).rsample(torch.Generator().manual_seed(0))
        each = [Gaussian(q.mean[k : k + 1], q.log_sigma[k : k + 1], 8).select(torch.zeros(4).long()) for k in range(6)]
        expected = logsumexp([d.log_prob(z).numpy() for d in each], axis=0) - math.log(6)
        bits = np.array([d.information(z) for d in each]) / 2**24
    assert isinstance(prior, Mixture)
    assert np.allclose(prior.log_prob(z), expected, atol=1e-4)
    cost = -logsumexp(-bits * math.log(2), axis=0) / math.log(2) + math.log2(6)
    assert np.allclose(prior.information(z) / 2**24, cost, atol=1e-4)


def test_weights_are_learned_only_where_they_are_asked_for():
    for prior in ("mog", "vamp", "vamp-data", "weighted"):
        weights = tiny(config(prior=prior)).top_prior(1).log_weights
        assert bool(weights.any()) == (prior == "weighted")


def test_the_standard_prior_is_standard():
    prior = tiny(config(prior="standard")).top_prior(3)
    assert isinstance(prior, Gaussian)
    assert prior.shape == (3, 5)
    assert not prior.mean.any()
    assert not prior.log_sigma.any()


@pytest.mark.parametrize("layers", [1, 2])
def test_latents_cost_what_the_bound_says(layers):
    """Bits-back over the component costs nothing."""
    c = config(layers=layers, components=40)
    check_latents_cost_what_the_bound_says(tiny(c), images(c, 300))


def test_each_layer_has_a_grid_of_its_own():
    """A value of z1 is the same to the decoder, whatever the grid it is on."""
    fine, coarse = (tiny(config(decoder="conv", layers=2, low_steps_per_unit=steps)) for steps in (0, 2))
    top, low = torch.tensor([[3.0, -8, 0, 1, 40]]), torch.tensor([[2.0, -1, 0, 5, -7]])
    assert [model.low_prior(top).steps for model in (fine, coarse)] == [8, 2]
    embedded = coarse.embed(images(coarse.config, 1))
    assert coarse.low_posterior(embedded, top).steps == 2
    assert coarse.top_posterior(embedded).steps == coarse.top_prior(1).components.steps == 8
    shape = torch.Size((1, 1, HEIGHT, WIDTH))
    x = images(fine.config, 1)
    same = coarse.likelihood([top, low], shape).log_prob(x), fine.likelihood([top, 4 * low], shape).log_prob(x)
    assert torch.equal(*same)
    assert not torch.equal(same[0], fine.likelihood([top, low], shape).log_prob(x))
    check_codes_and_learns(coarse, images(coarse.config, 3), ["z2", "z1", "x"], [])


def test_pseudo_inputs_begin_at_images_and_are_shown():
    c = config("RGB", components=10)
    shown = {prior: tiny(replace(c, prior=prior)).preview() for prior in PRIORS}
    assert shown["standard"] is shown["mog"] is None
    assert shown["vamp-data"].dtype == np.uint8
    began = arrays(c, 8, seed=99)
    assert np.array_equal(shown["vamp-data"], np.concatenate([began, began[:2]]))
    for prior in ("vamp", "weighted"):
        off = shown[prior].astype(int) - shown["vamp-data"]
        assert 0 < np.abs(off).mean() < 30
        assert not np.array_equal(shown[prior][0], shown[prior][8])  # the same image, with other noise
    binary = tiny(config(prior="vamp-data")).preview()
    assert set(np.unique(binary)) == {0, 255}


def test_pseudo_inputs_are_seen_as_pixels_are():
    """Within the range of pixels, in whole numbers, and back when they have left it."""
    for kind in KINDS:
        model = tiny(config(kind))
        with torch.no_grad():
            model.pseudo_inputs[0] = 7.0
            model.pseudo_inputs[1] = -7.0
        q = Gaussian(*model.at_pseudo_inputs(), 8)
        q.log_prob(q.rsample().detach()).sum().backward()
        too_great, too_small = model.pseudo_inputs.grad[:2]
        assert too_great.min() >= 0 < too_great.max()  # a step of descent leads back
        assert too_small.min() < 0 >= too_small.max()
        watch = Watch(model)
        with torch.no_grad():
            model.at_pseudo_inputs()
        assert max(watch.greatest.values()) <= 1


# --- exactness -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("decoder", "kind"), list(product(DECODERS, KINDS)))
@pytest.mark.parametrize("gain", [1.0, 30.0])
def test_inputs_stay_within_the_bound(decoder, kind, gain):
    check_inputs_stay_within_the_bound(tiny(config(kind, decoder=decoder, layers=2)), HEIGHT, WIDTH, gain)


@pytest.mark.parametrize("decoder", DECODERS)
def test_rounding_costs_little(decoder):
    c = config("grey", decoder=decoder, layers=2, prior="mog")
    model, x, found = tiny(c), images(c, 20), []
    for exact in (True, False):
        set_exact(model, exact)
        with torch.no_grad():
            found.append(-elbo(model, x, torch.Generator().manual_seed(0))["x"].mean().item())
    assert found[0] == pytest.approx(found[1], rel=0.03)


@pytest.mark.parametrize("decoder", DECODERS)
def test_untrained_pixels_of_256_levels_are_broad(decoder):
    """A decoder of 256 levels starts no worse than a few bits above what says nothing, so that it learns at once."""
    c = config("RGB", decoder=decoder, logistics=5)
    torch.manual_seed(0)
    model, x = Vamp(c), torch.from_numpy(np.random.default_rng(0).normal(110, 50, (20, 3, HEIGHT, WIDTH)))
    model.initialise_from(x.clamp(0, 255).round().float())
    with torch.no_grad():
        nats = -elbo(model, x.clamp(0, 255).round().float())["x"].mean().item()
    assert nats / c.values / math.log(2) < (10 if decoder != "pixelcnn" else 20)  # that one expects smooth images


# --- sizes -----------------------------------------------------------------------------------------------------------


def test_images_of_another_size_are_refused(codecs):
    """In training and in coding, with the size that was expected; a message of another cannot be."""
    model, _, codec = codecs[SOME[0]]
    other = np.zeros((2, WIDTH, HEIGHT, 1), np.uint8)
    with pytest.raises(InputError, match="expected images of 9 x 6 pixels, got 6 x 9"):
        elbo(model, tensor(other))
    for call in (codec.encode, codec.encode_message):
        with pytest.raises(InputError, match="images of 9 x 6 pixels only, not 6 x 9"):
            call(other)
    message = codec.encode_message(arrays(model.config, 2))
    with pytest.raises(DamagedArchive, match="6 x 9"):
        codec.decode_message(message, 2, WIDTH, HEIGHT)


def test_the_known_answers_are_of_images_of_that_size(codecs, monkeypatch):
    seen = []
    codec = codecs[SOME[2]][2]
    real = codec.backend.encode
    monkeypatch.setattr(codec.backend, "encode", lambda s, x: (seen.append(x.shape), real(s, x)))
    answers(codec.backend, codec.pixels)
    assert seen == [(count, HEIGHT, WIDTH, 1) for count, _, _ in KNOWN_ANSWERS]


def test_a_folder_of_several_sizes_comes_back(codecs, tmp_path):
    """Images that the codec does not take are stored without it."""
    model, content, _ = codecs["grey", "conv", 2, "mog"]
    path, out, folder = tmp_path / "my.bbc", tmp_path / "out.bb", tmp_path / "images"
    path.write_bytes(content)
    folder.mkdir()
    for n, pixels in enumerate(arrays(model.config, 10)):
        Image.fromarray(pixels[..., 0]).save(folder / f"{n}.png")
    Image.fromarray(np.arange(100, dtype=np.uint8).reshape(10, 10)).save(folder / "other.png")
    tried = {}
    report = lambda one: tried.update({Path(one.name).name: one.tried})  # noqa: E731
    bbcodec.compress(folder, out, codec=path, embed_codec=False, report=report)
    assert {name for name, codings in tried.items() if "learned" in codings} == set(tried) - {"other.png"}
    with bbcodec.open(out, codec=path) as archive:
        assert len(archive.names) == 11
        for name in archive.names:
            with Image.open(folder / Path(name).name) as image:
                assert np.array_equal(np.array(archive[name]), np.array(image))


# --- configs ---------------------------------------------------------------------------------------------------------


def test_configs_survive_json():
    for kind in KINDS:
        c = config(kind, prior="weighted", decoder="conv")
        model = FAMILY.build(json.loads(json.dumps(asdict(c))))
        assert model.config == c
    with pytest.raises(TypeError, match="colour"):
        FAMILY.build({**asdict(config()), "colour": 1})


@pytest.mark.parametrize("field", list(RANGES))
@pytest.mark.parametrize("value", [0, -1, 10**12, 4.0, "4", None, True])
def test_every_size_is_a_whole_number_in_bounds(field, value):
    if (field, value) == ("low_steps_per_unit", 0):
        assert FAMILY.build({**asdict(config()), field: 0}).config.low_steps == config().steps_per_unit
        return
    with pytest.raises(ValueError, match=f"{field} is {value!r}"):
        FAMILY.build({**asdict(config()), field: value})


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"channels": 2}, "got 2 x"),
        ({"channels": 3}, "got 3 x 2"),
        ({"levels": 16}, "x 16"),
        ({"height": 256, "width": 256}, "65536 values, expected at most 16384"),
        ({"height": 128, "width": 128, "components": 2000}, "pseudo-inputs, got 2000 x 16384"),
        ({"steps_per_unit": 12}, "steps_per_unit is 12"),
        ({"low_steps_per_unit": 12}, "low_steps_per_unit is 12, expected 0 or a power of two"),
        ({"prior": "gaussian"}, "prior is 'gaussian', expected one of standard, mog"),
        ({"prior": 1}, "prior is 1"),
        ({"decoder": "MLP"}, "decoder is 'MLP', expected one of mlp"),
    ],
)
def test_configs_that_cannot_be(changes, message):
    with pytest.raises(ValueError, match=message):
        config(**changes)


def test_the_greatest_sizes_can_be():
    """No layer that a config allows has too many inputs."""
    for decoder in DECODERS:
        model = Vamp(config("RGB", decoder=decoder, hidden=1024, features=64, radius=8, latents=256, logistics=1))
        assert all(layer.fan_in <= 1024 for layer in exact_layers(model).values())
    large = Vamp(config("grey", height=128, width=128, hidden=8, components=2, logistics=1))
    assert len(large.eye.look.linear.parts) == 32


@pytest.mark.parametrize("strength", ["fast", "balanced", "strong"])
@pytest.mark.parametrize("kind", list(KINDS))
def test_presets_are_configs(strength, kind):
    pixels = PixelFormat(*KINDS[kind])
    found = preset(strength, pixels, (28, 20), True)
    c, settings = configure(VampConfig, {"channels": pixels.channels, "levels": pixels.levels}, found)
    assert (c.height, c.width) == (28, 20)
    assert settings.crop == 0
    with pytest.raises(InputError, match="got several sizes"):
        preset(strength, pixels, (28, 20), False)
    with pytest.raises(InputError, match="too large"):
        preset(strength, pixels, (256, 200), True)
    assert FAMILY.build(asdict(replace(c, hidden=8, features=8, components=2))).config.decoder == found["decoder"]
