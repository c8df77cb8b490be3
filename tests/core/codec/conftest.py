"""Codec files of tiny models, and the codecs loaded from them."""

import pytest
from small_answers import small_answers
from tiny_models import KINDS, tiny_codec_file

from bbcodec.codec.file import load_codec


@pytest.fixture(autouse=True, scope="module")
def _small_answers():
    """Codecs are saved and loaded quickly."""
    with small_answers():
        yield


@pytest.fixture(scope="module")
def contents():
    """The codec file of each tiny model."""
    return {name: tiny_codec_file(name) for name in KINDS}


@pytest.fixture(scope="module")
def codecs(contents):
    return {name: load_codec(content, "cpu") for name, content in contents.items()}


@pytest.fixture(scope="module")
def networks(contents):
    """The same without the engine."""
    return {name: load_codec(content, "cpu", engine=False) for name, content in contents.items()}
