# mypy: allow-untyped-defs, allow-untyped-calls
"""Predictions of samples of up to 16 bits from those before them, in raster order, in whole numbers.

Four predictions of a sample from its neighbours, in 1/16: three linear ones of the nearest 24, 14 and 6, whose weights
follow the errors that they make (normalised least mean squares), and the median of left, above, and left + above -
corner. Their mean is weighted by how little each was wrong nearby, to the fourth power. Weights are kept from one image
to the next.

Above the first row stands what is to the left; to the left of a row, the first sample of the row above (0 in the first
row); to its right, the last one of that row.
"""

from __future__ import annotations

from typing import Final

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
COUNTS: Final = np.array([24, 14, 6])  # neighbours of each linear prediction
GAINS: Final = np.array([16384, 4096, 24576])  # how fast its weights follow
LINEAR: Final = 3
PREDICTIONS: Final = 4
WEIGHT_BITS: Final = 20
WEIGHT_BOUND: Final = 2**22
START: Final = 2**18  # of the weight of the corner at the right, and less that of the one at the left: a quarter
PAD: Final = 4  # columns beside a row
ROWS: Final = 5  # that are looked at
ERROR_ROWS: Final = 3
LEAST_ERROR: Final = 10  # 1/16, added to errors nearby

Integers = npt.NDArray[np.int64]


@inlined
def median(w, n, corner):
    """The middle one of w, n and w + n - corner."""
    return max(min(w, n), min(max(w, n), w + n - corner))


@inlined
def look(rows, neighbours, seen, i, j):
    """Neighbours of a sample to `seen`: twice what they are, less left and above. Returns left, above and corner."""
    here = rows[i % ROWS]
    w = here[j + PAD - 1]
    n, corner = w, w
    if i > 0:
        n, corner = rows[(i - 1) % ROWS, j + PAD], rows[(i - 1) % ROWS, j + PAD - 1]
    for k in range(len(neighbours)):
        up = i + neighbours[k, 0]
        seen[k] = 2 * (w if up < 0 else rows[up % ROWS, j + PAD + neighbours[k, 1]]) - w - n
    return w, n, corner


@inlined
def blend(predictions, errors, i, j):
    """The mean of all predictions of a sample, in 1/16. Powers are below 2**33, and predictions below 2**20."""
    here, above, top = errors[i % ERROR_ROWS], errors[(i - 1) % ERROR_ROWS], errors[(i - 2) % ERROR_ROWS]
    least = np.int64(2**40)
    for m in range(PREDICTIONS):
        near = 2 * (here[m, j + 1] + above[m, j + 2]) + above[m, j + 1] + above[m, j + 3] + here[m, j] + top[m, j + 2]
        errors[ERROR_ROWS, m, 0] = near + LEAST_ERROR
        least = min(least, near + LEAST_ERROR)
    total = parts = np.int64(0)
    for m in range(PREDICTIONS):
        share = (least << 8) // errors[ERROR_ROWS, m, 0]
        power = share * share * share * share
        total += power
        parts += power * predictions[m]
    return parts // total


@inlined
def learn(weights, seen, count, gain, error):
    """Move the weights of a linear prediction by its error, in 1/16.

    |error| is below 2**21 and |seen| below 2**18; a step is below 2**37, as the energy grows with the error, too.
    """
    energy = 4 * count + count * error * error // 6400
    for k in range(count):
        energy += seen[k] * seen[k]
    step = (gain * error << WEIGHT_BITS) // energy
    for k in range(count):
        weights[k] = min(max(weights[k] + (step * seen[k] >> WEIGHT_BITS), -WEIGHT_BOUND), WEIGHT_BOUND)


@compiled
def run(values, errors_of, most, decode, neighbours, counts, gains, weights, rows, near, seen, predictions):
    """Errors of values (N, H, W), 0 to `most`, into errors_of, or, to decode, values from errors. Whether all fit.

    weights, rows, near, seen, predictions: memory to work in (`_work`).
    """
    count, height, width = values.shape
    for image in range(count):
        for row in range(len(near)):
            for m in range(PREDICTIONS):
                for j in range(width + 4):
                    near[row, m, j] = 0
        for i in range(height):
            here, first = rows[i % ROWS], rows[(i - 1) % ROWS, PAD] if i > 0 else np.int64(0)
            for j in range(PAD):
                here[j] = first
            for j in range(width):
                w, n, corner = look(rows, neighbours, seen, i, j)
                for m in range(LINEAR):
                    total = np.int64(0)
                    for k in range(counts[m]):
                        total += weights[m, k] * seen[k]  # below 2**40
                    predictions[m] = min(max(8 * (w + n) + (total >> WEIGHT_BITS - 3), 0), 16 * most)
                predictions[LINEAR] = 16 * min(max(median(w, n, corner), 0), most)
                guess = (blend(predictions, near, i, j) + 8) >> 4
                if decode:
                    x = guess + errors_of[image, i, j]
                    if not 0 <= x <= most:
                        return False
                    values[image, i, j] = x
                else:
                    x = np.int64(values[image, i, j])
                    errors_of[image, i, j] = x - guess
                here[j + PAD] = x
                for m in range(PREDICTIONS):
                    near[i % ERROR_ROWS, m, j + 2] = abs(16 * x - predictions[m])
                for m in range(LINEAR):
                    learn(weights[m], seen, counts[m], gains[m], 16 * x - predictions[m])
            for j in range(PAD):
                here[width + PAD + j] = here[width + PAD - 1]
    return True


def _work(width: int) -> tuple[Integers, ...]:
    """Constants and memory for `run`."""
    weights = np.zeros((LINEAR, len(NEIGHBOURS)), np.int64)
    weights[:, 2], weights[:, 3] = -START, START
    sizes = (ROWS, width + 2 * PAD), (ERROR_ROWS + 1, PREDICTIONS, width + 4), (len(NEIGHBOURS),), (PREDICTIONS,)
    return NEIGHBOURS, COUNTS, GAINS, weights, *(np.zeros(size, np.int64) for size in sizes)


def errors_of(values: npt.NDArray[np.uint16], most: int) -> npt.NDArray[np.int32]:
    """What predictions of values (N, H, W), none above `most`, lack: int32, within +-most."""
    errors = np.empty(values.shape, np.int32)
    run(values, errors, most, False, *_work(values.shape[2]))
    return errors


def values_of(errors: npt.NDArray[np.int32], most: int) -> npt.NDArray[np.uint16] | None:
    """The values (N, H, W) uint16 of `errors_of`; None where one would not be 0 to `most`, at most 65,535."""
    values = np.empty(errors.shape, np.uint16)
    return values if run(values, errors, most, True, *_work(errors.shape[2])) else None
