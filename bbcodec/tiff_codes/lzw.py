# mypy: allow-untyped-defs, allow-untyped-calls
"""LZW as TIFF 6.0 has it (section 13): codes of 9 to 12 bits, high bits first, that grow one code early.

Encoders take the longest string that their table holds, and so differ in when they clear it alone. libtiff does that
where the table is full, and where the compression ratio falls.
"""

from __future__ import annotations

from contextlib import suppress
from typing import Final

import numpy as np
from numpy.typing import NDArray

from bbcodec.binary import pack_varint, take_varint
from bbcodec.coder.compilation import compiled, inlined
from bbcodec.errors import DamagedArchive

Bytes = NDArray[np.uint8]

CLEAR, END, FIRST = 256, 257, 258
FEWEST_BITS, MOST_BITS = 9, 12
FULL: Final = 4094  # codes of libtiff's table when it is cleared
CHECK_BYTES: Final = 10000  # after which libtiff looks at the compression ratio
MUCH: Final = 0x7FFFFF  # bytes of which it does so in another way
BAD: Final = -1

# When the table is cleared.
AS_LIBTIFF, EACH = 0, 1  # more is the number of codes after which it always is
# State of an encoder: bits that are written; those of a code; the next code; bytes taken in and bits given out since
# the table was cleared, when libtiff looks next, and the ratio then; how often the table was cleared.
BITS, WIDTH, NEXT, TAKEN, GIVEN, CHECK, RATIO, GENERATION, N_STATE = range(9)


@inlined
def put(out, state, code):
    """Write a code; False where there is no room."""
    width, at = state[WIDTH], state[BITS]
    if at + width > 8 * len(out):
        return False
    for n in range(width):
        if code >> (width - 1 - n) & 1:
            out[at + n >> 3] |= 128 >> (at + n & 7)
    state[BITS] = at + width
    state[GIVEN] += width
    return True


@inlined
def begin_table(state):
    """Forget all strings."""
    state[WIDTH], state[NEXT], state[GENERATION] = FEWEST_BITS, FIRST, state[GENERATION] + 1


@inlined
def wants_clear(state, rule, codes, wanted):
    """Whether the table is cleared now, behind a code that was followed by a new string. Widens codes if not."""
    if rule != AS_LIBTIFF:
        if codes == wanted:
            return True
        if state[NEXT] >= 1 << state[WIDTH] and state[WIDTH] < MOST_BITS:
            state[WIDTH] += 1
        return False
    if state[NEXT] == FULL:
        state[RATIO] = state[TAKEN] = state[GIVEN] = 0
        return True
    if state[NEXT] >= 1 << state[WIDTH]:
        state[WIDTH] += 1
    elif state[TAKEN] >= state[CHECK]:
        state[CHECK] = state[TAKEN] + CHECK_BYTES
        if state[TAKEN] > MUCH:
            given = state[GIVEN] >> 8
            ratio = 0x7FFFFFFF if given == 0 else state[TAKEN] // given
        else:
            ratio = (state[TAKEN] << 8) // state[GIVEN]
        if ratio <= state[RATIO]:
            state[RATIO] = state[TAKEN] = state[GIVEN] = 0
            return True
        state[RATIO] = ratio
    return False


@compiled
def encode(content, rule, clears, ended, out, table, state):
    """Write the codes of a content; returns how many bytes they take, or `BAD` where `out` is too short.

    clears: with EACH, codes before each clearing of the table. ended: whether there is a code for the end. out: zeros.
    table: (2**20,), of the string and the byte before a string, the generation and its code.
    """
    begin_table(state)
    state[BITS] = state[TAKEN] = state[GIVEN] = state[RATIO] = 0
    state[CHECK] = CHECK_BYTES
    codes, cleared = 0, 0
    wanted = (clears[0] if len(clears) else -1) if rule == EACH else rule
    if not put(out, state, CLEAR):
        return BAD
    string = np.int64(content[0])
    state[TAKEN] += 1
    for n in range(1, len(content) + 1):
        if n < len(content):
            state[TAKEN] += 1
            place = string << 8 | content[n]
            if table[place] >> MOST_BITS == state[GENERATION]:
                string = np.int64(table[place] & 4095)
                continue
            if state[NEXT] < 4096:
                table[place] = state[GENERATION] << MOST_BITS | state[NEXT]
        if not put(out, state, string):
            return BAD
        state[NEXT] += 1
        codes += 1
        if n < len(content):
            string = np.int64(content[n])
        elif rule == AS_LIBTIFF and state[NEXT] != FULL:
            state[CHECK] = 1 << 60  # libtiff does not look at the end
        if wants_clear(state, rule, codes, wanted):
            if not put(out, state, CLEAR):
                return BAD
            begin_table(state)
            codes = 0
            cleared += 1
            if rule == EACH:
                wanted = clears[cleared] if cleared < len(clears) else -1
    if ended and not put(out, state, END):
        return BAD
    return state[BITS] + 7 >> 3


