"""Where the samples of TIFF files lie: classic and BigTIFF, in both byte orders, strips and tiles, all pages.

Numbers of tags are those of TIFF 6.0 and its supplements. Pages of one size and kind are one picture; where there are
several kinds, as in pyramids, the one with most bytes is.
"""

from __future__ import annotations

import os
import struct
from collections import defaultdict
from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import BinaryIO, Final, NamedTuple

from bbcodec.images.formats.base import Unfit
from bbcodec.images.formats.segment_layouts import DEFLATE, LZW, MOST_SKELETON_BYTES, PACKBITS, PLAIN, Layout
from bbcodec.images.formats.segment_skeletons import Pointers, Segmented, Span, in_bands
from bbcodec.sample_formats import SAMPLE_FORMATS

WIDTH, HEIGHT, BITS, COMPRESSION, PHOTOMETRIC, FILL_ORDER = 256, 257, 258, 259, 262, 266
STRIP_OFFSETS, SAMPLES, STRIP_ROWS, STRIP_BYTES, PLANAR = 273, 277, 278, 279, 284
PREDICTOR, COLOURS, TILE_WIDTH, TILE_HEIGHT, TILE_OFFSETS, TILE_BYTES = 317, 320, 322, 323, 324, 325
EXTRA_SAMPLES, SAMPLE_KIND = 338, 339
# Tags without which nothing is known of a page, or that have a value if they are not there.
DEFAULTS: Final = {
    BITS: (1,), COMPRESSION: (1,), FILL_ORDER: (1,), SAMPLES: (1,), STRIP_ROWS: (2**32 - 1,), PLANAR: (1,),
    PREDICTOR: (1,), EXTRA_SAMPLES: (), SAMPLE_KIND: (1,),
}  # fmt: skip
READ_TAGS: Final = frozenset({
    *DEFAULTS, WIDTH, HEIGHT, PHOTOMETRIC, STRIP_OFFSETS, STRIP_BYTES, COLOURS, TILE_WIDTH, TILE_HEIGHT, TILE_OFFSETS,
    TILE_BYTES,
})  # fmt: skip
ITEMS: Final = {1: "B", 3: "H", 4: "I", 16: "Q"}  # types of whole numbers that are not negative
WHITE_IS_ZERO, BLACK_IS_ZERO, RGB, PALETTE = range(4)  # photometric interpretations
UNSIGNED, SIGNED, FLOATS = 1, 2, 3  # kinds of samples
COMPRESSIONS: Final = {1: PLAIN, 5: LZW, 8: DEFLATE, 32773: PACKBITS, 32946: DEFLATE}
NO_PREDICTOR, HORIZONTAL = 1, 2
PREDICTED: Final = (5, 8, 32946)  # compressions that have a predictor
NAMES: Final = {
    2: "CCITT", 3: "CCITT", 4: "CCITT", 6: "JPEG", 7: "JPEG", 34712: "JPEG 2000",
    34887: "LERC", 34925: "LZMA", 50000: "zstd", 50001: "WebP", 50002: "JPEG XL",
    33003: "JPEG 2000", 33005: "JPEG 2000",
}  # fmt: skip
MOST_PAGES: Final = 2**16
MOST_VALUES: Final = MOST_SKELETON_BYTES  # more segments have no room in a skeleton


class Dialect(NamedTuple):
    """How numbers are written: byte order as of `struct`, and whether it is a BigTIFF."""

    order: str
    big: bool

    @property
    def word(self) -> str:
        """The format of an offset."""
        return "Q" if self.big else "I"

    @property
    def high_first(self) -> bool:
        """Whether the high byte of a number comes first."""
        return self.order == ">"


class Field(NamedTuple):
    """A field of a directory: type and number of its values, and where they lie."""

    kind: int
    n_values: int
    start: int


@dataclass(frozen=True)
class Page:
    """What the directory of a page says. values: of the tags that are read; places: where they lie."""

    values: dict[int, tuple[int, ...]]
    places: dict[int, Field]

    def one(self, tag: int) -> int:
        """The only value of a tag. Raises Unfit where there is none, or several that differ."""
        found = self.values.get(tag, DEFAULTS.get(tag, ()))
        if not found or len(set(found)) > 1:
            raise Unfit(f"no single value of the tag {tag}")
        return found[0]


