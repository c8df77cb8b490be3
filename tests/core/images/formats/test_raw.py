"""Files that contain their samples as plain bytes."""

import contextlib
import io
import struct

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from image_examples import opened, pillow_image, random_palette, random_samples, saved, sizes
from PIL import Image

from bbcodec.errors import DamagedArchive
from bbcodec.images.formats.base import Outline
from bbcodec.images.formats.raw import ROW_LAYOUTS, RawStart, RowLayout, find_skeleton, start_of
from bbcodec.images.image_files import Picture, join_bands, join_image, split_image
from bbcodec.sample_formats import SAMPLE_FORMATS

PAIRS = [
    (number, sample_format) for number, layout in enumerate(ROW_LAYOUTS) for sample_format in layout.sample_formats
]


@settings(max_examples=300)
@given(st.sampled_from(PAIRS), sizes(12), st.binary(max_size=9), st.binary(max_size=9), st.integers(0, 99))
def test_every_layout_is_written_and_found(pair, size, before, after, seed):
    number, sample_format = pair
    samples = random_samples(sample_format, *size, seed)
    body = ROW_LAYOUTS[number].rows(samples, SAMPLE_FORMATS[sample_format])
    body = (body[::-1] if ROW_LAYOUTS[number].bottom_up else body).tobytes()
    skeleton = bytes([number, len(before)]) + before + after
    joined = join_image(Picture("raw", sample_format, samples, skeleton))
    assert joined == before + body + after
    stream = io.BytesIO(b"???")  # what is written begins where the stream stands
    stream.seek(3)
    bands = [samples[top : top + 2] for top in range(0, len(samples), 2)]
    join_bands(Outline("raw", sample_format, *size, skeleton), bands, stream)
    assert stream.getvalue() == b"???" + joined
    found = find_skeleton(io.BytesIO(joined), RawStart(sample_format, len(before)), *size, lambda _: bands)
    # A small image may be the same in an earlier layout; what is found joins to the same file in any case.
    assert found[0] <= number
    assert join_image(Picture("raw", sample_format, samples, found)) == joined


def test_layouts_by_hand():
    """Two rows of a few pixels in each layout: the bytes that docs/format.md says."""
    rgb = np.array([[[1, 2, 3], [4, 5, 6]], [[7, 8, 9], [10, 11, 12]]], np.uint8)
    rgba = np.array([[[1, 2, 3, 4]], [[5, 6, 7, 8]]], np.uint8)
    bits = np.array([[[1], [0], [1]], [[0], [1], [1]]], np.uint8)
    nibbles = np.array([[[1], [2], [3]], [[4], [5], [6]]], np.uint8)
    wide = np.array([[[0x0102]], [[0x0304]]], np.uint16)
    for number, sample_format, samples, expected in [
        (0, "RGB8", rgb, "010203040506 0708090a0b0c"),
        (0, "L1", bits, "a0 60"),
        (0, "P4", nibbles, "1230 4560"),
        (0, "L16", wide, "0102 0304"),
        (1, "RGB8", rgb, "0708090a0b0c 010203040506"),
        (1, "L16", wide, "0304 0102"),
        (2, "P4", nibbles, "45600000 12300000"),
        (2, "L8", nibbles, "04050600 01020300"),
        (3, "RGB8", rgb, "030201060504 0908070c0b0a"),
        (3, "RGBA8", rgba, "03020104 07060508"),
        (4, "RGBA8", rgba, "07060508 03020104"),
        (5, "RGB8", rgb, "0908070c0b0a0000 0302010605040000"),
        (6, "L1", bits, "40 80"),
        (6, "L4", nibbles, "edc0 ba90"),
        (6, "L8", nibbles, "fefdfc fbfaf9"),
        (7, "L16", wide, "0201 0403"),
        (8, "L16", wide, "0403 0201"),
        (9, "L1", bits, "ff00ff 00ffff"),
        (10, "RGB8", rgb, "090807000c0b0a00 0302010006050400"),
        (11, "RGB8", rgb, "090807ff0c0b0aff 030201ff060504ff"),
        (12, "RGB8", rgb, "0302010006050400 090807000c0b0a00"),
        (13, "RGB8", rgb, "030201ff060504ff 090807ff0c0b0aff"),
    ]:
        joined = join_image(Picture("raw", sample_format, samples, bytes([number, 0])))
        assert joined == bytes.fromhex(expected), (number, sample_format)
    assert len(ROW_LAYOUTS) == 14


# Format, sample_format in the file, the layout that is expected there (or None where any will do).
FILES = [
    ("BMP", "L1", 2), ("BMP", "L8", 2), ("BMP", "RGB8", 5), ("BMP", "P8", 2), ("DIB", "RGB8", 5),
    ("PPM", "L1", 6), ("PPM", "L8", 0), ("PPM", "RGB8", 0), ("PPM", "L16", 0),
    ("TGA", "L1", 1), ("TGA", "L8", 1), ("TGA", "LA8", 1), ("TGA", "RGB8", 4), ("TGA", "RGBA8", 4), ("TGA", "P8", 1),
    ("SGI", "L8", 1),
]  # fmt: skip


