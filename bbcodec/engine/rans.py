# mypy: allow-untyped-defs, allow-untyped-calls
"""rANS as in `bbcodec.coder.kernels.rans`, whose `put` and `take` these are: 64-bit heads and one tail of 32-bit words.

Symbols of one push go through the heads in turn, the i-th through head i % lanes.
"""

from __future__ import annotations

from typing import Final

import numpy as np

from bbcodec.engine.compiling import compiled, inlined

UNDERFLOW: Final = -1  # the tail was empty when a pop needed a word
OUTSIDE: Final = -2  # a symbol outside the support
HEAD_MIN: Final = 1 << 31


@inlined
def put(heads, words, n, lane, start, mass, precision):
    """Push [start, start + mass) of 2**precision. At most one word leaves the head; returns the new n."""
    head, size = heads[lane], np.uint64(mass)
    if head >> np.uint64(63 - precision) >= size:
        words[n] = np.uint32(head & np.uint64(0xFFFFFFFF))
        n += 1
        head >>= np.uint64(32)
    quotient = head // size
    heads[lane] = (quotient << np.uint64(precision)) + (head - quotient * size) + np.uint64(start)
    return n


@inlined
def slot_of(heads, lane, precision):
    """The slot, 0 .. 2**precision - 1, whose symbol a pop would give."""
    return np.int32(heads[lane] & np.uint64((1 << precision) - 1))


@inlined
def take(heads, words, n, lane, slot, start, mass, precision):
    """Pop a symbol, the inverse of `put`. At most one word enters the head; returns -1 if there is none."""
    head = np.uint64(mass) * (heads[lane] >> np.uint64(precision)) + np.uint64(slot - start)
    if head < np.uint64(HEAD_MIN):
        n -= 1
        if n >= 0:
            head = (head << np.uint64(32)) | np.uint64(words[n])
    heads[lane] = head
    return n


@inlined
def put_all(heads, words, n, starts, masses, first, last, precision):
    """Push symbols last - 1 to first of the intervals noted; symbol `first` is the first of its push."""
    lane = (last - first - 1) % len(heads)
    for i in range(last - 1, first - 1, -1):
        n = put(heads, words, n, lane, starts[i], masses[i], precision)
        lane = lane - 1 if lane > 0 else len(heads) - 1
    return n


@compiled
def push_intervals(kernels, heads, words, n, starts, masses, precision):
    """Push intervals (N,) int32 of 2**precision as one push."""
    return put_all(heads, words, n, starts, masses, 0, len(starts), precision)
