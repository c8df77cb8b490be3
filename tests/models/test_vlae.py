"""The VLAE: what its configs may be, how it starts, what its parts see, and that everything learns."""

import json
import math
from dataclasses import asdict, replace
from itertools import pairwise, product

import numpy as np
import pytest
import torch
from tiny_models import CONFIGS, KINDS, SIZES, pictures, pixel_format, tensor, tiny

from bbcodec.codec.file import load_codec, save_codec
from bbcodec.distributions.logistic import LogisticMixture
from bbcodec.exact.arithmetic import BOUND, guard
from bbcodec.exact.layers import exact_layers, set_exact
from bbcodec.model.interpreters import elbo
from bbcodec.models.pixel_nets import PREDICTORS, embed_binary, embed_levels
from bbcodec.models.vlae import FAMILY, Vlae
from bbcodec.models.vlae_config import VlaeConfig

GREY = CONFIGS["grey"]


def bits_per_dim(model: Vlae, x: torch.Tensor, site: str) -> float:
    with torch.no_grad():
        nats = elbo(model, x, torch.Generator().manual_seed(0))[site]
    return -nats.mean().item() / x[0].numel() / math.log(2)


# --- configs ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", KINDS)
def test_configs_survive_json(kind):
    """As a codec file does it; every field comes back, of its type, and builds the same network."""
    config = CONFIGS[kind]
    model = FAMILY.build(json.loads(json.dumps(asdict(config))))
    assert model.config == config
    expected = {name: p.shape for name, p in Vlae(config).state_dict().items()}
    assert {name: p.shape for name, p in model.state_dict().items()} == expected


def test_unknown_keys_are_refused():
    with pytest.raises(TypeError, match="colour"):
        FAMILY.build({**asdict(GREY), "colour": 1})


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"channels": 2}, "got 2 x"),
        ({"channels": 3, "levels": 2}, "got 3 x 2"),
        ({"levels": 16}, "x 16"),
        ({"latent_stride": 12}, "strides are 12"),
        ({"latent_stride": 1, "context_stride": 1}, "strides are 1 and 1"),
        ({"latent_stride": 4, "context_stride": 8}, "strides are 4 and 8"),
        ({"latent_stride": 8, "context_stride": 3}, "strides are 8 and 3"),
        ({"steps_per_unit": 12}, "steps_per_unit is 12"),
        ({"steps_per_unit": 128}, "steps_per_unit is 128"),
        ({"components": 33}, "components is 33"),
        ({"hidden": 250}, "fan-in"),
    ],
)
def test_sizes_that_cannot_be(changes, message):
    with pytest.raises(ValueError, match=message):
        Vlae(replace(GREY, **changes))


@pytest.mark.parametrize(
    ("field", "value"),
    [
        *product(SIZES, [-1, 257, 10**12, 4.0, "4", None, True]),
        *product(
            sorted(SIZES.keys() - {"latent_channels", "prior_layers"}), [0]
        ),  # no latents, or none to learn of them
    ],
)
def test_every_size_is_a_whole_number_in_bounds(field, value):
    with pytest.raises(ValueError, match=f"{field} is {value!r}"):
        FAMILY.build({**asdict(GREY), field: value})


@pytest.mark.parametrize("kind", KINDS)
def test_parameters_of_a_pixel(kind):
    config = CONFIGS[kind]
    expected = {"binary": 1, "grey": 3 * 2, "RGB": 3 * 3 * 2 + 3 * 2, "joint": 10 * 2}
    assert config.params == expected[kind]
    assert tiny(kind).local.head.weight.shape[0] == config.params


