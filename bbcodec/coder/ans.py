"""The coder: a stack of symbols in one number, kept as 64-bit heads and a tail of 32-bit words (rANS, Duda 2013).

The arithmetic is that of craystack's rans.py, word for word: the two can exchange messages.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any, Self

import numpy as np
import numpy.typing as npt

from bbcodec.coder.kernels.rans import HEAD_MIN, OUTSIDE, UNDERFLOW, pop_intervals, push_intervals
from bbcodec.errors import CoderError, StackUnderflow

Words = npt.NDArray[np.uint32]
Integers = npt.NDArray[Any]
Kernel = Callable[..., int]

PRECISION_MAX = 31  # bits; a mass shifted up by 63 - precision must fit a head


def filler(seed: int, first: int, count: int) -> Words:
    """Words `first` .. `first + count - 1` of the filler of a seed: high halves of SplitMix64 (Steele et al. 2014)."""
    state = np.uint64(seed) + np.arange(first + 1, first + count + 1, dtype=np.uint64) * np.uint64(0x9E3779B97F4A7C15)
    state = (state ^ (state >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    state = (state ^ (state >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return ((state ^ (state >> np.uint64(31))) >> np.uint64(32)).astype(np.uint32)


@dataclass(eq=False)
class _Journal:
    """What restores a stack: its heads and depth, and the words below that were popped since."""

    heads: npt.NDArray[np.uint64]
    depth: int
    initial_words: int
    lowest: int
    popped: list[Words] = field(default_factory=list)


class AnsStack:
    """A last-in first-out store of symbols; its size is the information content of what it holds.

    A stack has `lanes` heads, each in [2**31, 2**63), and one tail of 32-bit words. It starts empty, with heads of
    2**31, or `seeded`, with random-looking heads on an endless supply of filler words, so that latents can be popped.

    Distributions push and pop through `push` and `pop`, which take a kernel, symbols and parameters whose axis 0 counts
    images, or runs of one length of them: whatever has these two, `atomic` and `bits` can stand in for a stack.

    >>> stack = AnsStack()
    >>> stack.push_intervals([0], [1], precision_bits=4)  # 4 bits
    >>> stack.bits - AnsStack().bits
    4.0
    """

    def __init__(self, lanes: int = 1) -> None:
        if lanes < 1:
            raise ValueError(f"lanes is {lanes}, expected 1 or more")
        self._heads = np.full(lanes, HEAD_MIN, np.uint64)
        self._words: Words = np.empty(64, np.uint32)  # oldest first: filler, then the tail, then room
        self._n = 0  # words in use, filler included
        self._filler = 0  # words of filler that were made, touched or not
        self._seed: int | None = None
        self._initial_words = 0
        self._journals: list[_Journal] = []

    @classmethod
    def seeded(cls, seed: int = 0, lanes: int = 1) -> Self:
        """A stack whose heads are 2**32 plus the first `lanes` words of the seed's filler, and that never underflows.

        seed: 0 .. 2**64 - 1. A bare head of 2**31 would not do: its low bits, all zero, would be popped as such.
        """
        if not 0 <= seed < 1 << 64:
            raise ValueError(f"seed is {seed}, expected 0 to 2**64 - 1")
        stack = cls(lanes)
        stack._seed = seed
        stack._heads = np.uint64(1 << 32) | filler(seed, 0, lanes).astype(np.uint64)
        return stack

    @property
    def lanes(self) -> int:
        """How many heads symbols go through in turn."""
        return len(self._heads)

    @property
    def initial_words(self) -> int:
        """How many words of filler have ever been popped: they belong to the message."""
        return self._initial_words

    @property
    def bits(self) -> float:
        """Bits held: 32 a word and log2 of every head; filler that was popped counts against it. For differences."""
        return 32.0 * (self._n - self._filler) + float(np.log2(self._heads.astype(np.float64)).sum())

    def flatten(self) -> Words:
        """The message: high words of the heads, low words of the heads, then the tail, newest first; uint32."""
        high, low = self._heads >> np.uint64(32), self._heads & np.uint64(0xFFFFFFFF)
        tail = self._words[self._filler - self._initial_words : self._n][::-1]
        return np.concatenate([high.astype(np.uint32), low.astype(np.uint32), tail])

    @classmethod
    def unflatten(cls, words: npt.ArrayLike, lanes: int = 1) -> Self:
        """The stack of a message from `flatten`; it has no filler. Raises CoderError for what cannot be a message."""
        if lanes < 1:
            raise ValueError(f"lanes is {lanes}, expected 1 or more")
        message = np.asarray(words, np.uint32)
        if message.ndim != 1 or len(message) < 2 * lanes:
            raise CoderError(f"a message of {lanes} lanes has {2 * lanes} words or more, this one {message.size}")
        stack = cls(lanes)
        stack._heads = message[:lanes].astype(np.uint64) << np.uint64(32) | message[lanes : 2 * lanes].astype(np.uint64)
        if (stack._heads < np.uint64(HEAD_MIN)).any() or (stack._heads >> np.uint64(63)).any():
            raise CoderError("not a message: a head is outside 2**31 .. 2**63")
        stack._words = message[2 * lanes :][::-1].copy()
        stack._n = len(stack._words)
        return stack

    def is_seed(self, seed: int, initial_words: int) -> bool:
        """Whether a decoded stack equals `seeded(seed)` with `initial_words` words of its filler."""
        start = AnsStack.seeded(seed, self.lanes)
        start._reserve_filler(initial_words)
        start._initial_words = initial_words
        return bool(np.array_equal(self.flatten(), start.flatten()))

    def push(self, kernel: Kernel, symbols: Integers, params: tuple[Integers, ...], *shared: Any) -> None:
        """Run a push kernel. symbols: (N,) or (N, C); params: arrays with N rows; shared: what has no rows.

        Raises CoderError, and leaves the stack as it was, if a symbol is outside the support.
        """
        self._reserve(symbols.size)
        heads = self._heads.copy()
        n = kernel(heads, self._words, self._n, symbols, *params, *shared)
        if n < 0:
            raise CoderError("a symbol to push lies outside the support of its distribution")
        self._heads, self._n = heads, n

    def pop(self, kernel: Kernel, symbols: Integers, params: tuple[Integers, ...], *shared: Any) -> None:
        """Run a pop kernel, which fills `symbols`. Arguments as for `push`.

        Raises StackUnderflow, and leaves the stack as it was, if it holds too little.
        """
        self._reserve_filler(symbols.size)
        heads = self._heads.copy()
        n = kernel(heads, self._words, self._n, symbols, *params, *shared)
        if n == UNDERFLOW:
            held = self._n - self._filler
            raise StackUnderflow(f"a stack of {held} words ran out while {symbols.size} symbols were popped")
        if n == OUTSIDE:
            raise CoderError("an interval to pop is not on top of the stack")
        self._heads, self._n = heads, n
        self._initial_words = max(self._initial_words, self._filler - n)
        for journal in self._journals:
            lowest = journal.lowest + self._filler
            if n < lowest:
                journal.popped.append(self._words[n:lowest].copy())
                journal.lowest = n - self._filler

    def push_intervals(self, starts: npt.ArrayLike, masses: npt.ArrayLike, precision_bits: int) -> None:
        """Push [start, start + mass) of 2**precision_bits, last to first, as craystack's rans.push does lane by lane.

        Raises CoderError for an interval that is empty or not within 2**precision_bits.
        """
        self.push(push_intervals, *self._intervals(starts, masses, precision_bits))

    def slots(self, count: int, precision_bits: int) -> npt.NDArray[np.int64]:
        """The slots of the next `count` <= lanes symbols: each lies in the interval of its symbol. Pops nothing."""
        if not 0 <= count <= self.lanes:
            raise ValueError(f"count is {count}, expected 0 to {self.lanes}, the number of lanes")
        return (self._heads[:count] & np.uint64((1 << precision_bits) - 1)).astype(np.int64)

    def pop_intervals(self, starts: npt.ArrayLike, masses: npt.ArrayLike, precision_bits: int) -> None:
        """Pop intervals, first to last, that the caller has found with `slots`.

        Raises CoderError for intervals that are not on top of the stack, StackUnderflow if it holds too little.
        """
        self.pop(pop_intervals, *self._intervals(starts, masses, precision_bits))

    @staticmethod
    def _intervals(
        starts: npt.ArrayLike, masses: npt.ArrayLike, precision_bits: int
    ) -> tuple[Integers, tuple[Integers], int]:
        if not 1 <= precision_bits <= PRECISION_MAX:
            raise ValueError(f"precision_bits is {precision_bits}, expected 1 to {PRECISION_MAX}")
        first, size = np.asarray(starts, np.int64), np.asarray(masses, np.int64)
        if first.shape != size.shape or first.ndim != 1:
            raise ValueError(f"starts and masses have shapes {first.shape} and {size.shape}, expected (N,) twice")
        if ((first < 0) | (size < 1) | (first + size > 1 << precision_bits)).any():
            raise CoderError(f"an interval is empty or not within 2**{precision_bits}")
        return first, (size,), precision_bits

    @contextmanager
    def atomic(self) -> Iterator[None]:
        """A block that restores the stack if any exception leaves it.

        Costs a copy of the words popped within the block.
        """
        depth = self._n - self._filler
        journal = _Journal(self._heads, depth, self._initial_words, depth)
        self._journals.append(journal)
        try:
            yield
        except BaseException:
            self._n = journal.depth + self._filler
            if journal.popped:
                self._words[journal.lowest + self._filler : self._n] = np.concatenate(journal.popped[::-1])
            self._heads, self._initial_words = journal.heads, journal.initial_words
            raise
        finally:
            self._journals.pop()

    def _reserve(self, count: int) -> None:
        """Make room for `count` more words; the buffer doubles, so each word is moved once or twice on average."""
        if self._n + count > len(self._words):
            room = np.empty(max(2 * len(self._words), self._n + count), np.uint32)
            room[: self._n] = self._words[: self._n]
            self._words = room

    def _reserve_filler(self, count: int) -> None:
        """Put filler below the tail of a seeded stack until `count` words can be popped; at least doubles it."""
        if self._seed is None or self._n >= count:
            return
        more = max(self._filler, count - self._n, 64)
        new = filler(self._seed, self.lanes + self._filler, more)[::-1]  # word `lanes` of the seed is on top
        self._words = np.concatenate([new, self._words])
        self._n += more
        self._filler += more
