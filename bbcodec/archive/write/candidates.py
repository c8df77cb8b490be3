"""Ways to store images of one size, and what each costs.

A candidate is images of one plane stored in some way: by a learned codec, each image alone, or in sheets. Costs are in
bytes, and count what the directories need for a place. Which candidate is kept: `image_storage`, `image_tiles` and
`array_parts`.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray

from bbcodec.archive.format.chunks import LEARNED, SHEET, SheetBody
from bbcodec.archive.write.coded import ChunkPiece, DraftChunk, Piece, SharedPiece
from bbcodec.archive.write.tasks import split_evenly
from bbcodec.binary import FRAME_BYTES, digest64
from bbcodec.codec.pool import CodecPool, Pixels
from bbcodec.errors import InputError
from bbcodec.images.codings import CODINGS
from bbcodec.images.codings.base import SHEET_SIDE, PictureCoding, StorageCoding
from bbcodec.options import StorageOptions

# A learned chunk, which is the unit of random access, holds about so many pixels: no more than a second or two of
# decoding. Images of arrays are read one after another, mostly.
COMPILED_CHUNK_PIXELS: Final = 2**20
COMPILED_ARRAY_CHUNK_PIXELS: Final = 2**22
# The same for codecs that need PyTorch, by channels and levels.
CHUNK_PIXELS: Final = {(3, 256): 2**16, (1, 256): 2**17, (1, 2): 2**18}
ARRAY_CHUNK_PIXELS: Final = {(3, 256): 2**16, (1, 256): 2**18, (1, 2): 2**22}
SHEET_PIXELS: Final = 2**16  # larger images gain nothing from a sheet
MAX_APART_PIXELS: Final = 2**23  # of an image of an array: WebP takes about 20 bytes of memory a pixel
SAMPLE_PIXELS: Final = 2**16  # on which a coding has to come near the best so far, before all images are coded in it
SAMPLE_SLACK: Final = 1.25  # a larger sheet is shorter than its sample says
HARD_GAIN: Final = 0.95  # sheets are coded hard where a sample gets so much shorter: 0.83 on sprites, 0.98 on digits
PLACE_BYTES: Final = 4  # about what directories need for one more place

ALONE: Final = tuple(coding for coding in CODINGS if coding.alone)

Costs = NDArray[np.float64]


@dataclass(frozen=True)
class Candidate:
    """Images stored in some way: chunks, the pieces of each image, and what each image costs.

    tried: what each image costs by storage coding, also by those that were not kept.
    """

    chunks: list[DraftChunk]
    pieces: list[tuple[Piece, ...]]
    costs: Costs
    tried: dict[str, Costs]

    @property
    def total(self) -> float:
        """What all images cost together."""
        return float(self.costs.sum())

    @property
    def alone(self) -> Costs:
        """What each image costs if each is coded alone."""
        costs: Costs = np.min([self.tried[coding.name] for coding in ALONE if coding.name in self.tried], axis=0)
        return costs


def encode_plane(pool: CodecPool, images: Pixels, levels: int, options: StorageOptions) -> Candidate:
    """The cheapest candidate for uint8 images (N, H, W, C) of so many levels (uint16 for 65,536)."""
    best = encode_each(images, levels, options)
    if levels > 256:
        return best
    found = [best]
    few = sample_of(images)
    learned_few = encode_learned(pool, images[few], levels)
    if learned_few is not None and learned_few.costs.sum() < SAMPLE_SLACK * best.costs[few].sum():
        learned = encode_learned(pool, images, levels) if len(images) > few.stop else learned_few
        found.extend([learned] if learned else [])
    found.extend(encode_sheets(images, options, best))
    best = min(found, key=lambda candidate: candidate.total)
    tried: dict[str, Costs] = {}
    for candidate in found:
        for coding, costs in candidate.tried.items():
            tried[coding] = np.minimum(costs, tried.get(coding, costs))
    return Candidate(best.chunks, best.pieces, best.costs, tried)


def sample_of(images: Pixels) -> slice:
    """The first few images: all of a small group, at least two."""
    return slice(0, min(len(images), max(2, SAMPLE_PIXELS // (images.shape[1] * images.shape[2]))))


def join_planes(planes: Sequence[Candidate]) -> Candidate:
    """The planes of the same images as one candidate."""
    chunks: list[DraftChunk] = []
    pieces: list[tuple[Piece, ...]] = [() for _ in planes[0].pieces]
    for plane in planes:
        pieces = [
            (*before, *(piece.moved(len(chunks)) for piece in more))
            for before, more in zip(pieces, plane.pieces, strict=True)
        ]
        chunks.extend(plane.chunks)
    common = set.intersection(*(set(plane.tried) for plane in planes))
    tried = {coding: np.sum([plane.tried[coding] for plane in planes], axis=0) for coding in sorted(common)}
    return Candidate(chunks, pieces, np.sum([plane.costs for plane in planes], axis=0), tried)


# --- alone and learned -----------------------------------------------------------------------------------------------


def encode_each(images: Pixels, levels: int, options: StorageOptions) -> Candidate:
    """Every image alone, as WebP, PNG or, where that is asked for, JPEG XL."""
    pieces: list[tuple[Piece, ...]] = []
    tried: dict[str, list[float]] = defaultdict(list)
    codings = [coding for coding in _codings(options) if coding.alone]
    for image in images:
        coded: dict[str, bytes] = {}
        for coding in codings:
            with suppress(ValueError):  # too large, or too many levels
                coded[coding.name] = coding.encode(image, levels)
            tried[coding.name].append(len(coded[coding.name]) + PLACE_BYTES if coding.name in coded else np.inf)
        shortest = min(coded, key=lambda name: len(coded[name]))
        pieces.append((SharedPiece(coded[shortest], shortest),))
    costs = {coding: np.array(sizes) for coding, sizes in tried.items()}
    return Candidate([], pieces, np.min(list(costs.values()), axis=0), costs)


def encode_learned(pool: CodecPool, images: Pixels, levels: int, *, array: bool = False) -> Candidate | None:
    """Chunks of a learned codec, or None if there is none for such images. array: they are images of an array."""
    source = pool.choose(images, levels)
    if source is None:
        return None
    if source.compiled:
        most = COMPILED_ARRAY_CHUNK_PIXELS if array else COMPILED_CHUNK_PIXELS
    else:
        most = (ARRAY_CHUNK_PIXELS if array else CHUNK_PIXELS).get((source.channels, source.levels), 2**16)
    chunks: list[DraftChunk] = []
    pieces: list[tuple[Piece, ...]] = []
    costs = np.zeros(len(images))
    parts = split_evenly(len(images), max(1, most // (images.shape[1] * images.shape[2])))
    try:
        for number, part in enumerate(parts):
            message, bits = pool.encode(source, images[part])
            body = message.pack()
            chunks.append(DraftChunk(LEARNED, body, codec=source.digest))
            pieces.extend((ChunkPiece(number, position),) for position in range(message.count))
            rest = len(body) + FRAME_BYTES - bits.sum() / 8  # of the message, and around it
            costs[part] = bits / 8 + rest / message.count + PLACE_BYTES / 4
    except InputError:
        return None  # images of another size than the codec takes
    return Candidate(chunks, pieces, costs, {"learned": costs})


# --- sheets ----------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class SheetLayout:
    """How images are put into sheets: in which storage coding, how many at most in one, and with how much effort."""

    coding: StorageCoding
    max_images: int
    hard: bool = False

    @property
    def label(self) -> str:
        """What reports call it: an image that has a sheet of its own is as if coded alone."""
        return f"sheet ({self.coding.name})" if self.max_images > 1 else self.coding.name

    def encode(self, images: Pixels, best: Candidate) -> Candidate:
        """All images in sheets. An image's share of a sheet is in proportion to what it costs in the best so far."""
        chunks: list[DraftChunk] = []
        pieces: list[tuple[Piece, ...]] = []
        costs = np.zeros(len(images))
        for number, part in enumerate(split_evenly(len(images), self.max_images)):
            count, height, width, channels = images[part].shape
            stream = self.coding.encode_sheet(images[part], hard=self.hard)
            digest = digest64(images[part].tobytes())
            body = SheetBody(digest, self.coding.name, channels, count, height, width, stream).pack()
            chunks.append(DraftChunk(SHEET, body, needs=self.coding.needs))
            pieces.extend((ChunkPiece(number, position),) for position in range(count))
            share = best.costs[part] / best.costs[part].sum()
            costs[part] = (len(body) + FRAME_BYTES) * share + PLACE_BYTES / 4
        return Candidate(chunks, pieces, costs, {self.label: costs})


