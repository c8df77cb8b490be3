"""Classical codings of one image and of many."""

import lzma
import sys

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from image_examples import random_samples, sizes

from bbcodec.errors import DamagedArchive, MissingCodec
from bbcodec.images.codings import CODINGS, FILE_CODINGS, coding_named, coding_number
from bbcodec.images.codings.jpegxl import jpegxl_size

try:
    import imagecodecs
except ImportError:
    imagecodecs = None

HERE = [coding for coding in CODINGS if not coding.needs or imagecodecs]
ALONE = [coding for coding in HERE if coding.alone]
TOGETHER = [coding for coding in HERE if coding.together]


def test_numbers_and_names_are_those_of_the_format():
    """docs/format.md: places, chunk `S`, needs."""
    names = "bytes webp png jpegxl lzma lzma-planar lepton predicted"
    assert [coding.name for coding in CODINGS] == names.split()
    assert [coding_number(coding.name) for coding in CODINGS] == list(range(8))
    assert [coding_number(coding.name) for coding in CODINGS if coding.alone] == [1, 2, 3, 7]
    assert [coding_number(coding.name) for coding in CODINGS if coding.together] == [1, 3, 4, 5, 7]
    needs = {coding.name: coding.needs for coding in CODINGS if coding.needs}
    assert needs == {"jpegxl": "jpegxl", "lepton": "lepton"}
    assert FILE_CODINGS == {"jpeg": ("lepton",)}
    with pytest.raises(ValueError, match=r"one of bytes, webp.*got 'zip'"):
        coding_named("zip")


CHANNELS = {1: "L8", 2: "LA8", 3: "RGB8", 4: "RGBA8"}


def test_all_take_two_levels():
    assert all(coding.takes(1, 2) for coding in ALONE)


def images(count, size, channels, seed=0):
    found = np.stack([random_samples(CHANNELS[channels], *size, seed + number) for number in range(count)])
    if channels in (2, 4):
        found[:, ::2, :, -1] = 0  # colours behind full transparency
    return found


@settings(max_examples=60)
@given(st.sampled_from(TOGETHER), st.integers(1, 4), sizes(20), st.integers(1, 4), st.booleans(), st.integers(0, 99))
def test_images_together_come_back(coding, count, size, channels, hard, seed):
    group = images(count, size, channels, seed)
    data = coding.encode_sheet(group, hard=hard)
    again = coding.decode_sheet(data, group.shape)
    assert again.dtype == np.uint8
    assert again.shape == group.shape
    assert again.flags.c_contiguous
    assert np.array_equal(again, group)


@settings(max_examples=60)
@given(st.sampled_from(ALONE), sizes(30), st.integers(1, 4), st.integers(0, 99))
def test_an_image_alone_comes_back(coding, size, channels, seed):
    image = images(1, size, channels, seed)[0]
    assert np.array_equal(coding.decode(coding.encode(image, 256), image.shape, 256), image)


@given(st.sampled_from([coding for coding in ALONE if coding.takes(1, 2)]), sizes(30), st.integers(0, 99))
def test_two_levels_come_back(coding, size, seed):
    image = random_samples("L1", *size, seed)
    data = coding.encode(image, 2)
    assert np.array_equal(coding.decode(data, image.shape, 2), image)
    if coding.name not in ("png", "predicted"):
        assert set(np.unique(coding.decode(data, image.shape, 256))) <= {0, 255}


def test_16_bits_are_png_or_predicted():
    image = random_samples("L16", 9, 7)
    for coding in ALONE:
        assert coding.takes(1, 65536) == (coding.name in ("png", "predicted"))
        assert coding.takes(3, 65536) == coding.takes(4, 65536) == (coding.name == "predicted")
        if coding.takes(1, 65536):
            assert np.array_equal(coding.decode(coding.encode(image, 65536), image.shape, 65536), image)
            continue
        with pytest.raises(ValueError, match="65536"):
            coding.encode(image, 65536)
        with pytest.raises(DamagedArchive):
            coding.decode(b"", image.shape, 65536)


