"""The exact layers once more, in numpy int64, written from the definitions with no regard to speed.

int64 cannot round, so these are right by construction; torch must agree with them to the last bit. A layer is its
whole numbers: weight (C', C, ...), bias (C',), and shift (C',), worth weight / 2**shift and bias / (256 * 2**shift).
Activations are int64, (B, C, H, W) or (..., C).
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Ints = NDArray[np.int64]
BOUND, UNIT = 2047, 256


@dataclass(frozen=True)
class Whole:
    """The whole numbers of one layer."""

    weight: Ints
    bias: Ints
    shift: Ints

    def __post_init__(self) -> None:
        assert self.weight.dtype == self.bias.dtype == self.shift.dtype == np.int64


def divided(total: Ints, shift: Ints) -> Ints:
    """total / 2**shift to the nearest whole number, ties to even; shift broadcasts, and may be negative."""
    up = total << np.maximum(-shift, 0)
    down = np.maximum(shift, 0)
    floor = up >> down
    twice = 2 * (up - (floor << down))  # twice the remainder, against the divisor
    one = np.int64(1) << down
    return floor + ((twice > one) | ((twice == one) & (floor & 1 == 1)))


def linear(layer: Whole, x: Ints) -> Ints:
    return divided(np.einsum("...c,dc->...d", x, layer.weight) + layer.bias, layer.shift)


def conv(layer: Whole, x: Ints, stride: int = 1) -> Ints:
    """Odd k x k kernel, zero padding k // 2: out[i, j] = sum over taps of weight[a, b] x[stride i + a - r, ...]."""
    batch, _, height, width = x.shape
    out, _, k, _ = layer.weight.shape
    r = k // 2
    total = np.zeros((batch, out, -(-height // stride), -(-width // stride)), np.int64)
    for i, j in np.ndindex(total.shape[2:]):
        for a, b in np.ndindex(k, k):
            row, column = stride * i + a - r, stride * j + b - r
            if 0 <= row < height and 0 <= column < width:
                total[:, :, i, j] += x[:, :, row, column] @ layer.weight[:, :, a, b].T
    return divided(total + layer.bias[:, None, None], layer.shift[:, None, None])


def transposed_conv(layer: Whole, x: Ints) -> Ints:
    """4 x 4 kernel, stride 2: input (i, j) is spread to outputs 2 i - 1 + a, 2 j - 1 + b, for a, b in 0..3."""
    batch, _, height, width = x.shape
    total = np.zeros((batch, len(layer.weight), 2 * height, 2 * width), np.int64)
    for i, j in np.ndindex(height, width):
        for a, b in np.ndindex(4, 4):
            row, column = 2 * i - 1 + a, 2 * j - 1 + b
            if 0 <= row < 2 * height and 0 <= column < 2 * width:
                total[:, :, row, column] += x[:, :, i, j] @ layer.weight[:, :, a, b].T
    return divided(total + layer.bias[:, None, None], layer.shift[:, None, None])


def wave_number(row: int, column: int, skew: int) -> int:
    return column + skew * row


def masked_conv(layer: Whole, x: Ints, kind: str, skew: int) -> Ints:
    """Sees the pixels of smaller wave number within its window (and, kind B, the pixel itself), by the definition.

    weight: (C', C, r + 1, 2 r + 1); weights at pixels that it may not see are ignored, whatever they are.
    """
    batch, _, height, width = x.shape
    out, _, rows, columns = layer.weight.shape
    r = rows - 1
    assert columns == 2 * r + 1
    total = np.zeros((batch, out, height, width), np.int64)
    for i, j in np.ndindex(height, width):
        for a, b in np.ndindex(rows, columns):
            row, column = i + a - r, j + b - r
            if not (0 <= row < height and 0 <= column < width):
                continue
            earlier = wave_number(row, column, skew) < wave_number(i, j, skew)
            if earlier or (kind == "B" and (row, column) == (i, j)):
                total[:, :, i, j] += x[:, :, row, column] @ layer.weight[:, :, a, b].T
    return divided(total + layer.bias[:, None, None], layer.shift[:, None, None])


def wave_order(height: int, width: int, skew: int) -> Iterator[list[tuple[int, int]]]:
    """The pixels of each wave that has any, top to bottom."""
    pixels = list(np.ndindex(height, width))
    for t in sorted({wave_number(i, j, skew) for i, j in pixels}):
        yield [(i, j) for i, j in pixels if wave_number(i, j, skew) == t]


def table(function: Callable[[float], float]) -> Callable[[Ints], Ints]:
    """A function of one real number as a table over -2048..2047, inputs clamped to it, outputs to +-2047."""
    values = np.array([round(function(y / UNIT) * UNIT) for y in range(-2048, 2048)])
    values = np.clip(values, -BOUND, BOUND).astype(np.int64)

    def look_up(y: Ints) -> Ints:
        return values[np.clip(y, -2048, 2047) + 2048]

    return look_up


def clamped(y: Ints) -> Ints:
    return np.clip(y, -BOUND, BOUND)


def gated(tanh: Callable[[Ints], Ints], sigmoid: Callable[[Ints], Ints], h: Ints, y: Ints, axis: int) -> Ints:
    """h + tanh(a) sigmoid(g) / 256, y holding a and then g along `axis`."""
    a, g = np.split(y, 2, axis)
    return clamped(h + divided(tanh(a) * sigmoid(g), np.array(8)))
