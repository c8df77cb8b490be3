"""The VampPrior VAE and HVAE (Tomczak & Welling 2018): one or two layers of latents under a mixture of posteriors.

L = 1: q(z | x), p(x | z) p(z). L = 2 (section 4): q(z2 | x) q(z1 | x, z2), p(x | z1, z2) p(z1 | z2) p(z2). The prior of
the top layer is a mixture of K Gaussians, p(z) = sum_k w_k q(z | u_k), the posteriors at learned pseudo-inputs u_k; or
one that the paper compares it with. Latents are vectors, so that a model takes images of one size only.

Tensors of codec files are named by attributes, so these keep their names (`eye`, `painter`).
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Any, Final

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from bbcodec.codec.codec import PixelFormat
from bbcodec.distributions.autoregressive import Autoregressive
from bbcodec.distributions.base import Distribution
from bbcodec.distributions.bernoulli import Bernoulli
from bbcodec.distributions.coding import bounded
from bbcodec.distributions.gaussian import Gaussian, activation
from bbcodec.distributions.logistic import LogisticMixture
from bbcodec.distributions.mixture import Mixture
from bbcodec.distributions.pixels import Pixels
from bbcodec.errors import InputError
from bbcodec.exact.activations import silu
from bbcodec.exact.arithmetic import rounded
from bbcodec.exact.components import Components
from bbcodec.exact.dense import GatedLinear, product_gate
from bbcodec.exact.layers import Conv, Linear, TransposedConv
from bbcodec.exact.local_net import LocalNet
from bbcodec.model.latent_model import TorchProgram
from bbcodec.model.program import Latent, Observed
from bbcodec.models.configs import GRIDS, PixelSizes, check_config, halved_sizes
from bbcodec.models.families import Family, PresetName, TrainableModel
from bbcodec.models.fused_blocks import fuse
from bbcodec.models.pixel_nets import (
    Block,
    embed_binary,
    embed_levels,
    start_levels,
    start_predictors,
    training_mixture,
)

PRIORS: Final = ("standard", "mog", "vamp", "vamp-data", "weighted")
DECODERS: Final = ("mlp", "conv", "pixelcnn")
RANGES: Final = {  # of integer fields, since an archive from anywhere may hold a config
    "height": (1, 256),
    "width": (1, 256),
    "layers": (1, 2),
    "latents": (1, 256),
    "components": (1, 2048),
    "hidden": (1, 1024),
    "features": (1, 64),
    "local_layers": (1, 32),
    "inner": (1, 256),
    "radius": (1, 8),
    "logistics": (1, 32),
    "low_steps_per_unit": (0, 64),
}
MAX_VALUES: Final = 2**14  # of an image: 128 x 128 grey, 64 x 64 in colour
MAX_PSEUDO_VALUES: Final = 2**23  # of all pseudo-inputs together
NOISE: Final = 0.05  # of initial pseudo-inputs, as a share of the range of pixels
NECK: Final = 8  # channels of an image, at a quarter of its resolution, for dense layers


@dataclass(frozen=True)
class VampConfig(PixelSizes):
    """Sizes of a VampPrior VAE. Raises ValueError for impossible ones."""

    channels: int = 1  # of the image: 1 or 3
    levels: int = 2  # of a pixel: 2 or 256
    height: int = 28  # of the images, in pixels
    width: int = 28
    layers: int = 1  # of latents: 1, a VAE, or 2, an HVAE
    latents: int = 40  # of each layer
    prior: str = "vamp"  # of the top layer: standard, mog (Gaussians), vamp, vamp-data (fixed images) or weighted
    components: int = 500  # K, of the prior, unless it is the standard one
    decoder: str = "mlp"  # mlp, conv or pixelcnn; the encoder is convolutional for the last two
    hidden: int = 300  # units of the dense layers
    features: int = 32  # channels of the convolutions
    local_layers: int = 4  # blocks of the PixelCNN
    inner: int = 64  # channels inside them
    radius: int = 3  # of the PixelCNN's stem
    logistics: int = 5  # of the mixture that codes a pixel of 256 levels
    steps_per_unit: int = 8  # of the latents' grid
    low_steps_per_unit: int = 0  # of the grid of z1, whose posteriors are wide, so that it may be coarse; 0: the same

    def __post_init__(self) -> None:
        check_config(self, RANGES, {"prior": PRIORS, "decoder": DECODERS})
        if self.low_steps_per_unit not in (0, *GRIDS):
            raise ValueError(f"low_steps_per_unit is {self.low_steps_per_unit}, expected 0 or a power of two")
        if self.values > MAX_VALUES:
            raise ValueError(f"images have {self.values} values, expected at most {MAX_VALUES}")
        if self.values * self.components > MAX_PSEUDO_VALUES:
            raise ValueError(
                f"expected at most {MAX_PSEUDO_VALUES} values of pseudo-inputs, got {self.components} x {self.values}"
            )

    @property
    def values(self) -> int:
        """Values of an image: pixels times channels."""
        return self.channels * self.height * self.width

    @property
    def params(self) -> int:
        """Parameters of a pixel's distribution."""
        return self.pixel_params(self.logistics)

    @property
    def sizes(self) -> list[tuple[int, int]]:
        """Height and width of the image, and after each of two halvings."""
        return halved_sizes(self.height, self.width, 2)

    @property
    def low_steps(self) -> int:
        """Steps to a unit on the grid of z1."""
        return self.low_steps_per_unit or self.steps_per_unit

    @property
    def cells(self) -> int:
        """Pixels at a quarter of the resolution."""
        return math.prod(self.sizes[2])


