"""Tasks spread over worker processes, their results in order."""

from __future__ import annotations

import ctypes
import multiprocessing
import os
import signal
import threading
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from contextlib import contextmanager
from typing import Any, Final, TypeVar

from bbcodec.errors import BBCodecError

ASKED_TO_END: Final = [getattr(signal, name) for name in ("SIGINT", "SIGTERM", "SIGHUP") if hasattr(signal, name)]
POSIX: Final = hasattr(signal, "pthread_sigmask")
M_TRIM_THRESHOLD, M_MMAP_THRESHOLD = -1, -3  # of malloc.h
LARGE_BLOCK: Final = 2**20  # bytes

C = TypeVar("C")
T = TypeVar("T")
R = TypeVar("R")

_context: Any = None  # of a worker process


def run_tasks(function: Callable[[C, T], R], tasks: Iterable[T], context: C, jobs: int) -> Iterator[R]:
    """function(context, task) for every task, in order: here for one job, else in worker processes.

    Each worker gets one copy of the context, by pickle. At most three tasks a job are under way or waiting to be taken, which bounds memory. Workers are killed when the
    caller stops early, whatever the reason.
    """
    if jobs <= 1:
        for task in tasks:
            yield function(context, task)
        return
    before = set(multiprocessing.active_children())
    spawn = multiprocessing.get_context("spawn")  # a fork would inherit torch's and numba's threads, dead
    pool = ProcessPoolExecutor(jobs, spawn, _start_worker, (context,))
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


def _start_worker(context: Any) -> None:
    global _context
    _return_memory_at_once()
    _context = context
    threading.Thread(target=_end_with_parent, daemon=True).start()


def _end_with_parent() -> None:
    """A worker whose parent was killed would wait for work for ever."""
    parent = multiprocessing.parent_process()
    if parent is not None:
        parent.join()
        os._exit(1)


def _in_worker(function: Callable[[C, T], R], task: T) -> R:
    if _context is None:
        raise RuntimeError("a worker was not started by _start_worker")
    return function(_context, task)


def _return_memory_at_once() -> None:
    """Have the C library, where it is glibc, return large blocks to the system when they are freed.

    It else keeps more the larger they were. Measured by benchmarks/many.py: four workers and their parent take 1,755 MB
    in place of 2,214.
    """
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None) if os.name == "posix" else None
    if mallopt is not None:
        for parameter in (M_TRIM_THRESHOLD, M_MMAP_THRESHOLD):
            mallopt(parameter, LARGE_BLOCK)
