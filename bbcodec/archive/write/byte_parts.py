"""Files kept as bytes: what shrinks in chunks with others that do, what does not as it is; large files in pieces.

No file costs more than its own deflate stream and `CHUNK_BYTES`: those that shrink much, little and not at all stay
apart, and files share a chunk only where that is no longer than chunks of their own.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Final

from bbcodec.archive.format.chunks import BYTES, pack_bytes
from bbcodec.archive.write.coded import (
    ChunkPiece,
    CodedFiles,
    DraftChunk,
    Piece,
    SharedPiece,
    StoredFile,
    total_bytes,
)
from bbcodec.archive.write.tasks import (
    NO_IMAGE,
    SHARED_BYTES,
    BytesTask,
    FilePart,
    ImageDescription,
    cut_bytes,
    pieces_of,
)
from bbcodec.archive.write.trials import least_packed
from bbcodec.binary import HARDLY, deflate, shortest
from bbcodec.input_files import read_piece

CHUNK_BYTES: Final = 40  # about what a chunk takes besides its content: frame, digest, rows in two directories
TINY_BYTES: Final = 2**10  # of a file that may shrink in company, though it does not alone


@dataclass(frozen=True)
class KeptFile:
    """A file that is kept as it is. tried: bytes by storage coding, which were not fewer."""

    entry: int
    data: bytes
    image: ImageDescription = NO_IMAGE
    tried: Mapping[str, int] = field(default_factory=dict)


def encode_bytes(task: BytesTask) -> CodedFiles:
    """Some small files, or one piece of a large file."""
    kept = [KeptFile(part.entry, read_piece(part.path, part.start, part.length), part.image) for part in task.parts]
    return replace(files_as_bytes(kept), continued=not task.last)


def large_file_as_bytes(file: FilePart, tried: dict[str, int]) -> Iterator[CodedFiles]:
    """A large file that is kept as it is, piece by piece. tried: bytes by storage coding, which were not fewer."""
    for task in pieces_of(file):
        coded = encode_bytes(task)
        yield replace(coded, files=[replace(piece, tried=tried) for piece in coded.files])


def packed_size(data: bytes) -> int:
    """The bytes that a file takes alone as it is: in a chunk of its own if it shrinks."""
    return min(len(data), len(shortest(data)[1]) + CHUNK_BYTES)


def packed_file_size(file: FilePart, bar: float) -> int:
    """The bytes that a large file takes as it is; its size, where that is over the bar in any case."""
    pieces = [task.parts[0] for task in pieces_of(file)]
    least = sum(least_packed(read_piece(piece.path, piece.start, piece.length)) for piece in pieces)
    if least > bar:
        return file.length
    return sum(packed_size(read_piece(piece.path, piece.start, piece.length)) for piece in pieces)


def files_as_bytes(files: Sequence[KeptFile]) -> CodedFiles:
    """Files as they are, or a piece of a large one."""
    cut = [cut_bytes(file.data) for file in files]
    homes = _Homes([part for parts in cut for part in parts])
    stored, first = [], 0
    for file, parts in zip(files, cut, strict=True):
        own = slice(first, first + len(parts))
        cost = round(sum(homes.costs[own]))
        tried = {**file.tried, "original": cost} if file.tried else {}
        stored.append(
            StoredFile(
                entry=file.entry,
                form="bytes",
                size=len(file.data),
                image=file.image,
                pieces=tuple(homes.pieces[own]),
                cost=cost,
                tried=tried,
            )
        )
        first += len(parts)
    return CodedFiles(homes.chunks, stored)


class _Homes:
    """Where parts of files go: `pieces`, what each costs, and the chunks of those that shrink."""

    def __init__(self, parts: Sequence[bytes]) -> None:
        self.chunks: list[DraftChunk] = []
        self.pieces: list[Piece] = [SharedPiece(part) for part in parts]
        self.costs: list[float] = [len(part) for part in parts]
        self._parts = parts
        alike: dict[bool, list[int]] = {True: [], False: []}  # whether they shrink by more than hardly
        for number, part in enumerate(parts):
            if len(part) > SHARED_BYTES:
                self._store([number])
                continue
            deflated = len(deflate(part))
            if deflated + CHUNK_BYTES < len(part) or len(part) <= TINY_BYTES:
                self.costs[number] = min(deflated, len(part))
                alike[deflated < HARDLY * len(part) or len(part) <= TINY_BYTES].append(number)
        for numbers in alike.values():
            for group in self._groups(numbers):
                self._store(group)

    def _groups(self, numbers: Sequence[int]) -> Iterator[list[int]]:
        """Parts that share a chunk."""
        group: list[int] = []
        size = 0
        for number in numbers:
            if group and size + len(self._parts[number]) > SHARED_BYTES:
                yield group
                group, size = [], 0
            group.append(number)
            size += len(self._parts[number])
        if group:
            yield group

    def _store(self, group: Sequence[int]) -> None:
        """Store parts in a chunk, or where they are longer together, in one each."""
        contents = [self._parts[number] for number in group]
        chunk = DraftChunk(BYTES, pack_bytes(b"".join(contents)))
        size, alone = total_bytes([chunk]), sum(self.costs[number] + CHUNK_BYTES for number in group)
        if size > alone and len(group) > 1:
            for number in group:
                self._store([number])
        elif size < sum(map(len, contents)) or len(contents[0]) > SHARED_BYTES:
            whole = sum(self.costs[number] for number in group)
            share, more = min(1.0, size / whole), max(0.0, size - whole) / len(group)
            for position, number in enumerate(group):
                self.pieces[number] = ChunkPiece(len(self.chunks), position, len(self._parts[number]))
                self.costs[number] = self.costs[number] * share + more
            self.chunks.append(chunk)
        else:
            for number in group:
                self.costs[number] = len(self._parts[number])
