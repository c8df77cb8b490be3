"""The attentive VAE: every attention on and off, as a program, as a codec, in its file, on images of any size."""

import copy
import json
import math
from dataclasses import asdict, fields, replace
from itertools import product

import numpy as np
import pytest
import torch
from family_checks import (
    check_codes_and_learns,
    check_inputs_stay_within_the_bound,
    check_latents_cost_what_the_bound_says,
    check_presets_pop_few_bits,
    words,
)
from tiny_models import pictures, random_stack, tensor

from bbcodec.codec.codec import PixelFormat
from bbcodec.codec.file import load_codec, save_codec
from bbcodec.exact.arithmetic import guard
from bbcodec.exact.layers import exact_layers, set_exact, set_safe
from bbcodec.model.coding import account, decode, encode
from bbcodec.model.interpreters import elbo
from bbcodec.models.attentive import FAMILY, RANGES, Attentive, AttentiveConfig, in_tiles, preset
from bbcodec.models.training.recipes import configure

SIZES = {
    "layers": 3, "latent_channels": 2, "latent_stride": 4, "width": 6, "key_channels": 3, "tile": 2, "hidden": 5,
    "radius": 1, "components": 2, "steps_per_unit": 4,
}  # fmt: skip
KINDS = {"binary": (1, 2), "grey": (1, 256), "RGB": (3, 256)}
ATTENTIONS = ("depth_prior", "depth_posterior", "nonlocal_blocks")
NONE = dict.fromkeys(ATTENTIONS, False)
EVERY = [
    *product(["binary"], [0, 1], product([False, True], repeat=3)),
    *product(["grey", "RGB"], [0, 1], [(True, True, True), (False, False, False)]),
]


def config(kind: str = "binary", **changes: object) -> AttentiveConfig:
    channels, levels = KINDS[kind]
    return AttentiveConfig(**{"channels": channels, "levels": levels, **SIZES, **changes})


def tiny(c: AttentiveConfig, seed: int = 0) -> Attentive:
    """An untrained model, with random biases and attentions that read, so that every weight has something to say."""
    torch.manual_seed(seed)
    model = Attentive(c)
    with torch.no_grad():
        for layer in exact_layers(model).values():
            if layer.bias.requires_grad:
                layer.bias += 0.3 * torch.randn_like(layer.bias)
            if not layer.weight.any():
                layer.weight.normal_(0, 0.5)
    return model.eval()


def arrays(c: AttentiveConfig, count: int, height: int = 13, width: int = 6, seed: int = 0) -> np.ndarray:
    kind = next(kind for kind, pixels in KINDS.items() if pixels == (c.channels, c.levels))
    return pictures(kind, count, height, width, seed)


def images(c: AttentiveConfig, count: int, height: int = 13, width: int = 6, seed: int = 0) -> torch.Tensor:
    return tensor(arrays(c, count, height, width, seed))


def saved(model: Attentive) -> bytes:
    return save_codec(model, "attentive", model.config, PixelFormat(model.config.channels, model.config.levels), {})


# --- every variant ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("kind", "local_layers", "attentions"), EVERY)
def test_every_variant_codes_and_learns(kind, local_layers, attentions):
    c = config(kind, local_layers=local_layers, **dict(zip(ATTENTIONS, attentions, strict=True)))
    model = tiny(c)
    fixed = [name for name, _ in model.named_parameters() if name.endswith("gamma.bias")]
    check_codes_and_learns(model, images(c, 3), ["z1", "z2", "z3", "x"], fixed)


@pytest.mark.parametrize(("height", "width"), [(1, 1), (1, 9), (5, 3), (8, 8), (17, 11)])
@pytest.mark.parametrize(("local_layers", "stride"), [(0, 1), (1, 1), (1, 4)])
def test_images_of_any_size_come_back(height, width, local_layers, stride):
    c = config("grey", local_layers=local_layers, context_stride=stride)
    model, stack = tiny(c), random_stack(1)
    before = stack.flatten()
    for count in (1, 2, 5):
        encode(model, stack, images(c, count, height, width, seed=count))
    for count in (5, 2, 1):
        expected = images(c, count, height, width, seed=count)
        assert torch.equal(decode(model, stack, expected.shape), expected)
    assert np.array_equal(stack.flatten(), before)