class DenseEncoder(nn.Module):
    """Features of an image by one dense layer: (B, C + 1, H, W) embedded -> (B, hidden)."""

    def __init__(self, c: VampConfig) -> None:
        """c: the config."""
        super().__init__()
        self.look = GatedLinear(c.values, c.hidden, c.bound)

    def forward(self, x: Tensor) -> Tensor:
        """x: embedded pixels, and the channel that marks the inside, which a dense layer does not need."""
        features: Tensor = self.look(x[:, :-1].flatten(1))
        return features


class ConvEncoder(nn.Module):
    """As `DenseEncoder`, by two strided convolutions, each followed by a gated block, and a dense layer."""

    def __init__(self, c: VampConfig) -> None:
        """c: the config."""
        super().__init__()
        f = c.features
        self.halvings = nn.ModuleList(
            [Conv(c.channels + 1, 2 * f, 3, 2, c.bound, gain=1.7), Conv(f, 2 * f, 3, 2, gain=1.7)]
        )
        self.blocks = nn.ModuleList(Block(f) for _ in range(2))
        self.neck = Conv(f, NECK, 1, gain=1.7)
        self.look = GatedLinear(NECK * c.cells, c.hidden)

    def forward(self, x: Tensor) -> Tensor:
        """x: embedded pixels, and the channel that marks the inside."""
        exact = self.neck.exact
        for conv, block in zip(self.halvings, self.blocks, strict=True):
            x = block(product_gate(conv(x), 1, exact))
        features: Tensor = self.look(silu(self.neck(x), exact).flatten(1))
        return features


class DenseDecoder(nn.Module):
    """Parameters of all pixels by one dense layer: (B, hidden) -> (B, H, W, P)."""

    def __init__(self, c: VampConfig) -> None:
        """c: the config."""
        super().__init__()
        self.shape = c.height, c.width, c.params
        self.pixel_head = Linear(c.hidden, math.prod(self.shape), gain=0.3)
        if c.levels == 256:
            start_levels(self.pixel_head, c.channels, c.logistics)

    def forward(self, h: Tensor) -> Tensor:
        """h: (B, hidden)."""
        params: Tensor = self.pixel_head(h)
        return params.view(len(h), *self.shape)


class ConvDecoder(nn.Module):
    """As `DenseDecoder`, by a dense layer, a gated block and transposed convolutions.

    doublings: 2 for parameters of the pixels, (B, H, W, P); 1 for the context of a PixelCNN, (B, features, H/2, W/2).
    """

    def __init__(self, c: VampConfig, doublings: int = 2) -> None:
        """c: the config."""
        super().__init__()
        f = c.features
        self.sizes = c.sizes[2 - doublings :][::-1]
        self.spread = GatedLinear(c.hidden, f * c.cells)
        self.block = Block(f)
        self.doublings = nn.ModuleList(TransposedConv(f, f) for _ in range(doublings))
        self.last = Block(f)
        self.context = doublings == 1
        self.pixel_head = Conv(f, f if self.context else c.params, 3, gain=0.5 if self.context else 0.3)
        if c.levels == 256 and not self.context:
            start_levels(self.pixel_head, c.channels, c.logistics)

    def forward(self, h: Tensor) -> Tensor:
        """h: (B, hidden)."""
        (rows, columns), *larger = self.sizes
        x: Tensor = self.spread(h)
        x = self.block(x.view(len(h), -1, rows, columns))
        for conv, (rows, columns) in zip(self.doublings, larger, strict=True):
            x = silu(conv(x), self.pixel_head.exact)[:, :, :rows, :columns]
        x = self.pixel_head(self.last(x))
        return x if self.context else x.permute(0, 2, 3, 1)


