# mypy: allow-untyped-defs, allow-untyped-calls
"""Images of few colours as binary decisions on which one a pixel has, each with an adaptive probability, on rANS.

A pixel is coded as whether it is like the one at its left, if not, like the one above, at the corner, above at the
right, each asked once; else by the bits of its index. The probability of each decision is mixed (`mixing`) from
counters in seven contexts: which colours the pixels nearby have, and which of these are equal, whatever they are.
"""

from __future__ import annotations

from typing import Final, NamedTuple, Self

import numpy as np
import numpy.typing as npt

from bbcodec.coder.compilation import compiled, inlined
from bbcodec.coder.kernels.rans import UNDERFLOW
from bbcodec.prediction.groups import Most, Values, code, decode_groups, encode_groups
from bbcodec.prediction.mixing import CONTEXT_ROWS, Mixer, find_counters, learn, next_sample, probability
from bbcodec.prediction.predictor import NEIGHBOURS

NEAR: Final = 12  # neighbours that are looked at, the first of those of the predictor
LIKE: Final = 4  # of which a pixel may be said to be like one
BITS: Final = LIKE  # the first decision on bits of an index
STEPS_A_SAMPLE: Final = LIKE + 8  # the most
# Pairs of neighbours that may be equal; the first six choose weights, too.
PAIRS: Final = np.array(
    [(0, 1), (0, 2), (1, 2), (1, 3), (0, 4), (1, 5), (3, 6), (2, 7), (0, 3), (5, 9), (8, 2), (4, 7)]
)
FEW_PAIRS: Final = 6
KINDS: Final = 8  # of decisions: like one of four, the first bit, the second, the third, and the others
LEVELS: Final = KINDS << FEW_PAIRS
MULTIPLIER: Final = 0x5851F42D  # of hashes of 32 bits
HASH_BITS: Final = 32
ROW_SHIFT: Final = HASH_BITS - (CONTEXT_ROWS - 1).bit_length()
START_WEIGHTS: Final = 2**14, 2**14  # of contexts and of nothing
NO_LOGIT: Final = 2048  # of a probability of a half: nothing is known beside the contexts


class Coder(NamedTuple):
    """What images are coded by. near (NEAR,): colours of the neighbours; position (1,): as in `residuals.Coder`."""

    neighbours: npt.NDArray[np.int64]
    pairs: npt.NDArray[np.int64]
    mixer: Mixer
    near: npt.NDArray[np.int64]
    position: npt.NDArray[np.int64]

    @classmethod
    def of(cls, most: int) -> Self:
        """One that has seen nothing yet, for indices up to `most`."""
        mixer = Mixer.of(1, BITS + 2 ** max(most.bit_length(), 1) - 1, LEVELS, START_WEIGHTS)
        return cls(NEIGHBOURS[:NEAR].copy(), PAIRS, mixer, np.zeros(NEAR, np.int64), np.zeros(1, np.int64))


@inlined
def look(coder, plane, i, j):
    """The colours of the neighbours, beyond edges as `predictor` has them. Returns a bit for each equal pair."""
    near = coder.near
    for k in range(NEAR):
        up, at = i + coder.neighbours[k, 0], j + coder.neighbours[k, 1]
        if up < 0:
            up, at = i, j - 1
        if at < 0:
            up, at = up - 1, np.int64(0)
        near[k] = plane[up, min(at, plane.shape[1] - 1)] if up >= 0 else 0
    equal = np.int64(0)
    for k in range(len(coder.pairs)):
        equal |= np.int64(near[coder.pairs[k, 0]] == near[coder.pairs[k, 1]]) << k
    return equal


@inlined
def hashed(known, value):
    """The hash of one more number, of those that are known, 0 at first; below 2**32."""
    return (known + value + 1) * MULTIPLIER & (1 << HASH_BITS) - 1


@inlined
def row_of(known):
    """The value of a context that has a hash."""
    return known >> ROW_SHIFT


