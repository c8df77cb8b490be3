"""Handlers of the signals that ask a process to end, replaced for a while. What commands do then: `cli/signals.py`."""

from __future__ import annotations

import signal
import threading
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from types import FrameType
from typing import Any, Final

STOP_SIGNALS: Final = [getattr(signal, name) for name in ("SIGINT", "SIGTERM", "SIGHUP") if hasattr(signal, name)]
POSIX: Final = hasattr(signal, "pthread_sigmask")


@contextmanager
def kept_handlers(numbers: Iterable[int] = STOP_SIGNALS) -> Iterator[None]:
    """Whatever handlers of these signals the body sets, the earlier ones return.

    Does nothing outside the main thread, where Python allows no change of handlers.
    """
    main_thread = threading.current_thread() is threading.main_thread()
    earlier = {number: signal.getsignal(number) for number in numbers} if main_thread else {}
    try:
        yield
    finally:
        for number, before in earlier.items():
            if before is not None:  # one that Python did not set
                signal.signal(number, before)


@contextmanager
def replaced_handlers(numbers: Iterable[int], handler: Callable[[int, FrameType | None], Any]) -> Iterator[None]:
    """`handler` answers these signals while the body runs; then the earlier ones return (`kept_handlers`)."""
    numbers = list(numbers)
    with kept_handlers(numbers):
        if threading.current_thread() is threading.main_thread():
            for number in numbers:
                signal.signal(number, handler)
        yield


@contextmanager
def deferred_stop_signals() -> Iterator[None]:
    """Stop signals that arrive while the body starts processes are answered after it.

    A process that is interrupted while half started writes a traceback. Processes started here inherit a blocked
    SIGINT, so that Ctrl-C interrupts the parent alone. Blocking all signals instead would not defer them: another
    thread of this process can receive one, and Python then calls the handler in the main thread.
    """
    received: list[int] = []
    numbers = [number for number in STOP_SIGNALS if signal.getsignal(number) not in (None, signal.SIG_IGN)]
    try:
        with replaced_handlers(numbers, lambda number, _: received.append(number)):
            blocked = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT}) if POSIX else set()
            try:
                yield
            finally:
                if POSIX:
                    signal.pthread_sigmask(signal.SIG_SETMASK, blocked)
    finally:
        for number in received:
            signal.raise_signal(number)
