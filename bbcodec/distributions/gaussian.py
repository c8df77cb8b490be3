"""Normal distribution on a grid: the family of latents."""

from __future__ import annotations

import math
from typing import Any, ClassVar

import numpy as np
import torch
from torch import Tensor

from bbcodec.coder import tables
from bbcodec.coder.kernels import gaussian
from bbcodec.distributions.coding import Integers, KernelDistribution, Kernels, bounded, floored, per_image, real, whole
from bbcodec.exact.arithmetic import rounded

PRECISION_BITS = gaussian.PRECISION_BITS  # 28: at 24, symbols of mass 1 would be popped too often, anywhere on the grid
PARAMETER_UNIT = 256  # mean and log_sigma are worth 1/PARAMETER_UNIT
MEAN_BOUND = 2047  # of mean, so +-8
LOG_SIGMA_MAX = 512  # of log_sigma: sigma up to e**2
_LOG_SQRT_2PI = 0.5 * math.log(2 * math.pi)
_NODES, _WEIGHTS = np.polynomial.legendre.leggauss(8)


def activation(k: Tensor, steps_per_unit: int) -> Tensor:
    """Grid index `k` in the unit of activations, 1/256: a whole number."""
    return k * (PARAMETER_UNIT / steps_per_unit)


class Gaussian(KernelDistribution):
    """Independent normals, discretised: value k stands for k / steps_per_unit.

    mean, log_sigma: one shape, batch first; whole numbers in floats, worth 1/256; log_sigma is a natural logarithm.
    mean is clamped to +-2047, log_sigma to sigmas between 0.75 grid steps and e**2.
    Values: whole numbers -G..G with G = 8 * steps_per_unit - 1; the outermost two take the tails. Masses sum to 2**28.
    Raises ValueError for a steps_per_unit that is not a power of two between 1 and 64.
    """

    kernels: ClassVar[Kernels] = gaussian

    def __init__(self, mean: Tensor, log_sigma: Tensor, steps_per_unit: int) -> None:
        """mean, log_sigma: (B, ...), of one shape."""
        if steps_per_unit not in (1, 2, 4, 8, 16, 32, 64):
            raise ValueError(f"steps_per_unit is {steps_per_unit!r}, expected a power of two between 1 and 64")
        self.steps = steps_per_unit
        self.bound = 8 * steps_per_unit - 1
        self.mean, self.log_sigma = real(mean), real(log_sigma)
        self.shape = mean.shape

    @classmethod
    def from_params(cls, params: Tensor, steps_per_unit: int) -> Gaussian:
        """From params (..., 2 C): the first half of the last axis are means, the second log sigmas."""
        mean, log_sigma = params.chunk(2, -1)
        return cls(mean, log_sigma, steps_per_unit)

    @property
    def log_sigma_min(self) -> int:
        """Lower clamp of log_sigma: sigma of 0.75 grid steps."""
        return round(PARAMETER_UNIT * math.log(0.75 / self.steps))

    def _clamped(self) -> tuple[Tensor, Tensor]:
        mean = bounded(self.mean, -MEAN_BOUND, MEAN_BOUND)
        return mean, bounded(self.log_sigma, self.log_sigma_min, LOG_SIGMA_MAX)

    def log_prob(self, value: Tensor) -> Tensor:
        """Log-probability of each image: value (B, ...) of `shape` -> (B,) nats."""
        return per_image(self.log_probs(value))

    def log_probs(self, value: Tensor) -> Tensor:
        """Log-probability of each symbol of a value of `shape`, in nats."""
        mean, log_sigma = self._clamped()
        inverse = torch.exp(log_sigma / -PARAMETER_UNIT)
        width = inverse / self.steps  # of one grid step, in sigmas: at most 4/3
        distance = (value * (PARAMETER_UNIT / self.steps) - mean) / PARAMETER_UNIT * inverse
        inner = _log_normal_cell(distance.abs(), width)
        lower_tail = torch.special.log_ndtr(distance + width / 2)
        upper_tail = torch.special.log_ndtr(width / 2 - distance)
        outer = torch.where(value > 0, upper_tail, lower_tail)
        log_p = torch.where(value.abs() >= self.bound, outer, inner)
        return floored(log_p, 2 * self.bound + 1, PRECISION_BITS)

    def log_density(self, value: Tensor) -> Tensor:
        """Log of the normal density per grid step at any `value`, between the points of the grid too; (B,) nats."""
        mean, log_sigma = (x.double() for x in self._clamped())
        inverse = torch.exp(log_sigma / -PARAMETER_UNIT)
        distance = (value.double() * (PARAMETER_UNIT / self.steps) - mean) * inverse / PARAMETER_UNIT
        log_p = -distance * distance / 2 - log_sigma / PARAMETER_UNIT - _LOG_SQRT_2PI - math.log(self.steps)
        return per_image(log_p)

    def noise(self, value: Tensor, generator: torch.Generator | None = None) -> Tensor:
        """Standard normal noise, float64 of `shape`, whose value before rounding lies in the grid cell of `value`.

        It is drawn from that cell, so if `value` has this distribution, the noise is standard normal.
        """
        mean, log_sigma = (x.double() for x in self._clamped())
        inverse = torch.exp(log_sigma / -PARAMETER_UNIT) / self.steps  # of a grid step, in sigmas
        centre = (value.double() - mean * (self.steps / PARAMETER_UNIT)) * inverse
        side = torch.where(centre > 0, -1.0, 1.0)  # mirrors both edges to the side where ndtr is precise
        edges = torch.stack([centre - inverse / 2, centre + inverse / 2])
        edges[0][value <= -self.bound], edges[1][value >= self.bound] = -math.inf, math.inf
        low, high = torch.special.ndtr(edges * side)
        uniform = torch.rand(self.shape, generator=generator, dtype=torch.float64).to(mean.device)
        inside = torch.special.ndtri((low + uniform * (high - low)).clamp(1e-300, 1.0)) * side
        return torch.minimum(torch.maximum(inside, edges[0]), edges[1]).clamp(-38, 38)

    def between(self, noise: Tensor) -> Tensor:
        """The value of standard normal noise before rounding to the grid, float32 in grid steps.

        It is rounded to 1/256, as activations are, so that exact networks take it.
        """
        mean, log_sigma = (x.double() for x in self._clamped())
        activations = (mean + PARAMETER_UNIT * torch.exp(log_sigma / PARAMETER_UNIT) * noise).round()
        k = activations * (self.steps / PARAMETER_UNIT)
        return k.clamp(-self.bound, self.bound).float()

    def nearly(self, value: Tensor) -> Tensor:
        """An approximate `log_prob` of N values (N, ...) under each row of the batch: (N, B) nats, one matrix product.

        With distance d and cell width w in sigmas, the log of a cell's mass is that of density times width, plus
        w**2 / 24 (d**2 - 1), less terms of order w**4: a quadratic in the value. Tails and floors are left out.
        """
        mean, log_sigma = (x.double().flatten(1) / PARAMETER_UNIT for x in self._clamped())
        z = value.double().flatten(1) / self.steps
        inverse = torch.exp(-log_sigma)
        squared_width = (inverse / self.steps) ** 2
        half = inverse**2 * (1 - squared_width / 12) / 2
        constant = -log_sigma - math.log(self.steps) - _LOG_SQRT_2PI - squared_width / 24 - half * mean**2
        log_p: Tensor = constant.sum(1) - z**2 @ half.T + z @ (2 * half * mean).T
        return log_p.to(self.mean.dtype)

    def rsample(self, generator: torch.Generator | None = None) -> Tensor:
        """A random value, with straight-through gradients of the rounding."""
        mean, log_sigma = self._clamped()
        noise = torch.randn(self.shape, generator=generator, dtype=mean.dtype, device=mean.device)
        z = (mean / PARAMETER_UNIT + torch.exp(log_sigma / PARAMETER_UNIT) * noise) * self.steps
        return rounded(z).clamp(-self.bound, self.bound)

    def parameters(self) -> tuple[Tensor, ...]:
        """Means and log sigmas, in the shape of a value."""
        return self.mean, self.log_sigma

    def with_parameters(self, *parameters: Tensor) -> Gaussian:
        """The same grid with other means and log sigmas."""
        mean, log_sigma = parameters
        return Gaussian(mean, log_sigma, self.steps)

    def rows(self) -> tuple[Integers, ...]:
        """Means and log sigmas (N,), one of each a symbol."""
        return whole(self.mean).reshape(-1), whole(self.log_sigma).reshape(-1)

    def shared(self) -> tuple[Any, ...]:
        """The grid, the smallest log sigma and the tables."""
        return self.steps, self.log_sigma_min, tables.NORMAL, tables.INVERSE_SCALE, tables.QUANTILE, tables.LOG2


def _log_normal_cell(distance: Tensor, width: Tensor) -> Tensor:
    """Log of the standard normal integral over distance +- width / 2, for distance >= 0.

    Eight-point Gauss-Legendre quadrature in log space: relative error below 1e-12 where the cell has mass 2**-28 or
    more, no difference of nearly equal numbers, and a useful gradient however far out.
    """
    half = width / 2
    near = distance * half  # the largest exponent of the integrand, factored out
    total = torch.zeros_like(near)
    for node, weight in zip(_NODES, _WEIGHTS, strict=True):
        t = node * half
        total = total + weight / 2 * torch.exp(-distance * t - t * t / 2 - near)
    return torch.log(total * width) + near - distance * distance / 2 - _LOG_SQRT_2PI
