"""Large images: each tile is coded in every plane layout; which is kept is known when all tiles are coded."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

from bbcodec.archive.format.chunks import LEARNED
from bbcodec.archive.write.byte_parts import large_file_as_bytes
from bbcodec.archive.write.candidates import Candidate, encode_plane, join_planes
from bbcodec.archive.write.coded import ChunkPiece, CodedFiles, DraftChunk, Piece, StoredFile
from bbcodec.archive.write.scan import ScannedEntry
from bbcodec.archive.write.tasks import FilePart, ImageDescription, TileTask
from bbcodec.codec.pool import CodecPool
from bbcodec.images.formats.base import Outline
from bbcodec.sample_formats import SAMPLE_FORMATS


@dataclass(frozen=True)
class CodedTile:
    """A tile stored in each plane layout that restores it; without its pixels, as all tiles of a file are held."""

    entry: int
    outline: Outline
    layouts: dict[int, Candidate]
    last: bool


def encode_tile(pool: CodecPool, task: TileTask) -> CodedTile:
    """A tile of a large image, in each plane layout of the task."""
    layouts = {
        layout: join_planes([encode_plane(pool, plane.pixels[None], plane.levels, task.options) for plane in planes])
        for layout, planes in task.layouts.items()
    }
    return CodedTile(task.entry, task.outline, layouts, task.last)


def join_tiles(tiles: Sequence[CodedTile], file: ScannedEntry) -> Iterator[CodedFiles]:
    """An image in the plane layout that is cheapest for all tiles, or as bytes where these are fewer."""
    entry, outline = tiles[0].entry, tiles[0].outline
    common = set.intersection(*(set(tile.layouts) for tile in tiles))
    totals = {layout: sum(tile.layouts[layout].total for tile in tiles) for layout in sorted(common)}
    layout = min(totals, key=lambda one: totals[one])
    candidates = [tile.layouts[layout] for tile in tiles]
    tried = _tried(candidates) | {"original": file.size}
    mode = SAMPLE_FORMATS[outline.sample_format].mode
    image = ImageDescription(mode, outline.sample_format, layout, outline.width, outline.height)
    if totals[layout] + len(outline.skeleton) >= file.size:
        image = replace(image, sample_format="", plane_layout=0)
        yield from large_file_as_bytes(FilePart(entry, file.path, 0, file.size, image), tried)
        return
    chunks: list[DraftChunk] = []
    pieces: list[Piece] = []
    for planes in zip(*(candidate.pieces[0] for candidate in candidates), strict=True):  # plane by plane
        for candidate, piece in zip(candidates, planes, strict=True):
            if isinstance(piece, ChunkPiece):
                pieces.append(replace(piece, chunk=len(chunks)))
                chunks.append(candidate.chunks[piece.chunk])
            else:
                pieces.append(piece)
    cost = round(totals[layout]) + len(outline.skeleton)
    alone = min(sum(float(tile.layouts[one].alone.sum()) for tile in tiles) for one in sorted(common))
    stored = StoredFile(
        entry=entry,
        form=outline.form,
        size=file.size,
        image=image,
        skeleton=outline.skeleton,
        pieces=tuple(pieces),
        cost=cost,
        tried=tried,
        saved=round(min(alone + len(outline.skeleton), file.size)) - cost if any(map(_learned, chunks)) else 0,
    )
    yield CodedFiles(chunks, [stored])


def _learned(chunk: DraftChunk) -> bool:
    return chunk.type == LEARNED


def _tried(candidates: Sequence[Candidate]) -> dict[str, int]:
    """What all tiles cost in each storage coding that all of them could have."""
    common = set.intersection(*(set(candidate.tried) for candidate in candidates))
    sums = {coding: sum(float(one.tried[coding].sum()) for one in candidates) for coding in sorted(common)}
    return {coding: round(size) for coding, size in sums.items() if size < float("inf")}
