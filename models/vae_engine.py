"""The dense VAE as a program of compiled code, which imports no PyTorch."""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import AbstractContextManager, nullcontext
from typing import Any

import numpy as np
from numpy.typing import NDArray

from bbcodec.engine.compiling import Kernels
from bbcodec.engine.dense import DenseNet
from bbcodec.engine.independent import Independent, bits, normals
from bbcodec.model.program import Latent, Observed, Program
from bbcodec.models.vae_config import LANES, VaeConfig

Values = NDArray[Any]


class VaeProgram:
    """The program of `bbcodec.models.vae.Vae`, over arrays: images are uint8 (B, 1, H, W), latents int16 (B, Z)."""

    lanes = LANES

    def __init__(self, config: VaeConfig, tensors: Mapping[str, Values], kernels: Kernels | None = None) -> None:
        """tensors: of a codec file; kernels: None for those of `compiling.choose`.

        Raises ValueError for tensors that are not those of the config, or break the bounds of exact sums.
        """
        self.config = c = config
        self.image_size = c.height, c.width
        self.encoder = DenseNet(tensors, "encoder", (c.pixels, c.hidden, c.layers, 2 * c.latents), 1, kernels)
        self.decoder = DenseNet(tensors, "decoder", (c.latents, c.hidden, c.layers, c.pixels), c.latent_bound, kernels)

    def exactly(self) -> AbstractContextManager[None]:
        """Nothing is to be done: integers are exact."""
        return nullcontext()

    def posterior(self, images: Values) -> Independent:
        """q(z | x)."""
        params = self.encoder(images.reshape(len(images), -1))
        return normals(*np.split(params, 2, 1), self.config.steps_per_unit)

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


def engine(config: Mapping[str, Any], tensors: Mapping[str, Values]) -> VaeProgram:
    """The program of a codec file."""
    return VaeProgram(VaeConfig(**config), tensors)
