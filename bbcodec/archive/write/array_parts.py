"""Array files: each part is coded by itself, and all are joined when the last is coded."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import NamedTuple

import numpy as np

from bbcodec.archive.format.chunks import BYTES, pack_bytes
from bbcodec.archive.write.byte_parts import large_file_as_bytes, packed_file_size
from bbcodec.archive.write.candidates import (
    Candidate,
    cheapest,
    encode_apart,
    encode_learned,
    encode_sheets,
    settled_by_strips,
    without_predictions,
)
from bbcodec.archive.write.coded import ChunkPiece, CodedFiles, DraftChunk, StoredFile, total_bytes
from bbcodec.archive.write.scan import ScannedEntry
from bbcodec.archive.write.tasks import ArrayTask, FilePart, ImageDescription
from bbcodec.archive.write.trials import least_lzma
from bbcodec.codec.pool import CodecPool, Pixels, pixel_bytes
from bbcodec.images.npy import MAX_ARRAY_SKELETON_BYTES, Images, MemberLayout, pack_members, usual_shape
from bbcodec.options import StorageOptions
from bbcodec.sample_formats import pixel_mode


class SizedChunk(NamedTuple):
    """A chunk, and the bytes of its content if it holds bytes, else 0."""

    chunk: DraftChunk
    length: int = 0


@dataclass(frozen=True)
class CodedArrayPart:
    """A part of an array file, coded; without its content, as all parts of a file are held.

    ways: its chunks with all channels together, and with alpha apart if there is one. shape: of its images
    (N, H, W, C), empty for other bytes; levels: of their values. saved, tried: as of `StoredImages`, of each way.
    member, last: as in the task.
    """

    entry: int
    ways: list[StoredImages]
    member: MemberLayout | None
    last: bool
    shape: tuple[int, ...] = ()
    levels: int = 0


def encode_array(pool: CodecPool, task: ArrayTask) -> CodedArrayPart:
    """A part of an array: its images by a learned codec, in sheets, or apart, or its bytes, whichever is shortest."""
    if isinstance(task.content, bytes):
        chunk = SizedChunk(DraftChunk(BYTES, pack_bytes(task.content)), len(task.content))
        return CodedArrayPart(task.entry, [StoredImages([chunk], 0, {})], task.member, task.last)
    pixels, levels = task.content
    ways = [store_images(pool, task.content, task.options)]
    if pixels.shape[3] == 4:
        planes = [Images(pixels[..., :3], levels), Images(pixels[..., 3:], levels)]
        ways.append(_together([store_images(pool, plane, task.options) for plane in planes]))
    return CodedArrayPart(task.entry, ways, task.member, task.last, pixels.shape, levels)


@dataclass(frozen=True)
class StoredImages:
    """Images of an array in the shortest of all storage codings, or other bytes of it.

    saved: bytes, at least, that learned chunks are shorter than the best of everything else. tried: bytes by coding.
    """

    chunks: list[SizedChunk]
    saved: int
    tried: dict[str, int]

    @property
    def total(self) -> int:
        """The bytes of all chunks."""
        return total_bytes(one.chunk for one in self.chunks)


def _together(planes: Sequence[StoredImages]) -> StoredImages:
    """Planes of the same images, one after another."""
    common = set.intersection(*(set(plane.tried) for plane in planes))
    tried = {coding: sum(plane.tried[coding] for plane in planes) for coding in sorted(common)}
    return StoredImages([chunk for plane in planes for chunk in plane.chunks], sum(one.saved for one in planes), tried)


def store_images(pool: CodecPool, content: Images, options: StorageOptions) -> StoredImages:
    """Images of an array, stored."""
    images = np.array(content.pixels, order="C")  # a copy: torch dislikes arrays that are mapped read-only
    found: dict[str, list[DraftChunk]] = {}
    settled = settled_by_strips(pool, images, content.levels, options)
    learned = None
    if settled != "predicted":
        learned = encode_learned(pool, images, content.levels, mix=options.mix, array=True)
    if settled == "learned":
        options = without_predictions(options)
    best = learned or _as_they_are(images)
    for encode in (encode_sheets, encode_apart):
        for candidate in encode(images, options, best):
            found.update(dict.fromkeys(candidate.tried, candidate.chunks))
            best = cheapest([best, candidate])
    classical = 0.0 if options.thorough else least_lzma(images)
    if classical <= best.total or not (learned or found):
        found["bytes"] = [DraftChunk(BYTES, pack_bytes(pixel_bytes(images)))]
        classical = total_bytes(found["bytes"])
    classical = min([classical, *map(total_bytes, found.values())])
    if learned:
        found["learned"] = learned.chunks
    tried = {coding: total_bytes(chunks) for coding, chunks in found.items()}
    coding = min(tried, key=lambda one: tried[one])
    chunks = [SizedChunk(chunk, images.nbytes if chunk.type == BYTES else 0) for chunk in found[coding]]
    return StoredImages(chunks, max(0, round(classical) - tried.get("learned", round(classical))), tried)


def _as_they_are(images: Pixels) -> Candidate:
    """Images as plain bytes, to compare others with."""
    costs = np.full(len(images), images[0].nbytes, float)
    return Candidate([], [], costs, {}, costs)


def join_array(parts: Sequence[CodedArrayPart], file: ScannedEntry) -> Iterator[CodedFiles]:
    """An array file in its chunks, or as bytes where these are fewer (an npz is compressed already)."""
    members = list(_members(parts))
    layouts = [member.layout for member in members]
    zipped = bool(layouts[0].name)
    height, width, channels = next((part.shape[1:] for part in parts if part.shape), (0, 0, 0))
    shape_number = usual_shape(layouts, file.size, height, width)
    skeleton = b"" if shape_number else pack_members(layouts, zipped=zipped)
    stored = [one for member in members for one in member.parts]
    cost = sum(one.total for one in stored) + len(skeleton)
    kept = FilePart(parts[0].entry, file.path, 0, file.size)
    may_be_shorter = zipped or any(layout.view and not layout.view.plain for layout in layouts)
    original = packed_file_size(kept, cost) if may_be_shorter else file.size
    tried = _tried(stored) | {"original": original}
    if len(skeleton) > MAX_ARRAY_SKELETON_BYTES or (may_be_shorter and cost >= original):
        yield from large_file_as_bytes(kept, tried)
        return
    mode = pixel_mode(channels, max(part.levels for part in parts)) if channels else ""
    sized = [chunk for one in stored for chunk in one.chunks]
    described = StoredFile(
        entry=parts[0].entry,
        form="arrays",
        size=file.size,
        image=ImageDescription(mode, plane_layout=shape_number, width=width, height=height),
        skeleton=skeleton,
        pieces=tuple(ChunkPiece(number, 0, one.length) for number, one in enumerate(sized)),
        cost=cost,
        tried=tried,
        saved=sum(one.saved for one in stored),
        same_bytes=not any(layout.method for layout in layouts),
    )
    yield CodedFiles([one.chunk for one in sized], [described])


class _Member(NamedTuple):
    """How an array of a file is put together, with the number of its chunks, and its parts."""

    layout: MemberLayout
    parts: list[StoredImages]


def _members(parts: Sequence[CodedArrayPart]) -> Iterator[_Member]:
    """The arrays of a file, each in the way that is shortest for all of its parts."""
    own: list[CodedArrayPart] = []
    for part in parts:
        own.append(part)
        if part.member:
            totals = [sum(one.total for one in way) for way in zip(*(one.ways for one in own), strict=True)]
            way = totals.index(min(totals))
            chosen = [one.ways[way] for one in own]
            view = part.member.view and replace(part.member.view, split=way > 0)
            yield _Member(replace(part.member, n_chunks=sum(len(one.chunks) for one in chosen), view=view), chosen)
            own = []


def _tried(parts: Sequence[StoredImages]) -> dict[str, int]:
    """What all images of an array file cost in each storage coding that all of them could have."""
    tried = [part.tried for part in parts if part.tried]
    common = set.intersection(*(set(one) for one in tried)) if tried else set()
    return {coding: sum(one[coding] for one in tried) for coding in sorted(common)}
