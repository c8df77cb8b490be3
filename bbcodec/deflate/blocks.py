# mypy: allow-untyped-defs, allow-untyped-calls
"""Blocks of tokens written as bits: in the form that zlib takes, the shortest by its reckoning, or in a given one."""

from __future__ import annotations

from typing import Final

from bbcodec.coder.compilation import compiled, inlined
from bbcodec.deflate.inflate import BAD, BIT, copy_numbers, take_lengths
from bbcodec.deflate.tables import (
    CODE_LENGTHS,
    DISTANCE_BASE,
    DISTANCE_BITS,
    DISTANCE_CODE,
    DISTANCES,
    DYNAMIC,
    END,
    FIXED,
    FIXED_DISTANCES,
    FIXED_LITERALS,
    LENGTH_BASE,
    LENGTH_BITS,
    LENGTH_CODE,
    LENGTH_EXTRA,
    LENGTH_ORDER,
    LITERALS,
    STORED,
    TOLD,
)
from bbcodec.deflate.trees import MOST_BITS, assign_codes, build_tree, describe_lengths, last_in_order

LENGTH_TREE_BITS: Final = 7
# Numbers of a writer: whole bytes written, bits that wait, and how many these are.
BYTES_OUT, WAITING, N_WAITING, N_WRITER = range(4)
# Rows of the scratch of a block, `(N_ROWS, ROW)`: of literals, distances and code lengths each frequencies, code
# lengths and codes; then the symbols that tell lengths, in two rows, and their extra bits.
(
    LITERAL_COUNTS, LITERAL_LENGTHS, LITERAL_CODES, DISTANCE_COUNTS, DISTANCE_LENGTHS, DISTANCE_CODES, TELL_COUNTS,
    TELL_LENGTHS, TELL_CODES, TELLING, TELLING_EXTRA, N_ROWS,
) = range(12)  # fmt: skip
ROW: Final = 400


@inlined
def put_bits(out, writer, value, count):
    """Append bits, the lowest first; at most 32 at a time."""
    writer[WAITING] |= value << writer[N_WAITING]
    writer[N_WAITING] += count
    while writer[N_WAITING] >= 8:
        if writer[BYTES_OUT] < len(out):
            out[writer[BYTES_OUT]] = writer[WAITING] & 255
        writer[BYTES_OUT] += 1
        writer[WAITING] >>= 8
        writer[N_WAITING] -= 8


@inlined
def align(out, writer):
    """Fill the last byte with zeros."""
    if writer[N_WAITING]:
        put_bits(out, writer, 0, 8 - writer[N_WAITING])


@inlined
def distance_code(distance):
    """The code of a distance."""
    return DISTANCE_CODE[distance - 1] if distance <= 256 else DISTANCE_CODE[256 + (distance - 1 >> 7)]


@inlined
def count_symbols(tokens, first, count, work):
    """The frequencies of literals, lengths and distances in a block."""
    work[LITERAL_COUNTS, :LITERALS] = 0
    work[DISTANCE_COUNTS, :DISTANCES] = 0
    work[LITERAL_COUNTS, END] = 1
    for n in range(first, first + count):
        token = tokens[n]
        if token < 256:
            work[LITERAL_COUNTS, token] += 1
        else:
            work[LITERAL_COUNTS, 257 + LENGTH_CODE[token >> 16]] += 1
            work[DISTANCE_COUNTS, distance_code(token & 0xFFFF)] += 1


@inlined
def bits_of(work, fixed):
    """The bits of all symbols of a block in its own codes, or in the fixed ones."""
    bits = 0
    for n in range(LITERALS):
        extra = LENGTH_BITS[n - 257] if n > END else 0
        bits += work[LITERAL_COUNTS, n] * ((FIXED_LITERALS[n] if fixed else work[LITERAL_LENGTHS, n]) + extra)
    for n in range(DISTANCES):
        own = FIXED_DISTANCES[n] if fixed else work[DISTANCE_LENGTHS, n]
        bits += work[DISTANCE_COUNTS, n] * (own + DISTANCE_BITS[n])
    return bits


@inlined
def make_codes(work, tree):
    """The codes of a block, and how they are told: how many literals, distances and code lengths, and symbols.

    Returns the bits of the block in fixed codes, and in its own with what tells them.
    """
    fixed = bits_of(work, True)
    saved_zero, saved_one = work[DISTANCE_COUNTS, 0], work[DISTANCE_COUNTS, 1]
    literals = build_tree(work[LITERAL_COUNTS], LITERALS, MOST_BITS, work[LITERAL_LENGTHS], tree)
    distances = build_tree(work[DISTANCE_COUNTS], DISTANCES, MOST_BITS, work[DISTANCE_LENGTHS], tree)
    work[DISTANCE_COUNTS, 0], work[DISTANCE_COUNTS, 1] = saved_zero, saved_one  # of codes that only had to be there
    told = describe_lengths(work[LITERAL_LENGTHS], literals, work[TELLING], work[TELLING_EXTRA], 0)
    told = describe_lengths(work[DISTANCE_LENGTHS], distances, work[TELLING], work[TELLING_EXTRA], told)
    work[TELL_COUNTS, :CODE_LENGTHS] = 0
    for n in range(told):
        work[TELL_COUNTS, work[TELLING, n]] += 1
    build_tree(work[TELL_COUNTS], CODE_LENGTHS, LENGTH_TREE_BITS, work[TELL_LENGTHS], tree)
    tells = last_in_order(work[TELL_LENGTHS])
    own = bits_of(work, False) + 3 * tells + 14
    for n in range(told):
        own += work[TELL_LENGTHS, work[TELLING, n]] + LENGTH_EXTRA[work[TELLING, n]]
    return fixed, own, literals, distances, tells, told


