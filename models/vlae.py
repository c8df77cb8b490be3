"""The variational lossy autoencoder (Chen et al. 2017): global structure in latents, local detail in the decoder.

Latents z live on a map `latent_stride` times coarser than the image, with an autoregressive-flow prior
z_i = mu_i(z_<i) + sigma_i(z_<i) eps_i (section 3.2). Pixels follow from a masked-convolution decoder whose receptive
field is local on purpose (section 3.1), so that z has to carry what it cannot see. Fully convolutional: any image from
1 x 1 up.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass
from functools import cache, partial
from typing import Any

import torch
from bbcodec.models.families import Family, Strength, TrainableModel
from torch import Tensor, nn

from bbcodec.codec import PixelFormat
from bbcodec.distributions.autoregressive import Autoregressive
from bbcodec.distributions.base import Distribution
from bbcodec.distributions.bernoulli import Bernoulli
from bbcodec.distributions.gaussian import Gaussian, activation
from bbcodec.distributions.logistic import LogisticMixture
from bbcodec.exact.activations import gated, silu
from bbcodec.exact.arithmetic import UNIT
from bbcodec.exact.layers import Conv, Linear, TransposedConv
from bbcodec.exact.waves import LocalNet
from bbcodec.program import Latent, Observed, Program

MAX_SIZE = 256  # of anything in a config, which may come with an archive from anywhere
MAX_COMPONENTS = 32  # of a mixture of logistics


@dataclass(frozen=True)
class VlaeConfig:
    """Sizes of a VLAE. `latent_stride` and `context_stride` are powers of two, the second at most the first."""

    channels: int = 3  # of the image: 1 or 3
    levels: int = 256  # of a pixel: 2 or 256
    hidden: int = 64  # channels of the local decoder
    layers: int = 5  # its gated layers
    radius: int = 3  # of its stem
    components: int = 5  # of the logistic mixture
    joint: bool = False  # the channels of a pixel come from one component
    latent_channels: int = 2  # 0: no latents, the local decoder alone
    latent_stride: int = 16  # image pixels to a latent, each way
    context_stride: int = 4  # resolution at which latents reach the decoder
    width: int = 32  # channels of the encoder and of the context net
    blocks: int = 2  # gated blocks of each at the latents' resolution
    prior_hidden: int = 32  # channels of the prior's local net
    prior_layers: int = 2
    steps_per_unit: int = 8  # of the latents' grid

    @property
    def bound(self) -> int:
        """The greatest magnitude of an embedded pixel, in units of 1/256."""
        return 256 if self.levels == 2 else 1024

    @property
    def params(self) -> int:
        """Parameters of a pixel's distribution."""
        if self.levels == 2:
            return self.channels
        rows = 2 * self.channels + (1 if self.joint else self.channels) + (3 if self.channels == 3 else 0)
        return rows * self.components


def build(config: Mapping[str, Any]) -> Vlae:
    """A model from the config in a codec file. Raises TypeError for unknown keys, ValueError for impossible sizes."""
    return Vlae(VlaeConfig(**config))


def with_inside(x: Tensor) -> Tensor:
    """One more channel, 256 everywhere: beyond the border it reads as zero, which shows nets the border."""
    return torch.cat([x, torch.full_like(x[:, :1], UNIT)], 1)


def embed_binary(pixels: Tensor) -> Tensor:
    """0 and 1 to -1 and 1."""
    return with_inside((2 * pixels - 1) * UNIT)


def embed_levels(pixels: Tensor) -> Tensor:
    """0..255 to -4..4."""
    return with_inside((pixels - 128) * 8)


class Block(nn.Module):
    """A residual gated unit, 3 x 3."""

    def __init__(self, width: int) -> None:
        """width: channels."""
        super().__init__()
        self.conv = Conv(width, 2 * width, 3)

    def forward(self, h: Tensor) -> Tensor:
        """(B, width, H, W)."""
        return gated(h, self.conv(h), 1, self.conv.exact)


