import json
import math
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from bbcodec.coder.ans import AnsStack, filler
from bbcodec.coder.kernels.rans import HEAD_MIN
from bbcodec.errors import CoderError, StackUnderflow

GOLDEN = json.loads((Path(__file__).parent / "golden" / "craystack_rans.json").read_text())["cases"]


class Oracle:
    """rANS in Python's unbounded integers, straight from the definition; the tail is a list, newest last."""

    def __init__(self, heads, words=()):
        self.heads, self.words = list(heads), list(words)

    def push(self, start, mass, precision, lane):
        head = self.heads[lane]
        if head * 2**precision // mass >= 2**63:
            self.words.append(head % 2**32)
            head //= 2**32
        self.heads[lane] = head // mass * 2**precision + head % mass + start

    def pop(self, start, mass, precision, lane):
        whole, slot = divmod(self.heads[lane], 2**precision)
        head = whole * mass + slot - start
        if head < 2**31:
            head = head * 2**32 + self.words.pop()
        self.heads[lane] = head

    def flatten(self):
        return [h >> 32 for h in self.heads] + [h % 2**32 for h in self.heads] + self.words[::-1]


@st.composite
def intervals(draw, precision=None, max_size=12):
    """starts, masses, precision of some symbols; small, great and full masses alike."""
    p = precision or draw(st.integers(1, 31))
    starts, masses = [], []
    for _ in range(draw(st.integers(0, max_size))):
        mass = min(2**p, 2 ** draw(st.integers(0, p)) + draw(st.integers(0, 5)))
        starts.append(draw(st.integers(0, 2**p - mass)))
        masses.append(mass)
    return starts, masses, p


def random_stack(seed, lanes, words):
    rng = np.random.default_rng(seed)
    high = rng.integers(1, 2**31, lanes, dtype=np.uint32)
    return AnsStack.unflatten(np.concatenate([high, rng.integers(0, 2**32, lanes + words, dtype=np.uint32)]), lanes)


@pytest.mark.parametrize("case", GOLDEN, ids=lambda case: f"{case['lanes']}-lanes-{case['precision_bits']}-bits")
def test_words_are_those_of_craystack(case):
    stack = AnsStack(case["lanes"])
    for push in case["pushes"]:
        stack.push_intervals(push["starts"], push["masses"], case["precision_bits"])
    assert stack.flatten().tolist() == case["flattened_words"]
    received = AnsStack.unflatten(case["flattened_words"], case["lanes"])
    for push in case["pushes"][::-1]:
        starts, masses = np.array(push["starts"]), np.array(push["masses"])
        slots = received.slots(len(starts), case["precision_bits"])
        assert ((starts <= slots) & (slots < starts + masses)).all()
        received.pop_intervals(starts, masses, case["precision_bits"])
    assert received.flatten().tolist() == AnsStack(case["lanes"]).flatten().tolist()


@settings(deadline=None)  # the first example may compile
@given(st.lists(intervals(), max_size=8), st.integers(1, 5), st.integers(0, 2**32))
def test_pushes_agree_with_whole_number_arithmetic(pushes, lanes, seed):
    stack = random_stack(seed, lanes, 3)
    first = stack.flatten().tolist()
    oracle = Oracle([a << 32 | b for a, b in zip(first[:lanes], first[lanes:], strict=False)], first[2 * lanes :][::-1])
    for starts, masses, p in pushes:
        stack.push_intervals(starts, masses, p)
        for i in reversed(range(len(starts))):
            oracle.push(starts[i], masses[i], p, i % lanes)
        assert stack.flatten().tolist() == oracle.flatten()
    for starts, masses, p in reversed(pushes):
        stack.pop_intervals(starts, masses, p)
        for i in range(len(starts)):
            oracle.pop(starts[i], masses[i], p, i % lanes)
        assert stack.flatten().tolist() == oracle.flatten()
    assert stack.flatten().tolist() == first


@settings(deadline=None)  # the first example may compile
@given(st.integers(0, 2**32), st.integers(1, 5), st.integers(1, 31), st.integers(1, 40))
def test_push_after_pop_restores_any_stack(seed, lanes, precision, count):
    stack = random_stack(seed, lanes, 40)
    before, popped = stack.flatten(), []
    for _ in range(count):
        slots = stack.slots(lanes, precision)
        masses = np.maximum(1, np.minimum(slots % 7 + 1, (1 << precision) - slots))
        stack.pop_intervals(slots, masses, precision)
        popped.append((slots, masses))
        if len(stack.flatten()) < 3 * lanes:
            break
    for starts, masses in popped[::-1]:
        stack.push_intervals(starts, masses, precision)
    assert np.array_equal(stack.flatten(), before)


