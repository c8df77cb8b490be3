# mypy: allow-untyped-defs, allow-untyped-calls
"""Images pixel by pixel as binary decisions, each with an adaptive probability, on rANS: for what is drawn.

A pixel is coded as whether it is like the one at its left, if not, like the one above, at the corner, above at the
right, each asked once; else by the bits of its channels, the highest first. The probability of each decision is mixed
(`mixing`) from counters in fifteen contexts: which pixels are nearby, what the image has had, what followed where
pixels before were like those here, and, of bits, how large samples nearby are.

Contexts have many values, so their counters lie in lines (`lines`). A pixel is one whole number, its channels being its
bytes, the first one in the highest.
"""

from __future__ import annotations

from typing import Final, NamedTuple, Self

import numpy as np
import numpy.typing as npt

from bbcodec.coder.compilation import compiled, inlined
from bbcodec.coder.kernels.rans import UNDERFLOW
from bbcodec.prediction.groups import code, decode_groups, encode_groups
from bbcodec.prediction.lines import LINE_BITS, bits_of, hashed, line_of
from bbcodec.prediction.matches import LENGTHS, Matches, follow_match, look_for_match
from bbcodec.prediction.mixing import Mixer, learn, next_sample, probability
from bbcodec.prediction.predictor import NEIGHBOURS

NEAR: Final = 12  # neighbours that are looked at, the first of those of the predictor
LIKE: Final = 4  # of which a pixel may be said to be like one
VECTORS: Final = 2  # of the inputs of the mixer
CONTEXTS: Final = 8 * VECTORS - 1
MATCHED: Final = CONTEXTS - 1  # the last context
OF_PIXELS: Final = 9  # contexts of bits that see all channels before; the others see samples
# Pairs of neighbours that may be equal; the first six choose weights, too.
PAIRS: Final = np.array(
    [(0, 1), (0, 2), (1, 2), (1, 3), (0, 4), (1, 5), (3, 6), (2, 7), (0, 3), (5, 9), (8, 2), (4, 7)]
)
FEW_PAIRS: Final = 6
NODES: Final = 16 + 256  # decisions of a channel: of its first four bits, and of the others
LIKE_LEVELS: Final = LIKE << FEW_PAIRS
MATCH_LEVELS: Final = 1 + LENGTHS  # without a match, or how long it is
MOST_LINES: Final = 16  # bits of their number, for each context
START_WEIGHTS: Final = 2**13, 2**13  # of contexts and of nothing
START: Final = np.int64(0)  # the hash of no numbers
NO_LOGIT: Final = 2048  # of a probability of a half: nothing is known beside the contexts
FEW_VALUES: Final = 32  # what there are few of is learned for good:
SLOW: Final = 40, 255  # rate, and how often counters are moved before they follow the last ones only
QUICK: Final = 120, 15

Pixels = npt.NDArray[np.uint32]  # (N, H, W)


class Coder(NamedTuple):
    """What images are coded by.

    bits (2,): of a channel, and of hashes of lines. near (NEAR,): the neighbours; hashes (CONTEXTS,): of contexts of a
    pixel. position (1,): as in `residuals.Coder`.
    """

    neighbours: npt.NDArray[np.int64]
    pairs: npt.NDArray[np.int64]
    mixer: Mixer
    matches: Matches
    bits: npt.NDArray[np.int64]
    near: npt.NDArray[np.int64]
    hashes: npt.NDArray[np.int64]
    position: npt.NDArray[np.int64]

    @classmethod
    def of(cls, shape: tuple[int, int, int], channels: int, most: int) -> Self:
        """One that has seen nothing yet, for images of a shape (N, H, W) and channels up to `most`."""
        line_bits = bits_of(shape[0] * shape[1] * shape[2] * channels, MOST_LINES)
        rate, limit = SLOW if channels == 1 and most < FEW_VALUES else QUICK
        decisions, levels = channels * NODES + LIKE, LIKE_LEVELS + 8 * channels * MATCH_LEVELS
        mixer = Mixer.of(1, decisions, levels, START_WEIGHTS, rate, limit, CONTEXTS << line_bits + LINE_BITS, VECTORS)
        bits = np.array([max(most.bit_length(), 1), line_bits])
        near, hashes, position = (np.zeros(size, np.int64) for size in (NEAR, CONTEXTS, 1))
        return cls(NEIGHBOURS[:NEAR].copy(), PAIRS, mixer, Matches.of(shape), bits, near, hashes, position)


