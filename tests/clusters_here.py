"""Small clusters on this machine, whose workers are processes that tests kill."""

import json
import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from concurrent.futures import Executor, Future
from contextlib import contextmanager, suppress
from pathlib import Path

import psutil

from bbcodec.clusters import cluster

PATIENCE = 60  # seconds


@contextmanager
def dask_cluster(folder: Path, workers: int = 2) -> Iterator[str]:
    """The address of a scheduler with workers of one thread, which have a TMPDIR of their own in `folder`."""
    file, theirs = folder / "scheduler.json", folder / "theirs"
    theirs.mkdir()
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    scheduler = ["scheduler", "--host", "127.0.0.1", "--port", "0", "--scheduler-file", str(file), "--no-dashboard"]
    nanny = ["worker", "--scheduler-file", str(file), "--nworkers", str(workers), "--nthreads", "1",
             "--local-directory", str(theirs), "--no-dashboard", "--host", "127.0.0.1"]  # fmt: skip
    started = []
    try:
        for words, where in ((scheduler, environment), (nanny, {**environment, "TMPDIR": str(theirs)})):
            with open(folder / f"{words[0]}.log", "wb") as log:
                dask = [sys.executable, "-W", "ignore", "-m", "dask", *words]
                started.append(subprocess.Popen(dask, stdout=log, stderr=log, env=where, cwd=folder))
            wait_until(file.exists)
        yield json.loads(file.read_text())["address"]
    finally:
        for process in reversed(started):
            end_family(process.pid)
            process.wait(PATIENCE)


def wait_until(done: Callable[[], object]) -> None:
    end = time.monotonic() + PATIENCE
    while not done():
        assert time.monotonic() < end, "waited for too long"
        time.sleep(0.05)


def end_family(pid: int) -> None:
    """End a process and all that it started."""
    with suppress(psutil.NoSuchProcess):
        parent = psutil.Process(pid)
        for process in [parent, *parent.children(recursive=True)]:
            with suppress(psutil.NoSuchProcess):
                process.kill()


class Killing(Executor):
    """An executor one of whose workers is killed whenever so many more tasks are done. workers: their process ids."""

    def __init__(self, inner: Executor, workers: Callable[[], list[int]], *, every: int, kills: int) -> None:
        self.inner, self.workers, self.every, self.kills = inner, workers, every, kills
        self.killed: list[int] = []
        self.done = 0

    def submit(self, function, /, *arguments) -> Future:
        future = self.inner.submit(function, *arguments)
        future.add_done_callback(self._count)
        if len(self.killed) < self.kills and self.done >= self.every * (len(self.killed) + 1):
            victims = [pid for pid in self.workers() if pid not in self.killed]
            if victims:
                self.killed.append(victims[len(self.killed) % len(victims)])
                os.kill(self.killed[-1], 9)
        return future

    def _count(self, future: Future) -> None:
        self.done += 1


def ray_workers() -> list[int]:
    """The workers of a Ray cluster that this process has started, those that are at a task."""
    found = []
    for process in psutil.Process().children(recursive=True):
        with suppress(psutil.NoSuchProcess):
            if process.cmdline()[0].startswith("ray::_call"):
                found.append(process.pid)
    return found


@contextmanager
def workers_killed(kind: str, scheduler: str | None, every: int, kills: int) -> Iterator[Killing]:
    """An executor whose workers are killed: of Dask, by the address of its scheduler, or of a new cluster of Ray."""
    if kind == "ray":
        with cluster("ray") as connected:
            yield Killing(connected.executor, ray_workers, every=every, kills=kills)
        return
    from distributed import Client  # which is optional

    with Client(scheduler, set_as_default=False) as client:
        executor = client.get_executor(pure=False)
        yield Killing(executor, lambda: list(client.run(os.getpid).values()), every=every, kills=kills)
