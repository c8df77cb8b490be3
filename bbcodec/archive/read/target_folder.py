"""The folder that entries are restored into: held open, entered without following links, nothing in it overwritten."""

from __future__ import annotations

import errno
import os
import shutil
import stat
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager, suppress
from functools import partial
from pathlib import Path
from typing import BinaryIO, Final, NamedTuple, cast

from bbcodec.archive.format.index import Entry
from bbcodec.archive.format.names import printable
from bbcodec.atomic_files import locked_folder, open_folder, put, sweep, sync_folder
from bbcodec.errors import OutputError, TargetExists, UnsafePath

ENTER: Final = getattr(os, "O_PATH", os.O_RDONLY) | os.O_DIRECTORY | os.O_NOFOLLOW


class TargetFolder:
    """A folder held open, and how files are put there. force: in place of others. fsync: and on disk at once.

    The folder in it that was entered last is held open, too: its neighbours in the order of names lie in it.
    """

    def __init__(self, path: Path, handle: int, force: bool = False, fsync: bool = False) -> None:
        """handle: of the open folder, which the caller closes; `close` lets go of the rest."""
        self.path, self.handle, self.force, self.fsync = path, handle, force, fsync
        self._last: tuple[Sequence[str], int] = (), handle

    def close(self) -> None:
        """Let go of the folder that was entered last."""
        parts, handle = self._last
        self._last = (), self.handle
        if parts:
            os.close(handle)

    def enter(self, parts: Sequence[str], made: bool = False) -> int:
        """The folder of a name, split into parts; held open until the next is entered. made: where it is missing.

        Raises UnsafePath where one of them is a link, OutputError where one is a file.
        """
        known, here = self._last
        if list(parts[: len(known)]) != list(known):
            self.close()
            known, here = (), self.handle
        for depth in range(len(known), len(parts)):
            inner = self.open(here, parts[: depth + 1], made)
            self.close()
            self._last = parts[: depth + 1], inner
            here = inner
        return here

    def open(self, folder: int, parts: Sequence[str], made: bool = False) -> int:
        """The folder of the last of some parts, in the open folder of those before: its handle. Raises as `enter`."""
        try:
            return os.open(parts[-1], ENTER, dir_fd=folder)
        except FileNotFoundError:
            if not made:
                raise
            with suppress(FileExistsError):
                os.mkdir(parts[-1], dir_fd=folder)
            return self.open(folder, parts)
        except OSError as error:
            self._refuse(error, parts[-1], folder, self.path.joinpath(*parts))
            raise

    def _refuse(self, error: OSError, part: str, folder: int, path: Path) -> None:
        """Raise UnsafePath or OutputError if a folder could not be entered because it is a link or a file."""
        if error.errno in (errno.ELOOP, errno.ENOTDIR):
            if stat.S_ISLNK(os.stat(part, dir_fd=folder, follow_symlinks=False).st_mode):
                raise UnsafePath(f"{path} became a link: files would be written through it, out of {self.path}")
            raise OutputError(f"{path} is a file, where a folder is needed")


class Stage(NamedTuple):
    """A temporary folder in the target, where entries are written under their numbers before they get their names."""

    path: Path
    handle: int

    def open(self, name: str, mode: str) -> BinaryIO:
        """A file of it."""
        return cast(BinaryIO, open(name, mode, opener=partial(os.open, dir_fd=self.handle)))


# --- before the work -------------------------------------------------------------------------------------------------


def check_targets(folder: Path, entries: Iterable[Entry], force: bool) -> None:
    """Raise unless entries may be written below `folder`: UnsafePath through a link, TargetExists, OutputError.

    A check before long work: `put_in_place` finds out, too. Each folder is looked at once.
    """
    checked: set[str] = set()
    for entry in entries:
        try:
            _check_target(folder, entry, force, checked)
        except OSError as error:  # a name that is too long for this file system, for one
            raise OutputError(f"{printable(entry.name)} cannot be written: {error.strerror or error}") from None