@compiled
def decode(stream, content, clears, prefixes, lasts, lengths, state):
    """Read a stream: its content, and how many codes come before each clearing of the table but the first.

    Returns how many of these there are, or `BAD` for a stream that is none, or holds another number of bytes than
    `content`. prefixes, lasts, lengths: scratch, (4096,). state: bytes of the stream, and whether it has an end.
    """
    width, following, before = FEWEST_BITS, FIRST, -1
    at = done = codes = count = 0
    started = False
    state[1] = 0
    for n in range(256):
        lasts[n], lengths[n] = n, 1
    while at + width <= 8 * len(stream):
        code = 0
        for n in range(at, at + width):
            code = code << 1 | (stream[n >> 3] >> (7 - (n & 7)) & 1)
        at += width
        if code == END:
            state[1] = 1
            break
        if code == CLEAR:
            if started:
                if count == len(clears):
                    return BAD
                clears[count] = codes
                count += 1
            started, codes = True, 0
            width, following, before = FEWEST_BITS, FIRST, -1
            continue
        if not started or code > following or (before < 0 and code > 255) or (code == following and before < 0):
            return BAD
        if done == len(content):
            at -= width
            break
        if before >= 0 and following < 4096:
            prefixes[following], lengths[following] = before, lengths[before] + 1
        elif code >= following:
            return BAD
        length = lengths[code]
        if done + length > len(content):
            return BAD
        # The string of a code that is not there yet is the one before, and its first byte again.
        walk, place = code, done + length - 1
        if code == following:
            walk, place = before, place - 1
        while walk >= FIRST:
            content[place] = lasts[walk]
            walk, place = prefixes[walk], place - 1
        content[place] = lasts[walk]
        first = content[done]
        if code == following:
            content[done + length - 1] = first
        if before >= 0 and following < 4096:
            lasts[following] = first
            following += 1
        if following + 1 >= 1 << width and width < MOST_BITS:
            width += 1
        done += length
        codes += 1
        before = code
    state[0] = at + 7 >> 3
    return count if done == len(content) else BAD


class LZW:
    """Encodes and decodes streams; holds the tables."""

    def __init__(self) -> None:
        self._table: NDArray[np.int64] = np.zeros(2**20, np.int64)
        self._state = np.zeros(N_STATE, np.int64)

    def taken_apart(self, stream: bytes, size: int) -> tuple[Bytes, bytes, int] | None:
        """The content of a stream of `size` bytes, its recipe, and the bytes that it takes; None if there is none."""
        content = np.zeros(size, np.uint8)
        clears, state = np.zeros(len(stream) // 2 + 1, np.int64), np.zeros(2, np.int64)
        scratch = (np.zeros(4096, np.int64) for _ in range(3))
        count = decode(np.frombuffer(stream, np.uint8), content, clears, *scratch, state)
        if count == BAD or not size:
            return None
        length, ended = int(state[0]), bool(state[1])
        for rule, each in _rules(tuple(map(int, clears[:count]))):
            recipe = pack_recipe(rule, each, ended)
            with suppress(DamagedArchive):
                if self.made_again(content, recipe, length) == stream[:length]:
                    return content, recipe, length
        return None

    def made_again(self, content: Bytes, recipe: bytes, most: int) -> bytes:
        """The stream of a content, at most `most` bytes. Raises DamagedArchive."""
        rule, clears, ended = unpack_recipe(recipe)
        out: Bytes = np.zeros(most, np.uint8)
        length = encode(content, rule, np.array(clears, np.int64), ended, out, self._table, self._state)
        if length == BAD:
            raise DamagedArchive("a segment of the archive is longer than is said")
        return out[:length].tobytes()


def _rules(clears: tuple[int, ...]) -> list[tuple[int, tuple[int, ...]]]:
    """By which rules the table may have been cleared after so many codes each, simple ones first."""
    even = clears[:1] * len(clears) == clears and clears and clears[0] > EACH
    return [(AS_LIBTIFF, ()), *([(clears[0], ())] if even else []), (EACH, clears)]


def pack_recipe(rule: int, clears: tuple[int, ...], ended: bool) -> bytes:
    """The bytes of a recipe."""
    return b"".join(map(pack_varint, (rule, int(ended), *clears)))


def unpack_recipe(data: bytes) -> tuple[int, tuple[int, ...], bool]:
    """Rule, codes before each clearing, and whether there is an end. Raises DamagedArchive."""
    numbers, at = [], 0
    while at < len(data):
        number, at = take_varint(data, at)
        numbers.append(number)
    if len(numbers) < 2 or numbers[1] > 1 or (numbers[0] != EACH and len(numbers) > 2):
        raise DamagedArchive("a segment of the archive is not said how to be made")
    return numbers[0], tuple(numbers[2:]), bool(numbers[1])
