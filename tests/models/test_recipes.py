"""Recipes of the shipped codecs: possible models, small files, and what is shipped is what they say."""

import re
from dataclasses import asdict

import pytest
from bbcodec.models.data import LOADERS
from bbcodec.models.recipes import RECIPES
from bbcodec.models.vlae import Vlae

from bbcodec.catalogue import shipped_codecs
from bbcodec.codec import codec_header
from bbcodec.exact.layers import exact_layers

SHIPPED = {codec.name: codec for codec in shipped_codecs()}


@pytest.mark.parametrize("name", list(RECIPES))
def test_recipes_can_be_followed(name):
    """Names are versioned; crops hold several latents; files stay below 2 MiB at two bytes a weight."""
    recipe = RECIPES[name]
    assert re.fullmatch(r"[a-z][a-z-]*-[1-9]\d*", name)
    assert recipe.data in LOADERS
    assert 0 < recipe.rounding_from < 1
    assert recipe.describe.strip() == recipe.describe != ""
    if recipe.crop is not None:
        assert recipe.crop % recipe.model.latent_stride == 0
    numbers = [layer.stored() for layer in exact_layers(Vlae(recipe.model)).values()]
    size = sum(part.numel() * part.element_size() for layer in numbers for part in layer.values())
    assert size < 2 * 2**20 - 2**16


@pytest.mark.parametrize("name", list(SHIPPED))
def test_shipped_codecs_are_those_of_the_recipes(name):
    header = codec_header(SHIPPED[name].content)
    assert header["config"] == asdict(RECIPES[name].model)
    assert header["card"]["data"] == RECIPES[name].describe
