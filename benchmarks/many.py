"""100,000 small images: memory while they are compressed and restored, bytes of the index, time to read one of them.

The images are those of MNIST and Omniglot (grey, 28 x 28) and the first of CIFAR-10 (RGB, 32 x 32), each as a PNG file.
"""

from __future__ import annotations

import random
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np
from common import arguments, measured, needed, pixels, save
from PIL import Image

FILES_A_FOLDER = 5000


def write_images(data: Path, folder: Path, count: int) -> int:
    """Write `count` PNG files; gives their bytes."""
    names = "mnist_train", "omniglot28_train", "omniglot28_test", "cifar10_train"
    sources = [np.load(needed(data / f"{name}.npy"), mmap_mode="r") for name in names]
    images = (image for source in sources for image in source)
    total = 0
    for number, image in zip(range(count), images, strict=False):
        path = folder / f"{number // FILES_A_FOLDER:03d}" / f"image_{number:06d}.png"
        path.parent.mkdir(exist_ok=True)
        Image.fromarray(np.asarray(image)).save(path)
        total += path.stat().st_size
    return total


def reading(archive: Path, folder: Path) -> dict[str, Any]:
    """Seconds to read one image, chosen at random, in a process that has read one before."""
    import bbcodec

    start = time.perf_counter()
    seconds = []
    with bbcodec.open(archive) as opened:
        names = opened.names
        _ = opened[names[0]], opened[names[-1]]
        ready = time.perf_counter() - start
        for name in random.Random(0).sample(names, 40):
            start = time.perf_counter()
            image = opened[name]
            seconds.append(time.perf_counter() - start)
            if not np.array_equal(np.asarray(image), pixels(folder / name)):
                raise SystemExit(f"{name} came back with other pixels")
    return {
        "start_up": round(ready, 2),
        "median": round(float(np.median(seconds)), 5),
        "most": round(max(seconds), 3),
    }


def index_bytes(archive: Path) -> dict[str, float]:
    """Bytes a file of the index, and of the directories in the chunks that can replace it, names included."""
    from bbcodec.archive.format.container import ContainerReader
    from bbcodec.archive.format.header import FOOTER_BYTES

    data = archive.read_bytes()
    index = int.from_bytes(data[-FOOTER_BYTES:][:4], "little")
    with archive.open("rb") as stream:
        directory = ContainerReader(stream).directory
    files = len(directory.files)
    chunks = sum(chunk.length for chunk in directory.chunks if chunk.type == "D")
    names = sum(len(file.name) for file in directory.files)
    return {
        "index": round(index / files, 2),
        "directory_chunks": round(chunks / files, 2),
        "names_unpacked": round(names / files, 2),
    }


def main() -> None:
    parser = arguments(__doc__ or "", "many")
    parser.add_argument("--count", type=int, default=100_000, help="how many images")
    parser.add_argument("--jobs", type=int, default=4, help="worker processes, which take most of the memory")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as scratch:
        folder, archive, restored = Path(scratch, "in"), Path(scratch, "out.bb"), Path(scratch, "back")
        folder.mkdir()
        total = write_images(options.data, folder, options.count)
        seconds, memory = measured("compress", folder, "-o", archive, "--jobs", str(options.jobs))
        back, memory_back = measured("decompress", archive, "-o", restored, "--jobs", str(options.jobs))
        for path in sorted(folder.rglob("*.png"))[:: max(1, options.count // 2000)]:
            if not np.array_equal(pixels(path), pixels(restored / path.relative_to(folder))):
                raise SystemExit(f"{path} came back with other pixels")
        result = {
            "files": options.count,
            "file_bytes": total,
            "archive_bytes": archive.stat().st_size,
            "jobs": options.jobs,
            "memory_mb": {"compress": round(memory / 1e6), "decompress": round(memory_back / 1e6)},
            "seconds": {"compress, checked": round(seconds), "decompress": round(back)},
            "index_bytes_a_file": index_bytes(archive),
            "seconds_to_read_one": reading(archive, folder),
        }
    save(options, parser, "MNIST train (60,000 images), Omniglot (32,460), CIFAR-10 train (7,540)", result)


if __name__ == "__main__":
    main()
