"""Quick trials: that no image is stored larger where they settle that WebP, PNG, sheets and LZMA cannot be shorter.

Every set is compressed twice with the same codecs, once with every storage coding coded in full (`thorough` in
`bbcodec.options.StorageOptions`), and the bytes of each file are compared.
"""

from __future__ import annotations

import shutil
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import skimage
from common import arguments, save
from folders import strange
from PIL import Image

from bbcodec.archive.compress import CompressRequest, compress_with
from bbcodec.archive.summary import FileReport
from bbcodec.codec.catalogue import find_codec
from bbcodec.options import RunOptions, StorageOptions

SETS = {
    "kodak": "Kodak, 24 photos",
    "photos": "50 photos of the validation set",
    "bundled": "pictures of scikit-image",
    "microscopy": "microscopy, every third image of the test set",
    "sprites": "Dungeon Crawl tiles",
    "strange": "images made by tests/strange.py",
    "digits": "MNIST digits as files",
    "small photos": "CIFAR-10 images as files",
    "arrays": "arrays of MNIST, CIFAR-10, and microscopy",
}


def fill(name: str, data: Path, folder: Path, few: int) -> bool:
    """Put the files of a set into a folder. few: every so manieth of large sets. False where the data are missing."""
    sources = {
        "kodak": (data / "kodak", "*.png"),
        "photos": (data / "photos" / "valid", "*"),
        "bundled": (Path(skimage.__file__).parent / "data", "*.png"),
        "sprites": (data / "sprites", "*.png"),
    }
    arrays = {
        "microscopy": (data / "microscopy_test.npy", 3),
        "digits": (data / "mnist_test.npy", 20 * few),
        "small photos": (data / "cifar10_test.npy", 20 * few),
    }
    if name in sources:
        paths = sorted(sources[name][0].glob(sources[name][1]))
        for path in paths[:: few if name == "sprites" else 1]:
            shutil.copy(path, folder)
        return bool(paths)
    if name == "strange":
        return bool(strange().make(folder))
    if name in arrays:
        path, step = arrays[name]
        for number, image in enumerate(np.load(path)[::step] if path.exists() else ()):
            Image.fromarray(image).save(folder / f"{number:05}.png")
        return path.exists()
    digits = data / "mnist_test.npy"
    if digits.exists():
        np.save(folder / "digits.npy", np.load(digits)[::few])
        np.save(folder / "two levels.npy", np.load(digits)[::few] >> 7)
    for found in ("cifar10_test.npy", "microscopy_test.npy"):
        if (data / found).exists():
            np.save(folder / found, np.load(data / found)[::few])
    return any(folder.iterdir())


def stored(folder: Path, archive: Path, codecs: list[str], thorough: bool) -> tuple[dict[str, FileReport], int, float]:
    """How each file is stored, the bytes of the archive, and the seconds of the processor that it took."""
    reports: list[FileReport] = []
    request = CompressRequest(
        folder, archive, [find_codec(one) for one in codecs], embed=False, force=True, verify=False,
        storage=StorageOptions(thorough=thorough), run=RunOptions(report=reports.append),
    )  # fmt: skip
    start = time.process_time()
    summary = compress_with(request)
    return {one.name: one for one in reports}, summary.archive_bytes, time.process_time() - start


def compared(folder: Path, archive: Path, codecs: list[str]) -> dict[str, Any]:
    """A set compressed with quick trials and in full."""
    stored(folder, archive, codecs, False)  # compiles, and loads what is loaded once
    quick, quick_bytes, quick_seconds = stored(folder, archive, codecs, False)
    full, full_bytes, full_seconds = stored(folder, archive, codecs, True)
    alone = (name for name, one in quick.items() if "sheet" not in (one.how, full[name].how))  # whose bytes are shared
    larger = {name: quick[name].stored_bytes - full[name].stored_bytes for name in alone}
    codings = ("webp", "png")
    return {
        "files": len(quick),
        "bytes": sum(one.file_bytes for one in quick.values()),
        "archive_bytes": quick_bytes,
        "archive_bytes_in_full": full_bytes,
        "files_larger": sum(more > 0 for more in larger.values()),
        "most_bytes_larger": max(0, *larger.values()),
        "files_otherwise_stored": sum(one.how != full[name].how for name, one in quick.items()),
        "files_with_webp_or_png_in_full": sum(any(one.tried.get(c) for c in codings) for one in quick.values()),
        "seconds": round(quick_seconds, 1),
        "seconds_in_full": round(full_seconds, 1),
    }


def rows(options: Any) -> Iterator[tuple[str, dict[str, Any]]]:
    """The sets that there are, each with its figures."""
    for name in options.sets or SETS:
        with tempfile.TemporaryDirectory() as scratch:
            folder = Path(scratch, "in")
            folder.mkdir()
            if fill(name, options.data, folder, options.few):
                row = compared(folder, Path(scratch, "out.bb"), options.codecs)
                print(name, row, file=sys.stderr, flush=True)
                yield name, row


def main() -> None:
    parser = arguments(__doc__ or "", "trials")
    parser.add_argument("--few", type=int, default=8, help="take every so manieth file of large sets")
    parser.add_argument("--sets", nargs="*", help="of " + ", ".join(SETS))
    codecs = ["photo-3", "grey-3", "mnist-binary-3"]
    parser.add_argument("--codecs", nargs="*", default=codecs, help="names or files of codecs")
    options = parser.parse_args()
    found = dict(rows(options))
    result = {"codecs": [Path(one).stem for one in options.codecs], "sets": found}
    save(options, parser, "; ".join(SETS[name] for name in found), result)


if __name__ == "__main__":
    main()
