"""Discretised mixture of logistics, with channels that depend on each other: the family of pixels of 256 levels."""

from __future__ import annotations

import math

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from bbcodec.coder.ans import AnsStack
from bbcodec.coder.vectors import LANES
from bbcodec.distributions.coding import (
    Integers,
    WholeDistribution,
    bounded,
    floor,
    floored,
    log2s,
    per_image,
    real,
    whole,
)
from bbcodec.engine.compiling import choose
from bbcodec.engine.logistic import (
    PARAMETER_BOUND,
    PRECISION,
    Mixture,
    mixture,
    mixture_intervals,
    mixture_pop,
    mixture_push,
    room,
)
from bbcodec.errors import CoderError

LEVELS = 256
LOGIT_UNIT = 256  # logits and log scales are worth 1/LOGIT_UNIT nat
LEVEL_UNIT = 256  # means are computed in 1/LEVEL_UNIT level
MEAN_UNIT = 32  # but come in 1/MEAN_UNIT level
COEFFICIENT_UNIT = 256  # coefficients are worth 1/COEFFICIENT_UNIT
LOG_SCALE_MIN, LOG_SCALE_MAX = -1065, 1408  # scales from 1/64 of a level to 245 levels
COEFFICIENT_BOUND = 1023  # so +-4
MEAN_MIN, MEAN_MAX = -256 * LEVEL_UNIT, 512 * LEVEL_UNIT  # after the other channels were added
_CENTRE = 128  # levels
_LEAST = -30 * math.log(2)  # is added to the probability of a channel under a component, so that none vanishes


