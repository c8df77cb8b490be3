"""Layer normalisation against plain Python integers, and against the real function that it stands for."""

import math

import numpy as np
import oracle
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from whole_numbers import activations, check_equal, fill, tensor, threads

from bbcodec.errors import BadCodecFile
from bbcodec.exact.arithmetic import BOUND
from bbcodec.exact.normalisation import LayerNorm, Scale, in_int64, integer_root, normalised, over_maps

SEEDS = st.integers(0, 2**31)
CHANNELS = st.sampled_from([1, 2, 3, 7, 16, 64, 255])


def normalised_row(x: list[int]) -> list[int]:
    """The definition in Python's integers, which have no bounds."""
    count, total = len(x), sum(x)
    d = [count * value - total for value in x]
    root = math.isqrt((sum(value * value for value in d) // count + count * count) * 65536)
    return [max(-BOUND, min(BOUND, (value * (2**48 // root) + 2**31) // 2**32)) for value in d]


def normalised_oracle(x: oracle.Ints) -> oracle.Ints:
    rows = x.reshape(-1, x.shape[-1])
    return np.array([normalised_row(row) for row in rows.tolist()], np.int64).reshape(x.shape)


def examples(channels: int, seed: int) -> oracle.Ints:
    """Rows of all sizes of spread: at the bound, small, nearly flat, flat, and one channel apart from the rest."""
    rng = np.random.default_rng(seed)
    rows = [
        *activations((3, channels), BOUND, seed),
        *activations((3, channels), 40, seed),
        *(rng.integers(-BOUND, BOUND) + rng.integers(0, 2, (2, channels))),
        np.full(channels, rng.integers(-BOUND, BOUND)),
        np.where(np.arange(channels) == 0, BOUND, -BOUND),
    ]
    return np.clip(np.array(rows, np.int64), -BOUND, BOUND)


@given(SEEDS, CHANNELS)
@settings(max_examples=60, deadline=None)
def test_all_paths_agree_with_the_oracle(seed, channels):
    x = examples(channels, seed)
    expected = normalised_oracle(x)
    check_equal(normalised(tensor(x)), expected)
    check_equal(normalised(tensor(x).requires_grad_()), expected)
    check_equal(in_int64(tensor(x)), expected)
    with threads(4):
        check_equal(in_int64(tensor(x)), expected)


def test_the_widest_sums_fit():
    """1,024 channels, half at each bound: the largest sum of squares there is."""
    x = np.where(np.arange(1024) % 2, BOUND, -BOUND)[None]
    assert np.abs(normalised_oracle(x)).tolist() == [[256] * 1024]
    check_equal(normalised(tensor(x)), normalised_oracle(x))
    check_equal(in_int64(tensor(x)), normalised_oracle(x))
    with pytest.raises(ValueError, match="got 1025"):
        LayerNorm(1025)


@given(SEEDS, st.sampled_from([8, 32]))
@settings(max_examples=30, deadline=None)
def test_it_is_the_real_function_rounded(seed, channels):
    """To within what the definition rounds down: D, which is (C deviation)**2, its root R, and 2**48 / R."""
    x = examples(channels, seed)[:6]
    apart = x - x.mean(1, keepdims=True)
    scaled = channels * np.sqrt(x.var(1, keepdims=True) + 1)
    unbounded = 256 * channels * apart / scaled
    larger = 1 / (np.sqrt(1 - 1 / scaled**2) - 1 / (256 * scaled)) - 1
    allowed = 0.5 + np.abs(unbounded) * larger + np.abs(channels * apart) / 2**32 + 1e-9
    real = np.clip(unbounded, -BOUND, BOUND)
    assert (np.abs(normalised_oracle(x) - real) <= allowed).all()
    assert allowed[:3].max() < 0.51  # of rows that spread widely
    found = normalised(tensor(x), exact=False).double().numpy()
    assert np.allclose(found, real, atol=0.01)


@given(st.lists(st.integers(0, 2**60 - 1), min_size=1, max_size=50), st.integers(0, 2**30 - 1))
def test_integer_roots(numbers, root):
    """Squares and their neighbours, where a float root falls on either side, among them."""
    numbers = [*numbers, root * root, max(0, root * root - 1), root * root + 1, 2**60 - 1]
    assert integer_root(torch.tensor(numbers)).tolist() == [math.isqrt(n) for n in numbers]


@given(SEEDS, CHANNELS, st.booleans())
@settings(max_examples=30, deadline=None)
def test_layer_norm_scales_and_clamps(seed, channels, learning):
    layer = LayerNorm(channels)
    whole = fill(layer, seed, min_shift=3)
    x = examples(channels, seed)
    total = normalised_oracle(x) * whole.weight[:, 0] + whole.bias
    expected = oracle.clamped(oracle.divided(total, whole.shift))
    check_equal(layer(tensor(x).requires_grad_(learning)), expected)
    maps = tensor(x).t().reshape(1, channels, 2, 5)
    check_equal(over_maps(layer, maps), expected.T.reshape(1, channels, 2, 5))


def test_gradients_are_those_of_the_real_function():
    torch.manual_seed(0)
    layer, x = LayerNorm(6), (300 * torch.randn(4, 6)).round().requires_grad_()
    weight = torch.randn(4, 6)
    (layer(x) * weight).sum().backward()
    found = x.grad.clone()
    y = x.detach().double().requires_grad_()
    real = torch.nn.functional.layer_norm(y, (6,), eps=1.0) * 256
    (real * weight).sum().backward()
    assert torch.allclose(found.double(), y.grad, atol=1e-4)
    assert layer.weight.grad.abs().sum() > 0
    assert layer.bias.grad.abs().sum() > 0


def test_a_scale_of_one_number_starts_from_nothing_and_learns():
    gamma, x = Scale(bias=False), tensor(activations((2, 3, 4, 4), BOUND, 0))
    assert not gamma(x).any()
    gamma(x).sum().backward()
    assert gamma.weight.grad.item() == pytest.approx(x.sum().item(), rel=1e-5)
    assert gamma.bias.grad is None
    with torch.no_grad():
        gamma.weight.fill_(-0.5)
    check_equal(gamma(x), oracle.divided(-x.numpy().astype(np.int64), np.array(1)))


def test_codec_files_hold_the_whole_numbers():
    layer, other = LayerNorm(5), LayerNorm(5)
    with torch.no_grad():
        layer.weight.normal_()
        layer.bias.normal_()
    x = tensor(activations((7, 5), BOUND, 1))
    expected = layer(x).detach()
    layer.freeze()
    other.load_stored(**layer.stored())
    assert torch.equal(layer(x), expected)
    assert torch.equal(other(x), expected)
    with pytest.raises(BadCodecFile):
        LayerNorm(6).load_stored(**layer.stored())