@settings(deadline=None)  # the first example may compile
@given(intervals(max_size=30), st.integers(1, 4), st.integers(0, 2**32))
def test_growth_is_the_information_pushed_within_the_rounding_of_each_head(symbols, lanes, seed):
    starts, masses, p = symbols
    stack = random_stack(seed, lanes, 0)
    for i in reversed(range(len(starts))):
        before = stack.bits
        stack.push_intervals([0] * (i % lanes) + [starts[i]], [1 << p] * (i % lanes) + [masses[i]], p)
        head = int(stack._heads[i % lanes])
        growth, information = stack.bits - before, p - math.log2(masses[i])
        # a renormalised head loses up to a part in 2**31, the quotient up to 2**p of the new head
        assert abs(growth - information) <= math.log2(1 + 2**p / (head - 2**p + 1)) + 2**-30


def test_a_full_interval_costs_nothing():
    stack = random_stack(0, 2, 5)
    before = stack.flatten()
    stack.push_intervals([0, 0, 0], [1 << 31] * 3, 31)
    assert np.array_equal(stack.flatten(), before)


def test_filler_is_splitmix64():
    # first outputs of the reference implementation from seed 0 (prng.di.unimi.it/splitmix64.c), high halves
    assert [hex(w) for w in filler(0, 0, 4)] == ["0xe220a839", "0x6e789e6a", "0x6c45d18", "0xf88bb8a8"]
    assert np.array_equal(filler(7, 0, 20)[5:], filler(7, 5, 15))
    assert not np.array_equal(filler(2**64 - 1, 0, 4), filler(0, 0, 4))


def test_a_seeded_stack_starts_with_its_own_words():
    stack = AnsStack.seeded(0, lanes=2)
    assert stack.flatten().tolist() == [1, 1, 0xE220A839, 0x6E789E6A]
    assert stack.initial_words == 0
    stack.pop_intervals(stack.slots(2, 31), [1, 1], 31)  # leaves 2 or 3 of each head, so that each takes a word
    assert stack.initial_words == 2
    assert stack.flatten().tolist() == [3, 2, 0x06C45D18, 0xF88BB8A8]


@settings(deadline=None)  # the first example may compile
@given(st.integers(0, 2**64 - 1), st.integers(1, 3), st.lists(st.integers(1, 300), min_size=1, max_size=6))
def test_a_seeded_stack_never_underflows_and_can_be_told_after_decoding(seed, lanes, counts):
    stack = AnsStack.seeded(seed, lanes)
    popped = []
    for count in counts:
        slots = np.concatenate([stack.slots(1, 31), np.zeros(count - 1, np.int64)])
        masses = np.concatenate([[1], np.full(count - 1, 1 << 31)])
        stack.pop_intervals(slots, masses, 31)
        popped.append((slots, masses))
    assert stack.initial_words >= len(counts) - 1
    message = stack.flatten()
    received = AnsStack.unflatten(message, lanes)
    assert np.array_equal(received.flatten(), message)
    for starts, masses in popped[::-1]:
        received.push_intervals(starts, masses, 31)
    assert received.is_seed(seed, stack.initial_words)
    assert not received.is_seed(seed ^ 1, stack.initial_words)
    assert not received.is_seed(seed, stack.initial_words + 1)
    received.push_intervals([5], [1 << 20], 31)
    assert not received.is_seed(seed, stack.initial_words)


def test_filler_does_not_depend_on_how_far_ahead_it_was_laid():
    steps, ahead = AnsStack.seeded(1), AnsStack.seeded(1)
    ahead._reserve_filler(1000)
    for _ in range(500):
        for stack in (steps, ahead):
            stack.pop_intervals(stack.slots(1, 31), [3], 31) if stack.slots(1, 31)[0] < 2**31 - 3 else None
    assert steps.initial_words == ahead.initial_words > 400
    assert np.array_equal(steps.flatten(), ahead.flatten())


def test_a_pop_past_the_end_raises_and_leaves_the_stack():
    stack = random_stack(0, 2, 1)
    before = stack.flatten()
    with pytest.raises(StackUnderflow):
        stack.pop(eight_bits_a_symbol, np.empty(500, np.int32), ())
    assert np.array_equal(stack.flatten(), before)


