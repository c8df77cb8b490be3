# mypy: allow-untyped-defs, allow-untyped-calls
"""The mixture of logistics in 32-bit integers, for sixteen pixels at a time.

Parameters and their meaning are those of `bbcodec.distributions.logistic.LogisticMixture`. The coded integers:

- weights w_j of 12 bits, 1 or more, whose sum is 2**12;
- x = (d * m) >> e, the distance d = 256 k - 128 - mean in 1/256 level as 2**-14 scales, m * 2**-e the inverse scale;
- C_j(x), the cumulative of a component below k - 1/2, in 2**-20 and below 2**20 - 1: linear between knots 1/64 scale
  apart, from -16 to 16 scales;
- F(k) = sum w_j C_j < 2**32, and with g = F >> 8:

      start(k) = g - (g >> 16) + k  for k = 1 .. 255,    start(0) = 0,    start(256) = 2**24

Promises: (1) start increases with k, as g - (g >> 16) never decreases; (2) so every mass is 1 or more and masses sum to
2**24; (3) a mass is that of the log-probability but for the rounding of weights to 2**-12 and of cumulatives to 2**-20.

Within a push, pixels are taken in groups of sixteen (the last may be smaller), in a group channel by channel, of a
channel pixel by pixel. Symbol i of the push goes through head i % lanes; with sixteen lanes, a group's symbols of one
channel are in different heads and are found together.
"""

from __future__ import annotations

import hashlib
import math
from itertools import pairwise
from typing import Final, NamedTuple

import numpy as np
import numpy.typing as npt

from bbcodec.engine.compiling import address, compiled, inlined, part
from bbcodec.engine.rans import OUTSIDE, PRECISION, UNDERFLOW, put_all, slot_of, take
from bbcodec.engine.vectors import (
    LANES,
    gather,
    greatest,
    leading_zeros,
    load,
    quotient,
    select,
    shift_logical,
    smallest,
    spread,
    store,
    transpose,
)
from bbcodec.errors import InexactArithmetic

DIGEST: Final = "d68e1f067d5dbbbac2acfdce6076686a"

KNOTS: Final = 64  # a scale
RANGE: Final = 16  # scales on each side, beyond which the logistic has less than 2**-23
X_BITS: Final = 14  # x is in 2**-14 scales
FRACTION_BITS: Final = 8  # of x, below a knot
CUMULATIVE_BITS: Final = 20
SLOPE_BITS: Final = 12
WEIGHT_BITS: Final = 12
OCTAVE: Final = 256  # entries of POWERS
POWER_BITS: Final = 16
NAT: Final = 23637  # 2**14 log2(e): from nats to octaves
LOG_SCALE_MIN, LOG_SCALE_MAX = -1065, 1408  # 1/256 nat
COEFFICIENT_BOUND: Final = 1023
MEAN_MIN, MEAN_MAX = -256 * 256, 512 * 256  # 1/256 level

_POINT: Final = 128
_ONE: Final = 1 << _POINT

Table = npt.NDArray[np.int32]


def _powers() -> Table:
    """2**(-i / 256) in 2**-16, i = 0..255: by square roots of one half."""
    root = _ONE >> 1
    for _ in range(OCTAVE.bit_length() - 1):
        root = math.isqrt(root << _POINT)
    exact, powers = _ONE, []
    for _ in range(OCTAVE):
        powers.append((exact + (1 << _POINT - POWER_BITS - 1)) >> _POINT - POWER_BITS)
        exact = exact * root >> _POINT
    return np.array(powers, np.int32)


