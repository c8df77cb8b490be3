"""Files that appear under their names only when they are complete, and never in place of what appeared meanwhile.

While it is written, a file has no name where the file system can do that, so that nothing is left of it whatever ends
the process. Else it has a temporary name, and whoever writes into the same folder next removes what killed processes
left there. Folders are held open, so that links that take their places change nothing.
"""

from __future__ import annotations

import errno
import fcntl
import os
import shutil
import stat
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import BinaryIO, Final

from bbcodec.errors import OutputError, TargetExists

TEMPORARY: Final = ".bbcodec-"  # how temporary names begin
RANDOM_BYTES: Final = 8  # of a temporary name
NAME_LENGTH: Final = len(TEMPORARY) + 2 * RANDOM_BYTES
UNNAMED: Final = getattr(os, "O_TMPFILE", 0)  # flag of a file without a name; 0: there is none here
# What an operation fails with that this file system, or this system, does not have.
UNSUPPORTED: Final = (errno.EOPNOTSUPP, errno.EISDIR, errno.ENOENT, errno.EINVAL, errno.EPERM, errno.EMLINK)


def refuse_existing(target: Path, force: bool) -> None:
    """Raise OutputError if `target` is a folder, TargetExists if it exists and `force` is not set."""
    if target.is_dir():
        raise OutputError(f"{target} is a folder; expected the name of a file")
    if os.path.lexists(target) and not force:
        raise TargetExists(f"{target} exists; use --force to overwrite it")


def check_new_file(target: Path, force: bool) -> None:
    """Raise TargetExists or OutputError if `new_file` would: a check before long work."""
    refuse_existing(target, force)
    if not target.parent.is_dir():
        raise OutputError(f"{target} cannot be written: there is no folder {target.parent}")


@contextmanager
def new_file(target: Path, force: bool) -> Iterator[tuple[Path, BinaryIO]]:
    """Path and stream of a temporary file that becomes `target` on success, and else vanishes.

    The path is for reading, also by other processes, while the body runs. The file is on disk before it gets its name,
    and the name before this returns. Raises TargetExists, also where the target appeared meanwhile and `force` is not
    set, or OutputError.
    """
    refuse_existing(target, force)
    try:
        with open_folder(target.parent) as folder, _temporary_file(target.parent, folder) as (path, name, stream):
            yield path, stream
            stream.flush()
            os.fsync(stream.fileno())
            refuse_existing(target, force)
            _publish(stream, name, folder, target, force)
            sync_folder(folder)
    except OSError as error:
        raise OutputError(f"{target} cannot be written: {error.strerror or error}") from None


@contextmanager
def open_folder(path: Path) -> Iterator[int]:
    """A folder held open: its file descriptor."""
    folder = os.open(path, os.O_RDONLY | os.O_DIRECTORY)
    try:
        yield folder
    finally:
        os.close(folder)


def sync_folder(folder: int) -> None:
    """Wait until the names in an open folder are on disk, where the file system can say so."""
    handle = os.open(".", os.O_RDONLY | os.O_DIRECTORY, dir_fd=folder)  # as one opened by O_PATH cannot be synced
    try:
        os.fsync(handle)
    except OSError as error:
        if error.errno not in UNSUPPORTED:
            raise
    finally:
        os.close(handle)


@contextmanager
def _temporary_file(parent: Path, folder: int) -> Iterator[tuple[Path, str, BinaryIO]]:
    """The path, the name (empty if it has none) and the stream of a new file in a folder; without a name at the end."""
    sweep(folder)
    handle, name = _unnamed(folder), ""
    while handle is None:
        name = temporary_name()
        handle = os.open(name, os.O_RDWR | os.O_CREAT | os.O_EXCL, 0o666, dir_fd=folder)
        lock(handle)
        if not locked(handle, name, folder):  # somebody swept it before it was locked
            os.close(handle)
            handle = None
    try:
        with open(handle, "w+b") as stream:
            yield parent / name if name else Path(f"/proc/{os.getpid()}/fd/{handle}"), name, stream
    finally:
        if name:
            with suppress(OSError):
                os.unlink(name, dir_fd=folder)


def _unnamed(folder: int) -> int | None:
    """A new, locked file without a name in a folder; None where there are no such files, or no way to name them."""
    if not UNNAMED:
        return None
    try:
        handle = os.open(".", UNNAMED | os.O_RDWR, 0o666, dir_fd=folder)
    except OSError as error:
        if error.errno in UNSUPPORTED:
            return None
        raise
    if os.path.exists(f"/proc/{os.getpid()}/fd/{handle}"):
        lock(handle)
        return handle
    os.close(handle)
    return None


