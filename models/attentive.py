"""The deep attentive VAE (Apostolopoulou et al. 2022): L maps of latents, whose layers attend to one another.

p(z) = prod_l p(z_l | z_<l) and q(z | x) = prod_l q(z_l | x, z_<l) (section 2.1). z1 is the top; all maps are
`latent_stride` times coarser than the image. A bottom-up pass without latents gives features h_L .. h_1 of the image; a
top-down pass gives contexts c_1 .. c_L. Three attentions, each of which can be left out (the ablations of table 5):
a prior reads from all earlier contexts (section 2.4), a posterior from all features closer to the image (section 2.5),
and residual cells are spatially non-local (section 2.6). Fully convolutional: any image from 1 x 1 up.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Any, Final

import torch
from torch import Tensor, nn

from bbcodec.codec.codec import PixelFormat
from bbcodec.distributions.autoregressive import Autoregressive
from bbcodec.distributions.base import Distribution
from bbcodec.distributions.bernoulli import Bernoulli
from bbcodec.distributions.gaussian import Gaussian, activation
from bbcodec.distributions.logistic import LogisticMixture
from bbcodec.distributions.pixels import Pixels
from bbcodec.exact.activations import silu
from bbcodec.exact.arithmetic import ACTIVATION_UNIT, clamped
from bbcodec.exact.attention import DepthAttention, Lift, NonLocal
from bbcodec.exact.layers import Conv, TransposedConv
from bbcodec.exact.local_net import LocalNet
from bbcodec.model.latent_model import TorchProgram
from bbcodec.model.program import Latent, Observed
from bbcodec.models.configs import PixelSizes, check_config, check_joint, check_strides, halved_sizes
from bbcodec.models.families import Family, PresetName, TrainableModel
from bbcodec.models.fused_blocks import fuse
from bbcodec.models.pixel_nets import (
    Block,
    embed_binary,
    embed_levels,
    start_levels,
    start_posterior,
    start_predictors,
    training_mixture,
)

RANGES: Final = {  # of integer fields, since an archive from anywhere may hold a config
    "layers": (1, 32),
    "latent_channels": (1, 64),
    "latent_stride": (2, 64),
    "width": (1, 64),
    "cells": (1, 16),
    "key_channels": (1, 64),
    "tile": (1, 64),
    "local_layers": (0, 32),
    "hidden": (1, 128),
    "inner": (1, 256),
    "radius": (1, 8),
    "context_stride": (1, 64),
    "components": (1, 32),
}
Memories = list[tuple[Tensor, Tensor]]  # keys and lifted contexts


@dataclass(frozen=True)
class AttentiveConfig(PixelSizes):
    """Sizes of an attentive VAE. Raises ValueError for impossible ones."""

    channels: int = 1  # of the image: 1 or 3
    levels: int = 2  # of a pixel: 2 or 256
    layers: int = 4  # L, maps of latents
    latent_channels: int = 1  # of each
    latent_stride: int = 4  # image pixels a latent, each way: a power of two
    width: int = 32  # C, channels of features and contexts
    cells: int = 1  # gated blocks of a residual cell
    depth_prior: bool = True  # a prior attends to the contexts of all layers above
    depth_posterior: bool = True  # a posterior attends to the features of all layers below
    nonlocal_blocks: bool = True  # at the end of residual cells
    key_channels: int = 8  # Q, of queries and keys over depth
    tile: int = 16  # side of the squares of latents within which non-local blocks attend
    local_layers: int = 0  # blocks of a local decoder; 0: pixels are independent given z, as in the paper
    hidden: int = 32  # channels of the local decoder
    inner: int = 64  # channels inside its blocks
    radius: int = 2  # of the local decoder's stem
    context_stride: int = 1  # image pixels a value of its context, each way: a power of two, at most `latent_stride`
    components: int = 5  # of the mixture that codes a pixel of 256 levels
    joint: bool = False  # the channels of a pixel come from one component
    steps_per_unit: int = 8  # of the latents' grid

    def __post_init__(self) -> None:
        check_config(self, RANGES)
        check_joint(self)
        check_strides(self.latent_stride, self.context_stride)

    @property
    def params(self) -> int:
        """Parameters of a pixel's distribution."""
        return self.pixel_params(self.components, self.joint)

    @property
    def halvings(self) -> int:
        """Halvings of the resolution from the image to the latents."""
        return self.latent_stride.bit_length() - 1

    @property
    def doublings(self) -> int:
        """Doublings of the resolution from the latents to the pixels, or to the local decoder's context."""
        return self.halvings - (self.context_stride.bit_length() - 1 if self.local_layers else 0)


