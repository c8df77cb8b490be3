"""The storage coding `predicted`: predictions and probabilities that learn as they go (`docs/coding.md` 15)."""

from __future__ import annotations

from typing import TYPE_CHECKING

from bbcodec.errors import DamagedArchive
from bbcodec.images.codings.base import Shape, SheetShape, StorageCoding

if TYPE_CHECKING:
    from bbcodec.images.samples import Samples

SHEET_SAMPLES = 2**21  # in a sheet: a second of decoding, or up to four of drawings that hardly repeat themselves


class PredictedCoding(StorageCoding):
    """The stream of `bbcodec.prediction.streams`: 1 to 4 channels of 8 and 16 bits, and one of two levels."""

    name = "predicted"
    alone = True
    together = True
    sheet_types = ("uint8", "uint16")
    sheet_pixels = 2**20

    def takes(self, channels: int, levels: int) -> bool:
        """256 and 65,536 levels, and 2 of one channel."""
        return 1 <= channels <= 4 if levels in (256, 65536) else (channels, levels) == (1, 2)

    def sheet_images(self, shape: Shape) -> int:
        """As many as are decoded within a few seconds."""
        return max(SHEET_SAMPLES // (shape[0] * shape[1] * shape[2]), 1)

    def _encode(self, image: Samples, levels: int) -> bytes:
        return self._encode_sheet(image[None], hard=False)

    def _decode(self, data: bytes, shape: Shape, levels: int) -> Samples:
        image: Samples = self._decode_sheet(data, (1, *shape))[0]
        if image.itemsize != (2 if levels == 65536 else 1):
            raise DamagedArchive(f"the archive holds predicted images of {8 * image.itemsize} bits for {levels} levels")
        if levels == 2 and image.max() > 1:
            raise DamagedArchive("an image of two levels in the archive has others")
        return image

    def _encode_sheet(self, images: Samples, hard: bool) -> bytes:
        from bbcodec.prediction.streams import pack_images

        return pack_images(images)

    def _decode_sheet(self, data: bytes, shape: SheetShape) -> Samples:
        from bbcodec.prediction.streams import unpack_images

        return unpack_images(data, shape)
