"""Convolutions over maps against int64, and the nets of latents against PyTorch's layers."""

import numpy as np
import pytest
from nets import random_layer

from bbcodec.engine.compiling import Kernels, available
from bbcodec.engine.convolutions import (
    TO_BYTES,
    TO_STREAM,
    TO_VALUES,
    WIDE_TO_STREAM,
    blank,
    convolve,
    inside,
    plain,
    transposed,
    view,
)

KINDS = {"bytes": TO_BYTES, "stream": TO_STREAM, "values": TO_VALUES, "wide": WIDE_TO_STREAM}


def layer_arrays(rng, outputs, inputs, k, wide=False, extreme=False):
    """A layer as a codec file holds it, of random weights within the bounds."""
    taps = [(0, 0)] * (k * k)
    parts = random_layer(rng, taps, inputs, outputs, 1024 if wide else 127, 200.0, wide, extreme)
    shift = parts["shift"].clip(1, 16).astype(np.int8)
    weight = parts["weight"].reshape(k, k, inputs, outputs).transpose(3, 2, 0, 1)
    bias = rng.integers(-5000, 5000, outputs).astype(np.int32)
    return {"one.weight": np.ascontiguousarray(weight), "one.bias": bias, "one.shift": shift}


def outputs_of(arrays, x, stride=1):
    """A convolution in int64, as it is written down: x (rows, columns, images, channels) -> rounded sums."""
    weight, bias, shift = (arrays[f"one.{part}"].astype(np.int64) for part in ("weight", "bias", "shift"))
    k = weight.shape[2]
    x = np.pad(x.astype(np.int64), ((k // 2, k // 2), (k // 2, k // 2), (0, 0), (0, 0)))
    rows, columns = ((side - 2 * (k // 2) + stride - 1) // stride for side in x.shape[:2])
    sums = np.zeros((rows, columns, x.shape[2], len(bias)), np.int64) + bias + (1 << (shift - 1))
    for i in range(rows):
        for j in range(columns):
            window = x[i * stride : i * stride + k, j * stride : j * stride + k]
            sums[i, j] += np.einsum("ijbc,ocij->bo", window, weight)
    assert np.abs(sums).max() < 2**24
    return sums >> shift


def doubled(arrays, x):
    """A transposed convolution in int64: every input adds its 4 x 4 patch, one place outwards, to the outputs."""
    weight, bias, shift = (arrays[f"one.{part}"].astype(np.int64) for part in ("weight", "bias", "shift"))
    rows, columns, images, _ = x.shape
    sums = np.zeros((2 * rows + 2, 2 * columns + 2, images, len(bias)), np.int64) + bias + (1 << (shift - 1))
    for i in range(rows):
        for j in range(columns):
            sums[2 * i : 2 * i + 4, 2 * j : 2 * j + 4] += np.einsum("bc,ocij->ijbo", x[i, j].astype(np.int64), weight)
    return sums[1:-1, 1:-1] >> shift


def check(kernels, kind, layer, x, expected):
    """One layer from a map of x to another, whose border stays zero; expected: rounded sums, perhaps of more places."""
    wide, rng = kind == WIDE_TO_STREAM, np.random.default_rng(5)
    rows, columns, images, channels = x.shape
    source = blank(rows, columns, images, layer.inputs, np.int16 if wide else np.uint8)
    inside(source, np.int16 if wide else np.uint8)[..., :channels] = x
    rows, columns, _, outputs = expected.shape
    width = -(-outputs // 16) * 16
    target = blank(rows, columns, images, width, np.uint8 if kind == TO_BYTES else np.int16)
    seen = blank(rows, columns, images, width, np.uint8)
    before = rng.integers(-2047, 2048, expected.shape)
    if kind in (TO_STREAM, WIDE_TO_STREAM):
        inside(target, np.int16)[..., :outputs] = before
    convolve(Kernels(kernels), kind, layer, source, target, seen)
    found = inside(target, np.uint8 if kind == TO_BYTES else np.int16)[..., :outputs]
    if kind == TO_BYTES:
        assert np.array_equal(found, expected.clip(0, 127))
    elif kind == TO_VALUES:
        assert np.array_equal(found, expected.clip(-2047, 2047))
    else:
        h = (before + expected).clip(-2047, 2047)
        assert np.array_equal(found, h)
        assert np.array_equal(inside(seen, np.uint8)[..., :outputs], ((h + 8) >> 4).clip(0, 127))
    for one in (target, seen):
        inside(one, np.uint8)[:] = 0
        assert not one.data.any()


@pytest.mark.parametrize("kernels", available())
@pytest.mark.parametrize("kind", KINDS)
def test_convolutions_are_those_of_int64(kernels, kind):
    rng, wide = np.random.default_rng(1), kind == "wide"
    cases = [(1, 1, 1, 3, 1), (5, 4, 1, 3, 2), (4, 7, 13, 3, 2), (3, 5, 25, 3, 1), (2, 3, 4, 1, 1), (2, 3, 3, 1, 2)]
    for rows, columns, images, k, stride in cases:
        inputs, outputs = (3, 17) if wide else (19, 40)
        arrays = layer_arrays(rng, outputs, inputs, k, wide)
        x = rng.integers(-1024 if wide else 0, 1025 if wide else 128, (rows, columns, images, inputs))
        layer = plain(arrays, "one", (outputs, inputs, k), 1024 if wide else 127, stride)
        check(kernels, KINDS[kind], layer, x, outputs_of(arrays, x, stride))


@pytest.mark.parametrize("kernels", available())
@pytest.mark.parametrize("kind", ["bytes", "values"])
def test_transposed_convolutions_are_those_of_int64(kernels, kind):
    """Of any number of the outputs: what lies beyond an image is left out."""
    rng = np.random.default_rng(2)
    for rows, columns, images, less in [(1, 1, 1, (0, 0)), (3, 4, 13, (1, 0)), (2, 5, 2, (0, 1))]:
        arrays = layer_arrays(rng, 33, 20, 4)
        x = rng.integers(0, 128, (rows, columns, images, 20))
        expected = doubled(arrays, x)[: 2 * rows - less[0], : 2 * columns - less[1]]
        check(kernels, KINDS[kind], transposed(arrays, "one", (33, 20)), x, expected)


@pytest.mark.parametrize("kernels", available())
def test_the_greatest_numbers(kernels):
    rng = np.random.default_rng(3)
    for x in (np.full((3, 3, 2, 32), 127), np.zeros((3, 3, 2, 32), np.int64)):
        arrays = layer_arrays(rng, 16, 32, 3, extreme=True)
        arrays["one.bias"] = rng.choice([-(2**22), 2**22], 16).astype(np.int32)
        check(kernels, TO_VALUES, plain(arrays, "one", (16, 32, 3)), x, outputs_of(arrays, x))


def test_some_images_of_an_array_are_written():
    rng = np.random.default_rng(4)
    arrays = layer_arrays(rng, 16, 16, 3)
    x = rng.integers(0, 128, (2, 3, 5, 16))
    source, out = blank(2, 3, 5, 16, np.uint8), np.full((2, 3, 9, 16), 5, np.int16)
    inside(source, np.uint8)[:] = x
    convolve(Kernels(available()[0]), TO_VALUES, plain(arrays, "one", (16, 16, 3)), source, view(out, 2, 5))
    assert np.array_equal(out[:, :, 2:7], outputs_of(arrays, x).clip(-2047, 2047))
    out[:, :, 2:7] = 5
    assert (out == 5).all()


@pytest.mark.parametrize(
    ("part", "change", "message"),
    [
        ("weight", lambda a: a[:, :, :2], "weights"),
        ("weight", lambda a: a.astype(np.int16), "int16"),
        ("bias", lambda a: a[1:], "biases"),
        ("bias", lambda a: a.astype(np.int64), "int64"),
        ("bias", lambda a: np.full_like(a, 2**24), "bound of exact sums"),
        ("bias", lambda a: np.full_like(a, -(2**31)), "bound of exact sums"),
        ("shift", lambda a: np.full_like(a, 0), "shifts 0 to 0"),
        ("shift", lambda a: np.full_like(a, 17), "shifts 17 to 17"),
        ("weight", lambda a: np.full_like(a, -128), "bound of exact sums"),
    ],
)
def test_layers_that_cannot_be(part, change, message):
    arrays = layer_arrays(np.random.default_rng(0), 16, 16, 3)
    plain(arrays, "one", (16, 16, 3))
    arrays[f"one.{part}"] = change(arrays[f"one.{part}"])
    with pytest.raises(ValueError, match=message):
        plain(arrays, "one", (16, 16, 3))
    with pytest.raises(ValueError, match=r"no array 'two\.weight'"):
        plain(arrays, "two", (16, 16, 3))
