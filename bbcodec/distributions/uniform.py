"""Uniform distribution over whole numbers."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any, ClassVar

import torch
from torch import Tensor

from bbcodec.coder import tables
from bbcodec.coder.kernels import uniform
from bbcodec.distributions.coding import Integers, KernelDistribution, Kernels

PRECISION_BITS = uniform.PRECISION_BITS  # 24


class Uniform(KernelDistribution):
    """Independent whole numbers 0 .. levels - 1, all equally likely; masses sum to 2**24.

    levels: 1 .. 2**24; shape: of a value, batch first. Raises ValueError for other levels.
    """

    kernels: ClassVar[Kernels] = uniform

    def __init__(self, levels: int, shape: Sequence[int]) -> None:
        """levels: of each number; shape: (B, ...)."""
        if not 1 <= levels <= 1 << PRECISION_BITS:
            raise ValueError(f"levels is {levels}, expected 1 to 2**{PRECISION_BITS}")
        self.levels, self.shape = levels, torch.Size(shape)

    def log_prob(self, value: Tensor) -> Tensor:
        """Log-probability of each image: value (B, ...) of `shape` -> (B,) nats."""
        nats = -math.log(self.levels) * self.shape[1:].numel()
        return torch.full((self.shape[0],), nats, dtype=value.dtype, device=value.device)

    def rsample(self, generator: torch.Generator | None = None) -> Tensor:
        """A random value, on the generator's device."""
        device = generator.device if generator is not None else None
        return torch.randint(self.levels, self.shape, generator=generator, device=device).float()

    def parameters(self) -> tuple[Tensor, ...]:
        """An empty tuple: levels alone make the distribution."""
        return ()

    def select(self, images: Tensor) -> Uniform:
        """The distribution of as many images as there are indices."""
        return Uniform(self.levels, (len(images), *self.shape[1:]))

    def with_parameters(self, *parameters: Tensor) -> Uniform:
        """The same distribution, as it has no parameters."""
        return Uniform(self.levels, self.shape)

    def rows(self) -> tuple[Integers, ...]:
        """An empty tuple: all symbols share the levels."""
        return ()

    def shared(self) -> tuple[Any, ...]:
        """The number of levels and the table of log2."""
        return self.levels, tables.LOG2
