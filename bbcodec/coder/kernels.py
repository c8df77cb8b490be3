# mypy: allow-untyped-defs, allow-untyped-calls
"""The compiled loops of the coder: rANS fused with the integer cumulative function of each family.

All of them are in this one file because numba's cache notices changes of the file that holds a kernel and of no other.

A kernel gets the coder's heads (uint64), its tail `words` (uint32) of which n are in use, N symbols, parameters with N
rows, and tables. It returns the new n, or a negative number for a failure, after which heads are to be thrown away.
Symbols are pushed last to first and popped first to last; the i-th goes through head i % lanes. An information kernel
writes the bits of each symbol, in 2**-24, into `out`. The three kernels of a family take the same parameters.

All arithmetic is in int64 but for the heads; the comments give the bounds.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, cast

import numba as nb
import numpy as np

from bbcodec.coder.tables import (
    CUMULATIVE_BITS,
    EXP_BITS,
    FRACTION_BITS,
    INVERSE_SCALE_BITS,
    LOG2_BITS,
    LOG_SCALE_MIN,
    LOGISTIC_RANGE,
    NORMAL_RANGE,
    QUANTILES,
)

UNDERFLOW = -1  # the tail was empty when a pop needed a word
OUTSIDE = -2  # a symbol outside the support, or a slot outside the popped interval

HEAD_MIN = 1 << 31  # heads stay in [2**31, 2**63)
INFORMATION_BITS = 24  # information comes in units of 2**-24 bits

Function = Callable[..., Any]

# Without numba's reference counts (`_nrt`): they are atomic and surround every call of a part that takes arrays, which
# made pushes five times slower. So kernels allocate nothing.


def compiled(function: Function) -> Function:
    """A kernel: machine code, cached on disk, that lets other threads run."""
    return cast(Function, nb.njit(nogil=True, cache=True, _nrt=False)(function))


def inlined(function: Function) -> Function:
    """A part of a kernel."""
    return cast(Function, nb.njit(nogil=True, forceinline=True, _nrt=False)(function))


# --- rANS -------------------------------------------------------------------------------------------------------------


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
    """The slot, 0 .. 2**precision - 1, whose symbol a pop would give."""
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
    """The lane of the symbol before, without the cost of a division."""
    return lane - 1 if lane > 0 else len(heads) - 1


@inlined
def lane_after(heads, lane):
    """The lane of the symbol after."""
    return lane + 1 if lane + 1 < len(heads) else 0


@compiled
def push_intervals(heads, words, n, starts, masses, precision):
    """Push intervals as they are. starts, masses: (N,) int64."""
    lane = last_lane(heads, starts.size)
    for i in range(len(starts) - 1, -1, -1):
        n = put(heads, words, n, lane, starts[i], masses[i], precision)
        lane = lane_before(heads, lane)
    return n


@compiled
def pop_intervals(heads, words, n, starts, masses, precision):
    """Pop intervals that the caller knows. starts, masses: (N,) int64."""
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


# --- integer arithmetic -----------------------------------------------------------------------------------------------


@inlined
def clamp(x, low, high):
    """`x` within low..high, as int64."""
    return min(max(np.int64(x), np.int64(low)), np.int64(high))


@compiled
def to_whole(numbers, integers):
    """Convert (N,) floats to int32; whether all of them were whole and within int32."""
    good = True
    for i in range(len(numbers)):
        x = numbers[i]
        inside = (x >= -2147483648.0) & (x < 2147483648.0)  # not so for nan; outside, conversion is undefined
        integers[i] = np.int32(x if inside else 0)
        good &= inside & (integers[i] == x)
    return good


@inlined
def cubic(table, x):
    """A cumulative of `tables`, in 2**-44, at x intervals after the first knot, in 2**-24; clamped to the table.

    The terms are at most 2**38 and t < 2**24, so products stay below 2**62. Each step rounds down by less than a unit
    and the coefficients are rounded by half of one, so values are off by -5 to 2 units. Neighbouring symbols are apart
    by 48 (normal, at 6.25 sigma and the widest sigma) and 148 (logistic) or more, so the cumulative increases.
    """
    x = min(max(x, 0), (len(table) << FRACTION_BITS) - 1)
    i, t = x >> FRACTION_BITS, x & ((1 << FRACTION_BITS) - 1)
    y = table[i, 2] + (table[i, 3] * t >> FRACTION_BITS)
    y = table[i, 1] + (y * t >> FRACTION_BITS)
    return table[i, 0] + (y * t >> FRACTION_BITS)


@inlined
def log2_of(mass, log2):
    """log2 of a whole number from 1 to 2**36 - 1, in 2**-24, within one unit."""
    exponent, rest = 0, mass
    for shift in (32, 16, 8, 4, 2, 1):
        if rest >> shift:
            rest >>= shift
            exponent += shift
    fraction = (mass << (36 - exponent)) - (1 << 36)  # mantissa - 1, 36 bits
    i = fraction >> 24
    value = log2[i] + ((log2[i + 1] - log2[i]) * (fraction & 0xFFFFFF) >> 24)
    return (exponent << INFORMATION_BITS) + ((value + 128) >> (LOG2_BITS - INFORMATION_BITS))


@compiled
def log2_all(numbers, out, log2):
    """log2 of (N,) int64 from 1 to 2**36 - 1, in 2**-24, into out."""
    for i in range(len(numbers)):
        out[i] = log2_of(numbers[i], log2)


# --- Gaussian: mean, log_sigma (N,) int32 in 1/256; steps a unit; bound G; table of log sigma clamps ------------------

GAUSSIAN_BITS = 28
_NORMAL_SHIFT = INVERSE_SCALE_BITS + 8 - 6 - FRACTION_BITS  # 1/256 * 2**-34 -> intervals of 1/64 in 2**-24


@inlined
def gaussian_cumulative(k, mean, inverse, spacing, bound, normal):
    """F(k), for k = -bound .. bound + 1.

    Distances are below 2**13 (in 1/256), inverse sigmas below 2**41. Values are cut to 34 bits before the last product.
    """
    if k <= -bound:
        return np.int64(0)
    if k > bound:
        return np.int64(1 << GAUSSIAN_BITS)
    distance = (2 * k - 1) * spacing - mean
    c = cubic(normal, (distance * inverse >> _NORMAL_SHIFT) + (NORMAL_RANGE << FRACTION_BITS))
    c >>= CUMULATIVE_BITS - 34
    return (c * ((1 << GAUSSIAN_BITS) - (2 * bound + 1)) >> 34) + k + bound


@inlined
def gaussian_row(mean, log_sigma, log_sigma_min, inverse_scale):
    """Clamped mean, inverse sigma (2**-34) and sigma (2**-34)."""
    log_scale = clamp(log_sigma, log_sigma_min, 512)
    return (
        clamp(mean, -2047, 2047),
        inverse_scale[log_scale - LOG_SCALE_MIN],
        inverse_scale[-log_scale - LOG_SCALE_MIN],
    )


@compiled
def gaussian_push(heads, words, n, x, means, log_sigmas, steps, log_sigma_min, normal, inverse_scale, quantile, log2):
    """Push x: (N,) int32."""
    bound, spacing = 8 * steps - 1, 128 // steps
    lane = last_lane(heads, x.size)
    for i in range(len(x) - 1, -1, -1):
        k = np.int64(x[i])
        if k < -bound or k > bound:
            return OUTSIDE
        mean, inverse, _ = gaussian_row(means[i], log_sigmas[i], log_sigma_min, inverse_scale)
        start = gaussian_cumulative(k, mean, inverse, spacing, bound, normal)
        end = gaussian_cumulative(k + 1, mean, inverse, spacing, bound, normal)
        n = put(heads, words, n, lane, start, end - start, GAUSSIAN_BITS)
        lane = lane_before(heads, lane)
    return n


@compiled
def gaussian_pop(heads, words, n, x, means, log_sigmas, steps, log_sigma_min, normal, inverse_scale, quantile, log2):
    """Pop x: (N,) int32. The search begins at a quantile from a coarse table and gallops from there."""
    lane = 0
    bound, spacing = 8 * steps - 1, 128 // steps
    for i in range(len(x)):
        slot = peek(heads, lane, GAUSSIAN_BITS)
        mean, inverse, sigma = gaussian_row(means[i], log_sigmas[i], log_sigma_min, inverse_scale)
        z = quantile[slot * QUANTILES >> GAUSSIAN_BITS]
        k = ((mean + (z * sigma >> (INVERSE_SCALE_BITS + 2))) * steps + 128) >> 8  # z is in 1/1024
        low = clamp(k, -bound, bound)
        start = gaussian_cumulative(low, mean, inverse, spacing, bound, normal)
        if start > slot:
            step, end, high = np.int64(1), start, low
            while start > slot:
                high, end = low, start
                low = max(low - step, -bound)
                start = gaussian_cumulative(low, mean, inverse, spacing, bound, normal)
                step *= 2
        else:
            step, high = np.int64(1), low + 1
            end = gaussian_cumulative(high, mean, inverse, spacing, bound, normal)
            while end <= slot:
                low, start = high, end
                high = min(high + step, bound + 1)
                end = gaussian_cumulative(high, mean, inverse, spacing, bound, normal)
                step *= 2
        while high - low > 1:
            middle = (low + high) >> 1
            c = gaussian_cumulative(middle, mean, inverse, spacing, bound, normal)
            if c <= slot:
                low, start = middle, c
            else:
                high, end = middle, c
        n = take(heads, words, n, lane, slot, start, end - start, GAUSSIAN_BITS)
        if n < 0:
            return UNDERFLOW
        lane = lane_after(heads, lane)
        x[i] = low
    return n


@compiled
def gaussian_information(x, out, means, log_sigmas, steps, log_sigma_min, normal, inverse_scale, quantile, log2):
    """Bits of each symbol in 2**-24, into out: (N,) int64."""
    bound, spacing = 8 * steps - 1, 128 // steps
    for i in range(len(x)):
        k = np.int64(x[i])
        if k < -bound or k > bound:
            return OUTSIDE
        mean, inverse, _ = gaussian_row(means[i], log_sigmas[i], log_sigma_min, inverse_scale)
        start = gaussian_cumulative(k, mean, inverse, spacing, bound, normal)
        end = gaussian_cumulative(k + 1, mean, inverse, spacing, bound, normal)
        out[i] = (GAUSSIAN_BITS << INFORMATION_BITS) - log2_of(end - start, log2)
    return 0


# --- Bernoulli: logits (N,) int32 in 1/128 ----------------------------------------------------------------------------

BERNOULLI_BITS = 24


@inlined
def bernoulli_interval(k, logit, bernoulli):
    """Start and mass of 0 or 1."""
    zero = bernoulli[clamp(logit, -2047, 2047) + 2047]
    return (np.int64(0), zero) if k == 0 else (zero, (1 << BERNOULLI_BITS) - zero)


@compiled
def bernoulli_push(heads, words, n, x, logits, bernoulli, log2):
    """Push x: (N,) int32."""
    lane = last_lane(heads, x.size)
    for i in range(len(x) - 1, -1, -1):
        if x[i] < 0 or x[i] > 1:
            return OUTSIDE
        start, mass = bernoulli_interval(x[i], logits[i], bernoulli)
        n = put(heads, words, n, lane, start, mass, BERNOULLI_BITS)
        lane = lane_before(heads, lane)
    return n


@compiled
def bernoulli_pop(heads, words, n, x, logits, bernoulli, log2):
    """Pop x: (N,) int32."""
    lane = 0
    for i in range(len(x)):
        slot = peek(heads, lane, BERNOULLI_BITS)
        zero = bernoulli[clamp(logits[i], -2047, 2047) + 2047]
        k = np.int64(slot >= zero)
        start = zero * k
        mass = zero + k * ((1 << BERNOULLI_BITS) - 2 * zero)
        n = take(heads, words, n, lane, slot, start, mass, BERNOULLI_BITS)
        if n < 0:
            return UNDERFLOW
        lane = lane_after(heads, lane)
        x[i] = k
    return n


@compiled
def bernoulli_information(x, out, logits, bernoulli, log2):
    """Bits of each symbol in 2**-24, into out: (N,) int64."""
    for i in range(len(x)):
        if x[i] < 0 or x[i] > 1:
            return OUTSIDE
        _, mass = bernoulli_interval(x[i], logits[i], bernoulli)
        out[i] = (BERNOULLI_BITS << INFORMATION_BITS) - log2_of(mass, log2)
    return 0


# --- mixture of logistics: params (N, P) int32, channels C ------------------------------------------------------------

LOGISTIC_BITS = 24
_LOGISTIC_SHIFT = INVERSE_SCALE_BITS + 8 - 4 - FRACTION_BITS  # 1/256 level * 2**-34 -> intervals of 1/16 in 2**-24
_WEIGHT_BITS = 32


@inlined
def mixture_mean(own, correction):
    """Mean of a component in 1/256 level: its own, in 1/32 level from 128, corrected by errors of other channels."""
    return clamp(np.int64(own) * 8 + 128 * 256 + correction, -256 * 256, 512 * 256)


@inlined
def mixture_row(row, c, channels, count, joint, red, green, mixture, exp_fraction, exp_whole, inverse_scale):
    """Into mixture (K, 3): weight (2**-32, summing to one), mean (1/256 level) and inverse scale of each component.

    Exponentials are cut to 2**-29 so that their sum is at most 2**34 for 32 components. Means are below 2**35 before
    they are clamped, errors below 2**18. joint: the weights are those of channel 0, and then what `mixture_learn` made
    of them.
    """
    means = count if joint else channels * count
    scales, coefficients = means + (channels + c) * count, means + 2 * channels * count
    for j in range(count):
        mean = mixture_mean(row[means + j], 0)
        if c > 0:
            red_error = 256 * red - mean
            on_red = clamp(row[coefficients + j], -1023, 1023) * red_error
            mean = mixture_mean(row[means + count + j], on_red >> 8)
            if c > 1:
                on_red = clamp(row[coefficients + count + j], -1023, 1023) * red_error
                on_green = clamp(row[coefficients + 2 * count + j], -1023, 1023) * (256 * green - mean)
                mean = mixture_mean(row[means + 2 * count + j], (on_red + on_green) >> 8)
        mixture[j, 1] = mean
        mixture[j, 2] = inverse_scale[clamp(row[scales + j], -1065, 1408) - LOG_SCALE_MIN]
    if joint and c > 0:
        return
    logits = c * count
    top, total = np.int64(row[logits]), np.int64(0)
    for j in range(1, count):
        top = max(top, np.int64(row[logits + j]))
    for j in range(count):
        below = min(top - row[logits + j], len(exp_whole) * 256 - 1)
        mixture[j, 0] = exp_fraction[below & 255] * exp_whole[below >> 8] >> (2 * EXP_BITS - 29)
        total += mixture[j, 0]
    mixture_normalise(count, mixture, total)


@inlined
def mixture_normalise(count, mixture, total):
    """Weights of sum total, below 2**34, to weights of sum 2**32; at most K + 16 units are left for the first."""
    share, rest = np.int64(np.uint64(1 << 62) // np.uint64(total)), np.int64(1 << _WEIGHT_BITS)
    for j in range(count):
        mixture[j, 0] = mixture[j, 0] * share >> (62 - _WEIGHT_BITS)
        rest -= mixture[j, 0]
    mixture[0, 0] += rest


@inlined
def component_cumulative(k, j, mixture, logistic):
    """The cumulative of component j below k - 1/2, for k = 1 .. 255, in 2**-30; distances are below 2**18."""
    x = ((256 * k - 128 - mixture[j, 1]) * mixture[j, 2] >> _LOGISTIC_SHIFT) + (LOGISTIC_RANGE << FRACTION_BITS)
    return cubic(logistic, x) >> (CUMULATIVE_BITS - 30)


@inlined
def mixture_learn(k, count, mixture, logistic):
    """Weights given that the channel was k: times the mass of k under each component, plus one so that none is lost.

    Weights sum to 2**32 and masses are at most 2**30, so the products sum to less than 2**63, and to 2**32 or more.
    """
    total = np.int64(0)
    for j in range(count):
        end = component_cumulative(k + 1, j, mixture, logistic) if k < 255 else np.int64(1 << 30)
        start = component_cumulative(k, j, mixture, logistic) if k > 0 else np.int64(0)
        mixture[j, 0] *= end - start + 1
        total += mixture[j, 0]
    shift = 0
    while total >> shift >= 1 << 33:
        shift += 1
    total = np.int64(0)
    for j in range(count):
        mixture[j, 0] >>= shift
        total += mixture[j, 0]
    mixture_normalise(count, mixture, total)


@inlined
def mixture_cumulative(k, count, mixture, logistic):
    """F(k), for k = 0 .. 256. Inverse scales are at most 2**40, weighted sums at most 2**62."""
    if k <= 0:
        return np.int64(0)
    if k > 255:
        return np.int64(1 << LOGISTIC_BITS)
    c = np.int64(0)
    for j in range(count):
        c += mixture[j, 0] * component_cumulative(k, j, mixture, logistic)
    return ((c >> 24) * ((1 << LOGISTIC_BITS) - 256) >> (_WEIGHT_BITS + 30 - 24)) + k


@inlined
def mixture_intervals(row, x, count, joint, logistic, exp_fraction, exp_whole, inverse_scale, mixture):
    """Start and end of each channel of a pixel x: (C,), into mixture[K + c, :2]; whether all values can be."""
    channels = len(x)
    for c in range(channels):
        k = np.int64(x[c])
        if k < 0 or k > 255:
            return False
        red, green = np.int64(x[0]), np.int64(x[min(1, channels - 1)])
        mixture_row(row, c, channels, count, joint, red, green, mixture, exp_fraction, exp_whole, inverse_scale)
        mixture[count + c, 0] = mixture_cumulative(k, count, mixture, logistic)
        mixture[count + c, 1] = mixture_cumulative(k + 1, count, mixture, logistic)
        if joint and c < channels - 1:
            mixture_learn(k, count, mixture, logistic)
    return True


@compiled
def mixture_push(heads, words, n, x, params, logistic, exp_fraction, exp_whole, inverse_scale, log2, mixture, joint):
    """Push x: (N, C) int32. mixture: room for (K + C, 3)."""
    channels, count = x.shape[1], len(mixture) - x.shape[1]
    lane = last_lane(heads, x.size)
    for i in range(len(x) - 1, -1, -1):
        if not mixture_intervals(
            params[i], x[i], count, joint, logistic, exp_fraction, exp_whole, inverse_scale, mixture
        ):
            return OUTSIDE
        for c in range(channels - 1, -1, -1):
            start, end = mixture[count + c, 0], mixture[count + c, 1]
            n = put(heads, words, n, lane, start, end - start, LOGISTIC_BITS)
            lane = lane_before(heads, lane)
    return n


@compiled
def mixture_pop(heads, words, n, x, params, logistic, exp_fraction, exp_whole, inverse_scale, log2, mixture, joint):
    """Pop x: (N, C) int32. mixture: as in `mixture_push`."""
    lane = 0
    channels, count = x.shape[1], len(mixture) - x.shape[1]
    for i in range(len(x)):
        for c in range(channels):
            red, green = np.int64(x[i, 0]), np.int64(x[i, min(1, channels - 1)])
            mixture_row(
                params[i], c, channels, count, joint, red, green, mixture, exp_fraction, exp_whole, inverse_scale
            )
            slot = peek(heads, lane, LOGISTIC_BITS)
            low, start, end = np.int64(0), np.int64(0), np.int64(1 << LOGISTIC_BITS)
            for shift in range(7, -1, -1):
                middle = low + (1 << shift)
                f = mixture_cumulative(middle, count, mixture, logistic)
                above = f <= slot
                low, start, end = middle if above else low, f if above else start, end if above else f
            n = take(heads, words, n, lane, slot, start, end - start, LOGISTIC_BITS)
            if n < 0:
                return UNDERFLOW
            lane = lane_after(heads, lane)
            x[i, c] = low
            if joint and c < channels - 1:
                mixture_learn(low, count, mixture, logistic)
    return n


@compiled
def mixture_information(x, out, params, logistic, exp_fraction, exp_whole, inverse_scale, log2, mixture, joint):
    """Bits of each symbol in 2**-24, into out: (N, C) int64. mixture: as in `mixture_push`."""
    channels, count = x.shape[1], len(mixture) - x.shape[1]
    for i in range(len(x)):
        if not mixture_intervals(
            params[i], x[i], count, joint, logistic, exp_fraction, exp_whole, inverse_scale, mixture
        ):
            return OUTSIDE
        for c in range(channels):
            mass = mixture[count + c, 1] - mixture[count + c, 0]
            out[i, c] = (LOGISTIC_BITS << INFORMATION_BITS) - log2_of(mass, log2)
    return 0


# --- explicit tables: cumulatives (N, K + 1) int64 --------------------------------------------------------------------


@compiled
def table_push(heads, words, n, x, cumulatives, precision, log2):
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
def table_pop(heads, words, n, x, cumulatives, precision, log2):
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
def table_information(x, out, cumulatives, precision, log2):
    """Bits of each symbol in 2**-24, into out: (N,) int64."""
    for i in range(len(x)):
        k = x[i]
        if k < 0 or k >= cumulatives.shape[1] - 1:
            return OUTSIDE
        out[i] = (precision << INFORMATION_BITS) - log2_of(cumulatives[i, k + 1] - cumulatives[i, k], log2)
    return 0


# --- uniform: F(k) = k * 2**24 // levels ------------------------------------------------------------------------------

UNIFORM_BITS = 24


@compiled
def uniform_push(heads, words, n, x, levels, log2):
    """Push x: (N,) int32."""
    lane = last_lane(heads, x.size)
    for i in range(len(x) - 1, -1, -1):
        k = np.int64(x[i])
        if k < 0 or k >= levels:
            return OUTSIDE
        start = (k << UNIFORM_BITS) // levels
        n = put(heads, words, n, lane, start, ((k + 1) << UNIFORM_BITS) // levels - start, UNIFORM_BITS)
        lane = lane_before(heads, lane)
    return n


@compiled
def uniform_pop(heads, words, n, x, levels, log2):
    """Pop x: (N,) int32. F(k) <= slot if and only if k * 2**24 < (slot + 1) * levels."""
    lane = 0
    for i in range(len(x)):
        slot = peek(heads, lane, UNIFORM_BITS)
        k = ((slot + 1) * levels - 1) >> UNIFORM_BITS
        start = (k << UNIFORM_BITS) // levels
        end = ((k + 1) << UNIFORM_BITS) // levels
        n = take(heads, words, n, lane, slot, start, end - start, UNIFORM_BITS)
        if n < 0:
            return UNDERFLOW
        lane = lane_after(heads, lane)
        x[i] = k
    return n


@compiled
def uniform_information(x, out, levels, log2):
    """Bits of each symbol in 2**-24, into out: (N,) int64."""
    for i in range(len(x)):
        k = np.int64(x[i])
        if k < 0 or k >= levels:
            return OUTSIDE
        start, end = (k << UNIFORM_BITS) // levels, ((k + 1) << UNIFORM_BITS) // levels
        out[i] = (UNIFORM_BITS << INFORMATION_BITS) - log2_of(end - start, log2)
    return 0
