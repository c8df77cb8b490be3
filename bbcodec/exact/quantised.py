"""Layers for compiled code: 8-bit inside, with one shift for each output channel, and one rule of rounding.

A layer's sums are whole, Y = B + sum W x. Its outputs are (Y + 2**(k - 1)) >> k, which is Y / 2**k rounded half up,
with a shift k >= 1 for each output channel. The bound A sum|W| + |B| + 2**(k - 1) < 2**24 (A the greatest input) lets
float32 compute the same numbers: y = Y / 2**k is exact, and so is floor(y + 1/2). Outputs of wide layers are within
2**23, so that float32 adds two of them exactly.

    stream   whole numbers within +-2047, worth 1/256: what residual layers add to
    inner    whole numbers 0..127, worth 1/16: what 8-bit layers read, and write unless they add to the stream

Wide layers (pixels in, or parameters out) have weights within +-2047, inner ones within +-127.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from bbcodec.errors import BadCodecFile
from bbcodec.exact.arithmetic import ACTIVATION_UNIT, BOUND, CARRIER, rounded, straight
from bbcodec.exact.layers import Conv, ExactLayer, Linear, TransposedConv, by_channel
from bbcodec.exact.masked_conv import MaskedConv, MaskType
from bbcodec.exact.wave_order import SKEW

INNER_BOUND = 127  # the greatest inner activation
INNER_UNIT = 16.0  # inner activations are worth 1 / INNER_UNIT: 0 to 8
MIN_SHIFT = 1  # without a fraction, y + 1/2 could need 25 bits
MAX_SHIFT = 16  # finer weights than 2**-16 gain nothing


def half_up(x: Tensor) -> Tensor:
    """The nearest whole numbers, halves up, with the gradient of the identity."""
    if torch.is_grad_enabled() and x.requires_grad:
        return straight((x.detach() + 0.5).floor(), x)
    return (x + 0.5).floor()


def entering(h: Tensor, exact: bool) -> Tensor:
    """The stream as inner activations, negative ones as 0. exact: rounded."""
    a = (h * (INNER_UNIT / ACTIVATION_UNIT)).clamp(0, INNER_BOUND)
    return half_up(a) if exact else a


@dataclass(frozen=True)
class Origin:
    """Where the weights of a layer began: whole numbers (C', ...), 2**shift of each output channel, and a step.

    Weights that have moved from there by whole steps take few bytes as differences.
    """

    weight: Tensor
    scale: Tensor
    step: int

    def near(self, weight: Tensor, most: int) -> Tensor:
        """The nearest weights within +-most that are whole steps from here, with the gradient of the identity."""
        least, greatest = ((bound - self.weight) / self.step for bound in (-most, most))
        steps = rounded((weight - self.weight) / self.step).clamp(least.ceil(), greatest.floor())
        return self.weight + self.step * steps


class ShiftedLayer(ExactLayer):
    """What the layers here add to ExactLayer: other units, shifts k in place of scales, halves up.

    Before rounding, `exact=False` or not, outputs are in units of the output: 1 / `output_unit`.
    """

    stored_names: ClassVar[tuple[str, ...]] = ("weight", "bias", "shift")
    max_weight: ClassVar[int] = 2047
    input_unit = ACTIVATION_UNIT
    output_unit = ACTIVATION_UNIT
    origin: Origin | None = None

    def learn_difference(self, step: int) -> None:
        """From now on, keep the shifts of now and move whole weights by whole steps, as far as the bound allows."""
        with torch.no_grad():
            weight, _, scale = self.whole()
        self.origin = Origin(weight, scale, step)

    def whole(self) -> tuple[Tensor, Tensor, Tensor]:
        """As of ExactLayer; near the origin if there is one, but for channels whose sums would break the bound."""
        if self.origin is None:
            return super().whole()
        (weight, bias), scale = self.reals(), self.origin.scale
        weight, bias = self.origin.near(weight * by_channel(scale, weight), self.max_weight), rounded(bias * scale)
        with torch.no_grad():
            sums = self.bound * weight.double().abs().flatten(1).sum(1) + bias.double().abs() + scale / 2
            fits = sums < CARRIER
            if fits.all():
                return weight, bias, scale
        others = super().whole()
        return (
            torch.where(by_channel(fits, weight), weight, others[0]),
            torch.where(fits, bias, others[1]),
            torch.where(fits, scale, others[2]),
        )

    def reals(self) -> tuple[Tensor, Tensor]:
        """Real weights, within what the least shift can hold, and biases: outputs are in units of 1 / `output_unit`."""
        weight, bias = super().reals()
        most = self.max_weight / 2**MIN_SHIFT
        weight = (weight * (self.output_unit / self.input_unit)).clamp(-most, most)
        return weight, bias * (self.output_unit / ACTIVATION_UNIT)

    def scales(self, weight: Tensor, bias: Tensor) -> Tensor:
        """2**k of each output channel: as fine as the bounds of weights and sums allow after rounding."""
        size = weight.double().abs().flatten(1)
        room = CARRIER - 2 - self.bound * self.fan_in / 2
        sums = self.bound * size.sum(1) + bias.double().abs() + 0.5
        fits = torch.minimum(room / sums, (self.max_weight + 0.49) / size.amax(1).clamp_min(1e-9))
        return torch.exp2(torch.floor(torch.log2(fits)).clamp(MIN_SHIFT, MAX_SHIFT)).float()

    def integers(self) -> dict[str, Tensor]:
        """weight (int16, or int8 of inner layers), bias (int32) and shift (int8) of each output channel."""
        whole = super().integers()
        return {"weight": whole["weight"].to(self.stored_types[0]), "bias": whole["bias"], "shift": whole["scale"]}

    def load_integers(self, weight: Tensor, bias: Tensor, shift: Tensor) -> None:
        """Compute with these whole numbers from now on. Raises BadCodecFile if they break the bounds."""
        self.check_types(weight, bias, shift)
        if weight.shape != self.weight.shape or bias.shape != self.bias.shape or shift.shape != self.bias.shape:
            raise BadCodecFile(f"expected weights of shape {tuple(self.weight.shape)}, got {tuple(weight.shape)}")
        least, most = int(shift.min()), int(shift.max())
        if least < MIN_SHIFT or most > MAX_SHIFT:
            raise BadCodecFile(f"expected shifts from {MIN_SHIFT} to {MAX_SHIFT}, got {least} to {most}")
        greatest = int(weight.long().abs().max())
        half = 1 << (shift.long() - 1)
        sums = self.bound * weight.long().abs().flatten(1).sum(1) + bias.long().abs() + half
        if greatest > self.max_weight or int(sums.max()) >= CARRIER:
            raise BadCodecFile(
                f"weights break the bounds of exact sums: {greatest} of at most {self.max_weight}, "
                f"sums of {int(sums.max())} of at most {int(CARRIER) - 1}"
            )
        device = self.weight.device
        self.scale = torch.exp2(shift.to(device).float())
        self.frozen = weight.to(device).float() / by_channel(self.scale, weight), bias.to(device).float() / self.scale
        with torch.no_grad():
            gain = torch.ones_like(self.bias) if self.gain is None else self.gain
            unit = gain * (self.output_unit / self.input_unit)
            self.weight.copy_(self.frozen[0] / by_channel(unit, weight))
            self.bias.copy_(self.frozen[1] / (gain * self.output_unit))

    def load_stored(self, weight: Tensor, bias: Tensor, shift: Tensor) -> None:
        """`load_integers` from what `stored` gave."""
        super().load_stored(weight, bias, shift)

    def finished(self, y: Tensor) -> Tensor:
        """Sums to outputs."""
        return half_up(y) if self.exact else y


class InnerLayer(ShiftedLayer):
    """8-bit weights on inner activations. Outputs are inner activations, through a ReLU, or added to the stream."""

    max_weight = 127
    stored_types = (torch.int8, torch.int32, torch.int8)
    input_unit = INNER_UNIT
    to_stream = False

    def finished(self, y: Tensor) -> Tensor:
        """Sums to inner activations, or to whole numbers in units of the stream."""
        if self.to_stream:
            return super().finished(y)
        return super().finished(y.clamp(0, INNER_BOUND))  # the bounds are whole, so clamping first changes nothing

    def _write_to(self, to_stream: bool) -> None:
        self.to_stream = to_stream
        self.output_unit = ACTIVATION_UNIT if to_stream else INNER_UNIT


class WideMaskedConv(ShiftedLayer, MaskedConv):
    """A masked convolution over pixels, or from inner activations to parameters (`from_inner`)."""

    def __init__(
        self,
        cin: int,
        cout: int,
        radius: int,
        mask_type: MaskType,
        bound: int = BOUND,
        gain: float = 1.0,
        skew: int = SKEW,
        from_inner: bool = False,
    ) -> None:
        """As MaskedConv; from_inner: inputs are inner activations, whatever `bound` says."""
        super().__init__(cin, cout, radius, mask_type, INNER_BOUND if from_inner else bound, gain, skew)
        self.input_unit = INNER_UNIT if from_inner else ACTIVATION_UNIT


class WideConv(ShiftedLayer, Conv):
    """A convolution over pixels or the stream, into the stream."""


class InnerMaskedConv(InnerLayer, MaskedConv):
    """A masked convolution of 8 bits; radius 0 with mask type "B" is a pointwise layer."""

    def __init__(
        self,
        cin: int,
        cout: int,
        radius: int,
        mask_type: MaskType = "B",
        gain: float = 1.0,
        skew: int = SKEW,
        to_stream: bool = False,
    ) -> None:
        """As MaskedConv; to_stream: outputs are worth 1/256 and may be negative."""
        super().__init__(cin, cout, radius, mask_type, INNER_BOUND, gain, skew)
        self._write_to(to_stream)


class InnerConv(InnerLayer, Conv):
    """A convolution of 8 bits."""

    def __init__(
        self, cin: int, cout: int, k: int, stride: int = 1, gain: float = 1.0, to_stream: bool = False
    ) -> None:
        """As Conv; to_stream: outputs are worth 1/256 and may be negative."""
        super().__init__(cin, cout, k, stride, INNER_BOUND, gain)
        self._write_to(to_stream)


class InnerTransposedConv(InnerLayer, TransposedConv):
    """A transposed convolution of 8 bits, which doubles the resolution."""

    def __init__(self, cin: int, cout: int, gain: float = 1.0, to_stream: bool = False) -> None:
        """As TransposedConv; to_stream: outputs are worth 1/256 and may be negative."""
        super().__init__(cin, cout, INNER_BOUND, gain)
        self._write_to(to_stream)


class InnerLinear(InnerLayer, Linear):
    """A dense layer of 8 bits."""

    def __init__(self, cin: int, cout: int, gain: float = 1.0, to_stream: bool = False) -> None:
        """As Linear; to_stream: outputs are worth 1/256 and may be negative."""
        super().__init__(cin, cout, INNER_BOUND, gain)
        self._write_to(to_stream)


class WideLinear(ShiftedLayer, Linear):
    """A dense layer of wide weights. Outputs are parameters, worth 1/256, or inner activations, through a ReLU."""

    def __init__(self, cin: int, cout: int, bound: int, unit: float, gain: float = 1.0, to_inner: bool = False) -> None:
        """As Linear; inputs are within +-bound and worth 1 / unit; to_inner: outputs are inner activations."""
        super().__init__(cin, cout, bound, gain)
        self.input_unit, self.to_inner = unit, to_inner
        self.output_unit = INNER_UNIT if to_inner else ACTIVATION_UNIT

    def finished(self, y: Tensor) -> Tensor:
        """Sums to inner activations, or to parameters."""
        return super().finished(y.clamp(0, INNER_BOUND) if self.to_inner else y)
