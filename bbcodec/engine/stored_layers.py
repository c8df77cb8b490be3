"""Layers from codec files, checked: what compiled code relies on, whoever wrote the file."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final, NamedTuple

import numpy as np
import numpy.typing as npt

SUM_BOUND: Final = 1 << 24
SHIFTS: Final = 1, 16
WEIGHT_BOUND: Final[dict[type, int]] = {np.int8: 127, np.int16: 2047}

Arrays = Mapping[str, npt.NDArray[Any]]


class Layer(NamedTuple):
    """A layer of `bbcodec.exact.quantised`: outputs are (start + weight x) >> shift."""

    weight: npt.NDArray[Any]
    start: npt.NDArray[np.int32]  # (outputs,): the bias, and the half that rounds
    shift: npt.NDArray[np.int8]  # (outputs,)


def stored_layer(
    arrays: Arrays, name: str, shape: tuple[int, ...], bound: int, dtype: type[np.int8] | type[np.int16]
) -> Layer:
    """A layer from its arrays `name.weight` of a shape, outputs first, and a type, `name.bias` and `name.shift`.

    bound: the greatest magnitude of an input. Raises ValueError if arrays lack, have other sizes or types, or break the
    bounds of exact sums.
    """
    try:
        weight, bias, shift = (arrays[f"{name}.{part}"] for part in ("weight", "bias", "shift"))
    except KeyError as error:
        raise ValueError(f"the net has no array {error}") from None
    found = [(part.shape, part.dtype.name) for part in (weight, bias, shift)]
    if found != [(shape, dtype.__name__), (shape[:1], "int32"), (shape[:1], "int8")]:
        raise ValueError(
            f"{name} has weights {weight.shape} {weight.dtype}, biases {bias.shape} {bias.dtype} and shifts "
            f"{shift.shape} {shift.dtype}, expected {shape} {dtype.__name__}, {shape[:1]} int32 and {shape[:1]} int8"
        )
    if shift.min() < SHIFTS[0] or shift.max() > SHIFTS[1]:
        raise ValueError(f"{name} has shifts {shift.min()} to {shift.max()}, expected {SHIFTS[0]} to {SHIFTS[1]}")
    half = np.int64(1) << (shift.astype(np.int64) - 1)
    size = np.abs(weight.astype(np.int64))
    most = int((bound * size.reshape(len(size), -1).sum(1) + np.abs(bias.astype(np.int64)) + half).max())
    if most >= SUM_BOUND or size.max() > WEIGHT_BOUND[dtype]:
        raise ValueError(f"{name} breaks the bound of exact sums: {most} of at most {SUM_BOUND - 1}")
    return Layer(weight, (bias + half).astype(np.int32), shift)
