# mypy: allow-untyped-defs, allow-untyped-calls
"""The mixture of logistics in 32-bit integers, for sixteen pixels at a time.

Parameters and their meaning are those of `bbcodec.distributions.logistic.LogisticMixture`. The coded integers:

- weights w_j of 12 bits, whose sum is 2**12; one is 1 or more if it would be 2**-15 of the sum or more, else 0;
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

from bbcodec.coder.vector_memory import gather, load, store, transpose
from bbcodec.coder.vectors import (
    LANES,
    clamp,
    greatest,
    leading_zeros,
    quotient,
    select,
    shift_logical,
    smallest,
    spread,
)
from bbcodec.engine.compiling import address, compiled, inlined, part
from bbcodec.engine.rans import OUTSIDE, UNDERFLOW, put_all, slot_of, take
from bbcodec.errors import InexactArithmetic

DIGEST: Final = "d68e1f067d5dbbbac2acfdce6076686a"

PRECISION: Final = 24  # bits
KNOTS: Final = 64  # a scale
RANGE: Final = 16  # scales on each side, beyond which the logistic has less than 2**-23
X_BITS: Final = 14  # x is in 2**-14 scales
FRACTION_BITS: Final = 8  # of x, below a knot
CUMULATIVE_BITS: Final = 20
SLOPE_BITS: Final = 12
WEIGHT_BITS: Final = 12
OCTAVE: Final = 256  # entries of POWERS
POWER_BITS: Final = 16
MANTISSA_BITS: Final = 13
NAT: Final = 23637  # 2**14 log2(e): from nats to octaves
PARAMETER_BOUND: Final = 2**24 - 1
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
    precision: int
    lowest: int  # of the values
    powers: Table
    cumulative: Table


class Room(NamedTuple):
    """Memory that coding with a mixture works in, sixteen pixels side by side; one for each thread."""

    params: Table  # (parameters, rounded up to a multiple of 16; 16)
    distance: Table  # (components, 16), as the next three: -128 - mean, 1/256 level
    mantissa: Table  # of the inverse scale, 13 bits
    shift: Table
    weight: Table
    error: Table  # (2 components, 16): of the first channel and of the second, under each component
    slot: Table  # (16,), as the next three
    start: Table
    end: Table
    value: Table


def mixture(channels: int, components: int, joint: bool = False) -> Mixture:
    """The mixture of `components` logistics (1 to 32) for pixels of 1 or 3 channels; joint as in LogisticMixture.

    Raises ValueError for other numbers.
    """
    if channels not in (1, 3) or not 1 <= components <= 32:
        raise ValueError(f"expected 1 or 3 channels and 1 to 32 components, got {channels} and {components}")
    joint = joint and channels > 1
    size = components * (3 if channels == 1 else 10 if joint else 12)
    return Mixture(channels, components, joint, size, PRECISION, 0, POWERS, CUMULATIVE)


def room(family: Mixture) -> Room:
    """Memory to work in."""
    count = family.components
    rows = (-(-family.size // LANES) * LANES, count, count, count, count, 2 * count)
    return Room(*(np.zeros((n, LANES), np.int32) for n in rows), *(np.zeros(LANES, np.int32) for _ in range(4)))


@inlined
def octaves(x):
    """1/256 nat as 1/256 octave."""
    return (x * NAT + (1 << 13)) >> 14


@part
def prepare(family, room, c):
    """Components of channel c from its parameters, at most PARAMETER_BOUND, and the errors of the channels before.

    Means are below 2**28 before they are clamped: 8 * 2**24 and twice 1023 * 2**17 / 2**8.
    """
    count, params = family.components, room.params
    means = count if family.joint else family.channels * count
    scales, coefficients = means + (family.channels + c) * count, means + (2 * family.channels + max(c - 1, 0)) * count
    for j in range(count):
        mean = (load(params, means + c * count + j) << 3) + 128 * 256
        if c > 0:
            change = clamp(load(params, coefficients + j), -COEFFICIENT_BOUND, COEFFICIENT_BOUND) * load(room.error, j)
            if c > 1:
                second = clamp(load(params, coefficients + count + j), -COEFFICIENT_BOUND, COEFFICIENT_BOUND)
                change = change + second * load(room.error, count + j)
            mean = mean + (change >> 8)
        store(room.distance, j, -128 - clamp(mean, MEAN_MIN, MEAN_MAX))
        t = octaves(clamp(load(params, scales + j), LOG_SCALE_MIN, LOG_SCALE_MAX))
        store(room.mantissa, j, gather(family.powers, t & (OCTAVE - 1)) >> (POWER_BITS - MANTISSA_BITS))
        # 2**6 units of x are a level at scale 1; the least scale is above 2**-7, so shifts are 0 or more
        store(room.shift, j, (t >> 8) + (MANTISSA_BITS - (X_BITS - 8)))
    if c == 0 or not family.joint:
        weigh_logits(family, room, c * count)


@part
def weigh_logits(family, room, logits):
    """Weights from the logits in rows `logits` and on of the parameters."""
    top, total = load(room.params, logits), spread(0)
    for j in range(1, family.components):
        top = greatest(top, load(room.params, logits + j))
    for j in range(family.components):
        t = octaves(smallest(top - load(room.params, logits + j), 4095))
        e = gather(family.powers, t & (OCTAVE - 1)) >> (t >> 8)
        total = total + e
        store(room.weight, j, e)
    weigh(family, room, total, spread(1 << POWER_BITS))


@part
def weigh(family, room, total, top):
    """Weights of 12 bits from numbers of sum `total`, 2**15 .. 2**21, the greatest of which is `top`.

    Less than half a unit becomes one, less than an eighth none. What is lacking or over falls to the greatest (the
    first of these), which has 2**12 / K or more; it is less than 2 K.
    """
    share, rest, chosen = quotient(spread(1 << 30), total), spread(1 << WEIGHT_BITS), spread(-1)
    for j in range(family.components - 1, -1, -1):
        e = load(room.weight, j)
        x = e * share  # in 2**-30
        w = greatest((x + (1 << 17)) >> 18, smallest(x >> 15, 1))
        chosen = select(e == top, j, chosen)
        rest = rest - w
        store(room.weight, j, w)
    for j in range(family.components):
        store(room.weight, j, load(room.weight, j) + select(chosen == j, rest, 0))


@inlined
def cumulative_at(family, distance, mantissa, shift, k):
    """C_j below k - 1/2. Distances are within +-2**17 + 128 and mantissas at most 2**13."""
    x = ((k << 8) + distance) * mantissa >> shift
    x = clamp(x, -(RANGE << X_BITS), (RANGE << X_BITS) - 1) + (RANGE << X_BITS)
    word = gather(family.cumulative, x >> FRACTION_BITS)
    rise = (word & ((1 << SLOPE_BITS) - 1)) * (x & ((1 << FRACTION_BITS) - 1))
    return shift_logical(word, SLOPE_BITS) + (rise >> FRACTION_BITS)


@inlined
def component(family, room, j, k):
    """C_j of each pixel below k - 1/2, k one for each."""
    return cumulative_at(family, load(room.distance, j), load(room.mantissa, j), load(room.shift, j), k)


@inlined
def start_above(f, k):
    """start(k) for k = 1 .. 255, given F(k)."""
    g = shift_logical(f, 8)
    return g - (g >> 16) + k


@inlined
def start_of(family, room, k):
    """start(k) of each pixel, for k = 1 .. 255."""
    f = spread(0)
    for j in range(family.components):
        f = f + load(room.weight, j) * component(family, room, j, k)
    return start_above(f, k)


@inlined
def starts_of(family, room, pixel, k):
    """start(k) of one pixel, for sixteen k, 0 .. 256."""
    f = spread(0)
    for j in range(family.components):
        one = room.distance[j, pixel], room.mantissa[j, pixel], room.shift[j, pixel]
        f = f + room.weight[j, pixel] * cumulative_at(family, one[0], one[1], one[2], k)
    return select(k == 256, 1 << PRECISION, select(k == 0, 0, start_above(f, k)))


@part
def bisect(family, room):
    """Values whose intervals hold the slots, with their starts and ends, to the room."""
    slot = load(room.slot, 0)
    low, start, end = spread(0), spread(0), spread(1 << PRECISION)
    for bit in range(7, -1, -1):
        middle = low + (1 << bit)
        f = start_of(family, room, middle)
        below = slot < f
        low = select(below, low, middle)
        start = select(below, start, f)
        end = select(below, f, end)
    store(room.start, 0, start)
    store(room.end, 0, end)
    store(room.value, 0, low)


@part
def locate(family, room):
    """Starts and ends of the values in the room, to the room."""
    k = load(room.value, 0)
    for end in range(2):
        start = select(k == 0, 0, start_of(family, room, k))
        start = select(k == 256, 1 << PRECISION, start)
        if end:
            store(room.end, 0, start)
        else:
            store(room.start, 0, start)
        k = k + 1


@part
def learn(family, room, c):
    """Keep the errors of channel c; of a joint mixture, weigh the components by what the values tell.

    w_j times the mass of a value under component j, 1 .. 2**20 - 1, is below 2**32. The greatest is 2**7 or more.
    """
    k, count = load(room.value, 0), family.components
    for j in range(count):
        store(room.error, c * count + j, (k << 8) + 128 + load(room.distance, j))
    if family.joint:
        top = spread(0)
        for j in range(count):
            mass, at = spread(0), k
            for _ in range(2):
                f = select(at == 256, (1 << CUMULATIVE_BITS) - 1, select(at == 0, 0, component(family, room, j, at)))
                mass, at = f - mass, at + 1
            likely = shift_logical(load(room.weight, j) * greatest(mass, 1), 1)
            top = greatest(top, likely)
            store(room.weight, j, likely)
        up, total, most = leading_zeros(top) - 1, spread(0), spread(0)
        for j in range(count):
            e = (load(room.weight, j) << up) >> 15
            total, most = total + e, greatest(most, e)
            store(room.weight, j, e)
        weigh(family, room, total, most)


@part
def turn(params, order, first, count, room):
    """Parameters of `count` pixels from the `first` of `order` on, to columns of the room."""
    stride, where, last = np.int64(params.shape[1] * 4), address(order) + 8 * first, np.int64(count - 1)
    for p in range(0, len(room.params), LANES):
        transpose(address(params) + 4 * p, stride, where, last, room.params, p)


@part
def note(family, params, order, count, values, room, starts, masses, position):
    """Intervals of `count` pixels, to starts and masses from `position` on; where they end, or OUTSIDE.

    params: (N, a multiple of 16) int32; order: which rows, in the order of coding; values: (N, C) int32.
    """
    for first in range(0, count, LANES):
        pixels = min(LANES, count - first)
        turn(params, order, first, pixels, room)
        for c in range(family.channels):
            prepare(family, room, c)
            for i in range(pixels):
                room.value[i] = values[order[first + i], c]
                if room.value[i] < 0 or room.value[i] > 255:
                    return np.int64(OUTSIDE)
            locate(family, room)
            for i in range(pixels):
                starts[position + i] = room.start[i]
                masses[position + i] = room.end[i] - room.start[i]
            position += pixels
            if c + 1 < family.channels:
                learn(family, room, c)
    return position


@inlined
def lane_after(lane, lanes):
    """The head of the next symbol."""
    return lane + 1 if lane + 1 < lanes else 0


@part
def pop_pixels(family, heads, words, n, params, order, count, values, room):
    """Pop `count` pixels into `values`; arguments as for `note`. Returns the new n, or UNDERFLOW."""
    lanes, lane = len(heads), 0
    for first in range(0, count, LANES):
        pixels = min(LANES, count - first)
        turn(params, order, first, pixels, room)
        for c in range(family.channels):
            prepare(family, room, c)
            for done in range(0, pixels, lanes):  # as many at a time as there are heads
                last, here = min(done + lanes, pixels), lane
                for i in range(done, last):
                    room.slot[i] = slot_of(heads, here, PRECISION)
                    here = lane_after(here, lanes)
                bisect(family, room)
                for i in range(done, last):
                    start = room.start[i]
                    n = take(heads, words, n, lane, room.slot[i], start, room.end[i] - start, PRECISION)
                    if n < 0:
                        return np.int64(UNDERFLOW)
                    lane = lane_after(lane, lanes)
                    values[order[first + i], c] = room.value[i]
            if c + 1 < family.channels:
                for i in range(pixels):
                    room.value[i] = values[order[first + i], c]
                learn(family, room, c)
    return n


@compiled
def mixture_intervals(kernels, family, params, order, values, room, starts, masses):
    """Starts and masses (N C,) int32, in the order of coding, of values (N, C); how many, or OUTSIDE."""
    return note(family, params, order, len(order), values, room, starts, masses, np.int64(0))


@compiled
def mixture_push(kernels, heads, words, n, values, family, params, order, room, starts, masses):
    """Push values (N, C) int32; starts and masses: space for N C numbers. Returns the new n, or OUTSIDE."""
    end = note(family, params, order, len(order), values, room, starts, masses, np.int64(0))
    return put_all(heads, words, n, starts, masses, 0, end, PRECISION) if end >= 0 else end


@compiled
def mixture_pop(kernels, heads, words, n, values, family, params, order, room):
    """Pop values (N, C) int32. Returns the new n, or UNDERFLOW."""
    return pop_pixels(family, heads, words, n, params, order, len(order), values, room)
