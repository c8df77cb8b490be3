"""8-bit layers: torch, at their bounds and beyond reason, against int64."""

import numpy as np
import oracle
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from oracle import Ints, Whole
from whole_numbers import CARRIER, check_equal, onednn, tensor

from bbcodec.errors import BadCodecFile
from bbcodec.exact.arithmetic import guard
from bbcodec.exact.layers import set_exact, set_safe
from bbcodec.exact.quantised import (
    INNER_BOUND,
    MAX_SHIFT,
    MIN_SHIFT,
    InnerConv,
    InnerLinear,
    InnerMaskedConv,
    InnerTransposedConv,
    ShiftedLayer,
    WideConv,
    WideLinear,
    WideMaskedConv,
    entering,
    half_up,
)

SEEDS = st.integers(0, 2**31)
LAYERS = {
    "masked": lambda to_stream: InnerMaskedConv(5, 4, 1, to_stream=to_stream),
    "pointwise": lambda to_stream: InnerMaskedConv(7, 4, 0, to_stream=to_stream),
    "conv": lambda to_stream: InnerConv(3, 4, 3, to_stream=to_stream),
    "strided": lambda to_stream: InnerConv(3, 4, 3, stride=2, to_stream=to_stream),
    "transposed": lambda to_stream: InnerTransposedConv(3, 4, to_stream=to_stream),
    "linear": lambda to_stream: InnerLinear(9, 4, to_stream=to_stream),
    "widest": lambda to_stream: InnerLinear(1024, 2, to_stream=to_stream),
    "stem": lambda to_stream: WideMaskedConv(4, 3, 2, "A", bound=1024),
    "head": lambda to_stream: WideMaskedConv(6, 3, 0, "B", from_inner=True),
    "wide strided": lambda to_stream: WideConv(4, 3, 3, stride=2, bound=1024),
    "wide linear": lambda to_stream: WideLinear(9, 4, 63, 8.0, to_inner=not to_stream),
    "pixels": lambda to_stream: WideLinear(784, 3, 1, 1.0, to_inner=not to_stream),
}


def shifted(total: Ints, shift: Ints) -> Ints:
    """Halves up, as an arithmetic shift."""
    return (total + (np.int64(1) << (shift - 1))) >> shift


def fill_shifted(layer: ShiftedLayer, seed: int) -> Whole:
    """Whole numbers for `layer` and the oracle, of one of three sorts; sums reach 2**24 - 1, with the rounding half.

    All weights of an output at one extreme, each at one of both, or random ones.
    """
    rng = np.random.default_rng(seed)
    shape = tuple(layer.weight.shape)
    mask = layer.mask.numpy().astype(np.int64) if hasattr(layer, "mask") else np.int64(1)
    most = layer.max_weight
    sort = seed % 3
    signs = rng.choice([-1, 1], (shape[0], *[1] * (len(shape) - 1)) if sort == 0 else shape)
    size = rng.integers(0, most + 1, shape) if sort == 2 else np.full(shape, most)
    weight = size * signs * mask
    shift = rng.integers(MIN_SHIFT, MAX_SHIFT + 1, shape[0])
    half = 1 << (shift - 1)
    flat = weight.reshape(shape[0], -1)
    for row, least in zip(flat, half, strict=True):
        while layer.bound * np.abs(row).sum() + least >= CARRIER:
            row //= 2
            row[row == -1] = 0
    bias = (CARRIER - 1 - layer.bound * np.abs(flat).sum(1) - half) * rng.choice([-1, 1], shape[0])
    layer.load_integers(
        torch.from_numpy(weight).to(layer.stored_types[0]),
        torch.from_numpy(bias).to(torch.int32),
        torch.from_numpy(shift).to(torch.int8),
    )
    return Whole(weight.astype(np.int64), bias.astype(np.int64), shift.astype(np.int64))


def inputs(layer: ShiftedLayer, channels: int, seed: int, *sides: int) -> Ints:
    """Inputs within the bound, half of them at it; inner ones are not negative."""
    rng = np.random.default_rng(seed + 1)
    least = 0 if layer.bound == INNER_BOUND else -layer.bound
    shape = (2, channels, *sides)
    return np.where(rng.random(shape) < 0.5, layer.bound, rng.integers(least, layer.bound + 1, shape))


