"""Work spread over processes: what each has at hand (a `Bench` with the codecs), and results in the order of tasks."""

from __future__ import annotations

import ctypes
import multiprocessing
import os
import signal
import sys
import threading
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any, Final, Protocol, TypeVar

import numpy as np
from numpy.typing import NDArray

from bbcodec.archive.format.container import LearnedBody
from bbcodec.binary import MAX_VALUES, digest64
from bbcodec.codec.catalogue import CodecFile
from bbcodec.errors import BBCodecError, CoderError, DamagedArchive, InputError

Pixels = NDArray[np.uint8]
Bits = NDArray[np.float64]

SAMPLE_VALUES: Final = 2**18  # pixel values on which a codec is chosen among several
ASKED_TO_END: Final = [getattr(signal, name) for name in ("SIGINT", "SIGTERM", "SIGHUP") if hasattr(signal, name)]
POSIX: Final = hasattr(signal, "pthread_sigmask")
M_TRIM_THRESHOLD, M_MMAP_THRESHOLD = -1, -3  # of malloc.h
LARGE_BLOCK: Final = 2**20  # bytes

T = TypeVar("T")
R = TypeVar("R")


class Codec(Protocol):
    """What is asked of a learned codec (`bbcodec.codec.codec.Codec`)."""

    safe: bool

    def set_safe(self, safe: bool) -> None:
        """Compute on the slow path that no kernel can make inexact, or on the fast one."""

    def encode_message(self, images: Pixels, bits: Bits | None = None) -> bytes:
        """One message for uint8 images (N, H, W, C); `bits` (N,) is filled with what each image costs in it."""

    def decode_message(self, data: bytes, count: int, height: int, width: int) -> Pixels:
        """The images of a message."""


Loader = Callable[[bytes, str], Codec]


@dataclass(frozen=True)
class CodecSource:
    """A codec that work may need: the content of its file, and the pixels that it takes."""

    digest: bytes
    name: str
    channels: int
    levels: int
    content: bytes = field(repr=False)

    @classmethod
    def of(cls, codec: CodecFile) -> CodecSource:
        """That of a codec file."""
        return cls(codec.digest, codec.name, codec.channels, codec.levels, codec.content)


def load_installed(content: bytes, device: str) -> Codec:
    """The codec in the bytes of a `.bbc` file. Imports torch."""
    import torch  # noqa: F401  # now, so that its threads can be counted

    from bbcodec.codec.codec import load_codec

    with one_thread():
        codec: Codec = load_codec(content, device=device)
    return codec


def check_device(device: str) -> None:
    """Raise InputError unless torch has the device: before work begins, as a codec that fails in it counts as unfit."""
    if device not in ("auto", "cpu"):
        import torch

        if not device.startswith("cuda") or not torch.cuda.is_available():
            raise InputError(f"there is no device {device!r} here: use auto or cpu")


@contextmanager
def one_thread() -> Iterator[None]:
    """One torch thread in this process, for a while: chunks go to processes, and a chain has many small steps.

    Measured on four busy cores, 300 digits, encoded: 0.9 s with one thread, 25 s with two.
    """
    torch = sys.modules.get("torch")
    if torch is None:
        yield
        return
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(before)