@pytest.mark.parametrize(("format", "sample_format", "layout"), FILES)
@pytest.mark.parametrize("size", [(1, 1), (13, 9), (33, 2)])
def test_files_of_pillow(format, sample_format, layout, size):
    samples = random_samples(sample_format, *size)
    data = saved(pillow_image(samples, sample_format), format)
    picture = split_image(data)
    assert (picture.form, picture.sample_format) == ("raw", sample_format)
    assert np.array_equal(picture.samples, samples)
    assert join_image(picture) == data
    assert split_image(data, exact=True).skeleton == picture.skeleton
    if size == (13, 9):
        assert picture.skeleton[0] == layout


def bmp(bits, body, colours=b"", height=2, width=3):
    start = 54 + len(colours)
    head = b"BM" + struct.pack("<IHHI", start + len(body), 0, 0, start)
    count = len(colours) // 4
    return head + struct.pack("<IiiHHIIiiII", 40, width, height, 1, bits, 0, len(body), 0, 0, count, 0) + colours + body


@pytest.mark.parametrize(
    ("bits", "body", "height", "sample_format", "layout"),
    [
        (1, "a0000000 60000000", 2, "P1", 2),
        (4, "01200000 12000000", 2, "P4", 2),
        (32, "0102030004050600070809000a0b0c000d0e0f0010111200", 2, "RGB8", 10),
        (32, "010203ff040506ff070809ff0a0b0cff0d0e0fff101112ff", 2, "RGB8", 11),
        (32, "0102030004050600070809000a0b0c000d0e0f0010111200", -2, "RGB8", 12),
        (32, "010203ff040506ff070809ff0a0b0cff0d0e0fff101112ff", -2, "RGB8", 13),
        (24, "010203040506070809000000" * 2, 2, "RGB8", 5),
    ],
)
def test_bmp_by_hand(bits, body, height, sample_format, layout):
    colours = np.pad(random_palette(2**bits), ((0, 0), (0, 1))).tobytes() if bits < 8 else b""
    data = bmp(bits, bytes.fromhex(body), colours, height)
    picture = split_image(data)
    assert (picture.form, picture.sample_format, picture.skeleton[0]) == ("raw", sample_format, layout)
    assert join_image(picture) == data


def test_files_that_do_not_hold_their_samples_plainly():
    image = pillow_image(random_samples("RGB8", 13, 9), "RGB8")
    for data in (
        saved(image, "TGA", compression="tga_rle"),
        saved(image, "BMP") + bytes(2**18),
        saved(image, "BMP")[:-1],
        b"P3 1 1 255 1 2 3",
        b"P5 2 1 15 \x01\x02",
        b"P6 2 1 65535 " + bytes(range(12)),
    ):
        assert split_image(data) is None


def test_bytes_around_the_samples_come_back():
    data = saved(pillow_image(random_samples("RGB8", 13, 9), "RGB8"), "BMP") + b"trailing"
    assert join_image(split_image(data)) == data


def test_black_headers_do_not_confuse():
    """The samples are found where Pillow reads them, though the zeros before them look like samples too."""
    samples = np.zeros((40, 30, 3), np.uint8)
    samples[0] = 1  # the last row of the file
    data = saved(pillow_image(samples, "RGB8"), "BMP")
    assert data[50:54] == bytes(4)
    assert join_image(split_image(data)) == data


@given(st.binary(max_size=30), st.sampled_from(sorted(SAMPLE_FORMATS)))
def test_any_skeleton_joins_or_is_damage(skeleton, sample_format):
    with contextlib.suppress(DamagedArchive):
        join_image(Picture("raw", sample_format, random_samples(sample_format, 3, 2), skeleton))


@pytest.mark.parametrize("skeleton", [b"", b"\x63\x00", b"\x00", b"\x00\x80", b"\x00\x05abc", b"\x07\x00"])
def test_malformed_skeleton_is_damage(skeleton):
    with pytest.raises(DamagedArchive):
        join_image(Picture("raw", "RGB8", random_samples("RGB8", 3, 2), skeleton))


def test_row_bytes():
    assert RowLayout((), align=4).row_bytes(SAMPLE_FORMATS["RGB8"], 3) == 12
    assert RowLayout((), align=4).row_bytes(SAMPLE_FORMATS["L1"], 33) == 8
    assert RowLayout((), filler=0).row_bytes(SAMPLE_FORMATS["RGB8"], 3) == 12


def test_images_without_a_place():
    assert start_of(Image.new("L", (2, 2))) is None
    assert start_of(opened(saved(Image.new("L", (2, 2)), "BMP"))) is None  # loaded already
    assert start_of(Image.open(io.BytesIO(saved(Image.new("CMYK", (2, 2)), "TIFF")))) is None