class LogisticMixture(WholeDistribution):
    """Pixels of 256 levels, each channel a mixture of K logistics of its own.

    params: (B, ..., P) whole numbers in floats; P = 3 C K for C = 1 channel, 3 C K + 3 K for C = 3; K up to 32. Along
    P, in C order: logits (C, K), worth 1/256 nat; means (C, K), 128 + m/32 levels; log scales (C, K), worth 1/256 nat,
    clamped to -1065..1408; for C = 3 coefficients (3, K), worth 1/256, clamped to +-1023: green on red, blue on red,
    blue on green. A coefficient times the error of another channel (its value less its mean under the same component)
    is added to the mean, in 1/256 level rounded down; means are then clamped to -256..512 levels. Errors, not values: a
    coefficient that varies from pixel to pixel must not move means with brightness. Values: (B, ..., C), whole numbers
    0..255; the first and last level take the tails. Masses sum to 2**24.

    joint: all channels of a pixel come from one component (PixelCNN++, Salimans et al. 2017, eq. 3): there is one row
    of logits, (K), and P = 10 K for C = 3. Weights for a channel are conditioned on the channels before it.

    Coded as `bbcodec.engine.logistic` says, sixteen pixels at a time. There, weights have 12 bits and cumulatives 20,
    so that promise 3 holds on average only. Raises ValueError where P does not fit the channels.
    """

    def __init__(self, params: Tensor, channels: int, joint: bool = False) -> None:
        """params: (B, ..., P); channels: 1 or 3."""
        per_component = {1: 3, 3: 10 if joint else 12}.get(channels)
        if per_component is None or params.shape[-1] % per_component or not params.shape[-1]:
            raise ValueError(
                f"channels is {channels} with {params.shape[-1]} parameters a pixel, "
                f"expected 1 channel with a multiple of 3 or 3 channels with a multiple of {10 if joint else 12}"
            )
        self.params = real(params)
        self.channels, self.components, self.joint = channels, params.shape[-1] // per_component, joint
        self.site = (channels,)
        self.shape = torch.Size((*params.shape[:-1], channels))

    def _split(self) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """Logits (..., C or 1, K), means in 1/256 level and log scales (..., C, K), coefficients (..., 3 or 0, K)."""
        rows = self.params.reshape(*self.params.shape[:-1], -1, self.components)
        first = 1 if self.joint else self.channels
        sizes = [first, self.channels, self.channels, rows.shape[-2] - first - 2 * self.channels]
        logits, means, log_scales, coefficients = torch.split(rows, sizes, -2)
        return (
            logits,
            means * (LEVEL_UNIT // MEAN_UNIT) + _CENTRE * LEVEL_UNIT,
            bounded(log_scales, LOG_SCALE_MIN, LOG_SCALE_MAX),
            bounded(coefficients, -COEFFICIENT_BOUND, COEFFICIENT_BOUND),
        )

    def _means(self, own: Tensor, coefficients: Tensor, seen: list[Tensor]) -> list[Tensor]:
        """Means (..., K) of the channels whose predecessors were seen (..., 1), all in 1/256 level."""
        means: list[Tensor] = []
        errors: list[Tensor] = []
        for c in range(min(self.channels, len(seen) + 1)):
            mean = own[..., c, :]
            if c == 1:
                mean = mean + floor(coefficients[..., 0, :] * errors[0] / COEFFICIENT_UNIT)
            if c == 2:
                both = coefficients[..., 1, :] * errors[0] + coefficients[..., 2, :] * errors[1]
                mean = mean + floor(both / COEFFICIENT_UNIT)
            means.append(bounded(mean, MEAN_MIN, MEAN_MAX))
            if c < len(seen):
                errors.append(seen[c] - means[c])
        return means

    def log_prob(self, value: Tensor) -> Tensor:
        """Log-probability of each image: value (B, ..., C) of `shape` -> (B,) nats."""
        logits, means, log_scales, coefficients = self._split()
        x = value.unsqueeze(-1)  # (..., C, 1)
        means = torch.stack(self._means(means, coefficients, list((x * LEVEL_UNIT).unbind(-2))), -2)
        inverse = torch.exp(log_scales / -LOGIT_UNIT)  # width of a level, in scales
        centre = (x * LEVEL_UNIT - means) / LEVEL_UNIT * inverse
        above = (x < LEVELS - 1).to(centre.dtype)  # whether there is a boundary above this level, and below
        below = (x > 0).to(centre.dtype)
        # log of sigmoid(up) - sigmoid(down) = sigmoid(up) * sigmoid(-down) * (1 - exp(down - up)), up - down = inverse
        log_p = (
            above * below * torch.log(-torch.expm1(-inverse))
            - above * F.softplus(-centre - inverse / 2)
            - below * F.softplus(centre - inverse / 2)
        )
        return per_image(floored(torch.logsumexp(self._weights(logits, log_p) + log_p, -1), LEVELS, PRECISION))

    def _weights(self, logits: Tensor, log_p: Tensor) -> Tensor:
        """Log weights of the components of each channel, given the channels before it. log_p: (..., C, K)."""
        weights = F.log_softmax(logits / LOGIT_UNIT, -1)
        if not self.joint:
            return weights
        rows = [weights[..., 0, :]]
        for known in log_p.unbind(-2)[:-1]:
            rows.append(torch.log_softmax(rows[-1] + torch.logaddexp(known, known.new_tensor(_LEAST)), -1))
        return torch.stack(rows, -2)

    def rsample(self, generator: torch.Generator | None = None) -> Tensor:
        """A random value; not differentiable."""
        with torch.no_grad():
            logits, means, log_scales, coefficients = self._split()
            gumbel = -torch.empty_like(logits).exponential_(generator=generator).log()
            components = (logits / LOGIT_UNIT + gumbel).argmax(-1, keepdim=True).expand(*means.shape[:-1], 1)
            seen: list[Tensor] = []
            for c, k in enumerate(components.unbind(-2)):
                mean = self._means(means, coefficients, [value.unsqueeze(-1) * LEVEL_UNIT for value in seen])[c]
                uniform = torch.empty_like(mean[..., 0]).uniform_(1e-6, 1 - 1e-6, generator=generator)
                middle = mean.gather(-1, k)[..., 0] / LEVEL_UNIT
                scale = torch.exp(log_scales[..., c, :].gather(-1, k)[..., 0] / LOGIT_UNIT)
                seen.append((middle + scale * torch.logit(uniform)).round().clamp(0, LEVELS - 1))
            return torch.stack(seen, -1)

    def parameters(self) -> tuple[Tensor, ...]:
        """The params, (B, ..., P)."""
        return (self.params,)

    def with_parameters(self, *parameters: Tensor) -> LogisticMixture:
        """The distribution of the same channels with other params."""
        (params,) = parameters
        return LogisticMixture(params, self.channels, self.joint)

    @property
    def mixture(self) -> Mixture:
        """The mixture as compiled code knows it."""
        return mixture(self.channels, self.components, self.joint)

    def rows(self) -> tuple[Integers, ...]:
        """Parameters of the pixels, (N, P) int32, P rounded up to a multiple of 16."""
        rows = whole(self.params).reshape(-1, self.params.shape[-1]).clip(-PARAMETER_BOUND, PARAMETER_BOUND)
        return (np.pad(rows, ((0, 0), (0, -rows.shape[1] % LANES))),)

    def push(self, stack: AnsStack, value: Tensor) -> None:
        """Put `value` on the stack. Raises CoderError for a value outside the support."""
        self._push(stack, self._symbols(value))

    def push_measured(self, stack: AnsStack, value: Tensor) -> np.ndarray:
        """`push`, and what it costs each image: the `information` of the value. Raises as `push`."""
        symbols = self._symbols(value)
        return self._bits(symbols, self._push(stack, symbols))

    def _push(self, stack: AnsStack, symbols: Integers) -> Integers:
        """Put symbols (N, C) on the stack. Their masses, in the order of coding."""
        family, kernels = self.mixture, choose()
        starts, masses = np.empty(symbols.size, np.int32), np.empty(symbols.size, np.int32)

        def kernel(heads: Integers, words: Integers, n: int, values: Integers, params: Integers) -> int:
            order, space = np.arange(len(values)), room(family)
            return int(mixture_push(kernels, heads, words, n, values, family, params, order, space, starts, masses))

        stack.push(kernel, symbols, self.rows())
        return masses

    def pop(self, stack: AnsStack) -> Tensor:
        """Take a value off the stack. Raises StackUnderflow, and leaves the stack as it was, if it holds too little."""
        family, kernels = self.mixture, choose()
        symbols = np.empty((self.shape.numel() // self.channels, self.channels), np.int32)

        def kernel(heads: Integers, words: Integers, n: int, values: Integers, params: Integers) -> int:
            order = np.arange(len(values))
            return int(mixture_pop(kernels, heads, words, n, values, family, params, order, room(family)))

        stack.pop(kernel, symbols, self.rows())
        return torch.from_numpy(symbols.astype(np.float32)).view(self.shape).to(self.params.device)

    def information(self, value: Tensor) -> np.ndarray:
        """What `push` costs each image: (B,) int64, in whole units of 2**-24 bits. Raises CoderError as `push` does."""
        family, symbols = self.mixture, self._symbols(value)
        starts, masses = np.empty(symbols.size, np.int32), np.empty(symbols.size, np.int32)
        order = np.arange(len(symbols))
        if mixture_intervals(choose(), family, *self.rows(), order, symbols, room(family), starts, masses) < 0:
            raise CoderError("a symbol lies outside the support of its distribution")
        return self._bits(symbols, masses)

    def _bits(self, symbols: Integers, masses: Integers) -> np.ndarray:
        """What symbols (N, C) of these masses, in the order of coding, cost each image, 2**-24 bits."""
        bits = (PRECISION << 24) - log2s(masses.astype(np.int64))
        each = np.bincount(_pixels(*symbols.shape), bits).astype(np.int64)
        total: np.ndarray = each.reshape(self.shape[0], -1).sum(1)
        return total


def _pixels(count: int, channels: int) -> Integers:
    """The pixel of each symbol in the order of coding: groups of sixteen, in a group channel by channel."""
    pixels = np.arange(count)
    full = pixels[: count - count % LANES].reshape(-1, 1, LANES).repeat(channels, 1)
    return np.concatenate([full.reshape(-1), np.tile(pixels[count - count % LANES :], channels)])
