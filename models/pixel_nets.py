"""What the networks of the model families share: embeddings of pixels, and initial distributions of pixels."""

from __future__ import annotations

from functools import cache

import torch
from torch import Tensor, nn

from bbcodec.distributions.logistic import LogisticMixture
from bbcodec.exact.activations import gated
from bbcodec.exact.arithmetic import ACTIVATION_UNIT
from bbcodec.exact.layers import Conv, Linear
from bbcodec.exact.masked_conv import WaveNet
from bbcodec.models.fused_mixture import FusedMixture

# --- layers ----------------------------------------------------------------------------------------------------------


def with_inside(x: Tensor) -> Tensor:
    """x with one more channel, 256 everywhere: padding reads as zero, which marks the border for nets."""
    return torch.cat([x, torch.full_like(x[:, :1], ACTIVATION_UNIT)], 1)


def embed_binary(pixels: Tensor) -> Tensor:
    """Pixels 0 and 1 as -1 and 1, in 1/256, with the channel of `with_inside`."""
    return with_inside((2 * pixels - 1) * ACTIVATION_UNIT)


def embed_levels(pixels: Tensor) -> Tensor:
    """Pixels 0..255 as -4..4, in 1/256, with the channel of `with_inside`."""
    return with_inside((pixels - 128) * 8)


class Block(nn.Module):
    """A residual gated 3 x 3 convolution."""

    def __init__(self, width: int) -> None:
        """width: channels."""
        super().__init__()
        self.conv = Conv(width, 2 * width, 3)

    def forward(self, h: Tensor) -> Tensor:
        """h: (B, width, H, W), in and out."""
        return gated(h, self.conv(h), 1, self.conv.exact)


# --- pixels of 256 levels --------------------------------------------------------------------------------------------


@cache
def compiled_mixture() -> type[LogisticMixture]:
    """The logistic mixture with a compiled `log_prob`; made on first use, as the compiler takes seconds to import."""
    return type("CompiledMixture", (LogisticMixture,), {"log_prob": torch.compile(LogisticMixture.log_prob)})


def training_mixture(device: torch.device) -> type[LogisticMixture]:
    """The logistic mixture with the `log_prob` that is quickest to learn with on this device."""
    return FusedMixture if device.type == "cpu" else compiled_mixture()


@torch.no_grad()
def start_posterior(head: Conv) -> None:
    """Start with posteriors of sigma 0.3, so that latents are used before the decoder has learned to ignore them."""
    head.bias.view(2, -1)[1] = -1.2


# Linear predictors of a pixel from its neighbours (row, column), from which the decoder's mixture starts. Those that
# copy one neighbour start sharp: in drawings, screenshots and sprites most pixels equal a neighbour.
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
SHARP = -1.5  # log scale of predictors that copy: a fifth of a level; others start at 1


@torch.no_grad()
def start_predictors(net: WaveNet, channels: int, components: int, joint: bool = False) -> None:
    """Start the decoder of 256-level pixels as a mixture of classical predictors, its stem blind to brightness.

    The skip path gives each component's mean (32 units a level, from inputs of 8 units a level); errors of red carry
    over to green and those of green to blue. Gains make steps of means and coefficients finer than those of the rest
    of the head. With five components or fewer none starts sharp, which would not help photos.
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
def start_errors(net: WaveNet, components: int) -> None:
    """Start the decoder of tokens of prediction errors (`bbcodec.prediction.tokens`) as a mixture around no error.

    Unlike brightness, how far tokens are from that of no error is all that they tell: nothing is held fixed. Most are
    only a few levels away, and so are made larger.
    """
    net.stem.level = net.skip.level = None
    net.stem.weight[:, :1].mul_(4)
    net.skip.weight.zero_()
    gain, bias = torch.ones(3 * components), torch.zeros(3 * components)
    gain[components:] = 0.5
    bias[components : 2 * components] = torch.linspace(-6, 6, components)  # of 4 levels
    bias[2 * components :] = 3.0  # half nats
    net.head.set_gain(gain.to(net.head.bias.device))
    net.head.bias.copy_(bias)


@torch.no_grad()
def start_levels(head: Linear | Conv, channels: int, components: int, joint: bool = False) -> None:
    """Start the head of independent 256-level pixels at broad logistics, spaced evenly.

    Channels of the head are the parameters of a `LogisticMixture`, of all pixels or of each. Gains make the steps of
    means coarser and those of coefficients finer.
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
