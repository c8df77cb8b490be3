"""Codec files made to harm: refused before anything is computed with them, whatever the family and the backend."""

from dataclasses import asdict, replace

import numpy as np
import pytest
import torch
from tiny_models import CONFIGS, edited_codec_file, tensors_of

from bbcodec.codec.codec import PixelFormat
from bbcodec.codec.file import load_codec, save_codec
from bbcodec.errors import BadCodecFile
from bbcodec.exact.attention import EXP_ARRAY, weigh
from bbcodec.exact.fused import look_up
from bbcodec.models.families import find_family

CONFIG_OF = {
    "vlae": asdict(CONFIGS["grey"]),
    "vlae of 8 bits": asdict(replace(CONFIGS["grey"], inner=6)),
    "vae": {"height": 9, "width": 7, "hidden": 20, "latents": 5},
    "vamp": {
        "height": 9, "width": 6, "latents": 5, "components": 13, "hidden": 12, "features": 6, "local_layers": 1,
        "radius": 1, "decoder": "pixelcnn", "layers": 2,
    },
    "attentive": {
        "layers": 2, "latent_channels": 2, "latent_stride": 4, "width": 6, "key_channels": 3, "tile": 2, "hidden": 5,
        "local_layers": 1, "radius": 1, "components": 2,
    },
    "delta-vae": {
        "channels": 1, "hidden": 8, "layers": 2, "attentions": 1, "radius": 1, "components": 2, "heads": 2,
        "head_size": 4, "window": 20, "width": 8, "blocks": 1, "latent_channels": 2, "rows": 9, "auxiliary": 4,
    },
}  # fmt: skip
TYPES = (torch.int8, torch.uint8, torch.int16, torch.int32, torch.int64, torch.float32, torch.float64, torch.bool)


@pytest.fixture(scope="module", params=list(CONFIG_OF))
def content(request):
    """A codec file of each family, and of each kind of net."""
    torch.manual_seed(0)
    family = find_family(request.param.split()[0])
    config = family.config(**CONFIG_OF[request.param])
    model = family.model(config).eval()
    return save_codec(model, family.name, config, PixelFormat(config.channels, config.levels), {})


def test_every_tensor_has_the_type_of_the_format(content):
    """Each is refused full of the least int64, whose magnitude is negative there, and of some other type in turn."""
    tensors = tensors_of(content)
    for number, (name, tensor) in enumerate(tensors.items()):
        for kind in {torch.int64, TYPES[number % len(TYPES)]} - {tensor.dtype}:
            least = torch.iinfo(kind).min if not (kind.is_floating_point or kind == torch.bool) else -1
            bad = edited_codec_file(content, {**tensors, name: torch.full(tensor.shape, least, dtype=kind)})
            with pytest.raises(BadCodecFile, match=r"^[^\n]+$"):
                load_codec(bad, "cpu")


def test_every_tensor_has_the_shape_of_the_config(content):
    """A longer one, or one more axis, is refused: compiled code reads as many numbers as the config says."""
    tensors = tensors_of(content)
    for number, (name, tensor) in enumerate(tensors.items()):
        flat = tensor.flatten()
        bad = (torch.cat([tensor, tensor]), tensor[None], flat[:-1], flat[:0])[number % 4].contiguous()
        if bad.shape != tensor.shape:
            with pytest.raises(BadCodecFile):
                load_codec(edited_codec_file(content, {**tensors, name: bad}), "cpu")


def test_tables_are_looked_up_within_them():
    """By anything that a float holds, although sums that layers have checked are never such."""
    odd = np.array([[np.nan, np.inf, -np.inf, 3e38, -3e38, 0.5, 2047.4, -2048.4]], np.float32)
    table, out = np.arange(4096, dtype=np.float32), np.empty_like(odd)
    look_up(odd, table, out)
    assert out.tolist() == [[0, 4095, 0, 4095, 0, 2048, 4095, 0]]
    scores = np.array([[0.0, np.nan, -np.inf, np.inf]])
    weigh(scores, np.zeros(1, np.int64), np.full(1, 4, np.int64), 1.0, EXP_ARRAY, np.empty(1))
    assert set(scores.ravel()) <= set(EXP_ARRAY)
