"""Tasks spread over threads or worker processes, with results in order."""

from __future__ import annotations

import atexit
import ctypes
import multiprocessing
import os
import pickle
import sys
import threading
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Executor, Future, ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from contextlib import suppress
from dataclasses import dataclass
from hashlib import blake2b
from queue import SimpleQueue
from typing import Any, Final, NoReturn, TypeVar
from weakref import WeakSet

from bbcodec.errors import BBCodecError
from bbcodec.signal_handlers import deferred_stop_signals

M_TRIM_THRESHOLD, M_MMAP_THRESHOLD = -1, -3  # of malloc.h
LARGE_BLOCK: Final = 2**20  # bytes
ATTEMPTS: Final = 3  # of a task on workers of an executor, which may get lost
CONTEXTS: Final = 4  # that a worker of an executor keeps

C = TypeVar("C")
T = TypeVar("T")
R = TypeVar("R")

_context: Any = None  # of a worker process
_threads: Final[WeakSet[threading.Thread]] = WeakSet()  # that work, or still do


@dataclass(frozen=True)
class Workers:
    """How many workers share the work, and whether they are threads of this process, or processes.

    executor: whose workers they are, perhaps on other machines.
    """

    count: int
    threads: bool = False
    executor: Executor | None = None


def usable_cores() -> int:
    """The number of processor cores that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def run_tasks(function: Callable[[C, T], R], tasks: Iterable[T], context: C, workers: Workers) -> Iterator[R]:
    """function(context, task) for every task, in order: here for one worker, else in several threads or processes.

    Threads share the context; each process receives one pickled copy. At most three tasks for each worker are running
    or waiting to be yielded, which bounds memory. If the caller stops early, for whatever reason, worker processes are
    killed, and threads end when their task does. The end of Python waits for that, `end_process` does not.

    Raises BBCodecError if a worker process dies, or an executor gives up.
    """
    if workers.executor is not None:
        return _in_executor(function, tasks, context, workers.executor, workers.count)
    if workers.count <= 1:
        return (function(context, task) for task in tasks)
    run = _in_threads if workers.threads else _in_processes
    return run(function, tasks, context, workers.count)


# --- threads ---------------------------------------------------------------------------------------------------------


def _in_threads(function: Callable[[C, T], R], tasks: Iterable[T], context: C, count: int) -> Iterator[R]:
    given: SimpleQueue[tuple[Future[R], T] | None] = SimpleQueue()

    def work() -> None:
        while (item := given.get()) is not None:
            future, task = item
            if future.set_running_or_notify_cancel():
                try:
                    future.set_result(function(context, task))
                except BaseException as error:  # which is raised where the result is taken
                    future.set_exception(error)
            del item, future, task  # or they are held while this thread waits

    for _ in range(count):
        thread = threading.Thread(target=work, daemon=True)
        _threads.add(thread)
        thread.start()
    waiting: deque[Future[R]] = deque()
    try:
        for task in tasks:
            waiting.append(Future())
            given.put((waiting[-1], task))
            del task
            if len(waiting) >= 3 * count:
                yield waiting.popleft().result()
        while waiting:
            yield waiting.popleft().result()
    finally:
        for future in waiting:
            future.cancel()
        for _ in range(count):
            given.put(None)


@atexit.register
def _join_threads() -> None:
    """Python would end threads in the middle of compiled code, which aborts the process."""
    for thread in list(_threads):
        thread.join()


def end_process(code: int) -> NoReturn:
    """End this process, at once where threads are still at a task whose result nobody waits for."""
    if any(thread.is_alive() for thread in list(_threads)):
        for stream in (sys.stdout, sys.stderr):
            with suppress(OSError, ValueError):  # closed, or nobody reads it
                stream.flush()
        os._exit(code)
    sys.exit(code)


# --- processes -------------------------------------------------------------------------------------------------------


def _in_processes(function: Callable[[C, T], R], tasks: Iterable[T], context: C, jobs: int) -> Iterator[R]:
    before = set(multiprocessing.active_children())
    spawn = multiprocessing.get_context("spawn")  # threads of torch and numba do not survive a fork
    pool = ProcessPoolExecutor(jobs, spawn, _start_worker, (context,))
    waiting: deque[Future[R]] = deque()
    try:
        for task in tasks:
            with deferred_stop_signals():
                waiting.append(pool.submit(_in_worker, function, task))
            if len(waiting) >= 3 * jobs:
                yield waiting.popleft().result()
        while waiting:
            yield waiting.popleft().result()
    except BrokenProcessPool:
        raise BBCodecError("a worker process died, perhaps for lack of memory: try again with --jobs 1") from None
    finally:
        done = not waiting
        results = pool._result_queue  # `shutdown` drops it
        pool.shutdown(wait=done, cancel_futures=True)
        if not done:
            for process in set(multiprocessing.active_children()) - before:
                process.kill()
            # A killed worker may have written part of a result. The pool's thread would wait for the rest forever,
            # because this process still holds the writing end.
            results._writer.close()  # type: ignore[attr-defined]


# --- an executor of the caller ---------------------------------------------------------------------------------------


def _in_executor(
    function: Callable[[C, T], R], tasks: Iterable[T], context: C, executor: Executor, count: int
) -> Iterator[R]:
    packed = _Packed.of(context)
    waiting: deque[tuple[Future[R | _Lacking], T]] = deque()
    submitted = 0

    def submit(task: T, *, whole: bool = True) -> Future[R | _Lacking]:
        try:
            return executor.submit(_with_context, function, packed if whole else packed.named, task)
        except RuntimeError as error:  # it was shut down, or all its workers died
            raise BBCodecError(f"the executor takes no more work: {error}") from None

    try:
        for task in tasks:
            waiting.append((submit(task, whole=submitted < 3 * count), task))
            submitted += 1
            if len(waiting) >= 3 * count:
                yield _patiently(*waiting.popleft(), submit)
        while waiting:
            yield _patiently(*waiting.popleft(), submit)
    finally:
        for future, _ in waiting:
            future.cancel()


def _patiently(future: Future[R | _Lacking], task: T, submit: Callable[[T], Future[R | _Lacking]]) -> R:
    """The result of a task, which is submitted again where a worker was lost. Raises BBCodecError."""
    what, left = "", ATTEMPTS
    while left:
        try:
            result = future.result()
        except BBCodecError:
            raise
        except Exception as error:  # each cluster has its own for a worker that is gone
            what, left = f"{type(error).__name__} {error}".strip(), left - 1
        else:
            if not isinstance(result, _Lacking):
                return result
        if left:
            future = submit(task)
    raise BBCodecError(f"a task failed on {ATTEMPTS} workers of the executor, at last with {what}")


@dataclass(frozen=True)
class _Packed:
    """A context as it travels: with the first tasks as a whole, as it may hold codecs, and by its digest later on."""

    digest: bytes
    content: bytes

    @classmethod
    def of(cls, context: Any) -> _Packed:
        content = pickle.dumps(context)
        return cls(blake2b(content, digest_size=16).digest(), content)

    @property
    def named(self) -> _Packed:
        return _Packed(self.digest, b"")


@dataclass(frozen=True)
class _Lacking:
    """What a worker answers that does not have the context, as it came late."""


_contexts: Final[dict[bytes, Any]] = {}  # of a worker, by digest, the last one used last
_contexts_lock: Final = threading.Lock()


def _with_context(function: Callable[[Any, T], R], packed: _Packed, task: T) -> R | _Lacking:
    with _contexts_lock:
        if packed.digest not in _contexts and not packed.content:
            return _Lacking()
        known = packed.digest in _contexts
        context = _contexts.pop(packed.digest) if known else pickle.loads(packed.content)
        _contexts[packed.digest] = context
        for old in list(_contexts)[:-CONTEXTS]:
            del _contexts[old]
    return function(context, task)


# --- in worker processes ---------------------------------------------------------------------------------------------


def _start_worker(context: Any) -> None:
    global _context
    _return_memory_at_once()
    _context = context
    threading.Thread(target=_end_with_parent, daemon=True).start()


def _end_with_parent() -> None:
    """End this worker when its parent dies: it would wait for work forever."""
    parent = multiprocessing.parent_process()
    if parent is not None:
        parent.join()
        os._exit(1)


def _in_worker(function: Callable[[C, T], R], task: T) -> R:
    if _context is None:
        raise RuntimeError("expected a worker started by _start_worker")
    return function(_context, task)


def _return_memory_at_once() -> None:
    """Make glibc return large blocks to the system as soon as they are freed.

    By default it keeps more, the larger the blocks were. Measured by benchmarks/many.py: four workers and their parent
    take 1,755 MB instead of 2,214 MB.
    """
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None) if os.name == "posix" else None
    if mallopt is not None:
        for parameter in (M_TRIM_THRESHOLD, M_MMAP_THRESHOLD):
            mallopt(parameter, LARGE_BLOCK)
