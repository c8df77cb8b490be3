"""Rows of a PNG filtered (section 9 of the specification, third edition): by the least sums, or by given filters."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

import numpy as np
from numpy.typing import NDArray

from bbcodec.images.samples import Bytes

N_FILTERS: Final = 5


def unfiltered(rows: Bytes) -> Bytes:
    """Rows (H, n) with filter type 0 before each: (H, n + 1)."""
    return _shifted(rows, 1)


def _shifted(rows: Bytes, count: int) -> Bytes:
    """Rows (H, n) with `count` zeros before each: (H, count + n). np.pad takes ten times as long for small images."""
    out = np.zeros((rows.shape[0], count + rows.shape[1]), np.uint8)
    out[:, count:] = rows
    return out


def filtered(rows: Bytes, above: Bytes, pixel_bytes: int) -> Bytes:
    """Rows (H, n), each with its filter type and filtered: (H, n + 1); `above` is the row before the first.

    Of the five filters (9.2) each row takes that with the least sum of absolute differences (12.7).
    """
    out, least = unfiltered(rows), _sums(rows)
    for number, residual in enumerate(_residuals(rows, above, pixel_bytes), start=1):
        sums = _sums(residual)
        better = sums < least
        out[better, 0] = number
        out[better, 1:] = residual[better]
        least = np.where(better, sums, least)
    return out


def filtered_by(rows: Bytes, filters: Bytes, pixel_bytes: int) -> Bytes:
    """Rows (H, n) of an image, each with the filter type that is given for it and filtered: (H, n + 1)."""
    out = unfiltered(rows)
    out[:, 0] = filters
    for number, residual in enumerate(_residuals(rows, np.zeros_like(rows[0]), pixel_bytes), start=1):
        chosen = filters == number
        out[chosen, 1:] = residual[chosen]
    return out


def _residuals(rows: Bytes, above: Bytes, pixel_bytes: int) -> Iterator[Bytes]:
    """What the filters 1 to 4 make of rows, modulo 256."""
    prior = np.concatenate((above[None], rows[:-1]))
    left, corner = (_shifted(each, pixel_bytes)[:, : rows.shape[1]] for each in (rows, prior))
    yield rows - left
    yield rows - prior
    yield rows - ((left & prior) + ((left ^ prior) >> 1))
    yield rows - paeth(left, prior, corner)


def _sums(residual: Bytes) -> NDArray[np.uint64]:
    """The sum over each row of absolute values of bytes taken as signed."""
    sums: NDArray[np.uint64] = np.minimum(residual, -residual).sum(axis=1, dtype=np.uint64)
    return sums


def paeth(left: Bytes, above: Bytes, corner: Bytes) -> Bytes:
    """Of the three, that nearest to left + above - corner; ties in this order (9.4). All within 8 bits, for speed."""
    from_left, from_above = _distance(above, corner), _distance(left, corner)
    greater = np.maximum(from_left, from_above)
    opposite = (left > corner) != (above > corner)
    # Else the corner is as far as both together, and never the nearest: the greater of them will do.
    from_corner = greater - np.minimum(from_left, from_above) * opposite.view(np.uint8)
    second = _selected(from_above <= from_corner, above, corner)
    return _selected((from_left <= from_above) & (from_left <= from_corner), left, second)


def _distance(a: Bytes, b: Bytes) -> Bytes:
    return np.maximum(a, b) - np.minimum(a, b)


def _selected(condition: NDArray[np.bool_], a: Bytes, b: Bytes) -> Bytes:
    """a where the condition holds, else b. np.where takes ten times as long for bytes."""
    return b ^ ((a ^ b) & -condition.view(np.uint8))
