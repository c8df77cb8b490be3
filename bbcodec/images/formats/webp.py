"""Lossless WebP files of a single frame: what is in them besides samples, and samples written anew.

The container and the lossless format are RFC 9649. The skeleton of a file that is one VP8L chunk and nothing else is
empty; of others it is the records (`bbcodec.images.chunk_records`) of all chunks of the RIFF container, VP8L for the
pixels.
"""

from __future__ import annotations

import io
import struct
from collections.abc import Iterable, Iterator
from typing import BinaryIO, Final

import numpy as np
from PIL import Image

from bbcodec.errors import DamagedArchive
from bbcodec.images.chunk_records import pack_records, take_records
from bbcodec.images.formats.base import MAX_SKELETON_BYTES, BandSource, FileForm, Outline, Parts
from bbcodec.images.pillow import BAD_IMAGE, strictly
from bbcodec.images.samples import Bytes, Samples, checked_bands
from bbcodec.sample_formats import sample_format_named

MAX_SIDE: Final = 16383  # 14 bits each (RFC 9649, 3.4)
MODES: Final = {1: "RGB", 2: "RGBA", 3: "RGB", 4: "RGBA"}
NOT_STILL: Final = (b"ANIM", b"ANMF", b"ALPH", b"VP8 ")  # animated or lossy
VP8L_HEADER_BYTES: Final = 5
ALPHA_BIT: Final = 0x10  # of the last byte of that header: alpha_is_used

# libwebp's effort, quality and method: for files that are restored (Kodak: 1 % longer than 80 and 4, in half the time),
# and for those that are only looked at.
FILE_EFFORT: Final = (20, 3)
TRIAL_EFFORT: Final = (0, 0)


# --- files -----------------------------------------------------------------------------------------------------------


def read_chunks(data: bytes) -> Iterator[tuple[bytes, bytes]]:
    """Type and data of the chunks of a WebP file. Raises ValueError or struct.error where it is not plainly so."""
    if data[:4] != b"RIFF" or data[8:12] != b"WEBP" or struct.unpack("<I", data[4:8])[0] + 8 != len(data):
        raise ValueError("not a WebP file, or not as long as it says")
    position = 12
    while position < len(data):
        chunk_type, length = struct.unpack("<4sI", data[position : position + 8])
        end = position + 8 + length
        if end + length % 2 > len(data) or (length % 2 and data[end]):
            raise ValueError("a chunk is cut short or its filling is not zero")
        yield chunk_type, data[position + 8 : end]
        position = end + length % 2


def skeleton_of(data: bytes) -> bytes | None:
    """The skeleton of a lossless WebP, or None for one that is lossy or animated, or whose skeleton is too large.

    Raises what `read_chunks` raises.
    """
    chunks = list(read_chunks(data))
    types = [chunk_type for chunk_type, _ in chunks]
    around = sum(len(content) for chunk_type, content in chunks if chunk_type != b"VP8L")
    if types.count(b"VP8L") != 1 or not set(NOT_STILL).isdisjoint(types) or around > MAX_SKELETON_BYTES:
        return None
    # The records of a lone VP8L are empty, as pixels come last by themselves.
    return pack_records(chunks, b"VP8L")


