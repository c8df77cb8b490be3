"""Masked convolutions in the wave order: evaluated in parallel when the image is known, wave by wave when it is not.

Pixel (i, j) has wave number t = j + skew * i. It may depend on pixels of smaller wave numbers only, so all pixels of
one wave are decoded together: W + skew (H - 1) steps in place of H W. The wave order is the autoregressive order: tap
(di, dj) of a kernel is open if dj + skew * di < 0 (kind A), or also at the pixel itself (kind B).

    skew = 2:   0 1 2 3 4 5        a 3 x 3 kernel, kind B:   x x x
                2 3 4 5 6 7                                  x x .
                4 5 6 7 8 9                                  . . .
"""

from __future__ import annotations

from collections.abc import Callable, Iterator

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from bbcodec.errors import BadCodecFile
from bbcodec.exact.activations import fusable, gated, gated_rows, rows_of, silu, silu_rows
from bbcodec.exact.arithmetic import BOUND
from bbcodec.exact.layers import ExactLayer, unfolded_conv

SKEW = 2
BAND_PIXELS = 2**15  # of several images together, or of rows of one: their activations take some 40 MB


def waves(height: int, width: int, skew: int = SKEW) -> Iterator[tuple[int, int, int]]:
    """Wave number, first row and last row + 1 of each wave; row i holds column t - skew * i. None is empty."""
    for t in range(width + skew * (height - 1)):
        first, last = max(0, -((width - 1 - t) // skew)), min(height - 1, t // skew)
        if first <= last:
            yield t, first, last + 1


class Ring:
    """The last few waves of one layer: slot t mod n holds, for each row i, the activations at column t - skew * i.

    Rows outside the wave read as zero, as do pixels outside an image. Data: (n, pad + rows + pad, B, C), float32.
    """

    def __init__(self, n: int, rows: int, batch: int, channels: int, device: torch.device, pad: int) -> None:
        """n: waves kept; pad: how many rows above a kernel looks."""
        self.data = torch.zeros(n, rows + pad, batch, channels, device=device)
        self.times = [-1] * n
        self.pad = pad

    def at(self, t: int, first: int, last: int) -> Tensor:
        """Activations (last - first, B, C) of wave t; zero where t is before the image or skipped."""
        slot = t % len(self.times)
        if self.times[slot] != t:
            self.data[slot].zero_()
            self.times[slot] = t
        return self.data[slot, first + self.pad : last + self.pad]

    def put(self, t: int, first: int, last: int, x: Tensor) -> None:
        """Keep the activations x (last - first, B, C) of wave t."""
        slot = t % len(self.times)
        self.times[slot] = t
        rows = self.data[slot]
        rows[: first + self.pad].zero_()
        rows[last + self.pad :].zero_()
        rows[first + self.pad : last + self.pad] = x


class MaskedConv(ExactLayer):
    """Convolution over the pixels before this one (kind "A"), or before and at it ("B"), in the wave order.

    Weights: (C', C, r + 1, 2 r + 1), the rows above and the row of the pixel.
    """

    mask: Tensor
    level: Tensor | None

    def __init__(
        self, cin: int, cout: int, radius: int, kind: str, bound: int = BOUND, gain: float = 1.0, skew: int = SKEW
    ) -> None:
        """radius: how far the kernel reaches up, left and right; 0 with kind "B" is a pointwise layer."""
        self.taps = [
            (di, dj)
            for di in range(-radius, 1)
            for dj in range(-radius, radius + 1)
            if dj + skew * di < 0 or (kind == "B" and di == dj == 0)
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
        """The weights, zero at closed taps, their sums over the taps held where `hold_level` says."""
        weight = self.weight * self.mask
        if self.level is None:
            return weight
        held, free = weight.tensor_split([self.level.shape[1]], 1)
        change = (self.level - held.sum((2, 3))) / len(self.taps)
        return torch.cat([held + change[:, :, None, None] * self.mask, free], 1)

    def hold_level(self, channels: int) -> None:
        """From now on learning leaves the sums over the taps of the first `channels` inputs as they are.

        So what the layer makes of the overall brightness stays put, while what it makes of differences is learnt:
        pixels are large numbers and their differences small ones, and steps that suit the latter would drown them in
        changes of level.
        """
        self.level = (self.weight * self.mask).sum((2, 3)).detach()[:, :channels].clone()

    def stored(self) -> dict[str, Tensor]:
        """As ExactLayer.stored, the weight without its closed taps: (C', C, taps)."""
        whole = self.integers()
        whole["weight"] = whole["weight"][:, :, self.mask.cpu().bool()]
        return whole

    def load_stored(self, weight: Tensor, bias: Tensor, scale: Tensor) -> None:
        """As ExactLayer.load_stored, from a weight without its closed taps."""
        if weight.shape != (*self.weight.shape[:2], len(self.taps)):
            raise BadCodecFile(f"weights of shape {tuple(weight.shape)} where {len(self.taps)} taps were expected")
        full = torch.zeros(self.weight.shape, dtype=weight.dtype)
        full[:, :, self.mask.cpu().bool()] = weight
        self.load_integers(full, bias, scale)

    def forward(self, x: Tensor) -> Tensor:
        """x: (B, C, H, W) whole numbers within +-bound; all pixels at once."""
        return self.finished(self.sums(x))

    def sums(self, x: Tensor) -> Tensor:
        """As forward, but not rounded yet."""
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

    def wave(self, matrix: tuple[Tensor, Tensor], ring: Ring, t: int, first: int, last: int) -> Tensor:
        """Sums (last - first, B, C'), not rounded, of rows first to last - 1 of wave t, from the ring below."""
        if len(self.taps) == 1:
            x = ring.at(t, first, last)
        else:
            x = torch.cat([ring.at(t + dj + self.skew * di, first + di, last + di) for di, dj in self.taps], -1)
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


def silu_last(y: Tensor, context: Tensor | None) -> Tensor:
    """`silu_rows` on any device."""
    return silu(y.round() if context is None else y.round() + context)


class LocalNet(nn.Module):
    """A stack of masked convolutions: a stem (kind A), gated residual layers, a head, and a linear path beside them.

    params = head(silu(neck(h))) + skip(x), with h from silu(stem(x) + context) through `layers` gated 3 x 3 units.
    What it sees is local by design: radius + layers pixels up and to the sides (VLAE, Chen et al. 2017, section 3.1).
    """

    def __init__(
        self, cin: int, hidden: int, layers: int, cout: int, radius: int = 3, bound: int = BOUND, skew: int = SKEW
    ) -> None:
        """cin, hidden, cout: channels; radius: of the stem; bound: the greatest magnitude of the input."""
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
        """The same, some images or a band of rows at a time, so that memory stays bounded."""
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
        """The same for rows of which the first `reach` lack what is above them. Returns params (B, H, W, C')."""
        h = silu_rows(rows_of(self.stem.sums(x)), None if context is None else rows_of(context))
        for layer in self.layers:
            h = gated_rows(h, rows_of(layer.sums(h.permute(0, 3, 1, 2))))  # type: ignore[operator]
        h = silu_rows(rows_of(self.neck.sums(h.permute(0, 3, 1, 2))))
        head = rows_of(self.head.sums(h.permute(0, 3, 1, 2)))
        return head.round_().add_(rows_of(self.skip.sums(x)).round_())

    def in_waves(
        self,
        shape: tuple[int, int, int],
        context: Tensor | None,
        draw: Callable[[Tensor, Tensor, Tensor], Tensor],
        stride: int = 1,
    ) -> None:
        """The same, wave by wave. shape: (B, H, W); context and stride as for `forward`.

        draw(params (rows, B, C'), i, j) is called once a wave, with the rows and columns of its pixels; it returns
        the embedded values (rows, B, C) there. Equal to `forward` bit for bit, since both are exact.
        """
        batch, height, width = shape
        device = self.stem.weight.device
        below: list[MaskedConv] = [self.stem, *self.layers]
        matrices = [layer.matrix() for layer in below]
        neck, head, skip = self.neck.matrix(), self.head.matrix(), self.skip.matrix()
        rings = [Ring(layer.depth + 1, height, batch, layer.weight.shape[1], device, layer.radius) for layer in below]
        if context is not None:
            context = context.permute(2, 3, 0, 1).contiguous()
        one_pass = fusable(self.stem.bias.detach(), self.stem.exact)
        gate, look_up = (gated_rows, silu_rows) if one_pass else (gated_last, silu_last)
        for t, first, last in waves(height, width, self.skew):
            i = torch.arange(first, last, device=device)
            j = t - self.skew * i
            h = look_up(
                self.stem.wave(matrices[0], rings[0], t, first, last),
                None if context is None else context[i // stride, j // stride],
            )
            for layer, matrix, ring in zip(below[1:], matrices[1:], rings[1:], strict=True):
                ring.put(t, first, last, h)
                h = gate(h, layer.wave(matrix, ring, t, first, last))
            h = look_up(self.neck.pointwise(neck, h), None)
            params = self.head.pointwise(head, h).round_() + self.skip.wave(skip, rings[0], t, first, last).round_()
            rings[0].put(t, first, last, draw(params, i, j))
