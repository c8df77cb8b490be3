"""How a deflate stream was made: the settings of zlib, and whatever is not as zlib would have done it.

`find_recipe` takes a stream apart, `remake` makes it again. Of most streams that zlib made, the recipe is a few bytes.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Final, NamedTuple

import numpy as np
from numpy.typing import NDArray

from bbcodec.binary import pack_varint, take_varint
from bbcodec.deflate import blocks, inflate, matching, trees
from bbcodec.deflate.tables import DYNAMIC, STORED, TOLD
from bbcodec.errors import DamagedArchive

Bytes = NDArray[np.uint8]
Tokens = NDArray[np.int32]

DEFAULT, FILTERED, HUFFMAN_ONLY, RLE, ALWAYS_FIXED = range(5)  # zlib's strategies
# zlib's configuration of each level: how it looks for matches, and good, lazy and nice lengths, and length of chains.
LEVELS: Final = (
    (matching.NONE, 0, 0, 0, 0),
    (matching.FAST, 4, 4, 8, 4),
    (matching.FAST, 4, 5, 16, 8),
    (matching.FAST, 4, 6, 32, 32),
    (matching.LAZY, 4, 4, 16, 16),
    (matching.LAZY, 8, 16, 32, 32),
    (matching.LAZY, 8, 16, 128, 128),
    (matching.LAZY, 8, 32, 128, 256),
    (matching.LAZY, 32, 128, 258, 1024),
    (matching.LAZY, 32, 258, 258, 4096),
)
MAX_BLOCKS: Final = 2**16
SAMPLE_TOKENS: Final = 2**14  # on which settings are told apart
MOST_TRIED_BYTES: Final = 2**20  # of a stream whose first tokens are not known, so that all of it is tried
TRIED_LEVELS: Final = (6, 9, 3, 1, 5, 4, 7, 8, 2)  # those that are set most come first
# The levels that the second byte of a zlib stream stands for (RFC 1950, FLEVEL).
HINTED_LEVELS: Final = ((1,), (3, 5, 4, 2), (6,), (9, 7, 8))
QUICK: Final = 2  # as the second byte has it: levels up to 6, of which chains of candidates are short


@dataclass(frozen=True)
class Maker:
    """Settings of zlib: level 0 to 9, strategy, memory level 1 to 9, and the window in bits, 9 to 15."""

    level: int
    strategy: int
    memory: int
    window: int

    @property
    def block_tokens(self) -> int:
        """How many tokens make a block."""
        return (1 << self.memory + 6) - 1

    def follower(self) -> _Follower:
        """What follows a stream from its start."""
        settings = np.zeros(matching.N_SETTINGS, np.int64)
        settings[: len(LEVELS[0])] = LEVELS[self.level]
        if self.level and self.strategy in (HUFFMAN_ONLY, RLE):
            settings[matching.METHOD] = matching.NONE if self.strategy == HUFFMAN_ONLY else matching.RUNS
        settings[matching.FILTERED] = self.strategy == FILTERED
        settings[matching.WINDOW], settings[matching.HASH] = self.window, self.memory + 7
        state = np.zeros(matching.N_STATE, np.int64)
        state[matching.FOUND] = state[matching.NEXT] = -1
        head, chains = np.zeros(1 << self.memory + 7, np.int32), np.zeros(1 << self.window, np.int32)
        return _Follower(head, chains, settings, state)


class _Follower(NamedTuple):
    """The state of matching between two tokens: what the functions of `matching` take last."""

    head: NDArray[np.int32]
    chains: NDArray[np.int32]
    settings: NDArray[np.int64]
    state: NDArray[np.int64]


class Surprise(NamedTuple):
    """A token that is not as predicted, by its number."""

    number: int
    token: int


class Header(NamedTuple):
    """What tells the codes of a dynamic block: bits, the lowest of a byte first, and how many they are."""

    data: bytes
    bits: int


@dataclass(frozen=True)
class Recipe:
    """How a stream was made of its content.

    surprises: tokens that zlib would not have written. ends: tokens of each block but the last (of level 0: bytes),
    where they are not those of zlib. kinds: the type of each block, where they are not. headers: what tells the codes
    of each block of the type TOLD.
    """

    maker: Maker
    surprises: tuple[Surprise, ...] = ()
    ends: tuple[int, ...] | None = None
    kinds: tuple[int, ...] | None = None
    headers: tuple[Header, ...] = ()


# --- making ----------------------------------------------------------------------------------------------------------


def remake(content: Bytes, recipe: Recipe, most: int) -> bytes:
    """The raw deflate stream of a recipe.

    Raises DamagedArchive if it is longer than `most`, or not one of the content.
    """
    tokens = _tokens(content, recipe) if recipe.maker.level else np.zeros(0, np.int32)
    return _stream_of(content, tokens, recipe, most)[0]


def _stream_of(content: Bytes, tokens: Tokens, recipe: Recipe, most: int) -> tuple[bytes, list[int]]:
    """The stream of a recipe whose tokens are known, and the types of its blocks. Raises DamagedArchive."""
    counts = _block_tokens(tokens, recipe)
    if recipe.kinds is not None and len(recipe.kinds) != len(counts):
        raise DamagedArchive("a stream of the archive has another number of blocks than is said")
    kinds = recipe.kinds or (STORED if not recipe.maker.level else -1,) * len(counts)
    return _write(content, tokens, counts, kinds, recipe.headers, recipe.maker, most)


def _tokens(content: Bytes, recipe: Recipe) -> Tokens:
    """All tokens: those that are predicted, and the surprises."""
    tokens: Tokens = np.full(len(content), -1, np.int32)
    for surprise in recipe.surprises:
        if surprise.number >= len(tokens):
            raise DamagedArchive("a stream of the archive has fewer tokens than is said")
        tokens[surprise.number] = surprise.token
    count = matching.predict_tokens(content, len(content), tokens, np.empty_like(tokens), *recipe.maker.follower())
    if count == inflate.BAD:
        raise DamagedArchive("a stream of the archive has other tokens than its content")
    return tokens[:count]


def _block_tokens(tokens: Tokens, recipe: Recipe) -> list[tuple[int, int]]:
    """How many tokens and bytes each block has."""
    level = recipe.maker.level
    lengths = np.maximum(1, tokens >> 16)
    ends = recipe.ends if recipe.ends is not None else _usual_ends(tokens, recipe.maker)
    if not level:
        return [(0, size) for size in ends]
    if sum(ends) > len(tokens):
        raise DamagedArchive("a stream of the archive has fewer tokens than its blocks")
    found, done = [], 0
    for count in (*ends, len(tokens) - sum(ends)):
        found.append((count, int(lengths[done : done + count].sum())))
        done += count
    return found


def _usual_ends(tokens: Tokens, maker: Maker) -> tuple[int, ...]:
    """The tokens of all blocks but the last, as zlib cuts them: the last is empty, unless it holds a literal back."""
    full, rest = divmod(len(tokens), maker.block_tokens)
    held_back = LEVELS[maker.level][0] == matching.LAZY and maker.strategy not in (HUFFMAN_ONLY, RLE)
    if full and not rest and held_back and tokens[-1] < 256:
        full -= 1
    return (maker.block_tokens,) * full


def _write(
    content: Bytes,
    tokens: Tokens,
    counts: list[tuple[int, int]],
    kinds: tuple[int, ...],
    headers: tuple[Header, ...],
    maker: Maker,
    most: int,
) -> tuple[bytes, list[int]]:
    """The stream of these blocks, and their types. Raises DamagedArchive where it does not fit."""
    told = iter(headers)
    out: Bytes = np.zeros(most, np.uint8)
    writer = np.zeros(blocks.N_WRITER, np.int64)
    work, tree = np.zeros((blocks.N_ROWS, blocks.ROW), np.int64), np.zeros(trees.WORK, np.int64)
    if sum(size for _, size in counts) != len(content):
        raise DamagedArchive("a stream of the archive holds another number of bytes than is said")
    first = start = 0
    chosen = []
    for number, ((count, size), kind) in enumerate(zip(counts, kinds, strict=True)):
        last = number == len(counts) - 1
        header = _taken_in(next(told), work) if kind == TOLD else Header(b"", 0)
        given = content, start, size, tokens, first, count, kind, last, maker.strategy == ALWAYS_FIXED
        kind = blocks.write_block(*given, np.frombuffer(header.data, np.uint8), header.bits, out, writer, work, tree)
        if kind == inflate.BAD:
            raise DamagedArchive("a stream of the archive is longer than is said")
        chosen.append(int(kind))
        first, start = first + count, start + size
    return out[: writer[blocks.BYTES_OUT]].tobytes(), chosen


def _taken_in(header: Header, work: NDArray[np.int64]) -> Header:
    """The same header, whose code lengths are now those of the block to be written. Raises DamagedArchive."""
    scratch = np.zeros(400, np.int64), np.zeros(16, np.int64), np.zeros(320, np.int64)
    if not blocks.take_codes(np.frombuffer(header.data, np.uint8), header.bits, np.zeros(1, np.int64), *scratch, work):
        raise DamagedArchive("a stream of the archive has codes that are none")
    return header


# --- finding ---------------------------------------------------------------------------------------------------------


class Taken(NamedTuple):
    """A stream taken apart: its content, tokens (of blocks that are not stored), and rows of blocks."""

    content: Bytes
    tokens: Tokens
    blocks: NDArray[np.int64]


def take_apart(stream: bytes, size: int) -> Taken | None:
    """A raw deflate stream of `size` bytes; None if it is none, has a tail, or too many blocks."""
    content, tokens = np.zeros(size, np.uint8), np.zeros(size, np.int32)
    rows = np.zeros((min(MAX_BLOCKS, 8 * len(stream)), inflate.N_COLUMNS), np.int64)
    reader = np.zeros(1, np.int64)
    scratch = np.zeros(400, np.int64), np.zeros((2, 16), np.int64), np.zeros((2, 320), np.int64)
    count = inflate.inflate(np.frombuffer(stream, np.uint8), content, tokens, rows, reader, *scratch)
    if count == inflate.BAD or reader[0] + 7 >> 3 != len(stream):
        return None
    rows = rows[:count]
    return Taken(content, tokens[: rows[:, inflate.TOKENS].sum()], rows)


def find_recipe(stream: bytes, taken: Taken, header: bytes, *, quick: bool = False) -> Recipe | None:
    """How a stream was made that was taken apart; None where no recipe does.

    header: the two bytes of zlib before it. quick: only if it was made quickly, as they say, and has no surprises at
    its start.
    """
    window, hint = (header[0] >> 4) + 8, header[1] >> 6
    if (taken.blocks[:, inflate.TYPE] == STORED).all():
        ends = tuple(map(int, taken.blocks[:, inflate.BYTES]))
        return _checked(stream, taken, np.zeros(0, np.int32), Recipe(Maker(0, DEFAULT, 8, window), ends=ends))
    blind = taken.blocks[0, inflate.TYPE] == STORED and len(taken.content) <= MOST_TRIED_BYTES
    if quick and (hint > QUICK or taken.blocks[0, inflate.TYPE] == STORED):
        return None
    makers = _makers(taken, window, hint, quick) if blind else _likely_makers(taken, window, hint, quick)
    followed = [(maker, *_surprises(taken, maker)) for maker in makers]
    found = [one for one in followed if one[1] is not None]
    if not found:
        return None
    maker, tokens, surprises, counts = min(found, key=lambda one: len(one[2]))
    if tokens is None:
        raise RuntimeError("tokens that are none were chosen")
    kinds = tuple(map(int, taken.blocks[:, inflate.TYPE]))
    recipe = Recipe(maker, surprises, ends=None if counts[:-1] == _usual_ends(tokens, maker) else counts[:-1])
    try:
        made, chosen = _stream_of(taken.content, tokens, recipe, 2 * len(tokens) + 9 * len(stream))
    except DamagedArchive:
        return None
    if made == stream:
        return recipe
    usual = recipe if tuple(chosen) == kinds else replace(recipe, kinds=kinds)
    told = _with_headers(stream, taken, recipe)
    return _checked(stream, taken, tokens, usual) or _checked(stream, taken, tokens, told)


def _with_headers(stream: bytes, taken: Taken, recipe: Recipe) -> Recipe:
    """The recipe with the codes of all dynamic blocks told, as another encoder makes them."""
    bits = np.unpackbits(np.frombuffer(stream, np.uint8), bitorder="little")
    kinds, headers = [], []
    for row in taken.blocks:
        kinds.append(TOLD if row[inflate.TYPE] == DYNAMIC else int(row[inflate.TYPE]))
        if kinds[-1] == TOLD:
            told = bits[row[inflate.TOLD_AT] : row[inflate.TOLD_AT] + row[inflate.TOLD_BITS]]
            headers.append(Header(np.packbits(told, bitorder="little").tobytes(), len(told)))
    return replace(recipe, kinds=tuple(kinds), headers=tuple(headers))


def _checked(stream: bytes, taken: Taken, tokens: Tokens, recipe: Recipe) -> Recipe | None:
    """The recipe, if it gives the stream. tokens: those that it gives, so that they need not be predicted again."""
    try:
        return recipe if _stream_of(taken.content, tokens, recipe, len(stream))[0] == stream else None
    except DamagedArchive:
        return None


def _likely_makers(taken: Taken, window: int, hint: int, quick: bool) -> list[Maker]:
    """The settings that foresee most of the first tokens; the first of those that do equally well.

    quick: none, unless they foresee all.
    """
    tokens = taken.tokens[: 0 if taken.blocks[0, inflate.TYPE] == STORED else SAMPLE_TOKENS]
    found, least = ([], 1) if quick else ([Maker(6, DEFAULT, 8, window)], len(tokens) + 1)
    for maker in _makers(taken, window, hint, quick):
        wrong = matching.count_mispredictions(taken.content, tokens, least - 1, *maker.follower())
        if wrong < least:
            found, least = [maker], wrong
        if not wrong:
            break
    return found


def _makers(taken: Taken, window: int, hint: int, quick: bool) -> list[Maker]:
    """Settings to try, those that the header hints at first; quick: alone.

    Blocks that are not the last tell the memory level, if they are not stored.
    """
    coded = taken.blocks[:-1][taken.blocks[:-1, inflate.TYPE] != STORED]
    whole = int(coded[0, inflate.TOKENS]) + 1 if len(coded) else 0
    memories = (whole.bit_length() - 7,) if whole.bit_count() == 1 and 2**7 <= whole <= 2**15 else (8, 9)
    matches = taken.tokens[taken.tokens > 255]
    if not len(matches):
        return [Maker(6, HUFFMAN_ONLY, memory, window) for memory in memories]
    fixed = (taken.blocks[:, inflate.TYPE] == 1).all() and len(taken.tokens) > 1000
    others = () if quick else tuple(level for level in TRIED_LEVELS if level not in HINTED_LEVELS[hint])
    found = [
        Maker(level, strategy, memory, window)
        for level in HINTED_LEVELS[hint] + others
        for memory in memories
        for strategy in ((ALWAYS_FIXED,) if fixed else (DEFAULT, FILTERED) if level > 3 else (DEFAULT,))
    ]
    runs = [Maker(6, RLE, memory, window) for memory in memories]
    return runs + found if ((matches & 0xFFFF) == 1).all() else found


def _surprises(taken: Taken, maker: Maker) -> tuple[Tokens | None, tuple[Surprise, ...], tuple[int, ...]]:
    """All tokens, with those foreseen in stored blocks; which are not as predicted; and how many each block has.

    No tokens where those foreseen in a stored block do not end with it.
    """
    follower = maker.follower()
    all_tokens: Tokens = np.empty(len(taken.content), np.int32)
    predicted = np.empty_like(all_tokens)
    done = end = first = 0
    counts = []
    for kind, count, size, *_ in taken.blocks:
        end += size
        room = all_tokens[done : done + (maker.block_tokens if kind == STORED else count)]
        room[:] = -1 if kind == STORED else taken.tokens[first : first + count]
        found = matching.predict_tokens(taken.content, end, room, predicted[done:], *follower)
        if found == inflate.BAD or follower.state[matching.AT] != end:
            return None, (), ()
        counts.append(int(found))
        done, first = done + found, first + count
    tokens = all_tokens[:done]
    wrong = np.flatnonzero(tokens != predicted[:done])
    return tokens, tuple(Surprise(int(number), int(tokens[number])) for number in wrong), tuple(counts)


# --- packing ---------------------------------------------------------------------------------------------------------


def pack_recipe(recipe: Recipe) -> bytes:
    """The bytes of a recipe."""
    maker = recipe.maker
    out = [bytes([maker.level | maker.strategy << 4, maker.memory | maker.window << 4])]
    out.append(pack_varint(len(recipe.surprises)))
    before = -1
    for surprise in recipe.surprises:
        out.append(pack_varint(surprise.number - before - 1))
        before = surprise.number
    out += [surprise.token.to_bytes(4, "little") for surprise in recipe.surprises]
    for numbers in (recipe.ends, recipe.kinds):
        out.append(pack_varint(0 if numbers is None else len(numbers) + 1))
        out += map(pack_varint, numbers or ())
    out += (pack_varint(header.bits) + header.data for header in recipe.headers)
    return b"".join(out)


def unpack_recipe(data: bytes, at: int) -> tuple[Recipe, int]:
    """A recipe at a place in some bytes, and the place behind it. Raises DamagedArchive."""
    if at + 2 > len(data):
        raise DamagedArchive("a recipe of the archive is cut short")
    maker = Maker(data[at] & 15, data[at] >> 4, data[at + 1] & 15, data[at + 1] >> 4)
    if maker.level > 9 or maker.strategy > ALWAYS_FIXED or not (1 <= maker.memory <= 9 and 9 <= maker.window <= 15):
        raise DamagedArchive("a recipe of the archive has settings that zlib does not take")
    gaps, at = _take_numbers(data, at + 2, 0)
    numbers = np.cumsum(np.array(gaps or [], np.int64) + 1) - 1
    if len(data) - at < 4 * len(numbers):
        raise DamagedArchive("a recipe of the archive is cut short")
    tokens = np.frombuffer(data[at : at + 4 * len(numbers)], "<i4")
    at += 4 * len(numbers)
    matches = tokens > 255
    lengths, distances = tokens >> 16, tokens & 0xFFFF
    sound = (lengths >= 3) & (lengths <= 258) & (distances >= 1) & (distances <= 2**15)
    if (tokens < 0).any() or (matches & ~sound).any():
        raise DamagedArchive("a recipe of the archive has tokens that are none")
    ends, at = _take_numbers(data, at, 1)
    kinds, at = _take_numbers(data, at, 1)
    if kinds and max(kinds) > TOLD:
        raise DamagedArchive("a recipe of the archive has blocks of an unknown type")
    headers = []
    for _ in range((kinds or ()).count(TOLD)):
        bits, at = take_varint(data, at)
        headers.append(Header(data[at : at + (bits + 7 >> 3)], bits))
        at += len(headers[-1].data)
        if len(headers[-1].data) < bits + 7 >> 3:
            raise DamagedArchive("a recipe of the archive is cut short")
    surprises = tuple(map(Surprise, map(int, numbers), map(int, tokens)))
    return Recipe(maker, surprises, ends, kinds, tuple(headers)), at


def _take_numbers(data: bytes, at: int, none: int) -> tuple[tuple[int, ...] | None, int]:
    """A count, less `none`, and so many numbers; None for a count of 0 where that says so."""
    count, at = take_varint(data, at)
    if count < none:
        return None, at
    numbers = []
    for _ in range(count - none):
        number, at = take_varint(data, at)
        numbers.append(number)
    return tuple(numbers), at
