"""Integer tables of exp, log2, sigmoid, and of the normal and logistic cumulative distributions.

The tables are part of the format. They are computed with whole numbers only, 128 bits after the point, so they are
the same on every machine, whatever its maths library; their digest is checked all the same.

Cumulatives are piecewise cubic (Hermite, from the exact values and slopes at the knots): a row per interval with the
coefficients c0..c3 of c0 + c1 t + c2 t**2 + c3 t**3, t in 0..1, in units of 2**-44. They fit in the first-level cache
with an error below 2**-29, for which a linear table would need 64k knots.
"""

from __future__ import annotations

import hashlib
import math
from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from bbcodec.errors import InexactArithmetic

Table = npt.NDArray[np.int64]

DIGEST = "9894cc0f9d3325acc9d245a2b3cadb49"

CUMULATIVE_BITS = 44  # of the cubic coefficients
FRACTION_BITS = 24  # of t

NORMAL_KNOTS = 64  # intervals a sigma
NORMAL_RANGE = 400  # intervals on each side: 6.25 sigma, beyond which the normal has less than 2**-32
LOGISTIC_KNOTS = 16  # intervals a scale
LOGISTIC_RANGE = 320  # intervals on each side: 20 scales, beyond which the logistic has less than 2**-28

LOG_SCALE_MIN, LOG_SCALE_MAX = -1138, 1408  # 1/256 nat: 0.75/64 (latents) to 245 (pixels)
INVERSE_SCALE_BITS = 34
EXP_BITS = 31
EXP_RANGE = 23  # nats
LOGIT_BOUND = 2047  # 1/128 nat
BERNOULLI_BITS = 24
LOG2_BITS = 32
OCTAVE = 4096  # entries an octave of log2 and exp2
QUANTILES = 2048
QUANTILE_UNIT = 1024

_POINT = 128
_ONE = 1 << _POINT


def _exp(numerator: int, denominator: int) -> int:
    """exp(numerator / denominator), in 2**-128, for an argument within +-1, by its series."""
    total, term, n = 0, _ONE, 0
    while term not in (0, -1):
        total += term
        n += 1
        term = term * numerator // (denominator * n)
    return total


def _powers(base: int, count: int, first: int = _ONE) -> list[int]:
    """first * base**i for i = 0 .. count - 1, all in 2**-128."""
    powers = [first]
    for _ in range(count - 1):
        powers.append(powers[-1] * base >> _POINT)
    return powers