def _publish(stream: BinaryIO, name: str, folder: int, target: Path, force: bool) -> None:
    """Give a temporary file its final name. Raises TargetExists for one that is taken, unless `force` is set."""
    try:
        if name:
            put(name, folder, target.name, folder, force)
        elif force:
            _replace(f"/proc/self/fd/{stream.fileno()}", target.name, folder)
        else:
            source = f"/proc/self/fd/{stream.fileno()}"
            os.link(source, target.name, dst_dir_fd=folder, follow_symlinks=True)
    except FileExistsError:
        raise TargetExists(f"{target} appeared while it was written; use --force to overwrite it") from None


def _replace(source: str, final: str, folder: int) -> None:
    """Give a file without a name one that may be taken: by a detour, as links are made under new names only."""
    passing = temporary_name()
    os.link(source, passing, dst_dir_fd=folder, follow_symlinks=True)
    try:
        os.replace(passing, final, src_dir_fd=folder, dst_dir_fd=folder)
    except OSError:
        os.unlink(passing, dir_fd=folder)
        raise


def put(name: str, source: int, final: str, folder: int, force: bool) -> None:
    """Move a file or link from one open folder to another: in place of what has the name there, or only if nothing has.

    Raises FileExistsError, or another OSError.
    """
    if not force:
        try:
            os.link(name, final, src_dir_fd=source, dst_dir_fd=folder, follow_symlinks=False)
        except OSError as error:
            if error.errno not in UNSUPPORTED:
                raise
            _put_without_links(name, source, final, folder)
        else:
            os.unlink(name, dir_fd=source)
    else:
        os.replace(name, final, src_dir_fd=source, dst_dir_fd=folder)


def _put_without_links(name: str, source: int, final: str, folder: int) -> None:
    """`put` without force: an empty file holds the name, which nobody else can then create, until it is replaced."""
    os.close(os.open(final, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600, dir_fd=folder))
    try:
        os.replace(name, final, src_dir_fd=source, dst_dir_fd=folder)
    except OSError:
        os.unlink(final, dir_fd=folder)
        raise


# --- temporary folders -----------------------------------------------------------------------------------------------


@contextmanager
def temporary_folder() -> Iterator[Path]:
    """A folder for temporary files, in TMPDIR, gone at the end. Raises OutputError where none can be made.

    What killed processes left there is removed first.
    """
    try:
        parent = Path(tempfile.gettempdir())
        handle = os.open(parent, os.O_RDONLY | os.O_DIRECTORY)
        sweep(handle)
        name, inner = locked_folder(handle)
    except OSError as error:
        raise OutputError(f"no temporary folder can be made (TMPDIR): {error.strerror or error}") from None
    try:
        yield parent / name
    finally:
        shutil.rmtree(name, ignore_errors=True, dir_fd=handle)
        os.close(inner)
        os.close(handle)


def locked_folder(folder: int) -> tuple[str, int]:
    """A new temporary folder in an open one, in use until it is closed: its name, and it held open."""
    while True:
        name = temporary_name()
        os.mkdir(name, 0o700, dir_fd=folder)
        try:
            inner = os.open(name, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW, dir_fd=folder)
        except FileNotFoundError:
            continue  # somebody swept it at once
        lock(inner)
        if locked(inner, name, folder):
            return name, inner
        os.close(inner)  # somebody swept it before it was locked


# --- what killed processes left --------------------------------------------------------------------------------------


def temporary_name() -> str:
    """A new name of a temporary file or folder, as `sweep` knows them."""
    return f"{TEMPORARY}{os.urandom(RANDOM_BYTES).hex()}"


def is_temporary(path: str) -> bool:
    """Whether a file lies in a temporary folder, which other machines do not see."""
    return any(len(part) == NAME_LENGTH and part.startswith(TEMPORARY) for part in Path(path).parts)


def lock(handle: int) -> None:
    """Mark an open temporary file or folder as in use, until it is closed or this process ends."""
    with suppress(OSError):  # a file system without locks, where nothing is swept either
        fcntl.flock(handle, fcntl.LOCK_EX)


def locked(handle: int, name: str, folder: int) -> bool:
    """Whether an open temporary file or folder still has its name after it was locked."""
    try:
        return os.path.samestat(os.fstat(handle), os.stat(name, dir_fd=folder, follow_symlinks=False))
    except FileNotFoundError:
        return False


def sweep(folder: int) -> None:
    """Remove the temporary files and folders in an open folder that no process has in use any more."""
    for name in os.listdir(folder):
        if name.startswith(TEMPORARY) and len(name) == NAME_LENGTH:
            with suppress(OSError):  # somebody else's, in use, or gone
                _remove_stray(name, folder)


def _remove_stray(name: str, folder: int) -> None:
    """Remove a temporary file or folder. Raises OSError if it is in use."""
    handle = os.open(name, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK, dir_fd=folder)
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        if stat.S_ISDIR(os.fstat(handle).st_mode):
            shutil.rmtree(name, dir_fd=folder)
        else:
            os.unlink(name, dir_fd=folder)
    finally:
        os.close(handle)
