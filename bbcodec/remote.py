"""Files at URLs (`s3://`, `gs://`, `https://`, ...), by fsspec and its packages: they know transports and credentials.

Archives are read by ranges. Other inputs are copied into a temporary folder first, unless workers open them, and
outputs last, when they are whole. fsspec is imported only where there is a URL.
"""

from __future__ import annotations

import errno
import io
import os
import re
import threading
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from typing import Any, BinaryIO, Final, NamedTuple, cast

from bbcodec.atomic_files import check_new_file, temporary_folder
from bbcodec.errors import (
    NEEDS_PACKAGE,
    BBCodecError,
    DamagedArchive,
    InputError,
    MissingPackage,
    OutputError,
    TargetExists,
)
from bbcodec.options import PathLike

URL: Final = re.compile(r"[A-Za-z][A-Za-z0-9+.-]+(::[A-Za-z0-9+.-]+)*://")  # a scheme of one letter is a drive
LEAST_BYTES: Final = 2**16  # of a range that is fetched: as much as a round trip takes anyway
MOST_AHEAD: Final = 2**23  # how far ahead of a reader that goes on and on
OPEN_URLS: Final = 64  # that a process keeps the last range of
FILE_MODE, FOLDER_MODE = 0o644, 0o755  # of what comes from URLs, which know no permissions
COPY_BYTES: Final = 2**20

_lock: Final = threading.Lock()
_open_urls: Final[dict[str, _Ranges]] = {}
_options: Final[dict[str, Mapping[str, Any]]] = {}  # of file systems, by URL


def is_url(path: PathLike) -> bool:
    """Whether a path is a URL.

    >>> is_url("s3://bucket/a.bb"), is_url("C:\\\\a.bb"), is_url("a.bb"), is_url("zip::https://host/a.zip")
    (True, False, False, True)
    """
    return isinstance(path, str) and bool(URL.match(path))


def located(path: PathLike) -> str | Path:
    """A path as a `Path`; a URL as it is, since a `Path` would take one of its slashes."""
    return str(path) if is_url(path) else Path(path)


# --- fsspec ----------------------------------------------------------------------------------------------------------


def file_system(url: str) -> tuple[Any, str]:
    """The file system of a URL, and its path there. Raises MissingPackage, or InputError for URLs of no file system."""
    scheme = url.partition("://")[0]
    try:
        from fsspec.core import url_to_fs

        found: tuple[Any, str] = url_to_fs(url, **_options.get(url, {}))
    except ImportError as error:
        raise MissingPackage(f"{scheme}:// {NEEDS_PACKAGE} of a file system: {one_line(error)}") from None
    except Exception as error:
        raise InputError(f"{scheme}:// cannot be used: {one_line(error)}") from None
    return found


def use_options(url: str, options: Mapping[str, Any]) -> None:
    """Use options of its file system for a URL in this process: its `storage_options`."""
    _options[url] = options


def one_line(error: BaseException) -> str:
    """What an error of some package says, in a line."""
    said = " ".join(str(error).split())
    return said if said and not isinstance(error, KeyError) else f"{type(error).__name__} {said}".strip()


@contextmanager
def _reading(url: str) -> Iterator[None]:
    """Whatever fails while the body reads from a URL is an InputError."""
    try:
        yield
    except BBCodecError:
        raise
    except FileNotFoundError:
        raise InputError(f"there is no file or folder {url!r}") from None
    except Exception as error:  # packages have errors of their own
        raise InputError(f"{url} cannot be read: {one_line(error)}") from None


@contextmanager
def _writing(url: str) -> Iterator[None]:
    """Whatever fails while the body writes to a URL is an OutputError."""
    try:
        yield
    except BBCodecError:
        raise
    except NotImplementedError:
        raise OutputError(f"{url} cannot be written: fsspec only reads there") from None
    except Exception as error:
        raise OutputError(f"{url} cannot be written: {one_line(error)}") from None


# --- reading by ranges -----------------------------------------------------------------------------------------------


