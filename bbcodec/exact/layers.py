"""Linear maps and convolutions whose sums are exact in float32.

Every output channel has a power-of-two scale 2**-s. Its weights and bias are whole numbers times that scale, so
its sums are whole numbers times 2**-s; the bound `A sum|w| + |b| < 2**24` (in whole numbers, A the largest input)
keeps every partial sum exact. The outputs are then rounded to whole numbers. Tensors are (B, C, H, W), or (..., C).
"""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Any, ClassVar

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from bbcodec.errors import BadCodecFile
from bbcodec.exact.arithmetic import ACTIVATION_UNIT, BOUND, CARRIER, rounded

MAX_FAN_IN = 1024  # above this, the bound leaves weights too few bits
MAX_WEIGHT = 2047
MAX_SCALE = 14  # finer weights than 2**-14 gain nothing


_allowance: ContextVar[int | None] = ContextVar("_allowance", default=None)  # weights that layers may still be made of


@contextmanager
def weights_allowed(count: int) -> Iterator[None]:
    """Within, layers of more weights in all raise ValueError before they take memory, whatever a config says."""
    token = _allowance.set(count)
    try:
        yield
    finally:
        _allowance.reset(token)


def _take_allowance(count: int) -> None:
    left = _allowance.get()
    if left is not None:
        if count > left:
            raise ValueError("its config describes a larger model than its tensors are of")
        _allowance.set(left - count)


class ExactPart(nn.Module, ABC):
    """A part of a network that learns real numbers, and computes with whole ones, which codec files hold.

    `exact = False` computes without rounding (early training); `safe = True` takes the slow path. `freeze` fixes the
    whole numbers that the real ones round to; `stored` returns them by name, as in codec files, and `load_stored` sets
    them.
    """

    exact = True
    safe = False
    stored_names: ClassVar[tuple[str, ...]] = ("weight", "bias", "scale")
    stored_types: ClassVar[tuple[torch.dtype, ...]] = (torch.int16, torch.int32, torch.int8)  # in the same order

    @abstractmethod
    def stored(self) -> dict[str, Tensor]:
        """The whole numbers as a codec file holds them, by the names of `stored_names`."""

    @abstractmethod
    def load_stored(self, *args: Any, **kwargs: Any) -> None:
        """Compute with these whole numbers from now on. Raises BadCodecFile for numbers that are not valid."""

    def check_types(self, *numbers: Tensor) -> None:
        """Raise BadCodecFile unless numbers have the types of `stored_types`.

        Bounds are computed in int64, where the magnitude of its own least number would be negative.
        """
        found = tuple(part.dtype for part in numbers)
        if found != self.stored_types:
            raise BadCodecFile(
                f"expected {', '.join(self.stored_names)} of type {_listed(self.stored_types)}, got {_listed(found)}"
            )

    def freeze(self) -> None:
        """Compute with the whole numbers that the real ones round to now, from now on."""
        self.load_stored(**self.stored())


def _listed(types: tuple[torch.dtype, ...]) -> str:
    return ", ".join(str(one).removeprefix("torch.") for one in types)


def by_channel(values: Tensor, weight: Tensor) -> Tensor:
    """A value for each output channel (C',), in a shape that goes with a weight (C', ...)."""
    return values.view(-1, *[1] * (weight.dim() - 1))


