import numpy as np
import torch
from checks import (
    check_failures,
    check_growth,
    check_log_prob,
    check_masses,
    check_order,
    check_push_pop,
    check_same,
    check_sample,
    check_select,
    check_whole,
)
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.special import expit

from bbcodec.distributions import Bernoulli


def some(*shape, seed=0):
    return Bernoulli(torch.randint(-2500, 2500, shape, generator=torch.Generator().manual_seed(seed)).float())


def exact(logit, value):
    """The coded probability, in float64."""
    odds = logit.double().numpy().clip(-2047, 2047) / 128
    return (1 - 2 * 2.0**-24) * expit(np.where(value.numpy() > 0, odds, -odds)) + 2.0**-24


def test_masses_at_every_logit():
    check_masses(Bernoulli(torch.arange(-2100.0, 2101)), (0, 1), 24)


def test_log_prob_is_that_of_the_masses():
    logit = torch.arange(-2100.0, 2101)
    for value in (torch.zeros(4201), torch.ones(4201)):
        check_log_prob(Bernoulli(logit), value, 24, exact(logit, value))


@settings(deadline=None, max_examples=25)
@given(st.integers(0, 2**32), st.integers(1, 9))
def test_push_and_pop(seed, lanes):
    d = some(2, 1, 9, 7, seed=seed)
    check_push_pop(d, d.rsample(torch.Generator().manual_seed(seed)), lanes, seed)
    check_push_pop(d, (some(2, 1, 9, 7, seed=seed + 1).logit > 0).float(), lanes, seed)


def test_growth():
    d = some(20, 2000)
    for lanes in (1, 8):
        check_growth(d, d.rsample(torch.Generator().manual_seed(0)), 24, lanes)


def test_the_rest_of_the_contract():
    d = some(2, 60)
    check_order(d, d.rsample(torch.Generator().manual_seed(0)))
    check_select(d)
    check_sample(d)
    check_failures(d, [2, -1, 0.5, float("nan")])
    check_whole(Bernoulli, d.logit)


def test_logits_are_clamped_alike_in_floats_and_integers():
    logit = torch.tensor([[-1e6, 2048, -2048, 3000, 0]])
    for value in (torch.zeros(1, 5), torch.ones(1, 5)):
        check_same(Bernoulli(logit), Bernoulli(logit.clamp(-2047, 2047)), value, 24)


def test_a_wrong_certainty_has_a_gradient():
    logit = torch.tensor([5000.0, -5000.0, 5000.0], requires_grad=True)
    (-Bernoulli(logit).log_prob(torch.tensor([0.0, 1.0, 1.0]))).sum().backward()
    assert logit.grad[0] > 1e-3
    assert logit.grad[1] < -1e-3
    assert logit.grad[2] == 0


def test_the_gradient_is_that_of_the_cross_entropy():
    logit = torch.arange(-800.0, 801, requires_grad=True)
    Bernoulli(logit).log_prob(torch.ones(1601)).sum().backward()
    assert torch.allclose(logit.grad, torch.sigmoid(-logit.detach() / 128) / 128, rtol=1e-3)


def test_half_precisions_are_computed_in_float32():
    assert Bernoulli(torch.zeros(2, 3, dtype=torch.bfloat16)).log_prob(torch.ones(2, 3)).dtype == torch.float32
