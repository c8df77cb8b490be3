"""PNG files taken apart and written, and PNG as a classical form."""

import io
import struct

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from image_examples import (
    opened,
    pillow_image,
    png_chunk,
    png_file,
    png_of,
    random_palette,
    random_samples,
    saved,
    sizes,
)
from skimage import data as photos

from bbcodec.errors import DamagedArchive
from bbcodec.images.formats.base import Outline
from bbcodec.images.formats.png import (
    ADAM7,
    DEEP_COLOUR,
    FILE_LEVEL,
    Header,
    parse_header,
    read_chunks,
    take_apart,
    write_png,
)
from bbcodec.images.formats.png_filters import filtered, paeth
from bbcodec.images.formats.png_samples import decode_png, encode_png
from bbcodec.images.image_files import palette
from bbcodec.images.samples import image_samples
from bbcodec.sample_formats import SAMPLE_FORMATS


def written(samples, sample_format, skeleton=b"", step=None, **options):
    stream = io.BytesIO()
    height, width = samples.shape[:2]
    bands = [samples[top : top + (step or height)] for top in range(0, height, step or height)]
    write_png(stream, Outline("png", sample_format, width, height, skeleton), bands, **{"level": FILE_LEVEL, **options})
    return stream.getvalue()


# --- files


@settings(deadline=None, max_examples=80)
@given(st.sampled_from(sorted(SAMPLE_FORMATS)), sizes(20), st.booleans(), st.integers(0, 99))
def test_every_sample_format_is_taken_apart_and_written(sample_format, size, interlaced, seed):
    samples = random_samples(sample_format, *size, seed)
    file = png_of(samples, sample_format, interlaced=interlaced)
    header, skeleton = take_apart(io.BytesIO(file))
    assert header == Header(sample_format, *size, interlaced)
    again = written(samples, sample_format, skeleton, step=3)
    assert take_apart(io.BytesIO(again)) == (header, skeleton)
    for each in (file, again) if sample_format not in DEEP_COLOUR else ():
        assert np.array_equal(image_samples(opened(each), SAMPLE_FORMATS[sample_format]), samples)


@pytest.mark.parametrize("sample_format", ["L1", "L8", "L16", "LA8", "RGB8", "RGBA8", "P8"])
@pytest.mark.parametrize("filtering", [None, False, True])
def test_large_images_in_many_bands_and_chunks(sample_format, filtering):
    generator = np.random.default_rng(0)
    shape = (700, 900, SAMPLE_FORMATS[sample_format].channels)
    samples = generator.integers(0, 2 ** SAMPLE_FORMATS[sample_format].depth, shape).astype(
        SAMPLE_FORMATS[sample_format].dtype
    )
    skeleton = b"\0PLTE\x06abcdef" if sample_format == "P8" else b""
    files = [written(samples, sample_format, skeleton, step, filtering=filtering) for step in (None, 7, 300)]
    assert len(set(files)) == 1
    assert np.array_equal(image_samples(opened(files[0]), SAMPLE_FORMATS[sample_format]), samples)


def test_metadata_is_what_is_not_pixels():
    samples = random_samples("L8", 3, 2)
    gamma, text = png_chunk(b"gAMA", struct.pack(">I", 45455)), png_chunk(b"tEXt", b"Author\0me")
    for before, after, interlaced, skeleton in [
        (b"", b"", False, b""),
        (b"", b"", True, b"\x01"),
        (gamma, b"", False, b"\x00gAMA\x04\x00\x00\xb1\x8f"),
        (gamma, text, True, b"\x01gAMA\x04\x00\x00\xb1\x8fIDATtEXt\x09Author\0me"),
        (b"", text, False, b"\x00IDATtEXt\x09Author\0me"),
        (gamma, b"more", False, b"\x00gAMA\x04\x00\x00\xb1\x8fIDAT\0end\x04more"),
    ]:
        tail = after if after == b"more" else b""
        file = png_of(samples, "L8", before, b"" if tail else after, interlaced) + tail
        assert take_apart(io.BytesIO(file)) == (Header("L8", 3, 2, interlaced), skeleton)
        types = [chunk_type for chunk_type, _ in read_chunks(io.BytesIO(file))]
        assert [chunk_type for chunk_type, _ in read_chunks(io.BytesIO(written(samples, "L8", skeleton)))] == types


def test_interlacing_covers_each_pixel_once():
    seen = np.zeros((8, 8), int)
    for column, row, column_step, row_step in ADAM7:
        seen[row::row_step, column::column_step] += 1
    assert (seen == 1).all()


def joined_idat(file, cut):
    """The same PNG with its pixels in two chunks, and one between them if `cut` is given."""
    start = file.index(b"IDAT") - 4
    length = struct.unpack(">I", file[start : start + 4])[0]
    content = file[start + 8 : start + 8 + length]
    pieces = [png_chunk(b"IDAT", content[:5]), cut, png_chunk(b"IDAT", content[5:])]
    return file[:start] + b"".join(pieces) + file[start + 12 + length :]


