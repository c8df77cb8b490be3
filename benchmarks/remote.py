"""An archive of 100,000 small images at a URL: what is transferred to list it, to read one image, and to read all.

The images are those of `many.py`, stored without a learned codec. The file system counts what is asked of it.
"""

from __future__ import annotations

import random
import tempfile
from pathlib import Path
from typing import Any, ClassVar

import fsspec
import numpy as np
from common import arguments, bbcodec, pixels, save
from fsspec.implementations.memory import MemoryFileSystem
from many import write_images

URL = "counted://archive/out.bb"


class Counted(MemoryFileSystem):
    """Files in memory that count the bytes of each answer."""

    protocol = "counted"
    sent: ClassVar[list[int]] = []

    def cat_file(self, path: str, start: int | None = None, end: int | None = None, **options: Any) -> bytes:
        data: bytes = super().cat_file(path, start=start, end=end, **options)
        self.sent.append(len(data))
        return data


def transferred() -> dict[str, int]:
    """The requests and bytes since this was asked last."""
    done = {"requests": len(Counted.sent), "bytes": sum(Counted.sent)}
    Counted.sent.clear()
    return done


def measure(folder: Path, one: int) -> dict[str, Any]:
    """What is transferred for a list, for single images of as many archives opened anew, and for all."""
    import bbcodec

    with bbcodec.open(URL) as opened:
        opened.listing()
        listed = transferred()
        names = random.Random(0).sample(opened.names, one)
    singles = []
    for name in names:
        with bbcodec.open(URL) as opened:
            transferred()  # the index, as for a list
            if not np.array_equal(np.asarray(opened[name]), pixels(folder / name)):
                raise SystemExit(f"{name} came back with other pixels")
        singles.append(transferred())
    with bbcodec.open(URL) as opened:
        transferred()
        opened.verify()
    most = max(singles, key=lambda single: single["bytes"])
    return {"list": listed, "one_image_at_most": most, "all": transferred()}


def main() -> None:
    parser = arguments(__doc__ or "", "remote")
    parser.add_argument("--count", type=int, default=100_000, help="how many images")
    parser.add_argument("--one", type=int, default=40, help="how many of them are read alone")
    options = parser.parse_args()
    fsspec.register_implementation("counted", Counted)
    with tempfile.TemporaryDirectory() as scratch:
        folder, archive = Path(scratch, "in"), Path(scratch, "out.bb")
        folder.mkdir()
        write_images(options.data, folder, options.count)
        bbcodec("compress", folder, "-o", archive, "--codec", "none", "--no-verify")
        Counted().pipe_file(URL, archive.read_bytes())
        size = archive.stat().st_size
        result = {"files": options.count, "archive_bytes": size, "transferred": measure(folder, options.one)}
    save(options, parser, "MNIST train (60,000 images), Omniglot (32,460), CIFAR-10 train (7,540)", result)


if __name__ == "__main__":
    main()
