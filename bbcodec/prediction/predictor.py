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
from bbcodec.coder.vector_memory import gather_at, load, load_eight, store
from bbcodec.coder.vectors import EIGHT, as_float, as_int, clamp, floor, insert, lane, least, size, total, totals

# Rows and columns of the neighbours, nearest first.
NEIGHBOURS: Final = np.array(
    [
        (0, -1), (-1, 0), (-1, -1), (-1, 1), (0, -2), (-2, 0), (-1, 2), (-1, -2), (-2, -1), (-2, 1), (-2, 2), (-2, -2),
        (0, -3), (-3, 0), (-3, -1), (-3, 1), (-1, 3), (-1, -3), (-2, 3), (-2, -3), (-3, 2), (-3, -2), (0, -4), (-4, 0),
    ]
)  # fmt: skip
NEAR: Final = 24  # neighbours in the image itself
BEFORE: Final = 6  # inputs from the image before
INPUTS: Final = 32  # these, and two that are always 0: four vectors
FEWER: Final = np.array([1.0] * 6 + [0.0] * 2)  # of the inputs of a vector
LINEAR: Final = 4
PREDICTIONS: Final = 5
COUNTS: Final = np.array([24.0, 14.0, 6.0, 24.0])  # neighbours of each linear prediction
GAINS: Final = np.array([16384.0, 4096.0, 24576.0, 2048.0])  # how fast its weights follow
WEIGHT_BITS: Final = 20
WEIGHT_BOUND: Final = 2**22
ERROR_BOUND: Final = 2**17  # 1/16: of what weights follow
START: Final = 2**18  # of the weight of the corner at the right, and less that of the one at the left: a quarter
PAD: Final = 4  # columns beside a row
ROWS: Final = 5  # that are looked at
ERROR_ROWS: Final = 3
LEAST_ERROR: Final = 10.0  # 1/16, added to errors nearby
NO_PREDICTION: Final = 2.0**40  # added to those of the other lanes, so that these have no share

Integers = npt.NDArray[np.int64]
Floats = npt.NDArray[np.float64]


class Predictor(NamedTuple):
    """What predictions are made of: constants; what is learned; and memory of the rows above.

    Vectors of eight hold a number for each prediction in their first lanes; float64 are whole numbers below 2**53.
    weights (C, LINEAR, INPUTS); rows (ROWS * (W + 2 PAD),): samples; places (NEAR,): where neighbours of the first
    sample of a row are in these; errors (ERROR_ROWS, W + 4, 8): of each prediction, in 1/16, absolute; seen (INPUTS,):
    inputs; predictions (8,), in 1/16; around (4,): left, above, corner, and above at the right.
    """

    neighbours: Integers
    fewer: Floats
    counts: Floats
    gains: Floats
    least_errors: Floats
    weights: Floats
    rows: npt.NDArray[np.int32]
    places: Integers
    errors: npt.NDArray[np.int32]
    seen: Floats
    predictions: Floats
    around: Integers

    @classmethod
    def of(cls, width: int, channels: int = 1) -> Self:
        """One that has seen nothing yet, for images of a width."""
        least_errors = np.where(np.arange(EIGHT) < PREDICTIONS, LEAST_ERROR, NO_PREDICTION)
        constants = NEIGHBOURS, FEWER, np.resize(COUNTS, EIGHT), np.resize(GAINS, EIGHT), least_errors
        weights = np.zeros((channels, LINEAR, INPUTS))
        weights[..., 2], weights[..., 3] = -START, START
        rows = np.zeros(ROWS * (width + 2 * PAD), np.int32)
        errors = np.zeros((ERROR_ROWS, width + 4, EIGHT), np.int32)
        places, around = np.zeros(NEAR, np.int64), np.zeros(4, np.int64)
        return cls(*constants, weights, rows, places, errors, np.zeros(INPUTS), np.zeros(EIGHT), around)


@inlined
def median(w, n, corner):
    """The middle one of w, n and w + n - corner."""
    return max(min(w, n), min(max(w, n), w + n - corner))


@inlined
def begin_row(predictor, i):
    """Before the samples of row i. Above the first row, there is what is at the left."""
    rows, places, neighbours = predictor.rows, predictor.places, predictor.neighbours
    width = len(rows) // ROWS
    here, above = i % ROWS * width, (i - 1) % ROWS * width
    for j in range(PAD):
        rows[here + j] = rows[above + PAD] if i > 0 else 0
    for k in range(NEAR):
        nearest = k if i + neighbours[k, 0] >= 0 else 0
        places[k] = (i + neighbours[nearest, 0]) % ROWS * width + PAD + neighbours[nearest, 1]
    if i == 0:
        predictor.errors[:] = 0


@inlined
def end_row(predictor, i, width):
    """After the samples of row i."""
    end = i % ROWS * (width + 2 * PAD) + PAD + width
    for j in range(PAD):
        predictor.rows[end + j] = predictor.rows[end - 1]


