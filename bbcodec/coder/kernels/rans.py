# mypy: allow-untyped-defs, allow-untyped-calls
"""rANS (Duda 2013) on one of several heads: pushing and popping an interval of a power of two."""

from __future__ import annotations

import numpy as np

from bbcodec.coder.compilation import compiled, inlined

UNDERFLOW = -1  # the tail was empty when a pop needed a word
OUTSIDE = -2  # a symbol outside the support, or a slot outside the popped interval

HEAD_MIN = 1 << 31  # heads stay in [2**31, 2**63)


@inlined
def put(heads, words, n, lane, start, mass, precision):
    """Push one symbol: [start, start + mass) of 2**precision. At most one word leaves the head."""
    head, size = heads[lane], np.uint64(mass)
    if head >> np.uint64(63 - precision) >= size:
        words[n] = np.uint32(head & np.uint64(0xFFFFFFFF))
        n += 1
        head >>= np.uint64(32)
    quotient = head // size
    heads[lane] = (quotient << np.uint64(precision)) + (head - quotient * size) + np.uint64(start)
    return n


@inlined
def peek(heads, lane, precision):
    """The slot, 0 .. 2**precision - 1: the next pop gives the symbol whose interval holds it."""
    return np.int64(heads[lane] & np.uint64((1 << precision) - 1))


@inlined
def take(heads, words, n, lane, slot, start, mass, precision):
    """Pop one symbol, the inverse of `put`. At most one word enters the head; n becomes -1 if there is none."""
    head = np.uint64(mass) * (heads[lane] >> np.uint64(precision)) + np.uint64(slot - start)
    if head < np.uint64(HEAD_MIN):
        n -= 1
        if n >= 0:
            head = (head << np.uint64(32)) | np.uint64(words[n])
    heads[lane] = head
    return n


@inlined
def last_lane(heads, count):
    """The lane of the last of `count` symbols."""
    return (count - 1) % len(heads)


@inlined
def lane_before(heads, lane):
    """The lane of the symbol before, without a division."""
    return lane - 1 if lane > 0 else len(heads) - 1


@inlined
def lane_after(heads, lane):
    """The lane of the symbol after."""
    return lane + 1 if lane + 1 < len(heads) else 0


@compiled
def push_intervals(heads, words, n, starts, masses, precision):
    """Push given intervals. starts, masses: (N,) int64."""
    lane = last_lane(heads, starts.size)
    for i in range(len(starts) - 1, -1, -1):
        n = put(heads, words, n, lane, starts[i], masses[i], precision)
        lane = lane_before(heads, lane)
    return n


@compiled
def pop_intervals(heads, words, n, starts, masses, precision):
    """Pop given intervals. starts, masses: (N,) int64."""
    lane = 0
    for i in range(len(starts)):
        slot = peek(heads, lane, precision)
        if slot < starts[i] or slot >= starts[i] + masses[i]:
            return OUTSIDE
        n = take(heads, words, n, lane, slot, starts[i], masses[i], precision)
        if n < 0:
            return UNDERFLOW
        lane = lane_after(heads, lane)
    return n
