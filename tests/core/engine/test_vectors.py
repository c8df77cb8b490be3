import numba as nb
import numpy as np

from bbcodec.engine.vectors import (
    LANES,
    clamp,
    gather,
    greatest,
    leading_zeros,
    load,
    quotient,
    select,
    shift_logical,
    smallest,
    spread,
    store,
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
