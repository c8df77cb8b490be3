# mypy: allow-untyped-defs, allow-untyped-calls
"""Integer arithmetic that the families share: clamps, cubic cumulatives, logarithms."""

from __future__ import annotations

import numpy as np

from bbcodec.coder.compilation import compiled, inlined
from bbcodec.coder.tables import FRACTION_BITS, LOG2_BITS

INFORMATION_BITS = 24  # information comes in units of 2**-24 bits


@inlined
def clamp(x, low, high):
    """`x` within low..high, as int64."""
    return min(max(np.int64(x), np.int64(low)), np.int64(high))


@compiled
def to_whole(numbers, integers):
    """Convert (N,) floats to int32. Returns whether all were whole and within int32."""
    good = True
    for i in range(len(numbers)):
        x = numbers[i]
        inside = (x >= -2147483648.0) & (x < 2147483648.0)  # False for nan; outside, conversion is undefined
        integers[i] = np.int32(x if inside else 0)
        good &= inside & (integers[i] == x)
    return good


@inlined
def cubic(table, x):
    """A cumulative of `tables`, in 2**-44, at x intervals after the first knot, in 2**-24; clamped to the table.

    The terms are at most 2**38 and t < 2**24, so products stay below 2**62. Each step rounds down by less than a unit
    and the coefficients are rounded by half of one, so values are off by -5 to 2 units. Neighbouring symbols are
    at least 48 (normal, at 6.25 sigma and the widest sigma) and 148 (logistic) apart, so the cumulative increases.
    """
    x = min(max(x, 0), (len(table) << FRACTION_BITS) - 1)
    i, t = x >> FRACTION_BITS, x & ((1 << FRACTION_BITS) - 1)
    y = table[i, 2] + (table[i, 3] * t >> FRACTION_BITS)
    y = table[i, 1] + (y * t >> FRACTION_BITS)
    return table[i, 0] + (y * t >> FRACTION_BITS)


@inlined
def log2_of(mass, log2):
    """log2 of a whole number from 1 to 2**36 - 1, in 2**-24, within one unit."""
    bits = np.float64(mass).view(np.int64)  # which holds it exactly: 11 bits of exponent, 52 of mantissa - 1
    exponent = (bits >> 52) - 1023
    fraction = (bits & ((1 << 52) - 1)) >> 16  # 36 bits; the others are zero
    i = fraction >> 24
    value = log2[i] + ((log2[i + 1] - log2[i]) * (fraction & 0xFFFFFF) >> 24)
    return (exponent << INFORMATION_BITS) + ((value + 128) >> (LOG2_BITS - INFORMATION_BITS))


@compiled
def log2_all(numbers, out, log2):
    """log2 of (N,) int64 from 1 to 2**36 - 1, in 2**-24, into out."""
    for i in range(len(numbers)):
        out[i] = log2_of(numbers[i], log2)
