"""The likelihood of `LogisticMixture` and its gradient in one pass over the parameters, to train on CPUs.

For a channel, log p = log sum_k w_k p_k, with p_k = s1 s2 (1 - exp(-1 / scale)), s1 = sigmoid((x - mean + 1/2) / scale)
and s2 = sigmoid((mean - x + 1/2) / scale); at 0 and 255 one of the two and the last factor are 1. The gradient of log p
is r_k - w_k for logits and r_k times that of log p_k for the rest, r_k = w_k p_k / p. Inner loops run over a block of
pixels and few arrays, so that compilers vectorise them; exponentials are polynomials for the same reason.
"""

from __future__ import annotations

from typing import Any

import numba as nb
import numpy as np
import torch
from llvmlite import ir  # type: ignore[import-untyped]
from numba.extending import intrinsic
from numpy.typing import NDArray
from torch import Tensor

from bbcodec.distributions.logistic import LogisticMixture

Floats = NDArray[np.float32]
F = np.float32
BLOCK = 64  # pixels: parameters of so many stay in the nearest cache
JIT: dict[str, Any] = {"nogil": True, "cache": True, "error_model": "numpy", "fastmath": {"contract", "nsz", "arcp"}}
FARTHEST = F(60)  # scales from the mean beyond which logistics stop falling, so that none becomes 0
LEAST_WEIGHT = F(-20)  # log, relative to the greatest one
MOST = F(1023 / 256)  # of a coefficient
SMALLEST, LARGEST = F(-1065), F(1408)  # log scales, in 1/256 nat
UNIT = F(1 / 256)


@intrinsic  # type: ignore[untyped-decorator]
def as_float(typing: Any, x: Any) -> Any:
    """The float32 of these 32 bits."""

    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        return builder.bitcast(arguments[0], ir.FloatType())

    return nb.float32(nb.uint32), generate


@nb.njit(**JIT)  # type: ignore[untyped-decorator]
def exponential(x: F) -> Any:
    """exp(x), |x| up to 80, to about 2e-7."""
    n = np.floor(x * F(1.4426950408889634) + F(0.5))
    f = x - n * F(0.6931471805599453)
    p = F(1) + f * (F(1) + f * (F(1 / 2) + f * (F(1 / 6) + f * (F(1 / 24) + f * (F(1 / 120) + f * F(1 / 720))))))
    return p * as_float(np.uint32((np.int32(n) + np.int32(127)) << np.int32(23)))


@nb.njit(**JIT)  # type: ignore[untyped-decorator]
def sigmoid(x: F) -> Any:
    """1 / (1 + exp(-x)), x clamped to +-FARTHEST."""
    return F(1) / (F(1) + exponential(-min(max(x, -FARTHEST), FARTHEST)))


@nb.njit(**JIT)  # type: ignore[untyped-decorator]
def within(x: F, least: F, most: F) -> F:
    """x clamped."""
    return min(max(x, least), most)


@nb.njit(**JIT)  # type: ignore[untyped-decorator]
def normalised(logits: Floats, weights: Floats) -> None:
    """weights (K, n) = softmax of logits (K, n), in 1/256 nat."""
    components, size = logits.shape
    top = logits[0].copy()
    for k in range(1, components):
        row = logits[k]
        for n in range(size):
            top[n] = max(top[n], row[n])
    total = np.zeros(size, np.float32)
    for k in range(components):
        row, out = logits[k], weights[k]
        for n in range(size):
            out[n] = exponential(max((row[n] - top[n]) * UNIT, LEAST_WEIGHT))
        for n in range(size):
            total[n] += out[n]
    for k in range(components):
        out = weights[k]
        for n in range(size):
            out[n] /= total[n]


