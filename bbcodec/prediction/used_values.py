"""Which values of 16 bits images use: all from the lowest to the highest, or a table of some, and then their ranks.

A depth of 12 bits in 16, values that are multiples of something, or that were stretched, are found so.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from bbcodec.binary import pack_varint, shortest, take_varint, unpack_method
from bbcodec.errors import DamagedArchive

LEVELS = 2**16
METHODS = 3  # of `unpack_method`
LEAST_SAVED = 16  # bytes: no table is shorter
SAVED_FOR_TABLE = 2  # bytes for one of the table: values that lack by chance save less than it seems


@dataclass(frozen=True)
class UsedValues:
    """Values from `low` to `high`; used: which of these there are, bool (high - low + 1,), or None for all."""

    low: int
    high: int
    used: NDArray[np.bool_] | None = None

    @classmethod
    def of(cls, images: NDArray[np.uint16]) -> UsedValues:
        """The values of images. Those that lack count where shorter numbers save much more than their table takes."""
        counts = np.bincount(images.reshape(-1), minlength=1)
        there = np.flatnonzero(counts)
        low, high = int(there[0]), int(there[-1])
        saved = images.size * np.log2((high - low + 1) / len(there)) / 8  # bytes, if those that lack are everywhere
        if saved <= LEAST_SAVED:
            return cls(low, high)
        found = cls(low, high, counts[low:] > 0)
        return found if saved > SAVED_FOR_TABLE * len(found.pack()) else cls(low, high)

    @property
    def most(self) -> int:
        """The highest rank."""
        return self.high - self.low if self.used is None else int(self.used.sum()) - 1

    def ranks(self, images: NDArray[np.uint16]) -> NDArray[np.uint16]:
        """Values as their numbers among those that are used."""
        shifted = images - np.uint16(self.low)
        if self.used is None:
            return shifted
        ranks: NDArray[np.uint16] = (np.cumsum(self.used) - 1).astype(np.uint16)[shifted]
        return ranks

    def values(self, ranks: NDArray[np.uint16]) -> NDArray[np.uint16]:
        """The inverse of `ranks`, of numbers up to `most`."""
        if self.used is None:
            return ranks + np.uint16(self.low)
        found: NDArray[np.uint16] = (np.flatnonzero(self.used) + self.low).astype(np.uint16)[ranks]
        return found

    def pack(self) -> bytes:
        """Lowest, highest less lowest, and 0, or 1 more than the method, size and content of a table of bits."""
        ends = pack_varint(self.low) + pack_varint(self.high - self.low)
        if self.used is None:
            return ends + b"\0"
        method, table = shortest(np.packbits(self.used).tobytes())
        return ends + bytes([1 + method]) + pack_varint(len(table)) + table

    @classmethod
    def take(cls, data: bytes, position: int) -> tuple[UsedValues, int]:
        """What `pack` wrote, and the position after it. Raises DamagedArchive."""
        low, position = take_varint(data, position)
        span, position = take_varint(data, position)
        if low + span >= LEVELS or position >= len(data):
            raise DamagedArchive("the values of images are not of 16 bits, or are cut short")
        kind, position = data[position], position + 1
        if kind == 0:
            return cls(low, low + span), position
        if kind > METHODS:
            raise DamagedArchive("a table of the values of images is packed by no known method")
        size, position = take_varint(data, position)
        bits = unpack_method(kind - 1, data[position : position + size], span // 8 + 1)
        if len(bits) != span // 8 + 1:
            raise DamagedArchive("a table of the values of images has another length")
        used = np.unpackbits(np.frombuffer(bits, np.uint8), count=span + 1).astype(bool)
        if not used[0] or not used[-1]:
            raise DamagedArchive("a table of the values of images lacks the lowest or the highest")
        return cls(low, low + span, used), position + size