def test_lzma_streams_are_what_the_format_says():
    group = images(3, (5, 4), 4)
    for coding, data, bits in [("lzma", group, (2, 2, 2)), ("lzma-planar", group.transpose(3, 0, 1, 2), (3, 0, 0))]:
        filters = [{"id": lzma.FILTER_LZMA2, "dict_size": 2**24, **dict(zip(("lc", "lp", "pb"), bits, strict=True))}]
        plain = lzma.decompress(coding_named(coding).encode_sheet(group), lzma.FORMAT_RAW, filters=filters)
        assert plain == data.tobytes()


def test_what_a_coding_does_not_take_is_refused():
    sheet = np.zeros((5, 4000, 1, 1), np.uint8)
    with pytest.raises(ValueError, match="16383"):
        coding_named("webp").encode_sheet(sheet)
    assert coding_named("webp").max_side == 16383
    for coding in CODINGS:
        if not coding.alone:
            with pytest.raises(ValueError, match=f"{coding.name} does not take 1 channels"):
                coding.encode(sheet[0], 256)
            with pytest.raises(DamagedArchive):
                coding.decode(b"", sheet[0].shape, 256)
        if not coding.together:
            with pytest.raises(ValueError, match=f"{coding.name} does not take several"):
                coding.encode_sheet(sheet)
            with pytest.raises(DamagedArchive):
                coding.decode_sheet(b"", sheet.shape)


def test_decoding_takes_only_what_was_said():
    group = images(2, (5, 4), 3)
    for coding in TOGETHER:
        data = coding.encode_sheet(group)
        for shape in [(2, 4, 5, 2), (2, 4, 6, 3), (3, 4, 5, 3), (1, 4, 5, 3), (0, 4, 5, 3), (2**20,) * 4]:
            with pytest.raises(DamagedArchive):
                coding.decode_sheet(data, shape)
        for bad in (b"", data[: len(data) // 2]):
            with pytest.raises(DamagedArchive):
                coding.decode_sheet(bad, group.shape)
    for coding in (coding_named("lzma"), coding_named("lzma-planar")):
        with pytest.raises(DamagedArchive):
            coding.decode_sheet(coding.encode_sheet(group) + b"\0", group.shape)
    for coding in ALONE:
        data = coding.encode(group[0], 256)
        for levels, shape in [(256, (4, 5, 1)), (256, (5, 4, 3)), (2, (4, 5, 3)), (3, (4, 5, 3)), (256, (2**20,) * 3)]:
            with pytest.raises(DamagedArchive):
                coding.decode(data, shape, levels)
    webp = coding_named("webp")
    with pytest.raises(DamagedArchive, match="two levels"):
        webp.decode(webp.encode(np.full((4, 5, 1), 7, np.uint8), 256), (4, 5, 1), 2)


@settings(max_examples=100)
@given(st.data())
def test_damage_is_no_other_error(data):
    group = images(3, (9, 7), data.draw(st.integers(1, 4)))
    coding = data.draw(st.sampled_from(TOGETHER))
    stored = bytearray(coding.encode_sheet(group))
    stored[data.draw(st.integers(0, len(stored) - 1))] ^= data.draw(st.integers(1, 255))
    try:
        again = coding.decode_sheet(bytes(stored), group.shape)
    except DamagedArchive:
        return
    assert again.shape == group.shape


# --- JPEG XL


def test_without_imagecodecs_jpegxl_is_missing(monkeypatch):
    monkeypatch.setitem(sys.modules, "imagecodecs", None)
    pixels = np.zeros((1, 1, 1), np.uint8)
    with pytest.raises(MissingCodec, match="imagecodecs"):
        coding_named("jpegxl").encode(pixels, 256)
    with pytest.raises(MissingCodec, match="imagecodecs"):
        coding_named("jpegxl").decode(b"", (1, 1, 1), 256)


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
