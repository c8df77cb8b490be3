"""Folders whose codecs learn from them first (`compress --adapt`), beside the shipped codecs alone.

    python benchmarks/adapting.py --data DATA [--minutes 20] [--mix] [--jobs 2] [--sets kodak sprites ...]

With --mix, both are mixed with contexts that learn while they code (`compress --mix`); rows of their own.

Everything is in the archive: what was learned, too. Archives are decoded and compared by compress itself, and restored
by another process. Sets that DATA lacks are left out; results of other sets stay in the file.
"""

from __future__ import annotations

import json
import shutil
import sys
import tempfile
from pathlib import Path
from typing import Any

import numpy as np
from common import arguments, bbcodec, bits_per_dim, command, load_average, save
from folders import strange
from PIL import Image

SETS = ("kodak", "microscopy", "sprites", "strange")
MIXED = ", mixed"  # after the names of rows


def fill(name: str, data: Path, folder: Path) -> int:
    """Put the files of a set into a folder. Returns the values of their pixels; 0 where the data are missing."""
    if name == "strange":
        strange().make(folder)
    elif name == "microscopy":
        path = data / "microscopy_train.npy"
        for number, image in enumerate(np.load(path) if path.exists() else ()):
            Image.fromarray(image.reshape(image.shape[:2])).save(folder / f"{number:05}.png")
    else:
        for path in sorted((data / name).glob("*.png")):
            shutil.copy(path, folder)
    return sum(values_of(path) for path in folder.iterdir() if path.is_file())


def values_of(path: Path) -> int:
    """Pixels times channels of an image file; 0 of other files."""
    try:
        with Image.open(path) as image:
            return image.width * image.height * len(image.getbands())
    except Exception:  # what a strange file makes Pillow raise
        return 0


def compressed(folder: Path, archive: Path, *words: str) -> dict[str, Any]:
    """Compress and restore a folder."""
    told, seconds = bbcodec("compress", folder, "-o", archive, "--json", *words)
    with tempfile.TemporaryDirectory(dir=archive.parent) as restored:
        _, back = bbcodec("decompress", archive, "-o", Path(restored, "out"))
    summary = json.loads(told)
    row = {"bytes": summary["archive_bytes"], "seconds": round(seconds, 1), "seconds_decompress": round(back, 1)}
    return {**row, **({"learned": summary["adapted"]} if "--adapt" in words else {})}


def row(folder: Path, values: int, minutes: str, jobs: str, mix: bool) -> dict[str, Any]:
    """A folder with the shipped codecs, and after learning."""
    archive = folder.parent / "out.bb"
    before = load_average()
    words = ["--mix"] if mix else []
    found = {"shipped": compressed(folder, archive, *words)}
    archive.unlink()
    found["adapted"] = compressed(folder, archive, "--adapt", minutes, "--jobs", jobs, *words)
    for one in found.values():
        one["bits_per_dim"] = bits_per_dim(one["bytes"], values)
    files = [path for path in folder.iterdir() if path.is_file()]
    of_files = sum(path.stat().st_size for path in files)
    return {
        "files": len(files),
        "file_bytes": of_files,
        "values": values,
        "minutes": minutes,
        "mix": mix,
        "load_average_before": before,
        **found,
    }


def main() -> None:
    """Measure and write the result."""
    parser = arguments(__doc__ or "", "adapting")
    parser.add_argument("--minutes", default="20", help="of learning, or auto")
    parser.add_argument("--mix", action="store_true", help="mix codecs with contexts, before and after learning")
    parser.add_argument("--jobs", default="2", help="threads")
    parser.add_argument("--sets", nargs="*", default=list(SETS), help="of " + ", ".join(SETS))
    options = parser.parse_args()
    rows = json.loads(options.out.read_text())["sets"] if options.out.exists() else {}
    for name in options.sets:
        with tempfile.TemporaryDirectory(prefix="bbcodec-adapting-") as scratch:
            folder = Path(scratch, "in")
            folder.mkdir()
            values = fill(name, options.data, folder)
            if values:
                found = row(folder, values, options.minutes, options.jobs, options.mix)
                key = f"{name}{MIXED}" if options.mix else name
                rows[key] = {"command": command(options, parser), **found}
                print(key, rows[key], file=sys.stderr, flush=True)
    save(options, parser, "Kodak, the 274 training images of microscopy, sprites, tests/strange.py", {"sets": rows})


if __name__ == "__main__":
    main()
