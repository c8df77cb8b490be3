"""The VLAE in compiled code: the messages of the network, bit for bit, without PyTorch."""

from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, replace

import numpy as np
import pytest
import torch
from tiny_models import CONFIGS, edited_codec_file, pictures, pixel_format, tensors_of

from bbcodec.codec.catalogue import parse_codec
from bbcodec.codec.engine_backend import EngineBackend, runs_without_torch
from bbcodec.codec.file import load_codec, save_codec
from bbcodec.codec.known_answers import answers
from bbcodec.codec.stored import StoredCodec
from bbcodec.codec.torch_backend import TorchBackend
from bbcodec.errors import BadCodecFile
from bbcodec.exact.layers import exact_layers
from bbcodec.models import vlae_engine
from bbcodec.models.pixel_nets import embed_binary, embed_levels
from bbcodec.models.vlae import Vlae
from bbcodec.models.vlae_engine import INSIDE, LEVELS, engine

KINDS = ["grey", "RGB", "joint"]
SIZES = {"inner": 6, "layers": 2, "between": 1, "latent_channels": 0}


def content_of(kind: str, **changes: int) -> bytes:
    torch.manual_seed(0)
    model = Vlae(replace(CONFIGS[kind], **{**SIZES, **changes})).eval()
    with torch.no_grad():
        for layer in exact_layers(model).values():
            layer.bias += 0.3 * torch.randn_like(layer.bias)
    return save_codec(model, "vlae", model.config, pixel_format(kind), {})


@pytest.fixture(scope="module")
def contents():
    return {kind: content_of(kind) for kind in KINDS}


@pytest.fixture(scope="module")
def pairs(contents):
    """Each codec on the engine, and on its network."""
    return {kind: [load_codec(one, "cpu", engine) for engine in (True, False)] for kind, one in contents.items()}


def test_pixels_are_seen_as_the_network_sees_them():
    for levels, embed in ((2, embed_binary), (256, embed_levels)):
        values = embed(torch.arange(float(levels)).view(1, 1, 1, levels))[0, :, 0].numpy()
        assert np.array_equal(values[0], LEVELS[levels])
        assert set(values[1]) == {INSIDE}


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize(("shape", "lanes"), [((1, 1, 1), 1), ((3, 9, 7), 1), ((40, 5, 8), 1), ((1, 250, 270), 16)])
def test_messages_are_those_of_the_network(pairs, kind, shape, lanes):
    """And so are the bits that images are said to take. Each reads what the other wrote."""
    compiled, network = pairs[kind]
    assert isinstance(compiled.backend, EngineBackend)
    assert isinstance(network.backend, TorchBackend)
    images = pictures(kind, *shape)
    assert compiled.lanes(images.shape) == network.lanes(images.shape) == lanes
    bits = [np.zeros(len(images)) for _ in range(2)]
    messages = [codec.encode_message(images, each) for codec, each in zip((compiled, network), bits, strict=True)]
    assert messages[0] == messages[1]
    assert np.array_equal(*bits)
    assert bits[0].sum() == pytest.approx(8 * len(messages[0]), abs=64 * lanes + 40)
    for codec in (compiled, network):
        assert np.array_equal(codec.decode_message(messages[0], *images.shape[:3]), images)


@pytest.mark.parametrize("changes", [{"between": 0}, {"layers": 1, "radius": 3}, {"inner": 17, "hidden": 24}])
def test_any_sizes_have_the_same_answers(changes):
    content = content_of("RGB", **changes)
    found = [load_codec(content, "cpu", engine) for engine in (True, False)]
    assert [type(codec.backend) for codec in found] == [EngineBackend, TorchBackend]
    assert answers(found[0].backend, found[0].pixels) == answers(found[1].backend, found[1].pixels)


def test_threads_may_share_a_codec(pairs):
    codec = pairs["RGB"][0]
    assert codec.concurrent
    batches = [pictures("RGB", 3, 20 + n, 30, n) for n in range(8)]
    with ThreadPoolExecutor(4) as threads:
        messages = list(threads.map(codec.encode, batches))
        assert messages == [codec.encode(images) for images in batches]
        assert all(map(np.array_equal, threads.map(codec.decode, messages), batches))


def test_which_codecs_need_no_torch(contents):
    """Those that have an engine, on the CPU."""
    assert [runs_without_torch(contents["RGB"], device) for device in ("auto", "cpu", "cuda")] == [True, True, False]
    assert not runs_without_torch(edited_codec_file(contents["RGB"], format=1), "cpu")


def test_an_engine_that_is_wrong_is_not_used(contents, pairs, monkeypatch):
    """The network takes over."""
    monkeypatch.setattr(vlae_engine, "INSIDE", INSIDE + 1)
    codec = load_codec(contents["RGB"], "cpu")
    assert isinstance(codec.backend, TorchBackend)
    assert not codec.safe
    images = pictures("RGB", 2, 9, 9)
    assert codec.encode(images) == pairs["RGB"][0].encode(images)


def test_an_engine_that_runs_out_of_bits_is_not_used(contents, monkeypatch):
    real = EngineBackend.decode
    monkeypatch.setattr(EngineBackend, "decode", lambda self, stack, shape: real(self, type(stack)(stack.lanes), shape))
    assert isinstance(load_codec(contents["RGB"], "cpu").backend, TorchBackend)


def test_tensors_that_cannot_be_are_refused(contents):
    """As the network refuses them."""
    content = contents["grey"]
    tensors = tensors_of(content)
    stem, spatial = tensors["local.stem.weight"], tensors["local.blocks.0.spatial.weight"]
    shift, bias = tensors["local.neck.shift"], tensors["local.neck.bias"]
    changes = {
        "extra": stem.clone(),
        "local.extra": stem.clone(),
        "local.stem.weight": stem[:, :, 1:].contiguous(),
        "local.blocks.0.spatial.weight": torch.full_like(spatial, -128),
        "local.neck.shift": torch.zeros_like(shift),
        "local.neck.bias": torch.full_like(bias, 2**24),
    }
    stored = StoredCodec.read(parse_codec(content, "codec"))
    for name, tensor in changes.items():
        with pytest.raises(ValueError, match=r"."):
            engine(stored.config, {**stored.tensors, name: tensor.numpy()})
        with pytest.raises(BadCodecFile):
            load_codec(edited_codec_file(content, {**tensors, name: tensor}), "cpu")
    less = {name: tensor for name, tensor in stored.tensors.items() if name != "local.head.bias"}
    with pytest.raises((KeyError, ValueError)):
        engine(stored.config, less)
    with pytest.raises(TypeError):
        engine({**asdict(CONFIGS["grey"]), "unknown": 1}, stored.tensors)


@pytest.mark.parametrize("kind", KINDS)
def test_images_may_be_read_only(pairs, kind):
    """As Pillow gives them; for the engine, arrays in the order that it wants are not copied."""
    codec, images = pairs[kind][0], pictures(kind, 1, 9, 7)
    wanted = codec.encode(images)
    images.flags.writeable = False
    assert codec.encode(images) == wanted
