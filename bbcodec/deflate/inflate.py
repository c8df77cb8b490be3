# mypy: allow-untyped-defs, allow-untyped-calls
"""Deflate streams read into tokens, blocks and what they hold."""

from __future__ import annotations

from typing import Final

from bbcodec.coder.compilation import compiled, inlined
from bbcodec.deflate.tables import (
    DISTANCE_BASE,
    DISTANCE_BITS,
    DISTANCES,
    DYNAMIC,
    END,
    FIXED,
    FIXED_DISTANCES,
    FIXED_LITERALS,
    LENGTH_BASE,
    LENGTH_BITS,
    LENGTH_EXTRA,
    LENGTH_ORDER,
    LITERALS,
    STORED,
)
from bbcodec.deflate.trees import MOST_BITS

BAD: Final = -1  # in place of a number: the stream is none, or longer than it may be

# Of blocks: their type, how many tokens and bytes they have, and at which bit their codes are told, in how many bits.
TYPE, TOKENS, BYTES, TOLD_AT, TOLD_BITS, N_COLUMNS = range(6)
# Of a reader: the next bit.
BIT: Final = 0


@inlined
def copy_numbers(target, source, count):
    """The first numbers of another array: an assignment of arrays would allocate."""
    for n in range(count):
        target[n] = source[n]


@inlined
def take_bits(stream, reader, count):
    """The next bits of a stream; zeros beyond its end, which `reader` tells."""
    value = 0
    for n in range(count):
        at = reader[BIT] + n
        if at >> 3 < len(stream):
            value |= (stream[at >> 3] >> (at & 7) & 1) << n
    reader[BIT] += count
    return value


@inlined
def count_lengths(lengths, count, table, sorted_codes):
    """Make a table to decode with: how many codes each length has, and codes by length; False if there are too many."""
    for bits in range(MOST_BITS + 1):
        table[bits] = 0
    for n in range(count):
        table[lengths[n]] += 1
    left = 1
    for bits in range(1, MOST_BITS + 1):
        left = 2 * left - table[bits]
        if left < 0:
            return False
    place = 0
    for bits in range(1, MOST_BITS + 1):
        for n in range(count):
            if lengths[n] == bits:
                sorted_codes[place] = n
                place += 1
    return True


@inlined
def take_symbol(stream, reader, table, sorted_codes):
    """The next symbol of a code; `BAD` where there is none."""
    code, first, place = 0, 0, 0
    at = reader[BIT]
    for bits in range(1, MOST_BITS + 1):
        if at >> 3 >= len(stream):
            return BAD
        code |= stream[at >> 3] >> (at & 7) & 1
        at += 1
        if code - table[bits] < first:
            reader[BIT] = at
            return sorted_codes[place + code - first]
        place += table[bits]
        first = first + table[bits] << 1
        code <<= 1
    return BAD


@compiled
def take_lengths(stream, reader, lengths, table, sorted_codes):
    """Read the lengths of the codes of a dynamic block: 288 of literals and lengths, then 30 of distances.

    Returns how many literals have one, and 512 times how many distances; or `BAD`.
    """
    literals, distances = take_bits(stream, reader, 5) + 257, take_bits(stream, reader, 5) + 1
    count = take_bits(stream, reader, 4) + 4
    if literals > LITERALS or distances > DISTANCES:
        return BAD
    for n in range(len(LENGTH_ORDER)):
        lengths[LENGTH_ORDER[n]] = take_bits(stream, reader, 3) if n < count else 0
    if not count_lengths(lengths, len(LENGTH_ORDER), table, sorted_codes):
        return BAD
    done = 0
    all_lengths = lengths[32:]
    while done < literals + distances:
        symbol = take_symbol(stream, reader, table, sorted_codes)
        if symbol == BAD:
            return BAD
        if symbol < 16:
            value, times = symbol, 1
        else:
            if symbol == 16 and not done:
                return BAD
            value = all_lengths[done - 1] if symbol == 16 else 0
            times = take_bits(stream, reader, LENGTH_EXTRA[symbol]) + (11 if symbol == 18 else 3)
        if done + times > literals + distances:
            return BAD
        for _ in range(times):
            all_lengths[done] = value
            done += 1
    return literals | distances << 9


@compiled
def inflate(stream, content, tokens, blocks, reader, lengths, tables, codes):
    """Read a raw deflate stream from the reader's bit on: its content, tokens and blocks. Returns how many blocks.

    `BAD` for what is none, or holds another number of bytes than `content`, or more blocks than `blocks`. lengths,
    tables, codes: scratch, (400,), (2, 16), (2, 320).
    """
    size, n, done = len(content), 0, 0
    for block in range(len(blocks)):
        last, kind = take_bits(stream, reader, 1), take_bits(stream, reader, 2)
        first, start, told = n, done, reader[BIT]
        blocks[block, TOLD_BITS] = 0
        if kind == STORED:
            reader[BIT] = reader[BIT] + 7 & ~7
            count, inverse = take_bits(stream, reader, 16), take_bits(stream, reader, 16)
            at = reader[BIT] >> 3
            if count ^ inverse != 0xFFFF or at + count > len(stream) or done + count > size:
                return BAD
            for _ in range(count):
                content[done] = stream[at]
                done += 1
                at += 1
            reader[BIT] = at << 3
        elif kind in (FIXED, DYNAMIC):
            if kind == FIXED:
                literals, distances = len(FIXED_LITERALS), DISTANCES
                copy_numbers(lengths[32:], FIXED_LITERALS, literals)
                copy_numbers(lengths[32 + literals :], FIXED_DISTANCES, distances)
            else:
                counts = take_lengths(stream, reader, lengths, tables[0], codes[0])
                if counts == BAD:
                    return BAD
                literals, distances = counts & 511, counts >> 9
                blocks[block, TOLD_BITS] = reader[BIT] - told
            sound = count_lengths(lengths[32:], literals, tables[0], codes[0])
            if not (sound and count_lengths(lengths[32 + literals :], distances, tables[1], codes[1])):
                return BAD
            while True:
                symbol = take_symbol(stream, reader, tables[0], codes[0])
                if symbol == END:
                    break
                if symbol < 0 or symbol >= LITERALS or done >= size:
                    return BAD
                if symbol < END:
                    tokens[n] = symbol
                    content[done] = symbol
                    done += 1
                else:
                    length = LENGTH_BASE[symbol - 257] + take_bits(stream, reader, LENGTH_BITS[symbol - 257])
                    symbol = take_symbol(stream, reader, tables[1], codes[1])
                    if symbol == BAD:
                        return BAD
                    distance = DISTANCE_BASE[symbol] + take_bits(stream, reader, DISTANCE_BITS[symbol])
                    if distance > done or done + length > size:
                        return BAD
                    tokens[n] = length << 16 | distance
                    for _ in range(length):
                        content[done] = content[done - distance]
                        done += 1
                n += 1
        else:
            return BAD
        blocks[block, TYPE], blocks[block, TOKENS], blocks[block, BYTES] = kind, n - first, done - start
        blocks[block, TOLD_AT] = told
        if last:
            return block + 1 if done == size and reader[BIT] <= 8 * len(stream) else BAD
    return BAD
