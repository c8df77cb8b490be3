# mypy: allow-untyped-defs, allow-untyped-calls
"""Zeros and ones: logits (N,) int32 in 1/128; the table has the mass of a zero."""

from __future__ import annotations

import numpy as np

from bbcodec.coder.compilation import compiled, inlined
from bbcodec.coder.kernels.arithmetic import INFORMATION_BITS, clamp, log2_of
from bbcodec.coder.kernels.rans import OUTSIDE, UNDERFLOW, lane_after, lane_before, last_lane, peek, put, take

PRECISION_BITS = 24


@inlined
def interval(k, logit, bernoulli):
    """Start and mass of 0 or 1."""
    zero = bernoulli[clamp(logit, -2047, 2047) + 2047]
    return (np.int64(0), zero) if k == 0 else (zero, (1 << PRECISION_BITS) - zero)


@compiled
def push(heads, words, n, x, logits, bernoulli, log2):
    """Push x: (N,) int32."""
    lane = last_lane(heads, x.size)
    for i in range(len(x) - 1, -1, -1):
        if x[i] < 0 or x[i] > 1:
            return OUTSIDE
        start, mass = interval(x[i], logits[i], bernoulli)
        n = put(heads, words, n, lane, start, mass, PRECISION_BITS)
        lane = lane_before(heads, lane)
    return n


@compiled
def pop(heads, words, n, x, logits, bernoulli, log2):
    """Pop x: (N,) int32."""
    lane = 0
    for i in range(len(x)):
        slot = peek(heads, lane, PRECISION_BITS)
        zero = bernoulli[clamp(logits[i], -2047, 2047) + 2047]
        k = np.int64(slot >= zero)
        start = zero * k
        mass = zero + k * ((1 << PRECISION_BITS) - 2 * zero)
        n = take(heads, words, n, lane, slot, start, mass, PRECISION_BITS)
        if n < 0:
            return UNDERFLOW
        lane = lane_after(heads, lane)
        x[i] = k
    return n


@compiled
def information(x, out, logits, bernoulli, log2):
    """Bits of each symbol in 2**-24, into out: (N,) int64."""
    for i in range(len(x)):
        if x[i] < 0 or x[i] > 1:
            return OUTSIDE
        _, mass = interval(x[i], logits[i], bernoulli)
        out[i] = (PRECISION_BITS << INFORMATION_BITS) - log2_of(mass, log2)
    return 0
