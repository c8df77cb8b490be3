"""Chunks: their types, their frames, and the bodies of those that hold bytes or sheets (`docs/format.md`).

The body of a learned chunk is a `bbcodec.codec.message.LearnedMessage`, that of a directory chunk a
`bbcodec.archive.format.index.Directory`.
"""

from __future__ import annotations

import struct
import zlib
from dataclasses import dataclass
from typing import Final

from bbcodec.archive.format.shards import beside
from bbcodec.binary import (
    FRAME_BYTES,
    MAX_CONTENT_BYTES,
    digest64,
    pack_varint,
    shortest,
    take_shape,
    take_varint,
    unpack_method,
)
from bbcodec.errors import DamagedArchive, UnsupportedVersion
from bbcodec.images.codings import CODINGS, coding_number
from bbcodec.remote import open_readable

LEARNED: Final = "L"
SHEET: Final = "S"
BYTES: Final = "B"
CODEC: Final = "C"
DIRECTORY: Final = "D"
CHUNK_TYPES: Final = (LEARNED, SHEET, BYTES, CODEC, DIRECTORY)

HEAD_BYTES: Final = 5  # type and length, before the body; a CRC-32 follows it


@dataclass(frozen=True, slots=True)
class Chunk:
    """Where a chunk lies: `offset` and `length` are those of its body. crc: the CRC-32 that a directory expects.

    shard: of an archive that is a manifest, the name of the shard that the chunk lies in.
    """

    type: str
    offset: int
    length: int
    crc: int = 0
    shard: str = ""

    @property
    def start(self) -> int:
        """The offset of its frame."""
        return self.offset - HEAD_BYTES

    @property
    def end(self) -> int:
        """The offset of the byte after its frame."""
        return self.start + self.length + FRAME_BYTES


# --- frames ----------------------------------------------------------------------------------------------------------


def pack_head(chunk_type: str, length: int) -> bytes:
    """What stands before the body of a chunk."""
    return chunk_type.encode("ascii") + struct.pack("<I", length)


def read_chunk(path: str, chunk: Chunk) -> bytes:
    """The body of a chunk of the archive at `path`; DamagedArchive unless its CRC-32 is right, and the directory's.

    A whole chunk in the place of another has a CRC-32 of its own: chunks that changed places, or an archive that was
    replaced since it was opened.

    Opens the file anew, so that threads and forked processes need not share its position. Raises OSError.
    """
    with open_readable(beside(path, chunk.shard) if chunk.shard else path) as stream:
        stream.seek(max(0, chunk.start))
        data = stream.read(chunk.length + FRAME_BYTES)
    head = pack_head(chunk.type, chunk.length)
    what = f"the chunk at byte {chunk.start}{' of ' + chunk.shard if chunk.shard else ''}"
    if len(data) != chunk.length + FRAME_BYTES or data[:HEAD_BYTES] != head:
        raise DamagedArchive(f"{what} is damaged: its header differs from the index")
    (crc,) = struct.unpack("<I", data[-4:])
    if zlib.crc32(memoryview(data)[:-4]) != crc:
        raise DamagedArchive(f"{what} is damaged: its CRC-32 differs")
    if crc != chunk.crc:
        raise DamagedArchive(f"{what} is another than the index names: it was put there later")
    return data[HEAD_BYTES:-4]


# --- bodies ----------------------------------------------------------------------------------------------------------


_SHEET_CODINGS: Final = {number: coding.name for number, coding in enumerate(CODINGS) if coding.together}


@dataclass(frozen=True)
class SheetBody:
    """Images of one size in one stream of a storage coding: the body of an `S` chunk. digest: of their pixels."""

    digest: bytes
    coding: str
    channels: int
    count: int
    height: int
    width: int
    stream: bytes

    def pack(self) -> bytes:
        """The body of the chunk."""
        shape = pack_varint(self.count) + pack_varint(self.height) + pack_varint(self.width)
        return self.digest + bytes([coding_number(self.coding), self.channels]) + shape + self.stream

    @classmethod
    def unpack(cls, body: bytes) -> SheetBody:
        """The parts of a body; DamagedArchive or UnsupportedVersion where one is out of bounds."""
        if len(body) < 10 or not 1 <= body[9] <= 4:
            raise DamagedArchive("a chunk of images is cut short, or has a wrong number of channels")
        number, channels = body[8:10]
        if number not in _SHEET_CODINGS:
            raise UnsupportedVersion(f"the archive uses storage coding {number}, which this bbcodec does not know")
        count, height, width, position = take_shape(body, 10, channels)
        return cls(body[:8], _SHEET_CODINGS[number], channels, count, height, width, body[position:])


def pack_bytes(content: bytes, *, compress: bool = True) -> bytes:
    """The body of a `B` or `C` chunk: `content` in the shortest of stored, deflate and LZMA2, or just stored."""
    method, coded = shortest(content) if compress else (0, content)
    return digest64(content) + bytes([method]) + pack_varint(len(content)) + coded


def unpack_bytes(body: bytes, limit: int = MAX_CONTENT_BYTES) -> bytes:
    """The content of a `B` or `C` chunk; DamagedArchive if it is not what was stored, or more than `limit` bytes."""
    if len(body) < 10:
        raise DamagedArchive("a chunk is shorter than its own header")
    size, position = take_varint(body, 9)
    if size > limit:
        raise DamagedArchive(f"a chunk says it holds {size} bytes; at most {limit} are allowed")
    content = unpack_method(body[8], body[position:], size)
    if len(content) != size or digest64(content) != body[:8]:
        raise DamagedArchive("a chunk does not hold what was stored in it: its digest differs")
    return content
