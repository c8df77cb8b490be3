# mypy: allow-untyped-defs, allow-untyped-calls
"""Counters of contexts that have more values than a table has rows: in lines, found by hashes, that change hands.

A line has counters of up to fifteen decisions. It says whose it is; it is cleared when the context has a value whose
hash differs, and what was learned of the other is forgotten.
"""

from __future__ import annotations

from typing import Final

import numpy as np

from bbcodec.coder.compilation import inlined

LINE_BITS: Final = 4  # of counters of a line, of which the first is its owner
LEAST_BITS: Final = 10  # of lines of a context
HASH_BITS: Final = 58
MULTIPLIER: Final = 0x2545F4914F6CDD1D  # of Vigna's xorshift64*, odd, with bits in all places
OWNER: Final = 2**31 - 1


def bits_of(samples: int, most: int) -> int:
    """Bits of the number of lines of a context that sees so many samples: LEAST_BITS to `most`."""
    return min(max(samples.bit_length(), LEAST_BITS), most)


@inlined
def hashed(known, value):
    """The hash of one more whole number, below 2**63, of those that are known, 0 at first; below 2**HASH_BITS.

    Products are unsigned, so that they may overflow.
    """
    return np.int64(np.uint64(known ^ (value + 1)) * np.uint64(MULTIPLIER) >> np.uint64(64 - HASH_BITS))


@inlined
def line_of(counters, start, bits, known):
    """The first counter of the line that a hash has, of 2**bits from `start` on; it is cleared if it was another's."""
    place = start + (known >> HASH_BITS - bits << LINE_BITS)
    owner = np.int32(known & OWNER)
    if counters[place] != owner:
        counters[place] = owner
        for k in range(1, 1 << LINE_BITS):
            counters[place + k] = 0
    return place + 1
