"""How samples lie in the segments of a file: strips or tiles of a TIFF's pages, frames of a DICOM file.

A picture is the pages of a file, one below the other; a page is its groups of channels, likewise. So each of five bands
is an image of one channel, below that of the band before. A segment is a rectangle of a page.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Final, NamedTuple

import numpy as np
from numpy.typing import NDArray

from bbcodec.errors import DamagedArchive
from bbcodec.images.samples import Bytes, Samples, packed_rows, unpacked_rows
from bbcodec.sample_formats import SampleFormat

Values = NDArray[Any]  # uint8 or uint16, (rows, columns, values of a pixel)

# What lies in a tile beyond the edges of its page, by number.
ZEROS, EDGE, GIVEN = 0, 1, 2
# How the bytes of a segment are compressed, by number.
PLAIN, DEFLATE, LZW, PACKBITS = range(4)
# A tile may be so much larger than its small page.
FREE_BYTES: Final = 2**24
# What lies around the samples of a file, and how they were compressed, may take so much.
MOST_SKELETON_BYTES: Final = 2**22
MOST_SEGMENTS: Final = 2**18


class Rectangle(NamedTuple):
    """Where segment `number` lies in its unit: rows from top to before bottom, likewise columns; channels of a group.

    inside: how many rows and columns of it are in the page.
    """

    number: int
    rows: slice
    columns: slice
    channels: slice


class Unit(NamedTuple):
    """Rows of the picture whose samples are those of some segments."""

    rows: int
    segments: list[Rectangle]


@dataclass(frozen=True)
class Layout:
    """How the samples of a picture lie in segments.

    pages, groups: as above. height, width: of a page. rows, columns: of a segment. planar: whether a segment has one
    channel, else all of all groups. whole: whether segments at the edges have all rows and columns, too. fill: what is
    in these. low_first: of 16 bits. flips: what values are XORed with to be samples. differences: whether values are
    less those to their left. compression: by number.
    """

    pages: int
    groups: int
    height: int
    width: int
    rows: int
    columns: int
    planar: bool = False
    whole: bool = False
    low_first: bool = True
    differences: bool = False
    fill: int = ZEROS
    flips: int = 0
    compression: int = PLAIN

    @property
    def down(self) -> int:
        """How many segments are below each other in a page."""
        return -(-self.height // self.rows)

    @property
    def across(self) -> int:
        """How many segments are side by side in a page."""
        return -(-self.width // self.columns)

    @property
    def scattered(self) -> bool:
        """Whether a segment has samples of several groups: then all rows of a page are worked on at once."""
        return self.groups > 1 and not self.planar

    def count(self, channels: int) -> int:
        """How many segments there are, with so many channels in a group."""
        return self.pages * (self.groups * channels if self.planar else 1) * self.down * self.across

    def units(self, channels: int) -> Iterator[Unit]:
        """The picture from top to bottom."""
        number, each = 0, self.down * self.across
        for _ in range(self.pages):
            if self.scattered:
                rows = [self._across(number + row * self.across, row, slice(0, channels)) for row in range(self.down)]
                yield Unit(self.groups * self.height, [one for some in rows for one in some])
                number += each
                continue
            for _ in range(self.groups):
                planes = [slice(one, one + 1) for one in range(channels)] if self.planar else [slice(0, channels)]
                for row in range(self.down):
                    top = row * self.rows
                    found = []
                    for plane, channel in enumerate(planes):
                        for one in self._across(number + plane * each + row * self.across, row, channel):
                            found.append(one._replace(rows=slice(0, one.rows.stop - top)))
                    yield Unit(min(self.rows, self.height - top), found)
                number += each * len(planes)

    def _across(self, number: int, row: int, channels: slice) -> list[Rectangle]:
        """The segments side by side in a row of them."""
        rows = slice(row * self.rows, min(self.height, (row + 1) * self.rows))
        return [
            Rectangle(number + at, rows, slice(at * self.columns, min(self.width, (at + 1) * self.columns)), channels)
            for at in range(self.across)
        ]

    def values_of(self, one: Rectangle, channels: int) -> tuple[int, int, int]:
        """Rows, columns, and values of a pixel of a segment."""
        values = one.channels.stop - one.channels.start
        if self.scattered:
            values *= self.groups
        if self.whole:
            return self.rows, self.columns, values
        return one.rows.stop - one.rows.start, one.columns.stop - one.columns.start, values

    def raw_bytes(self, one: Rectangle, about: SampleFormat) -> int:
        """The bytes of a segment, not compressed."""
        rows, columns, values = self.values_of(one, about.channels)
        return rows * -(-columns * values * about.depth // 8)


class Padding:
    """Values beyond the edges of pages, one segment after another."""

    def __init__(self, data: bytes) -> None:
        self._left = np.frombuffer(data, np.uint8)

    def take(self, count: int, about: SampleFormat) -> Values:
        """The next values. Raises DamagedArchive."""
        size = count * about.dtype.itemsize
        if size > len(self._left):
            raise DamagedArchive("an image of the archive has too little beyond its edges")
        taken, self._left = self._left[:size], self._left[size:]
        return taken.view(about.dtype.newbyteorder("<")).astype(about.dtype)


def content_of(layout: Layout, about: SampleFormat, unit: Samples, one: Rectangle, padding: Padding) -> Bytes:
    """The bytes of a segment (n,), not compressed, of the samples of a unit. padding: where it is given."""
    groups = layout.groups if layout.scattered else 1
    pages = unit.reshape(groups, -1, *unit.shape[1:])
    part = pages[:, one.rows, one.columns, one.channels].transpose(1, 2, 0, 3)
    values: Values = part.reshape(*part.shape[:2], -1) ^ about.dtype.type(layout.flips)
    rows, columns, _ = layout.values_of(one, about.channels)
    more = (0, rows - len(values)), (0, columns - values.shape[1]), (0, 0)
    if layout.whole and (more[0][1] or more[1][1]):
        inside = values.shape[:2]
        values = np.pad(values, more, mode="edge") if layout.fill == EDGE else np.pad(values, more)
        if layout.fill == GIVEN:
            outside = _outside(values, inside)
            values[outside] = padding.take(int(outside.sum()), about)
    if layout.differences:
        values[:, 1:] = values[:, 1:] - values[:, :-1]  # modulo 2**8 or 2**16
    if layout.low_first and about.depth == 16:
        values = values.byteswap()
    return packed_rows(values, about.depth).reshape(-1)


class Beyond(NamedTuple):
    """The values of a segment beyond the edges of its page, as bytes, and which fills make them."""

    padding: bytes = b""
    fills: tuple[int, ...] = (ZEROS, EDGE, GIVEN)


def place_content(layout: Layout, about: SampleFormat, unit: Samples, one: Rectangle, content: Bytes) -> Beyond:
    """Put the samples of a segment into those of its unit, from its bytes, not compressed."""
    rows, columns, n = layout.values_of(one, about.channels)
    values = unpacked_rows(content.reshape(rows, -1), columns * n, about.depth)
    if layout.low_first and about.depth == 16:
        values = values.byteswap()
    values = values.reshape(rows, columns, n)
    if layout.differences:
        values = np.cumsum(values, axis=1, dtype=values.dtype)
    inside = one.rows.stop - one.rows.start, one.columns.stop - one.columns.start
    kept = values[: inside[0], : inside[1]]
    groups = layout.groups if layout.scattered else 1
    pages = unit.reshape(groups, -1, *unit.shape[1:])
    samples = (kept ^ about.dtype.type(layout.flips)).reshape(*inside, groups, -1)
    pages[:, one.rows, one.columns, one.channels] = samples.transpose(2, 0, 1, 3)
    if not layout.whole or inside == (rows, columns):
        return Beyond()
    outside = values[_outside(values, inside)].astype(about.dtype.newbyteorder("<"))
    more = (0, rows - inside[0]), (0, columns - inside[1]), (0, 0)
    made = {ZEROS: not outside.any(), EDGE: np.array_equal(np.pad(kept, more, mode="edge"), values), GIVEN: True}
    return Beyond(outside.tobytes(), tuple(fill for fill, same in made.items() if same))


def _outside(values: Values, inside: tuple[int, int]) -> NDArray[np.bool_]:
    """Which values of a segment lie beyond the edges of its page."""
    found = np.ones(values.shape, bool)
    found[: inside[0], : inside[1]] = False
    return found


def check_layout(layout: Layout, about: SampleFormat, n_segments: int) -> None:
    """Raise DamagedArchive for a layout that no encoder makes, or that makes much of few samples."""
    sound = layout.fill in (ZEROS, EDGE, GIVEN) and layout.flips < 2**about.depth
    sound = sound and (layout.whole or (layout.rows <= layout.height and layout.columns <= layout.width))
    sound = sound and (about.depth >= 8 or not (layout.groups > 1 or layout.differences or about.channels > 1))
    sound = sound and (not about.indexed or layout.groups == 1)
    if not sound or layout.count(about.channels) != n_segments:
        raise DamagedArchive("an image of the archive has segments that do not make it up")
    values = 1 if layout.planar else layout.groups * about.channels
    padded = n_segments * layout.rows * -(-layout.columns * values * about.depth // 8)
    page = math.prod((layout.height, layout.width, layout.groups, about.channels, about.depth)) // 8
    if layout.whole and padded > 4 * layout.pages * page + FREE_BYTES:
        raise DamagedArchive("an image of the archive has tiles that are much larger than it")
