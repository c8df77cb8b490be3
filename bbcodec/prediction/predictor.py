# mypy: allow-untyped-defs, allow-untyped-calls
"""Predictions of samples of up to 16 bits from those before them, in raster order, in whole numbers.

Five predictions of a sample, in 1/16: four linear ones of its nearest neighbours, three of which also see the image
before, with weights that follow the errors that they make (normalised least mean squares), and the median of left,
above, and left + above - corner. Their mean is weighted by how little each was wrong nearby, to the third power.
Weights are kept from one image to the next.

Above the first row stands what is to the left; to the left of a row, the first sample of the row above (0 in the first
row); to its right, the last one of that row. The image before is continued by its outermost samples.
"""

from __future__ import annotations

from typing import Final, NamedTuple, Self

import numpy as np
import numpy.typing as npt

from bbcodec.coder.compilation import compiled, inlined

# Rows and columns of the neighbours, nearest first.
NEIGHBOURS: Final = np.array(
    [
        (0, -1), (-1, 0), (-1, -1), (-1, 1), (0, -2), (-2, 0), (-1, 2), (-1, -2), (-2, -1), (-2, 1), (-2, 2), (-2, -2),
        (0, -3), (-3, 0), (-3, -1), (-3, 1), (-1, 3), (-1, -3), (-2, 3), (-2, -3), (-3, 2), (-3, -2), (0, -4), (-4, 0),
    ]
)  # fmt: skip
NEAR: Final = 24  # neighbours in the image itself
BEFORE: Final = 6  # inputs from the image before
COUNTS: Final = np.array([24, 14, 6, 24])  # neighbours of each linear prediction
LOOKS_BACK: Final = np.array([True, False, True, True])  # whether it sees the image before
GAINS: Final = np.array([16384, 4096, 24576, 2048])  # how fast its weights follow
LINEAR: Final = 4
PREDICTIONS: Final = 5
WEIGHT_BITS: Final = 20
WEIGHT_BOUND: Final = 2**22
START: Final = 2**18  # of the weight of the corner at the right, and less that of the one at the left: a quarter
PAD: Final = 4  # columns beside a row
ROWS: Final = 5  # that are looked at
ERROR_ROWS: Final = 3
LEAST_ERROR: Final = 10  # 1/16, added to errors nearby

Integers = npt.NDArray[np.int64]


class Predictor(NamedTuple):
    """What predictions are made of, int64: constants; what is learned; and memory of the rows above.

    weights (C, LINEAR, NEAR + BEFORE); rows (ROWS, W + 2 PAD): samples; errors (ERROR_ROWS, PREDICTIONS, W + 4): of
    each prediction, in 1/16, absolute; nearby (PREDICTIONS,): sums of these; seen (NEAR + BEFORE,): inputs; predictions
    (PREDICTIONS,), in 1/16; around (4,): left, above, corner, and above at the right.
    """

    neighbours: Integers
    counts: Integers
    looks_back: npt.NDArray[np.bool_]
    gains: Integers
    weights: Integers
    rows: Integers
    errors: Integers
    nearby: Integers
    seen: Integers
    predictions: Integers
    around: Integers

    @classmethod
    def of(cls, width: int, channels: int = 1, linear: int = LINEAR) -> Self:
        """One that has seen nothing yet, for images of a width. linear: how many of the linear predictions it makes."""
        weights = np.zeros((channels, LINEAR, NEAR + BEFORE), np.int64)
        weights[..., 2], weights[..., 3] = -START, START
        sizes = (
            (ROWS, width + 2 * PAD),
            (ERROR_ROWS, PREDICTIONS, width + 4),
            PREDICTIONS,
            NEAR + BEFORE,
            PREDICTIONS,
            4,
        )
        memory = [np.zeros(size, np.int64) for size in sizes]
        return cls(NEIGHBOURS, COUNTS[:linear], LOOKS_BACK[:linear], GAINS[:linear], weights, *memory)


@inlined
def median(w, n, corner):
    """The middle one of w, n and w + n - corner."""
    return max(min(w, n), min(max(w, n), w + n - corner))


@inlined
def begin_row(predictor, i):
    """Before the samples of row i."""
    rows = predictor.rows
    first = rows[(i - 1) % ROWS, PAD] if i > 0 else np.int64(0)
    for j in range(PAD):
        rows[i % ROWS, j] = first
    if i == 0:
        predictor.errors[:] = 0


@inlined
def end_row(predictor, i, width):
    """After the samples of row i."""
    here = predictor.rows[i % ROWS]
    for j in range(PAD):
        here[width + PAD + j] = here[width + PAD - 1]


@inlined
def look(predictor, i, j):
    """Samples nearest to a place to `around`, and neighbours to `seen`: twice what they are, less left and above."""
    rows, seen, around = predictor.rows, predictor.seen, predictor.around
    w = rows[i % ROWS, j + PAD - 1]
    n, corner, right = w, w, w
    if i > 0:
        above = rows[(i - 1) % ROWS]
        n, corner, right = above[j + PAD], above[j + PAD - 1], above[j + PAD + 1]
    around[0], around[1], around[2], around[3] = w, n, corner, right
    for k in range(NEAR):
        up = i + predictor.neighbours[k, 0]
        seen[k] = 2 * (w if up < 0 else rows[up % ROWS, j + PAD + predictor.neighbours[k, 1]]) - w - n