def open_readable(path: PathLike, *, anew: bool = False) -> BinaryIO:
    """A file, or what is at a URL, open for reading at any position. Raises OSError.

    Streams of one URL share what was fetched last, and where they go on from there, more and more is fetched ahead.
    anew: forget that, as what is there may be another file now.
    """
    if not is_url(path):
        return open(path, "rb")
    url = str(path)
    with _lock:
        ranges = None if anew else _open_urls.pop(url, None)
    ranges = ranges or _Ranges(url)
    with _lock:
        _open_urls[url] = ranges  # the last one
        for old in list(_open_urls)[:-OPEN_URLS]:
            del _open_urls[old]
    return cast(BinaryIO, _RangeStream(ranges))


class _Ranges:
    """A file at a URL: its last range is kept, and the next is longer where the reader goes on from there."""

    def __init__(self, url: str) -> None:
        """Ask for its size. Raises OSError, MissingPackage or InputError."""
        self._system, self._path = file_system(url)
        self._system.invalidate_cache()  # of folders, which may have changed since they were listed
        try:
            size = self._system.info(self._path)["size"]
        except FileNotFoundError:
            raise FileNotFoundError(errno.ENOENT, os.strerror(errno.ENOENT), url) from None
        except Exception as error:
            raise OSError(errno.EIO, one_line(error), url) from None
        if size is None:
            raise OSError(errno.ESPIPE, "its server does not say how long it is: download it first", url)
        self.size: int = size
        self._url, self._start, self._data, self._ahead = url, 0, b"", 0  # the range; how far the next goes ahead
        self._lock = threading.Lock()

    def read(self, start: int, length: int) -> bytes:
        """Bytes from `start`, fewer at the end. Raises OSError."""
        end = min(start + length, self.size)
        if end <= start:
            return b""
        with self._lock:
            if not (self._start <= start and end <= self._start + len(self._data)):
                self._fetch(start, end)
            return self._data[start - self._start : end - self._start]

    def _fetch(self, start: int, end: int) -> None:
        goes_on = self._data and self._start <= start <= self._start + len(self._data)
        self._ahead = min(MOST_AHEAD, max(LEAST_BYTES, 2 * self._ahead)) if goes_on else 0
        end = min(self.size, max(end + self._ahead, start + LEAST_BYTES))
        start = min(start, max(0, end - LEAST_BYTES))  # at the end of a file, what comes before it
        try:
            self._data = self._system.cat_file(self._path, start=start, end=end)
        except Exception as error:
            raise OSError(errno.EIO, one_line(error), self._url) from None
        self._start = start


class _RangeStream(io.RawIOBase):
    """A stream of a file at a URL."""

    def __init__(self, ranges: _Ranges) -> None:
        """From its begin."""
        self._ranges, self._position = ranges, 0

    def seekable(self) -> bool:
        """Any position can be read."""
        return True

    def readable(self) -> bool:
        """It is for reading."""
        return True

    def seek(self, offset: int, whence: int = 0) -> int:
        """Go to a position, as `io.IOBase.seek`."""
        base = (0, self._position, self._ranges.size)[whence]
        self._position = max(0, base + offset)
        return self._position

    def tell(self) -> int:
        """The position."""
        return self._position

    def read(self, size: int | None = -1) -> bytes:
        """As many bytes as wanted, or up to the end. Raises OSError."""
        wanted = self._ranges.size if size is None or size < 0 else size
        data = self._ranges.read(self._position, wanted)
        self._position += len(data)
        return data


# --- inputs ----------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class LocalInputs:
    """Paths of inputs on this machine. copies: those of URLs, by path."""

    paths: list[PathLike]
    copies: dict[str, str] = field(default_factory=dict)

    def told(self, line: str) -> str:
        """A line with URLs in place of the paths of their copies."""
        for path, url in self.copies.items():
            line = line.replace(path, url)
        return line


def opens_anywhere(path: PathLike) -> bool:
    """Whether workers on other machines can open what is at a path: it is a URL, and no memory of this process."""
    return is_url(path) and "::" not in str(path) and not str(path).startswith("memory:")


