"""PixelSNAIL (Chen et al. 2018): gated masked convolutions with causal attention between them, exact in the wave order.

Attention looks back over the pixels of earlier waves, and over a memory of rows: here the latents of a delta-VAE. Every
query, key and memory row has a position code, since attention itself knows nothing of where pixels are. Codec files
name tensors by attributes, so these keep their names (`looks`: attention over pixels, `readers`: over the memory).
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Final

import torch
from torch import Tensor, nn

from bbcodec.exact.activations import fusable, gated, gated_rows, silu, silu_rows
from bbcodec.exact.arithmetic import ACTIVATION_UNIT, BOUND, clamped
from bbcodec.exact.attention import Attention, Cache
from bbcodec.exact.layers import ExactLayer
from bbcodec.exact.masked_conv import BAND_PIXELS, MaskedConv, WaveNet
from bbcodec.exact.normalisation import LayerNorm
from bbcodec.exact.wave_order import SKEW, Wave

PERIODS: Final = (4, 16, 64, 256)  # of the triangle waves of a position code
COORDINATE_CHANNELS: Final = 2 * len(PERIODS)  # code of a row or of a column
POSITION_CHANNELS: Final = 2 * COORDINATE_CHANNELS  # code of a pixel
MEMORY_ROWS: Final = 64  # rows of memory that a pixel sees, each way

# --- position codes --------------------------------------------------------------------------------------------------


def coordinate_code(n: Tensor) -> Tensor:
    """Codes (..., 8), within +-256, of rows or columns (...): two triangle waves a period, a quarter period apart."""
    phases = [(n + shift) % period * (1024 // period) for period in PERIODS for shift in (0, period // 4)]
    return (256 - (torch.stack(phases, -1) - 512).abs()).float()


def position_code(i: Tensor, j: Tensor) -> Tensor:
    """Codes (..., 16) of pixels in rows i and columns j, (...) each."""
    return torch.cat([coordinate_code(i), coordinate_code(j)], -1)


def image_positions(height: int, width: int, device: torch.device) -> Tensor:
    """Codes of all pixels, row by row: (H W, 16)."""
    i, j = torch.arange(height, device=device), torch.arange(width, device=device)
    return position_code(i.repeat_interleave(width), j.repeat(height))


# --- attention blocks ------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class AttentionSizes:
    """Sizes of the attention blocks of a net."""

    blocks: int  # spread evenly among the layers of the net
    heads: int
    head_size: int  # channels of a head
    window: int  # pixels that a pixel attends to, at most


class AttentionBlock(nn.Module):
    """norm(h + attention): pixels of `channels` channels, with position codes, attend to others of `other` channels."""

    def __init__(self, channels: int, other: int, sizes: AttentionSizes) -> None:
        """other: channels of what is attended to, position codes included."""
        super().__init__()
        self.attention = Attention(channels + POSITION_CHANNELS, other, channels, sizes.heads, sizes.head_size)
        self.norm = LayerNorm(channels)

    def residual(self, h: Tensor, attended: Tensor) -> Tensor:
        """norm(h + attended), activations (..., channels)."""
        out: Tensor = self.norm(clamped(h + attended))
        return out


def evenly_spread(blocks: int, layers: int) -> dict[int, int]:
    """Numbers of layers (from 1) after which an attention block comes, each with the index of the block.

    >>> evenly_spread(2, 6)
    {3: 0, 6: 1}
    """
    return {round((block + 1) * layers / blocks): block for block in range(blocks)}


def rows_of_maps(h: Tensor) -> Tensor:
    """Maps (B, C, H, W) as rows (B, H W, C)."""
    return h.permute(0, 2, 3, 1).flatten(1, 2)


def maps_of_rows(rows: Tensor, height: int, width: int) -> Tensor:
    """Rows (B, H W, C) as maps (B, C, H, W)."""
    return rows.view(len(rows), height, width, -1).permute(0, 3, 1, 2)


def gated_last(h: Tensor, y: Tensor) -> Tensor:
    """`gated_rows` on any device."""
    return gated(h, y.round(), -1)


def silu_last(y: Tensor) -> Tensor:
    """`silu_rows` on any device."""
    return silu(y.round())


def row_functions(layer: ExactLayer) -> tuple[Callable[..., Tensor], Callable[..., Tensor]]:
    """`gated` and `silu` for channels-last rows of unrounded sums of a layer: in one pass where that is possible."""
    one_pass = fusable(layer.bias.detach(), layer.exact)
    return (gated_rows, silu_rows) if one_pass else (gated_last, silu_last)


# --- the net ---------------------------------------------------------------------------------------------------------


def memory_rows(values: Tensor) -> Tensor:
    """Memory (B, H, Z + 9) of activations (B, H, Z), one row for each row of an image: with 256 and the row's code."""
    code = coordinate_code(torch.arange(values.shape[1], device=values.device))
    known = torch.cat([torch.full_like(code[:, :1], ACTIVATION_UNIT), code], 1)
    return torch.cat([values, known.expand(len(values), -1, -1)], 2)


