"""Latents row by row: by the contract, in the order of the format, and the first-order process by its definition."""

import math

import numpy as np
import pytest
import torch
from checks import check_growth, check_push_pop, check_sample, check_underflow, random_stack
from hypothesis import given, settings
from hypothesis import strategies as st

from bbcodec.distributions.gaussian import Gaussian
from bbcodec.distributions.rowwise import FirstOrder, Rowwise
from bbcodec.errors import CoderError
from bbcodec.exact.layers import exact_layers
from bbcodec.models.row_nets import LstmPrior

ALPHAS, LOG_SIGMAS = [2048, -3900, 0], [-37, -305, 0]
KINDS = ["first order", "auxiliary"]


def make(kind: str, shape: tuple[int, int], seed: int = 0, steps: int = 8) -> Rowwise:
    """Three latents a row; the LSTM moves parameters by a unit or so."""
    net = base = FirstOrder(ALPHAS, LOG_SIGMAS, steps)
    if kind == "auxiliary":
        torch.manual_seed(seed)
        net = LstmPrior(base, 3, 5)
        with torch.no_grad():
            for layer in exact_layers(net).values():
                layer.weight.normal_(0, 0.5)
                layer.bias.normal_(0, 0.3)
    return Rowwise(net, (*shape, 3), steps)


def values(d: Rowwise, seed: int = 0) -> torch.Tensor:
    return torch.randint(-20, 21, d.shape, generator=torch.Generator().manual_seed(seed)).float()


@given(st.sampled_from(KINDS), st.integers(0, 2**31), st.integers(1, 7), st.integers(1, 4), st.sampled_from([1, 2, 5]))
@settings(max_examples=40, deadline=None)
def test_push_and_pop_undo_each_other(kind, seed, rows, batch, lanes):
    with torch.no_grad():
        d = make(kind, (batch, rows), seed % 5)
        check_push_pop(d, values(d, seed), lanes, seed)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("lanes", [1, 4])
def test_the_stack_grows_by_the_information(kind, lanes):
    with torch.no_grad():
        d = make(kind, (5, 20))
        check_growth(d, d.rsample(torch.Generator().manual_seed(0)), 28, lanes)


@pytest.mark.parametrize("kind", KINDS)
def test_information_is_that_of_log_prob(kind):
    with torch.no_grad():
        d = make(kind, (4, 6))
        value = d.rsample(torch.Generator().manual_seed(1))
        assert d.information(value) / 2**24 * math.log(2) == pytest.approx(-d.log_prob(value).numpy(), rel=1e-3)
        other = value.clone()
        other[2, 3, 1] += 1
        assert (d.information(other) != d.information(value)).tolist() == [False, False, True, False]


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("lanes", [1, 3])
def test_rows_are_coded_in_the_order_of_the_format(kind, lanes):
    """Row after row; in a row image by image, latent by latent: one flat site for each row."""
    with torch.no_grad():
        d = make(kind, (2, 5))
        z = values(d)
        params = d.net.rows(z)
        found, expected = random_stack(7, lanes), random_stack(7, lanes)
        d.push(found, z)
        for n in reversed(range(5)):
            Gaussian.from_params(params[:, n], 8).push(expected, z[:, n])
    assert np.array_equal(found.flatten(), expected.flatten())


@given(
    st.integers(0, 2**31), st.sampled_from([1, 2, 8, 64]), st.lists(st.integers(-4095, 4095), min_size=1, max_size=4)
)
@settings(max_examples=60, deadline=None)
def test_the_first_order_process_is_its_definition(seed, steps, alphas):
    """Means in Python's integers: a x / 4096 to the nearest, ties to even; the first row is the standard normal."""
    log_sigmas = list(range(-len(alphas), 0))
    net = FirstOrder(alphas, log_sigmas, steps)
    bound = 8 * steps - 1
    z = np.random.default_rng(seed).integers(-bound, bound + 1, (2, 4, len(alphas)))
    expected = np.zeros((2, 4, 2 * len(alphas)))
    for b, n, k in np.ndindex(2, 3, len(alphas)):
        whole, rest = divmod(alphas[k] * int(z[b, n, k]) * 256 // steps, 4096)
        expected[b, n + 1, k] = whole + (rest > 2048 or (rest == 2048 and whole % 2 == 1))
        expected[b, n + 1, len(alphas) + k] = log_sigmas[k]
    for value in (torch.from_numpy(z).float(), torch.from_numpy(z).float().requires_grad_()):
        assert torch.equal(net.rows(value).detach(), torch.from_numpy(expected).float())


@pytest.mark.parametrize("kind", KINDS)
def test_densities_are_those_of_an_ever_finer_grid(kind):
    """At the points of the grid the density is near the probability, which it is the limit of."""
    with torch.no_grad():
        d = make(kind, (3, 6))
        value = d.rsample(torch.Generator().manual_seed(2))
        assert d.log_density(value) / d.log_prob(value) == pytest.approx(torch.ones(3), abs=0.1)
        assert torch.isfinite(d.log_density(value + 0.25)).all()


def test_a_row_depends_on_the_one_before():
    """Samples: neighbours are correlated by alpha, and each row has variance 1."""
    with torch.no_grad():
        z = make("first order", (4000, 6)).rsample(torch.Generator().manual_seed(0)) / 8
    for k, alpha in enumerate([0.5, -3900 / 4096, 0.0]):
        for n in range(5):
            assert (z[:, n, k] * z[:, n + 1, k]).mean().item() == pytest.approx(alpha, abs=0.08)
            assert z[:, n, k].square().mean().item() == pytest.approx(1, abs=0.12)


def test_gradients_reach_the_rows_on_both_sides():
    d = make("first order", (2, 3))
    z = values(d).requires_grad_()
    d.log_prob(z).sum().backward()
    assert (z.grad[..., 0] != 0).all()


@pytest.mark.parametrize("kind", KINDS)
def test_samples_and_failures(kind):
    with torch.no_grad():
        d = make(kind, (3, 4))
        check_sample(d)
        check_underflow(d, random_stack(0, words=40))
        stack, value = random_stack(1), values(d)
        before = stack.flatten()
        value[1, 0, 0] = 64  # in the first row, which is pushed last
        with pytest.raises(CoderError):
            d.push(stack, value)
        assert np.array_equal(stack.flatten(), before)
        with pytest.raises(ValueError, match="shape"):
            d.push(stack, value[:2])


def test_alphas_have_to_be_below_one():
    with pytest.raises(ValueError, match="4095"):
        FirstOrder([4096], [0], 8)
    with pytest.raises(ValueError, match="2 whole numbers"):
        FirstOrder([1], [0, 0], 8)
