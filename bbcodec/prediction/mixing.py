# mypy: allow-untyped-defs, allow-untyped-calls
"""Adaptive probabilities of binary decisions: what contexts say, mixed in the logistic domain, in whole numbers.

Each context has a counter for each decision: a probability that moves towards what was decided, by less the more often
it was. Logits of these, and one that the caller has, are inputs of two mixtures, whose weights are chosen by the
decision and by a level, and follow the gradient of the code length; the mean of both is the probability (Mahoney 2005,
"Adaptive Weighing of Context Models for Lossless Data Compression").
"""

from __future__ import annotations

from typing import Final, NamedTuple, Self

import numpy as np
import numpy.typing as npt

from bbcodec.coder.compilation import inlined
from bbcodec.coder.tables import BERNOULLI, BERNOULLI_BITS, LOGIT_BOUND

CONTEXTS: Final = 7
INPUTS: Final = CONTEXTS + 1
CONTEXT_ROWS: Final = 4096  # values that a context may have
PROBABILITY_BITS: Final = 16
STRETCH_BITS: Final = 12  # of probabilities whose logits are looked up
COUNT_BITS: Final = 8
COUNT_MOST: Final = 255
HALF: Final = 2**23  # counters hold probabilities less a half in 2**-24, and how often they were moved
# Sums of eight inputs by weights are below 2**31: vectors of 32 bits hold them.
INPUT_BOUND: Final = 1023  # 1/128 nat
WEIGHT_BITS: Final = 16
WEIGHT_BOUND: Final = 2**18 - 1
RATE: Final = 40  # of learning, in the end
FIRST_RATE: Final = 120  # more, at first
RATE_HALVES: Final = 2**14  # samples
RATE_BITS: Final = 6, 14  # by which a rate and a step are shifted


def _stretch() -> npt.NDArray[np.int32]:
    """The logit, in 1/128 nat, of (2 i + 1) / 2**13, for i = 0 .. 4095: the least that gives as much or more."""
    probabilities = BERNOULLI[::-1]  # of a one, by logit + 2047
    odd = np.arange(1, 2 << STRETCH_BITS, 2, dtype=np.int64) << BERNOULLI_BITS - STRETCH_BITS - 1
    return np.clip(np.searchsorted(probabilities, odd) - LOGIT_BOUND, -INPUT_BOUND, INPUT_BOUND).astype(np.int32)


_COUNTS = np.arange(COUNT_MOST + 1, dtype=np.int64)
STRETCH: Final = _stretch()
CONFIDENCE: Final = 512 * _COUNTS // (2 * _COUNTS + 3)  # 1/256: n / (n + 3/2)
STEPS: Final = 131072 // (2 * _COUNTS + 3)  # 2**-16: 1 / (n + 3/2)
SQUASH: Final = np.ascontiguousarray(BERNOULLI[::-1])


class Mixer(NamedTuple):
    """Tables; what is learned; and memory.

    counters (C, CONTEXTS, CONTEXT_ROWS, decisions); weights of both mixtures, by_decision (C, decisions, INPUTS) and
    by_level (C, levels, INPUTS). rows (CONTEXTS,): the value of each context, 0 to CONTEXT_ROWS - 1. inputs (INPUTS,):
    of a decision, in 1/128 nat. outputs (2,): probabilities of the mixtures, 2**-16. rate (3,): of learning, now and in
    the end, and how many samples there were.
    """

    stretch: npt.NDArray[np.int32]
    squash: npt.NDArray[np.int64]
    confidence: npt.NDArray[np.int64]
    steps: npt.NDArray[np.int64]
    counters: npt.NDArray[np.int32]
    by_decision: npt.NDArray[np.int32]
    by_level: npt.NDArray[np.int32]
    rows: npt.NDArray[np.int64]
    inputs: npt.NDArray[np.int32]
    outputs: npt.NDArray[np.int64]
    rate: npt.NDArray[np.int64]

    @classmethod
    def of(cls, channels: int, decisions: int, levels: int, start: tuple[int, int], rate: int = RATE) -> Self:
        """One that knows nothing yet. start: weights, 2**-16, of each context and of the logit that the caller has."""
        counters = np.zeros((channels, CONTEXTS, CONTEXT_ROWS, decisions), np.int32)
        weights = np.array([start[0]] * CONTEXTS + [start[1]], np.int32)
        by_decision = np.tile(weights, (channels, decisions, 1))
        by_level = np.tile(weights, (channels, levels, 1))
        rows, inputs = np.zeros(CONTEXTS, np.int64), np.zeros(INPUTS, np.int32)
        outputs, rates = np.zeros(2, np.int64), np.array([0, rate, 0])
        tables = STRETCH, SQUASH, CONFIDENCE, STEPS
        return cls(*tables, counters, by_decision, by_level, rows, inputs, outputs, rates)


