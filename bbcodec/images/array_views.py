"""Arrays of any type and order seen as images (N, H, W, C) of 8 bits, or of 16, and put back as they were.

A view says which axes of an array are those of images, in which order its values lie, and which of up to 256 values
each level of a pixel stands for, or which whole number each of 65,536.
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass
from functools import cached_property
from itertools import chain
from typing import Any, Final, NamedTuple

import numpy as np
from numpy.typing import NDArray

from bbcodec.binary import MAX_VALUES
from bbcodec.errors import DamagedArchive

# What levels stand for, by number; a table of values takes the place of the number in a skeleton.
SAME, WHOLE, UNIT = 0, 1, 2  # bytes as they are; the whole numbers 0 to 255; k / 255
DEEP, DEEP_SIGNED = 3, 4  # pixels of 16 bits: the whole numbers from 0, or from -2**15
DEEP_LOWEST: Final = {DEEP: 0, DEEP_SIGNED: -(2**15)}
LEAST_DEEP_SIDE: Final = 5  # of what has 16 bits: a shorter last axis is one of channels
KINDS: Final = ("", "b", "u", "i", "f")
ITEM_BYTES: Final = (1, 2, 4, 8)
# An array in Fortran's order is held in memory as a whole: its images lie scattered.
MAX_SCATTERED_BYTES: Final = 2**28
MAX_AXES: Final = 32
LEAST_OFTEN: Final = 4  # times that values of a table come, on average
SAMPLE_VALUES: Final = 2**14  # that tell of most arrays that they are no images

Values = int | bytes
Images = NDArray[Any]  # uint8, or uint16 of 65,536 levels


@dataclass(frozen=True)
class SeenShape:
    """The images that an array is seen as, (N, H, W, C), and whether the axis of channels comes before H and W."""

    count: int
    height: int
    width: int
    channels: int
    channels_first: bool = False

    @property
    def images(self) -> tuple[int, int, int, int]:
        """(N, H, W, C)."""
        return self.count, self.height, self.width, self.channels


def seen_shape(shape: tuple[int, ...]) -> SeenShape | None:
    """The images of an array by its shape: with channels last, first, or without; None where it has none.

    >>> [seen_shape(shape).images for shape in ((5, 3, 28, 30), (5, 28, 30, 3), (5, 28, 30), (28, 30))]
    [(5, 28, 30, 3), (5, 28, 30, 3), (5, 28, 30, 1), (1, 28, 30, 1)]
    """
    match shape:
        case (*lead, h, w, (1 | 3 | 4) as c) if lead:
            seen = SeenShape(math.prod(lead), h, w, c)
        case (*lead, (1 | 3 | 4) as c, h, w) if lead:
            seen = SeenShape(math.prod(lead), h, w, c, c > 1)
        case (h, w, (3 | 4) as c) if c == 3 or w > 4:  # (N, 4, 4) are small images
            seen = SeenShape(1, h, w, c)
        case (*lead, h, w):
            seen = SeenShape(math.prod(lead), h, w, 1)
        case _:
            return None
    fits = len(shape) <= MAX_AXES and min(seen.images) > 0 and seen.height * seen.width * seen.channels <= MAX_VALUES
    return seen if fits else None


def deep_shape(shape: tuple[int, ...]) -> SeenShape | None:
    """The grey images of 16 bits of an array by its shape; None where it has none.

    >>> [seen and seen.images for seen in map(deep_shape, ((5, 3, 28, 30), (28, 30, 1), (28, 30), (28, 30, 3)))]
    [(15, 28, 30, 1), (1, 28, 30, 1), (1, 28, 30, 1), None]
    """
    *lead, height, width = shape[:-1] if len(shape) > 2 and shape[-1] == 1 else shape
    count = math.prod(lead)
    fits = width >= LEAST_DEEP_SIDE and min(count, height) > 0 and height * width <= MAX_VALUES
    return SeenShape(count, height, width, 1) if fits and len(shape) <= MAX_AXES else None


@dataclass(frozen=True)
class ArrayView:
    """How an array is seen as images.

    descr: its type, as in an npy header. values: SAME, WHOLE, UNIT, DEEP, DEEP_SIGNED, or a table of the values that
    levels stand for, one after another. split: whether alpha is stored apart. parts: in how many stretches of images,
    nearly equal, the planes of a split array follow each other.
    """

    descr: str
    shape: tuple[int, ...]
    fortran: bool
    values: Values
    split: bool = False
    parts: int = 1

    @property
    def plain(self) -> bool:
        """Whether the bytes of the array are those of its images, one plane in C order."""
        seen = self.seen
        return self.values == SAME and not self.fortran and not seen.channels_first and seen.channels != 4

    @property
    def deep(self) -> bool:
        """Whether images have 16 bits."""
        return self.values in (DEEP, DEEP_SIGNED)

    @property
    def _lowest(self) -> int:
        """The whole number that a pixel of 16 bits, 0, stands for."""
        return DEEP_LOWEST[self.values] if isinstance(self.values, int) else 0

    @property
    def pixel_type(self) -> np.dtype[Any]:
        """The type of pixels in the content of chunks."""
        return np.dtype("<u2" if self.deep else "u1")

    @cached_property
    def dtype(self) -> np.dtype[Any]:
        """The type of the array."""
        return np.dtype(self.descr)

    @cached_property
    def seen(self) -> SeenShape:
        """The images."""
        seen = deep_shape(self.shape) if self.deep else seen_shape(self.shape)
        if seen is None:
            raise DamagedArchive(f"an array of shape {self.shape} holds no images")
        return seen

    @property
    def planes(self) -> tuple[int, ...]:
        """The channels of each plane that images are stored as."""
        return (self.seen.channels - 1, 1) if self.split else (self.seen.channels,)

    @property
    def image_bytes(self) -> int:
        """The bytes of one image in the array."""
        return math.prod(self.seen.images[1:]) * self.dtype.itemsize

    @cached_property
    def table(self) -> NDArray[Any]:
        """The value of each level."""
        if isinstance(self.values, bytes):
            return np.frombuffer(self.values, self.dtype)
        return levels_as(self.values, self.dtype)

    def header(self, length: int) -> bytes:
        """The header of `length` bytes that NumPy writes before such an array."""
        text = f"{{'descr': {self.descr!r}, 'fortran_order': {self.fortran}, 'shape': {self.shape}, }}"
        start = b"\x93NUMPY\x01\0" + max(0, length - 10).to_bytes(4, "little")[:2] + text.encode("latin1")
        return start.ljust(length - 1)[: length - 1] + b"\n"

    def images_of(self, data: bytes | memoryview) -> Images:
        """Images (n, H, W, C) from bytes of the array: of all of it, or, in C order, of some images."""
        seen, flat = self.seen, np.frombuffer(data, self.dtype)
        if self.fortran:
            flat = flat.reshape(self.shape, order="F").reshape(-1)
        levels = self._levels(flat)
        if seen.channels_first:
            return levels.reshape(-1, seen.channels, seen.height, seen.width).transpose(0, 2, 3, 1)
        return levels.reshape(-1, *seen.images[1:])

    def _levels(self, flat: NDArray[Any]) -> Images:
        """The level of each value."""
        if self.values == SAME:
            return flat.view(np.uint8)
        if self.deep:
            deep: Images = (flat.astype(np.int32) - self._lowest).astype(np.uint16)
            return deep
        if self.values == WHOLE:
            return flat.astype(np.uint8)
        if self.values == UNIT:
            return np.rint(flat.astype(np.float64) * 255).astype(np.uint8)
        table = bits_of(self.table)
        order = np.argsort(table, kind="stable")
        found = np.searchsorted(table[order], bits_of(flat))
        return order.astype(np.uint8)[found]

    def bytes_of(self, images: Images) -> bytes:
        """The bytes of the array from images: all of them, or, in C order, some. Raises DamagedArchive."""
        if self.deep:
            values = (images.astype(np.int32) + self._lowest).astype(self.dtype)
        elif self.values != SAME:
            table = self.table
            if int(images.max(initial=0)) >= len(table):
                raise DamagedArchive("a pixel of an array has no value in its table")
            values = table[images]
        else:
            values = images.view(self.dtype)
        if self.seen.channels_first:
            values = values.transpose(0, 3, 1, 2)
        content: bytes = values.reshape(self.shape).tobytes("F") if self.fortran else values.tobytes()
        return content

    def shown(self, images: Images) -> Images:
        """What images show: the values of a table of bytes, else the levels; of 16 bits the high byte."""
        if self.deep:
            return (images >> np.uint16(8)).astype(np.uint8)
        return self.table[images] if isinstance(self.values, bytes) and self.dtype.str == "|u1" else images

    def part_images(self) -> list[int]:
        """How many images each of the parts has."""
        count = self.seen.count
        return [count * (part + 1) // self.parts - count * part // self.parts for part in range(self.parts)]

    def packed(self) -> list[Any]:
        """For a skeleton."""
        return [self.descr, list(self.shape), self.fortran, self.values, self.split, self.parts]

    @classmethod
    def unpacked(cls, fields: Any) -> ArrayView:
        """From a skeleton. Raises TypeError or ValueError for fields that are none."""
        descr, shape, fortran, values, split, parts = fields
        dtype = array_type(descr)
        whole = all(type(number) is int for number in (*shape, parts))
        known = values in (SAME, WHOLE, UNIT, DEEP, DEEP_SIGNED) if type(values) is int else isinstance(values, bytes)
        if dtype is None or not whole or not known or type(fortran) is not bool or type(split) is not bool:
            raise TypeError("the fields of a view are not those of the format")
        view = cls(descr, tuple(shape), fortran, values, split, parts)
        seen = deep_shape(view.shape) if view.deep else seen_shape(view.shape)
        if seen is None or not 1 <= parts <= seen.count or (split and seen.channels != 4):
            raise ValueError("a view is not one of images")
        if isinstance(values, bytes) and not (values and len(values) % dtype.itemsize == 0 and len(view.table) <= 256):
            raise ValueError("a table of values has another length")
        if view.deep and dtype.itemsize == 1:
            raise ValueError("pixels of 16 bits do not fit into bytes")
        if (values == SAME and dtype.itemsize != 1) or (values == UNIT and dtype.kind != "f"):
            raise ValueError("a view has other values than its type")
        if fortran and seen.count * view.image_bytes > MAX_SCATTERED_BYTES:
            raise ValueError("a scattered array is too large")
        return view


def array_type(descr: Any) -> np.dtype[Any] | None:
    """The type of an array by its description in an npy header, if it may be seen as images; else None."""
    if not isinstance(descr, str) or len(descr) != 3 or descr[0] not in "<>|" or descr[1] not in "buif":
        return None
    size = int(descr[2]) if descr[2].isdigit() else 0
    if size not in ITEM_BYTES or (descr[1] == "b" and size != 1) or (descr[1] == "f" and size == 1):
        return None
    return np.dtype(descr) if np.dtype(descr).str == descr else None


def bits_of(values: NDArray[Any]) -> NDArray[Any]:
    """The bits of values as unsigned numbers, in which NaNs are equal and zeros are not."""
    bits = values.view(f"{values.dtype.str[0]}u{values.dtype.itemsize}")
    return bits.astype(f"=u{values.dtype.itemsize}", copy=False)


def values_of(bits: NDArray[Any], dtype: np.dtype[Any]) -> NDArray[Any]:
    """The inverse of `bits_of`."""
    return bits.astype(f"{dtype.str[0]}u{dtype.itemsize}").view(dtype)


def levels_as(values: int, dtype: np.dtype[Any]) -> NDArray[Any]:
    """The value of each of 256 levels (of as many as the type has). k / 255 is a double, rounded to the type."""
    if values == UNIT:
        return (np.arange(256) / 255).astype(dtype)
    if values == SAME:
        return np.arange(256, dtype=np.uint8).view(dtype)
    return np.arange(128 if dtype.kind == "i" and dtype.itemsize == 1 else 256).astype(dtype)


# --- finding a view --------------------------------------------------------------------------------------------------


class FoundValues(NamedTuple):
    """What levels stand for, and how many there are, 2, 256 or 65,536."""

    values: Values
    levels: int


def find_values(pieces: Iterable[NDArray[Any]], dtype: np.dtype[Any]) -> FoundValues | None:
    """What the values of an array, in pieces, are as levels; None where they are no levels.

    Levels are at most 256, and those that are neither whole numbers nor shares of 255 come often: a few measurements
    are no image. Or they are whole numbers of 16 bits.
    """
    known, total = np.zeros(0, f"u{dtype.itemsize}"), 0
    rest = iter(pieces)
    for piece in rest:
        total += len(piece)
        for start, stop in ((0, SAMPLE_VALUES), (SAMPLE_VALUES, len(piece))):
            known = np.union1d(known, _distinct(bits_of(piece[start:stop])))
            if len(known) > 256:
                return _deep_values(chain([values_of(known, dtype), piece[stop:]], rest), dtype)
    if dtype.kind == "b":
        return FoundValues(SAME, 2) if int(known.max()) <= 1 else None
    found = values_of(known, dtype)
    table = found[np.lexsort((known, found))].tobytes()  # in the order of values
    plain = SAME if dtype.str == "|u1" else WHOLE
    if np.isin(known, bits_of(levels_as(plain, dtype)[:2])).all():
        return FoundValues(plain, 2)
    often = len(known) * LEAST_OFTEN <= total
    if len(known) <= 2 and often:
        return FoundValues(table, 2)
    for values in (plain, UNIT) if dtype.kind == "f" else (plain,):
        if np.isin(known, bits_of(levels_as(values, dtype))).all():
            return FoundValues(values, 256)
    return FoundValues(table, 256) if often else None


def _deep_values(pieces: Iterable[NDArray[Any]], dtype: np.dtype[Any]) -> FoundValues | None:
    """Whole numbers of 16 bits from 0 or from -2**15, as levels; None for others."""
    fitting = set(DEEP_LOWEST) if dtype.itemsize > 1 else set()
    for piece in pieces:
        if not piece.size or not fitting:
            continue
        with np.errstate(invalid="ignore"):  # of what is no number
            whole = piece.astype(np.int64)
        same = bits_of(whole.astype(dtype)) == bits_of(piece)
        low, high = int(whole.min()), int(whole.max())
        fitting = {one for one in fitting if same.all() and DEEP_LOWEST[one] <= low and high < DEEP_LOWEST[one] + 65536}
    return FoundValues(min(fitting), 65536) if fitting else None


def _distinct(bits: NDArray[Any]) -> NDArray[Any]:
    """The distinct numbers in an array."""
    if bits.dtype.itemsize > 2:
        return np.unique(bits)
    count = np.bincount(bits.astype(np.uint16), minlength=1)
    return np.flatnonzero(count).astype(bits.dtype)
