"""Linear maps and convolutions against the numpy int64 oracle: all shapes, batches, threads, and the safe path."""

import numpy as np
import oracle
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from whole_numbers import CARRIER, activations, check_equal, fill, onednn, tensor, threads

from bbcodec.errors import BadCodecFile
from bbcodec.exact.arithmetic import BOUND, guard
from bbcodec.exact.layers import Conv, ExactLayer, Linear, TransposedConv, set_safe
from bbcodec.exact.masked_conv import MaskedConv

SIDES = st.sampled_from([(1, 1), (1, 7), (6, 1), (2, 3), (5, 8)])
SEEDS = st.integers(0, 2**31)
BOUNDS = st.sampled_from([BOUND, 256])
CHANNELS = st.integers(1, 9)
BATCHES = [1, 15, 16, 64]
MAKERS = {
    "linear": lambda: Linear(24, 10),
    "conv": lambda: Conv(5, 7, 3),
    "strided": lambda: Conv(5, 7, 3, stride=2),
    "transposed": lambda: TransposedConv(5, 7),
    "masked": lambda: MaskedConv(5, 7, 1, "B"),
}


def evaluated(layer: ExactLayer, x: np.ndarray, safe: bool = False) -> torch.Tensor:
    set_safe(layer, safe)
    with torch.no_grad(), guard():
        return layer(tensor(x))


@given(SEEDS, CHANNELS, CHANNELS, BOUNDS, st.booleans())
@settings(max_examples=40)
def test_linear(seed, cin, cout, bound, safe):
    layer = Linear(cin * 10, cout, bound)
    whole = fill(layer, seed)
    x = activations((3, 2, cin * 10), bound, seed)
    check_equal(evaluated(layer, x, safe), oracle.linear(whole, x))


@given(SEEDS, SIDES, CHANNELS, CHANNELS, st.sampled_from([1, 3, 5]), st.sampled_from([1, 2]), BOUNDS, st.booleans())
@settings(max_examples=60, deadline=None)
def test_conv(seed, sides, cin, cout, k, stride, bound, safe):
    layer = Conv(cin, cout, k, stride, bound)
    whole = fill(layer, seed)
    x = activations((2, cin, *sides), bound, seed)
    check_equal(evaluated(layer, x, safe), oracle.conv(whole, x, stride))


@given(SEEDS, SIDES, CHANNELS, CHANNELS, BOUNDS, st.booleans())
@settings(max_examples=40, deadline=None)
def test_transposed_conv(seed, sides, cin, cout, bound, safe):
    layer = TransposedConv(cin, cout, bound)
    whole = fill(layer, seed)
    x = activations((2, cin, *sides), bound, seed)
    check_equal(evaluated(layer, x, safe), oracle.transposed_conv(whole, x))


@pytest.mark.parametrize("kind", list(MAKERS))
@pytest.mark.parametrize("n_threads", [1, 2, 4])
@pytest.mark.parametrize("enabled", [True, False])
def test_batch_size_threads_and_kernels_change_nothing(kind, n_threads, enabled):
    """The first images of every batch agree with the oracle of one batch of 64."""
    layer = MAKERS[kind]()
    whole = fill(layer, 7, layer.mask.numpy().astype(np.int64) if kind == "masked" else None)
    x = activations((64, 24) if kind == "linear" else (64, 5, 9, 8), BOUND, 7)
    expected = {
        "linear": lambda: oracle.linear(whole, x),
        "conv": lambda: oracle.conv(whole, x),
        "strided": lambda: oracle.conv(whole, x, 2),
        "transposed": lambda: oracle.transposed_conv(whole, x),
        "masked": lambda: oracle.masked_conv(whole, x, "B", 2),
    }[kind]()
    with threads(n_threads), onednn(enabled):
        for batch in BATCHES:
            check_equal(evaluated(layer, x[:batch]), expected[:batch])


