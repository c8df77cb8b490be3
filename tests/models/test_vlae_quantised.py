"""A VLAE whose local decoder is the 8-bit net: as a codec, and as a run trains it."""

from dataclasses import asdict, replace

import numpy as np
import pytest
import torch
from tiny_models import CONFIGS, KINDS, pictures, pixel_format, tensor

from bbcodec.codec.file import load_codec, save_codec
from bbcodec.exact.local_net import LocalNet
from bbcodec.model.interpreters import elbo
from bbcodec.models import fused_blocks
from bbcodec.models.vlae import FAMILY, Vlae

INNER = {"inner": 6, "layers": 2, "between": 1}


def quantised(name: str, **changes: int) -> Vlae:
    torch.manual_seed(0)
    return Vlae(replace(CONFIGS[name], **INNER, **changes)).eval()


def test_blocks_look_around_and_then_at_their_pixel():
    model = quantised("RGB")
    assert isinstance(model.local, LocalNet)
    assert [block.spatial.radius for block in model.local.blocks] == [1, 0, 1, 0]
    assert model.local.blocks[0].spatial.weight.shape[:2] == (6, 8)
    assert isinstance(FAMILY.build(asdict(model.config)).local, LocalNet)


@pytest.mark.parametrize("name", KINDS)
def test_images_come_back_from_a_codec_file(name):
    model = quantised(name)
    codec = load_codec(save_codec(model, "vlae", model.config, pixel_format(name), {}), "cpu")
    images = pictures(name, 3, 9, 7)
    assert np.array_equal(codec.decode(codec.encode(images)), images)


@pytest.mark.parametrize("narrow", [torch.float32, torch.bfloat16])
def test_a_model_sped_up_learns_nearly_the_same(monkeypatch, narrow):
    monkeypatch.setattr(fused_blocks, "product_type", lambda: narrow)
    model = quantised("RGB", latent_channels=0)
    x = tensor(pictures("RGB", 2, 16, 16))
    losses = []
    for _ in range(2):
        loss = -sum(nats.sum() for nats in elbo(model, x, torch.Generator().manual_seed(0)).values())
        loss.backward()
        losses.append(loss.item())
        model.compile_for_training()
    assert losses[0] == pytest.approx(losses[1], rel=0.02 if narrow == torch.bfloat16 else 1e-4)
    assert "forward" in vars(model.local)
