"""The installed families, and the recipes of shipped codecs, which name them."""

from importlib.resources import files

import pytest

from bbcodec.codec.catalogue import shipped_codecs
from bbcodec.errors import InputError
from bbcodec.models.families import Family, family_names, find_family
from bbcodec.models.training.recipes import read_recipe


def test_every_family_says_what_it_is():
    assert "vlae" in family_names()
    for name in family_names():
        family = find_family(name)
        assert isinstance(family, Family)
        assert family.name == name


def test_every_shipped_codec_has_a_recipe_that_is_read():
    zoo = files("bbcodec.models.zoo")
    recipes = [read_recipe(path) for path in zoo.iterdir() if path.name.endswith(".toml")]
    assert {recipe.name for recipe in recipes} == {codec.name for codec in shipped_codecs()}
    for recipe in recipes:
        assert recipe.data
        assert recipe.prepare
        find_family(recipe.model)
    assert recipes


def test_an_unknown_family_is_refused_with_a_list_of_all():
    with pytest.raises(InputError, match=r"^unknown model family 'vgae': expected one of attentive, .*vlae$"):
        find_family("vgae")
