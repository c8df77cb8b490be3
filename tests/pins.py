"""What tests of pinned bytes share: how digests are compared, how archives are looked into, and small models."""

import os
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from hashlib import blake2b
from importlib.metadata import entry_points
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import reference_reader
import torch

from bbcodec.archive.write import candidates
from bbcodec.codec.codec import PixelFormat
from bbcodec.codec.file import save_codec

FORMS = ("folder", "link", "bytes", "arrays", "png", "webp", "raw", "jpeg", "segments")
KINDS = ("", "L1", "L2", "L4", "L8", "L16", "LA8", "RGB8", "RGBA8", "P1", "P2", "P4", "P8", "RGB16", "RGBA16")
CODINGS = ("original", "webp", "png", "jpegxl", "lzma", "lzma-planar", "lepton", "predicted")
WAYS = {0: "", 1: " split", 2: " colours", 3: " colours split", 4: " black and white", 8: " zero and one"}


@contextmanager
def without_predicted() -> Iterator[None]:
    """Compress without `predicted`, which would leave nothing of small and simple images to other codings."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(candidates, "CODINGS", tuple(one for one in candidates.CODINGS if one.name != "predicted"))
        yield


def check_digests(name: str, contents: list[bytes], expected: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    found = [blake2b(content, digest_size=16).hexdigest() for content in contents]
    if os.environ.get("PRINT_PINS"):
        with capsys.disabled():
            print(f"\n{name}:", *found)
        pytest.skip("printed, not compared")
    assert found == expected, f"{name}: the bytes are not what they were"


def stored_as(archive: reference_reader.Archive, entry: reference_reader.Entry) -> tuple[str, str]:
    """How a file is stored: its form, kind and way, and the codings of its pieces; and the first of these alone."""
    codings = []
    for place in entry.places[entry.skeleton :]:
        if place.type == "S":
            coding = archive.chunk("S", place.start).read(9)[8]  # after the digest
            codings.append(f"sheet {CODINGS[coding]}")
        else:
            codings.append("learned" if place.type == "L" else CODINGS[place.coding])
    form = f"{FORMS[entry.form]} {KINDS[entry.kind]}".strip() + (WAYS[entry.way] if entry.kind else "")
    return f"{form}: {' + '.join(codings)}".removesuffix(": "), codings[0].split()[0] if codings else "original"


# --- models ----------------------------------------------------------------------------------------------------------


def built(family: str, config: dict[str, Any]) -> Any:
    """A model of a family from its config, as codec files have it."""
    (entry,) = entry_points(group="bbcodec.families", name=family)
    return entry.load().build({"channels": 1, "levels": 256, **config})


def filled(model: Any) -> Any:
    """The model with weights that depend on their names alone, multiples of powers of two."""
    with torch.no_grad():
        for name, weight in model.named_parameters():
            if weight.dim() == 0:
                weight.fill_(1)  # the auxiliary prior of a delta-VAE is chosen
                continue
            fan_in = weight[0].numel() if weight.dim() > 1 else 4
            numbers = np.random.default_rng(zlib.crc32(name.encode())).integers(-64, 65, weight.shape)
            weight.copy_(torch.from_numpy(numbers) / 2 ** (5 + fan_in.bit_length() // 2))
    return model


def codec_file(family: str, model: Any) -> bytes:
    """The content of the codec file of a model."""
    config = model.config
    return save_codec(model, family, config, PixelFormat(config.channels, config.levels), {"about": "a test"})


TINY_VLAE = {"hidden": 8, "layers": 1, "inner": 7, "radius": 2, "components": 2, "latent_channels": 2,
             "latent_stride": 4, "context_stride": 2, "width": 8, "blocks": 1, "prior_hidden": 8,
             "prior_layers": 1}  # fmt: skip


def echo_codec(top: Path) -> Path:
    """The codec of `echoes`, a user's own: all its weights are 0 but one, at the pixel two rows up and one left."""
    model = built("vlae", {**TINY_VLAE, "levels": 2})
    with torch.no_grad():
        for weight in model.parameters():
            weight.zero_()
        dict(model.named_parameters())["local.skip.weight"][0, 0, 0, 1] = 1  # 2 nats: 7 to 1
    path = top / "echo.bbc"
    path.write_bytes(codec_file("vlae", model))
    return path


def grey_echo_codec(top: Path) -> Path:
    """The same for grey pixels, of a family that needs PyTorch: each is about what that pixel is."""
    sizes = {"hidden": 4, "layers": 1, "attentions": 0, "radius": 2, "components": 1, "latent_channels": 0}
    model = built("delta-vae", sizes)
    with torch.no_grad():
        for weight in model.parameters():
            weight.zero_()
        model.local.skip.weight[1, 0, 0, 1] = 4  # means are in 1/32 of a level, what the net sees in 1/8
        model.local.head.bias[2] = -1  # half nats: scales of 0.6 levels
    path = top / "grey echo.bbc"
    path.write_bytes(codec_file("delta-vae", model))
    return path


CODECS = {"echo": echo_codec, "grey echo": grey_echo_codec}
