"""Lossless WebP files taken apart and joined, and WebP as a classical form."""

import contextlib
import io
import struct

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from image_examples import opened, random_samples, saved, sizes
from PIL import Image

from bbcodec.errors import DamagedArchive
from bbcodec.images.formats.webp import MAX_SIDE, decode_webp, encode_webp, read_chunks, skeleton_of
from bbcodec.images.image_files import Picture, join_image, split_image

CHANNELS = {1: "L8", 2: "LA8", 3: "RGB8", 4: "RGBA8"}
EXIF = b"Exif\0\0II*\0\x08\0\0\0\0\0\0\0\0\0"


def webp(sample_format="RGB8", seed=0, **options):
    samples = random_samples(sample_format, 13, 9, seed)
    return saved(Image.fromarray(samples), "WEBP", lossless=True, exact=True, **options)


def riff(*chunks):
    body = b"".join(
        struct.pack("<4sI", chunk_type, len(data)) + data + bytes(len(data) % 2) for chunk_type, data in chunks
    )
    return b"RIFF" + struct.pack("<I", len(body) + 4) + b"WEBP" + body


# --- files


@pytest.mark.parametrize("sample_format", ["RGB8", "RGBA8"])
@pytest.mark.parametrize("options", [{}, {"exif": EXIF}, {"xmp": b"<x/>"}, {"icc_profile": b"p" * 131, "exif": EXIF}])
def test_metadata_comes_back(sample_format, options):
    data = webp(sample_format, **options)
    picture = split_image(data)
    assert picture.form == "webp"
    assert picture.sample_format == sample_format
    assert np.array_equal(picture.samples, random_samples(sample_format, 13, 9))
    assert bool(picture.skeleton) == bool(options)
    joined = join_image(picture)
    assert opened(joined).info == opened(data).info
    assert opened(joined).mode == opened(data).mode
    assert [chunk for chunk in read_chunks(joined) if chunk[0] != b"VP8L"] == [
        chunk for chunk in read_chunks(data) if chunk[0] != b"VP8L"
    ]


def test_unknown_chunks_come_back_in_their_place():
    payload = dict(read_chunks(webp(exif=EXIF)))[b"VP8L"]
    head = dict(read_chunks(webp(exif=EXIF)))[b"VP8X"]
    chunks = [(b"VP8X", head), (b"abcd", b"odd"), (b"VP8L", payload), (b"EXIF", EXIF), (b"wxyz", b"")]
    picture = split_image(riff(*chunks))
    again = list(read_chunks(join_image(picture)))
    assert [chunk_type for chunk_type, _ in again] == [chunk_type for chunk_type, _ in chunks]
    assert [chunk for chunk in again if chunk[0] != b"VP8L"] == [chunk for chunk in chunks if chunk[0] != b"VP8L"]


def test_an_opaque_image_stays_one_with_alpha():
    """libwebp drops an alpha channel of 255; a file that has one must have it again."""
    data = bytearray(webp("RGB8"))
    data[24] |= 0x10
    assert opened(bytes(data)).mode == "RGBA"
    picture = split_image(bytes(data))
    assert picture.sample_format == "RGBA8"
    assert opened(join_image(picture)).mode == "RGBA"


def test_hidden_colours_come_back():
    samples = random_samples("RGBA8", 13, 9)
    samples[:, :, 3] = 0
    data = saved(Image.fromarray(samples), "WEBP", lossless=True, exact=True)
    assert np.array_equal(np.asarray(opened(join_image(split_image(data)))), samples)


def test_others_are_not_split():
    image = Image.fromarray(random_samples("RGBA8", 13, 9))
    good = webp()
    for data in (
        saved(image, "WEBP", quality=50),
        saved(image.convert("RGB"), "WEBP", quality=50),
        saved(image, "WEBP", lossless=True, save_all=True, append_images=[image.rotate(90)]),
        good + b"\0",
        good[:-3],
        good[:20],
        riff(*read_chunks(good), (b"abcd", bytes(2**18 + 1))),
    ):
        assert split_image(data) is None


