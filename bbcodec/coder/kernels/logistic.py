# mypy: allow-untyped-defs, allow-untyped-calls
"""Mixture of logistics for pixels of 256 levels: parameters (N, P) int32, C channels, K components."""

from __future__ import annotations

import numpy as np

from bbcodec.coder.compilation import compiled, inlined
from bbcodec.coder.kernels.arithmetic import INFORMATION_BITS, clamp, cubic, log2_of
from bbcodec.coder.kernels.rans import OUTSIDE, UNDERFLOW, lane_after, lane_before, last_lane, peek, put, take
from bbcodec.coder.tables import (
    CUMULATIVE_BITS,
    EXP_BITS,
    FRACTION_BITS,
    INVERSE_SCALE_BITS,
    LOG_SCALE_MIN,
    LOGISTIC_RANGE,
)

PRECISION_BITS = 24
_LOGISTIC_SHIFT = INVERSE_SCALE_BITS + 8 - 4 - FRACTION_BITS  # 1/256 level * 2**-34 -> intervals of 1/16 in 2**-24
_WEIGHT_BITS = 32
WEIGHT, MEAN, INVERSE_SCALE = 0, 1, 2  # columns of `components` (K, 3)
START, END = 0, 1  # columns of `intervals` (C, 2)


@inlined
def component_mean(own, correction):
    """Mean of a component in 1/256 level: its own, in 1/32 level from 128, corrected by errors of other channels."""
    return clamp(np.int64(own) * 8 + 128 * 256 + correction, -256 * 256, 512 * 256)


@inlined
def fill_components(row, c, channels, count, joint, red, green, components, exp_fraction, exp_whole, inverse_scale):
    """Weights (2**-32, summing to one), means (1/256 level) and inverse scales of the components for channel c.

    Exponentials are cut to 2**-29 so that their sum is at most 2**34 for 32 components. Means are below 2**35 before
    they are clamped, errors below 2**18. joint: only channel 0 sets the weights; `condition_weights` updates them.
    """
    means = count if joint else channels * count
    scales, coefficients = means + (channels + c) * count, means + 2 * channels * count
    for j in range(count):
        mean = component_mean(row[means + j], 0)
        if c > 0:
            red_error = 256 * red - mean
            on_red = clamp(row[coefficients + j], -1023, 1023) * red_error
            mean = component_mean(row[means + count + j], on_red >> 8)
            if c > 1:
                on_red = clamp(row[coefficients + count + j], -1023, 1023) * red_error
                on_green = clamp(row[coefficients + 2 * count + j], -1023, 1023) * (256 * green - mean)
                mean = component_mean(row[means + 2 * count + j], (on_red + on_green) >> 8)
        components[j, MEAN] = mean
        components[j, INVERSE_SCALE] = inverse_scale[clamp(row[scales + j], -1065, 1408) - LOG_SCALE_MIN]
    if joint and c > 0:
        return
    logits = c * count
    top, total = np.int64(row[logits]), np.int64(0)
    for j in range(1, count):
        top = max(top, np.int64(row[logits + j]))
    for j in range(count):
        below = min(top - row[logits + j], len(exp_whole) * 256 - 1)
        components[j, WEIGHT] = exp_fraction[below & 255] * exp_whole[below >> 8] >> (2 * EXP_BITS - 29)
        total += components[j, WEIGHT]
    normalise_weights(count, components, total)


