"""Files that are compressed, read whole or in pieces; that they change meanwhile is told, not ignored."""

from __future__ import annotations

from dataclasses import dataclass, field

from bbcodec.errors import InputError
from bbcodec.remote import read_url


@dataclass(frozen=True)
class FileBytes:
    """Bytes of a file from `start`, for a worker on another machine, which does not see the file itself."""

    data: bytes = field(repr=False)
    start: int = 0


@dataclass(frozen=True)
class RemoteFile:
    """A file at a URL, which a worker opens itself, with the bytes and the time that it had when it was found."""

    url: str
    size: int
    modified_ns: int


FileSource = str | FileBytes | RemoteFile  # a path, or what is there


def read_file(source: FileSource) -> bytes:
    """All bytes of a file. Raises InputError."""
    return read_piece(source, 0, -1)


def read_piece(source: FileSource, start: int, length: int) -> bytes:
    """`length` bytes of a file from `start` (-1: all the rest). Raises InputError."""
    if isinstance(source, FileBytes):
        data = source.data[start - source.start :]
        return data if length < 0 else data[:length]
    if isinstance(source, RemoteFile):
        return read_url(source.url, start, length, source.size, source.modified_ns)
    try:
        with open(source, "rb") as stream:
            stream.seek(start)
            data = stream.read(length)
    except OSError as error:
        raise InputError(f"{source} cannot be read: {error.strerror}") from None
    if length >= 0 and len(data) != length:
        raise InputError(f"{source} became shorter while it was read: compress again")
    return data
