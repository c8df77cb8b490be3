"""Attention (Vaswani et al. 2017) in whole numbers: over pixels in wave order, over sets, over places, over depth.

Queries q, keys k and values v are whole numbers within +-2047, worth 1/256, of d channels each. With s_m = q . k_m for
each key m that a query sees:

    b_m = (max s - s_m) >> (8 + h)     w_m = EXP[min(b_m, 4607)]     y = (2 sum w_m v_m + T) // (2 T),  T = sum w_m

h = bits of d // 2, so that 2**h is about sqrt(d), and EXP[b] = 2**24 exp(-b / 256) to the nearest whole number, 0 at
the end. A query that sees nothing gets 0. Scores are at most 2**22 a channel and sums of values 2**(24 + 11) a key, so
float64 holds them exactly for up to 2**18 keys, in any order; the division is of int64. Products of float64 are the
safe path, so there is no other.

A query always sees a run of keys: in wave order, the pixels of earlier waves come first. So attention needs no mask
wave by wave (`Cache`), and two numbers a query all at once.
"""

from __future__ import annotations

import hashlib
import math
from functools import cache, lru_cache
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from bbcodec.coder.compilation import compiled
from bbcodec.errors import InexactArithmetic
from bbcodec.exact.activations import gelu, wants_gradient
from bbcodec.exact.arithmetic import ACTIVATION_UNIT, clamped, straight
from bbcodec.exact.layers import Conv, Linear
from bbcodec.exact.normalisation import LayerNorm, Scale, over_maps
from bbcodec.exact.wave_order import SKEW, WaveOrder

Doubles = np.ndarray[Any, np.dtype[np.float64]]
Places = np.ndarray[Any, np.dtype[np.int64]]

WEIGHT_BITS = 24  # of the largest weight
MOST_KEYS = 2**18  # that a query sees: 24 + 11 + 18 = 53 bits
MAX_SCORES = 2**21  # held at a time
RUN = 128  # queries processed together, of as many waves as that takes
_DIGEST = "aa0ad6c804879f5e"


def exp_table() -> Tensor:
    """EXP of the definition, (4608,) float64. Raises InexactArithmetic if this machine's exp differs."""
    values = np.array([round(2**WEIGHT_BITS * math.exp(-b / ACTIVATION_UNIT)) for b in range(18 * 256)])
    found = hashlib.blake2b(values.astype("<i4").tobytes(), digest_size=8).hexdigest()
    if found != _DIGEST:
        raise InexactArithmetic(f"the table of attention weights has digest {found}: the maths library differs")
    return torch.from_numpy(values.astype(np.float64))


EXP = exp_table()
EXP_ARRAY: Doubles = EXP.numpy()


@cache
def exp_on(device: torch.device) -> Tensor:
    """EXP on a device."""
    return EXP.to(device)


def score_shift(size: int) -> int:
    """8 + h of the definition, for heads of `size` channels."""
    return 8 + size.bit_length() // 2


# --- the definition ---------------------------------------------------------------------------------------------------


def attend(q: Tensor, k: Tensor, v: Tensor, starts: Tensor, stops: Tensor, exact: bool = True) -> Tensor:
    """What each query reads: (B, heads, N, d) from keys (B, heads, M, d) and values (B, heads, M, e) -> (..., N, e).

    starts, stops: (N,) int64, on any device; query n sees the keys starts[n] <= m < stops[n]. float32 whole numbers
    within +-2047, in and out; exact=False gives real ones. Raises ValueError where a query could see over 2**18 keys.
    """
    if k.shape[2] > MOST_KEYS and int((stops - starts).max()) > MOST_KEYS:
        raise ValueError(f"expected attention over at most {MOST_KEYS} keys, got {k.shape[2]}")
    learning = any(wants_gradient(x) for x in (q, k, v))
    smooth = real_attention(q, k, v, starts, stops) if learning or not exact else None
    if not exact and smooth is not None:
        return smooth
    with torch.no_grad():
        found = whole_attention(q.detach(), k.detach(), v.detach(), starts.cpu(), stops.cpu())
    return found if smooth is None else straight(found, smooth)


