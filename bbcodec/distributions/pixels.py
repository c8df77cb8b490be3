"""Independent pixels: a distribution over pixels as one over images."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

from bbcodec.coder.ans import AnsStack
from bbcodec.distributions.base import Distribution


class Pixels(Distribution):
    """Images (B, C, H, W) whose pixels a family codes as (B, H, W, C).

    Coded as one sequence: image by image, row by row from the top, column by column, at a pixel channel by channel.
    """

    def __init__(self, family: Distribution) -> None:
        """family: over (B, H, W, C)."""
        self.family = family
        batch, height, width, channels = family.shape
        self.shape = torch.Size((batch, channels, height, width))

    def log_prob(self, value: Tensor) -> Tensor:
        """Log-probability of each image: value (B, C, H, W) -> (B,) nats."""
        return self.family.log_prob(value.permute(0, 2, 3, 1))

    def rsample(self, generator: torch.Generator | None = None) -> Tensor:
        """Random images (B, C, H, W), differentiable where the family is."""
        return self.family.rsample(generator).permute(0, 3, 1, 2)

    def push(self, stack: AnsStack, value: Tensor) -> None:
        """Put images on the stack. Raises CoderError for a value outside the support."""
        self.family.push(stack, value.permute(0, 2, 3, 1))

    def push_measured(self, stack: AnsStack, value: Tensor) -> np.ndarray:
        """`push`, and what it costs each image: (B,) int64, in whole units of 2**-24 bits."""
        return self.family.push_measured(stack, value.permute(0, 2, 3, 1))

    def pop(self, stack: AnsStack) -> Tensor:
        """Take images off the stack. Raises StackUnderflow, and leaves the stack as it was, if it holds too little."""
        return self.family.pop(stack).permute(0, 3, 1, 2)

    def information(self, value: Tensor) -> np.ndarray:
        """What `push` costs each image: (B,) int64, in whole units of 2**-24 bits."""
        return self.family.information(value.permute(0, 2, 3, 1))
