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
from bbcodec.exact.activations import fusable, gated, gated_rows, rows_of, silu, silu_rows
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


def gated_last(h: Tensor, y: Tensor) -> Tensor:
    """`gated_rows` on any device."""
    return gated(h, y.round(), -1)


def silu_last(y: Tensor, context: Tensor | None = None) -> Tensor:
    """`silu_rows` on any device."""
    return silu(y.round() if context is None else y.round() + context)


def row_functions(layer: ExactLayer) -> tuple[Callable[..., Tensor], Callable[..., Tensor]]:
    """`gated` and `silu` for channels-last rows of unrounded sums of a layer: in one pass where that is possible."""
    one_pass = fusable(layer.bias.detach(), layer.exact)
    return (gated_rows, silu_rows) if one_pass else (gated_last, silu_last)


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

    @property
    @abstractmethod
    def reach(self) -> int:
        """How many rows up a pixel's parameters can depend on."""

    def in_waves(self, shape: tuple[int, int, int], context: Tensor | None, draw: Draw, stride: int = 1) -> None:
        """As `forward`, wave by wave, when pixels are not known yet. shape: (B, H, W); context, stride: as there.

        draw(params (rows, B, C'), i, j) is called once a wave, with the rows and columns of its pixels; it returns
        the embedded values (rows, B, C) there. Equal to `forward` bit for bit, since both are exact.
        """
        state = self.wave_state(shape, context, stride)
        for wave in WaveOrder(*shape[1:], self.skew):
            state.put(wave, draw(state.params(wave), *wave.pixels(self.stem.weight.device)))


class LocalNet(WaveNet):
    """A stack of masked convolutions: a stem (type A), gated residual layers, a head, and a linear path beside them.

    params = head(silu(neck(h))) + skip(x), with h from silu(stem(x) + context) through `layers` gated 3 x 3 units.
    Its receptive field is local by design: radius + layers pixels up and to the sides (Chen et al. 2017, section 3.1).
    """

    def __init__(
        self, cin: int, hidden: int, layers: int, cout: int, radius: int = 3, bound: int = BOUND, skew: int = SKEW
    ) -> None:
        """cin, hidden, cout: channels; radius: of the stem; bound: the largest magnitude of the input."""
        super().__init__()
        self.stem = MaskedConv(cin, hidden, radius, "A", bound, skew=skew)
        self.layers = nn.ModuleList(MaskedConv(hidden, 2 * hidden, 1, "B", skew=skew) for _ in range(layers))
        self.neck = MaskedConv(hidden, hidden, 0, "B", skew=skew)
        self.head = MaskedConv(hidden, cout, 0, "B", gain=0.3, skew=skew)
        self.skip = MaskedConv(cin, cout, min(radius, 2), "A", bound, gain=0.0, skew=skew)
        self.skew = skew

    def forward(self, x: Tensor, context: Tensor | None = None, stride: int = 1) -> Tensor:
        """x: (B, C, H, W) embedded values. Returns params (B, C', H, W).

        context: None, or (B, hidden, ceil(H / stride), ceil(W / stride)), each value for stride x stride pixels.
        """
        exact = self.stem.exact
        if fusable(x, exact):
            return self.in_bands(x, context, stride)
        h = self.stem(x)
        context = None if context is None else spread(context, stride, 0, *x.shape[2:])
        h = silu(h if context is None else h + context, exact)
        for layer in self.layers:
            h = gated(h, layer(h), 1, exact)
        params: Tensor = self.head(silu(self.neck(h), exact)) + self.skip(x)
        return params

    @property
    def reach(self) -> int:
        """How many rows up a pixel's parameters can depend on."""
        return self.stem.radius + len(self.layers)

    def in_bands(self, x: Tensor, context: Tensor | None, stride: int) -> Tensor:
        """As `forward`, some images or a band of rows at a time, so that memory stays bounded."""
        batch, _, height, width = x.shape
        x = x.contiguous(memory_format=torch.channels_last)
        params = torch.empty(batch, height, width, self.head.weight.shape[0])
        images = max(1, BAND_PIXELS // (height * width))
        rows = max(self.reach, BAND_PIXELS // (images * width))
        for start in range(0, batch, images):
            some = slice(start, start + images)
            for first in range(0, height, rows):
                above, last = max(0, first - self.reach), min(height, first + rows)
                part = None if context is None else spread(context[some], stride, above, last, width)
                params[some, first:last] = self.band(x[some, :, above:last], part)[:, first - above :]
        return params.permute(0, 3, 1, 2)

    def band(self, x: Tensor, context: Tensor | None) -> Tensor:
        """Parameters (B, H, W, C') of a band of rows, wrong in its first `reach` ones unless the image starts there."""
        h = silu_rows(rows_of(self.stem.sums(x)), None if context is None else rows_of(context))
        for layer in self.layers:
            h = gated_rows(h, rows_of(layer.sums(h.permute(0, 3, 1, 2))))  # type: ignore[operator]
        h = silu_rows(rows_of(self.neck.sums(h.permute(0, 3, 1, 2))))
        head = rows_of(self.head.sums(h.permute(0, 3, 1, 2)))
        return head.round_().add_(rows_of(self.skip.sums(x)).round_())

    def wave_state(self, shape: tuple[int, int, int], context: Tensor | None, stride: int) -> WaveState:
        """The net before the first wave of images of shape (B, H, W)."""
        return LocalState(self, shape, context, stride)


class LocalState:
    """A `LocalNet` evaluated wave by wave: rings of activations, and the matrices of its layers."""

    def __init__(self, net: LocalNet, shape: tuple[int, int, int], context: Tensor | None, stride: int) -> None:
        """shape: (B, H, W); context and stride as for `LocalNet.forward`."""
        batch, height, _ = shape
        self.net, self.stride = net, stride
        self.layers: list[MaskedConv] = [net.stem, *net.layers]
        self.matrices = [layer.matrix() for layer in self.layers]
        self.rings = [layer.ring(height, batch) for layer in self.layers]
        self.neck, self.head, self.skip = net.neck.matrix(), net.head.matrix(), net.skip.matrix()
        self.context = None if context is None else context.permute(2, 3, 0, 1).contiguous()  # (h, w, B, hidden)
        self.gate, self.look_up = row_functions(net.stem)

    def params(self, wave: Wave) -> Tensor:
        """Parameters (rows, B, C') of the pixels of the next wave."""
        net, matrices, rings = self.net, self.matrices, self.rings
        h = self.look_up(net.stem.wave(matrices[0], rings[0], wave), self._context(wave))
        for layer, matrix, ring in zip(self.layers[1:], matrices[1:], rings[1:], strict=True):
            ring.put(wave, h)
            h = self.gate(h, layer.wave(matrix, ring, wave))
        h = self.look_up(net.neck.pointwise(self.neck, h))
        return net.head.pointwise(self.head, h).round_() + net.skip.wave(self.skip, rings[0], wave).round_()

    def put(self, wave: Wave, x: Tensor) -> None:
        """Take in the embedded values x (rows, B, C) of those pixels."""
        self.rings[0].put(wave, x)

    def _context(self, wave: Wave) -> Tensor | None:
        """The context at the pixels of a wave, (rows, B, hidden)."""
        if self.context is None:
            return None
        i, j = wave.pixels(self.context.device)
        return self.context[i // self.stride, j // self.stride]