def _cumulative() -> Table:
    """The logistic cumulative at knots -1024 .. 1023: its value shifted up by 12, and the rise to the next knot.

    The total is 2**20 - 2, so that the middle is whole. Rises are at most 2**12 - 1, where the steepest would be 4,096.
    """
    total, slope_max = (1 << CUMULATIVE_BITS) - 2, (1 << SLOPE_BITS) - 1
    ratio, term, n = 0, _ONE, 0  # exp(-1 / 64), by its series
    while term not in (0, -1):
        ratio += term
        n += 1
        term = -term // (KNOTS * n)
    upper, power = [total >> 1], _ONE
    for _ in range(RANGE * KNOTS):
        power = power * ratio >> _POINT
        upper.append(min((2 * total * _ONE // (_ONE + power) + 1) >> 1, upper[-1] + slope_max))
    values = [total - value for value in upper[:0:-1]] + upper
    words = [low << SLOPE_BITS | high - low for low, high in pairwise(values)]
    return np.array(words, np.uint32).view(np.int32)


POWERS: Final = _powers()
CUMULATIVE: Final = _cumulative()


def digest() -> str:
    """BLAKE2b-128 of the tables as little-endian int32, in hexadecimal."""
    tables = (POWERS, CUMULATIVE)
    return hashlib.blake2b(b"".join(t.astype("<i4").tobytes() for t in tables), digest_size=16).hexdigest()


if digest() != DIGEST:
    raise InexactArithmetic(f"the logistic tables have digest {digest()}, expected {DIGEST}: nothing can be coded here")


class Mixture(NamedTuple):
    """What compiled code is told of a mixture. Make it with `mixture`."""

    channels: int
    components: int
    joint: bool
    size: int  # parameters of a pixel
    rows: int  # as many, rounded up to a multiple of 16
    powers: Table
    cumulative: Table


def mixture(channels: int, components: int, joint: bool = False) -> Mixture:
    """The mixture of `components` logistics (1 to 32) for pixels of 1 or 3 channels; joint as in LogisticMixture.

    Raises ValueError for other numbers.
    """
    if channels not in (1, 3) or not 1 <= components <= 32:
        raise ValueError(f"expected 1 or 3 channels and 1 to 32 components, got {channels} and {components}")
    joint = joint and channels > 1
    size = components * (3 if channels == 1 else 10 if joint else 12)
    return Mixture(channels, components, joint, size, -(-size // LANES) * LANES, POWERS, CUMULATIVE)


def room(family: Mixture) -> Table:
    """Memory that coding with a mixture works in; one for each thread."""
    return np.zeros((family.rows + _KINDS * family.components + _SINGLE, LANES), np.int32)


# Rows of a room: the parameters, then K rows each of the first line, then one each of the second.
_DISTANCE, _MANTISSA, _SHIFT, _WEIGHT, _RED_ERROR, _GREEN_ERROR, _KINDS = range(7)
_SLOT, _START, _END, _VALUE, _SINGLE = range(5)


@inlined
def row(memory, i):
    """Row i of a room."""
    return load(memory, LANES * i)


@inlined
def place(family, what, j):
    """Which row of a room holds `what` of component j."""
    return family.rows + what * family.components + j


@inlined
def single(family, what):
    """Which row of a room holds `what`."""
    return family.rows + _KINDS * family.components + what


@inlined
def clamp(x, low, high):
    """Each lane within low..high."""
    return smallest(greatest(x, np.int32(low)), np.int32(high))


@inlined
def octaves(x):
    """1/256 nat as 1/256 octave."""
    return (x * np.int32(NAT) + np.int32(1 << 13)) >> np.int32(14)


@part
def prepare(family, memory, c):
    """Components of channel c from its parameters and the errors of the channels before. |parameters| < 2**24.

    Means are below 2**28 before they are clamped: 8 * 2**24 and twice 1023 * 2**17 / 2**8.
    """
    count = family.components
    means = count if family.joint else family.channels * count
    scales, coefficients = means + (family.channels + c) * count, means + 2 * family.channels * count
    for j in range(count):
        mean = (row(memory, means + c * count + j) << np.int32(3)) + np.int32(128 * 256)
        if c > 0:
            first = coefficients + (c - 1) * count + j
            change = clamp(row(memory, first), -COEFFICIENT_BOUND, COEFFICIENT_BOUND)
            change = change * row(memory, place(family, _RED_ERROR, j))
            if c > 1:
                second = clamp(row(memory, first + count), -COEFFICIENT_BOUND, COEFFICIENT_BOUND)
                change = change + second * row(memory, place(family, _GREEN_ERROR, j))
            mean = mean + (change >> np.int32(8))
        mean = clamp(mean, MEAN_MIN, MEAN_MAX)
        store(memory, LANES * place(family, _DISTANCE, j), np.int32(-128) - mean)
        t = octaves(clamp(row(memory, scales + j), LOG_SCALE_MIN, LOG_SCALE_MAX))
        mantissa = gather(family.powers, t & np.int32(OCTAVE - 1)) >> np.int32(POWER_BITS - 13)
        store(memory, LANES * place(family, _MANTISSA, j), mantissa)
        # 2**6 levels a unit of x, by 13 bits of the mantissa; the scale is at least 2**-7 levels
        store(memory, LANES * place(family, _SHIFT, j), (t >> np.int32(8)) + np.int32(13 - (X_BITS - 8)))
    if c == 0 or not family.joint:
        weigh_logits(family, memory, c * count)


@inlined
def weigh_logits(family, memory, logits):
    """Weights from the logits in rows `logits` and on."""
    top = row(memory, logits)
    for j in range(1, family.components):
        top = greatest(top, row(memory, logits + j))
    total = spread(np.int32(0))
    for j in range(family.components):
        t = octaves(smallest(top - row(memory, logits + j), np.int32(4095)))
        e = gather(family.powers, t & np.int32(OCTAVE - 1)) >> (t >> np.int32(8))
        total = total + e
        store(memory, LANES * place(family, _WEIGHT, j), e)
    weigh(family, memory, total, spread(np.int32(1 << POWER_BITS)))


@inlined
def weigh(family, memory, total, top):
    """Weights of 12 bits from numbers of sum `total`, 2**15 .. 2**21, the greatest of which is `top`.

    What is over or lacking is at most K / 2 + 1 and K, and falls to the greatest, or the first of these, which is at
    least 2**12 / K.
    """
    share = quotient(spread(np.int32(1 << 30)), total)
    rest, chosen = spread(np.int32(1 << WEIGHT_BITS)), spread(np.int32(-1))
    for j in range(family.components - 1, -1, -1):
        e = row(memory, place(family, _WEIGHT, j))
        x = e * share
        w = greatest((x + np.int32(1 << 17)) >> np.int32(18), smallest(x >> np.int32(15), np.int32(1)))
        chosen = select(e == top, np.int32(j), chosen)
        rest = rest - w
        store(memory, LANES * place(family, _WEIGHT, j), w)
    for j in range(family.components):
        at = place(family, _WEIGHT, j)
        store(memory, LANES * at, row(memory, at) + select(chosen == np.int32(j), rest, np.int32(0)))


@inlined
def component(family, memory, j, k):
    """C_j below k - 1/2. Distances are within +-2**17 + 128 and mantissas at most 2**13."""
    x = ((k << np.int32(8)) + row(memory, place(family, _DISTANCE, j))) * row(memory, place(family, _MANTISSA, j))
    x = x >> row(memory, place(family, _SHIFT, j))
    x = clamp(x, -(RANGE << X_BITS), (RANGE << X_BITS) - 1) + np.int32(RANGE << X_BITS)
    word = gather(family.cumulative, x >> np.int32(FRACTION_BITS))
    rise = (word & np.int32((1 << SLOPE_BITS) - 1)) * (x & np.int32((1 << FRACTION_BITS) - 1))
    return shift_logical(word, np.int32(SLOPE_BITS)) + (rise >> np.int32(FRACTION_BITS))


@inlined
def start_of(family, memory, k):
    """start(k) for k = 1 .. 255."""
    f = spread(np.int32(0))
    for j in range(family.components):
        f = f + row(memory, place(family, _WEIGHT, j)) * component(family, memory, j, k)
    g = shift_logical(f, np.int32(8))
    return g - (g >> np.int32(16)) + k


@part
def bisect(family, memory):
    """Values whose intervals hold the slots; their starts and ends go to the room."""
    slot = row(memory, single(family, _SLOT))
    low, start, end = spread(np.int32(0)), spread(np.int32(0)), spread(np.int32(1 << PRECISION))
    for bit in range(7, -1, -1):
        middle = low + np.int32(1 << bit)
        f = start_of(family, memory, middle)
        below = slot < f
        low = select(below, low, middle)
        start = select(below, start, f)
        end = select(below, f, end)
    store(memory, LANES * single(family, _START), start)
    store(memory, LANES * single(family, _END), end)
    return low


@part
def locate(family, memory, k):
    """Starts and ends of the values k, to the room."""
    start = select(k == np.int32(0), np.int32(0), start_of(family, memory, k))
    end = select(k == np.int32(255), np.int32(1 << PRECISION), start_of(family, memory, k + np.int32(1)))
    store(memory, LANES * single(family, _START), start)
    store(memory, LANES * single(family, _END), end)


@part
def learn(family, memory, c, k):
    """Keep the errors of channel c, whose values are k; of a joint mixture, weigh the components by what k tells.

    w_j times the mass of k under component j, 1 .. 2**20 - 1, is below 2**32. The greatest is 2**7 or more.
    """
    for j in range(family.components):
        error = (k << np.int32(8)) + np.int32(128) + row(memory, place(family, _DISTANCE, j))
        store(memory, LANES * place(family, _RED_ERROR + c, j), error)
    if family.joint:
        top = spread(np.int32(0))
        for j in range(family.components):
            below = select(k == np.int32(0), np.int32(0), component(family, memory, j, k))
            above = component(family, memory, j, k + np.int32(1))
            above = select(k == np.int32(255), np.int32((1 << CUMULATIVE_BITS) - 1), above)
            mass = greatest(above - below, np.int32(1))
            at = LANES * place(family, _WEIGHT, j)
            likely = shift_logical(load(memory, at) * mass, np.int32(1))
            top = greatest(top, likely)
            store(memory, at, likely)
        up, total, most = leading_zeros(top) - np.int32(1), spread(np.int32(0)), spread(np.int32(0))
        for j in range(family.components):
            at = LANES * place(family, _WEIGHT, j)
            e = (load(memory, at) << up) >> np.int32(15)
            total = total + e
            most = greatest(most, e)
            store(memory, at, e)
        weigh(family, memory, total, most)


@part
def turn(family, params, order, first, count, memory):
    """Parameters of `count` pixels from the `first` of `order` on, to columns of the room."""
    for p in range(0, family.rows, LANES):
        transpose(
            address(params) + 4 * p,
            np.int64(params.shape[1] * 4),
            address(order) + 8 * first,
            np.int64(count - 1),
            memory,
            np.int64(LANES * p),
        )


@part
def note(family, params, order, count, values, memory, starts, masses, position):
    """Intervals of `count` pixels, to starts and masses from `position` on; where they end, or OUTSIDE.

    params: (N, P or more) int32; order: which rows, in the order of coding; values: (N, C) int32.
    """
    for first in range(0, count, LANES):
        pixels = min(LANES, count - first)
        turn(family, params, order, first, pixels, memory)
        for c in range(family.channels):
            prepare(family, memory, c)
            for i in range(LANES):
                value = values[order[first + min(i, pixels - 1)], c]
                if value < 0 or value > 255:
                    return np.int64(OUTSIDE)
                memory[single(family, _SLOT), i] = value
            k = row(memory, single(family, _SLOT))
            locate(family, memory, k)
            start, end = single(family, _START), single(family, _END)
            for i in range(pixels):
                starts[position + i] = memory[start, i]
                masses[position + i] = memory[end, i] - memory[start, i]
            position += pixels
            if c + 1 < family.channels:
                learn(family, memory, c, k)
    return position


@part
def pop_pixels(family, heads, words, n, params, order, count, values, memory):
    """Pop `count` pixels into `values`; arguments as for `note`. Returns the new n, or UNDERFLOW."""
    lanes, lane = len(heads), np.int64(0)
    slot, start, end = single(family, _SLOT), single(family, _START), single(family, _END)
    for first in range(0, count, LANES):
        pixels = min(LANES, count - first)
        turn(family, params, order, first, pixels, memory)
        for c in range(family.channels):
            prepare(family, memory, c)
            done = np.int64(0)
            while done < pixels:  # as many at a time as there are heads
                some = min(lanes, pixels - done)
                here = lane
                for i in range(done, done + some):
                    memory[slot, i] = slot_of(heads, here)
                    here = here + 1 if here + 1 < lanes else np.int64(0)
                store(memory, LANES * single(family, _VALUE), bisect(family, memory))
                for i in range(done, done + some):
                    s = memory[start, i]
                    n = take(heads, words, n, lane, memory[slot, i], s, memory[end, i] - s)
                    if n < 0:
                        return np.int64(UNDERFLOW)
                    lane = lane + 1 if lane + 1 < lanes else np.int64(0)
                    values[order[first + i], c] = memory[single(family, _VALUE), i]
                done += some
            if c + 1 < family.channels:
                for i in range(LANES):
                    memory[slot, i] = values[order[first + min(i, pixels - 1)], c]
                learn(family, memory, c, row(memory, slot))
    return n


@compiled
def mixture_intervals(kernels, family, params, order, values, memory, starts, masses):
    """Starts and masses (N C,) int32, in the order of coding, of values (N, C); how many, or OUTSIDE."""
    return note(family, params, order, len(order), values, memory, starts, masses, np.int64(0))


@compiled
def mixture_push(kernels, heads, words, n, values, family, params, order, memory, starts, masses):
    """Push values (N, C) int32; starts and masses: room for N C numbers."""
    end = note(family, params, order, len(order), values, memory, starts, masses, np.int64(0))
    if end < 0:
        return end
    return put_all(heads, words, n, starts, masses, 0, end)


@compiled
def mixture_pop(kernels, heads, words, n, values, family, params, order, memory):
    """Pop values (N, C) int32."""
    return pop_pixels(family, heads, words, n, params, order, len(order), values, memory)
