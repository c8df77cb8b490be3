"""Nets between images and maps of latents under the 8-bit contract of `bbcodec.exact.quantised`.

All are residual streams of whole numbers worth 1/256 within +-2047; a layer reads the stream through a ReLU as inner
activations (`entering`). `Encoder` gives the parameters of q(z | x), `ContextNet` the decoder's context from z.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from bbcodec.exact.arithmetic import BOUND, clamped
from bbcodec.exact.quantised import InnerConv, InnerTransposedConv, WideConv, entering

WITHIN = 2**0.5  # gain of layers that end in a ReLU, which halves the power


class QuantisedBlock(nn.Module):
    """h + what two layers make of it: 3 x 3 with a ReLU, then one at each place."""

    def __init__(self, width: int) -> None:
        """width: channels."""
        super().__init__()
        self.spatial = InnerConv(width, width, 3, gain=WITHIN)
        self.pointwise = InnerConv(width, width, 1, gain=0.5, to_stream=True)

    def forward(self, h: Tensor) -> Tensor:
        """h: (B, width, H, W), in and out."""
        return clamped(h + self.pointwise(self.spatial(entering(h, self.spatial.exact))))


class Encoder(nn.Module):
    """Parameters of a map of latents, 2**halvings times coarser than the image."""

    def __init__(self, cin: int, width: int, halvings: int, blocks: int, cout: int, bound: int) -> None:
        """cin, width, cout: channels of the embedded image, of the stream, and of the parameters; bound: of the image.

        halvings: at least 1. Raises ValueError where a layer would have too many inputs.
        """
        super().__init__()
        self.first = WideConv(cin, width, 3, 2, bound)
        self.halvings = nn.ModuleList(
            InnerConv(width, width, 3, 2, WITHIN, to_stream=True) for _ in range(halvings - 1)
        )
        self.blocks = nn.ModuleList(QuantisedBlock(width) for _ in range(blocks))
        self.head = InnerConv(width, cout, 1, gain=0.3, to_stream=True)
        with torch.no_grad():  # sigma starts at 0.3: latents are used before the decoder has learned to ignore them
            self.head.bias.view(2, -1)[1] = -1.2

    def forward(self, x: Tensor) -> Tensor:
        """x: (B, cin, H, W) embedded pixels. Returns (B, cout, h, w) in 1/256: means, then log sigmas."""
        exact = self.first.exact
        h = clamped(self.first(x))
        for conv in self.halvings:
            h = clamped(conv(entering(h, exact)))
        for block in self.blocks:
            h = block(h)
        return clamped(self.head(entering(h, exact)))


class ContextNet(nn.Module):
    """The context of a decoder of pixels from a map of latents, at most 2**doublings times finer."""

    def __init__(self, cin: int, width: int, doublings: int, blocks: int, cout: int) -> None:
        """cin, width, cout: channels of latents, stream and context. Raises ValueError as `Encoder` does."""
        super().__init__()
        self.first = WideConv(cin, width, 3, bound=BOUND)
        self.blocks = nn.ModuleList(QuantisedBlock(width) for _ in range(blocks))
        self.doublings = nn.ModuleList(InnerTransposedConv(width, width, WITHIN) for _ in range(doublings - 1))
        self.head: InnerConv | InnerTransposedConv = (
            InnerTransposedConv(width, cout, 0.5, to_stream=True)
            if doublings
            else InnerConv(width, cout, 3, gain=0.5, to_stream=True)
        )

    def forward(self, z: Tensor, sizes: Sequence[tuple[int, int]]) -> Tensor:
        """z: (B, cin, h, w) in 1/256; sizes: height and width after each doubling. Returns (B, cout, *sizes[-1])."""
        h = clamped(self.first(z))
        for block in self.blocks:
            h = block(h)
        a = entering(h, self.first.exact)
        for conv, (rows, columns) in zip(self.doublings, sizes, strict=False):
            a = conv(a)[:, :, :rows, :columns]
        rows, columns = sizes[-1] if sizes else z.shape[2:]
        return clamped(self.head(a)[:, :, :rows, :columns])


def quicken(net: nn.Module) -> None:
    """Make the 8-bit convolutions of a net multiply in bfloat16 to learn, as `bbcodec.models.fused_blocks` does."""
    for layer in net.modules():
        if isinstance(layer, (InnerConv, InnerTransposedConv)):
            layer.forward = partial(_narrow, layer)  # type: ignore[method-assign]


def _narrow(layer: InnerConv | InnerTransposedConv, x: Tensor) -> Tensor:
    """What the layer makes of x, nearly."""
    weight, bias = layer.parameters_now()
    x, weight = x.to(torch.bfloat16, memory_format=torch.channels_last), weight.bfloat16()
    if isinstance(layer, InnerTransposedConv):
        y = F.conv_transpose2d(x, weight.transpose(0, 1), None, 2, 1)
    else:
        y = F.conv2d(x, weight, None, layer.stride, layer.padding)
    return layer.finished(y.float() + bias.view(1, -1, 1, 1))
