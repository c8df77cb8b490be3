"""Bernoulli distribution, for binary pixels."""

from __future__ import annotations

from typing import Any, ClassVar

import torch
from torch import Tensor

from bbcodec.coder import tables
from bbcodec.coder.kernels import bernoulli
from bbcodec.distributions.coding import Integers, KernelDistribution, Kernels, bounded, per_image, real, whole

PRECISION_BITS = bernoulli.PRECISION_BITS  # 24
LOGIT_UNIT = 128  # a logit is worth 1/LOGIT_UNIT nat
LOGIT_BOUND = 2047  # so +-16 nats


class Bernoulli(KernelDistribution):
    """Independent zeros and ones.

    logit: (B, ...) whole numbers in floats, worth 1/128 nat, clamped to +-2047; log odds of a one.
    Values: 0 or 1, in the shape of logit. Masses sum to 2**24.
    """

    kernels: ClassVar[Kernels] = bernoulli

    def __init__(self, logit: Tensor) -> None:
        """logit: (B, ...)."""
        self.logit = real(logit)
        self.shape = logit.shape

    def log_prob(self, value: Tensor) -> Tensor:
        """Log-probability of each image: value (B, ...) of `shape` -> (B,) nats."""
        odds = bounded(self.logit, -LOGIT_BOUND, LOGIT_BOUND) / LOGIT_UNIT
        p = torch.sigmoid((2 * value - 1) * odds)  # at least 1e-7, so that no logarithm of it overflows
        return per_image(torch.log(p * (1 - 2 * 2.0**-PRECISION_BITS) + 2.0**-PRECISION_BITS))

    def rsample(self, generator: torch.Generator | None = None) -> Tensor:
        """A random value, with the gradient of the probability of a one (straight-through)."""
        p = torch.sigmoid(bounded(self.logit, -LOGIT_BOUND, LOGIT_BOUND) / LOGIT_UNIT)
        return p + (torch.bernoulli(p.detach(), generator=generator) - p).detach()

    def parameters(self) -> tuple[Tensor, ...]:
        """The logits."""
        return (self.logit,)

    def with_parameters(self, *parameters: Tensor) -> Bernoulli:
        """The distribution with other logits."""
        return Bernoulli(*parameters)

    def rows(self) -> tuple[Integers, ...]:
        """Logits (N,), one a symbol."""
        return (whole(self.logit).reshape(-1),)

    def shared(self) -> tuple[Any, ...]:
        """The table of masses and that of log2."""
        return tables.BERNOULLI, tables.LOG2
