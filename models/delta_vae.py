"""The delta-VAE (Razavi et al. 2019): latents whose rate cannot fall below delta, however strong the decoder.

Each row of an image has Z latents. Posteriors are independent normals; the prior is correlated from row to row (section
2.1), z_1 ~ N(0, 1), z_t ~ N(alpha z_(t-1), 1 - alpha**2). So they can never agree: over n rows the KL divergence is at
least delta = 1/2 sum_k [(n - 2) ln(1 + alpha_k**2) - ln(1 - alpha_k**2)]. The encoder sees a row and those below it
(anti-causal, section 2.2); the decoder, a PixelSNAIL, sees the latents of a row and of those above it. An LSTM, the
auxiliary prior, learns the aggregate posterior (section 4.1).
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from decimal import Decimal
from functools import partial
from typing import Any, Final

import torch
from torch import Tensor

from bbcodec.codec.codec import PixelFormat
from bbcodec.distributions.autoregressive import Autoregressive
from bbcodec.distributions.base import Distribution
from bbcodec.distributions.bernoulli import Bernoulli
from bbcodec.distributions.gaussian import Gaussian, activation
from bbcodec.distributions.logistic import LogisticMixture
from bbcodec.distributions.rowwise import ALPHA_BITS, FirstOrder, RowNet, Rowwise
from bbcodec.exact.activations import sigmoid
from bbcodec.exact.arithmetic import ACTIVATION_UNIT, rounded, straight
from bbcodec.exact.layers import Linear
from bbcodec.exact.pixel_snail import AttentionSizes, PixelSnail, memory_rows
from bbcodec.model.latent_model import TorchProgram
from bbcodec.model.program import Latent, Observed
from bbcodec.models.committed_rate import (
    alphas_for_rate,
    committed_nats,
    least_means,
    log_sigma_min,
    log_sigmas_of,
    nats_of_bits,
    shared_nats,
    spaced_alphas,
)
from bbcodec.models.configs import PixelSizes, check_config
from bbcodec.models.families import Family, PresetName, TrainableModel
from bbcodec.models.pixel_nets import (
    embed_binary,
    embed_levels,
    start_predictors,
    training_mixture,
)
from bbcodec.models.row_nets import LstmPrior, PriorChoice, RowEncoder

PRIORS: Final = ("ar1", "independent", "standard")
ENCODERS: Final = ("anti-causal", "non-causal")
RANGES: Final = {  # of integer fields, since an archive from anywhere may hold a config; others: 1 to 256
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


@dataclass(frozen=True)
class DeltaVaeConfig(PixelSizes):
    """Sizes of a delta-VAE. Raises ValueError for impossible ones."""

    channels: int = 3  # of the image: 1 or 3
    levels: int = 256  # of a pixel: 2 or 256
    hidden: int = 64  # channels of the decoder
    layers: int = 6  # gated layers of the decoder
    attentions: int = 2  # attention blocks among them; 0 for none
    radius: int = 3  # of the decoder's stem
    components: int = 5  # of the logistic mixture
    heads: int = 2  # of each attention block
    head_size: int = 16  # channels of a head
    window: int = 1024  # pixels that a pixel attends to, at most
    width: int = 32  # channels of the encoder
    blocks: int = 3  # gated layers of the encoder
    encoder_attentions: int = 1  # attention blocks among them
    encoder: str = "anti-causal"  # or non-causal, which sees the whole image
    latent_channels: int = 8  # Z, latents of a row; 0 for the decoder alone
    prior: str = "ar1"  # ar1; independent (appendix D); or standard, without a committed rate
    alpha_low: int = 500  # thousandths: correlations of the latents are spaced evenly from here
    alpha_high: int = 950  # to here
    rate_bits: int = 0  # above 0: delta of an image of `rows` rows, from which one alpha for all follows
    rows: int = 32
    auxiliary: int = 64  # units of the LSTM of the auxiliary prior; 0 for none
    steps_per_unit: int = 8  # of the latents' grid

    def __post_init__(self) -> None:
        check_config(self, RANGES, {"prior": PRIORS, "encoder": ENCODERS})
        for blocks, layers in (("attentions", "layers"), ("encoder_attentions", "blocks")):
            most, found = getattr(self, layers), getattr(self, blocks)
            if found > most:
                raise ValueError(f"{blocks} is {found}, expected at most one for each of the {most} {layers}")
        if self.alpha_low > self.alpha_high:
            raise ValueError(f"alpha_low is {self.alpha_low}, expected at most alpha_high, {self.alpha_high}")
        if self.prior == "independent" and not self.rate_bits:
            raise ValueError("rate_bits is 0, expected a rate to commit to, as the prior is independent")
        if self.prior == "ar1" and self.latent_channels:
            self._check_alphas()

    def _check_alphas(self) -> None:
        """Rows must differ by enough for the grid of the latents."""
        if min(log_sigmas_of(self.alphas)) < log_sigma_min(self.steps_per_unit):
            alpha = max(self.alphas) / (1 << ALPHA_BITS)
            raise ValueError(
                f"alpha is {alpha:.3f}, so that rows differ by {math.sqrt(1 - alpha * alpha):.3f}: expected at least "
                f"0.75 steps of the latents' grid, which has {self.steps_per_unit} steps a unit"
            )

    @property
    def alphas(self) -> list[int]:
        """The correlation of each latent from row to row, in 1/4096. Raises ValueError if none commits to the rate."""
        if self.prior != "ar1":
            return [0] * self.latent_channels
        if self.rate_bits:
            return alphas_for_rate(self.rate_bits, self.latent_channels, self.rows)
        return spaced_alphas(self.alpha_low, self.alpha_high, self.latent_channels)

    @property
    def params(self) -> int:
        """Parameters of a pixel's distribution."""
        return self.pixel_params(self.components)

    @property
    def anti_causal(self) -> bool:
        """Whether latents of a row follow from that row and those below it alone."""
        return self.encoder == "anti-causal"

    def attention(self, blocks: int) -> AttentionSizes:
        """The sizes of so many attention blocks."""
        return AttentionSizes(blocks, self.heads, self.head_size, self.window)


