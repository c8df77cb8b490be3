"""Pixels or latents that depend on those before them, through a local net evaluated in parallel or in waves."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import torch
from torch import Tensor

from bbcodec.coder.ans import AnsStack
from bbcodec.distributions.base import Distribution
from bbcodec.exact.masked_conv import WaveNet
from bbcodec.exact.wave_order import WaveOrder

ROW_PIXELS = 2**15  # whose parameters are converted at a time: a second copy of all of them would be large


class Autoregressive(Distribution):
    """A distribution over (B, C, H, W) whose parameters at a pixel come from a net over the pixels of earlier waves.

    Coded wave by wave, in a wave image by image, in an image row by row from the top, at a pixel channel by channel.
    Pushing evaluates the net once for all pixels, popping in waves; exact arithmetic makes the two agree.
    """

    def __init__(
        self,
        net: WaveNet,
        family: Callable[[Tensor], Distribution],
        embed: Callable[[Tensor], Tensor],
        shape: tuple[int, int, int, int],
        context: Tensor | None = None,
        stride: int = 1,
    ) -> None:
        """family: params (..., P) -> distribution over (..., C); embed: values (B, C, H, W) -> the net's input.

        context: None, or (B, hidden, ceil(H / stride), ceil(W / stride)) for the net.
        """
        self.net, self.family, self.embed, self.context, self.stride = net, family, embed, context, stride
        self.shape = torch.Size(shape)

    def in_parallel(self, value: Tensor) -> Tensor:
        """Parameters of every pixel, (B, H, W, P)."""
        params: Tensor = self.net(self.embed(value), self.context, self.stride)
        return params.permute(0, 2, 3, 1)

    def for_coding(self, value: Tensor) -> Tensor:
        """`in_parallel` without gradients."""
        with torch.no_grad():
            return self.in_parallel(value)

    def log_prob(self, value: Tensor) -> Tensor:
        """Log-probability of each image: value (B, C, H, W) -> (B,) nats."""
        return self.family(self.in_parallel(value)).log_prob(value.permute(0, 2, 3, 1))

    def log_probs(self, value: Tensor) -> Tensor | None:
        """Log-probability of each symbol, given those of earlier waves: (B, C, H, W) nats, if the family has it."""
        nats = self.family(self.in_parallel(value)).log_probs(value.permute(0, 2, 3, 1))
        return None if nats is None else nats.permute(0, 3, 1, 2)

    def log_density(self, value: Tensor) -> Tensor:
        """Log of the density of each image, at values between grid points: (B,) nats."""
        return self.family(self.in_parallel(value)).log_density(value.permute(0, 2, 3, 1))

    def information(self, value: Tensor) -> np.ndarray:
        """What `push` costs each image: (B,) int64, in whole units of 2**-24 bits."""
        return self._information(self.for_coding(value), value)

    def _information(self, params: Tensor, value: Tensor) -> np.ndarray:
        """What `push` costs with parameters (B, H, W, P)."""
        pixels = value.permute(0, 2, 3, 1)
        rows = max(1, ROW_PIXELS // (value.shape[0] * value.shape[3]))
        total = np.zeros(len(value), np.int64)
        for part in (slice(first, first + rows) for first in range(0, value.shape[2], rows)):
            total += self.family(params[:, part]).information(pixels[:, part])
        return total

    def push(self, stack: AnsStack, value: Tensor) -> None:
        """Push wave by wave, the last wave first, so that `pop` starts with the first."""
        self._push(stack, self.for_coding(value), value)

    def push_measured(self, stack: AnsStack, value: Tensor) -> np.ndarray:
        """`push`, and what it costs each image: (B,) int64, in whole units of 2**-24 bits. Evaluates the net once."""
        params = self.for_coding(value)
        self._push(stack, params, value)
        return self._information(params, value)

    def _push(self, stack: AnsStack, params: Tensor, value: Tensor) -> None:
        """Push with parameters (B, H, W, P)."""
        _, _, height, width = self.shape
        params = params.permute(1, 2, 0, 3)  # (H, W, B, P)
        pixels = value.permute(2, 3, 0, 1)
        with stack.atomic():
            for wave in reversed(WaveOrder(height, width, self.net.skew)):
                i, j = wave.pixels(value.device)
                self.family(params[i, j].transpose(0, 1)).push(stack, pixels[i, j].transpose(0, 1))

    def pop(self, stack: AnsStack) -> Tensor:
        """Take values off the stack: (B, C, H, W), float32 whole numbers."""
        with stack.atomic():
            return self.drawn(lambda family: family.pop(stack))

    def rsample(self, generator: torch.Generator | None = None) -> Tensor:
        """Random values (B, C, H, W); not differentiable."""
        return self.drawn(lambda family: family.rsample(generator))

    @torch.no_grad()
    def drawn(self, draw: Callable[[Distribution], Tensor]) -> Tensor:
        """Values drawn wave by wave, each wave from its parameters (B, rows, P)."""
        batch, channels, height, width = self.shape
        out = torch.empty(height, width, batch, channels, device=self.net.stem.weight.device)

        def step(params: Tensor, i: Tensor, j: Tensor) -> Tensor:
            values = draw(self.family(params.transpose(0, 1))).transpose(0, 1)  # (rows, B, C)
            out[i, j] = values
            return self.embed(values.permute(1, 2, 0)[..., None]).squeeze(-1).permute(2, 0, 1)

        self.net.in_waves((batch, height, width), self.context, step, self.stride)
        return out.permute(2, 3, 0, 1).contiguous()
