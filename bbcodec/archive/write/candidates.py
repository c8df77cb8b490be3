"""Ways to store images of one size, and what each costs.

A candidate is images of one plane stored in some way: by a learned codec, each image alone, or in sheets. Costs are in
bytes, and count what the directories need for a place. Which candidate is kept: `image_storage`, `image_tiles` and
`array_parts`.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from typing import Any, Final, Literal, NamedTuple

import numpy as np
from numpy.typing import NDArray

from bbcodec.archive.format.chunks import LEARNED, SHEET, SheetBody
from bbcodec.archive.write.coded import ChunkPiece, DraftChunk, Piece, SharedPiece
from bbcodec.archive.write.tasks import split_evenly
from bbcodec.archive.write.trials import (
    EVEN,
    EVEN_MIXED,
    PictureTrials,
    drawn,
    least_sheet,
    middle_strips,
    predicted_by_less,
    repetition,
)
from bbcodec.binary import FRAME_BYTES
from bbcodec.codec.pool import CodecPool, Pixels, pixel_digest
from bbcodec.errors import InputError
from bbcodec.images.codings import CODINGS, coding_named
from bbcodec.images.codings.base import SHEET_SIDE, StorageCoding
from bbcodec.images.samples import Samples
from bbcodec.options import StorageOptions

# A learned chunk, which is the unit of random access, holds about so many pixels: no more than a second or two of
# decoding. Images of arrays are read one after another, mostly.
COMPILED_CHUNK_PIXELS: Final = 2**20
COMPILED_ARRAY_CHUNK_PIXELS: Final = 2**22
# The same for codecs that need PyTorch, by channels and levels.
CHUNK_PIXELS: Final = {(3, 256): 2**16, (1, 256): 2**17, (1, 2): 2**18}
ARRAY_CHUNK_PIXELS: Final = {(3, 256): 2**16, (1, 256): 2**18, (1, 2): 2**22}
# Images of more waves, with fewer pixels each, are not for PyTorch, where a wave takes some milliseconds.
MANY_WAVES: Final = 2**11
LEAST_OF_A_WAVE: Final = 8
MAX_APART_PIXELS: Final = 2**23  # of an image of an array: WebP takes about 20 bytes of memory a pixel
PLAIN_PIXELS: Final = 2**12  # of an image that no learned codec makes shorter than WebP does, if all are equal
SAMPLE_PIXELS: Final = 2**16  # on which a coding has to come near the best so far, before all images are coded in it
SAMPLE_SLACK: Final = 1.25  # a larger sheet is shorter than its sample says,
# by at most 4 % (LZMA by 12 %, but it is no rival there) where images do not repeat each other.
NEW_SLACK: Final = 1.05
LARGE_GAIN: Final = 0.98
REPETITION: Final = 0.05, 0.3  # from which they do; and from which all codings are tried on all images
HARD_GAIN: Final = 0.95  # sheets are coded hard where a sample gets so much shorter: 0.83 on sprites, 0.98 on digits
HARD_LEAST: Final = 0.85  # and it gets no shorter than this
PLACE_BYTES: Final = 4  # about what directories need for one more place

Costs = NDArray[np.float64]


@dataclass(frozen=True)
class Candidate:
    """Images stored in some way: chunks, the pieces of each image, and what each image costs.

    tried: what each image costs by storage coding, also by those that were not kept. alone: what each costs, at least,
    if it is coded alone. Of images alone, those have no piece of which quick trials settled that they cost too much.
    """

    chunks: list[DraftChunk]
    pieces: list[tuple[Piece, ...]]
    costs: Costs
    tried: dict[str, Costs]
    alone: Costs

    @property
    def total(self) -> float:
        """What all images cost together."""
        return float(self.costs.sum())

    @property
    def settled(self) -> list[int]:
        """The images without a piece, by number."""
        return [number for number, pieces in enumerate(self.pieces) if not pieces]


def encode_plane(
    pool: CodecPool, images: Pixels, levels: int, options: StorageOptions, bar: float = np.inf
) -> Candidate:
    """The cheapest candidate for uint8 images (N, H, W, C) of so many levels (uint16 for 65,536).

    bar: of one image, bytes that it may cost, or it is not wanted, and the candidate may be without pieces.
    """
    settled = settled_by_strips(pool, images, levels, options)
    learned = None
    if settled == "learned":
        learned, options = encode_learned(pool, images, levels, mix=options.mix), without_predictions(options)
    elif settled != "predicted":
        learned = encode_learned_if_short(pool, images, levels, options)
    bars = np.minimum(learned.costs if learned else np.inf, np.full(len(images), bar))
    each = encode_each(images, levels, options, bars)
    found = [learned] if learned else []
    found.extend(encode_sheets(images, options, cheapest([each, *found])))
    if each.settled and cheapest([each, *found]) is each and each.total <= bar:
        each = completed(each, images, levels, options)
    best = cheapest([each, *found])
    tried: dict[str, Costs] = {}
    for candidate in (each, *found):
        for coding, costs in candidate.tried.items():
            tried[coding] = np.minimum(costs, tried.get(coding, costs))
    return replace(best, tried=tried, alone=each.alone)


def settled_by_strips(
    pool: CodecPool, images: Pixels, levels: int, options: StorageOptions
) -> Literal["learned", "predicted"] | None:
    """Which of a learned codec and `predicted` takes fewer bytes for photos, if their strips leave no doubt."""
    if options.thorough or options.fast or levels != 256 or not pool.fitting(images, levels):
        return None
    strips = middle_strips(images)
    if strips is None:
        return None

    def learned_bytes(rows: Pixels) -> float | None:
        learned = encode_learned(pool, rows, levels)
        return learned.total if learned else None

    if not options.mix and predicted_by_less(strips, learned_bytes):
        return "predicted"
    learned = encode_learned(pool, strips, levels, mix=options.mix)
    if learned is None:
        return None
    predicted = np.array([len(coding_named("predicted").encode(strip, levels)) + PLACE_BYTES for strip in strips])
    ratios, even = predicted / learned.costs, EVEN_MIXED if options.mix else EVEN
    ratio_of_all = predicted.sum() / learned.total
    if ratios.max() < even.middle and ratio_of_all < even.low:
        return "predicted"
    return "learned" if ratios.min() > even.middle and ratio_of_all > even.high else None


def without_predictions(options: StorageOptions) -> StorageOptions:
    """Options that leave `predicted` out where images can be coded in another way, as `fast` does."""
    return replace(options, fast=True, mix=False)


def cheapest(candidates: Iterable[Candidate]) -> Candidate:
    """The candidate in which all images together cost the least."""
    return min(candidates, key=lambda candidate: candidate.total)


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
    costs, alone = (np.sum([getattr(plane, of) for plane in planes], axis=0) for of in ("costs", "alone"))
    return Candidate(chunks, pieces, costs, tried, alone)


# --- alone and learned -----------------------------------------------------------------------------------------------


def encode_each(images: Pixels, levels: int, options: StorageOptions, bars: Costs | None = None) -> Candidate:
    """Every image alone, as WebP, PNG or, where that is asked for, JPEG XL.

    bars: bytes that each image costs in another way: what costs more by quick trials is left out.
    """
    pieces: list[tuple[Piece, ...]] = []
    names = [coding.name for coding in _codings(options, images.dtype) if coding.takes(images.shape[3], levels)]
    tried = {name: np.full(len(images), np.inf) for name in names}
    alone = np.full(len(images), np.inf)
    for number, image in enumerate(images):
        bar = np.inf if bars is None else bars[number] - PLACE_BYTES
        one = _encode_all(image, levels, names) if options.thorough else _encode_alone(image, levels, names, bar)
        for name, data in one.coded.items():
            tried[name][number] = len(data) + PLACE_BYTES
        alone[number] = one.least + PLACE_BYTES
        shortest = min(
            (name for name in names if name in one.coded), key=lambda name: len(one.coded[name]), default=None
        )
        pieces.append((SharedPiece(one.coded[shortest], shortest),) if shortest else ())
    return Candidate([], pieces, alone, tried, alone)


class _Alone(NamedTuple):
    """An image coded alone, by storage coding, and the bytes that it takes, at least, in any that may be used."""

    coded: dict[str, bytes]
    least: float


def _encode_all(image: Samples, levels: int, names: Iterable[str]) -> _Alone:
    """An image in all codings of these names."""
    coded = {}
    for name in names:
        with suppress(ValueError):  # too large, or too many levels
            coded[name] = coding_named(name).encode(image, levels)
    return _Alone(coded, min(map(len, coded.values()), default=np.inf))


def _encode_alone(image: Samples, levels: int, names: Sequence[str], bar: float) -> _Alone:
    """An image in the codings of these names that may take no more than `bar` bytes, nor more than others of them."""
    trials, coded, least = PictureTrials(image, levels), {}, np.inf
    for name in trials.ordered(names):
        settled = trials.least(name, min(bar, least))
        if settled is None:
            with suppress(ValueError):  # too large, or too many levels
                coded[name] = coding_named(name).encode(image, levels)
        least = min(least, len(coded[name]) if name in coded else settled or np.inf)
    return _Alone(coded, least)


def completed(each: Candidate, images: Pixels, levels: int, options: StorageOptions) -> Candidate:
    """Images alone, all with a piece."""
    settled = each.settled
    rest = encode_each(images[settled], levels, options)
    pieces, costs = list(each.pieces), each.costs.copy()
    tried = {coding: sizes.copy() for coding, sizes in each.tried.items()}
    costs[settled] = rest.costs
    for coding, sizes in rest.tried.items():
        tried[coding][settled] = sizes
    for number, more in zip(settled, rest.pieces, strict=True):
        pieces[number] = more
    return Candidate([], pieces, costs, tried, costs)


def encode_learned_if_short(pool: CodecPool, images: Pixels, levels: int, options: StorageOptions) -> Candidate | None:
    """Chunks of a learned codec, if there is one that comes near other codings on a few of the images.

    None for large images of one colour, as an opaque alpha is: they take a few bytes as WebP.
    """
    few = sample_of(images)
    plain = images[0, :, :, 0].size >= PLAIN_PIXELS and images.min() == images.max()
    learned = None if plain else encode_learned(pool, images[few], levels, mix=options.mix)
    if learned is None or len(images) == few.stop:
        return learned
    each = encode_each(images[few], levels, options, learned.costs)
    return encode_learned(pool, images, levels, mix=options.mix) if learned.total < SAMPLE_SLACK * each.total else None


def encode_learned(
    pool: CodecPool, images: Pixels, levels: int, *, mix: bool = False, array: bool = False
) -> Candidate | None:
    """Chunks of a learned codec, or None if there is none for such images.

    mix: with contexts that learn. array: they are images of an array.
    """
    source = pool.choose(images, levels)
    if source is None or (not source.compiled and _in_single_pixels(*images.shape[1:3])):
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
            message, bits = pool.encode(source, images[part], mix)
            body = message.pack()
            chunks.append(DraftChunk(LEARNED, body, codec=source.digest))
            if not array:  # which has no places of single images
                pieces.extend((ChunkPiece(number, position),) for position in range(message.count))
            rest = len(body) + FRAME_BYTES - bits.sum() / 8  # of the message, and around it
            costs[part] = bits / 8 + rest / message.count + PLACE_BYTES / 4
    except InputError:
        return None  # images of another size than the codec takes
    return Candidate(chunks, pieces, costs, {"learned": costs}, np.full(len(images), np.inf))


def _in_single_pixels(height: int, width: int) -> bool:
    """Whether PyTorch would decode hardly more than one pixel at a time, of very many."""
    waves = width + 2 * height
    return waves > MANY_WAVES and height * width < LEAST_OF_A_WAVE * waves


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
            digest = pixel_digest(images[part])
            body = SheetBody(digest, self.coding.name, channels, count, height, width, stream).pack()
            chunks.append(DraftChunk(SHEET, body, needs=self.coding.needs))
            pieces.extend((ChunkPiece(number, position),) for position in range(count))
            share = best.costs[part] / best.costs[part].sum()
            costs[part] = (len(body) + FRAME_BYTES) * share + PLACE_BYTES / 4
        return Candidate(chunks, pieces, costs, {self.label: costs}, np.full(len(images), np.inf))


def encode_sheets(images: Pixels, options: StorageOptions, best: Candidate) -> Iterator[Candidate]:
    """Images in sheets of each coding, several in one, that comes near the best so far on a few of them."""
    count, height, width, channels = images.shape
    codings = [coding for coding in _codings(options, images.dtype) if images.dtype in coding.sheet_types]
    codings = [coding for coding in codings if height * width <= coding.sheet_pixels]
    most = {coding: coding.sheet_images((height, width, channels)) for coding in codings}
    if count < 2 or not codings:
        return
    few = images[sample_of(images)][: max(1, SHEET_SIDE // height)]
    all_of_them, learned = len(few) == count, "learned" in best.tried and not options.thorough
    alike = 1.0 if options.thorough else 0.0 if all_of_them else repetition(images, best.total)
    settle = alike < REPETITION[1]
    bar = best.costs[: len(few)].sum()
    for coding in most:
        slack = SAMPLE_SLACK
        if alike < REPETITION[0] and (learned or coding.name != "predicted"):
            slack = 1.0 if all_of_them else NEW_SLACK
        if height * width > SAMPLE_PIXELS:  # they gain only from being like the image before, which two of them tell
            slack = LARGE_GAIN
        limit = slack * bar
        if most[coding] < 2 or (settle and least_sheet(coding.name, few, limit) > limit):
            continue
        size = len(coding.encode_sheet(few, hard=False))
        near = HARD_LEAST * size < (bar if settle else SAMPLE_SLACK * bar)
        may_shrink = coding.hard_sheets and (options.thorough or (near and drawn(few)))
        untold = all_of_them and (may_shrink or options.thorough)
        if size < limit or untold or (learned and not settle):
            hard = may_shrink and len(coding.encode_sheet(few, hard=True)) < HARD_GAIN * size
            yield SheetLayout(coding, most[coding], hard).encode(images, best)
        bar = min(bar, size)


def encode_apart(images: Pixels, options: StorageOptions, best: Candidate) -> Iterator[Candidate]:
    """Images of an array in a sheet each, in each coding of single images that comes near the best on the first."""
    count, height, width, channels = images.shape
    if height * width > MAX_APART_PIXELS:
        return
    bar = SAMPLE_SLACK * best.costs[0]
    for coding in _codings(options, images.dtype):
        fits = coding.alone and images.dtype in coding.sheet_types
        if not fits or not coding.sheet_images((height, width, channels)):
            continue
        if not options.thorough and least_sheet(coding.name, images[:1], bar) > bar:
            continue
        if count == 1 or len(coding.encode_sheet(images[:1], hard=False)) < bar:
            candidate = SheetLayout(coding, max_images=1).encode(images, best)
            bar = min(bar, SAMPLE_SLACK * candidate.costs[0])
            yield candidate


def _codings(options: StorageOptions, dtype: np.dtype[Any]) -> list[StorageCoding]:
    """The storage codings that may be used, first the one that most often settles that others are longer."""
    left_out = {"predicted"} if options.fast and dtype == np.uint8 else set()  # no other takes samples of 16 bits
    left_out.update(coding.name for coding in CODINGS if coding.on_request and not options.jpegxl)
    allowed = [coding for coding in CODINGS if coding.name not in left_out]
    return sorted(allowed, key=lambda coding: coding.name != "predicted")
