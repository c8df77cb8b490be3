"""Interpreters in pairs: on programs small enough to know every answer, and on random untrained VLAEs."""

import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from small_programs import OneLatent, TwoLevels
from tiny_models import CONFIGS, KINDS, pictures, random_stack, tensor, tiny

from bbcodec.coder.ans import AnsStack
from bbcodec.distributions.bernoulli import Bernoulli
from bbcodec.distributions.gaussian import Gaussian
from bbcodec.distributions.uniform import Uniform
from bbcodec.errors import StackUnderflow
from bbcodec.model.coding import account, decode, encode
from bbcodec.model.interpreters import elbo, sample
from bbcodec.model.latent_model import LatentModel
from bbcodec.model.program import Latent, Observed, run

INFORMATION_UNIT = 2.0**24  # of information: 2**-24 bits


ONE = torch.tensor([[1.0, 0.0], [0.0, 0.0], [1.0, 1.0]]).reshape(3, 1, 1, 2)


def log_sigmoid(x):
    return -math.log1p(math.exp(-x))


def test_elbo_of_one_latent():
    """log p(z) - log q(z) is log 4/16 whatever z is; log p(x | z) follows from z by hand."""
    model = OneLatent()
    terms = elbo(model, ONE, torch.Generator().manual_seed(3))
    z = Uniform(4, (3, 1)).rsample(torch.Generator().manual_seed(3))
    assert terms["z"].tolist() == pytest.approx([math.log(4 / 16)] * 3)
    expected = [
        sum(log_sigmoid((1 if x else -1) * odds) for x, odds in zip(pixels.flatten(), (k / 2, -k / 2), strict=True))
        for pixels, k in zip(ONE, z.flatten().tolist(), strict=True)
    ]
    assert len(set(z.flatten().tolist())) > 1
    assert terms["x"].tolist() == pytest.approx(expected, abs=1e-5)
    assert list(terms) == ["z", "x"]
    assert model.log.events == ["make q(z)", "make p(z)", "rsample q(z)", "make p(x)"]


def test_elbo_is_differentiable_through_latents():
    """A Gaussian latent with known gradients: KL of N(m, s**2) from N(0, 1) is (m**2 + s**2 - 1) / 2 - log s."""

    class Learnt(LatentModel):
        def __init__(self):
            super().__init__()
            self.mean = torch.nn.Parameter(torch.full((1,), 512.0))  # 2
            self.log_sigma = torch.nn.Parameter(torch.full((1,), -128.0))  # -1/2

        def program(self, shape, images=None):
            size = (shape[0], 1)
            flat = torch.zeros(size)
            z = yield Latent(
                "z",
                prior=lambda: Gaussian(flat, flat, 64),
                posterior=lambda: Gaussian(self.mean.expand(size), self.log_sigma.expand(size), 64),
            )
            x = yield Observed("x", lambda: Bernoulli((128 * z / 64).reshape(shape)), images)
            return x

    model = Learnt()
    terms = elbo(model, torch.ones(20000, 1, 1, 1), torch.Generator().manual_seed(0))
    sigma = math.exp(-0.5)
    assert -terms["z"].mean().item() == pytest.approx((4 + sigma**2 - 1) / 2 + 0.5, abs=0.05)
    of_mean, of_log_sigma = torch.autograd.grad(-terms["z"].mean(), list(model.parameters()), retain_graph=True)
    assert 256 * of_mean.item() == pytest.approx(2, abs=0.05)
    assert 256 * of_log_sigma.item() == pytest.approx(sigma**2 - 1, abs=0.05)
    (of_pixels,) = torch.autograd.grad(terms["x"].mean(), model.mean)
    z = 2 + sigma * torch.randn(10**5, generator=torch.Generator().manual_seed(1))
    assert 256 * of_pixels.item() == pytest.approx(torch.sigmoid(-z).mean().item(), abs=0.02)