@pytest.mark.parametrize("layers", [1, 2, 7])
def test_hierarchies_of_any_depth_code(layers):
    c = config(layers=layers)
    model, x, stack = tiny(c), images(c, 2), random_stack(1)
    before = stack.flatten()
    assert list(account(model, stack, x))[::-1] == [*(f"z{n}" for n in range(1, layers + 1)), "x"]
    assert torch.equal(decode(model, stack, x.shape), x)
    assert np.array_equal(stack.flatten(), before)


@pytest.mark.parametrize(("kind", "local_layers"), [("binary", 0), ("grey", 0), ("RGB", 1)])
def test_a_saved_codec_is_the_model_that_learned(kind, local_layers):
    """The same words from what learned and from what was loaded, which gives images of several sizes back."""
    c = config(kind, local_layers=local_layers, joint=kind == "RGB")
    model = tiny(c)
    content = saved(copy.deepcopy(model))
    codec = load_codec(content, "cpu")
    assert not codec.safe
    assert np.array_equal(words(model, images(c, 4)), words(codec.backend.model, images(c, 4)))
    for x in (arrays(c, 12), arrays(c, 2, 7, 21), arrays(c, 1, 1, 2)):
        assert np.array_equal(codec.decode(codec.encode(x)), x)
    assert saved(copy.deepcopy(codec.backend.model)) == content


def test_latents_cost_what_the_bound_says():
    check_latents_cost_what_the_bound_says(tiny(config()), images(config(), 300))


# --- attention -------------------------------------------------------------------------------------------------------


def test_learning_starts_from_no_attention():
    """With gamma, and the last layer of non-local blocks, at 0, a model is one that has no attention."""
    torch.manual_seed(0)
    model, without = Attentive(config()), Attentive(config(**NONE))
    assert not any(layer.weight.any() for name, layer in exact_layers(model).items() if name.endswith("gamma"))
    without.load_state_dict(model.state_dict(), strict=False)
    x = images(config(), 3)
    assert set(without.state_dict()) < set(model.state_dict())
    assert np.array_equal(words(model, x), words(without, x))


def attentions(model: Attentive, kind: str) -> list[int]:
    return [n for n, layer in enumerate(model.layers, 1) if getattr(layer, kind) is not None]


def test_attentions_are_where_there_is_a_choice():
    """Priors from the third layer on, posteriors but that of the last: no query is idle."""
    model = Attentive(config(layers=5))
    assert attentions(model, "prior_attention") == [3, 4, 5]
    assert attentions(model, "posterior_attention") == [1, 2, 3, 4]
    shallow = Attentive(config(layers=1))
    assert not attentions(shallow, "prior_attention") + attentions(shallow, "posterior_attention")
    assert not any("memory" in name for name, _ in shallow.named_parameters())


def test_priors_attend_to_all_layers_above_and_posteriors_to_all_below():
    """What the attentions of layer l are given: c_1 .. c_(l-1), and h_l .. h_L with the query of c_l."""
    model, seen = tiny(config(layers=4)), {}
    for n, layer in enumerate(model.layers, 1):
        for kind in ("prior", "posterior"):
            attention = getattr(layer, f"{kind}_attention")
            if attention is not None:
                attention.register_forward_hook(lambda _, given, out, at=(kind, n): seen.update({at: (given, out)}))
    with torch.no_grad():
        x = images(model.config, 2)
        elbo(model, x)
        features = model.bottom_up(x)
    counts = {at: (len(given[1]), len(given[2])) for at, (given, _) in seen.items()}
    assert counts == {
        ("prior", 3): (2, 2), ("prior", 4): (3, 3),
        ("posterior", 1): (4, 4), ("posterior", 2): (3, 3), ("posterior", 3): (2, 2),
    }  # fmt: skip
    for n in (1, 2, 3):
        given, _ = seen["posterior", n]
        assert torch.equal(given[0], features[n - 1][0])  # h_l
        assert all(torch.equal(one, other[1]) for one, other in zip(given[2], features[n - 1][1], strict=True))
        assert torch.equal(given[2][0], model.features[n - 1].memory(given[0])[1])  # the first is h_l, lifted
        if n == 3:
            assert torch.equal(given[3], seen["prior", 3][1])  # the context of the prior asks


