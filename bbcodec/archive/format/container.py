"""The archive format `.bb` as a sequence of bytes: header, chunks, directories, index and footer (`docs/format.md`).

This module knows bytes and bounds, not images: it writes chunks and directories to a stream, and reads the index back
or has it rebuilt, checking lengths before anything is allocated and digests before anything is parsed. Damage of chunks
is found where they are read (`chunks.read_chunk`).
"""

from __future__ import annotations

import struct
import zlib
from collections import deque
from collections.abc import Iterable
from dataclasses import replace
from typing import BinaryIO, Final

from bbcodec.archive.format.chunks import CODEC, DIRECTORY, HEAD_BYTES, Chunk, pack_bytes, pack_head
from bbcodec.archive.format.header import FOOTER_BYTES, HEADER_BYTES, START, Footer, check_header, pack_header
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
from bbcodec.archive.format.parity import archive_end
from bbcodec.archive.format.recovery import rebuild_index
from bbcodec.archive.format.shards import MANIFEST_MAGIC
from bbcodec.binary import FRAME_BYTES, MAX_BODY_BYTES, digest64
from bbcodec.errors import DamagedArchive, InputError, NotAnArchive

PIECE_BYTES: Final = 2**24  # a large file is cut into pieces of this size, so that none is held in memory as a whole
# A directory chunk comes after about so many bytes of chunks, or so many files: what a cut archive loses at its end.
SEGMENT_BYTES: Final = 2**24
SEGMENT_FILES: Final = 2**12
# So many bytes of chunks follow a directory chunk, at least, before the next or the index: a block that is lost hits
# but one of what says the same, or all the chunks in question.
APART_BYTES: Final = 2**16


# --- writing ---------------------------------------------------------------------------------------------------------