@pytest.mark.parametrize("kind", list(MAKERS))
def test_channels_last_changes_nothing(kind):
    if kind == "linear":
        x = activations((6, 24), BOUND, 3)
        other = tensor(x).t().contiguous().t()
    else:
        x = activations((6, 5, 9, 8), BOUND, 3)
        other = tensor(x).contiguous(memory_format=torch.channels_last)
    layer = MAKERS[kind]()
    fill(layer, 3, layer.mask.numpy().astype(np.int64) if kind == "masked" else None)
    with torch.no_grad(), guard():
        assert torch.equal(layer(other), layer(tensor(x)))


@pytest.mark.parametrize("kind", list(MAKERS))
def test_the_greatest_sum_is_exact(kind):
    """Inputs of full size and the sign of the weights reach 2**24 - 1, the last whole number that is safe."""
    layer = MAKERS[kind]()
    fan = layer.weight[0].numel()
    signs = np.where(np.arange(fan) % 3 == 0, -1, 1).reshape(layer.weight.shape[1:])
    if kind == "masked":
        signs = signs * layer.mask.numpy().astype(np.int64)
    size = min(2047, (CARRIER - 1) // (BOUND * np.abs(signs).sum()))
    weight = np.broadcast_to(signs * size, layer.weight.shape).astype(np.int64)
    bias = CARRIER - 1 - BOUND * np.abs(weight[0]).sum()
    whole = oracle.Whole(weight, np.full(len(weight), bias), np.zeros(len(weight), np.int64))
    layer.load_integers(
        torch.from_numpy(whole.weight.astype(np.int16)),
        torch.from_numpy(whole.bias.astype(np.int32)),
        torch.from_numpy(whole.shift.astype(np.int8)),
    )
    if kind == "linear":
        x, expect = BOUND * signs[None], oracle.linear
    elif kind == "transposed":
        x, expect = np.full((1, 5, 3, 3), BOUND), oracle.transposed_conv
    else:
        x = BOUND * (signs if kind != "masked" else np.concatenate([signs, np.zeros_like(signs[:, :1])], 1))[None]
        expect = {
            "conv": oracle.conv,
            "strided": lambda w, x: oracle.conv(w, x, 2),
            "masked": lambda w, x: oracle.masked_conv(w, x, "B", 2),
        }[kind]
    expected = expect(whole, x)
    if kind in ("linear", "conv", "masked"):
        assert expected.max() == CARRIER - 1
    for safe in (False, True):
        check_equal(evaluated(layer, x, safe), expected)


def spread_weights(shape, seed):
    """Real weights of one size, many sizes, nearly all zero, or all the same: extremes of sum|w| against max|w|."""
    rng = np.random.default_rng(seed)
    kind = seed % 6
    if kind == 0:
        return rng.standard_normal(shape)
    if kind == 1:
        return np.exp(rng.normal(0, 4, shape)) * rng.choice([-1, 1], shape)
    if kind == 2:
        w = np.zeros(shape)
        w.reshape(shape[0], -1)[:, 0] = rng.choice([1e-12, 1e-3, 1, 1e6], shape[0])
        return w
    if kind == 3:
        return np.full(shape, rng.choice([1e-9, 1 / 3, 0.5, 1, 8, 3e4]))
    if kind == 4:  # just above a tie everywhere: every weight rounds up at some scales
        return (rng.integers(0, 40, shape) + 0.5000001) * 2.0 ** -rng.integers(0, 15)
    return np.zeros(shape)


@given(SEEDS, st.sampled_from(list(MAKERS)), BOUNDS, st.sampled_from([0, 1, 100, 3e4]))
@settings(max_examples=120, deadline=None)
def test_the_bound_holds_after_rounding(seed, kind, bound, bias):
    """bound * sum|w| + |b| < 2**24 in whole numbers, and |w| <= 2047, whatever the real weights are."""
    layer = MAKERS[kind]()
    layer.bound = bound
    with torch.no_grad():
        layer.weight.copy_(torch.from_numpy(spread_weights(tuple(layer.weight.shape), seed)))
        layer.bias.copy_(torch.from_numpy(np.random.default_rng(seed).standard_normal(len(layer.bias)) * bias))
    whole = {name: value.numpy().astype(np.int64) for name, value in layer.integers().items()}
    weight = np.abs(whole["weight"].reshape(len(whole["bias"]), -1))
    assert (bound * weight.sum(1) + np.abs(whole["bias"]) < CARRIER).all()
    assert weight.max() <= 2047
    layer.freeze()


@pytest.mark.parametrize("bound", [BOUND, 256])
def test_the_bound_holds_when_every_weight_rounds_up(bound):
    """Weights k + 1/2, k odd, that fit before rounding and not after: the scale has to leave room for it."""
    tried = 0
    for fan_in in range(8, 1025):
        k = int((CARRIER - 2) / (bound * fan_in) - 0.5)
        if k % 2 == 0 or k >= 2046 or bound * fan_in * (k + 1) < CARRIER:
            continue
        layer = Linear(fan_in, 1, bound)
        with torch.no_grad():
            layer.weight.fill_((k + 0.5) * 2.0**-10)
        layer.freeze()  # raises if the bound is broken
        assert int(layer.integers()["scale"]) == 9
        tried += 1
    assert tried > 50


@given(SEEDS, st.sampled_from(list(MAKERS)))
@settings(max_examples=30, deadline=None)
def test_scales_are_as_large_as_the_bound_allows(seed, kind):
    """At twice the scale the bound or 2047 could be broken, or the scale is at its limit."""
    layer = MAKERS[kind]()
    with torch.no_grad():
        layer.weight.copy_(torch.from_numpy(np.random.default_rng(seed).standard_normal(tuple(layer.weight.shape))))
        if kind == "masked":
            layer.weight *= layer.mask
    whole = {name: value.numpy().astype(np.int64) for name, value in layer.integers().items()}
    twice = 2 * np.abs(whole["weight"].reshape(len(whole["bias"]), -1)).astype(np.int64)
    slack = 2 * layer.bound * layer.fan_in  # rounding of every weight by a half, at twice the scale, and once more
    full = (layer.bound * twice.sum(1) + 2 * np.abs(whole["bias"]) + slack >= CARRIER) | (twice.max(1) >= 2046)
    assert (full | (whole["scale"] == 14)).all()


@pytest.mark.parametrize("kind", list(MAKERS))
def test_freezing_changes_no_output_and_integers_come_back(kind):
    """The training forward pass is the coded one, and a layer loaded from its whole numbers computes the same."""
    torch.manual_seed(0)
    layer = MAKERS[kind]()
    with torch.no_grad():
        layer.bias.normal_()
    x = tensor(activations((4, 24) if kind == "linear" else (4, 5, 6, 7), BOUND, 1))
    with guard():
        learning = layer(x)
        assert learning.requires_grad
        saved = layer.integers()
        layer.freeze()
        again = MAKERS[kind]()
        again.load_integers(**saved)
        for found in (layer(x), again(x)):
            assert torch.equal(found, learning)
    each = torch.exp2(-saved["scale"].float())
    assert torch.equal(again.weight, saved["weight"] * each.view(-1, *[1] * (layer.weight.dim() - 1)))
    assert torch.equal(again.bias, saved["bias"] * each / 256)
    for name, value in again.integers().items():
        assert torch.equal(value, saved[name])
        assert value.dtype == {"weight": torch.int16, "bias": torch.int32, "scale": torch.int8}[name]


@pytest.mark.parametrize("kind", list(MAKERS))
def test_gradients_are_those_of_the_real_layer_at_the_rounded_weights(kind):
    """Straight through: the layer's gradient is that of the same linear map without rounding."""
    torch.manual_seed(1)
    layer = MAKERS[kind]()
    x = tensor(activations((3, 24) if kind == "linear" else (3, 5, 6, 7), BOUND, 2)).requires_grad_()
    upstream = torch.randn_like(layer(x))
    layer(x).backward(upstream)
    found = [layer.weight.grad, layer.bias.grad, x.grad]
    assert all(g is not None and torch.isfinite(g).all() and g.abs().sum() > 0 for g in found)

    plain = MAKERS[kind]()
    plain.exact = False
    whole = layer.integers()
    each = torch.exp2(-whole["scale"].float())
    with torch.no_grad():
        plain.weight.copy_(whole["weight"] * each.view(-1, *[1] * (layer.weight.dim() - 1)))
        plain.bias.copy_(whole["bias"] * each / 256)
    y = x.detach().clone().requires_grad_()
    plain(y).backward(upstream)
    for ours, theirs in zip(found, [plain.weight.grad, plain.bias.grad, y.grad], strict=True):
        assert torch.allclose(ours, theirs, rtol=1e-4, atol=1e-2 * float(theirs.abs().mean()))


@pytest.mark.parametrize("kind", list(MAKERS))
def test_the_safe_path_uses_no_convolution_and_no_float32_product(kind, monkeypatch):
    """What a device might compute inexactly is not called at all."""
    layer = MAKERS[kind]()
    whole = fill(layer, 11, layer.mask.numpy().astype(np.int64) if kind == "masked" else None)
    x = activations((2, 24) if kind == "linear" else (2, 5, 6, 7), BOUND, 11)
    expected = {
        "linear": lambda: oracle.linear(whole, x),
        "conv": lambda: oracle.conv(whole, x),
        "strided": lambda: oracle.conv(whole, x, 2),
        "transposed": lambda: oracle.transposed_conv(whole, x),
        "masked": lambda: oracle.masked_conv(whole, x, "B", 2),
    }[kind]()
    linear = torch.nn.functional.linear

    def refuse(*tensors, **_):
        raise AssertionError("a convolution kernel was called")

    def only_float64(x, w, b):
        assert x.dtype == w.dtype == b.dtype == torch.float64
        return linear(x, w, b)

    monkeypatch.setattr(torch.nn.functional, "conv2d", refuse)
    monkeypatch.setattr(torch.nn.functional, "conv_transpose2d", refuse)
    monkeypatch.setattr(torch.nn.functional, "linear", only_float64)
    check_equal(evaluated(layer, x, safe=True), expected)
    with pytest.raises(AssertionError):
        evaluated(layer, x, safe=False)


def test_without_rounding_the_real_weights_are_used():
    layer = Linear(4, 3)
    layer.exact = False
    x = torch.randn(2, 4)
    assert torch.allclose(layer(x), x @ layer.weight.T + 256 * layer.bias, atol=1e-5)


@pytest.mark.parametrize(
    ("weight", "bias", "scale"),
    [
        ([[2047] * 8], [0], [0]),  # 2047 * 2047 * 8 >= 2**24
        ([[1] * 8], [2**24 - 1], [0]),
        ([[1] * 8], [-(2**24) + 8 * 2047], [0]),
        ([[2048] + [0] * 7], [0], [0]),
        ([[-2048] + [0] * 7], [0], [0]),
        ([[1] * 8], [0], [65]),
        ([[1] * 7], [0], [0]),
        ([[1] * 8], [0, 0], [0]),
    ],
)
def test_whole_numbers_that_break_the_bound_are_refused(weight, bias, scale):
    layer = Linear(8, 1)
    with pytest.raises(BadCodecFile):
        layer.load_integers(torch.tensor(weight).short(), torch.tensor(bias).int(), torch.tensor(scale).to(torch.int8))


def test_whole_numbers_just_within_the_bound_are_taken():
    layer = Linear(8, 1)
    bias = torch.tensor([2**24 - 1 - 8 * 2047]).int()
    layer.load_integers(torch.ones(1, 8).short(), bias, torch.zeros(1).to(torch.int8))
    assert float(layer(torch.full((1, 8), 2047.0)).detach()) == 2**24 - 1


def test_a_fan_in_that_leaves_weights_too_few_bits_is_refused():
    with pytest.raises(ValueError, match="fan-in"):
        Linear(1025, 4)
