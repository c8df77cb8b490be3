"""Large images: each tile is coded in every plane layout; which is kept is known when all tiles are coded.

Where WebP comes near other codings in the tiles, the image is tried as one WebP, too: what repeats in several tiles, or
is flat, is shorter in one.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Final

import numpy as np

from bbcodec.archive.format.chunks import LEARNED
from bbcodec.archive.write.byte_parts import large_file_as_bytes, packed_file_size
from bbcodec.archive.write.candidates import Candidate, encode_each, encode_plane, join_planes
from bbcodec.archive.write.coded import ChunkPiece, CodedFiles, DraftChunk, Piece, StoredFile
from bbcodec.archive.write.scan import ScannedEntry
from bbcodec.archive.write.tasks import FilePart, ImageDescription, TileTask
from bbcodec.binary import shortest
from bbcodec.codec.pool import CodecPool
from bbcodec.images.formats.base import Outline
from bbcodec.images.image_files import Picture, palette, split_image
from bbcodec.images.planes import plane_shapes, to_planes
from bbcodec.input_files import read_file
from bbcodec.options import StorageOptions
from bbcodec.sample_formats import SAMPLE_FORMATS

MAX_WHOLE_PIXELS: Final = 2**24  # WebP takes about 20 bytes of memory a pixel
NEAR: Final = 0.95  # of what the tiles cost, in which WebP must come for one of the whole to be tried


@dataclass(frozen=True)
class CodedTile:
    """A tile stored in each plane layout that restores it; without its pixels, as all tiles of a file are held."""

    entry: int
    outline: Outline
    layouts: dict[int, Candidate]
    last: bool
    options: StorageOptions


def encode_tile(pool: CodecPool, task: TileTask) -> CodedTile:
    """A tile of a large image, in each plane layout of the task."""
    layouts = {
        layout: join_planes([encode_plane(pool, plane.pixels[None], plane.levels, task.options) for plane in planes])
        for layout, planes in task.layouts.items()
    }
    return CodedTile(task.entry, task.outline, layouts, task.last, task.options)


def join_tiles(tiles: Sequence[CodedTile], file: ScannedEntry) -> Iterator[CodedFiles]:
    """An image in the plane layout that is cheapest for all tiles, or as bytes where these are fewer."""
    entry, outline = tiles[0].entry, tiles[0].outline
    choice = _choose(tiles, file)
    mode = SAMPLE_FORMATS[outline.sample_format].mode
    image = ImageDescription(mode, outline.sample_format, choice.layout, outline.width, outline.height)
    around = len(shortest(outline.skeleton)[1]) if outline.skeleton else 0
    cost = round(choice.total) + around
    kept = FilePart(entry, file.path, 0, file.size, replace(image, sample_format="", plane_layout=0))
    original = packed_file_size(kept, cost)
    tried = _tried(choice.tiles) | {"original": original}
    if cost >= original:
        yield from large_file_as_bytes(kept, tried)
        return
    chunks: list[DraftChunk] = []
    pieces: list[Piece] = []
    for planes in zip(*(tile.pieces[0] for tile in choice.tiles), strict=True):  # plane by plane
        for tile, piece in zip(choice.tiles, planes, strict=True):
            if isinstance(piece, ChunkPiece):
                pieces.append(replace(piece, chunk=len(chunks)))
                chunks.append(tile.chunks[piece.chunk])
            else:
                pieces.append(piece)
    learned = any(chunk.type == LEARNED for chunk in chunks)
    stored = StoredFile(
        entry=entry,
        form=outline.form,
        size=file.size,
        image=image,
        skeleton=outline.skeleton,
        pieces=tuple(pieces),
        cost=cost,
        tried=tried,
        saved=round(min(choice.alone + around, original)) - cost if learned else 0,
    )
    yield CodedFiles(chunks, [stored])


@dataclass(frozen=True)
class _Choice:
    """A plane layout, and its tiles. alone: what tiles coded alone would cost in the best layout, at least."""

    layout: int
    tiles: list[Candidate]
    alone: float

    @property
    def total(self) -> float:
        """What all tiles cost."""
        return sum(tile.total for tile in self.tiles)


def _choose(tiles: Sequence[CodedTile], file: ScannedEntry) -> _Choice:
    """The cheapest of the layouts that all tiles have, in tiles or in one piece."""
    common = sorted(set.intersection(*(set(tile.layouts) for tile in tiles)))
    alone = {layout: sum(float(tile.layouts[layout].alone.sum()) for tile in tiles) for layout in common}
    choices = [_Choice(layout, [tile.layouts[layout] for tile in tiles], min(alone.values())) for layout in common]
    best = min(choices, key=lambda choice: choice.total)
    near = [layout for layout in common if NEAR * alone[layout] < best.total]
    picture = _read_again(tiles[0].outline, file, tiles[0].options) if near else None
    if picture is not None:
        for layout in near:
            whole = _as_one(picture, layout, best.total, tiles[0].options)
            if whole is not None and whole.total < best.total:
                best = _Choice(layout, [whole], best.alone)
    return best


def _read_again(outline: Outline, file: ScannedEntry, options: StorageOptions) -> Picture | None:
    """The image, if it is not too large."""
    if outline.width * outline.height > MAX_WHOLE_PIXELS:
        return None
    return split_image(read_file(file.path), options.exact)


def _as_one(picture: Picture, layout: int, bar: float, options: StorageOptions) -> Candidate | None:
    """An image coded alone in a plane layout of one plane; None where it costs more than `bar`."""
    colours = palette(picture.form, picture.sample_format, picture.skeleton)
    planes = to_planes(picture.samples, picture.sample_format, layout, colours)
    if planes is None or len(planes) > 1:
        return None
    (shape,) = plane_shapes(picture.sample_format, layout, 0 if colours is None else colours.shape[1])
    whole = encode_each(planes[0][None], shape.levels, options, np.array([bar]))
    return None if whole.settled else whole


def _tried(candidates: Sequence[Candidate]) -> dict[str, int]:
    """What all tiles cost in each storage coding that all of them could have."""
    common = set.intersection(*(set(candidate.tried) for candidate in candidates))
    sums = {coding: sum(float(one.tried[coding].sum()) for one in candidates) for coding in sorted(common)}
    return {coding: round(size) for coding, size in sums.items() if size < float("inf")}
