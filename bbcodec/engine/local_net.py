"""A local net as it is stored, and packed for `bbcodec.engine.waves`.

    h = clamp(stem(x) + context)
    for each block:  h = clamp(h + pointwise(relu(spatial(relu(h)))))
    params = head(relu(neck(relu(h)))) + skip(x)

The stem, the head and the skip are wide products, the rest inner ones (`bbcodec.engine.products`). Pixel (i, j) belongs
to wave j + 2 i; tap (di, dj) of a kernel is open if dj + 2 di < 0 (kind A), or also at (0, 0) (kind B).
"""

from __future__ import annotations

from typing import Final, NamedTuple

import numpy as np
import numpy.typing as npt

from bbcodec.engine.products import BLOCK, Matrix, pack

SKEW: Final = 2

Integers = npt.NDArray[np.int64]


def taps(radius: int, own: bool) -> list[tuple[int, int]]:
    """The open taps (di, dj) of a kernel, row by row; own: with the pixel itself (kind B)."""
    return [
        (di, dj)
        for di in range(-radius, 1)
        for dj in range(-radius, radius + 1)
        if dj + SKEW * di < 0 or (own and di == dj == 0)
    ]


class Layer(NamedTuple):
    """A layer as it is stored."""

    weight: npt.NDArray[np.int8] | npt.NDArray[np.int16]  # (taps, inputs, outputs); int16 for wide layers
    bias: npt.NDArray[np.int32]  # (outputs,)
    shift: npt.NDArray[np.int8]  # (outputs,), 0 or more


class LocalNet(NamedTuple):
    """A local net as it is stored."""

    stem: Layer  # (taps of kind A, channels + 1, hidden), wide
    spatial: tuple[Layer, ...]  # (taps of kind B, hidden, inner)
    pointwise: tuple[Layer, ...]  # (1, inner, hidden)
    neck: Layer  # (1, hidden, neck)
    head: Layer  # (1, neck, parameters), wide
    skip: Layer  # (taps of kind A, channels + 1, parameters), wide
    embedding: npt.NDArray[np.int16]  # (levels,): what the net sees of each level of a pixel
    inside: int  # what it sees in the channel that tells pixels from what is outside the image


class Packed(NamedTuple):
    """A local net as it is computed with. Make it with `packed`."""

    stem: Matrix
    spatial: Matrix  # a block each
    pointwise: Matrix
    neck: Matrix
    head: Matrix
    skip: Matrix
    stem_taps: Integers  # (taps, 2): di, and dj + 2 di
    spatial_taps: Integers
    skip_taps: Integers
    embedding: npt.NDArray[np.int16]
    inside: int
    channels: int  # of a pixel as the net sees it: 2 or 4
    stem_width: int  # channels of the stem and of a context
    hidden: int  # channels, padded to a multiple of 16, as are the next two
    inner: int
    neck_width: int
    parameters: int  # as many as are stored


def _kernel(count: int, own: bool) -> Integers:
    """The open taps of the kernel that has so many: (taps, 2), di and dj + 2 di."""
    radius = next((r for r in range(8) if len(taps(r, own)) == count), None)
    if radius is None:
        raise ValueError(f"{count} taps are not those of a kernel of kind {'B' if own else 'A'}")
    return np.array([(di, dj + SKEW * di) for di, dj in taps(radius, own)], np.int64)


def _packed_layer(layer: Layer, inputs: int) -> Matrix:
    """A layer whose inputs were padded to `inputs` channels."""
    more = inputs - layer.weight.shape[1]
    return pack(np.pad(layer.weight, ((0, 0), (0, more), (0, 0))), layer.bias, layer.shift)


def _stacked(layers: tuple[Layer, ...], inputs: int) -> Matrix:
    matrices = [_packed_layer(layer, inputs) for layer in layers]
    return Matrix(*(np.stack(parts) for parts in zip(*matrices, strict=True)))


def padded(channels: int) -> int:
    return -(-channels // BLOCK) * BLOCK


def packed(net: LocalNet) -> Packed:
    """A net ready to run. Raises ValueError if its layers do not fit together."""
    hidden, neck = net.neck.weight.shape[1:]
    inner = net.pointwise[0].weight.shape[1] if net.pointwise else BLOCK
    channels = net.stem.weight.shape[1]
    own = len(net.spatial[0].weight) if net.spatial else 1
    parameters = net.head.weight.shape[2]
    expected = {
        "stem": (net.stem, (len(net.stem.weight), channels, hidden), np.int16),
        "head": (net.head, (1, neck, parameters), np.int16),
        "skip": (net.skip, (len(net.skip.weight), channels, parameters), np.int16),
        "neck": (net.neck, (1, hidden, neck), np.int8),
        **{f"spatial {i}": (layer, (own, hidden, inner), np.int8) for i, layer in enumerate(net.spatial)},
        **{f"pointwise {i}": (layer, (1, inner, hidden), np.int8) for i, layer in enumerate(net.pointwise)},
    }
    for name, (layer, shape, dtype) in expected.items():
        if layer.weight.shape != shape or layer.weight.dtype != dtype:
            raise ValueError(
                f"{name} has weights {layer.weight.shape} {layer.weight.dtype}, expected {shape} {np.dtype(dtype)}"
            )
    if len(net.spatial) != len(net.pointwise) or channels not in (2, 4):
        raise ValueError(
            f"expected as many spatial as pointwise layers and 1 or 3 channels, got {len(net.spatial)}, "
            f"{len(net.pointwise)} and {channels - 1}"
        )
    empty = Layer(np.zeros((1, BLOCK, BLOCK), np.int8), np.zeros(BLOCK, np.int32), np.zeros(BLOCK, np.int8))
    blocks = len(net.spatial)
    spatial = _stacked(net.spatial or (empty,), padded(hidden) if blocks else BLOCK)
    pointwise = _stacked(net.pointwise or (empty,), padded(inner))
    return Packed(
        _packed_layer(net.stem, channels),
        Matrix(*(part[:blocks] for part in spatial)),
        Matrix(*(part[:blocks] for part in pointwise)),
        _packed_layer(net.neck, padded(hidden)),
        _packed_layer(net.head, padded(neck)),
        _packed_layer(net.skip, channels),
        _kernel(len(net.stem.weight), False),
        _kernel(own, True),
        _kernel(len(net.skip.weight), False),
        np.ascontiguousarray(net.embedding, np.int16),
        int(net.inside),
        channels,
        hidden,
        padded(hidden),
        padded(inner),
        padded(neck),
        parameters,
    )
