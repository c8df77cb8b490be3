import numba as nb
import numpy as np
import pytest

from bbcodec.coder.vector_memory import gather, gather_at, load, load_eight, scatter_at, store
from bbcodec.coder.vectors import (
    EIGHT,
    LANES,
    as_float,
    as_int,
    clamp,
    floor,
    greatest,
    insert,
    lane,
    leading_zeros,
    least,
    multiply_shift,
    quotient,
    select,
    shift_logical,
    size,
    small_quotient,
    smallest,
    spread,
    total,
    totals,
)


@nb.njit
def everything(a, table, out):
    x, y = load(a, 0), load(a, 1)
    results = (
        x + y,
        x - y,
        x * y,
        x & y,
        x << np.int32(3),
        x >> np.int32(3),
        x < y,
        x == y,
        smallest(x, y),
        greatest(x, y),
        shift_logical(x, np.int32(3)),
        spread(7) - x,
        select(x < 5, x, y),
        gather(table, x & 31),
        np.int32(2) - x,
        shift_logical(y, x & 31),
        leading_zeros(greatest(x, 1)),
        quotient(1 << 30, greatest(y, 1)),
        clamp(x, -3, y),
    )
    for i, result in enumerate(results):
        store(out, i, result)


def test_operations_are_those_of_numpy():
    rng = np.random.default_rng(0)
    table = rng.integers(-(2**31), 2**31, 32).astype(np.int32)
    for high in (10, 1000, 2**31):
        a = rng.integers(-high, high, (2, LANES)).astype(np.int32)
        a[1, :4] = a[0, :4]
        out = np.zeros((19, LANES), np.int32)
        everything(a, table, out)
        x, y = a
        unsigned = x.view(np.uint32)
        expected = [
            x + y,
            x - y,
            x * y,
            x & y,
            x << 3,
            x >> 3,
            x < y,
            x == y,
            np.minimum(x, y),
            np.maximum(x, y),
            unsigned >> 3,
            7 - x,
            np.where(x < 5, x, y),
            table[x & 31],
            2 - x,
            y.view(np.uint32) >> (x & 31).astype(np.uint32),
            [32 - int(v).bit_length() for v in np.maximum(x, 1)],
            (1 << 30) // np.maximum(y, 1),
            np.minimum(np.maximum(x, -3), y),
        ]
        for i, right in enumerate(expected):
            assert np.array_equal(out[i], np.asarray(right).astype(np.int64).astype(np.uint32).view(np.int32)), i


def test_quotients_are_rounded_down_whatever_the_divisor():
    divisors = np.unique(
        np.concatenate([np.arange(1, 3000), 2**30 // np.arange(1, 3000), 2**30 // np.arange(1, 99) + 1])
    )
    divisors = np.resize(divisors, -(-len(divisors) // LANES) * LANES).astype(np.int32)
    out = np.zeros(len(divisors), np.int32)
    divide(divisors, out)
    assert np.array_equal(out, (1 << 30) // divisors)


@nb.njit
def divide(divisors, out):
    for i in range(len(divisors) // LANES):
        store(out, i, quotient(spread(1 << 30), load(divisors, i)))


@nb.njit
def everything_of_eight(a, table, places, out, numbers):
    x, y = load_eight(a, 0), load_eight(a, 1)
    results = (
        x + y,
        x * 3,
        smallest(x, y),
        clamp(x, -3, y),
        select(x < y, x, 7),
        gather(table, x & 31),
        gather_at(table, places, 2),
        insert(x, 5, 99),
        multiply_shift(x, y, 20),
    )
    for i, result in enumerate(results):
        store(out, i, result)
    numbers[0], numbers[1], numbers[2] = total(x), lane(x, 3), least(x)
    scatter_at(table, places, 2, y)


@pytest.mark.parametrize("high", [10, 1000, 2**25])
def test_operations_on_eight_are_those_of_numpy(high):
    rng = np.random.default_rng(high)
    table = rng.integers(-(2**31), 2**31, 32).astype(np.int32)
    places = rng.permutation(30)[:EIGHT]
    x, y = a = rng.integers(-high, high, (2, EIGHT)).astype(np.int32)
    out, numbers, after = np.zeros((9, EIGHT), np.int32), np.zeros(3, np.int64), table.copy()
    everything_of_eight(a, after, places, out, numbers)
    expected = [
        x + y,
        3 * x,
        np.minimum(x, y),
        np.minimum(np.maximum(x, -3), y),
        np.where(x < y, x, 7),
        table[x & 31],
        table[places + 2],
        np.where(np.arange(EIGHT) == 5, 99, x),
        x.astype(np.int64) * y >> 20,
    ]
    for i, right in enumerate(expected):
        assert np.array_equal(out[i], right), i
    assert numbers.tolist() == [x.sum(), x[3], x.min()]
    table[places + 2] = y
    assert np.array_equal(after, table)


@nb.njit
def everything_of_floats(a, numbers, out):
    x, y, whole = load(a, 0), load(a, 1), load_eight(numbers, 0)
    results = (
        x + 2 * y,
        x - y,
        x * y + x,
        x / y,
        floor(x / 8),
        size(x),
        smallest(x, y),
        greatest(x, y),
        clamp(x, -3, 3),
        as_float(whole),
        insert(x, 2, 5),
        totals(x, y, x + y, x * y),
    )
    for i, result in enumerate(results):
        store(out, i, result)
    store(numbers, 1, as_int(x))
    return total(x), least(y), lane(x, 1)


def test_operations_on_floats_are_those_of_numpy():
    rng = np.random.default_rng(5)
    for high in (10, 2**20):
        x, y = a = rng.integers(-high, high, (2, EIGHT)).astype(np.float64)
        y[y == 0] = 1
        numbers = rng.integers(-high, high, (2, EIGHT)).astype(np.int32)
        out = np.zeros((12, EIGHT))
        scalars = everything_of_floats(a, numbers, out)
        expected = [
            x + 2 * y,
            x - y,
            x * y + x,
            x / y,
            x // 8,
            np.abs(x),
            np.minimum(x, y),
            np.maximum(x, y),
            np.clip(x, -3, 3),
            numbers[0],
            np.where(np.arange(EIGHT) == 2, 5, x),
            [x.sum(), y.sum(), (x + y).sum(), (x * y).sum(), 0, 0, 0, 0],
        ]
        for i, right in enumerate(expected):
            assert np.array_equal(out[i], right), i
        assert np.array_equal(numbers[1], x)
        assert scalars == (x.sum(), y.min(), x[1])


@nb.njit
def divide_small(dividend, divisors, out):
    for i in range(len(divisors) // EIGHT):
        store(out, i, small_quotient(dividend, load_eight(divisors, i)))


@pytest.mark.parametrize("dividend", [1, 2**17, 2**23 - 1])
def test_small_quotients_are_rounded_down_whatever_the_divisor(dividend):
    divisors = np.concatenate([np.arange(1, 4001), np.maximum(dividend // np.arange(1, 4001), 1)]).astype(np.int32)
    out = np.zeros(len(divisors), np.int32)
    divide_small(dividend, divisors, out)
    assert np.array_equal(out, dividend // divisors)
