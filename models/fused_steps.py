"""The steps between products of a `LocalNet` that learns, forwards and backwards, in compiled code.

Numbers of products are narrow: float32, or bfloat16 as its bits. Arrays may be parts of those of a batch.
"""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from functools import cache
from typing import Any, Final

import numba as nb
import numpy as np
import torch
from llvmlite import ir  # type: ignore[import-untyped]
from numba.core import types
from numba.extending import intrinsic, overload
from numpy.typing import NDArray

from bbcodec.exact.arithmetic import BOUND
from bbcodec.exact.quantised import INNER_BOUND
from bbcodec.models.fused_mixture import as_float

Floats = NDArray[np.float32]
Narrow = NDArray[Any]  # float32, or uint16: bits of bfloat16
JIT: dict[str, Any] = {"nogil": True, "cache": True, "error_model": "numpy"}
LEAST_OF_A_THREAD: Final = 2**16  # numbers that are worth a thread
ZERO, HALF, SIXTEENTH = np.float32(0), np.float32(0.5), np.float32(1 / 16)
INNER_MOST, STREAM_MOST = np.float32(INNER_BOUND), np.float32(BOUND)
ENTERING_MOST = np.float32(INNER_BOUND * 16)  # of the stream, where inner activations saturate


@intrinsic  # type: ignore[untyped-decorator]
def as_bits(typing: Any, x: Any) -> Any:
    """The 32 bits of this float32."""

    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        return builder.bitcast(arguments[0], ir.IntType(32))

    return nb.uint32(nb.float32), generate


def wide(x: Any) -> Any:
    """A narrow number as float32."""
    raise NotImplementedError("for compiled code")


def narrowed(x: np.float32, like: Any) -> Any:
    """x as the nearest number of the type of another, ties to even."""
    raise NotImplementedError("for compiled code")


@overload(wide, strict=False)  # type: ignore[untyped-decorator]
def _wide(x: Any) -> Any:
    if x == types.float32:
        return lambda x: x
    return lambda x: as_float(np.uint32(np.uint32(x) << np.uint32(16)))


@overload(narrowed, strict=False)  # type: ignore[untyped-decorator]
def _narrowed(x: Any, like: Any) -> Any:
    if like == types.float32:
        return lambda x, like: np.float32(x)

    def rounded_to_even(x: np.float32, like: Any) -> np.uint16:
        bits = as_bits(np.float32(x))
        odd = np.uint32(np.uint32(bits >> np.uint32(16)) & np.uint32(1))
        return np.uint16(np.uint32(bits + np.uint32(0x7FFF) + odd) >> np.uint32(16))

    return rounded_to_even


@nb.njit(**JIT)  # type: ignore[untyped-decorator]
def rounded(x: np.float32, exact: bool) -> np.float32:
    """Half up, if `exact`."""
    return np.floor(x + HALF) if exact else x


@nb.njit(**JIT)  # type: ignore[untyped-decorator]
def enter(h: Floats, a: Narrow, exact: bool) -> None:
    """a (n,) = h (n,), the stream, as inner activations."""
    for n in range(h.size):
        a[n] = narrowed(rounded(min(max(h[n] * SIXTEENTH, ZERO), INNER_MOST), exact), a[n])


@nb.njit(**JIT)  # type: ignore[untyped-decorator]
def requantise(y: Narrow, z: Narrow, bias: Floats, exact: bool) -> None:
    """z (B, H, W C) = y (B, H or more, W C) + bias (W C,) as inner activations."""
    for b in range(z.shape[0]):
        for i in range(z.shape[1]):
            for n in range(z.shape[2]):
                total = min(max(wide(y[b, i, n]) + bias[n], ZERO), INNER_MOST)
                z[b, i, n] = narrowed(rounded(total, exact), z[b, i, n])


@nb.njit(**JIT)  # type: ignore[untyped-decorator]
def back_through_requantise(y: Narrow, dz: Narrow, dy: Narrow, bias: Floats) -> None:
    """The gradient of y: that of z where z is within its range; 0 in rows of y that z does not have."""
    for b in range(dz.shape[0]):
        for i in range(dz.shape[1]):
            for n in range(dz.shape[2]):
                total = wide(y[b, i, n]) + bias[n]
                within = (total > ZERO) & (total < INNER_MOST)
                dy[b, i, n] = narrowed(wide(dz[b, i, n]) if within else ZERO, dy[b, i, n])
        for i in range(dz.shape[1], dy.shape[1]):
            for n in range(dz.shape[2]):
                dy[b, i, n] = narrowed(ZERO, dy[b, i, n])


