# mypy: allow-untyped-defs, allow-untyped-calls
"""Two-sided geometric: P(k) is about theta**|k|, for k = -BOUND .. BOUND; a row of x has one scale, a row of the table.

The table has P(x >= m) of each scale for m = 1 .. BOUND + 1, in 2**-24; the last is 0, and none equals the next.
"""

from __future__ import annotations

import numpy as np

from bbcodec.coder.compilation import compiled, inlined
from bbcodec.coder.kernels.rans import OUTSIDE, UNDERFLOW, lane_after, lane_before, last_lane, peek, put, take

PRECISION_BITS = 24
BOUND = 2047


@inlined
def cumulative(k, tails):
    """F(k) = P(x < k), for k = -BOUND .. BOUND + 1."""
    return (1 << PRECISION_BITS) - tails[k - 1] if k > 0 else np.int64(tails[-k])


@compiled
def push(heads, words, n, x, scales, tails):
    """Push x: (N, C) int32, of scales (N,) uint8, by tails (scales, BOUND + 1) int32."""
    lane = last_lane(heads, x.size)
    for i in range(x.shape[0] - 1, -1, -1):
        if scales[i] >= len(tails):
            return OUTSIDE
        row = tails[scales[i]]
        for j in range(x.shape[1] - 1, -1, -1):
            k = np.int64(x[i, j])
            if k < -BOUND or k > BOUND:
                return OUTSIDE
            start = cumulative(k, row)
            n = put(heads, words, n, lane, start, cumulative(k + 1, row) - start, PRECISION_BITS)
            lane = lane_before(heads, lane)
    return n


@compiled
def pop(heads, words, n, x, scales, tails):
    """Pop x: (N, C) int32. Tails fall: those above the slot's distance from the nearer end are counted by bisection."""
    lane = 0
    for i in range(x.shape[0]):
        if scales[i] >= len(tails):
            return OUTSIDE
        row = tails[scales[i]]
        for j in range(x.shape[1]):
            slot = peek(heads, lane, PRECISION_BITS)
            low, high = np.int64(-BOUND), np.int64(BOUND + 1)
            if slot >= row[0] and slot < (1 << PRECISION_BITS) - row[0]:
                low, high = np.int64(0), np.int64(1)
            while high - low > 1:
                middle = (low + high) >> 1
                if cumulative(middle, row) <= slot:
                    low = middle
                else:
                    high = middle
            start = cumulative(low, row)
            n = take(heads, words, n, lane, slot, start, cumulative(high, row) - start, PRECISION_BITS)
            if n < 0:
                return UNDERFLOW
            lane = lane_after(heads, lane)
            x[i, j] = low
    return n
