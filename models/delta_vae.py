"""The delta-VAE (Razavi et al. 2019): a rate that cannot fall below delta, whatever the decoder can do without.

Each row of an image has Z latents. Posteriors are independent normals; the prior is correlated from row to row (section
2.1), z_1 ~ N(0, 1), z_t ~ N(alpha z_(t-1), 1 - alpha**2). So they can never agree: over n rows the KL divergence is at
least delta = 1/2 sum_k [(n - 2) ln(1 + alpha_k**2) - ln(1 - alpha_k**2)]. The encoder sees a row and those below it
(anti-causal, section 2.2); the decoder, gated masked convolutions with attention between them, sees the latents of a
row and of those above it. An LSTM, the auxiliary prior, learns what posteriors are like on the whole (section 4.1).
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from decimal import ROUND_FLOOR, ROUND_HALF_UP, Decimal, localcontext
from functools import partial
from typing import Any, ClassVar, Final

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from bbcodec.codec.codec import PixelFormat
from bbcodec.distributions.autoregressive import Autoregressive
from bbcodec.distributions.base import Distribution
from bbcodec.distributions.bernoulli import Bernoulli
from bbcodec.distributions.gaussian import LOG_SIGMA_MAX, MEAN_BOUND, Gaussian, activation
from bbcodec.distributions.logistic import LogisticMixture
from bbcodec.distributions.rowwise import ALPHA_BITS, FirstOrder, Rowwise
from bbcodec.errors import BadCodecFile
from bbcodec.exact.activations import gated, sigmoid, silu
from bbcodec.exact.arithmetic import ACTIVATION_UNIT, clamped, rounded, straight
from bbcodec.exact.attention import Attention, Cache
from bbcodec.exact.layers import Conv, ExactPart, Linear
from bbcodec.exact.masked_conv import BAND_PIXELS, LocalNet, MaskedConv, row_functions
from bbcodec.exact.normalisation import LayerNorm
from bbcodec.exact.recurrent import Lstm
from bbcodec.exact.wave_order import Wave
from bbcodec.model.program import Latent, Observed, Program
from bbcodec.models.families import Family, Strength, TrainableModel
from bbcodec.models.pixel_nets import (
    PixelSizes,
    check_config,
    compiled_mixture,
    embed_binary,
    embed_levels,
    start_predictors,
)

PRIORS: Final = ("ar1", "independent", "standard")
ENCODERS: Final = ("anti-causal", "non-causal")
RANGES: Final = {  # of the whole numbers in a config, which may come with an archive from anywhere; others: 1 to 256
    "attentions": (0, 64),
    "encoder_attentions": (0, 64),
    "components": (1, 32),
    "radius": (1, 8),
    "heads": (1, 16),
    "head_size": (1, 64),
    "window": (1, 4096),
    "latent_channels": (0, 256),
    "alpha_low": (0, 999),
    "alpha_high": (0, 999),
    "rate_bits": (0, 4096),
    "auxiliary": (0, 256),
}
PERIODS: Final = (4, 16, 64, 256)  # of the waves that say where a place is
PLACE: Final = 2 * len(PERIODS)  # numbers that say a row, or a column
REACH: Final = 64  # rows of latents that a pixel sees, each way
MEMORY: Final = 0.01  # share of a step in the running mean that chooses the prior


@dataclass(frozen=True)
class DeltaVaeConfig(PixelSizes):
    """What a model is made of. Raises ValueError for what cannot be."""

    channels: int = 3  # of the image: 1 or 3
    levels: int = 256  # of a pixel: 2 or 256
    hidden: int = 64  # channels of the decoder
    layers: int = 6  # its gated layers
    attentions: int = 2  # attention blocks among them; 0 for none
    radius: int = 3  # of its stem
    components: int = 5  # of the logistic mixture
    heads: int = 2  # of each attention
    head_size: int = 16  # channels of a head
    window: int = 1024  # pixels that a pixel sees by attention, at most
    width: int = 32  # channels of the encoder
    blocks: int = 3  # its gated layers
    encoder_attentions: int = 1  # attention blocks among them
    encoder: str = "anti-causal"  # or non-causal: sees the whole image
    latent_channels: int = 8  # Z, latents of a row; 0 for a decoder alone
    prior: str = "ar1"  # ar1; independent (appendix D); or standard, a VAE that commits to no rate
    alpha_low: int = 500  # thousandths: correlations of the latents are spread evenly from here
    alpha_high: int = 950  # to here
    rate_bits: int = 0  # above 0: delta of an image of `rows` rows, from which one alpha for all follows
    rows: int = 32
    auxiliary: int = 64  # units of the auxiliary prior; 0 for none
    steps_per_unit: int = 8  # of the latents' grid

    def __post_init__(self) -> None:
        check_config(self, RANGES, {"prior": PRIORS, "encoder": ENCODERS})
        for blocks, layers in (("attentions", "layers"), ("encoder_attentions", "blocks")):
            most, found = getattr(self, layers), getattr(self, blocks)
            if found > most:
                raise ValueError(f"{blocks} is {found}: at most one for each of the {most} {layers} was expected")
        if self.alpha_low > self.alpha_high:
            raise ValueError(
                f"alphas from {self.alpha_low} to {self.alpha_high} thousandths: they were expected to rise"
            )
        if self.prior == "independent" and not self.rate_bits:
            raise ValueError("the prior is independent and rate_bits 0: a rate to commit to was expected")
        if self.prior == "ar1" and self.latent_channels:
            self._check_alphas()

    def _check_alphas(self) -> None:
        """The grid has to tell a row from the one before."""
        least = log_sigma_min(self.steps_per_unit)
        if min(log_sigmas_of(alphas_of(self))) < least:
            alpha = max(alphas_of(self)) / 4096
            raise ValueError(
                f"alpha is {alpha:.3f}, so that rows differ by {math.sqrt(1 - alpha * alpha):.3f}: 0.75 steps of the "
                f"latents' grid or more, of {self.steps_per_unit} steps a unit, were expected"
            )

    @property
    def params(self) -> int:
        """Parameters of a pixel's distribution."""
        return self.pixel_params(self.components)