@inlined
def normalise_weights(count, components, total):
    """Scale weights of sum `total`, below 2**34, to sum to 2**32; the first takes the rest, at most K + 16 units."""
    share, rest = np.int64(np.uint64(1 << 62) // np.uint64(total)), np.int64(1 << _WEIGHT_BITS)
    for j in range(count):
        components[j, WEIGHT] = components[j, WEIGHT] * share >> (62 - _WEIGHT_BITS)
        rest -= components[j, WEIGHT]
    components[0, WEIGHT] += rest


@inlined
def component_cumulative(k, j, components, logistic):
    """The cumulative of component j below k - 1/2, for k = 1 .. 255, in 2**-30; distances are below 2**18."""
    x = (256 * k - 128 - components[j, MEAN]) * components[j, INVERSE_SCALE] >> _LOGISTIC_SHIFT
    return cubic(logistic, x + (LOGISTIC_RANGE << FRACTION_BITS)) >> (CUMULATIVE_BITS - 30)


@inlined
def condition_weights(k, count, components, logistic):
    """Weights given that the channel was k: times the mass of k under each component, plus one so that none vanishes.

    Weights sum to 2**32 and masses are at most 2**30, so the products sum to less than 2**63, and to 2**32 or more.
    """
    total = np.int64(0)
    for j in range(count):
        end = component_cumulative(k + 1, j, components, logistic) if k < 255 else np.int64(1 << 30)
        start = component_cumulative(k, j, components, logistic) if k > 0 else np.int64(0)
        components[j, WEIGHT] *= end - start + 1
        total += components[j, WEIGHT]
    shift = 0
    while total >> shift >= 1 << 33:
        shift += 1
    total = np.int64(0)
    for j in range(count):
        components[j, WEIGHT] >>= shift
        total += components[j, WEIGHT]
    normalise_weights(count, components, total)


@inlined
def cumulative(k, count, components, logistic):
    """F(k), for k = 0 .. 256. Inverse scales are at most 2**40, weighted sums at most 2**62."""
    if k <= 0:
        return np.int64(0)
    if k > 255:
        return np.int64(1 << PRECISION_BITS)
    c = np.int64(0)
    for j in range(count):
        c += components[j, WEIGHT] * component_cumulative(k, j, components, logistic)
    return ((c >> 24) * ((1 << PRECISION_BITS) - 256) >> (_WEIGHT_BITS + 30 - 24)) + k


@inlined
def fill_intervals(row, x, joint, logistic, exp_fraction, exp_whole, inverse_scale, components, intervals):
    """The interval of each channel of a pixel x (C,); False where a value is outside the support."""
    channels, count = len(x), len(components)
    for c in range(channels):
        k = np.int64(x[c])
        if k < 0 or k > 255:
            return False
        red, green = np.int64(x[0]), np.int64(x[min(1, channels - 1)])
        fill_components(row, c, channels, count, joint, red, green, components, exp_fraction, exp_whole, inverse_scale)
        intervals[c, START] = cumulative(k, count, components, logistic)
        intervals[c, END] = cumulative(k + 1, count, components, logistic)
        if joint and c < channels - 1:
            condition_weights(k, count, components, logistic)
    return True


@compiled
def push(
    heads, words, n, x, params, joint, logistic, exp_fraction, exp_whole, inverse_scale, log2, components, intervals
):
    """Push x: (N, C) int32. components (K, 3) and intervals (C, 2) are scratch, int64."""
    lane = last_lane(heads, x.size)
    for i in range(len(x) - 1, -1, -1):
        if not fill_intervals(
            params[i], x[i], joint, logistic, exp_fraction, exp_whole, inverse_scale, components, intervals
        ):
            return OUTSIDE
        for c in range(x.shape[1] - 1, -1, -1):
            start, end = intervals[c, START], intervals[c, END]
            n = put(heads, words, n, lane, start, end - start, PRECISION_BITS)
            lane = lane_before(heads, lane)
    return n


@compiled
def pop(
    heads, words, n, x, params, joint, logistic, exp_fraction, exp_whole, inverse_scale, log2, components, intervals
):
    """Pop x: (N, C) int32. Scratch as in `push`."""
    lane = 0
    channels, count = x.shape[1], len(components)
    for i in range(len(x)):
        for c in range(channels):
            red, green = np.int64(x[i, 0]), np.int64(x[i, min(1, channels - 1)])
            fill_components(
                params[i], c, channels, count, joint, red, green, components, exp_fraction, exp_whole, inverse_scale
            )
            slot = peek(heads, lane, PRECISION_BITS)
            low, start, end = np.int64(0), np.int64(0), np.int64(1 << PRECISION_BITS)
            for shift in range(7, -1, -1):
                middle = low + (1 << shift)
                f = cumulative(middle, count, components, logistic)
                above = f <= slot
                low, start, end = middle if above else low, f if above else start, end if above else f
            n = take(heads, words, n, lane, slot, start, end - start, PRECISION_BITS)
            if n < 0:
                return UNDERFLOW
            lane = lane_after(heads, lane)
            x[i, c] = low
            if joint and c < channels - 1:
                condition_weights(low, count, components, logistic)
    return n


@compiled
def information(x, out, params, joint, logistic, exp_fraction, exp_whole, inverse_scale, log2, components, intervals):
    """Bits of each symbol in 2**-24, into out: (N, C) int64. Scratch as in `push`."""
    for i in range(len(x)):
        if not fill_intervals(
            params[i], x[i], joint, logistic, exp_fraction, exp_whole, inverse_scale, components, intervals
        ):
            return OUTSIDE
        for c in range(x.shape[1]):
            mass = intervals[c, END] - intervals[c, START]
            out[i, c] = (PRECISION_BITS << INFORMATION_BITS) - log2_of(mass, log2)
    return 0