@inlined
def look(predictor, j):
    """Samples nearest to a place to `around`, and neighbours to `seen`: twice what they are, less left and above."""
    rows, places, around = predictor.rows, predictor.places, predictor.around
    for k in range(4):
        around[k] = rows[places[k] + j]
    for k in range(NEAR // EIGHT):
        neighbours = gather_at(rows, places[EIGHT * k :], j)
        store(predictor.seen, k, as_float((neighbours << 1) - (around[0] + around[1])))


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
    errors = predictor.errors
    here, above, top = errors[i % ERROR_ROWS], errors[(i - 1) % ERROR_ROWS], errors[(i - 2) % ERROR_ROWS]
    near = (load_eight(here, j + 1) + load_eight(above, j + 2) << 1) + load_eight(above, j + 1)
    near = near + load_eight(above, j + 3) + load_eight(here, j) + load_eight(top, j + 2)
    nearby = as_float(near) + load(predictor.least_errors, 0)
    share = floor(256 * least(nearby) / nearby)
    power = share * share * share
    return np.int64(np.floor(total(power * load(predictor.predictions, 0)) / total(power)))


@inlined
def inputs_of(predictor):
    """All inputs, in four vectors, and the first two of these without the last two inputs of each."""
    seen, fewer = predictor.seen, load(predictor.fewer, 0)
    first, second = load(seen, 0), load(seen, 1)
    return first, second, load(seen, 2), load(seen, 3), first * fewer, second * fewer


@inlined
def heeded(weights, a, b, c, d):
    """All inputs by the weights of a linear prediction, summed lane by lane."""
    return load(weights, 0) * a + load(weights, 1) * b + (load(weights, 2) * c + load(weights, 3) * d)


@inlined
def fill_predictions(predictor, before, back, channel, i, j, most):
    """Predictions of a sample of a channel, from those before it and, if `back`, the image before."""
    weights, around = predictor.weights[channel], predictor.around
    look(predictor, j)
    if back:
        look_back(predictor, before, i, j)
    a, b, c, d, six, fourteen = inputs_of(predictor)
    second = load(weights[1], 0) * a + load(weights[1], 1) * fourteen
    third = load(weights[2], 0) * six + load(weights[2], 3) * d
    sums = totals(heeded(weights[0], a, b, c, d), second, third, heeded(weights[3], a, b, c, d))
    w, n, corner = around[0], around[1], around[2]
    linear = clamp(floor(sums * 2.0 ** (3 - WEIGHT_BITS)) + 8 * (w + n), 0, 16 * most)
    other = 16 * min(max(median(w, n, corner), 0), most)
    store(predictor.predictions, 0, insert(linear, LINEAR, other))


@inlined
def predict(predictor, before, back, channel, i, j, most):
    """The prediction of a sample, in 1/16."""
    fill_predictions(predictor, before, back, channel, i, j, most)
    return blend(predictor, i, j)


@inlined
def move(weights, k, inputs, step):
    """Eight weights of a linear prediction, by a step for their inputs."""
    moved = load(weights, k) + floor(inputs * (step * 2.0**-WEIGHT_BITS))
    store(weights, k, clamp(moved, -WEIGHT_BOUND, WEIGHT_BOUND))


@inlined
def move_all(weights, a, b, c, d, step):
    """All weights of a linear prediction, by a step for their inputs."""
    move(weights, 0, a, step)
    move(weights, 1, b, step)
    move(weights, 2, c, step)
    move(weights, 3, d, step)


@inlined
def follow(predictor, channel, x):
    """Learn from a sample x that was predicted.

    Inputs are below 2**18, and the energy grows with them and with the error, so a step by an input is below 2**39.
    """
    weights, counts = predictor.weights[channel], load(predictor.counts, 0)
    a, b, c, d, six, fourteen = inputs_of(predictor)
    error = clamp(16 * x - load(predictor.predictions, 0), -ERROR_BOUND, ERROR_BOUND)
    of_all = a * a + b * b + (c * c + d * d)
    energy = totals(of_all, a * a + fourteen * fourteen, six * six + d * d, of_all)
    energy = energy + 4 * counts + floor(counts * error * error / 6400)
    step = floor(load(predictor.gains, 0) * error * 2.0**WEIGHT_BITS / energy)
    move_all(weights[0], a, b, c, d, lane(step, 0))
    move(weights[1], 0, a, lane(step, 1))
    move(weights[1], 1, fourteen, lane(step, 1))
    move(weights[2], 0, six, lane(step, 2))
    move(weights[2], 3, d, lane(step, 2))
    move_all(weights[3], a, b, c, d, lane(step, 3))


@inlined
def keep(predictor, i, j, x):
    """A sample x, and how wrong each prediction of it was."""
    predictor.rows[predictor.places[0] + j + 1] = x
    error = 16 * x - load(predictor.predictions, 0)
    store(predictor.errors[i % ERROR_ROWS], j + 2, as_int(size(error)))


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
                follow(predictor, 0, x)
                keep(predictor, i, j, x)
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
