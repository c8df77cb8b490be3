"""The delta-VAE: what its configs may be, that its rate cannot fall, what its parts see, and that it codes exactly."""

import json
import math
from dataclasses import asdict, replace

import numpy as np
import pytest
import torch
from family_checks import check_presets_pop_few_bits
from hypothesis import given, settings
from hypothesis import strategies as st
from tiny_delta_vaes import CONFIGS, KINDS, TINY, VARIANTS, images_of, tiny
from tiny_models import random_stack

from bbcodec.codec.codec import PixelFormat
from bbcodec.codec.file import load_codec, save_codec
from bbcodec.distributions.rowwise import FirstOrder, Rowwise
from bbcodec.exact.arithmetic import guard
from bbcodec.exact.layers import exact_layers, exact_parts, set_exact, set_safe
from bbcodec.model.coding import account, decode, encode
from bbcodec.model.interpreters import elbo, sample
from bbcodec.models.committed_rate import committed_nats
from bbcodec.models.delta_vae import (
    FAMILY,
    DeltaVae,
    DeltaVaeConfig,
    preset,
)

# --- configs ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("config", [*CONFIGS.values(), *VARIANTS.values()])
def test_configs_survive_json(config):
    model = FAMILY.build(json.loads(json.dumps(asdict(config))))
    assert model.config == config


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"channels": 2}, "got 2 x"),
        ({"channels": 3, "levels": 2}, "got 3 x 2"),
        ({"steps_per_unit": 12}, "steps_per_unit is 12"),
        ({"components": 33}, "components is 33"),
        ({"hidden": 0}, "hidden is 0"),
        ({"hidden": True}, "hidden is True"),
        ({"width": 4.0}, "width is 4.0"),
        ({"prior": "vamp"}, "prior is 'vamp', expected one of ar1, independent, standard"),
        ({"encoder": 3}, "encoder is 3"),
        ({"alpha_low": 960}, "alpha_low is 960, expected at most alpha_high, 950"),
        ({"alpha_high": 1000}, "alpha_high is 1000"),
        ({"alpha_high": 999}, "0.75 steps"),
        ({"prior": "independent"}, "rate_bits is 0"),
        ({"attentions": 3}, "at most one for each of the 2 layers"),
        ({"encoder_attentions": 2}, "at most one for each of the 1 blocks"),
        ({"rate_bits": 4000}, "0.75 steps|no alpha"),
        ({"hidden": 250}, "fan-in"),
    ],
)
def test_sizes_that_cannot_be(changes, message):
    with pytest.raises(ValueError, match=message):
        DeltaVae(replace(TINY, **changes))


def test_unknown_keys_are_refused():
    with pytest.raises(TypeError, match="colour"):
        FAMILY.build({**asdict(TINY), "colour": 1})


@pytest.mark.parametrize("strength", ["fast", "balanced", "strong"])
@pytest.mark.parametrize("pixels", [PixelFormat(1, 2), PixelFormat(1, 256), PixelFormat(3, 256)])
@pytest.mark.parametrize(
    ("smallest", "alike"), [((28, 28), True), ((3, 5), True), ((500, 300), False), ((1, 1), False)]
)
def test_presets_make_models(strength, pixels, smallest, alike):
    found = preset(strength, pixels, smallest, alike)
    names = set(asdict(TINY))
    config = DeltaVaeConfig(pixels.channels, pixels.levels, **{key: v for key, v in found.items() if key in names})
    assert isinstance(FAMILY.build(asdict(config)), DeltaVae)
    assert 0 < found["batch"] <= 64
    assert found["crop"] <= min(smallest)


def test_presets_pop_few_bits_of_two_level_images():
    check_presets_pop_few_bits(FAMILY)


# --- delta -----------------------------------------------------------------------------------------------------------