class Vlae(TrainableModel):
    """The VLAE as a program of one latent map and the pixels."""

    def __init__(self, config: VlaeConfig) -> None:
        """Raises ValueError for sizes that cannot be."""
        super().__init__()
        self.config = c = config
        if type(c.joint) is not bool or (c.joint and c.channels == 1):
            raise ValueError(f"joint is {c.joint!r}: true or false was expected, and true for colours alone")
        for name, value in asdict(c).items():
            least = 0 if name == "latent_channels" else 1
            if name != "joint" and (type(value) is not int or not least <= value <= MAX_SIZE):
                raise ValueError(f"{name} is {value!r}, a whole number from {least} to {MAX_SIZE} was expected")
        if c.channels not in (1, 3) or c.levels not in (2, 256) or (c.levels == 2 and c.channels == 3):
            raise ValueError(
                f"pixels of {c.channels} channels and {c.levels} levels: 1 x 2, 1 x 256 or 3 x 256 was expected"
            )
        halvings = c.latent_stride.bit_length() - 1
        doublings = halvings - (c.context_stride.bit_length() - 1)
        if (
            c.latent_stride != 1 << halvings
            or c.context_stride & (c.context_stride - 1)
            or halvings < 1
            or doublings < 0
        ):
            raise ValueError(f"strides {c.latent_stride} and {c.context_stride}: powers of two, falling, were expected")
        if c.steps_per_unit not in (1, 2, 4, 8, 16, 32, 64):
            raise ValueError(f"steps_per_unit is {c.steps_per_unit}, a power of two from 1 to 64 was expected")
        if c.components > MAX_COMPONENTS:
            raise ValueError(f"components is {c.components}, at most {MAX_COMPONENTS} were expected")
        if c.latent_channels:
            self._make_latents(halvings, doublings)
        self.local = LocalNet(c.channels + 1, c.hidden, c.layers, c.params, c.radius, c.bound)
        self.embed = embed_binary if c.levels == 2 else embed_levels
        self.family: Callable[[Tensor], Distribution] = Bernoulli
        if c.levels == 256:
            self.family = partial(LogisticMixture, channels=c.channels, joint=c.joint)
            start_predictors(self.local, c.channels, c.components, c.joint)

    def _make_latents(self, halvings: int, doublings: int) -> None:
        """Encoder, prior, and what tells the decoder of the latents."""
        c = self.config
        w = c.width
        self.halvings = nn.ModuleList(
            Conv(c.channels + 1 if n == 0 else w, w, 3, 2, c.bound if n == 0 else 2047) for n in range(halvings)
        )
        self.look = nn.Sequential(*[Block(w) for _ in range(c.blocks)])
        self.posterior_head = Conv(w, 2 * c.latent_channels, 1, gain=0.3)
        self.prior_net = LocalNet(
            c.latent_channels + 1, c.prior_hidden, c.prior_layers, 2 * c.latent_channels, radius=2
        )
        self.lift = Conv(c.latent_channels, w, 3)
        self.think = nn.Sequential(*[Block(w) for _ in range(c.blocks)])
        self.doublings = nn.ModuleList(TransposedConv(w, w) for _ in range(doublings))
        self.context_head = Conv(w, c.hidden, 3, gain=0.5)
        start_posterior(self.posterior_head)

    def speed_up(self) -> None:
        """Compile the local decoder and the mixture's likelihood, the greatest costs of a training step."""
        self.local.compile()
        if self.config.levels == 256:
            self.family = partial(compiled_mixture(), channels=self.config.channels, joint=self.config.joint)

    def sizes(self, height: int, width: int) -> list[tuple[int, int]]:
        """The image's size, and its size after each halving."""
        out = [(height, width)]
        for _ in self.halvings:
            out.append(((out[-1][0] + 1) // 2, (out[-1][1] + 1) // 2))
        return out

    def posterior(self, images: Tensor) -> Gaussian:
        """q(z | x): a Gaussian for each latent, from strided convolutions over the image."""
        h = self.embed(images)
        for conv in self.halvings:
            h = silu(conv(h), self.lift.exact)
        mean, log_sigma = self.posterior_head(self.look(h)).chunk(2, 1)
        return Gaussian(mean, log_sigma, self.config.steps_per_unit)

    def prior(self, shape: tuple[int, int, int, int]) -> Autoregressive:
        """p(z): the autoregressive flow over the latent map."""
        steps = self.config.steps_per_unit
        family = partial(Gaussian.from_params, steps_per_unit=steps)
        return Autoregressive(self.prior_net, family, lambda k: with_inside(activation(k, steps)), shape)

    def context(self, z: Tensor, height: int, width: int) -> Tensor:
        """What the latents tell the decoder, (B, hidden, ceil(H / s), ceil(W / s)), s the context's stride."""
        sizes = self.sizes(height, width)
        exact = self.lift.exact
        h = silu(self.lift(activation(z, self.config.steps_per_unit)), exact)
        h = self.think(h)
        for conv, (rows, columns) in zip(self.doublings, sizes[-2::-1], strict=False):
            h = silu(conv(h), exact)[:, :, :rows, :columns]
        out: Tensor = self.context_head(h)
        return out

    def likelihood(self, z: Tensor | None, shape: torch.Size) -> Autoregressive:
        """p(x | z), or p(x) without latents: the local decoder."""
        batch, channels, height, width = shape
        context = None if z is None else self.context(z, height, width)
        size = batch, channels, height, width
        return Autoregressive(self.local, self.family, self.embed, size, context, self.config.context_stride)

    def program(self, shape: torch.Size, images: Tensor | None = None) -> Program:
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


@cache
def compiled_mixture() -> type[LogisticMixture]:
    """The logistic mixture with a compiled `log_prob`. Made when it is wanted: the compiler takes seconds to import."""
    return type("CompiledMixture", (LogisticMixture,), {"log_prob": torch.compile(LogisticMixture.log_prob)})


@torch.no_grad()
def start_posterior(head: Conv) -> None:
    """Start with posteriors of sigma 0.3, so that latents say something before the decoder has learnt to do without."""
    head.bias.view(2, -1)[1] = -1.2


# Linear predictors of a pixel from its neighbours (row, column): the decoder's mixture starts from them. Those that
# copy one neighbour start sharp: in drawings, screenshots and sprites most pixels equal one of those around them.
PREDICTORS: list[dict[tuple[int, int], float]] = [
    {(0, -1): 1.0},
    {(-1, 0): 1.0},
    {(0, -1): 1.0, (-1, 0): 1.0, (-1, -1): -1.0},
    {(0, -1): 0.5, (-1, 0): 0.5, (-1, 1): 0.25, (-1, -1): -0.25},
    {(0, -1): 0.75, (-1, 0): 0.25, (-1, 1): 0.5, (-1, -1): -0.5},
    {(-1, -1): 1.0},
    {(-1, 1): 1.0},
    {(0, -2): 1.0},
    {(-2, 0): 1.0},
    {(-2, 2): 1.0},
    {(-2, -2): 1.0},
    {(-1, -2): 1.0},
]
SHARP = -1.5  # log scale of predictors that copy: a fifth of a level; that of others is 1


@torch.no_grad()
def start_predictors(net: LocalNet, channels: int, components: int, joint: bool = False) -> None:
    """Start the decoder of 256-level pixels as a mixture of classical predictors, and its stem blind to brightness.

    The skip path gives each component's mean (32 units a level, from inputs of 8 units a level); errors of red carry
    over to green and those of green to blue. Means and coefficients are learnt in finer steps than the rest of the
    head. With five components or fewer none starts sharp: photos have no use for it.
    """
    n = channels * components
    means = components if joint else n
    scales, coefficients = means + n, means + 2 * n
    weight, bias, reach = net.skip.weight, net.head.bias, net.skip.radius
    gain = torch.ones_like(bias)
    gain[:means] = gain[scales:coefficients] = 0.5
    gain[means:scales] = gain[coefficients:] = 0.125
    net.head.set_gain(gain)
    for k in range(components):
        predictor = PREDICTORS[k % len(PREDICTORS)]
        for c in range(channels):
            for (di, dj), value in predictor.items():
                if max(-di, abs(dj)) <= reach:
                    weight[means + c * components + k, c, di + reach, dj + reach] = 4 * value
            sharp = components > 5 and len(predictor) == 1
            bias[scales + c * components + k] = (SHARP if sharp else 1.0) / 0.5
    if channels == 3:
        bias[coefficients : coefficients + components] = 0.95 / 0.125
        bias[coefficients + 2 * components : coefficients + 3 * components] = 0.95 / 0.125
    stem = net.stem.weight
    stem[:, :channels].mul_(3)
    stem.sub_(stem.sum((2, 3), keepdim=True) / len(net.stem.taps)).mul_(net.stem.mask)
    net.stem.hold_level(channels)
    net.skip.hold_level(channels)


@torch.no_grad()
def start_levels(head: Linear | Conv, channels: int, components: int, joint: bool = False) -> None:
    """Start 256-level pixels that see none of the others from broad logistics apart from each other.

    Channels of the head are the parameters of `LogisticMixture`, once, or once for each pixel. Means move in steps
    that suit.
    """
    n = channels * components
    weights = components if joint else n
    params = weights + 2 * n + (n if channels == 3 else 0)
    gain, bias = torch.ones(params), torch.zeros(params)
    means, scales, coefficients = torch.arange(params).tensor_split([weights, weights + n, weights + 2 * n])[1:]
    gain[means] = 8  # 1.0 is 64 levels
    bias[means] = torch.linspace(-1, 1, components + 2)[1:-1].repeat(channels)
    bias[scales] = 3.0  # of e**3 levels
    if channels == 3:
        gain[coefficients] = 0.125
        bias[coefficients.view(3, -1)[[0, 2]]] = 0.95 / 0.125  # green follows the error of red, blue that of green
    repeats = len(head.bias) // params
    head.set_gain(gain.repeat(repeats))
    head.bias.copy_(bias.repeat(repeats))


SMALL = 40  # images up to this side have a finer map of latents: there they see more than the decoder's surroundings
CROP = 64  # side of training crops of larger images
BATCH_PIXELS = 2**14  # of all images of a step
DECODERS: dict[Strength, dict[str, int]] = {
    "fast": {"hidden": 32, "layers": 4, "width": 24},
    "balanced": {"hidden": 48, "layers": 5, "width": 32},
    "strong": {"hidden": 64, "layers": 6, "width": 48},
}


def preset(strength: Strength, pixels: PixelFormat, smallest: tuple[int, int], alike: bool) -> dict[str, Any]:
    """Settings for images of this kind: small ones are learnt whole, larger ones or those of many sizes in crops."""
    side = min(smallest)
    small = alike and max(smallest) <= SMALL
    whole = alike and smallest[0] * smallest[1] <= CROP * CROP
    crop = 0 if whole else min(CROP, side)
    each = smallest[0] * smallest[1] if whole else crop * crop
    found: dict[str, Any] = {**DECODERS[strength], "crop": crop, "batch": min(64, max(4, BATCH_PIXELS // each))}
    if pixels.levels == 256:
        found |= {"components": 12, "joint": True} if pixels.channels == 3 else {"components": 8}
    if pixels.levels == 2 or (small and pixels.channels == 1):
        found |= {"radius": 2, "latent_channels": 1, "latent_stride": 4, "context_stride": 1, "free_nats": 0.2}
        found |= {"prior_hidden": 32, "prior_layers": 3}
    else:
        found |= {"latent_channels": 2, "latent_stride": 8 if small else 32, "context_stride": 4, "free_nats": 0.5}
    return found


FAMILY = Family("vlae", VlaeConfig, build, preset)
