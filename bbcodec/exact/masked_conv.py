"""Masked convolutions in the wave order: evaluated in parallel when the image is known, wave by wave when it is not.

The wave order (`bbcodec.exact.wave_order`) is the autoregressive order: tap (di, dj) of a kernel is open if
dj + skew * di < 0 (mask type A), or also at the pixel itself (B). A 3 x 3 kernel of mask type B at skew 2:

    x x x
    x x .
    . . .
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable
from typing import Literal, Protocol

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from bbcodec.errors import BadCodecFile
from bbcodec.exact.arithmetic import BOUND
from bbcodec.exact.layers import ExactLayer, unfolded_conv
from bbcodec.exact.wave_order import SKEW, Ring, Wave, WaveOrder

BAND_PIXELS = 2**15  # of several images, or of rows of one, processed together: their activations take some 40 MB

MaskType = Literal["A", "B"]  # van den Oord et al. 2016: without the pixel itself, or with it
Draw = Callable[[Tensor, Tensor, Tensor], Tensor]  # params (rows, B, C') of pixels (i, j) -> embedded values


class MaskedConv(ExactLayer):
    """Convolution over the pixels before this one (mask type "A"), or before and at it ("B"), in the wave order.

    Weights: (C', C, r + 1, 2 r + 1), the rows above and the row of the pixel.
    """

    mask: Tensor
    level: Tensor | None

    def __init__(
        self,
        cin: int,
        cout: int,
        radius: int,
        mask_type: MaskType,
        bound: int = BOUND,
        gain: float = 1.0,
        skew: int = SKEW,
    ) -> None:
        """radius: how far the kernel reaches up, left and right; 0 with mask type "B" is a pointwise layer."""
        self.taps = [
            (di, dj)
            for di in range(-radius, 1)
            for dj in range(-radius, radius + 1)
            if dj + skew * di < 0 or (mask_type == "B" and di == dj == 0)
        ]
        super().__init__((cout, cin, radius + 1, 2 * radius + 1), cin * len(self.taps), bound, gain)
        self.radius, self.skew = radius, skew
        mask = torch.zeros(radius + 1, 2 * radius + 1)
        for di, dj in self.taps:
            mask[di + radius, dj + radius] = 1
        self.register_buffer("mask", mask, persistent=False)
        self.register_buffer("level", None, persistent=False)
        with torch.no_grad():
            self.weight.mul_(mask)

    @property
    def depth(self) -> int:
        """How many waves back the oldest tap lies."""
        return max(-(dj + self.skew * di) for di, dj in self.taps)

    def masked_weight(self) -> Tensor:
        """The weights, zero at closed taps; their sums over the taps are fixed after `hold_level`."""
        weight = self.weight * self.mask
        if self.level is None:
            return weight
        held, free = weight.tensor_split([self.level.shape[1]], 1)
        change = (self.level - held.sum((2, 3))) / len(self.taps)
        return torch.cat([held + change[:, :, None, None] * self.mask, free], 1)

    def hold_level(self, channels: int) -> None:
        """From now on, keep the sums over the taps of the first `channels` inputs fixed while training.

        The response to overall brightness stays fixed, and that to differences is learned: pixels are large numbers
        and their differences small ones, which changes of level would drown at learning rates that suit differences.
        """
        self.level = (self.weight * self.mask).sum((2, 3)).detach()[:, :channels].clone()

    def stored(self) -> dict[str, Tensor]:
        """As ExactLayer.stored, the weight without its closed taps: (C', C, taps)."""
        whole = self.integers()
        whole["weight"] = whole["weight"][:, :, self.mask.cpu().bool()]
        return whole

    def load_stored(self, weight: Tensor, bias: Tensor, scale: Tensor) -> None:
        """As ExactLayer.load_stored, from a weight without its closed taps."""
        self.check_types(weight, bias, scale)
        if weight.shape != (*self.weight.shape[:2], len(self.taps)):
            raise BadCodecFile(f"expected weights of {len(self.taps)} taps, got shape {tuple(weight.shape)}")
        full = torch.zeros(self.weight.shape, dtype=weight.dtype)
        full[:, :, self.mask.cpu().bool()] = weight
        self.load_integers(full, bias, scale)

    def forward(self, x: Tensor) -> Tensor:
        """x: (B, C, H, W) whole numbers within +-bound; all pixels at once."""
        return self.finished(self.sums(x))

    def sums(self, x: Tensor) -> Tensor:
        """As `forward`, not rounded."""
        w, b = self.parameters_now()
        padding = (self.radius, self.radius)
        if self.safe:
            return unfolded_conv(x, w, b, 1, padding)[:, :, : x.shape[2]]
        y = F.conv2d(x, w, b, padding=padding)  # (B, C', H + r, W): row i sees rows i - r to i
        return y[:, :, : x.shape[2]]

    def matrix(self) -> tuple[Tensor, Tensor]:
        """The open taps as one matrix (taps * C, C') and the bias, for `wave`."""
        w, b = self.parameters_now()
        columns = [w[:, :, di + self.radius, dj + self.radius].t() for di, dj in self.taps]
        dtype = torch.float64 if self.safe else torch.float32
        return torch.cat(columns).to(dtype).contiguous(), b.to(dtype)

    def ring(self, height: int, batch: int) -> Ring:
        """An empty ring of the inputs that `wave` looks back at."""
        return Ring(self.depth + 1, height, batch, self.weight.shape[1], self.weight.device, self.radius)

    def wave(self, matrix: tuple[Tensor, Tensor], ring: Ring, wave: Wave) -> Tensor:
        """Sums (rows, B, C'), not rounded, of the pixels of one wave, from a ring of the inputs."""
        if len(self.taps) == 1:
            x = ring.at(wave)
        else:
            x = torch.cat([ring.at(wave.shifted(di, dj)) for di, dj in self.taps], -1)
        return self.pointwise(matrix, x)

    def pointwise(self, matrix: tuple[Tensor, Tensor], x: Tensor) -> Tensor:
        """The matrix product alone, not rounded: x (rows, B, taps * C)."""
        w, b = matrix
        return torch.addmm(b, x.flatten(0, 1).to(w.dtype), w).float().view(*x.shape[:2], -1)


def spread(context: Tensor, stride: int, first: int, last: int, width: int) -> Tensor:
    """Rows first to last - 1 of a coarse map (B, C, h, w) at full resolution, (B, C, last - first, width)."""
    if stride == 1:
        return context[:, :, first:last, :width]
    above = first // stride
    rows = F.interpolate(context[:, :, above : -(-last // stride)], scale_factor=stride)
    return rows[:, :, first - above * stride : last - above * stride, :width]


class WaveState(Protocol):
    """A net evaluated wave by wave, with what it keeps of earlier waves."""

    def params(self, wave: Wave) -> Tensor:
        """Parameters (rows, B, C') of the pixels of the next wave."""

    def put(self, wave: Wave, x: Tensor) -> None:
        """Take in the embedded values x (rows, B, C) of those pixels."""


class WaveNet(nn.Module, ABC):
    """A net that gives parameters of pixels from pixels of earlier waves, in parallel or wave by wave."""

    stem: MaskedConv  # its first layer
    skip: MaskedConv  # its linear path
    head: MaskedConv  # its last layer
    skew: int

    @abstractmethod
    def forward(self, x: Tensor, context: Tensor | None = None, stride: int = 1) -> Tensor:
        """x: (B, C, H, W) embedded values. Returns params (B, C', H, W).

        context: None, or (B, hidden, ceil(H / stride), ceil(W / stride)), each value for stride x stride pixels.
        """

    @abstractmethod
    def wave_state(self, shape: tuple[int, int, int], context: Tensor | None, stride: int) -> WaveState:
        """The net before the first wave of images of shape (B, H, W)."""

    def in_waves(self, shape: tuple[int, int, int], context: Tensor | None, draw: Draw, stride: int = 1) -> None:
        """As `forward`, wave by wave, when pixels are not known yet. shape: (B, H, W); context, stride: as there.

        draw(params (rows, B, C'), i, j) is called once a wave, with the rows and columns of its pixels; it returns
        the embedded values (rows, B, C) there. Equal to `forward` bit for bit, since both are exact.
        """
        state = self.wave_state(shape, context, stride)
        for wave in WaveOrder(*shape[1:], self.skew):
            state.put(wave, draw(state.params(wave), *wave.pixels(self.stem.weight.device)))