def encode_sheets(images: Pixels, options: StorageOptions, best: Candidate) -> Iterator[Candidate]:
    """Small images in sheets of each coding that comes near the best so far on a few of them."""
    count, height, width, channels = images.shape
    if count < 2 or height * width > SHEET_PIXELS:
        return
    few = images[sample_of(images)][: max(1, SHEET_SIDE // height)]
    most = {coding: coding.sheet_images((height, width, channels)) for coding in _codings(options)}
    sizes = {coding: len(coding.encode_sheet(few, hard=False)) for coding in most if most[coding]}
    bar = SAMPLE_SLACK * min(best.costs[: len(few)].sum(), *sizes.values())
    for coding, size in sizes.items():
        if size < bar or len(few) == count:
            hard = coding.hard_sheets and len(coding.encode_sheet(few, hard=True)) < HARD_GAIN * size
            yield SheetLayout(coding, most[coding], hard).encode(images, best)


def encode_apart(images: Pixels, options: StorageOptions, best: Candidate) -> Iterator[Candidate]:
    """Images of an array in a sheet each, in each picture coding that comes near the best so far on the first."""
    count, height, width, channels = images.shape
    if height * width > MAX_APART_PIXELS:
        return
    for coding in _codings(options):
        if not isinstance(coding, PictureCoding) or not coding.sheet_images((height, width, channels)):
            continue
        if count == 1 or len(coding.encode_sheet(images[:1], hard=False)) < SAMPLE_SLACK * best.costs[0]:
            yield SheetLayout(coding, max_images=1).encode(images, best)


def _codings(options: StorageOptions) -> list[StorageCoding]:
    """The storage codings that may be used."""
    return [coding for coding in CODINGS if options.jpegxl or not coding.needs]