# --- layers -----------------------------------------------------------------------------------------------------------


def in_tiles(part: Callable[[Tensor], Tensor], x: Tensor, side: int) -> Tensor:
    """`part` applied to each square of side x side pixels of x (B, C, H, W) as if it were an image; same shape.

    Squares start at the top left; those at the right and bottom edges may be smaller. So the cost of attention between
    all pixels grows linearly with the area of an image, and crops of one square train what is coded.
    """
    batch, channels, height, width = x.shape
    if height <= side and width <= side:
        return part(x)
    for dim, length in ((2, height), (3, width)):
        if length > side and length % side:
            whole = length - length % side
            pieces = [in_tiles(part, piece, side) for piece in x.tensor_split([whole], dim)]
            return torch.cat(pieces, dim)
    rows, columns = min(side, height), min(side, width)
    squares = x.reshape(batch, channels, height // rows, rows, width // columns, columns).permute(0, 2, 4, 1, 3, 5)
    y = part(squares.flatten(0, 2)).view(squares.shape)
    return y.permute(0, 3, 1, 4, 2, 5).reshape(x.shape)


class Cell(nn.Module):
    """A residual cell: gated blocks, then a non-local block (section 2.6; Wang et al. 2018)."""

    def __init__(self, c: AttentiveConfig, nonlocal_block: bool) -> None:
        """nonlocal_block: whether there is one; of one head with half of the channels, as in Wang et al."""
        super().__init__()
        self.tile = c.tile
        self.units = nn.Sequential(*[Block(c.width) for _ in range(c.cells)])
        self.everywhere = NonLocal(c.width, 1, max(1, c.width // 2)) if nonlocal_block else None

    def forward(self, h: Tensor) -> Tensor:
        """h: (B, C, H, W). Whole numbers within +-2047, in and out."""
        h = self.units(h)
        return h if self.everywhere is None else in_tiles(self.everywhere, h, self.tile)


class Memory(nn.Module):
    """What other layers read of a context: its key, and the lifted context (eq. 5, 7 and 10)."""

    def __init__(self, c: AttentiveConfig) -> None:
        """c: the config."""
        super().__init__()
        self.key = Conv(c.width, c.key_channels, 1)
        self.lift = Lift(c.width)

    def forward(self, h: Tensor) -> tuple[Tensor, Tensor]:
        """h: (B, C, H, W) -> (B, Q, H, W) and (B, C, H, W)."""
        return clamped(self.key(h)), self.lift(h)


def attended(attention: DepthAttention, context: Tensor, memories: Memories, asks: Tensor | None = None) -> Tensor:
    """The context, and what it reads from the memories; `asks` as for `DepthAttention`."""
    keys, contexts = zip(*memories, strict=True)
    out: Tensor = attention(context, list(keys), list(contexts), asks)
    return out


class Feature(nn.Module):
    """T^q of eq. 10: the features h_l of the image from h_(l+1), and their memory for posteriors."""

    def __init__(self, c: AttentiveConfig) -> None:
        """c: the config."""
        super().__init__()
        self.cell = Cell(c, nonlocal_block=False)
        self.memory = Memory(c) if c.depth_posterior and c.layers > 1 else None

    def forward(self, below: Tensor, memories: Memories) -> tuple[Tensor, Memories]:
        """From h_(l+1) and the memories of h_(l+1) .. h_L to h_l and those of h_l .. h_L."""
        h: Tensor = self.cell(below)
        return h, memories if self.memory is None else [self.memory(h), *memories]


class Layer(nn.Module):
    """The l-th variational layer: its context, prior and posterior.

    It attends where there are two or more contexts to choose from: in priors from the third layer on, in posteriors of
    all layers but the last.
    """

    def __init__(self, c: AttentiveConfig, number: int) -> None:
        """number: l, from 1."""
        super().__init__()
        w, last = c.width, number == c.layers
        self.lift = Conv(c.latent_channels, w, 3) if number > 1 else None
        self.cell = Cell(c, c.nonlocal_blocks)
        self.memory = Memory(c) if c.depth_prior and c.layers > 2 and not last else None
        self.prior_attention = DepthAttention(w, c.key_channels) if c.depth_prior and number > 2 else None
        self.prior_head = Conv(w, 2 * c.latent_channels, 1, gain=0.3)
        self.posterior_attention = DepthAttention(w, c.key_channels) if c.depth_posterior and not last else None
        self.join = Conv(2 * w, w, 1)
        self.look = Cell(c, c.nonlocal_blocks)
        self.posterior_head = Conv(w, 2 * c.latent_channels, 1, gain=0.3)
        start_posterior(self.posterior_head)

    def context(self, above: Tensor, active: Tensor, memories: Memories) -> Tensor:
        """c_l from c_(l-1), the activations of z_(l-1), and the memories, to which its own is added (eq. 7 to 9)."""
        if self.lift is not None:
            above = clamped(above + self.lift(active))
        own: Tensor = self.cell(above)
        found = own if self.prior_attention is None else attended(self.prior_attention, own, memories)
        if self.memory is not None:
            memories.append(self.memory(own))
        return found

    def posterior_input(self, context: Tensor, feature: Tensor, memories: Memories) -> Tensor:
        """Input (B, C, H, W) of the posterior's head: the context queries the features h_l .. h_L (eq. 11)."""
        if self.posterior_attention is not None:
            feature = attended(self.posterior_attention, feature, memories, context)
        joined = self.join(torch.cat([feature, context], 1))
        out: Tensor = self.look(silu(joined, self.join.exact))
        return out


# --- the model -------------------------------------------------------------------------------------------------------


class Attentive(TrainableModel):
    """The family as a program of L maps of latents, z1 at the top to zL, and the pixels."""

    def __init__(self, config: AttentiveConfig) -> None:
        """Raises ValueError where a layer would have too many inputs."""
        super().__init__()
        self.config = c = config
        w = c.width
        self.halvings = nn.ModuleList(
            Conv(c.channels + 1 if n == 0 else w, w, 3, 2, c.bound if n == 0 else 2047) for n in range(c.halvings)
        )
        self.features = nn.ModuleList(Feature(c) for _ in range(c.layers))
        self.start = Conv(1, w, 3, bound=256)
        self.layers = nn.ModuleList(Layer(c, number) for number in range(1, c.layers + 1))
        self.lift = Conv(c.latent_channels, w, 3)
        self.cell = Cell(c, c.nonlocal_blocks)
        self.doublings = nn.ModuleList(TransposedConv(w, w) for _ in range(c.doublings))
        self.embed = embed_binary if c.levels == 2 else embed_levels
        self.family: Callable[[Tensor], Distribution] = Bernoulli
        if c.levels == 256:
            self.family = partial(LogisticMixture, channels=c.channels, joint=c.joint)
        if c.local_layers:
            self.context_head = Conv(w, c.hidden, 3, gain=0.5)
            radii = [1] * c.local_layers
            self.local = LocalNet(c.channels + 1, c.hidden, c.inner, radii, c.params, c.radius, c.bound)
            if c.levels == 256:
                start_predictors(self.local, c.channels, c.components, c.joint)
        else:
            self.pixel_head = Conv(w, c.params, 3, gain=0.3)
            if c.levels == 256:
                start_levels(self.pixel_head, c.channels, c.components, c.joint)

    def compile_for_training(self) -> None:
        """Compile or fuse the local decoder and the mixture's likelihood, where a step spends its time."""
        device = self.start.bias.device
        if device.type == "cpu":
            fuse(self)
        elif self.config.local_layers:
            self.local.compile()
        if self.config.levels == 256:
            self.family = partial(training_mixture(device), channels=self.config.channels, joint=self.config.joint)

    def sizes(self, height: int, width: int) -> list[tuple[int, int]]:
        """Height and width of the image, and after each halving."""
        return halved_sizes(height, width, self.config.halvings)

    def bottom_up(self, images: Tensor) -> list[tuple[Tensor, Memories]]:
        """For layers 1 .. L: the features h_l, and the memories of h_l .. h_L. images: (B, C, H, W)."""
        h = self.embed(images)
        for conv in self.halvings:
            h = silu(conv(h), self.start.exact)
        found: list[tuple[Tensor, Memories]] = []
        memories: Memories = []
        for feature in reversed(self.features):
            h, memories = feature(h, memories)
            found.insert(0, (h, memories))
        return found

    def gaussian(self, params: Tensor) -> Gaussian:
        """The Gaussian of the outputs of a head, (B, 2 Z, H, W): means, then log sigmas."""
        means, log_sigmas = params.chunk(2, 1)
        return Gaussian(means, log_sigmas, self.config.steps_per_unit)

    def decoder_output(self, context: Tensor, active: Tensor, height: int, width: int) -> Tensor:
        """From c_L and z_L: parameters of the pixels, or the local decoder's context, at its resolution."""
        exact = self.start.exact
        h = self.cell(clamped(context + self.lift(active)))
        for conv, (rows, columns) in zip(self.doublings, self.sizes(height, width)[-2::-1], strict=False):
            h = silu(conv(h), exact)[:, :, :rows, :columns]
        head = self.context_head if self.config.local_layers else self.pixel_head
        out: Tensor = head(h)
        return out

    def likelihood(self, context: Tensor, active: Tensor, shape: torch.Size) -> Distribution:
        """p(x | z), from c_L and z_L as activations: pixels independent, or from the local decoder."""
        batch, channels, height, width = shape
        output = self.decoder_output(context, active, height, width)
        if not self.config.local_layers:
            return Pixels(self.family(output.permute(0, 2, 3, 1)))
        size = batch, channels, height, width
        return Autoregressive(self.local, self.family, self.shown(self.embed), size, output, self.config.context_stride)

    def program(self, shape: torch.Size, images: Tensor | None = None) -> TorchProgram:
        """Latents z1 .. zL from the top down, then pixels x."""
        batch, _, height, width = shape
        features = [] if images is None else self.bottom_up(images)  # posteriors are evaluated only with images
        inside = torch.full((batch, 1, *self.sizes(height, width)[-1]), ACTIVATION_UNIT, device=self.start.bias.device)
        context = silu(self.start(inside), self.start.exact)
        memories: Memories = []
        active = torch.empty(0)  # the first layer has none above it
        for n, layer in enumerate(self.layers):
            context = layer.context(context, active, memories)  # type: ignore[operator]  # of a Layer
            z = yield Latent(
                f"z{n + 1}",
                prior=partial(self.prior, n, context),
                posterior=partial(self.posterior, n, context, features),
            )
            active = activation(z, self.config.steps_per_unit)
        images = yield Observed("x", likelihood=partial(self.likelihood, context, active, shape), value=images)
        return images

    def prior(self, n: int, context: Tensor) -> Gaussian:
        """p(z_l | z_<l), l = n + 1, from the context."""
        layer: Any = self.layers[n]
        return self.gaussian(layer.prior_head(context))

    def posterior(self, n: int, context: Tensor, features: list[tuple[Tensor, Memories]]) -> Gaussian:
        """q(z_l | x, z_<l), l = n + 1, from the context and the features of the image."""
        layer: Any = self.layers[n]
        return self.gaussian(layer.posterior_head(layer.posterior_input(context, *features[n])))


SMALL: Final = 40  # images up to this side are trained on whole, with a finer latent map
CROP: Final = 64  # side of training crops of larger images
BATCH_PIXELS: Final = 2**14  # of all images of a step
FREE_NATS: Final = 0.2  # of all latents at a position together
SIZES: Final[dict[PresetName, dict[str, int]]] = {
    "fast": {"layers": 3, "width": 24, "hidden": 24, "inner": 48, "local_layers": 3},
    "balanced": {"layers": 4, "width": 32, "hidden": 32, "inner": 64, "local_layers": 4},
    "strong": {"layers": 6, "width": 40, "hidden": 48, "inner": 96, "local_layers": 5},
}


def preset(name: PresetName, pixels: PixelFormat, smallest: tuple[int, int], one_size: bool) -> dict[str, Any]:
    """Settings for such images: small ones of one size are trained on whole, others in crops."""
    small = one_size and max(smallest) <= SMALL
    whole = one_size and smallest[0] * smallest[1] <= CROP * CROP
    crop = 0 if whole else min(CROP, *smallest)
    each = smallest[0] * smallest[1] if whole else crop * crop
    found: dict[str, Any] = {**SIZES[name], "crop": crop, "batch": min(64, max(4, BATCH_PIXELS // each))}
    found |= {"steps_per_unit": 2 if pixels.levels == 2 else 4, "free_nats": FREE_NATS / found["layers"]}
    if pixels.levels == 256:
        found |= {"radius": 3, "components": 12 if pixels.channels == 3 else 8, "joint": pixels.channels == 3}
    if small and pixels.levels == 2:  # few bits an image: initial bits for more latents would be worth several images
        return {**found, "latent_stride": 8, "context_stride": 1}
    if small:
        return {**found, "latent_stride": 4, "context_stride": 1 if pixels.channels == 1 else 4}
    return {**found, "latent_stride": 16, "context_stride": 4, "tile": CROP // 16}


FAMILY = Family("attentive", AttentiveConfig, Attentive, preset)