def eight_bits_a_symbol(heads, words, n, symbols):
    """A kernel that pops more than there is: (N,) symbols of eight bits each."""
    for i in range(len(symbols)):
        lane = i % len(heads)
        heads[lane] >>= np.uint64(8)
        if heads[lane] < 2**31:
            n -= 1
            if n < 0:
                return -1
            heads[lane] = heads[lane] << np.uint64(32) | np.uint64(words[n])
    return n


def test_a_push_that_fails_leaves_the_stack():
    def bad_in_the_middle(heads, words, n, symbols):
        heads[:] = HEAD_MIN
        words[n : n + len(symbols)] = 7
        return -2

    stack = random_stack(0, 2, 3)
    before = stack.flatten()
    with pytest.raises(CoderError, match="support"):
        stack.push(bad_in_the_middle, np.zeros(9, np.int32), ())
    assert np.array_equal(stack.flatten(), before)


def test_an_interval_that_is_not_on_top_cannot_be_popped():
    stack = random_stack(0, 1, 5)
    before = stack.flatten()
    slot = int(stack.slots(1, 16)[0])
    for start in (slot - 2, slot + 1):
        with pytest.raises(CoderError, match="not on top"):
            stack.pop_intervals([start], [1], 16)
        assert np.array_equal(stack.flatten(), before)


@pytest.mark.parametrize(("start", "mass"), [(0, 0), (-1, 2), (255, 2), (0, 257), (3, -1)])
def test_an_interval_must_lie_in_its_precision(start, mass):
    stack = AnsStack()
    with pytest.raises(CoderError, match="interval"):
        stack.push_intervals([0, start], [1, mass], 8)
    assert stack.flatten().tolist() == AnsStack().flatten().tolist()


@pytest.mark.parametrize("words", [[], [1], [0, 2**31 - 1], [2**31, 0], [0, 0, 5]])
def test_what_cannot_be_a_message_is_refused(words):
    with pytest.raises(CoderError, match="message"):
        AnsStack.unflatten(np.array(words, np.uint32))


def test_wrong_calls_are_value_errors():
    for call in (
        lambda: AnsStack(0),
        lambda: AnsStack.unflatten([1, 2], 0),
        lambda: AnsStack.seeded(-1),
        lambda: AnsStack.seeded(2**64),
        lambda: AnsStack(2).slots(3, 8),
        lambda: AnsStack().push_intervals([0], [1], 32),
        lambda: AnsStack().push_intervals([0], [1, 1], 8),
    ):
        with pytest.raises(ValueError, match="expected"):
            call()


@pytest.mark.parametrize("seeded", [False, True])
def test_a_block_that_fails_leaves_the_stack_as_it_was(seeded):
    stack = AnsStack.seeded(3, 2) if seeded else random_stack(3, 2, 30)
    stack.push_intervals([1, 2, 3], [4, 5, 6], 20)
    before, words = stack.flatten(), stack.initial_words

    def inner():
        with stack.atomic():
            disturb(stack)
            raise IndexError

    def outer():
        with stack.atomic():
            disturb(stack)
            with pytest.raises(IndexError):
                inner()
            raise KeyError

    with pytest.raises(KeyError):
        outer()
    assert np.array_equal(stack.flatten(), before)
    assert stack.initial_words == words
    assert stack._journals == []


def disturb(stack):
    for _ in range(4):
        stack.pop_intervals(stack.slots(2, 30), [1, 1], 30)
    stack.push_intervals(range(40), [1] * 40, 31)  # over the words that were popped
    stack.pop_intervals(stack.slots(1, 31), [1], 31)


def test_an_inner_block_that_fails_takes_back_only_itself():
    stack = random_stack(4, 2, 60)

    def inner():
        with stack.atomic():
            disturb(stack)
            raise KeyError

    with stack.atomic():
        disturb(stack)
        between = stack.flatten()
        with pytest.raises(KeyError):
            inner()
        assert np.array_equal(stack.flatten(), between)
    assert np.array_equal(stack.flatten(), between)


def test_the_buffer_grows_by_doubling():
    stack, buffers = AnsStack(), set()
    for i in range(5000):
        stack.push_intervals([i], [1], 31)
        buffers.add(len(stack._words))
    assert len(stack.flatten()) > 4800
    assert len(buffers) < 10
