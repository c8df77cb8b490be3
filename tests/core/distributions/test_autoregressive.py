"""Pixels coded in waves: by the contract, in the order of the format, and as a distribution that sums to one."""

import math
from functools import partial

import numpy as np
import pytest
import torch
from checks import check_growth, check_push_pop, check_sample, check_underflow, random_stack
from hypothesis import given, settings
from hypothesis import strategies as st

from bbcodec.coder.ans import AnsStack
from bbcodec.distributions.autoregressive import Autoregressive
from bbcodec.distributions.bernoulli import Bernoulli
from bbcodec.distributions.gaussian import Gaussian
from bbcodec.distributions.logistic import LogisticMixture
from bbcodec.errors import CoderError
from bbcodec.exact.layers import exact_layers
from bbcodec.exact.local_net import LocalNet

SKEW = 2
# family of a pixel, its channels, its parameters, value -> input of the net, values
FAMILIES = {
    "Bernoulli": (Bernoulli, 1, 1, lambda x: 512 * x - 256, (0, 2)),
    "grey": (partial(LogisticMixture, channels=1), 1, 6, lambda x: 8 * x - 1024, (0, 256)),
    "RGB": (partial(LogisticMixture, channels=3), 3, 24, lambda x: 8 * x - 1024, (0, 256)),
    "Gaussian": (partial(Gaussian.from_params, steps_per_unit=8), 2, 4, lambda k: 32 * k, (-20, 21)),
}
SIDES = st.sampled_from([(1, 1), (1, 6), (7, 1), (2, 2), (3, 5), (6, 7)])


