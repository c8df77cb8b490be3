"""The variational lossy autoencoder (Chen et al. 2017): global structure in latents, local detail in the decoder.

Latents z live on a map `latent_stride` times coarser than the image, with an autoregressive-flow prior
z_i = mu_i(z_<i) + sigma_i(z_<i) eps_i (section 3.2), or a standard normal one. The decoder of masked convolutions has a
receptive field that is local by design (section 3.1), so that z has to carry what it cannot see. Fully convolutional:
any image from 1 x 1 up.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

import torch
from torch import Tensor

from bbcodec.codec.codec import PixelFormat
from bbcodec.distributions.autoregressive import Autoregressive
from bbcodec.distributions.base import Distribution
from bbcodec.distributions.bernoulli import Bernoulli
from bbcodec.distributions.gaussian import Gaussian, activation
from bbcodec.distributions.grouped_gaussian import GroupedGaussian
from bbcodec.distributions.logistic import LogisticMixture
from bbcodec.exact.local_net import LocalNet
from bbcodec.model.latent_model import TorchProgram
from bbcodec.model.program import Latent, Observed
from bbcodec.models.configs import halved_sizes
from bbcodec.models.families import Family, PresetName, TrainableModel
from bbcodec.models.fused_blocks import fuse
from bbcodec.models.latent_maps import ContextNet, Encoder, quicken
from bbcodec.models.pixel_nets import (
    embed_binary,
    embed_levels,
    start_errors,
    start_predictors,
    training_mixture,
    with_inside,
)
from bbcodec.models.vlae_config import PRIOR_RADIUS, VlaeConfig


class Vlae(TrainableModel):
    """The VLAE as a program of one latent map and the pixels."""

    def __init__(self, config: VlaeConfig) -> None:
        """Raises ValueError where a layer would have too many inputs."""
        super().__init__()
        self.config = c = config
        self.lanes = c.lanes
        if c.latent_channels:
            self._make_latents()
        self.local = LocalNet(c.channels + 1, c.hidden, c.inner, c.radii, c.params, c.radius, c.bound)
        self.embed = embed_binary if c.levels == 2 else embed_levels
        self.family: Callable[[Tensor], Distribution] = Bernoulli
        if c.levels == 256:
            self.family = partial(LogisticMixture, channels=c.channels, joint=c.joint)
            start_predictors(self.local, c.channels, c.components, c.joint)

    def _make_latents(self) -> None:
        """Encoder, prior, and the net from latents to the decoder's context."""
        c = self.config
        latents, hidden = c.latent_channels, c.prior_hidden
        self.encoder = Encoder(c.channels + 1, c.width, c.halvings, c.blocks, 2 * latents, c.bound)
        if c.prior_layers:
            self.prior_net = LocalNet(latents + 1, hidden, 2 * hidden, c.prior_radii, 2 * latents, PRIOR_RADIUS)
        self.context_net = ContextNet(latents, c.width, c.doublings, c.blocks, c.hidden)

    def start_at_errors(self) -> None:
        """Mixtures around no error, and a decoder that sees how far tokens are from it."""
        if self.config.levels == 256 and self.config.channels == 1:
            start_errors(self.local, self.config.components)

    def compile_for_training(self) -> None:
        """Compile or fuse the most expensive parts of a training step: local nets, and the mixture's likelihood."""
        device = self.local.stem.weight.device
        if device.type != "cpu":
            self.local.compile()
        elif fuse(self) == torch.bfloat16:
            quicken(self)
        if self.config.levels == 256:
            self.family = partial(training_mixture(device), channels=self.config.channels, joint=self.config.joint)

    def sizes(self, height: int, width: int) -> list[tuple[int, int]]:
        """Height and width of the image, and after each halving."""
        return halved_sizes(height, width, self.config.halvings)

    def posterior(self, images: Tensor) -> Gaussian:
        """q(z | x), a Gaussian for each latent, from strided convolutions over the image."""
        mean, log_sigma = self.encoder(self.embed(images)).chunk(2, 1)
        return Gaussian(mean, log_sigma, self.config.steps_per_unit)

    def prior(self, shape: tuple[int, int, int, int]) -> Distribution:
        """p(z), an autoregressive flow over the latent map, or standard normal."""
        steps = self.config.steps_per_unit
        if not self.config.prior_layers:
            zero = self.local.stem.weight.new_zeros(shape)
            return Gaussian(zero, zero, steps)
        family = partial(GroupedGaussian.from_params, steps_per_unit=steps)
        return Autoregressive(self.prior_net, family, lambda k: with_inside(activation(k, steps)), shape)

    def context(self, z: Tensor, height: int, width: int) -> Tensor:
        """The decoder's context, (B, hidden, ceil(H / s), ceil(W / s)), s its stride, from latents z (B, Z, h, w)."""
        sizes, z = self.sizes(height, width), activation(z, self.config.steps_per_unit)
        finer: Tensor = self.context_net(z, sizes[-2::-1][: self.config.doublings])
        return finer

    def likelihood(self, z: Tensor | None, shape: torch.Size) -> Autoregressive:
        """p(x | z), or p(x) without latents, by the local decoder."""
        batch, channels, height, width = shape
        context = None if z is None else self.context(z, height, width)
        size = batch, channels, height, width
        return Autoregressive(
            self.local, self.family, self.shown(self.embed), size, context, self.config.context_stride
        )

    def program(self, shape: torch.Size, images: Tensor | None = None) -> TorchProgram:
        """Latents z, if there are any, then pixels x."""
        batch, _, height, width = shape
        z = None
        if self.config.latent_channels:
            rows, columns = self.sizes(height, width)[-1]
            z = yield Latent(
                "z",
                prior=lambda: self.prior((batch, self.config.latent_channels, rows, columns)),
                posterior=lambda: self.posterior(images),  # type: ignore[arg-type]  # asked for only with images
            )
        images = yield Observed("x", likelihood=lambda: self.likelihood(z, shape), value=images)
        return images