def _pi() -> int:
    """Pi in 2**-128 (Machin 1706)."""

    def arctan_of_inverse(n: int) -> int:
        total, term, k = 0, _ONE // n, 0
        while term:
            total += (-1) ** k * (term // (2 * k + 1))
            term //= n * n
            k += 1
        return total

    return 4 * (4 * arctan_of_inverse(5) - arctan_of_inverse(239))


def _rounded(values: Sequence[int], bits: int) -> Table:
    """Numbers in 2**-128 as numbers in 2**-bits, rounded half up."""
    shift = _POINT - bits
    return np.array([(v + (1 << shift - 1)) >> shift for v in values], np.int64)


def _cubic(values: Sequence[int], slopes: Sequence[int], knots: int) -> Table:
    """Hermite coefficients (intervals, 4) from values and slopes at the knots, `knots` of them to the unit."""
    coefficients: list[int] = []
    for i in range(len(values) - 1):
        rise, left, right = values[i + 1] - values[i], slopes[i] // knots, slopes[i + 1] // knots
        coefficients += [values[i], left, 3 * rise - 2 * left - right, left + right - 2 * rise]
    return _rounded(coefficients, CUMULATIVE_BITS).reshape(-1, 4)


def _normal() -> Table:
    """The normal cumulative: Taylor series from knot to knot, whose terms are Hermite polynomials."""
    root = math.isqrt(2 * _pi() << _POINT)
    density, cumulative = _ONE * _ONE // root, _ONE >> 1
    ratio = _exp(-1, 2 * NORMAL_KNOTS**2)  # of the densities at knots 0 and 1
    step = _exp(-1, NORMAL_KNOTS**2)  # by which the ratio changes from knot to knot
    values, slopes = [cumulative], [density]
    for i in range(NORMAL_RANGE):
        before, here, scale, rise, n = 0, _ONE, _ONE, 0, 0  # He[n-1], He[n], (-h)**n / (n+1)!
        while abs(scale) > 1:
            rise += here * scale >> _POINT
            before, here = here, (here * i - before * n * NORMAL_KNOTS) // NORMAL_KNOTS
            n += 1
            scale = -scale // (NORMAL_KNOTS * (n + 1))
        cumulative += (rise * density >> _POINT) // NORMAL_KNOTS
        density = density * ratio >> _POINT
        ratio = ratio * step >> _POINT
        values.append(cumulative)
        slopes.append(density)
    values = [_ONE - v for v in values[:0:-1]] + values
    return _cubic(values, slopes[:0:-1] + slopes, NORMAL_KNOTS)


def _sigmoid(exp_of_minus: int) -> int:
    """1 / (1 + e) in 2**-128, for e = exp(-x) in 2**-128."""
    return _ONE * _ONE // (_ONE + exp_of_minus)


def _logistic() -> Table:
    """The logistic cumulative; its slope is F (1 - F)."""
    upper = [_sigmoid(e) for e in _powers(_exp(-1, LOGISTIC_KNOTS), LOGISTIC_RANGE + 1)]
    values = [_ONE - v for v in upper[:0:-1]] + upper
    return _cubic(values, [v * (_ONE - v) >> _POINT for v in values], LOGISTIC_KNOTS)


def _bernoulli() -> Table:
    """Mass of a zero at every logit: at least 1, at most 2**24 - 1, and masses of +-logit sum to 2**24."""
    room = (1 << BERNOULLI_BITS) - 2
    upper = [_sigmoid(e) for e in _powers(_exp(-1, 128), LOGIT_BOUND + 1)]
    below = [room * (_ONE - v) >> _POINT for v in upper]
    return np.array([room - b for b in below[:0:-1]] + below, np.int64) + 1


def _log2() -> Table:
    """log2(1 + i / 4096), i = 0..4096, from ln((m + 1) / m) = 2 artanh(1 / (2 m + 1))."""
    logs = [0]
    for m in range(OCTAVE, 2 * OCTAVE):
        odd = 2 * m + 1
        term, rise, n = 2 * _ONE // odd, 0, 1
        while term:
            rise += term // n
            term //= odd * odd
            n += 2
        logs.append(logs[-1] + rise)
    return _rounded([(value << _POINT) // logs[-1] for value in logs], LOG2_BITS)


def _exp2() -> Table:
    """2**(-i / 4096), i = 0..4096: roots of one half, by twelve square roots."""
    root = _ONE >> 1
    for _ in range(OCTAVE.bit_length() - 1):
        root = math.isqrt(root << _POINT)
    return _rounded(_powers(root, OCTAVE + 1), EXP_BITS)


def _inverse_scale() -> Table:
    """exp(-i / 256), i = LOG_SCALE_MIN .. LOG_SCALE_MAX."""
    largest = _powers(_exp(1, 256), 1 - LOG_SCALE_MIN)[-1]
    return _rounded(_powers(_exp(-1, 256), LOG_SCALE_MAX - LOG_SCALE_MIN + 1, largest), INVERSE_SCALE_BITS)


def _quantile(normal: Table) -> Table:
    """The knot nearest to the middle of each of 2,048 equally likely slots of the normal: where a search starts."""
    middles = (2 * np.arange(QUANTILES, dtype=np.int64) + 1) << (CUMULATIVE_BITS - QUANTILES.bit_length())
    knots = np.searchsorted(normal[:, 0], middles) * 2 - 1 - 2 * NORMAL_RANGE  # in half intervals
    return knots.astype(np.int64) * (QUANTILE_UNIT // (2 * NORMAL_KNOTS))


NORMAL = _normal()  # (800, 4), 2**-44; row 0 begins at -6.25 sigma
LOGISTIC = _logistic()  # (640, 4), 2**-44; row 0 begins at -20 scales
BERNOULLI = _bernoulli()  # (4095,), 2**-24: mass of a zero, by logit + 2047
LOG2 = _log2()  # (4097,), 2**-32
EXP2 = _exp2()  # (4097,), 2**-31
EXP_FRACTION = _rounded(_powers(_exp(-1, 256), 256), EXP_BITS)  # exp(-i / 256), 2**-31
EXP_WHOLE = _rounded(_powers(_exp(-1, 1), EXP_RANGE), EXP_BITS)  # exp(-i), 2**-31
INVERSE_SCALE = _inverse_scale()  # (2547,), 2**-34, by log scale + 1138
QUANTILE = _quantile(NORMAL)  # (2048,), 1/1024 sigma


def digest() -> str:
    """BLAKE2b-128 of all tables, as little-endian int64, in hexadecimal."""
    tables = (NORMAL, LOGISTIC, BERNOULLI, LOG2, EXP2, EXP_FRACTION, EXP_WHOLE, INVERSE_SCALE, QUANTILE)
    return hashlib.blake2b(b"".join(t.astype("<i8").tobytes() for t in tables), digest_size=16).hexdigest()


if digest() != DIGEST:
    raise InexactArithmetic(f"the integer tables have digest {digest()}, expected {DIGEST}: this machine cannot code")
