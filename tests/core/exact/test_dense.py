"""Dense layers of many inputs and gated ones, against the numpy int64 oracle."""

import numpy as np
import oracle
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from whole_numbers import activations, check_equal, fill, tensor

from bbcodec.exact.arithmetic import BOUND, guard
from bbcodec.exact.dense import PART, GatedLinear, Wide, product_gate
from bbcodec.exact.layers import exact_layers, set_exact, set_safe

SIGMOID = oracle.table(lambda r: 1 / (1 + np.exp(-r)))


def filled(net, seed):
    """Random whole numbers in every part of a wide layer, for the oracle too."""
    return [fill(layer, seed + n) for n, layer in enumerate(exact_layers(net).values())]


def wide_oracle(parts, x):
    """Runs of the input as equal as may be, longer ones first; every run's sum is rounded and clamped on its own."""
    runs = np.array_split(x, len(parts), -1)
    return sum(oracle.linear(part, run).clip(-(2**18), 2**18) for part, run in zip(parts, runs, strict=True))


def test_no_sum_of_parts_is_too_large():
    assert 63 * 2**18 < 2**24
    assert len(Wide(63 * PART, 1).parts) == 63
    for cin in (0, 63 * PART + 1):
        with pytest.raises(ValueError, match=f"got {cin}"):
            Wide(cin, 1)


def gate_oracle(y):
    a, g = np.split(y, 2, -1)
    return oracle.divided(oracle.clamped(a) * SIGMOID(g), np.array(8))


@given(st.integers(0, 2**31), st.sampled_from([1, 2, PART, PART + 1, 2 * PART + 7]), st.integers(1, 5), st.booleans())
@settings(max_examples=25, deadline=None)
def test_wide_and_gated(seed, cin, cout, safe):
    for net, expected in (
        (Wide(cin, cout, 1024), wide_oracle),
        (GatedLinear(cin, cout, 1024), lambda parts, x: gate_oracle(wide_oracle(parts, x))),
    ):
        parts = filled(net, seed)
        assert len(parts) == -(-cin // PART)
        x = activations((3, 2, cin), 1024, seed)
        set_safe(net, safe)
        with torch.no_grad(), guard():
            check_equal(net(tensor(x)), expected(parts, x))


def test_gates_at_the_ends():
    """All of a, beyond the clamp too, against gates that are shut, half open and open."""
    a = np.concatenate([np.arange(-2047, 2048, 31), [-(2**20), 2**20]])
    y = np.stack(np.meshgrid(a, [-4000, -2048, -1, 0, 1, 2047, 4000]), -1).reshape(-1, 2)
    check_equal(product_gate(tensor(y), -1), gate_oracle(y))


def test_a_wide_layer_learns_like_one_of_as_many_inputs():
    """As large at the start; every part learns; without rounding the parts add up to one linear map."""
    torch.manual_seed(0)
    net = Wide(1200, 50, 256)
    x = torch.randint(-256, 257, (20, 1200)).float()
    weight = torch.cat([layer.weight for layer in net.parts], 1)
    assert weight.std().item() == pytest.approx(1200**-0.5, rel=0.05)
    set_exact(net, False)
    assert not net.exact
    assert torch.allclose(net(x), x @ weight.T, atol=0.01)
    set_exact(net, True)
    assert (net(x) - x @ weight.T).abs().max() < 40  # weights are rounded, and three sums
    net(x).sum().backward()
    assert all(layer.weight.grad.abs().sum() > 0 for layer in net.parts)


def test_gated_units_keep_the_size_of_what_they_see():
    torch.manual_seed(0)
    x = 256 * torch.randn(200, 300).clamp(-7, 7).round()
    for _ in range(3):
        x = GatedLinear(300, 300)(x.round().clamp(-BOUND, BOUND))
    assert 100 < x.std().item() < 500
