"""What every family must keep, by the numbers of `bbcodec.distributions.base`; a test file brings distributions.

Intervals are read off the coder from outside, as start and mass of what was really pushed, by `intervals`.
"""

import math

import numpy as np
import pytest
import torch

from bbcodec.coder.ans import AnsStack
from bbcodec.distributions import LogisticMixture
from bbcodec.errors import CoderError, StackUnderflow

LARGE = 1 << 32  # the part of a head above the slot; such heads exchange no words with the tail


def with_heads(heads):
    heads = np.asarray(heads, np.uint64)
    words = np.concatenate([heads >> np.uint64(32), heads & np.uint64(0xFFFFFFFF)]).astype(np.uint32)
    return AnsStack.unflatten(words, len(heads))


def heads_of(stack):
    words = stack.flatten()[: 2 * stack.lanes].astype(np.uint64)
    return (words[: stack.lanes] << np.uint64(32)) | words[stack.lanes :]


def random_stack(seed, lanes=1, words=400):
    rng = np.random.default_rng(seed)
    high = rng.integers(1, 2**31, lanes, dtype=np.uint32)
    return AnsStack.unflatten(np.concatenate([high, rng.integers(0, 2**32, lanes + words, dtype=np.uint32)]), lanes)


def coding_order(d):
    """Which symbol of a value, numbered in C order, is coded first, second ...: mixtures of logistics take groups."""
    numbers = np.arange(d.shape.numel())
    if not isinstance(d, LogisticMixture):
        return numbers
    numbers = numbers.reshape(-1, d.channels)
    return np.concatenate([numbers[first : first + 16].T.reshape(-1) for first in range(0, len(numbers), 16)])