class ExactLayer(ExactPart):
    """A layer that learns real weights and computes with whole ones.

    `exact = False` computes with the real weights and without rounding. `load_integers` sets the whole numbers.
    `safe = True` takes float64 products of unfolded inputs.
    """

    gain: Tensor | None

    def __init__(self, shape: tuple[int, ...], fan_in: int, bound: int = BOUND, gain: float = 1.0) -> None:
        """shape: of the weight, output channels first; bound: the largest input magnitude, in units of 1/256."""
        super().__init__()
        if fan_in > MAX_FAN_IN:
            raise ValueError(
                f"expected a fan-in of at most {MAX_FAN_IN}, got {fan_in}: weights would lose too many bits"
            )
        _take_allowance(math.prod(shape))
        self.weight = nn.Parameter(torch.randn(shape) * gain * fan_in**-0.5)
        self.bias = nn.Parameter(torch.zeros(shape[0]))
        self.bound, self.fan_in = bound, fan_in
        self.frozen: tuple[Tensor, Tensor] | None = None
        self.scale: Tensor | None = None
        self.register_buffer("gain", None, persistent=False)

    def set_gain(self, gain: Tensor) -> None:
        """Scale each output channel: real weights and biases are the parameters times `gain`, (C',)."""
        self.gain = gain

    def masked_weight(self) -> Tensor:
        """The weights, zero where the layer may not look."""
        return self.weight

    def reals(self) -> tuple[Tensor, Tensor]:
        """The real weights, and the real biases in units of 1/256."""
        weight, bias = self.masked_weight(), self.bias * ACTIVATION_UNIT
        if self.gain is None:
            return weight, bias
        return weight * by_channel(self.gain, weight), bias * self.gain

    def scales(self, weight: Tensor, bias: Tensor) -> Tensor:
        """The power of two of each output channel, as fine as the bound allows after rounding."""
        size = weight.double().abs().flatten(1)
        room = CARRIER - 2 - self.bound * self.fan_in / 2
        fits = room / (self.bound * size.sum(1) + bias.double().abs()).clamp_min(1e-3)
        fits = torch.minimum(fits, (MAX_WEIGHT - 0.5) / size.amax(1).clamp_min(1e-9))
        return torch.exp2(torch.floor(torch.log2(fits)).clamp(max=MAX_SCALE)).float()

    def parameters_now(self) -> tuple[Tensor, Tensor]:
        """Weight and bias (in units of 1/256) to compute with."""
        if self.frozen is not None:
            return self.frozen
        if not self.exact:
            return self.reals()
        weight, bias, scale = self.whole()
        return weight / by_channel(scale, weight), bias / scale

    def whole(self) -> tuple[Tensor, Tensor, Tensor]:
        """Whole weights and biases, with the gradients of the real ones times the scale, and the scale."""
        weight, bias = self.reals()
        with torch.no_grad():
            scale = self.scales(weight, bias)
        return rounded(weight * by_channel(scale, weight)), rounded(bias * scale), scale

    def integers(self) -> dict[str, Tensor]:
        """weight (int16), bias (int32) and log2 of the scale (int8) of each output channel."""
        with torch.no_grad():
            if self.frozen is None or self.scale is None:
                weight, bias, scale = self.whole()
            else:
                (weight, bias), scale = self.frozen, self.scale
                weight, bias = (weight * by_channel(scale, weight)).round(), (bias * scale).round()
            return {
                "weight": weight.to("cpu", torch.int16),
                "bias": bias.to("cpu", torch.int32),
                "scale": torch.log2(scale).round().to("cpu", torch.int8),
            }

    def load_integers(self, weight: Tensor, bias: Tensor, scale: Tensor) -> None:
        """Compute with these whole numbers from now on. Raises BadCodecFile if they break the bound."""
        self.check_types(weight, bias, scale)
        if weight.shape != self.weight.shape or bias.shape != self.bias.shape or scale.shape != self.bias.shape:
            raise BadCodecFile(f"expected weights of shape {tuple(self.weight.shape)}, got {tuple(weight.shape)}")
        sums = self.bound * weight.long().abs().flatten(1).sum(1) + bias.long().abs()
        if (
            int(sums.max()) >= CARRIER
            or int(weight.long().abs().max()) > MAX_WEIGHT
            or int(scale.long().abs().max()) > 64
        ):
            raise BadCodecFile(
                f"weights break the bound of exact sums ({int(sums.max())} of at most {int(CARRIER) - 1})"
            )
        device = self.weight.device
        self.scale = torch.exp2(scale.to(device).float())
        self.frozen = weight.to(device).float() / by_channel(self.scale, weight), bias.to(device).float() / self.scale
        with torch.no_grad():
            gain = torch.ones_like(self.bias) if self.gain is None else self.gain
            self.weight.copy_(self.frozen[0] / by_channel(gain, weight))
            self.bias.copy_(self.frozen[1] / ACTIVATION_UNIT / gain)

    def stored(self) -> dict[str, Tensor]:
        """The whole numbers as a codec file holds them."""
        return self.integers()

    def load_stored(self, weight: Tensor, bias: Tensor, scale: Tensor) -> None:
        """Compute with the whole numbers of `stored` from now on. Raises BadCodecFile if they break the bound."""
        self.load_integers(weight, bias, scale)

    def finished(self, y: Tensor) -> Tensor:
        """Sums rounded to whole numbers, if the layer is exact."""
        return rounded(y) if self.exact else y