def _check_target(folder: Path, entry: Entry, force: bool, checked: set[str]) -> None:
    name = os.fsdecode(entry.name)
    above, _, _ = (name, "", "") if entry.form == "folder" else name.rpartition("/")
    missing = []  # folders that were not looked at yet, the deepest first
    while above and above not in checked:
        missing.append(above)
        above = above.rpartition("/")[0]
    for below in reversed(missing):
        path = folder / below
        if path.is_symlink():
            raise UnsafePath(f"{path} is a link: {printable(entry.name)} would be written through it, out of {folder}")
        if path.exists() and not path.is_dir():
            raise OutputError(f"{path} is a file, where {printable(entry.name)} needs a folder")
        checked.add(below)
    if entry.form == "folder":
        return
    path = folder / name
    if path.is_dir() and not path.is_symlink():
        raise OutputError(f"{path} is a folder, where a file is to be written")
    if os.path.lexists(path) and not force:
        raise TargetExists(f"{path} exists; use --force to overwrite it")


# --- the work --------------------------------------------------------------------------------------------------------


@contextmanager
def staging_folder(folder: Path, force: bool = False, fsync: bool = False) -> Iterator[tuple[TargetFolder, Stage]]:
    """The folder, and a temporary one in it, gone at the end; where it fails, so are folders that had to be made.

    What killed processes left in the folder is removed first.
    """
    made: list[Path] = []
    try:
        missing = [path for path in (folder, *folder.parents) if not path.exists()]
        for path in reversed(missing):
            path.mkdir()
            made.insert(0, path)
        with open_folder(folder) as handle:
            sweep(handle)
            with _stage(folder, handle) as stage:
                target = TargetFolder(folder, handle, force, fsync)
                try:
                    yield target, stage
                finally:
                    target.close()
        if fsync:
            for path in made:
                with open_folder(path.parent) as parent:
                    sync_folder(parent)
        made = []
    except OSError as error:
        path = error.filename2 or error.filename or folder
        raise OutputError(f"{path} cannot be written: {error.strerror or error}") from None
    finally:
        for path in made:
            with suppress(OSError):  # not empty: some files had been restored
                path.rmdir()


@contextmanager
def _stage(folder: Path, handle: int) -> Iterator[Stage]:
    name, stage = locked_folder(handle)
    try:
        yield Stage(folder / name, stage)
    finally:
        shutil.rmtree(name, ignore_errors=True, dir_fd=handle)
        os.close(stage)


def put_in_place(stage: Stage, name: str, target: TargetFolder, entry: Entry) -> None:
    """Give the staged file `name` its permissions, its time and its final name. Of a folder only that: `finish_folder`.

    Raises TargetExists for what appeared there meanwhile, unless the target is forced, UnsafePath or OutputError.
    """
    *above, last = os.fsdecode(entry.name).split("/")
    folder = target.enter(above, made=True)
    if entry.form == "folder":
        os.close(target.open(folder, (*above, last), made=True))
        return
    times = (entry.modified_ns, entry.modified_ns)
    if entry.form == "link":
        with stage.open(name, "rb") as stream:
            goal = os.fsdecode(stream.read())
        name = f"{name}.link"
        os.symlink(goal, name, dir_fd=stage.handle)
        if os.utime in os.supports_follow_symlinks:
            os.utime(name, ns=times, dir_fd=stage.handle, follow_symlinks=False)
    else:
        if target.fsync:
            with stage.open(name, "rb") as stream:
                os.fsync(stream.fileno())
        os.chmod(name, entry.permissions, dir_fd=stage.handle)
        os.utime(name, ns=times, dir_fd=stage.handle)
    try:
        put(name, stage.handle, last, folder, target.force)
    except FileExistsError:
        raise TargetExists(
            f"{target.path.joinpath(*above, last)} appeared meanwhile; use --force to overwrite it"
        ) from None
    except OSError as error:
        raise OutputError(f"{printable(entry.name)} cannot be written: {error.strerror or error}") from None
    if target.fsync:
        sync_folder(folder)


def finish_folder(target: TargetFolder, entry: Entry) -> None:
    """Give a restored folder its permissions and time, after all that is in it was written."""
    parts = os.fsdecode(entry.name).split("/")
    folder = target.open(target.enter(parts[:-1]), parts)
    try:
        os.chmod(".", entry.permissions, dir_fd=folder)
        os.utime(".", ns=(entry.modified_ns, entry.modified_ns), dir_fd=folder)
        if target.fsync:
            sync_folder(folder)
    finally:
        os.close(folder)
