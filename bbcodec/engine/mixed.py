# mypy: allow-untyped-defs, allow-untyped-calls
"""A local net's mixture of logistics, mixed with what contexts learn while images are coded.

The net knows what images are like; contexts learn what these images are like (Mahoney 2005: `prediction.mixing`). A
pixel's channel is coded as binary decisions on what it is above or below the mean of its mixture: whether it is the
nearest level, the side, how many bits the difference has, one by one, and the three bits below the highest. The logit
of each decision under the net is one more input beside those of contexts. Bits below these are as likely 0 as 1. What
the range of levels decides is not coded.

Pixels are coded wave by wave as `waves` has them, so that the net sees what it sees there. Waves are taken in groups,
each a message of its own; decisions of a group are found from the first to the last and pushed from the last to the
first. What is learned is kept from group to group and from batch to batch.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, Final, NamedTuple, Self

import numpy as np
import numpy.typing as npt

from bbcodec.coder.kernels.arithmetic import INFORMATION_BITS, log2_of
from bbcodec.coder.kernels.rans import UNDERFLOW
from bbcodec.coder.tables import LOG2
from bbcodec.coder.vector_memory import load, store
from bbcodec.coder.vectors import LANES, clamp
from bbcodec.engine.compiling import address, clear, compiled, inlined, part
from bbcodec.engine.local_net import SKEW
from bbcodec.engine.logistic import PRECISION, Mixture, learn, prepare, starts_of, turn
from bbcodec.engine.waves import (
    NO_COSTS,
    LocalCoder,
    Work,
    evaluate,
    make_work,
    order_pixels,
    show_pixels,
    wave_of,
)
from bbcodec.prediction.groups import GROUP, code, code_bits, pack_group, take_group
from bbcodec.prediction.joint import MOST_LINES, Joint, find_joint, find_joint_lines
from bbcodec.prediction.mixing import (
    COUNT_MOST,
    INPUT_BOUND,
    PROBABILITY_BITS,
    RATE,
    Mixer,
    find_counters,
    next_sample,
    probability,
)
from bbcodec.prediction.mixing import learn as learn_decision
from bbcodec.prediction.residuals import coarse, quarters

LEVEL_BITS: Final = 8
SIZES: Final = 2  # the first decision on how many bits a difference has; before it those on 0 and the sign
BITS: Final = SIZES + LEVEL_BITS - 1
MODELLED_BITS: Final = 3  # below the highest
DECISIONS: Final = BITS + (LEVEL_BITS - 1) * 7
STEPS_A_SAMPLE: Final = 2 + LEVEL_BITS - 1 + MODELLED_BITS + 1  # the most
ZERO, SIGN, SIZE, BIT = range(4)  # kinds of decisions
DOUBTS: Final = 64  # of the net about the nearest level: quarters of bits
START_WEIGHTS: Final = 0, 2**16  # the net alone
LOGIT: Final = 90852, 34  # from 2**-24 bits to 1/128 nat: a factor and a shift
REPLACED: Final = 3, 2  # contexts, in channels after the first, by those that see the others
LEFT: Final = 2  # columns of zeros before errors
ABOVE: Final = 2  # rows of zeros

Pixels = npt.NDArray[np.uint8]
Words = npt.NDArray[np.uint32]


class Mixing(NamedTuple):
    """What is learned, and memory.

    errors (B, C, H + ABOVE, LEFT + W + 1): what samples are above the means of their mixtures, 1/16 level. reaches
    (2, LANES): from the nearest level to where differences of c bits begin, below and above; and 0 to 15. means
    (LANES,): of the mixtures of pixels, 1/256 level. tails (LANES,): of one of them, 2**-24. position (1,): the words
    of the stack, or the steps that will be pushed on it.
    """

    mixer: Mixer
    joint: Joint
    errors: npt.NDArray[np.int32]
    reaches: npt.NDArray[np.int32]
    means: npt.NDArray[np.int32]
    tails: npt.NDArray[np.int32]
    log2: npt.NDArray[Any]
    position: npt.NDArray[np.int64]

    @classmethod
    def of(cls, mixer: Mixer, joint: Joint, shape: tuple[int, ...]) -> Self:
        """For batches of images of a shape (B, C, H, W)."""
        batch, channels, height, width = shape
        errors = np.zeros((batch, channels, height + ABOVE, LEFT + width + 1), np.int32)
        bits = 1 << np.arange(LEVEL_BITS)
        reaches = np.stack([np.concatenate([1 - bits, bits]), np.arange(LANES)]).astype(np.int32)
        means, tails = np.zeros((2, LANES), np.int32)
        return cls(mixer, joint, errors, reaches, means, tails, LOG2, np.zeros(1, np.int64))


@inlined
def find_means(family, room, mixing):
    """Means of the mixtures of sixteen pixels. Weights sum to 2**12 and means are below 2**17 in size."""
    total = -128 - load(room.distance, 0)
    total = total * load(room.weight, 0)
    for j in range(1, family.components):
        total = total + load(room.weight, j) * (-128 - load(room.distance, j))
    store(mixing.means, 0, clamp(total >> 12, 0, 255 << 8))


@inlined
def left_and_above(plane, i, j):
    """What is left of a sample and above it; outside, what is there of the nearest one that was coded, or 0."""
    left = np.int64(plane[i, j - 1]) if j > 0 else np.int64(plane[i - 1, 0]) if i > 0 else np.int64(0)
    return left, np.int64(plane[i - 1, j]) if i > 0 else left


@inlined
def fill_contexts(mixing, pixels, errors, c, i, j, whole, doubt):
    """The values of all contexts of a sample of a channel; pixels (C, H, W) and errors (C, ...) of an image.

    Of channels before, they see the first and the last: what lies left and above differs from a sample much as it
    does there.
    """
    rows, own, at = mixing.mixer.rows, errors[c], j + LEFT
    here, above, top = own[i + ABOVE], own[i + ABOVE - 1], own[i + ABOVE - 2]
    w, n = left_and_above(pixels[c], i, j)
    first = last = first_w = first_n = last_w = np.int64(0)
    before = here[at - 2]
    if c > 0:
        first_w, first_n = left_and_above(pixels[0], i, j)
        last_w, _ = left_and_above(pixels[c - 1], i, j)
        first, last, before = np.int64(pixels[0, i, j]), np.int64(pixels[c - 1, i, j]), errors[c - 1, i + ABOVE, at]
    near = 2 * (abs(here[at - 1]) + abs(above[at])) + abs(above[at - 1]) + abs(above[at + 1])
    activity = quarters(np.int64(near + abs(here[at - 2]) + abs(top[at])) >> 3)
    rows[0] = (w + first - first_w - whole & 63) << 6 | (n + first - first_n - whole & 63)
    rows[1] = coarse(here[at - 1]) << 4 | coarse(above[at])
    rows[2] = (last - whole & 255) << 4 | coarse(before)
    rows[3] = whole
    rows[4] = coarse(here[at - 2]) << 4 | coarse(top[at])
    rows[5] = (w + last - last_w - whole & 63) << 6 | coarse(before) << 2 | min(doubt >> 4, 3)
    rows[6] = min(doubt >> 1, 31) << 6 | min(activity, 63)


@inlined
def decide(bit, decision, level, yes, no, c, decode, heads, words, mixing):
    """A decision for which the net has masses; none is coded where one of them is 0."""
    if yes <= 0 or no <= 0:
        return np.int64(yes > 0)
    odds = log2_of(np.int64(yes), mixing.log2) - log2_of(np.int64(no), mixing.log2)
    own = min(max(odds * LOGIT[0] >> LOGIT[1], -INPUT_BOUND), INPUT_BOUND)
    p = probability(mixing.mixer, c, decision, level, own, 1)
    bit = code(bit, p, decode, heads, words, mixing.position)
    learn_decision(mixing.mixer, c, decision, level, bit, 1)
    return bit


@inlined
def code_size(size, up, whole, level, c, pixel, decode, heads, words, family, room, mixing):
    """Code a difference without its sign, 1 to 255, or decode it; returns it."""
    tails, count, side = mixing.tails, 1, LEVEL_BITS if up else 0
    while count < LEVEL_BITS and decide(
        np.int64(size >> count > 0), SIZES + count - 1, level + SIZE, tails[side + count],
        tails[side + count - 1] - tails[side + count], c, decode, heads, words, mixing,
    ):  # fmt: skip
        count += 1
    left = count - 1
    if left == 0:
        return np.int64(1)
    if c > 0:
        find_joint_lines(mixing.joint, mixing.mixer, c, np.int64(count), np.int64(BITS + (count - 2) * 7))
    known, modelled = np.int64(1), min(left, MODELLED_BITS)
    find_bounds(whole, up, left, modelled, pixel, family, room, mixing)
    low, high = 0, 1 << modelled
    for _ in range(modelled):
        left -= 1
        middle = low + high >> 1
        decision = BITS + (count - 2) * 7 + known - 1
        bit = decide(
            size >> left & 1, decision, level + BIT, tails[middle] - tails[high], tails[low] - tails[middle],
            c, decode, heads, words, mixing,
        )  # fmt: skip
        known = 2 * known + bit
        if bit:
            low = middle
        else:
            high = middle
    if left > 0:
        known = known << left | code_bits(size & (1 << left) - 1, left, decode, heads, words, mixing.position)
    return known


@inlined
def find_bounds(whole, up, bits, modelled, pixel, family, room, mixing):
    """Tails beyond the differences whose highest bit is 2**bits, by the bits below that are modelled, to the tails."""
    sizes = (load(mixing.reaches, 1) << bits - modelled) + (1 << bits)
    bounds = sizes + whole if up else whole + 1 - sizes
    starts = starts_of(family, room, pixel, clamp(bounds, 0, 256))
    store(mixing.tails, 0, (1 << PRECISION) - starts if up else starts)


@inlined
def find_tails(whole, pixel, family, room, mixing):
    """Tails below and above differences of each number of bits, and what is left between: the nearest level's."""
    starts = starts_of(family, room, pixel, clamp(load(mixing.reaches, 0) + whole, 0, 256))
    store(mixing.tails, 0, starts)
    for count in range(LEVEL_BITS):
        mixing.tails[LEVEL_BITS + count] = (1 << PRECISION) - mixing.tails[LEVEL_BITS + count]
    return np.int64((1 << PRECISION) - mixing.tails[0] - mixing.tails[LEVEL_BITS])