class Linear(ExactLayer):
    """(..., C) -> (..., C')."""

    def __init__(self, cin: int, cout: int, bound: int = BOUND, gain: float = 1.0) -> None:
        """cin, cout: channels."""
        super().__init__((cout, cin), cin, bound, gain)

    def forward(self, x: Tensor) -> Tensor:
        """x: (..., C) whole numbers within +-bound."""
        w, b = self.parameters_now()
        if self.safe:
            return self.finished(F.linear(x.double(), w.double(), b.double()).float())
        return self.finished(F.linear(x, w, b))


def unfolded_conv(x: Tensor, w: Tensor, b: Tensor, stride: int, padding: tuple[int, int]) -> Tensor:
    """The safe path: a convolution as one float64 matrix product, which no algorithm can make inexact."""
    kh, kw = w.shape[2:]
    height = (x.shape[2] + 2 * padding[0] - kh) // stride + 1
    width = (x.shape[3] + 2 * padding[1] - kw) // stride + 1
    columns = F.unfold(x.double(), (kh, kw), padding=padding, stride=stride)
    y = w.double().flatten(1) @ columns + b.double()[:, None]
    return y.view(len(x), len(w), height, width).float()


class Conv(ExactLayer):
    """k x k convolution, zero padding k // 2: (B, C, H, W) -> (B, C', ceil(H / stride), ceil(W / stride)), k odd."""

    def __init__(self, cin: int, cout: int, k: int, stride: int = 1, bound: int = BOUND, gain: float = 1.0) -> None:
        """k: kernel size, odd."""
        super().__init__((cout, cin, k, k), cin * k * k, bound, gain)
        self.stride, self.padding = stride, (k // 2, k // 2)

    def forward(self, x: Tensor) -> Tensor:
        """x: (B, C, H, W) whole numbers within +-bound."""
        w, b = self.parameters_now()
        if self.safe:
            return self.finished(unfolded_conv(x, w, b, self.stride, self.padding))
        return self.finished(F.conv2d(x, w, b, self.stride, self.padding))


class TransposedConv(ExactLayer):
    """Doubles the resolution, 4 x 4 kernel: (B, C, H, W) -> (B, C', 2 H, 2 W). Each output pixel sees 2 x 2 inputs."""

    def __init__(self, cin: int, cout: int, bound: int = BOUND, gain: float = 1.0) -> None:
        """cin, cout: channels. The weight is stored output channels first, (C', C, 4, 4)."""
        super().__init__((cout, cin, 4, 4), cin * 4 * 4, bound, 2 * gain)

    def forward(self, x: Tensor) -> Tensor:
        """x: (B, C, H, W) whole numbers within +-bound."""
        w, b = self.parameters_now()
        if not self.safe:
            return self.finished(F.conv_transpose2d(x, w.transpose(0, 1), b, stride=2, padding=1))
        batch, channels, height, width = x.shape
        spread = x.new_zeros(batch, channels, 2 * height - 1, 2 * width - 1)
        spread[:, :, ::2, ::2] = x
        return self.finished(unfolded_conv(spread, w.flip(2, 3), b, 1, (2, 2)))


def exact_parts(module: nn.Module) -> dict[str, ExactPart]:
    """All exact parts of a network by name: those that its codec file holds."""
    return {name: part for name, part in module.named_modules() if isinstance(part, ExactPart)}


def exact_layers(module: nn.Module) -> dict[str, ExactLayer]:
    """All exact layers of a network by name: the parts with a weight, a bias and scales."""
    return {name: layer for name, layer in exact_parts(module).items() if isinstance(layer, ExactLayer)}


def set_exact(module: nn.Module, exact: bool) -> None:
    """Make all parts of a network round (the coded network), or not (early training)."""
    for part in exact_parts(module).values():
        part.exact = exact


def set_safe(module: nn.Module, safe: bool) -> None:
    """Make all parts of a network take the slow path that no kernel can make inexact, or the fast one."""
    for part in exact_parts(module).values():
        part.safe = safe
