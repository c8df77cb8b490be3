"""Independent normals and zeros and ones of a batch, as `bbcodec.distributions` codes them, for arrays.

Symbols are coded image by image, in C order.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from bbcodec.coder import tables
from bbcodec.coder.kernels import bernoulli, gaussian
from bbcodec.errors import CoderError

if TYPE_CHECKING:
    from bbcodec.coder.ans import AnsStack

Values = npt.NDArray[Any]
Words = npt.NDArray[np.int32]


class Independent:
    """A distribution over arrays (B, ...), each symbol with its own parameters. Make it with `normals` or `bits`."""

    def __init__(
        self, kernels: Any, values: type[Any], shape: tuple[int, ...], rows: tuple[Words, ...], shared: tuple[Any, ...]
    ) -> None:
        """kernels: a module of `bbcodec.coder.kernels`, and its parameters: (N,) of each of N symbols, and shared ones.

        values: the type of symbols. shape: (B, ...) of N symbols.
        """
        self.kernels, self.values, self.shape, self.rows, self.shared = kernels, values, shape, rows, shared

    def push(self, stack: AnsStack, value: Values) -> None:
        """Put `value` on the stack. Raises CoderError for a value outside the support."""
        stack.push(self.kernels.push, self._symbols(value), self.rows, *self.shared)

    def push_measured(self, stack: AnsStack, value: Values) -> npt.NDArray[np.int64]:
        """`push`, and what it costs each image: the `information` of the value."""
        self.push(stack, value)
        return self.information(value)

    def pop(self, stack: AnsStack) -> Values:
        """Take a value off the stack. Raises StackUnderflow, and leaves the stack as it was, if it holds too little."""
        symbols = np.empty(math.prod(self.shape), self.values)
        stack.pop(self.kernels.pop, symbols, self.rows, *self.shared)
        return symbols.reshape(self.shape)

    def information(self, value: Values) -> npt.NDArray[np.int64]:
        """What `push` costs each image: (B,) int64, in whole units of 2**-24 bits. Raises CoderError as `push` does."""
        out = np.empty(value.size, np.int64)
        if self.kernels.information(self._symbols(value), out, *self.rows, *self.shared) < 0:
            raise CoderError("a symbol lies outside the support of its distribution")
        total: npt.NDArray[np.int64] = out.reshape(len(value), -1).sum(1)
        return total

    def _symbols(self, value: Values) -> Values:
        if value.shape != self.shape or value.dtype != self.values:
            raise ValueError(f"values are {value.shape} {value.dtype}, expected {self.shape} {np.dtype(self.values)}")
        return np.ascontiguousarray(value).reshape(-1)


def normals(means: Words, log_sigmas: Words, steps_per_unit: int) -> Independent:
    """`bbcodec.distributions.gaussian.Gaussian`: int16 values. means, log_sigmas: (B, ...), worth 1/256."""
    least = round(256 * math.log(0.75 / steps_per_unit))
    shared = steps_per_unit, least, tables.NORMAL, tables.INVERSE_SCALE, tables.QUANTILE, tables.LOG2
    rows = np.ascontiguousarray(means).reshape(-1), np.ascontiguousarray(log_sigmas).reshape(-1)
    return Independent(gaussian, np.int16, means.shape, rows, shared)


def bits(logits: Words) -> Independent:
    """`bbcodec.distributions.bernoulli.Bernoulli`: uint8 values. logits: (B, ...), worth 1/128."""
    rows = (np.ascontiguousarray(logits).reshape(-1),)
    return Independent(bernoulli, np.uint8, logits.shape, rows, (tables.BERNOULLI, tables.LOG2))
