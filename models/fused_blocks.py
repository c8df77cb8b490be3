"""Training of a `QuantisedLocalNet` on CPUs in few passes over memory, with narrow products where these are quick.

Products of inner layers are of bfloat16 on CPUs that multiply these quickly, else of float32. Inner activations and
weights are whole numbers of 7 bits and a sign, which bfloat16 holds exactly; what it rounds are sums (to 8 bits) and
gradients. So the network that learns with it differs a little from the coded one: in a block, by up to 1/512 of what it
adds. Wide layers are computed in float32; gradients are of the type of products. Tensors are (B, H, W, C).
"""

from __future__ import annotations

from typing import Any

import numba as nb
import numpy as np
import torch
import torch.nn.functional as F
from llvmlite import ir  # type: ignore[import-untyped]
from numba.core import types
from numba.extending import intrinsic, overload
from numpy.typing import NDArray
from torch import Tensor

from bbcodec.exact.arithmetic import BOUND
from bbcodec.exact.local_net import QuantisedLocalNet
from bbcodec.exact.masked_conv import MaskedConv, spread
from bbcodec.exact.quantised import INNER_BOUND, InnerMaskedConv
from bbcodec.models.fused_mixture import as_float

Floats = NDArray[np.float32]
Narrow = NDArray[Any]  # float32, or uint16: bits of bfloat16
JIT: dict[str, Any] = {"nogil": True, "cache": True, "error_model": "numpy"}
ZERO, HALF, SIXTEENTH = np.float32(0), np.float32(0.5), np.float32(1 / 16)
INNER_MOST, STREAM_MOST = np.float32(INNER_BOUND), np.float32(BOUND)
ENTERING_MOST = np.float32(INNER_BOUND * 16)  # of the stream, where inner activations saturate


def multiplies_bfloat16() -> bool:
    """Whether this CPU does so quickly."""
    return bool(torch.ops.mkldnn._is_mkldnn_bf16_supported())


def product_type() -> torch.dtype:
    """The type of products that is quickest on this CPU."""
    return torch.bfloat16 if multiplies_bfloat16() else torch.float32


@intrinsic  # type: ignore[untyped-decorator]
def as_bits(typing: Any, x: Any) -> Any:
    """The 32 bits of this float32."""

    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        return builder.bitcast(arguments[0], ir.IntType(32))

    return nb.uint32(nb.float32), generate


def wide(x: Any) -> Any:
    """A narrow number as float32."""
    raise NotImplementedError("for compiled code")


def narrowed(x: np.float32, like: Any) -> Any:
    """x as the nearest number of the type of another, ties to even."""
    raise NotImplementedError("for compiled code")


@overload(wide, strict=False)  # type: ignore[untyped-decorator]
def _wide(x: Any) -> Any:
    if x == types.float32:
        return lambda x: x
    return lambda x: as_float(np.uint32(np.uint32(x) << np.uint32(16)))


@overload(narrowed, strict=False)  # type: ignore[untyped-decorator]
def _narrowed(x: Any, like: Any) -> Any:
    if like == types.float32:
        return lambda x, like: np.float32(x)

    def rounded_to_even(x: np.float32, like: Any) -> np.uint16:
        bits = as_bits(np.float32(x))
        odd = np.uint32(np.uint32(bits >> np.uint32(16)) & np.uint32(1))
        return np.uint16(np.uint32(bits + np.uint32(0x7FFF) + odd) >> np.uint32(16))

    return rounded_to_even


@nb.njit(**JIT)  # type: ignore[untyped-decorator]
def rounded(x: np.float32, exact: bool) -> np.float32:
    """Half up, if `exact`."""
    return np.floor(x + HALF) if exact else x


# --- the steps between products, forwards and backwards --------------------------------------------------------------


@nb.njit(**JIT)  # type: ignore[untyped-decorator]
def enter(h: Floats, a: Narrow, exact: bool) -> None:
    """a (n,) = h (n,), the stream, as inner activations."""
    for n in range(h.size):
        a[n] = narrowed(rounded(min(max(h[n] * SIXTEENTH, ZERO), INNER_MOST), exact), a[n])


@nb.njit(**JIT)  # type: ignore[untyped-decorator]
def requantise(y: Narrow, bias: Floats, z: Narrow, exact: bool) -> None:
    """z (B, H, W C) = y (B, H or more, W C) + bias (W C,) as inner activations."""
    for b in range(z.shape[0]):
        for i in range(z.shape[1]):
            for n in range(z.shape[2]):
                total = min(max(wide(y[b, i, n]) + bias[n], ZERO), INNER_MOST)
                z[b, i, n] = narrowed(rounded(total, exact), z[b, i, n])


