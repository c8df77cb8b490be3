"""The archive format `.bb` as a sequence of bytes: header, chunks, index and footer (`docs/format.md`).

This module knows bytes and bounds, not images: it writes chunks and directories to a stream, and reads the index back
or rebuilds it, checking lengths before anything is allocated and digests before anything is parsed. Damage of chunks
is found where they are read (`chunks.read_chunk`).
"""

from __future__ import annotations

import struct
import zlib
from collections.abc import Iterable, Iterator
from typing import BinaryIO, Final

from bbcodec.archive.format.chunks import CHUNK_TYPES, CODEC, DIRECTORY, HEAD_BYTES, Chunk, pack_bytes, pack_frame
from bbcodec.archive.format.index import (
    MAX_CHUNKS,
    MAX_DIRECTORY_BYTES,
    CodecRecord,
    Directory,
    Entry,
    check_entry_names,
    pack_directory,
    unpack_directory,
)
from bbcodec.binary import FRAME_BYTES, MAX_BODY_BYTES, digest64
from bbcodec.errors import BBCodecError, DamagedArchive, InputError, NotAnArchive, UnsafePath, UnsupportedVersion

MAGIC: Final = b"\x89BBC\r\n\x1a\n"
VERSION: Final = 0x03  # 16 * major + minor: 0.3
HEADER: Final = MAGIC + bytes([VERSION])
FOOTER_MAGIC: Final = b"BBCE"
FOOTER_BYTES: Final = 16

PIECE_BYTES: Final = 2**24  # a large file is cut into pieces of this size, so that none is held in memory as a whole
# A directory chunk comes after about so many bytes of chunks, or so many files: what a cut archive loses at its end.
SEGMENT_BYTES: Final = 2**24
SEGMENT_FILES: Final = 2**12


# --- writing ---------------------------------------------------------------------------------------------------------


class ContainerWriter:
    """Writes an archive to a binary stream, from front to back.

    Chunks are numbered from 0 as they are added. Entries are passed to `add_files` once all their chunks are written;
    they are named in the next directory chunk and in the index.

    >>> import io
    >>> from bbcodec.archive.format.chunks import BYTES
    >>> from bbcodec.archive.format.index import Place
    >>> stream = io.BytesIO()
    >>> writer = ContainerWriter(stream)
    >>> writer.add(BYTES, pack_bytes(b"hello"))
    0
    >>> writer.add_files([Entry(b"a.txt", "bytes", size=5, places=(Place(0, 0, 5),))])
    >>> writer.finish()
    >>> ContainerReader(io.BytesIO(stream.getvalue())).directory.files[0].name
    b'a.txt'
    """

    def __init__(self, stream: BinaryIO) -> None:
        """Write the header to `stream`."""
        self._stream = stream
        self._offset = len(HEADER)
        self.chunks: list[Chunk] = []
        self._files: list[Entry] = []
        self._codecs: dict[bytes, CodecRecord] = {}
        self._needs: set[str] = set()
        self._first_chunk = 0  # of the segment that the next directory chunk describes
        self._first_file = 0
        self._segment_start = self._offset
        stream.write(HEADER)

    @property
    def segment_full(self) -> bool:
        """Whether enough chunks were written for a directory chunk: see `end_segment`."""
        return self._offset - self._segment_start >= SEGMENT_BYTES

    def add(self, chunk_type: str, body: bytes) -> int:
        """Append one chunk and return its number. Raises InputError past the bounds of the format."""
        if len(body) > MAX_BODY_BYTES or len(self.chunks) >= MAX_CHUNKS - 2:
            raise InputError(f"a chunk of {len(body)} bytes, number {len(self.chunks)}, exceeds the archive format")
        head, crc = pack_frame(chunk_type, body)
        self._stream.write(head)
        self._stream.write(body)
        self._stream.write(crc)
        self.chunks.append(Chunk(chunk_type, self._offset + HEAD_BYTES, len(body)))
        self._offset += len(body) + FRAME_BYTES
        return len(self.chunks) - 1

    @property
    def codecs(self) -> list[CodecRecord]:
        """The codecs that its learned chunks need."""
        return list(self._codecs.values())

    def add_codec(self, digest: bytes, name: str, content: bytes | None) -> int:
        """Note that learned chunks need a codec; embed it, once, if its content is given. The bytes that it took."""
        before = self._offset
        if digest not in self._codecs:
            chunk = None if content is None else self.add(CODEC, pack_bytes(content))
            self._codecs[digest] = CodecRecord(digest, name, chunk)
        return self._offset - before

    def add_need(self, need: str) -> None:
        """Note what a reader needs, one of `NEEDS` of the index."""
        self._needs.add(need)

    def add_files(self, files: Iterable[Entry]) -> None:
        """Note files whose chunks are all written since the last directory chunk."""
        self._files.extend(files)

    def end_segment(self) -> None:
        """Write a directory chunk of all chunks and files since the last one."""
        first = self._first_chunk
        files = [file.moved(-first) for file in self._files[self._first_file :]]
        codecs = [
            CodecRecord(one.digest, one.name, None if one.chunk is None or one.chunk < first else one.chunk - first)
            for one in self._codecs.values()
        ]
        self.add(DIRECTORY, self._pack(files, codecs, self.chunks[first:]))
        self._first_chunk, self._first_file = len(self.chunks), len(self._files)
        self._segment_start = self._offset

    def finish(self) -> None:
        """Write the last directory chunk, index and footer. Names must be safe and distinct."""
        if self._first_chunk < len(self.chunks) or self._first_file < len(self._files):
            self.end_segment()
        index = self._pack(self._files, self.codecs, self.chunks)
        self._stream.write(index)
        self._stream.write(struct.pack("<I", len(index)) + digest64(HEADER, index) + FOOTER_MAGIC)

    def _pack(self, files: Iterable[Entry], codecs: list[CodecRecord], chunks: list[Chunk]) -> bytes:
        files = sorted(files, key=lambda file: file.name)
        check_entry_names(files)
        return pack_directory(Directory(files, codecs, chunks, sorted(self._needs)))


