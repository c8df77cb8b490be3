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
from bbcodec.coder.vector_memory import gather, gather_at, load_eight, scatter_at, store
from bbcodec.coder.vectors import clamp, insert, multiply_shift, small_quotient, smallest, total

CONTEXTS: Final = 7  # of one vector of inputs
CONTEXT_ROWS: Final = 4096  # values that each of these may have
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


def _squash() -> npt.NDArray[np.uint16]:
    """The probability, 2**-16, of a logit + 2047 in 1/128 nat."""
    probabilities = BERNOULLI[::-1] >> BERNOULLI_BITS - PROBABILITY_BITS
    return np.asarray(np.clip(probabilities, 1, (1 << PROBABILITY_BITS) - 1), np.uint16)


STRETCH: Final = _stretch()
SQUASH: Final = _squash()


class Mixer(NamedTuple):
    """Tables; what is learned; and memory. There are K inputs: contexts, and the last one.

    counters (C, any number): how often each was moved and, above that, its probability; weights of both mixtures,
    by_decision (C, decisions, K) and by_level (C, levels, K). rows (K - 1,): the value of each context, 0 to
    CONTEXT_ROWS - 1; places (K,): where its counters are, of which decision 0 is the first; that of the last input is
    in vain. Of a decision: counted (K,), its counters; inputs (K,), in 1/128 nat; and outputs (2,), probabilities of
    the mixtures, 2**-16. rate (4,): of learning, now and in the end; how many samples there were; and how many moves of
    a counter are counted.
    """

    stretch: npt.NDArray[np.int32]
    squash: npt.NDArray[np.uint16]
    counters: npt.NDArray[np.int32]
    by_decision: npt.NDArray[np.int32]
    by_level: npt.NDArray[np.int32]
    rows: npt.NDArray[np.int64]
    places: npt.NDArray[np.int64]
    counted: npt.NDArray[np.int32]
    inputs: npt.NDArray[np.int32]
    outputs: npt.NDArray[np.int64]
    rate: npt.NDArray[np.int64]

    @classmethod
    def of(
        cls,
        channels: int,
        decisions: int,
        levels: int,
        start: tuple[int, int],
        rate: int = RATE,
        most: int = COUNT_MOST,
        counters: int = 0,
        vectors: int = 1,
    ) -> Self:
        """One that knows nothing yet. start: weights, 2**-16, of each context and of the logit that the caller has.

        most: how many moves of a counter are counted. counters: how many there are of each channel, but for those that
        are in vain; 0: one for each decision and value of a context. vectors: of eight inputs.
        """
        contexts, end = 8 * vectors - 1, counters or CONTEXTS * CONTEXT_ROWS * decisions
        weights = np.array([start[0]] * contexts + [start[1]], np.int32)
        by_decision = np.tile(weights, (channels, decisions, 1))
        by_level = np.tile(weights, (channels, levels, 1))
        rows, places = np.zeros(contexts, np.int64), np.full(contexts + 1, end)
        counted, inputs = np.zeros((2, contexts + 1), np.int32)
        outputs, rates = np.zeros(2, np.int64), np.array([0, rate, 0, most])
        learned = np.zeros((channels, end + decisions), np.int32), by_decision, by_level
        return cls(STRETCH, SQUASH, *learned, rows, places, counted, inputs, outputs, rates)


@inlined
def squashed(mixer, logit):
    """The probability of a logit in 1/128 nat, 2**-16: 1 to 65,535."""
    return np.int64(mixer.squash[min(max(logit, -LOGIT_BOUND), LOGIT_BOUND) + LOGIT_BOUND])


@inlined
def next_sample(mixer):
    """Before the decisions of a sample: the more there were, the less is learned from each."""
    mixer.rate[0] = mixer.rate[1] + FIRST_RATE * RATE_HALVES // (RATE_HALVES + mixer.rate[2])
    mixer.rate[2] += 1


@inlined
def find_counters(mixer):
    """After the contexts have their values, before the decisions that see these."""
    decisions = mixer.by_decision.shape[1]
    for c in range(CONTEXTS):
        mixer.places[c] = (c * CONTEXT_ROWS + mixer.rows[c]) * decisions


@inlined
def probability(mixer, channel, decision, level, own, vectors):
    """The probability of a one, 2**-16, 1 to 65,535. own: the logit that the caller has, +-INPUT_BOUND.

    A logit counts n / (n + 3/2) of itself where its counter was moved n times. vectors: of eight inputs, a constant.
    """
    by_decision, by_level = mixer.by_decision[channel, decision], mixer.by_level[channel, level]
    first = second = np.int64(0)
    for v in range(vectors):
        counters = gather_at(mixer.counters[channel], mixer.places[8 * v :], decision)
        count = counters & COUNT_MOST
        logits = gather(mixer.stretch, (counters >> COUNT_BITS) + HALF >> 24 - STRETCH_BITS)
        inputs = logits * small_quotient(count << 9, (count << 1) + 3) >> 8
        if v == vectors - 1:
            inputs = insert(inputs, 7, own)
        store(mixer.counted, v, counters)
        store(mixer.inputs, v, inputs)
        first += np.int64(total(load_eight(by_decision, v) * inputs))
        second += np.int64(total(load_eight(by_level, v) * inputs))
    mixer.outputs[0] = squashed(mixer, first >> WEIGHT_BITS)
    mixer.outputs[1] = squashed(mixer, second >> WEIGHT_BITS)
    return squashed(mixer, first + second >> WEIGHT_BITS + 1)


@inlined
def move(weights, v, inputs, error):
    """Move eight weights along their inputs. error: below 2**18, so that products are below 2**28."""
    step = inputs * error + (1 << RATE_BITS[1] - 1) >> RATE_BITS[1]
    store(weights, v, clamp(load_eight(weights, v) + step, -WEIGHT_BOUND, WEIGHT_BOUND))


@inlined
def learn(mixer, channel, decision, level, bit, vectors):
    """Learn what was decided, after `probability` of the same decision and level.

    A counter that was moved n times before is moved by 1 / (n + 3/2) of what it lacks.
    """
    one, target = bit << PROBABILITY_BITS, HALF - 1 if bit else -HALF
    first = (one - mixer.outputs[0]) * mixer.rate[0] >> RATE_BITS[0]
    second = (one - mixer.outputs[1]) * mixer.rate[0] >> RATE_BITS[0]
    for v in range(vectors):
        inputs, counters = load_eight(mixer.inputs, v), load_eight(mixer.counted, v)
        move(mixer.by_decision[channel, decision], v, inputs, first)
        move(mixer.by_level[channel, level], v, inputs, second)
        count, p = counters & COUNT_MOST, counters >> COUNT_BITS
        p = p + multiply_shift(target - p, small_quotient(1 << 17, (count << 1) + 3), 16)
        counters = (p << COUNT_BITS) + smallest(count + 1, mixer.rate[3])
        scatter_at(mixer.counters[channel], mixer.places[8 * v :], decision, counters)
