"""Writing files that appear under their final names only when they are complete."""

from __future__ import annotations

import os
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import BinaryIO

from bbcodec.archive.format.index import Entry, printable
from bbcodec.errors import OutputError, TargetExists, UnsafePath


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
    """Path and stream of a temporary file beside `target`, renamed to it on success, else removed.

    Raises TargetExists or OutputError.
    """
    refuse_existing(target, force)
    path: Path | None = None
    try:
        handle, name = tempfile.mkstemp(prefix=f".{target.name[:100]}.", suffix=".tmp", dir=target.parent)
        path = Path(name)
        with open(handle, "w+b") as stream:
            yield path, stream
            stream.flush()
            os.fsync(stream.fileno())
        mask = os.umask(0)
        os.umask(mask)
        path.chmod(0o666 & ~mask)
        refuse_existing(target, force)
        os.replace(path, target)
        path = None
    except OSError as error:
        raise OutputError(f"{target} cannot be written: {error.strerror or error}") from None
    finally:
        if path is not None:
            with suppress(OSError):
                path.unlink()


def check_target(folder: Path, file: Entry, force: bool) -> None:
    """Raise unless `file` may be written below `folder`: UnsafePath through a link, TargetExists, OutputError."""
    try:
        _check_target(folder, file, force)
    except OSError as error:  # a name that is too long for this file system, for one
        raise OutputError(f"{printable(file.name)} cannot be written: {error.strerror or error}") from None


def _check_target(folder: Path, file: Entry, force: bool) -> None:
    parts = os.fsdecode(file.name).split("/")
    path = folder
    for part in parts if file.form == "folder" else parts[:-1]:
        path = path / part
        if path.is_symlink():
            raise UnsafePath(f"{path} is a link: {printable(file.name)} would be written through it, out of {folder}")
        if path.exists() and not path.is_dir():
            raise OutputError(f"{path} is a file, where {printable(file.name)} needs a folder")
    if file.form == "folder":
        return
    path = path / parts[-1]
    if path.is_dir() and not path.is_symlink():
        raise OutputError(f"{path} is a folder, where a file is to be written")
    if os.path.lexists(path) and not force:
        raise TargetExists(f"{path} exists; use --force to overwrite it")


@contextmanager
def staging_folder(folder: Path) -> Iterator[Path]:
    """A temporary folder in `folder`, gone at the end; where it fails, so are folders that had to be made for it."""
    made: list[Path] = []
    stage: Path | None = None
    try:
        missing = [path for path in (folder, *folder.parents) if not path.exists()]
        for path in reversed(missing):
            path.mkdir()
            made.insert(0, path)
        stage = Path(tempfile.mkdtemp(prefix=".bbcodec-", dir=folder))
        yield stage
        made = []
    except OSError as error:
        path = error.filename2 or error.filename or folder
        raise OutputError(f"{path} cannot be written: {error.strerror or error}") from None
    finally:
        if stage is not None:
            shutil.rmtree(stage, ignore_errors=True)
        for path in made:
            with suppress(OSError):  # not empty: some files had been restored
                path.rmdir()


def put_in_place(staged: Path, folder: Path, file: Entry) -> None:
    """Give a staged file its permissions, its time and its name. Of a folder only the name: see `finish_folder`."""
    final = folder / os.fsdecode(file.name)
    times = (file.modified_ns, file.modified_ns)
    final.parent.mkdir(parents=True, exist_ok=True)
    if file.form == "folder":
        final.mkdir(exist_ok=True)
        return
    if file.form == "link":
        link = staged.with_suffix(".link")
        link.symlink_to(os.fsdecode(staged.read_bytes()))
        if os.utime in os.supports_follow_symlinks:
            os.utime(link, ns=times, follow_symlinks=False)
        staged = link
    else:
        staged.chmod(file.permissions)
        os.utime(staged, ns=times)
    os.replace(staged, final)


def finish_folder(folder: Path, file: Entry) -> None:
    """Give a restored folder its permissions and time, after all that is in it was written."""
    final = folder / os.fsdecode(file.name)
    final.chmod(file.permissions)
    os.utime(final, ns=(file.modified_ns, file.modified_ns))