@inlined
def code_sample(x, pixels, errors, c, i, j, pixel, decode, heads, words, family, room, mixing):
    """Code a sample x of a pixel, or decode it; returns it."""
    mean = np.int64(mixing.means[pixel])
    whole = mean + 128 >> 8
    nearest = find_tails(whole, pixel, family, room, mixing)
    below, above = mixing.tails[0], mixing.tails[LEVEL_BITS]
    doubt = min((PRECISION << INFORMATION_BITS) - log2_of(nearest, mixing.log2) >> INFORMATION_BITS - 2, DOUBTS - 1)
    fill_contexts(mixing, pixels, errors, c, i, j, whole, doubt)
    next_sample(mixing.mixer)
    find_counters(mixing.mixer)
    if c > 0:
        first_one, last_one = np.int64(pixels[0, i, j]), np.int64(pixels[c - 1, i, j])
        find_joint(mixing.joint, mixing.mixer, c, first_one, last_one, whole)
    level = 4 * doubt
    if decide(np.int64(x != whole), 0, level + ZERO, below + above, nearest, c, decode, heads, words, mixing):
        up = decide(np.int64(x > whole), 1, level + SIGN, above, below, c, decode, heads, words, mixing)
        size = code_size(abs(x - whole), up, whole, level, c, pixel, decode, heads, words, family, room, mixing)
        x = whole + size if up else whole - size
    else:
        x = whole
    error = 16 * x - (mean + 8 >> 4)
    errors[c, i + ABOVE, j + LEFT] = error
    if j == pixels.shape[2] - 1:
        errors[c, i + ABOVE, j + LEFT + 1] = error
    return x


