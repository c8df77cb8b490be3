"""The rates that a delta-VAE commits to: the paper's figures, closed forms, and what every machine must agree on."""

import math
from decimal import Decimal

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from bbcodec.models.committed_rate import (
    alphas_for_rate,
    committed_nats,
    least_means,
    log_sigma_min,
    log_sigmas_of,
    spaced_alphas,
)


def test_the_rates_of_the_paper():
    """Table 6: 79.44 and 666.6 bits for 8 and 64 latents with alphas in [0.5, 0.95] and [0.5, 0.99], 32 rows."""
    for latents, high, bits in ((8, 950, 79.44), (64, 990, 666.6)):
        alphas = spaced_alphas(500, high, latents)
        assert float(committed_nats(alphas, 32)) / math.log(2) == pytest.approx(bits, abs=0.1)


@given(st.lists(st.integers(0, 4095), min_size=1, max_size=3), st.integers(1, 40))
def test_delta_is_the_least_divergence(alphas, rows):
    """At sigma**2 = 1 - alpha**2 at both ends and (1 - alpha**2) / (1 + alpha**2) between (appendix C)."""
    total = 0.0
    for alpha in (a / 4096 for a in alphas):
        noise = 1 - alpha * alpha
        inner = noise / (1 + alpha * alpha)
        variances = [1.0] if rows == 1 else [noise, *[inner] * (rows - 2), noise]
        for n, v in enumerate(variances):
            p = noise if n else 1.0
            spread = alpha * alpha * variances[n - 1] if n else 0.0
            total += 0.5 * (math.log(p / v) + (v + spread) / p - 1)
    assert float(committed_nats(alphas, rows)) == pytest.approx(total, rel=1e-9, abs=1e-9)


@given(st.integers(1, 60), st.integers(1, 6), st.integers(2, 40))
def test_alpha_is_the_smallest_that_commits_to_the_rate(bits, latents, rows):
    most = float(committed_nats([4095] * latents, rows)) / math.log(2)
    if bits > most:
        with pytest.raises(ValueError, match=f"no alpha commits to {bits} bits"):
            alphas_for_rate(bits, latents, rows)
        return
    alphas = alphas_for_rate(bits, latents, rows)
    assert len(alphas) == latents
    assert len(set(alphas)) == 1
    wanted = bits * math.log(2)
    assert float(committed_nats(alphas, rows)) >= wanted - 1e-9
    assert float(committed_nats([a - 1 for a in alphas], rows)) < wanted


def test_alphas_are_spaced_evenly():
    assert spaced_alphas(250, 750, 3) == [1024, 2048, 3072]
    assert spaced_alphas(500, 750, 1) == [2048]
    assert spaced_alphas(500, 750, 0) == []


@given(st.integers(0, 4095))
def test_log_sigmas_are_those_of_the_innovations(alpha):
    (found,) = log_sigmas_of([alpha])
    assert found == pytest.approx(128 * math.log(1 - (alpha / 4096) ** 2), abs=0.5 + 1e-9)


@given(st.integers(1, 3000), st.sampled_from([1, 4, 8, 64]))
@settings(max_examples=30, deadline=None)
def test_every_mean_of_appendix_d_keeps_the_rate(millinats, steps):
    lowest, means = least_means(Decimal(millinats) / 1000, log_sigma_min(steps))
    for n, mean in enumerate(means):
        variance = math.exp(2 * (lowest + n) / 256)
        rate = 0.5 * ((mean / 256) ** 2 + variance - 1 - math.log(variance))
        assert millinats / 1000 - 1e-12 <= rate
        if mean:
            less = 0.5 * (((mean - 1) / 256) ** 2 + variance - 1 - math.log(variance))
            assert less < millinats / 1000


def test_a_rate_that_needs_too_large_a_mean_is_refused():
    with pytest.raises(ValueError, match=r"cannot commit to 40\.000 nats"):
        least_means(Decimal(40), log_sigma_min(8))