# --- reading ---------------------------------------------------------------------------------------------------------


class ContainerReader:
    """Reads an archive from a seekable binary stream.

    `directory` says what is in it. `rebuilt` tells, in one line, why it was put together from directory chunks; it is
    empty where the index is whole.
    """

    def __init__(self, stream: BinaryIO) -> None:
        """Read the index, or rebuild it. Raises NotAnArchive, DamagedArchive, UnsupportedVersion or UnsafePath."""
        size = stream.seek(0, 2)
        stream.seek(0)
        _check_header(stream.read(len(HEADER)), size)
        self.rebuilt = ""
        try:
            self.directory = read_index(stream, size)
        except DamagedArchive as error:
            found = rebuild_index(stream, size)
            if found is None:
                raise
            self.directory = found
            self.rebuilt = str(error)


def read_index(stream: BinaryIO, size: int) -> Directory:
    """The index of an archive of `size` bytes. Raises DamagedArchive, UnsupportedVersion or UnsafePath."""
    stream.seek(max(0, size - FOOTER_BYTES))
    footer = stream.read(FOOTER_BYTES)
    length = struct.unpack("<I", footer[:4])[0] if len(footer) == FOOTER_BYTES else 0
    start = size - FOOTER_BYTES - length
    if footer[12:] != FOOTER_MAGIC or start < len(HEADER) or length > MAX_DIRECTORY_BYTES:
        raise DamagedArchive("it does not end as an archive does: it was cut short, or its end is damaged")
    stream.seek(start)
    data = stream.read(length)
    if digest64(HEADER, data) != footer[4:12]:
        raise DamagedArchive("its index is damaged: the digest differs")
    return unpack_directory(data, start, len(HEADER))


