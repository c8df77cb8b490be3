"""Codecs that learn from the images of an archive: shorter messages, small differences, and an end at any moment."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from learning_clock import threads_as_they_were, tick  # noqa: F401  a fixture
from tiny_models import CONFIGS, pictures, pixel_format

from bbcodec.archive.adaptation import can_learn
from bbcodec.archive.write.learnable import LearnableImages
from bbcodec.codec import stored
from bbcodec.codec.catalogue import find_codec, parse_codec, split_codec
from bbcodec.codec.file import load_codec, save_codec
from bbcodec.codec.stored import StoredCodec, as_difference
from bbcodec.exact.layers import exact_layers
from bbcodec.exact.quantised import InnerLayer
from bbcodec.models.training import adaptation
from bbcodec.models.training.adaptation import INNER_STEP, bits_of, learn
from bbcodec.models.training.cards import packed
from bbcodec.models.training.stopping import Readings
from bbcodec.models.training.trainer import Diverged, Trainer
from bbcodec.models.vlae import Vlae


@pytest.fixture(autouse=True)
def _clock(monkeypatch):
    """By which 50 steps take a second, however busy the machine is."""
    tick(monkeypatch, 0.02)


def codec(kind: str, seed: int = 0, name: str = "base", **changes: int):
    torch.manual_seed(seed)
    config = replace(CONFIGS[kind], **{"inner": 6, "layers": 2, "latent_channels": 0, **changes})
    content = save_codec(Vlae(config).eval(), "vlae", config, pixel_format(kind), {})
    return parse_codec(content, name, shipped=True)


@pytest.fixture
def base(monkeypatch):
    """An untrained codec for RGB images, as a shipped one."""
    made = codec("joint")
    monkeypatch.setattr(stored, "shipped_codecs", lambda: (made,))
    return made


@pytest.fixture(scope="module")
def images():
    """Of several sizes."""
    sizes = ((40, 30), (40, 30), (70, 75), (8, 9))
    found = [pictures("joint", 1, *size, seed=seed)[0] for seed, size in enumerate(sizes)]
    return LearnableImages(found, 3 * sum(image.size for image in found))


@pytest.fixture(scope="module")
def masks():
    """Of two levels, and of several sizes."""
    sizes = ((40, 30), (40, 30), (70, 75), (8, 9))
    found = [pictures("binary", 1, *size, seed=seed)[0] for seed, size in enumerate(sizes)]
    return LearnableImages(found, 3 * sum(image.size for image in found), levels=2)


def quiet(*_):
    """A watch that looks away."""
    return True


def test_what_was_learned_makes_messages_shorter_and_is_a_small_difference(base, images):
    told = []
    found = learn(images, [base], 2, 1, lambda *about: told.append(about) or True)
    assert found.base is base
    assert (found.codec.name, found.codec.shipped) == ("base, adapted", False)
    values = sum(image.size for image in images.images)
    before, after = (bits_of(load_codec(one.content, "cpu"), images.images) / values for one in (base, found.codec))
    assert (found.before, found.after) == (before, after)
    assert after < before - 0.1
    assert found.saved == pytest.approx(3 * values * (before - after) / 8, rel=0.01)
    own = StoredCodec.read(found.codec)
    assert own.base is base
    assert len(found.codec.content) < len(replace(own, base=None).pack())
    assert all(0 <= done <= total == 2000 and np.isfinite(bits) for done, total, bits in told)
    assert told


def test_codecs_of_two_levels_with_latents_learn_too(masks, monkeypatch):
    base = codec("binary", latent_channels=2)
    monkeypatch.setattr(stored, "shipped_codecs", lambda: (base,))
    found = learn(masks, [base], 3, 1, quiet)
    before, after = (load_codec(one.content, "cpu") for one in (base, found.codec))
    assert bits_of(after, masks.images) < 0.8 * bits_of(before, masks.images)
    assert len(found.codec.content) < len(replace(StoredCodec.read(found.codec), base=None).pack())
    for image in masks.images:
        assert np.array_equal(after.decode(after.encode(image[None]))[0], image)


@pytest.mark.parametrize("few", [True, False])
def test_of_few_images_what_latents_mean_is_kept(masks, monkeypatch, few):
    base = codec("binary", latent_channels=2)
    monkeypatch.setattr(stored, "shipped_codecs", lambda: (base,))
    if not few:
        monkeypatch.setattr(adaptation, "FEW_BYTES", 0)
    before, after = (StoredCodec.read(one).tensors for one in (base, learn(masks, [base], 0.5, 1, quiet).codec))
    moved = {name.split(".")[0] for name, tensor in before.items() if not np.array_equal(tensor, after[name])}
    assert moved == {"local", "prior_net"} | (set() if few else {"encoder", "context_net"})


def test_weights_move_by_whole_steps_at_the_same_shifts(base, images):
    before, after = (StoredCodec.read(one).tensors for one in (base, learn(images, [base], 1, 1, quiet).codec))
    layers = exact_layers(Vlae(replace(CONFIGS["joint"], inner=6, layers=2, latent_channels=0)))
    moved = 0
    for name, layer in layers.items():
        same = before[f"{name}.shift"] == after[f"{name}.shift"]
        assert same.mean() > 0.9 or not isinstance(layer, InnerLayer)
        steps = after[f"{name}.weight"].astype(int)[same] - before[f"{name}.weight"].astype(int)[same]
        assert not (steps % (2 * INNER_STEP if isinstance(layer, InnerLayer) else 1)).any()
        moved += np.count_nonzero(steps)
    assert moved > 100


def test_the_codec_that_is_best_to_begin_with_learns(base, images, monkeypatch):
    """Here one that has learned already."""
    better = learn(images, [base], 1, 1, quiet).codec
    monkeypatch.setattr(adaptation, "_run", quiet)
    found = learn(images, [base, better], 1, 1, quiet)
    assert found.base is better
    assert StoredCodec.read(found.codec).base is None  # which stands alone, as its base is not shipped


def test_few_images_move_weights_by_longer_steps(base, images, monkeypatch):
    steps = {}
    for few in (0, 10**9):
        monkeypatch.setattr(adaptation, "FEW_BYTES", few)
        before, after = (StoredCodec.read(one).tensors for one in (base, learn(images, [base], 0.3, 1, quiet).codec))
        moved = after["local.blocks.0.spatial.weight"].astype(int) - before["local.blocks.0.spatial.weight"]
        steps[few] = np.gcd.reduce(moved, axis=None)
    assert steps == {0: INNER_STEP, 10**9: 2 * INNER_STEP}


@pytest.mark.parametrize(
    ("able", "one"),
    [
        (True, lambda: codec("grey")),
        (True, lambda: codec("joint", latent_channels=1)),
        (True, lambda: codec("binary", latent_channels=1)),
        (False, lambda: find_codec("mnist-binary-fast-1")),
    ],
)
def test_which_codecs_can_learn(able, one):
    assert can_learn(one()) is able


def test_learning_ends_when_it_is_told_to_and_keeps_what_was_learned(base, images):
    told = []
    found = learn(images, [base], 1000, 1, lambda *about: told.append(about) or len(told) < 50)
    assert len(told) == 50
    assert found.codec.card["steps"] == 50
    assert found.after < found.before


@pytest.mark.parametrize(
    "error", [Diverged("too much"), MemoryError(), RuntimeError("DefaultCPUAllocator: can't allocate memory")]
)
def test_a_loss_that_diverges_and_the_end_of_memory_end_learning(base, images, monkeypatch, error):
    def advance(trainer, share):
        raise error

    monkeypatch.setattr(Trainer, "advance", advance)
    found = learn(images, [base], 1000, 1, quiet)
    assert found.after == found.before
    assert not found.pays


def test_learning_ends_when_more_does_not_pay(base, images):
    """Here a minute would have to save more than there is, and no reading says so before the eighth."""
    told = []
    found = learn(images, [base], 8, 1, lambda *about: told.append(about) or True, least=1e9)
    assert found.over
    assert 3 <= told[-1][0] / 1000 <= 5  # a reading each 0.42 s, and a quarter more for the rates' last fall
    assert {whole for _, whole, _ in told} == {8000, told[-1][1]}
    assert found.after < found.before


def test_readings_are_of_the_same_crops_and_of_what_was_learned(base, images):
    trainer = adaptation._trainer(images.images, base, 2, 1, few=False)
    assert trainer.settings.weight_decay == 0  # towards 0 is away from the codec
    readings = Readings(trainer, base, images.total)
    first, nothing = readings.bits_per_dim(), readings.learned_bytes()
    assert readings.bits_per_dim() == first
    assert nothing < 200
    assert readings.n_bytes() == images.total * first / 8 + nothing
    for _ in range(40):
        trainer.advance(0.3)
    assert readings.bits_per_dim() < first
    content = packed(trainer.average, trainer.family, trainer.config, trainer.dataset.pixels, {})
    difference = as_difference(content, base)
    assert readings.learned_bytes() == len(split_codec(difference)[1]) > nothing
    standing_alone = Readings(trainer, parse_codec(content, "own"), images.total)
    assert standing_alone.learned_bytes() == len(split_codec(content)[1])
