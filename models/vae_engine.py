"""The program of a dense VAE in compiled code. Without PyTorch."""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import AbstractContextManager, nullcontext
from typing import Any

import numpy as np
from numpy.typing import NDArray

from bbcodec.engine.dense import DenseNet
from bbcodec.engine.independent import Independent, bits, normals
from bbcodec.model.program import Latent, Observed, Program
from bbcodec.models.vae_config import VaeConfig

Values = NDArray[Any]


class VaeEngine:
    """The program of `bbcodec.models.vae.Vae`, over arrays: images are uint8 (B, 1, H, W), latents int16 (B, Z)."""

    def __init__(self, config: VaeConfig, tensors: Mapping[str, Values]) -> None:
        """tensors: by name, as in codec files. Raises ValueError for those that cannot be, or are not known."""
        self.config = c = config
        self.image_size, self.lanes, self.mixable = (c.height, c.width), c.lanes, None
        self.encoder = DenseNet(tensors, "encoder", (c.pixels, c.hidden, c.layers, 2 * c.latents), 1)
        self.decoder = DenseNet(tensors, "decoder", (c.latents, c.hidden, c.layers, c.pixels), c.latent_bound)
        if len(tensors) > 2 * 3 * (c.layers + 1):
            raise ValueError("tensors of no part of the model")

    def exactly(self) -> AbstractContextManager[None]:
        """Nothing: integers are exact anywhere."""
        return nullcontext()

    def posterior(self, images: Values) -> Independent:
        """q(z | x)."""
        means, log_sigmas = np.split(self.encoder(images.reshape(len(images), -1)), 2, 1)
        return normals(means, log_sigmas, self.config.steps_per_unit)

    def prior(self, batch: int) -> Independent:
        """p(z), standard normal."""
        zero = np.zeros((batch, self.config.latents), np.int32)
        return normals(zero, zero, self.config.steps_per_unit)

    def likelihood(self, z: Values) -> Independent:
        """p(x | z), over (B, 1, H, W)."""
        return bits(self.decoder(z).reshape(len(z), 1, *self.image_size))

    def program(self, shape: tuple[int, ...], images: Values | None = None) -> Program[Independent, Values]:
        """Latents z, then pixels x."""
        z = yield Latent(
            "z",
            prior=lambda: self.prior(shape[0]),
            posterior=lambda: self.posterior(images),  # type: ignore[arg-type]  # asked for only with images
        )
        images = yield Observed("x", likelihood=lambda: self.likelihood(z), value=images)
        return images


def engine(config: Mapping[str, Any], tensors: Mapping[str, Values]) -> VaeEngine:
    """The program of a codec's config and tensors. Raises TypeError or ValueError for numbers that cannot be."""
    return VaeEngine(VaeConfig(**config), tensors)