@nb.njit(**JIT)  # type: ignore[untyped-decorator]
def back_through_requantise(y: Narrow, bias: Floats, dz: Narrow, dy: Narrow) -> None:
    """The gradient of y: that of z where z is within its range; 0 in rows of y that z does not have."""
    for b in range(dz.shape[0]):
        for i in range(dz.shape[1]):
            for n in range(dz.shape[2]):
                total = wide(y[b, i, n]) + bias[n]
                within = (total > ZERO) & (total < INNER_MOST)
                dy[b, i, n] = narrowed(wide(dz[b, i, n]) if within else ZERO, dy[b, i, n])
        for i in range(dz.shape[1], dy.shape[1]):
            for n in range(dz.shape[2]):
                dy[b, i, n] = narrowed(ZERO, dy[b, i, n])


@nb.njit(**JIT)  # type: ignore[untyped-decorator]
def add(h: Floats, y: Narrow, bias: Floats, out: Floats, exact: bool) -> None:
    """out (N, C) = h + y + bias, clamped: the stream after a block."""
    for n in range(h.shape[0]):
        for c in range(h.shape[1]):
            total = h[n, c] + rounded(wide(y[n, c]) + bias[c], exact)
            out[n, c] = min(max(total, -STREAM_MOST), STREAM_MOST)


@nb.njit(**JIT)  # type: ignore[untyped-decorator]
def narrow_within(out: Floats, gradient: Floats, narrow: Narrow) -> None:
    """The gradient where the stream is not at its bounds."""
    for n in range(out.size):
        narrow[n] = narrowed(gradient[n] if abs(out[n]) < STREAM_MOST else ZERO, narrow[n])


@nb.njit(**JIT)  # type: ignore[untyped-decorator]
def back_through_block(out: Floats, h: Floats, gradient: Floats, da: Narrow, dh: Floats) -> None:
    """The gradient of the stream before a block, from that after it and that of what entered the block."""
    for n in range(h.size):
        beside = gradient[n] if abs(out[n]) < STREAM_MOST else ZERO
        through = wide(da[n]) * SIXTEENTH if (h[n] > ZERO) & (h[n] < ENTERING_MOST) else ZERO
        dh[n] = beside + through


@nb.njit(**JIT)  # type: ignore[untyped-decorator]
def back_through_enter(h: Floats, da: Narrow, dh: Floats) -> None:
    """The gradient of the stream from that of what entered a layer."""
    for n in range(h.size):
        dh[n] = wide(da[n]) * SIXTEENTH if (h[n] > ZERO) & (h[n] < ENTERING_MOST) else ZERO


@nb.njit(**JIT)  # type: ignore[untyped-decorator]
def part(y: Floats, context: Floats, h: Floats, skip: Floats, exact: bool) -> None:
    """y (N, S + P) into the stream h (N, S), to which the context (N or 0, S) is added, and parameters (N, P)."""
    for n in range(y.shape[0]):
        for c in range(h.shape[1]):
            total = rounded(y[n, c], exact)
            if len(context):
                total += context[n, c]
            h[n, c] = min(max(total, -STREAM_MOST), STREAM_MOST)
        for c in range(skip.shape[1]):
            skip[n, c] = rounded(y[n, h.shape[1] + c], exact)


@nb.njit(**JIT)  # type: ignore[untyped-decorator]
def gather(x: Floats, taps: NDArray[np.int64], out: Floats) -> None:
    """out (B H W, taps C): what a masked convolution sees of x (B, H, W, C)."""
    batch, height, width, channels = x.shape
    for m in range(batch * height * width):
        b, i, j = m // (height * width), m // width % height, m % width
        for t in range(len(taps)):
            row, column = i + taps[t, 0], j + taps[t, 1]
            inside = row >= 0 and column >= 0 and column < width
            for c in range(channels):
                out[m, t * channels + c] = x[b, row, column, c] if inside else ZERO


# --- the same with gradients -----------------------------------------------------------------------------------------


def flat(x: Tensor) -> NDArray[Any]:
    """All numbers of a contiguous tensor, bfloat16 as bits."""
    x = x.detach().view(-1)
    return x.view(torch.int16).numpy().view(np.uint16) if x.dtype == torch.bfloat16 else x.numpy()


def rows(x: Tensor) -> NDArray[Any]:
    """(B, H, W, C) as (B, H, W C)."""
    return flat(x).reshape(*x.shape[:2], -1)


def pixels(x: Tensor) -> NDArray[Any]:
    """(..., C) as (N, C)."""
    return flat(x).reshape(-1, x.shape[-1])


def product(a: Tensor, weight: Tensor) -> Tensor:
    """Sums (B, H or more, W, C') of a (B, H, W, C) with weight (C', C, r + 1, 2 r + 1)."""
    radius = weight.shape[2] - 1
    if radius:
        return F.conv2d(a.permute(0, 3, 1, 2), weight, padding=radius).permute(0, 2, 3, 1).contiguous()
    return (a.flatten(0, 2) @ weight.flatten(1).t()).view(*a.shape[:3], -1)