@inlined
def cost_of(steps, first, mixing):
    """What the last steps cost, in 2**-24 bits."""
    cost = np.int64(0)
    for step in range(first, mixing.position[0]):
        mass = np.int64(steps[step] & 0xFFFF)
        cost += (PROBABILITY_BITS << INFORMATION_BITS) - log2_of(mass, mixing.log2)
    return cost


@part
def code_wave(wave, images, decode, heads, words, family, work, mixing, costs):
    """Code the pixels of a wave, or decode them, into images and work.values; whether all have values they can have."""
    room, rows = work.room, wave.last - wave.first
    for first in range(0, wave.pixels, LANES):
        count = min(LANES, wave.pixels - first)
        turn(work.params, work.order, first, count, room)
        for c in range(family.channels):
            prepare(family, room, c)
            find_means(family, room, mixing)
            for p in range(count):
                image, row, at = (first + p) // rows, (first + p) % rows, work.order[first + p]
                i, position = wave.first + row, mixing.position[0]
                j = wave.t - SKEW * i
                x = code_sample(
                    np.int64(images[image, c, i, j]), images[image], mixing.errors[image], c, i, j, p,
                    decode, heads, words, family, room, mixing,
                )  # fmt: skip
                work.values[at, c] = room.value[p] = x
                if not decode:
                    costs[image] += cost_of(words, position, mixing)
                elif 0 <= x <= 255 and mixing.position[0] >= 0:
                    images[image, c, i, j] = x
                else:
                    return False
            if c + 1 < family.channels:
                learn(family, room, c)
    return True


