"""Dense nets as compiled code, with every instruction set: against int64, and against PyTorch's layers."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from bbcodec.engine.compiling import Kernels, available
from bbcodec.engine.dense import DenseNet
from bbcodec.exact import dense
from bbcodec.exact.arithmetic import guard
from bbcodec.exact.layers import exact_parts, set_safe

SIZES = {  # inputs, hidden, layers, outputs; bound and unit of the inputs
    "pixels": ((784, 100, 1, 80), 1, 1.0),
    "latents": ((40, 100, 1, 784), 63, 8.0),
    "odd": ((7, 9, 3, 5), 511, 64.0),
    "one": ((1, 1, 2, 1), 1, 1.0),
    "widest": ((1024, 1024, 2, 33), 1, 1.0),
}


def random_net(name: str, seed: int) -> dict[str, np.ndarray]:
    """Layers within the bounds, by name: of ordinary weights (even seeds), or of sums that reach the bound."""
    (inputs, hidden, layers, outputs), bound, _ = SIZES[name]
    rng = np.random.default_rng(seed)
    names = ["stem", *(f"inner.{n}" for n in range(layers - 1)), "head"]
    widths = [inputs, *[hidden] * layers, outputs]
    net = {}
    for n, layer in enumerate(names):
        cin, cout, most = widths[n], widths[n + 1], bound if n == 0 else 127
        weight = rng.choice([-2047, 2047], (cout, cin)) if seed % 2 else rng.integers(-300, 301, (cout, cin))
        sums = np.maximum(1, np.abs(weight).sum(1, keepdims=True))  # a layer of one weight may be 0
        weight = np.trunc(weight * np.minimum(1, 2**23 / most / sums)).astype(np.int64)
        shift = rng.integers(1, 17, cout) if seed % 2 else rng.integers(4, 9, cout)
        room = 2**24 - 1 - most * np.abs(weight).sum(1) - (1 << (shift - 1))
        bias = room * rng.choice([-1, 1], cout) if seed % 2 else rng.integers(-2000, 2000, cout)
        net |= {f"net.{layer}.weight": weight.astype(np.int16), f"net.{layer}.bias": bias.astype(np.int32)}
        net[f"net.{layer}.shift"] = shift.astype(np.int8)
    return net


def oracle(net: dict[str, np.ndarray], x: np.ndarray) -> np.ndarray:
    """What a net gives, in int64."""
    layers = [name.removesuffix(".weight") for name in net if name.endswith(".weight")]
    h = x.astype(np.int64)
    for layer in layers:
        weight, bias, shift = (net[f"{layer}.{part}"].astype(np.int64) for part in ("weight", "bias", "shift"))
        h = (h @ weight.T + bias + (1 << (shift - 1))) >> shift
        if layer != "net.head":
            h = h.clip(0, 127)
    return h


def rows(name: str, seed: int, count: int) -> np.ndarray:
    (inputs, *_), bound, _ = SIZES[name]
    rng = np.random.default_rng(seed + 1)
    least = 0 if bound == 1 else -bound
    x = np.where(rng.random((count, inputs)) < 0.5, bound, rng.integers(least, bound + 1, (count, inputs)))
    return x.astype(np.uint8 if bound == 1 else np.int16)


@pytest.mark.parametrize("kernels", available())
@pytest.mark.parametrize("name", SIZES)
@given(st.integers(0, 2**31), st.sampled_from([1, 11, 12, 13, 40]))
@settings(max_examples=8, deadline=None)
def test_parameters_are_those_of_int64(kernels, name, seed, count):
    sizes, bound, _ = SIZES[name]
    net, x = random_net(name, seed), rows(name, seed, count)
    assert np.array_equal(DenseNet(net, "net", sizes, bound, Kernels(kernels))(x), oracle(net, x))


@pytest.mark.parametrize("kernels", available())
@pytest.mark.parametrize("name", SIZES)
def test_parameters_are_those_of_torch(kernels, name):
    sizes, bound, unit = SIZES[name]
    torch.manual_seed(0)
    learned = dense.DenseNet(*sizes, bound, unit)
    tensors = {}
    for layer, part in exact_parts(learned).items():
        part.freeze()
        tensors |= {f"net.{layer}.{key}": value.numpy() for key, value in part.stored().items()}
    x = rows(name, 0, 30)
    found = DenseNet(tensors, "net", sizes, bound, Kernels(kernels))(x)
    for safe in (False, True):
        set_safe(learned, safe)
        with torch.no_grad(), guard():
            assert np.array_equal(found, learned(torch.from_numpy(x).float()).numpy())


def test_no_row_is_no_row():
    sizes, bound, _ = SIZES["odd"]
    assert DenseNet(random_net("odd", 0), "net", sizes, bound)(np.empty((0, 7), np.int16)).shape == (0, 5)


BROKEN = {
    "net.stem breaks the bound of exact sums: 16777216 of": lambda net: net.update(  # by the half that rounds
        {
            "net.stem.weight": np.zeros((9, 7), np.int16),
            "net.stem.bias": np.full(9, 2**24 - 1, np.int32),
            "net.stem.shift": np.ones(9, np.int8),
        }
    ),
    "net.inner.1 breaks the bound of exact sums: 1.* of at most 16777215": lambda net: net["net.inner.1.bias"].fill(
        -(2**24)
    ),
    "net.head breaks the bound of exact sums": lambda net: net["net.head.weight"].__setitem__((0, 0), 2048),
    "net.head has shifts 0 to": lambda net: net["net.head.shift"].__setitem__(0, 0),
    "net.inner.0 has shifts .* to 17": lambda net: net["net.inner.0.shift"].__setitem__(0, 17),
    "no array 'net.inner.1.bias'": lambda net: net.pop("net.inner.1.bias"),
    r"net.stem has weights \(9, 6\)": lambda net: net.update({"net.stem.weight": net["net.stem.weight"][:, 1:]}),
    "net.head has weights .* int8, .*, expected .* int16": lambda net: net.update(
        {"net.head.weight": net["net.head.weight"].astype(np.int8)}
    ),
    r"net.head has weights .* biases \(4,\)": lambda net: net.update({"net.head.bias": net["net.head.bias"][1:]}),
    "net.head has weights .* biases .* int64": lambda net: net.update(
        {"net.head.bias": net["net.head.bias"].astype(np.int64)}
    ),
}


@pytest.mark.parametrize("message", BROKEN)
def test_layers_that_do_not_fit_are_refused(message):
    net = random_net("odd", 0)
    BROKEN[message](net)
    with pytest.raises(ValueError, match=message):
        DenseNet(net, "net", SIZES["odd"][0], SIZES["odd"][1])


def test_rows_of_another_size_are_refused():
    net = DenseNet(random_net("odd", 0), "net", *SIZES["odd"][:2])
    with pytest.raises(ValueError, match=r"rows are \(2, 6\), expected \(B, 7\)"):
        net(np.zeros((2, 6), np.int16))
