"""Training of a `LocalNet` on CPUs in few passes over memory, with narrow products where these are quick.

Products of inner layers are of bfloat16 on CPUs that multiply these quickly, else of float32. Inner activations and
weights are whole numbers of 7 bits and a sign, which bfloat16 holds exactly; what it rounds are sums (to 8 bits) and
gradients. So the network that learns with it differs a little from the coded one: in a block, by up to 1/512 of what it
adds. Wide layers are computed in float32; gradients are of the type of products. Tensors are (B, H, W, C).
"""

from __future__ import annotations

from functools import partial
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor, nn

from bbcodec.exact.local_net import LocalNet
from bbcodec.exact.masked_conv import MaskedConv, spread
from bbcodec.exact.quantised import InnerMaskedConv
from bbcodec.models.fused_steps import (
    add,
    back_through_block,
    back_through_enter,
    back_through_requantise,
    enter,
    gather,
    in_parts,
    narrow_within,
    part,
    requantise,
)


def multiplies_bfloat16() -> bool:
    """Whether this CPU does so quickly."""
    return bool(torch.ops.mkldnn._is_mkldnn_bf16_supported())


def product_type() -> torch.dtype:
    """The type of products that is quickest on this CPU."""
    return torch.bfloat16 if multiplies_bfloat16() else torch.float32


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
    in_parts(requantise, rows(y), rows(z), shared=(flat(tiled), exact))
    return y, tiled, z


def back_through_requantised(y: Tensor, tiled: Tensor, dz: Tensor) -> Tensor:
    """The gradient of the sums from that of the outputs."""
    dy = torch.empty_like(y)
    in_parts(back_through_requantise, rows(y), rows(dz.contiguous()), rows(dy), shared=(flat(tiled),))
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
        in_parts(part, pixels(y), pixels(context), pixels(h), pixels(skip), shared=(exact,))
        ctx.save_for_backward(patches, h)
        ctx.with_context, ctx.narrow = len(context) > 0, narrow
        return h, skip

    @staticmethod
    def backward(ctx: Any, dh: Tensor, dskip: Tensor) -> tuple[Tensor | None, ...]:
        """Gradients of weight, bias and context."""
        patches, h = ctx.saved_tensors
        narrow = torch.empty(h.shape, dtype=ctx.narrow)
        in_parts(narrow_within, flat(h), flat(dh.contiguous()), flat(narrow))
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
        in_parts(enter, flat(h), flat(a), shared=(exact,))
        y, tiled, z = requantised(a, first, bias, exact)
        out = torch.empty_like(h)
        in_parts(add, pixels(h), pixels(product(z, second)), pixels(out), shared=(flat(bias_back), exact))
        ctx.save_for_backward(h, a, first, y, tiled, z, second, out)
        return out

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor | None, ...]:
        """Gradients of the stream, weights and biases."""
        h, a, first, y, tiled, z, second, out = ctx.saved_tensors
        gradient = gradient.contiguous()
        narrow = torch.empty(h.shape, dtype=a.dtype)
        in_parts(narrow_within, flat(out), flat(gradient), flat(narrow))
        dz, dsecond = back_through_product(z, second, narrow)
        dy = back_through_requantised(y, tiled, dz)
        da, dfirst = back_through_product(a, first, dy)
        dh = torch.empty_like(h)
        in_parts(back_through_block, flat(out), flat(h), flat(gradient), flat(da), flat(dh))
        return dh, dfirst, sums(dy), dsecond, sums(narrow), None, None


class Neck(torch.autograd.Function):
    """Inner activations (B, H, W, C') of a pointwise layer on the stream (B, H, W, C)."""

    @staticmethod
    def forward(ctx: Any, h: Tensor, weight: Tensor, bias: Tensor, exact: bool, narrow: torch.dtype) -> Tensor:
        """Inner activations."""
        weight, a = narrow_weight(weight, narrow), torch.empty(h.shape, dtype=narrow)
        in_parts(enter, flat(h), flat(a), shared=(exact,))
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
        in_parts(back_through_enter, flat(h), flat(da), flat(dh))
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


def fuse(model: nn.Module) -> torch.dtype:
    """Let the local nets among a model's parts learn in fused steps from now on. Returns the type of their products."""
    narrow = product_type()
    for net in (child for child in model.children() if isinstance(child, LocalNet)):
        net.forward = partial(params_of, net, narrow=narrow)  # type: ignore[method-assign]
    return narrow


def params_of(
    net: LocalNet,
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
    patches = torch.empty(batch, height * width, len(net.stem.taps) * channels)
    seen = x.detach().permute(0, 2, 3, 1).contiguous().numpy()
    in_parts(gather, seen, patches.numpy(), shared=(np.array(net.stem.taps),))
    layers = net.stem, net.skip
    weights, biases = zip(*(layer.parameters_now() for layer in layers), strict=True)
    tapped = [by_tap(layer, weight, net.stem.taps) for layer, weight in zip(layers, weights, strict=True)]
    hidden = len(biases[0])
    given = x.new_zeros(0, hidden)
    if context is not None:
        given = spread(context, stride, 0, height, width).permute(0, 2, 3, 1).reshape(-1, hidden).contiguous()
    h, skip = apply(Start, patches.flatten(0, 1), torch.cat(tapped), torch.cat(biases), given, hidden, exact, narrow)
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
