import math

import numpy as np
import pytest
import torch
from checks import (
    check_failures,
    check_growth,
    check_log_prob,
    check_masses,
    check_order,
    check_push_pop,
    check_same,
    check_sample,
    check_select,
    check_whole,
)
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.special import expit, softmax

from bbcodec.distributions import LogisticMixture


def normal(*shape, seed=0, scale=500.0):
    return (torch.randn(shape, generator=torch.Generator().manual_seed(seed)) * scale).round()


def parameters(channels, components, *shape, seed=0, scale=500.0):
    return normal(*shape, components * (12 if channels == 3 else 3), seed=seed, scale=scale)


def some(channels, components, *shape, seed=0, scale=500.0):
    return LogisticMixture(parameters(channels, components, *shape, seed=seed, scale=scale), channels)


def joint(components, *shape, seed=0, scale=500.0):
    """Colours whose channels come from one component."""
    return LogisticMixture(normal(*shape, components * 10, seed=seed, scale=scale), 3, joint=True)


def likely(d, seed=0):
    return d.rsample(torch.Generator().manual_seed(seed))


def anything(*shape, seed=0):
    return torch.randint(256, shape, generator=torch.Generator().manual_seed(seed)).float()


def exact(params, channels, value, joint=False):
    """The coded probability of every channel, from the definition, in float64, channel by channel.

    Of a joint mixture it is the ratio of the probabilities of the channels up to this one and up to the one before.
    """
    p, x = params.double().numpy(), value.double().numpy()
    count = p.shape[-1] // (10 if joint else 12 if channels == 3 else 3)
    first = 1 if joint else channels
    logits, means, scales, *coefficients = np.split(p, [(first + channels * i) * count for i in (0, 1, 2)], -1)
    out, errors, together = np.empty_like(x), [], softmax(logits[..., :count] / 256, -1)
    for c in range(channels):
        part = slice(c * count, (c + 1) * count)
        mean = 128 + means[..., part] / 32
        if c:
            bounded = (coefficients[0] / 256).clip(-1023 / 256, 1023 / 256)
            to_green, red_to_blue, green_to_blue = np.split(bounded, 3, -1)
            correction = to_green * errors[0] if c == 1 else red_to_blue * errors[0] + green_to_blue * errors[1]
            mean = mean + np.floor(256 * correction) / 256
        mean, inverse = mean.clip(-256, 512), np.exp(-scales[..., part].clip(-1065, 1408) / 256)
        errors.append(x[..., c : c + 1] - mean)
        k = x[..., c, None]
        up = np.where(k == 255, np.inf, (k + 0.5 - mean) * inverse)
        down = np.where(k == 0, -np.inf, (k - 0.5 - mean) * inverse)
        mirrored = up + down > 0
        up, down = np.where(mirrored, -down, up), np.where(mirrored, -up, down)
        each = expit(up) - expit(down)
        if joint:
            p_k = (together * each).sum(-1) / together.sum(-1)
            together = together * (each + 2.0**-30)
        else:
            p_k = (softmax(logits[..., part] / 256, -1) * each).sum(-1)
        out[..., c] = (1 - 256 * 2.0**-24) * p_k + 2.0**-24
    return out


def units(components):
    """How much masses of 2**-24 may be off: weights are rounded to 2**-12, and scales by up to a part in 500."""
    return 2**12 * components + 2**14


EXTREMES = torch.tensor(
    [
        [0, 0, 0, 0, 0, 0],  # two alike
        [5000, -5000, 0, 100, 0, 0],  # one of weight zero
        [0, 5888, 300, -300, -2000, -1065],  # narrowest
        [0, -5887, 0, 0, 2000, 1408],  # widest
        [0, 0, 20000, -20000, 0, 0],  # far outside
        [0, 0, 4080, -4096, 1408, 1408],
        [1e7, 0, 1e7, 0, 1e7, 0],
    ]
)


def test_masses_of_one_channel():
    check_masses(LogisticMixture(EXTREMES[:, None], 1), range(256), 24)
    check_masses(some(1, 5, 30, 1), range(256), 24)
    check_masses(some(1, 1, 5, 1), range(256), 24)
    check_masses(LogisticMixture(normal(3, 1, 96, scale=100.0), 1), range(256), 24)  # 32 components


@pytest.mark.parametrize("channel", [0, 1, 2])
def test_masses_of_three_channels(channel):
    check_masses(some(3, 3, 10, 1), range(256), 24, channel=(..., channel))


@settings(deadline=None, max_examples=25)
@given(
    st.integers(0, 2**32), st.sampled_from([1, 3]), st.sampled_from([1, 2, 5, 10]), st.sampled_from([50.0, 500, 3000])
)
def test_log_prob_is_that_of_the_masses(seed, channels, components, scale):
    """In float32, products of large coefficients are not exact, so that a mean may be off by one unit."""
    outliers = 0.02 if channels == 3 and scale > 50 else 0.0
    d = some(channels, components, 300, 1, seed=seed, scale=scale)
    for value in (likely(d, seed), anything(300, 1, channels, seed=seed), torch.full((300, 1, channels), 255.0)):
        check_log_prob(d, value, 24, exact(d.params, channels, value), units(components), outliers)


