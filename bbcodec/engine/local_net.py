"""A local net packed for `bbcodec.engine.waves`, from the whole numbers of its layers.

    h = clamp(stem(x) + context)
    for each block:  h = clamp(h + pointwise(relu(spatial(relu(h)))))
    params = head(relu(neck(relu(h)))) + skip(x)

The stem, the head and the skip are wide products, the rest inner ones (`bbcodec.engine.products`). Pixel (i, j) belongs
to wave j + 2 i; a tap (di, dj) looks at a pixel of an earlier wave, or (0, 0) at the pixel's own activations.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Final, NamedTuple

import numpy as np
import numpy.typing as npt

from bbcodec.engine.products import ACTIVATION_BOUND, BLOCK, Matrix, pack

SKEW: Final = 2
SUM_BOUND: Final = 1 << 24
SHIFT_MIN, SHIFT_MAX = 1, 16
WEIGHT_BOUND: Final[dict[type, int]] = {np.int8: 127, np.int16: 2047}

Arrays = Mapping[str, npt.NDArray[Any]]
Integers = npt.NDArray[np.int64]


class Packed(NamedTuple):
    """A local net as it is computed with. Make it with `packed`."""

    stem: Matrix
    spatial: Matrix  # stacked, one of each block; steps of fewer taps than the widest are padded
    pointwise: Matrix  # stacked, one of each block
    neck: Matrix
    head: Matrix
    skip: Matrix
    stem_taps: Integers  # (taps, 2): di, and by how many waves a tap looks back, as a negative number
    skip_taps: Integers
    spatial_taps: Integers  # (blocks, most taps, 2)
    spatial_count: Integers  # (blocks,): taps
    depth: int  # how many waves back the stem and the skip look
    block_depth: int  # how many waves back the blocks look
    embedding: npt.NDArray[np.int16]  # (levels,): what the net sees of each level of a pixel, from the lowest
    inside: int  # what it sees in the channel after these, where there is a pixel
    channels: int  # of a pixel
    pixel_width: int  # the same and the inside, rounded up to a multiple of 2
    stem_width: int  # channels of the stem and of a context
    hidden: int  # the same, padded to a multiple of 16, as are the next two
    inner: int
    neck_width: int
    parameters: int


class _Layer(NamedTuple):
    """A layer as it is exported."""

    weight: npt.NDArray[Any]  # (taps * inputs, outputs)
    bias: npt.NDArray[np.int32]
    shift: npt.NDArray[np.int8]
    taps: npt.NDArray[np.int8]  # (taps, 2)

    @property
    def inputs(self) -> int:
        return len(self.weight) // len(self.taps)

    @property
    def outputs(self) -> int:
        return int(self.weight.shape[1])

    @property
    def waves(self) -> Integers:
        """(taps, 2): rows, and waves that a tap looks back."""
        taps = self.taps.astype(np.int64)
        return np.stack([taps[:, 0], taps[:, 1] + SKEW * taps[:, 0]], 1)


def taps_of(radius: int, own: bool) -> npt.NDArray[np.int8]:
    """(taps, 2): rows and columns of the open taps, top to bottom, left to right; own: with the pixel itself."""
    reach = range(-radius, radius + 1)
    taps = [(di, dj) for di in range(-radius, 1) for dj in reach if dj + SKEW * di < 0 or (own and di == dj == 0)]
    return np.array(taps, np.int8)


def laid_out(tensors: Arrays, radii: Sequence[int], radius: int) -> dict[str, npt.NDArray[Any]]:
    """A net as `packed` takes it, from the tensors of a codec file, without the prefix of their names.

    tensors: for each layer `.weight` (outputs, inputs, taps), `.bias` and `.shift` (outputs,). radii: of each block;
    radius: of the stem. Raises KeyError or ValueError if tensors lack, are too many, or cannot be of such a net.
    """
    layers = {"stem": taps_of(radius, False), "skip": taps_of(min(radius, 2), False)}
    layers |= {name: taps_of(0, True) for name in ("neck", "head")}
    for block, each in enumerate(radii):
        layers |= {f"blocks.{block}.spatial": taps_of(each, True), f"blocks.{block}.pointwise": taps_of(0, True)}
    if len(tensors) != 3 * len(layers):
        raise ValueError(f"the net has {len(tensors)} tensors, expected {3 * len(layers)}")
    arrays: dict[str, npt.NDArray[Any]] = {}
    for name, taps in layers.items():
        weight, bias, shift = (tensors[f"{name}.{part}"] for part in ("weight", "bias", "shift"))
        if weight.ndim != 3 or weight.shape[2] != len(taps) or bias.dtype != np.int32 or shift.dtype != np.int8:
            raise ValueError(
                f"{name} has weights {weight.shape}, {bias.dtype} biases and {shift.dtype} shifts, "
                f"expected {len(taps)} taps, int32 and int8"
            )
        if bias.shape != weight.shape[:1] or shift.shape != weight.shape[:1]:  # or they would be broadcast
            raise ValueError(f"{name} has {bias.shape} biases and {shift.shape} shifts for {len(weight)} outputs")
        if shift.min() < SHIFT_MIN or shift.max() > SHIFT_MAX or np.abs(bias.astype(np.int64)).max() >= SUM_BOUND:
            raise ValueError(f"{name} has shifts {shift.min()} to {shift.max()}, or biases of 2**24 or more")
        arrays[f"{name}.weight"] = np.ascontiguousarray(weight.transpose(2, 1, 0)).reshape(-1, len(weight))
        arrays[f"{name}.bias"] = bias + (1 << (shift.astype(np.int32) - 1))
        arrays[f"{name}.shift"] = shift
        arrays[f"{name}.taps"] = taps
    return arrays


def padded(channels: int) -> int:
    """Channels rounded up to a multiple of 16."""
    return -(-channels // BLOCK) * BLOCK


def _layer(
    arrays: Arrays,
    name: str,
    inputs: int | None,
    outputs: int | None,
    dtype: type[np.int8] | type[np.int16],
    own: bool,
    bound: int,
) -> _Layer:
    """A layer by name, for inputs within +-bound.

    Raises ValueError if it lacks a part, if sizes, type or taps are not as expected, or if sums could reach 2**24.
    """
    try:
        layer = _Layer(*(arrays[f"{name}.{part}"] for part in _Layer._fields))
    except KeyError as error:
        raise ValueError(f"the net has no array {error}") from None
    size = (layer.inputs if inputs is None else inputs, layer.outputs if outputs is None else outputs)
    if layer.weight.shape != (len(layer.taps) * size[0], size[1]) or layer.weight.dtype != dtype:
        raise ValueError(
            f"{name} has weights {layer.weight.shape} {layer.weight.dtype} for {len(layer.taps)} taps, "
            f"expected {size[0]} inputs, {size[1]} outputs and {np.dtype(dtype)}"
        )
    if layer.bias.shape != (size[1],) or layer.shift.shape != (size[1],):
        raise ValueError(f"{name} has {layer.bias.shape} biases and {layer.shift.shape} shifts for {size[1]} outputs")
    most = (bound * np.abs(layer.weight.astype(np.int64)).sum(0) + np.abs(layer.bias.astype(np.int64))).max()
    if most >= SUM_BOUND or np.abs(layer.weight.astype(np.int64)).max() > WEIGHT_BOUND[dtype]:
        raise ValueError(f"{name} breaks the bound of exact sums: {most} of at most {SUM_BOUND - 1}")
    if layer.shift.min() < 0 or layer.shift.max() > 24:
        raise ValueError(f"{name} has shifts {layer.shift.min()} to {layer.shift.max()}, expected 0 to 24")
    back = layer.waves[:, 1].max()
    if back > 0 or (back == 0) != own or (layer.waves[layer.waves[:, 1] == 0] != 0).any() or layer.taps[:, 0].max() > 0:
        raise ValueError(f"{name} has taps at pixels that are not decoded yet")
    return layer


def _pack(layer: _Layer, inputs: int) -> Matrix:
    """A layer whose inputs are padded to `inputs` channels."""
    weight = layer.weight.reshape(len(layer.taps), layer.inputs, layer.outputs)
    return pack(np.pad(weight, ((0, 0), (0, inputs - layer.inputs), (0, 0))), layer.bias, layer.shift)


def _stack(layers: list[_Layer], inputs: int) -> Matrix:
    """Layers of one size but for their taps, as one matrix with an axis in front."""
    if not layers:
        blank = np.zeros((0, BLOCK), np.int32)
        return Matrix(np.zeros((0, 1, 1, BLOCK, 4), np.int8), blank, blank)
    matrices = [_pack(layer, inputs) for layer in layers]
    most = max(matrix.weight.shape[1] for matrix in matrices)
    weights = [np.pad(m.weight, ((0, 0), (0, most - m.weight.shape[1]), (0, 0), (0, 0))) for m in matrices]
    return Matrix(np.stack(weights), np.stack([m.start for m in matrices]), np.stack([m.shift for m in matrices]))


def packed(arrays: Arrays, embedding: npt.NDArray[np.int16], inside: int) -> Packed:
    """A net ready to run, from the arrays of `laid_out`.

    arrays: for each layer, `stem`, `blocks.0.spatial`, `blocks.0.pointwise` .. `neck`, `head`, `skip`: `.weight`
    (taps * inputs, outputs), rows by tap, then input; int8, int16 of stem, head and skip; `.bias` (outputs,) int32, the
    half that rounds included; `.shift` (outputs,) int8; `.taps` (taps, 2) int8, row and column.
    embedding: (levels,) what the net sees of each level of a pixel; inside: what it sees in the channel after these.
    Raises ValueError if layers lack, do not fit together, or break the bounds of exact sums.
    """
    seen, most = int(max(np.abs(embedding.astype(np.int64)).max(), abs(inside))), ACTIVATION_BOUND
    stem = _layer(arrays, "stem", None, None, np.int16, False, seen)
    inputs, hidden = stem.inputs, stem.outputs
    pixel_width = inputs + inputs % 2
    if inputs < 2:
        raise ValueError(f"the stem has {inputs} inputs, expected the channels of a pixel and one for the inside")
    count = len({name.split(".")[1] for name in arrays if name.startswith("blocks.")})
    names = [f"blocks.{block}" for block in range(count)]
    inner = _layer(arrays, f"{names[0]}.spatial", hidden, None, np.int8, True, most).outputs if names else BLOCK
    spatial = [_layer(arrays, f"{name}.spatial", hidden, inner, np.int8, True, most) for name in names]
    pointwise = [_layer(arrays, f"{name}.pointwise", inner, hidden, np.int8, True, most) for name in names]
    neck = _layer(arrays, "neck", hidden, None, np.int8, True, most)
    head = _layer(arrays, "head", neck.outputs, None, np.int16, True, most)
    skip = _layer(arrays, "skip", inputs, head.outputs, np.int16, False, seen)
    widest = max((len(layer.taps) for layer in spatial), default=1)
    taps = [np.pad(layer.waves, ((0, widest - len(layer.taps)), (0, 0))) for layer in spatial]
    block_taps = np.stack(taps) if taps else np.zeros((0, 1, 2), np.int64)
    return Packed(
        _pack(stem, pixel_width),
        _stack(spatial, padded(hidden)),
        _stack(pointwise, padded(inner)),
        _pack(neck, padded(hidden)),
        _pack(head, padded(neck.outputs)),
        _pack(skip, pixel_width),
        stem.waves,
        skip.waves,
        block_taps,
        np.array([len(layer.taps) for layer in spatial], np.int64),
        int(-min(stem.waves[:, 1].min(), skip.waves[:, 1].min())),
        int(-min(block_taps[..., 1].min(initial=0), 0)),
        np.ascontiguousarray(embedding, np.int16),
        int(inside),
        inputs - 1,
        pixel_width,
        hidden,
        padded(hidden),
        padded(inner),
        padded(neck.outputs),
        head.outputs,
    )
