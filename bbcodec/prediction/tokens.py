"""Errors of up to 17 bits as tokens of 8 bits, with a sign and four leading bits, and the fine bits that are left.

An error e has k fine bits, k = max(0, bits of |e| - 4), and the token 128 + s (8 k + (|e| >> k)), s its sign: every
token below 16 is one error, and then there are eight to an octave. Fine bits are nearly as likely 0 as 1, and are
stored as they are.
"""

from __future__ import annotations

from typing import Final

import numpy as np
from numpy.typing import NDArray

ZERO: Final = 128  # the token of no error
LEAST, MOST = 17, 239  # tokens of errors within +-65,535
LEADING: Final = 16  # below which errors are tokens
MOST_FINE: Final = 12

Tokens = NDArray[np.uint8]
Errors = NDArray[np.int32]


def tokens_of(errors: Errors) -> tuple[Tokens, bytes]:
    """Tokens of errors, in their shape, and the fine bits in their order, the highest of an error first."""
    sizes = np.abs(errors)
    fine = np.zeros(errors.shape, np.uint8)
    for bits in range(1, MOST_FINE + 1):
        fine += sizes >= LEADING << bits - 1
    tokens = (ZERO + np.sign(errors) * (8 * fine.astype(np.int32) + (sizes >> fine))).astype(np.uint8)
    return tokens, _packed(sizes.reshape(-1), fine.reshape(-1))


def fine_bits(tokens: Tokens) -> NDArray[np.uint8]:
    """How many fine bits follow each token."""
    sizes = np.abs(tokens.astype(np.int16) - ZERO)
    fine: NDArray[np.uint8] = np.maximum(sizes // 8 - 1, 0).astype(np.uint8)
    return fine


def fine_size(tokens: Tokens) -> int:
    """The bytes that the fine bits of tokens take."""
    return -(-int(fine_bits(tokens).sum(dtype=np.int64)) // 8)


def errors_of_tokens(tokens: Tokens, packed: bytes) -> Errors:
    """The errors of `tokens_of`. packed: `fine_size` bytes."""
    signed = tokens.astype(np.int32) - ZERO
    fine = fine_bits(tokens)
    sizes = (np.abs(signed) - 8 * fine.astype(np.int32)) << fine
    sizes.reshape(-1)[:] |= _unpacked(packed, fine.reshape(-1))
    errors: Errors = np.sign(signed) * sizes
    return errors


def _packed(sizes: Errors, fine: NDArray[np.uint8]) -> bytes:
    ends = np.cumsum(fine, dtype=np.int64)
    bits = np.zeros(int(ends[-1]), np.uint8)
    for bit in range(int(fine.max())):
        has = fine > bit
        bits[ends[has] - 1 - bit] = sizes[has] >> bit & 1
    return np.packbits(bits).tobytes()


def _unpacked(packed: bytes, fine: NDArray[np.uint8]) -> Errors:
    ends = np.cumsum(fine, dtype=np.int64)
    bits = np.unpackbits(np.frombuffer(packed, np.uint8), count=int(ends[-1]))
    sizes = np.zeros(len(fine), np.int32)
    for bit in range(int(fine.max())):
        has = fine > bit
        sizes[has] |= bits[ends[has] - 1 - bit].astype(np.int32) << bit
    return sizes