@compiled
def begin(kernels, work, mixing):
    """Before the first wave of a batch."""
    clear(address(work.pixels), 2 * work.pixels.size)
    clear(address(work.rings), work.rings.size)
    clear(address(mixing.errors), 4 * mixing.errors.size)


@compiled
def run(kernels, net, family, work, mixing, context, images, first, last, decode, heads, words, n, costs):
    """Code waves first to last - 1 of images (B, C, H, W), after those before; returns the new n, or UNDERFLOW.

    To words as steps, from position n on, or, to decode, from a stack. costs: (B,), in 2**-24 bits.
    """
    batch, _, height, width = images.shape
    mixing.position[0] = n
    for t in range(first, last):
        wave = wave_of(t, height, width, batch)
        evaluate(kernels, net, work, wave, height, context, 0)
        order_pixels(work.order, wave)
        if not code_wave(wave, images, decode, heads, words, family, work, mixing, costs):
            return UNDERFLOW
        show_pixels(net, work, wave, height, family.lowest)
    return mixing.position[0]


def groups(shape: tuple[int, ...]) -> Iterator[tuple[int, int, int]]:
    """First and last waves of the groups of images (B, C, H, W), and how many samples they have."""
    batch, channels, height, width = shape
    steps, first, samples = width + SKEW * (height - 1), 0, 0
    for t in range(steps):
        rows = min(height - 1, t // SKEW) + 1 - max(0, -((width - 1 - t) // SKEW))
        samples += rows * batch * channels
        if samples >= GROUP or t == steps - 1:
            yield first, t + 1, samples
            first, samples = t + 1, 0


class MixedCoder:
    """Codes batches of images one after another; it learns from all of them."""

    def __init__(self, coder: LocalCoder) -> None:
        """coder: a local net and a mixture of logistics. Raises ValueError for another distribution."""
        if not isinstance(coder.family, Mixture):
            raise ValueError("contexts are mixed with mixtures of logistics only")
        self.coder = coder
        channels, self.joint = coder.family.channels, Joint.of(REPLACED, DECISIONS, MOST_LINES)
        counters = self.joint.counters if channels > 1 else 0
        self.mixer = Mixer.of(channels, DECISIONS, 4 * DOUBTS, START_WEIGHTS, RATE, COUNT_MOST, counters)
        self.memory: tuple[tuple[int, ...], Work, Mixing] | None = None

    def push(self, images: Pixels, costs: npt.NDArray[np.int64]) -> bytes:
        """The messages of a batch of images (B, C, H, W); adds what each costs, in 2**-24 bits, to costs (B,)."""
        parts = []
        for first, last, samples in groups(images.shape):
            steps = np.empty(samples * STEPS_A_SAMPLE, np.uint32)
            count = self._run(images, first, last, False, np.zeros(1, np.uint64), steps, 0, costs)
            parts.append(pack_group(steps[:count]))
        return b"".join(parts)

    def pop(self, data: bytes, position: int, shape: tuple[int, int, int, int]) -> tuple[Pixels, int]:
        """The next batch of images of a shape (B, C, H, W), and where its messages end. Raises CoderError."""
        images = np.empty(shape, np.uint8)
        for first, last, _ in groups(shape):
            position = take_group(data, position, self._pop, images, first, last)
        return images, position

    def _pop(self, heads: npt.NDArray[np.uint64], words: Words, n: int, images: Pixels, first: int, last: int) -> int:
        return self._run(images, first, last, True, heads, words, n)

    def _run(
        self,
        images: Pixels,
        first: int,
        last: int,
        decode: bool,
        heads: npt.NDArray[np.uint64],
        words: Words,
        n: int,
        costs: npt.NDArray[np.int64] = NO_COSTS,
    ) -> int:
        net, family, kernels = self.coder.net, self.coder.family, self.coder.kernels
        work, mixing = self._memory(images.shape)
        if first == 0:
            begin(kernels, work, mixing)
        context = np.zeros((1, 1, 1, net.hidden), np.int16)
        return int(
            run(kernels, net, family, work, mixing, context, images, first, last, decode, heads, words, n, costs)
        )

    def _memory(self, shape: tuple[int, ...]) -> tuple[Work, Mixing]:
        if self.memory is None or self.memory[0] != shape:
            batch, _, height, width = shape
            work = make_work(self.coder.net, self.coder.family, (batch, height, width))
            self.memory = shape, work, Mixing.of(self.mixer, self.joint, shape)
        return self.memory[1:]
