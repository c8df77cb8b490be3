"""The local net of compiled codecs: 8-bit residual blocks between a wide stem and a wide head, in the wave order.

    h = clamp(stem(x) + context)                                            the stream, worth 1/256
    h = clamp(h + pointwise(spatial(entering(h))))                          for each block
    params = head(neck(entering(h))) + skip(x)

`spatial` and `neck` end in a ReLU; `clamp` keeps within +-2047. All layers see pixels of earlier waves only (`waves`).
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import torch
from torch import Tensor, nn

from bbcodec.exact.arithmetic import BOUND, clamped
from bbcodec.exact.masked_conv import BAND_PIXELS, MaskedConv, WaveNet, spread
from bbcodec.exact.quantised import InnerMaskedConv, WideMaskedConv, entering
from bbcodec.exact.wave_order import SKEW, Ring, Wave


class ResidualBlock(nn.Module):
    """What a block adds to the stream: hidden -> inner channels over its surroundings, and back at each pixel."""

    def __init__(self, hidden: int, inner: int, radius: int, skew: int = SKEW) -> None:
        """hidden, inner: channels; radius: of the first layer, 0 for one that sees its own pixel only."""
        super().__init__()
        self.spatial = InnerMaskedConv(hidden, inner, radius, gain=2**0.5, skew=skew)
        self.pointwise = InnerMaskedConv(inner, hidden, 0, gain=0.5, skew=skew, to_stream=True)

    def forward(self, a: Tensor) -> Tensor:
        """a: (B, hidden, H, W) inner activations."""
        z: Tensor = self.pointwise(self.spatial(a))
        return z


class LocalNet(WaveNet):
    """Parameters of each pixel from the pixels of earlier waves."""

    def __init__(
        self,
        cin: int,
        hidden: int,
        inner: int,
        radii: Sequence[int],
        cout: int,
        radius: int = 3,
        bound: int = BOUND,
        skew: int = SKEW,
    ) -> None:
        """cin, hidden, inner, cout: channels; radii: of each block; radius: of the stem; bound: of the input."""
        super().__init__()
        self.stem = WideMaskedConv(cin, hidden, radius, "A", bound, skew=skew)
        self.blocks = nn.ModuleList(ResidualBlock(hidden, inner, each, skew) for each in radii)
        self.neck = InnerMaskedConv(hidden, hidden, 0, gain=2**0.5, skew=skew)
        self.head = WideMaskedConv(hidden, cout, 0, "B", gain=0.3, skew=skew, from_inner=True)
        self.skip = WideMaskedConv(cin, cout, min(radius, 2), "A", bound, gain=0.0, skew=skew)
        self.skew = skew

    def forward(self, x: Tensor, context: Tensor | None = None, stride: int = 1) -> Tensor:
        """x: (B, C, H, W) embedded values. Returns params (B, C', H, W).

        context: None, or (B, hidden, ceil(H / stride), ceil(W / stride)), each value for stride x stride pixels.
        """
        height, width = x.shape[2:]
        if torch.is_grad_enabled() or len(x) * height * width <= BAND_PIXELS:
            return self.band(x, None if context is None else spread(context, stride, 0, height, width))
        return self.in_bands(x, context, stride)

    def band(self, x: Tensor, context: Tensor | None) -> Tensor:
        """The parameters of some rows; those that look above the first row see zeros there."""
        exact = self.stem.exact
        h = self.stem(x)
        h = clamped(h if context is None else h + context)
        for block in self.blocks:
            h = clamped(h + block(entering(h, exact)))
        params: Tensor = self.head(self.neck(entering(h, exact))) + self.skip(x)
        return params

    def in_bands(self, x: Tensor, context: Tensor | None, stride: int) -> Tensor:
        """The same, some images or a band of rows at a time, so that memory stays bounded."""
        batch, _, height, width = x.shape
        params = x.new_empty(batch, self.head.weight.shape[0], height, width)
        images = max(1, BAND_PIXELS // (height * width))
        rows = max(self.reach, BAND_PIXELS // (images * width))
        for start in range(0, batch, images):
            some = slice(start, start + images)
            for first in range(0, height, rows):
                above, last = max(0, first - self.reach), min(height, first + rows)
                part = None if context is None else spread(context[some], stride, above, last, width)
                params[some, :, first:last] = self.band(x[some, :, above:last], part)[:, :, first - above :]
        return params

    @property
    def reach(self) -> int:
        """How many rows up a pixel's parameters can depend on."""
        return self.stem.radius + sum(layers_of(block)[0].radius for block in self.blocks)

    def wave_state(self, shape: tuple[int, int, int], context: Tensor | None, stride: int) -> LocalState:
        """The net before the first wave of images of shape (B, H, W)."""
        return LocalState(self, shape, context, stride)

    def layers(self) -> Iterator[MaskedConv]:
        """All layers, from the pixels to the parameters."""
        yield self.stem
        for block in self.blocks:
            yield from layers_of(block)
        yield from (self.neck, self.head, self.skip)


def layers_of(block: nn.Module) -> tuple[InnerMaskedConv, InnerMaskedConv]:
    """The two layers of a block."""
    assert isinstance(block, ResidualBlock)
    return block.spatial, block.pointwise


class LocalState:
    """A `LocalNet` evaluated wave by wave: rings of activations, and the matrices of its layers."""

    def __init__(self, net: LocalNet, shape: tuple[int, int, int], context: Tensor | None, stride: int) -> None:
        """shape: (B, H, W); context and stride as for `forward`."""
        batch, height, _ = shape
        self.net, self.stride, self.exact = net, stride, net.stem.exact
        self.matrices = {layer: layer.matrix() for layer in net.layers()}
        self.pixels = net.stem.ring(height, batch)
        self.rings = [layers_of(block)[0].ring(height, batch) for block in net.blocks]
        self.context = None if context is None else context.permute(2, 3, 0, 1).contiguous()  # (h, w, B, hidden)

    @torch.no_grad()
    def params(self, wave: Wave) -> Tensor:
        """Parameters (rows, B, C') of the pixels of the next wave."""
        net = self.net
        h = self._look(net.stem, self.pixels, wave)
        if self.context is not None:
            i, j = wave.pixels(self.context.device)
            h = h + self.context[i // self.stride, j // self.stride]
        h = clamped(h)
        for block, ring in zip(net.blocks, self.rings, strict=True):
            spatial, pointwise = layers_of(block)
            ring.put(wave, entering(h, self.exact))
            h = clamped(h + self._at_pixels(pointwise, self._look(spatial, ring, wave)))
        params = self._at_pixels(net.head, self._at_pixels(net.neck, entering(h, self.exact)))
        return params + self._look(net.skip, self.pixels, wave)

    def put(self, wave: Wave, x: Tensor) -> None:
        """Take in the embedded values x (rows, B, C) of those pixels."""
        self.pixels.put(wave, x)

    def _look(self, layer: MaskedConv, ring: Ring, wave: Wave) -> Tensor:
        return layer.finished(layer.wave(self.matrices[layer], ring, wave))

    def _at_pixels(self, layer: MaskedConv, x: Tensor) -> Tensor:
        return layer.finished(layer.pointwise(self.matrices[layer], x))
