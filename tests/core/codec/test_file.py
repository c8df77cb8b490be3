"""Codec files: whole, or refused."""

from importlib.resources import files

import numpy as np
import pytest
import torch
from tiny_models import CARD, CONFIGS, KINDS, edited_codec_file, pictures, pixel_format, tensors_of, tiny

from bbcodec.codec.catalogue import shipped_codecs
from bbcodec.codec.file import load_codec, save_codec
from bbcodec.errors import BadCodecFile, MissingCodec
from bbcodec.exact.layers import exact_layers
from bbcodec.exact.masked_conv import MaskedConv


@pytest.mark.parametrize("kind", KINDS)
def test_files_hold_the_whole_codec(contents, codecs, kind, tmp_path):
    """By bytes, by path; the weights in memory give the same messages as those that were saved."""
    images = pictures(kind, 6, 9, 9)
    expected = codecs[kind].encode(images)
    path = tmp_path / "mine.bbc"
    path.write_bytes(contents[kind])
    for source in (path, str(path), contents[kind]):
        codec = load_codec(source, device="cpu")
        assert codec.encode(images) == expected
        assert codec.digest == codecs[kind].digest
        assert codec.card == CARD
        assert codec.pixels == pixel_format(kind)
        assert codec.file_bytes == len(contents[kind])
        assert codec.concurrent or not codec.safe  # on the engine, or on the fast path of the network
    assert load_codec(path, "cpu").name == "mine"
    network = load_codec(path, "cpu", engine=False)
    assert network.encode(images) == expected
    again = save_codec(network.backend.model, "vlae", CONFIGS[kind], pixel_format(kind), CARD)
    assert again == contents[kind]


def test_what_is_coded_is_what_was_learnt(contents):
    """The integers of the file, read back, evaluate as the real weights did when training rounded them."""
    learnt = tiny("grey")
    coded = load_codec(contents["grey"], "cpu", engine=False).backend.model
    x = torch.randint(0, 256, (2, 1, 9, 9)).float()
    with torch.no_grad():
        for one, other in zip(learnt.posterior(x).parameters(), coded.posterior(x).parameters(), strict=True):
            assert torch.equal(one, other)
        z = learnt.posterior(x).rsample()
        params = [model.likelihood(z, x.shape).in_parallel(x) for model in (learnt, coded)]
    assert torch.equal(*params)


def test_the_digest_names_the_content(contents, codecs):
    other = load_codec(edited_codec_file(contents["grey"], card={"data": "other"}), "cpu")
    assert other.digest != codecs["grey"].digest
    assert len(other.digest) == 32