def test_encoding_one_latent_pops_it_and_pushes_all_in_reverse():
    model = OneLatent()
    stack = random_stack(0)
    before, bits = stack.flatten(), stack.bits
    encode(model, stack, ONE)
    assert model.log.events == ["make q(z)", "pop q(z)", "make p(x)", "push p(x)", "make p(z)", "push p(z)"]
    model.log.events.clear()
    grown = stack.bits - bits
    x = decode(model, stack, ONE.shape)
    assert model.log.events == ["make p(z)", "pop p(z)", "make p(x)", "pop p(x)", "make q(z)", "push q(z)"]
    assert torch.equal(x, ONE)
    assert np.array_equal(stack.flatten(), before)
    z = Uniform(4, (3, 1)).pop(stack)
    costs = Bernoulli(torch.cat([64 * z, -64 * z], 1).reshape(ONE.shape)).information(ONE)
    assert grown == pytest.approx(3 * 2 + costs.sum() / INFORMATION_UNIT, abs=0.1)  # 4 - 2 bits a latent


def test_account_of_one_latent():
    """Exactly 4 - 2 bits for each latent; and the stack is that of encode."""
    model = OneLatent()
    stack, same = random_stack(0), random_stack(0)
    rows = account(model, stack, ONE)
    encode(model, same, ONE)
    assert np.array_equal(stack.flatten(), same.flatten())
    assert rows["z"].tolist() == [2 << 24] * 3
    assert rows["x"].dtype == np.int64
    z = Uniform(4, (3, 1)).pop(random_stack(0))
    expected = [
        -sum(log_sigmoid((1 if x else -1) * odds) for x, odds in zip(pixels.flatten(), (k / 2, -k / 2), strict=True))
        for pixels, k in zip(ONE, z.flatten().tolist(), strict=True)
    ]
    assert (rows["x"] / INFORMATION_UNIT * math.log(2)).tolist() == pytest.approx(expected, abs=1e-5)


def test_account_collects_batches_under_one_name():
    rows: dict = {}
    stack = random_stack(0)
    for _ in range(2):
        encode(OneLatent(), stack, ONE, rows)
    assert {name: [part.shape for part in parts] for name, parts in rows.items()} == {"z": [(3,)] * 2, "x": [(3,)] * 2}


def test_two_levels_are_coded_in_reverse():
    """Posteriors top down, as each depends on the latents above; then everything back, the last first."""
    model = TwoLevels()
    stack = random_stack(1)
    before = stack.flatten()
    encode(model, stack, ONE)
    done = [event for event in model.log.events if not event.startswith("make")]
    assert done == ["pop q(top)", "pop q(low)", "push p(x)", "push p(low)", "push p(top)"]
    assert len(model.log.events) == 2 * len(done)  # each thunk is evaluated once
    model.log.events.clear()
    assert torch.equal(decode(model, stack, ONE.shape), ONE)
    done = [event for event in model.log.events if not event.startswith("make")]
    assert done == ["pop p(top)", "pop p(low)", "pop p(x)", "push q(low)", "push q(top)"]
    assert len(model.log.events) == 2 * len(done)
    assert np.array_equal(stack.flatten(), before)


@given(st.integers(0, 2**31), st.integers(1, 5), st.integers(1, 4))
@settings(max_examples=30)
def test_two_levels_round_trip(seed, batch, lanes):
    x = torch.from_numpy(np.random.default_rng(seed).integers(0, 2, (batch, 1, 2, 1)).astype(np.float32))
    stack = random_stack(seed, lanes)
    before = stack.flatten()
    rows = account(TwoLevels(), stack, x)
    assert list(rows) == ["x", "low", "top"]
    assert torch.equal(decode(TwoLevels(), stack, x.shape), x)
    assert np.array_equal(stack.flatten(), before)


