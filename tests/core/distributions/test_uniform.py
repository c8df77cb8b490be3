import math

import numpy as np
import pytest
import torch
from checks import check_failures, check_growth, check_masses, check_order, check_push_pop, check_sample, intervals
from hypothesis import given, settings
from hypothesis import strategies as st

from bbcodec.distributions import Uniform


@pytest.mark.parametrize("levels", [1, 2, 3, 255, 256, 1000])
def test_masses(levels):
    check_masses(Uniform(levels, (2, 1)), range(levels), 24)


@settings(deadline=None, max_examples=50)
@given(st.integers(1, 2**24), st.integers(0, 2**32), st.integers(1, 5))
def test_promises_at_any_number_of_levels(levels, seed, lanes):
    d = Uniform(levels, (2, 7))
    value = d.rsample(torch.Generator().manual_seed(seed))
    value[0, :3] = torch.tensor([0, levels // 2, levels - 1])
    starts, masses = intervals(d, value, 24)
    assert np.array_equal(starts, value.numpy().astype(np.int64) * 2**24 // levels)
    assert (np.abs(masses - 2**24 / levels) < 1).all()
    assert np.allclose(d.log_prob(value), -7 * math.log(levels))
    check_push_pop(d, value, lanes, seed)


def test_the_rest_of_the_contract():
    d = Uniform(100, (20, 300))
    check_growth(d, d.rsample(torch.Generator().manual_seed(0)), 24)
    check_order(Uniform(7, (3, 4)), Uniform(7, (3, 4)).rsample())
    check_sample(d)
    check_failures(Uniform(256, (2, 40)), [256, -1, 1.5])
    assert d.select(torch.tensor([3, 3])).shape == (2, 300)


@pytest.mark.parametrize("levels", [0, -1, 2**24 + 1])
def test_levels_have_bounds(levels):
    with pytest.raises(ValueError, match="levels"):
        Uniform(levels, (1,))
