"""Categorical distribution from whole-number weights."""

from __future__ import annotations

from typing import Any, ClassVar

import numpy as np
import torch
from torch import Tensor

from bbcodec.coder import tables
from bbcodec.coder.kernels import categorical
from bbcodec.distributions.coding import Integers, KernelDistribution, Kernels, per_image, real
from bbcodec.errors import CoderError


class Categorical(KernelDistribution):
    """Independent whole numbers 0 .. K - 1, in proportion to weights.

    weights: (B, ..., K), K up to 2**16, whole numbers >= 0 with a sum of 1 to 2**34 - 1 in each row: floats, or int64
    for sums that floats cannot hold. Masses sum to 2**precision_bits (up to 28), and each is at least 1.
    Values: (B, ...). Raises ValueError for another precision or more categories than masses. `push`, `pop` and
    `information` raise CoderError for weights that are not whole, negative, or of a sum out of range.
    """

    kernels: ClassVar[Kernels] = categorical

    def __init__(self, weights: Tensor, precision_bits: int = 24) -> None:
        """weights: (B, ..., K); precision_bits: 1 .. 28."""
        if not 1 <= precision_bits <= 28 or not 1 <= weights.shape[-1] <= min(1 << precision_bits, 1 << 16):
            raise ValueError(
                f"precision_bits is {precision_bits} for {weights.shape[-1]} categories, "
                "expected 1 to 28 bits and 1 to 2**precision_bits categories, at most 2**16"
            )
        self.weights = weights if weights.dtype == torch.int64 else real(weights)
        self.precision_bits, self.shape = precision_bits, weights.shape[:-1]

    def log_prob(self, value: Tensor) -> Tensor:
        """Log-probability of each image: value (B, ...) of `shape` -> (B,) nats."""
        weights = self.weights.double() if self.weights.dtype == torch.int64 else self.weights
        p = weights.gather(-1, value.long().unsqueeze(-1)).squeeze(-1) / weights.sum(-1)
        floor = 2.0**-self.precision_bits
        return per_image(torch.log(p * (1 - weights.shape[-1] * floor) + floor))

    def rsample(self, generator: torch.Generator | None = None) -> Tensor:
        """A random value; not differentiable."""
        rows = self.weights.detach().double().reshape(-1, self.weights.shape[-1])
        return torch.multinomial(rows, 1, generator=generator).view(self.shape).float()

    def parameters(self) -> tuple[Tensor, ...]:
        """The weights, (B, ..., K)."""
        return (self.weights,)

    def with_parameters(self, *parameters: Tensor) -> Categorical:
        """The distribution of other weights, at the same precision."""
        (weights,) = parameters
        return Categorical(weights, self.precision_bits)

    def rows(self) -> tuple[Integers, ...]:
        """Cumulative masses, (N, K + 1) int64: sum < 2**34 times 2**28 stays below 2**62."""
        exact = self.weights.detach().cpu().numpy()
        if not ((exact >= 0) & (exact < 1 << 34) & (exact == np.floor(exact))).all():  # False for nan
            raise CoderError("weights of a categorical distribution are not whole numbers from 0 to 2**34 - 1")
        weights = exact.astype(np.int64).reshape(-1, exact.shape[-1])
        below = np.zeros((len(weights), weights.shape[1] + 1), np.int64)
        np.cumsum(weights, 1, out=below[:, 1:])
        total = below[:, -1:]
        if (total < 1).any() or (total >> 34).any():
            raise CoderError("weights of a categorical distribution have a sum outside 1 .. 2**34 - 1")
        spare = (1 << self.precision_bits) - weights.shape[1]
        return (below * spare // total + np.arange(weights.shape[1] + 1),)

    def shared(self) -> tuple[Any, ...]:
        """The precision and the table of log2."""
        return self.precision_bits, tables.LOG2
