"""Numbers of the deflate format (RFC 1951), and of zlib's settings."""

from __future__ import annotations

from typing import Final

import numpy as np

MIN_MATCH: Final = 3
MAX_MATCH: Final = 258
LITERALS: Final = 286  # codes of literals, of the end of a block, and of lengths
DISTANCES: Final = 30
CODE_LENGTHS: Final = 19  # codes that the lengths of the others are written in
END: Final = 256  # of a block

STORED, FIXED, DYNAMIC = range(3)  # types of blocks
TOLD: Final = 3  # in recipes: dynamic, with codes that are told, as they are not those of zlib

# Of each code of a length or a distance: the least, and how many bits say how much more.
LENGTH_BASE: Final = np.array(
    [3, 4, 5, 6, 7, 8, 9, 10, 11, 13, 15, 17, 19, 23, 27, 31, 35, 43, 51, 59, 67, 83, 99, 115, 131, 163, 195, 227, 258],
    np.int32,
)
LENGTH_BITS: Final = np.array([*[0] * 8, *(n for n in range(1, 6) for _ in range(4)), 0], np.int32)
DISTANCE_BITS: Final = np.array([0, 0, 0, 0, *(n for n in range(1, 14) for _ in range(2))], np.int32)
DISTANCE_BASE: Final = (1 + np.concatenate(([0], np.cumsum(1 << DISTANCE_BITS)[:-1]))).astype(np.int32)

# The code of each length, 0 to 258, and of each distance: of those beyond 256 by (distance - 1) >> 7, 256 further.
LENGTH_CODE: Final = np.array(
    [0, 0, 0, *(int(np.searchsorted(LENGTH_BASE, n, "right")) - 1 for n in range(3, 259))], np.int32
)
DISTANCE_CODE: Final = np.array(
    [
        *(int(np.searchsorted(DISTANCE_BASE, n + 1, "right")) - 1 for n in range(256)),
        *(int(np.searchsorted(DISTANCE_BASE, (n << 7) + 1, "right")) - 1 for n in range(256)),
    ],
    np.int32,
)

FIXED_LITERALS: Final = np.array([8] * 144 + [9] * 112 + [7] * 24 + [8] * 8, np.int32)
FIXED_DISTANCES: Final = np.full(DISTANCES, 5, np.int32)
# In which order the lengths of the codes of lengths are written.
LENGTH_ORDER: Final = np.array([16, 17, 18, 0, 8, 7, 9, 6, 10, 5, 11, 4, 12, 3, 13, 2, 14, 1, 15], np.int32)
LENGTH_EXTRA: Final = np.array([*[0] * 16, 2, 3, 7], np.int32)  # bits behind each of these codes