@settings(deadline=None, max_examples=25)
@given(st.integers(0, 2**32), st.sampled_from([1, 2, 5, 12]), st.sampled_from([50.0, 300]))
def test_log_prob_of_joint_channels_is_that_of_the_definition(seed, components, scale):
    """Masses are that on average only: what an unlikely channel tells of the component is not known well."""
    d = joint(components, 300, 1, seed=seed, scale=scale)
    value = likely(d, seed)
    probabilities = exact(d.params, 3, value, joint=True)
    nats = d.with_parameters(d.params.double()).log_prob(value.double())
    assert np.allclose(nats, np.log(probabilities).sum((1, 2)), rtol=1e-9, atol=1e-7)
    assert np.allclose(d.log_prob(value), nats, rtol=1e-5, atol=1e-4)


def test_joint_channels_are_a_mixture_of_pixels():
    """PixelCNN++, equation 3: the probability of a pixel is that of its channels under one component, mixed."""
    d = joint(4, 500, 1)
    value = likely(d)
    alone = []
    for j in range(4):
        rows = d.params.reshape(500, 1, 10, 4)[..., j]
        rows = torch.cat([torch.zeros(500, 1, 2), rows], -1)  # logits of three channels: of one component, any
        alone.append(LogisticMixture(rows, 3).log_prob(value).double())
    logits = torch.log_softmax(d.params[:, 0, :4].double() / 256, -1)
    mixed = torch.logsumexp(logits + torch.stack(alone, -1), -1)
    assert torch.allclose(d.log_prob(value).double(), mixed, atol=1e-2)  # each channel has a floor of 2**-24


def test_what_one_channel_tells_of_the_component_counts_in_the_next():
    """Two colours, equally likely: once red is known, green and blue cost nothing."""
    params = torch.zeros(1, 20)
    params[:, 2:8] = torch.tensor([-1600.0, 1600, -320, 640, 960, -960])  # red 78, 178; green 118, 148; blue 158, 98
    params[:, 8:14] = -1000
    d = LogisticMixture(params, 3, joint=True)
    for colour in ([78.0, 118, 158], [178.0, 148, 98]):
        assert d.information(torch.tensor([colour])).item() / 2**24 == pytest.approx(1, abs=0.01)
    assert d.information(torch.tensor([[78.0, 148, 98]])).item() / 2**24 > 24


@pytest.mark.parametrize("channel", [0, 1, 2])
def test_masses_of_joint_channels(channel):
    check_masses(joint(3, 10, 1), range(256), 24, channel=(..., channel))
    check_masses(joint(32, 3, 1, scale=5000.0), range(256), 24, channel=(..., channel))


def test_log_prob_at_extremes():
    for k in (0, 1, 127, 128, 255):
        value = torch.full((len(EXTREMES), 1, 1), float(k))
        check_log_prob(LogisticMixture(EXTREMES[:, None], 1), value, 24, exact(EXTREMES[:, None], 1, value), units(2))


@pytest.mark.parametrize(("channels", "jointly"), [(1, False), (3, False), (3, True)])
def test_information_is_that_of_the_log_probability(channels, jointly):
    """On average over many values; and each image by itself costs the same, whatever its place in a group."""
    d = joint(5, 4, 500) if jointly else some(channels, 5, 4, 500)
    value = likely(d)
    bits = d.information(value) / 2**24
    assert np.abs(bits + d.log_prob(value).double().numpy() / math.log(2)).max() < 0.004 * 500 * channels
    for image in range(4):
        alone = d.select(torch.tensor([image]))
        assert alone.information(value[image : image + 1])[0] == pytest.approx(bits[image] * 2**24, abs=2)


def test_parameters_beyond_24_bits_are_those_of_24_bits():
    params = torch.tensor([[2e9, -2e9, 0, 3200, 0, 0], [0, 0, 2.0**30, 0, 0, 0]])  # 8 times the mean would wrap
    value = torch.tensor([[100.0], [255.0]])
    bound = 2.0**24 - 1
    one, other = (LogisticMixture(p, 1).information(value) for p in (params, params.clamp(-bound, bound)))
    assert np.array_equal(one, other)


@settings(deadline=None, max_examples=25)
@given(st.integers(0, 2**32), st.integers(1, 9), st.sampled_from([1, 3]), st.integers(1, 6))
def test_push_and_pop(seed, lanes, channels, components):
    d = some(channels, components, 2, 3, 7, seed=seed)
    check_push_pop(d, likely(d, seed), lanes, seed)
    check_push_pop(d, anything(2, 3, 7, channels, seed=seed), lanes, seed)


