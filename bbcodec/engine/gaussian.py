# mypy: allow-untyped-defs, allow-untyped-calls
"""Normals on a grid, as `bbcodec.distributions.gaussian.Gaussian` codes them: the distribution of latents.

Parameters of a pixel are its means (C) and its log sigmas (C), in 1/256. Symbols are in the order that
`bbcodec.engine.logistic` gives to those of a mixture. The arithmetic is that of `bbcodec.coder.kernels`, in int64.
"""

from __future__ import annotations

import math
from typing import Any, Final, NamedTuple

import numpy as np
import numpy.typing as npt

from bbcodec.coder.tables import (
    CUMULATIVE_BITS,
    FRACTION_BITS,
    INVERSE_SCALE,
    INVERSE_SCALE_BITS,
    LOG_SCALE_MIN,
    NORMAL,
    NORMAL_RANGE,
    QUANTILE,
    QUANTILES,
)
from bbcodec.coder.vectors import LANES
from bbcodec.engine.compiling import inlined, part
from bbcodec.engine.rans import OUTSIDE, UNDERFLOW, slot_of, take

PRECISION: Final = 28  # bits
MEAN_BOUND: Final = 2047
LOG_SIGMA_MAX: Final = 512
_SHIFT: Final = INVERSE_SCALE_BITS + 8 - 6 - FRACTION_BITS  # 1/256 * 2**-34 -> intervals of 1/64 in 2**-24

Table = npt.NDArray[np.int64]


class Gaussian(NamedTuple):
    """What compiled code is told of latents. Make it with `gaussian`."""

    channels: int
    size: int  # parameters of a pixel
    precision: int
    lowest: int  # of the values
    bound: int  # values are -bound .. bound
    spacing: int  # half a step of the grid, 1/256
    steps: int  # a unit
    log_sigma_min: int
    normal: Table
    inverse_scale: Table
    quantile: Table


def gaussian(channels: int, steps_per_unit: int) -> Gaussian:
    """Latents of some channels. Raises ValueError for a steps_per_unit that is not a power of two between 1 and 64."""
    if steps_per_unit not in (1, 2, 4, 8, 16, 32, 64):
        raise ValueError(f"steps_per_unit is {steps_per_unit!r}, expected a power of two between 1 and 64")
    least = round(256 * math.log(0.75 / steps_per_unit))
    bound, spacing = 8 * steps_per_unit - 1, 128 // steps_per_unit
    tables = NORMAL, INVERSE_SCALE, QUANTILE
    return Gaussian(channels, 2 * channels, PRECISION, -bound, bound, spacing, steps_per_unit, least, *tables)


class Normal(NamedTuple):
    """One normal: its mean, inverse sigma and sigma."""

    mean: Any  # int64, as the next two: 1/256
    inverse: Any  # 2**-34
    sigma: Any  # 2**-34


@inlined
def normal_of(family, params, pixel, c):
    """The normal of a channel of a pixel."""
    mean = min(max(np.int64(params[pixel, c]), -MEAN_BOUND), MEAN_BOUND)
    log_sigma = min(max(np.int64(params[pixel, family.channels + c]), family.log_sigma_min), LOG_SIGMA_MAX)
    tables = family.inverse_scale
    return Normal(mean, tables[log_sigma - LOG_SCALE_MIN], tables[-log_sigma - LOG_SCALE_MIN])


@part
def start_of(family, normal, k):
    """F(k), for k = -bound .. bound + 1; the bounds are those of `bbcodec.kernels.gaussian_cumulative`."""
    if k <= -family.bound:
        return np.int64(0)
    if k > family.bound:
        return np.int64(1 << PRECISION)
    x = (((2 * k - 1) * family.spacing - normal.mean) * normal.inverse >> _SHIFT) + (NORMAL_RANGE << FRACTION_BITS)
    x = min(max(x, 0), (len(family.normal) << FRACTION_BITS) - 1)
    i, t = x >> FRACTION_BITS, x & ((1 << FRACTION_BITS) - 1)
    y = family.normal[i, 2] + (family.normal[i, 3] * t >> FRACTION_BITS)
    y = family.normal[i, 1] + (y * t >> FRACTION_BITS)
    c = family.normal[i, 0] + (y * t >> FRACTION_BITS)
    c >>= CUMULATIVE_BITS - 34
    return (c * ((1 << PRECISION) - (2 * family.bound + 1)) >> 34) + k + family.bound


@part
def note(family, params, order, count, values, room, starts, masses, position):
    """As `logistic.note`."""
    for first in range(0, count, LANES):
        for c in range(family.channels):
            for i in range(first, min(first + LANES, count)):
                k, normal = np.int64(values[order[i], c]), normal_of(family, params, order[i], c)
                if k < -family.bound or k > family.bound:
                    return np.int64(OUTSIDE)
                start = start_of(family, normal, k)
                starts[position] = start
                masses[position] = start_of(family, normal, k + 1) - start
                position += 1
    return position


@part
def find(family, normal, slot):
    """The value whose interval holds the slot: from a quantile of a coarse table, by steps that double, then halve."""
    z = family.quantile[slot * QUANTILES >> PRECISION]  # 1/1024 sigma
    k = ((normal.mean + (z * normal.sigma >> (INVERSE_SCALE_BITS + 2))) * family.steps + 128) >> 8
    low = min(max(k, -family.bound), family.bound)
    high, step = low + 1, np.int64(1)
    while start_of(family, normal, low) > slot:
        high, low = low, max(low - step, -family.bound)
        step *= 2
    while start_of(family, normal, high) <= slot:
        low, high = high, min(high + step, family.bound + 1)
        step *= 2
    while high - low > 1:
        middle = (low + high) >> 1
        if start_of(family, normal, middle) <= slot:
            low = middle
        else:
            high = middle
    return low


@part
def pop_pixels(family, heads, words, n, params, order, count, values, room):
    """As `logistic.pop_pixels`."""
    lane = 0
    for first in range(0, count, LANES):
        for c in range(family.channels):
            for i in range(first, min(first + LANES, count)):
                normal, slot = normal_of(family, params, order[i], c), np.int64(slot_of(heads, lane, PRECISION))
                k = find(family, normal, slot)
                start = start_of(family, normal, k)
                n = take(heads, words, n, lane, slot, start, start_of(family, normal, k + 1) - start, PRECISION)
                if n < 0:
                    return np.int64(UNDERFLOW)
                lane = lane + 1 if lane + 1 < len(heads) else 0
                values[order[i], c] = k
    return n
