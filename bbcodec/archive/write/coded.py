"""What coding a task gives: chunks to be written, and the files that lie in them."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field, replace

from bbcodec.archive.write.tasks import NO_IMAGE, ImageDescription
from bbcodec.binary import FRAME_BYTES


@dataclass(frozen=True, slots=True)
class DraftChunk:
    """A chunk to be written. codec: digest of the learned codec that it needs; needs: what else a reader needs."""

    type: str
    body: bytes
    codec: bytes = b""
    needs: str = ""


def total_bytes(chunks: Iterable[DraftChunk]) -> int:
    """The bytes of chunks, with their frames."""
    return sum(len(chunk.body) + FRAME_BYTES for chunk in chunks)


@dataclass(frozen=True, slots=True)
class ChunkPiece:
    """A piece of a file in draft chunk number `chunk`: image number `position`, or a part of `length` bytes."""

    chunk: int
    position: int = 0
    length: int = 0

    def moved(self, by: int) -> ChunkPiece:
        """The piece where `by` other draft chunks come first."""
        return replace(self, chunk=self.chunk + by)


@dataclass(frozen=True, slots=True)
class SharedPiece:
    """A piece of a file that brings its bytes: they go to a chunk that files of several tasks share."""

    data: bytes
    coding: str = "bytes"

    def moved(self, by: int) -> SharedPiece:
        """The same piece: draft chunks do not concern it."""
        return self


Piece = ChunkPiece | SharedPiece


@dataclass(frozen=True, kw_only=True)
class StoredFile:
    """How one file, or a piece of it, is stored; what it costs, and what other codings of it would cost.

    size: bytes of the file. cost: bytes in the archive, of what is shared its share. tried: bytes by storage coding.
    saved: bytes, at least, that a learned codec made it shorter than the best of everything else. same_bytes: whether
    an array file comes back byte for byte with any version of the libraries.
    """

    entry: int
    form: str
    size: int
    image: ImageDescription = NO_IMAGE
    skeleton: bytes = b""
    pieces: tuple[Piece, ...] = ()
    cost: int = 0
    tried: dict[str, int] = field(default_factory=dict)
    saved: int = 0
    same_bytes: bool = True

    def moved(self, by: int) -> StoredFile:
        """The file where `by` other draft chunks come first."""
        return replace(self, pieces=tuple(piece.moved(by) for piece in self.pieces))


@dataclass(frozen=True)
class CodedFiles:
    """Files and the chunks that their pieces lie in. continued: more pieces of its only file follow."""

    chunks: list[DraftChunk]
    files: list[StoredFile]
    continued: bool = False