@pytest.mark.parametrize(("height", "width"), [(1, 1), (2, 3), (4, 6), (5, 7), (3, 9)])
def test_tiles_are_seen_as_images_are(height, width):
    """A part that mixes all places of what it is given: each square by itself."""
    x = torch.randn(2, 3, height, width)
    expected = torch.empty_like(x)
    for i, j in product(range(0, height, 3), range(0, width, 3)):
        square = x[:, :, i : i + 3, j : j + 3]
        expected[:, :, i : i + 3, j : j + 3] = square.cumsum(2) + square.sum((2, 3), keepdim=True)
    found = in_tiles(lambda part: part.cumsum(2) + part.sum((2, 3), keepdim=True), x, 3)
    assert torch.allclose(found, expected, atol=1e-5)


def test_a_place_sees_its_whole_tile_through_non_local_blocks():
    """A pixel moves latents far beyond the reach of the convolutions, within a tile alone."""
    moved = {}
    for tile in (1, 16):
        model = tiny(config(layers=1, tile=tile, cells=1))
        x = images(model.config, 1, 64, 64)
        y = x.clone()
        y[..., :8, :8] = 1 - y[..., :8, :8]
        with torch.no_grad(), guard():
            means = [next(model.program(one.shape, one)).posterior().mean for one in (x, y)]
        moved[tile] = (means[0] != means[1]).any(1)[0]
    assert not moved[1][6:, 6:].any()
    assert moved[16][6:, 6:].any()


# --- exactness -------------------------------------------------------------------------------------------------------


def parameters(model: Attentive, x: torch.Tensor) -> list[torch.Tensor]:
    """Of every distribution, given the same latents whatever the batch."""
    found = []
    program = model.program(x.shape, x)
    with torch.no_grad(), guard():
        site = next(program)
        while site.name != "x":
            q = site.posterior()
            found += [*q.parameters(), *site.prior().parameters()]
            site = program.send((q.mean / 64).round().clamp(-31, 31))
        found.append(site.likelihood().family.params)
    return found


def test_batches_threads_and_paths_agree_to_the_last_digit():
    c = config("RGB", width=16, layers=4)
    model, x = tiny(c), images(c, 33, 21, 18)
    expected = parameters(model, x)
    apart = [torch.cat(parts) for parts in zip(*(parameters(model, one) for one in x.split(11)), strict=True)]
    alone = parameters(model, x[:1])
    threads = torch.get_num_threads()
    torch.set_num_threads(3 if threads != 3 else 2)
    threaded = parameters(model, x)
    torch.set_num_threads(threads)
    set_safe(model, True)
    safe = parameters(model, x)
    for n, numbers in enumerate(expected):
        assert torch.equal(numbers, numbers.round())
        assert torch.equal(numbers, apart[n])
        assert torch.equal(numbers[:1], alone[n])
        assert torch.equal(numbers, threaded[n])
        assert torch.equal(numbers, safe[n])


@pytest.mark.parametrize(("kind", "local_layers"), list(product(KINDS, [0, 1])))
@pytest.mark.parametrize("gain", [1.0, 30.0])
def test_inputs_stay_within_the_bound(kind, local_layers, gain):
    check_inputs_stay_within_the_bound(tiny(config(kind, local_layers=local_layers)), 13, 9, gain)


def test_rounding_costs_little():
    c = config("grey", width=16)
    model, x, found = tiny(c), images(c, 20), []
    for exact in (True, False):
        set_exact(model, exact)
        with torch.no_grad():
            terms = elbo(model, x, torch.Generator().manual_seed(0))
        found.append(-sum(nats.mean().item() for nats in terms.values()))
    assert found[0] == pytest.approx(found[1], rel=0.03)


