import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from mixture_oracle import starts as oracle_starts

from bbcodec.coder.ans import AnsStack
from bbcodec.distributions import LogisticMixture
from bbcodec.engine import logistic
from bbcodec.engine.compiling import choose
from bbcodec.engine.logistic import CUMULATIVE, POWERS, mixture, mixture_intervals, mixture_pop, mixture_push, room
from bbcodec.errors import CoderError, StackUnderflow

KERNELS = choose()
KINDS = [(1, 1, False), (1, 5, False), (3, 1, False), (3, 5, False), (3, 4, True), (3, 32, True)]


def some_params(family, n, seed=0, logit=300.0, spread=150.0, log_scale=(350.0, 150.0), dead=0.0):
    """Parameters (N, P) about as a net gives them; dead: the part of components that are all but ruled out."""
    rng = np.random.default_rng(seed)
    channels, count = family.channels, family.components
    logits = rng.normal(0, logit, (n, 1 if family.joint else channels, count))
    logits -= 3000 * (rng.random(logits.shape) < dead)
    means = rng.normal(0, 1500, (n, channels, 1)) / np.array([1, 4, 4])[:channels, None]
    means = means + rng.normal(0, spread, (n, channels, count))
    scales = rng.normal(*log_scale, (n, channels, count))
    coefficients = rng.normal(150, 80, (n, 3 if channels == 3 else 0, count))
    parts = [part.reshape(n, -1) for part in (logits, means, scales, coefficients)]
    return np.concatenate(parts, 1).round().astype(np.int32)


def wild_params(family, n, seed=0):
    """Numbers of every size that a net can give."""
    rng = np.random.default_rng(seed)
    size = 2.0 ** rng.uniform(0, 24, (n, family.size))
    return (rng.choice([-1, 1], size.shape) * np.minimum(size, 2**24 - 1)).astype(np.int32)


def in_rows(family, params):
    """As the kernels take them: rows of a multiple of 16."""
    return np.pad(params, ((0, 0), (0, -family.size % 16)))


def intervals(family, params, values):
    """Starts and masses (N, C) of values, put back from the order of coding."""
    n, channels = values.shape
    starts, masses = np.zeros(n * channels, np.int32), np.zeros(n * channels, np.int32)
    count = mixture_intervals(
        KERNELS, family, in_rows(family, params), np.arange(n), values, room(family), starts, masses
    )
    assert count == n * channels
    order = order_of(n, channels)
    back = np.empty((2, n * channels), np.int64)
    back[:, order] = starts, masses
    return back.reshape(2, n, channels)


def order_of(n, channels):
    """Index, in C order of (N, C), of each symbol in the order of coding."""
    index = np.arange(n * channels).reshape(n, channels)
    return np.concatenate([index[first : first + 16].T.reshape(-1) for first in range(0, n, 16)])


def push(family, stack, params, values):
    n = values.size
    starts, masses = np.zeros(n, np.int32), np.zeros(n, np.int32)
    rows, order, memory = in_rows(family, params), np.arange(len(values)), room(family)
    stack.push(
        lambda heads, words, n, x: mixture_push(
            KERNELS, heads, words, n, x, family, rows, order, memory, starts, masses
        ),
        values,
        (),
    )


def pop(family, stack, params):
    values = np.zeros((len(params), family.channels), np.int32)
    rows, order, memory = in_rows(family, params), np.arange(len(values)), room(family)
    stack.pop(
        lambda heads, words, n, x: mixture_pop(KERNELS, heads, words, n, x, family, rows, order, memory), values, ()
    )
    return values


def anything(family, n, seed=0):
    return np.random.default_rng(seed).integers(0, 256, (n, family.channels)).astype(np.int32)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("make", [some_params, wild_params])
def test_intervals_are_those_of_the_definition(kind, make):
    family = mixture(*kind)
    params, values = make(family, 150), anything(family, 150)
    values[:6] = np.array([0, 1, 127, 128, 254, 255])[:, None]
    expected = oracle_starts(params, family.channels, family.joint, values)
    assert (np.diff(expected) >= 1).all()  # promises 1 and 2: strictly increasing ...
    assert (expected[..., 0] == 0).all()  # ... from 0 to 2**24
    assert (expected[..., -1] == 1 << 24).all()
    starts, masses = intervals(family, params, values)
    index = values[..., None].astype(np.int64)
    assert np.array_equal(starts, np.take_along_axis(expected, index, 2)[..., 0])
    assert np.array_equal(starts + masses, np.take_along_axis(expected, index + 1, 2)[..., 0])


