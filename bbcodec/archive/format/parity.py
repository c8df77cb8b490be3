"""Recovery blocks, which may follow an archive: parity from which lost bytes are computed again (`docs/format.md`).

The archive is cut into data blocks, these are dealt to groups, and each group has parity blocks: any of them makes up
for any data block that is lost. This module knows the bytes; `bbcodec.archive.recovery_blocks` writes and uses them.
"""

from __future__ import annotations

import math
import struct
import zlib
from collections.abc import Iterator
from dataclasses import dataclass
from typing import BinaryIO, Final

from bbcodec.archive.format.header import HEADER_BYTES

MAGIC: Final = b"\x89BBP\r\n\x1a\n"  # of a parity block
END_MAGIC: Final = b"\x89BBT\r\n\x1a\n"  # of the trailer, the last of the file
TRAILER_BYTES: Final = 20
GROUP_BLOCKS: Final = 255  # data and parity blocks of a group, at most: numbers of a byte, but zero
MIN_BLOCK_BYTES: Final = 2**8
MAX_BLOCK_BYTES: Final = 2**16
MAX_ARCHIVE_BYTES: Final = 2**62
MIN_PARITY: Final = 2  # blocks of a group, as a hole may lie across the edge of two

# of the archive, of a data block; number of groups, of its own; parity blocks of a group, number among these
_FIELDS: Final = struct.Struct("<QIIIBB")


@dataclass(frozen=True)
class Layout:
    """How an archive of `archive_bytes` is divided. n_parity: blocks for each group."""

    archive_bytes: int
    block_bytes: int
    n_groups: int
    n_parity: int

    @classmethod
    def of(cls, archive_bytes: int, percent: int) -> Layout:
        """That of an archive of which `percent`, 1 to 100, may be lost, about."""
        most = GROUP_BLOCKS * 100 // (100 + percent)  # data blocks of a group
        # A parity block also holds a checksum for each data block: a tenth of its bytes, or less.
        fitting = max(MIN_BLOCK_BYTES, _ceil(archive_bytes, most), math.isqrt(40 * archive_bytes))
        block_bytes = min(MAX_BLOCK_BYTES, fitting)
        n_blocks = _ceil(archive_bytes, block_bytes)
        n_groups = _ceil(n_blocks, most)
        n_data = _ceil(n_blocks, n_groups)
        n_parity = min(GROUP_BLOCKS - n_data, max(MIN_PARITY, _ceil(n_data * percent, 100)))
        return cls(archive_bytes, block_bytes, n_groups, n_parity)

    @property
    def sound(self) -> bool:
        """Whether there can be such a layout."""
        positive = min(self.archive_bytes, self.block_bytes, self.n_groups, self.n_parity) > 0
        if not positive or self.archive_bytes > MAX_ARCHIVE_BYTES or self.block_bytes > MAX_BLOCK_BYTES:
            return False
        return self.n_groups <= self.n_blocks and self.n_data(0) + self.n_parity <= GROUP_BLOCKS

    @property
    def n_blocks(self) -> int:
        """How many data blocks there are; the last is filled with zeros."""
        return _ceil(self.archive_bytes, self.block_bytes)

    def n_data(self, group: int) -> int:
        """How many data blocks a group has: those whose numbers are `group`, `group` + n_groups, and so on."""
        return len(range(group, self.n_blocks, self.n_groups))

    def parity_bytes(self, group: int) -> int:
        """The bytes of a parity block of a group."""
        return len(MAGIC) + 4 + HEADER_BYTES + _FIELDS.size + 4 * self.n_data(group) + self.block_bytes

    def parity_start(self, group: int, number: int) -> int:
        """Where parity block `number` of a group begins: all first blocks come before all second ones."""
        row = self.parity_bytes(0) * self.n_groups - 4 * (self.n_groups - self._n_long)
        before = self.parity_bytes(0) * group - 4 * max(0, group - self._n_long)
        return self.archive_bytes + number * row + before

    @property
    def _n_long(self) -> int:
        """How many groups have as many data blocks as the first; the others have one less."""
        return (self.n_blocks - 1) % self.n_groups + 1

    @property
    def file_bytes(self) -> int:
        """The bytes of archive, parity and trailer."""
        return self.parity_start(0, self.n_parity) + TRAILER_BYTES


def _ceil(number: int, divisor: int) -> int:
    """The quotient, rounded up."""
    return -(-number // divisor)


@dataclass(frozen=True)
class ParityBlock:
    """A parity block. header: of its archive; crcs: of the data blocks of its group."""

    layout: Layout
    header: bytes
    group: int
    number: int
    crcs: tuple[int, ...]
    parity: bytes

    def pack(self) -> bytes:
        """Its bytes."""
        one = self.layout
        fields = _FIELDS.pack(one.archive_bytes, one.block_bytes, one.n_groups, self.group, one.n_parity, self.number)
        body = self.header + fields + struct.pack(f"<{len(self.crcs)}I", *self.crcs) + self.parity
        return MAGIC + struct.pack("<I", zlib.crc32(body)) + body


def read_parity_block(stream: BinaryIO, start: int) -> ParityBlock | None:
    """The parity block at `start`; None unless it is whole, and in its place in the file."""
    stream.seek(start)
    head = stream.read(len(MAGIC) + 4 + HEADER_BYTES + _FIELDS.size)
    if len(head) < len(MAGIC) + 4 + HEADER_BYTES + _FIELDS.size or not head.startswith(MAGIC):
        return None
    crc, body = struct.unpack("<I", head[8:12])[0], head[12:]
    archive_bytes, block_bytes, n_groups, group, n_parity, number = _FIELDS.unpack(body[HEADER_BYTES:])
    layout = Layout(archive_bytes, block_bytes, n_groups, n_parity)
    placed = layout.sound and group < n_groups and number < n_parity
    if not placed or layout.parity_start(group, number) != start:
        return None  # also of those that belong to an archive in the archive
    count = layout.n_data(group)
    rest = stream.read(4 * count + block_bytes)
    if len(rest) < 4 * count + block_bytes or zlib.crc32(rest, zlib.crc32(body)) != crc:
        return None
    crcs = struct.unpack(f"<{count}I", rest[: 4 * count])
    return ParityBlock(layout, body[:HEADER_BYTES], group, number, crcs, rest[4 * count :])


def find_parity_blocks(stream: BinaryIO) -> Iterator[ParityBlock]:
    """All parity blocks that are whole, found by their first bytes wherever they are."""
    offset, kept = 0, b""
    while True:
        stream.seek(offset + len(kept))
        data = kept + stream.read(2**20)
        if len(data) <= len(kept):
            return
        at = data.find(MAGIC)
        while at >= 0:
            block = read_parity_block(stream, offset + at)
            if block is not None:
                yield block
            at = data.find(MAGIC, at + 1)
        kept = data[-(len(MAGIC) - 1) :]
        offset += len(data) - len(kept)


def pack_trailer(archive_bytes: int) -> bytes:
    """What ends a file with recovery blocks."""
    length = struct.pack("<Q", archive_bytes)
    return length + struct.pack("<I", zlib.crc32(length)) + END_MAGIC


def archive_end(stream: BinaryIO, size: int) -> int:
    """Where the archive ends in a file of `size` bytes: before its recovery blocks, if it says that it has some."""
    stream.seek(max(0, size - TRAILER_BYTES))
    trailer = stream.read(TRAILER_BYTES)
    if len(trailer) == TRAILER_BYTES and trailer.endswith(END_MAGIC):
        length = struct.unpack("<Q", trailer[:8])[0]
        if trailer == pack_trailer(length) and length < size:
            return int(length)
    return size
