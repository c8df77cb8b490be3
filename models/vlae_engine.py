"""The program of a VLAE in compiled code. Without PyTorch."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from bbcodec.engine.bernoulli import bernoulli
from bbcodec.engine.families import Family
from bbcodec.engine.gaussian import gaussian
from bbcodec.engine.independent import Independent, normals
from bbcodec.engine.latent_maps import MapContext, MapEncoder
from bbcodec.engine.local_distribution import LocalDistribution
from bbcodec.engine.local_net import laid_out, packed
from bbcodec.engine.logistic import mixture
from bbcodec.engine.waves import LocalCoder
from bbcodec.model.program import Latent, Observed, Program
from bbcodec.models.configs import halved_sizes
from bbcodec.models.vlae_config import PRIOR_RADIUS, VlaeConfig

# What nets see of pixels, as `bbcodec.models.pixel_nets` embeds them: each level, and that there is a pixel.
LEVELS: Final = {2: np.array([-256, 256], np.int16), 256: ((np.arange(256) - 128) * 8).astype(np.int16)}
INSIDE: Final = 256
ACTIVATION_UNIT: Final = 256

Values = NDArray[Any]
Shape = tuple[int, int, int, int]
Coded = LocalDistribution | Independent


class VlaeEngine:
    """The program of `bbcodec.models.vlae.Vlae`, over arrays: images (B, C, H, W) uint8, latents (B, Z, h, w) int16."""

    image_size = None

    def __init__(self, config: VlaeConfig, tensors: Mapping[str, Values]) -> None:
        """tensors: by name, as in codec files. Raises KeyError or ValueError for what cannot be, or is not known."""
        self.config = c = config
        self.lanes = c.lanes
        family = bernoulli(c.channels) if c.levels == 2 else mixture(c.channels, c.components, c.joint)
        self.local = _coder(tensors, "local", c.radii, c.radius, LEVELS[c.levels], family)
        self.mixable = None if c.latent_channels or c.levels == 2 else self.local
        if c.latent_channels:
            self._take_latents(tensors)
        known = c.part_names
        if any(name.partition(".")[0] not in known for name in tensors):
            raise ValueError(f"tensors of no part of the model, expected those of {', '.join(known)}")

    def _take_latents(self, tensors: Mapping[str, Values]) -> None:
        """Encoder, prior, and the net from latents to the decoder's context."""
        c, latents = self.config, self.config.latent_channels
        self.step = ACTIVATION_UNIT // c.steps_per_unit  # of the latents' grid, as nets see it
        if c.prior_layers:
            prior = gaussian(latents, c.steps_per_unit)
            grid = (np.arange(-prior.bound, prior.bound + 1) * self.step).astype(np.int16)
            self.prior_net = _coder(tensors, "prior_net", c.prior_radii, PRIOR_RADIUS, grid, prior)
        sizes = c.channels + 1, c.width, 2 * latents
        self.encoder = MapEncoder(_part(tensors, "encoder"), sizes, c.halvings, c.blocks, c.bound)
        sizes = latents, c.width, c.hidden
        self.context_net = MapContext(_part(tensors, "context_net"), sizes, c.doublings, c.blocks)

    def posterior(self, images: Values) -> Independent:
        """q(z | x)."""
        c, sizes = self.config, self.sizes(images.shape)
        params = self.encoder(images, LEVELS[c.levels], INSIDE, sizes).astype(np.int32)
        means, log_sigmas = np.split(params, 2, 1)
        return normals(means, log_sigmas, c.steps_per_unit)

    def prior(self, shape: Shape) -> Coded:
        """p(z) of latents of images of this shape."""
        size = shape[0], self.config.latent_channels, *self.sizes(shape)[-1]
        if not self.config.prior_layers:
            zero = np.zeros(size, np.int32)
            return normals(zero, zero, self.config.steps_per_unit)
        return LocalDistribution(self.prior_net, size)

    def likelihood(self, z: Values | None, shape: Shape) -> LocalDistribution:
        """p(x | z), or p(x) without latents."""
        if z is None:
            return LocalDistribution(self.local, shape)
        sizes = self.sizes(shape)[::-1][: self.config.doublings + 1]
        context = self.context_net(z * np.int16(self.step), sizes)
        return LocalDistribution(self.local, shape, context, self.config.context_stride)

    def sizes(self, shape: Sequence[int]) -> list[tuple[int, int]]:
        """Height and width of images (B, C, H, W), and after each halving."""
        return halved_sizes(shape[2], shape[3], self.config.halvings)

    def program(self, shape: Shape, images: Values | None = None) -> Program[Coded, Values]:
        """Latents z, if there are any, then the pixels x."""
        z = None
        if self.config.latent_channels:
            z = yield Latent(
                "z",
                prior=lambda: self.prior(shape),
                posterior=lambda: self.posterior(images),  # type: ignore[arg-type]  # asked for only with images
            )
        images = yield Observed("x", likelihood=lambda: self.likelihood(z, shape), value=images)
        return images

    def exactly(self) -> AbstractContextManager[None]:
        """Nothing: integers are exact anywhere."""
        return nullcontext()


def _part(tensors: Mapping[str, Values], name: str) -> dict[str, Values]:
    """The tensors of a part of the model, without its name."""
    prefix = f"{name}."
    return {each.removeprefix(prefix): one for each, one in tensors.items() if each.startswith(prefix)}


def _coder(
    tensors: Mapping[str, Values],
    name: str,
    radii: Sequence[int],
    radius: int,
    levels: NDArray[np.int16],
    family: Family,
) -> LocalCoder:
    """A local net and its distribution. levels: what the net sees of each value, from the lowest."""
    return LocalCoder(packed(laid_out(_part(tensors, name), radii, radius), levels, INSIDE), family)


def engine(config: Mapping[str, Any], tensors: Mapping[str, Values]) -> VlaeEngine:
    """The program of a codec's config and tensors. Raises KeyError, TypeError or ValueError for what cannot be."""
    return VlaeEngine(VlaeConfig(**config), tensors)
