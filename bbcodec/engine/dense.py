# mypy: allow-untyped-defs, allow-untyped-calls
"""Dense nets, from the whole numbers of `bbcodec.exact.dense.DenseNet`: all layers of a batch in one compiled call.

    h = relu(stem(x));  h = relu(inner(h)) for each inner layer;  params = head(h)

All layers are wide products (`bbcodec.engine.products`).
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

import numpy as np
import numpy.typing as npt

from bbcodec.engine.compiling import Kernels, address, choose, clear, compiled
from bbcodec.engine.products import ACTIVATION_BOUND, BLOCK, SLACK_ROWS, Matrix, pack, wide_to_halves, wide_to_words

SUM_BOUND: Final = 1 << 24
WEIGHT_BOUND: Final = 2047
SHIFTS: Final = 1, 16

Arrays = Mapping[str, npt.NDArray[Any]]
Values = npt.NDArray[Any]


@compiled
def run(kernels, stem, inner, head, here, x, hidden, params):
    """The parameters of a batch, (B, outputs) int32, into params.

    inner: stacked; here: one zero; x: (B + slack, inputs) int16; hidden: (2, B + slack, width) int16, to work in.
    """
    count, width, zero = len(params), hidden.shape[2], np.int64(0)
    row, size = 2 * width, hidden.shape[1] * 2 * width
    h = address(hidden)
    a, x_row = address(x), 2 * x.shape[1]
    wide_to_halves(kernels, a, x_row, here, x.shape[1], stem, h, row, zero, zero, count)
    for layer in range(len(inner.weight)):
        matrix = Matrix(inner.weight[layer], inner.start[layer], inner.shift[layer])
        a, b = h + size * (layer & 1), h + size * (layer + 1 & 1)
        wide_to_halves(kernels, a, row, here, width, matrix, b, row, zero, zero, count)
    a = h + size * (len(inner.weight) & 1)
    out_row = 4 * params.shape[1]
    clear(address(params), out_row * count)
    wide_to_words(kernels, a, row, here, width, head, address(params), out_row, zero, zero, count)


class DenseNet:
    """A net from rows of whole numbers to rows of parameters."""

    def __init__(
        self, arrays: Arrays, name: str, sizes: tuple[int, int, int, int], bound: int, kernels: Kernels | None = None
    ) -> None:
        """sizes: inputs, hidden, hidden layers, outputs; bound: the greatest magnitude of an input.

        arrays: for each layer, `name.stem`, `name.inner.0` .., `name.head`: `.weight` (outputs, inputs) int16, `.bias`
        (outputs,) int32, without the half that rounds, and `.shift` (outputs,) int8. kernels: None for those of
        `compiling.choose`. Raises ValueError if arrays lack, have other sizes, or break the bounds of exact sums.
        """
        inputs, hidden, layers, outputs = sizes
        self.inputs, self.outputs, self.bound = inputs, outputs, bound
        self.width, self.hidden = inputs + inputs % 2, -(-hidden // BLOCK) * BLOCK
        self.kernels = kernels or choose()
        self.stem = _matrix(arrays, f"{name}.stem", (hidden, inputs), bound, self.width)
        names = [f"{name}.inner.{layer}" for layer in range(layers - 1)]
        inner = [_matrix(arrays, each, (hidden, hidden), ACTIVATION_BOUND, self.hidden) for each in names]
        self.inner = _stacked(inner, self.hidden)
        self.head = _matrix(arrays, f"{name}.head", (outputs, hidden), ACTIVATION_BOUND, self.hidden)

    def __call__(self, x: Values) -> npt.NDArray[np.int32]:
        """Parameters (B, outputs) of rows x (B, inputs). Raises ValueError for another shape."""
        if x.ndim != 2 or x.shape[1] != self.inputs:
            raise ValueError(f"rows are {x.shape}, expected (B, {self.inputs})")
        rows = np.zeros((len(x) + SLACK_ROWS, self.width), np.int16)
        rows[: len(x), : self.inputs] = x
        hidden = np.zeros((2, len(rows), self.hidden), np.int16)
        params = np.empty((len(x), len(self.head.start)), np.int32)
        run(self.kernels, self.stem, self.inner, self.head, np.zeros(1, np.int64), rows, hidden, params)
        return params[:, : self.outputs]


def _matrix(arrays: Arrays, name: str, shape: tuple[int, int], bound: int, width: int) -> Matrix:
    """A layer by name, packed, its inputs padded to `width`. Raises ValueError as `DenseNet` does."""
    try:
        weight, bias, shift = (arrays[f"{name}.{part}"] for part in ("weight", "bias", "shift"))
    except KeyError as error:
        raise ValueError(f"the net has no array {error}") from None
    found = [(part.shape, part.dtype) for part in (weight, bias, shift)]
    expected = [(shape, np.dtype(np.int16)), (shape[:1], np.dtype(np.int32)), (shape[:1], np.dtype(np.int8))]
    if found != expected:
        told = " and ".join(
            f"{what} {part.shape} {part.dtype}" for what, part in (("weights", weight), ("biases", bias))
        )
        raise ValueError(f"{name} has {told}, expected {shape} int16 and {shape[:1]} int32")
    if shift.min() < SHIFTS[0] or shift.max() > SHIFTS[1]:
        raise ValueError(f"{name} has shifts {shift.min()} to {shift.max()}, expected {SHIFTS[0]} to {SHIFTS[1]}")
    half = np.int64(1) << (shift.astype(np.int64) - 1)
    size = np.abs(weight.astype(np.int64))
    most = int((bound * size.sum(1) + np.abs(bias.astype(np.int64)) + half).max())
    if most >= SUM_BOUND or size.max() > WEIGHT_BOUND:
        raise ValueError(f"{name} breaks the bound of exact sums: {most} of at most {SUM_BOUND - 1}")
    padded = np.pad(weight.T, ((0, width - shape[1]), (0, 0)))
    return pack(padded[None], (bias + half).astype(np.int32), shift)


def _stacked(matrices: list[Matrix], width: int) -> Matrix:
    """Matrices of width x width as one with an axis in front."""
    if not matrices:
        blank = np.zeros((0, width), np.int32)
        return Matrix(np.zeros((0, width // BLOCK, width // 2, BLOCK, 2), np.int16), blank, blank)
    return Matrix(*(np.stack(parts) for parts in zip(*matrices, strict=True)))
