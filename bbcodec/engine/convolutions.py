# mypy: allow-untyped-defs, allow-untyped-calls
"""Convolutions over maps of images, as `bbcodec.exact.quantised` computes them: plain, strided and transposed.

A map is (rows, columns, images, channels), with a border of zeros about it: the same place of all images lies side by
side, so that a tap of a run of places is a run of rows. A transposed convolution is four plain ones, one for each
parity of an output's row and column. Channels of activations are padded to a multiple of 16.
"""

from __future__ import annotations

from typing import Any, Final, NamedTuple

import numpy as np
import numpy.typing as npt

from bbcodec.engine.compiling import Kernels, address, compiled, inlined
from bbcodec.engine.local_net import Integers, padded
from bbcodec.engine.products import (
    ACTIVATION_BOUND,
    SLACK_ROWS,
    Matrix,
    inner_to_bytes,
    inner_to_stream,
    inner_to_values,
    pack,
    wide_to_stream,
)
from bbcodec.engine.stored_layers import Arrays, stored_layer

TO_BYTES, TO_STREAM, TO_VALUES, WIDE_TO_STREAM = range(4)  # what a layer reads and writes, by its product
BORDER: Final = 1  # places: kernels are 3 x 3 at most, and a transposed one sees one place further

Bytes = npt.NDArray[np.uint8]


class Convolution(NamedTuple):
    """A layer packed for `convolve`. Make it with `plain` or `transposed`."""

    weight: npt.NDArray[Any]  # a packed matrix of each parity, stacked, as are the next two
    start: npt.NDArray[np.int32]
    shift: npt.NDArray[np.int32]
    taps: Integers  # (parities, taps, 2): row and column of each, from the place that an output looks at
    step: int  # places of the input from one output of a parity to the next, each way
    parities: int  # each way: 1, or 2 of a transposed convolution
    inputs: int  # channels, padded
    outputs: int  # channels


class Map(NamedTuple):
    """Numbers of some images at each place, with room to read beyond the last. Make it with `blank` or `view`."""

    data: Bytes  # flat
    rows: int
    columns: int
    border: int
    images: int
    size: int  # bytes of an image at a place
    pitch: int  # bytes from a place to the next


def blank(rows: int, columns: int, images: int, channels: int, dtype: type[np.uint8] | type[np.int16]) -> Map:
    """A map of zeros."""
    size = channels * np.dtype(dtype).itemsize
    places = (rows + 2 * BORDER) * (columns + 2 * BORDER)
    return Map(
        np.zeros((places * images + SLACK_ROWS) * size, np.uint8), rows, columns, BORDER, images, size, images * size
    )


def view(array: npt.NDArray[np.int16], first: int, images: int) -> Map:
    """Images first .. first + images - 1 of an array (rows, columns, all images, channels), to write into."""
    rows, columns, every, channels = array.shape
    size = channels * array.itemsize
    data = array.reshape(-1).view(np.uint8)[first * size :]
    return Map(data, rows, columns, 0, images, size, every * size)


def _line(one):
    """Bytes from a row of a map to the next."""
    return (one.columns + 2 * one.border) * one.pitch


line_of = inlined(_line)


def inside(one: Map, dtype: type[np.uint8] | type[np.int16]) -> npt.NDArray[Any]:
    """The numbers of a map of `blank` but for its border, (rows, columns, images, channels), to read or write."""
    shape = one.rows + 2 * one.border, one.columns + 2 * one.border, one.images, one.size
    edge = slice(one.border, -one.border)
    return one.data[: np.prod(shape)].reshape(shape).view(dtype)[edge, edge]


