"""Images that are several, one below the other: pages, frames and bands of a file, each like the one before."""

from __future__ import annotations

from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

LEAST_ROWS: Final = 16  # of one of several
BESIDE: Final = 4  # rows: those so far above or below must be less alike,
ALIKE: Final = 0.9  # by this share
NEARLY: Final = 1.05  # as alike as the best: every other of some is, too, where all are
LOOKED_AT: Final = 2**18  # samples, about

Samples = NDArray[Any]  # uint8 or uint16 (N, H, W, C)


def parts_of(images: Samples) -> int:
    """Into how many of equal height each of the images falls: 1 unless rows are like those just so far above."""
    height = images.shape[1]
    some = images[:, :, :: max(images[:, :, :1].size * images.shape[2] // LOOKED_AT, 1)].astype(np.int32)
    found = {1: float("inf")}
    for count in range(2, height // LEAST_ROWS + 1):
        if height % count:
            continue
        rows = height // count
        far = _difference(some, rows)
        beside = min(_difference(some, rows - BESIDE), _difference(some, rows + BESIDE))
        if far < ALIKE * beside:
            found[count] = far
    return max(count for count, far in found.items() if far <= NEARLY * min(found.values()))


def _difference(images: NDArray[np.int32], rows: int) -> float:
    """The mean difference of samples to those so many rows above."""
    return float(np.abs(images[:, rows:] - images[:, :-rows]).mean()) if rows < images.shape[1] else float("inf")
