"""Tiles: the pieces in which the planes of a large image are stored (`docs/format.md`, Pixels)."""

from __future__ import annotations

import math
from typing import NamedTuple


class Tile(NamedTuple):
    """The rows from `top` to before `bottom`, and the columns from `left` to before `right`."""

    top: int
    bottom: int
    left: int
    right: int


def tile_bounds(width: int, height: int, count: int) -> list[Tile]:
    """The `count` tiles of a plane, row by row.

    >>> [tuple(tile) for tile in tile_bounds(768, 512, 3)]
    [(0, 512, 0, 256), (0, 512, 256, 512), (0, 512, 512, 768)]
    >>> tile_bounds(512, 256, 1)
    [Tile(top=0, bottom=256, left=0, right=512)]
    """
    rows, columns = tile_grid(width, height, count)
    tops = [height * row // rows for row in range(rows + 1)]
    lefts = [width * column // columns for column in range(columns + 1)]
    return [
        Tile(tops[row], tops[row + 1], lefts[column], lefts[column + 1])
        for row in range(rows)
        for column in range(columns)
    ]


def tile_grid(width: int, height: int, count: int) -> tuple[int, int]:
    """Rows and columns of `count` tiles: as many rows as leave tiles no wider than they are high, at least one."""
    smaller = [n for n in range(1, math.isqrt(count) + 1) if count % n == 0]
    divisors = (*smaller, *(count // n for n in smaller))
    rows = max((n for n in divisors if n * n * width <= count * height), default=1)
    return rows, count // rows


def tile_count(width: int, height: int, most: int) -> int:
    """How many tiles a plane should be cut into so that each has about `most` pixels, or fewer; 1 if it has no more.

    >>> tile_count(768, 512, 2**17), tile_count(768, 512, 2**22)
    (3, 1)
    """
    least = -(-width * height // most)
    rows = min(least, max(1, math.isqrt(least * height // width)))
    return rows * -(-least // rows)
