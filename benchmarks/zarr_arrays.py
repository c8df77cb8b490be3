"""Microscopy, a pyramid of it, and images of 16 bits as zarr arrays: all bytes stored, beside blosc, zstd and JPEG XL.

pip install zarr numcodecs imagecodecs pydicom pydicom-data nibabel dipy
python benchmarks/zarr_arrays.py --data DATA
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numcodecs
import numpy as np
import sixteen_bits
import zarr
from common import arguments, needed, save
from numpy.typing import NDArray

from bbcodec.integrations.zarr_codecs import BBCodec

Values = NDArray[Any]


class JpegXl(numcodecs.abc.Codec):  # type: ignore[misc]
    """Chunks as JPEG XL, an image each, without loss."""

    codec_id = "benchmark-jpegxl"

    def encode(self, buf: Any) -> bytes:
        import imagecodecs

        images = np.asarray(buf)
        streams = [imagecodecs.jpegxl_encode(image, lossless=True, effort=7) for image in images]
        return b"".join(len(stream).to_bytes(4, "little") + stream for stream in streams)

    def decode(self, buf: Any, out: Any = None) -> Any:
        import imagecodecs

        data, images = bytes(buf), []
        while data:
            end = 4 + int.from_bytes(data[:4], "little")
            images.append(imagecodecs.jpegxl_decode(data[4:end]))
            data = data[end:]
        return numcodecs.compat.ndarray_copy(np.stack(images), out)


def stored(levels: Sequence[Values], chunk: int, version: int = 3, **kind: Any) -> int:
    """The bytes of arrays, `chunk` images in each of their chunks. Leaves where they do not come back."""
    total = 0
    for images in levels:
        chunks = min(chunk, len(images)), *images.shape[1:]
        array = zarr.create_array({}, data=images, chunks=chunks, zarr_format=version, **kind)
        if not np.array_equal(array[:], images):
            raise SystemExit(f"{kind} does not give back what was stored")
        total += int(array.nbytes_stored())
    return total


def pyramid(images: Values) -> list[Values]:
    """Images (N, H, W), and twice the same in half the size, as the levels of OME-Zarr are."""
    levels = [images]
    for _ in range(2):
        count, height, width = levels[-1].shape
        squares = levels[-1].reshape(count, height // 2, 2, width // 2, 2)
        levels.append(squares.mean(axis=(2, 4)).round().astype(images.dtype))
    return levels


def main() -> None:
    parser = arguments(__doc__ or "", "zarr_arrays")
    parser.add_argument("--codec", default="grey-3", help="of bbcodec")
    options = parser.parse_args()
    numcodecs.register_codec(JpegXl)
    zstd = zarr.codecs.ZstdCodec(level=9)
    cells = np.load(needed(options.data / "microscopy_test.npy"))
    deep = list(sixteen_bits.images().values())
    sets = {"cells": ([cells], 1), "cells_16": ([cells], 16), "pyramid": (pyramid(cells), 16), "deep": (deep, 16)}
    rows = {}
    for name, (levels, chunk) in sets.items():
        shuffle = "bitshuffle" if levels[0].itemsize == 1 else "shuffle"
        kinds: dict[str, dict[str, Any]] = {
            "zstd": {"compressors": zstd},
            "blosc": {"compressors": zarr.codecs.BloscCodec(cname="zstd", clevel=9, shuffle=shuffle)},
            "jpegxl": {"compressors": JpegXl(), "version": 2},
            "bbcodec": {"serializer": BBCodec(options.codec), "compressors": None},
        }
        sizes = {kind: stored(levels, chunk, **how) for kind, how in kinds.items()}
        rows[name] = {
            "images_a_chunk": chunk,
            "images": sum(map(len, levels)),
            "raw_bytes": sum(level.nbytes for level in levels),
            "bytes": sizes,
        }
        print(name, rows[name], flush=True)
    result = {"shape": list(cells.shape), "codec": options.codec, "rows": rows}
    save(options, parser, "the microscopy test set; the images of sixteen_bits.py", result)


if __name__ == "__main__":
    main()
