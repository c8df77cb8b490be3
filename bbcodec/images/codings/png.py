"""The storage coding `png`: PNG, which takes also one bit and 16."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from bbcodec.images.codings.base import Shape, StorageCoding

if TYPE_CHECKING:
    from bbcodec.images.samples import Samples

# The sample format for these channels and levels.
SAMPLE_FORMATS_OF: Final = {
    (1, 2): "L1", (1, 256): "L8", (1, 65536): "L16", (2, 256): "LA8", (3, 256): "RGB8", (4, 256): "RGBA8",
}  # fmt: skip


class PNGCoding(StorageCoding):
    """The colour type with that number of channels, without other chunks."""

    name = "png"
    alone = True

    def takes(self, channels: int, levels: int) -> bool:
        """Also 65536 levels of one channel."""
        return (channels, levels) in SAMPLE_FORMATS_OF

    def _encode(self, image: Samples, levels: int) -> bytes:
        from bbcodec.images.formats.png_samples import encode_png

        return encode_png(image, SAMPLE_FORMATS_OF[image.shape[2], levels])

    def _decode(self, data: bytes, shape: Shape, levels: int) -> Samples:
        from bbcodec.images.formats.png_samples import decode_png

        height, width, channels = shape
        return decode_png(data, SAMPLE_FORMATS_OF[channels, levels], width, height)
