"""The storage coding `webp`: lossless WebP."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from bbcodec.images.codings.base import Effort, PictureCoding, Shape

if TYPE_CHECKING:
    from bbcodec.images.samples import Bytes

# libwebp's effort: quality, 0 to 100, and method, 0 to 6.
EFFORTS: Final[dict[Effort, tuple[int, int]]] = {
    "image": (80, 6), "sheet": (90, 6), "hard sheet": (100, 6), "least": (0, 0), "glance": (0, 1), "look": (20, 4),
}  # fmt: skip


class WebPCoding(PictureCoding):
    """A single VP8L chunk; grey is R = G = B. Raises ValueError over 16,383 pixels a side."""

    name = "webp"
    hard_sheets = True
    max_side = 16383

    def encode_picture(self, pixels: Bytes, effort: Effort) -> bytes:
        """A WebP of pixels uint8 (H, W, C)."""
        from bbcodec.images.formats.webp import encode_webp

        return encode_webp(pixels, *EFFORTS[effort])

    def decode_picture(self, data: bytes, shape: Shape) -> Bytes:
        """The pixels of a WebP."""
        from bbcodec.images.formats.webp import decode_webp

        height, width, channels = shape
        return decode_webp(data, channels, width, height)
