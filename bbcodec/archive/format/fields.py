"""The fields of a directory: the few types of MessagePack that it has, and columns of whole numbers.

A general reader makes an object of every byte that a stranger sends. This one takes nothing but what is expected next,
so that it never holds more than the bytes that it was given.
"""

from __future__ import annotations

import struct
from collections.abc import Sequence
from typing import Final

from bbcodec.errors import DamagedArchive

# What a reader may be made to hold by each byte of a directory as it is stored, so that none costs more than it weighs.
# Paths of hundreds of bytes that differ in a digit, or files that differ in nothing else, would exceed them: padding.
CONTENT_PER_BYTE: Final = 64  # bytes after unpacking
CONTENT_ALLOWANCE: Final = 2**12
ITEMS_ALLOWANCE: Final = 64  # names, places and codecs, beside one for each byte
DENSE_BYTES: Final = 2**17  # from here on, one for four bytes: a million items take seconds
SPARSE: Final = 4

NIL: Final = 0xC0
# MessagePack's first byte of a number -> how the number is laid out; of bytes, text, arrays -> how their length is.
_NUMBERS: Final = dict(zip(range(0xCC, 0xD4), (">B", ">H", ">I", ">Q", ">b", ">h", ">i", ">q"), strict=True))
_BYTES_LENGTHS: Final = {0xC4: ">B", 0xC5: ">H", 0xC6: ">I"}
_TEXT_LENGTHS: Final = {0xD9: ">B", 0xDA: ">H", 0xDB: ">I"}
_ARRAY_LENGTHS: Final = {0xDC: ">H", 0xDD: ">I"}


# --- bounds ----------------------------------------------------------------------------------------------------------


def content_bound(stored_bytes: int) -> int:
    """How many bytes a directory of so many bytes, as stored, may unpack to."""
    return CONTENT_PER_BYTE * stored_bytes + CONTENT_ALLOWANCE


def item_bound(stored_bytes: int) -> int:
    """How many things a directory of so many bytes, as stored, may name."""
    return ITEMS_ALLOWANCE + min(stored_bytes, DENSE_BYTES) + max(0, stored_bytes - DENSE_BYTES) // SPARSE


def padding(n_items: int, content_bytes: int, stored_bytes: int) -> int:
    """How many bytes a directory of so many bytes, as stored, lacks to keep to both bounds."""
    items = n_items - ITEMS_ALLOWANCE
    items += (SPARSE - 1) * max(0, items - DENSE_BYTES)
    content = -(-(content_bytes - CONTENT_ALLOWANCE) // CONTENT_PER_BYTE)
    return max(0, items - stored_bytes, content - stored_bytes)


class Budget:
    """How many more things a directory may name."""

    def __init__(self, stored_bytes: int) -> None:
        """All that a directory of so many bytes, as stored, may."""
        self._left = item_bound(stored_bytes)

    def spend(self, count: int, what: str) -> None:
        """Note that so many are to be allocated. Raises DamagedArchive if they are too many."""
        self._left -= count
        if self._left < 0:
            raise DamagedArchive(f"the index names {count} {what}: more than its bytes could")


# --- fields ----------------------------------------------------------------------------------------------------------


class FieldReader:
    """Takes values off the front of MessagePack. Each method raises DamagedArchive where another type comes next."""

    def __init__(self, data: bytes) -> None:
        """Begin with the first byte."""
        self._data = data
        self._at = 0

    def array(self) -> int:
        """How many values an array has; they come next."""
        first = self._first()
        if 0x90 <= first <= 0x9F:
            return first & 15
        return self._number(_ARRAY_LENGTHS, first)

    def integer(self) -> int:
        """A whole number."""
        first = self._first()
        if first < 0x80 or first >= 0xE0:
            return first if first < 0x80 else first - 256
        return self._number(_NUMBERS, first)

    def integer_or_nil(self) -> int | None:
        """A whole number, or None."""
        if self._next() == NIL:
            self._first()
            return None
        return self.integer()

    def binary(self) -> bytes:
        """Bytes."""
        return self._take(self._number(_BYTES_LENGTHS, self._first()))

    def text(self) -> str:
        """Text."""
        first = self._first()
        data = self._take(first & 31 if 0xA0 <= first <= 0xBF else self._number(_TEXT_LENGTHS, first))
        try:
            return data.decode()
        except UnicodeDecodeError:
            raise DamagedArchive("the index holds a text that is not UTF-8") from None

    def column(self, count: int) -> list[int]:
        """The `count` numbers of a column."""
        if not (0x90 <= self._next() <= 0x9F or self._next() in _ARRAY_LENGTHS):
            return [self.integer()] * count
        if self.array() != 2:
            raise DamagedArchive("the index holds a malformed column")
        base, data = self.integer(), self.binary()
        width, rest = divmod(len(data), count) if count else (0, 1)
        if rest or not 1 <= width <= 8:
            raise DamagedArchive(f"the index holds a column of {len(data)} bytes for {count} entries")
        # NumPy would halve this time, 0.3 us a number, but takes 0.1 s to import: `bbcodec list` does without it.
        return [base + int.from_bytes(data[first::count], "little") for first in range(count)]

    def end(self) -> None:
        """Nothing: nothing may follow."""
        if self._at != len(self._data):
            raise DamagedArchive(f"the index is malformed: {len(self._data) - self._at} bytes follow its fields")

    def _next(self) -> int:
        """The byte that comes next, which stays there."""
        if self._at >= len(self._data):
            raise DamagedArchive("the index is malformed: it ends too early")
        return self._data[self._at]

    def _first(self) -> int:
        first = self._next()
        self._at += 1
        return first

    def _take(self, size: int) -> bytes:
        """The next bytes; nothing is allocated for those that are not there."""
        if size > len(self._data) - self._at:
            raise DamagedArchive("the index is malformed: it ends too early")
        self._at += size
        return self._data[self._at - size : self._at]

    def _number(self, layouts: dict[int, str], first: int) -> int:
        if first not in layouts:
            raise DamagedArchive(f"the index is malformed: a value of MessagePack begins with {first:#04x}")
        layout = layouts[first]
        number: int = struct.unpack(layout, self._take(struct.calcsize(layout)))[0]
        return number


def pack_column(numbers: Sequence[int]) -> int | list[int | bytes]:
    """Whole numbers as one column: a constant, or a base and byte planes (like bytes lie together, for compression)."""
    import numpy as np

    base = min(numbers, default=0)
    spread = max(numbers, default=0) - base
    if spread == 0:
        return base
    width = (spread.bit_length() + 7) // 8
    offsets = np.array([number - base for number in numbers], dtype="<u8")
    planes = offsets.view(np.uint8).reshape(-1, 8)[:, :width]  # (n, width)
    return [base, planes.T.tobytes()]
