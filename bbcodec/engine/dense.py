# mypy: allow-untyped-defs, allow-untyped-calls
"""Dense nets, from the whole numbers of `bbcodec.exact.dense.DenseNet`: all layers of a batch in one compiled call.

    h = relu(stem(x));  h = relu(inner(h)) for each inner layer;  params = head(h)

All layers are wide products (`bbcodec.engine.products`).
"""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

from bbcodec.engine.compiling import Kernels, address, choose, clear, compiled
from bbcodec.engine.products import ACTIVATION_BOUND, BLOCK, SLACK_ROWS, Matrix, pack, wide_to_halves, wide_to_words
from bbcodec.engine.stored_layers import Arrays, stored_layer

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
    weight, start, shift = stored_layer(arrays, name, shape, bound, np.int16)
    padded = np.pad(weight.T, ((0, width - shape[1]), (0, 0)))
    return pack(padded[None], start, shift)


def _stacked(matrices: list[Matrix], width: int) -> Matrix:
    """Matrices of width x width as one with an axis in front."""
    if not matrices:
        blank = np.zeros((0, width), np.int32)
        return Matrix(np.zeros((0, width // BLOCK, width // 2, BLOCK, 2), np.int16), blank, blank)
    return Matrix(*(np.stack(parts) for parts in zip(*matrices, strict=True)))
