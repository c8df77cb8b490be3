# mypy: allow-untyped-defs, allow-untyped-calls
"""Images of up to 16 bits as binary decisions on errors of predictions, each with an adaptive probability, on rANS.

An error is coded as whether there is one, its sign, how many bits it has, one by one, the three bits below the
highest, and the others as they are. The probability of each decision is mixed (`mixing`) from counters in seven
contexts, and from a logistic distribution around the prediction, as wide as errors were where those before were like
here. Samples of 16 bits have better predictions (`refinement`), and errors as large as where more of those before, and
the prediction, were like here.
"""

from __future__ import annotations

from typing import Final, NamedTuple, Self

import numpy as np
import numpy.typing as npt

from bbcodec.coder.compilation import compiled, inlined
from bbcodec.coder.kernels.arithmetic import cubic
from bbcodec.coder.kernels.rans import UNDERFLOW
from bbcodec.coder.tables import CUMULATIVE_BITS, FRACTION_BITS, LOGISTIC, LOGISTIC_RANGE
from bbcodec.prediction.groups import Most, Values, bits_of_last, code, code_bits, decode_groups, encode_groups
from bbcodec.prediction.joint import MOST_LINES, Joint, find_joint, find_joint_lines
from bbcodec.prediction.lines import bits_of
from bbcodec.prediction.mixing import (
    COUNT_MOST,
    RATE,
    STRETCH_BITS,
    Mixer,
    find_counters,
    learn,
    next_sample,
    probability,
)
from bbcodec.prediction.predictor import LINEAR, Predictor, begin_row, blend, end_row, fill_predictions, follow, keep
from bbcodec.prediction.refinement import (
    VALUES,
    Refinement,
    corrected,
    predict_by_neighbours,
    refine,
    surroundings,
)

ZERO, SIGN, SIZE, BIT = 0, 1, 2, 3  # kinds of decisions; of the first two there is one each
MODELLED_BITS: Final = 3  # below the highest
MOST_BITS: Final = 16
SIZES: Final = 2  # the first decision of this kind
BITS: Final = SIZES + MOST_BITS - 1
DECISIONS: Final = BITS + (MOST_BITS - 1) * 7
STEPS_A_SAMPLE: Final = 2 + MOST_BITS + MODELLED_BITS + 1  # the most
ACTIVITIES: Final = 80  # quarters of octaves
LEVELS: Final = 4 * 40  # of pairs of these, and kinds
SCALE: Final = 184  # 1/256: of the scale of a logistic distribution to its mean absolute value
LEAST_SCALE: Final = 179  # 1/256 of 1/16
FORGET: Final = 400  # samples
START_WEIGHTS: Final = 2**14, 2**14  # of contexts and of the logistic distribution
WIDE_RATE: Final = 10  # of the mixer, for samples of 16 bits: much of their errors is noise
REPLACED: Final = 4, 2  # contexts, in channels after the first, of 8 bits, by those that see the others
WHOLE: Final = 1 << CUMULATIVE_BITS


