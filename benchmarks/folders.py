"""Folders: many strange images come back, and 4,265 sprites beside a zip of the PNGs, WebP files and WebP sheets.

Both folders are compressed, restored, and compared by code that knows nothing of bbcodec: equal bytes, or all that
Pillow sees. Strange images are made by `tests/strange.py`.
"""

from __future__ import annotations

import importlib.util
import os
import shutil
import sys
import tempfile
from collections import defaultdict
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
from common import HERE, arguments, bbcodec, listed, needed, save, webp_bytes, zip_bytes
from PIL import Image

SHEET_SIDE = 16383  # of the WebP format


def strange() -> ModuleType:
    """The module `tests/strange.py`."""
    spec = importlib.util.spec_from_file_location("strange", HERE.parent / "tests" / "strange.py")
    if spec is None or spec.loader is None:
        sys.exit("tests/strange.py is missing")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def round_trip(folder: Path, work: Path, checker: ModuleType) -> dict[str, Any]:
    """Compress, restore, and compare a folder."""
    archive, restored = work / "out.bb", work / "restored"
    _, seconds = bbcodec("compress", folder, "-o", archive)
    _, back = bbcodec("decompress", archive, "-o", restored)
    names = sorted(path.relative_to(folder) for path in folder.rglob("*") if path.is_file())
    equal = sum((folder / name).read_bytes() == (restored / name).read_bytes() for name in names)
    same = sum(looks_the_same(checker, folder / name, restored / name) for name in names)
    shutil.rmtree(restored)
    kept = archive.stat().st_size
    how: dict[str, int] = defaultdict(int)
    for file in listed(archive)["files"]:
        how[file["how"]] += 1
    archive.unlink()
    return {
        "files": len(names),
        "files_the_same": same,
        "of_which_byte_for_byte": equal,
        "file_bytes": sum((folder / name).stat().st_size for name in names),
        "archive_bytes": kept,
        "how": dict(sorted(how.items())),
        "seconds_compress": round(seconds, 1),
        "seconds_decompress": round(back, 1),
    }


def looks_the_same(checker: ModuleType, first: Path, second: Path) -> bool:
    """Whether `tests/strange.py` finds no difference, which it is asked to tell."""
    try:
        checker.check_same(first, second)
    except AssertionError as error:
        print(error, file=sys.stderr)
        return False
    return True


def rgba(path: Path) -> np.ndarray[Any, Any]:
    """The pixels of a file, (H, W, 4)."""
    with Image.open(path) as image:
        return np.asarray(image.convert("RGBA"))


def webp_of(path: Path) -> list[int]:
    """Sizes as WebP of quality 80 and 100."""
    image = Image.fromarray(rgba(path))
    return [webp_bytes(image, quality) for quality in (80, 100)]


def sheet_bytes(images: list[np.ndarray[Any, Any]], columns: int) -> int:
    """Bytes of images of one size as WebP sheets (quality 100) of so many columns, as large as WebP allows."""
    height, width = images[0].shape[:2]
    most = columns * (SHEET_SIDE // height)
    total = 0
    for start in range(0, len(images), most):
        some = images[start : start + most]
        rows = -(-len(some) // columns)
        sheet = np.zeros((rows * height, columns * width, 4), np.uint8)
        for number, image in enumerate(some):
            row, column = divmod(number, columns)
            sheet[row * height : (row + 1) * height, column * width : (column + 1) * width] = image
        total += webp_bytes(Image.fromarray(sheet), 100)
    return total


def peers(folder: Path) -> dict[str, int]:
    """The sprites as other tools would store them; WebP keeps the colours, but no palettes, names or metadata."""
    paths = sorted(path for path in folder.rglob("*") if path.is_file())
    with ProcessPoolExecutor() as pool:
        each = np.array(list(pool.map(webp_of, paths, chunksize=32)))
        sizes: dict[tuple[int, ...], list[np.ndarray[Any, Any]]] = defaultdict(list)
        for path in paths:
            image = rgba(path)
            sizes[image.shape[:2]].append(image)
        square = [max(1, round(len(images) ** 0.5)) for images in sizes.values()]
        in_squares = sum(pool.map(sheet_bytes, sizes.values(), square))
        in_columns = sum(pool.map(sheet_bytes, sizes.values(), [1] * len(sizes)))
    return {
        "zip of the PNGs": zip_bytes(paths),
        "WebP each, quality 80": int(each[:, 0].sum()),
        "WebP each, quality 100": int(each[:, 1].sum()),
        "WebP sheets, a square for each size, quality 100": in_squares,
        "WebP sheets, one column for each size, quality 100": in_columns,
    }


def main() -> None:
    parser = arguments(__doc__ or "", "folders")
    options = parser.parse_args()
    sprites = needed(options.data / "sprites")
    checker = strange()
    with tempfile.TemporaryDirectory() as scratch:
        odd = Path(scratch, "strange")
        odd.mkdir()
        made = {"by Pillow and by hand": checker.make(odd)}
        if tool := checker.magick():
            made["by ImageMagick"] = checker.make_with_magick(odd, tool)
        result = {
            "strange_images_made": made,
            "strange_images": round_trip(odd, Path(scratch), checker),
            "sprites": round_trip(sprites, Path(scratch), checker),
            "sprites_peers_bytes": peers(sprites),
        }
    data = "images made by tests/strange.py; Dungeon Crawl tiles, 4,265 PNG files (CC0)"
    save(options, parser, data, result)


if __name__ == "__main__":
    os.environ.setdefault("OMP_NUM_THREADS", "1")
    main()
