"""The elementwise work between exact layers in one pass, compiled, for the CPU without gradients.

The same whole numbers as those of `activations`, for which PyTorch takes ten passes over memory. Arrays are (N, C)
float32, C contiguous: pixels by channels. Sums come from the layers unrounded.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from bbcodec.coder.compilation import compiled, inlined

Floats = np.ndarray[Any, np.dtype[np.float32]]


@inlined
def entry(y: Any) -> Any:
    """The index, in a table of 4,096 entries, of the whole number nearest to y; within the table for nan, too."""
    nearest = np.rint(y)
    above = nearest if nearest > np.float32(-2048) else np.float32(-2048)  # False for nan
    return np.int32(above if above < np.float32(2047) else np.float32(2047)) + 2048


@compiled
def gate(h: Floats, y: Floats, tanh: Floats, sigmoid: Floats, out: Floats) -> None:
    """out = h + round(tanh[a] sigmoid[g] / 256), within +-2047; y: (N, 2 C) holds a, then g."""
    channels = h.shape[1]
    for n in range(h.shape[0]):
        for c in range(channels):
            product = tanh[entry(y[n, c])] * sigmoid[entry(y[n, channels + c])]
            total = h[n, c] + np.rint(product * np.float32(1 / 256))
            out[n, c] = min(max(total, np.float32(-2047)), np.float32(2047))


@compiled
def look_up(y: Floats, table: Floats, out: Floats) -> None:
    """out = table[round(y)]."""
    for n in range(y.shape[0]):
        for c in range(y.shape[1]):
            out[n, c] = table[entry(y[n, c])]