class Vamp(TrainableModel):
    """The family as a program of one or two vectors of latents, `z` or `z2` and `z1`, and the pixels."""

    def __init__(self, config: VampConfig) -> None:
        """Raises ValueError where a layer would have too many inputs."""
        super().__init__()
        self.config = c = config
        self.image_size = c.height, c.width
        encoder = DenseEncoder if c.decoder == "mlp" else ConvEncoder
        self.eye = encoder(c)
        self.think = GatedLinear(c.hidden, c.hidden)
        self.posterior_head = latent_head(c, posterior=True)
        if c.layers == 2:
            self.low_eye = encoder(c)
            self.low_lift = GatedLinear(c.latents, c.hidden)
            self.low_think = GatedLinear(2 * c.hidden, c.hidden)
            self.low_posterior_head = latent_head(c, posterior=True)
            self.prior_think = nn.Sequential(GatedLinear(c.latents, c.hidden), GatedLinear(c.hidden, c.hidden))
            self.low_prior_head = latent_head(c, posterior=False)
        self.lifts = nn.ModuleList(GatedLinear(c.latents, c.hidden) for _ in range(c.layers))
        self.join = GatedLinear(c.layers * c.hidden, c.hidden)
        self.embed = embed_binary if c.levels == 2 else embed_levels
        self.family: Callable[[Tensor], Distribution] = Bernoulli
        if c.levels == 256:
            self.family = partial(LogisticMixture, channels=c.channels)
        self.painter = DenseDecoder(c) if c.decoder == "mlp" else ConvDecoder(c, 1 if c.decoder == "pixelcnn" else 2)
        if c.decoder == "pixelcnn":
            radii = [1] * c.local_layers
            self.local = LocalNet(c.channels + 1, c.features, c.inner, radii, c.params, c.radius, c.bound)
            if c.levels == 256:
                start_predictors(self.local, c.channels, c.logistics)
        self._make_prior()

    def _make_prior(self) -> None:
        c = self.config
        if c.prior == "standard":
            return
        source = None
        if c.prior != "mog":
            start = torch.rand(c.components, c.channels, c.height, c.width)  # shares of the range of a pixel
            self.pseudo_inputs = nn.Parameter(start, requires_grad=c.prior != "vamp-data")
            source = self.at_pseudo_inputs
        self.components = Components(c.components, c.latents, c.prior == "weighted", source)

    # --- training ----------------------------------------------------------------------------------------------------

    @torch.no_grad()
    def initialise_from(self, images: Tensor) -> None:
        """Set the pseudo-inputs to training images (B, C, H, W), to some of them repeatedly if there are too few.

        Those of `vamp-data` stay there. The others are learned, with noise, since two at one image would stay equal.
        The paper starts them near the mean of the images, from where they are slow to diverge.
        """
        if self.config.prior in ("standard", "mog"):
            return
        chosen = torch.arange(self.config.components, device=images.device) % len(images)
        noise = NOISE * self.pseudo_inputs.requires_grad * torch.randn_like(self.pseudo_inputs)
        self.pseudo_inputs.copy_(images[chosen] / (self.config.levels - 1) + noise)

    def preview(self) -> NDArray[np.uint8] | None:
        """The pseudo-inputs, (K, H, W, C) uint8 of 256 levels, or None for a prior without them."""
        if self.config.prior in ("standard", "mog"):
            return None
        shares = self.pseudo_inputs.detach().clamp(0, 1).permute(0, 2, 3, 1).cpu()
        return (255 * shares).round().to(torch.uint8).numpy()

    def compile_for_training(self) -> None:
        """Compile or fuse the local decoder and the mixture's likelihood, where the model has them."""
        device = self.posterior_head.bias.device
        if device.type == "cpu":
            fuse(self)
        elif self.config.decoder == "pixelcnn":
            self.local.compile()
        if self.config.levels == 256:
            self.family = partial(training_mixture(device), channels=self.config.channels)

    # --- distributions -----------------------------------------------------------------------------------------------

    def at_pseudo_inputs(self) -> tuple[Tensor, Tensor]:
        """Means and log sigmas, (K, M), of the posteriors at the pseudo-inputs."""
        x = self.embed(bounded(self.pseudo_inputs, 0, 1) * (self.config.levels - 1))
        q = self.top_posterior(rounded(x) if self.posterior_head.exact else x)
        return q.mean, q.log_sigma

    def top_posterior(self, embedded: Tensor) -> Gaussian:
        """q(z | x), or q(z2 | x), from embedded pixels."""
        params = self.posterior_head(self.think(self.eye(embedded)))  # means, then log sigmas
        return Gaussian.from_params(params, self.config.steps_per_unit)

    def top_prior(self, batch: int) -> Distribution:
        """p(z), or p(z2), of `batch` images."""
        c = self.config
        if c.prior == "standard":
            zeros = torch.zeros(batch, c.latents, device=self.posterior_head.bias.device)
            return Gaussian(zeros, zeros, c.steps_per_unit)
        means, log_sigmas, log_weights = self.components()
        return Mixture(log_weights, Gaussian(means, log_sigmas, c.steps_per_unit), batch)

    def low_posterior(self, embedded: Tensor, top: Tensor) -> Gaussian:
        """q(z1 | x, z2)."""
        both = torch.cat([self.low_eye(embedded), self.low_lift(self.active(top))], 1)
        return Gaussian.from_params(self.low_posterior_head(self.low_think(both)), self.config.low_steps)

    def low_prior(self, top: Tensor) -> Gaussian:
        """p(z1 | z2)."""
        return Gaussian.from_params(self.low_prior_head(self.prior_think(self.active(top))), self.config.low_steps)

    def active(self, top: Tensor) -> Tensor:
        """Latents of the top layer as activations."""
        return activation(top, self.config.steps_per_unit)

    def likelihood(self, latents: list[Tensor], shape: torch.Size) -> Distribution:
        """p(x | z), or p(x | z2, z1)."""
        actives = [self.active(latents[0]), *(activation(low, self.config.low_steps) for low in latents[1:])]
        lifted = [lift(active) for lift, active in zip(self.lifts, actives, strict=True)]
        output = self.painter(self.join(torch.cat(lifted, 1)))
        if self.config.decoder != "pixelcnn":
            return Pixels(self.family(output))
        batch, channels, height, width = shape
        return Autoregressive(
            self.local, self.family, self.shown(self.embed), (batch, channels, height, width), output, 2
        )

    def program(self, shape: torch.Size, images: Tensor | None = None) -> TorchProgram:
        """Latents from the top down, then pixels. Raises InputError for images of another size."""
        height, width = self.config.height, self.config.width
        if tuple(shape[2:]) != (height, width):
            raise InputError(f"expected images of {height} x {width} pixels, got {shape[2]} x {shape[3]}")
        embedded = torch.empty(0) if images is None else self.embed(images)  # posteriors are evaluated only with images
        top = yield Latent(
            "z" if self.config.layers == 1 else "z2",
            prior=lambda: self.top_prior(shape[0]),
            posterior=lambda: self.top_posterior(embedded),
        )
        latents = [top]
        if self.config.layers == 2:
            low = yield Latent(
                "z1", prior=lambda: self.low_prior(top), posterior=lambda: self.low_posterior(embedded, top)
            )
            latents.append(low)
        images = yield Observed("x", likelihood=lambda: self.likelihood(latents, shape), value=images)
        return images


