"""What holds for every model family, as checks of one of its models."""

import math
from collections.abc import Container
from dataclasses import asdict

import numpy as np
import pytest
import torch
from test_input_bounds import Watch
from tiny_models import random_stack

from bbcodec.codec.codec import PixelFormat
from bbcodec.coder.ans import AnsStack
from bbcodec.exact.arithmetic import guard
from bbcodec.exact.layers import exact_layers, exact_parts
from bbcodec.model.coding import account, decode, encode
from bbcodec.model.interpreters import elbo
from bbcodec.model.program import Latent
from bbcodec.models.families import PRESETS
from bbcodec.models.training.recipes import configure


def words(model, x: torch.Tensor) -> np.ndarray:
    """What a stack is after images (B, C, H, W) were coded on it."""
    stack = random_stack(1)
    encode(model, stack, x)
    return stack.flatten()


def check_codes_and_learns(model, x: torch.Tensor, sites: list[str], fixed: Container[str] = ()) -> None:
    """Images and stack come back; bits are accounted for; every parameter but the fixed ones gets a gradient.

    sites: their names from the top down, pixels last.
    """
    stack = random_stack(1)
    before, bits = stack.flatten(), stack.bits
    rows = account(model, stack, x)
    assert list(rows)[::-1] == sites
    assert stack.bits - bits == pytest.approx(sum(row.sum() for row in rows.values()) / 2**24, abs=2)
    assert torch.equal(decode(model, stack, x.shape), x)
    assert np.array_equal(stack.flatten(), before)
    terms = elbo(model, x, torch.Generator().manual_seed(0))
    assert all(nats.shape == (len(x),) and torch.isfinite(nats).all() for nats in terms.values())
    rates: dict[str, torch.Tensor] = {}
    again = elbo(model, x, torch.Generator().manual_seed(0), rates=rates)
    for name, nats in terms.items():
        assert torch.allclose(again[name], nats, atol=1e-2, rtol=1e-4)
        assert name not in rates or rates[name].shape[0] == len(x) < rates[name].numel()
    (-sum(nats.mean() for nats in terms.values())).backward()
    for name, parameter in model.named_parameters():
        assert parameter.requires_grad == (name not in fixed), name
        if parameter.requires_grad:
            assert torch.isfinite(parameter.grad).all(), name
            assert parameter.grad.abs().sum() > 0, name


def check_latents_cost_what_the_bound_says(model, x: torch.Tensor) -> None:
    """Over many draws the bits of every site are its nats of the ELBO."""
    for part in exact_parts(model).values():
        part.freeze()
    rows = account(model, AnsStack.seeded(3), x)
    with torch.no_grad(), guard():
        terms = [elbo(model, x, torch.Generator().manual_seed(seed)) for seed in range(5)]
    for name, row in rows.items():
        nats = np.array([-one[name].mean().item() for one in terms]) / math.log(2)
        spread = row.std() / 2**24 / math.sqrt(len(x))
        assert row.mean() / 2**24 == pytest.approx(nats.mean(), abs=4 * spread + 0.01)


def check_inputs_stay_within_the_bound(model, height: int, width: int, gain: float) -> None:
    """With ordinary weights (a gain of 1), and with weights so large that everything saturates."""
    with torch.no_grad():
        for layer in exact_layers(model).values():
            layer.weight.mul_(gain)
            if layer.bias.requires_grad:
                layer.bias.normal_(0, gain)
    watch = Watch(model)
    channels, levels = model.config.channels, model.config.levels
    x = torch.randint(0, levels, (3, channels, height, width)).float()
    x[0], x[1] = 0, levels - 1
    with torch.no_grad(), guard():
        elbo(model, x)
    assert len({name.removesuffix(" in waves") for name in watch.greatest}) == len(exact_layers(model))
    assert max(watch.greatest.values()) <= 1


def check_presets_pop_few_bits(family, bits=240):
    """Presets for 28 x 28 images of two levels: latents of a sigma of 1/2 pop at most `bits`, two images' worth."""
    images = torch.zeros(1, 1, 28, 28)
    for strength in PRESETS:
        found = family.preset(strength, PixelFormat(1, 2), (28, 28), True)
        config, _ = configure(family.config, {"channels": 1, "levels": 2}, found)
        program = family.build(asdict(config)).program(images.shape, images)
        latent, popped = next(program), 0.0
        while isinstance(latent, Latent):
            shape = latent.posterior().mean.shape
            sigma = max(0.75, config.steps_per_unit / 2)  # in grid steps
            popped += shape.numel() * math.log2(math.sqrt(2 * math.pi * math.e) * sigma)
            latent = program.send(torch.zeros(shape))
        assert 0 < popped < bits, strength
