"""Rates that a delta-VAE commits to, and the correlations and means that follow from them (Razavi et al. 2019).

Every machine must agree on these numbers, so they are computed in decimal arithmetic. Correlations (alphas) are whole
numbers worth 1/4096; means and log sigmas are whole numbers worth 1/256.
"""

from __future__ import annotations

import math
from decimal import ROUND_FLOOR, ROUND_HALF_UP, Decimal, localcontext

from bbcodec.distributions.gaussian import LOG_SIGMA_MAX, MEAN_BOUND
from bbcodec.distributions.rowwise import ALPHA_BITS
from bbcodec.exact.arithmetic import ACTIVATION_UNIT

DIGITS = 40  # of decimal arithmetic


def log_sigma_min(steps_per_unit: int) -> int:
    """The smallest log sigma of a Gaussian on this grid, in 1/256."""
    return round(ACTIVATION_UNIT * math.log(0.75 / steps_per_unit))


def nats_of_bits(bits: int) -> Decimal:
    """Bits as nats."""
    with localcontext() as context:
        context.prec = DIGITS
        return bits * Decimal(2).ln()


def shared_nats(nats: Decimal, latents: int) -> Decimal:
    """An equal share of nats for each latent."""
    with localcontext() as context:
        context.prec = DIGITS
        return nats / latents


def committed_nats(alphas: list[int], rows: int) -> Decimal:
    """delta of the paper's equation 1, nats: no KL divergence of latents in n rows is smaller."""
    with localcontext() as context:
        context.prec = DIGITS
        squares = [(Decimal(a) / (1 << ALPHA_BITS)) ** 2 for a in alphas] if rows > 1 else []
        return sum(((rows - 2) * (1 + s).ln() - (1 - s).ln() for s in squares), Decimal(0)) / 2


def spaced_alphas(low: int, high: int, latents: int) -> list[int]:
    """Correlations of the latents, spaced evenly from low to high, both in 1/1000.

    >>> spaced_alphas(250, 750, 3)
    [1024, 2048, 3072]
    """
    steps = max(1, latents - 1)
    spaced = [low * (steps - k) + high * k for k in range(latents)]  # in 1 / (1000 steps)
    return [((2 * value << ALPHA_BITS) + 1000 * steps) // (2000 * steps) for value in spaced]


def alphas_for_rate(rate_bits: int, latents: int, rows: int) -> list[int]:
    """The smallest correlation, the same for all latents, that commits to a rate. Raises ValueError if none does."""
    wanted = nats_of_bits(rate_bits)
    low, high = 0, (1 << ALPHA_BITS) - 1
    if committed_nats([high] * latents, rows) < wanted:
        raise ValueError(f"no alpha commits to {rate_bits} bits with {latents} latents in each of {rows} rows")
    while low < high:
        middle = (low + high) // 2
        if committed_nats([middle] * latents, rows) >= wanted:
            high = middle
        else:
            low = middle + 1
    return [low] * latents


def log_sigmas_of(alphas: list[int]) -> list[int]:
    """ln sqrt(1 - alpha**2) of each correlation, in 1/256, rounded half up."""
    with localcontext() as context:
        context.prec = DIGITS
        squares = [(Decimal(a) / (1 << ALPHA_BITS)) ** 2 for a in alphas]
        return [int((128 * (1 - s).ln()).to_integral_value(ROUND_HALF_UP)) for s in squares]


def least_means(nats: Decimal, lowest: int) -> tuple[int, list[int]]:
    """The means at which N(mean, sigma**2) is `nats` from N(0, 1), for each log sigma from `lowest` that has one.

    Appendix D: mean = sqrt(2 delta + 1 + ln sigma**2 - sigma**2). Returns the first such log sigma, and the means for
    it and those above it in order. Means are rounded up, so that the rate is never below. Raises ValueError where a
    mean would be too large for a Gaussian.
    """
    means = []
    first = None
    with localcontext() as context:
        context.prec = DIGITS
        for log_sigma in range(lowest, LOG_SIGMA_MAX + 1):
            log_variance = Decimal(2 * log_sigma) / 256
            square = 2 * nats + 1 + log_variance - log_variance.exp()
            if square < 0:
                continue
            first = log_sigma if first is None else first
            means.append(-int((-256 * square.sqrt()).to_integral_value(ROUND_FLOOR)))
    if first is None or max(means) > MEAN_BOUND:
        raise ValueError(
            f"a latent cannot commit to {float(nats):.3f} nats: means are at most {MEAN_BOUND / ACTIVATION_UNIT:.0f}"
        )
    return first, means
