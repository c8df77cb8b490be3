"""Training loops on the same images: `ArchiveDataset` beside WebDataset on tars of PNG and of lossless WebP files.

    pip install webdataset
    python benchmarks/loaders.py --data DATA

One process without workers, one thread, shuffled: whole epochs in turns, of which the fastest of each counts; and the
bytes that an epoch reads from files, by what the system says of the process.
"""

from __future__ import annotations

import hashlib
import io
import tarfile
import tempfile
import time
import warnings
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import torch
from common import arguments, bbcodec, load_average, needed, photo_files, pixels, save
from PIL import Image
from torch.utils.data import DataLoader

from bbcodec.engine.compiling import choose

BATCH = 64
BUFFER = 1000  # images that WebDataset shuffles together
Batches = Iterator[list[np.ndarray[Any, Any]]]


def write_tar(path: Path, images: list[np.ndarray[Any, Any]], suffix: str) -> None:
    """A tar as WebDataset reads it: a file for each image."""
    with tarfile.open(path, "w") as tar:
        for number, image in enumerate(images):
            stream = io.BytesIO()
            options = {"png": {"optimize": True}, "webp": {"lossless": True, "method": 6}}[suffix]
            Image.fromarray(image).save(stream, suffix, **options)
            about = tarfile.TarInfo(f"{number:06}.{suffix}")
            about.size = stream.tell()
            stream.seek(0)
            tar.addfile(about, stream)


def from_archive(path: Path) -> Callable[[], Batches]:
    """An epoch of an archive."""
    import bbcodec

    images = bbcodec.ArchiveDataset(path)
    batches = bbcodec.ChunkBatches(images, BATCH)
    images[0]  # loads compiled code

    def epoch() -> Batches:
        # Forgets what was decoded, as a larger archive would not be kept whole; and the codec, which is loaded anew.
        images.opened(0).close()
        return iter(DataLoader(images, batch_sampler=batches, collate_fn=list))

    return epoch


def from_tar(path: Path, suffix: str) -> Callable[[], Batches]:
    """An epoch of a tar."""
    import webdataset

    rows = webdataset.WebDataset(str(path), shardshuffle=False).shuffle(BUFFER).decode("rgb8").to_tuple(suffix)
    return lambda: iter(rows.map(lambda row: row[0]).batched(BATCH, collation_fn=list))


def read_bytes() -> int:
    """The bytes that this process has read from files so far."""
    lines = Path("/proc/self/io").read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith("rchar"))


def epoch(batches: Callable[[], Batches]) -> tuple[float, int, list[str]]:
    """Seconds and bytes of an epoch, and what it gave, in no order."""
    before, start = read_bytes(), time.perf_counter()
    seen = [image for batch in batches() for image in batch]
    seconds = time.perf_counter() - start
    read = read_bytes() - before
    return seconds, read, sorted(hashlib.sha256(np.ascontiguousarray(image)).hexdigest() for image in seen)


def measured(images: list[np.ndarray[Any, Any]], folder: Path, codec: str, repeat: int) -> dict[str, Any]:
    """Bytes, bytes read, and images a second, by way of keeping the images. Leaves where an image is lost."""
    if images[0].shape == images[-1].shape and len(images) > 1000:
        np.save(folder / "images.npy", np.stack(images))
        inputs = folder / "images.npy"
    else:
        inputs = folder / "in"
        inputs.mkdir()
        for number, image in enumerate(images):
            Image.fromarray(image).save(inputs / f"{number:06}.png", compress_level=1)
    paths = {name: folder / f"{name}.bb" for name in ("learned", "plain")}
    for name, path in paths.items():
        bbcodec("compress", inputs, "-o", path, "--codec", codec if name == "learned" else "none", "--no-verify")
    for suffix in ("png", "webp"):
        paths[suffix] = folder / f"{suffix}.tar"
        write_tar(paths[suffix], images, suffix)
    epochs = {name: from_archive(paths[name]) for name in ("learned", "plain")}
    epochs |= {name: from_tar(paths[name], name) for name in ("png", "webp")}
    wanted = sorted(hashlib.sha256(image).hexdigest() for image in images)
    seconds: dict[str, list[float]] = {name: [] for name in epochs}
    read = {}
    for _ in range(repeat):
        for name, batches in epochs.items():
            took, read[name], seen = epoch(batches)
            if seen != wanted:
                raise SystemExit(f"{name} gives other images")
            seconds[name].append(took)
    return {
        "images": len(images),
        "raw_bytes": sum(image.nbytes for image in images),
        "codec": codec,
        "rows": {
            name: {
                "bytes": path.stat().st_size,
                "bytes_read": read[name],
                "images_per_s": float(f"{len(images) / min(seconds[name]):.3g}"),
                "seconds": [round(took, 2) for took in seconds[name]],
            }
            for name, path in paths.items()
        },
    }


def main() -> None:
    """Measure both sets, and write the result."""
    parser = arguments(__doc__ or "", "loaders")
    parser.add_argument("--repeat", type=int, default=3, help="epochs of each (3)")
    parser.add_argument("--small", type=int, default=10_000, help="images of CIFAR-10 (10,000, or all there are)")
    parser.add_argument("--photos", type=int, default=24, help="photos (24)")
    options = parser.parse_args()
    torch.set_num_threads(1)
    warnings.simplefilter("ignore")
    small = list(np.load(needed(options.data / "cifar10_test.npy"))[: options.small])
    photos = [pixels(path) for path in photo_files(options.data, options.photos)]
    sets = {}
    for name, images, codec in (("cifar10", small, "photo-3"), ("photos", photos, "photo-fast-1")):
        with tempfile.TemporaryDirectory() as folder:
            sets[name] = measured(images, Path(folder), codec, options.repeat)
        print(name, sets[name], flush=True)
    result = {"sets": sets, "kernels": choose().name, "load_average": load_average()}
    save(options, parser, "CIFAR-10 test images, Kodak photos", result)


if __name__ == "__main__":
    main()
