import numpy as np
import pytest
import torch
from checks import check_push_pop, check_sample, check_underflow, random_stack
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.special import log_softmax, logsumexp

from bbcodec.coder.ans import AnsStack
from bbcodec.distributions import Bernoulli, Gaussian, Mixture
from bbcodec.distributions.mixture import NEAR
from bbcodec.errors import CoderError, StackUnderflow


def whole(low, high, *shape, seed=0):
    return torch.randint(low, high, shape, generator=torch.Generator().manual_seed(seed)).float()


def some(count, batch, seed=0, spread=500, steps=32):
    components = Gaussian(
        whole(-spread, spread, count, 3, 2, seed=seed), whole(-400, 100, count, 3, 2, seed=seed + 1), steps
    )
    return Mixture(whole(-300, 300, count, seed=seed), components, batch)


def likely(d, seed=0):
    return d.rsample(torch.Generator().manual_seed(seed))


@settings(deadline=None, max_examples=25)
@given(st.integers(0, 2**32), st.integers(1, 20), st.integers(1, 6), st.integers(1, 5))
def test_push_and_pop(seed, count, batch, lanes):
    d = some(count, batch, seed)
    check_push_pop(d, likely(d, seed), lanes, seed)
    check_push_pop(d, whole(-255, 256, *d.shape, seed=seed), lanes, seed)


@settings(deadline=None, max_examples=25)
@given(st.integers(0, 2**32), st.sampled_from([1, 2, 7, 8, 100]))
def test_information_is_that_of_the_mixture(seed, count):
    d = some(count, 20, seed)
    value = likely(d, seed)
    each = [d.components.select(torch.full((20,), k)) for k in range(count)]
    log_weights = log_softmax(d.log_weights.double().numpy() / 256)
    bits = np.stack([c.information(value) for c in each], 1) / 2**24
    expected = -logsumexp(log_weights - bits * np.log(2), axis=1) / np.log(2)
    assert np.allclose(d.information(value) / 2**24, expected, rtol=0, atol=2**-16)
    nats = np.stack([c.log_prob(value) for c in each], 1)
    # all but the nearest eight components are computed nearly, which shows where very many matter alike
    assert np.allclose(d.log_prob(value), logsumexp(log_weights + nats, axis=1), rtol=1e-5, atol=6e-3)


@pytest.mark.parametrize("spread", [50, 2000])
def test_growth_is_that_of_the_mixture_whichever_component_is_drawn(spread):
    d, stack, grown = some(10, 200, spread=spread), AnsStack.seeded(5), []
    value = likely(d)
    for i in range(200):
        one, before = Mixture(d.log_weights, d.components, 1), stack.bits
        one.push(stack, value[i : i + 1])
        grown.append(stack.bits - before)
    information = d.information(value) / 2**24
    # single pushes are rounded by their heads (6 symbols and two indices at 28 bits); on average they are right
    assert abs(np.mean(grown - information)) < 0.01
    assert np.median(np.abs(grown - information)) < 0.01


def test_the_index_costs_nothing_in_a_mixture_of_one():
    d = some(1, 4)
    value = likely(d)
    assert np.array_equal(
        d.information(value), d.components.select(torch.zeros(4, dtype=torch.int64)).information(value)
    )


def test_other_families_mix_too():
    d = Mixture(torch.tensor([0.0, 256.0]), Bernoulli(whole(-300, 300, 2, 5, 5)), 3)
    check_push_pop(d, likely(d))


def test_samples_are_of_the_components_in_proportion():
    check_sample(some(3, 5))
    d = Mixture(torch.tensor([0.0, 512.0]), Bernoulli(torch.tensor([[-2047.0], [2047.0]])), 4000)
    assert likely(d).mean().item() == pytest.approx(np.exp(2) / (1 + np.exp(2)), abs=0.03)


def test_a_push_or_pop_that_fails_half_way_leaves_the_stack():
    d = some(5, 3)
    check_underflow(d, random_stack(0, words=20))
    poor = random_stack(0, words=0)
    before = poor.flatten()
    wide = Mixture(torch.zeros(200), Gaussian(torch.zeros(200, 1), torch.zeros(200, 1), 32), 40)  # pops 300 bits
    with pytest.raises(StackUnderflow):
        wide.push(poor, torch.zeros(40, 1))
    assert np.array_equal(poor.flatten(), before)
    with pytest.raises(CoderError):
        d.push(random_stack(0), torch.full(d.shape, 256.0))


def test_a_push_that_fails_after_its_pop_leaves_the_stack(monkeypatch):
    d, stack = some(5, 3), AnsStack.seeded(0)
    stack.push_intervals([5] * 9, [9] * 9, 31)
    before = stack.flatten()

    def fail(*_):
        raise CoderError("no weights")

    value = likely(d)
    monkeypatch.setattr(Mixture, "_component", fail)
    for attempt in (lambda: d.push(stack, value), lambda: d.pop(stack)):
        with pytest.raises(CoderError, match="no weights"):
            attempt()
        assert np.array_equal(stack.flatten(), before)
        assert stack.initial_words == 0


