# mypy: allow-untyped-defs, allow-untyped-calls
"""Equally likely levels: F(k) = k * 2**24 // levels."""

from __future__ import annotations

import numpy as np

from bbcodec.coder.compilation import compiled
from bbcodec.coder.kernels.arithmetic import INFORMATION_BITS, log2_of
from bbcodec.coder.kernels.rans import OUTSIDE, UNDERFLOW, lane_after, lane_before, last_lane, peek, put, take

PRECISION_BITS = 24


@compiled
def push(heads, words, n, x, levels, log2):
    """Push x: (N,) int32."""
    lane = last_lane(heads, x.size)
    for i in range(len(x) - 1, -1, -1):
        k = np.int64(x[i])
        if k < 0 or k >= levels:
            return OUTSIDE
        start = (k << PRECISION_BITS) // levels
        n = put(heads, words, n, lane, start, ((k + 1) << PRECISION_BITS) // levels - start, PRECISION_BITS)
        lane = lane_before(heads, lane)
    return n


@compiled
def pop(heads, words, n, x, levels, log2):
    """Pop x: (N,) int32. F(k) <= slot if and only if k * 2**24 < (slot + 1) * levels."""
    lane = 0
    for i in range(len(x)):
        slot = peek(heads, lane, PRECISION_BITS)
        k = ((slot + 1) * levels - 1) >> PRECISION_BITS
        start = (k << PRECISION_BITS) // levels
        end = ((k + 1) << PRECISION_BITS) // levels
        n = take(heads, words, n, lane, slot, start, end - start, PRECISION_BITS)
        if n < 0:
            return UNDERFLOW
        lane = lane_after(heads, lane)
        x[i] = k
    return n


@compiled
def information(x, out, levels, log2):
    """Bits of each symbol in 2**-24, into out: (N,) int64."""
    for i in range(len(x)):
        k = np.int64(x[i])
        if k < 0 or k >= levels:
            return OUTSIDE
        start, end = (k << PRECISION_BITS) // levels, ((k + 1) << PRECISION_BITS) // levels
        out[i] = (PRECISION_BITS << INFORMATION_BITS) - log2_of(end - start, log2)
    return 0