@settings(deadline=None, max_examples=40)
@given(st.sampled_from(KINDS), st.integers(0, 2**32), st.integers(1, 70), st.sampled_from([1, 2, 5, 16, 17]))
def test_pop_undoes_push_and_push_undoes_pop(kind, seed, n, lanes):
    family = mixture(*kind)
    params = (some_params if seed % 2 else wild_params)(family, n, seed)
    values, stack = anything(family, n, seed), AnsStack.seeded(seed, lanes)
    before = stack.flatten()
    push(family, stack, params, values)
    assert np.array_equal(pop(family, stack, params), values)
    assert np.array_equal(stack.flatten(), before)
    drawn = pop(family, stack, params)
    push(family, stack, params, drawn)
    assert np.array_equal(pop(family, stack, params), drawn)


@pytest.mark.parametrize("lanes", [1, 3, 16])
@pytest.mark.parametrize("kind", KINDS)
def test_a_push_is_that_of_its_intervals_in_the_order_of_coding(kind, lanes):
    family = mixture(*kind)
    params, values = some_params(family, 37), anything(family, 37)
    starts, masses = (x.reshape(-1)[order_of(37, family.channels)] for x in intervals(family, params, values))
    one, other = AnsStack.seeded(3, lanes), AnsStack.seeded(3, lanes)
    push(family, one, params, values)
    other.push_intervals(starts, masses, 24)
    assert np.array_equal(one.flatten(), other.flatten())


REGIMES = {
    "photo": {},
    "smooth": {"log_scale": (100.0, 150.0), "spread": 60.0, "dead": 0.3},
    "graphics": {"logit": 600.0, "log_scale": (-400.0, 300.0), "spread": 300.0, "dead": 0.5},
    "flat": {"logit": 1000.0, "log_scale": (-700.0, 200.0), "spread": 10.0, "dead": 0.5},
}


@pytest.mark.parametrize("regime", REGIMES)
@pytest.mark.parametrize("kind", [(1, 10, False), (3, 5, False), (3, 10, False), (3, 10, True)])
def test_information_is_that_of_the_density(kind, regime):
    """Promise 3, on average over values that the density itself makes."""
    family, n = mixture(*kind), 5000
    params = some_params(family, n, 1, **REGIMES[regime])
    density = LogisticMixture(torch.from_numpy(params).double(), family.channels, family.joint)
    value = density.rsample(torch.Generator().manual_seed(1))
    _, masses = intervals(family, params, value.numpy().astype(np.int32))
    nats = -density.log_prob(value).mean().item()
    assert (24 - np.log2(masses)).sum() / n == pytest.approx(nats / np.log(2), abs=2e-4 * 3)


def test_symbols_outside_the_support_are_refused():
    family = mixture(3, 2)
    params, stack = some_params(family, 20), AnsStack(16)
    for bad in (-1, 256):
        values = anything(family, 20)
        values[17, 1] = bad
        with pytest.raises(CoderError, match="support"):
            push(family, stack, params, values)
    assert np.array_equal(stack.flatten(), AnsStack(16).flatten())


def test_a_pop_past_the_end_raises():
    family, stack = mixture(3, 2), AnsStack(16)
    with pytest.raises(StackUnderflow):
        pop(family, stack, some_params(family, 200))


@pytest.mark.parametrize("wrong", [(2, 3), (3, 0), (1, 33)])
def test_only_mixtures_that_fit_are_made(wrong):
    with pytest.raises(ValueError, match="expected 1 or 3 channels and 1 to 32 components"):
        mixture(*wrong)


def test_tables_are_near_the_functions_they_stand_for():
    assert logistic.digest() == logistic.DIGEST
    assert np.abs(POWERS - 2.0 ** (16 - np.arange(256) / 256)).max() <= 0.5
    words = CUMULATIVE.view(np.uint32)
    values, rises = (words >> 12).astype(np.int64), (words & 4095).astype(np.int64)
    assert np.array_equal(values[1:], (values + rises)[:-1])
    assert (values[0], values[1024], values[-1] + rises[-1]) == (0, (1 << 19) - 1, (1 << 20) - 2)
    x = np.arange(-1024, 1024) / 64
    assert np.abs(values - ((1 << 20) - 2) / (1 + np.exp(-x))).max() <= 1.5
