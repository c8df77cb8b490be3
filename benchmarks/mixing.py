"""Codecs mixed with contexts that learn while images are coded, beside the same codecs alone.

    python benchmarks/mixing.py --data DATA [--sets kodak]

Needs any of DATA/kodak/*.png, DATA/photos/valid/, DATA/microscopy_test.npy. Messages are of one image each, without an
archive; archives are what `bbcodec compress` makes by itself, with no codec, the shipped ones, and `--mix`. Everything
is restored and compared.
"""

from __future__ import annotations

import sys
import tempfile
import time
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from common import Pixels, arguments, bits_per_dim, listed, load_average, pixels, save
from common import bbcodec as run

import bbcodec

SETS = {
    "kodak": ("Kodak, 24 photos", "kodak", "photo-3"),
    "photos": ("50 photos of about 250 x 190", "photos/valid", "photo-3"),
    "microscopy": ("microscopy, 60 test images", "microscopy_test.npy", "grey-3"),
}
ARCHIVES = {"no codec": ["--codec", "none"], "by default": [], "--mix": ["--mix"]}


@dataclass
class Way:
    """What messages of one kind take, and how long two threads take for them."""

    bytes: int = 0
    seconds_encode: float = 0.0
    seconds_decode: float = 0.0


def images_of(path: Path) -> list[Pixels]:
    """Images (1, H, W, C) of a folder or an array."""
    if path.suffix == ".npy":
        return [np.ascontiguousarray(image[None, ..., None]) for image in np.load(path)]
    return [pixels(file)[None] for file in sorted(path.iterdir()) if file.suffix in (".png", ".webp")]


def messages(codec: bbcodec.Codec, images: list[Pixels], mix: bool, threads: int) -> Way:
    """Encode and decode each image by itself. Leaves with a message if one is not back."""
    codec.decode(codec.encode(images[0], mix=mix))  # compiles
    way = Way()
    with ThreadPoolExecutor(threads) as pool:
        start = time.perf_counter()
        coded = list(pool.map(lambda image: codec.encode(image, mix=mix), images))
        way.seconds_encode = time.perf_counter() - start
        start = time.perf_counter()
        back = list(pool.map(codec.decode, coded))
        way.seconds_decode = time.perf_counter() - start
    if not all(map(np.array_equal, back, images)):
        sys.exit("an image was not restored")
    way.bytes = sum(map(len, coded))
    return way


def archive(path: Path, options: list[str], dims: int) -> dict[str, Any]:
    """What `bbcodec compress` makes of a set, which decodes it once more before it is done."""
    with tempfile.TemporaryDirectory(prefix="bbcodec-mixing-") as folder:
        target = Path(folder) / "out.bb"
        seconds = run("compress", path, "-o", target, *options)[1]
        restoring = run("decompress", target, "-o", Path(folder) / "out")[1]
        size, listing = target.stat().st_size, listed(target)
    stored = Counter(entry["how"] for entry in listing["files"])
    return {
        "bytes": size,
        "bits_per_dim": bits_per_dim(size, dims),
        "seconds_compress_checked": round(seconds, 1),
        "seconds_decompress": round(restoring, 1),
        "stored_as": dict(stored),
    }


def measure(label: str, path: Path, name: str, threads: int) -> dict[str, Any]:
    """A row of the result."""
    images, codec = images_of(path), bbcodec.load_codec(name)
    dims = sum(image.size for image in images)
    ways = {key: messages(codec, images, mix, threads) for key, mix in (("alone", False), ("mixed", True))}
    return {
        "data": label,
        "codec": name,
        "dims": dims,
        "messages": {
            key: {
                "bytes": way.bytes,
                "bits_per_dim": bits_per_dim(way.bytes, dims),
                "mb_per_second_encode": round(dims / 1e6 / way.seconds_encode, 3),
                "mb_per_second_decode": round(dims / 1e6 / way.seconds_decode, 3),
            }
            for key, way in ways.items()
        },
        "archives": {key: archive(path, options, dims) for key, options in ARCHIVES.items()},
    }


def main() -> None:
    """Measure, and write the result."""
    parser = arguments(__doc__, "mixing")
    parser.add_argument("--sets", nargs="+", choices=SETS, default=list(SETS))
    parser.add_argument("--threads", type=int, default=2, help="for messages")
    options = parser.parse_args()
    sets = {}
    for key in options.sets:
        label, place, name = SETS[key]
        if (options.data / place).exists():
            sets[key] = measure(label, options.data / place, name, options.threads)
    if not sets:
        sys.exit(f"{options.data} has none of {', '.join(place for _, place, _ in SETS.values())}")
    result = {"threads": options.threads, "load_before": load_average(), "sets": sets}
    save(options, parser, "see each set", result)


if __name__ == "__main__":
    main()
