"""Classical codings: WebP, PNG and JPEG XL for one image, and for many of one size sheets and LZMA2.

`docs/format.md` names them. Images are uint8 (H, W, C), C from 1 to 4. Those of two levels (0 and 1) are 0 and 255 in
WebP and JPEG XL and one bit in PNG; those of 65536 levels (uint16, C = 1) are coded as PNG only.
"""

from __future__ import annotations

import lzma
from collections.abc import Callable
from types import ModuleType
from typing import Any, Final

import numpy as np

from bbcodec.binary import MAX_VALUES, compress_lzma, decompress_lzma
from bbcodec.errors import DamagedArchive, MissingCodec
from bbcodec.images.formats.png import decode_png, encode_png
from bbcodec.images.formats.webp import decode_webp, encode_webp
from bbcodec.sample_formats import Bytes, Samples

ALONE: Final = ("webp", "png", "jpegxl")
TOGETHER: Final = ("webp", "jpegxl", "lzma", "lzma-planar")

PNG_KINDS: Final = {
    (1, 2): "L1", (1, 256): "L8", (1, 65536): "L16", (2, 256): "LA8", (3, 256): "RGB8", (4, 256): "RGBA8",
}  # fmt: skip

# JPEG XL's effort 9 takes 7 us a pixel (measured, 512 x 512 RGB) and 7 a quarter of that.
JPEGXL_CAREFUL_PIXELS: Final = 2**18


# --- one image -------------------------------------------------------------------------------------------------------


def encode_alone(samples: Samples, levels: int, coding: str) -> bytes:
    """An image (H, W, C) of 2, 256 or 65536 levels as `webp`, `png` or `jpegxl`.

    Raises ValueError where the coding does not take such an image, MissingCodec without imagecodecs.
    """
    if coding not in ALONE or (samples.shape[2], levels) not in PNG_KINDS or (coding != "png" and levels > 256):
        raise ValueError(f"{coding} does not take {samples.shape[2]} channels of {levels} levels")
    if coding == "png":
        return encode_png(samples, PNG_KINDS[samples.shape[2], levels])
    pixels = samples * np.uint8(255) if levels == 2 else samples
    return encode_webp(pixels) if coding == "webp" else encode_jpegxl(pixels)


def decode_alone(data: bytes, levels: int, coding: str, height: int, width: int, channels: int) -> Samples:
    """The image (H, W, C) of `encode_alone`. Raises DamagedArchive for anything else, MissingCodec as there."""
    known = coding in ALONE and (channels, levels) in PNG_KINDS and (coding == "png" or levels <= 256)
    _check_size(1, height, width, channels)
    if not known:
        raise DamagedArchive(f"the archive holds {coding} of {channels} channels and {levels} levels")
    if coding == "png":
        return decode_png(data, PNG_KINDS[channels, levels], width, height)
    decode = decode_webp if coding == "webp" else decode_jpegxl
    pixels = decode(data, channels, width, height)
    if levels == 256:
        return pixels
    if not np.isin(pixels, (0, 255)).all():
        raise DamagedArchive("an image of two levels in the archive has others")
    return pixels & np.uint8(1)


def _check_size(*shape: int) -> None:
    values = 1
    for size in shape:
        values *= size
    if not 1 <= values <= MAX_VALUES:
        raise DamagedArchive(f"the archive says that something has {values} samples: out of bounds")


# --- many images of one size -----------------------------------------------------------------------------------------


def encode_together(images: Bytes, coding: str, hard: bool = True) -> bytes:
    """Images (N, H, W, C) as one stream. `hard`: WebP at quality 100, which takes ten to a hundred times as long as 90.

    `webp` and `jpegxl`: one image of all, one below the other. `lzma`: a raw LZMA2 stream of the samples in C order.
    `lzma-planar`: the same of (C, N, H, W). Raises ValueError for a WebP of over 16,383 rows or columns, MissingCodec
    without imagecodecs.
    """
    count, height, width, channels = images.shape
    sheet = images.reshape(count * height, width, channels)
    if coding == "webp":
        return encode_webp(sheet, quality=100 if hard else 90)
    if coding == "jpegxl":
        return encode_jpegxl(sheet)
    if coding not in TOGETHER:
        raise ValueError(f"expected one of {', '.join(TOGETHER)}, got {coding}")
    ordered = np.moveaxis(images, 3, 0) if coding == "lzma-planar" else images
    return compress_lzma(ordered.tobytes(), _lzma_filters(coding, channels))