@inlined
def fill_contexts(coder, before, back, i, j, equal):
    """The contexts of whether a pixel is like its neighbours. before (H, W): the image before, if `back`."""
    rows, near, known = coder.mixer.rows, coder.near, np.int64(0)
    for k in range(NEAR):
        known = hashed(known, near[k])
        if k == 0:
            rows[0] = row_of(known)
        elif k == 1:
            rows[1] = row_of(known)
        elif k == 3:
            rows[2] = row_of(known)
        elif k == 9:
            rows[3] = row_of(known)
    if back:
        known = hashed(hashed(np.int64(0), near[0]), near[1])
        known = hashed(hashed(known, np.int64(before[i, j])), np.int64(before[i, min(j + 1, before.shape[1] - 1)]))
        known = hashed(known, np.int64(before[min(i + 1, before.shape[0] - 1), j]))
    rows[4] = row_of(known)
    rows[5] = equal
    rows[6] = equal & (1 << FEW_PAIRS) - 1


@inlined
def fill_bit_contexts(coder, before, back, i, j):
    """The contexts of the bits of an index that is none of those of the neighbours."""
    rows, near, known = coder.mixer.rows, coder.near, np.int64(0)
    for k in range(4):
        known = hashed(known, near[k])
        rows[k] = row_of(known)
    rows[4] = row_of(hashed(np.int64(0), near[1]))
    rows[5] = row_of(hashed(hashed(np.int64(0), near[2]), near[3]))
    rows[6] = 0
    if back:
        known = hashed(np.int64(0), np.int64(before[i, j]))
        rows[2] = row_of(hashed(known, np.int64(before[min(i + 1, before.shape[0] - 1), j])))


@inlined
def decide(bit, decision, level, decode, heads, words, coder):
    """A decision of which nothing is known beside the contexts."""
    bit = code(
        bit,
        probability(coder.mixer, 0, decision, level, coder.mixer.stretch[NO_LOGIT]),
        decode,
        heads,
        words,
        coder.position,
    )
    learn(coder.mixer, 0, decision, level, bit)
    return bit


@inlined
def code_index(x, before, back, i, j, equal, bits, decode, heads, words, coder):
    """Code an index of so many bits, or decode it; returns it."""
    near, level = coder.near, KINDS * (equal & (1 << FEW_PAIRS) - 1)
    fill_contexts(coder, before, back, i, j, equal)
    find_counters(coder.mixer)
    for k in range(LIKE):
        asked = False
        for m in range(k):
            asked = asked or near[m] == near[k]
        if not asked and decide(x == near[k], k, level + k, decode, heads, words, coder):
            return near[k]
    fill_bit_contexts(coder, before, back, i, j)
    find_counters(coder.mixer)
    known = np.int64(1)
    for k in range(bits):
        bit = x >> bits - 1 - k & 1
        bit = decide(bit, BITS + known - 1, level + LIKE + min(k, KINDS - LIKE - 1), decode, heads, words, coder)
        known = 2 * known + bit
    return known - (1 << bits)


@compiled
def code_rows(heads, words, n, values, first, last, most, decode, coder):
    """Code rows first to last of indices (N, 1, H, W), counted through all images, or decode them: as `residuals`."""
    height, width = values.shape[2:]
    coder.position[0], bits = n, 1
    while most[0] >> bits > 0:
        bits += 1
    for row in range(first, last):
        number, i = row // height, row % height
        plane, before, back = values[number, 0], values[max(number - 1, 0), 0], number > 0
        for j in range(width):
            equal = look(coder, plane, i, j)
            next_sample(coder.mixer)
            x = code_index(np.int64(plane[i, j]), before, back, i, j, equal, bits, decode, heads, words, coder)
            if decode:
                if x > most[0] or coder.position[0] < 0:
                    return UNDERFLOW
                plane[i, j] = x
    return coder.position[0]


def encode(indices: Values, most: int) -> bytes:
    """Messages of the groups of rows of indices (N, 1, H, W), 0 to `most`, at most 255."""
    return encode_groups(code_rows, Coder.of(most), indices, _array(most), STEPS_A_SAMPLE)


def decode(data: bytes, shape: tuple[int, int, int, int], most: int) -> Values:
    """The indices of `encode`. Raises DamagedArchive."""
    return decode_groups(code_rows, Coder.of(most), data, shape, _array(most))


def _array(most: int) -> Most:
    return np.array([most], np.int64)
