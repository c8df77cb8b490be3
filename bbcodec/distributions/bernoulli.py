"""Bernoulli distribution: the family of binary pixels."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from bbcodec.coder import kernels, tables
from bbcodec.distributions.coding import Coded, Integers, bounded, per_image, real, whole

PRECISION = kernels.BERNOULLI_BITS  # 24
UNIT = 128  # logit is worth 1/UNIT nat
LOGIT_BOUND = 2047  # so +-16 nats


class Bernoulli(Coded):
    """Independent zeros and ones.

    logit: (B, ...) whole numbers in floats, worth 1/128 nat, clamped to +-2047; log odds of a one.
    Values: 0 or 1, in the shape of logit. Masses sum to 2**24.
    """

    kernels = (kernels.bernoulli_push, kernels.bernoulli_pop, kernels.bernoulli_information)

    def __init__(self, logit: Tensor) -> None:
        """logit: (B, ...)."""
        self.logit = real(logit)
        self.shape = logit.shape

    def log_prob(self, value: Tensor) -> Tensor:
        """Log-probability of each image: value (B, ...) of `shape` -> (B,) nats."""
        odds = bounded(self.logit, -LOGIT_BOUND, LOGIT_BOUND) / UNIT
        p = torch.sigmoid((2 * value - 1) * odds)  # at least 1e-7, so that no logarithm of it overflows
        return per_image(torch.log(p * (1 - 2 * 2.0**-PRECISION) + 2.0**-PRECISION))

    def rsample(self, generator: torch.Generator | None = None) -> Tensor:
        """A random value, with the gradient of the probability of a one (straight-through)."""
        p = torch.sigmoid(bounded(self.logit, -LOGIT_BOUND, LOGIT_BOUND) / UNIT)
        return p + (torch.bernoulli(p.detach(), generator=generator) - p).detach()

    def parameters(self) -> tuple[Tensor, ...]:
        """The logit."""
        return (self.logit,)

    def with_parameters(self, *parameters: Tensor) -> Bernoulli:
        """Other logits."""
        return Bernoulli(*parameters)

    def rows(self) -> tuple[Integers, ...]:
        """Logits, (N,)."""
        return (whole(self.logit).reshape(-1),)

    def shared(self) -> tuple[Any, ...]:
        """The tables."""
        return tables.BERNOULLI, tables.LOG2
