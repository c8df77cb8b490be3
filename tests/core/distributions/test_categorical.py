import numpy as np
import pytest
import torch
from checks import (
    check_failures,
    check_growth,
    check_log_prob,
    check_masses,
    check_order,
    check_push_pop,
    check_sample,
    check_select,
    intervals,
    random_stack,
)
from hypothesis import given, settings
from hypothesis import strategies as st

from bbcodec.distributions import Categorical
from bbcodec.errors import CoderError


def some(*shape, seed=0, greatest=100):
    weights = torch.randint(greatest + 1, shape, generator=torch.Generator().manual_seed(seed)).float()
    weights[..., 0] += 1
    return Categorical(weights)


def likely(d, seed=0):
    return d.rsample(torch.Generator().manual_seed(seed))


@pytest.mark.parametrize("precision", [3, 24, 28])
def test_masses(precision):
    weights = torch.tensor([[1, 0, 0, 0, 0], [0, 0, 0, 0, 7], [1, 2, 3, 4, 5], [1, 10**6, 0, 0, 1]])
    check_masses(Categorical(weights.float()[:, None], precision), range(5), precision)
    great = torch.tensor([[2**34 - 2, 1, 0], [2**33, 2**33 - 1, 0]])
    check_masses(Categorical(great, precision), range(3), precision) if precision > 3 else None


@settings(deadline=None, max_examples=25)
@given(st.integers(0, 2**32), st.integers(1, 300), st.integers(1, 28))
def test_log_prob_is_that_of_the_masses(seed, count, precision):
    precision = max(precision, (count - 1).bit_length())
    weights = some(50, 1, count, seed=seed).weights
    d = Categorical(weights, precision)
    value = likely(d, seed)
    exact = weights.double().numpy()
    share = np.take_along_axis(exact, value.numpy().astype(int)[..., None], -1)[..., 0] / exact.sum(-1)
    check_log_prob(d, value, precision, (1 - count * 2.0**-precision) * share + 2.0**-precision)


@settings(deadline=None, max_examples=25)
@given(st.integers(0, 2**32), st.integers(1, 9), st.integers(2, 40))
def test_push_and_pop(seed, lanes, count):
    d = some(2, 3, 7, count, seed=seed)
    check_push_pop(d, likely(d, seed), lanes, seed)


def test_the_rest_of_the_contract():
    d = some(20, 300, 10)
    check_growth(d, likely(d), 24)
    check_order(some(3, 4, 6), likely(some(3, 4, 6)))
    check_select(some(3, 40, 10))
    check_sample(d)
    check_failures(some(2, 40, 9), [9, -1, 1.5])


def test_whole_weights_of_int64_learn_too():
    d = Categorical(torch.tensor([[1, 2**34 - 2]]), 28)
    assert d.log_prob(torch.tensor([1.0])).item() == pytest.approx(0, abs=1e-7)
    assert intervals(d, torch.zeros(1), 28)[1] == 1


@pytest.mark.parametrize(
    "row", [[0, 0], [-1, 2], [0.5, 1], [float("nan"), 1], [2.0**34, 0], [2.0**33, 2.0**33], [1e30, 1]]
)
def test_weights_that_cannot_be_coded(row):
    with pytest.raises(CoderError, match="weights"):
        Categorical(torch.tensor([row], dtype=torch.float32)).pop(random_stack(0))


@pytest.mark.parametrize(("count", "precision"), [(5, 2), (2, 0), (2, 29), (0, 8), (2**16 + 1, 24)])
def test_precision_and_count_have_bounds(count, precision):
    with pytest.raises(ValueError, match="precision_bits"):
        Categorical(torch.ones(1, count), precision)
