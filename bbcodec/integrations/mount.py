"""An archive mounted as a folder, through FUSE: for whatever reads files and knows nothing of archives."""

from __future__ import annotations

import errno
import io
import os
import signal
import stat
import sys
import threading
from collections import OrderedDict
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import ModuleType
from typing import BinaryIO, Final

from bbcodec.archive.file_system import ArchiveFileSystem
from bbcodec.errors import NEEDS_PACKAGE, BBCodecError, MissingPackage, OutputError
from bbcodec.images.codings.base import required
from bbcodec.options import Limits, PathLike

KEPT_BYTES: Final = 2**26  # of files that were decoded and are not open
READ_ONLY: Final = 0o555
DEVICE: Final = "/dev/fuse"
ENDED: Final = (7, 8)  # what fuse_main returns where a signal ended it; less where it could not mount


class ArchiveOperations:
    """What FUSE asks of the files of an archive: `getattr`, `readdir`, `open`, `read`, `release`.

    A file is decoded when it is opened. One that comes back with other bytes than it had, as a PNG does, is decoded
    when its size is asked for, too. Several threads may ask at once.
    """

    use_ns = True  # times are whole numbers of nanoseconds

    def __init__(self, system: ArchiveFileSystem, tell: Callable[[str], None] = lambda line: None) -> None:
        """tell: is called with a line about each file that cannot be decoded."""
        self._system, self._tell = system, tell
        self._sizes: dict[str, int] = {}  # of files that were decoded
        self._kept: OrderedDict[str, bytes] = OrderedDict()  # decoded, and not large
        self._open: dict[int, BinaryIO] = {}
        self._handles = 0
        self._lock = threading.Lock()

    def getattr(self, path: str, fh: int | None = None) -> dict[str, int]:
        """Kind, permissions, size and time of what is at a path. Raises OSError."""
        about = self._system.info(path)
        known = {"st_uid": os.getuid(), "st_gid": os.getgid()}
        if about["type"] == "directory":
            return {**known, "st_mode": stat.S_IFDIR | READ_ONLY, "st_nlink": 2, "st_size": 0}
        size = about["size"] if about["exact_size"] else self._size(path)
        time = {"st_mtime": int(about["mtime"] * 1e9)}
        return {**known, **time, "st_mode": stat.S_IFREG | about["mode"] & READ_ONLY, "st_nlink": 1, "st_size": size}

    def readdir(self, path: str, fh: int | None = None) -> list[str]:
        """The names in a folder. Raises OSError."""
        names = self._system.ls(path, detail=False)
        return [".", "..", *(name.rsplit("/", 1)[-1] for name in names)]

    def open(self, path: str, flags: int) -> int:
        """A handle of a file, decoded. Raises OSError, EROFS for writing."""
        if flags & (os.O_WRONLY | os.O_RDWR):
            raise OSError(errno.EROFS, os.strerror(errno.EROFS), path)
        stream = self._decoded(path)
        with self._lock:
            self._handles += 1
            self._open[self._handles] = stream
            return self._handles

    def read(self, path: str, size: int, offset: int, fh: int) -> bytes:
        """Bytes of an open file."""
        with self._lock:
            stream = self._open[fh]
            stream.seek(offset)
            return stream.read(size)

    def release(self, path: str, fh: int) -> None:
        """Forget a handle."""
        with self._lock:
            self._open.pop(fh).close()

    def _size(self, path: str) -> int:
        """The size of what is read of a file. Raises OSError."""
        if path not in self._sizes:
            self._decoded(path).close()
        return self._sizes[path]

    def _decoded(self, path: str) -> BinaryIO:
        """What a file holds; small ones are kept for a while. Raises OSError."""
        try:
            with self._lock:
                kept = self._kept.get(path)
            stream: BinaryIO = io.BytesIO(kept) if kept is not None else self._system.open(path)
        except BBCodecError as error:
            self._tell(str(error))
            raise OSError(errno.EIO, os.strerror(errno.EIO), path) from None
        size = stream.seek(0, io.SEEK_END)
        with self._lock:
            self._sizes[path] = size
            if isinstance(stream, io.BytesIO) and size <= KEPT_BYTES:
                self._kept[path] = stream.getvalue()
                self._kept.move_to_end(path)
                while sum(map(len, self._kept.values())) > KEPT_BYTES:
                    self._kept.popitem(last=False)
        return stream


def mount(
    path: PathLike,
    folder: PathLike,
    *,
    codec: PathLike | None = None,
    limits: Limits = Limits(),  # noqa: B008  frozen
    tell: Callable[[str], None] = lambda line: None,
) -> None:
    """Show an archive's files in an empty folder, for reading alone, until it is unmounted or a signal comes.

    path: of an archive, or its URL. codec, limits: as of `bbcodec.open`. tell: is called with lines about what happens.
    For the main thread. Raises what `bbcodec.open` raises, MissingPackage without mfusepy or FUSE, and OutputError
    where the folder cannot be used.
    """
    fuse = _fuse()
    place = os.fspath(folder)
    if not os.path.isdir(place) or os.listdir(place):
        raise OutputError(f"{place}: expected an empty folder to mount an archive on")
    _check_device()
    operations = ArchiveOperations(ArchiveFileSystem(path, codec=codec, limits=limits), tell)
    tell(f"{place}: mounted, until Ctrl-C or `umount {place}`")
    try:
        with _stopped_by_signals():
            fuse.FUSE(operations, place, foreground=True, ro=True, fsname="bbcodec")
    except RuntimeError as error:  # holds what fuse_main returns
        if error.args[0] not in ENDED:
            raise OutputError(f"{place}: FUSE does not mount an archive there (error {error})") from None


def _fuse() -> ModuleType:
    """The package that speaks with FUSE. Raises MissingPackage."""
    what = "mounting an archive"
    try:
        return required("mfusepy", "mfusepy", what)
    except OSError:
        raise MissingPackage(f"{what} {NEEDS_PACKAGE} fuse3 of the system, which has the library libfuse") from None


def _check_device() -> None:
    """Raise OutputError where the system has no FUSE for this user. (Only Linux has the device.)"""
    if sys.platform == "linux":
        try:
            os.close(os.open(DEVICE, os.O_RDWR))
        except OSError as error:
            raise OutputError(f"{DEVICE}, which mounting takes, cannot be opened: {error.strerror}") from None


@contextmanager
def _stopped_by_signals() -> Iterator[None]:
    """Within, signals have no handlers of Python's, so that libfuse sets those that unmount."""
    numbers = (signal.SIGTERM, signal.SIGHUP, signal.SIGINT)
    before = {number: signal.signal(number, signal.SIG_DFL) for number in numbers}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