def make(name, shape, seed=0, stride=1):
    """A random net, whose outputs are spread over some units of its family; stride: of the context, 0 for none."""
    family, channels, n_params, embed, _ = FAMILIES[name]
    torch.manual_seed(seed)
    net = LocalNet(channels, 6, 8, [1], n_params, radius=2)
    with torch.no_grad():
        for layer in exact_layers(net).values():
            layer.bias.normal_(0, 0.5)
        net.skip.weight.normal_(0, 0.1)
    batch, height, width = shape
    shape = (batch, channels, height, width)
    if not stride:
        return Autoregressive(net, family, embed, shape)
    hint = torch.randint(-500, 500, (batch, 6, -(-height // stride), -(-width // stride))).float()
    return Autoregressive(net, family, embed, shape, hint, stride)


def values(d, name, seed=0):
    low, high = FAMILIES[name][-1]
    return torch.randint(low, high, d.shape, generator=torch.Generator().manual_seed(seed)).float()


@given(
    st.sampled_from(list(FAMILIES)),
    st.integers(0, 2**31),
    SIDES,
    st.integers(1, 5),
    st.sampled_from([1, 2, 5]),
    st.sampled_from([0, 1, 2, 4]),
)
@settings(max_examples=60)
def test_push_and_pop_undo_each_other(name, seed, sides, batch, lanes, stride):
    with torch.no_grad():
        d = make(name, (batch, *sides), seed % 5, stride)
        check_push_pop(d, values(d, name, seed), lanes, seed)


@pytest.mark.parametrize("name", list(FAMILIES))
@pytest.mark.parametrize("lanes", [1, 4])
def test_the_stack_grows_by_the_information(name, lanes):
    with torch.no_grad():
        d = make(name, (3, 9, 8))
        check_growth(d, d.rsample(torch.Generator().manual_seed(0)), 28 if name == "Gaussian" else 24, lanes)


@pytest.mark.parametrize("name", list(FAMILIES))
def test_information_is_that_of_log_prob(name):
    with torch.no_grad():
        d = make(name, (4, 5, 6))
        value = d.rsample(torch.Generator().manual_seed(1))
        nats = d.log_prob(value)
        assert nats.shape == (4,)
        assert d.information(value) / 2**24 * math.log(2) == pytest.approx(-nats.numpy(), rel=1e-3)
        other = value.clone()
        other[2, 0, 4, 5] = 1 - other[2, 0, 4, 5] if name == "Bernoulli" else other[2, 0, 4, 5] + 1
        changed = (d.information(other) != d.information(value)).tolist()
        assert changed == [False, False, True, False]  # images are independent


@pytest.mark.parametrize("sides", [(1, 1), (1, 4), (3, 2), (2, 4)])
def test_probabilities_of_all_images_sum_to_one(sides):
    """No pixel is predicted from itself or from what is coded after it."""
    height, width = sides
    count = 2 ** (height * width)
    every = torch.tensor([[n >> bit & 1 for bit in range(height * width)] for n in range(count)]).float()
    with torch.no_grad():
        d = make("Bernoulli", (count, height, width), stride=0)
        p = d.log_prob(every.reshape(d.shape)).double().exp()
    assert p.sum().item() == pytest.approx(1, abs=1e-4)
    assert p.max() > 1.5 / count or count == 2


@pytest.mark.parametrize("name", list(FAMILIES))
@pytest.mark.parametrize("lanes", [1, 3])
def test_pixels_are_coded_in_the_order_of_the_format(name, lanes):
    """Wave by wave; in a wave image by image, top to bottom, channel by channel: as one flat site for each wave."""
    family = FAMILIES[name][0]
    with torch.no_grad():
        d = make(name, (2, 4, 5))
        x = values(d, name)
        params = d.in_parallel(x)
        assert params.shape[:3] == (2, 4, 5)
        found, expected = random_stack(7, lanes), random_stack(7, lanes)
        d.push(found, x)
        for t in reversed(range(5 + SKEW * 3)):
            places = [(b, i, t - SKEW * i) for b in range(2) for i in range(4) if 0 <= t - SKEW * i < 5]
            if places:
                family(torch.stack([params[p] for p in places])).push(
                    expected, torch.stack([x[b, :, i, j] for b, i, j in places])
                )
    assert np.array_equal(found.flatten(), expected.flatten())


@pytest.mark.parametrize("name", list(FAMILIES))
def test_samples(name):
    with torch.no_grad():
        d = make(name, (3, 4, 5))
        check_sample(d)


def test_samples_follow_the_probabilities():
    """Frequencies of all sixteen images of 2 x 2 pixels: each within five standard errors."""
    count, n = 16, 16 * 2000
    every = torch.tensor([[k >> bit & 1 for bit in range(4)] for k in range(count)]).float().reshape(16, 1, 2, 2)
    with torch.no_grad():
        p = make("Bernoulli", (count, 2, 2), stride=0).log_prob(every).exp()
        x = make("Bernoulli", (n, 2, 2), stride=0).rsample(torch.Generator().manual_seed(0))
    code = (x.reshape(n, 4) * torch.tensor([1.0, 2.0, 4.0, 8.0])).sum(1).long()
    found = torch.bincount(code, minlength=count) / n
    assert ((found - p).abs() < 5 * (p * (1 - p) / n).sqrt()).all()


def test_learning_sees_the_coded_parameters():
    """With gradients wanted the parameters are those that are coded, and every layer learns."""
    d = make("grey", (3, 7, 6))
    value = values(d, "grey")
    learning = d.in_parallel(value)
    with torch.no_grad():
        assert torch.equal(learning, d.in_parallel(value))
    d.log_prob(value).sum().backward()
    assert all(layer.weight.grad.abs().sum() > 0 for layer in exact_layers(d.net).values())


def test_the_context_counts():
    with torch.no_grad():
        one, other = make("grey", (2, 4, 4)), make("grey", (2, 4, 4))
        value = values(one, "grey")
        other.context = -other.context
        assert not np.array_equal(one.information(value), other.information(value))


@pytest.mark.parametrize("stride", [2, 4])
@pytest.mark.parametrize("band_pixels", [1, 2**18])
def test_a_coarse_context_is_one_spread_over_its_pixels(stride, band_pixels, monkeypatch):
    """Each of its numbers for a square of pixels, cut at the border; in bands, in waves and while learning."""
    monkeypatch.setattr("bbcodec.exact.local_net.BAND_PIXELS", band_pixels)
    coarse = make("grey", (2, 11, 7), stride=stride)
    spread = coarse.context.repeat_interleave(stride, 2).repeat_interleave(stride, 3)[:, :, :11, :7]
    fine = Autoregressive(coarse.net, coarse.family, coarse.embed, tuple(coarse.shape), spread)
    value = values(coarse, "grey")
    learning = coarse.in_parallel(value)
    with torch.no_grad():
        assert torch.equal(coarse.in_parallel(value), fine.in_parallel(value))
        assert torch.equal(learning, fine.in_parallel(value))
        assert torch.equal(coarse.pop(random_stack(8)), fine.pop(random_stack(8)))


@pytest.mark.parametrize("name", list(FAMILIES))
def test_a_pop_that_runs_out_takes_nothing(name):
    with torch.no_grad():
        check_underflow(make(name, (2, 6, 6)), random_stack(0, words=40))


def test_a_value_outside_the_support_is_not_pushed():
    """In the first wave, which is pushed last."""
    with torch.no_grad():
        d = make("grey", (2, 3, 3))
        value = values(d, "grey")
        value[1, 0, 0, 0] = 256
        stack = AnsStack.seeded(0)
        before = stack.flatten()
        with pytest.raises(CoderError):
            d.push(stack, value)
        assert np.array_equal(stack.flatten(), before)
