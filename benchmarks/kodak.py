"""The 24 Kodak photos: one archive against PNG, WebP and JPEG XL, and one photo alone against its share.

    python benchmarks/kodak.py --data DATA

Needs DATA/kodak/*.png. Every restored pixel is compared. No codec was trained or tuned on these photos.
"""

from __future__ import annotations

import sys
import tempfile
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
from common import arguments, bbcodec, bits_per_dim, jpegxl_encoded, listed, needed, pixels, save, webp_bytes
from PIL import Image


def peers(files: list[Path]) -> dict[str, int | None]:
    """Bytes of all files together, each compressed by itself."""
    totals: dict[str, int | None] = {"png_as_they_come": sum(path.stat().st_size for path in files)}
    photos = [pixels(path) for path in files]
    with ThreadPoolExecutor() as threads:
        for name, quality in (("webp_m6", 80), ("webp_m6_q100", 100)):
            totals[name] = sum(threads.map(lambda photo, q=quality: webp_bytes(Image.fromarray(photo), q), photos))
        encodings = {e: list(threads.map(lambda photo, e=e: jpegxl_encoded(photo, e), photos)) for e in (7, 9)}
    for effort, encoded in encodings.items():
        totals[f"jpegxl_e{effort}"] = sum(map(len, filter(None, encoded))) if all(encoded) else None
    return totals


def compare(files: list[Path], restored: Path) -> None:
    """Leave with a message if a pixel is not back."""
    back = {path.name: path for path in restored.rglob("*.png")}
    for path in files:
        if path.name not in back or not np.array_equal(pixels(path), pixels(back[path.name])):
            sys.exit(f"{path.name} was not restored")


def alone(path: Path, folder: Path, codec: str, share: int) -> dict[str, Any]:
    """One photo in an archive of its own, against what it takes in the archive of all."""
    archive = folder / f"{path.stem}.bb"
    bbcodec("compress", path, "-o", archive, "--codec", codec)
    return {"file": path.name, "archive_bytes": archive.stat().st_size, "bytes_in_the_folder": share}


def main() -> None:
    """Measure and write the result."""
    parser = arguments(__doc__, "kodak")
    parser.add_argument("--codec", default="auto", help="name or file; auto: what a user gets")
    parser.add_argument("--alone", type=int, default=3, help="how many photos to compress alone too")
    options = parser.parse_args()
    files = sorted(needed(options.data / "kodak").glob("*.png"))
    dims = {path.name: pixels(path).size for path in files}
    total_dims = sum(dims.values())
    with tempfile.TemporaryDirectory(prefix="bbcodec-kodak-") as name:
        folder = Path(name)
        archive = folder / "kodak.bb"
        bbcodec("compress", *files, "-o", archive, "--codec", options.codec)
        entries = {Path(entry["name"]).name: entry for entry in listed(archive)["files"]}
        bbcodec("decompress", archive, "-o", folder / "restored")
        compare(files, folder / "restored")
        ours = archive.stat().st_size
        shares = {path.name: entries[path.name]["stored_bytes"] for path in files}
        result = {
            "bbcodec": {
                "archive_bytes": ours,
                "bits_per_dim": bits_per_dim(ours, total_dims),
                "codecs": [codec["name"] for codec in listed(archive)["codecs"]],
                "stored_as": dict(Counter(entry["how"] for entry in entries.values())),
                "bytes_of_files": shares,
            },
            "peers": {
                key: None if size is None else {"bytes": size, "bits_per_dim": bits_per_dim(size, total_dims)}
                for key, size in peers(files).items()
            },
            "alone": [alone(path, folder, options.codec, shares[path.name]) for path in files[: options.alone]],
            "pixels_compared": "all equal",
        }
    save(options, parser, f"Kodak, {len(files)} photos, {total_dims:,} dimensions, never trained on", result)


if __name__ == "__main__":
    main()
