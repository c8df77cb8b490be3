"""Image files and their pixels: which files can be given back from pixels alone, and how.

A file is split into pixels and metadata (`split_image`) only where joining them again (`join_image`) is certain to give
back the same picture. Two ways are safe without trusting anybody's writer:

- *png*: ancillary chunks are kept verbatim and pixels are written anew. The result is decoded and compared, with all
  that Pillow knows of the picture, before the split is accepted. The bytes of the file change, the picture does not.
- *raw*: the file contains its pixels as plain bytes somewhere (BMP, PPM, uncompressed TIFF). What lies before and after
  is the metadata, so the file comes back byte for byte.

Lossless WebP files are split as PNG files are (*webp*). Everything else is left as bytes.

Pixels are uint8 arrays (H, W, C): C = 3 for RGB, 1 for `L` (levels 0 to 255) and for `1` (levels 0 and 1).
"""

from __future__ import annotations

import io
import struct
import warnings
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Final, NamedTuple

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from bbcodec.container import MAX_VALUES, pack_varint, take_varint
from bbcodec.errors import DamagedArchive

Pixels = NDArray[np.uint8]

PNG_SIGNATURE: Final = b"\x89PNG\r\n\x1a\n"
MAX_METADATA_BYTES: Final = 2**18  # a file with more around its pixels is kept as bytes; the index stays small
WEBP_MAX_SIDE: Final = 16383  # of the WebP format


class Probe(NamedTuple):
    """What the header of an image file says."""

    format: str
    mode: str
    width: int
    height: int
    frames: int

    @property
    def may_split(self) -> bool:
        """Whether its pixels are of a kind that a codec takes. Cheap: the last word is `split_image`'s."""
        known = self.mode in CHANNELS and self.format in ("PNG", "WEBP", "BMP", "DIB", "PPM", "TIFF")
        return known and self.frames == 1 and 1 <= self.width * self.height * CHANNELS[self.mode] <= MAX_VALUES


CHANNELS: Final = {"1": 1, "L": 1, "RGB": 3}


@dataclass(frozen=True)
class Picture:
    """An image file taken apart: `form` is `png`, `raw` or `webp`, as in `docs/format.md`."""

    form: str
    mode: str
    pixels: Pixels
    metadata: bytes


class Layout(NamedTuple):
    """How a file stores its pixels as plain bytes."""

    bits: bool = False  # one bit a pixel, highest first
    inverted: bool = False
    bottom_up: bool = False
    bgr: bool = False
    align: int = 1  # rows are padded by zeros to a multiple of so many bytes
    white: int = 1  # the byte of a set pixel of mode "1"


# Numbered in docs/format.md.
LAYOUTS: Final = (
    Layout(),
    Layout(bottom_up=True, bgr=True, align=4),
    Layout(bits=True),
    Layout(bits=True, inverted=True),
    Layout(bits=True, bottom_up=True, align=4),
    Layout(white=255),
)


@contextmanager
def _pillow() -> Iterator[None]:
    """Pillow's warnings (among them that of a decompression bomb) as errors, so that such files are kept as bytes."""
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        yield


# What Pillow raises on a broken or hostile file is not documented; these have been seen.
BAD_IMAGE: Final = (
    OSError, SyntaxError, ValueError, TypeError, KeyError, IndexError, EOFError, AttributeError, ArithmeticError,
    MemoryError, Warning, struct.error, zlib.error, Image.DecompressionBombError,
)  # fmt: skip


def probe(source: str | bytes | io.BytesIO) -> Probe | None:
    """What the header of an image says (a path or a stream; decodes no pixels), or None if Pillow reads none."""
    try:
        with _pillow(), Image.open(source) as image:
            frames = int(getattr(image, "n_frames", 1))
            return Probe(str(image.format), image.mode, image.width, image.height, frames)
    except BAD_IMAGE:
        return None


# --- splitting and joining -------------------------------------------------------------------------------------------


def split_image(data: bytes) -> Picture | None:
    """The picture of an image file, or None where it could not be given back from its pixels."""
    seen = probe(io.BytesIO(data))
    if seen is None or not seen.may_split:
        return None
    try:
        with _pillow(), Image.open(io.BytesIO(data)) as image:
            image.load()
            pixels = image_pixels(image)
        if data.startswith(PNG_SIGNATURE):
            metadata, form = _png_metadata(data, seen.mode), "png"
        elif seen.format == "WEBP":
            metadata, form = _webp_metadata(data), "webp"
        else:
            metadata, form = _raw_metadata(data, pixels, seen.mode), "raw"
        if metadata is None or len(metadata) > MAX_METADATA_BYTES:
            return None
        picture = Picture(form, seen.mode, pixels, metadata)
        return picture if _same(data, join_image(picture)) else None
    except (*BAD_IMAGE, DamagedArchive):
        return None


