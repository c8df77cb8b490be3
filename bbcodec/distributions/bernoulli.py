"""Bernoulli distribution: the family of binary pixels."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

from bbcodec.ans import AnsStack
from bbcodec.distributions.base import Distribution
from bbcodec.distributions.coding import bounded, per_image, real

PRECISION = 24  # bits
UNIT = 128  # logit is worth 1/UNIT nat
LOGIT_BOUND = 2047  # so +-16 nats


class Bernoulli(Distribution):
    """Independent zeros and ones.

    logit: (B, ...) whole numbers in floats, worth 1/128 nat, clamped to +-2047; log odds of a one.
    Values: 0 or 1, in the shape of logit. Masses sum to 2**24.
    """

    def __init__(self, logit: Tensor):
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

    def push(self, stack: AnsStack, value: Tensor) -> None:
        raise NotImplementedError

    def pop(self, stack: AnsStack) -> Tensor:
        raise NotImplementedError

    def information(self, value: Tensor) -> np.ndarray:
        raise NotImplementedError