def real_attention(q: Tensor, k: Tensor, v: Tensor, starts: Tensor, stops: Tensor) -> Tensor:
    """Softmax attention in floats, which the whole numbers approximate and whose gradients they take."""
    every = torch.arange(k.shape[2], device=q.device)
    starts, stops = starts.to(q.device)[:, None], stops.to(q.device)[:, None]
    seen = (every >= starts) & (every < stops)  # (N, M)
    blind = stops <= starts  # a softmax over nothing has no value: these see the first key, times zero
    scale = 2.0 ** -(8 + score_shift(q.shape[-1]))
    y = F.scaled_dot_product_attention(q, k, v, seen | (blind & (every == 0)), scale=scale)
    return y * (~blind)


def whole_attention(q: Tensor, k: Tensor, v: Tensor, starts: Tensor, stops: Tensor) -> Tensor:
    """The definition, for some images and a run of queries at a time, with the keys that they may see."""
    batch, heads, count, _ = q.shape
    out = torch.zeros(batch, heads, count, v.shape[-1], device=q.device)
    bounds = list(zip(starts.tolist(), stops.tolist(), strict=True))
    for first in range(0, count, RUN):
        part = slice(first, min(count, first + RUN))
        seen = [(low, high) for low, high in bounds[part] if high > low]
        if not seen:
            continue
        low, high = min(a for a, _ in seen), max(b for _, b in seen)
        images = max(1, MAX_SCORES // (heads * (part.stop - first) * (high - low)))
        for n in range(0, batch, images):
            some = slice(n, n + images)
            rows = starts[part] - low, stops[part] - low
            out[some, :, part] = read(q[some, :, part], k[some, :, low:high], v[some, :, low:high], *rows)
    return out


def read(q: Tensor, k: Tensor, v: Tensor, starts: Tensor | None = None, stops: Tensor | None = None) -> Tensor:
    """The definition for a few queries, float32; without starts and stops each sees all keys."""
    scores = q.double() @ k.double().transpose(-1, -2)  # (B, heads, n, m), whole
    shift = score_shift(q.shape[-1])
    if scores.device.type == "cpu":
        rows = scores.view(-1, scores.shape[-1])
        n = q.shape[2]
        first = np.zeros(n, np.int64) if starts is None else starts.numpy()
        last = np.full(n, k.shape[2], np.int64) if stops is None else stops.numpy()
        totals = torch.empty(len(rows), dtype=torch.float64)
        weigh(rows.numpy(), first, last, 2.0**-shift, EXP_ARRAY, totals.numpy())
        weights, total = scores, totals.view(*scores.shape[:-1], 1)
    else:
        weights, total = weighed(scores, starts, stops, shift)
    return divided(weights @ v.double(), total)


def weighed(scores: Tensor, starts: Tensor | None, stops: Tensor | None, shift: int) -> tuple[Tensor, Tensor]:
    """Weights (..., n, m) and their sums (..., n, 1) from scores, float64 whole numbers; on any device."""
    every = torch.arange(scores.shape[-1], device=scores.device)
    seen = torch.ones(scores.shape[-2:], dtype=torch.bool, device=scores.device)
    if starts is not None and stops is not None:
        seen = (every >= starts.to(every.device)[:, None]) & (every < stops.to(every.device)[:, None])
    top = scores.masked_fill(~seen, -math.inf).amax(-1, keepdim=True)
    below = torch.where(seen, (top - scores) * 2.0**-shift, torch.inf)
    weights = exp_on(scores.device)[below.clamp(max=len(EXP) - 1).floor().long()]  # 0 where nothing is seen
    return weights, weights.sum(-1, keepdim=True)


def divided(total: Tensor, weight: Tensor) -> Tensor:
    """total / weight to the nearest whole number, halves up: from float64 whole numbers below 2**53; 0 for 0 / 0."""
    whole = weight.long().clamp_min(1)
    return torch.div(2 * total.long() + whole, 2 * whole, rounding_mode="floor").float()


@compiled
def weigh(scores: Doubles, starts: Places, stops: Places, scale: float, table: Doubles, totals: Doubles) -> None:
    """Scores (R, M) to weights in place, and their sums (R,); row r sees starts[r mod n] .. stops[r mod n] - 1."""
    last = len(table) - 1
    for r in range(scores.shape[0]):
        low, high = starts[r % len(starts)], stops[r % len(starts)]
        top = scores[r, low] if low < high else 0.0
        for m in range(low, high):
            top = max(top, scores[r, m])
        total = 0.0
        scores[r, :low] = 0.0
        scores[r, max(low, high) :] = 0.0
        for m in range(low, high):
            below = (top - scores[r, m]) * scale
            weight = table[np.int64(below) if 0 <= below < last else last]  # the last for nan, too
            scores[r, m] = weight
            total += weight
        totals[r] = total


# --- what queries may see ---------------------------------------------------------------------------------------------


@lru_cache(maxsize=8)
def earlier_waves(order: WaveOrder, window: int) -> tuple[Tensor, Tensor]:
    """starts and stops of the pixels in wave order: the last `window` pixels of all earlier waves. (H W,) each."""
    counts = torch.tensor([len(wave) for wave in order])
    stops = (counts.cumsum(0) - counts).repeat_interleave(counts)
    return (stops - window).clamp_min(0), stops


class Cache:
    """Keys and values of the pixels of earlier waves; a query sees the last `window` of them."""

    def __init__(self, window: int, most: int) -> None:
        """window: as for `earlier_waves`; most: pixels in all."""
        self.window, self.most, self.count = window, most, 0
        self.keys: Tensor | None = None
        self.values: Tensor | None = None

    def put(self, k: Tensor, v: Tensor) -> None:
        """Add the keys and values of one more wave, (B, heads, rows, size) each."""
        rows = k.shape[2]
        if self.keys is None or self.values is None:
            room = min(self.most, 2 * self.window + 2 * rows)
            self.keys, self.values = (
                torch.empty(*x.shape[:2], room, x.shape[3], dtype=torch.float64, device=x.device) for x in (k, v)
            )
        if self.count + rows > self.keys.shape[2]:
            self.keys, self.values = self._moved(self.keys, rows), self._moved(self.values, rows)
            self.count = min(self.count, self.window)
        self.keys[:, :, self.count : self.count + rows] = k
        self.values[:, :, self.count : self.count + rows] = v
        self.count += rows

    def _moved(self, kept: Tensor, rows: int) -> Tensor:
        """A buffer at least as long that starts with the last `window` pixels."""
        last = kept[:, :, max(0, self.count - self.window) : self.count]
        room = kept.new_empty(*kept.shape[:2], max(kept.shape[2], 2 * self.window + 2 * rows), kept.shape[3])
        room[:, :, : last.shape[2]] = last
        return room

    def seen(self) -> tuple[Tensor, Tensor] | None:
        """Keys and values that a pixel of the next wave sees; None for the first wave."""
        if self.keys is None or self.values is None:
            return None
        part = slice(max(0, self.count - self.window), self.count)
        return self.keys[:, :, part], self.values[:, :, part]


# --- layers -----------------------------------------------------------------------------------------------------------


class Attention(nn.Module):
    """Multi-head attention: queries from N places, keys and values from M others, then a linear layer.

    Channels come last: (B, N, C) and (B, M, C') to (B, N, C''), rounded sums, not clamped.
    """

    def __init__(self, cin: int, other: int, cout: int, heads: int, size: int, gain: float = 0.5) -> None:
        """cin: channels of the places of queries; other: of those of keys and values; size: channels of a head."""
        super().__init__()
        self.heads = heads
        self.query = Linear(cin, heads * size)
        self.pair = Linear(other, 2 * heads * size)
        self.join = Linear(heads * size, cout, gain=gain)

    def _split(self, x: Tensor) -> Tensor:
        """(B, N, heads * size) to (B, heads, N, size)."""
        return clamped(x).reshape(*x.shape[:2], self.heads, -1).transpose(1, 2)

    def _joined(self, y: Tensor) -> Tensor:
        """Heads (B, heads, N, size) through the last layer, (B, N, C'')."""
        out: Tensor = self.join(y.transpose(1, 2).flatten(2))
        return out

    def pairs(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """Keys and values (B, heads, M, size) of x (B, M, C')."""
        k, v = self.pair(x).chunk(2, -1)
        return self._split(k), self._split(v)

    def forward(self, x: Tensor, other: Tensor, starts: Tensor, stops: Tensor) -> Tensor:
        """x: (B, N, C); other: (B, M, C'), whole numbers within +-2047; starts, stops: (N,), as for `attend`."""
        return self.ask(x, self.pairs(other), starts, stops)

    def ask(self, x: Tensor, pairs: tuple[Tensor, Tensor], starts: Tensor, stops: Tensor) -> Tensor:
        """As `forward`, from keys and values of `pairs`."""
        return self._joined(attend(self._split(self.query(x)), *pairs, starts, stops, self.join.exact))

    def in_waves(self, x: Tensor, other: Tensor, height: int, width: int, window: int, skew: int = SKEW) -> Tensor:
        """All pixels at once, (B, H W, C) row by row: each sees the last `window` pixels of earlier waves."""
        order = WaveOrder(height, width, skew)
        pixels = order.permutation()
        y = self(x[:, pixels], other[:, pixels], *earlier_waves(order, window))
        out: Tensor = y[:, torch.argsort(pixels)]
        return out

    def wave(self, x: Tensor, cache: Cache) -> Tensor:
        """As `in_waves`, for the pixels x (B, rows, C) of the next wave, without gradients; equal bit for bit."""
        q = self._split(self.query(x))
        seen = cache.seen()
        return self._joined(torch.zeros_like(q) if seen is None else read(q, *seen))

    def put(self, other: Tensor, cache: Cache) -> None:
        """Make the pixels `other` (B, rows, C') visible to later waves."""
        cache.put(*self.pairs(other))


class NonLocal(nn.Module):
    """Every pixel sees all pixels (Wang et al. 2018): x + join(attention), (B, C, H, W); training starts from x."""

    def __init__(self, channels: int, heads: int, size: int) -> None:
        """size: channels of a head."""
        super().__init__()
        self.attention = Attention(channels, channels, channels, heads, size, gain=0.0)

    def forward(self, x: Tensor) -> Tensor:
        """Whole numbers within +-2047, in and out; at most 2**18 pixels."""
        rows = x.flatten(2).transpose(1, 2)  # (B, H W, C)
        count = rows.shape[1]
        y = self.attention(rows, rows, torch.zeros(count, dtype=torch.int64), torch.full((count,), count))
        return clamped(x + y.transpose(1, 2).reshape(x.shape))


# --- over depth -------------------------------------------------------------------------------------------------------


def attend_depth(query: Tensor, keys: list[Tensor], contexts: list[Tensor], exact: bool = True) -> Tensor:
    """What each pixel reads from the contexts of earlier layers at its place (Apostolopoulou et al. 2022, eq. 3, 4).

    query, keys: (B, Q, H, W); contexts: (B, C, H, W), one for each key. Whole numbers within +-2047, in and out.
    """
    flat = [x.permute(0, 2, 3, 1) for x in (query, *keys, *contexts)]  # (B, H, W, .)
    q = flat[0].flatten(0, 2)[:, None, None]  # (pixels, 1, 1, Q): a batch of pixels, one head, one query each
    k = torch.stack(flat[1 : 1 + len(keys)], 3).flatten(0, 2)[:, None]  # (pixels, 1, M, Q)
    v = torch.stack(flat[1 + len(keys) :], 3).flatten(0, 2)[:, None]
    y = attend(q, k, v, torch.zeros(1, dtype=torch.int64), torch.full((1,), len(keys)), exact)
    return y.view(*flat[0].shape[:3], -1).permute(0, 3, 1, 2)


class Lift(nn.Module):
    """x + gelu(norm(x)) over the channels of maps (B, C, H, W): eq. 5 and 6 of the same paper."""

    def __init__(self, channels: int) -> None:
        """channels: C."""
        super().__init__()
        self.norm = LayerNorm(channels)

    def forward(self, x: Tensor) -> Tensor:
        """Whole numbers within +-2047, in and out."""
        return clamped(x + gelu(over_maps(self.norm, x), self.norm.exact))


class DepthAttention(nn.Module):
    """c + gamma lift(attention): a context and what it reads from the contexts of other layers (eq. 3 to 9, 11).

    gamma is learned and starts from 0. A context is lifted (eq. 5) where it is made, once for all its readers.
    """

    def __init__(self, channels: int, key_channels: int) -> None:
        """channels: of contexts; key_channels: of queries and keys, fewer."""
        super().__init__()
        self.query = Conv(channels, key_channels, 1)
        self.lift = Lift(channels)
        self.gamma = Scale(bias=False)

    def forward(
        self, context: Tensor, keys: list[Tensor], contexts: list[Tensor], asks: Tensor | None = None
    ) -> Tensor:
        """context: (B, C, H, W); keys: (B, Q, H, W) and lifted contexts of other layers, at least one.

        asks: what the query is made from, of the context's shape; by default the context itself.
        """
        query = self.query(context if asks is None else asks)
        read = attend_depth(clamped(query), keys, contexts, self.gamma.exact)
        return clamped(context + self.gamma(self.lift(read)))
