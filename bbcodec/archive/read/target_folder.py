"""The folder that entries are restored into: held open, entered without following links, nothing in it overwritten."""

from __future__ import annotations

import errno
import os
import shutil
import stat
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from functools import partial
from pathlib import Path
from typing import BinaryIO, Final, NamedTuple, cast

from bbcodec.archive.format.index import Entry
from bbcodec.archive.format.names import printable
from bbcodec.atomic_files import locked_folder, open_folder, put, sweep, sync_folder
from bbcodec.errors import OutputError, TargetExists, UnsafePath

ENTER: Final = getattr(os, "O_PATH", os.O_RDONLY) | os.O_DIRECTORY | os.O_NOFOLLOW


class TargetFolder(NamedTuple):
    """A folder held open, and how files are put there. force: in place of others. fsync: and on disk at once."""

    path: Path
    handle: int
    force: bool = False
    fsync: bool = False

    @contextmanager
    def below(self, parts: Sequence[str], made: bool = False) -> Iterator[int]:
        """The folder of a name that is split into parts, held open; made: where it is missing, it is made.

        Raises UnsafePath where one of them is a link, OutputError where one is a file.
        """
        here = self.handle
        try:
            for depth, part in enumerate(parts, 1):
                if made:
                    with suppress(FileExistsError):
                        os.mkdir(part, dir_fd=here)
                try:
                    inner = os.open(part, ENTER, dir_fd=here)
                except OSError as error:
                    self._refuse(error, part, here, self.path.joinpath(*parts[:depth]))
                    raise
                self._close(here)
                here = inner
            yield here
        finally:
            self._close(here)

    def _close(self, handle: int) -> None:
        if handle != self.handle:
            os.close(handle)

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


def check_target(folder: Path, entry: Entry, force: bool) -> None:
    """Raise unless `entry` may be written below `folder`: UnsafePath through a link, TargetExists, OutputError.

    A check before long work: `put_in_place` finds out, too.
    """
    try:
        _check_target(folder, entry, force)
    except OSError as error:  # a name that is too long for this file system, for one
        raise OutputError(f"{printable(entry.name)} cannot be written: {error.strerror or error}") from None


def _check_target(folder: Path, entry: Entry, force: bool) -> None:
    parts = os.fsdecode(entry.name).split("/")
    path = folder
    for part in parts if entry.form == "folder" else parts[:-1]:
        path = path / part
        if path.is_symlink():
            raise UnsafePath(f"{path} is a link: {printable(entry.name)} would be written through it, out of {folder}")
        if path.exists() and not path.is_dir():
            raise OutputError(f"{path} is a file, where {printable(entry.name)} needs a folder")
    if entry.form == "folder":
        return
    path = path / parts[-1]
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
                yield TargetFolder(folder, handle, force, fsync), stage
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
    parts = os.fsdecode(entry.name).split("/")
    if entry.form == "folder":
        with target.below(parts, made=True):
            return
    with target.below(parts[:-1], made=True) as folder:
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
            put(name, stage.handle, parts[-1], folder, target.force)
        except FileExistsError:
            path = target.path.joinpath(*parts)
            raise TargetExists(f"{path} appeared meanwhile; use --force to overwrite it") from None
        except OSError as error:
            raise OutputError(f"{printable(entry.name)} cannot be written: {error.strerror or error}") from None
        if target.fsync:
            sync_folder(folder)


def finish_folder(target: TargetFolder, entry: Entry) -> None:
    """Give a restored folder its permissions and time, after all that is in it was written."""
    with target.below(os.fsdecode(entry.name).split("/")) as folder:
        os.chmod(".", entry.permissions, dir_fd=folder)
        os.utime(".", ns=(entry.modified_ns, entry.modified_ns), dir_fd=folder)
        if target.fsync:
            sync_folder(folder)