@given(st.integers(1, 60), st.integers(1, 6), st.integers(2, 40))
@settings(deadline=None, max_examples=30)
def test_a_model_commits_to_the_rate_that_is_set(bits, latents, rows):
    c = replace(TINY, latent_channels=latents, rows=rows, steps_per_unit=64)
    most = float(committed_nats([4000] * latents, rows))  # beyond, the grid is too coarse
    c = replace(c, rate_bits=min(bits, int(most / math.log(2))) or 1)
    delta = FAMILY.build(asdict(c)).committed_rate(torch.Size((1, 1, rows, 5)))
    assert delta == pytest.approx(float(committed_nats(c.alphas, rows)))
    assert c.rate_bits * math.log(2) <= delta < c.rate_bits * math.log(2) * 1.3


def test_alphas_follow_from_the_prior():
    assert replace(TINY, latent_channels=3, alpha_low=250, alpha_high=750).alphas == [1024, 2048, 3072]
    assert replace(TINY, prior="standard").alphas == [0, 0]


def least_rate(net: FirstOrder, rows: int, steps: int, q) -> float:
    """Nats that posteriors q(parameters) come to when they do nothing but lower the rate."""
    mean = (0.3 * torch.randn(rows, len(net.alphas), generator=torch.Generator().manual_seed(0))).requires_grad_()
    log_sigma = torch.full_like(mean, -0.3).requires_grad_()
    optimiser = torch.optim.Adam([mean, log_sigma], 0.05)
    generator, seen = torch.Generator().manual_seed(1), []
    prior = Rowwise(net, (200, rows, len(net.alphas)), steps)
    for step in range(80):
        posterior = q((256 * mean).expand(200, -1, -1), (256 * log_sigma).expand(200, -1, -1))
        z = posterior.rsample(generator)
        rate = (posterior.log_prob(z) - prior.log_prob(z)).mean()
        optimiser.zero_grad()
        rate.backward()
        optimiser.step()
        if step >= 50:
            seen.append(rate.item())
    return float(np.mean(seen))


def test_no_posterior_is_cheaper_than_delta():
    """Freely chosen means and sigmas, made to cost as little as they can: delta, but for the grid."""
    model = tiny(replace(TINY, alpha_low=300, alpha_high=900, latent_channels=3, auxiliary=0))

    def q(mean, log_sigma):
        return type(model.posterior(torch.zeros(1, 1, 2, 2)))(mean, log_sigma, 8)

    delta = model.committed_rate(torch.Size((1, 1, 6, 5)))
    assert 3 < delta < 6
    found = least_rate(model.base, 6, 8, q)
    assert 0.97 * delta < found < 1.1 * delta


def test_nor_with_an_independent_prior():
    """Appendix D: whatever the head says. A standard prior without a floor lets the rate go to nothing."""
    model = tiny(replace(TINY, prior="independent", rate_bits=10, rows=6, auxiliary=0))
    delta = model.committed_rate(torch.Size((1, 1, 6, 5)))
    assert delta == pytest.approx(10 * math.log(2))

    def q(mean, log_sigma):
        return type(model.posterior(torch.zeros(1, 1, 2, 2)))(*model.committed(mean, log_sigma), 8)

    found = least_rate(model.base, 6, 8, q)
    assert 0.97 * delta < found < 1.1 * delta
    free = tiny(replace(TINY, prior="standard", auxiliary=0))
    assert (
        least_rate(free.base, 6, 8, lambda m, s: type(model.posterior(torch.zeros(1, 1, 2, 2)))(m, s, 8)) < 0.1 * delta
    )


@pytest.mark.parametrize("name", ["grey", "independent"])
def test_the_rate_of_a_model_is_never_under_delta(name):
    """Before it learns anything, and while encoder and head learn to lower it and nothing else."""
    config = CONFIGS.get(name) or VARIANTS[name]
    model = tiny(config)
    x = images_of(config, 150, 9, 6)
    delta = model.committed_rate(torch.Size((1, 1, 9, 5)))
    optimiser = torch.optim.Adam([p for p in model.parameters() if p.requires_grad], 0.02)
    generator = torch.Generator().manual_seed(0)
    rates = []
    for _ in range(40):
        q = model.posterior(x)
        z = q.rsample(generator)
        each = q.log_prob(z) - model.prior(150, 9).log_prob(z)
        rates.append(each.mean().item())
        assert rates[-1] > delta - 4 * each.std().item() / 150**0.5  # one draw an image
        optimiser.zero_grad()
        each.mean().backward()
        optimiser.step()
    assert np.mean(rates[-10:]) < rates[0]
    assert np.mean(rates[-10:]) > 0.97 * delta


