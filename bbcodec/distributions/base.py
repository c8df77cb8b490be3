"""The contract of every distribution: one class for learning (floats, nats) and for coding (integers, bits)."""

from __future__ import annotations

from abc import ABC, abstractmethod

import numpy as np
import torch
from torch import Tensor

from bbcodec.coder.ans import AnsStack


class Distribution(ABC):
    """A batch of independent distributions over whole numbers; axis 0 of `shape` is the batch.

    Values are float32 tensors of whole numbers of shape `shape`. What is pushed, popped and charged comes from one
    integer cumulative function F over the support, at a stated precision P:

    1. F(first) = 0 and F(last + 1) = 2**P: masses sum to exactly 2**P.
    2. F is strictly increasing: every symbol of the support has mass F(k + 1) - F(k) >= 1.
    3. `exp(log_prob) * 2**P`, in float64, agrees with the integer mass within two units.
    4. `pop` after `push` returns the value and restores the stack; `push` after `pop` restores any stack.
    5. `information` is -log2(mass / 2**P) within one unit of 2**-24 bits. A push grows the stack by that, up to the
       rounding of rANS: a factor of at most 1 + 2**P / head, so up to 0.18 bits at P = 28, and tiny on average.
    """

    shape: torch.Size

    @abstractmethod
    def log_prob(self, value: Tensor) -> Tensor:
        """Log-probability of each image: value of `shape` -> (B,) nats, differentiable."""

    def log_probs(self, value: Tensor) -> Tensor | None:
        """Log-probability of each symbol, given those that it depends on: value of `shape` -> nats of `shape`.

        None for families that only have one of a whole image.
        """
        return None

    def log_density(self, value: Tensor) -> Tensor:
        """Log of the density per grid step: the limit of `log_prob` on ever finer grids. For bounds, never for coding.

        Families whose grid stands for a continuum take values between grid points, in grid steps. For all others it
        is `log_prob`. Returns (B,) nats.
        """
        return self.log_prob(value)

    @abstractmethod
    def rsample(self, generator: torch.Generator | None = None) -> Tensor:
        """A random value of `shape`, differentiable in the parameters where the family allows."""

    @abstractmethod
    def push(self, stack: AnsStack, value: Tensor) -> None:
        """Put `value` on the stack. Raises CoderError for a value outside the support."""

    def push_measured(self, stack: AnsStack, value: Tensor) -> np.ndarray:
        """`push`, and what it costs each image: the `information` of the value. Raises as `push`.

        Families in which both take the same work do it once.
        """
        self.push(stack, value)
        return self.information(value)

    @abstractmethod
    def pop(self, stack: AnsStack) -> Tensor:
        """Take a value off the stack. Raises StackUnderflow, and leaves the stack as it was, if it holds too little."""

    @abstractmethod
    def information(self, value: Tensor) -> np.ndarray:
        """What `push` costs each image: (B,) int64, in whole units of 2**-24 bits."""
