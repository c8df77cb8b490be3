"""Weights of a codec file, entropy-coded: whole numbers in, a message of the project's own stack out, and back.

Rows of a tensor (its first axis; all of a tensor of one axis) have one scale each: weights of a row are about as large
as each other. A weight v is q = (v - centre) >> |low| under a two-sided geometric distribution of its row's scale, and
`low` plain bits below it, none where `low` is negative: these bits are 0. The scales are coded first, as differences to
the row before, then the weights.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from functools import cache
from typing import Any, Final, NamedTuple

import numpy as np
from numpy.typing import NDArray

from bbcodec.binary import MAX_CODEC_BYTES
from bbcodec.coder.ans import AnsStack
from bbcodec.coder.kernels import geometric, uniform
from bbcodec.coder.kernels.geometric import BOUND, PRECISION_BITS
from bbcodec.coder.tables import LOG2
from bbcodec.errors import BadCodecFile, CoderError

TYPES: Final[dict[str, type[np.signedinteger[Any]]]] = {"i8": np.int8, "i16": np.int16, "i32": np.int32}
NAMES: Final = {np.dtype(kind): name for name, kind in TYPES.items()}
SCALES: Final = 64  # a is 4, 5, 6 or 7 times a power of two, from 4 * 2**-8 to 7 * 2**7; theta = a / (a + 1)
STEADY: Final = 24  # the scale of differences between scales: a = 1
MOST_LOW: Final = 22  # plain bits of a weight: any int32 can be stored, though layers refuse most
STEADY_ROW: Final = np.full(1, STEADY, np.uint8)
MOST_AXES: Final = 8
VALUES_A_BYTE: Final = 2**8  # of a message, at most: a zero of the smallest scale takes 1/23 bit

Tensor = NDArray[Any]


class Layout(NamedTuple):
    """How a tensor is stored."""

    name: str
    kind: str  # of TYPES
    shape: tuple[int, ...]
    centre: int
    low: int

    @property
    def rows(self) -> tuple[int, int]:
        """How many rows, of how many weights."""
        size = math.prod(self.shape)
        rows = self.shape[0] if len(self.shape) > 1 else 1
        return rows, size // max(rows, 1)


@cache
def tails() -> NDArray[np.int32]:
    """P(x >= m), m = 1 .. BOUND + 1, of each scale, in 2**-24: (SCALES, BOUND + 1), in whole numbers.

    With theta = a / (a + 1) in 2**-32, P(x >= 1) = theta / (1 + theta) = a / (2 a + 1), and each next one theta times
    the one before; all of it scaled to leave room for one more in 2**-24 for every value that may come.
    """
    a = [(4 + n % 4) << n // 4 for n in range(SCALES)]  # in 1/256
    theta = np.array([(one << 32) // (one + 256) for one in a], np.uint64)
    tail = np.array([(one << 32) // (2 * one + 256) for one in a], np.uint64)
    room = np.uint64((1 << PRECISION_BITS) - 2 * BOUND - 1)
    table = np.zeros((SCALES, BOUND + 1), np.int32)
    for m in range(BOUND):
        table[:, m] = (tail * room >> np.uint64(32)).astype(np.int32) + (BOUND - m)
        tail = tail * theta >> np.uint64(32)
    return table


@cache
def _bits() -> NDArray[np.float64]:
    """Bits of |q| under each scale, (BOUND + 1, SCALES): to choose scales by."""
    table = np.hstack([tails(), np.zeros((SCALES, 1), np.int32)]).astype(np.float64)
    masses = np.hstack([2.0**PRECISION_BITS - 2 * table[:, :1], -np.diff(table[:, :-1])])
    return np.ascontiguousarray((PRECISION_BITS - np.log2(masses)).T)


def layout_of(name: str, tensor: Tensor) -> Layout:
    """The layout of a tensor. Raises BadCodecFile for another type than the format has."""
    kind = NAMES.get(tensor.dtype)
    if kind is None:
        raise BadCodecFile(f"{name} is {tensor.dtype}, expected one of {', '.join(TYPES)}")
    whole = tensor.astype(np.int64)
    centre = int(np.median(whole)) if whole.size and tensor.ndim == 1 else 0
    least, most = int(whole.min(initial=centre)) - centre, int(whole.max(initial=centre)) - centre
    low = next(low for low in range(MOST_LOW + 1) if least >> low >= -BOUND and most >> low <= BOUND)
    used = int(np.bitwise_or.reduce(whole - centre, axis=None))
    step = (used & -used).bit_length() - 1 if used else 0  # a power of two that divides all
    low = -min(step, MOST_LOW) if step >= max(low, 1) else low
    return Layout(name, kind, tensor.shape, centre, low)


def pack_weights(tensors: Sequence[tuple[Layout, Tensor]]) -> bytes:
    """The message of tensors, each with its layout."""
    stack = AnsStack()
    for layout, tensor in reversed(tensors):
        whole = (tensor.astype(np.int64) - layout.centre).reshape(layout.rows)
        q = (whole >> abs(layout.low)).astype(np.int32)
        if layout.low > 0:
            plain = (whole & ((1 << layout.low) - 1)).astype(np.int32)
            stack.push(uniform.push, plain.reshape(-1), (), 1 << layout.low, LOG2)
        scales = _best_scales(q)
        stack.push(geometric.push, q, (scales,), tails())
        steps = np.diff(scales.astype(np.int32), prepend=STEADY)[None]
        stack.push(geometric.push, steps, (STEADY_ROW,), tails())
    return stack.flatten().astype("<u4").tobytes()


def unpack_weights(layouts: Sequence[Layout], message: bytes) -> list[Tensor]:
    """The tensors of a message. Raises BadCodecFile for layouts or a message that cannot be."""
    for layout in layouts:
        check_layout(layout)
    if sum(math.prod(layout.rows) for layout in layouts) > VALUES_A_BYTE * len(message) or len(message) % 4:
        raise BadCodecFile(f"weights are in a message of {len(message)} bytes, too few for so many, or cut short")
    try:
        stack = AnsStack.unflatten(np.frombuffer(message, "<u4"))
        tensors = [_pop(stack, layout) for layout in layouts]
    except CoderError as error:
        raise BadCodecFile(f"the message of the weights does not decode: {error}") from None
    if not np.array_equal(stack.flatten(), AnsStack().flatten()):
        raise BadCodecFile("the message of the weights has a tail")
    return tensors


def _pop(stack: AnsStack, layout: Layout) -> Tensor:
    rows, columns = layout.rows
    steps, q = np.zeros((1, rows), np.int32), np.zeros((rows, columns), np.int32)
    stack.pop(geometric.pop, steps, (STEADY_ROW,), tails())
    scales = STEADY + np.cumsum(steps[0])
    if rows and not 0 <= scales.min() <= scales.max() < SCALES:
        raise BadCodecFile(f"rows of {layout.name} have scales beyond {SCALES - 1}")
    stack.pop(geometric.pop, q, (scales.astype(np.uint8),), tails())
    whole = q.astype(np.int64) << abs(layout.low)
    if layout.low > 0:
        plain = np.zeros(rows * columns, np.int32)
        stack.pop(uniform.pop, plain, (), 1 << layout.low, LOG2)
        whole += plain.reshape(whole.shape)
    whole += layout.centre
    kind, (least, most) = TYPES[layout.kind], (whole.min(initial=0), whole.max(initial=0))
    if not np.iinfo(kind).min <= least <= most <= np.iinfo(kind).max:
        raise BadCodecFile(f"{layout.name} has numbers from {least} to {most}, beyond {layout.kind}")
    return whole.astype(kind).reshape(layout.shape)


def check_layout(layout: Layout) -> None:
    """Raise BadCodecFile for a layout that no tensor has."""
    whole = all(type(one) is int for one in (layout.centre, layout.low, *layout.shape))
    if (
        not whole
        or not isinstance(layout.name, str)
        or not isinstance(layout.kind, str)
        or layout.kind not in TYPES
        or not -MOST_LOW <= layout.low <= MOST_LOW
        or abs(layout.centre) > 2**31
        or len(layout.shape) > MOST_AXES
        or any(not 0 < side < 2**31 for side in layout.shape)
        or math.prod(layout.shape) > MAX_CODEC_BYTES
    ):
        raise BadCodecFile(f"no tensor is stored as {layout!r:.200}")


def _best_scales(q: NDArray[np.int32]) -> NDArray[np.uint8]:
    """The scale of each row (N, C) that takes the fewest bits."""
    sizes = np.minimum(np.abs(q), BOUND)
    most = int(sizes.max(initial=0)) + 1
    counts = np.bincount((sizes + np.arange(len(q))[:, None] * most).reshape(-1), minlength=len(q) * most)
    return np.asarray((counts.reshape(-1, most).astype(np.float64) @ _bits()[:most]).argmin(1), np.uint8)