def decode_together(data: bytes, coding: str, count: int, height: int, width: int, channels: int) -> Bytes:
    """The images (N, H, W, C) of `encode_together`. Raises DamagedArchive for anything else, MissingCodec as there."""
    _check_size(count, height, width, channels)
    shape = (count, height, width, channels)
    if coding not in TOGETHER or channels > 4:
        raise DamagedArchive(f"the archive holds images of {channels} channels together as {coding}")
    if coding in ("webp", "jpegxl"):
        decode: Callable[[bytes, int, int, int], Bytes] = decode_webp if coding == "webp" else decode_jpegxl
        return decode(data, channels, width, count * height).reshape(shape)
    size = count * height * width * channels
    content = decompress_lzma(data, size, _lzma_filters(coding, channels))
    if len(content) != size:
        raise DamagedArchive(f"images of the archive have {len(content)} samples, where it says {size}")
    flat = np.frombuffer(content, np.uint8)
    if coding == "lzma":
        return flat.reshape(shape)
    return np.ascontiguousarray(np.moveaxis(flat.reshape(channels, count, height, width), 0, 3))


def _lzma_filters(coding: str, channels: int) -> list[dict[str, int]]:
    """LZMA2 as the format fixes it. RGBA pixels are aligned to 4 bytes, which lp and pb use."""
    aligned = coding == "lzma" and channels == 4
    bits = {"lc": 2, "lp": 2, "pb": 2} if aligned else {"lc": 3, "lp": 0, "pb": 0}
    return [{"id": lzma.FILTER_LZMA2, "preset": 9 | lzma.PRESET_EXTREME, "dict_size": 2**24, **bits}]


# --- JPEG XL ---------------------------------------------------------------------------------------------------------


def require_jpegxl() -> ModuleType:
    """The package that codes JPEG XL. Raises MissingCodec where it is not installed."""
    try:
        import imagecodecs
    except ImportError:
        raise MissingCodec("JPEG XL needs the package imagecodecs: pip install imagecodecs") from None
    module: ModuleType = imagecodecs
    return module


def encode_jpegxl(pixels: Bytes) -> bytes:
    """A lossless JPEG XL codestream of pixels uint8 (H, W, C). Raises MissingCodec without imagecodecs."""
    effort = 9 if pixels.shape[0] * pixels.shape[1] <= JPEGXL_CAREFUL_PIXELS else 7
    grey = pixels[:, :, 0] if pixels.shape[2] == 1 else pixels
    data: bytes = require_jpegxl().jpegxl_encode(grey, lossless=True, effort=effort, numthreads=1)
    return data


def decode_jpegxl(data: bytes, channels: int, width: int, height: int) -> Bytes:
    """The pixels (H, W, C) of a JPEG XL codestream that an archive holds.

    Raises DamagedArchive unless it has this form and size, MissingCodec without imagecodecs.
    """
    codecs = require_jpegxl()
    if jpegxl_size(data) != (width, height):
        raise DamagedArchive(f"a JPEG XL of the archive is not of {width}x{height}, as the archive says")
    try:
        pixels: Any = codecs.jpegxl_decode(data, numthreads=1)
    except (RuntimeError, ValueError, MemoryError):  # imagecodecs raises JpegxlError, a RuntimeError, and others
        raise DamagedArchive("a JPEG XL of the archive cannot be decoded") from None
    if pixels.dtype != np.uint8 or pixels.size != height * width * channels:
        raise DamagedArchive(f"a JPEG XL of the archive does not have {channels} channels of 8 bits")
    shaped: Bytes = pixels.reshape(height, width, channels)
    return shaped


# Width by height for each ratio code from 1 on (ISO/IEC 18181-1, SizeHeader).
JPEGXL_RATIOS: Final = ((1, 1), (12, 10), (4, 3), (3, 2), (16, 9), (5, 4), (2, 1))


def jpegxl_size(data: bytes) -> tuple[int, int] | None:
    """Width and height in the header of a JPEG XL codestream, or None if it is none (ISO/IEC 18181-1, SizeHeader).

    Read here, so that nothing is allocated for an image of another size than the archive says.
    """
    if data[:2] != b"\xff\x0a":
        return None
    bits = int.from_bytes(data[2:16], "little")

    def take(count: int) -> int:
        nonlocal bits
        value = bits & (1 << count) - 1
        bits >>= count
        return value

    def take_side(by_eight: int) -> int:
        return 8 * (1 + take(5)) if by_eight else 1 + take((9, 13, 18, 30)[take(2)])

    by_eight = take(1)
    height = take_side(by_eight)
    ratio = take(3)
    if ratio == 0:
        return take_side(by_eight), height
    across, down = JPEGXL_RATIOS[ratio - 1]
    return height * across // down, height
