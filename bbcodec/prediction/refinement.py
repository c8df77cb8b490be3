# mypy: allow-untyped-defs, allow-untyped-calls
"""Better predictions of samples of 16 bits, which are worth the time: by least squares, twice.

One of the linear predictions is by weights of the neighbours that would have been best so far. And what all
predictions are more than their mean, and errors nearby, say how wrong the mean will be.
"""

from __future__ import annotations

from typing import Final, NamedTuple, Self

import numpy as np

from bbcodec.coder.compilation import inlined
from bbcodec.prediction.least_squares import LeastSquares, estimate, improve
from bbcodec.prediction.predictor import BEFORE, LINEAR, NEAR, PREDICTIONS

OWN: Final = LINEAR - 1  # the prediction by least squares, in place of the slowest that follows errors
SAME: Final = 1  # the neighbour above, whose input is that of the left one with another sign
ERRORS: Final = 6  # nearby, of which more are inputs
VALUES: Final = 64  # classes of predictions, from 0 to the most there may be


class Refinement(NamedTuple):
    """What is learned: weights of neighbours; and of predictions less their mean, and errors nearby."""

    neighbours: LeastSquares
    predictions: LeastSquares

    @classmethod
    def of(cls, channels: int) -> Self:
        """One that has seen nothing yet."""
        return cls(LeastSquares.of(channels, NEAR + BEFORE), LeastSquares.of(channels, PREDICTIONS + ERRORS))


@inlined
def predict_by_neighbours(refinement, predictor, back, channel, most):
    """The prediction OWN of a sample, after the others."""
    least, w, n = refinement.neighbours, predictor.around[0], predictor.around[1]
    count = NEAR + BEFORE if back else NEAR
    for k in range(count):
        least.inputs[k] = 8 * np.int64(predictor.seen[k])
    least.inputs[SAME] = 0
    predictor.predictions[OWN] = min(max(8 * (w + n) + estimate(least, channel, count), 0), 16 * most)


@inlined
def corrected(refinement, predictor, here, above, top, channel, j, guess, most):
    """A mean of predictions, in 1/16, corrected. here, above, top: errors (W + 8,), of rows."""
    least = refinement.predictions
    inputs = least.inputs
    for m in range(PREDICTIONS):
        inputs[m] = np.int64(predictor.predictions[m]) - guess
    inputs[PREDICTIONS], inputs[PREDICTIONS + 1] = here[j + 3], above[j + 4]
    inputs[PREDICTIONS + 2], inputs[PREDICTIONS + 3] = above[j + 3], above[j + 5]
    inputs[PREDICTIONS + 4], inputs[PREDICTIONS + 5] = here[j + 2], top[j + 4]
    return min(max(guess + estimate(least, channel, PREDICTIONS + ERRORS), 0), 16 * most)


@inlined
def refine(refinement, predictor, back, channel, x, mean, guess, size):
    """Learn from a sample x. mean, guess: its prediction, and this corrected; size: of errors nearby, all in 1/16."""
    own, middle = np.int64(predictor.predictions[OWN]), 8 * (predictor.around[0] + predictor.around[1])
    count = NEAR + BEFORE if back else NEAR
    improve(refinement.neighbours, channel, count, 16 * x - middle, size + abs(16 * x - own))
    improve(refinement.predictions, channel, PREDICTIONS + ERRORS, 16 * x - mean, size + abs(16 * x - guess))


@inlined
def surroundings(here, above, top, j):
    """The sum of 24 errors in 1/16 around, of which two count twice."""
    total = abs(here[j + 3]) + abs(above[j + 4])
    for k in range(4):
        total += abs(here[j + k])
    for k in range(9):
        total += abs(above[j + k]) + abs(top[j + k])
    return total
