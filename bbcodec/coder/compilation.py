"""Kernels as machine code: how they are compiled, kept on disk, and when the code on disk is out of date.

Numba notices changes of the file that holds a kernel, but not of other files whose functions are inlined into it or
whose constants it uses. So the stamp that it compares covers every source of the coder and of the kernel's package too.

Numba keeps code in the folder NUMBA_CACHE_DIR, or else beside the sources, or, where these cannot be written, in the
user's cache (`~/.cache/numba`).
"""

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress
from functools import cache
from hashlib import blake2b
from pathlib import Path
from typing import Any, cast

import numba as nb

from bbcodec.coder.first_use import compiling

Function = Callable[..., Any]

CODER = Path(__file__).parent

# Without numba's reference counts (`_nrt`): they are atomic and surround every call of a function that takes arrays,
# which made pushes five times slower. So kernels allocate nothing.


def compiled(function: Function) -> Function:
    """A kernel: machine code, cached on disk, that lets other threads run."""
    kernel = kept(nb.njit(nogil=True, _nrt=False)(function))
    depend_on_sources(kernel, Path(function.__code__.co_filename).parent)
    return cast(Function, kernel)


def inlined(function: Function) -> Function:
    """A function that is inlined into kernels."""
    return cast(Function, nb.njit(nogil=True, forceinline=True, _nrt=False)(function))


def kept(kernel: Any) -> Any:
    """The kernel, with its machine code kept on disk; where no folder can be written, each process compiles anew."""
    with suppress(AttributeError, RuntimeError):  # it is a function if compilation is switched off; or no folder
        kernel.enable_caching()
        load_quickly(kernel._cache)
    return kernel


def load_quickly(cache: Any) -> None:
    """Load code from the disk without what only compiling needs, and tell that code is compiled where there is none.

    Numba first sets up its knowledge of all functions of numpy, for which it imports scipy's linear algebra: 0.3 s.
    """
    load, guard = cache._load_overload, cache._guard_against_spurious_io_errors

    def load_overload(signature: Any, target: Any) -> Any:
        with guard():
            found = load(signature, target)
        if found is None:
            compiling()
        return found

    cache.load_overload = load_overload


def depend_on_sources(kernel: Any, package: Path) -> None:
    """Make numba discard cached code of the kernel once a source of its package, or of the coder, has changed.

    Does nothing where numba has no cache of this form: then only changes of the kernel's own file are noticed.
    """
    try:
        index = kernel._cache._cache_file
        index._source_stamp = index._source_stamp, source_digest(package)
    except AttributeError:
        return


@cache
def source_digest(package: Path) -> bytes:
    """BLAKE2b-128 of the names and contents of all sources of the coder and of a package's folder."""
    state = blake2b(digest_size=16)
    for path in sorted({*CODER.rglob("*.py"), *package.glob("*.py")}):
        state.update(path.name.encode() + blake2b(path.read_bytes()).digest())
    return state.digest()
