"""The components of a mixture prior as whole numbers: learned, or made by an encoder while the model learns."""

from __future__ import annotations

from collections.abc import Callable
from typing import ClassVar

import torch
from torch import Tensor, nn

from bbcodec.errors import BadCodecFile
from bbcodec.exact.arithmetic import ACTIVATION_UNIT, BOUND, clamped, rounded
from bbcodec.exact.layers import ExactPart

Source = Callable[[], tuple[Tensor, Tensor]]


class Components(ExactPart):
    """Means, log sigmas and log weights of K Gaussians over M latents each.

    During training, means and log sigmas are parameters (a mixture of Gaussians), or come from a source: those of
    posteriors at pseudo-inputs (a VampPrior). `freeze` fixes their current values. Codec files hold only these numbers,
    `means` and `log_sigmas` (K, M) and `log_weights` (K,), all int16 and worth 1/256; never the source.
    """

    stored_names: ClassVar[tuple[str, ...]] = ("means", "log_sigmas", "log_weights")
    stored_types: ClassVar[tuple[torch.dtype, ...]] = (torch.int16, torch.int16, torch.int16)
    log_weights: Tensor

    def __init__(self, count: int, latents: int, weighted: bool = False, source: Source | None = None) -> None:
        """count: K; latents: M; weighted: learn weights too; source: gives means and log sigmas, (K, M), in 1/256."""
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

        Means and log sigmas are left to the clamps of the distribution, whose gradients lead back inside.
        """
        if self.frozen is not None:
            return self.frozen
        if self.source is not None:
            means, log_sigmas = self.source()
        elif self.centres is not None:
            means, log_sigmas = self.centres[0] * ACTIVATION_UNIT, self.centres[1] * ACTIVATION_UNIT
        else:
            raise ValueError("components without a source have centres")
        parts = means, log_sigmas, clamped(self.log_weights * ACTIVATION_UNIT)
        means, log_sigmas, log_weights = (rounded(part) if self.exact else part for part in parts)
        return means, log_sigmas, log_weights

    def stored(self) -> dict[str, Tensor]:
        """The whole numbers by name, int16, clamped to +-2047, as wide as any clamp of the distribution."""
        with torch.no_grad():
            numbers = [clamped(part).round().to("cpu", torch.int16) for part in self()]
        return dict(zip(self.stored_names, numbers, strict=True))

    def load_stored(self, means: Tensor, log_sigmas: Tensor, log_weights: Tensor) -> None:
        """Use these whole numbers from now on. Raises BadCodecFile for a wrong shape or type, or beyond +-2047."""
        parts = means, log_sigmas, log_weights
        self.check_types(*parts)
        if means.shape != self.shape or log_sigmas.shape != self.shape or log_weights.shape != self.shape[:1]:
            raise BadCodecFile(f"expected components of shape {self.shape}, got {tuple(means.shape)}")
        if max(int(part.int().abs().max()) for part in parts) > BOUND:
            raise BadCodecFile(f"expected components within +-{BOUND}")
        device = self.log_weights.device
        means, log_sigmas, log_weights = (part.to(device).float() for part in parts)
        self.frozen = means, log_sigmas, log_weights
        with torch.no_grad():
            self.log_weights.copy_(log_weights / ACTIVATION_UNIT)
            if self.centres is not None:
                self.centres.copy_(torch.stack([means, log_sigmas]) / ACTIVATION_UNIT)