def rebuild_index(stream: BinaryIO, size: int) -> Directory | None:
    """All directory chunks of an archive that can be found, as one directory; None if there is none.

    Raises UnsupportedVersion or UnsafePath where every one is refused so: a stored file may hold others of its own.
    """
    parts: list[tuple[int, Directory]] = []
    refused: BBCodecError | None = None
    for start, body in _find_directories(stream, size):
        try:
            parts.append((start, unpack_directory(body, start)))
        except DamagedArchive:
            continue  # bytes that look like a directory
        except (UnsupportedVersion, UnsafePath) as error:
            refused = error
    if not parts and refused:
        raise refused
    return _merged(_outermost(parts)) if parts else None


def _outermost(parts: list[tuple[int, Directory]]) -> list[Directory]:
    """The directories that do not lie within the chunks of another, as those of an archive in the archive do."""
    kept: list[Directory] = []
    first = None  # where the chunks of the last one kept begin
    for start, part in reversed(parts):
        if first is None or start < first:
            kept.insert(0, part)
            first = part.chunks[0].start if part.chunks else start
    return kept


def _merged(parts: list[Directory]) -> Directory:
    """Several directories as one. Raises DamagedArchive or UnsafePath where they contradict each other."""
    files: dict[bytes, Entry] = {}
    codecs: dict[bytes, CodecRecord] = {}
    chunks: list[Chunk] = []
    needs: set[str] = set()
    for part in parts:
        for record in part.codecs:
            if record.chunk is not None:
                codecs[record.digest] = CodecRecord(record.digest, record.name, record.chunk + len(chunks))
            codecs.setdefault(record.digest, record)
        files.update((file.name, file.moved(len(chunks))) for file in part.files)
        chunks.extend(part.chunks)
        needs.update(part.needs)
    ordered = [files[name] for name in sorted(files)]
    check_entry_names(ordered)
    return Directory(ordered, list(codecs.values()), chunks, sorted(needs))


def _find_directories(stream: BinaryIO, size: int) -> Iterator[tuple[int, bytes]]:
    """Offset and body of every directory chunk, in order: from chunk to chunk, and past damage byte by byte."""
    position = len(HEADER)
    while position + FRAME_BYTES <= size:
        stream.seek(position)
        head = stream.read(HEAD_BYTES)
        length = struct.unpack("<I", head[1:])[0]
        end = position + length + FRAME_BYTES
        chunk_type = head[:1].decode("latin-1")
        most = MAX_DIRECTORY_BYTES if chunk_type == DIRECTORY else MAX_BODY_BYTES
        if chunk_type in CHUNK_TYPES and length <= most and end <= size:
            data = stream.read(length + 4)
            if struct.pack("<I", zlib.crc32(memoryview(data)[:-4], zlib.crc32(head))) == data[-4:]:
                if chunk_type == DIRECTORY:
                    yield position, data[:-4]
                position = end
                continue
        position = _next_letter(stream, position + 1, size)


def _next_letter(stream: BinaryIO, position: int, size: int) -> int:
    """Where the next byte `D` is, from `position`, or the end."""
    stream.seek(position)
    while data := stream.read(2**20):
        found = data.find(DIRECTORY.encode())
        if found >= 0:
            return position + found
        position += len(data)
    return size


def _check_header(header: bytes, size: int) -> None:
    if not header:
        raise NotAnArchive("the file is empty, not a bbcodec archive")
    if not MAGIC.startswith(header[: len(MAGIC)]):
        text_mode = header[:4] == MAGIC[:4] or header[1:4] == MAGIC[1:4]
        hint = " (it looks like one whose line ends or high bits were changed on the way)" if text_mode else ""
        raise NotAnArchive(f"the file is not a bbcodec archive{hint}")
    if len(header) == len(HEADER) and header[-1] != VERSION:
        raise UnsupportedVersion(
            f"the archive is of format {header[-1] >> 4}.{header[-1] & 15}; this bbcodec reads "
            f"{VERSION >> 4}.{VERSION & 15} and no other before 1.0"
        )
    if size < len(HEADER) + FOOTER_BYTES:
        raise DamagedArchive(f"the archive is cut short: it has only {size} bytes")
