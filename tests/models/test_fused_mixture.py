"""The fused likelihood against `LogisticMixture`, which autograd differentiates."""

import pytest
import torch

from bbcodec.distributions.logistic import LogisticMixture
from bbcodec.models.fused_mixture import FusedMixture

CASES = [(1, False), (3, False), (3, True)]


def params_and_values(channels: int, joint: bool, components: int, seed: int, spread: float = 8):
    """Parameters about as far apart as trained ones, and values near them, some at either end."""
    torch.manual_seed(seed)
    rows = 2 * channels + (1 if joint else channels) + (3 if channels == 3 else 0)
    params = torch.randn(2, 5, 29, rows * components) * 150
    n = channels * components
    first = components if joint else n
    params[..., first + n : first + 2 * n] += 500  # of scales: 7 levels
    values = (128 + spread * torch.randn(2, 5, 29, channels)).round().clamp(0, 255)
    return params, values


def log_prob_and_gradient(family, params, values, channels, joint):
    given = params.clone().requires_grad_()
    log_prob = family(given, channels, joint).log_prob(values)
    (log_prob * torch.tensor([1.0, -2.0])).sum().backward()
    return log_prob.detach(), given.grad


@pytest.mark.parametrize(("channels", "joint"), CASES)
@pytest.mark.parametrize("components", [1, 5])
def test_values_and_gradients(channels, joint, components):
    params, values = params_and_values(channels, joint, components, 0)
    expected, slope = log_prob_and_gradient(LogisticMixture, params, values, channels, joint)
    found, fused = log_prob_and_gradient(FusedMixture, params, values, channels, joint)
    assert torch.allclose(found, expected, rtol=1e-5)
    assert (fused - slope).norm() < 2e-3 * slope.norm()  # means there are rounded to 1/256 level


@pytest.mark.parametrize(("channels", "joint"), CASES)
def test_ends_of_the_levels(channels, joint):
    """Mixtures that reach beyond 0 and 255, on images of these levels only."""
    params, values = params_and_values(channels, joint, 3, 1)
    values = (values > 128) * 255.0
    n = channels * 3
    first = 3 if joint else n
    params[..., first : first + n] = torch.where(torch.randn_like(params[..., :n]) > 0, 4100.0, -4100.0)
    params[..., first + n : first + 2 * n] += 400
    expected, slope = log_prob_and_gradient(LogisticMixture, params, values, channels, joint)
    found, fused = log_prob_and_gradient(FusedMixture, params, values, channels, joint)
    assert torch.allclose(found, expected, rtol=1e-3)
    if not joint:  # what is lost of a component where all are unlikely is not the same
        assert (fused - slope).norm() < 5e-2 * slope.norm()


@pytest.mark.parametrize(("channels", "joint"), CASES)
def test_parameters_and_values_far_out_have_finite_gradients(channels, joint):
    params, values = params_and_values(channels, joint, 4, 2, spread=300)
    found, slope = log_prob_and_gradient(FusedMixture, params * 40, values, channels, joint)
    assert torch.isfinite(found).all()
    assert torch.isfinite(slope).all()


def test_a_log_scale_beyond_its_range_is_only_brought_back():
    params = torch.zeros(1, 1, 1, 3)
    params[..., 2] = -2000
    for value, moves in ((128.0, False), (140.0, True)):
        _, slope = log_prob_and_gradient_of_one(params, torch.full((1, 1, 1, 1), value))
        assert bool(slope[..., 2] > 0) == moves


def log_prob_and_gradient_of_one(params, values):
    given = params.clone().requires_grad_()
    log_prob = FusedMixture(given, 1).log_prob(values)
    log_prob.sum().backward()
    return log_prob.detach(), given.grad