def join_image(picture: Picture) -> bytes:
    """The image file of a picture. Raises DamagedArchive if the metadata is not of its form."""
    if picture.form == "png":
        return _join_png(picture)
    if picture.form == "webp":
        return encode_webp(picture.pixels, picture.mode)
    return _join_raw(picture)


def image_pixels(image: Image.Image) -> Pixels:
    """The pixels of an image of mode `1`, `L` or `RGB`: (H, W, C), 0 and 1 for mode `1`."""
    pixels = np.asarray(image)
    return np.ascontiguousarray(pixels.reshape(*pixels.shape[:2], -1).astype(np.uint8))


def pixel_image(pixels: Pixels, mode: str) -> Image.Image:
    """The Pillow image of `mode` with these pixels; the inverse of `image_pixels`."""
    height, width, channels = pixels.shape
    if channels != CHANNELS[mode]:
        raise DamagedArchive(f"an image of mode {mode} has {channels} channels")
    if mode == "1":
        packed = np.packbits(pixels[:, :, 0], axis=1)
        return Image.frombytes("1", (width, height), packed.tobytes())
    return Image.frombytes(mode, (width, height), pixels.tobytes())


def _same(first: bytes, second: bytes) -> bool:
    """Whether two files are the same picture to Pillow: format, mode, size, pixels, frames, info, EXIF, text."""
    return first == second or _essence(first) == _essence(second)


def _essence(data: bytes) -> tuple[object, ...]:
    with _pillow(), Image.open(io.BytesIO(data)) as image:
        image.load()
        exif = dict(image.getexif())
        text = getattr(image, "text", None)
        frames = getattr(image, "n_frames", 1)
        palette = image.getpalette()
        kind = image.format, image.mode, image.size, frames
        return (*kind, palette, image.info, exif, text, image.tobytes())


# --- PNG -------------------------------------------------------------------------------------------------------------


def _png_chunks(data: bytes) -> Iterator[tuple[bytes, bytes]]:
    """Type and whole bytes of every chunk of a PNG; ValueError on a bad length or CRC, or bytes after the end."""
    position, kind = len(PNG_SIGNATURE), b""
    while kind != b"IEND":
        length, kind = struct.unpack(">I4s", data[position : position + 8])
        end = position + 12 + length
        crc = data[end - 4 : end]
        if end > len(data) or crc != struct.pack(">I", zlib.crc32(data[position + 4 : end - 4])):
            raise ValueError("a chunk is cut short or its CRC is wrong")
        yield kind, data[position:end]
        position = end
    if position != len(data):
        raise ValueError("bytes after IEND")


def _png_metadata(data: bytes, mode: str) -> bytes | None:
    """Ancillary chunks of a PNG that stores `mode` plainly: the count of bytes before IDAT, and all of them; else None.

    Pillow shows 16-bit RGB as 8 bits and 2-bit grey as `L`, so bit depth and colour type are read from the file.
    """
    before, after, seen_pixels = b"", b"", False
    for kind, chunk in _png_chunks(data):
        if kind == b"IHDR":
            depth, color, _, _, interlaced = chunk[16:21]
            if (depth, color, interlaced) != (1 if mode == "1" else 8, 2 if mode == "RGB" else 0, 0):
                return None
        elif kind in (b"acTL", b"fcTL", b"fdAT"):
            return None  # an animation, were it of a single frame
        elif kind == b"IDAT":
            seen_pixels = True
        elif kind != b"IEND" and not seen_pixels:
            before += chunk
        elif kind != b"IEND":
            after += chunk
    return pack_varint(len(before)) + before + after if before or after else b""


def _join_png(picture: Picture) -> bytes:
    chunks = dict[bytes, bytes]()
    for kind, chunk in _png_chunks(encode_png(picture.pixels, picture.mode, optimize=False)):
        chunks[kind] = chunks.get(kind, b"") + chunk
    before, after = b"", b""
    if picture.metadata:
        length, start = take_varint(picture.metadata, 0)
        before, after = picture.metadata[start : start + length], picture.metadata[start + length :]
    return PNG_SIGNATURE + chunks[b"IHDR"] + before + chunks[b"IDAT"] + after + chunks[b"IEND"]