# --- what its parts see ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("encoder", ["anti-causal", "non-causal"])
def test_a_row_is_inferred_from_itself_and_those_below(encoder):
    """Anti-causal: latents of row n depend on row n and all rows below it, on none above; and all on all if not.

    In real numbers, where the slightest influence shows.
    """
    model = tiny(replace(TINY, encoder=encoder, window=200))
    set_exact(model, False)
    x = images_of(TINY, 1, 9, 6)
    with torch.no_grad():
        before = model.posterior(x)
        for row in (0, 4, 8):
            other = x.clone()
            other[0, 0, row] = 255 - other[0, 0, row]
            after = model.posterior(other)
            changed = ((before.mean != after.mean) | (before.log_sigma != after.log_sigma)).any(2)[0].tolist()
            if encoder == "anti-causal":
                assert changed == [n <= row for n in range(9)]
            else:
                assert all(changed)


@pytest.mark.parametrize("encoder", ["anti-causal", "non-causal"])
def test_pixels_see_latents_of_their_row_and_those_above(encoder):
    """Of no row below, unless non-causal; pixels of earlier waves may carry those further, by attention."""
    model = tiny(replace(TINY, encoder=encoder, attentions=0))
    x = images_of(TINY, 1, 9, 6)
    with torch.no_grad(), guard():
        z = model.posterior(x).rsample(torch.Generator().manual_seed(0))
        before = model.likelihood(z, x.shape).in_parallel(x)
        for row in (0, 5, 8):
            other = z.clone()
            other[0, row] += 10
            changed = (model.likelihood(other, x.shape).in_parallel(x) != before).any(3).any(2)[0].tolist()
            assert not any(changed[:row]) if encoder == "anti-causal" else all(changed)
            assert changed[row]


def test_attention_sees_far():
    """Beyond the reach of convolutions, as far as the window goes: pixels of all earlier waves, none of later ones.

    In real numbers, where the slightest influence shows.
    """
    for window, far in ((500, True), (4, False)):
        model = tiny(replace(TINY, window=window, latent_channels=0))
        set_exact(model, False)
        x = images_of(TINY, 1, 12, 12)
        other = x.clone()
        other[0, 0, 0, 0] = 255 - other[0, 0, 0, 0]
        with torch.no_grad(), guard():
            a, b = (model.likelihood(None, x.shape).in_parallel(images) for images in (x, other))
        differ = (a != b).any(3)[0]
        assert not differ[0, 0]
        assert differ[11, 11].item() == far
    other = x.clone()
    other[0, 0, 5, 5] = 255 - other[0, 0, 5, 5]
    model = tiny(replace(TINY, window=500, latent_channels=0))
    set_exact(model, False)
    with torch.no_grad(), guard():
        a, b = (model.likelihood(None, x.shape).in_parallel(images) for images in (x, other))
    i, j = torch.meshgrid(torch.arange(12), torch.arange(12), indexing="ij")
    assert not (a != b).any(3)[0][j + 2 * i <= 15].any()


# --- the auxiliary prior ---------------------------------------------------------------------------------------------


def test_the_auxiliary_prior_starts_from_the_other_and_moves_nothing_else():
    torch.manual_seed(0)
    model = DeltaVae(TINY)
    x = images_of(TINY, 4, 9, 6)
    drawn: dict[str, torch.Tensor] = {}
    elbo(model, x, torch.Generator().manual_seed(0), drawn)
    cost = model.auxiliary_losses(x, drawn)["auxiliary"]
    assert cost.detach().numpy() == pytest.approx(-model.prior(4, 9).log_prob(drawn["z"]).detach().numpy(), rel=1e-4)
    cost.sum().backward()
    touched = {name.split(".")[0] for name, p in model.named_parameters() if p.grad is not None and p.grad.any()}
    assert touched == {"other"}


