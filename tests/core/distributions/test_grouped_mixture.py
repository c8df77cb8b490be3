"""The mixture of logistics in groups of sixteen: the promises of a distribution, in 32-bit integers."""

import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from bbcodec.coder.ans import AnsStack
from bbcodec.distributions.grouped_mixture import GroupedMixture
from bbcodec.errors import CoderError


def some(seed, batch, pixels, channels, joint):
    """A mixture with parameters of all sizes, and a value drawn from it."""
    generator = torch.Generator().manual_seed(seed)
    size = {1: 9, 3: 30 if joint else 36}[channels]
    params = (torch.randn(batch, pixels, size, generator=generator) * 400).round()
    mixture = GroupedMixture(params, channels, joint)
    return mixture, mixture.rsample(generator)


@given(st.integers(0, 2**31), st.integers(1, 3), st.integers(1, 40), st.sampled_from([1, 3]), st.booleans(),
       st.sampled_from([1, 5, 16]))  # fmt: skip
@settings(max_examples=30, deadline=None)
def test_push_and_pop_undo_each_other(seed, batch, pixels, channels, joint, lanes):
    mixture, value = some(seed, batch, pixels, channels, joint and channels == 3)
    stack = AnsStack.seeded(seed, lanes)
    before, start = stack.flatten(), stack.bits
    mixture.push(stack, value)
    grown = stack.bits - start
    assert grown == pytest.approx(mixture.information(value).sum() / 2**24, abs=0.01 * value.numel() ** 0.5 + 0.01)
    assert torch.equal(mixture.pop(stack), value)
    assert np.array_equal(stack.flatten(), before)
    popped = mixture.pop(stack)
    mixture.push(stack, popped)
    assert stack.bits == pytest.approx(start)


@pytest.mark.parametrize(("channels", "joint"), [(1, False), (3, False), (3, True)])
def test_information_is_that_of_the_log_probability(channels, joint):
    mixture, value = some(1, 4, 500, channels, joint)
    bits = mixture.information(value) / 2**24
    expected = -mixture.log_prob(value).double().numpy() / math.log(2)
    assert np.abs(bits - expected).max() < 0.004 * 500 * channels
    for image in range(4):  # each image by itself costs the same, whatever its place in a group
        alone = GroupedMixture(mixture.params[image : image + 1], channels, joint)
        assert alone.information(value[image : image + 1])[0] == pytest.approx(bits[image] * 2**24, abs=2)


def test_values_outside_are_refused():
    mixture, value = some(2, 1, 20, 3, False)
    value[0, 7, 1] = 256
    for act in (lambda: mixture.push(AnsStack.seeded(0), value), lambda: mixture.information(value)):
        with pytest.raises(CoderError):
            act()
