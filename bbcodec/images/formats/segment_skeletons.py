"""Skeletons of files in segments: where segments lie in a file, how each is made, and all other bytes."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field, replace
from typing import Final, NamedTuple

import numpy as np

from bbcodec.binary import pack_varint, take_varint
from bbcodec.errors import DamagedArchive
from bbcodec.images.formats.base import Outline, Unfit
from bbcodec.images.formats.segment_layouts import MOST_SEGMENTS, PLAIN, Layout, check_layout
from bbcodec.images.samples import Bytes, band_rows
from bbcodec.sample_formats import SampleFormat, sample_format_named

# Bits of the first byte of a skeleton; two more are the fill.
PLANAR, WHOLE, LOW_FIRST, DIFFERENCES = 1, 2, 4, 8
FILL_SHIFT: Final = 4
# Bits of what a pointer is; the two lowest are the logarithm of its bytes.
HIGH_FIRST, LENGTHS = 4, 8
MOST_TIMES: Final = 2  # as long as its content that a compressed segment may be, and a little
FREE_BYTES: Final = 2**10
PALETTE_FIELD: Final = 6  # of the numbers of a skeleton


class Span(NamedTuple):
    """Bytes of a file."""

    start: int
    length: int

    @property
    def end(self) -> int:
        """The byte behind them."""
        return self.start + self.length


@dataclass(frozen=True)
class Pointers:
    """Numbers in a file that are the starts, or lengths, of `count` segments from number `first` on."""

    start: int
    item_bytes: int
    high_first: bool
    lengths: bool
    first: int
    count: int

    @property
    def span(self) -> Span:
        """Where they lie."""
        return Span(self.start, self.item_bytes * self.count)


@dataclass(frozen=True)
class Segmented:
    """A file whose segments were found. file_format: as in `Found`. palette: where a TIFF's colours lie; 0: nowhere."""

    file_format: str
    sample_format: str
    layout: Layout
    spans: list[Span]
    pointers: list[Pointers] = field(default_factory=list)
    palette: int = 0


@dataclass(frozen=True)
class Skeleton:
    """A skeleton taken apart. recipes: of compressed segments, those that occur, and which each has.

    palette: how far before the end of the skeleton a TIFF's colours begin; 0: nowhere. rest: all bytes that are of no
    segment.
    """

    layout: Layout
    spans: list[Span]
    pointers: list[Pointers]
    palette: int
    recipes: list[bytes]
    recipe_of: list[int]
    padding: bytes
    rest: bytes


def in_bands(layout: Layout, about: SampleFormat, spans: list[Span]) -> tuple[Layout, list[Span]] | None:
    """Pages that are one plain segment each, or one a plane, in segments of fewer rows; None for other pages.

    So neither readers nor writers hold more of a large page.
    """
    if layout.scattered or layout.whole or layout.compression != PLAIN or layout.down > 1:
        return None
    row_bytes = layout.raw_bytes(next(layout.units(about.channels)).segments[0], about) // layout.height
    most = band_rows(row_bytes)
    if most >= layout.height or any(span.length < layout.height * row_bytes for span in spans):
        return None
    tops = range(0, layout.height, most)
    sizes = [(top * row_bytes, min(most, layout.height - top) * row_bytes) for top in tops]
    return replace(layout, rows=most), [Span(span.start + at, size) for span in spans for at, size in sizes]


def gaps(spans: Iterable[Span], size: int) -> Iterator[tuple[int, int]]:
    """Where the bytes that are of no segment begin and end. Raises ValueError where spans overlap."""
    at = 0
    for span in sorted(spans):
        if span.start < at or span.end > size:
            raise Unfit("segments that overlap")
        if span.start > at:
            yield at, span.start
        at = span.end
    if size > at:
        yield at, size


def pointer_bytes(pointers: Pointers, spans: list[Span]) -> bytes:
    """The numbers that tell of segments. Raises OverflowError where they have too few bytes."""
    order = "big" if pointers.high_first else "little"
    told = spans[pointers.first : pointers.first + pointers.count]
    numbers = (span.length if pointers.lengths else span.start for span in told)
    return b"".join(number.to_bytes(pointers.item_bytes, order) for number in numbers)  # type: ignore[arg-type]


# --- packing ---------------------------------------------------------------------------------------------------------


# --- skeletons -------------------------------------------------------------------------------------------------------


def pack_skeleton(skeleton: Skeleton) -> bytes:
    """The bytes of a skeleton."""
    layout, spans = skeleton.layout, skeleton.spans
    flags = PLANAR * layout.planar + WHOLE * layout.whole + LOW_FIRST * layout.low_first
    flags += DIFFERENCES * layout.differences + (layout.fill << FILL_SHIFT)
    numbers = [layout.pages, layout.groups, layout.rows, layout.columns, layout.flips, skeleton.palette, len(spans)]
    ends = [0, *(span.end for span in spans)]
    numbers += [_folded(span.start - end) for span, end in zip(spans, ends, strict=False)]
    out = [bytes([flags, layout.compression]), *map(pack_varint, numbers)]
    if layout.compression != PLAIN:
        out.append(pack_varint(len(skeleton.recipes)))
        out += [pack_varint(len(recipe)) + recipe for recipe in skeleton.recipes]
        out += map(pack_varint, (span.length for span in spans))
        out += map(pack_varint, skeleton.recipe_of)
    out.append(pack_varint(len(skeleton.pointers)))
    at = 0
    for one in skeleton.pointers:
        kind = (one.item_bytes.bit_length() - 1) + HIGH_FIRST * one.high_first + LENGTHS * one.lengths
        out += map(pack_varint, (_folded(one.start - at), kind, one.first, one.count))
        at = one.span.end
    return b"".join([*out, pack_varint(len(skeleton.padding)), skeleton.padding, skeleton.rest])


