"""Kernels as machine code: how they are compiled, kept on disk, and when the code on disk is out of date.

Numba notices changes of the file that holds a kernel, but not of other files whose functions are inlined into it or
whose constants it uses. And it numbers its files of code: of two processes that compile for different types at the same
time, one may be left with the code of the other. So here the name of a file says what its code is made of: the kernel,
the types, the processor, and every source of the coder and of the kernel's package.

Code lies in the folder NUMBA_CACHE_DIR, or else beside the sources, or, where these cannot be written, in the user's
cache (`~/.cache/numba`).
"""

from __future__ import annotations

import fcntl
import os
import time
from collections.abc import Callable
from contextlib import suppress
from functools import cache
from hashlib import blake2b
from pathlib import Path
from typing import Any, BinaryIO, Final, cast

import numba as nb

from bbcodec.coder.first_use import compiling

Function = Callable[..., Any]

CODER = Path(__file__).parent
LONGEST_WAIT: Final = 60.0  # seconds that a process waits for code that another compiles; the longest takes 20

# Without numba's reference counts (`_nrt`): they are atomic and surround every call of a function that takes arrays,
# which made pushes five times slower. So kernels allocate nothing. And without what would make a function callable from
# C and, of inlined ones, from Python, which took up to a third of the time of compiling.
_OPTIONS: Final[dict[str, Any]] = {"nogil": True, "_nrt": False, "no_cfunc_wrapper": True}


def compiled(function: Function) -> Function:
    """A kernel: machine code, cached on disk, that lets other threads run."""
    return cast(Function, kept(nb.njit(**_OPTIONS)(function), Path(function.__code__.co_filename).parent))


def inlined(function: Function) -> Function:
    """A function that is inlined into kernels. Python cannot call it: the process would crash."""
    return cast(Function, nb.njit(forceinline=True, no_cpython_wrapper=True, **_OPTIONS)(function))


def kept(kernel: Any, package: Path) -> Any:
    """The kernel of a package, with its machine code kept on disk.

    Where no folder can be written, or numba keeps its code in another way than this knows, each process compiles anew.
    """
    no_cache = getattr(kernel, "_cache", None)
    try:
        kernel.enable_caching()
        kernel._cache._cache_file = CodeFiles(kernel._cache._cache_file, package)
        load_quickly(kernel._cache)
    except (AttributeError, RuntimeError):  # no such files; or no folder
        if no_cache is not None:  # otherwise it is a function: compilation is switched off
            kernel._cache = no_cache
    return kernel


class CodeFiles:
    """The files that hold the machine code of one kernel, in place of numba's, by whose methods it is called.

    Of several processes that need the same code, one compiles it, and the others wait for it.
    """

    def __init__(self, files: Any, package: Path) -> None:
        """files: those of numba, which name the folder and read and write; package: that the kernel is of.

        Raises AttributeError if numba has no files of this form.
        """
        self._name, self._read, self._write = files._data_name_pattern, files._load_data, files._save_data
        self._path = files._data_path
        self._made_of = f"{nb.__version__} {source_digest(package).hex()}"
        self._turns: dict[str, Turn] = {}  # of code that this process compiles

    def _file(self, key: Any) -> str:
        """The name of the file for types and a processor, which are in the key."""
        digest = blake2b(f"{self._made_of} {key!r}".encode(), digest_size=16).hexdigest()
        return str(self._name.replace("{number:d}", digest))

    def load(self, key: Any) -> Any:
        """The code for a key; None where there is none, and this process is to compile it."""
        file = self._file(key)
        with suppress(OSError):
            return self._read(file)
        self._turns[file] = Turn(self._path(f"{file}.lock"))
        with suppress(OSError):  # another process compiled it meanwhile
            code = self._read(file)
            self._turns.pop(file).end()
            return code
        return None

    def save(self, key: Any, code: Any) -> None:
        """Keep the code for a key. The file appears whole."""
        file = self._file(key)
        self._write(file, code)
        if file in self._turns:
            self._turns.pop(file).end()


class Turn:
    """The right to compile some code, which one process has at a time: a file that is locked."""

    def __init__(self, path: str) -> None:
        """Wait until no other process has it, but not for ever: one that fails ends its turn only when it ends."""
        self._path = path
        self._stream: BinaryIO | None = None
        with suppress(OSError):  # a folder that cannot be written, or no locks there: all compile
            self._stream = open(path, "wb")  # noqa: SIM115  held for as long as the turn lasts
            limit = time.monotonic() + LONGEST_WAIT
            while not self._locked() and time.monotonic() < limit:
                time.sleep(0.05)

    def _locked(self) -> bool:
        assert self._stream is not None
        try:
            fcntl.flock(self._stream, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            return False
        return True

    def end(self) -> None:
        """Let others have their turn."""
        if self._stream is not None:
            with suppress(OSError):
                os.unlink(self._path)
            self._stream.close()


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


@cache
def source_digest(package: Path) -> bytes:
    """BLAKE2b-128 of the names and contents of all sources of the coder and of a package's folder."""
    state = blake2b(digest_size=16)
    for path in sorted({*CODER.rglob("*.py"), *package.glob("*.py")}):
        state.update(path.name.encode() + blake2b(path.read_bytes()).digest())
    return state.digest()