SMALL = 40  # grey images up to this side have a finer latent map, which still sees more than the decoder does
CROP = 64  # side of training crops of larger images
BATCH_PIXELS = 2**14  # of all images of a step
NETS: dict[PresetName, dict[str, int]] = {
    "fast": {"hidden": 32, "inner": 96, "layers": 3, "width": 24},
    "balanced": {"hidden": 48, "inner": 96, "layers": 4, "width": 32},
    "strong": {"hidden": 64, "inner": 128, "layers": 5, "width": 48},
}
LATENTS = "with latents"


def preset(name: PresetName, pixels: PixelFormat, smallest: tuple[int, int], one_size: bool) -> dict[str, Any]:
    """Settings for such images: small ones of one size are trained on whole, others in crops.

    Only two-level images have latents: elsewhere the local decoder leaves nothing for them (`docs/results.md`).
    """
    side = min(smallest)
    whole = one_size and smallest[0] * smallest[1] <= CROP * CROP
    crop = 0 if whole else min(CROP, side)
    each = smallest[0] * smallest[1] if whole else crop * crop
    found: dict[str, Any] = {**NETS[name], "crop": crop, "batch": min(64, max(4, BATCH_PIXELS // each))}
    if pixels.levels == 256:
        found |= {"components": 12, "joint": True} if pixels.channels == 3 else {"components": 8}
    return found | (variants(pixels, smallest, one_size)[LATENTS] if pixels.levels == 2 else {"latent_channels": 0})


def variants(pixels: PixelFormat, smallest: tuple[int, int], one_size: bool) -> dict[str, dict[str, Any]]:
    """The decoder alone, and with latents that such images may use."""
    small = one_size and max(smallest) <= SMALL
    if pixels.levels == 2 or (small and pixels.channels == 1):
        latents = {"radius": 2, "latent_channels": 1, "latent_stride": 4, "context_stride": 1, "free_nats": 0.2}
        latents |= {"prior_hidden": 32, "prior_layers": 3}
    else:
        latents = {"latent_channels": 2, "latent_stride": 8, "context_stride": 4, "free_nats": 0.5}
    return {"without latents": {"latent_channels": 0, "radius": 3}, LATENTS: latents}


FAMILY = Family("vlae", VlaeConfig, Vlae, preset, variants)