def read_pages(stream: BinaryIO, size: int) -> tuple[Dialect, list[Page]] | None:
    """The pages of a TIFF of `size` bytes; None for another file. Raises Unfit or struct.error."""
    dialect = _dialect(stream)
    if dialect is None:
        return None
    pages: list[Page] = []
    seen: set[int] = set()
    n_values = 0
    (at,) = _numbers(stream, 8 if dialect.big else 4, dialect.order + dialect.word)
    while at:
        if at in seen or len(pages) == MOST_PAGES:
            raise Unfit("directories that lead in circles, or too many")
        seen.add(at)
        page, at = _read_page(stream, size, at, dialect)
        pages.append(page)
        n_values += sum(map(len, page.values.values()))
        if n_values > MOST_VALUES:
            raise Unfit("too many segments")
    return dialect, pages


def _dialect(stream: BinaryIO) -> Dialect | None:
    stream.seek(0)
    start = stream.read(8)
    order = {b"II": "<", b"MM": ">"}.get(start[:2], "")
    if not order or len(start) < 8:
        return None
    (version,) = struct.unpack(order + "H", start[2:4])
    if version == 43 and struct.unpack(order + "HH", start[4:8]) == (8, 0):
        return Dialect(order, True)
    return Dialect(order, False) if version == 42 else None


def _numbers(stream: BinaryIO, start: int, layout: str) -> tuple[int, ...]:
    stream.seek(start)
    return struct.unpack(layout, stream.read(struct.calcsize(layout)))


def _read_page(stream: BinaryIO, size: int, at: int, dialect: Dialect) -> tuple[Page, int]:
    """The page whose directory is at a place, and where the next one is."""
    order, word = dialect.order, dialect.word
    head = order + ("Q" if dialect.big else "H")
    row = order + "HH" + 2 * word
    row_bytes, value_bytes = struct.calcsize(row), struct.calcsize(order + word)
    (count,) = _numbers(stream, at, head)
    start = at + struct.calcsize(head)
    if start + count * row_bytes + value_bytes > size:
        raise Unfit("a directory that is cut short")
    data = stream.read(count * row_bytes)
    values: dict[int, tuple[int, ...]] = {}
    places: dict[int, Field] = {}
    for number, (tag, kind, length, place) in enumerate(struct.iter_unpack(row, data)):
        if tag not in READ_TAGS or tag in values:
            continue
        if kind not in ITEMS:
            raise Unfit(f"values of another type in the tag {tag}")
        if length > MOST_VALUES:
            raise Unfit("too many segments")
        layout = f"{order}{length}{ITEMS[kind]}"
        if struct.calcsize(layout) > size:
            raise Unfit("a directory that is cut short")
        inline = struct.calcsize(layout) <= value_bytes
        place = start + (number + 1) * row_bytes - value_bytes if inline else place
        places[tag] = Field(kind, length, place)
        values[tag] = _numbers(stream, place, layout)
    (following,) = _numbers(stream, start + count * row_bytes, order + word)
    return Page(values, places), following


# --- pages as a picture ----------------------------------------------------------------------------------------------


class _Kind(NamedTuple):
    """What pages of one picture have in common."""

    sample_format: str
    layout: Layout  # of one page


def find_segments(stream: BinaryIO) -> Segmented | None:
    """Where the samples of a TIFF lie; None for other files. Raises Unfit or struct.error."""
    size = stream.seek(0, os.SEEK_END)
    found = read_pages(stream, size)
    if found is None:
        return None
    dialect, pages = found
    alike: dict[_Kind, list[tuple[Page, list[Span]]]] = defaultdict(list)
    reasons = []
    for page in pages:
        try:
            kind = _kind(page, dialect)
            spans = _spans(page, kind)
            alike[kind].append((page, spans))
        except Unfit as error:
            reasons.append(error)
    if not alike:
        raise reasons[0] if reasons else Unfit("no pages")
    weights = {kind: sum(span.length for _, spans in some for span in spans) for kind, some in alike.items()}
    kind = max(weights, key=weights.__getitem__)
    if size - weights[kind] > MOST_SKELETON_BYTES:
        raise reasons[0] if reasons else Unfit("pages of several kinds")
    return _as_one(dialect, kind, alike[kind])


def _as_one(dialect: Dialect, kind: _Kind, pages: list[tuple[Page, list[Span]]]) -> Segmented:
    """The picture of pages of one kind."""
    layout = replace(kind.layout, pages=len(pages))
    spans = [span for _, some in pages for span in some]
    about = SAMPLE_FORMATS[kind.sample_format]
    colours = pages[0][0].places.get(COLOURS) if about.indexed else None
    cut = in_bands(layout, about, spans)
    pointers = [] if cut else list(_pointers(dialect, pages))
    layout, spans = cut or (layout, spans)
    return Segmented("TIFF", kind.sample_format, layout, spans, pointers, colours.start if colours else 0)