def test_two_levels_cost_their_elbo():
    """Over all latents of the 16 there are: the expected account is minus the expected bound, site by site."""
    x = ONE[:1].expand(4000, 1, 1, 2)
    rows = account(TwoLevels(), AnsStack.seeded(5), x)
    terms = elbo(TwoLevels(), x, torch.Generator().manual_seed(0))
    for name, nats in terms.items():
        coded, learnt = rows[name] / INFORMATION_UNIT * math.log(2), -nats.numpy()
        error = math.sqrt((coded.var() + learnt.var()) / len(x))
        assert abs(coded.mean() - learnt.mean()) < 4 * error, name


def test_samples_follow_the_program():
    """Latents from the prior, pixels from the likelihood that they give; the posterior is never asked for."""
    model = OneLatent()
    x = sample(model, torch.Size((4000, 1, 1, 2)), torch.Generator().manual_seed(0))
    assert x.shape == (4000, 1, 1, 2)
    assert model.log.events == ["make p(z)", "rsample p(z)", "make p(x)", "rsample p(x)"]
    expected = np.mean([1 / (1 + math.exp(-z / 2)) for z in range(16)])
    assert x[:, 0, 0, 0].mean().item() == pytest.approx(expected, abs=0.03)
    assert x[:, 0, 0, 1].mean().item() == pytest.approx(1 - expected, abs=0.03)
    again = sample(OneLatent(), torch.Size((4000, 1, 1, 2)), torch.Generator().manual_seed(0))
    assert torch.equal(x, again)


def test_a_program_without_images_cannot_be_encoded():
    class Blind(OneLatent):
        def program(self, shape, images=None):
            return super().program(shape)

    with pytest.raises(ValueError, match="x but was given no images"):
        encode(Blind(), random_stack(0), ONE)


def test_latents_are_never_popped_from_nothing():
    with pytest.raises(StackUnderflow):
        encode(TwoLevels(), AnsStack(), ONE.repeat(100, 1, 1, 1))


# --- untrained VLAEs -------------------------------------------------------------------------------------------------

SIDES = st.sampled_from([(1, 1), (1, 7), (9, 1), (2, 2), (5, 3), (7, 10), (8, 8)])


@given(st.sampled_from(KINDS), st.integers(0, 2**31), SIDES, st.integers(1, 5), st.booleans())
@settings(max_examples=60)
def test_decode_undoes_encode(kind, seed, sides, batch, noise):
    """The pixels come back, and so does the stack: all of bits-back coding in one property."""
    model = tiny(kind, seed % 3)
    config = CONFIGS[kind]
    x = tensor(pictures(kind, batch, *sides, seed))
    if noise:
        x = torch.randint(config.levels, x.shape, generator=torch.Generator().manual_seed(seed)).float()
    stack = random_stack(seed)
    before = stack.flatten()
    encode(model, stack, x)
    assert torch.equal(decode(model, stack, x.shape), x)
    assert np.array_equal(stack.flatten(), before)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("seed", [0, 1])
def test_the_stack_grows_by_the_account(kind, seed):
    """Latents are coded at 28 bits: a push is off by up to 2**28 / 2**31 bits, either way (see check_growth)."""
    model = tiny(kind, seed)
    stack = AnsStack.seeded(seed)
    before = stack.bits
    x = tensor(pictures(kind, 16, 8, 12, seed))
    rows = account(model, stack, x)
    assert set(rows) == {"z", "x"}
    latents = 2 * 16 * 2 * 2 * 3  # popped and pushed
    bound = 2.0**-3 * 4 * math.sqrt(latents) + 2.0**-7 * 4 * math.sqrt(x.numel()) + 1
    assert abs(stack.bits - before - sum(r.sum() for r in rows.values()) / INFORMATION_UNIT) < bound