@inlined
def look_back(predictor, before, i, j):
    """The same of the image before, (H, W): at the place, right of it, below, left, at the corner; and against this."""
    seen, (height, width) = predictor.seen, before.shape
    left, up, right, down = max(j - 1, 0), max(i - 1, 0), min(j + 1, width - 1), min(i + 1, height - 1)
    here, w, n = np.int64(before[i, j]), np.int64(before[i, left]), np.int64(before[up, j])
    seen[NEAR] = 2 * here - w - n
    seen[NEAR + 1] = 2 * np.int64(before[i, right]) - w - n
    seen[NEAR + 2] = 2 * np.int64(before[down, j]) - w - n
    seen[NEAR + 3] = w - n
    seen[NEAR + 4] = 2 * np.int64(before[up, left]) - w - n
    seen[NEAR + 5] = 2 * here - predictor.around[0] - predictor.around[1]


@inlined
def blend(predictor, i, j):
    """The mean of all predictions of a sample, in 1/16. Powers are at most 2**24, and predictions below 2**20."""
    errors, nearby = predictor.errors, predictor.nearby
    here, above, top = errors[i % ERROR_ROWS], errors[(i - 1) % ERROR_ROWS], errors[(i - 2) % ERROR_ROWS]
    least = np.int64(2**40)
    for m in range(PREDICTIONS):
        near = 2 * (here[m, j + 1] + above[m, j + 2]) + above[m, j + 1] + above[m, j + 3] + here[m, j] + top[m, j + 2]
        nearby[m] = near + LEAST_ERROR
        least = min(least, nearby[m])
    total = parts = np.int64(0)
    for m in range(PREDICTIONS):
        share = (least << 8) // nearby[m]
        power = share * share * share
        total += power
        parts += power * predictor.predictions[m]
    return parts // total


@inlined
def fill_predictions(predictor, before, back, channel, i, j, most):
    """Predictions of a sample of a channel, from those before it and, if `back`, the image before."""
    weights, seen, predictions = predictor.weights[channel], predictor.seen, predictor.predictions
    look(predictor, i, j)
    if back:
        look_back(predictor, before, i, j)
    w, n = predictor.around[0], predictor.around[1]
    for m in range(len(predictor.counts)):
        total = np.int64(0)
        for k in range(predictor.counts[m]):
            total += weights[m, k] * seen[k]  # below 2**40
        if back and predictor.looks_back[m]:
            for k in range(NEAR, NEAR + BEFORE):
                total += weights[m, k] * seen[k]
        predictions[m] = min(max(8 * (w + n) + (total >> WEIGHT_BITS - 3), 0), 16 * most)
    predictions[LINEAR] = 16 * min(max(median(w, n, predictor.around[2]), 0), most)


@inlined
def predict(predictor, before, back, channel, i, j, most):
    """The prediction of a sample, in 1/16."""
    fill_predictions(predictor, before, back, channel, i, j, most)
    return blend(predictor, i, j)


@inlined
def move(weights, seen, first, last, step):
    """Weights of inputs first to last by a step."""
    for k in range(first, last):
        weights[k] = min(max(weights[k] + (step * seen[k] >> WEIGHT_BITS), -WEIGHT_BOUND), WEIGHT_BOUND)


@inlined
def follow(predictor, back, channel, i, j, x):
    """Learn from a sample x that was predicted.

    Errors are below 2**21 and inputs below 2**18; a step is below 2**37, as the energy grows with the error, too.
    """
    seen, errors = predictor.seen, predictor.errors[i % ERROR_ROWS]
    predictor.rows[i % ROWS, j + PAD] = x
    for m in range(PREDICTIONS):
        errors[m, j + 2] = abs(16 * x - predictor.predictions[m])
    for m in range(len(predictor.counts)):
        error, count = 16 * x - predictor.predictions[m], predictor.counts[m]
        looks = back and predictor.looks_back[m]
        energy = 4 * count + count * error * error // 6400
        for k in range(count):
            energy += seen[k] * seen[k]
        if looks:
            for k in range(NEAR, NEAR + BEFORE):
                energy += seen[k] * seen[k]
        step = (predictor.gains[m] * error << WEIGHT_BITS) // energy
        move(predictor.weights[channel, m], seen, 0, count, step)
        if looks:
            move(predictor.weights[channel, m], seen, NEAR, NEAR + BEFORE, step)


@compiled
def run(values, errors_of, most, decode, predictor):
    """Errors of values (N, H, W), 0 to `most`, into errors_of, or, to decode, values from errors. Whether all fit."""
    count, height, width = values.shape
    for image in range(count):
        for i in range(height):
            begin_row(predictor, i)
            for j in range(width):
                guess = (predict(predictor, values[max(image - 1, 0)], image > 0, 0, i, j, most) + 8) >> 4
                if decode:
                    x = guess + errors_of[image, i, j]
                    if not 0 <= x <= most:
                        return False
                    values[image, i, j] = x
                else:
                    x = np.int64(values[image, i, j])
                    errors_of[image, i, j] = x - guess
                follow(predictor, image > 0, 0, i, j, x)
            end_row(predictor, i, width)
    return True


def errors_of(values: npt.NDArray[np.uint16], most: int) -> npt.NDArray[np.int32]:
    """What predictions of values (N, H, W), none above `most`, lack: int32, within +-most."""
    errors = np.empty(values.shape, np.int32)
    run(values, errors, most, False, Predictor.of(values.shape[2]))
    return errors


def values_of(errors: npt.NDArray[np.int32], most: int) -> npt.NDArray[np.uint16] | None:
    """The values (N, H, W) uint16 of `errors_of`; None where one would not be 0 to `most`, at most 65,535."""
    values = np.empty(errors.shape, np.uint16)
    return values if run(values, errors, most, True, Predictor.of(errors.shape[2])) else None