def back_through_product(a: Tensor, weight: Tensor, dy: Tensor) -> tuple[Tensor, Tensor]:
    """Gradients of a and of the weight."""
    radius = weight.shape[2] - 1
    if not radius:
        slopes = dy.flatten(0, 2)
        return (slopes @ weight.flatten(1)).view(a.shape), (slopes.t() @ a.flatten(0, 2)).view(weight.shape).float()
    da, dw, _ = torch.ops.aten.convolution_backward(
        dy.permute(0, 3, 1, 2),
        a.permute(0, 3, 1, 2),
        weight,
        None,
        [1, 1],
        [radius, radius],
        [1, 1],
        False,
        [0, 0],
        1,
        [True, True, False],
    )
    return da.permute(0, 2, 3, 1).contiguous(), dw.float()


def sums(gradient: Tensor) -> Tensor:
    """Sums over all pixels of a gradient (..., C): (C,) float32."""
    narrow = gradient.view(-1, gradient.shape[-1])
    return (narrow.new_ones(1, len(narrow)) @ narrow)[0].float()


def narrow_weight(weight: Tensor, narrow: torch.dtype) -> Tensor:
    """As a type that holds it exactly once it is rounded."""
    return weight.detach().to(narrow).contiguous(memory_format=torch.channels_last)


def requantised(a: Tensor, weight: Tensor, bias: Tensor, exact: bool) -> tuple[Tensor, Tensor, Tensor]:
    """Sums without the bias, the bias for each column, and outputs, of an inner layer that ends in a ReLU."""
    y = product(a, weight)
    tiled = bias.detach().repeat(a.shape[2])
    z = a.new_empty(*a.shape[:3], len(bias))
    requantise(rows(y), flat(tiled), rows(z), exact)
    return y, tiled, z


def back_through_requantised(y: Tensor, tiled: Tensor, dz: Tensor) -> Tensor:
    """The gradient of the sums from that of the outputs."""
    dy = torch.empty_like(y)
    back_through_requantise(rows(y), flat(tiled), rows(dz.contiguous()), rows(dy))
    return dy


class Start(torch.autograd.Function):
    """Stem and skip: patches (N, K), weight (S + P, K), context (N or 0, S) -> the stream (N, S), parameters (N, P)."""

    @staticmethod
    def forward(
        ctx: Any,
        patches: Tensor,
        weight: Tensor,
        bias: Tensor,
        context: Tensor,
        hidden: int,
        exact: bool,
        narrow: torch.dtype,
    ) -> tuple[Tensor, Tensor]:
        """h and parameters."""
        y = torch.addmm(bias, patches, weight.t())
        h, skip = y.new_empty(len(y), hidden), y.new_empty(len(y), y.shape[1] - hidden)
        part(pixels(y), pixels(context), pixels(h), pixels(skip), exact)
        ctx.save_for_backward(patches, h)
        ctx.with_context, ctx.narrow = len(context) > 0, narrow
        return h, skip

    @staticmethod
    def backward(ctx: Any, dh: Tensor, dskip: Tensor) -> tuple[Tensor | None, ...]:
        """Gradients of weight, bias and context."""
        patches, h = ctx.saved_tensors
        narrow = torch.empty(h.shape, dtype=ctx.narrow)
        narrow_within(flat(h), flat(dh.contiguous()), flat(narrow))
        both = torch.cat([narrow, dskip.to(ctx.narrow)], 1)
        dcontext = narrow.float() if ctx.with_context else h.new_zeros(0, h.shape[1])
        return None, (both.t() @ patches.to(ctx.narrow)).float(), sums(both), dcontext, None, None, None


class Block(torch.autograd.Function):
    """The stream (B, H, W, C) after a residual block."""

    @staticmethod
    def forward(
        ctx: Any,
        h: Tensor,
        weight: Tensor,
        bias: Tensor,
        weight_back: Tensor,
        bias_back: Tensor,
        exact: bool,
        narrow: torch.dtype,
    ) -> Tensor:
        """The stream."""
        first, second = narrow_weight(weight, narrow), narrow_weight(weight_back, narrow)
        a = torch.empty(h.shape, dtype=narrow)
        enter(flat(h), flat(a), exact)
        y, tiled, z = requantised(a, first, bias, exact)
        out = torch.empty_like(h)
        add(pixels(h), pixels(product(z, second)), flat(bias_back), pixels(out), exact)
        ctx.save_for_backward(h, a, first, y, tiled, z, second, out)
        return out

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor | None, ...]:
        """Gradients of the stream, weights and biases."""
        h, a, first, y, tiled, z, second, out = ctx.saved_tensors
        gradient = gradient.contiguous()
        narrow = torch.empty(h.shape, dtype=a.dtype)
        narrow_within(flat(out), flat(gradient), flat(narrow))
        dz, dsecond = back_through_product(z, second, narrow)
        dy = back_through_requantised(y, tiled, dz)
        da, dfirst = back_through_product(a, first, dy)
        dh = torch.empty_like(h)
        back_through_block(flat(out), flat(h), flat(gradient), flat(da), flat(dh))
        return dh, dfirst, sums(dy), dsecond, sums(narrow), None, None