@inlined
def look(coder, values, row, height, j):
    """The neighbours, beyond edges as `predictor` has them. Returns a bit for each equal pair."""
    near, i, width = coder.near, row % height, values.shape[3]
    for k in range(NEAR):
        up, at = i + coder.neighbours[k, 0], j + coder.neighbours[k, 1]
        if up < 0:
            up, at = i, j - 1
        if at < 0:
            up, at = up - 1, np.int64(0)
        near[k] = values[0, 0, row - i + up, min(at, width - 1)] if up >= 0 else 0
    equal = np.int64(0)
    for k in range(len(coder.pairs)):
        equal |= np.int64(near[coder.pairs[k, 0]] == near[coder.pairs[k, 1]]) << k
    return equal


@inlined
def line(coder, context, known):
    """Where the counters of a context begin that has a hash."""
    bits = coder.bits[1]
    return line_of(coder.mixer.counters[0], context << bits + LINE_BITS, bits, known)


@inlined
def find_like_lines(coder, values, row, height, j, equal, decision):
    """Lines of the counters of whether a pixel is like its neighbours; decision: the first of theirs."""
    near, hashes, few = coder.near, coder.hashes, equal & (1 << FEW_PAIRS) - 1
    number, i, known = row // height, row % height, START
    for k in range(NEAR):
        known = hashed(known, near[k])
        if k < 4:
            hashes[k] = known
        elif k == 5:
            hashes[4] = known
        elif k == 9:
            hashes[5] = known
    hashes[6] = known
    hashes[7] = hashed(START, equal)
    hashes[8] = hashed(hashed(START, likeness_before(coder, values, row, height, j)), few)
    hashes[9] = hashed(hashed(START, number), near[0])
    hashes[10] = hashed(hashed(hashed(START, number), few), near[1])
    hashes[11] = hashed(hashed(hashed(START, near[0]), near[4]), near[2])
    hashes[12] = hashed(hashed(hashed(START, near[1]), near[5]), near[3])
    hashes[13] = hashed(hashed(hashed(START, i), j), few)
    hashes[MATCHED] = hashed(hashed(hashed(START, coder.matches.now[1]), like_match(coder)), few)
    for k in range(CONTEXTS):
        coder.mixer.places[k] = line(coder, k, hashed(hashes[k], LIKE)) - decision


@inlined
def likeness_before(coder, values, row, height, j):
    """Which pixels of the image before, at the place, right of it and below, are like which of the four neighbours."""
    found = np.int64(0)
    if row >= height:
        here, below = row - height, row - height + (1 if row % height < height - 1 else 0)
        right = min(j + 1, values.shape[3] - 1)
        for k in range(LIKE):
            pixel = coder.near[k]
            likes = np.int64(values[0, 0, here, j] == pixel) | np.int64(values[0, 0, here, right] == pixel) << 1
            found |= (likes | np.int64(values[0, 0, below, j] == pixel) << 2) << 3 * k
    return found


@inlined
def like_match(coder):
    """The first of the four neighbours that the match is like; 4 if it is like none, 5 if there is no match."""
    now, near = coder.matches.now, coder.near
    found = np.int64(LIKE)
    for k in range(LIKE):
        if near[LIKE - 1 - k] == now[2]:
            found = np.int64(LIKE - 1 - k)
    return found if now[0] >= 0 else np.int64(LIKE + 1)


@inlined
def fill_pixel_contexts(coder, number):
    """The contexts of bits that see pixels."""
    near, hashes = coder.near, coder.hashes
    hashes[0] = hashed(START, number)
    hashes[1] = hashed(START, near[0])
    hashes[2] = hashed(START, near[1])
    hashes[3] = hashed(hashes[1], near[1])
    hashes[4] = hashed(hashed(hashes[3], near[2]), near[3])
    hashes[5] = START
    hashes[6] = hashed(hashes[1], near[4])
    hashes[7] = hashed(hashes[0], near[0])
    hashes[8] = hashed(hashes[2], near[3])


@inlined
def fill_sample_contexts(coder, shift, known, channel):
    """Those that see samples nearby, and how far those of the channel before are from this pixel's."""
    near, hashes = coder.near, coder.hashes
    w, n, corner, right = near[0] >> shift & 255, near[1] >> shift & 255, near[2] >> shift & 255, near[3] >> shift & 255
    before, from_w, from_n = right, n - corner, w - corner
    if channel > 0:
        before = known & 255
        from_w, from_n = before - (near[0] >> shift + 8 & 255), before - (near[1] >> shift + 8 & 255)
    hashes[9] = hashed(START, w)
    hashes[10] = hashed(START, n)
    hashes[11] = hashed(hashed(START, 256 + w + from_w), before)
    hashes[12] = hashed(hashed(START, 256 + w + from_w), 256 + n + from_n)
    hashes[13] = hashed(START, 512 + w + n + from_w + from_n)


