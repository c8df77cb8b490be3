"""Clusters: archives made while workers are killed, and what the driver of a cluster does itself for each image.

Kills: crops of Kodak photos, each a task, by Dask and by Ray, two workers of one thread on this machine. A worker
process is killed ten times while they work, and the archive compared with one that was made here.

Driver: crops of 64 kB of pixels. Their tasks are done beforehand, so that what takes time is what a driver does: it
finds the files, reads their heads and those of equal size, plans, packs tasks, unpacks results, writes the archive, and
checks it against digests of what workers checked.
"""

from __future__ import annotations

import filecmp
import json
import pickle
import sys
import tempfile
import time
import tracemalloc
from collections.abc import Iterator
from concurrent.futures import Executor, Future
from contextlib import contextmanager, nullcontext
from importlib import import_module
from pathlib import Path
from typing import Any

from common import HERE, arguments, best, load_average, photo_files, save
from PIL import Image

sys.path.append(str(HERE.parent / "tests"))

PHOTOS = 24
REPEAT = 5  # of which the best counts: others use this machine, too
LONE = 260, 256  # a crop of more pixels than share a task
SMALL = 148, 148  # 64 kB


def write_crops(data: Path, folder: Path, count: int, size: tuple[int, int]) -> None:
    """So many different crops of the photos, as PNG files of one size in pixels."""
    folder.mkdir()
    photos = [Image.open(path).convert("RGB") for path in photo_files(data, PHOTOS)]
    for number in range(count):
        photo, step = photos[number % PHOTOS], number // PHOTOS
        left = step * 37 % (photo.width - size[0])
        top = step * 61 % (photo.height - size[1])
        crop = photo.crop((left, top, left + size[0], top + size[1]))
        crop.save(folder / f"{number:06}.png", compress_level=1)


# --- kills -----------------------------------------------------------------------------------------------------------


def kills_of(kind: str, folder: Path, here: Path, scratch: Path, kills: int) -> dict[str, Any]:
    """What came of a run of one task a file, and so many kills, evenly spread."""
    from clusters_here import dask_cluster, workers_killed

    import bbcodec

    scratch.mkdir()
    there = scratch / "there.bb"
    files = len(list(folder.iterdir()))
    scheduler: Any = dask_cluster(scratch) if kind == "dask" else nullcontext()
    with scheduler as address, workers_killed(kind, address, files // (kills + 1), kills) as workers:
        start = time.perf_counter()
        bbcodec.compress(folder, there, codec="photo-fast-1", executor=workers, jobs=2)
        seconds = time.perf_counter() - start
    return {
        "chunks": files,
        "workers_killed": len(workers.killed),
        "equal_to_the_local_archive": filecmp.cmp(here, there, shallow=False),
        "seconds": round(seconds, 1),
    }


# --- the driver ------------------------------------------------------------------------------------------------------


class Recorded(Executor):
    """First does tasks and keeps their results; then gives these, and counts the bytes that cross the wire."""

    def __init__(self) -> None:
        self.results: list[bytes] = []
        self.again = False
        self.submitted = self.sent = self.received = 0

    def submit(self, function: Any, /, *arguments: Any) -> Future[Any]:
        future: Future[Any] = Future()
        if self.again:
            self.sent += len(pickle.dumps((function, arguments)))
            data = self.results[self.submitted]
            self.submitted += 1
            self.received += len(data)
            future.set_result(pickle.loads(data))
        else:
            result = function(*arguments)
            self.results.append(pickle.dumps(result))
            future.set_result(result)
        return future


@contextmanager
def timed(module: str, name: str, found: list[float]) -> Iterator[None]:
    """While the body runs, note the seconds of each call of a function of a module."""
    holder = import_module(module)
    function = getattr(holder, name)

    def call(*arguments: Any) -> Any:
        start = time.perf_counter()
        try:
            return function(*arguments)
        finally:
            found.append(time.perf_counter() - start)

    setattr(holder, name, call)
    try:
        yield
    finally:
        setattr(holder, name, function)


def driver_of(folder: Path, scratch: Path) -> dict[str, Any]:
    """Seconds, memory and bytes for each image of a folder of which workers do the work."""
    import bbcodec
    from bbcodec.archive.write.scan import find_copies, scan
    from bbcodec.archive.write.tasks import plan
    from bbcodec.options import StorageOptions

    workers = Recorded()
    count = len(list(folder.iterdir()))
    options = {"codec": "photo-fast-1", "executor": workers, "jobs": 2}
    bbcodec.compress(folder, scratch / "first.bb", **options)
    workers.again = True

    def again() -> Any:
        workers.submitted = workers.sent = workers.received = 0
        return bbcodec.compress(folder, scratch / "again.bb", force=True, **options)

    summary = again()
    if not filecmp.cmp(scratch / "first.bb", scratch / "again.bb", shallow=False):
        raise RuntimeError("results that were kept gave another archive")
    checks: list[float] = []
    with timed("bbcodec.archive.compress", "check_written", checks):
        everything = best(REPEAT, again)
    entries = scan([folder]).entries
    seconds = {
        "all": everything,
        "check": min(checks),
        "find": best(REPEAT, lambda: scan([folder])),
        "compare_those_of_equal_size": best(REPEAT, lambda: find_copies(entries)),
        "read_heads_and_plan": best(REPEAT, lambda: plan(entries, {}, StorageOptions())),
    }
    tracemalloc.start()
    held = [scan([folder]).entries]
    held.append(plan(held[0], {}, StorageOptions()))
    memory = tracemalloc.get_traced_memory()[0]
    tracemalloc.stop()
    return {
        "images": count,
        "pixels_bytes_an_image": SMALL[0] * SMALL[1] * 3,
        "file_bytes_an_image": round(summary.file_bytes / count),
        "archive_bytes_an_image": round(summary.archive_bytes / count),
        "tasks": workers.submitted,
        "milliseconds_an_image": {what: round(1000 * some / count, 3) for what, some in seconds.items()},
        "memory_bytes_an_image": round(memory / count),
        "sent_bytes_an_image": round(workers.sent / count),
        "received_bytes_an_image": round(workers.received / count),
    }


def main() -> None:
    parser = arguments(__doc__ or "", "clusters")
    parser.add_argument("--chunks", type=int, default=200, help="tasks of each run with kills")
    parser.add_argument("--kills", type=int, default=10, help="workers killed in each")
    parser.add_argument("--images", type=int, default=500, help="small images of the driver")
    parser.add_argument("--kinds", nargs="*", default=["dask", "ray"], help="clusters")
    options = parser.parse_args()
    import bbcodec

    before = load_average()
    with tempfile.TemporaryDirectory() as name:
        scratch = Path(name)
        lone, small, here = scratch / "lone", scratch / "small", scratch / "here.bb"
        write_crops(options.data, lone, options.chunks, LONE)
        write_crops(options.data, small, options.images, SMALL)
        bbcodec.compress(lone, here, codec="photo-fast-1")
        killed = {kind: kills_of(kind, lone, here, scratch / kind, options.kills) for kind in options.kinds}
        print(json.dumps(killed), file=sys.stderr)
        driver = driver_of(small, scratch)
    data = f"crops of Kodak: {options.chunks} of 260 x 256, {options.images} of 148 x 148"
    loads = {"load_average_before_and_after": [before, load_average()]}
    save(options, parser, data, {**loads, "kills": killed, "driver": driver})


if __name__ == "__main__":
    main()
