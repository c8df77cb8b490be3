"""Array files: each part is coded by itself, and all are joined when the last is coded."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace

import numpy as np

from bbcodec.archive.format.chunks import BYTES, pack_bytes
from bbcodec.archive.write.byte_parts import large_file_as_bytes, packed_file_size
from bbcodec.archive.write.candidates import (
    Candidate,
    cheapest,
    encode_apart,
    encode_learned,
    encode_sheets,
)
from bbcodec.archive.write.coded import ChunkPiece, CodedFiles, DraftChunk, Piece, StoredFile, total_bytes
from bbcodec.archive.write.scan import ScannedEntry
from bbcodec.archive.write.tasks import ArrayTask, FilePart, ImageDescription
from bbcodec.archive.write.trials import least_lzma
from bbcodec.codec.pool import CodecPool
from bbcodec.images.npy import MAX_ARRAY_SKELETON_BYTES, Images, MemberLayout, pack_members, usual_shape
from bbcodec.options import StorageOptions
from bbcodec.sample_formats import pixel_mode


@dataclass(frozen=True)
class CodedArrayPart:
    """A part of an array file, coded; without its content, as all parts of a file are held.

    length: bytes of the content. shape: of its images (N, H, W, C), empty for other bytes; levels: of their values.
    saved: bytes, at least, that learned chunks are shorter than the best of everything else. tried: bytes by coding.
    member, last: as in the task.
    """

    entry: int
    chunks: list[DraftChunk]
    length: int
    member: MemberLayout | None
    last: bool
    shape: tuple[int, ...] = ()
    levels: int = 0
    saved: int = 0
    tried: dict[str, int] = field(default_factory=dict)


def encode_array(pool: CodecPool, task: ArrayTask) -> CodedArrayPart:
    """A part of an array: its images by a learned codec, in sheets, or apart, or its bytes, whichever is shortest."""
    if isinstance(task.content, bytes):
        chunks = [DraftChunk(BYTES, pack_bytes(task.content))]
        return CodedArrayPart(task.entry, chunks, len(task.content), task.member, task.last)
    stored = store_images(pool, task.content, task.options)
    pixels = task.content.pixels
    return CodedArrayPart(
        task.entry, stored.chunks, pixels.nbytes, task.member, task.last,
        pixels.shape, task.content.levels, stored.saved, stored.tried,
    )  # fmt: skip


@dataclass(frozen=True)
class StoredImages:
    """Images of an array in the shortest of all storage codings. saved, tried: as in `CodedArrayPart`."""

    chunks: list[DraftChunk]
    saved: int
    tried: dict[str, int]


def store_images(pool: CodecPool, content: Images, options: StorageOptions) -> StoredImages:
    """Images of an array, stored."""
    images = np.array(content.pixels, order="C")  # a copy: torch dislikes arrays that are mapped read-only
    found: dict[str, list[DraftChunk]] = {}
    learned = encode_learned(pool, images, content.levels, array=True)
    classical = least_lzma(images) if learned and not options.thorough else 0.0  # at least
    if learned is None or classical <= learned.total:
        found["bytes"] = [DraftChunk(BYTES, pack_bytes(images.tobytes()))]
        classical = total_bytes(found["bytes"])
    best = learned or _as_bytes(found["bytes"], len(images))
    for encode in (encode_sheets, encode_apart):
        for candidate in encode(images, options, best):
            found.update(dict.fromkeys(candidate.tried, candidate.chunks))
            best = cheapest([best, candidate])
            classical = min(classical, total_bytes(candidate.chunks))
    if learned:
        found["learned"] = learned.chunks
    tried = {coding: total_bytes(chunks) for coding, chunks in found.items()}
    coding = min(tried, key=lambda one: tried[one])
    return StoredImages(found[coding], max(0, round(classical) - tried.get("learned", round(classical))), tried)


def _as_bytes(chunks: list[DraftChunk], count: int) -> Candidate:
    """Images as bytes in chunks, to compare others with."""
    costs = np.full(count, total_bytes(chunks) / count)
    return Candidate([], [], costs, {}, costs)


def join_array(parts: Sequence[CodedArrayPart], file: ScannedEntry) -> Iterator[CodedFiles]:
    """An array file in its chunks, or as bytes where these are fewer (an npz is compressed already)."""
    members = list(_members(parts))
    zipped = bool(members[0].name)
    height, width, channels = next((part.shape[1:] for part in parts if part.shape), (0, 0, 0))
    shape_number = usual_shape(members, file.size, height, width)
    skeleton = b"" if shape_number else pack_members(members, zipped=zipped)
    cost = sum(total_bytes(part.chunks) for part in parts) + len(skeleton)
    kept = FilePart(parts[0].entry, file.path, 0, file.size)
    original = packed_file_size(kept, cost) if zipped else file.size
    tried = _tried(parts) | {"original": original}
    if len(skeleton) > MAX_ARRAY_SKELETON_BYTES or (zipped and cost >= original):
        yield from large_file_as_bytes(kept, tried)
        return
    mode = pixel_mode(channels, max(part.levels for part in parts)) if channels else ""
    chunks: list[DraftChunk] = []
    pieces: list[Piece] = []
    for part in parts:
        for chunk in part.chunks:
            pieces.append(ChunkPiece(len(chunks), 0, part.length if chunk.type == BYTES else 0))
            chunks.append(chunk)
    stored = StoredFile(
        entry=parts[0].entry,
        form="arrays",
        size=file.size,
        image=ImageDescription(mode, plane_layout=shape_number, width=width, height=height),
        skeleton=skeleton,
        pieces=tuple(pieces),
        cost=cost,
        tried=tried,
        saved=sum(part.saved for part in parts),
        same_bytes=not any(member.method for member in members),
    )
    yield CodedFiles(chunks, [stored])


def _members(parts: Sequence[CodedArrayPart]) -> Iterator[MemberLayout]:
    """How the arrays of a file are put together, with the number of their chunks."""
    n_chunks = 0
    for part in parts:
        n_chunks += len(part.chunks)
        if part.member:
            yield replace(part.member, n_chunks=n_chunks)
            n_chunks = 0


def _tried(parts: Sequence[CodedArrayPart]) -> dict[str, int]:
    """What all images of an array file cost in each storage coding that all of them could have."""
    tried = [part.tried for part in parts if part.tried]
    common = set.intersection(*(set(one) for one in tried)) if tried else set()
    return {coding: sum(one[coding] for one in tried) for coding in sorted(common)}