@nb.njit(**JIT)  # type: ignore[untyped-decorator]
def add(h: Floats, y: Narrow, out: Floats, bias: Floats, exact: bool) -> None:
    """out (N, C) = h + y + bias, clamped: the stream after a block."""
    for n in range(h.shape[0]):
        for c in range(h.shape[1]):
            total = h[n, c] + rounded(wide(y[n, c]) + bias[c], exact)
            out[n, c] = min(max(total, -STREAM_MOST), STREAM_MOST)


@nb.njit(**JIT)  # type: ignore[untyped-decorator]
def narrow_within(out: Floats, gradient: Floats, narrow: Narrow) -> None:
    """The gradient where the stream is not at its bounds."""
    for n in range(out.size):
        narrow[n] = narrowed(gradient[n] if abs(out[n]) < STREAM_MOST else ZERO, narrow[n])


@nb.njit(**JIT)  # type: ignore[untyped-decorator]
def back_through_block(out: Floats, h: Floats, gradient: Floats, da: Narrow, dh: Floats) -> None:
    """The gradient of the stream before a block, from that after it and that of what entered the block."""
    for n in range(h.size):
        beside = gradient[n] if abs(out[n]) < STREAM_MOST else ZERO
        through = wide(da[n]) * SIXTEENTH if (h[n] > ZERO) & (h[n] < ENTERING_MOST) else ZERO
        dh[n] = beside + through


@nb.njit(**JIT)  # type: ignore[untyped-decorator]
def back_through_enter(h: Floats, da: Narrow, dh: Floats) -> None:
    """The gradient of the stream from that of what entered a layer."""
    for n in range(h.size):
        dh[n] = wide(da[n]) * SIXTEENTH if (h[n] > ZERO) & (h[n] < ENTERING_MOST) else ZERO


@nb.njit(**JIT)  # type: ignore[untyped-decorator]
def part(y: Floats, context: Floats, h: Floats, skip: Floats, exact: bool) -> None:
    """y (N, S + P) into the stream h (N, S), to which the context (N or 0, S) is added, and parameters (N, P)."""
    for n in range(y.shape[0]):
        for c in range(h.shape[1]):
            total = rounded(y[n, c], exact)
            if len(context):
                total += context[n, c]
            h[n, c] = min(max(total, -STREAM_MOST), STREAM_MOST)
        for c in range(skip.shape[1]):
            skip[n, c] = rounded(y[n, h.shape[1] + c], exact)


@nb.njit(**JIT)  # type: ignore[untyped-decorator]
def gather(x: Floats, out: Floats, taps: NDArray[np.int64]) -> None:
    """out (B, H W, taps C): what a masked convolution sees of x (B, H, W, C)."""
    batch, height, width, channels = x.shape
    for m in range(batch * height * width):
        b, i, j = m // (height * width), m // width % height, m % width
        for t in range(len(taps)):
            row, column = i + taps[t, 0], j + taps[t, 1]
            inside = row >= 0 and column >= 0 and column < width
            for c in range(channels):
                out[b, i * width + j, t * channels + c] = x[b, row, column, c] if inside else ZERO


# --- in threads ------------------------------------------------------------------------------------------------------


@cache
def pool(threads: int) -> ThreadPoolExecutor:
    """Threads that are kept."""
    return ThreadPoolExecutor(threads)


def in_parts(step: Callable[..., None], *arrays: NDArray[Any], shared: tuple[Any, ...] = ()) -> None:
    """A step on arrays, by as many threads as torch has, each on its part of the first axis.

    shared: what comes after these, and is the same for all.
    """
    threads = torch.get_num_threads()
    if threads == 1 or arrays[0].size < LEAST_OF_A_THREAD * threads:
        step(*arrays, *shared)
        return

    def one(part: int) -> None:
        step(*(a[len(a) * part // threads : len(a) * (part + 1) // threads] for a in arrays), *shared)

    list(pool(threads).map(one, range(threads)))
