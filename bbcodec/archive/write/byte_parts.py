"""Files kept as bytes: small ones share a chunk, large ones are pieces."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import replace
from typing import Final

from bbcodec.archive.format.chunks import BYTES, pack_bytes
from bbcodec.archive.write.coded import ChunkPiece, CodedFiles, DraftChunk, SharedPiece, StoredFile
from bbcodec.archive.write.tasks import BytesTask, FilePart, ImageDescription, cut_bytes, pieces_of
from bbcodec.input_files import read_piece

NOTHING_TRIED: Final[Mapping[str, int]] = {}


def encode_bytes(task: BytesTask) -> CodedFiles:
    """A chunk of small files, or of one piece of a large file."""
    contents = [read_piece(part.path, part.start, part.length) for part in task.parts]
    body = pack_bytes(b"".join(contents))
    total = sum(map(len, contents))
    files = [
        StoredFile(
            entry=part.entry,
            form="bytes",
            size=part.length,
            image=part.image,
            pieces=(ChunkPiece(0, position, part.length),),
            cost=len(body) * part.length // total,
        )
        for position, part in enumerate(task.parts)
    ]
    return CodedFiles([DraftChunk(BYTES, body)], files, continued=not task.last)


def file_as_bytes(
    entry: int, data: bytes, image: ImageDescription, tried: Mapping[str, int] = NOTHING_TRIED
) -> StoredFile:
    """An image file that is kept as it is. tried: bytes by storage coding, which were not fewer."""
    return StoredFile(
        entry=entry,
        form="bytes",
        size=len(data),
        image=image,
        pieces=tuple(SharedPiece(part) for part in cut_bytes(data)),
        cost=len(data),
        tried={**tried, "original": len(data)},
    )


def large_file_as_bytes(file: FilePart, tried: dict[str, int]) -> Iterator[CodedFiles]:
    """A large file that is kept as it is, piece by piece. tried: bytes by storage coding, which were not fewer."""
    for task in pieces_of(file):
        coded = encode_bytes(task)
        yield replace(coded, files=[replace(piece, tried=tried) for piece in coded.files])
