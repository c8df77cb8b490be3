"""Dense nets: linear layers of any number of inputs, gated ones, and nets for compiled code."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from bbcodec.exact.activations import sigmoid
from bbcodec.exact.arithmetic import ACTIVATION_UNIT, BOUND, clamped, rounded
from bbcodec.exact.layers import Linear
from bbcodec.exact.quantised import INNER_BOUND, INNER_UNIT, WideLinear

PART = 512  # inputs of one exact sum: weights keep two bits more than at a layer's largest fan-in
PART_BOUND = 2**18  # of a rounded sum, far beyond where gates saturate
MAX_PARTS = 63  # so that their sum stays below 2**24


def product_gate(y: Tensor, dim: int, exact: bool = True) -> Tensor:
    """clamp(a) sigmoid(g), where y holds a and g one after the other along `dim` (Dauphin et al. 2017). Whole numbers.

    exact=False leaves out all rounding.
    """
    a, g = y.chunk(2, dim)
    product = clamped(a) * sigmoid(g, exact) / ACTIVATION_UNIT  # at most 2047 * 256 before the division: exact
    return rounded(product) if exact else product


class Wide(nn.Module):
    """(..., C) -> (..., C'): exact layers over at most 512 inputs each, whose outputs are rounded, clamped and added.

    The inputs are split into runs as equal as possible, longer ones first. Raises ValueError for more than 63 runs.
    """

    def __init__(self, cin: int, cout: int, bound: int = BOUND, gain: float = 1.0) -> None:
        """cin, cout: channels; bound: the largest magnitude of an input, in units of 1/256."""
        super().__init__()
        count = -(-cin // PART)
        if not 1 <= count <= MAX_PARTS:
            raise ValueError(f"expected a layer of 1 to {MAX_PARTS * PART} inputs, got {cin}")
        self.sizes = [cin // count + (n < cin % count) for n in range(count)]
        self.parts = nn.ModuleList(Linear(size, cout, bound, gain * (size / cin) ** 0.5) for size in self.sizes)

    @property
    def exact(self) -> bool:
        """Whether the layers round."""
        first = self.parts[0]
        return bool(first.exact)

    def forward(self, x: Tensor) -> Tensor:
        """x: (..., C) whole numbers within +-bound. Returns whole numbers below 2**24, in any order of addition."""
        runs = zip(self.parts, torch.split(x, self.sizes, -1), strict=True)
        total, *others = [layer(run).clamp(-PART_BOUND, PART_BOUND) for layer, run in runs]
        for part in others:
            total = total + part
        result: Tensor = total
        return result


class GatedLinear(nn.Module):
    """(..., C) -> (..., C'): a sigmoid(g), with a and g linear in the input."""

    def __init__(self, cin: int, cout: int, bound: int = BOUND) -> None:
        """cin, cout: channels; bound: the largest magnitude of an input, in units of 1/256."""
        super().__init__()
        self.linear = Wide(cin, 2 * cout, bound, gain=1.7)  # outputs about as large as inputs

    def forward(self, x: Tensor) -> Tensor:
        """x: (..., C) whole numbers within +-bound. Returns whole numbers within +-2047."""
        return product_gate(self.linear(x), -1, self.linear.exact)


class DenseNet(nn.Module):
    """(B, C) -> (B, C'): layers of `hidden` inner activations between whole numbers and parameters, worth 1/256.

    `bbcodec.engine.dense.DenseNet` is the same net as compiled code.
    """

    def __init__(self, cin: int, hidden: int, layers: int, cout: int, bound: int, unit: float) -> None:
        """cin, hidden, cout: features; layers: of `hidden` features; inputs are within +-bound and worth 1 / unit."""
        super().__init__()
        self.stem = WideLinear(cin, hidden, bound, unit, gain=2**0.5, to_inner=True)
        self.inner = nn.ModuleList(
            WideLinear(hidden, hidden, INNER_BOUND, INNER_UNIT, gain=2**0.5, to_inner=True) for _ in range(layers - 1)
        )
        self.head = WideLinear(hidden, cout, INNER_BOUND, INNER_UNIT, gain=0.3)

    def forward(self, x: Tensor) -> Tensor:
        """x: (B, C) whole numbers within the bound."""
        h = self.stem(x)
        for layer in self.inner:
            h = layer(h)
        params: Tensor = self.head(h)
        return params