def test_weights_and_components_must_agree_in_number():
    for weights in (torch.zeros(3), torch.zeros(2, 2), torch.zeros(0)):
        with pytest.raises(ValueError, match="log_weights"):
            Mixture(weights, Gaussian(torch.zeros(2, 1), torch.zeros(2, 1), 8), 1)
    with pytest.raises(ValueError, match="shape"):
        some(2, 3).push(AnsStack.seeded(), torch.zeros(4, 3, 2))
    with pytest.raises(CoderError, match="whole"):
        Mixture(torch.full((2,), 0.5), Gaussian(torch.zeros(2, 1), torch.zeros(2, 1), 8), 1).pop(AnsStack.seeded())


def test_gradients_reach_weights_and_components():
    d = some(4, 5)
    leaves = [d.log_weights, *d.components.parameters()]
    for leaf in leaves:
        leaf.requires_grad_()
    d.log_prob(likely(d).detach()).sum().backward()
    assert all(leaf.grad.abs().sum() > 0 for leaf in leaves)


def narrow(count, batch, seed=0):
    """Components as a prior of many has them: far apart, 40 latents, sigmas down to the least that the grid allows."""
    means, log_sigmas = whole(-1500, 1500, count, 40, seed=seed), whole(-700, -100, count, 40, seed=seed + 1)
    return Mixture(whole(-300, 300, count, seed=seed), Gaussian(means, log_sigmas, 8), batch)


@pytest.mark.parametrize("count", [NEAR + 1, 500, 1000])
def test_many_components_are_learned_from_nearly_all_of_them(count):
    """The quick way agrees with all components computed one by one, in value and gradient."""
    close, coarse = (some(count, 6, spread=100, steps=steps) for steps in (8, 4))  # where all components matter
    for d, atol in ((narrow(count, 6), 1e-3), (close, 1e-3), (coarse, 0.01)):
        value, found = likely(d), []
        for quick in (True, False):
            leaves = [p.clone().requires_grad_() for p in (d.log_weights, *d.components.parameters())]
            one = Mixture(leaves[0], d.components.with_parameters(*leaves[1:]), 6)
            if quick:
                nats = one.log_prob(value)
            else:
                pairs, values = one._pairs(value)
                nats = one._mixed(pairs.log_prob(values))
            nats.sum().backward()
            found.append([nats.detach(), *(leaf.grad for leaf in leaves)])
        assert torch.allclose(*(f[0] for f in found), rtol=0, atol=atol)
        for a, b in list(zip(*found, strict=True))[1:]:
            assert torch.allclose(a, b, rtol=0.02, atol=2e-3 * b.abs().max().item())


@pytest.mark.parametrize("count", [1, 2, 500, 1000, 2048])
def test_weights_and_responsibilities_sum_exactly(count):
    """To 2**28, whatever they are; none is zero."""
    d = narrow(count, 3)
    for one in (d._weights(), d._responsibilities(likely(d))[0]):
        (below,) = one.rows()
        assert (below[:, 0] == 0).all()
        assert (below[:, -1] == 1 << 28).all()
        assert (np.diff(below, axis=1) >= 1).all()


@pytest.mark.parametrize("count", [3, 500, 1000])
def test_rounded_responsibilities_cost_next_to_nothing(count):
    """What a push costs on average is that of the mixture and KL(rounded || exact), at most K 2**-28 of a far one."""
    d = narrow(count, 20)
    value = likely(d)
    rounded, cost = d._responsibilities(value)
    masses = np.diff(rounded.rows()[0], axis=1) / 2**28
    pairs, values = d._pairs(value)
    weights = np.diff(d._weights().rows()[0], axis=1) / 2**28
    bits = pairs.information(values).reshape(20, count) / 2**24 - np.log2(weights)
    net = (masses * (bits + np.log2(masses))).sum(1)  # popped under `masses`, pushed for `bits`
    excess = net - cost / 2**24
    assert np.abs(excess).max() < 1e-6 + count * 2.0**-28 * bits.max()
    exact = -logsumexp(-bits * np.log(2), axis=1) / np.log(2)
    assert np.allclose(cost / 2**24, exact, rtol=0, atol=2**-15)


def test_images_are_worked_on_a_few_at_a_time(monkeypatch):
    """However many there are; nothing but memory depends on it."""
    d = narrow(50, 30)
    value, one, other = likely(d), AnsStack.seeded(), AnsStack.seeded()
    d.push(one, value)
    bits = d.information(value)
    monkeypatch.setattr("bbcodec.distributions.mixture.PAIR_VALUES", 7000)
    d.push(other, value)
    assert np.array_equal(one.flatten(), other.flatten())
    assert np.array_equal(bits, d.information(value))
