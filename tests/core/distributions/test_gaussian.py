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
    intervals,
)
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.special import ndtr
from scipy.stats import kstest, norm

from bbcodec.distributions import Gaussian, activation

STEPS = st.sampled_from([1, 2, 4, 8, 16, 32, 64])


def whole(low, high, *shape, seed=0):
    return torch.randint(low, high, shape, generator=torch.Generator().manual_seed(seed)).float()


def some(steps, *shape, seed=0):
    return Gaussian(whole(-2200, 2200, *shape, seed=seed), whole(-1300, 700, *shape, seed=seed + 1), steps)


def likely(d, seed=0):
    return d.rsample(torch.Generator().manual_seed(seed))


def exact(mean, log_sigma, steps, value):
    """The coded probability, from scipy's normal, in float64; distances are taken on the left, where it is accurate."""
    mean, value = mean.double().numpy().clip(-2047, 2047) / 256, value.double().numpy()
    sigma = np.exp(log_sigma.double().numpy().clip(round(256 * np.log(0.75 / steps)), 512) / 256)
    bound = 8 * steps - 1
    up = np.where(value >= bound, np.inf, ((value + 0.5) / steps - mean) / sigma)
    down = np.where(value <= -bound, -np.inf, ((value - 0.5) / steps - mean) / sigma)
    mirrored = up + down > 0
    up, down = np.where(mirrored, -down, up), np.where(mirrored, -up, down)
    return (1 - (2 * bound + 1) * 2.0**-28) * (ndtr(up) - ndtr(down)) + 2.0**-28


@pytest.mark.parametrize("steps", [1, 8, 64])
def test_masses(steps):
    mean = torch.tensor([0, 0, 0, 1, -3000, 2047, -2047, 1000, 777, -512, 2047])
    log_sigma = torch.tensor([0, -9999, 9999, 512, -1138, 512, -300, -1138, 512, -700, -1138])
    d = Gaussian(mean.float()[:, None], log_sigma.float()[:, None], steps)
    check_masses(d, range(1 - 8 * steps, 8 * steps), 28)


@settings(deadline=None, max_examples=25)
@given(STEPS, st.integers(0, 2**32))
def test_log_prob_is_that_of_the_masses(steps, seed):
    d = some(steps, 500, 1, seed=seed)
    anywhere = whole(1 - 8 * steps, 8 * steps, 500, 1, seed=seed)
    for value in (likely(d, seed), anywhere, torch.full((500, 1), float(8 * steps - 1))):
        check_log_prob(d, value, 28, exact(*d.parameters(), steps, value))


@settings(deadline=None, max_examples=25)
@given(STEPS, st.integers(0, 2**32), st.integers(1, 9))
def test_push_and_pop(steps, seed, lanes):
    d = some(steps, 2, 3, 7, seed=seed)
    check_push_pop(d, likely(d, seed), lanes, seed)
    check_push_pop(d, whole(1 - 8 * steps, 8 * steps, 2, 3, 7, seed=seed), lanes, seed)


@pytest.mark.parametrize("lanes", [1, 8])
def test_growth(lanes):
    d = some(16, 20, 1000)
    check_growth(d, likely(d), 28, lanes)


def test_the_rest_of_the_contract():
    d = some(32, 3, 4)
    check_order(d, likely(d))
    check_select(d)
    check_sample(d)
    check_failures(d, [256, -256, 1e9, 0.5, float("nan")])
    check_whole(lambda *p: Gaussian(*p, 32), *d.parameters())


def test_parameters_are_clamped_alike_in_floats_and_integers():
    mean, log_sigma = torch.tensor([[9999.0, -2048, 2048, 0, 0]]), torch.tensor([[0.0, 5, -7, 9999, -9999]])
    inside = Gaussian(mean.clamp(-2047, 2047), log_sigma.clamp(-961, 512), 32)
    check_same(Gaussian(mean, log_sigma, 32), inside, torch.tensor([[255.0, -255, 250, 3, 0]]), 28)


def test_params_hold_means_then_log_sigmas():
    params = torch.arange(12.0).view(2, 6)
    d = Gaussian.from_params(params, 8)
    assert d.shape == (2, 3)
    assert torch.equal(d.mean, params[:, :3])
    assert torch.equal(d.log_sigma, params[:, 3:])


def test_a_grid_index_in_units_of_activations():
    assert activation(torch.tensor([-3.0, 8.0]), 32).tolist() == [-24, 64]
    # a posterior whose mean is the activation of k has k as its likeliest value
    k = torch.arange(-255.0, 256)
    d = Gaussian(activation(k, 32), torch.full_like(k, -961), 32)
    assert (intervals(d, k, 28)[1] > 2**26).all()


@pytest.mark.parametrize("steps", [0, 3, 128, -8, 2.5])
def test_steps_are_a_power_of_two(steps):
    with pytest.raises(ValueError, match="power of two"):
        Gaussian(torch.zeros(1), torch.zeros(1), steps)


