"""Archives that grow in place, and the journal that takes them back to what they were.

New chunks are written over the index, which is then written anew. Until that is done, a journal beside the archive
(`out.bb.journal`) holds the end that the archive had: an error, the next run that appends, and `repair` put it back.
Meanwhile the archive can be read, from its directory chunks.
"""

from __future__ import annotations

import fcntl
import os
import struct
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO, Final

from bbcodec.archive.format.container import ContainerReader, ContainerWriter
from bbcodec.archive.format.header import FOOTER_BYTES
from bbcodec.archive.format.parity import archive_end
from bbcodec.atomic_files import new_file
from bbcodec.binary import digest64
from bbcodec.errors import DamagedArchive, InputError, OutputError

MAGIC: Final = b"\x89BBJ\r\n\x1a\n"
HEAD: Final = struct.Struct("<8sQ8s")  # magic, where the end of the archive began, digest of that and of the end


def journal_of(archive: Path) -> Path:
    """The journal of an archive."""
    return archive.with_name(f"{archive.name}.journal")


class GrowingArchive:
    """An archive, open to be appended to. directory: of what it holds so far."""

    def __init__(self, path: Path, stream: BinaryIO) -> None:
        """Read the index. Raises InputError, NotAnArchive, DamagedArchive, UnsupportedVersion or UnsafePath."""
        reader = ContainerReader(stream)
        if reader.damage:
            raise DamagedArchive(f"{path}: {reader.damage}: only a whole archive can be appended to")
        size = stream.seek(0, os.SEEK_END)
        if archive_end(stream, size) != size:
            raise InputError(f"{path} has recovery data, which would no longer fit it: compress into another archive")
        self.path, self._stream, self.directory = path, stream, reader.directory
        stream.seek(size - FOOTER_BYTES)
        self.end = size - FOOTER_BYTES - struct.unpack("<I", stream.read(4))[0]  # where the index begins
        self._tail = self._read_tail()

    def _read_tail(self) -> bytes:
        self._stream.seek(self.end)
        return self._stream.read()

    def begin(self) -> ContainerWriter:
        """Cut the index off, or what was appended, and go on behind the chunks."""
        self._stream.seek(self.end)
        self._stream.truncate()
        return ContainerWriter.resumed(self._stream, self.directory)

    def keep_tail(self) -> None:
        """Write the journal; it is on disk when this returns. Raises OutputError."""
        with new_file(journal_of(self.path), force=True) as (_, stream):
            place = struct.pack("<Q", self.end)
            stream.write(HEAD.pack(MAGIC, self.end, digest64(place, self._tail)) + self._tail)


@contextmanager
def growing(path: Path) -> Iterator[GrowingArchive]:
    """An archive to append to; what the body appends is taken back where it raises.

    What an earlier run that was killed left behind the chunks is taken back first. Raises what `GrowingArchive` raises,
    and OutputError where the archive or its journal cannot be written, or another process appends to it.
    """
    try:
        with open(path, "r+b") as stream:
            lock(path, stream)
            roll_back(path, stream)
            archive = GrowingArchive(path, stream)
            archive.keep_tail()
            try:
                yield archive
                os.fsync(stream.fileno())
            except BaseException:
                roll_back(path, stream)
                raise
            journal_of(path).unlink()
    except FileNotFoundError:
        raise InputError(f"there is no archive {path} to append to") from None
    except OSError as error:
        raise OutputError(f"{path} cannot be written: {error.strerror or error}") from None


def take_back(path: Path) -> bool:
    """Put an archive back as it was before a run that appended to it was killed; whether there was one.

    Raises OutputError where it cannot be written, or another process appends to it.
    """
    if not journal_of(path).exists():
        return False
    try:
        with open(path, "r+b") as stream:
            lock(path, stream)
            return roll_back(path, stream)
    except OSError as error:
        raise OutputError(f"{path} cannot be written: {error.strerror or error}") from None


def lock(path: Path, stream: BinaryIO) -> None:
    """Keep other processes from appending to an archive at the same time. Raises OutputError where one does."""
    try:
        fcntl.flock(stream, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        raise OutputError(f"{path}: another process is appending to it; wait until it has ended") from None


def roll_back(path: Path, stream: BinaryIO) -> bool:
    """Put the end of an archive back as its journal has it; whether there is a whole one. Raises OSError."""
    journal = journal_of(path)
    end, tail = read_journal(journal.read_bytes()) if journal.exists() else (0, b"")
    if not tail or stream.seek(0, os.SEEK_END) < end:
        return False
    stream.seek(end)
    stream.write(tail)
    stream.truncate()
    stream.flush()
    os.fsync(stream.fileno())
    journal.unlink()
    return True


def read_journal(data: bytes) -> tuple[int, bytes]:
    """Where the end of the archive began, and its bytes; nothing where this is no whole journal."""
    if len(data) < HEAD.size:
        return 0, b""
    magic, end, digest = HEAD.unpack_from(data)
    tail = data[HEAD.size :]
    whole = magic == MAGIC and digest == digest64(struct.pack("<Q", end), tail)
    return (end, tail) if whole else (0, b"")
