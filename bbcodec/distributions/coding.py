"""What all families share: whole numbers on their way to the kernels, clamps and floors on their way to a loss."""

from __future__ import annotations

import math
from typing import Any

import torch
from torch import Tensor


class _Bounded(torch.autograd.Function):
    """Clamp whose gradient still passes where a descent step would lead back inside."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, low: float, high: float) -> Tensor:
        ctx.save_for_backward(x)
        ctx.low, ctx.high = low, high
        return x.clamp(low, high)

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, None, None]:
        (x,) = ctx.saved_tensors
        outward = ((x > ctx.high) & (gradient < 0)) | ((x < ctx.low) & (gradient > 0))
        return gradient.masked_fill(outward, 0), None, None


def bounded(x: Tensor, low: float, high: float) -> Tensor:
    """`x` clamped to low..high; a parameter that left the range gets only the gradients that bring it back.

    A plain clamp has no gradient outside, so that a parameter that once left its range could never return.
    """
    result: Tensor = _Bounded.apply(x, low, high)
    return result


def floored(log_p: Tensor, symbols: int, precision_bits: int) -> Tensor:
    """Log of the probability that is coded, (1 - symbols * 2**-P) * p + 2**-P, from log p; nats.

    The gradient is that of log p: the true one vanishes where p is below 2**-P, so that nothing could be learnt there.
    """
    floor = -precision_bits * math.log(2)
    inside = log_p.detach() + math.log1p(-symbols * 2.0**-precision_bits)
    coded = torch.logaddexp(inside, torch.full_like(inside, floor))
    return coded + (log_p - log_p.detach())


def rounded(x: Tensor) -> Tensor:
    """`x` rounded half to even, with the gradient of `x` itself."""
    return x + (x.round() - x).detach()


def real(x: Tensor) -> Tensor:
    """`x` in float64 if it is, else in float32: half precisions cannot hold the whole numbers that families take."""
    return x if x.dtype in (torch.float32, torch.float64) else x.float()


def per_image(x: Tensor) -> Tensor:
    """Sum over all axes but the first."""
    return x.flatten(1).sum(1)
