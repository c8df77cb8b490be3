"""Does everything grow in step? Time and memory from one small image to 50,000, and from 32 to 4,000 pixels a side.

    python benchmarks/scaling.py --data DATA [--codec photo-3] [--cores 1 2] [--quick]

Small images are crops of 32 x 32 pixels as PNG files; single ones are parts of a mosaic of the photos. Each case is
compressed, with the check of its result, and restored, on so many cores and with as many jobs. Memory is the most that
the process and its workers held together. The claims: time above that of one image of 32 x 32 is linear in the number
of pixels, and memory stays below 1.5 GB; the script leaves with status 1 where one does not hold. --quick stops at a
megapixel. Needs DATA/kodak/*.png, or other PNG photos in DATA; times are only good on an idle machine.
"""

from __future__ import annotations

import sys
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from common import Pixels, arguments, codec_words, load_average, measured, on_cores, photo_files, pixels, save
from large import mosaic
from PIL import Image

Image.MAX_IMAGE_PIXELS = None
SMALL = 32  # pixels a side of many images
COUNTS = (1, 10, 100, 1000, 10_000, 50_000)
SIDES = (32, 100, 320, 1000, 2000, 4000)
QUICK_PIXELS = 2**20  # about as many as a case of --quick has at most
MEMORY_MB = 1500
STEEPEST = 1.5  # times as long a pixel as in a case of at least a tenth of the pixels, and a megapixel
FILES_A_FOLDER = 5000


@dataclass(frozen=True)
class Case:
    """So many images of one size."""

    count: int
    side: int

    @property
    def pixels(self) -> int:
        """Of all images."""
        return self.count * self.side**2


def crops(paths: list[Path]) -> Iterator[Pixels]:
    """Crops of 32 x 32 pixels, no two of one place; then the same turned and mirrored."""
    photos = [pixels(path) for path in paths]
    for turn in range(8):
        for photo in photos:
            for i in range(0, photo.shape[0] - SMALL + 1, SMALL):
                for j in range(0, photo.shape[1] - SMALL + 1, SMALL):
                    crop = photo[i : i + SMALL, j : j + SMALL]
                    yield np.rot90(crop[:, ::-1] if turn & 1 else crop, turn >> 1)


def write(case: Case, paths: list[Path], folder: Path) -> None:
    """Write the images of a case as PNG files."""
    if case.count == 1 and case.side != SMALL:
        Image.fromarray(mosaic(paths, case.side)).save(folder / "image.png", compress_level=1)
        return
    written = 0
    for number, crop in zip(range(case.count), crops(paths), strict=False):
        path = folder / f"{number // FILES_A_FOLDER:03d}" / f"image_{number:06d}.png"
        path.parent.mkdir(exist_ok=True)
        Image.fromarray(crop).save(path)
        written += 1
    if written < case.count:
        sys.exit(f"the photos have {written} crops of {SMALL} x {SMALL} pixels, expected {case.count}")


def same(before: Path, after: Path) -> bool:
    """Whether all images came back, by a look at each of a few and at the number of all."""
    names = sorted(path.relative_to(before) for path in before.rglob("*.png"))
    some = names[:: max(1, len(names) // 20)]
    back = sum(1 for _ in after.rglob("*.png"))
    return back == len(names) and all(np.array_equal(pixels(before / name), pixels(after / name)) for name in some)


def measure(case: Case, cores: int, source: Path, codec: str) -> dict[str, Any]:
    """The row of a case whose images are in the folder `source`."""
    choice, known = codec_words(codec)
    how = ["--jobs", str(cores), "--quiet"]
    with tempfile.TemporaryDirectory(prefix="bbcodec-scaling-") as name, on_cores(cores):
        archive, restored = Path(name, "images.bb"), Path(name, "restored")
        found = {
            "compress_checked": measured("compress", source, "-o", archive, *how, *choice),
            "decompress": measured("decompress", archive, "-o", restored, *how, *known),
        }
        if not same(source, restored):
            sys.exit(f"{case.count} images of {case.side} x {case.side} pixels were not restored")
        size = archive.stat().st_size
    row = {"images": case.count, "side": case.side, "pixels": case.pixels, "cores": cores, "archive_bytes": size}
    seconds = {way: round(spent, 3) for way, (spent, _) in found.items()}
    return {**row, "seconds": seconds, "memory_mb": {way: round(most / 1e6) for way, (_, most) in found.items()}}


def with_rates(rows: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """The rows with microseconds a pixel, above the time of one image of 32 x 32 pixels on as many cores."""
    least = {row["cores"]: row["seconds"] for row in rows if row["pixels"] == SMALL**2}
    for row in rows:
        above = {way: spent - least[row["cores"]][way] for way, spent in row["seconds"].items()}
        row["us_per_pixel"] = {way: round(1e6 * spent / row["pixels"], 3) for way, spent in above.items()}
    return rows


def claims(rows: list[dict[str, Any]]) -> dict[str, Any]:
    """Whether memory stays below its bound, and how much longer a pixel takes in larger cases than in smaller ones."""
    memory = max(most for row in rows for most in row["memory_mb"].values())
    growth = 0.0
    for large in rows:
        for small in rows:
            alike = (large["images"] > 1, large["cores"]) == (small["images"] > 1, small["cores"])
            if alike and 1e6 <= small["pixels"] < large["pixels"] <= 20 * small["pixels"]:
                ways = large["us_per_pixel"].items()
                growth = max([growth, *(us / max(1e-3, small["us_per_pixel"][way]) for way, us in ways)])
    return {
        "most_memory_mb": memory,
        "memory_holds": memory < MEMORY_MB,
        "most_growth_of_time_a_pixel": round(growth, 2),
        "linear": growth < STEEPEST,
    }


def main() -> None:
    """Measure and write the result."""
    parser = arguments(__doc__ or "", "scaling")
    parser.add_argument("--codec", default="photo-3", help="name of a trained codec, or a .bbc file")
    parser.add_argument("--cores", nargs="+", type=int, default=[1, 2], help="and as many jobs")
    parser.add_argument("--quick", action="store_true", help="cases of up to a megapixel")
    options = parser.parse_args()
    paths, before = photo_files(options.data, 24), load_average()
    cases = [Case(count, SMALL) for count in COUNTS] + [Case(1, side) for side in SIDES[1:]]
    rows = []
    for case in cases:
        if options.quick and case.pixels > QUICK_PIXELS:
            continue
        with tempfile.TemporaryDirectory(prefix="bbcodec-scaling-") as name:
            write(case, paths, Path(name))
            for cores in options.cores:
                rows.append(measure(case, cores, Path(name), options.codec))
                print(f"{case.count} x {case.side}, {cores} cores: {rows[-1]['seconds']}", file=sys.stderr, flush=True)
    result = {
        "codec": Path(options.codec).stem,
        "load_average_before_and_after": [before, load_average()],
        **claims(with_rates(rows)),
        "rows": rows,
    }
    save(options, parser, "crops and mosaics of the photos", result)
    if not (result["memory_holds"] and result["linear"]):
        sys.exit("a claim does not hold")


if __name__ == "__main__":
    main()