@pytest.mark.parametrize("kind", ["grey", "RGB"])
@pytest.mark.parametrize("joint", [False, True])
def test_untrained_pixels_of_256_levels_are_broad(kind, joint):
    """A decoder of 256 levels starts no worse than a few bits above what says nothing, so that it learns at once."""
    if joint and kind == "grey":
        return
    c = config(kind, components=5, joint=joint)
    torch.manual_seed(0)
    model, x = Attentive(c), torch.from_numpy(np.random.default_rng(0).normal(110, 50, (20, c.channels, 9, 6)))
    with torch.no_grad():
        nats = -elbo(model, x.clamp(0, 255).round().float())["x"].mean().item()
    assert nats / x[0].numel() / math.log(2) < 10


# --- configs ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", list(KINDS))
def test_configs_survive_json(kind):
    c = config(kind, depth_prior=False)
    assert FAMILY.build(json.loads(json.dumps(asdict(c)))).config == c
    with pytest.raises(TypeError, match="colour"):
        FAMILY.build({**asdict(c), "colour": 1})


@pytest.mark.parametrize("field", list(RANGES))
@pytest.mark.parametrize("value", [-1, 10**12, 4.0, "4", None, True])
def test_every_size_is_a_whole_number_in_bounds(field, value):
    with pytest.raises(ValueError, match=f"{field} is {value!r}"):
        FAMILY.build({**asdict(config()), field: value})


@pytest.mark.parametrize("field", [one.name for one in fields(AttentiveConfig) if type(one.default) is bool])
@pytest.mark.parametrize("value", [0, 1, "true", None])
def test_every_switch_is_true_or_false(field, value):
    with pytest.raises(ValueError, match=f"{field} is {value!r}, expected true or false"):
        config(**{field: value})


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"channels": 2}, "got 2 x"),
        ({"channels": 3}, "got 3 x 2"),
        ({"levels": 16}, "x 16"),
        ({"layers": 0}, "layers is 0"),
        ({"latent_stride": 12}, "strides are 12"),
        ({"latent_stride": 1}, "latent_stride is 1"),
        ({"context_stride": 8}, "strides are 4 and 8"),
        ({"latent_stride": 8, "context_stride": 3}, "strides are 8 and 3"),
        ({"joint": True}, "joint"),
        ({"steps_per_unit": 12}, "steps_per_unit is 12"),
    ],
)
def test_configs_that_cannot_be(changes, message):
    with pytest.raises(ValueError, match=message):
        config(**changes)


def test_the_greatest_sizes_can_be():
    """No layer that a config allows has too many inputs."""
    greatest = {"width": 64, "latent_channels": 64, "key_channels": 64, "hidden": 128, "radius": 8}
    for local_layers in (0, 1):
        model = Attentive(config("RGB", **greatest, local_layers=local_layers))
        assert all(layer.fan_in <= 1024 for layer in exact_layers(model).values())


@pytest.mark.parametrize("strength", ["fast", "balanced", "strong"])
@pytest.mark.parametrize("kind", list(KINDS))
@pytest.mark.parametrize(("smallest", "alike"), [((28, 28), True), ((100, 70), True), ((20, 300), False)])
def test_presets_are_configs(strength, kind, smallest, alike):
    """Within a crop non-local blocks see everything, as they do when small images are coded."""
    pixels = PixelFormat(*KINDS[kind])
    found = preset(strength, pixels, smallest, alike)
    c, settings = configure(AttentiveConfig, {"channels": pixels.channels, "levels": pixels.levels}, found)
    assert settings.crop == (0 if smallest == (28, 28) else min(64, *smallest))
    assert c.tile * c.latent_stride >= (settings.crop or max(smallest))
    assert c.local_layers > 0
    assert Attentive(replace(c, width=8, hidden=8)).config.layers == found["layers"]


def test_presets_pop_few_bits_of_two_level_images():
    check_presets_pop_few_bits(FAMILY)