# --- sizes -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("stride", "context"), [(2, 1), (4, 4), (8, 2), (16, 4)])
@pytest.mark.parametrize("sides", [(1, 1), (1, 20), (17, 5), (16, 32)])
def test_latents_cover_the_image_and_context_every_pixel(stride, context, sides):
    model = Vlae(replace(GREY, latent_stride=stride, context_stride=context))
    height, width = sides
    sizes = model.sizes(height, width)
    assert sizes[0] == sides
    assert sizes[-1] == (math.ceil(height / stride), math.ceil(width / stride))
    assert all(b == ((a[0] + 1) // 2, (a[1] + 1) // 2) for a, b in pairwise(sizes))
    x = torch.zeros(2, 1, height, width)
    with torch.no_grad():
        posterior = model.posterior(x)
        z = posterior.rsample(torch.Generator().manual_seed(0))
        assert posterior.shape == (2, 2, *sizes[-1])
        assert model.prior(tuple(z.shape)).in_parallel(z).shape == (2, *sizes[-1], 4)
        likelihood = model.likelihood(z, x.shape)
        assert likelihood.shape == x.shape
        assert likelihood.in_parallel(x).shape == (2, height, width, 6)


def test_embedded_pixels():
    """Within the bound of the layers that take them, symmetric about the middle level; the last channel says inside."""
    levels = torch.tensor([0.0, 1, 128, 255]).view(1, 1, 1, 4)
    assert embed_levels(levels).flatten().tolist() == [-1024, -1016, 0, 1016, 256, 256, 256, 256]
    assert embed_binary(torch.tensor([[[[0.0, 1.0]]]])).flatten().tolist() == [-256, 256, 256, 256]
    assert (CONFIGS["binary"].bound, GREY.bound) == (256, 1024)


# --- how it starts ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", ["grey", "RGB"])
def test_an_untrained_decoder_predicts_pixels(kind):
    """A smooth slope costs far less than 8 bits a value, in exact arithmetic and out of it; noise does not."""
    torch.manual_seed(0)
    model = Vlae(replace(CONFIGS[kind], components=5, radius=3))
    i, j = np.mgrid[:24, :24]
    slope = np.repeat((40 + 3 * i + 4 * j)[None, ..., None], CONFIGS[kind].channels, 3).astype(np.uint8)
    noise = np.random.default_rng(0).integers(0, 256, slope.shape, dtype=np.uint8)
    for exact in (True, False):
        set_exact(model, exact)
        assert bits_per_dim(model, tensor(slope), "x") < 4.5
        assert bits_per_dim(model, tensor(noise), "x") > 7.5


@pytest.mark.parametrize(("count", "sharp"), [(5, []), (12, [0, 1, 5, 6, 7, 8, 9, 10, 11])])
def test_components_start_as_the_predictors(count, sharp):
    """The mean of each component is its predictor's, at a pixel far from the border, but for the random head."""
    torch.manual_seed(0)
    model = Vlae(replace(GREY, components=count, radius=3))
    with torch.no_grad():
        model.local.head.weight.zero_()
    x = tensor(np.random.default_rng(0).integers(0, 256, (1, 9, 9, 1), dtype=np.uint8))
    with torch.no_grad(), guard():
        z = model.posterior(x).rsample()
        params = model.likelihood(z, x.shape).in_parallel(x)[0, 5, 5]
    means = 128 + params[count : 2 * count] / 32
    predictors = PREDICTORS[:count]
    expected = [sum(w * x[0, 0, 5 + di, 5 + dj].item() for (di, dj), w in p.items()) for p in predictors]
    assert means.tolist() == pytest.approx(expected, abs=0.5)
    scales = [-384.0 if k in sharp else 256.0 for k in range(count)]  # scales of a fifth of a level, or of e levels
    assert params[2 * count :].tolist() == pytest.approx(scales, abs=2)


def test_joint_channels_start_as_others_do():
    """One row of logits less for each channel but the first; means, scales and coefficients are the same."""
    torch.manual_seed(0)
    joint, apart = (Vlae(replace(CONFIGS["RGB"], components=4, radius=3, joint=joint)).local for joint in (True, False))
    assert torch.equal(joint.skip.weight[4:], apart.skip.weight[12:])
    assert torch.equal(joint.head.reals()[1][4:], apart.head.reals()[1][12:])


def test_the_predictors_sum_to_one():
    """So that a flat image is predicted whatever its brightness; and they look at earlier waves only."""
    for predictor in PREDICTORS:
        assert sum(predictor.values()) == 1
        assert all(dj + 2 * di < 0 for di, dj in predictor)


def test_green_follows_the_error_of_red_and_blue_that_of_green():
    torch.manual_seed(0)
    bias = Vlae(CONFIGS["RGB"]).local.head.reals()[1].detach() / 256
    assert bias[18:].tolist() == pytest.approx([0.95, 0.95, 0, 0, 0.95, 0.95])


def test_the_stem_is_blind_to_brightness():
    """Sums over its taps are zero for pixels, not for the channel that says what is inside."""
    torch.manual_seed(0)
    sums = Vlae(CONFIGS["RGB"]).local.stem.masked_weight().detach().sum((2, 3))
    assert sums[:, :3].abs().max() < 1e-5


def test_brightness_stays_while_the_decoder_learns():
    """However an optimiser moves the weights, the sums over the taps of pixel channels stay in stem and skip."""
    torch.manual_seed(0)
    model = Vlae(CONFIGS["RGB"])
    layers = [model.local.stem, model.local.skip]
    before = [layer.masked_weight().detach().sum((2, 3)) for layer in layers]
    weights = [layer.masked_weight().detach().clone() for layer in layers]
    optimiser = torch.optim.Adam(model.parameters(), 0.01)
    x = tensor(pictures("RGB", 4, 8, 8))
    for _ in range(3):
        optimiser.zero_grad()
        (-sum(terms.sum() for terms in elbo(model, x).values())).backward()
        optimiser.step()
    for layer, level, weight in zip(layers, before, weights, strict=True):
        after = layer.masked_weight().detach()
        assert (after - weight).abs().max() > 0.005
        assert torch.allclose(after.sum((2, 3))[:, :3], level[:, :3], atol=1e-4)


def test_latents_start_narrow():
    """Posteriors of sigma 0.3, so that they say something from the first step."""
    torch.manual_seed(0)
    with torch.no_grad():
        sigma = torch.exp(Vlae(GREY).posterior(tensor(pictures("grey", 8, 16, 16))).log_sigma / 256)
    assert sigma.median().item() == pytest.approx(0.3, rel=0.3)


# --- what its parts see ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", KINDS)
def test_every_layer_learns(kind):
    model = tiny(kind)
    terms = elbo(model, tensor(pictures(kind, 4, 16, 16)), torch.Generator().manual_seed(0))
    (terms["z"].mean() + terms["x"].mean()).backward()
    for name, layer in exact_layers(model).items():
        assert layer.weight.grad is not None, name
        assert layer.weight.grad.abs().sum() > 0, name
        assert torch.isfinite(layer.weight.grad).all(), name


def changed_pixels(model: Vlae, z: torch.Tensor, other: torch.Tensor, x: torch.Tensor) -> list[tuple[int, int]]:
    """Where the parameters of pixels differ."""
    with torch.no_grad(), guard():
        a, b = (model.likelihood(latents, x.shape).in_parallel(x) for latents in (z, other))
    return [tuple(place) for place in (a != b).any(3)[0].nonzero().tolist()]


def test_a_latent_speaks_to_the_pixels_about_it():
    """To its own block of the image first of all, and to none far away."""
    model = Vlae(replace(GREY, latent_stride=4, context_stride=4, blocks=1))
    x = tensor(pictures("grey", 1, 64, 64))
    with torch.no_grad():
        z = model.posterior(x).rsample()
    other = z.clone()
    other[0, :, 8, 8] += 20
    places = changed_pixels(model, z, other, x)
    assert (33, 33) in places
    reach = 4 * 3 + model.local.reach  # lift, block and context head see one latent further each
    assert all(32 - reach <= i < 36 + reach and 32 - reach <= j < 36 + reach for i, j in places)


@pytest.mark.parametrize("kind", KINDS)
def test_without_latents_the_decoder_is_alone(kind):
    """Nothing but the local net is there, and it codes."""
    model = Vlae(replace(CONFIGS[kind], latent_channels=0)).eval()
    assert {name.partition(".")[0] for name in model.state_dict()} == {"local"}
    x = tensor(pictures(kind, 3, 7, 5))
    with torch.no_grad():
        assert list(elbo(model, x, torch.Generator().manual_seed(0))) == ["x"]
    codec = load_codec(save_codec(model, "vlae", model.config, pixel_format(kind), {}), "cpu")
    images = pictures(kind, 3, 7, 5)
    assert np.array_equal(codec.decode(codec.encode(images)), images)


def test_the_decoder_is_local():
    """What a pixel sees of other pixels is a small window; the rest has to come through the latents."""
    model = tiny("grey")
    x = tensor(pictures("grey", 1, 24, 24))
    with torch.no_grad():
        z = model.posterior(x).rsample()
        likelihood = model.likelihood(z, x.shape)
        other = x.clone()
        other[0, 0, 10, 10] = 255 - other[0, 0, 10, 10]
        differ = (likelihood.in_parallel(x) != likelihood.in_parallel(other)).any(3)[0]
    reach = model.local.reach
    assert not differ[:, :10][:11].any()
    assert not differ[:10].any()
    assert differ[10, 11]
    assert differ[10 : 11 + reach].any()
    assert not differ[11 + reach :].any()


# --- exact evaluation ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", KINDS)
def test_bands_and_training_evaluate_the_same_numbers(kind, monkeypatch):
    """The whole image with gradients, in one band, and in bands of as few rows as may be: equal to the last bit."""
    model = tiny(kind)
    x = tensor(pictures(kind, 3, 21, 10))
    with guard():
        z = model.posterior(x).rsample(torch.Generator().manual_seed(0)).detach()
        learning = model.likelihood(z, x.shape).in_parallel(x)
        assert learning.requires_grad
        with torch.no_grad():
            one = model.likelihood(z, x.shape).in_parallel(x)
            for pixels in (1, 3 * 10 * 4, 3 * 10 * 7):
                monkeypatch.setattr("bbcodec.exact.local_net.BAND_PIXELS", pixels)
                assert torch.equal(model.likelihood(z, x.shape).in_parallel(x), one)
    assert torch.equal(learning.detach(), one)


@pytest.mark.parametrize("kind", KINDS)
def test_whole_numbers_keep_the_real_network(kind):
    """After they are loaded, learning can go on from where it was: real weights, gains and outputs are close."""
    model = tiny(kind)
    x = tensor(pictures(kind, 2, 12, 12))
    before = {name: layer.reals() for name, layer in exact_layers(model).items()}
    for layer in exact_layers(model).values():
        layer.freeze()
    for name, layer in exact_layers(model).items():
        weight, bias = layer.reals()
        unit = 1 / layer.scale.view(-1, *[1] * (weight.dim() - 1))
        held = getattr(layer, "level", None) is not None  # held levels are put back, which is another rounding
        assert ((weight - before[name][0]).abs() <= (unit if held else unit / 2) + 1e-6).all(), name
        assert ((bias - before[name][1]).abs() <= unit.flatten() / 2 + 1e-3).all(), name
        if not held:
            assert torch.allclose(weight, layer.frozen[0], atol=1e-6), name
        assert torch.allclose(bias, layer.frozen[1], rtol=1e-5), name
    rounding = bits_per_dim(model, x, "x")
    set_exact(model, False)
    for layer in exact_layers(model).values():
        layer.frozen = None
    assert bits_per_dim(model, x, "x") == pytest.approx(rounding, rel=0.05)


def test_rounding_costs_little():
    """The network that learns without rounding and the one that is coded agree closely on what pixels cost."""
    model = tiny("RGB")
    x = tensor(pictures("RGB", 4, 16, 16))
    exact = bits_per_dim(model, x, "x")
    set_exact(model, False)
    assert bits_per_dim(model, x, "x") == pytest.approx(exact, rel=0.02)


def test_parameters_are_whole_numbers():
    model = tiny("RGB")
    x = tensor(pictures("RGB", 2, 9, 9))
    with torch.no_grad():
        posterior = model.posterior(x)
        z = posterior.rsample()
        for parameters in (
            *posterior.parameters(),
            model.prior(tuple(z.shape)).in_parallel(z),
            model.likelihood(z, x.shape).in_parallel(x),
        ):
            assert torch.equal(parameters, parameters.round())
        context = model.context(z, 9, 9)
    assert torch.equal(context, context.round())
    assert context.abs().max() < BOUND


def test_pixel_families():
    model = tiny("RGB")
    d = model.family(torch.zeros(2, 3, CONFIGS["RGB"].params))
    assert isinstance(d, LogisticMixture)
    assert d.shape == (2, 3, 3)
    assert VlaeConfig().params == 3 * 3 * 5 + 3 * 5
    assert VlaeConfig(joint=True).params == 10 * 5
    assert tiny("joint").family(torch.zeros(2, 3, CONFIGS["joint"].params)).joint
