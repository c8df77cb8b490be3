# mypy: allow-untyped-defs, allow-untyped-calls
"""Rows of images in groups, each a message of binary decisions on rANS.

The decisions of a group are found from the first to the last and pushed from the last to the first. A kernel
`code_rows` finds them or, to decode, takes them; what it has learned goes on from group to group.
"""

from __future__ import annotations

from collections.abc import Callable
from itertools import pairwise
from typing import Any, Final

import numpy as np
import numpy.typing as npt

from bbcodec.binary import pack_varint, take_varint
from bbcodec.coder.ans import AnsStack, Kernel
from bbcodec.coder.compilation import compiled, inlined
from bbcodec.coder.kernels.rans import peek, put, take
from bbcodec.errors import CoderError, DamagedArchive
from bbcodec.prediction.mixing import PROBABILITY_BITS

GROUP: Final = 2**17  # samples of a group of rows, about

Values = npt.NDArray[Any]  # uint16 or uint32 (N, C, H, W)
Most = npt.NDArray[np.int64]  # (C,): the greatest value of each channel that there may be, which none is above


@inlined
def code(bit, p, decode, heads, words, position):
    """Code a decision whose probability of a one is p, 2**-16, or decode it; returns it."""
    if decode:
        slot = peek(heads, 0, PROBABILITY_BITS)
        bit = np.int64(slot < p)
    start, mass = (np.int64(0), p) if bit else (p, 65536 - p)
    if decode:
        position[0] = take(heads, words, position[0], 0, slot, start, mass, PROBABILITY_BITS)
    else:
        words[position[0]] = start << 16 | mass
        position[0] += 1
    return np.int64(bit)


@inlined
def code_bits(bits, count, decode, heads, words, position):
    """Code bits that are as likely 0 as 1, 1 to 16 of them, or decode them; returns them."""
    mass = np.int64(1 << PROBABILITY_BITS - count)
    if decode:
        slot = peek(heads, 0, PROBABILITY_BITS)
        bits = slot // mass
        position[0] = take(heads, words, position[0], 0, slot, bits * mass, mass, PROBABILITY_BITS)
    else:
        words[position[0]] = bits * mass << 16 | mass
        position[0] += 1
    return np.int64(bits)


@compiled
def push_steps(heads, words, n, steps):
    """Push steps, starts and masses in 2**-16 in the high and low halves, the last first."""
    for k in range(len(steps) - 1, -1, -1):
        n = put(heads, words, n, 0, steps[k] >> 16, steps[k] & 0xFFFF, PROBABILITY_BITS)
    return n


def pack_group(steps: npt.NDArray[np.uint32]) -> bytes:
    """The message of a group of steps, behind its length in words."""
    stack = AnsStack()
    stack.push(push_steps, steps, ())
    words = stack.flatten()
    return pack_varint(len(words)) + words.astype("<u4").tobytes()


def take_group(data: bytes, position: int, kernel: Kernel, values: npt.NDArray[Any], *shared: Any) -> int:
    """Pop the group of a message with a kernel (`AnsStack.pop`), into values; where it ends.

    Raises DamagedArchive or CoderError for one that cannot be.
    """
    size, position = take_varint(data, position)
    end = position + 4 * size
    if end > len(data):
        raise CoderError("a group is cut short")
    stack = AnsStack.unflatten(np.frombuffer(data, "<u4", size, position))
    stack.pop(kernel, values, (), *shared)
    if not np.array_equal(stack.flatten(), AnsStack().flatten()):
        raise CoderError("a group ends before its message")
    return end


def groups_of(shape: tuple[int, ...]) -> list[tuple[int, int]]:
    """First and last rows of the groups of images (N, C, H, W), counted through all channels of all images."""
    rows, size = shape[0] * shape[1] * shape[2], max(GROUP // shape[3], 1)
    return [(first, min(first + size, rows)) for first in range(0, rows, size)]


def bits_of_last(
    code_rows: Callable[..., Any], coder: Any, values: Values, most: Most, steps_a_sample: int, rows: int
) -> float:
    """What the last rows of the images cost, in bits, so many of each channel, after those above."""
    count, channels, height, width = values.shape
    size, bits = max(GROUP // width, 1), 0.0
    steps = np.empty(size * width * steps_a_sample, np.uint32)
    for plane in range(count * channels):
        end = (plane + 1) * height
        for first, last in pairwise([*range(end - height, end - rows, size), *range(end - rows, end, size), end]):
            found = code_rows(np.zeros(1, np.uint64), steps, 0, values, first, last, most, False, coder)
            if first >= end - rows:
                bits += float((PROBABILITY_BITS - np.log2(steps[:found] & 0xFFFF)).sum())
    return bits


def encode_groups(code_rows: Callable[..., Any], coder: Any, values: Values, most: Most, steps_a_sample: int) -> bytes:
    """Messages of the groups of rows of values, each behind its length in words."""
    groups, parts = groups_of(values.shape), []
    steps = np.empty((groups[0][1] - groups[0][0]) * values.shape[3] * steps_a_sample, np.uint32)
    for first, last in groups:
        count = code_rows(np.zeros(1, np.uint64), steps, 0, values, first, last, most, False, coder)
        parts.append(pack_group(steps[:count]))
    return b"".join(parts)


def decode_groups(code_rows: Callable[..., Any], coder: Any, data: bytes, values: Values, most: Most) -> None:
    """Fill values with those of `encode_groups`. Raises DamagedArchive."""
    position = 0
    for first, last in groups_of(values.shape):
        try:
            position = take_group(data, position, code_rows, values, first, last, most, True, coder)
        except CoderError as error:
            raise DamagedArchive(f"predicted images are damaged: {error}") from None
    if position != len(data):
        raise DamagedArchive("bytes follow predicted images")
