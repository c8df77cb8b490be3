"""The variational autoencoder (Kingma & Welling 2014) with dense layers, for two-level images: the fastest family.

z ~ N(0, 1), x ~ Bernoulli(decoder(z)), q(z | x) = N(encoder(x)), pixels and latents independent. All of it runs as
compiled code (`bbcodec.models.vae_engine`). Latents are a vector, so that a model takes images of one size only.
"""

from __future__ import annotations

from typing import Any, Final

import torch
from torch import Tensor

from bbcodec.codec.codec import PixelFormat
from bbcodec.distributions.bernoulli import LOGIT_UNIT, Bernoulli
from bbcodec.distributions.gaussian import Gaussian
from bbcodec.errors import InputError
from bbcodec.exact.arithmetic import ACTIVATION_UNIT
from bbcodec.exact.dense import DenseNet
from bbcodec.model.latent_model import TorchProgram
from bbcodec.model.program import Latent, Observed
from bbcodec.models.families import Family, PresetName, TrainableModel
from bbcodec.models.vae_config import MAX_PIXELS, VaeConfig

FIRST_LOG_SIGMA: Final = -1.2  # of posteriors: sigma 0.3, so that latents are used before the decoder ignores them
LEAST_SHARE: Final = 0.005  # of ones at a pixel, for the initial logits


class Vae(TrainableModel):
    """The VAE as a program of one vector of latents and the pixels."""

    def __init__(self, config: VaeConfig) -> None:
        """All sizes that a config can have are possible."""
        super().__init__()
        self.config = c = config
        self.image_size, self.lanes = (c.height, c.width), c.lanes
        self.encoder = DenseNet(c.pixels, c.hidden, c.layers, 2 * c.latents, 1, 1)
        self.decoder = DenseNet(c.latents, c.hidden, c.layers, c.pixels, c.latent_bound, c.steps_per_unit)
        with torch.no_grad():
            self.encoder.head.bias[c.latents :] = FIRST_LOG_SIGMA

    @torch.no_grad()
    def initialise_from(self, images: Tensor) -> None:
        """Start the decoder at the share of ones of each pixel."""
        share = images.flatten(1).mean(0).clamp(LEAST_SHARE, 1 - LEAST_SHARE)
        self.decoder.head.bias.copy_(torch.logit(share) * (LOGIT_UNIT / ACTIVATION_UNIT))

    def posterior(self, images: Tensor) -> Gaussian:
        """q(z | x)."""
        return Gaussian.from_params(self.encoder(images.flatten(1)), self.config.steps_per_unit)

    def prior(self, batch: int) -> Gaussian:
        """p(z), standard normal."""
        zero = self.decoder.head.bias.new_zeros(batch, self.config.latents)
        return Gaussian(zero, zero, self.config.steps_per_unit)

    def likelihood(self, z: Tensor) -> Bernoulli:
        """p(x | z), over (B, 1, H, W)."""
        return Bernoulli(self.decoder(z).view(len(z), 1, self.config.height, self.config.width))

    def program(self, shape: torch.Size, images: Tensor | None = None) -> TorchProgram:
        """Latents z, then pixels x. Raises InputError for images of another size."""
        if tuple(shape[2:]) != self.image_size:
            height, width = self.config.height, self.config.width
            raise InputError(f"expected images of {height} x {width} pixels, got {shape[2]} x {shape[3]}")
        z = yield Latent(
            "z",
            prior=lambda: self.prior(shape[0]),
            posterior=lambda: self.posterior(images),  # type: ignore[arg-type]  # asked for only with images
        )
        images = yield Observed("x", likelihood=lambda: self.likelihood(z), value=images)
        return images


SIZES: Final[dict[PresetName, dict[str, Any]]] = {
    "fast": {"hidden": 128, "layers": 1, "latents": 32},
    "balanced": {"hidden": 200, "layers": 1, "latents": 40},
    "strong": {"hidden": 384, "layers": 2, "latents": 48},
}


def preset(name: PresetName, pixels: PixelFormat, smallest: tuple[int, int], one_size: bool) -> dict[str, Any]:
    """Settings for such images. Raises InputError unless they have two levels and one size that is small enough."""
    height, width = smallest
    if pixels.levels != 2:
        raise InputError("the family vae takes images of two levels only: use --set binarise=true, or --model vlae")
    if not one_size:
        raise InputError("the family vae takes images of one size only, got several sizes: use --model vlae")
    if height * width > MAX_PIXELS:
        raise InputError(f"images of {height} x {width} pixels are too large for the family vae: use --model vlae")
    return {**SIZES[name], "height": height, "width": width, "batch": 100, "free_nats": 0.05}


FAMILY = Family("vae", VaeConfig, Vae, preset)