def test_chunks_are_read_strictly():
    assert skeleton_of(riff((b"abcd", b""))) is None
    for bad in (b"", b"RIFF", riff()[:-1], riff((b"abcd", b"x"))[:-1] + b"\1", b"RIFF\x0c\0\0\0WEBPVP8L\x09\0\0\0"):
        with pytest.raises((ValueError, struct.error)):
            list(read_chunks(bad))


@given(st.binary(max_size=40))
def test_any_skeleton_joins_or_is_damage(skeleton):
    with contextlib.suppress(DamagedArchive):
        join_image(Picture("webp", "RGB8", random_samples("RGB8", 3, 2), skeleton))


@pytest.mark.parametrize("sample_format", ["L8", "P8", "L16", "LA8"])
def test_other_sample_formats_are_damage(sample_format):
    with pytest.raises(DamagedArchive):
        join_image(Picture("webp", sample_format, random_samples(sample_format, 3, 2), b""))


# --- as a classical form


@settings(max_examples=60)
@given(st.integers(1, 4), sizes(), st.integers(0, 99), st.booleans())
def test_encoded_pixels_are_decoded(channels, size, seed, opaque):
    pixels = random_samples(CHANNELS[channels], *size, seed)
    if opaque and channels in (2, 4):
        pixels[:, :, -1] = 255
    data = encode_webp(pixels, quality=20, method=1)
    assert np.array_equal(decode_webp(data, channels, *size), pixels)


def test_bounds_of_the_format():
    pixels = np.zeros((1, MAX_SIDE + 1, 1), np.uint8)
    for bad in (pixels, pixels.reshape(-1, 1, 1), pixels[:0]):
        with pytest.raises(ValueError, match="16383"):
            encode_webp(bad)
    assert decode_webp(encode_webp(pixels[:, 1:]), 1, MAX_SIDE, 1).shape == (1, MAX_SIDE, 1)
    with pytest.raises(DamagedArchive):
        join_image(Picture("webp", "RGB8", pixels.repeat(3, axis=2), b""))


def test_decoding_takes_only_what_was_said():
    grey, colour, alpha = (
        encode_webp(random_samples(sample_format, 4, 3)) for sample_format in ("L8", "RGB8", "RGBA8")
    )
    huge = riff((b"VP8L", b"\x2f" + struct.pack("<I", 16382 | 16382 << 14)))
    lossy = saved(Image.new("RGB", (4, 3)), "WEBP")
    for data, channels, width, height in [
        (grey, 1, 5, 3),
        (grey, 1, 4, 2),
        (colour, 1, 4, 3),
        (colour, 2, 4, 3),
        (alpha, 1, 4, 3),
        (alpha, 2, 4, 3),
        (alpha, 3, 4, 3),
        (alpha[:-4], 4, 4, 3),
        (lossy, 3, 4, 3),
        (huge, 3, 4, 3),
        (huge, 3, 16383, 16383),
        (riff((b"VP8L", b"")), 3, 4, 3),
        (riff((b"VP8L", b"abcdefgh")), 3, 4, 3),
        (b"", 3, 4, 3),
    ]:
        with pytest.raises(DamagedArchive):
            decode_webp(data, channels, width, height)


@settings(max_examples=100)
@given(st.data())
def test_damage_is_no_other_error(data):
    stored = bytearray(encode_webp(random_samples("RGBA8", 9, 7), method=0))
    stored[data.draw(st.integers(0, len(stored) - 1))] ^= data.draw(st.integers(1, 255))
    with contextlib.suppress(DamagedArchive):
        assert decode_webp(bytes(stored), 4, 9, 7).shape == (7, 9, 4)


def test_a_stream_of_this_kind_opens_elsewhere():
    pixels = random_samples("LA8", 4, 3)
    shown = np.asarray(Image.open(io.BytesIO(encode_webp(pixels))))
    assert np.array_equal(shown, pixels[:, :, [0, 0, 0, 1]])
