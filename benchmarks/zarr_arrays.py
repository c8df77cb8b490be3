"""Microscopy as a zarr array: bytes of all chunks with bbcodec, beside blosc, zstd and JPEG XL; all come back."""

from __future__ import annotations

from typing import Any

import numcodecs
import numpy as np
import zarr
from common import arguments, bits_per_dim, needed, save
from numpy.typing import NDArray

from bbcodec.integrations.zarr_codecs import BBCodec

Values = NDArray[np.uint8]


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


def stored(images: Values, chunk: int, **how: Any) -> int:
    """The bytes of all chunks of an array, of `chunk` images each. Leaves where it does not come back."""
    array = zarr.create_array({}, data=images, chunks=(chunk, *images.shape[1:]), **how)
    if not np.array_equal(array[:], images):
        raise SystemExit(f"{how} does not give back what was stored")
    return int(array.nbytes_stored())


def main() -> None:
    parser = arguments(__doc__ or "", "zarr_arrays")
    parser.add_argument("--codec", default="grey-3", help="of bbcodec")
    options = parser.parse_args()
    numcodecs.register_codec(JpegXl)
    images = np.load(needed(options.data / "microscopy_test.npy"))
    zstd = zarr.codecs.ZstdCodec(level=9)
    blosc = zarr.codecs.BloscCodec(cname="zstd", clevel=9, shuffle="bitshuffle")
    rows = []
    for chunk in (1, 16):
        kinds: dict[str, dict[str, Any]] = {
            "zstd": {"compressors": zstd},
            "blosc": {"compressors": blosc},
            "jpegxl": {"compressors": JpegXl(), "zarr_format": 2},
            "bbcodec": {"serializer": BBCodec(options.codec), "compressors": None},
        }
        sizes = {name: stored(images, chunk, **how) for name, how in kinds.items()}
        rates = {name: bits_per_dim(size, images.size) for name, size in sizes.items()}
        rows.append({"images_a_chunk": chunk, "bytes": sizes, "bits_per_dim": rates})
    result = {"shape": list(images.shape), "codec": options.codec, "rows": rows}
    save(options, parser, "the microscopy test set", result)


if __name__ == "__main__":
    main()
