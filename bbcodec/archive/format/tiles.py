"""Tiles: the pieces in which the planes of a large image are stored (`docs/format.md`, Pixels)."""

from __future__ import annotations

import math
from typing import Final, NamedTuple

TILE_PIXELS: Final = 2**17  # a plane of more is cut


class Tile(NamedTuple):
    """The rows from `top` to before `bottom`, and the columns from `left` to before `right`."""

    top: int
    bottom: int
    left: int
    right: int


def tile_bounds(width: int, height: int) -> list[Tile]:
    """The tiles of a plane, row by row.

    >>> [tuple(tile) for tile in tile_bounds(768, 512)]
    [(0, 512, 0, 256), (0, 512, 256, 512), (0, 512, 512, 768)]
    >>> tile_bounds(512, 256)
    [Tile(top=0, bottom=256, left=0, right=512)]
    """
    rows, columns = tile_grid(width, height)
    tops = [height * row // rows for row in range(rows + 1)]
    lefts = [width * column // columns for column in range(columns + 1)]
    return [
        Tile(tops[row], tops[row + 1], lefts[column], lefts[column + 1])
        for row in range(rows)
        for column in range(columns)
    ]


def tile_grid(width: int, height: int) -> tuple[int, int]:
    """Rows and columns of tiles of a plane."""
    least = -(-width * height // TILE_PIXELS)
    if least <= 1:
        return 1, 1
    rows = min(height, max(1, math.isqrt(least * height // width)))
    return rows, min(width, -(-least // rows))