class Neck(torch.autograd.Function):
    """Inner activations (B, H, W, C') of a pointwise layer on the stream (B, H, W, C)."""

    @staticmethod
    def forward(ctx: Any, h: Tensor, weight: Tensor, bias: Tensor, exact: bool, narrow: torch.dtype) -> Tensor:
        """Inner activations."""
        weight, a = narrow_weight(weight, narrow), torch.empty(h.shape, dtype=narrow)
        enter(flat(h), flat(a), exact)
        y, tiled, z = requantised(a, weight, bias, exact)
        ctx.save_for_backward(h, a, weight, y, tiled)
        return z

    @staticmethod
    def backward(ctx: Any, dz: Tensor) -> tuple[Tensor | None, ...]:
        """Gradients of the stream, weight and bias."""
        h, a, weight, y, tiled = ctx.saved_tensors
        dy = back_through_requantised(y, tiled, dz)
        da, dweight = back_through_product(a, weight, dy)
        dh = torch.empty_like(h)
        back_through_enter(flat(h), flat(da), flat(dh))
        return dh, dweight, sums(dy), None, None


class Head(torch.autograd.Function):
    """Parameters (N, P) before rounding, of inner activations (N, C)."""

    @staticmethod
    def forward(ctx: Any, n: Tensor, weight: Tensor, bias: Tensor) -> Tensor:
        """Parameters."""
        ctx.save_for_backward(n, weight)
        return torch.addmm(bias, n.float(), weight.t())

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor | None, ...]:
        """Gradients of inner activations, weight and bias."""
        n, weight = ctx.saved_tensors
        narrow = gradient.to(n.dtype)
        return narrow @ weight.to(n.dtype), (narrow.t() @ n).float(), sums(narrow)


def by_tap(layer: MaskedConv, weight: Tensor, taps: list[tuple[int, int]]) -> Tensor:
    """A weight as (C', taps C), 0 at taps that the layer does not have."""
    none = torch.zeros_like(weight[:, :, 0, 0])
    columns = [weight[:, :, i + layer.radius, j + layer.radius] if (i, j) in layer.taps else none for i, j in taps]
    return torch.cat(columns, 1)


def params_of(
    net: QuantisedLocalNet,
    x: Tensor,
    context: Tensor | None = None,
    stride: int = 1,
    *,
    narrow: torch.dtype,
) -> Tensor:
    """What `net(x, context, stride)` gives, nearly, with gradients for the weights and the context.

    narrow: the type of products, float32 or bfloat16.
    """
    exact = net.stem.exact
    batch, channels, height, width = x.shape
    patches = torch.empty(batch * height * width, len(net.stem.taps) * channels)
    gather(x.detach().permute(0, 2, 3, 1).contiguous().numpy(), np.array(net.stem.taps), patches.numpy())
    layers = net.stem, net.skip
    weights, biases = zip(*(layer.parameters_now() for layer in layers), strict=True)
    tapped = [by_tap(layer, weight, net.stem.taps) for layer, weight in zip(layers, weights, strict=True)]
    hidden = len(biases[0])
    given = x.new_zeros(0, hidden)
    if context is not None:
        given = spread(context, stride, 0, height, width).permute(0, 2, 3, 1).reshape(-1, hidden).contiguous()
    h, skip = apply(Start, patches, torch.cat(tapped), torch.cat(biases), given, hidden, exact, narrow)
    h = h.view(batch, height, width, hidden)
    for block in net.blocks:
        h = apply(Block, h, *numbers(block.spatial), *numbers(block.pointwise), exact, narrow)
    n = apply(Neck, h, *numbers(net.neck), exact, narrow)
    weight, bias = net.head.parameters_now()
    y = net.head.finished(apply(Head, n.flatten(0, 2), weight.flatten(1), bias)) + skip
    params: Tensor = y.view(batch, height, width, -1).permute(0, 3, 1, 2)
    return params


def numbers(layer: Any) -> tuple[Tensor, Tensor]:
    """Weight and bias to compute with."""
    assert isinstance(layer, InnerMaskedConv)
    return layer.parameters_now()


def apply(function: type[torch.autograd.Function], *arguments: Any) -> Any:
    """The function's outputs, with gradients."""
    return function.apply(*arguments)  # type: ignore[no-untyped-call]
