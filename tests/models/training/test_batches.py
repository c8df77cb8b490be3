"""Batches that depend on seed and step alone: order, crops, mirror images, binarisation, and shares of ranks."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from training_images import BINARY, GREY, RGB, sizes, some

from bbcodec.errors import InputError
from bbcodec.models.training.batches import (
    batch,
    binarised,
    held_out_images,
    indices,
    order,
    steps_per_epoch,
    validation_batches,
)
from bbcodec.models.training.data import Dataset
from bbcodec.models.training.recipes import TrainingSettings


def number(x: torch.Tensor) -> list[int]:
    """Which image of `some` each of a batch is."""
    return [int(image[0, 0, 0]) + 256 * int(image[0, 0, 1]) for image in x]


def test_batches_are_images_as_tensors():
    dataset, settings = some(7, channels=3), TrainingSettings(batch=5)
    x = batch(dataset, settings, 3)
    assert (x.shape, x.dtype, x.is_contiguous()) == ((5, 3, 6, 5), torch.float32, True)
    for image, n in zip(x, number(x), strict=True):
        assert np.array_equal(image.permute(1, 2, 0).numpy(), dataset.train[n])


@given(st.integers(1, 40), st.integers(1, 50), st.integers(0, 3))
def test_every_epoch_sees_every_image_once_in_an_order_of_its_own(count, size, seed):
    """Also where a batch reaches over the end of one, or holds several."""
    settings = TrainingSettings(batch=size, seed=seed)
    steps = -(-3 * count // size)
    stream = np.concatenate([indices(count, settings, step) for step in range(steps)])[: 3 * count]
    epochs = stream.reshape(3, count)
    assert all(sorted(epoch) == list(range(count)) for epoch in epochs.tolist())
    assert steps_per_epoch(some(count), settings) == -(-count // size)
    if count > 20:
        assert len({tuple(epoch) for epoch in epochs.tolist()}) == 3


def test_a_step_needs_no_steps_before_it():
    dataset = Dataset(sizes((30, 20), (9, 40), (16, 16), (8, 8)), sizes((8, 8)), RGB)
    settings = TrainingSettings(batch=6, crop=8, flips=True)
    forth = [batch(dataset, settings, step) for step in range(5)]
    order.cache_clear()
    back = [batch(dataset, settings, step) for step in reversed(range(5))][::-1]
    assert all(torch.equal(a, b) for a, b in zip(forth, back, strict=True))
    other = batch(dataset, replace(settings, seed=1), 0)
    assert not torch.equal(forth[0], other)
    assert len({x.numpy().tobytes() for x in forth}) == 5


@pytest.mark.parametrize("ranks", [1, 2, 3, 6])
def test_ranks_share_one_batch(ranks):
    dataset = replace(some(9, 12, 12), pixels=BINARY, binarise=True)
    settings = TrainingSettings(batch=6, crop=8, flips=True, turns=True)
    parts = [batch(dataset, settings, 4, rank, ranks) for rank in range(ranks)]
    assert torch.equal(torch.cat(parts), batch(dataset, settings, 4))
    with pytest.raises(InputError, match="expected a multiple of 4, the number of processes"):
        batch(dataset, settings, 0, 0, 4)


def test_crops_are_squares_from_everywhere_mirrored_half_of_the_time():
    image = np.arange(5 * 6, dtype=np.uint8).reshape(1, 5, 6, 1)
    dataset = Dataset(image, image, GREY)
    for flips in (False, True):
        x = batch(dataset, TrainingSettings(batch=400, crop=3, flips=flips), 0).numpy()[:, 0]
        turned = x[:, 0, 0] > x[:, 0, 1]
        assert 150 < turned.sum() < 250 if flips else not turned.any()
        places = set()
        for crop, mirrored in zip(x, turned, strict=True):
            plain = crop[:, ::-1] if mirrored else crop
            i, j = divmod(int(plain[0, 0]), 6)
            assert np.array_equal(plain, image[0, i : i + 3, j : j + 3, 0])
            places.add((i, j))
        assert places == {(i, j) for i in range(3) for j in range(4)}


def test_whole_images_are_mirrored_too():
    dataset = some(1)
    x = batch(dataset, TrainingSettings(batch=100, flips=True), 0).numpy()[:, 0]
    plain = dataset.train[0, :, :, 0]
    turned = np.array([np.array_equal(image, plain[:, ::-1]) for image in x])
    assert 25 < turned.sum() < 75
    assert all(np.array_equal(image, plain) for image in x[~turned])


@pytest.mark.parametrize(("size", "crop", "quarters"), [((5, 6), 3, 4), ((4, 4), 0, 4), ((4, 5), 0, 2)])
def test_images_are_turned_each_way_as_often(size, crop, quarters):
    """By halves alone where whole images are not square."""
    image = np.arange(size[0] * size[1] * 2, dtype=np.uint8).reshape(1, *size, 2)[..., :1]
    dataset = Dataset(image, image, GREY)
    x = batch(dataset, TrainingSettings(batch=400, crop=crop, turns=True), 0).numpy()[:, 0].astype(int)
    ways = [(int(np.sign(one[0, 1] - one[0, 0])), int(abs(one[0, 1] - one[0, 0]))) for one in x]
    counts = {way: ways.count(way) for way in set(ways)}
    assert len(counts) == quarters
    assert all(0.6 < quarters * count / 400 < 1.4 for count in counts.values())
    plain = [one for one, way in zip(x, ways, strict=True) if way == (1, 2)]
    assert all(one[1, 0] - one[0, 0] == 2 * size[1] for one in plain)


def test_validation_is_the_centres_of_all_held_out_images():
    dataset = Dataset(sizes((8, 8)), sizes((8, 10), (20, 9), (8, 8)), RGB)
    x, y = validation_batches(dataset, TrainingSettings(batch=2, crop=8))
    assert (x.shape, y.shape) == ((2, 3, 8, 8), (1, 3, 8, 8))
    assert np.array_equal(x[0].permute(1, 2, 0).numpy(), dataset.valid[0][:, 1:9])
    assert np.array_equal(x[1].permute(1, 2, 0).numpy(), dataset.valid[1][6:14, :8])
    whole = validation_batches(some(3), TrainingSettings(batch=3))
    assert [part.shape[0] for part in whole] == [3, 1]
    assert np.array_equal(torch.cat(whole).permute(0, 2, 3, 1).numpy(), some(3).valid)


def test_binarisation_follows_the_grey_level():
    """Afresh for each step, the same for held-out images each time."""
    level = np.full((2, 60, 60, 1), 64, np.uint8)
    dataset = Dataset(level, level[:1], BINARY, binarise=True)
    settings = TrainingSettings(batch=2, binarise=True)
    one, other = batch(dataset, settings, 0), batch(dataset, settings, 1)
    assert set(one.unique().tolist()) == {0.0, 1.0}
    assert one.mean().item() == pytest.approx(64 / 255, abs=0.03)
    assert not torch.equal(one, other)
    assert torch.equal(one, batch(dataset, settings, 0))
    (valid,) = validation_batches(dataset, settings)
    assert torch.equal(valid, validation_batches(dataset, settings)[0])
    assert np.array_equal(valid[0, 0].numpy(), held_out_images(dataset)[0][..., 0])
    assert valid.mean().item() == pytest.approx(64 / 255, abs=0.03)
    ends = np.tile(np.array([0, 255], np.uint8), 5000).reshape(1, 100, 100, 1)
    assert np.array_equal(binarised(ends, np.random.default_rng(0)) * 255, ends)
