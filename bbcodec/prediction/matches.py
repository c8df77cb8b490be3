# mypy: allow-untyped-defs, allow-untyped-calls
"""Places in images where pixels were like those here: what came next there is likely to come next here.

A match goes on to the right and below. One that is short gives way to the last place where twelve neighbours were
alike, and where there is none, the last place where six were is taken.
"""

from __future__ import annotations

from typing import Final, NamedTuple, Self

import numpy as np
import numpy.typing as npt

from bbcodec.coder.compilation import inlined
from bbcodec.prediction.lines import bits_of, hashed

FEWER: Final = 6  # neighbours
ALL: Final = 12
TABLE_BITS: Final = 18  # at most
SHORT: Final = 16  # pixels
FOUND: Final = 4  # the length with which a match by all neighbours begins
LENGTHS: Final = 15  # classes of lengths


class Matches(NamedTuple):
    """What is remembered. tables (2, K): by hashes of fewer neighbours and of all, the last place, or -1.

    places, lengths (H, W): the matches of this image and the one before. now (4,): of a pixel, the place of its match,
    or -1; the class of its length; the pixel there; and the length. Places count pixels of all images in raster order.
    """

    tables: npt.NDArray[np.int64]
    places: npt.NDArray[np.int64]
    lengths: npt.NDArray[np.int64]
    now: npt.NDArray[np.int64]

    @classmethod
    def of(cls, shape: tuple[int, int, int]) -> Self:
        """Nothing yet, of images of a shape (N, H, W)."""
        bits = bits_of(shape[0] * shape[1] * shape[2], TABLE_BITS)
        places, lengths = np.zeros((2, *shape[1:]), np.int64)
        return cls(np.full((2, 1 << bits), -1), places, lengths, np.zeros(4, np.int64))


@inlined
def place_in_table(matches, near, count):
    """Where the last place is remembered that had such neighbours, the first `count`."""
    known = np.int64(0)
    for k in range(count):
        known = hashed(known, near[k])
    return known % matches.tables.shape[1]


@inlined
def look_for_match(matches, values, near, row, j):
    """Find the match of a pixel of images one below the other (1, 1, N H, W), to `now`."""
    places, lengths, now, (height, width) = matches.places, matches.lengths, matches.now, matches.places.shape
    i, here, place, length = row % height, row * width + j, np.int64(-1), np.int64(0)
    if i > 0 and lengths[i - 1, j] > 0:
        place, length = places[i - 1, j] + width, lengths[i - 1, j]
    if j > 0 and lengths[i, j - 1] > length:
        place, length = places[i, j - 1] + 1, lengths[i, j - 1]
    by_fewer, by_all = place_in_table(matches, near, FEWER), place_in_table(matches, near, ALL)
    last = matches.tables[1, by_all]
    if length < SHORT and last >= 0 and last != place:
        place, length = last, np.int64(FOUND)
    elif length == 0:
        place = matches.tables[0, by_fewer]
    matches.tables[0, by_fewer] = matches.tables[1, by_all] = here
    now[0], now[3] = place, length
    now[1] = min(length, 6) if length < 8 else min(6 + (length >> 3), LENGTHS - 1)
    now[2] = np.int64(values[0, 0, place // width, place % width]) if place >= 0 else np.int64(0)


@inlined
def follow_match(matches, i, j, x):
    """Learn that a pixel is x: its match is longer now, or ends."""
    now = matches.now
    matches.places[i, j] = now[0]
    matches.lengths[i, j] = now[3] + 1 if now[0] >= 0 and now[2] == x else 0