class DeltaVae(TrainableModel):
    """The delta-VAE as a program of the latents of all rows, `z` (B, H, Z), and the pixels."""

    floors: Tensor

    def __init__(self, config: DeltaVaeConfig) -> None:
        """Raises ValueError where a layer would have too many inputs."""
        super().__init__()
        self.config = c = config
        self.embed = embed_binary if c.levels == 2 else embed_levels
        self.family: Callable[[Tensor], Distribution] = Bernoulli
        if c.levels == 256:
            self.family = partial(LogisticMixture, channels=c.channels)
        self.local = PixelSnail(
            c.channels + 1, c.hidden, c.layers, c.params, c.attention(c.attentions), c.latent_channels,
            causal_memory=c.anti_causal, radius=c.radius, bound=c.bound,
        )  # fmt: skip
        if c.levels == 256:
            start_predictors(self.local, c.channels, c.components)
        if not c.latent_channels:
            return
        self.encoder = RowEncoder(
            c.channels + 1, c.width, c.blocks, c.attention(c.encoder_attentions), c.anti_causal, c.bound
        )
        self.posterior_head = Linear(c.width, 2 * c.latent_channels, gain=0.3)
        self.base = FirstOrder(c.alphas, log_sigmas_of(c.alphas), c.steps_per_unit)
        if c.auxiliary:
            self.other = LstmPrior(self.base, c.latent_channels, c.auxiliary)
            self.choice = PriorChoice()
        if c.prior == "independent":
            self.lowest, means = least_means(self.committed_nats_per_latent(), log_sigma_min(c.steps_per_unit))
            self.register_buffer("floors", torch.tensor(means).float(), persistent=False)
        self._start_posterior(c.alphas)

    @torch.no_grad()
    def _start_posterior(self, alphas: list[int]) -> None:
        """Start at the smallest rate; without a committed rate at sigma = 0.3, so that latents are used."""
        if self.config.prior == "independent":
            return
        squares = [(a / (1 << ALPHA_BITS)) ** 2 for a in alphas]
        best = [math.log((1 - s) / (1 + s)) / 2 if s else -1.2 for s in squares]
        self.posterior_head.bias[self.config.latent_channels :] = torch.tensor(best)

    def compile_for_training(self) -> None:
        """Compile or fuse the mixture's likelihood; attention is always compiled."""
        if self.config.levels == 256:
            device = self.local.stem.weight.device
            self.family = partial(training_mixture(device), channels=self.config.channels)

    # --- the committed rate ------------------------------------------------------------------------------------------

    def committed_nats_per_latent(self) -> Decimal:
        """The rate that the independent prior commits each latent to, in nats."""
        c = self.config
        return shared_nats(nats_of_bits(c.rate_bits), c.rows * c.latent_channels)

    def committed_rate(self, shape: torch.Size) -> float:
        """delta, nats of an image: its rate under the prior used in training is never smaller."""
        c, rows = self.config, shape[2]
        if not c.latent_channels:
            return 0.0
        if c.prior == "independent":
            return float(self.committed_nats_per_latent() * rows * c.latent_channels)
        return float(committed_nats(c.alphas, rows))

    # --- distributions -----------------------------------------------------------------------------------------------

    def posterior(self, images: Tensor) -> Gaussian:
        """q(z | x), (B, H, Z)."""
        mean, log_sigma = self.posterior_head(self.encoder(self.embed(images))).chunk(2, -1)
        if self.config.prior == "independent":
            mean, log_sigma = self.committed(mean, log_sigma)
        return Gaussian(mean, log_sigma, self.config.steps_per_unit)

    def committed(self, mean: Tensor, log_sigma: Tensor) -> tuple[Tensor, Tensor]:
        """Outputs of the head as a mean and log sigma whose rate is at least delta for each latent (appendix D).

        log sigma = lowest + rne(span * sigmoid[output] / 256), all that is possible; mean = floor + max(0, output).
        """
        exact, span = self.posterior_head.exact, len(self.floors) - 1
        above = sigmoid(log_sigma, exact) * span / ACTIVATION_UNIT
        above = rounded(above) if exact else above
        floors = self.floors[above.detach().round().long()]
        log_variance = 2 * (above + self.lowest) / ACTIVATION_UNIT
        square = 2 * float(self.committed_nats_per_latent()) + 1 + log_variance - log_variance.exp()
        smooth = ACTIVATION_UNIT * square.clamp_min(1e-3).sqrt()
        return straight(floors, smooth) + mean.clamp_min(0), above + self.lowest

    def prior(self, batch: int, rows: int) -> Rowwise:
        """p(z): in training the prior that commits to a rate; otherwise the auxiliary one, if it was chosen."""
        net: RowNet = self.base
        if self.config.auxiliary and self.choice.auxiliary and not torch.is_grad_enabled():
            net = self.other
        return Rowwise(net, (batch, rows, self.config.latent_channels), self.config.steps_per_unit)

    def auxiliary_losses(self, images: Tensor, drawn: dict[str, Tensor]) -> dict[str, Tensor]:
        """Nats of the latents under the auxiliary prior, which learns from them without a gradient to the encoder."""
        if not self.config.auxiliary or "z" not in drawn:
            return {}
        z = drawn["z"].detach()
        shape = len(z), z.shape[1], z.shape[2]
        cost = -Rowwise(self.other, shape, self.config.steps_per_unit).log_prob(z)
        with torch.no_grad():
            base_cost = -Rowwise(self.base, shape, self.config.steps_per_unit).log_prob(z)
        self.choice.update(base_cost - cost.detach())
        return {"auxiliary": cost}

    def likelihood(self, z: Tensor | None, shape: torch.Size) -> Autoregressive:
        """p(x | z), or p(x) without latents."""
        batch, channels, height, width = shape
        memory = None if z is None else memory_rows(activation(z, self.config.steps_per_unit))
        return Autoregressive(self.local, self.family, self.shown(self.embed), (batch, channels, height, width), memory)

    def program(self, shape: torch.Size, images: Tensor | None = None) -> TorchProgram:
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