def test_it_learns_what_posteriors_are_like_and_is_chosen_when_it_is_shorter():
    """Posteriors that never move are far from the prior; the LSTM learns them."""
    torch.manual_seed(0)
    model = DeltaVae(TINY)
    z = torch.full((16, 9, 2), 12.0) + torch.randint(-1, 2, (16, 9, 2))
    assert not model.choice.auxiliary
    optimiser = torch.optim.Adam(model.other.parameters(), 0.02)
    for _ in range(60):
        cost = model.auxiliary_losses(z, {"z": z})["auxiliary"].mean()
        optimiser.zero_grad()
        cost.backward()
        optimiser.step()
    assert model.choice.auxiliary
    assert model.prior(16, 9).net is model.base  # it never teaches the encoder
    with torch.no_grad():
        assert model.prior(16, 9).net is model.other
        assert -model.prior(16, 9).log_prob(z).mean() < -Rowwise(model.base, (16, 9, 2), 8).log_prob(z).mean() - 5
    worse = DeltaVae(TINY)
    worse.choice.update(torch.tensor([-3.0, 1.0]))
    assert not worse.choice.auxiliary


# --- exact evaluation ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", [*KINDS, *VARIANTS])
def test_every_layer_learns(name):
    config = CONFIGS.get(name) or VARIANTS[name]
    model = tiny(config)
    x, drawn = images_of(config, 4, 9, 6), {}
    terms = elbo(model, x, torch.Generator().manual_seed(0), drawn)
    loss = -sum(part.mean() for part in terms.values())
    loss = loss + sum(part.mean() for part in model.auxiliary_losses(x, drawn).values())
    loss.backward()
    for layer_name, layer in exact_layers(model).items():
        assert layer.weight.grad is not None, layer_name
        assert layer.weight.grad.abs().sum() > 0, layer_name
        assert torch.isfinite(layer.weight.grad).all(), layer_name


def in_waves(model: DeltaVae, z: torch.Tensor | None, x: torch.Tensor) -> torch.Tensor:
    """Parameters (B, H, W, P) of all pixels when those of x are drawn wave by wave."""
    batch, _, height, width = x.shape
    likelihood = model.likelihood(z, x.shape)
    pixels = model.embed(x).permute(2, 3, 0, 1).contiguous()
    out = torch.full((height, width, batch, model.config.params), float("nan"))

    def draw(params, i, j):
        out[i, j] = params
        return pixels[i, j]

    model.local.in_waves((batch, height, width), likelihood.context, draw)
    return out.permute(2, 0, 1, 3)


@pytest.mark.parametrize("name", [*KINDS, *VARIANTS])
@pytest.mark.parametrize("sides", [(1, 1), (1, 7), (9, 1), (7, 6)])
def test_in_parallel_in_waves_learning_and_safe(name, sides, monkeypatch):
    """All the same numbers: with gradients, without, some images at a time, wave by wave, and on the safe path."""
    config = CONFIGS.get(name) or VARIANTS[name]
    model = tiny(config)
    x = images_of(config, 3, *sides)
    with guard():
        z = model.posterior(x).rsample(torch.Generator().manual_seed(0)).detach() if config.latent_channels else None
        learning = model.likelihood(z, x.shape).in_parallel(x)
        assert learning.requires_grad
        with torch.no_grad():
            one = model.likelihood(z, x.shape).in_parallel(x)
            assert torch.equal(learning.detach(), one)
            assert torch.equal(one, one.round())
            assert torch.equal(in_waves(model, z, x), one)
            monkeypatch.setattr("bbcodec.exact.pixel_snail.BAND_PIXELS", 1)
            assert torch.equal(model.likelihood(z, x.shape).in_parallel(x), one)
            set_safe(model, True)
            assert torch.equal(model.likelihood(z, x.shape).in_parallel(x), one)
            assert torch.equal(in_waves(model, z, x), one)


