"""Who is told when machine code is compiled: on first use on a computer, which takes up to half a minute.

This module imports nothing, so that programs can ask to be told before numba is there.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager

_listener: Callable[[], None] | None = None


@contextmanager
def telling(listener: Callable[[], None]) -> Iterator[None]:
    """Within, call `listener` when this process first has to compile."""
    global _listener
    before, _listener = _listener, listener
    try:
        yield
    finally:
        _listener = before


def compiling() -> None:
    """Tell the listener, if there is one that has not been told."""
    global _listener
    told, _listener = _listener, None
    if told is not None:
        told()