@nb.njit(**JIT)  # type: ignore[untyped-decorator]
def probability(
    ends: Floats, error: Floats, log_scale: Floats, p: Floats, by_mean: Floats, by_scale: Floats, room: Floats
) -> None:
    """p (n,) of values under one logistic, and the gradients of log p for its mean and for its log of scale.

    ends (2, n): 1 where there is a level above, below; error: value - mean, in levels; room: (2, n).
    """
    size = len(error)
    above, below = ends[0], ends[1]
    inverse, edge = room[0], room[1]
    for n in range(size):
        inverse[n] = exponential(-within(log_scale[n], SMALLEST, LARGEST) * UNIT)
    for n in range(size):
        edge[n] = exponential(-min(inverse[n], FARTHEST))
    s1, s2 = by_mean, by_scale
    for n in range(size):
        s1[n] = sigmoid((error[n] + F(0.5)) * inverse[n])
    for n in range(size):
        s2[n] = sigmoid((F(0.5) - error[n]) * inverse[n])
    for n in range(size):
        p[n] = (F(1) - above[n] * (F(1) - s1[n])) * (F(1) - below[n] * (F(1) - s2[n]))
    for n in range(size):
        p[n] *= F(1) - above[n] * below[n] * edge[n]
    for n in range(size):
        edge[n] *= above[n] * below[n] / (F(1) - edge[n])
    for n in range(size):
        s1[n] = (F(1) - s1[n]) * above[n]
    for n in range(size):
        s2[n] = (F(1) - s2[n]) * below[n]
    for n in range(size):
        edge[n] += s1[n] * (error[n] + F(0.5)) - s2[n] * (error[n] - F(0.5))
    for n in range(size):
        by_mean[n] = (s2[n] - s1[n]) * inverse[n]
    for n in range(size):
        by_scale[n] = -inverse[n] * edge[n]


@nb.njit(**JIT)  # type: ignore[untyped-decorator]
def errors(q: Floats, x: Floats, coefficients: Floats, error: Floats) -> None:
    """error (C, K, n) of each channel and component: x (C, n) less the mean, which errors of other channels move.

    q: means (C, K, n), in 1/32 level from 128; coefficients (3 or 0, K, n), in 1/256.
    """
    channels, components, size = q.shape
    for c in range(channels):
        for k in range(components):
            mean, out, value = q[c, k], error[c, k], x[c]
            for n in range(size):
                out[n] = F(128) + mean[n] * F(1 / 32)
            for other in range(c):
                slope, seen = coefficients[c + other - 1, k], error[other, k]
                for n in range(size):
                    out[n] += within(slope[n] * UNIT, -MOST, MOST) * seen[n]
            for n in range(size):
                out[n] = value[n] - within(out[n], F(-256), F(512))


@nb.njit(**JIT)  # type: ignore[untyped-decorator]
def back_through_errors(
    by_mean: Floats, coefficients: Floats, error: Floats, means_out: Floats, coefficients_out: Floats
) -> None:
    """Gradients of means and coefficients from those of the means that errors of other channels have moved."""
    channels, components, size = by_mean.shape
    for c in range(channels - 1, -1, -1):
        for k in range(components):
            slope, out = by_mean[c, k], means_out[c, k]
            for n in range(size):
                out[n] = slope[n] * F(1 / 32)
            for other in range(c):
                row, earlier, seen = coefficients[c + other - 1, k], by_mean[other, k], error[other, k]
                row_out = coefficients_out[c + other - 1, k]
                for n in range(size):
                    row_out[n] = slope[n] * seen[n] * UNIT
                for n in range(size):
                    earlier[n] -= within(row[n] * UNIT, -MOST, MOST) * slope[n]


