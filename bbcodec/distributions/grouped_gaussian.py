"""Normals of several channels in the order in which the compiled engine codes the symbols of a local net."""

from __future__ import annotations

import math

import numpy as np
import torch
from torch import Tensor

from bbcodec.coder.ans import AnsStack
from bbcodec.coder.vectors import LANES
from bbcodec.distributions.coding import Integers
from bbcodec.distributions.gaussian import Gaussian


class GroupedGaussian(Gaussian):
    """A `Gaussian` of pixels (..., C), coded sixteen pixels at a time, of a group channel by channel."""

    def push(self, stack: AnsStack, value: Tensor) -> None:
        """Put `value` on the stack. Raises CoderError for a value outside the support."""
        order = self._order()
        stack.push(self.kernels.push, self._symbols(value)[order], self._rows(order), *self.shared())

    def pop(self, stack: AnsStack) -> Tensor:
        """Take a value off the stack. Raises StackUnderflow, and leaves the stack as it was, if it holds too little."""
        order, symbols = self._order(), np.empty(math.prod(self.shape), np.int32)
        stack.pop(self.kernels.pop, symbols, self._rows(order), *self.shared())
        value = np.empty(len(order), np.float32)
        value[order] = symbols
        return torch.from_numpy(value).view(self.shape).to(self.mean.device)

    def _order(self) -> Integers:
        """Which symbol, numbered in C order, is coded first, second ..."""
        channels = self.shape[-1]
        numbers = np.arange(math.prod(self.shape)).reshape(-1, channels)
        full = len(numbers) - len(numbers) % LANES
        groups = numbers[:full].reshape(-1, LANES, channels).transpose(0, 2, 1)
        return np.concatenate([groups.reshape(-1), numbers[full:].T.reshape(-1)])

    def _rows(self, order: Integers) -> tuple[Integers, ...]:
        """Parameters in this order."""
        return tuple(row[order] for row in self.rows())
