"""Latents of images, and images of latents: draws that are the same everywhere, and follow their distributions."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from pattern_model import PatternModel, codec_content, familiar, load_pattern, pattern
from tiny_models import CONFIGS, pictures

from bbcodec.codec.codec import MAX_BATCH_PIXELS, Codec, PixelFormat
from bbcodec.codec.file import load_codec, save_codec
from bbcodec.coder.ans import AnsStack
from bbcodec.errors import CoderError, InputError
from bbcodec.model.drawing import generate, infer
from bbcodec.models.vlae import Vlae
from bbcodec.models.vlae_config import VlaeConfig
from bbcodec.report.reconstructions import MOST, reconstructions


@pytest.fixture(scope="module")
def known() -> Codec:
    """A codec whose model we know by heart."""
    return load_pattern(codec_content())


def loaded(config, engine=True):
    """A codec of an untrained network, whose biases are random so that every weight has something to say."""
    torch.manual_seed(5)
    model = Vlae(config)
    with torch.no_grad():
        for weight in model.parameters():
            weight += 0.1 * torch.randn_like(weight)
    content = save_codec(model.eval(), "vlae", config, PixelFormat(config.channels, config.levels), {})
    return load_codec(content, "cpu", engine=engine)


def agreement(images):
    """How much images (N, H, W, 1) look like the pattern: -1 to 1."""
    return ((2.0 * images[..., 0] - 1) * pattern()).mean((1, 2))


def test_latents_keep_what_they_know(known):
    """Whether an image is the pattern or its opposite; not which tenth of the pixels is wrong."""
    images = familiar(200)
    drawn = known.reconstruct(images)
    assert (np.sign(agreement(drawn)) == np.sign(agreement(images))).all()
    different = (drawn != images).mean()
    assert 0.05 < different < 0.3


def test_drawn_latents_are_those_of_the_posterior(known):
    """z1 is Gaussian around how much the image looks like the pattern; z2 given z1 is its prior, N(z1 / 2, 1 / 2)."""
    image = familiar(1)
    values = known.latents(np.repeat(image, 4000, 0))
    z1, z2 = values["z1"][:, 0] / 8, values["z2"][:, 0] / 8
    assert list(values) == ["z1", "z2"]
    assert z1.mean() == pytest.approx(np.round(300 * agreement(image)[0]) / 256, abs=0.03)
    assert z1.std() == pytest.approx(np.exp(-300 / 256), rel=0.1)
    assert (z2 - z1 / 2).std() == pytest.approx(np.sqrt(0.5), rel=0.05)


def test_what_is_drawn_from_nothing_follows_the_model(known):
    drawn = known.draw((4000, 16, 16), seed=9)
    assert abs(agreement(drawn).mean()) < 0.05
    z1 = np.random.default_rng(0).normal(0, np.sqrt(2), 100_000)
    assert np.abs(agreement(drawn)).mean() == pytest.approx(np.abs(np.tanh(z1)).mean(), abs=0.03)


@settings(max_examples=20, deadline=None)
@given(st.integers(0, 2**64 - 1), st.integers(-20, 20))
def test_given_latents_are_used(known, seed, value):
    """And the others drawn: pixels have log odds 2 z1."""
    z1 = np.full((20, 1), value, np.int16)
    drawn = known.draw((20, 16, 16), {"z1": z1}, seed)
    assert agreement(drawn).mean() == pytest.approx(np.tanh(value / 8), abs=0.1)
    assert np.array_equal(drawn, known.draw((20, 16, 16), {"z1": z1}, seed))


def test_seeds_draw_other_images(known):
    first, second = (known.draw((9, 16, 16), seed=seed) for seed in (1, 2))
    assert not np.array_equal(first, second)


def test_many_images_are_drawn_in_batches(known):
    count = 2 * MAX_BATCH_PIXELS // 256 + 3
    values = known.latents(familiar(count))
    assert values["z1"].shape == (count, 1)
    assert known.draw((count, 16, 16), values).shape == (count, 16, 16, 1)


@pytest.mark.parametrize("kind", ["binary", "grey", "joint"])
def test_network_and_engine_draw_the_same(kind):
    """Bit for bit."""
    fields = {"inner": 8, "channels": CONFIGS[kind].channels, "levels": CONFIGS[kind].levels, "joint": kind == "joint"}
    config = VlaeConfig(
        hidden=8, layers=1, latent_stride=4, width=8, blocks=1, prior_hidden=8, prior_layers=1, **fields
    )
    engine, network = loaded(config), loaded(config, engine=False)
    assert type(engine.backend) is not type(network.backend)
    images = pictures(kind, 5, 13, 10)
    latents = [codec.latents(images, 3) for codec in (engine, network)]
    assert latents[0].keys() == latents[1].keys() == {"z"}
    assert latents[0]["z"].dtype == latents[1]["z"].dtype == np.int16
    assert np.array_equal(latents[0]["z"], latents[1]["z"])
    drawn = [codec.draw((5, 13, 10), latents[0], 4) for codec in (engine, network)]
    assert np.array_equal(*drawn)
    assert np.array_equal(*(codec.draw((2, 6, 9), seed=4) for codec in (engine, network)))


@pytest.mark.parametrize(
    ("shape", "latents", "message"),
    [
        ((2, 16, 16), {"y": np.zeros((2, 1), np.int16)}, "codec pattern has no latents 'y': z1, z2"),
        ((2, 16, 16), {"z1": np.zeros((3, 1), np.int16)}, r"are whole numbers \(2, 1\) between -1024 and 1024"),
        ((2, 16, 16), {"z1": np.zeros((2, 1))}, r"not float64 \(2, 1\)"),
        ((2, 16, 16), {"z1": np.full((2, 1), 2**40)}, r"not int64 \(2, 1\)"),
        ((2, 16, 16), {"z1": np.full((2, 1), 900, np.int16)}, "codec pattern has no such latents: "),
        ((0, 16, 16), {}, "draws 1 to"),
        ((2**40, 16, 16), {}, "draws 1 to"),
    ],
)
def test_what_cannot_be_drawn_is_refused(known, shape, latents, message):
    with pytest.raises(InputError, match=message):
        known.draw(shape, latents)


def test_images_of_another_format_have_no_latents(known):
    with pytest.raises(InputError, match="takes values below 2"):
        known.latents(np.full((1, 16, 16, 1), 9, np.uint8))


def test_the_interpreters_agree_with_coding():
    """Latents drawn from a stack are those that encoding on it pops."""
    model, images = PatternModel(), torch.tensor(familiar(6)).permute(0, 3, 1, 2).float()
    drawn = infer(model, AnsStack.seeded(8), images)
    assert list(drawn) == ["z1", "z2"]
    with pytest.raises(CoderError):
        generate(model, AnsStack.seeded(8), images.shape, {"z1": torch.full((6, 1), 1e4)})


def test_reconstructions_of_a_report(known):
    shown = {f"{n}": picture * np.uint8(255) for n, picture in enumerate(familiar(12))}
    shown = {"large": np.zeros((300, 300, 1), np.uint8), "RGB": np.zeros((16, 16, 3), np.uint8), **shown}
    drawn = reconstructions(known, shown)
    assert list(drawn) == [f"{n}" for n in range(MOST)]
    assert set(np.unique(np.stack(list(drawn.values())))) == {0, 255}
    assert reconstructions(object(), shown) == {}


def test_nothing_is_reconstructed_without_latents():
    empty = loaded(VlaeConfig(channels=1, hidden=8, layers=1, inner=8, latent_channels=0))
    assert empty.latents(pictures("grey", 2, 9, 9)) == {}
    assert reconstructions(empty, {"one": np.zeros((9, 9, 1), np.uint8)}) == {}