SMALL: Final = 40  # images up to this side are trained on whole
CROP: Final = 32  # side of crops of larger ones: attention takes time that grows with the square of the pixels
BATCH_PIXELS: Final = 2**14  # of all images of a step
SIZES: Final[dict[PresetName, dict[str, int]]] = {
    "fast": {"hidden": 32, "layers": 4, "attentions": 1, "width": 16, "blocks": 2, "heads": 1},
    "balanced": {"hidden": 48, "layers": 6, "attentions": 2, "width": 24, "blocks": 3, "heads": 2},
    "strong": {"hidden": 64, "layers": 8, "attentions": 2, "width": 32, "blocks": 4, "heads": 2},
}


def preset(name: PresetName, pixels: PixelFormat, smallest: tuple[int, int], one_size: bool) -> dict[str, Any]:
    """Settings for such images: small ones of one size are trained on whole, others in crops."""
    whole = one_size and max(smallest) <= SMALL
    crop = 0 if whole else min(CROP, *smallest)
    height, width = smallest if whole else (crop, crop)
    found: dict[str, Any] = {**SIZES[name], "rows": height, "crop": crop, "free_nats": 0.0}
    found["batch"] = min(64, max(4, BATCH_PIXELS // (height * width)))
    if pixels.channels == 1:
        found |= {"latent_channels": 4, "alpha_low": 300, "alpha_high": 900, "auxiliary": 32, "radius": 2}
    if pixels.levels == 2:  # few bits an image: initial bits for more latents would be worth several images
        found |= {"latent_channels": 2, "alpha_high": 850, "steps_per_unit": 2}
    return found


FAMILY = Family("delta-vae", DeltaVaeConfig, DeltaVae, preset)
