import numpy as np
import pytest

from bbcodec.engine import products
from bbcodec.engine.compiling import Kernels, address, available, compiled
from bbcodec.engine.products import SLACK_ROWS, pack

BYTES, HALVES, STREAM, WORDS = range(4)


@compiled
def multiply(kernels, finish, rows, stride, offsets, inputs, matrix, out, other, count):
    """One inner product (rows of bytes) of each finish."""
    a, zero = address(rows), np.int64(0)
    y, y_stride = address(out), np.int64(out.shape[1] * out.itemsize)
    z, z_stride = address(other), np.int64(other.shape[1])
    if finish == BYTES:
        products.inner_to_bytes(kernels, a, stride, offsets, inputs, matrix, y, y_stride, zero, zero, count)
    elif finish == HALVES:
        products.inner_to_halves(kernels, a, stride, offsets, inputs, matrix, y, y_stride, zero, zero, count)
    else:
        products.inner_to_stream(kernels, a, stride, offsets, inputs, matrix, y, y_stride, z, z_stride, count)


@compiled
def multiply_wide(kernels, finish, rows, stride, offsets, inputs, matrix, out, other, count):
    """One wide product (rows of halves) of each finish."""
    a, zero = address(rows), np.int64(0)
    y, y_stride = address(out), np.int64(out.shape[1] * out.itemsize)
    z, z_stride = address(other), np.int64(other.shape[1])
    if finish == HALVES:
        products.wide_to_halves(kernels, a, stride, offsets, inputs, matrix, y, y_stride, zero, zero, count)
    elif finish == STREAM:
        products.wide_to_stream(kernels, a, stride, offsets, inputs, matrix, y, y_stride, z, z_stride, count)
    else:
        products.wide_to_words(kernels, a, stride, offsets, inputs, matrix, y, y_stride, zero, zero, count)


RESULT = {BYTES: np.uint8, HALVES: np.int16, STREAM: np.int16, WORDS: np.int32}


def expected(finish, sums, shift, before):
    """What a product must leave in out and other, in int64."""
    k = shift.astype(np.int64)
    y = sums >> k
    if finish in (BYTES, HALVES):
        return y.clip(0, 127), None
    if finish == STREAM:
        h = (before.astype(np.int64) + y).clip(-2047, 2047)
        return h, ((h + 8) >> 4).clip(0, 127)
    return y + before, None


def check(kernels, finish, wide, a, weight, bias, shift, count, seed=0):
    """a: (places, inputs). Taps begin at random places; compare with int64, and see that nothing else was written."""
    rng = np.random.default_rng(seed)
    taps, inputs, outputs = weight.shape
    places = rng.integers(0, len(a) - count - SLACK_ROWS + 1, taps)
    width = -(-outputs // 16) * 16
    out = rng.integers(0, 100, (count + 1, width)).astype(RESULT[finish])
    other = np.full((count + 1, width), 99, np.uint8)
    before, last = out.copy(), other[-1].copy()
    stride = np.int64(inputs * a.itemsize)
    run = multiply_wide if wide else multiply
    run(Kernels(kernels), finish, a, stride, places * stride, inputs, pack(weight, bias, shift), out, other, count)
    sums = bias + sum(
        a[p : p + count].astype(np.int64) @ w for p, w in zip(places, weight.astype(np.int64), strict=True)
    )
    assert np.abs(sums).max() < 2**24
    y, z = expected(finish, sums, shift, before[:count, :outputs])
    assert np.array_equal(out[:count, :outputs], y)
    assert np.array_equal(out[-1], before[-1])
    assert np.array_equal(other[-1], last)
    if z is not None:
        assert np.array_equal(other[:count, :outputs], z)
        assert (other[:count, outputs:] == 0).all() or (before[:count, outputs:] != 0).any()


CASES = [(False, BYTES), (False, HALVES), (False, STREAM), (True, HALVES), (True, STREAM), (True, WORDS)]


@pytest.mark.parametrize("kernels", available())
@pytest.mark.parametrize(("wide", "finish"), CASES)
def test_products_are_those_of_int64(kernels, wide, finish):
    rng = np.random.default_rng(1)
    for count, taps, inputs, outputs in [
        (1, 1, 4, 1),
        (2, 5, 16, 16),
        (11, 2, 8, 33),
        (12, 1, 64, 48),
        (40, 3, 12, 70),
    ]:
        most, bound = (100, 1024) if wide else (127, 127)
        a = rng.integers(-bound if wide else 0, bound + 1, (120, inputs)).astype(np.int16 if wide else np.uint8)
        weight = rng.integers(-most, most + 1, (taps, inputs, outputs)).astype(np.int16 if wide else np.int8)
        bias = rng.integers(-10000, 10000, outputs).astype(np.int32)
        check(kernels, finish, wide, a, weight, bias, rng.integers(0, 14, outputs).astype(np.int8), count)


@pytest.mark.parametrize("kernels", available())
def test_the_greatest_numbers_do_not_saturate(kernels):
    """127 inputs of 127 and weights of 127, of either sign and of both in turn: pairs of 32,258, sums near 2**24."""
    a = np.full((30, 1024), 127, np.uint8)
    for even, odd in ((127, 127), (-127, -127), (127, -127)):
        weight = np.full((1, 1024, 17), even, np.int8)
        weight[:, 1::2] = odd
        for finish, shift in ((BYTES, 17), (STREAM, 13)):
            check(kernels, finish, False, a, weight, np.full(17, 9, np.int32), np.full(17, shift, np.int8), 9)
    wide = np.full((30, 8), 1024, np.int16)
    weight = np.full((1, 8, 17), 2047, np.int16)
    for sign in (1, -1):
        check(kernels, WORDS, True, wide * sign, weight, np.full(17, 9, np.int32), np.zeros(17, np.int8), 9)


@pytest.mark.parametrize("kernels", available())
def test_halves_are_rounded_up(kernels):
    a = np.array([[1, 0, 0, 0]] * 20, np.uint8)
    weight = np.zeros((1, 4, 16), np.int8)
    weight[0, 0] = np.arange(-8, 8)
    shift = np.full(16, 2, np.int8)
    matrix, out = pack(weight, np.full(16, 2, np.int32), shift), np.zeros((1, 16), np.int16)
    multiply(Kernels(kernels), STREAM, a, 4, np.zeros(1, np.int64), 4, matrix, out, np.zeros((1, 16), np.uint8), 1)
    assert out[0].tolist() == [-2, -2, -1, -1, -1, -1, 0, 0, 0, 0, 1, 1, 1, 1, 2, 2]
