"""The mixture of logistics as the compiled engine codes it: in 32-bit integers, sixteen pixels at a time."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

from bbcodec.coder.ans import AnsStack
from bbcodec.coder.vectors import LANES
from bbcodec.distributions.coding import Integers, log2s, whole
from bbcodec.distributions.logistic import PRECISION_BITS, LogisticMixture
from bbcodec.engine.compiling import choose
from bbcodec.engine.logistic import Mixture, mixture, mixture_intervals, mixture_pop, mixture_push, room
from bbcodec.errors import CoderError


class GroupedMixture(LogisticMixture):
    """A `LogisticMixture` with the integers and the order of symbols of `bbcodec.engine.logistic`.

    Its masses agree with `log_prob` less closely than promise 3 says: weights have 12 bits and cumulatives 20.
    """

    @property
    def mixture(self) -> Mixture:
        """The mixture as compiled code knows it."""
        return mixture(self.channels, self.components, self.joint)

    def rows(self) -> tuple[Integers, ...]:
        """Parameters of the pixels, (N, P) int32, P rounded up to a multiple of 16."""
        rows = whole(self.params).reshape(-1, self.params.shape[-1])
        return (np.pad(rows, ((0, 0), (0, -rows.shape[1] % LANES))),)

    def push(self, stack: AnsStack, value: Tensor) -> None:
        """Put `value` on the stack. Raises CoderError for a value outside the support."""
        family, symbols, kernels = self.mixture, self._symbols(value), choose()
        room_for = np.empty(symbols.size, np.int32), np.empty(symbols.size, np.int32)

        def kernel(heads: Integers, words: Integers, n: int, values: Integers, params: Integers) -> int:
            order = np.arange(len(values))
            return int(mixture_push(kernels, heads, words, n, values, family, params, order, room(family), *room_for))

        stack.push(kernel, symbols, self.rows())

    def pop(self, stack: AnsStack) -> Tensor:
        """Take a value off the stack. Raises StackUnderflow, and leaves the stack as it was, if it holds too little."""
        family, kernels = self.mixture, choose()
        symbols = np.empty((self.shape.numel() // self.channels, self.channels), np.int32)

        def kernel(heads: Integers, words: Integers, n: int, values: Integers, params: Integers) -> int:
            order = np.arange(len(values))
            return int(mixture_pop(kernels, heads, words, n, values, family, params, order, room(family)))

        stack.pop(kernel, symbols, self.rows())
        return torch.from_numpy(symbols.astype(np.float32)).view(self.shape).to(self.params.device)

    def information(self, value: Tensor) -> np.ndarray:
        """What `push` costs each image: (B,) int64, in whole units of 2**-24 bits. Raises CoderError as `push` does."""
        family, symbols = self.mixture, self._symbols(value)
        starts, masses = np.empty(symbols.size, np.int32), np.empty(symbols.size, np.int32)
        order = np.arange(len(symbols))
        if mixture_intervals(choose(), family, *self.rows(), order, symbols, room(family), starts, masses) < 0:
            raise CoderError("a symbol lies outside the support of its distribution")
        bits = (PRECISION_BITS << 24) - log2s(masses.astype(np.int64))
        each = np.bincount(_pixels(*symbols.shape), bits).astype(np.int64)
        total: np.ndarray = each.reshape(self.shape[0], -1).sum(1)
        return total


def _pixels(count: int, channels: int) -> Integers:
    """The pixel of each symbol in the order of coding: groups of sixteen, in a group channel by channel."""
    pixels = np.arange(count)
    full = pixels[: count - count % LANES].reshape(-1, 1, LANES).repeat(channels, 1)
    return np.concatenate([full.reshape(-1), np.tile(pixels[count - count % LANES :], channels)])