def _pointers(dialect: Dialect, pages: list[tuple[Page, list[Span]]]) -> Iterator[Pointers]:
    """The numbers in the directories that are those of segments."""
    first = 0
    for page, spans in pages:
        for tag in (STRIP_OFFSETS, TILE_OFFSETS, STRIP_BYTES, TILE_BYTES):
            place = page.places.get(tag)
            if place and place.n_values == len(spans) and ITEMS[place.kind] != "B":
                item_bytes = struct.calcsize(ITEMS[place.kind])
                lengths = tag in (STRIP_BYTES, TILE_BYTES)
                yield Pointers(place.start, item_bytes, dialect.high_first, lengths, first, place.n_values)
        first += len(spans)


def _kind(page: Page, dialect: Dialect) -> _Kind:
    """What the samples of a page are, and how they lie. Raises Unfit."""
    compression = page.one(COMPRESSION)
    if compression not in COMPRESSIONS:
        raise Unfit(f"compressed: {NAMES.get(compression, compression)}")
    bits, sign, samples = page.one(BITS), page.one(SAMPLE_KIND), page.one(SAMPLES)
    if sign not in (UNSIGNED, SIGNED):
        raise Unfit("floats" if sign == FLOATS else "another kind of samples")
    if bits not in (1, 2, 4, 8, 16) or (bits < 8 and samples > 1):
        raise Unfit(f"{samples} x {bits} bits a sample" if samples > 1 else f"{bits} bits a sample")
    if page.one(FILL_ORDER) != 1 or not page.one(WIDTH) or not page.one(HEIGHT) or not samples:
        raise Unfit("another order of bits")
    predictor = page.one(PREDICTOR) if compression in PREDICTED else NO_PREDICTOR
    if predictor not in (NO_PREDICTOR, HORIZONTAL) or (predictor == HORIZONTAL and bits < 8):
        raise Unfit(f"another predictor ({predictor})")
    photometric = page.one(PHOTOMETRIC)
    sample_format, groups = _samples(photometric, bits, samples, len(page.values.get(EXTRA_SAMPLES, ())))
    flips = 2**bits - 1 if photometric == WHITE_IS_ZERO and groups == 1 and samples == 1 else 0
    flips ^= 2 ** (bits - 1) if sign == SIGNED else 0
    tiled = TILE_OFFSETS in page.values
    height, width = page.one(HEIGHT), page.one(WIDTH)
    layout = Layout(
        pages=1, groups=groups, height=height, width=width,
        rows=page.one(TILE_HEIGHT) if tiled else min(height, max(1, page.one(STRIP_ROWS))),
        columns=page.one(TILE_WIDTH) if tiled else width,
        planar=samples > 1 and page.one(PLANAR) == 2, whole=tiled, low_first=not dialect.high_first,
        differences=predictor == HORIZONTAL, flips=flips, compression=COMPRESSIONS[compression],
    )  # fmt: skip
    if not layout.rows or not layout.columns:
        raise Unfit("tiles without pixels")
    return _Kind(sample_format, layout)


def _samples(photometric: int, bits: int, samples: int, extra: int) -> tuple[str, int]:
    """The sample format of some channels of a pixel, and in how many groups of them all are. Raises Unfit."""
    if photometric == PALETTE and samples == 1 and bits <= 8:
        return f"P{bits}", 1
    if photometric > PALETTE:
        raise Unfit(f"another colour space ({photometric})")
    if bits >= 8 and photometric == RGB and samples - extra == 3 and extra < 2:
        return (f"RGBA{bits}" if extra else f"RGB{bits}"), 1
    if bits == 8 and samples == 2 and extra == 1:
        return "LA8", 1
    return f"L{bits}", samples


def _spans(page: Page, kind: _Kind) -> list[Span]:
    """Where the segments of a page lie. Raises Unfit."""
    tiled = kind.layout.whole
    starts = page.values.get(TILE_OFFSETS if tiled else STRIP_OFFSETS, ())
    lengths = page.values.get(TILE_BYTES if tiled else STRIP_BYTES, ())
    if len(starts) != kind.layout.count(SAMPLE_FORMATS[kind.sample_format].channels) or len(lengths) != len(starts):
        raise Unfit("another number of segments than its size")
    return [Span(start, length) for start, length in zip(starts, lengths, strict=True)]
