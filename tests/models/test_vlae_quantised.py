"""A VLAE whose local decoder is the 8-bit net: as a codec, and as a run trains it."""

from dataclasses import asdict, replace

import numpy as np
import pytest
import torch
from tiny_models import CONFIGS, KINDS, pictures, pixel_format, tensor

from bbcodec.codec.file import load_codec, save_codec
from bbcodec.engine.local_net import packed
from bbcodec.exact.local_net import QuantisedLocalNet
from bbcodec.model.interpreters import elbo
from bbcodec.models import fused_blocks
from bbcodec.models.vlae import FAMILY, Vlae

INNER = {"inner": 6, "layers": 2, "between": 1}


def quantised(name: str, **changes: int) -> Vlae:
    torch.manual_seed(0)
    return Vlae(replace(CONFIGS[name], **INNER, **changes)).eval()


def test_blocks_look_around_and_then_at_their_pixel():
    model = quantised("RGB")
    assert isinstance(model.local, QuantisedLocalNet)
    assert [block.spatial.radius for block in model.local.blocks] == [1, 0, 1, 0]
    assert model.local.blocks[0].spatial.weight.shape[:2] == (6, 8)
    assert isinstance(FAMILY.build(asdict(model.config)).local, QuantisedLocalNet)


@pytest.mark.parametrize("name", KINDS)
def test_images_come_back_from_a_codec_file(name):
    model = quantised(name)
    codec = load_codec(save_codec(model, "vlae", model.config, pixel_format(name), {}), "cpu")
    images = pictures(name, 3, 9, 7)
    assert np.array_equal(codec.decode(codec.encode(images)), images)


@pytest.mark.skipif(not fused_blocks.available(), reason="this CPU has no fast bfloat16")
def test_a_model_sped_up_learns_nearly_the_same():
    model = quantised("RGB", latent_channels=0)
    x = tensor(pictures("RGB", 2, 16, 16))
    losses = []
    for _ in range(2):
        loss = -sum(nats.sum() for nats in elbo(model, x, torch.Generator().manual_seed(0)).values())
        loss.backward()
        losses.append(loss.item())
        model.compile_for_training()
    assert losses[0] == pytest.approx(losses[1], rel=0.02)
    assert losses[0] != losses[1]


@pytest.mark.parametrize("latents", [0, 2])
@pytest.mark.parametrize("shape", [(3, 9, 7), (1, 250, 270)])  # one head, and sixteen
def test_the_engine_writes_the_messages_of_torch(shape, latents):
    model = quantised("RGB", latent_channels=latents)
    codec = load_codec(save_codec(model, "vlae", model.config, pixel_format("RGB"), {}), "cpu")
    assert codec.compiled
    images = pictures("RGB", *shape)
    assert codec.lanes(images.shape) == (1 if shape[0] == 3 else 16)
    messages, costs = [], []
    for compiled in (True, False):
        codec.set_compiled(compiled)
        bits = np.zeros(len(images))
        messages.append(codec.encode_message(images, bits))
        costs.append(bits)
    assert messages[0] == messages[1]
    assert np.array_equal(*costs)
    if not latents:  # with them, there are initial bits
        assert bits.sum() == pytest.approx(8 * len(messages[0]), abs=64 * 16 + 40)
    for compiled in (True, False):
        codec.set_compiled(compiled)
        assert np.array_equal(codec.decode_message(messages[0], *images.shape[:3]), images)


def test_an_engine_that_disagrees_is_not_used(monkeypatch):
    model = quantised("RGB", latent_channels=0)
    content = save_codec(model, "vlae", model.config, pixel_format("RGB"), {})
    monkeypatch.setattr("bbcodec.models.vlae.packed", lambda net, embedding, inside: packed(net, embedding, inside + 1))
    assert not load_codec(content, "cpu").compiled
