"""Nonlinearities as tables of 4,096 whole numbers, part of the format; and the gate built from two of them."""

from __future__ import annotations

import hashlib
from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import Tensor

from bbcodec.errors import InexactArithmetic
from bbcodec.exact import fused
from bbcodec.exact.arithmetic import ACTIVATION_UNIT, BOUND, clamped, rounded, straight


class Table:
    """An elementwise function on whole numbers: T[y] = round(256 f(y / 256)) for y clamped to -2048..2047.

    Unrounded sums are rounded first. While gradients are wanted, the function itself is evaluated and rounded
    straight-through, which gives the same whole numbers; otherwise they are looked up. `exact=False` leaves out all
    rounding (early training).
    """

    def __init__(self, name: str, function: Callable[[Tensor], Tensor], digest: str, tight: bool = False) -> None:
        """digest: BLAKE2b-64 of the table as little-endian int16. Raises InexactArithmetic if this machine differs.

        tight: an entry is so close to a tie that the function in float32 may land on its other side.
        """
        self.name, self.function, self.tight = name, function, tight
        y = torch.arange(-2048, 2048, dtype=torch.float64)
        values = (function(y / ACTIVATION_UNIT) * ACTIVATION_UNIT).round().clamp(-BOUND, BOUND)
        found = hashlib.blake2b(values.short().numpy().astype("<i2").tobytes(), digest_size=8).hexdigest()
        if found != digest:
            raise InexactArithmetic(f"the table of {name} has digest {found}, not {digest}: the maths library differs")
        self.values = values.float()
        self.array = self.values.numpy()

    def __call__(self, y: Tensor, exact: bool = True) -> Tensor:
        """Whole numbers within +-BOUND, float32. y: float32, any shape; rounded first if it is not whole."""
        if fusable(y, exact):
            return self.looked_up(y)
        if exact and not wants_gradient(y):
            return self.entries(y)
        y = rounded(y) if exact else y
        smooth = clamped(self.function(y.clamp(-2048, 2047) / ACTIVATION_UNIT) * ACTIVATION_UNIT)
        if exact and self.tight:
            return straight(self.entries(y.detach()), smooth)
        return rounded(smooth) if exact else smooth

    def entries(self, y: Tensor) -> Tensor:
        """The table's entries, on any device."""
        if self.values.device != y.device:
            self.values = self.values.to(y.device)
        return self.values[(y.round().clamp(-2048, 2047) + 2048).int()]

    def looked_up(self, y: Tensor) -> Tensor:
        """The table's entries in one pass over memory, in whatever layout y has; on the CPU."""
        if not (y.is_contiguous() or (y.dim() == 4 and y.is_contiguous(memory_format=torch.channels_last))):
            y = y.contiguous()
        out = torch.empty_like(y)
        flat = (1, y.numel()), (y.numel(), 1)
        fused.look_up(y.as_strided(*flat).numpy(), self.array, out.as_strided(*flat).numpy())
        return out


silu = Table("silu", F.silu, "60df7819def4ed00")
tanh = Table("tanh", torch.tanh, "e0759fe34995a2b6")
sigmoid = Table("sigmoid", torch.sigmoid, "dfac287c0c575fef")
gelu = Table("gelu", F.gelu, "4f657bd7655fe801", tight=True)


def wants_gradient(y: Tensor) -> bool:
    """Whether what is computed from y is to be differentiated."""
    return torch.is_grad_enabled() and y.requires_grad


def gated(h: Tensor, y: Tensor, dim: int, exact: bool = True) -> Tensor:
    """h + tanh(a) sigmoid(g), where y holds a and g one after the other along `dim` (PixelCNN's gated unit, residual).

    h: whole numbers; y: whole numbers, or sums, which are rounded first.
    """
    if fusable(y, exact) and y.dim() == 4 and dim == 1:
        return gated_rows(rows_of(h), rows_of(y)).permute(0, 3, 1, 2)
    a, g = y.chunk(2, dim)
    product = tanh(a, exact) * sigmoid(g, exact) / ACTIVATION_UNIT
    return clamped(h + (rounded(product) if exact else product))


def fusable(y: Tensor, exact: bool) -> bool:
    """Whether `gated_rows` and `silu_rows` apply: on the CPU, with rounding, without gradients."""
    return exact and y.device.type == "cpu" and not torch.is_grad_enabled()


def rows_of(x: Tensor) -> Tensor:
    """(B, C, H, W) as contiguous (B, H, W, C): free where channels are last in memory."""
    return x.permute(0, 2, 3, 1).contiguous()


def gated_rows(h: Tensor, y: Tensor) -> Tensor:
    """`gated` in one pass: h (..., C) and y (..., 2 C) on the CPU, contiguous."""
    out = torch.empty_like(h)
    rows = h.flatten(0, -2).numpy(), y.flatten(0, -2).numpy()
    fused.gate(*rows, tanh.array, sigmoid.array, out.flatten(0, -2).numpy())
    return out


def silu_rows(y: Tensor) -> Tensor:
    """silu(round(y)) in one pass: (..., C) on the CPU, contiguous."""
    out = torch.empty_like(y)
    fused.look_up(y.flatten(0, -2).numpy(), silu.array, out.flatten(0, -2).numpy())
    return out
