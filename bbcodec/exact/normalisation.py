"""Layer normalisation (Ba et al. 2016) and learned scales, in whole numbers.

The channels of a place less their mean, divided by their standard deviation. With C channels x_c, whole numbers:

    S = sum x_c     d_c = C x_c - S     V = sum d_c**2     D = V // C + C**2     R = isqrt(2**16 D)
    n_c = (d_c * (2**48 // R) + 2**31) >> 32     clamped to +-2047

d_c / C is the distance from the mean and R / (256 C) the deviation, to whose square (1/256)**2 is added, so n_c is the
normalised channel in 1/256. Bounds, for C <= 1024 and |x| <= 2047: |d| < 2**12 C, V < 2**54, 2**16 D < 2**59, and d
times the reciprocal stays below 2**53.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from torch import Tensor

from bbcodec.coder.compilation import compiled
from bbcodec.exact.arithmetic import ACTIVATION_UNIT, BOUND, clamped, straight
from bbcodec.exact.layers import ExactLayer

Floats = np.ndarray[Any, np.dtype[np.float32]]
MOST_CHANNELS = 1024


class Scale(ExactLayer):
    """y_c = w_c x_c + b_c for each channel, (..., C) -> (..., C); one channel stands for all."""

    def __init__(self, channels: int = 1, start: float = 0.0, bias: bool = True) -> None:
        """start: initial real weights; bias: whether biases are learned, or stay 0."""
        super().__init__((channels, 1), 1)
        with torch.no_grad():
            self.weight.fill_(start)
        self.bias.requires_grad_(bias)

    def forward(self, x: Tensor) -> Tensor:
        """x: whole numbers within +-bound."""
        w, b = self.parameters_now()
        return self.finished(x * w[:, 0] + b)


class LayerNorm(Scale):
    """Normalisation over the last axis, then a learned scale and bias for each channel: (..., C) -> (..., C)."""

    def __init__(self, channels: int) -> None:
        """Raises ValueError for more than 1,024 channels: sums would not fit."""
        if channels > MOST_CHANNELS:
            raise ValueError(f"expected a normalisation of at most {MOST_CHANNELS} channels, got {channels}")
        super().__init__(channels, start=1.0)

    def forward(self, x: Tensor) -> Tensor:
        """x: whole numbers within +-2047. Returns whole numbers within +-2047."""
        return clamped(super().forward(normalised(x, self.exact)))


def over_maps(norm: LayerNorm, x: Tensor) -> Tensor:
    """`norm` over the channels of maps (B, C, H, W)."""
    y: Tensor = norm(x.permute(0, 2, 3, 1))
    return y.permute(0, 3, 1, 2)


def normalised(x: Tensor, exact: bool = True) -> Tensor:
    """n of the definition above over the last axis of x, float32 whole numbers; the real function if not `exact`."""
    if exact and not (torch.is_grad_enabled() and x.requires_grad):
        return exact_normalised(x)
    centred = x - x.mean(-1, keepdim=True)
    smooth = clamped(centred * (centred.square().mean(-1, keepdim=True) + 1).rsqrt() * ACTIVATION_UNIT)
    return straight(exact_normalised(x.detach()), smooth) if exact else smooth


def exact_normalised(x: Tensor) -> Tensor:
    """n of the definition: compiled on the CPU, else in int64 by PyTorch."""
    if x.device.type == "cpu":
        rows = x.detach().contiguous()
        out = torch.empty_like(rows)
        normalise(rows.view(-1, x.shape[-1]).numpy(), out.view(-1, x.shape[-1]).numpy())
        return out
    return in_int64(x)


def in_int64(x: Tensor) -> Tensor:
    """n of the definition, in PyTorch, on any device."""
    channels = x.shape[-1]
    d = x.long() * channels
    d = d - torch.div(d.sum(-1, keepdim=True), channels, rounding_mode="floor")
    variance = torch.div(d.square().sum(-1, keepdim=True), channels, rounding_mode="floor") + channels**2
    reciprocal = torch.div(torch.full_like(variance, 1 << 48), integer_root(variance << 16), rounding_mode="floor")
    return clamped(((d * reciprocal + (1 << 31)) >> 32).float())


def integer_root(n: Tensor) -> Tensor:
    """Square roots, rounded down, of int64 numbers from 0 to 2**60 - 1; a float root is off by at most one."""
    root = n.double().sqrt().long()
    root = root - (root * root > n).long()
    return root + ((root + 1) * (root + 1) <= n).long()


@compiled
def normalise(x: Floats, out: Floats) -> None:
    """The definition, row by row: (N, C) float32 whole numbers."""
    channels = x.shape[1]
    for row in range(x.shape[0]):
        total = np.int64(0)
        for c in range(channels):
            total += np.int64(x[row, c])
        squares = np.int64(0)
        for c in range(channels):
            d = np.int64(x[row, c]) * channels - total
            squares += d * d
        n = (squares // channels + channels * channels) << 16
        root = np.int64(np.sqrt(np.float64(n)))
        if root * root > n:
            root -= 1
        if (root + 1) * (root + 1) <= n:
            root += 1
        reciprocal = (np.int64(1) << 48) // root
        for c in range(channels):
            d = np.int64(x[row, c]) * channels - total
            out[row, c] = np.float32(min(max((d * reciprocal + (np.int64(1) << 31)) >> 32, -BOUND), BOUND))