@pytest.mark.parametrize("kind", KINDS)
def test_the_account_is_the_elbo_of_the_latents_that_were_popped(kind, monkeypatch):
    """The same latents, charged by integers and by floats: equal for each image but for rounding."""
    model = tiny(kind, seed=1)  # whose priors are so wide that no mass is of a few units
    x = tensor(pictures(kind, 8, 9, 8))
    popped = []
    real_pop = Gaussian.pop
    with monkeypatch.context() as patch:
        patch.setattr(Gaussian, "pop", lambda self, stack: popped.append(real_pop(self, stack)) or popped[-1])
        rows = account(model, random_stack(2), x)
    (z,) = popped
    nats = {}

    def latent(site):
        nats[site.name] = site.prior().log_prob(z) - site.posterior().log_prob(z)
        return z

    def observed(site):
        nats[site.name] = site.likelihood().log_prob(x)
        return x

    with torch.no_grad():
        run(model.program(x.shape, x), latent, observed)
    for name in rows:
        found, expected = rows[name] / INFORMATION_UNIT * math.log(2), -nats[name].double().numpy()
        assert found == pytest.approx(expected, rel=5e-4, abs=0.02), name


@pytest.mark.parametrize("kind", KINDS)
def test_the_account_is_close_to_the_negative_elbo(kind):
    """Over the draw of the latents, within four standard errors of the mean over 64 images (paired, 8 draws each)."""
    model = tiny(kind)
    x = tensor(pictures(kind, 64, 8, 8))
    stack = random_stack(3, words=20000)
    generator = torch.Generator().manual_seed(0)
    for name in ("z", "x"):
        differences = []
        for _ in range(8):
            coded = account(model, stack, x)[name] / INFORMATION_UNIT * math.log(2)
            with torch.no_grad():
                differences.append(coded + elbo(model, x, generator)[name].double().numpy())
        d = np.concatenate(differences)
        error = d.std() / math.sqrt(len(d))
        scale = np.abs(coded).mean()
        assert abs(d.mean()) < 4 * error + 1e-4 * scale, name
        assert error < 0.05 * scale  # else the test would say nothing


@pytest.mark.parametrize("kind", KINDS)
def test_samples_of_a_model_can_be_coded(kind):
    model = tiny(kind)
    shape = torch.Size((3, CONFIGS[kind].channels, 6, 5))
    x = sample(model, shape, torch.Generator().manual_seed(0))
    assert x.shape == shape
    assert x.unique().numel() > 1
    stack = random_stack(4)
    encode(model, stack, x)
    assert torch.equal(decode(model, stack, shape), x)
    assert torch.equal(x, sample(model, shape, torch.Generator().manual_seed(0)))


@pytest.mark.parametrize("kind", KINDS)
def test_memory_layout_and_threads_change_no_word(kind):
    model = tiny(kind)
    x = tensor(pictures(kind, 5, 12, 9))
    layouts = [
        x.contiguous(),
        x.contiguous(memory_format=torch.channels_last),
        x.permute(3, 2, 1, 0).contiguous().permute(3, 2, 1, 0),
    ]
    before = torch.get_num_threads()
    words = []
    try:
        for threads in (1, 2, 4):
            torch.set_num_threads(threads)
            for layout in layouts:
                stack = random_stack(6)
                encode(model, stack, layout)
                words.append(stack.flatten())
    finally:
        torch.set_num_threads(before)
    assert all(np.array_equal(words[0], other) for other in words)


def test_encoding_can_be_watched(monkeypatch):
    """Each site is visited when it has been pushed, last first, with what coded it."""
    model = TwoLevels()
    images = torch.tensor([[0.0, 1.0], [1.0, 1.0]]).reshape(2, 1, 1, 2)
    seen = []
    stack = random_stack(0)
    encode(model, stack, images, visit=lambda *visited: seen.append(visited))
    rows = account(model, random_stack(0), images)
    assert [name for name, *_ in seen] == list(rows)
    for name, p, q, value, cost in seen:
        assert np.array_equal(cost, p.information(value))
        net = cost - (0 if q is None else q.information(value))
        assert np.array_equal(net, rows[name])
