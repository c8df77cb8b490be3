# mypy: allow-untyped-defs, allow-untyped-calls
"""Zeros and ones, as `bbcodec.distributions.bernoulli.Bernoulli` codes them: a logit in 1/128 nat for each symbol.

Symbols are in the order that `bbcodec.engine.logistic` gives to those of a mixture.
"""

from __future__ import annotations

from typing import Final, NamedTuple

import numpy as np
import numpy.typing as npt

from bbcodec.coder.tables import BERNOULLI
from bbcodec.coder.vectors import LANES
from bbcodec.engine.compiling import inlined, part
from bbcodec.engine.rans import OUTSIDE, UNDERFLOW, slot_of, take

PRECISION: Final = 24  # bits
LOGIT_BOUND: Final = 2047


class Bernoulli(NamedTuple):
    """What compiled code is told of pixels of two levels. Make it with `bernoulli`."""

    channels: int
    size: int  # parameters of a pixel
    precision: int
    lowest: int  # of the values
    zero: npt.NDArray[np.int32]  # mass of a zero by logit + 2047


def bernoulli(channels: int) -> Bernoulli:
    """Pixels of 1 or 3 channels, each with a logit of its own."""
    return Bernoulli(channels, channels, PRECISION, 0, BERNOULLI.astype(np.int32))


@inlined
def zero_of(family, logit):
    """The mass of a zero."""
    return family.zero[min(max(logit, -LOGIT_BOUND), LOGIT_BOUND) + LOGIT_BOUND]


@part
def note(family, params, order, count, values, room, starts, masses, position):
    """As `logistic.note`."""
    for first in range(0, count, LANES):
        for c in range(family.channels):
            for i in range(first, min(first + LANES, count)):
                zero, value = zero_of(family, params[order[i], c]), values[order[i], c]
                if value < 0 or value > 1:
                    return np.int64(OUTSIDE)
                starts[position] = zero * value
                masses[position] = zero + value * ((1 << PRECISION) - 2 * zero)
                position += 1
    return position


@part
def pop_pixels(family, heads, words, n, params, order, count, values, room):
    """As `logistic.pop_pixels`."""
    lane = 0
    for first in range(0, count, LANES):
        for c in range(family.channels):
            for i in range(first, min(first + LANES, count)):
                zero, slot = zero_of(family, params[order[i], c]), slot_of(heads, lane, PRECISION)
                value = np.int32(slot >= zero)
                mass = zero + value * ((1 << PRECISION) - 2 * zero)
                n = take(heads, words, n, lane, slot, zero * value, mass, PRECISION)
                if n < 0:
                    return np.int64(UNDERFLOW)
                lane = lane + 1 if lane + 1 < len(heads) else 0
                values[order[i], c] = value
    return n