def encode_png(pixels: Pixels, mode: str, *, optimize: bool = True) -> bytes:
    """A PNG of the pixels, without metadata; `optimize` for the smallest."""
    stream = io.BytesIO()
    pixel_image(pixels, mode).save(stream, "PNG", optimize=optimize)
    return stream.getvalue()


# --- WebP ------------------------------------------------------------------------------------------------------------


def _webp_metadata(data: bytes) -> bytes | None:
    """No metadata for a WebP that is a single lossless chunk and nothing else; None for others."""
    simple = data[12:16] == b"VP8L" and struct.unpack("<I", data[16:20])[0] + 20 in (len(data), len(data) - 1)
    return b"" if simple and len(data) == struct.unpack("<I", data[4:8])[0] + 8 else None


def encode_webp(pixels: Pixels, mode: str) -> bytes:
    """A lossless WebP of the pixels, method 6. Raises ValueError over 16,383 pixels a side."""
    if max(pixels.shape[:2]) > WEBP_MAX_SIDE:
        raise ValueError(f"WebP holds at most {WEBP_MAX_SIDE} pixels a side")
    image = pixel_image(pixels * np.uint8(255), "L") if mode == "1" else pixel_image(pixels, mode)
    stream = io.BytesIO()
    image.convert("RGB").save(stream, "WEBP", lossless=True, method=6)
    return stream.getvalue()


def decode_stored(data: bytes, how: str, mode: str, width: int, height: int) -> Pixels:
    """The pixels of a WebP or PNG that an archive holds, which must have this size. Raises DamagedArchive."""
    try:
        with _pillow(), Image.open(io.BytesIO(data), formats=[how.upper()]) as image:
            if image.size != (width, height):
                raise DamagedArchive(f"an image of the archive is {image.size}, where the index says {width}x{height}")
            image.load()
            if how == "png":
                return _of_mode(image_pixels(image), mode)
            pixels = image_pixels(image.convert("RGB"))[:, :, : CHANNELS[mode]]
    except BAD_IMAGE as error:
        raise DamagedArchive(f"an image of the archive cannot be decoded ({type(error).__name__})") from None
    return np.ascontiguousarray(pixels >> np.uint8(7) if mode == "1" else pixels)


def _of_mode(pixels: Pixels, mode: str) -> Pixels:
    if pixels.shape[2] != CHANNELS[mode] or (mode == "1" and pixels.max(initial=0) > 1):
        raise DamagedArchive(f"an image of the archive is not of mode {mode}, as the index says")
    return pixels


# --- raw -------------------------------------------------------------------------------------------------------------


def _raw_metadata(data: bytes, pixels: Pixels, mode: str) -> bytes | None:
    """Layout number and the bytes around the pixels, for a file that has its pixels as plain bytes; else None."""
    for number, layout in enumerate(LAYOUTS):
        if layout.bits and mode != "1":
            continue
        body = _plain_bytes(pixels, layout)
        start = data.find(body) if len(data) - len(body) <= MAX_METADATA_BYTES else -1
        if start >= 0:
            return bytes([number]) + pack_varint(start) + data[:start] + data[start + len(body) :]
    return None


def _join_raw(picture: Picture) -> bytes:
    if not picture.metadata or picture.metadata[0] >= len(LAYOUTS):
        raise DamagedArchive("an image of the archive has an unknown layout")
    body = _plain_bytes(picture.pixels, LAYOUTS[picture.metadata[0]])
    length, start = take_varint(picture.metadata, 1)
    return picture.metadata[start : start + length] + body + picture.metadata[start + length :]


def _plain_bytes(pixels: Pixels, layout: Layout) -> bytes:
    """The pixels as the plain bytes of a layout."""
    if layout.bottom_up:
        pixels = pixels[::-1]
    if layout.bgr:
        pixels = pixels[:, :, ::-1]
    rows = pixels.reshape(len(pixels), -1)  # (H, W * C)
    if layout.bits:
        rows = np.packbits(rows ^ np.uint8(1) if layout.inverted else rows, axis=1)
    elif layout.white != 1:
        rows = rows * np.uint8(layout.white)
    padded = np.pad(rows, ((0, 0), (0, -rows.shape[1] % layout.align)))
    return padded.tobytes()
