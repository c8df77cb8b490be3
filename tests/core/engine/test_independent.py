"""Independent symbols of arrays are coded as PyTorch's distributions code them, to the last word."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from tiny_models import random_stack

from bbcodec.coder.ans import AnsStack
from bbcodec.distributions import Bernoulli, Gaussian
from bbcodec.engine.independent import bits, normals
from bbcodec.errors import CoderError, StackUnderflow

SHAPE = (5, 1, 3, 4)


def some_normals(rng, steps):
    """Parameters beyond their ends too; values anywhere on the grid."""
    means, log_sigmas = rng.integers(-3000, 3001, SHAPE), rng.integers(-1500, 700, SHAPE)
    bound = 8 * steps - 1
    value = rng.integers(-bound, bound + 1, SHAPE).astype(np.int16)
    params = [x.astype(np.int32) for x in (means, log_sigmas)]
    return normals(*params, steps), Gaussian(*map(real, params), steps), value


def some_bits(rng, _):
    logits = rng.integers(-3000, 3001, SHAPE).astype(np.int32)
    return bits(logits), Bernoulli(real(logits)), rng.integers(0, 2, SHAPE, np.uint8)


def real(x):
    return torch.from_numpy(x).float()


@pytest.mark.parametrize("some", [some_normals, some_bits])
@given(seed=st.integers(0, 2**31), steps=st.sampled_from([1, 8, 64]), lanes=st.sampled_from([1, 2, 16]))
@settings(max_examples=30, deadline=None)
def test_words_are_those_of_torch(some, seed, steps, lanes):
    found, expected, value = some(np.random.default_rng(seed), steps)
    stack, other = random_stack(seed, lanes), random_stack(seed, lanes)
    before = stack.flatten()
    found.push(stack, value)
    expected.push(other, real(value))
    assert np.array_equal(stack.flatten(), other.flatten())
    popped = found.pop(stack)
    assert popped.dtype == value.dtype
    assert np.array_equal(popped, value)
    assert np.array_equal(stack.flatten(), before)
    drawn = found.pop(stack)
    assert np.array_equal(real(drawn), expected.pop(random_stack(seed, lanes)))
    found.push(stack, drawn)
    assert np.array_equal(stack.flatten(), before)


@pytest.mark.parametrize("some", [some_normals, some_bits])
def test_bits_are_those_of_torch(some):
    found, expected, value = some(np.random.default_rng(0), 8)
    costs = expected.information(real(value))
    assert np.array_equal(found.information(value), costs)
    stack, other = random_stack(0), random_stack(0)
    assert np.array_equal(found.push_measured(stack, value), costs)
    found.push(other, value)
    assert np.array_equal(stack.flatten(), other.flatten())


def test_slices_are_taken_as_they_are():
    """Parameters and values need not lie side by side in memory."""
    rng = np.random.default_rng(0)
    logits, value = rng.integers(-200, 200, (4, 20)).astype(np.int32), rng.integers(0, 2, (4, 20), np.uint8)
    stack, other = random_stack(0), random_stack(0)
    bits(logits[:, 3:]).push(stack, value[:, 3:])
    bits(logits[:, 3:].copy()).push(other, value[:, 3:].copy())
    assert np.array_equal(stack.flatten(), other.flatten())


@pytest.mark.parametrize("some", [some_normals, some_bits])
def test_what_cannot_be_coded_is_refused(some):
    found, _, value = some(np.random.default_rng(0), 8)
    stack = random_stack(0)
    before = stack.flatten()
    outside = value.copy()
    outside[2, 0, 1, 1] = 64
    for act in (found.push, found.push_measured):
        with pytest.raises(CoderError, match="outside the support"):
            act(stack, outside)
    with pytest.raises(CoderError, match="outside the support"):
        found.information(outside)
    for wrong in (value[:2], value.astype(np.int64)):
        with pytest.raises(ValueError, match=r"values are .*, expected \(5, 1, 3, 4\)"):
            found.push(stack, wrong)
    assert np.array_equal(stack.flatten(), before)
    with pytest.raises(StackUnderflow):
        found.pop(AnsStack())
