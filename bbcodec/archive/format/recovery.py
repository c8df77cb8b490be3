"""The index of an archive found again: from its directory chunks, which repeat all that it says (`docs/format.md`)."""

from __future__ import annotations

import struct
import zlib
from collections.abc import Container, Iterator
from dataclasses import dataclass, replace
from typing import BinaryIO, Final

from bbcodec.archive.format.chunks import DIRECTORY, HEAD_BYTES, Chunk, pack_head
from bbcodec.archive.format.header import HEADER_BYTES, START
from bbcodec.archive.format.index import (
    MAX_DIRECTORY_BYTES,
    CodecRecord,
    Directory,
    Entry,
    check_entry_names,
    unpack_directory,
)
from bbcodec.binary import FRAME_BYTES
from bbcodec.errors import BBCodecError, DamagedArchive, UnsafePath, UnsupportedVersion

BLOCK_BYTES: Final = 2**20  # that are read at once
# A stranger's archive may be full of heads whose bodies overlap: so many times its size is checked, and no more. Those
# of an honest archive do not overlap.
CHECKED_TIMES: Final = 4


@dataclass(frozen=True)
class _Found:
    """A directory chunk: where its frame begins, the header that it repeats, its directory, and its CRC-32."""

    start: int
    header: bytes
    body: bytes
    crc: int

    @property
    def frame(self) -> tuple[int, int]:
        """The bytes of its frame."""
        return self.start, self.start + FRAME_BYTES + HEADER_BYTES + len(self.body)


def rebuild_index(stream: BinaryIO, size: int, headers: Container[bytes]) -> Directory | None:
    """All directory chunks of an archive of `size` bytes that can be found, as one directory; None if there is none.

    headers: those that begin and end the archive. Directories that repeat another are those of an archive in the
    archive, and are left out, unless none repeats these: then both are damaged, and the directory of the longest
    stretch of chunks tells which is right.

    Raises UnsupportedVersion or UnsafePath where every directory is refused so.
    """
    parts: list[tuple[_Found, Directory]] = []
    refused: BBCodecError | None = None
    for found in _find_directories(stream, size, headers):
        try:
            parts.append((found, unpack_directory(found.body, found.frame, size)))
        except DamagedArchive:
            continue  # bytes that look like a directory
        except (UnsupportedVersion, UnsafePath) as error:
            refused = error
    if not parts:
        if refused:
            raise refused
        return None
    own = parts[0][0].header
    if own not in headers:
        own = max(parts, key=lambda part: _stretch(part[1]))[0].header
    return _merged([_with_itself(found, part) for found, part in parts if found.header == own])


def _stretch(directory: Directory) -> int:
    """How many bytes its chunks take."""
    return sum(chunk.length + FRAME_BYTES for chunk in directory.chunks)


def _with_itself(found: _Found, part: Directory) -> Directory:
    """A directory with its own chunk among its chunks, as the index has it."""
    start, end = found.frame
    before = sum(chunk.start < start for chunk in part.chunks)
    numbers = [number + (number >= before) for number in range(len(part.chunks))]
    own = Chunk(DIRECTORY, start + HEAD_BYTES, end - start - FRAME_BYTES, found.crc)
    return Directory(
        [file.renumbered(numbers) for file in part.files],
        [one if one.chunk is None else replace(one, chunk=numbers[one.chunk]) for one in part.codecs],
        [*part.chunks[:before], own, *part.chunks[before:]],
        part.needs,
    )


def _merged(parts: list[Directory]) -> Directory:
    """Several directories as one. Raises DamagedArchive or UnsafePath where they contradict each other."""
    files: dict[bytes, Entry] = {}
    codecs: dict[bytes, CodecRecord] = {}
    chunks: list[Chunk] = []
    needs: set[str] = set()
    for part in parts:
        for record in part.codecs:
            if record.chunk is not None:
                codecs[record.digest] = replace(record, chunk=record.chunk + len(chunks))
            codecs.setdefault(record.digest, record)
        files.update((file.name, file.moved(len(chunks))) for file in part.files)
        chunks.extend(part.chunks)
        needs.update(part.needs)
    ordered = [files[name] for name in sorted(files)]
    check_entry_names(ordered)
    return Directory(ordered, list(codecs.values()), chunks, sorted(needs))


def _find_directories(stream: BinaryIO, size: int, headers: Container[bytes]) -> Iterator[_Found]:
    """The whole directory chunks, in order; of those that repeat one of the headers if there are any, else of all."""
    heads = list(_find_heads(stream, size))
    own = [head for head in heads if head[2] in headers]
    passed, budget = 0, CHECKED_TIMES * size
    for start, length, header in own or heads:
        if start < passed or length + FRAME_BYTES > budget:
            continue
        budget -= length + FRAME_BYTES
        stream.seek(start)
        data = stream.read(length + FRAME_BYTES)
        crc = zlib.crc32(memoryview(data)[:-4])
        if struct.pack("<I", crc) == data[-4:]:
            yield _Found(start, header, data[HEAD_BYTES + HEADER_BYTES : -4], crc)
            passed = start + len(data)


def _find_heads(stream: BinaryIO, size: int) -> Iterator[tuple[int, int, bytes]]:
    """Where directory chunks seem to begin, the lengths of their bodies, and the headers that they repeat.

    Reads the archive once.
    """
    seen = HEAD_BYTES + HEADER_BYTES
    stream.seek(0)
    block, offset = stream.read(BLOCK_BYTES), 0
    while len(block) >= seen:
        at = block.find(START, HEAD_BYTES)
        while 0 <= at <= len(block) - HEADER_BYTES:
            head, start = block[at - HEAD_BYTES : at], offset + at - HEAD_BYTES
            (length,) = struct.unpack("<I", head[1:])
            end = start + length + FRAME_BYTES
            if head == pack_head(DIRECTORY, length) and HEADER_BYTES < length <= MAX_DIRECTORY_BYTES and end <= size:
                yield start, length, block[at : at + HEADER_BYTES]
            at = block.find(START, at + 1)
        offset += len(block) - seen + 1
        block = block[len(block) - seen + 1 :] + stream.read(BLOCK_BYTES)
        if len(block) < seen:
            break
