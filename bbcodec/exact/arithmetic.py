"""What all exact layers share: units, rounding with straight-through gradients, and the guard around kernels.

Activations are whole numbers held in float32, at most `BOUND` in magnitude and worth 1/`ACTIVATION_UNIT` each. A
product of a whole weight and a whole activation is whole; as long as every partial sum of such products stays below
2**24, float32 holds it exactly, so neither the order of a sum, nor fused operations, threads, batch sizes or devices
can change it.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from typing import Any

import torch
from torch import Tensor

BOUND = 2047  # the largest magnitude of an activation: 11 bits
ACTIVATION_UNIT = 256.0  # activations are worth 1/ACTIVATION_UNIT: -8 to 8
CARRIER = 2.0**24  # float32 holds all whole numbers up to here


def rounded(x: Tensor) -> Tensor:
    """The nearest whole numbers, ties to even, with the gradient of the identity."""
    if torch.is_grad_enabled() and x.requires_grad:
        return x + (x.round() - x).detach()  # the difference is exact, so the sum is x.round() to the last bit
    return x.round()


def straight(exact: Tensor, smooth: Tensor) -> Tensor:
    """The numbers of `exact`, with the gradient of `smooth` (finite, of one shape), a real function close to them."""
    return exact + (smooth - smooth.detach())  # the difference is 0, so the sum is `exact` to the last bit


def clamped(x: Tensor) -> Tensor:
    """Activations kept within +-BOUND."""
    return x.clamp(-BOUND, BOUND)


@contextmanager
def guard() -> Iterator[None]:
    """Within, PyTorch uses no kernel known to be inexact: no NNPACK, cuDNN, TF32, reduced precision or autocast.

    Exact in any order is not exact under algorithms that scale inputs by fractions, as Winograd's and FFT do. Without
    cuDNN, convolutions on a GPU are unfolded matrix products.
    """
    with (
        torch.backends.nnpack.flags(enabled=False),
        torch.autocast("cpu", enabled=False),
        torch.autocast("cuda", enabled=False),
        attribute(torch.backends.cudnn, "enabled", False),
        full_precision(),
    ):
        yield


@contextmanager
def attribute(owner: object, name: str, value: object) -> Iterator[None]:
    """Within, an attribute has another value."""
    before = getattr(owner, name)
    setattr(owner, name, value)
    try:
        yield
    finally:
        setattr(owner, name, before)


@contextmanager
def full_precision() -> Iterator[None]:
    """Within, float32 products have full precision, whichever of PyTorch's two sets of switches the caller uses.

    Since 2.9 there is a switch for each backend and operation; the older switch for all of them cannot be read once
    the newer ones have been set.
    """
    with ExitStack() as stack:
        if hasattr(torch.backends, "fp32_precision"):
            mkldnn: Any = torch.backends.mkldnn
            for switch in (mkldnn.matmul, mkldnn.conv, torch.backends.cuda.matmul):
                stack.enter_context(attribute(switch, "fp32_precision", "ieee"))
        else:
            stack.callback(torch.set_float32_matmul_precision, torch.get_float32_matmul_precision())
            torch.set_float32_matmul_precision("highest")
        yield