class WebPFile(FileForm):
    """All chunks but the pixels are kept verbatim, and pixels are compressed anew: the same picture."""

    name = "webp"
    pillow_formats = ("WEBP",)
    modes = ("RGB", "RGBA")

    def take_apart(self, image: Image.Image, stream: BinaryIO, bands: BandSource, exact: bool | None) -> Parts | None:
        """As `FileForm` says."""
        skeleton = skeleton_of(stream.read())
        return None if skeleton is None else Parts(f"{image.mode}8", skeleton)

    def join(self, outline: Outline, bands: Iterable[Samples], stream: BinaryIO, *, trial: bool = False) -> None:
        """As `FileForm` says; all samples are held, as libwebp writes from memory."""
        if outline.sample_format not in ("RGB8", "RGBA8"):
            raise DamagedArchive(f"an image of the archive is a WebP of {outline.sample_format}")
        checked = checked_bands(bands, sample_format_named(outline.sample_format), outline.width, outline.height)
        pixels: Bytes = np.concatenate(list(checked))
        try:
            effort = TRIAL_EFFORT if trial else FILE_EFFORT
            coded = bytearray(dict(read_chunks(encode_webp(pixels, *effort)))[b"VP8L"])
        except ValueError as error:
            raise DamagedArchive(f"an image of the archive cannot be a WebP: {error}") from None
        # An opaque image may be marked as one with alpha, and Pillow opens it as RGBA. libwebp would not mark it.
        if outline.sample_format == "RGBA8":
            coded[VP8L_HEADER_BYTES - 1] |= ALPHA_BIT
        pieces = []
        for chunk_type, data in take_records(outline.skeleton, 0, b"VP8L"):
            content = bytes(coded) if chunk_type == b"VP8L" else data
            pieces += [struct.pack("<4sI", chunk_type, len(content)), content, bytes(len(content) % 2)]
        body = b"".join(pieces)
        stream.write(b"RIFF" + struct.pack("<I", len(body) + 4) + b"WEBP" + body)

    def joins_in_bands(self, skeleton: bytes) -> bool:
        """No."""
        return False


FORM: Final = WebPFile()


# --- pixels as a WebP, for an archive --------------------------------------------------------------------------------


def encode_webp(pixels: Bytes, quality: int = 80, method: int = 6) -> bytes:
    """A lossless WebP of pixels uint8 (H, W, C): C = 1 grey, 2 grey and alpha, 3 RGB, 4 RGBA, hidden colours kept.

    `quality` (0 to 100) and `method` (0 to 6) are libwebp's effort. Raises ValueError over 16,383 pixels a side.
    """
    height, width, channels = pixels.shape
    if max(height, width) > MAX_SIDE or not pixels.size:
        raise ValueError(f"WebP holds 1 to {MAX_SIDE} pixels a side, not {width}x{height}")
    if channels < 3:
        pixels = np.concatenate((pixels[:, :, :1].repeat(3, axis=2), pixels[:, :, 1:]), axis=2)
    image = Image.frombytes(MODES[channels], (width, height), pixels.tobytes())
    stream = io.BytesIO()
    image.save(stream, "WEBP", lossless=True, exact=True, quality=quality, method=method)
    return stream.getvalue()


def decode_webp(data: bytes, channels: int, width: int, height: int) -> Bytes:
    """The pixels (H, W, C) of a WebP that an archive holds. Raises DamagedArchive unless it has this form and size."""
    try:
        chunks = list(read_chunks(data))
        if [chunk_type for chunk_type, _ in chunks] != [b"VP8L"] or _size(chunks[0][1]) != (width, height):
            raise DamagedArchive(f"a WebP of the archive is not lossless of {width}x{height}, as the archive says")
        with strictly(width * height), Image.open(io.BytesIO(data), formats=["WEBP"]) as image:
            # An image without transparent pixels is written without alpha.
            opaque = image.mode == "RGB" and channels in (2, 4)
            pixels: Samples = np.asarray(image.convert("RGBA") if opaque else image)
    except (*BAD_IMAGE, ValueError) as error:
        raise DamagedArchive(f"a WebP of the archive cannot be decoded ({type(error).__name__})") from None
    grey = channels < 3
    if pixels.shape != (height, width, len(MODES[channels])) or (grey and np.ptp(pixels[:, :, :3], axis=2).any()):
        raise DamagedArchive(f"a WebP of the archive does not have {channels} channels, as the archive says")
    return np.ascontiguousarray(pixels[:, :, 2:] if channels == 2 else pixels[:, :, :channels])


def _size(payload: bytes) -> tuple[int, int]:
    """Width and height in the header of a VP8L chunk (RFC 9649, 3.4): a byte 0x2f, 14 bits each, less one."""
    signature, bits = struct.unpack("<BI", payload[:VP8L_HEADER_BYTES])
    if signature != 0x2F:
        raise ValueError("not a VP8L chunk")
    return (bits & 0x3FFF) + 1, (bits >> 14 & 0x3FFF) + 1
