"""Files that are compressed, read whole or in pieces; that they change meanwhile is told, not ignored."""

from __future__ import annotations

from bbcodec.errors import InputError


def read_file(path: str) -> bytes:
    """All bytes of a file. Raises InputError."""
    return read_piece(path, 0, -1)


def read_piece(path: str, start: int, length: int) -> bytes:
    """`length` bytes of a file from `start` (-1: all the rest). Raises InputError."""
    try:
        with open(path, "rb") as stream:
            stream.seek(start)
            data = stream.read(length)
    except OSError as error:
        raise InputError(f"{path} cannot be read: {error.strerror}") from None
    if length >= 0 and len(data) != length:
        raise InputError(f"{path} became shorter while it was read: compress again")
    return data