@contextmanager
def local_inputs(inputs: PathLike | Sequence[PathLike], *, shared: bool = False) -> Iterator[LocalInputs]:
    """Inputs as paths: what lies at a URL, a file or all in a folder, is copied into a temporary folder first.

    Files have the times that their store says, or that of 1970. shared: workers open what they can at URLs, which stay.
    Raises InputError, MissingPackage or OutputError. Errors of the body name URLs, not copies.
    """
    several = [inputs] if isinstance(inputs, str | os.PathLike) else list(inputs)
    copied = [is_url(one) and not (shared and opens_anywhere(one)) for one in several]
    if not any(copied):
        yield LocalInputs(several)
        return
    with temporary_folder() as folder:
        paths: list[PathLike] = []
        copies = {}
        for number, one in enumerate(several):
            if copied[number]:
                path = _copy_from(str(one), folder / str(number))
                copies[str(path)] = str(one).rstrip("/")
                paths.append(path)
            else:
                paths.append(one)
        local = LocalInputs(paths, copies)
        try:
            yield local
        except BBCodecError as error:
            raise type(error)(local.told(str(error))) from None


class RemoteEntry(NamedTuple):
    """A file that a store lists: its path there, bytes, and time."""

    path: str
    size: int | None
    modified_ns: int


def list_url(url: str) -> tuple[str, dict[str, RemoteEntry]]:
    """The own name of what lies at a URL, and its files by their names in it; that of a single file is empty.

    Raises InputError or MissingPackage.
    """
    system, root = file_system(url)
    above = root.rstrip("/") + "/"
    with _reading(url):
        system.invalidate_cache()
        if system.isfile(root):
            listed = {"": system.info(root) | {"name": root}}
        else:
            everything = system.find(root, detail=True).items()
            files = {path: info for path, info in everything if info["type"] == "file"}
            listed = {path.removeprefix(above): info | {"name": path} for path, info in files.items()}
        if not listed:
            raise FileNotFoundError
        found = {name: RemoteEntry(info["name"], info["size"], _time_ns(info)) for name, info in listed.items()}
    for name in found:
        if name and any(part in ("", ".", "..") or "\0" in part for part in name.split("/")):
            raise InputError(f"{url} holds {name!r}, which is no name of a file here")
    return root.rstrip("/").rpartition("/")[2] or "data", found


def _copy_from(url: str, place: Path) -> Path:
    """Copy what lies at a URL into a new folder, under its own name."""
    own, found = list_url(url)
    target = place / own
    places = [target / name if name else target for name in found]
    with _reading(url):
        for one in places:
            one.parent.mkdir(parents=True, exist_ok=True)
        file_system(url)[0].get([one.path for one in found.values()], [str(one) for one in places])
        for one, entry in zip(places, found.values(), strict=True):
            os.utime(one, ns=(entry.modified_ns,) * 2)
    _make_plain(place)
    return target