def broken_files(content):
    """A name, and a file that is not a whole codec."""
    tensors = tensors_of(content)
    weight = next(name for name, tensor in tensors.items() if tensor.dtype == torch.int16)
    layer = weight.removesuffix("weight")
    w, b, s = (tensors[layer + part] for part in ("weight", "bias", "shift"))
    one = torch.zeros_like(w)
    one.view(-1)[0] = 2048  # within the bound of the sum
    several = {
        "a weight over 2047": {weight: one, layer + "bias": torch.zeros_like(b)},
        "weights that break the bound": {weight: torch.full_like(w, 2047)},
        "the least int16": {weight: torch.full_like(w, -(2**15))},
        "a bias that breaks the bound": {layer + "bias": torch.full_like(b, 2**24)},
        "the least int32": {layer + "bias": torch.full_like(b, -(2**31))},
        "a shift out of bounds": {layer + "shift": torch.full_like(s, 100)},
        "fractions": {weight: w.float() + 0.5},
        "float weights": {weight: w.float()},
        "another shape of weights": {weight: w[:, :-1].contiguous()},
        "another shape of biases": {layer + "bias": b[:-1].contiguous()},
        "another shape of shifts": {layer + "shift": s[None]},
        "an extra tensor": {"extra": w.clone()},
    }
    yield from ((name, edited_codec_file(content, {**tensors, **changes})) for name, changes in several.items())
    masked = next(name for name, part in exact_layers(tiny("grey")).items() if isinstance(part, MaskedConv))
    taps = tensors[f"{masked}.weight"]
    yield "fewer taps", edited_codec_file(content, {**tensors, f"{masked}.weight": taps[..., :-1].contiguous()})
    for name in (weight, layer + "bias", layer + "shift"):
        yield f"no {name}", edited_codec_file(content, {k: v for k, v in tensors.items() if k != name})
    configs = {
        "an unknown key": {"colour": 1},
        "no number": {"hidden": "8"},
        "a fraction": {"latent_stride": 4.0},
        "a negative size": {"hidden": -1},
        "no radius": {"radius": 0},
        "latents away": {"latent_channels": 0},
        "no stride": {"context_stride": 0},
        "a huge net": {"layers": 10**9},
        "another net": {"hidden": 12},
        "a grid that cannot be": {"steps_per_unit": 7},
        "components that cannot be": {"components": 0},
        "too many components": {"components": 33},
    }
    yield from ((name, edited_codec_file(content, config=changes)) for name, changes in configs.items())
    yield "no config", edited_codec_file(content, config=5)
    yield "pixels of another model", edited_codec_file(content, pixels={"channels": 3})
    yield "levels of another model", edited_codec_file(content, pixels={"levels": 2})
    yield "unknown family", edited_codec_file(content, family="pixelcnn")
    yield "unknown version", edited_codec_file(content, format=4)
    yield "no version", edited_codec_file(content, format=None)
    yield "no known answers", edited_codec_file(content, known_answers=None)
    for length in (0, 7, 8, 200, len(content) // 2, len(content) - 1):
        yield f"cut to {length}", content[:length]
    yield "a tail", content + b"\0"
    yield "not a codec at all", b"\x89PNG\r\n\x1a\n" + bytes(1000)
    yield "a huge header", content[:4] + (2**32 - 1).to_bytes(4, "little") + content[8:]


def test_broken_files_are_refused(contents):
    """All as BadCodecFile, whose message is one line."""
    wrong = {}
    for name, content in broken_files(contents["grey"]):
        try:
            load_codec(content, "cpu")
        except BadCodecFile as error:
            if "\n" in str(error):
                wrong[name] = "more than a line"
        except Exception as error:
            wrong[name] = type(error).__name__
        else:
            wrong[name] = "loaded"
    assert wrong == {}


def test_saving_refuses_what_breaks_the_bound(monkeypatch):
    model = tiny("grey")
    layer = next(iter(exact_layers(model).values()))
    monkeypatch.setattr(layer, "scales", lambda weight, bias: torch.full_like(bias, 2.0**14))
    with pytest.raises(BadCodecFile, match="bound"):
        save_codec(model, "vlae", CONFIGS["grey"], pixel_format("grey"), {})


def test_missing_codecs(tmp_path):
    for name in ("no-such-codec", tmp_path / "none.bbc"):
        with pytest.raises(MissingCodec):
            load_codec(name)


@pytest.mark.parametrize("name", [codec.name for codec in shipped_codecs()])
def test_shipped_codecs(name):
    """They load and pass their test, are small, have a card, and code."""
    codec = load_codec(name, "cpu")
    assert codec.file_bytes <= 2 * 2**20
    card = (files("bbcodec.models") / "zoo" / f"{name}.md").read_text(encoding="utf-8")
    assert card.startswith(f"# {name}\n")
    assert codec.card["data"] in card
    assert 0 < codec.card["bits_per_dim"] < 8
    assert codec.concurrent or not codec.safe  # on the engine, or on the fast path of the network
    rng = np.random.default_rng(0)
    images = rng.integers(0, codec.pixels.levels, (3, 28, 28, codec.pixels.channels), dtype=np.uint8)
    assert np.array_equal(codec.decode(codec.encode(images)), images)
