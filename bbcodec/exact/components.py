"""The components of a mixture prior as whole numbers: learned, or made by an encoder while the model learns."""

from __future__ import annotations

from collections.abc import Callable
from typing import ClassVar

import torch
from torch import Tensor, nn

from bbcodec.errors import BadCodecFile
from bbcodec.exact.arithmetic import BOUND, UNIT, clamped, rounded
from bbcodec.exact.layers import ExactPart

Source = Callable[[], tuple[Tensor, Tensor]]


class Components(ExactPart):
    """Means, log sigmas and log weights of K Gaussians over M latents each.

    While a model learns, means and log sigmas are parameters (a mixture of Gaussians), or come from a source: those of
    posteriors at pseudo-inputs (a VampPrior). `freeze` fixes what they are then. Codec files hold these numbers only,
    `means` and `log_sigmas` (K, M) and `log_weights` (K,), all int16 and worth 1/256; never what a source was made of.
    """

    stored_names: ClassVar[tuple[str, ...]] = ("means", "log_sigmas", "log_weights")
    log_weights: Tensor

    def __init__(self, count: int, latents: int, weighted: bool = False, source: Source | None = None) -> None:
        """count: K; latents: M; weighted: learn weights, too; source: gives means and log sigmas, (K, M), in 1/256."""
        super().__init__()
        self.shape = count, latents
        self.source = source
        self.centres: nn.Parameter | None = None
        if source is None:
            start = torch.stack([torch.randn(count, latents), torch.zeros(count, latents)])
            self.centres = nn.Parameter(start)  # (2, K, M): means, in units, and log sigmas
        if weighted:
            self.log_weights = nn.Parameter(torch.zeros(count))
        else:
            self.register_buffer("log_weights", torch.zeros(count), persistent=False)
        self.frozen: tuple[Tensor, Tensor, Tensor] | None = None

    def forward(self) -> tuple[Tensor, Tensor, Tensor]:
        """Means and log sigmas (K, M), log weights (K,): whole numbers worth 1/256; the weights within +-2047.

        Means and log sigmas are left to the clamps of the distribution, whose gradients bring them back.
        """
        if self.frozen is not None:
            return self.frozen
        if self.source is not None:
            means, log_sigmas = self.source()
        elif self.centres is not None:
            means, log_sigmas = self.centres[0] * UNIT, self.centres[1] * UNIT
        else:
            raise ValueError("components without a source have centres")
        parts = means, log_sigmas, clamped(self.log_weights * UNIT)
        means, log_sigmas, log_weights = (rounded(part) if self.exact else part for part in parts)
        return means, log_sigmas, log_weights

    def stored(self) -> dict[str, Tensor]:
        """The whole numbers by name, int16, clamped to +-2047: no clamp of the distribution is wider."""
        with torch.no_grad():
            numbers = [clamped(part).round().to("cpu", torch.int16) for part in self()]
        return dict(zip(self.stored_names, numbers, strict=True))

    def load_stored(self, means: Tensor, log_sigmas: Tensor, log_weights: Tensor) -> None:
        """Use these whole numbers from now on. Raises BadCodecFile for another shape or type, or beyond +-2047."""
        parts = means, log_sigmas, log_weights
        if any(part.dtype != torch.int16 for part in parts):
            raise BadCodecFile(f"components of type {', '.join(str(part.dtype) for part in parts)}: int16 was expected")
        if means.shape != self.shape or log_sigmas.shape != self.shape or log_weights.shape != self.shape[:1]:
            raise BadCodecFile(f"components of shape {tuple(means.shape)} where {self.shape} was expected")
        if max(int(part.int().abs().max()) for part in parts) > BOUND:
            raise BadCodecFile(f"components beyond +-{BOUND}")
        device = self.log_weights.device
        means, log_sigmas, log_weights = (part.to(device).float() for part in parts)
        self.frozen = means, log_sigmas, log_weights
        with torch.no_grad():
            self.log_weights.copy_(log_weights / UNIT)
            if self.centres is not None:
                self.centres.copy_(torch.stack([means, log_sigmas]) / UNIT)
