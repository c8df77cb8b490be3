"""VLAEs small enough for tests, none of whose parts is idle; their codec files; images; and stacks of random words."""

import json
from dataclasses import replace
from typing import Any

import numpy as np
import torch

from bbcodec.binary import deflate
from bbcodec.codec.catalogue import MAGIC, parse_codec, split_codec
from bbcodec.codec.codec import PixelFormat
from bbcodec.codec.file import save_codec
from bbcodec.codec.stored import StoredCodec, pack_file
from bbcodec.coder.ans import AnsStack
from bbcodec.exact.layers import exact_layers
from bbcodec.models.vlae import Vlae
from bbcodec.models.vlae_config import VlaeConfig

SIZES = {
    "hidden": 8,
    "inner": 8,
    "layers": 1,
    "radius": 1,
    "components": 2,
    "latent_channels": 2,
    "latent_stride": 4,
    "context_stride": 2,
    "width": 8,
    "blocks": 1,
    "prior_hidden": 8,
    "prior_layers": 1,
}
CONFIGS = {
    "binary": VlaeConfig(channels=1, levels=2, **SIZES),
    "grey": VlaeConfig(channels=1, levels=256, **SIZES),
    "RGB": VlaeConfig(channels=3, levels=256, **SIZES),
    "joint": VlaeConfig(channels=3, levels=256, joint=True, **SIZES),
}
KINDS = list(CONFIGS)
CARD = {"bits_per_dim": 1.5, "data": "none"}


def pixel_format(kind: str) -> PixelFormat:
    return PixelFormat(CONFIGS[kind].channels, CONFIGS[kind].levels)


def tiny(kind: str, seed: int = 0) -> Vlae:
    """An untrained model, but with random biases and linear paths, so that every weight has something to say."""
    torch.manual_seed(seed)
    model = Vlae(CONFIGS[kind])
    with torch.no_grad():
        for layer in exact_layers(model).values():
            layer.bias += 0.3 * torch.randn_like(layer.bias)
            if not layer.weight.any():  # linear paths that start from nothing
                layer.weight.normal_(0, 0.1)
    return model.eval()


def tiny_codec_file(kind: str) -> bytes:
    return save_codec(tiny(kind), "vlae", CONFIGS[kind], pixel_format(kind), CARD)


def deep_codec_file() -> bytes:
    """A codec for grey images of 16 bits, untrained."""
    torch.manual_seed(0)
    config = replace(CONFIGS["grey"], inner=6, layers=2, between=1, latent_channels=0)
    return save_codec(Vlae(config).eval(), "vlae", config, PixelFormat(1, 65536), {})


def header_of(content: bytes) -> dict[str, Any]:
    """The header of a codec file."""
    return split_codec(content)[0]


def tensors_of(content: bytes) -> dict[str, torch.Tensor]:
    """The tensors of a codec file."""
    stored = StoredCodec.read(parse_codec(content, "codec"))
    return {name: torch.from_numpy(tensor.copy()) for name, tensor in stored.tensors.items()}


def edited_codec_file(content: bytes, tensors: dict[str, torch.Tensor] | None = None, **header: Any) -> bytes:
    """The file with other tensors or other entries of its header (those that are objects are merged).

    Tensors of types that the format does not have are zeros, under the names of these types.
    """
    about, message = split_codec(content)
    for key, value in header.items():
        about[key] = {**about.get(key, {}), **value} if isinstance(value, dict) else value
    if tensors is None:
        return with_message(about, message)
    others = {name: one for name, one in tensors.items() if one.dtype not in (torch.int8, torch.int16, torch.int32)}
    plain = {name: torch.zeros(one.shape, dtype=torch.int8) for name, one in others.items()}
    edited = pack_file(about, {name: one.numpy() for name, one in {**tensors, **plain}.items()})
    about, message = split_codec(edited)
    for layout in about["tensors"]:
        layout[1] = str(others[layout[0]].dtype) if layout[0] in others else layout[1]
    return with_message(about, message) if others else edited


def with_message(header: dict[str, Any], message: bytes) -> bytes:
    """A codec file of any header, before any message."""
    packed = deflate(json.dumps(header).encode())
    return MAGIC + len(packed).to_bytes(4, "little") + packed + message


def pictures(kind: str, count: int, height: int, width: int, seed: int = 0) -> np.ndarray:
    """Slopes with a little noise, (N, H, W, C) uint8."""
    config = CONFIGS[kind]
    rng = np.random.default_rng(seed)
    i, j = np.mgrid[:height, :width]
    slope = rng.uniform(-4, 4, (2, count, 1, 1, config.channels))
    x = 128 + slope[0] * i[..., None] + slope[1] * j[..., None] + rng.normal(0, 3, (count, height, width, 1))
    return (x > 128).astype(np.uint8) if config.levels == 2 else x.clip(0, 255).astype(np.uint8)


def tensor(images: np.ndarray) -> torch.Tensor:
    """(N, H, W, C) uint8 to (N, C, H, W) float32."""
    return torch.from_numpy(images.transpose(0, 3, 1, 2).astype(np.float32))


def random_stack(seed: int, lanes: int = 1, words: int = 4000) -> AnsStack:
    """A stack of random words that no message left behind."""
    rng = np.random.default_rng(seed)
    high = rng.integers(1, 2**31, lanes, dtype=np.uint32)
    return AnsStack.unflatten(np.concatenate([high, rng.integers(0, 2**32, lanes + words, dtype=np.uint32)]), lanes)
