# mypy: allow-untyped-defs, allow-untyped-calls
"""rANS of `bbcodec.coder.kernels.rans` for intervals that were noted, and slots in 32 bits.

Symbols of one push go through the heads in turn, the i-th through head i % lanes.
"""

from __future__ import annotations

import numpy as np

from bbcodec.coder.kernels.rans import OUTSIDE, UNDERFLOW, lane_before, last_lane, put, take
from bbcodec.engine.compiling import compiled, inlined

__all__ = ["OUTSIDE", "UNDERFLOW", "push_intervals", "put_all", "slot_of", "take"]


@inlined
def slot_of(heads, lane, precision):
    """The slot, 0 .. 2**precision - 1, whose symbol a pop would give."""
    return np.int32(heads[lane] & np.uint64((1 << precision) - 1))


@inlined
def put_all(heads, words, n, starts, masses, first, last, precision):
    """Push symbols last - 1 to first of the intervals noted; symbol `first` is the first of its push."""
    lane = last_lane(heads, last - first)
    for i in range(last - 1, first - 1, -1):
        n = put(heads, words, n, lane, starts[i], masses[i], precision)
        lane = lane_before(heads, lane)
    return n


@compiled
def push_intervals(kernels, heads, words, n, starts, masses, precision):
    """Push intervals (N,) int32 of 2**precision as one push."""
    return put_all(heads, words, n, starts, masses, 0, len(starts), precision)
