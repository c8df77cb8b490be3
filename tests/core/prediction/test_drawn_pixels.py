"""Images pixel by pixel: that what is repeated is found, wherever it is, and that streams say what they are."""

import numpy as np
import pytest

from bbcodec.errors import DamagedArchive
from bbcodec.prediction import pixels
from bbcodec.prediction.channels import joined, parted
from bbcodec.prediction.streams import BY_PIXELS, pack_images, unpack_images

RANDOM = np.random.default_rng(3)
SPRITE = RANDOM.integers(0, 256, (20, 20, 4), np.uint8)


def scattered(count, channels=4):
    """Images 48 x 48 with the same sprite in them, anywhere."""
    images = np.zeros((count, 48, 48, channels), np.uint8)
    for image, (top, left) in zip(images, RANDOM.integers(0, 28, (count, 2)), strict=True):
        image[top : top + 20, left : left + 20] = SPRITE[..., :channels]
    return images


@pytest.mark.parametrize("channels", [2, 3, 4])
def test_pixels_are_numbers_and_back(channels):
    images = RANDOM.integers(0, 256, (2, 3, 5, channels), np.uint8)
    assert np.array_equal(parted(joined(images), channels), images)
    assert joined(images)[0, 0, 0] >> 8 * (channels - 1) == images[0, 0, 0, -1 if channels != 3 else 1]


@pytest.mark.parametrize("channels", [2, 3, 4])
def test_what_is_repeated_anywhere_costs_little(channels):
    one, eight = scattered(1, channels), scattered(8, channels)
    stored = pack_images(eight)
    assert stored[0] == BY_PIXELS
    assert np.array_equal(unpack_images(stored, eight.shape), eight)
    assert len(pack_images(one)) > 0.9 * 400 * channels
    assert len(stored) < 1.6 * len(pack_images(one))


def test_few_bits_are_coded_of_few_values():
    """The index of one of two colours is one bit: eight would have more decisions, none of which is for nothing."""
    values = RANDOM.integers(0, 2, (1, 64, 64)).astype(np.uint32)
    assert len(pixels.encode(values, 1, 1)) < 1.05 * 64 * 64 / 8
    assert np.array_equal(pixels.decode(pixels.encode(values, 1, 1), values.shape, 1, 1), values)


@pytest.mark.parametrize("most", [1, 2, 15, 16, 31, 32, 255])
def test_values_up_to_any_greatest_one_come_back(most):
    values = RANDOM.integers(0, most + 1, (2, 9, 11)).astype(np.uint32)
    values[0, 0, :2] = 0, most
    assert np.array_equal(pixels.decode(pixels.encode(values, 1, most), values.shape, 1, most), values)


def test_lines_are_taken_over_where_contexts_are_many():
    """More contexts than lines: what a line held is forgotten, and images come back."""
    values = RANDOM.integers(0, 2**24, (1, 150, 150)).astype(np.uint32)
    assert np.array_equal(pixels.decode(pixels.encode(values, 3), values.shape, 3), values)


def test_impossible_kinds_are_damage():
    images = scattered(2)
    data = pack_images(images)
    for kind in (BY_PIXELS | 1, BY_PIXELS | 64, BY_PIXELS | 128):
        with pytest.raises(DamagedArchive):
            unpack_images(bytes([kind]) + data[1:], images.shape)
    for shorter in (data[:1], data[:-1], data + b"0"):
        with pytest.raises(DamagedArchive):
            unpack_images(shorter, images.shape)