def read_url(url: str, start: int, length: int, size: int, modified_ns: int) -> bytes:
    """`length` bytes of a file from `start` (-1: all the rest). Raises InputError, also if it has another size or time.

    Times are compared in seconds, as not every request tells more.
    """
    system, path = file_system(url)
    with _reading(url):
        system.invalidate_cache()
        info = system.info(path)
        if (info["size"], _time_ns(info) // 10**9) != (size, modified_ns // 10**9):
            raise InputError(f"{url} changed since it was found: compress again")
        end = size if length < 0 else start + length
        data: bytes = system.cat_file(path, start=start, end=end) if end > start else b""
        if len(data) != end - start:
            raise InputError(f"{url} gave {len(data):,} bytes where {end - start:,} were asked for")
    return data


def _time_ns(info: dict[str, Any]) -> int:
    """When a file was changed last, by what its store says of it; 0 if that is nothing."""
    for key in ("mtime", "LastModified", "last_modified", "updated", "created"):
        value = info.get(key)
        if isinstance(value, datetime):
            return round(value.timestamp() * 10**6) * 1000
        if isinstance(value, int | float):
            return int(value * 10**9)
    return 0


def _make_plain(place: Path) -> None:
    """Give all files and folders in one permissions that do not depend on who copied them, and folders no time."""
    for above, folders, files in os.walk(place, topdown=False):
        for name in files:
            os.chmod(Path(above, name), FILE_MODE)
        for name in folders:
            os.chmod(Path(above, name), FOLDER_MODE)
            os.utime(Path(above, name), ns=(0, 0))


# --- outputs ---------------------------------------------------------------------------------------------------------


@contextmanager
def local_output(target: PathLike, *, force: bool = False) -> Iterator[Path]:
    """The path of a file to write; for a URL, of a temporary one, which is copied there when the body is done.

    There it appears when it is whole, as far as its file system can do that. Raises TargetExists or OutputError.
    Errors of the body name the URL.
    """
    if not is_url(target):
        yield Path(target)
        return
    url = str(target)
    refuse_existing_url(url, force)
    with temporary_folder() as folder:
        local = folder / (Path(url).name or "output")
        try:
            yield local
        except BBCodecError as error:
            raise type(error)(str(error).replace(str(local), url)) from None
        upload(local, url, force)


def local_target(output: PathLike) -> Path:
    """Where long work writes a file; for a URL, under its name in the current folder, to be copied there at the end.

    >>> local_target("s3://bucket/codecs/cats.bbc")
    PosixPath('cats.bbc')
    """
    return Path(Path(output).name) if is_url(output) else Path(output)


def check_output(target: PathLike, force: bool) -> None:
    """Raise TargetExists or OutputError if a new file cannot be written there: a check before long work."""
    if is_url(target):
        refuse_existing_url(str(target), force)
    else:
        check_new_file(Path(target), force)


def upload(local: Path, url: str, force: bool) -> None:
    """Copy a file to a URL. Raises TargetExists for one that exists, unless `force` is set, or OutputError."""
    refuse_existing_url(url, force)
    system, path = file_system(url)
    with _writing(url), system.transaction, open(local, "rb") as stream, system.open(path, "wb") as remote:
        while data := stream.read(COPY_BYTES):
            remote.write(data)


def refuse_existing_url(url: str, force: bool) -> None:
    """Raise TargetExists for a URL that exists, unless `force` is set."""
    system, path = file_system(url)
    with _writing(url):
        system.invalidate_cache()
        if not force and system.exists(path):
            raise TargetExists(f"{url} exists; use --force to overwrite it")


@contextmanager
def local_folder(target: PathLike, *, force: bool = False) -> Iterator[Path]:
    """The path of a folder to write into; for a URL, of a temporary one, whose files are copied there at the end.

    They are copied, too, where the body says that others are damaged. Raises TargetExists for files that are there,
    unless `force` is set, or OutputError.
    """
    if not is_url(target):
        yield Path(target)
        return
    url = str(target)
    system, root = file_system(url)
    with temporary_folder() as folder:
        files = folder / "files"
        try:
            yield files
        except DamagedArchive:
            _copy_to(files, url, system, root.rstrip("/"), force)
            raise
        _copy_to(files, url, system, root.rstrip("/"), force)


def _copy_to(folder: Path, url: str, system: Any, root: str, force: bool) -> None:
    """Copy the files in a folder to a URL."""
    names = [path.relative_to(folder).as_posix() for path in sorted(folder.rglob("*")) if _is_file(path)]
    with _writing(url):
        system.invalidate_cache()
        known = set() if force else {path.removeprefix(f"{root}/") for path in system.find(root)}
        for name in names:
            if name in known:
                raise TargetExists(f"{url.rstrip('/')}/{name} exists; use --force to overwrite it")
        for name in names:
            system.makedirs(f"{root}/{name}".rpartition("/")[0], exist_ok=True)
        system.put([str(folder / name) for name in names], [f"{root}/{name}" for name in names])


def _is_file(path: Path) -> bool:
    return path.is_file() and not path.is_symlink()
