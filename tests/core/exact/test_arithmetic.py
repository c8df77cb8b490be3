"""Rounding, its gradient, and the guard that keeps inexact kernels away."""

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from oracle import conv, divided
from whole_numbers import activations, check_equal, fill, onednn, tensor

from bbcodec.exact.arithmetic import BOUND, clamped, guard, rounded
from bbcodec.exact.layers import Conv


@given(st.lists(st.integers(-(2**24) + 1, 2**24 - 1), min_size=1), st.integers(-2, 14), st.booleans())
def test_rounding_is_half_to_even_with_and_without_gradients(numbers, shift, learning):
    total = np.array(numbers, dtype=np.int64)
    x = (tensor(total) * 2.0**-shift).requires_grad_(learning)
    check_equal(rounded(x), divided(total, np.array(shift)))


def test_the_oracle_rounds_half_to_even():
    """Known answers, so that oracle and layer cannot be wrong in the same way: n / 4 for n from -6 to 6."""
    assert divided(np.arange(-6, 7), np.array(2)).tolist() == [-2, -1, -1, -1, 0, 0, 0, 0, 0, 1, 1, 1, 2]


def test_rounding_passes_gradients_straight_through():
    x = torch.tensor([0.2, 0.5, 1.5, -7.9], requires_grad=True)
    upstream = torch.tensor([1.0, -2.0, 3.0, 0.25])
    rounded(x).backward(upstream)
    assert torch.equal(x.grad, upstream)


def test_clamping_stops_at_the_bound_and_its_gradient_too():
    x = torch.tensor([-3000.0, -2047.0, 5.0, 2047.0, 2048.0], requires_grad=True)
    y = clamped(x)
    assert y.tolist() == [-BOUND, -BOUND, 5, BOUND, BOUND]
    y.sum().backward()
    assert x.grad.tolist() == [0, 1, 1, 1, 0]


# Settings of the surrounding program under which PyTorch's own convolutions and products stop being exact.
HOSTILE = {
    "onednn off": lambda: onednn(False),
    "autocast to bfloat16": lambda: torch.autocast("cpu", dtype=torch.bfloat16),
}


@pytest.mark.parametrize("batch", [1, 15, 16, 64])
@pytest.mark.parametrize("setting", list(HOSTILE))
def test_guard_keeps_inexact_kernels_away(setting, batch):
    """With oneDNN off, batches of 16 and more go to NNPACK's Winograd kernels; autocast rounds to 8 bits."""
    layer = Conv(8, 16, 3)
    whole = fill(layer, 0)
    x = activations((batch, 8, 12, 10), BOUND, 0)
    with torch.no_grad(), HOSTILE[setting](), guard():
        found = layer(tensor(x))
    check_equal(found, conv(whole, x))


@pytest.mark.parametrize("precision", ["medium", "high", "highest"])
def test_guard_keeps_reduced_precision_away(precision):
    """Matmul precision "medium" lets CPUs that have bfloat16 units use them."""
    layer = Conv(64, 64, 1)
    whole = fill(layer, 0)
    x = activations((4, 64, 16, 16), BOUND, 0)
    before = torch.get_float32_matmul_precision()
    torch.set_float32_matmul_precision(precision)
    try:
        with torch.no_grad(), guard():
            found = layer(tensor(x))
        assert torch.get_float32_matmul_precision() == precision
    finally:
        torch.set_float32_matmul_precision(before)
    check_equal(found, conv(whole, x))


SWITCHES = """
import os, sys, torch
sys.path.insert(0, sys.argv[1])
from bbcodec.exact.arithmetic import guard
from bbcodec.exact.layers import Conv
from oracle import conv
from whole_numbers import activations, check_equal, fill, tensor

backends = torch.backends
for owner in (backends, backends.mkldnn, backends.mkldnn.matmul, backends.mkldnn.conv):
    process = os.fork()
    if process:
        assert os.waitpid(process, 0)[1] == 0, owner
        continue
    owner.fp32_precision = "bf16"
    for k in (1, 3):
        layer = Conv(64, 64, k)
        whole, x = fill(layer, 0), activations((4, 64, 16, 16), 2047, 0)
        with torch.no_grad(), guard():
            found = layer(tensor(x))
        check_equal(found, conv(whole, x))
    assert owner.fp32_precision == "bf16"
    sys.exit()
"""


def test_guard_overrules_the_newer_switches():
    """Each in a process of its own: once set, they cannot be brought back to their first state."""
    run = subprocess.run([sys.executable, "-c", SWITCHES, str(Path(__file__).parent)], capture_output=True, text=True)
    assert run.returncode == 0, run.stderr


def test_guard_puts_settings_back_even_after_an_error():
    def settings():
        cudnn = torch.backends.cudnn
        return (
            torch._C._get_nnpack_enabled(),
            cudnn.enabled,
            cudnn.benchmark,
            cudnn.deterministic,
            cudnn.allow_tf32,
            torch.backends.mkldnn.matmul.fp32_precision,
            torch.is_autocast_enabled("cpu"),
        )

    before = settings()
    inside = ()

    def fail():
        nonlocal inside
        with guard():
            inside = settings()
            raise KeyError("x")

    with pytest.raises(KeyError):
        fail()
    assert settings() == before
    assert inside[0] is False
    assert inside[1] is False
    assert inside[6] is False