class Coder(NamedTuple):
    """What images are coded by: a predictor, a mixer, and how large errors were, in 1/16. wide: samples of 16 bits.

    logistic: the table. sizes (C, 2, K): sums of errors by class, and how many. errors (3, W + 8): of the
    row and the two above. past (H, W): of the plane before, where this one was not coded yet. position (1,): the words
    of the stack, or the steps that will be pushed on it.
    """

    wide: bool
    predictor: Predictor
    refinement: Refinement
    mixer: Mixer
    logistic: npt.NDArray[np.int64]
    sizes: npt.NDArray[np.int64]
    errors: npt.NDArray[np.int64]
    past: npt.NDArray[np.int64]
    joint: Joint
    position: npt.NDArray[np.int64]

    @classmethod
    def of(cls, shape: tuple[int, ...], wide: bool) -> Self:
        """One that has seen nothing yet, for images (N, C, H, W): errors are first as large as those around."""
        count, channels, height, width = shape
        q = np.arange(ACTIVITIES, dtype=np.int64)
        first = np.stack([np.maximum((4 + q % 4 << q // 4) * 45 >> 8, 1), np.ones_like(q)])
        sizes = np.stack([first.repeat(VALUES if wide else 1, 1)] * channels)
        joint = Joint.of(REPLACED, DECISIONS, bits_of(count * height * width, MOST_LINES))
        counters, rate = 0 if wide or channels == 1 else joint.counters, WIDE_RATE if wide else RATE
        errors, past = (np.zeros(size, np.int64) for size in ((3, width + 8), (height, width)))
        return cls(
            wide,
            Predictor.of(width, channels),
            Refinement.of(channels if wide else 0),
            Mixer.of(channels, DECISIONS, LEVELS, START_WEIGHTS, rate, COUNT_MOST, counters),
            LOGISTIC,
            sizes,
            errors,
            past,
            joint,
            np.zeros(1, np.int64),
        )


@inlined
def octave(x):
    """floor(log2 x), of 1 to 2**52."""
    return (np.float64(x).view(np.int64) >> 52) - 1023


@inlined
def quarters(x):
    """log2(x + 1), of 0 to 2**50, in steps of a quarter of an octave: 0 to ACTIVITIES - 1."""
    o = octave(x + 1)
    return min(4 * o + ((x + 1 << 2) >> o) - 4, ACTIVITIES - 1)


@inlined
def coarse(x):
    """The size of a difference in 1/16 and its sign: 1 to 15, 8 within half a unit."""
    size = min(octave(abs(x) | 4) - 2, 7)
    return 8 + size if x >= 0 else 8 - size


@inlined
def fill_contexts(coder, i, j, guess, activity):
    """The values of all contexts of a sample, from its prediction in 1/16 and errors nearby."""
    rows, around, predictions = coder.mixer.rows, coder.predictor.around, coder.predictor.predictions
    here, above, past = coder.errors[i % 3], coder.errors[(i - 1) % 3], coder.past
    w, n, corner, right = around[0], around[1], around[2], around[3]
    whole = guess + 8 >> 4
    ahead = abs(past[i, min(j + 1, past.shape[1] - 1)]) + abs(past[min(i + 1, past.shape[0] - 1), j])
    rows[0] = (w - whole & 63) << 6 | (n - whole & 63)
    rows[1] = coarse(here[j + 3]) << 4 | coarse(above[j + 4])
    rows[2] = coarse(np.int64(predictions[0]) - guess) << 4 | coarse(np.int64(predictions[LINEAR]) - guess)
    rows[3] = coarse(above[j + 3]) << 4 | coarse(above[j + 5])
    rows[4] = whole & 4095
    rows[5] = quarters(4 * (abs(w - corner) + abs(n - corner) + abs(n - right))) << 4 | activity // 5
    rows[6] = coarse(past[i, j]) << 7 | quarters(ahead)


@inlined
def decide(bit, decision, level, beyond, mass, channel, decode, heads, words, coder):
    """A decision of which the logistic distribution says beyond / mass; 0 <= beyond.

    All are int64, so that this is compiled once.
    """
    own = coder.mixer.stretch[min((beyond << STRETCH_BITS) // max(mass, 1), (1 << STRETCH_BITS) - 1)]
    bit = code(bit, probability(coder.mixer, channel, decision, level, own, 1), decode, heads, words, coder.position)
    learn(coder.mixer, channel, decision, level, bit, 1)
    return bit


@inlined
def tail(distance, rate, coder):
    """The mass, 2**-44, of a logistic distribution beyond a distance from its mean, in 1/16."""
    return cubic(coder.logistic, (LOGISTIC_RANGE << FRACTION_BITS) - distance * rate)


@inlined
def code_size(size, off, rate, level, mass, channel, decode, heads, words, coder):
    """Code an error without its sign, 1 to 65,535, or decode it; returns it.

    off: of the whole prediction from that in 1/16, towards the sample. mass: beyond half a unit.
    """
    count, kind, beyond = 1, level + SIZE, tail(24 + off, rate, coder)
    while count < MOST_BITS and decide(
        np.int64(size >> count > 0), SIZES + count - 1, kind, beyond, mass, channel, decode, heads, words, coder
    ):
        count += 1
        mass = beyond
        beyond = tail((16 << count) - 8 + off, rate, coder)
    mass -= beyond
    known, left = np.int64(1), count - 1
    if left > 0 and channel > 0 and not coder.wide:
        find_joint_lines(coder.joint, coder.mixer, channel, np.int64(count), np.int64(BITS + (count - 2) * 7))
    while left > 0 and known < 1 << MODELLED_BITS:
        left -= 1
        upper = tail((16 * (2 * known + 1) << left) - 8 + off, rate, coder) - beyond
        decision = BITS + (count - 2) * 7 + known - 1
        bit = decide(size >> left & 1, decision, level + BIT, upper, mass, channel, decode, heads, words, coder)
        known = 2 * known + bit
        beyond += 0 if bit else upper
        mass = upper if bit else mass - upper
    if left > 0:
        known = known << left | code_bits(size & (1 << left) - 1, left, decode, heads, words, coder.position)
    return known


@inlined
def code_sample(x, guess, activity, kind, channel, decode, heads, words, coder):
    """Code a sample x, or decode it, given its prediction in 1/16 and the class of its error; returns it."""
    scale = max(coder.sizes[channel, 0, kind] * SCALE // coder.sizes[channel, 1, kind], LEAST_SCALE)
    rate = (1 << FRACTION_BITS + 12) // scale
    level = min(activity // 2, 39) * 4
    whole = guess + 8 >> 4
    off = 16 * whole - guess  # -7 to 8
    below, above = tail(8 - off, rate, coder), tail(8 + off, rate, coder)
    mass = below + above
    other, all_mass = np.int64(x != whole), np.int64(WHOLE)
    if not decide(other, np.int64(ZERO), level + ZERO, mass, all_mass, channel, decode, heads, words, coder):
        return whole
    higher = np.int64(x > whole)
    up = decide(higher, np.int64(SIGN), level + SIGN, above, mass, channel, decode, heads, words, coder)
    sign, mass = (1, above) if up else (-1, below)
    return whole + sign * code_size(abs(x - whole), sign * off, rate, level, mass, channel, decode, heads, words, coder)


@inlined
def remember(coder, channel, i, j, error, kind):
    """An error, in 1/16, and its size, of which there are FORGET or less, the older ones counting half."""
    coder.errors[i % 3, j + 4] = error
    coder.past[i, j] = error
    sizes = coder.sizes[channel]
    sizes[0, kind] += abs(error)
    sizes[1, kind] += 1
    if sizes[1, kind] > FORGET:
        sizes[0, kind] >>= 1
        sizes[1, kind] >>= 1


@compiled
def code_rows(heads, words, n, values, first, last, most, decode, coder):
    """Code rows first to last of values (N, C, H, W), counted through all channels of all images.

    To words as steps, starts and masses in 2**-16 in the high and low halves, or, to decode, from a stack. Returns how
    many words there are then; UNDERFLOW where a stack ends, or gives a sample that is out of range.
    """
    _, channels, height, width = values.shape
    coder.position[0] = n
    predictor, refinement = coder.predictor, coder.refinement
    for row in range(first, last):
        number, channel, i = row // (channels * height), row // height % channels, row % height
        plane, before = values[number, channel], values[max(number - 1, 0), channel]
        if channel > 0:
            before = values[number, channel - 1]
        back = number > 0 or channel > 0
        begin_row(predictor, i)
        if i == 0:
            coder.errors[:] = 0
        here, above, top = coder.errors[i % 3], coder.errors[(i - 1) % 3], coder.errors[(i - 2) % 3]
        here[:] = 0
        for j in range(width):
            fill_predictions(predictor, before, back, channel, i, j, most[channel])
            if coder.wide:
                predict_by_neighbours(refinement, predictor, back, channel, most[channel])
            guess = mean = blend(predictor, i, j)
            near = 2 * (abs(here[j + 3]) + abs(above[j + 4])) + abs(above[j + 3]) + abs(above[j + 5])
            near = near + abs(here[j + 2]) + abs(top[j + 4]) >> 3
            activity = kind = quarters(near)
            if coder.wide:
                guess = corrected(refinement, predictor, here, above, top, channel, j, mean, most[channel])
                kind = quarters(surroundings(here, above, top, j) >> 4) * VALUES
                kind += VALUES * guess // (16 * most[channel] + 1)
            fill_contexts(coder, i, j, guess, activity)
            next_sample(coder.mixer)
            find_counters(coder.mixer)
            if channel > 0 and not coder.wide:
                first_one, last_one = np.int64(values[number, 0, i, j]), np.int64(before[i, j])
                find_joint(coder.joint, coder.mixer, channel, first_one, last_one, guess + 8 >> 4)
            x = code_sample(np.int64(plane[i, j]), guess, activity, kind, channel, decode, heads, words, coder)
            if decode:
                if not 0 <= x <= most[channel] or coder.position[0] < 0:
                    return UNDERFLOW
                plane[i, j] = x
            if coder.wide:
                refine(refinement, predictor, back, channel, x, mean, guess, near)
            remember(coder, channel, i, j, 16 * x - guess, kind)
            follow(predictor, channel, x)
            keep(predictor, i, j, x)
        for j in range(4):
            here[width + 4 + j] = here[width + 3]
        end_row(predictor, i, width)
    return coder.position[0]


def encode(values: Values, most: Most, wide: bool) -> bytes:
    """Messages of the groups of rows of images (N, C, H, W), wide: of 16 bits."""
    return encode_groups(code_rows, Coder.of(values.shape, wide), values, most, STEPS_A_SAMPLE)


def decode(data: bytes, shape: tuple[int, int, int, int], most: Most, wide: bool) -> Values:
    """The images of `encode`. Raises DamagedArchive."""
    values = np.empty(shape, np.uint16)
    decode_groups(code_rows, Coder.of(shape, wide), data, values, most)
    return values


def bits_of_last_rows(values: Values, most: Most, wide: bool, rows: int) -> float:
    """What `encode` needs for the last rows of images, in bits, so many of each channel, after those above."""
    return bits_of_last(code_rows, Coder.of(values.shape, wide), values, most, STEPS_A_SAMPLE, rows)
