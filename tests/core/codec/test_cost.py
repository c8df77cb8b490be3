"""Codecs of strangers: what they cost is known before it is spent, and refused beyond the limits."""

import subprocess
import sys

import pytest
from tiny_models import CONFIGS, edited_codec_file

from bbcodec.codec import file as codec_file
from bbcodec.codec.catalogue import CodecFile, parse_codec, shipped_codecs
from bbcodec.codec.cost import cost_of
from bbcodec.codec.file import load_codec
from bbcodec.codec.pool import CodecPool, CodecSource
from bbcodec.codec.stored import StoredCodec, pack_file
from bbcodec.errors import BadCodecFile, LimitExceeded
from bbcodec.exact.layers import exact_parts, weights_allowed
from bbcodec.models.vlae import Vlae
from bbcodec.models.vlae_config import VlaeConfig
from bbcodec.options import Limits

FEW_BYTES = 4000  # that a bomb takes in an archive: its weights are all zero


def bomb(**sizes: int) -> CodecFile:
    """A codec whose weights are zero, of these sizes."""
    config = {"components": 32, "latent_channels": 0, "radius": 1, **sizes}
    parts = exact_parts(Vlae(VlaeConfig(**config)))
    stored = {f"{name}.{key}": one for name, part in parts.items() for key, one in part.stored().items()}
    tensors = {name: one.new_zeros(one.shape) for name, one in stored.items()}
    about = {
        "format": 3, "family": "vlae", "config": {"channels": 3, "levels": 256, **config},
        "pixels": {"channels": 3, "levels": 256}, "known_answers": ["0"] * 6, "card": {},
    }  # fmt: skip
    return parse_codec(pack_file(about, {name: one.numpy() for name, one in tensors.items()}), "bomb")


@pytest.fixture
def no_backend(monkeypatch):
    """Nothing is built or computed."""

    def refuse(*_):
        raise AssertionError("a codec over the limits was built")

    monkeypatch.setattr(codec_file, "_backends", refuse)


@pytest.mark.usefixtures("no_backend")
@pytest.mark.parametrize("sizes", [{"hidden": 60, "layers": 30}, {"hidden": 1, "layers": 255}])
def test_a_bomb_is_refused_before_it_is_built(sizes):
    """One of many weights, and one of many layers. Where it takes more bytes, or more is allowed, it would be built."""
    source = CodecSource.of(bomb(**sizes), FEW_BYTES)
    with pytest.raises(LimitExceeded, match="--max-work"):
        CodecPool([source], "cpu").codec(source)
    for limits, stored_bytes in ((Limits(work=10**13), FEW_BYTES), (Limits(), 2**22)):
        source = CodecSource.of(bomb(**sizes), stored_bytes)
        with pytest.raises(AssertionError, match="was built"):
            CodecPool([source], "cpu", limits=limits).codec(source)


@pytest.mark.usefixtures("no_backend")
def test_memory_is_limited_too(contents):
    source = CodecSource.of(parse_codec(contents["grey"], "mine"), len(contents["grey"]))
    with pytest.raises(LimitExceeded, match="--max-memory"):
        CodecPool([source], "cpu", limits=Limits(memory=2**20)).codec(source)


def test_a_codec_that_the_user_chose_has_no_limits(contents):
    source = CodecSource.of(parse_codec(contents["grey"], "mine"))
    assert CodecPool([source], "cpu", limits=Limits(memory=0, work=0)).codec(source) is not None


@pytest.mark.parametrize("codec", shipped_codecs(), ids=lambda codec: codec.name)
def test_real_codecs_are_far_below_the_limits(codec):
    """As if they lay in an archive, where they take some half of their bytes."""
    cost = cost_of(StoredCodec.read(codec))
    assert 2 * cost.multiply_adds < Limits().work_for(len(codec.content) // 2) * 1.5
    assert 4 * cost.memory < Limits().memory


def test_dense_layers_count_once_an_image():
    fast = next(codec for codec in shipped_codecs() if codec.family == "vae")
    weights = sum(tensor.size for tensor in StoredCodec.read(fast).tensors.values())
    assert 4 * 81 * weights < cost_of(StoredCodec.read(fast)).multiply_adds < 8 * 10432 * weights


def test_a_config_makes_no_more_weights_than_its_file_has(contents):
    """The others are refused before memory is taken for them."""
    huge = edited_codec_file(contents["grey"], config={"hidden": 200, "inner": 200, "layers": 200})
    with pytest.raises(BadCodecFile, match="larger model"):
        load_codec(huge, "cpu")
    with weights_allowed(10), pytest.raises(ValueError, match="larger model"):
        Vlae(CONFIGS["grey"])
    Vlae(CONFIGS["grey"])


def test_numbers_of_a_header_may_be_infinite(contents):
    for pixels in ({"channels": 1e999}, {"levels": float("-inf")}, {"levels": float("nan")}):
        with pytest.raises(BadCodecFile):
            load_codec(edited_codec_file(contents["grey"], pixels=pixels), "cpu")


def test_counting_needs_no_torch():
    lines = "import sys, bbcodec.codec.cost; print('torch' in sys.modules)"
    found = subprocess.run([sys.executable, "-c", lines], capture_output=True, text=True, check=True)
    assert found.stdout.strip() == "False"
