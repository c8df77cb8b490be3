# mypy: allow-untyped-defs, allow-untyped-calls
"""Weights of inputs by recursive least squares, in whole numbers.

Sums of products of inputs, and of inputs and what they should have given, are kept, older ones counting less; each
sample counts the less the larger errors around it, and its own, are. After each sample one weight, in turn, becomes
what solves its equation, given the others (Gauss and Seidel).
"""

from __future__ import annotations

from typing import Final, NamedTuple, Self

import numpy as np
import numpy.typing as npt

from bbcodec.coder.compilation import compiled

WEIGHT_BITS: Final = 16
WEIGHT_BOUND: Final = 2**18
SHARE_BITS: Final = 40  # of what a sample counts, less than 1 / LEAST
SCALED_BITS: Final = 5  # of inputs that are as large as errors are
ENERGY_BITS: Final = 10  # inputs are at most so much larger: scaled ones are at most 2**15
LEAST: Final = 16  # 1/16, added to errors
RIDGE: Final = 2**10  # added to the square of each input
FORGET: Final = 2**13  # samples, after which those before count half

Integers = npt.NDArray[np.int64]


class LeastSquares(NamedTuple):
    """What is known, int64, by channel, and the inputs of a sample.

    weights (C, K), 2**-16; products (C, K, K); answers (C, K); turns (C, 2): how many samples there were, and whose
    turn it is. inputs (K,); scaled (K,) int32, +-2**15.
    """

    weights: Integers
    products: Integers
    answers: Integers
    turns: Integers
    inputs: Integers
    scaled: npt.NDArray[np.int32]

    @classmethod
    def of(cls, channels: int, count: int) -> Self:
        """One that has seen nothing yet, whose weights are 0."""
        shapes = (channels, count), (channels, count, count), (channels, count), (channels, 2), (count,)
        weights, products, answers, turns, inputs = (np.zeros(shape, np.int64) for shape in shapes)
        return cls(weights, products, answers, turns, inputs, np.zeros(count, np.int32))


@compiled
def estimate(least, channel, count):
    """What the first `count` inputs give."""
    weights, inputs = least.weights[channel], least.inputs
    total = np.int64(0)
    for k in range(count):
        total += weights[k] * inputs[k]  # below 2**38
    return total >> WEIGHT_BITS


@compiled
def improve(least, channel, count, answer, size):
    """Learn that the first `count` inputs should have given an answer. size: of errors around, and of this one.

    The answer is at most the error and what weights can give. So rows of products are below 2**43 in sum, and answers
    below 2**45: both sides of an equation are below 2**61 and a little.
    """
    inputs, scaled, turns = least.inputs, least.scaled, least.turns[channel]
    products, answers, weights = least.products[channel], least.answers[channel], least.weights[channel]
    energy = np.int64(0)
    for k in range(count):
        energy += abs(inputs[k])
    share = (1 << SHARE_BITS) // (size + (energy >> ENERGY_BITS) + LEAST)
    for k in range(count):
        scaled[k] = inputs[k] * share >> SHARE_BITS - SCALED_BITS
    answer = answer * share >> SHARE_BITS - SCALED_BITS
    for i in range(count):
        row, one = products[i], np.int64(scaled[i])
        for k in range(count):
            row[k] += one * np.int64(scaled[k])
        answers[i] += one * answer
    turns[0] += 1
    if turns[0] == FORGET:
        turns[0] >>= 1
        for i in range(len(answers)):
            answers[i] >>= 1
            for k in range(len(answers)):
                products[i, k] >>= 1
    i = turns[1] if turns[1] < count else 0
    turns[1] = i + 1
    missing = answers[i] << WEIGHT_BITS
    for k in range(count):
        missing -= products[i, k] * weights[k]
    weights[i] = min(max(weights[i] + missing // (products[i, i] + RIDGE), -WEIGHT_BOUND), WEIGHT_BOUND)
