"""The storage codings `lzma` and `lzma-planar`: one LZMA2 stream of the samples of several images."""

from __future__ import annotations

import lzma
import math
from typing import TYPE_CHECKING

from bbcodec.binary import compress_lzma, decompress_lzma
from bbcodec.errors import DamagedArchive
from bbcodec.images.codings.base import Shape, SheetShape, StorageCoding

if TYPE_CHECKING:
    from bbcodec.images.samples import Bytes


class LZMACoding(StorageCoding):
    """Samples in the order (N, H, W, C)."""

    name = "lzma"
    together = True

    def _encode_sheet(self, images: Bytes, hard: bool) -> bytes:
        return compress_lzma(images.tobytes(), _filters(aligned=images.shape[3] == 4))

    def _decode_sheet(self, data: bytes, shape: SheetShape) -> Bytes:
        return _decompressed(data, math.prod(shape), aligned=shape[3] == 4).reshape(shape)


class PlanarLZMACoding(StorageCoding):
    """Samples in the order (C, N, H, W)."""

    name = "lzma-planar"
    together = True

    def sheet_images(self, shape: Shape) -> int:
        """None of one channel: the order would be that of `lzma`."""
        return super().sheet_images(shape) if shape[2] > 1 else 0

    def _encode_sheet(self, images: Bytes, hard: bool) -> bytes:
        return compress_lzma(images.transpose(3, 0, 1, 2).tobytes(), _filters(aligned=False))

    def _decode_sheet(self, data: bytes, shape: SheetShape) -> Bytes:
        count, height, width, channels = shape
        planes = _decompressed(data, math.prod(shape), aligned=False).reshape(channels, count, height, width)
        return planes.transpose(1, 2, 3, 0).copy()


def _filters(*, aligned: bool) -> list[dict[str, int]]:
    """LZMA2 as the format fixes it. aligned: pixels are 4 bytes, as of RGBA, which lp and pb use."""
    bits = {"lc": 2, "lp": 2, "pb": 2} if aligned else {"lc": 3, "lp": 0, "pb": 0}
    return [{"id": lzma.FILTER_LZMA2, "preset": 9 | lzma.PRESET_EXTREME, "dict_size": 2**24, **bits}]


def _decompressed(data: bytes, size: int, *, aligned: bool) -> Bytes:
    """The `size` samples of a stream. Raises DamagedArchive for another number of them."""
    import numpy as np

    content = decompress_lzma(data, size, _filters(aligned=aligned))
    if len(content) != size:
        raise DamagedArchive(f"images of the archive have {len(content)} samples, where it says {size}")
    return np.frombuffer(content, np.uint8)