class PixelSnail(WaveNet):
    """A stack of masked convolutions: a stem (type A), gated residual layers, a head, and a linear path beside them.

    params = head(silu(neck(h))) + skip(x), with h from silu(stem(x)) through `layers` gated 3 x 3 units. Between them
    lies attention, over the pixels of earlier waves and over a memory, which `forward` takes as its `context`. After
    the stem, and after each attention block, h = norm(h + attention to the memory). A pixel sees the last `window`
    pixels of earlier waves, their values included, and the memory of its row and the rows above; also below, unless
    `causal_memory`.
    """

    def __init__(
        self,
        cin: int,
        hidden: int,
        layers: int,
        cout: int,
        attention: AttentionSizes,
        memory_channels: int = 0,
        causal_memory: bool = True,
        radius: int = 3,
        bound: int = BOUND,
    ) -> None:
        """cin, hidden, cout: channels; layers: gated ones; radius: of the stem; bound: the greatest input.

        memory_channels: Z, 0 for a net without memory.
        """
        super().__init__()
        self.skew = SKEW
        self.stem = MaskedConv(cin, hidden, radius, "A", bound)
        self.layers = nn.ModuleList(MaskedConv(hidden, 2 * hidden, 1, "B") for _ in range(layers))
        self.neck = MaskedConv(hidden, hidden, 0, "B")
        self.head = MaskedConv(hidden, cout, 0, "B", gain=0.3)
        self.skip = MaskedConv(cin, cout, min(radius, 2), "A", bound, gain=0.0)
        self.window, self.causal_memory = attention.window, causal_memory
        self.block_after = evenly_spread(attention.blocks, layers)
        seen = hidden + cin + POSITION_CHANNELS
        self.looks = nn.ModuleList(AttentionBlock(hidden, seen, attention) for _ in self.block_after)
        memory = memory_channels + 1 + COORDINATE_CHANNELS
        readers = 1 + attention.blocks if memory_channels else 0
        self.readers = nn.ModuleList(AttentionBlock(hidden, memory, attention) for _ in range(readers))

    def forward(self, x: Tensor, context: Tensor | None = None, stride: int = 1) -> Tensor:
        """x: (B, C, H, W) embedded pixels; context: the memory; stride is ignored. Returns params (B, C', H, W)."""
        images = max(1, BAND_PIXELS // x[0, 0].numel())
        if len(x) <= images or torch.is_grad_enabled():
            return self._params(x, context)
        starts = range(0, len(x), images)  # some images at a time, so that memory stays bounded
        return torch.cat(
            [self._params(x[n : n + images], None if context is None else context[n : n + images]) for n in starts]
        )

    def _params(self, x: Tensor, memory: Tensor | None) -> Tensor:
        """As `forward`, all images at once."""
        height, width = x.shape[2:]
        exact = self.stem.exact
        positions = image_positions(height, width, x.device).expand(len(x), -1, -1)
        image_rows = torch.arange(height).repeat_interleave(width)
        pairs: list[tuple[Tensor, Tensor]] = [] if memory is None else self.memory_pairs(memory)
        h = self.with_memory(0, rows_of_maps(silu(self.stem(x), exact)), positions, pairs, image_rows)
        for n, layer in enumerate(self.layers, 1):
            maps = maps_of_rows(h, height, width)
            h = rows_of_maps(gated(maps, layer(maps), 1, exact))
            if n in self.block_after:
                block: Any = self.looks[self.block_after[n]]
                keyed = torch.cat([h, rows_of_maps(x), positions], -1)
                attended = block.attention.in_waves(
                    torch.cat([h, positions], -1), keyed, height, width, self.window, self.skew
                )
                h = block.residual(h, attended)
                h = self.with_memory(self.block_after[n] + 1, h, positions, pairs, image_rows)
        maps = maps_of_rows(h, height, width)
        params: Tensor = self.head(silu(self.neck(maps), exact)) + self.skip(x)
        return params

    def memory_pairs(self, memory: Tensor) -> list[tuple[Tensor, Tensor]]:
        """Keys and values of the memory (B, H, Z + 9) for each of the blocks that read it."""
        readers: list[Any] = list(self.readers)
        return [reader.attention.pairs(memory) for reader in readers]

    def with_memory(
        self, n: int, h: Tensor, positions: Tensor, pairs: list[tuple[Tensor, Tensor]], image_rows: Tensor
    ) -> Tensor:
        """norm(h + attention to the memory) by the n-th reader; h (B, N, hidden) as it is where there is no memory.

        positions: codes (B, N, 16) of the pixels; image_rows: their rows, (N,).
        """
        if not pairs:
            return h
        reader: Any = self.readers[n]
        starts = (image_rows + 1 - MEMORY_ROWS).clamp_min(0)
        stops = image_rows + (1 if self.causal_memory else MEMORY_ROWS)
        stops = stops.clamp_max(pairs[n][0].shape[2])
        out: Tensor = reader.residual(h, reader.attention.ask(torch.cat([h, positions], -1), pairs[n], starts, stops))
        return out

    def wave_state(self, shape: tuple[int, int, int], context: Tensor | None, stride: int) -> SnailState:
        """The net before the first wave of images of shape (B, H, W)."""
        return SnailState(self, shape, context)


class SnailState:
    """A `PixelSnail` evaluated wave by wave: rings of activations, caches of keys and values, matrices of layers."""

    def __init__(self, net: PixelSnail, shape: tuple[int, int, int], memory: Tensor | None) -> None:
        """shape: (B, H, W); memory: as for `PixelSnail.forward`."""
        batch, height, width = shape
        self.net, self.batch = net, batch
        layers: list[MaskedConv] = [net.stem, *net.layers]
        self.matrices = [layer.matrix() for layer in layers]
        self.neck, self.head, self.skip = net.neck.matrix(), net.head.matrix(), net.skip.matrix()
        self.rings = [layer.ring(height, batch) for layer in layers]
        self.caches = [Cache(net.window, height * width) for _ in net.looks]
        self.pairs = [] if memory is None else net.memory_pairs(memory)
        self.gate, self.silu = row_functions(net.stem)
        self.queried: list[Tensor] = []  # (B, rows, hidden): inputs of each attention block at the pixels of this wave
        self.positions = torch.empty(0)  # of these pixels

    def params(self, wave: Wave) -> Tensor:
        """Parameters (rows, B, C') of the pixels of the next wave."""
        net, rings = self.net, self.rings
        i, j = wave.pixels(net.stem.weight.device)
        self.positions = position_code(i, j).expand(self.batch, -1, -1)
        self.queried = []
        h = self.silu(net.stem.wave(self.matrices[0], rings[0], wave))
        h = self._with_memory(0, h, i)
        for n, (layer, ring) in enumerate(zip(net.layers, rings[1:], strict=True), 1):
            ring.put(wave, h)
            h = self.gate(h, layer.wave(self.matrices[n], ring, wave))  # type: ignore[operator]
            if n in net.block_after:
                h = self._attended(net.block_after[n], h)
                h = self._with_memory(net.block_after[n] + 1, h, i)
        h = self.silu(net.neck.pointwise(self.neck, h))
        return net.head.pointwise(self.head, h).round_() + net.skip.wave(self.skip, rings[0], wave).round_()

    def _attended(self, index: int, h: Tensor) -> Tensor:
        """h (rows, B, hidden) after the attention block of this index."""
        block: Any = self.net.looks[index]
        rows = h.transpose(0, 1)  # (B, rows, hidden)
        self.queried.append(rows)
        attended = block.attention.wave(torch.cat([rows, self.positions], -1), self.caches[index])
        out: Tensor = block.residual(rows, attended).transpose(0, 1).contiguous()
        return out

    def _with_memory(self, n: int, h: Tensor, image_rows: Tensor) -> Tensor:
        """As `PixelSnail.with_memory`, h (rows, B, hidden)."""
        if not self.pairs:
            return h
        out = self.net.with_memory(n, h.transpose(0, 1), self.positions, self.pairs, image_rows.cpu())
        return out.transpose(0, 1).contiguous()

    def put(self, wave: Wave, x: Tensor) -> None:
        """Take in the embedded values x (rows, B, C) of those pixels."""
        self.rings[0].put(wave, x)
        for block, rows, cache in zip(self.net.looks, self.queried, self.caches, strict=True):
            attention: Any = block.attention
            attention.put(torch.cat([rows, x.transpose(0, 1), self.positions], -1), cache)
