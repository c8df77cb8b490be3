"""The LSTM against the oracle, in one go and step by step."""

import math

import numpy as np
import oracle
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from whole_numbers import activations, check_equal, fill, tensor

from bbcodec.exact.arithmetic import BOUND
from bbcodec.exact.layers import exact_layers, set_exact, set_safe
from bbcodec.exact.recurrent import Lstm

TANH = oracle.table(math.tanh)
SIGMOID = oracle.table(lambda x: 1 / (1 + math.exp(-x)))


def lstm_oracle(inputs: oracle.Whole, states: oracle.Whole, x: oracle.Ints, hidden: int) -> oracle.Ints:
    h = c = np.zeros((len(x), hidden), np.int64)
    out = []
    for row in x.transpose(1, 0, 2):
        y = oracle.linear(inputs, row) + oracle.linear(states, h)
        i, f, g, o = (y[:, n * hidden : (n + 1) * hidden] for n in range(4))
        c = oracle.clamped(oracle.divided(SIGMOID(f) * c + SIGMOID(i) * TANH(g), np.array(8)))
        h = oracle.divided(SIGMOID(o) * TANH(c), np.array(8))
        out.append(h)
    return np.stack(out, 1)


def make(seed: int, cin: int = 3, hidden: int = 4) -> tuple[Lstm, list[oracle.Whole]]:
    """With whole numbers of real weights, or at the bound, which saturates every table."""
    torch.manual_seed(seed)
    net, wholes = Lstm(cin, hidden), []
    for layer in exact_layers(net).values():
        if seed % 3 == 0:
            wholes.append(fill(layer, seed, min_shift=1))
            continue
        with torch.no_grad():
            layer.weight.normal_(0, 0.5)
        layer.freeze()
        parts = {part: value.numpy().astype(np.int64) for part, value in layer.integers().items()}
        wholes.append(oracle.Whole(parts["weight"], parts["bias"], parts["scale"]))
    return net, wholes


@given(st.integers(0, 2**31), st.integers(1, 9), st.booleans(), st.booleans())
@settings(max_examples=40, deadline=None)
def test_in_one_go_and_step_by_step(seed, count, safe, learning):
    net, wholes = make(seed)
    set_safe(net, safe)
    x = activations((2, count, 3), BOUND if seed % 2 else 300, seed)
    expected = lstm_oracle(*wholes, x, 4)
    check_equal(net(tensor(x).requires_grad_(learning)), expected)
    state = net.begin(2)
    for n in range(count):
        state = net.step(tensor(x)[:, n], state)
        check_equal(state[0], expected[:, n])
    assert np.abs(expected).max() <= 256


def test_it_is_an_lstm_but_for_rounding():
    torch.manual_seed(0)
    net, reference = Lstm(3, 5), torch.nn.LSTM(3, 5, batch_first=True)
    with torch.no_grad():
        reference.weight_ih_l0.copy_(net.inputs.weight)
        reference.weight_hh_l0.copy_(net.states.weight)
        reference.bias_ih_l0.copy_(net.inputs.bias)
        reference.bias_hh_l0.copy_(net.states.bias)
        x = torch.randn(2, 12, 3)
        expected = reference(x)[0]
        assert torch.allclose(net((256 * x).round()) / 256, expected, atol=0.03)
        set_exact(net, False)
        assert torch.allclose(net(256 * x) / 256, expected, atol=1e-4)


def test_every_weight_learns_and_remembering_is_the_start():
    torch.manual_seed(0)
    net = Lstm(3, 4)
    assert net.inputs.bias.tolist() == [0.0] * 4 + [1.0] * 4 + [0.0] * 8
    x = tensor(activations((2, 5, 3), 400, 0)).requires_grad_()
    net(x)[:, -1].sum().backward()
    for name, layer in exact_layers(net).items():
        assert layer.weight.grad.abs().sum() > 0, name
        assert torch.isfinite(layer.weight.grad).all(), name
    assert (x.grad.abs().sum((0, 2)) > 0).all()  # the last row has seen all of them


def test_a_row_sees_those_before_it_only():
    net, _ = make(1)
    x = tensor(activations((1, 6, 3), 400, 2))
    other = x.clone()
    other[0, 3] += 100
    differ = (net(x) != net(other)).any(2)[0].tolist()
    assert differ[:3] == [False] * 3
    assert differ[3]


def test_inputs_have_a_bound():
    with pytest.raises(ValueError, match="fan-in"):
        Lstm(2000, 4)


def test_memory_is_bounded():
    """Gates wide open, 256 more each row: c stays within +-2047, which a tanh table of 8 units does not show in h."""
    net = Lstm(1, 1)
    zeros = torch.zeros(4).int()
    scales = zeros.to(torch.int8)
    net.inputs.load_integers(torch.tensor([[8], [8], [8], [8]]).short(), zeros, scales)
    net.states.load_integers(torch.zeros(4, 1).short(), zeros, scales)
    state, x = net.begin(1), torch.full((1, 1), float(BOUND))
    found = []
    for _ in range(10):
        state = net.step(x, state)
        found.append(int(state[1]))
    assert found == [256 * n for n in range(1, 8)] + [BOUND] * 3