def expected_of(layer: ShiftedLayer, whole: Whole, x: Ints) -> Ints:
    """The outputs of a layer by the definitions."""
    raw = Whole(whole.weight, whole.bias, np.zeros_like(whole.shift))
    if isinstance(layer, (InnerMaskedConv, WideMaskedConv)):
        total = oracle.masked_conv(raw, x, "A" if layer.mask[-1, -1 - layer.radius] == 0 else "B", layer.skew)
    elif isinstance(layer, (InnerConv, WideConv)):
        total = oracle.conv(raw, x, layer.stride)
    elif isinstance(layer, InnerTransposedConv):
        total = oracle.transposed_conv(raw, x)
    else:
        return finished_by_definition(layer, shifted(oracle.linear(raw, x), whole.shift))
    return finished_by_definition(layer, shifted(total, whole.shift[:, None, None]))


def finished_by_definition(layer: ShiftedLayer, y: Ints) -> Ints:
    to_inner = layer.to_inner if isinstance(layer, WideLinear) else not getattr(layer, "to_stream", True)
    return np.clip(y, 0, 127) if to_inner else y


def example(layer: ShiftedLayer, seed: int) -> Ints:
    """Inputs of the shape that the layer takes."""
    if isinstance(layer, (InnerLinear, WideLinear)):
        return inputs(layer, layer.weight.shape[1], seed)
    return inputs(layer, layer.weight.shape[1], seed, 5, 4)


@given(st.integers(1 - CARRIER, CARRIER - 1), st.integers(MIN_SHIFT, MAX_SHIFT))
def test_half_up_is_an_arithmetic_shift(total, k):
    half = 1 << (k - 1)
    if abs(total) + half < CARRIER:
        assert half_up(torch.tensor(total / 2**k, dtype=torch.float32)).item() == (total + half) >> k


@given(st.integers(-2047, 2047))
def test_what_enters_a_layer_is_the_stream_shifted(h):
    assert entering(torch.tensor([float(h)]), True).item() == min(max((h + 8) >> 4, 0), 127)


@pytest.mark.parametrize("name", LAYERS)
@given(SEEDS, st.booleans(), st.booleans(), st.booleans())
@settings(max_examples=12, deadline=None)
def test_layers_give_the_integers(name, seed, to_stream, safe, enabled):
    layer = LAYERS[name](to_stream)
    whole = fill_shifted(layer, seed)
    set_safe(layer, safe)
    x = example(layer, seed)
    with torch.no_grad(), guard(), onednn(enabled):
        check_equal(layer(tensor(x)), expected_of(layer, whole, x))


@pytest.mark.parametrize("name", LAYERS)
@given(SEEDS, st.sampled_from([1e-4, 1.0, 4.0]), st.booleans())
@settings(max_examples=8, deadline=None)
def test_training_computes_what_is_coded(name, seed, size, to_stream):
    """Real weights round to whole numbers within the bounds; fixing these changes no output."""
    torch.manual_seed(seed)
    layer = LAYERS[name](to_stream)
    with torch.no_grad():
        layer.weight.mul_(size)
        layer.bias.normal_().mul_(size)
    x = tensor(example(layer, seed)).requires_grad_()
    with guard():
        learning = layer(x)
        layer.freeze()
        with torch.no_grad():
            assert torch.equal(layer(x), learning)
    learning.sum().backward()
    assert x.grad is not None
    assert layer.weight.grad is not None


@pytest.mark.parametrize("name", LAYERS)
@given(SEEDS, st.sampled_from([1, 2, 4, 16]), st.sampled_from([0.01, 0.3, 30.0]), st.booleans())
@settings(max_examples=12, deadline=None)
def test_differences_are_whole_steps_within_the_bounds(name, seed, step, size, to_stream):
    """However far real weights move: a channel that would break the bound of sums, and only that, gets other shifts."""
    torch.manual_seed(seed)
    layer = LAYERS[name](to_stream)
    before = layer.stored()
    layer.learn_difference(step)
    assert all(torch.equal(one, before[key]) for key, one in layer.stored().items())
    with torch.no_grad():
        layer.weight.add_(size * torch.randn_like(layer.weight) * layer.weight.std())
        layer.bias.add_(size * torch.randn_like(layer.bias))
    x = tensor(example(layer, seed)).requires_grad_()
    with guard():
        learning = layer(x)
        after = layer.stored()
        layer.freeze()
        with torch.no_grad():
            assert torch.equal(layer(x), learning)
    learning.sum().backward()
    assert layer.weight.grad is not None
    same = after["shift"] == before["shift"]
    moved = (after["weight"].int() - before["weight"].int())[same]
    assert not (moved % step).any()
    if size < 0.1 and layer.bound * layer.fan_in * layer.max_weight < CARRIER / 2:
        assert same.all()


