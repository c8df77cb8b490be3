"""An archive as a file system of fsspec: `bb://cats/01.png::s3://bucket/out.bb`, for whatever reads files through it.

fsspec finds it by its entry point (`fsspec.specs`), where bbcodec is installed.
"""

from __future__ import annotations

import errno
import io
import os
import posixpath
import tempfile
from collections import defaultdict
from typing import Any, BinaryIO, Final, cast

from fsspec.archive import AbstractArchiveFileSystem

from bbcodec.archive.format.index import Entry
from bbcodec.archive.read.archive import open_archive
from bbcodec.options import Limits, PathLike
from bbcodec.remote import is_url, use_options

REWRITTEN: Final = ("png", "webp")  # forms of files that may come back with other bytes
IN_MEMORY: Final = 2**26  # bytes of a file up to which it is read into memory, not to a temporary file


class ArchiveFileSystem(AbstractArchiveFileSystem):  # type: ignore[misc]  # fsspec has no types
    """The files of an archive, as `decompress` restores them; for reading alone.

    The size of an image file that was stored by its pixels is that which it had, which may differ from what is read:
    `exact_size` of its `info` is False then.
    Links are the files of the archive that they point to, and are left out where they point elsewhere.

    >>> import fsspec, numpy, pathlib, tempfile, bbcodec
    >>> folder = pathlib.Path(tempfile.mkdtemp())
    >>> numpy.save(folder / "a.npy", numpy.arange(192, dtype=numpy.uint8).reshape(3, 8, 8))
    >>> _ = bbcodec.compress(folder / "a.npy", folder / "a.bb", codec="none")
    >>> system = fsspec.filesystem("bb", fo=folder / "a.bb")
    >>> system.ls("", detail=False), numpy.load(system.open("a.npy")).shape
    (['a.npy'], (3, 8, 8))
    """

    protocol = "bb"
    root_marker = ""
    cachable = False

    def __init__(
        self,
        fo: PathLike = "",
        target_protocol: str | None = None,
        target_options: dict[str, Any] | None = None,
        codec: PathLike | None = None,
        limits: Limits = Limits(),  # noqa: B008  frozen
        **options: Any,
    ) -> None:
        """Open the archive `fo`, a path or URL; fsspec names what comes behind `::` in three parts.

        codec: a `.bbc` file, for archives that neither embed their codec nor use a shipped one. limits: as of
        `open_archive`. Raises what that raises.
        """
        super().__init__(self, **options)
        path = os.fspath(fo)
        if target_protocol not in (None, "file", "local") and not is_url(path):
            path = f"{target_protocol}://{path}"
        if target_options:
            use_options(path, target_options)
        self.fo = path
        self.archive = open_archive(path, codec=codec, limits=limits)
        self.dir_cache: dict[str, dict[str, Any]] = {}
        self._names: dict[str, str] = {}  # of what is read for each path
        self._inside: dict[str, list[str]] = defaultdict(list)  # by folder

    @classmethod
    def _strip_protocol(cls, path: str) -> str:
        return cast(str, super()._strip_protocol(path)).lstrip("/")

    def _get_dirs(self) -> None:
        """List the archive, once."""
        if self.dir_cache:
            return
        names = {os.fsdecode(entry.name): entry for entry in self.archive.files}
        folders = {"", *self._all_dirnames(set(names)), *(name for name in names if names[name].form == "folder")}
        found: dict[str, dict[str, Any]] = {
            folder: {"name": folder, "size": 0, "type": "directory"} for folder in folders
        }
        for name in names:
            known = self._resolved(name, names)
            if known is not None:
                file = names[known]
                about = {"size": file.size, "mtime": file.modified_ns / 1e9, "mode": file.permissions}
                found[name] = {"name": name, "type": "file", "exact_size": file.form not in REWRITTEN, **about}
                self._names[name] = known
        for name in sorted(found.keys() - {""}):
            self._inside[posixpath.dirname(name)].append(name)
        self.dir_cache = found

    def info(self, path: str, **options: Any) -> dict[str, Any]:
        """Name, type and size of a file or folder. Raises FileNotFoundError."""
        self._get_dirs()
        name = self._strip_protocol(path)
        if name not in self.dir_cache:
            raise FileNotFoundError(errno.ENOENT, os.strerror(errno.ENOENT), path)
        return self.dir_cache[name]

    def ls(self, path: str, detail: bool = True, **options: Any) -> list[Any]:
        """What is in a folder, or a file alone: names, or what `info` says of each. Raises FileNotFoundError."""
        about = self.info(path)
        names = self._inside.get(about["name"], []) if about["type"] == "directory" else [about["name"]]
        return [self.dir_cache[name] for name in names] if detail else list(names)

    def _resolved(self, name: str, names: dict[str, Entry]) -> str | None:
        """The file that a name stands for, behind a link perhaps; None if there is none."""
        entry = names[name]
        if entry.form == "link":
            goal = os.fsdecode(self.archive.read_bytes(name))
            name = posixpath.normpath(posixpath.join(posixpath.dirname(name), goal))
        return name if name in names and names[name].form not in ("link", "folder") else None

    def cat_file(self, path: str, start: int | None = None, end: int | None = None, **options: Any) -> bytes:
        """The bytes of a file, from `start` to before `end`, as of a slice. Raises as `_open`."""
        with self._open(path) as stream:
            return stream.read()[start:end]

    def _open(self, path: str, mode: str = "rb", **options: Any) -> BinaryIO:
        """A file, open for reading. Raises OSError, and what reading an archive raises."""
        if mode != "rb":
            raise OSError(errno.EROFS, "archives are for reading alone", path)
        about = self.info(path)
        if about["type"] == "directory":
            raise IsADirectoryError(errno.EISDIR, os.strerror(errno.EISDIR), path)
        name = self._names[about["name"]]
        if about["size"] <= IN_MEMORY:
            return io.BytesIO(self.archive.read_bytes(name))
        stream = cast(BinaryIO, tempfile.TemporaryFile())  # noqa: SIM115  the caller closes it
        self.archive.extract(name, stream)
        stream.seek(0)
        return stream
