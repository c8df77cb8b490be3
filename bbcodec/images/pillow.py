"""Pillow under guard: warnings are errors, image sizes are bounded, one thread decodes at a time."""

from __future__ import annotations

import os
import struct
import threading
import warnings
import zlib
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager
from typing import Any, Final

from PIL import Image

MAX_PIXELS: Final = 2**30  # of an image that is opened at all

# What Pillow raises on a broken or hostile file is not documented; these have been seen.
BAD_IMAGE: Final = (
    OSError, SyntaxError, ValueError, TypeError, KeyError, IndexError, EOFError, AttributeError, ArithmeticError,
    MemoryError, RuntimeError, Warning, struct.error, zlib.error, Image.DecompressionBombError,
)  # fmt: skip

_lock = threading.RLock()


@contextmanager
def strictly(max_pixels: int | None = None) -> Iterator[None]:
    """Pillow's warnings (among them that of a decompression bomb) as errors, so that such files are kept as bytes.

    max_pixels: opens images up to this size. Changes the state of the whole process, and so holds `pillow_alone`.
    """
    with pillow_alone(), warnings.catch_warnings():
        before = Image.MAX_IMAGE_PIXELS
        warnings.simplefilter("error")
        try:
            if max_pixels is not None:
                Image.MAX_IMAGE_PIXELS = max_pixels
            yield
        finally:
            Image.MAX_IMAGE_PIXELS = before


def pillow_alone() -> AbstractContextManager[Any]:
    """A lock to decode images under, as that changes Pillow's limits and warnings for the whole process."""
    return _lock


def _renew_lock() -> None:
    """In a forked process nobody is left to release what another thread held."""
    global _lock
    _lock = threading.RLock()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_renew_lock)