def test_gradients_are_true_near_and_live_far_away():
    parameters = [whole(-500, 500, 40, seed=1).double(), whole(-300, 300, 40, seed=2).double()]
    value = Gaussian(*parameters, 8).rsample(torch.Generator().manual_seed(0)).detach()
    for p in parameters:
        p.requires_grad_()
    near = value.abs() < 60
    gradients = torch.autograd.grad(Gaussian(*parameters, 8).log_prob(value)[near].sum(), parameters)
    for i, p in enumerate(parameters):
        moved = [[q + h * (q is p) for q in parameters] for h in (0.01, -0.01)]
        up, down = (Gaussian(*m, 8).log_prob(value).detach() for m in moved)
        assert torch.allclose(gradients[i][near], ((up - down) / 0.02)[near], rtol=1e-3, atol=1e-7), i
    mean = torch.tensor([-2047.0], requires_grad=True)
    log_sigma = torch.tensor([-1138.0], requires_grad=True)
    Gaussian(mean, log_sigma, 64).log_prob(torch.tensor([500.0])).sum().backward()
    assert mean.grad > 1  # the floor of the mass is flat, the gradient is not
    assert log_sigma.grad > 1
    assert torch.isfinite(mean.grad + log_sigma.grad)


def test_a_parameter_out_of_range_can_come_back_but_goes_no_further():
    for value, lives in ((0.0, True), (255.0, False)):
        mean = torch.tensor([3000.0], requires_grad=True)
        (-Gaussian(mean, torch.tensor([256.0]), 32).log_prob(torch.tensor([value]))).sum().backward()
        assert (mean.grad > 0) if lives else (mean.grad == 0)


def test_samples_carry_gradients_through_rounding():
    mean, log_sigma = torch.zeros(1000, requires_grad=True), torch.zeros(1000, requires_grad=True)
    z = Gaussian(mean, log_sigma, 16).rsample(torch.Generator().manual_seed(0))
    assert torch.equal(z, z.round())
    z.sum().backward()
    assert torch.equal(mean.grad, torch.full((1000,), 16 / 256))
    assert torch.allclose(log_sigma.grad, z.detach() / 256, atol=0.5 / 256)  # dz/dlog sigma is z less the rounding
    assert abs(z.detach().std() / 16 - 1) < 0.1


@pytest.mark.filterwarnings("ignore:.*should not be instantiated:DeprecationWarning")  # of torch, by its compiler
def test_the_loss_compiles_without_graph_breaks():
    def loss(mean, log_sigma, value):
        return Gaussian(mean, log_sigma, 16).log_prob(value).sum()

    d = some(16, 4, 5)
    expected = loss(*d.parameters(), likely(d))
    compiled = torch.compile(loss, backend="aot_eager", fullgraph=True)
    assert torch.allclose(compiled(*d.parameters(), likely(d)), expected)


# --- between the points of the grid ----------------------------------------------------------------------------------


def wide(count, mean=100.0, log_sigma=-200.0, steps=8):
    return Gaussian(torch.full((count, 1), mean), torch.full((count, 1), log_sigma), steps)


def test_log_density_is_that_of_the_normal_per_grid_step():
    q = wide(50)
    value = torch.linspace(-20, 20, 50)[:, None]
    expected = norm.logpdf(value.numpy() / 8, 100 / 256, np.exp(-200 / 256)).sum(1) - np.log(8)
    assert q.log_density(value).numpy() == pytest.approx(expected, rel=1e-6)


def test_log_density_comes_near_to_log_prob_on_a_fine_grid():
    q = wide(50, steps=64)
    value = torch.linspace(-60, 60, 50).round()[:, None]
    assert q.log_density(value).numpy() == pytest.approx(q.log_prob(value).numpy(), abs=1e-3)


@pytest.mark.parametrize("steps", [1, 8, 64])
def test_noise_is_normal_and_rounds_to_the_value(steps):
    """Values drawn, and then noise that would draw them: the noise is standard normal, whatever the grid."""
    q = wide(4000, mean=37.0, log_sigma=-60.0, steps=steps)
    generator = torch.Generator().manual_seed(1)
    value = q.rsample(generator)
    noise = q.noise(value, generator)
    assert kstest(noise.numpy()[:, 0], "norm").pvalue > 1e-3
    between = q.between(noise)
    assert (between - value).abs().max() <= 0.5 + steps / 256 / 2
    assert torch.equal(between * (256 / steps), (between * (256 / steps)).round())


def test_noise_of_far_values_stays_in_their_cells():
    q = wide(6, mean=0.0, log_sigma=-400.0)
    value = torch.tensor([-63.0, -40, -10, 10, 40, 63])[:, None]
    noise = q.noise(value, torch.Generator().manual_seed(0))
    assert torch.isfinite(noise).all()
    sigma = np.exp(-400 / 256)
    sigma = max(sigma, 0.75 / 8)
    for number, k in enumerate(value[:, 0].tolist()):
        z = float(noise[number, 0]) * sigma * 8
        assert abs(z - k) <= 0.51 or (abs(float(noise[number, 0])) == 38 and abs(z) < abs(k)) or abs(k) == 63