class Bench:
    """The codecs of one process, loaded when first needed. May be used by several threads."""

    def __init__(self, sources: Iterable[CodecSource] = (), device: str = "auto", load: Loader | None = None) -> None:
        """Keep the sources; load nothing yet. `load` makes a codec of the bytes of its file, for a device."""
        self.sources = tuple(sources)
        self.setting = (self.sources, device, load)
        self.kept: dict[Any, Any] = {}  # chunks decoded last, see `bbcodec.archive.read.decode`
        self._device, self._load = device, load or load_installed
        self._loaded: dict[bytes, Codec] = {}
        self._lock = threading.RLock()

    def extended(self, sources: Iterable[CodecSource]) -> Bench:
        """A bench with more sources, that shares what this one has loaded and kept."""
        bench = Bench((*self.sources, *sources), *self.setting[1:])
        bench.kept, bench._loaded, bench._lock = self.kept, self._loaded, self._lock
        return bench

    def codec(self, source: CodecSource) -> Codec:
        """The loaded codec of a source."""
        with self._lock:
            if source.digest not in self._loaded:
                self._loaded[source.digest] = self._load(source.content, self._device)
            return self._loaded[source.digest]

    def choose(self, images: Pixels, levels: int) -> CodecSource | None:
        """The codec that codes a few of the images best, of those that take such pixels; None if none does."""
        fitting = [one for one in self.sources if (one.channels, one.levels) == (images.shape[3], levels)]
        few = images[: max(1, SAMPLE_VALUES // images[0].size)]
        sizes = [self._size(source, few) if len(fitting) > 1 else 0 for source in fitting]
        return fitting[int(np.argmin(sizes))] if fitting and np.isfinite(min(sizes)) else None

    def _size(self, source: CodecSource, images: Pixels) -> float:
        try:
            return len(self.encode(source, images)[0].message)
        except InputError:
            return np.inf  # a codec for images of another size

    def encode(self, source: CodecSource, images: Pixels) -> tuple[LearnedBody, Bits]:
        """An `L` chunk of uint8 images (N, H, W, C), and what each image costs in it. Raises InputError."""
        bits = np.zeros(len(images))
        with self._lock, one_thread():
            message = self.codec(source).encode_message(images, bits)
        count, height, width = images.shape[:3]
        return LearnedBody(source.digest[:4], digest64(images.tobytes()), count, height, width, message), bits

    def decode(self, body: LearnedBody) -> tuple[CodecSource, Pixels]:
        """The codec of an `L` chunk and its images, checked against their digest. Raises DamagedArchive."""
        source = next((source for source in self.sources if source.digest[:4] == body.codec_id), None)
        if source is None:
            raise DamagedArchive("a chunk needs a codec that is damaged, or that the index does not know")
        if body.count * body.height * body.width * source.channels > MAX_VALUES:
            raise DamagedArchive("a chunk says it holds more pixels than the format allows")
        codec = self.codec(source)
        with self._lock, one_thread():
            try:
                return source, _decoded(codec, body)
            except DamagedArchive:
                # The chunk's CRC-32 holds, so perhaps a kernel is inexact at a shape that the known-answer test lacks.
                if codec.safe:
                    raise
                codec.set_safe(True)
                try:
                    return source, _decoded(codec, body)
                finally:
                    codec.set_safe(False)


def _decoded(codec: Codec, body: LearnedBody) -> Pixels:
    """The images of a learned chunk, checked against their digest. Raises DamagedArchive."""
    try:
        images = codec.decode_message(body.message, body.count, body.height, body.width)
    except (CoderError, InputError) as error:
        raise DamagedArchive(f"a chunk does not decode: {error}") from None
    if digest64(images.tobytes()) != body.digest:
        raise DamagedArchive("a chunk decodes to other pixels than were stored: its digest differs")
    return images


# --- many tasks ------------------------------------------------------------------------------------------------------

_bench: Bench | None = None  # of a worker process


def run_tasks(function: Callable[[Bench, T], R], tasks: Iterable[T], bench: Bench, jobs: int) -> Iterator[R]:
    """function(bench, task) for every task, in order: here for one job, else in worker processes.

    At most three tasks a job are under way or waiting to be taken, which bounds memory. Workers are killed when the
    caller stops early, whatever the reason.
    """
    if jobs <= 1:
        for task in tasks:
            yield function(bench, task)
        return
    before = set(multiprocessing.active_children())
    context = multiprocessing.get_context("spawn")  # a fork would inherit torch's and numba's threads, dead
    pool = ProcessPoolExecutor(jobs, context, _start_worker, bench.setting)
    waiting: deque[Future[R]] = deque()
    try:
        for task in tasks:
            with _undisturbed():
                waiting.append(pool.submit(_in_worker, function, task))
            if len(waiting) >= 3 * jobs:
                yield waiting.popleft().result()
        while waiting:
            yield waiting.popleft().result()
    except BrokenProcessPool:
        raise BBCodecError("a worker process died, perhaps for lack of memory: try again with --jobs 1") from None
    finally:
        done = not waiting
        results = pool._result_queue  # which `shutdown` forgets
        pool.shutdown(wait=done, cancel_futures=True)
        if not done:
            for process in set(multiprocessing.active_children()) - before:
                process.kill()
            # One that was writing a result leaves a part of it. The pool's thread would wait for the rest for ever, as
            # this process could write it, too.
            results._writer.close()  # type: ignore[attr-defined]


@contextmanager
def _undisturbed() -> Iterator[None]:
    """Signals that come while processes are started are answered afterwards: one half started writes a traceback.

    Processes inherit that SIGINT is blocked, so that Ctrl-C interrupts the parent alone. To block them all would not
    do: any other thread of this process may take one, and Python then calls the handler in the main thread.
    """
    came: list[int] = []
    here = threading.current_thread() is threading.main_thread()
    usual = {number: signal.getsignal(number) for number in ASKED_TO_END if here}
    usual = {number: handler for number, handler in usual.items() if handler not in (None, signal.SIG_IGN)}
    for number in usual:
        signal.signal(number, lambda number, _: came.append(number))
    blocked = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT}) if POSIX else set()
    try:
        yield
    finally:
        if POSIX:
            signal.pthread_sigmask(signal.SIG_SETMASK, blocked)
        for number, handler in usual.items():
            signal.signal(number, handler)
        for number in came:
            signal.raise_signal(number)


def _start_worker(sources: tuple[CodecSource, ...], device: str, load: Loader | None) -> None:
    global _bench
    _return_memory_at_once()
    _bench = Bench(sources, device, load)
    threading.Thread(target=_end_with_parent, daemon=True).start()


def _end_with_parent() -> None:
    """A worker whose parent was killed would wait for work for ever."""
    parent = multiprocessing.parent_process()
    if parent is not None:
        parent.join()
        os._exit(1)


def _in_worker(function: Callable[[Bench, T], R], task: T) -> R:
    if _bench is None:
        raise RuntimeError("a worker was not started by _start_worker")
    return function(_bench, task)


def _return_memory_at_once() -> None:
    """Have the C library, where it is glibc, return large blocks to the system when they are freed.

    It else keeps more the larger they were. Measured by benchmarks/many.py: four workers and their parent take 1,755 MB
    in place of 2,214.
    """
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None) if os.name == "posix" else None
    if mallopt is not None:
        for parameter in (M_TRIM_THRESHOLD, M_MMAP_THRESHOLD):
            mallopt(parameter, LARGE_BLOCK)
