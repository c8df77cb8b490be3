"""The wave order: which pixels of an image are decoded together, and the activations of the last few waves.

Pixel (i, j) has wave number t = j + skew * i. It may depend on pixels of smaller wave numbers only, so all pixels of
one wave are decoded together: W + skew (H - 1) steps instead of H W. Within a wave, pixels run from top to bottom.

    skew = 2:   0 1 2 3 4 5
                2 3 4 5 6 7
                4 5 6 7 8 9
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import lru_cache

import torch
from torch import Tensor

SKEW = 2


@dataclass(frozen=True, slots=True)
class Wave:
    """The pixels of wave number t in rows first to last - 1: row i holds column t - skew * i."""

    t: int
    first: int
    last: int
    skew: int

    def __len__(self) -> int:
        return self.last - self.first

    def pixels(self, device: torch.device | None = None) -> tuple[Tensor, Tensor]:
        """Rows and columns of the pixels, (len,) int64 each."""
        i = torch.arange(self.first, self.last, device=device)
        return i, self.t - self.skew * i

    def shifted(self, di: int, dj: int) -> Wave:
        """The pixels di rows below and dj columns to the right of these; some may lie outside the image."""
        return Wave(self.t + dj + self.skew * di, self.first + di, self.last + di, self.skew)


@dataclass(frozen=True)
class WaveOrder:
    """All waves of an image of height x width pixels, in the order of decoding; none is empty.

    >>> [(wave.t, wave.first, wave.last) for wave in WaveOrder(2, 3)]
    [(0, 0, 1), (1, 0, 1), (2, 0, 2), (3, 1, 2), (4, 1, 2)]
    """

    height: int
    width: int
    skew: int = SKEW

    def __iter__(self) -> Iterator[Wave]:
        return map(self._wave, filter(self._rows, self._times()))

    def __reversed__(self) -> Iterator[Wave]:
        return map(self._wave, filter(self._rows, reversed(self._times())))

    def _times(self) -> range:
        return range(self.width + self.skew * (self.height - 1))

    def _rows(self, t: int) -> range:
        first = max(0, -((self.width - 1 - t) // self.skew))
        return range(first, min(self.height - 1, t // self.skew) + 1)

    def _wave(self, t: int) -> Wave:
        rows = self._rows(t)
        return Wave(t, rows.start, rows.stop, self.skew)

    @lru_cache(maxsize=8)  # noqa: B019  # instances are small, and equal ones share an entry
    def permutation(self) -> Tensor:
        """Pixels (row times width + column) in wave order, (H W,) int64."""
        rows, columns = torch.arange(self.height)[:, None], torch.arange(self.width)
        return torch.argsort((columns + self.skew * rows).flatten(), stable=True)


class Ring:
    """The last few waves of one layer: slot t mod n holds, for each row i, the activations at column t - skew * i.

    Rows outside the wave read as zero, as do pixels outside the image. Data: (n, pad + rows, B, C), float32. Only rows
    that a wave filled are ever cleared, as waves of tall images have few rows of many.
    """

    def __init__(self, n: int, rows: int, batch: int, channels: int, device: torch.device, pad: int) -> None:
        """n: waves kept; rows: of the image; pad: how many rows above a kernel looks."""
        self.data = torch.zeros(n, rows + pad, batch, channels, device=device)
        self.times = [-1] * n
        self.filled = [slice(0, 0)] * n  # rows of data that may be other than zero
        self.pad = pad

    def at(self, wave: Wave) -> Tensor:
        """Activations (len(wave), B, C) of a wave; zero where it lies before the image or was skipped."""
        return self._slot(wave)[wave.first + self.pad : wave.last + self.pad]

    def put(self, wave: Wave, x: Tensor) -> None:
        """Keep the activations x (len(wave), B, C) of a wave."""
        number, rows = wave.t % len(self.times), self._slot(wave)
        rows[self.filled[number]].zero_()
        self.filled[number] = slice(wave.first + self.pad, wave.last + self.pad)
        rows[self.filled[number]] = x

    def _slot(self, wave: Wave) -> Tensor:
        """The rows of a wave: zeros, if it was not put there."""
        number = wave.t % len(self.times)
        if self.times[number] != wave.t:
            self.data[number, self.filled[number]].zero_()
            self.times[number], self.filled[number] = wave.t, slice(0, 0)
        return self.data[number]