@settings(deadline=None, max_examples=25)
@given(st.integers(0, 2**32), st.integers(1, 9), st.sampled_from([1, 2, 12]), st.sampled_from([50.0, 500, 3000]))
def test_push_and_pop_of_joint_channels(seed, lanes, components, scale):
    d = joint(components, 2, 3, 7, seed=seed, scale=scale)
    check_push_pop(d, likely(d, seed), lanes, seed)
    check_push_pop(d, anything(2, 3, 7, 3, seed=seed), lanes, seed)


SAMPLE_FORMATS = [lambda *shape: some(1, *shape), lambda *shape: some(3, *shape), joint]


@pytest.mark.parametrize("kind", SAMPLE_FORMATS)
def test_growth(kind):
    d = kind(5, 20, 400)
    for lanes in (1, 7):
        check_growth(d, likely(d), 24, lanes)


@pytest.mark.parametrize("kind", SAMPLE_FORMATS)
def test_the_rest_of_the_contract(kind):
    d = kind(4, 3, 5)
    check_order(d, likely(d))
    check_select(d)
    check_sample(d)
    check_failures(d, [256, -1, 1e9, 0.5, float("nan")])
    check_whole(lambda params: LogisticMixture(params, d.channels, d.joint), d.params)


def test_parameters_are_clamped_alike_in_floats_and_integers():
    params = parameters(3, 2, 200, 1, scale=2500.0)
    clamped = params.clone()
    clamped[..., 12:18] = params[..., 12:18].clamp(-1065, 1408)
    clamped[..., 18:] = params[..., 18:].clamp(-1023, 1023)
    assert (clamped != params).sum() > 200
    value = anything(200, 1, 3)
    check_same(LogisticMixture(params, 3), LogisticMixture(clamped, 3), value, 24)


def test_channels_depend_on_those_before_them():
    params = torch.zeros(1, 12)
    params[..., 9:] = torch.tensor([256, 128, -256])
    params[..., 6:9] = -600
    one, other = torch.tensor([[130.0, 130, 129]]), torch.tensor([[140.0, 141, 133]])
    d = LogisticMixture(params, 3)
    # green's mean is red, blue's 128 + (red - 128) / 2 - (green - red)
    assert exact(params, 3, one)[0, 1:].min() > 0.9
    assert exact(params, 3, other)[0, 2] > 0.9
    assert d.information(one).item() < d.information(torch.tensor([[130.0, 128, 129]])).item() - (8 << 24)


@pytest.mark.parametrize(
    ("size", "channels", "joint"),
    [(12, 2, False), (13, 3, False), (6, 3, False), (4, 1, False), (0, 1, False), (12, 3, True), (10, 3, False)],
)
def test_parameters_must_fit_the_channels(size, channels, joint):
    with pytest.raises(ValueError, match="channel"):
        LogisticMixture(torch.zeros(2, size), channels, joint)


@pytest.mark.parametrize("channels", [1, 3])
def test_probabilities_sum_to_one(channels):
    d = some(channels, 3, 2000, 1)
    value = anything(1, 1, channels).expand(2000, -1, -1).clone()
    params = d.params[:1].double().expand(256, -1, -1)
    value = value[:256].double()
    value[..., -1] = torch.arange(256.0)[:, None]
    whole_pixel = LogisticMixture(params, channels).log_prob(value).exp().sum()
    others = exact(params[:1], channels, value[:1])[..., :-1].prod()
    assert whole_pixel.item() == pytest.approx(others, rel=1e-9)


@pytest.mark.parametrize("channels", [1, 3])
def test_gradients_are_true_near_and_live_far_away(channels, monkeypatch):
    monkeypatch.setattr("bbcodec.distributions.logistic.floor", lambda x: x)  # gradients pass by its steps
    params = parameters(channels, 2, 50, scale=200.0).double().requires_grad_()
    value = likely(LogisticMixture(params, channels))
    (gradient,) = torch.autograd.grad(LogisticMixture(params, channels).log_prob(value).sum(), params)
    for j in range(params.shape[-1]):
        step = torch.zeros(params.shape[-1], dtype=torch.float64)
        step[j] = 0.01
        up, down = (LogisticMixture(params.detach() + s, channels).log_prob(value) for s in (step, -step))
        assert torch.allclose(gradient[:, j], (up - down) / 0.02, rtol=1e-2, atol=1e-5), j
    far = torch.zeros(1, 3)
    far[:, 2] = -1065
    far.requires_grad_()
    LogisticMixture(far, 1).log_prob(torch.tensor([[200.0]])).sum().backward()
    assert far.grad[0, 1] > 0.1  # the mean still hears where the value is
    assert far.grad[0, 2] > 0.1  # and the scale that it should grow


@pytest.mark.filterwarnings("ignore:.*should not be instantiated:DeprecationWarning")  # of torch, by its compiler
def test_the_loss_compiles_without_graph_breaks():
    def loss(params, value):
        return LogisticMixture(params, 3).log_prob(value).sum()

    d = some(3, 2, 4, 5)
    expected = loss(d.params, likely(d))
    compiled = torch.compile(loss, backend="aot_eager", fullgraph=True)
    assert torch.allclose(compiled(d.params, likely(d)), expected)
