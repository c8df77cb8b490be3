"""Latents row by row: each row of latents is normal given the rows before it."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Protocol

import numpy as np
import torch
from torch import Tensor, nn

from bbcodec.coder.ans import AnsStack
from bbcodec.distributions.base import Distribution
from bbcodec.distributions.gaussian import Gaussian, activation
from bbcodec.exact.arithmetic import rounded

ALPHA_BITS = 12  # correlations are worth 2**-12


class RowNet(Protocol):
    """How a row of Z latents depends on those before it: all rows at once, or one at a time, equal bit for bit.

    Rows are in grid steps; parameters are Z means and then Z log sigmas, whole numbers worth 1/256.
    """

    def rows(self, z: Tensor) -> Tensor:
        """Parameters (B, n, 2 Z) of all rows z (B, n, Z)."""

    def first(self, batch: int) -> tuple[Tensor, Any]:
        """Parameters (B, 2 Z) of the first row, and a state for `following`."""

    def following(self, row: Tensor, state: Any) -> tuple[Tensor, Any]:
        """Parameters (B, 2 Z) of the row after `row` (B, Z), and the next state."""


class FirstOrder(nn.Module):
    """A first-order autoregressive process, z_1 ~ N(0, 1), z_t ~ N(alpha z_(t-1), sigma**2), for each of Z latents.

    With whole numbers a = 4096 alpha and x = z_(t-1) as an activation, the mean is rne(a x / 4096): below 2**23 before
    the division, which float32 holds.
    """

    alphas: Tensor
    log_sigmas: Tensor

    def __init__(self, alphas: list[int], log_sigmas: list[int], steps_per_unit: int) -> None:
        """alphas: of each latent, in 1/4096, at most 4095 in magnitude; log_sigmas: in 1/256."""
        super().__init__()
        if any(abs(a) >= 1 << ALPHA_BITS for a in alphas) or len(alphas) != len(log_sigmas):
            raise ValueError(f"expected {len(log_sigmas)} whole numbers within +-4095 as alphas, got {alphas}")
        self.steps = steps_per_unit
        self.register_buffer("alphas", torch.tensor(alphas).float(), persistent=False)
        self.register_buffer("log_sigmas", torch.tensor(log_sigmas).float(), persistent=False)

    def _given(self, before: Tensor) -> Tensor:
        """Parameters (..., 2 Z) after rows (..., Z)."""
        means = rounded(activation(before, self.steps) * self.alphas / (1 << ALPHA_BITS))
        return torch.cat([means, self.log_sigmas.expand_as(means)], -1)

    def rows(self, z: Tensor) -> Tensor:
        """Parameters (B, n, 2 Z) of all rows z (B, n, Z)."""
        start, _ = self.first(len(z))
        return torch.cat([start[:, None], self._given(z[:, :-1])], 1)

    def first(self, batch: int) -> tuple[Tensor, None]:
        """Parameters of the first row, those of the standard normal; there is no state."""
        return self.alphas.new_zeros(batch, 2 * len(self.alphas)), None

    def following(self, row: Tensor, state: None) -> tuple[Tensor, None]:
        """Parameters of the row after `row`."""
        return self._given(row), None


class Rowwise(Distribution):
    """Latents (B, n, Z) of n rows, values in grid steps as for `Gaussian`.

    Coded row after row, the first row first; in a row image by image, latent by latent. Pushing evaluates the net once
    for all rows, popping row by row.
    """

    def __init__(self, net: RowNet, shape: tuple[int, int, int], steps_per_unit: int) -> None:
        """shape: (B, n, Z), n at least 1."""
        self.net, self.shape, self.steps = net, torch.Size(shape), steps_per_unit

    def _family(self, params: Tensor) -> Gaussian:
        return Gaussian.from_params(params, self.steps)

    def log_prob(self, value: Tensor) -> Tensor:
        """Log-probability of each image: value (B, n, Z) -> (B,) nats."""
        return self._family(self.net.rows(value)).log_prob(value)

    def log_probs(self, value: Tensor) -> Tensor:
        """Log-probability of each latent, given the rows before its own: (B, n, Z) nats."""
        return self._family(self.net.rows(value)).log_probs(value)

    def log_density(self, value: Tensor) -> Tensor:
        """Log of the density of each image, at values between grid points: (B,) nats."""
        return self._family(self.net.rows(value)).log_density(value)

    def information(self, value: Tensor) -> np.ndarray:
        """What `push` costs each image: (B,) int64, in whole units of 2**-24 bits."""
        with torch.no_grad():
            return self._family(self.net.rows(value)).information(value)

    def push(self, stack: AnsStack, value: Tensor) -> None:
        """Push row by row, the last row first. On failure the stack is left as it was."""
        self._push(stack, value)

    def push_measured(self, stack: AnsStack, value: Tensor) -> np.ndarray:
        """`push`, and what it costs each image: (B,) int64, in whole units of 2**-24 bits. Evaluates the net once."""
        return self._family(self._push(stack, value)).information(value)

    def _push(self, stack: AnsStack, value: Tensor) -> Tensor:
        """Push; gives the parameters (B, n, 2 Z)."""
        if value.shape != self.shape:
            raise ValueError(f"value has shape {tuple(value.shape)}, the distribution {tuple(self.shape)}")
        with torch.no_grad(), stack.atomic():
            params = self.net.rows(value)
            for n in reversed(range(self.shape[1])):
                self._family(params[:, n]).push(stack, value[:, n])
        return params

    def pop(self, stack: AnsStack) -> Tensor:
        """Take latents (B, n, Z) off the stack. Raises StackUnderflow and restores the stack if it is too short."""
        with stack.atomic():
            return self._drawn(lambda family: family.pop(stack))

    def rsample(self, generator: torch.Generator | None = None) -> Tensor:
        """Random latents (B, n, Z); not differentiable."""
        return self._drawn(lambda family: family.rsample(generator))

    @torch.no_grad()
    def _drawn(self, draw: Callable[[Gaussian], Tensor]) -> Tensor:
        params, state = self.net.first(self.shape[0])
        rows = [draw(self._family(params))]
        while len(rows) < self.shape[1]:
            params, state = self.net.following(rows[-1], state)
            rows.append(draw(self._family(params)))
        return torch.stack(rows, 1)
