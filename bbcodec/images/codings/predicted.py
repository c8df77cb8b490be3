"""The storage coding `predicted`: images of 16 bits as errors of a predictor, in a lossless WebP and fine bits."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from bbcodec.binary import pack_varint, take_varint
from bbcodec.errors import DamagedArchive
from bbcodec.images.codings.base import Shape, SheetShape, StorageCoding
from bbcodec.images.codings.webp import WebPCoding

if TYPE_CHECKING:
    from bbcodec.images.samples import Samples

_WEBP: Final = WebPCoding()


class PredictedCoding(StorageCoding):
    """The rest of `bbcodec.prediction.planes`, behind its length, and a WebP of tokens, images below each other."""

    name = "predicted"
    alone = True
    together = True
    sheet_type = "uint16"

    def takes(self, channels: int, levels: int) -> bool:
        """One channel of 65,536 levels, no others."""
        return (channels, levels) == (1, 65536)

    def sheet_images(self, shape: Shape) -> int:
        """As many of one channel as WebP takes."""
        return _WEBP.sheet_images(shape) if shape[2] == 1 else 0

    def _encode(self, image: Samples, levels: int) -> bytes:
        return self._encode_sheet(image[None], hard=False)

    def _decode(self, data: bytes, shape: Shape, levels: int) -> Samples:
        image: Samples = self._decode_sheet(data, (1, *shape))[0]
        return image

    def _encode_sheet(self, images: Samples, hard: bool) -> bytes:
        from bbcodec.prediction.planes import predicted

        tokens, rest = predicted(images[..., 0])
        picture = _WEBP.encode_picture(tokens.reshape(-1, tokens.shape[2], 1), "sheet")
        return pack_varint(len(rest)) + rest + picture

    def _decode_sheet(self, data: bytes, shape: SheetShape) -> Samples:
        from bbcodec.prediction.planes import restored

        count, height, width, channels = shape
        if channels != 1:
            raise DamagedArchive(f"the archive holds images of 16 bits with {channels} channels")
        size, start = take_varint(data, 0)
        tokens = _WEBP.decode_picture(data[start + size :], (count * height, width, 1))
        return restored(tokens.reshape(count, height, width), data[start : start + size])[..., None]
