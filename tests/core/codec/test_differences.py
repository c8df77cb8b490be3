"""Codec files that hold differences to a shipped codec."""

import json
from dataclasses import replace

import numpy as np
import pytest
import torch
from tiny_models import KINDS, edited_codec_file, header_of, pictures, tensors_of

from bbcodec.codec import stored
from bbcodec.codec.catalogue import parse_codec
from bbcodec.codec.cost import check_cost
from bbcodec.codec.engine_backend import runs_without_torch
from bbcodec.codec.file import load_codec, save_codec
from bbcodec.codec.stored import StoredCodec, as_difference
from bbcodec.codec.torch_backend import torch_of
from bbcodec.errors import BadCodecFile, LimitExceeded, MissingCodec
from bbcodec.exact.layers import exact_layers
from bbcodec.options import Limits


@pytest.fixture
def shipped(contents, monkeypatch):
    """The codecs of the tiny models as shipped ones."""
    codecs = {name: parse_codec(content, name, shipped=True) for name, content in contents.items()}
    monkeypatch.setattr(stored, "shipped_codecs", lambda: tuple(codecs.values()))
    return codecs


def changed(content: bytes) -> bytes:
    """The codec with some other weights."""
    codec = load_codec(content, "cpu", engine=False)
    model = torch_of(codec).model
    for layer in exact_layers(model).values():
        numbers = {name: one.clone() for name, one in layer.stored().items()}
        numbers["weight"].view(-1)[::7] //= 2
        numbers["bias"].view(-1)[0] += 3
        layer.load_stored(**numbers)
    return save_codec(model, "vlae", model.config, codec.pixels, {"data": "changed"})


@pytest.mark.parametrize("kind", KINDS)
def test_a_difference_is_the_codec(contents, shipped, kind):
    whole = changed(contents[kind])
    short = as_difference(whole, shipped[kind])
    assert len(short) < 0.8 * len(whole)
    ours, theirs = (StoredCodec.read(parse_codec(content, "c")) for content in (short, whole))
    assert ours.base is shipped[kind]
    assert theirs.base is None
    assert all(np.array_equal(ours.tensors[name], one) for name, one in theirs.tensors.items())
    assert replace(ours, tensors={}, base=None) == replace(theirs, tensors={})
    assert ours.pack() == short
    assert replace(ours, base=None).pack() == whole
    images = pictures(kind, 3, 9, 12)
    assert load_codec(short, "cpu").encode(images) == load_codec(whole, "cpu").encode(images)


def test_differences_wrap_around(contents, monkeypatch):
    """From the greatest number of a type to the least is one step."""
    tensors = tensors_of(contents["grey"])
    name = next(name for name, tensor in tensors.items() if tensor.dtype == torch.int16)
    first, last = (
        edited_codec_file(contents["grey"], {**tensors, name: tensors[name] * 0 + at}) for at in (32767, -32768)
    )
    base = parse_codec(first, "first", shipped=True)
    monkeypatch.setattr(stored, "shipped_codecs", lambda: (base,))
    short = as_difference(last, base)
    rows = {layout[0]: layout for layout in header_of(short)["tensors"]}
    assert rows[name][3:] == [0, 0]
    assert (StoredCodec.read(parse_codec(short, "c")).tensors[name] == -32768).all()


def test_a_difference_needs_a_codec_of_the_same_sizes(contents, shipped):
    with pytest.raises(BadCodecFile, match="has other tensors than the codec that it is a difference to"):
        as_difference(contents["joint"], shipped["grey"])


def test_a_difference_to_a_difference_is_refused(contents, shipped, monkeypatch):
    twice = parse_codec(as_difference(changed(contents["grey"]), shipped["grey"]), "twice", shipped=True)
    both = edited_codec_file(contents["grey"], base={"name": "twice", "digest": twice.digest.hex()})
    monkeypatch.setattr(stored, "shipped_codecs", lambda: (*shipped.values(), twice))
    with pytest.raises(BadCodecFile, match="difference to twice, which is one itself"):
        StoredCodec.read(parse_codec(both, "both"))


NO_BASES = [{}, {"name": "a"}, {"name": "a", "digest": "xyz"}, {"name": "a", "digest": 5}, [], None, "a"]


@pytest.mark.parametrize("base", NO_BASES)
def test_a_base_that_is_none_is_refused(contents, shipped, base):
    about = {**header_of(contents["grey"]), "base": base}
    assert json.dumps(about)
    with pytest.raises(BadCodecFile, match=r"^mine does not say what it is a difference to"):
        StoredCodec.read(parse_codec(edited_codec_file(contents["grey"], base=base), "mine"))


def test_a_base_that_is_not_here_is_named(contents, shipped):
    content = edited_codec_file(contents["grey"], base={"name": "photo-9", "digest": "ab" * 16})
    assert not runs_without_torch(content, "cpu")
    with pytest.raises(MissingCodec, match=r"^mine is a difference to the codec 'photo-9' \(digest abababab\.\.\.\)"):
        StoredCodec.read(parse_codec(content, "mine"))


def test_the_weights_of_the_base_do_not_count_as_a_bomb(contents, shipped, monkeypatch):
    whole, short = contents["RGB"], as_difference(contents["RGB"], shipped["RGB"])
    monkeypatch.setattr(Limits, "work_for", lambda _, size: np.inf if size >= len(whole) + len(short) else 0)
    check_cost(StoredCodec.read(parse_codec(short, "short")), len(short), Limits())
    with pytest.raises(LimitExceeded):
        check_cost(StoredCodec.read(parse_codec(whole, "whole")), len(short), Limits())