GOOD = png_of(random_samples("L8", 5, 4), "L8")
REFUSED = {
    "nothing": b"",
    "only a signature": GOOD[:8],
    "another file": b"GIF89a" + GOOD,
    "no IHDR": GOOD[:8] + GOOD[33:],
    "IHDR twice": GOOD[:33] + GOOD[8:],
    "no pixels": png_of(random_samples("L8", 5, 4), "L8")[:33] + png_chunk(b"IEND", b""),
    "pixels in two places": joined_idat(GOOD, png_chunk(b"tEXt", b"a\0b")),
    "much after the end": GOOD + bytes(2**18 + 1),
    "a type that is no type": png_of(random_samples("L8", 5, 4), "L8", png_chunk(b"\0end", b"")),
    "cut": GOOD[:-5],
    "data in IEND": GOOD[:-12] + png_chunk(b"IEND", b"x"),
    "wrong CRC of IDAT": GOOD[:-20] + bytes([GOOD[-20] ^ 1]) + GOOD[-19:],
    "an animation": png_of(random_samples("L8", 5, 4), "L8", png_chunk(b"acTL", struct.pack(">II", 1, 0))),
    "too much skeleton": png_of(random_samples("L8", 5, 4), "L8", png_chunk(b"tEXt", b"a\0" + bytes(2**18))),
    "too many chunks": png_of(random_samples("L8", 5, 4), "L8", png_chunk(b"tEXt", b"") * 2**15),
    "16-bit grey with alpha": png_file(2, 2, 16, 4, (b"\0" + bytes(range(8))) * 2),
    "unknown interlacing": png_file(1, 1, 8, 0, b"\0\x07", interlaced=2),
}


@pytest.mark.parametrize("case", REFUSED)
def test_others_are_refused(case):
    try:
        found = take_apart(io.BytesIO(REFUSED[case]))
    except (ValueError, struct.error, IndexError):
        return
    assert found is None


def test_pixels_in_two_chunks_are_one():
    assert take_apart(io.BytesIO(joined_idat(GOOD, b""))) == take_apart(io.BytesIO(GOOD))


def test_headers():
    pack = struct.Struct(">IIBBBBB").pack
    assert parse_header(pack(7, 9, 4, 3, 0, 0, 1)) == Header("P4", 7, 9, True)
    for bad in [
        (0, 9, 8, 0, 0, 0, 0),
        (7, 0, 8, 0, 0, 0, 0),
        (7, 9, 8, 0, 1, 0, 0),
        (7, 9, 8, 0, 0, 1, 0),
        (7, 9, 3, 0, 0, 0, 0),
    ]:
        assert parse_header(pack(*bad)) is None


@given(st.binary(max_size=40), st.sampled_from(sorted(SAMPLE_FORMATS)))
def test_any_skeleton_writes_a_file_or_is_damage(skeleton, sample_format):
    samples = random_samples(sample_format, 3, 2)
    try:
        palette("png", sample_format, skeleton)
        written(samples, sample_format, skeleton)
    except DamagedArchive:
        pass


@pytest.mark.parametrize("skeleton", [b"\x02", b"\0abc", b"\0tEXt\x09abc", b"\xff"])
def test_malformed_skeleton_is_damage(skeleton):
    with pytest.raises(DamagedArchive):
        written(random_samples("L8", 3, 2), "L8", skeleton)
    with pytest.raises(DamagedArchive):
        palette("png", "P8", skeleton)


# --- palettes


@pytest.mark.parametrize("alpha", [b"", b"\x00", b"\x80\xff\x00", b"\xff\xff", bytes(9)])
def test_palette_with_transparency(alpha):
    colours = random_palette(4)
    before = png_chunk(b"PLTE", colours.tobytes()) + (png_chunk(b"tRNS", alpha) if alpha else b"")
    file = png_of(random_samples("P2", 5, 4), "P2", before)
    _, skeleton = take_apart(io.BytesIO(file))
    found = palette("png", "P2", skeleton)
    assert np.array_equal(found[:, :3], colours)
    shown = np.asarray(opened(file).convert("RGBA"))
    assert np.array_equal(np.asarray(found)[random_samples("P2", 5, 4)[:, :, 0]], shown[:, :, : found.shape[1]])
    assert (found.shape[1] == 4) == (bool(alpha) and set(alpha) != {255})


def test_no_palette():
    assert palette("png", "L8", b"\0PLTE\x03abc") is None
    assert palette("png", "P8", b"") is None
    assert palette("png", "P8", b"\0PLTE\x04abcd") is None
    assert palette("raw", "P8", b"\0\0") is None
    with pytest.raises(DamagedArchive):
        palette("png", "P9", b"")


# --- filters