@inlined
def squashed(mixer, logit):
    """The probability of a logit in 1/128 nat, 2**-16: 1 to 65,535."""
    p = mixer.squash[min(max(logit, -LOGIT_BOUND), LOGIT_BOUND) + LOGIT_BOUND] >> BERNOULLI_BITS - PROBABILITY_BITS
    return min(max(p, 1), (1 << PROBABILITY_BITS) - 1)


@inlined
def next_sample(mixer):
    """Before the decisions of a sample: the more there were, the less is learned from each."""
    mixer.rate[0] = mixer.rate[1] + FIRST_RATE * RATE_HALVES // (RATE_HALVES + mixer.rate[2])
    mixer.rate[2] += 1


@inlined
def product(weights, inputs):
    """The sum of inputs by weights, in 32 bits."""
    total = np.int32(0)
    for k in range(INPUTS):
        total = np.int32(total + np.int32(weights[k] * inputs[k]))
    return np.int64(total)


@inlined
def move(weights, inputs, step):
    """Move weights along the inputs. step: below 2**18, so that products are below 2**28."""
    for k in range(INPUTS):
        moved = np.int32(np.int32(inputs[k] * step) + np.int32(1 << RATE_BITS[1] - 1)) >> RATE_BITS[1]
        weights[k] = min(max(np.int32(weights[k] + moved), np.int32(-WEIGHT_BOUND)), np.int32(WEIGHT_BOUND))


@inlined
def probability(mixer, channel, decision, level, own):
    """The probability of a one, 2**-16, 1 to 65,535. own: the logit that the caller has, +-INPUT_BOUND."""
    inputs = mixer.inputs
    for c in range(CONTEXTS):
        counter = np.int64(mixer.counters[channel, c, mixer.rows[c], decision])
        logit = np.int64(mixer.stretch[(counter >> COUNT_BITS) + HALF >> 24 - STRETCH_BITS])
        inputs[c] = logit * mixer.confidence[counter & COUNT_MOST] >> 8
    inputs[CONTEXTS] = own
    first = product(mixer.by_decision[channel, decision], inputs)
    second = product(mixer.by_level[channel, level], inputs)
    mixer.outputs[0] = squashed(mixer, first >> WEIGHT_BITS)
    mixer.outputs[1] = squashed(mixer, second >> WEIGHT_BITS)
    return squashed(mixer, first + second >> WEIGHT_BITS + 1)


@inlined
def learn(mixer, channel, decision, level, bit):
    """Learn what was decided, after `probability` of the same decision and level."""
    first = ((bit << PROBABILITY_BITS) - mixer.outputs[0]) * mixer.rate[0] >> RATE_BITS[0]
    second = ((bit << PROBABILITY_BITS) - mixer.outputs[1]) * mixer.rate[0] >> RATE_BITS[0]
    move(mixer.by_decision[channel, decision], mixer.inputs, np.int32(first))
    move(mixer.by_level[channel, level], mixer.inputs, np.int32(second))
    target = HALF - 1 if bit else -HALF
    for c in range(CONTEXTS):
        counter = np.int64(mixer.counters[channel, c, mixer.rows[c], decision])
        count, p = counter & COUNT_MOST, counter >> COUNT_BITS
        p += (target - p) * mixer.steps[count] >> 16
        mixer.counters[channel, c, mixer.rows[c], decision] = p << COUNT_BITS | min(count + 1, COUNT_MOST)