@nb.njit(**JIT)  # type: ignore[untyped-decorator]
def negative_log_likelihood(params: Floats, values: Floats, gradient: Floats, components: int, joint: bool) -> float:
    """Nats of values (N, C) under params (N, P), and into gradient (N, P) how they change with these. N: any."""
    channels = values.shape[1]
    heads = components * (1 if joint else channels)  # rows of logits
    n_means = channels * components
    q = np.empty((params.shape[1], BLOCK), np.float32)
    g = np.empty_like(q)
    x = np.zeros((channels, BLOCK), np.float32)
    shape = channels, components, BLOCK
    ends, room = np.empty((2, BLOCK), np.float32), np.empty((2, BLOCK), np.float32)
    error, p, weights = np.empty(shape, np.float32), np.empty(shape, np.float32), np.empty(shape, np.float32)
    by_mean, by_scale = np.empty(shape, np.float32), np.empty(shape, np.float32)
    share = np.empty(BLOCK, np.float32)
    means, scales = q[heads : heads + n_means], q[heads + n_means : heads + 2 * n_means]
    slopes = q[heads + 2 * n_means :].reshape(-1, components, BLOCK)
    least = F(2.0**-30) if joint else F(1e-30)  # added, so that no component is lost to the channels to come
    total = 0.0
    for start in range(0, len(params), BLOCK):
        size = min(BLOCK, len(params) - start)
        for n in range(size):
            for row in range(params.shape[1]):
                q[row, n] = params[start + n, row]
            for c in range(channels):
                x[c, n] = values[start + n, c]
        errors(means.reshape(shape), x, slopes, error)
        for c in range(channels):
            if joint and c > 0:
                weights[c] = weights[c - 1]
            else:
                normalised(q[c * components : (c + 1) * components], weights[c])
            value = x[c]
            for n in range(BLOCK):
                ends[0, n] = F(1) if value[n] < F(255) else F(0)
            for n in range(BLOCK):
                ends[1, n] = F(1) if value[n] > F(0) else F(0)
            share[:] = F(0)
            for k in range(components):
                likely, prior = p[c, k], weights[c, k]
                log_scale = scales[c * components + k]
                probability(ends, error[c, k], log_scale, likely, by_mean[c, k], by_scale[c, k], room)
                for n in range(BLOCK):
                    likely[n] = prior[n] * (likely[n] + least)
                for n in range(BLOCK):
                    share[n] += likely[n]
            for n in range(size):
                total -= np.log(share[n] * F(1 - 2.0**-16) + F(2.0**-24))
            for n in range(BLOCK):
                share[n] = F(1) / share[n]
            for k in range(components):
                likely, posterior, out = p[c, k], weights[c, k], g[k if joint else c * components + k]
                if c == 0 or not joint:
                    out[:] = posterior
                for n in range(BLOCK):
                    posterior[n] = likely[n] * share[n]
                if c == channels - 1 or not joint:
                    for n in range(BLOCK):
                        out[n] = (out[n] - posterior[n]) * UNIT
        for c in range(channels):
            for k in range(components):
                row = heads + n_means + c * components + k
                posterior = weights[channels - 1 if joint else c, k]
                slope, bend, log_scale, out = by_mean[c, k], by_scale[c, k], q[row], g[row]
                for n in range(BLOCK):
                    slope[n] *= -posterior[n]
                for n in range(BLOCK):
                    bend[n] *= -posterior[n] * UNIT
                for n in range(BLOCK):
                    lost = ((log_scale[n] < SMALLEST) & (bend[n] > 0)) | ((log_scale[n] > LARGEST) & (bend[n] < 0))
                    out[n] = F(0) if lost else bend[n]
        back_through_errors(
            by_mean,
            slopes,
            error,
            g[heads : heads + n_means].reshape(shape),
            g[heads + 2 * n_means :].reshape(-1, components, BLOCK),
        )
        for n in range(size):
            for row in range(params.shape[1]):
                gradient[start + n, row] = g[row, n]
    return total


class NegativeLogLikelihood(torch.autograd.Function):
    """The function above, with its gradient."""

    @staticmethod
    def forward(ctx: Any, params: Tensor, values: Tensor, components: int, joint: bool) -> Tensor:
        """params: (B, ..., P), values: (B, ..., C); returns (B,) nats."""
        params = params.contiguous()
        gradient = torch.empty_like(params)
        nats = params.new_empty(len(params))
        for n in range(len(params)):
            rows, slopes = (t[n].detach().reshape(-1, t.shape[-1]).numpy() for t in (params, gradient))
            pixels = values[n].detach().reshape(-1, values.shape[-1]).numpy()
            nats[n] = negative_log_likelihood(rows, pixels, slopes, components, joint)
        ctx.save_for_backward(gradient)
        return nats

    @staticmethod
    def backward(ctx: Any, *outer: Tensor) -> tuple[Tensor, None, None, None]:
        """outer: (B,)."""
        (gradient,) = ctx.saved_tensors
        return gradient * outer[0].view(-1, *[1] * (gradient.dim() - 1)), None, None, None


class FusedMixture(LogisticMixture):
    """A logistic mixture whose `log_prob` has fused gradients; float32 on a CPU."""

    def log_prob(self, value: Tensor) -> Tensor:
        """Log-probability of each image: value (B, ..., C) of `shape` -> (B,) nats."""
        nats: Tensor = NegativeLogLikelihood.apply(self.params, value, self.components, self.joint)  # type: ignore[no-untyped-call]
        return -nats