def build(config: Mapping[str, Any]) -> DeltaVae:
    """A model from the config in a codec file. Raises TypeError for unknown keys, ValueError for impossible sizes."""
    return DeltaVae(DeltaVaeConfig(**config))


# --- what follows from delta: numbers that every machine has to agree on, so in decimal arithmetic --------------------


def log_sigma_min(steps_per_unit: int) -> int:
    """The least log sigma of a Gaussian on this grid, in 1/256."""
    return round(ACTIVATION_UNIT * math.log(0.75 / steps_per_unit))


def committed_nats(alphas: list[int], rows: int) -> Decimal:
    """delta of the paper's equation 1: no KL divergence of n rows is less. alphas: in 1/4096."""
    with localcontext() as context:
        context.prec = 40
        squares = [(Decimal(a) / (1 << ALPHA_BITS)) ** 2 for a in alphas] if rows > 1 else []
        return sum(((rows - 2) * (1 + s).ln() - (1 - s).ln() for s in squares), Decimal(0)) / 2


def alphas_of(c: DeltaVaeConfig) -> list[int]:
    """The correlation of each latent, in 1/4096: spaced evenly, or the least that commits to the rate.

    Raises ValueError where no alpha does.
    """
    count = c.latent_channels
    if c.prior != "ar1":
        return [0] * count
    if not c.rate_bits:
        steps = max(1, count - 1)
        spaced = [c.alpha_low * (steps - k) + c.alpha_high * k for k in range(count)]  # in 1 / (1000 steps)
        return [((2 * value << ALPHA_BITS) + 1000 * steps) // (2000 * steps) for value in spaced]
    wanted = rate_nats(c)
    low, high = 0, (1 << ALPHA_BITS) - 1
    if committed_nats([high] * count, c.rows) < wanted:
        raise ValueError(f"no alpha commits to {c.rate_bits} bits with {count} latents in each of {c.rows} rows")
    while low < high:
        middle = (low + high) // 2
        if committed_nats([middle] * count, c.rows) >= wanted:
            high = middle
        else:
            low = middle + 1
    return [low] * count


def rate_nats(c: DeltaVaeConfig) -> Decimal:
    """`rate_bits` in nats."""
    with localcontext() as context:
        context.prec = 40
        return c.rate_bits * Decimal(2).ln()


def log_sigmas_of(alphas: list[int]) -> list[int]:
    """ln sqrt(1 - alpha**2) of each latent, in 1/256, to the nearest whole number."""
    with localcontext() as context:
        context.prec = 40
        squares = [(Decimal(a) / (1 << ALPHA_BITS)) ** 2 for a in alphas]
        return [int((128 * (1 - s).ln()).to_integral_value(ROUND_HALF_UP)) for s in squares]


def floors_of(nats: Decimal, least: int) -> tuple[int, list[int]]:
    """The means at which N(mean, sigma**2) is `nats` from N(0, 1), for each log sigma where there is such a mean.

    Appendix D: mean = sqrt(2 delta + 1 + ln sigma**2 - sigma**2). Returns the lowest log sigma, and means for it and
    those above it in order; both in 1/256. Means are rounded up, so that the rate is never below. least: lower bound.
    """
    means = []
    lowest = None
    with localcontext() as context:
        context.prec = 40
        for log_sigma in range(least, LOG_SIGMA_MAX + 1):
            log_variance = Decimal(2 * log_sigma) / 256
            square = 2 * nats + 1 + log_variance - log_variance.exp()
            if square < 0:
                continue
            lowest = log_sigma if lowest is None else lowest
            means.append(-int((-256 * square.sqrt()).to_integral_value(ROUND_FLOOR)))
    if lowest is None or max(means) > MEAN_BOUND:
        raise ValueError(
            f"a latent cannot commit to {float(nats):.3f} nats: {MEAN_BOUND / ACTIVATION_UNIT:.0f} is the largest mean"
        )
    return lowest, means


# --- places ----------------------------------------------------------------------------------------------------------


def triangles(n: Tensor) -> Tensor:
    """Where a row or column is, (..., 8) within +-256: for each period a triangle wave, and it a quarter later."""
    waves_at = [(n + late) % period * (1024 // period) for period in PERIODS for late in (0, period // 4)]
    return (256 - (torch.stack(waves_at, -1) - 512).abs()).float()


def places_of(i: Tensor, j: Tensor) -> Tensor:
    """Rows and columns (...) to (..., 16)."""
    return torch.cat([triangles(i), triangles(j)], -1)


def all_places(height: int, width: int, device: torch.device) -> Tensor:
    """Those of all pixels, row by row: (H W, 16)."""
    i, j = torch.arange(height, device=device), torch.arange(width, device=device)
    return places_of(i.repeat_interleave(width), j.repeat(height))


def spread_evenly(blocks: int, layers: int) -> list[int]:
    """After how many of the layers each of the blocks comes: the last one after the last layer.

    >>> spread_evenly(2, 6)
    [3, 6]
    """
    return [round((n + 1) * layers / blocks) for n in range(blocks)]


def rows_first(h: Tensor) -> Tensor:
    """Maps (B, C, H, W) to rows (B, H W, C)."""
    return h.permute(0, 2, 3, 1).flatten(1, 2)


def as_maps(rows: Tensor, height: int, width: int) -> Tensor:
    """Rows (B, H W, C) to maps (B, C, H, W)."""
    return rows.view(len(rows), height, width, -1).permute(0, 3, 1, 2)


class Look(nn.Module):
    """norm(h + attention): what places of `channels` channels, and where they are, take from others of `other`."""

    def __init__(self, channels: int, other: int, c: DeltaVaeConfig) -> None:
        """c: heads and their size."""
        super().__init__()
        self.attention = Attention(channels + 2 * PLACE, other, channels, c.heads, c.head_size)
        self.norm = LayerNorm(channels)

    def add(self, h: Tensor, read: Tensor) -> Tensor:
        """h and what was read, (..., channels), as activations again."""
        out: Tensor = self.norm(clamped(h + read))
        return out


# --- encoder ---------------------------------------------------------------------------------------------------------


class Encoder(nn.Module):
    """Images to what a posterior has to know of each row: (B, C + 1, H, W) embedded -> (B, H, width).

    Gated convolutions and attention that see a pixel's row and the rows below it, or everything if non-causal; then the
    mean of each row. (The paper turns the image round, pads and shifts it for nets that look up and left: the same.)
    """

    def __init__(self, c: DeltaVaeConfig) -> None:
        """c: the config."""
        super().__init__()
        self.causal, self.window = c.encoder == "anti-causal", c.window
        self.stem = Conv(c.channels + 1, c.width, 3, bound=c.bound)
        self.layers = nn.ModuleList(Conv(c.width, 2 * c.width, 3) for _ in range(c.blocks))
        self.after = spread_evenly(c.encoder_attentions, c.blocks)
        self.looks = nn.ModuleList(Look(c.width, c.width + 2 * PLACE, c) for _ in self.after)

    def convolved(self, conv: Conv, x: Tensor) -> Tensor:
        """The convolution, moved up by its radius if the rows above are not to be seen."""
        if not self.causal:
            return conv(x)  # type: ignore[no-any-return]
        radius = conv.padding[0]
        out: Tensor = conv(F.pad(x, (0, 0, 0, radius)))[:, :, radius:]
        return out

    def seen(self, height: int, width: int) -> tuple[Tensor, Tensor]:
        """The run of pixels, row by row, that each pixel sees by attention: (H W,) starts and stops."""
        count = height * width
        if self.causal:
            starts = torch.arange(height).repeat_interleave(width) * width
        else:
            starts = (torch.arange(count) - self.window // 2).clamp(0, max(0, count - self.window))
        return starts, (starts + self.window).clamp_max(count)

    def forward(self, x: Tensor) -> Tensor:
        """x: embedded pixels."""
        height, width = x.shape[2:]
        exact, bounds = self.stem.exact, self.seen(height, width)
        places = all_places(height, width, x.device).expand(len(x), -1, -1)
        h = silu(self.convolved(self.stem, x), exact)
        for n, layer in enumerate(self.layers, 1):
            h = gated(h, self.convolved(layer, h), 1, exact)  # type: ignore[arg-type]
            for look, after in zip(self.looks, self.after, strict=True):
                if after == n:
                    rows = rows_first(h)
                    both = torch.cat([rows, places], -1)
                    h = as_maps(look.add(rows, look.attention(both, both, *bounds)), height, width)  # type: ignore[operator]
        return row_means(h, exact)


def row_means(h: Tensor, exact: bool) -> Tensor:
    """The mean over columns, halves up: (B, C, H, W) -> (B, H, C). Sums are below 2**53, the division is of int64."""
    h = h.permute(0, 2, 1, 3)
    smooth = h.mean(3)
    if not exact:
        return smooth
    width = h.shape[3]
    total = h.detach().double().sum(3).long()
    return straight(torch.div(2 * total + width, 2 * width, rounding_mode="floor").float(), smooth)


# --- decoder ---------------------------------------------------------------------------------------------------------


class Snail(LocalNet):
    """A local net with attention between its layers, over the pixels so far and over the latents (PixelSNAIL).

    As `LocalNet`, where `context` is the memory (B, rows, Z + 9) of the latents, each row with 256 and where it is:
    after the stem, and after some of the layers, h = norm(h + attention). A pixel sees the last `window` pixels of
    earlier waves, what they are included; and the latents of its row and those above, or below, too, if non-causal.
    """

    def __init__(self, c: DeltaVaeConfig) -> None:
        """c: the config."""
        super().__init__(c.channels + 1, c.hidden, c.layers, c.params, c.radius, c.bound)
        self.window, self.causal = c.window, c.encoder == "anti-causal"
        self.after = spread_evenly(c.attentions, c.layers)
        seen = c.hidden + c.channels + 1 + 2 * PLACE
        self.looks = nn.ModuleList(Look(c.hidden, seen, c) for _ in self.after)
        memory = c.latent_channels + 1 + PLACE
        readers = 1 + c.attentions if c.latent_channels else 0
        self.readers = nn.ModuleList(Look(c.hidden, memory, c) for _ in range(readers))

    def rows_seen(self, i: Tensor, rows: int) -> tuple[Tensor, Tensor]:
        """The latents that pixels in rows i see: starts and stops."""
        return (i + 1 - REACH).clamp_min(0), (i + 1 if self.causal else i + REACH).clamp_max(rows)

    def forward(self, x: Tensor, context: Tensor | None = None, stride: int = 1) -> Tensor:
        """x: (B, C, H, W) embedded pixels; context: the memory; stride has no meaning here. (B, params, H, W)."""
        images = max(1, BAND_PIXELS // x[0, 0].numel())
        if len(x) <= images or torch.is_grad_enabled():
            return self.all_at_once(x, context)
        parts = range(0, len(x), images)  # so that memory stays bounded
        return torch.cat(
            [self.all_at_once(x[n : n + images], None if context is None else context[n : n + images]) for n in parts]
        )

    def all_at_once(self, x: Tensor, memory: Tensor | None) -> Tensor:
        """The same, all images together."""
        height, width = x.shape[2:]
        exact = self.stem.exact
        places = all_places(height, width, x.device).expand(len(x), -1, -1)
        lines = torch.arange(height).repeat_interleave(width)
        h = self.informed(0, rows_first(silu(self.stem(x), exact)), places, memory, lines)
        for n, layer in enumerate(self.layers, 1):
            maps = as_maps(h, height, width)
            h = rows_first(gated(maps, layer(maps), 1, exact))
            for block, after in enumerate(self.after):
                if after == n:
                    look: Any = self.looks[block]
                    asked = torch.cat([h, rows_first(x), places], -1)
                    read = look.attention.in_waves(
                        torch.cat([h, places], -1), asked, height, width, self.window, self.skew
                    )
                    h = self.informed(block + 1, look.add(h, read), places, memory, lines)
        maps = as_maps(h, height, width)
        params: Tensor = self.head(silu(self.neck(maps), exact)) + self.skip(x)
        return params

    def informed(self, n: int, h: Tensor, places: Tensor, memory: Tensor | None, lines: Tensor) -> Tensor:
        """h (B, N, hidden) and what the n-th reader finds in the latents, for pixels in rows `lines` (N,)."""
        if memory is None:
            return h
        reader: Any = self.readers[n]
        return self._informed(reader, h, places, reader.attention.pairs(memory), lines)

    def _informed(self, reader: Any, h: Tensor, places: Tensor, pairs: tuple[Tensor, Tensor], lines: Tensor) -> Tensor:
        bounds = self.rows_seen(lines, pairs[0].shape[2])
        out: Tensor = reader.add(h, reader.attention.ask(torch.cat([h, places], -1), pairs, *bounds))
        return out

    def wave_state(self, shape: tuple[int, int, int], context: Tensor | None, stride: int) -> SnailState:
        """The net before the first wave, as `LocalNet.wave_state`."""
        return SnailState(self, shape, context)


class SnailState:
    """What decoding wave by wave keeps: rings of activations, caches of keys and values, matrices of the layers."""

    def __init__(self, net: Snail, shape: tuple[int, int, int], memory: Tensor | None) -> None:
        """shape: (B, H, W); memory: of the latents."""
        batch, height, width = shape
        self.net, self.batch = net, batch
        below: list[MaskedConv] = [net.stem, *net.layers]
        self.matrices = [layer.matrix() for layer in below]
        self.last = net.neck.matrix(), net.head.matrix(), net.skip.matrix()
        self.rings = [layer.ring(height, batch) for layer in below]
        self.caches = [Cache(net.window, height * width) for _ in net.looks]
        readers: list[Any] = [] if memory is None else list(net.readers)
        self.readers = [(reader, reader.attention.pairs(memory)) for reader in readers]
        self.gate, self.look_up = row_functions(net.stem)
        self.asked: list[Tensor] = []  # what each attention is told of the pixels of this wave, but for their values
        self.places = torch.empty(0)

    def informed(self, n: int, h: Tensor, i: Tensor) -> Tensor:
        """h (rows, B, hidden) and what the n-th reader finds in the latents."""
        if not self.readers:
            return h
        found = self.net._informed(self.readers[n][0], h.transpose(0, 1), self.places, self.readers[n][1], i.cpu())
        return found.transpose(0, 1).contiguous()

    def params(self, wave: Wave) -> Tensor:
        """Parameters (rows, B, params) of the pixels of a wave."""
        net, rings = self.net, self.rings
        i, j = wave.pixels(net.stem.weight.device)
        self.places = places_of(i, j).expand(self.batch, -1, -1)
        self.asked = []
        h = self.informed(0, self.look_up(net.stem.wave(self.matrices[0], rings[0], wave)), i)
        for n, (layer, ring) in enumerate(zip(net.layers, rings[1:], strict=True), 1):
            ring.put(wave, h)
            h = self.gate(h, layer.wave(self.matrices[n], ring, wave))  # type: ignore[operator]
            for block, after in enumerate(net.after):
                if after == n:
                    look: Any = net.looks[block]
                    rows = h.transpose(0, 1)  # (B, rows, hidden)
                    self.asked.append(rows)
                    read = look.attention.wave(torch.cat([rows, self.places], -1), self.caches[block])
                    h = self.informed(block + 1, look.add(rows, read).transpose(0, 1).contiguous(), i)
        neck, head, skip = self.last
        h = self.look_up(net.neck.pointwise(neck, h))
        return net.head.pointwise(head, h).round_() + net.skip.wave(skip, rings[0], wave).round_()

    def put(self, wave: Wave, x: Tensor) -> None:
        """Take in the embedded pixels x (rows, B, C) of a wave."""
        self.rings[0].put(wave, x)
        for look, rows, kept in zip(self.net.looks, self.asked, self.caches, strict=True):
            attention: Any = look.attention
            attention.put(torch.cat([rows, x.transpose(0, 1), self.places], -1), kept)


# --- priors ----------------------------------------------------------------------------------------------------------


class Auxiliary(nn.Module):
    """The auxiliary prior: an LSTM over the rows so far moves means and log sigmas of another prior; from nothing."""

    def __init__(self, base: FirstOrder, latents: int, hidden: int) -> None:
        """base: the prior that it starts from; latents: of a row; hidden: units."""
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
        """Those of the first row, and the state of the LSTM."""
        state = self.lstm.begin(batch)
        return self.base.first(batch)[0] + self.prior_head(state[0]), state

    def following(self, row: Tensor, state: Any) -> tuple[Tensor, Any]:
        """Those of the next row."""
        state = self.lstm.step(activation(row, self.base.steps), state)
        return self.base.following(row, None)[0] + self.prior_head(state[0]), state


class Choice(ExactPart):
    """Whether the auxiliary prior codes the latents: if it was shorter than the other while the model learnt."""

    stored_names: ClassVar[tuple[str, ...]] = ("auxiliary",)

    def __init__(self) -> None:
        """Undecided, which is no."""
        super().__init__()
        self.saved = nn.Parameter(torch.zeros(()), requires_grad=False)  # nats of an image, a running mean

    @torch.no_grad()
    def learn(self, saved: Tensor) -> None:
        """Take in what the auxiliary prior saved in images (B,), nats."""
        self.saved.lerp_(saved.mean().to(self.saved.dtype), MEMORY)

    @property
    def auxiliary(self) -> bool:
        """The choice."""
        return bool(self.saved > 0)

    def stored(self) -> dict[str, Tensor]:
        """0 or 1, int8 (1,)."""
        return {"auxiliary": torch.tensor([int(self.auxiliary)], dtype=torch.int8)}

    def load_stored(self, auxiliary: Tensor) -> None:
        """Choose so. Raises BadCodecFile for anything but 0 or 1, int8."""
        if auxiliary.dtype != torch.int8 or auxiliary.shape != (1,) or int(auxiliary) not in (0, 1):
            raise BadCodecFile("the choice of a prior is not 0 or 1")
        with torch.no_grad():
            self.saved.fill_(int(auxiliary))


# --- the model -------------------------------------------------------------------------------------------------------


class DeltaVae(TrainableModel):
    """The delta-VAE as a program of the latents of all rows, `z` (B, H, Z), and the pixels."""

    floors: Tensor

    def __init__(self, config: DeltaVaeConfig) -> None:
        """config: checked when it was made."""
        super().__init__()
        self.config = c = config
        self.embed = embed_binary if c.levels == 2 else embed_levels
        self.family: Callable[[Tensor], Distribution] = Bernoulli
        if c.levels == 256:
            self.family = partial(LogisticMixture, channels=c.channels)
        self.local = Snail(c)
        if c.levels == 256:
            start_predictors(self.local, c.channels, c.components)
        if not c.latent_channels:
            return
        self.encoder = Encoder(c)
        self.posterior_head = Linear(c.width, 2 * c.latent_channels, gain=0.3)
        alphas = alphas_of(c)
        self.base = FirstOrder(alphas, log_sigmas_of(alphas), c.steps_per_unit)
        if c.auxiliary:
            self.other = Auxiliary(self.base, c.latent_channels, c.auxiliary)
            self.choice = Choice()
        if c.prior == "independent":
            self.lowest, means = floors_of(self.committed_each(), log_sigma_min(c.steps_per_unit))
            self.register_buffer("floors", torch.tensor(means).float(), persistent=False)
        self._start_posterior(alphas)

    @torch.no_grad()
    def _start_posterior(self, alphas: list[int]) -> None:
        """Start log sigmas where the rate is least; sigmas at 0.3 where none is committed to, so that latents count."""
        if self.config.prior == "independent":
            return
        squares = [(a / (1 << ALPHA_BITS)) ** 2 for a in alphas]
        best = [math.log((1 - s) / (1 + s)) / 2 if s else -1.2 for s in squares]
        self.posterior_head.bias[self.config.latent_channels :] = torch.tensor(best)

    def speed_up(self) -> None:
        """Compile the mixture's likelihood; attention is compiled as it is."""
        if self.config.levels == 256:
            self.family = partial(compiled_mixture(), channels=self.config.channels)

    # --- the committed rate ------------------------------------------------------------------------------------------

    def committed_each(self) -> Decimal:
        """Nats of each latent with the independent prior."""
        c = self.config
        with localcontext() as context:
            context.prec = 40
            each: Decimal = rate_nats(c) / (c.rows * c.latent_channels)
            return each

    def committed_rate(self, shape: torch.Size) -> float:
        """delta, nats of an image: its rate under the prior that learns is never less."""
        c, rows = self.config, shape[2]
        if not c.latent_channels:
            return 0.0
        if c.prior == "independent":
            return float(self.committed_each() * rows * c.latent_channels)
        return float(committed_nats(alphas_of(c), rows))

    # --- distributions -----------------------------------------------------------------------------------------------

    def posterior(self, images: Tensor) -> Gaussian:
        """q(z | x), (B, H, Z)."""
        mean, log_sigma = self.posterior_head(self.encoder(self.embed(images))).chunk(2, -1)
        if self.config.prior == "independent":
            mean, log_sigma = self.committed(mean, log_sigma)
        return Gaussian(mean, log_sigma, self.config.steps_per_unit)

    def committed(self, mean: Tensor, log_sigma: Tensor) -> tuple[Tensor, Tensor]:
        """Appendix D: outputs of the head to a mean and log sigma whose rate is at least delta for each latent.

        log sigma = lowest + rne(span * sigmoid[output] / 256), all that is possible; mean = floor + max(0, output).
        """
        exact, span = self.posterior_head.exact, len(self.floors) - 1
        above = sigmoid(log_sigma, exact) * span / ACTIVATION_UNIT
        above = rounded(above) if exact else above
        floors = self.floors[above.detach().round().long()]
        log_variance = 2 * (above + self.lowest) / ACTIVATION_UNIT
        square = 2 * float(self.committed_each()) + 1 + log_variance - log_variance.exp()
        smooth = ACTIVATION_UNIT * square.clamp_min(1e-3).sqrt()
        return straight(floors, smooth) + mean.clamp_min(0), above + self.lowest

    def prior(self, batch: int, rows: int) -> Rowwise:
        """p(z): while learning the one that commits to a rate; else the auxiliary one, if that was chosen."""
        net: Any = self.base
        if self.config.auxiliary and self.choice.auxiliary and not torch.is_grad_enabled():
            net = self.other
        return Rowwise(net, (batch, rows, self.config.latent_channels), self.config.steps_per_unit)

    def auxiliary(self, images: Tensor, drawn: dict[str, Tensor]) -> dict[str, Tensor]:
        """Nats of the latents under the auxiliary prior, which learns from them and lets them be."""
        if not self.config.auxiliary or "z" not in drawn:
            return {}
        z = drawn["z"].detach()
        shape = len(z), z.shape[1], z.shape[2]
        cost = -Rowwise(self.other, shape, self.config.steps_per_unit).log_prob(z)
        with torch.no_grad():
            usual = -Rowwise(self.base, shape, self.config.steps_per_unit).log_prob(z)
        self.choice.learn(usual - cost.detach())
        return {"auxiliary": cost}

    def memory(self, z: Tensor) -> Tensor:
        """What the decoder is told of the latents: (B, H, Z + 9), activations, 256, and where the row is."""
        rows = torch.arange(z.shape[1], device=z.device)
        known = torch.cat([torch.full_like(triangles(rows)[:, :1], ACTIVATION_UNIT), triangles(rows)], 1)
        return torch.cat([activation(z, self.config.steps_per_unit), known.expand(len(z), -1, -1)], 2)

    def likelihood(self, z: Tensor | None, shape: torch.Size) -> Autoregressive:
        """p(x | z), or p(x) without latents."""
        batch, channels, height, width = shape
        memory = None if z is None else self.memory(z)
        return Autoregressive(self.local, self.family, self.embed, (batch, channels, height, width), memory)

    def program(self, shape: torch.Size, images: Tensor | None = None) -> Program:
        """Latents z, if there are any, then pixels x."""
        z = None
        if self.config.latent_channels:
            z = yield Latent(
                "z",
                prior=lambda: self.prior(shape[0], shape[2]),
                posterior=lambda: self.posterior(images),  # type: ignore[arg-type]  # asked for only with images
            )
        images = yield Observed("x", likelihood=lambda: self.likelihood(z, shape), value=images)
        return images


SMALL: Final = 40  # images up to this side are learnt whole
CROP: Final = 32  # side of training crops of larger ones: attention costs the square of the pixels
BATCH_PIXELS: Final = 2**14  # of all images of a step
SIZES: Final[dict[Strength, dict[str, int]]] = {
    "fast": {"hidden": 32, "layers": 4, "attentions": 1, "width": 16, "blocks": 2, "heads": 1},
    "balanced": {"hidden": 48, "layers": 6, "attentions": 2, "width": 24, "blocks": 3, "heads": 2},
    "strong": {"hidden": 64, "layers": 8, "attentions": 2, "width": 32, "blocks": 4, "heads": 2},
}


def preset(strength: Strength, pixels: PixelFormat, smallest: tuple[int, int], alike: bool) -> dict[str, Any]:
    """Settings for images of this kind: small ones are learnt whole, larger ones or those of many sizes in crops."""
    whole = alike and max(smallest) <= SMALL
    crop = 0 if whole else min(CROP, *smallest)
    height, width = smallest if whole else (crop, crop)
    found: dict[str, Any] = {**SIZES[strength], "rows": height, "crop": crop, "free_nats": 0.0}
    found["batch"] = min(64, max(4, BATCH_PIXELS // (height * width)))
    if pixels.channels == 1:
        found |= {"latent_channels": 4, "alpha_low": 300, "alpha_high": 900, "auxiliary": 32, "radius": 2}
    if pixels.levels == 2:  # so few bits that more latents cost an image several images' worth to pop
        found |= {"latent_channels": 2, "alpha_high": 850, "steps_per_unit": 2}
    return found


FAMILY = Family("delta-vae", DeltaVaeConfig, build, preset)