@inlined
def find_lines(coder, known, channel, half, match, decision):
    """Lines of the counters of four bits of a channel; half: the first four, with a one before; decision: below all."""
    hashes = coder.hashes
    hashes[MATCHED] = hashed(START, match)
    for k in range(CONTEXTS):
        context = hashed(hashes[k], known if k < OF_PIXELS else np.int64(0))
        coder.mixer.places[k] = line(coder, k, hashed(hashed(context, channel), half)) - 1 - decision


@inlined
def decide(bit, decision, level, decode, heads, words, coder):
    """A decision of which nothing is known beside the contexts."""
    mixer = coder.mixer
    p = probability(mixer, 0, decision, level, mixer.stretch[NO_LOGIT], VECTORS)
    bit = code(bit, p, decode, heads, words, coder.position)
    learn(mixer, 0, decision, level, bit, VECTORS)
    return bit


@inlined
def code_channel(x, known, channel, shift, decode, heads, words, coder):
    """Code a channel of a pixel whose channels before are known, or decode it; returns these and this one."""
    now, skipped = coder.matches.now, 8 - coder.bits[0]
    matched = now[0] >= 0 and now[2] >> shift + 8 == known
    length = now[1] + 1 if matched else np.int64(0)
    match = length << 8 | (now[2] >> shift & 255) if matched else np.int64(0)
    level = LIKE_LEVELS + (channel * MATCH_LEVELS + length) * 8
    fill_sample_contexts(coder, shift, known, channel)
    node, top, before = np.int64(1) << skipped, np.int64(1) << skipped, channel * NODES
    for b in range(skipped, 8):
        if b == skipped or b == 4:
            half = max(node >> max(skipped - 4, 0), 16) if b >= 4 else np.int64(0)
            if b >= 4:
                before, top = channel * NODES + 16 * half - 240, np.int64(1) << max(skipped - 4, 0)
            find_lines(coder, known, channel, half, match, before)
        bit = decide(x >> shift + 7 - b & 1, before + top, level + b, decode, heads, words, coder)
        node, top = 2 * node + bit, 2 * top + bit
    return known << 8 | node - 256


@inlined
def code_pixel(x, values, row, height, j, channels, decode, heads, words, coder):
    """Code a pixel, or decode it; returns it."""
    equal, near = look(coder, values, row, height, j), coder.near
    look_for_match(coder.matches, values, near, row, j)
    find_like_lines(coder, values, row, height, j, equal, channels * NODES)
    few = LIKE * (equal & (1 << FEW_PAIRS) - 1)
    for k in range(LIKE):
        asked = False
        for m in range(k):
            asked = asked or near[m] == near[k]
        like = np.int64(x == near[k])
        if not asked and decide(like, channels * NODES + k, few + k, decode, heads, words, coder):
            return near[k]
    fill_pixel_contexts(coder, row // height)
    known = np.int64(0)
    for channel in range(channels):
        known = code_channel(x, known, channel, 8 * (channels - 1 - channel), decode, heads, words, coder)
    return known


@compiled
def code_rows(heads, words, n, values, first, last, most, decode, coder):
    """Code rows first to last of images one below the other (1, 1, N H, W), or decode them: as `residuals`.

    most (C,): the greatest value of each channel.
    """
    height, width, channels = coder.matches.places.shape[0], values.shape[3], len(most)
    coder.position[0] = n
    for row in range(first, last):
        for j in range(width):
            next_sample(coder.mixer)
            x = np.int64(values[0, 0, row, j])
            x = code_pixel(x, values, row, height, j, channels, decode, heads, words, coder)
            if decode:
                if coder.position[0] < 0 or (channels == 1 and x > most[0]):
                    return UNDERFLOW
                values[0, 0, row, j] = x
            follow_match(coder.matches, row % height, j, x)
    return coder.position[0]


def encode(pixels: Pixels, channels: int, most: int = 255) -> bytes:
    """Messages of the groups of rows of images (N, H, W), of 1 to 4 channels up to `most`: 255, but of one channel."""
    count, height, width = pixels.shape
    coder = Coder.of(pixels.shape, channels, most)
    tall = pixels.reshape(1, 1, count * height, width)
    return encode_groups(code_rows, coder, tall, np.full(channels, most), LIKE + 8 * channels)


def decode(data: bytes, shape: tuple[int, int, int], channels: int, most: int = 255) -> Pixels:
    """The images of `encode`. Raises DamagedArchive."""
    count, height, width = shape
    coder, tall = Coder.of(shape, channels, most), np.empty((1, 1, count * height, width), np.uint32)
    decode_groups(code_rows, coder, data, tall, np.full(channels, most))
    return tall.reshape(shape)
