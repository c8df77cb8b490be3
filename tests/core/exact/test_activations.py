"""Tables against real functions, and the gated unit against the oracle."""

import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from oracle import divided, table
from oracle import gated as gated_oracle
from whole_numbers import activations, check_equal, tensor

from bbcodec.errors import InexactArithmetic
from bbcodec.exact import activations as layers
from bbcodec.exact.pixel_snail import silu_last


def sigmoid(x: float) -> float:
    return 1 / (1 + math.exp(-x))


def gelu(x: float) -> float:
    return x * math.erfc(-x / math.sqrt(2)) / 2


FUNCTIONS = {"silu": lambda x: x * sigmoid(x), "tanh": math.tanh, "sigmoid": sigmoid, "gelu": gelu}


@pytest.mark.parametrize("name", FUNCTIONS)
@pytest.mark.parametrize("learning", [False, True])
def test_tables_hold_the_rounded_function(name, learning):
    """All 4,096 entries and inputs far outside them, both looked up and as training evaluates them."""
    y = np.concatenate([np.arange(-2048, 2048), [-(2**24) + 1, -5000, 5000, 2**24 - 1]])
    expected = table(FUNCTIONS[name])(y)
    check_equal(getattr(layers, name)(tensor(y).requires_grad_(learning)), expected)


@pytest.mark.parametrize("name", FUNCTIONS)
def test_no_table_entry_is_near_a_tie(name):
    """So any maths library that is right to 1e-6 of a unit builds the same table."""
    values = np.array([FUNCTIONS[name](y / 256) * 256 for y in range(-2048, 2048)])
    from_tie = np.abs(values - np.floor(values) - 0.5)
    assert from_tie.min() > 1e-6


def test_a_table_that_differs_is_refused():
    with pytest.raises(InexactArithmetic, match="digest"):
        layers.Table("silu", torch.tanh, layers_digest("silu"))


def layers_digest(name: str) -> str:
    import hashlib

    values = getattr(layers, name).values.short().numpy().astype("<i2")
    return hashlib.blake2b(values.tobytes(), digest_size=8).hexdigest()


@pytest.mark.parametrize("name", FUNCTIONS)
def test_the_gradient_of_a_table_is_the_slope_of_the_function(name):
    y = torch.linspace(-2000, 2000, 41).round().requires_grad_()
    getattr(layers, name)(y).sum().backward()
    slope = [(FUNCTIONS[name](v / 256 + 1e-5) - FUNCTIONS[name](v / 256 - 1e-5)) / 2e-5 for v in y.tolist()]
    assert torch.allclose(y.grad, torch.tensor(slope), atol=1e-4)


@given(seed=st.integers(0, 2**31), axis=st.sampled_from([1, -1]), learning=st.booleans())
@settings(max_examples=30)
def test_gated_unit_agrees_with_the_oracle(seed, axis, learning):
    shape = (3, 4, 5, 6)
    double = (3, 8, 5, 6) if axis == 1 else (3, 4, 5, 12)
    h, y = activations(shape, 2047, seed), activations(double, 4000, seed + 1)
    expected = gated_oracle(table(math.tanh), table(sigmoid), h, y, axis)
    check_equal(layers.gated(tensor(h), tensor(y).requires_grad_(learning), axis), expected)
    assert np.abs(expected).max() <= 2047


@given(seed=st.integers(0, 2**31))
@settings(max_examples=30, deadline=None)
def test_fused_kernels_round_sums_and_agree_with_the_oracle(seed):
    """Sums of sixteenths, many of them ties, as layers leave them."""
    sums, h = activations((3, 5, 8), 40_000, seed), activations((3, 5, 4), 2047, seed + 1)
    whole = divided(sums, np.array(4))
    found = layers.gated_rows(tensor(h), tensor(sums) / 16)
    check_equal(found, gated_oracle(table(math.tanh), table(sigmoid), h, whole, -1))
    for look_up in (layers.silu_rows, silu_last):
        check_equal(look_up(tensor(sums) / 16), table(FUNCTIONS["silu"])(whole))


@pytest.mark.parametrize("name", FUNCTIONS)
def test_tables_round_sums_first(name):
    y = activations((200,), 40_000, 3)
    check_equal(getattr(layers, name)(tensor(y) / 16), table(FUNCTIONS[name])(divided(y, np.array(4))))