def _folded(number: int) -> int:
    """A number that may be negative as one that is not: 0, -1, 1, -2, ... are 0, 1, 2, 3, ..."""
    return 2 * number if number >= 0 else -2 * number - 1


class _Cursor:
    """Takes numbers and bytes from the front of a skeleton. Raises DamagedArchive."""

    def __init__(self, data: bytes) -> None:
        self._data, self._at = data, 0

    def number(self) -> int:
        number, self._at = take_varint(self._data, self._at)
        return number

    def signed(self) -> int:
        number = self.number()
        return number >> 1 if number & 1 == 0 else -(number + 1 >> 1)

    def numbers(self, count: int) -> list[int]:
        return [self.number() for _ in range(count)]

    def counted(self) -> int:
        """How many numbers follow: no more than bytes."""
        count = self.number()
        if count > len(self._data) - self._at:
            raise DamagedArchive("the skeleton of an image of the archive is cut short")
        if count > 2 * MOST_SEGMENTS:
            raise DamagedArchive("an image of the archive has more segments than any encoder makes")
        return count

    def take(self, count: int) -> bytes:
        data = self._data[self._at : self._at + count]
        self._at += count
        if self._at > len(self._data):
            raise DamagedArchive("the skeleton of an image of the archive is cut short")
        return data

    def rest(self) -> bytes:
        return self._data[self._at :]


def unpack_skeleton(outline: Outline) -> Skeleton:
    """A skeleton taken apart, and checked. Raises DamagedArchive."""
    about, cursor = sample_format_named(outline.sample_format), _Cursor(outline.skeleton)
    flags, compression = cursor.take(2)
    pages, groups, rows, columns, flips, palette = cursor.numbers(6)
    if min(pages, groups, rows, columns) < 1 or outline.height % (pages * groups):
        raise DamagedArchive("an image of the archive has pages that do not make it up")
    layout = Layout(
        pages=pages, groups=groups, height=outline.height // (pages * groups), width=outline.width, rows=rows,
        columns=columns, planar=bool(flags & PLANAR), whole=bool(flags & WHOLE), low_first=bool(flags & LOW_FIRST),
        differences=bool(flags & DIFFERENCES), fill=flags >> FILL_SHIFT, flips=flips, compression=compression,
    )  # fmt: skip
    n_segments = cursor.counted()
    check_layout(layout, about, n_segments)
    before = [cursor.signed() for _ in range(n_segments)]
    recipes, lengths, recipe_of = [b""], _plain_lengths(layout, about, n_segments), [0] * n_segments
    if compression != PLAIN:
        recipes = [cursor.take(cursor.number()) for _ in range(cursor.counted())]
        most, lengths = lengths, cursor.numbers(n_segments)
        recipe_of = cursor.numbers(n_segments)
        if any(length > MOST_TIMES * size + FREE_BYTES for length, size in zip(lengths, most, strict=True)):
            raise DamagedArchive("an image of the archive has segments longer than any encoder makes them")
        if max(recipe_of) >= len(recipes):
            raise DamagedArchive("an image of the archive has segments without a recipe")
    spans, end = [], 0
    for gap, length in zip(before, lengths, strict=True):
        spans.append(Span(end + gap, length))
        end = spans[-1].end
    pointers = _take_pointers(cursor, n_segments)
    padding = cursor.take(cursor.number())
    return Skeleton(layout, spans, pointers, palette, recipes, recipe_of, padding, cursor.rest())


def _plain_lengths(layout: Layout, about: SampleFormat, n_segments: int) -> list[int]:
    """The bytes of the segments, not compressed."""
    lengths = [0] * n_segments
    for unit in layout.units(about.channels):
        for one in unit.segments:
            lengths[one.number] = layout.raw_bytes(one, about)
    return lengths


def _take_pointers(cursor: _Cursor, n_segments: int) -> list[Pointers]:
    found, at, left = [], 0, 2 * n_segments
    for _ in range(cursor.counted()):
        start, kind, first, count = at + cursor.signed(), *cursor.numbers(3)
        left -= count
        if left < 0 or not count or first + count > n_segments or kind >= 2 * LENGTHS or start < 0:
            raise DamagedArchive("an image of the archive has numbers that tell of no segments")
        found.append(Pointers(start, 1 << (kind & 3), bool(kind & HIGH_FIRST), bool(kind & LENGTHS), first, count))
        at = found[-1].span.end
    return found


def palette_of(sample_format: SampleFormat, skeleton: bytes) -> Bytes | None:
    """The high bytes of the colours of a TIFF, (n, 3); None where there are none. Raises DamagedArchive."""
    if not sample_format.indexed:
        return None
    cursor = _Cursor(skeleton)
    flags, place = cursor.take(2)[0], cursor.numbers(PALETTE_FIELD)[-1]
    count = 1 << sample_format.depth
    data = skeleton[len(skeleton) - place : len(skeleton) - place + 6 * count] if place <= len(skeleton) else b""
    if not place or len(data) < 6 * count:
        return None
    values = np.frombuffer(data, "<u2" if flags & LOW_FIRST else ">u2").reshape(3, count)
    colours: Bytes = np.ascontiguousarray((values >> np.uint16(8)).astype(np.uint8).T)
    return colours