class ContainerWriter:
    """Writes an archive to a stream that can seek, from its begin.

    Chunks are numbered from 0 as they are added. Entries are passed to `add_files` once all their chunks are added;
    they are named in the next directory chunk and in the index. The last chunks are held until more follow, as the
    directory chunk of a segment comes before its last chunks.

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
        """Write what the header will take: its id follows from the first directory."""
        self._stream = stream
        self._header = b""
        self._offset = HEADER_BYTES  # of what is written next
        self._size = HEADER_BYTES  # with what is held
        self._held: deque[bytes] = deque()  # bodies of the last chunks
        self.chunks: list[Chunk] = []  # without directories
        self._written: list[Chunk] = []  # in order, with directories
        self._numbers: list[int] = []  # of each chunk among those
        self._files: list[Entry] = []
        self._codecs: dict[bytes, CodecRecord] = {}
        self._needs: set[str] = set()
        self._first_chunk = 0  # of the segment that the next directory chunk describes
        self._first_file = 0
        self._segment_start = self._size
        if not stream.tell():
            stream.write(bytes(HEADER_BYTES))

    @classmethod
    def resumed(cls, stream: BinaryIO, directory: Directory) -> ContainerWriter:
        """Go on with a whole archive, of this directory, in a stream that is where its index began."""
        offset = stream.tell()
        writer = cls(stream)
        stream.seek(0)
        writer._header = stream.read(HEADER_BYTES)
        stream.seek(offset)
        writer._offset = writer._size = writer._segment_start = offset
        writer._written = list(directory.chunks)
        writer._numbers = [n for n, chunk in enumerate(directory.chunks) if chunk.type != DIRECTORY]
        writer.chunks = [directory.chunks[n] for n in writer._numbers]
        number_of = {n: number for number, n in enumerate(writer._numbers)}
        writer._files = [file.renumbered(number_of) for file in directory.files]
        for one in directory.codecs:
            writer._codecs[one.digest] = one if one.chunk is None else replace(one, chunk=number_of[one.chunk])
        writer._needs = set(directory.needs)
        writer._first_chunk, writer._first_file = len(writer.chunks), len(writer._files)
        return writer

    @property
    def position(self) -> int:
        """Bytes of the archive that are written."""
        return self._stream.tell()

    @property
    def segment_full(self) -> bool:
        """Whether enough chunks were added for a directory chunk: see `end_segment`."""
        return self._size - self._segment_start >= SEGMENT_BYTES

    def add(self, chunk_type: str, body: bytes) -> int:
        """Append one chunk and return its number. Raises InputError past the bounds of the format."""
        if len(body) > MAX_BODY_BYTES or len(self._written) + len(self._held) >= MAX_CHUNKS - 2:
            raise InputError(f"a chunk of {len(body)} bytes, number {len(self.chunks)}, exceeds the archive format")
        crc = zlib.crc32(body, zlib.crc32(pack_head(chunk_type, len(body))))
        self.chunks.append(Chunk(chunk_type, 0, len(body), crc))
        self._held.append(body)
        self._size += len(body) + FRAME_BYTES
        while self._size - self._offset - len(self._held[0]) - FRAME_BYTES >= APART_BYTES:
            self._write_held()
        return len(self.chunks) - 1

    @property
    def codecs(self) -> list[CodecRecord]:
        """The codecs that its learned chunks need."""
        return list(self._codecs.values())

    def add_codec(self, digest: bytes, name: str, content: bytes | None) -> int:
        """Note that learned chunks need a codec; embed it, once, if its content is given. The bytes that it took."""
        before = self._size
        if digest not in self._codecs:
            chunk = None if content is None else self.add(CODEC, pack_bytes(content))
            self._codecs[digest] = CodecRecord(digest, name, chunk)
        return self._size - before

    def add_need(self, need: str) -> None:
        """Note what a reader needs, one of `NEEDS` of the index."""
        self._needs.add(need)

    def add_files(self, files: Iterable[Entry]) -> None:
        """Note files whose chunks are all added since the last directory chunk."""
        self._files.extend(files)

    def end_segment(self) -> None:
        """Write a directory chunk of all chunks and files since the last one, before the last of these chunks."""
        first = self._first_chunk
        files = [file.moved(-first) for file in self._files[self._first_file :]]
        codecs = [
            CodecRecord(one.digest, one.name, None if one.chunk is None or one.chunk < first else one.chunk - first)
            for one in self._codecs.values()
        ]
        chunks = self.chunks[first:]
        packed = self._pack(Directory(files, codecs, chunks), before=len(chunks) - len(self._held))
        if not self._header:
            self._header = pack_header(packed)
            self._stream.seek(-self._offset, 1)
            self._stream.write(self._header)
            self._stream.seek(self._offset - HEADER_BYTES, 1)
        body = self._header + packed
        crc = zlib.crc32(body, zlib.crc32(pack_head(DIRECTORY, len(body))))
        self._write(Chunk(DIRECTORY, 0, len(body), crc), body)
        self._size += len(body) + FRAME_BYTES
        while self._held:
            self._write_held()
        self._first_chunk, self._first_file = len(self.chunks), len(self._files)
        self._segment_start = self._size

    def finish(self) -> None:
        """Write the last directory chunk, index and footer. Names must be safe and distinct."""
        if not self._header or self._first_chunk < len(self.chunks) or self._first_file < len(self._files):
            self.end_segment()
        files = [file.renumbered(self._numbers) for file in self._files]
        codecs = [
            one if one.chunk is None else replace(one, chunk=self._numbers[one.chunk]) for one in self._codecs.values()
        ]
        index = self._pack(Directory(files, codecs, self._written))
        self._stream.write(index)
        self._stream.write(Footer.of(self._header, index).pack())
        self._stream.flush()

    def _write_held(self) -> None:
        """Write the first of the chunks that are held."""
        number = len(self._numbers)
        self._numbers.append(len(self._written))
        self._write(self.chunks[number], self._held.popleft())

    def _write(self, chunk: Chunk, body: bytes) -> None:
        self._stream.write(pack_head(chunk.type, chunk.length))
        self._stream.write(body)
        self._stream.write(struct.pack("<I", chunk.crc))
        self._written.append(replace(chunk, offset=self._offset + HEAD_BYTES))
        self._offset += chunk.length + FRAME_BYTES

    def _pack(self, directory: Directory, before: int | None = None) -> bytes:
        files = sorted(directory.files, key=lambda file: file.name)
        check_entry_names(files)
        return pack_directory(replace(directory, files=files, needs=sorted(self._needs)), before)


# --- reading ---------------------------------------------------------------------------------------------------------


class ManifestFound(NotAnArchive):
    """A file is a manifest, where a single archive is expected."""


class ContainerReader:
    """Reads an archive from a stream that can seek.

    `directory` says what is in it. `rebuilt` tells, in one line, why it was put together from directory chunks; it is
    empty where the index is whole. `damage` tells that, or what else of header and index is damaged, and costs nothing.
    `digest` is that of the footer, `ids` are those that its headers have.
    """

    def __init__(self, stream: BinaryIO) -> None:
        """Read the index, or rebuild it. Raises NotAnArchive, DamagedArchive, UnsupportedVersion or UnsafePath."""
        size = archive_end(stream, stream.seek(0, 2))
        stream.seek(0)
        front = stream.read(HEADER_BYTES)
        if front.startswith(MANIFEST_MAGIC):
            raise ManifestFound("the file is a manifest of several archives, not a single one")
        stream.seek(max(0, size - FOOTER_BYTES))
        footer = Footer.unpack(stream.read(FOOTER_BYTES))
        check_header(front, footer, size)
        self.rebuilt = ""
        try:
            self.directory = read_index(stream, size, footer)
        except DamagedArchive as error:
            known = {header for header in (front, footer and footer.header) if header and header.startswith(START)}
            found = rebuild_index(stream, size, known)
            if found is None:
                raise
            self.directory = found
            self.rebuilt = str(error)
        headers = [footer.header, front] if footer else [front]
        self.digest = footer.digest if footer else b""
        self.ids = [header[len(START) :] for header in headers if header.startswith(START)]
        header_differs = footer is not None and front != footer.header
        self.damage = self.rebuilt or ("its header is damaged" if header_differs else "")


def read_index(stream: BinaryIO, size: int, footer: Footer | None) -> Directory:
    """The index of an archive of `size` bytes. Raises DamagedArchive, UnsupportedVersion or UnsafePath."""
    start = size - FOOTER_BYTES - footer.index_bytes if footer else 0
    if footer is None or start < HEADER_BYTES or footer.index_bytes > MAX_DIRECTORY_BYTES:
        raise DamagedArchive("it does not end as an archive does: it was cut short, or its end is damaged")
    stream.seek(start)
    data = stream.read(footer.index_bytes)
    if digest64(footer.header, data) != footer.digest:
        raise DamagedArchive("its index is damaged: the digest differs")
    return unpack_directory(data, (start, size), size, HEADER_BYTES)