def test_rounding_costs_little():
    model = tiny(CONFIGS["RGB"])
    x = images_of(CONFIGS["RGB"], 8, 12, 12)
    bits = []
    for exact in (True, False):
        set_exact(model, exact)
        with torch.no_grad():
            bits.append(-elbo(model, x, torch.Generator().manual_seed(0))["x"].mean().item())
    assert bits[0] == pytest.approx(bits[1], rel=0.03)


# --- coding ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", [*KINDS, *VARIANTS])
@pytest.mark.parametrize("auxiliary", [False, True])
def test_decoding_undoes_encoding(name, auxiliary):
    config = CONFIGS.get(name) or VARIANTS[name]
    if auxiliary and not (config.auxiliary and config.latent_channels):
        config = replace(config, auxiliary=4, latent_channels=2)
    model = tiny(config, auxiliary=auxiliary)
    x = images_of(config, 5, 7, 6)
    stack = random_stack(0)
    before, bits = stack.flatten(), stack.bits
    rows = account(model, stack, x)
    assert list(rows) == (["x", "z"] if config.latent_channels else ["x"])
    total = sum(row.sum() for row in rows.values()) / 2**24
    assert stack.bits - bits == pytest.approx(total, abs=2)
    assert torch.equal(decode(model, stack, x.shape), x)
    assert np.array_equal(stack.flatten(), before)


def test_the_cost_is_that_of_the_elbo():
    model = tiny(TINY)
    x = images_of(TINY, 60, 9, 8)
    stack = random_stack(1, words=20000)
    bits = sum(row.sum() for row in account(model, stack, x).values()) / 2**24 / 60
    with torch.no_grad():
        generator = torch.Generator().manual_seed(0)
        drawn = [sum(part.mean().item() for part in elbo(model, x, generator).values()) for _ in range(5)]
    assert bits == pytest.approx(-np.mean(drawn) / math.log(2), rel=0.01)


@pytest.mark.parametrize("name", [*KINDS, "independent", "decoder alone"])
def test_a_saved_codec_codes_images_of_any_size(name):
    """Round trips through a codec that was saved and loaded; its numbers are those of the file, and pass its test."""
    config = CONFIGS.get(name) or VARIANTS[name]
    model = tiny(config, auxiliary=name == "grey")
    pixels = PixelFormat(config.channels, config.levels)
    content = save_codec(model, "delta-vae", config, pixels, {})
    codec = load_codec(content, "cpu")
    assert not codec.safe
    assert codec.backend.model.config == config
    if name == "grey":
        assert codec.backend.model.choice.auxiliary
    for sides in ((1, 1), (9, 6), (3, 20)):
        images = images_of(config, 6, *sides).permute(0, 2, 3, 1).numpy().astype(np.uint8)
        assert np.array_equal(codec.decode(codec.encode(images)), images)
    again = save_codec(codec.backend.model, "delta-vae", config, pixels, {})
    assert again == content


def test_a_codec_file_holds_every_part():
    model = tiny(TINY)
    content = save_codec(model, "delta-vae", TINY, PixelFormat(1, 256), {})
    for name, part in exact_parts(load_codec(content, "cpu").backend.model).items():
        for key, value in exact_parts(model)[name].stored().items():
            assert torch.equal(part.stored()[key], value), (name, key)


def test_samples_are_images():
    model = tiny(CONFIGS["RGB"], auxiliary=True)
    images = sample(model, torch.Size((2, 3, 5, 4)), torch.Generator().manual_seed(0))
    assert images.shape == (2, 3, 5, 4)
    assert torch.equal(images, images.round())
    stack = random_stack(3)
    encode(model, stack, images)
    assert torch.equal(decode(model, stack, images.shape), images)
