# mypy: allow-untyped-defs, allow-untyped-calls
"""Explicit cumulative masses: (N, K + 1) int64, of a sum of 2**precision."""

from __future__ import annotations

from bbcodec.coder.compilation import compiled
from bbcodec.coder.kernels.arithmetic import INFORMATION_BITS, log2_of
from bbcodec.coder.kernels.rans import OUTSIDE, UNDERFLOW, lane_after, lane_before, last_lane, peek, put, take


@compiled
def push(heads, words, n, x, cumulatives, precision, log2):
    """Push x: (N,) int32."""
    lane = last_lane(heads, x.size)
    for i in range(len(x) - 1, -1, -1):
        k = x[i]
        if k < 0 or k >= cumulatives.shape[1] - 1:
            return OUTSIDE
        start = cumulatives[i, k]
        n = put(heads, words, n, lane, start, cumulatives[i, k + 1] - start, precision)
        lane = lane_before(heads, lane)
    return n


@compiled
def pop(heads, words, n, x, cumulatives, precision, log2):
    """Pop x: (N,) int32."""
    lane = 0
    for i in range(len(x)):
        slot = peek(heads, lane, precision)
        low, high = 0, cumulatives.shape[1] - 1
        while high - low > 1:
            middle = (low + high) >> 1
            if cumulatives[i, middle] <= slot:
                low = middle
            else:
                high = middle
        start = cumulatives[i, low]
        n = take(heads, words, n, lane, slot, start, cumulatives[i, high] - start, precision)
        if n < 0:
            return UNDERFLOW
        lane = lane_after(heads, lane)
        x[i] = low
    return n


@compiled
def information(x, out, cumulatives, precision, log2):
    """Bits of each symbol in 2**-24, into out: (N,) int64."""
    for i in range(len(x)):
        k = x[i]
        if k < 0 or k >= cumulatives.shape[1] - 1:
            return OUTSIDE
        out[i] = (precision << INFORMATION_BITS) - log2_of(cumulatives[i, k + 1] - cumulatives[i, k], log2)
    return 0