@inlined
def tell_codes(out, writer, work, literals, distances, tells, told):
    """Write the codes of a dynamic block as zlib does."""
    assign_codes(work[TELL_LENGTHS], CODE_LENGTHS, work[TELL_CODES])
    put_bits(out, writer, literals - 256, 5)
    put_bits(out, writer, distances, 5)
    put_bits(out, writer, tells - 4, 4)
    for n in range(tells):
        put_bits(out, writer, work[TELL_LENGTHS, LENGTH_ORDER[n]], 3)
    for n in range(told):
        symbol = work[TELLING, n]
        put_bits(out, writer, work[TELL_CODES, symbol], work[TELL_LENGTHS, symbol])
        put_bits(out, writer, work[TELLING_EXTRA, n], LENGTH_EXTRA[symbol])


@compiled
def take_codes(header, bits, reader, lengths, table, sorted_codes, work):
    """Take the lengths of a block's codes from what tells them, `bits` bits. False where these are none.

    reader: zero. lengths, table, sorted_codes: as of `take_lengths`.
    """
    counts = take_lengths(header, reader, lengths, table, sorted_codes)
    if counts == BAD or reader[BIT] != bits:
        return False
    literals, distances = counts & 511, counts >> 9
    for n in range(LITERALS):
        work[LITERAL_LENGTHS, n] = lengths[32 + n] if n < literals else 0
    for n in range(DISTANCES):
        work[DISTANCE_LENGTHS, n] = lengths[32 + literals + n] if n < distances else 0
    return True


@inlined
def put_tokens(out, writer, tokens, first, count, work):
    """Write tokens and the end of the block."""
    for n in range(first, first + count):
        token = tokens[n]
        if token < 256:
            put_bits(out, writer, work[LITERAL_CODES, token], work[LITERAL_LENGTHS, token])
            continue
        code, far = LENGTH_CODE[token >> 16], distance_code(token & 0xFFFF)
        put_bits(out, writer, work[LITERAL_CODES, 257 + code], work[LITERAL_LENGTHS, 257 + code])
        put_bits(out, writer, (token >> 16) - LENGTH_BASE[code], LENGTH_BITS[code])
        put_bits(out, writer, work[DISTANCE_CODES, far], work[DISTANCE_LENGTHS, far])
        put_bits(out, writer, (token & 0xFFFF) - DISTANCE_BASE[far], DISTANCE_BITS[far])
    put_bits(out, writer, work[LITERAL_CODES, END], work[LITERAL_LENGTHS, END])


@inlined
def kind_of_block(size, fixed_bytes, own_bytes, always_fixed):
    """The type that zlib chooses."""
    if fixed_bytes <= own_bytes or always_fixed:
        own_bytes = fixed_bytes
    if size + 4 <= own_bytes:
        return STORED
    return FIXED if fixed_bytes == own_bytes else DYNAMIC


@compiled
def write_block(
    content, start, size, tokens, first, count, kind, last, always_fixed, header, bits, out, writer, work, tree
):
    """Write a block of `count` tokens for `size` bytes, of type `kind` (-1: as zlib chooses). The type, or `BAD`.

    header: of a block whose codes are told, what tells them, `bits` bits; `work` has their lengths.
    """
    literals = distances = tells = told = 0
    if kind != TOLD:
        count_symbols(tokens, first, count, work)
        fixed, own, literals, distances, tells, told = make_codes(work, tree)
        if kind < 0:
            kind = kind_of_block(size, fixed + 10 >> 3, own + 10 >> 3, always_fixed)
    put_bits(out, writer, last | min(kind, DYNAMIC) << 1, 3)
    if kind == STORED:
        if size > 0xFFFF:
            return BAD
        align(out, writer)
        put_bits(out, writer, size | (size ^ 0xFFFF) << 16, 32)
        for n in range(start, start + size):
            put_bits(out, writer, content[n], 8)
    else:
        if kind == FIXED:
            copy_numbers(work[LITERAL_LENGTHS], FIXED_LITERALS, len(FIXED_LITERALS))
            copy_numbers(work[DISTANCE_LENGTHS], FIXED_DISTANCES, DISTANCES)
        elif kind == TOLD:
            for n in range(bits):
                put_bits(out, writer, header[n >> 3] >> (n & 7) & 1, 1)
        else:
            tell_codes(out, writer, work, literals, distances, tells, told)
        assign_codes(work[LITERAL_LENGTHS], len(FIXED_LITERALS) if kind == FIXED else LITERALS, work[LITERAL_CODES])
        assign_codes(work[DISTANCE_LENGTHS], DISTANCES, work[DISTANCE_CODES])
        put_tokens(out, writer, tokens, first, count, work)
    if last:
        align(out, writer)
    return kind if writer[BYTES_OUT] <= len(out) else BAD
