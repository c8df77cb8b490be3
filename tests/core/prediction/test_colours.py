"""Images of few colours: when they are seen as such, what they take, and tables that are damaged."""

import numpy as np
import pytest

from bbcodec.binary import pack_varint
from bbcodec.errors import DamagedArchive
from bbcodec.images.codings.predicted import PredictedCoding
from bbcodec.prediction.colours import few_colours, indices_of, pack_colours, take_colours
from bbcodec.prediction.streams import pack_images, unpack_images


def areas(colours, shape, seed=0):
    """Images (N, H, W, C) of areas of these colours (K, C)."""
    steps = np.random.default_rng(seed).random(shape) < 0.1
    return colours[np.cumsum(steps, 2) % len(colours)].repeat(2, 1)


def colours_made(count, channels, dtype, seed=0):
    random = np.random.default_rng(seed)
    made = np.unique(random.integers(0, np.iinfo(dtype).max + 1, (2 * count, channels)), axis=0)
    return random.permutation(made)[:count].astype(dtype)


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16])
@pytest.mark.parametrize("channels", [1, 2, 3, 4])
def test_colours_and_indices_are_those_of_the_images(channels, dtype):
    images = areas(colours_made(40, channels, dtype), (2, 20, 30))
    colours = few_colours(images)
    assert colours.dtype == dtype
    assert np.array_equal(colours, np.unique(images.reshape(-1, channels), axis=0))
    assert np.array_equal(colours[indices_of(images, colours)], images)
    packed = pack_colours(colours)
    again, end = take_colours(b"?" + packed + b"?", 1, channels, dtype)
    assert np.array_equal(again, colours)
    assert end == len(packed) + 1


def test_up_to_256_colours_are_few():
    for count in (1, 2, 255, 256, 257):
        colours = colours_made(count, 3, np.uint8)
        images = colours[np.arange(4096).reshape(1, 64, 64) % count]
        assert (few_colours(images) is not None) == (count <= 256)


def test_grey_photos_have_many_colours_whatever_they_are_stored_as():
    """But grey drawings have few, and coloured pixels that are hardly alike, as where colours are dithered."""
    photo = (np.random.default_rng(0).normal(128, 9, (1, 40, 40, 1))).astype(np.uint8)
    for grey in (photo, photo.repeat(3, 3), np.concatenate([photo, photo], 3)):
        assert few_colours(grey) is None
        assert few_colours(grey.repeat(2, 1)) is not None
    assert few_colours(np.concatenate([photo, photo, 9 - photo], 3)) is not None


@pytest.mark.parametrize("channels", [1, 3])
def test_grey_images_of_few_values_are_coded_in_the_shorter_way(channels):
    slope = (np.arange(64)[:, None] + np.arange(64) // 2)[None, ..., None].repeat(channels, 3).astype(np.uint8)
    noise = np.random.default_rng(0).integers(0, 2, slope.shape[:3], np.uint8)[..., None]
    drawing = areas(colours_made(9, 1, np.uint8), (1, 32, 64)).repeat(channels, 3)
    assert not pack_images((slope + noise).repeat(2, 1))[0] & 64
    assert pack_images(drawing)[0] & 64


def test_which_colours_there_are_hardly_matters():
    """What is like what counts: other colours take as many bytes, but for their table."""
    three = areas(np.array([[1], [2], [3]], np.uint8), (2, 40, 60))
    others = np.array([[0, 0, 0], [9, 200, 3], [255, 6, 90], [7, 7, 7]], np.uint8)[three[..., 0]]
    assert abs(len(pack_images(three)) - len(pack_images(others))) < 24


def test_two_levels_are_coded_alone():
    coding, image = PredictedCoding(), areas(np.array([[0], [1]], np.uint8), (1, 40, 60))[0]
    data = coding.encode(image, 2)
    assert np.array_equal(coding.decode(data, image.shape, 2), image)
    for other in (image * np.uint8(2), image.astype(np.uint16)):
        with pytest.raises(DamagedArchive):
            coding.decode(pack_images(other[None]), image.shape, 2)


def test_impossible_tables_are_damage():
    images = areas(colours_made(5, 3, np.uint8), (1, 20, 30))
    data = pack_images(images)
    assert data[:3] == bytes([64, 1, 4])  # few colours, one part, five
    for bad in (
        data[:1] + bytes([2**7]) + data[1:],
        bytes([65]) + data[1:],
        data[:2] + pack_varint(256) + data[3:],
        data[:2] + bytes([5]) + data[3:],
        data[:3] + bytes([3]) + data[4:],
        data[:4] + pack_varint(2**31) + data[5:],
        *(data[:size] for size in range(5)),
    ):
        with pytest.raises(DamagedArchive):
            unpack_images(bad, images.shape)


def test_an_index_that_has_no_colour_is_damage():
    """Three colours are indices of two bits, and so is the fourth that there is none of."""
    images = areas(colours_made(4, 1, np.uint8), (1, 20, 30))
    four, three = few_colours(images), few_colours(images)[:3]
    data = pack_images(images)
    start = 2 + len(pack_colours(four))
    with pytest.raises(DamagedArchive, match="damaged"):
        unpack_images(data[:2] + pack_colours(three) + data[start:], images.shape)