def latent_head(c: VampConfig, posterior: bool) -> Linear:
    """A layer of means and log sigmas; posteriors start with sigmas of 0.3, so that latents are used."""
    head = Linear(c.hidden, 2 * c.latents, gain=0.3)
    if posterior:
        with torch.no_grad():
            head.bias[c.latents :] = -1.2
    return head


SIZES: Final[dict[PresetName, dict[str, Any]]] = {
    "fast": {"layers": 1, "decoder": "mlp"},
    "balanced": {"layers": 2, "decoder": "conv"},
    "strong": {"layers": 2, "decoder": "pixelcnn"},
}


def preset(name: PresetName, pixels: PixelFormat, smallest: tuple[int, int], one_size: bool) -> dict[str, Any]:
    """Settings for such images. Raises InputError for images of several sizes, or too large ones."""
    height, width = smallest
    values = pixels.channels * height * width
    if not one_size:
        raise InputError("the family vamp takes images of one size only, got several sizes: use --model vlae")
    if values > MAX_VALUES:
        raise InputError(f"images of {height} x {width} pixels are too large for the family vamp: use --model vlae")
    return {**SIZES[name], "height": height, "width": width, "batch": 100, "free_nats": 0.05}


FAMILY = Family("vamp", VampConfig, Vamp, preset)
