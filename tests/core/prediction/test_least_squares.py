"""Least squares in whole numbers: against plain Python, which has no bounds; and against the solution."""

import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from plain_prediction import PlainLeastSquares

from bbcodec.prediction.least_squares import FORGET, WEIGHT_BOUND, LeastSquares, estimate, improve

LARGEST = 2**20  # of inputs, in 1/16


def both(rows, answers, sizes, counts):
    """Weights after rows of inputs (N, K), and what they gave; once more in plain Python."""
    least, plain, given = LeastSquares.of(2, rows.shape[1]), PlainLeastSquares(), []
    for row, answer, size, count in zip(rows, answers, sizes, counts, strict=True):
        least.inputs[:count] = row[:count]
        expected = int(estimate(least, 1, count))
        answer = int(min(max(answer, expected - LARGEST), expected + LARGEST))  # errors are not larger
        size = int(size) + abs(answer - expected)
        improve(least, 1, count, answer, size)
        plain_row = row[:count].tolist()
        given.append((expected, plain.estimate(plain_row)))
        plain.improve(answer, size)
    weights = [plain.weights.get(k, 0) for k in range(rows.shape[1])]
    return least.weights[1].tolist(), weights, given


@settings(max_examples=30, deadline=None)
@given(st.integers(0, 999), st.integers(1, 11), st.sampled_from([0, 3, 12, 20]), st.sampled_from([0, 9, 20]))
@example(1, 30, 20, 0)
def test_weights_are_those_of_the_page(seed, inputs, bits, error_bits):
    random, number = np.random.default_rng(seed), 60
    rows = random.integers(-(2**bits), 2**bits + 1, (number, inputs))
    answers = random.integers(-LARGEST, LARGEST, number) >> random.integers(0, 21)
    sizes = random.integers(0, 2**error_bits + 1, number)
    counts = [int(inputs if k > 20 else max(inputs - 6, 1)) for k in range(number)]
    found, plain, given = both(rows, answers, sizes, counts)
    assert found == plain
    assert all(one == other for one, other in given)


@pytest.mark.parametrize("kind", ["large", "alike"])
def test_the_largest_sums_fit(kind):
    """Inputs as large as can be, whose weights are at their bound, until older samples count half, and beyond."""
    random, number = np.random.default_rng(4), FORGET + FORGET // 2 + 50
    signs = random.choice([-1, 1], (number, 3)) if kind == "large" else np.ones((number, 3), int)
    rows = signs * LARGEST
    answers = 8 * rows.sum(1)
    found, plain, given = both(rows, answers, np.zeros(number, int), [3] * number)
    assert found == plain
    assert all(one == other for one, other in given)
    if kind == "large":
        assert max(found) == WEIGHT_BOUND


def test_weights_become_the_solution():
    random = np.random.default_rng(2)
    rows = (random.normal(0, 900, (3000, 5)) @ random.normal(0, 1, (5, 5))).astype(int)
    truth = np.array([0.9, -0.4, 0.2, 0.05, -0.6])
    answers = (rows @ truth + random.normal(0, 100, len(rows))).astype(int)
    least = LeastSquares.of(1, 5)
    for row, answer in zip(rows, answers, strict=True):
        least.inputs[:] = row
        improve(least, 0, 5, int(answer), 100)
    assert np.allclose(least.weights[0] / 2**16, truth, atol=0.02)
