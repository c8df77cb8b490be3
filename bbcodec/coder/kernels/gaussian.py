# mypy: allow-untyped-defs, allow-untyped-calls
"""Normal on a grid: means and log sigmas (N,) int32 in 1/256; a grid of `steps` a unit, from -bound to bound."""

from __future__ import annotations

import numpy as np

from bbcodec.coder.compilation import compiled, inlined
from bbcodec.coder.kernels.arithmetic import INFORMATION_BITS, clamp, cubic, log2_of
from bbcodec.coder.kernels.rans import OUTSIDE, UNDERFLOW, lane_after, lane_before, last_lane, peek, put, take
from bbcodec.coder.tables import (
    CUMULATIVE_BITS,
    FRACTION_BITS,
    INVERSE_SCALE_BITS,
    LOG_SCALE_MIN,
    NORMAL_RANGE,
    QUANTILES,
)

PRECISION_BITS = 28
_NORMAL_SHIFT = INVERSE_SCALE_BITS + 8 - 6 - FRACTION_BITS  # 1/256 * 2**-34 -> intervals of 1/64 in 2**-24


@inlined
def cumulative(k, mean, inverse, spacing, bound, normal):
    """F(k), for k = -bound .. bound + 1.

    Distances are below 2**13 (in 1/256), inverse sigmas below 2**41. Values are cut to 34 bits before the last product.
    """
    if k <= -bound:
        return np.int64(0)
    if k > bound:
        return np.int64(1 << PRECISION_BITS)
    distance = (2 * k - 1) * spacing - mean
    c = cubic(normal, (distance * inverse >> _NORMAL_SHIFT) + (NORMAL_RANGE << FRACTION_BITS))
    c >>= CUMULATIVE_BITS - 34
    return (c * ((1 << PRECISION_BITS) - (2 * bound + 1)) >> 34) + k + bound


@inlined
def row_of(mean, log_sigma, log_sigma_min, inverse_scale):
    """Clamped mean, inverse sigma (2**-34) and sigma (2**-34)."""
    log_scale = clamp(log_sigma, log_sigma_min, 512)
    return (
        clamp(mean, -2047, 2047),
        inverse_scale[log_scale - LOG_SCALE_MIN],
        inverse_scale[-log_scale - LOG_SCALE_MIN],
    )


@compiled
def push(heads, words, n, x, means, log_sigmas, steps, log_sigma_min, normal, inverse_scale, quantile, log2):
    """Push x: (N,) int32."""
    bound, spacing = 8 * steps - 1, 128 // steps
    lane = last_lane(heads, x.size)
    for i in range(len(x) - 1, -1, -1):
        k = np.int64(x[i])
        if k < -bound or k > bound:
            return OUTSIDE
        mean, inverse, _ = row_of(means[i], log_sigmas[i], log_sigma_min, inverse_scale)
        start = cumulative(k, mean, inverse, spacing, bound, normal)
        end = cumulative(k + 1, mean, inverse, spacing, bound, normal)
        n = put(heads, words, n, lane, start, end - start, PRECISION_BITS)
        lane = lane_before(heads, lane)
    return n


@compiled
def pop(heads, words, n, x, means, log_sigmas, steps, log_sigma_min, normal, inverse_scale, quantile, log2):
    """Pop x: (N,) int32. The search starts at a quantile from a coarse table and gallops from there."""
    lane = 0
    bound, spacing = 8 * steps - 1, 128 // steps
    for i in range(len(x)):
        slot = peek(heads, lane, PRECISION_BITS)
        mean, inverse, sigma = row_of(means[i], log_sigmas[i], log_sigma_min, inverse_scale)
        z = quantile[slot * QUANTILES >> PRECISION_BITS]
        k = ((mean + (z * sigma >> (INVERSE_SCALE_BITS + 2))) * steps + 128) >> 8  # z is in 1/1024
        low = clamp(k, -bound, bound)
        start = cumulative(low, mean, inverse, spacing, bound, normal)
        if start > slot:
            step, end, high = np.int64(1), start, low
            while start > slot:
                high, end = low, start
                low = max(low - step, -bound)
                start = cumulative(low, mean, inverse, spacing, bound, normal)
                step *= 2
        else:
            step, high = np.int64(1), low + 1
            end = cumulative(high, mean, inverse, spacing, bound, normal)
            while end <= slot:
                low, start = high, end
                high = min(high + step, bound + 1)
                end = cumulative(high, mean, inverse, spacing, bound, normal)
                step *= 2
        while high - low > 1:
            middle = (low + high) >> 1
            c = cumulative(middle, mean, inverse, spacing, bound, normal)
            if c <= slot:
                low, start = middle, c
            else:
                high, end = middle, c
        n = take(heads, words, n, lane, slot, start, end - start, PRECISION_BITS)
        if n < 0:
            return UNDERFLOW
        lane = lane_after(heads, lane)
        x[i] = low
    return n


@compiled
def information(x, out, means, log_sigmas, steps, log_sigma_min, normal, inverse_scale, quantile, log2):
    """Bits of each symbol in 2**-24, into out: (N,) int64."""
    bound, spacing = 8 * steps - 1, 128 // steps
    for i in range(len(x)):
        k = np.int64(x[i])
        if k < -bound or k > bound:
            return OUTSIDE
        mean, inverse, _ = row_of(means[i], log_sigmas[i], log_sigma_min, inverse_scale)
        start = cumulative(k, mean, inverse, spacing, bound, normal)
        end = cumulative(k + 1, mean, inverse, spacing, bound, normal)
        out[i] = (PRECISION_BITS << INFORMATION_BITS) - log2_of(end - start, log2)
    return 0