def test_filters_are_those_of_the_specification():
    """Each filtered row, undone by the letter of section 9, is the row."""
    rows = random_samples("RGB8", 20, 30).reshape(30, 60)
    rows[5:9] = rows[4]
    above = rows[-1]
    out = filtered(rows, above, 3)
    assert len(set(out[:, 0].tolist())) > 2
    for row, line in zip(out, rows, strict=True):
        number, back = int(row[0]), []
        for place, value in enumerate(row[1:].tolist()):
            a = back[place - 3] if place >= 3 else 0
            b = int(above[place])
            c = int(above[place - 3]) if place >= 3 else 0
            nearest = min((a, b, c), key=lambda each: abs(a + b - c - each))
            back.append((value + (0, a, b, (a + b) // 2, nearest)[number]) % 256)
        assert back == line.tolist()
        above = line


@given(hnp.arrays(np.uint8, (3, 50)))
def test_paeth_is_the_nearest(three):
    expected = [
        min((int(a), int(b), int(c)), key=lambda each: abs(int(a) + int(b) - int(c) - each)) for a, b, c in three.T
    ]
    assert paeth(*three).tolist() == expected


# --- as a classical form


@settings(deadline=None, max_examples=80)
@given(st.sampled_from(sorted(set(SAMPLE_FORMATS) - set(DEEP_COLOUR))), sizes(), st.integers(0, 99))
def test_encoded_samples_are_decoded(sample_format, size, seed):
    samples = random_samples(sample_format, *size, seed)
    again = decode_png(encode_png(samples, sample_format), sample_format, *size)
    assert again.dtype == samples.dtype
    assert np.array_equal(again, samples)


def test_decoding_takes_only_what_was_said():
    samples = random_samples("RGB8", 4, 3)
    data = encode_png(samples, "RGB8")
    for bad, sample_format, width, height in [
        (data, "RGB8", 5, 3),
        (data, "RGB8", 4, 2),
        (data, "RGBA8", 4, 3),
        (data, "P9", 4, 3),
        (data[:-20], "RGB8", 4, 3),
        (b"", "RGB8", 4, 3),
        (encode_png(samples[:, :, :1] & 1, "L1"), "L8", 4, 3),
        (png_of(samples, "RGB8", interlaced=True), "RGB8", 4, 3),
        (png_file(4, 3, 8, 2, b"\0" * 9), "RGB8", 4, 3),
        (png_file(2**31 - 1, 2**31 - 1, 8, 2, b""), "RGB8", 4, 3),
    ]:
        with pytest.raises(DamagedArchive):
            decode_png(bad, sample_format, width, height)


@settings(deadline=None, max_examples=100)
@given(st.data())
def test_damage_is_reported_as_such(data):
    stored = bytearray(encode_png(random_samples("RGBA8", 9, 7), "RGBA8"))
    stored[data.draw(st.integers(0, len(stored) - 1))] ^= data.draw(st.integers(1, 255))
    with pytest.raises(DamagedArchive):
        decode_png(bytes(stored), "RGBA8", 9, 7)


def compared():
    generator = np.random.default_rng(0)
    slope = np.add.outer(np.arange(200), np.arange(300))
    sprite = np.kron(generator.integers(0, 2, (4, 4, 4)), np.ones((8, 8, 1))).astype(np.uint8) * 255
    return {
        "photo": ("RGB8", photos.astronaut()),
        "grey photo": ("L8", photos.camera()[:, :, None]),
        "scan": ("L8", photos.page()[:, :, None]),
        "logo": ("RGBA8", photos.logo()),
        "grey and alpha": ("LA8", np.dstack((photos.camera(), photos.camera()[::-1]))),
        "noise": ("RGB8", generator.integers(0, 256, (300, 300, 3), dtype=np.uint8)),
        "two levels of noise": ("L1", generator.integers(0, 2, (300, 300, 1), dtype=np.uint8)),
        "shape": ("L1", photos.horse()[:, :, None].astype(np.uint8)),
        "slope": ("RGB8", slope.astype(np.uint8)[:, :, None].repeat(3, axis=2)),
        "steep slope": ("L16", (slope * 99).astype(np.uint16)[:, :, None]),
        "16-bit noise": ("L16", generator.integers(0, 2**16, (99, 99, 1), dtype=np.uint16)),
        "sprite": ("RGBA8", sprite),
        "a pixel": ("L8", np.zeros((1, 1, 1), np.uint8)),
        "flat": ("RGB8", np.zeros((400, 400, 3), np.uint8)),
    }


@pytest.mark.parametrize("case", compared())
def test_not_larger_than_pillow_makes_it(case):
    sample_format, samples = compared()[case]
    ours, pillows = (
        encode_png(samples, sample_format),
        saved(pillow_image(samples, sample_format), "PNG", optimize=True),
    )
    # Python and Pillow may be linked with different builds of zlib, which differ by a little at equal effort.
    assert len(ours) <= len(pillows) + 64 + len(pillows) // 200