def intervals(d, value, precision):
    """Start and mass of every symbol of `value`, int64 in the shape of `value`.

    Every symbol gets a lane of its own, in the order of coding. A pushed symbol leaves a slot of its interval in the
    low bits of the head; popping it from heads q * 2**precision + slot leaves q * mass + slot - start, for two q.
    """
    count = value.numel()
    stack = with_heads(np.full(count, LARGE))
    d.push(stack, value)
    slots = heads_of(stack) & np.uint64((1 << precision) - 1)
    left = []
    for q in (LARGE // 2, LARGE // 2 + 1):
        stack = with_heads((np.uint64(q) << np.uint64(precision)) + slots)
        assert torch.equal(d.pop(stack), value)
        left.append(heads_of(stack).astype(np.int64))
    masses = left[1] - left[0]
    starts = slots.astype(np.int64) - (left[0] - masses * (LARGE // 2))
    back = np.empty((2, count), np.int64)
    back[:, coding_order(d)] = starts, masses
    starts, masses = back.reshape(2, *value.shape)
    return starts, masses


def check_masses(d, symbols, precision, channel=...):
    """Promises 1 and 2, and that information is that of the mass: for values filled with each symbol of the support.

    channel: the part of the value to fill (the rest stays zero), where symbols depend on those before them.
    """
    end = 0
    for k in symbols:
        value = torch.zeros(d.shape)
        value[channel] = float(k)
        starts, masses = intervals(d, value, precision)
        assert (masses[channel] >= 1).all()  # promise 2
        assert (starts[channel] == end).all()  # promise 1
        end = starts[channel] + masses[channel]
        bits = precision - np.log2(masses).reshape(len(value), -1)
        assert np.abs(d.information(value) / 2**24 - bits.sum(1)).max() < 2**-23 * bits.shape[1]
    assert (end == 1 << precision).all()


def check_log_prob(d, value, precision, exact, units=2, outliers=0.0):
    """Promise 3: exact, the probabilities of an independent implementation in float64, against masses and log_prob.

    units: how much masses may be off. outliers: the share of images whose log_prob may be further off in float32.
    """
    _, masses = intervals(d, value, precision)
    off = np.abs(masses - exact * 2.0**precision)
    assert off.max() <= units
    nats = d.with_parameters(*(p.double() for p in d.parameters())).log_prob(value.double())
    assert nats.dtype == torch.float64
    assert nats.shape == value.shape[:1]
    assert np.allclose(nats, np.log(exact).reshape(len(value), -1).sum(1), rtol=1e-9, atol=1e-7)
    coarse = d.log_prob(value)
    assert coarse.dtype == torch.float32
    close = np.isclose(coarse, nats, rtol=1e-5, atol=1e-5 * value[0].numel())
    assert close.mean() >= 1 - outliers


def check_push_pop(d, value, lanes=1, seed=0):
    """Promise 4, both halves: pop undoes push, and push undoes pop, whatever the stack. Measured pushes too."""
    stack, measured = random_stack(seed, lanes), random_stack(seed, lanes)
    before = stack.flatten()
    d.push(stack, value)
    assert np.array_equal(d.push_measured(measured, value), d.information(value))
    assert np.array_equal(measured.flatten(), stack.flatten())
    popped = d.pop(stack)
    assert popped.dtype == torch.float32
    assert torch.equal(popped, value)
    assert np.array_equal(stack.flatten(), before)
    drawn = d.pop(stack)
    assert drawn.shape == d.shape
    d.push(stack, drawn)
    assert np.array_equal(stack.flatten(), before)


def check_growth(d, value, precision, lanes=1):
    """Promise 5, over many symbols: a push at a head h is off by up to 2**precision / h, nearly a random walk."""
    stack = AnsStack.seeded(1, lanes)
    before = stack.bits
    d.push(stack, value)
    bits = d.information(value)
    assert bits.dtype == np.int64
    assert bits.shape == value.shape[:1]
    count = value.numel()
    bound = 2.0 ** (precision - 31) * (4 * math.sqrt(count) + count / 1000) + lanes * 2.0 ** (precision - 32)
    assert abs(stack.bits - before - bits.sum() / 2**24) < bound


def check_order(d, value):
    """Symbols are coded in their order, last to first, lane i % lanes: as their intervals one by one."""
    for lanes in (1, 3):
        precision = check_order.precision[type(d).__name__]
        starts, masses = (numbers.reshape(-1)[coding_order(d)] for numbers in intervals(d, value, precision))
        stack, expected = random_stack(5, lanes), random_stack(5, lanes)
        d.push(stack, value)
        expected.push_intervals(starts, masses, precision)
        assert np.array_equal(stack.flatten(), expected.flatten())


check_order.precision = {"Gaussian": 28, "Bernoulli": 24, "LogisticMixture": 24, "Categorical": 24, "Uniform": 24}


def check_failures(d, outside):
    """An underflow and a symbol outside the support raise, and leave the stack as it was."""
    check_underflow(d, AnsStack())
    stack = random_stack(0)
    before = stack.flatten()
    good = d.pop(random_stack(1))
    for symbol in outside:
        value = good.clone()
        value.view(-1)[0] = symbol
        with pytest.raises(CoderError):
            d.push(stack, value)
        with pytest.raises(CoderError):
            d.information(value)
        assert np.array_equal(stack.flatten(), before)
    with pytest.raises(ValueError, match="shape"):
        d.push(stack, good[:0])


def check_underflow(d, stack):
    """Pops until the stack runs out: only whole values are taken."""
    before = stack.flatten()
    for _ in range(1000):
        try:
            d.pop(stack)
        except StackUnderflow:
            assert np.array_equal(stack.flatten(), before)
            return
        before = stack.flatten()
    pytest.fail("the stack never ran out")


def check_same(one, other, value, precision):
    """Two distributions that code and learn alike."""
    for a, b in zip(intervals(one, value, precision), intervals(other, value, precision), strict=True):
        assert np.array_equal(a, b)
    assert torch.equal(one.log_prob(value), other.log_prob(value))


def check_whole(make, *parameters):
    """Parameters that are not whole numbers are never coded: they would not be the same everywhere."""
    for broken in (0.5, math.nan, math.inf, 2.0**31):
        for i in range(len(parameters)):
            changed = [p.clone() for p in parameters]
            changed[i].view(-1)[-1] = broken
            with pytest.raises(CoderError, match="whole"):
                make(*changed).pop(random_stack(0))


def check_select(d):
    """`select` gives the distribution of some images, in their order, with repeats."""
    images = torch.tensor([1, 0, 1])
    chosen = d.select(images)
    assert chosen.shape == (3, *d.shape[1:])
    value = d.pop(random_stack(3))
    assert np.array_equal(chosen.information(value[images]), d.information(value)[images.numpy()])


def check_sample(d, generator_seed=0):
    """Samples are whole numbers of the support, the same for the same generator."""
    a, b = (d.rsample(torch.Generator().manual_seed(generator_seed)) for _ in range(2))
    assert a.shape == d.shape
    assert torch.equal(a, b)
    d.push(random_stack(0), a.detach())
