"""One image of 100 megapixels: memory while it is compressed and restored.

It is a mosaic of the Kodak photos, mirrored and with changed colours where they come again.
"""

from __future__ import annotations

import tempfile
from pathlib import Path

import numpy as np
from common import arguments, bits_per_dim, measured, needed, pixels, save
from PIL import Image

Image.MAX_IMAGE_PIXELS = None


def mosaic(paths: list[Path], side: int) -> np.ndarray[tuple[int, ...], np.dtype[np.uint8]]:
    """An image (side, side, 3) of photos of 768 x 512 pixels."""
    photos = [pixels(path) for path in paths]
    photos = [photo if photo.shape[0] == 512 else np.rot90(photo) for photo in photos]
    out = np.zeros((side, side, 3), np.uint8)
    places = [(row, column) for row in range(0, side, 512) for column in range(0, side, 768)]
    for number, (row, column) in enumerate(places):
        again, photo = divmod(number, len(photos))
        tile = photos[photo]
        tile = tile[::-1] if again & 1 else tile
        tile = tile[:, ::-1] if again & 2 else tile
        tile = tile[..., [1, 2, 0]] if again & 4 else tile
        part = out[row : row + 512, column : column + 768]
        part[:] = tile[: part.shape[0], : part.shape[1]]
    return out


def main() -> None:
    parser = arguments(__doc__ or "", "large")
    parser.add_argument("--side", type=int, default=10_000, help="pixels")
    parser.add_argument("--jobs", type=int, default=4, help="worker processes, which take most of the memory")
    options = parser.parse_args()
    paths = sorted(needed(options.data / "kodak").glob("*.png"))
    with tempfile.TemporaryDirectory() as scratch:
        source, archive, restored = Path(scratch, "large.png"), Path(scratch, "out.bb"), Path(scratch, "back")
        image = mosaic(paths, options.side)
        Image.fromarray(image).save(source, compress_level=6)
        seconds, memory = measured("compress", source, "-o", archive, "--no-verify", "--jobs", str(options.jobs))
        back, memory_back = measured("decompress", archive, "-o", restored, "--jobs", str(options.jobs))
        if not np.array_equal(image, pixels(restored / "large.png")):
            raise SystemExit("the image came back with other pixels")
        result = {
            "megapixels": options.side**2 / 1e6,
            "png_bytes": source.stat().st_size,
            "archive_bytes": archive.stat().st_size,
            "bits_per_dim": bits_per_dim(archive.stat().st_size, image.size),
            "jobs": options.jobs,
            "memory_mb": {"compress": round(memory / 1e6), "decompress": round(memory_back / 1e6)},
            "seconds": {"compress": round(seconds), "decompress": round(back)},
        }
    save(options, parser, "a mosaic of the 24 Kodak photos", result)


if __name__ == "__main__":
    main()