def plain(
    arrays: Arrays, name: str, shape: tuple[int, int, int], bound: int = ACTIVATION_BOUND, stride: int = 1
) -> Convolution:
    """A convolution from the arrays of its codec file: `.weight` (outputs, inputs, k, k), `.bias`, `.shift` (outputs,).

    shape: outputs, inputs and k, 1 or 3. Weights are int8 and inputs 0..127, or int16 and inputs within +-bound.
    Raises ValueError if arrays lack, do not have these sizes, or break the bounds of exact sums.
    """
    outputs, inputs, k = shape
    dtype = np.int8 if bound == ACTIVATION_BOUND else np.int16
    weight, start, shift = stored_layer(arrays, name, (outputs, inputs, k, k), bound, dtype)
    taps = np.array([(i - k // 2, j - k // 2) for i in range(k) for j in range(k)], np.int64)
    each = weight.transpose(2, 3, 1, 0).reshape(k * k, inputs, outputs)
    return _stacked([each], start, shift, taps[None], stride, 1)


def transposed(arrays: Arrays, name: str, shape: tuple[int, int]) -> Convolution:
    """A convolution that doubles the resolution, 4 x 4, as `plain`; shape: outputs and inputs."""
    weight, start, shift = stored_layer(arrays, name, (*shape, 4, 4), ACTIVATION_BOUND, np.int8)
    # Output 2 m + parity sees input m with one tap and, with the other, m - 1 (parity 0) or m + 1 (parity 1).
    seen = {0: ((0, 1), (-1, 3)), 1: ((0, 2), (1, 0))}  # parity -> places and taps
    weights, taps = [], []
    for down in (0, 1):
        for right in (0, 1):
            pairs = [(i, j) for i in seen[down] for j in seen[right]]
            weights.append(np.stack([weight[:, :, i[1], j[1]].T for i, j in pairs]))
            taps.append([(i[0], j[0]) for i, j in pairs])
    return _stacked(weights, start, shift, np.array(taps, np.int64), 1, 2)


def _stacked(
    weights: list[npt.NDArray[Any]],
    start: npt.NDArray[np.int32],
    shift: npt.NDArray[np.int8],
    taps: Integers,
    step: int,
    parities: int,
) -> Convolution:
    """Weights (taps, inputs, outputs) of each parity, packed; inputs padded as maps have them."""
    _, inputs, outputs = weights[0].shape
    width = padded(inputs) if weights[0].dtype == np.int8 else inputs + inputs % 2
    packed = [pack(np.pad(one, ((0, 0), (0, width - inputs), (0, 0))), start, shift) for one in weights]
    weight, starts, shifts = (np.stack(parts) for parts in zip(*packed, strict=True))
    return Convolution(weight, starts, shifts, taps, step, parities, width, outputs)


@compiled
def run(kernels, kind, layer, offsets, source, target, seen):
    """As `convolve`. offsets: (parities, taps), bytes from the place that an output looks at to its taps.

    Layer and maps are plain tuples, which numba takes faster than named ones.
    """
    layer, source, target, seen = Convolution(*layer), Map(*source), Map(*target), Map(*seen)
    line, out_line, seen_line = line_of(source), line_of(target), line_of(seen)
    origin = address(source.data) + source.border * (line + source.pitch)
    out_origin = address(target.data) + target.border * (out_line + target.pitch)
    seen_origin = address(seen.data) + seen.border * (seen_line + seen.pitch)
    parities, size, zero = layer.parities, source.size, np.int64(0)
    at_once = np.int64(1)  # places whose images lie side by side, in all maps
    if layer.step == 1 and parities == 1 and target.pitch == target.images * target.size:
        at_once = target.columns
    for parity in range(parities * parities):
        down, right, at = parity // parities, parity % parities, offsets[parity]
        matrix = Matrix(layer.weight[parity], layer.start[parity], layer.shift[parity])
        for i in range(down, target.rows, parities):
            for j in range(right, target.columns, parities * at_once):
                a = origin + (i // parities * line + j // parities * source.pitch) * layer.step
                y, z = out_origin + i * out_line + j * target.pitch, seen_origin + i * seen_line + j * seen.pitch
                n = at_once * source.images
                if kind == TO_BYTES:
                    inner_to_bytes(kernels, a, size, at, layer.inputs, matrix, y, target.size, zero, zero, n)
                elif kind == TO_VALUES:
                    inner_to_values(kernels, a, size, at, layer.inputs, matrix, y, target.size, zero, zero, n)
                elif kind == TO_STREAM:
                    inner_to_stream(kernels, a, size, at, layer.inputs, matrix, y, target.size, z, seen.size, n)
                else:
                    wide_to_stream(kernels, a, size, at, layer.inputs, matrix, y, target.size, z, seen.size, n)


def convolve(
    kernels: Kernels, kind: int, layer: Convolution, source: Map, target: Map, seen: Map | None = None
) -> None:
    """Compute a layer from one map to another, which says how many of its outputs there are.

    kind: what the layer reads and writes. TO_STREAM and WIDE_TO_STREAM add to the target, int16, and put what the next
    layer sees of it into `seen`, uint8; TO_BYTES (uint8) and TO_VALUES (int16) do neither. Maps but for the target have
    borders.
    """
    offsets = layer.taps[..., 0] * _line(source) + layer.taps[..., 1] * source.pitch
    maps = source, target, target if seen is None else seen
    run(kernels, kind, tuple(layer), offsets, *(tuple(each) for each in maps))
