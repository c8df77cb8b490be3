"""The storage coding `jpegxl`: lossless JPEG XL, by the optional package imagecodecs."""

from __future__ import annotations

from types import ModuleType
from typing import TYPE_CHECKING, Any, Final

from bbcodec.errors import DamagedArchive
from bbcodec.images.codings.base import Effort, PictureCoding, Shape, required

if TYPE_CHECKING:
    from bbcodec.images.samples import Bytes

# Effort 9 takes 7 us a pixel (measured, 512 x 512 RGB), and 7 a quarter of that.
CAREFUL_PIXELS: Final = 2**18

# Width by height for each ratio code from 1 on (ISO/IEC 18181-1, SizeHeader).
RATIOS: Final = ((1, 1), (12, 10), (4, 3), (3, 2), (16, 9), (5, 4), (2, 1))


class JPEGXLCoding(PictureCoding):
    """A lossless codestream. Raises MissingPackage without imagecodecs."""

    name = "jpegxl"
    needs = "jpegxl"
    on_request = True

    def encode_picture(self, pixels: Bytes, effort: Effort) -> bytes:
        """A codestream of pixels uint8 (H, W, C). Effort depends on the number of pixels alone."""
        level = 9 if pixels.shape[0] * pixels.shape[1] <= CAREFUL_PIXELS else 7
        grey = pixels[:, :, 0] if pixels.shape[2] == 1 else pixels
        data: bytes = require_jpegxl().jpegxl_encode(grey, lossless=True, effort=level, numthreads=1)
        return data

    def decode_picture(self, data: bytes, shape: Shape) -> Bytes:
        """The pixels of a codestream."""
        codecs = require_jpegxl()
        height, width, channels = shape
        if jpegxl_size(data) != (width, height):
            raise DamagedArchive(f"a JPEG XL of the archive is not of {width}x{height}, as the archive says")
        try:
            pixels: Any = codecs.jpegxl_decode(data, numthreads=1)
        except (RuntimeError, ValueError, MemoryError):  # imagecodecs raises JpegxlError, a RuntimeError, and others
            raise DamagedArchive("a JPEG XL of the archive cannot be decoded") from None
        if pixels.dtype != "uint8" or pixels.size != height * width * channels:
            raise DamagedArchive(f"a JPEG XL of the archive does not have {channels} channels of 8 bits")
        shaped: Bytes = pixels.reshape(shape)
        return shaped


def require_jpegxl() -> ModuleType:
    """The package that codes JPEG XL. Raises MissingPackage where it is not installed."""
    return required("imagecodecs", "imagecodecs", "JPEG XL")


def jpegxl_size(data: bytes) -> tuple[int, int] | None:
    """Width and height in the header of a JPEG XL codestream, or None if it is not one (ISO/IEC 18181-1, SizeHeader).

    It is read here so that nothing is allocated for an image of another size than the archive says.
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
    across, down = RATIOS[ratio - 1]
    return height * across // down, height
