"""Uniform distribution over a number of levels."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from bbcodec.coder import kernels, tables
from bbcodec.distributions.coding import Coded, Integers

PRECISION = kernels.UNIFORM_BITS  # 24


class Uniform(Coded):
    """Independent whole numbers 0 .. levels - 1, all equally likely; masses sum to 2**24.

    levels: 1 .. 2**24; shape: of a value, batch first. Raises ValueError for other levels.
    """

    kernels = (kernels.uniform_push, kernels.uniform_pop, kernels.uniform_information)

    def __init__(self, levels: int, shape: Sequence[int]) -> None:
        """levels: of each number; shape: (B, ...)."""
        if not 1 <= levels <= 1 << PRECISION:
            raise ValueError(f"levels is {levels}, expected 1 to 2**{PRECISION}")
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
        """None."""
        return ()

    def select(self, images: Tensor) -> Uniform:
        """The distribution of as many images as `images` names."""
        return Uniform(self.levels, (len(images), *self.shape[1:]))

    def with_parameters(self, *parameters: Tensor) -> Uniform:
        """The same distribution: there is nothing to change."""
        return Uniform(self.levels, self.shape)

    def rows(self) -> tuple[Integers, ...]:
        """None."""
        return ()

    def shared(self) -> tuple[Any, ...]:
        """The number of levels and the table of log2."""
        return self.levels, tables.LOG2
