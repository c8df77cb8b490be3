"""Networks for latents in rows, as a delta-VAE has them: the encoder of each row, and an LSTM prior over the rows."""

from __future__ import annotations

from typing import Any, ClassVar, Final

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from bbcodec.distributions.gaussian import activation
from bbcodec.distributions.rowwise import FirstOrder
from bbcodec.errors import BadCodecFile
from bbcodec.exact.activations import gated, silu
from bbcodec.exact.arithmetic import ACTIVATION_UNIT, BOUND, straight
from bbcodec.exact.layers import Conv, ExactPart, Linear
from bbcodec.exact.pixel_snail import (
    POSITION_CHANNELS,
    AttentionBlock,
    AttentionSizes,
    evenly_spread,
    image_positions,
    maps_of_rows,
    rows_of_maps,
)
from bbcodec.exact.recurrent import Lstm

SAVING_DECAY: Final = 0.01  # share of a step in the running mean of what the auxiliary prior saves


class RowEncoder(nn.Module):
    """Features of each row of an image for its posterior: (B, C, H, W) embedded -> (B, H, width).

    Gated convolutions and attention that see a pixel's row and the rows below it (anti-causal), or the whole image;
    then the mean over each row. The paper rotates, pads and shifts the image for causal nets instead, which is the
    same.
    """

    def __init__(
        self, cin: int, width: int, layers: int, attention: AttentionSizes, anti_causal: bool, bound: int = BOUND
    ) -> None:
        """cin, width: channels; bound: the largest magnitude of the input."""
        super().__init__()
        self.anti_causal, self.window = anti_causal, attention.window
        self.stem = Conv(cin, width, 3, bound=bound)
        self.layers = nn.ModuleList(Conv(width, 2 * width, 3) for _ in range(layers))
        self.block_after = evenly_spread(attention.blocks, layers)
        self.looks = nn.ModuleList(
            AttentionBlock(width, width + POSITION_CHANNELS, attention) for _ in self.block_after
        )

    def forward(self, x: Tensor) -> Tensor:
        """x: (B, C, H, W) embedded pixels."""
        height, width = x.shape[2:]
        exact, bounds = self.stem.exact, self._attended_pixels(height, width)
        positions = image_positions(height, width, x.device).expand(len(x), -1, -1)
        h = silu(self._convolved(self.stem, x), exact)
        for n, layer in enumerate(self.layers, 1):
            h = gated(h, self._convolved(layer, h), 1, exact)  # type: ignore[arg-type]
            if n in self.block_after:
                block: Any = self.looks[self.block_after[n]]
                rows = rows_of_maps(h)
                both = torch.cat([rows, positions], -1)
                h = maps_of_rows(block.residual(rows, block.attention(both, both, *bounds)), height, width)
        return row_means(h, exact)

    def _convolved(self, conv: Conv, x: Tensor) -> Tensor:
        """The convolution; if anti-causal, moved up by its radius, so that it sees no rows above."""
        if not self.anti_causal:
            return conv(x)  # type: ignore[no-any-return]
        radius = conv.padding[0]
        out: Tensor = conv(F.pad(x, (0, 0, 0, radius)))[:, :, radius:]
        return out

    def _attended_pixels(self, height: int, width: int) -> tuple[Tensor, Tensor]:
        """The run of pixels, row by row, that each pixel attends to: starts and stops, (H W,) each."""
        count = height * width
        if self.anti_causal:
            starts = torch.arange(height).repeat_interleave(width) * width
        else:
            starts = (torch.arange(count) - self.window // 2).clamp(0, max(0, count - self.window))
        return starts, (starts + self.window).clamp_max(count)


def row_means(h: Tensor, exact: bool) -> Tensor:
    """The mean over columns, halves up: (B, C, H, W) -> (B, H, C). Sums are below 2**53, the division is of int64."""
    h = h.permute(0, 2, 1, 3)
    smooth = h.mean(3)
    if not exact:
        return smooth
    width = h.shape[3]
    total = h.detach().double().sum(3).long()
    return straight(torch.div(2 * total + width, 2 * width, rounding_mode="floor").float(), smooth)


class LstmPrior(nn.Module):
    """A prior over rows whose means and log sigmas are those of another, plus what an LSTM adds; it starts as zero.

    A `bbcodec.distributions.rowwise.RowNet`.
    """

    def __init__(self, base: FirstOrder, latents: int, hidden: int) -> None:
        """base: the other prior; latents: Z, of a row; hidden: units of the LSTM."""
        super().__init__()
        self.base = base
        self.lstm = Lstm(latents, hidden)
        self.prior_head = Linear(hidden, 2 * latents, int(ACTIVATION_UNIT), gain=0.0)

    def rows(self, z: Tensor) -> Tensor:
        """Parameters (B, n, 2 Z) of all rows z (B, n, Z)."""
        h = (
            self.lstm(activation(z, self.base.steps)[:, :-1])
            if z.shape[1] > 1
            else z.new_empty(len(z), 0, self.lstm.hidden)
        )
        h = torch.cat([self.lstm.begin(len(z))[0][:, None], h], 1)
        params: Tensor = self.base.rows(z) + self.prior_head(h)
        return params

    def first(self, batch: int) -> tuple[Tensor, Any]:
        """Parameters (B, 2 Z) of the first row, and the state of the LSTM."""
        state = self.lstm.begin(batch)
        return self.base.first(batch)[0] + self.prior_head(state[0]), state

    def following(self, row: Tensor, state: Any) -> tuple[Tensor, Any]:
        """Parameters (B, 2 Z) of the row after `row` (B, Z), and the next state."""
        state = self.lstm.step(activation(row, self.base.steps), state)
        return self.base.following(row, None)[0] + self.prior_head(state[0]), state


class PriorChoice(ExactPart):
    """Whether the auxiliary prior codes the latents: if it was the cheaper one in training, by a running mean."""

    stored_names: ClassVar[tuple[str, ...]] = ("auxiliary",)
    stored_types: ClassVar[tuple[torch.dtype, ...]] = (torch.int8,)

    def __init__(self) -> None:
        """Not yet: nothing saved."""
        super().__init__()
        self.saved = nn.Parameter(torch.zeros(()), requires_grad=False)  # nats of an image, a running mean

    @torch.no_grad()
    def update(self, saved: Tensor) -> None:
        """Take in what the auxiliary prior saved in images (B,), nats."""
        self.saved.lerp_(saved.mean().to(self.saved.dtype), SAVING_DECAY)

    @property
    def auxiliary(self) -> bool:
        """Whether the auxiliary prior is chosen."""
        return bool(self.saved > 0)

    def stored(self) -> dict[str, Tensor]:
        """0 or 1, int8 (1,)."""
        return {"auxiliary": torch.tensor([int(self.auxiliary)], dtype=torch.int8)}

    def load_stored(self, auxiliary: Tensor) -> None:
        """Set the choice. Raises BadCodecFile for anything but 0 or 1, int8 (1,)."""
        self.check_types(auxiliary)
        if auxiliary.shape != (1,) or int(auxiliary) not in (0, 1):
            raise BadCodecFile("expected 0 or 1 as the choice of a prior")
        with torch.no_grad():
            self.saved.fill_(int(auxiliary))