def test_weights_move_to_the_nearest_step_and_stop_at_the_bound():
    layer = InnerLinear(3, 1, to_stream=True)
    layer.load_stored(
        torch.tensor([[100, -100, 3]], dtype=torch.int8),
        torch.tensor([5], dtype=torch.int32),
        torch.tensor([7], dtype=torch.int8),
    )
    layer.frozen = layer.scale = None  # learning goes on
    layer.learn_difference(4)
    with torch.no_grad():
        layer.weight.add_(torch.tensor([[60, -60, 5.5]]) / 2**7 / (layer.output_unit / layer.input_unit))
    assert layer.stored()["weight"].tolist() == [[124, -124, 7]]
    assert layer.stored()["shift"].tolist() == [7]


@pytest.mark.parametrize("name", LAYERS)
def test_stored_numbers_load_again(name):
    for to_stream in (False, True):
        layer, again = LAYERS[name](to_stream), LAYERS[name](to_stream)
        fill_shifted(layer, 2)
        stored = layer.stored()
        assert tuple(stored) == layer.stored_names
        again.load_stored(**stored)
        for key, value in again.stored().items():
            assert torch.equal(value, stored[key])
            assert value.dtype == stored[key].dtype
        assert torch.allclose(layer.weight, again.weight)


def test_without_rounding_outputs_saturate_all_the_same():
    layer = InnerLinear(4, 3)
    with torch.no_grad():
        layer.weight.copy_(torch.tensor([[9.0, 9, 9, 9], [-1, -1, -1, -1], [0.011, 0.01, 0.01, 0.01]]))
    set_exact(layer, False)
    y = layer(torch.full((1, 4), 127.0))
    assert y[0, 0] == 127
    assert y[0, 1] == 0
    assert 0 < y[0, 2] % 1 < 1


BROKEN = {
    "a weight of -128": ({"weight": torch.full((2, 3), -128, dtype=torch.int8)}, "bounds"),
    "a shift of 0": ({"shift": torch.full((2,), 0, dtype=torch.int8)}, "shifts"),
    "a shift too large": ({"shift": torch.full((2,), 17, dtype=torch.int8)}, "shifts"),
    "a bias too large": ({"bias": torch.full((2,), 2**24, dtype=torch.int32)}, "bounds"),
    "no room for the half": (
        {"bias": torch.full((2,), 2**24 - 1, dtype=torch.int32), "weight": torch.zeros(2, 3, dtype=torch.int8)},
        "bounds",
    ),
    "the least bias of its type": ({"bias": torch.full((2,), -(2**31), dtype=torch.int32)}, "bounds"),
    "wider weights": ({"weight": torch.zeros(2, 3, dtype=torch.int16)}, "int16"),
    "real weights": ({"weight": torch.zeros(2, 3)}, "float32"),
    "another shape": ({"weight": torch.zeros(3, 3, dtype=torch.int8)}, "shape"),
    "too few shifts": ({"shift": torch.ones(1, dtype=torch.int8)}, "shape"),
}


@pytest.mark.parametrize("name", BROKEN)
def test_numbers_that_break_a_bound_are_refused(name):
    layer = InnerLinear(3, 2)
    change, told = BROKEN[name]
    good = {
        "weight": torch.ones(2, 3, dtype=torch.int8),
        "bias": torch.zeros(2, dtype=torch.int32),
        "shift": torch.ones(2, dtype=torch.int8),
    }
    layer.load_stored(**good)
    with pytest.raises(BadCodecFile, match=told):
        layer.load_stored(**good | change)
