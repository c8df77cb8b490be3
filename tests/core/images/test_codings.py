"""Classical codings of one image and of many."""

import lzma
import sys

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from image_examples import random_samples, sizes

from bbcodec.errors import DamagedArchive, MissingCodec
from bbcodec.images.codings import (
    ALONE,
    TOGETHER,
    decode_alone,
    decode_together,
    encode_alone,
    encode_together,
    jpegxl_size,
)

try:
    import imagecodecs
except ImportError:
    imagecodecs = None

CHANNELS = {1: "L8", 2: "LA8", 3: "RGB8", 4: "RGBA8"}


def here(codings):
    """Those codings for which the packages are here."""
    return [coding for coding in codings if coding != "jpegxl" or imagecodecs]


def images(count, size, channels, seed=0):
    found = np.stack([random_samples(CHANNELS[channels], *size, seed + number) for number in range(count)])
    if channels in (2, 4):
        found[:, ::2, :, -1] = 0  # colours behind full transparency
    return found


@settings(max_examples=60)
@given(st.sampled_from(here(TOGETHER)), st.integers(1, 4), sizes(20), st.integers(1, 4), st.integers(0, 99))
def test_images_together_come_back(coding, count, size, channels, seed):
    group = images(count, size, channels, seed)
    data = encode_together(group, coding)
    again = decode_together(data, coding, *group.shape)
    assert again.dtype == np.uint8
    assert again.shape == group.shape
    assert np.array_equal(again, group)


@settings(max_examples=60)
@given(st.sampled_from(here(ALONE)), sizes(30), st.integers(1, 4), st.integers(0, 99))
def test_an_image_alone_comes_back(coding, size, channels, seed):
    image = images(1, size, channels, seed)[0]
    assert np.array_equal(decode_alone(encode_alone(image, 256, coding), 256, coding, *image.shape), image)


@given(st.sampled_from(here(ALONE)), sizes(30), st.integers(0, 99))
def test_two_levels_come_back(coding, size, seed):
    image = random_samples("L1", *size, seed)
    data = encode_alone(image, 2, coding)
    assert np.array_equal(decode_alone(data, 2, coding, *image.shape), image)
    if coding != "png":
        assert set(np.unique(decode_alone(data, 256, coding, *image.shape))) <= {0, 255}


def test_16_bits_are_png():
    image = random_samples("L16", 9, 7)
    assert np.array_equal(decode_alone(encode_alone(image, 65536, "png"), 65536, "png", 7, 9, 1), image)
    for coding in ("webp", "jpegxl"):
        with pytest.raises(ValueError, match="65536"):
            encode_alone(image, 65536, coding)
        with pytest.raises(DamagedArchive):
            decode_alone(b"", 65536, coding, 7, 9, 1)


def test_lzma_streams_are_what_the_format_says():
    group = images(3, (5, 4), 4)
    for coding, data, bits in [("lzma", group, (2, 2, 2)), ("lzma-planar", group.transpose(3, 0, 1, 2), (3, 0, 0))]:
        filters = [{"id": lzma.FILTER_LZMA2, "dict_size": 2**24, **dict(zip(("lc", "lp", "pb"), bits, strict=True))}]
        plain = lzma.decompress(encode_together(group, coding), lzma.FORMAT_RAW, filters=filters)
        assert plain == data.tobytes()


def test_sheets_have_bounds():
    with pytest.raises(ValueError, match="16383"):
        encode_together(np.zeros((5, 4000, 1, 1), np.uint8), "webp")
    with pytest.raises(ValueError, match="zip"):
        encode_together(np.zeros((1, 1, 1, 1), np.uint8), "zip")
    with pytest.raises(ValueError, match="gif"):
        encode_alone(np.zeros((1, 1, 1), np.uint8), 256, "gif")


def test_decoding_takes_only_what_was_said():
    group = images(2, (5, 4), 3)
    for coding in here(TOGETHER):
        data = encode_together(group, coding)
        for shape in [(2, 4, 5, 2), (2, 4, 6, 3), (3, 4, 5, 3), (1, 4, 5, 3), (0, 4, 5, 3), (2**20,) * 4]:
            with pytest.raises(DamagedArchive):
                decode_together(data, coding, *shape)
        for bad in (b"", data[: len(data) // 2]):
            with pytest.raises(DamagedArchive):
                decode_together(bad, coding, *group.shape)
    for coding in ("lzma", "lzma-planar"):
        with pytest.raises(DamagedArchive):
            decode_together(encode_together(group, coding) + b"\0", coding, *group.shape)
    with pytest.raises(DamagedArchive):
        decode_together(b"", "zip", *group.shape)
    image = group[0]
    for coding in here(ALONE):
        data = encode_alone(image, 256, coding)
        for levels, shape in [(256, (4, 5, 1)), (256, (5, 4, 3)), (2, (4, 5, 3)), (3, (4, 5, 3)), (256, (2**20,) * 3)]:
            with pytest.raises(DamagedArchive):
                decode_alone(data, levels, coding, *shape)
    with pytest.raises(DamagedArchive):
        decode_alone(b"", 256, "zip", 4, 5, 3)
    grey = encode_alone(np.full((4, 5, 1), 7, np.uint8), 256, "webp")
    with pytest.raises(DamagedArchive, match="two levels"):
        decode_alone(grey, 2, "webp", 4, 5, 1)


@settings(max_examples=100)
@given(st.data())
def test_damage_is_no_other_error(data):
    group = images(3, (9, 7), data.draw(st.integers(1, 4)))
    coding = data.draw(st.sampled_from(here(TOGETHER)))
    stored = bytearray(encode_together(group, coding))
    stored[data.draw(st.integers(0, len(stored) - 1))] ^= data.draw(st.integers(1, 255))
    try:
        again = decode_together(bytes(stored), coding, *group.shape)
    except DamagedArchive:
        return
    assert again.shape == group.shape


# --- JPEG XL


def test_without_imagecodecs_jpegxl_is_missing(monkeypatch):
    monkeypatch.setitem(sys.modules, "imagecodecs", None)
    pixels = np.zeros((1, 1, 1), np.uint8)
    with pytest.raises(MissingCodec, match="imagecodecs"):
        encode_alone(pixels, 256, "jpegxl")
    with pytest.raises(MissingCodec, match="imagecodecs"):
        decode_alone(b"", 256, "jpegxl", 1, 1, 1)


@pytest.mark.skipif(not imagecodecs, reason="JPEG XL is optional")
@pytest.mark.parametrize(
    "size",
    [(1, 1), (8, 8), (256, 256), (264, 8), (10, 12), (12, 10), (4, 3), (16, 9), (30, 20), (600, 1), (1, 9000), (5, 7)],
)
def test_sizes_in_jpegxl_headers(size):
    width, height = size
    data = imagecodecs.jpegxl_encode(np.zeros((height, width), np.uint8), lossless=True, effort=1)
    assert jpegxl_size(data) == size


def test_headers_that_are_none():
    assert jpegxl_size(b"") is None
    assert jpegxl_size(b"\x89PNG\r\n") is None
    assert jpegxl_size(b"\xff\x0a") is not None  # cut short: the size in it fits no image that is decoded
