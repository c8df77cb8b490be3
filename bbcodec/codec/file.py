"""Codec files (`.bbc`): trained models saved and loaded, as safetensors with a header (`docs/format.md`)."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from dataclasses import asdict
from importlib.metadata import entry_points
from typing import Any, Protocol

import torch
from safetensors import SafetensorError
from safetensors.torch import load as load_tensors
from safetensors.torch import save as save_tensors

from bbcodec.codec.catalogue import CodecFile, codec_header, find_codec, parse_codec
from bbcodec.codec.codec import Codec, PixelFormat
from bbcodec.codec.device import check_device, one_thread
from bbcodec.codec.known_answers import WRONG, answers, check_answers, engine_agrees
from bbcodec.errors import BadCodecFile, InexactArithmetic
from bbcodec.exact.layers import exact_parts, set_exact
from bbcodec.model.program import LatentModel

FORMAT = 1  # version of codec files
FAMILIES = "bbcodec.families"  # entry points: each loads one object, a family


class ModelFamily(Protocol):
    """What loading a codec needs of a model family; training needs more (`bbcodec.models.families.Family`)."""

    def build(self, config: Mapping[str, Any], /) -> LatentModel:
        """A model from the config in a codec file. Raises TypeError or ValueError for what cannot be."""


def find_family(name: str) -> ModelFamily:
    """The installed family of this name. Raises BadCodecFile if there is none."""
    for entry in entry_points(group=FAMILIES, name=name):
        family: ModelFamily = entry.load()
        return family
    raise BadCodecFile(f"the codec is of family {name!r}, which is not installed")


def save_codec(model: LatentModel, family_name: str, config: Any, pixels: PixelFormat, card: dict[str, Any]) -> bytes:
    """The content of a `.bbc` file; freezes the model's layers, checks them against their bounds, and tests them.

    config: the family's frozen dataclass, with `channels` and `levels`. The known answers are those of the safe path.
    Raises BadCodecFile if a bound is broken, InexactArithmetic if not even the safe path restores the images.
    """
    set_exact(model, True)
    tensors = {}
    for name, part in exact_parts(model).items():
        part.freeze()
        tensors.update({f"{name}.{key}": value.contiguous() for key, value in part.stored().items()})
    about = {"format": FORMAT, "family": family_name, "config": asdict(config), "pixels": asdict(pixels)}
    blank = CodecFile("new", b"", family_name, pixels.channels, pixels.levels, b"")
    codec = Codec(model, pixels, blank, torch.device("cpu"))
    codec.set_safe(True)
    known = answers(codec)
    codec.set_safe(False)
    if WRONG in known:
        raise InexactArithmetic("the codec does not restore its test images, not even on the safe path")
    text = json.dumps({**about, "known_answers": known, "card": card}, sort_keys=True)
    content: bytes = save_tensors(tensors, {"bbcodec": text})
    return content


def load_codec(source: str | os.PathLike[str] | bytes, device: str = "auto") -> Codec:
    """A codec by shipped name, by path, or from the bytes of its file, after a known-answer test on the device.

    device: `cpu`, `cuda`, or `auto`: CUDA where there is one. Raises MissingCodec, BadCodecFile, InexactArithmetic, and
    InputError where there is no such device.
    """
    about = parse_codec(source, "codec") if isinstance(source, bytes) else find_codec(source)
    check_device(device)
    place = torch.device(("cuda" if torch.cuda.is_available() else "cpu") if device == "auto" else device)
    header = codec_header(about.content)
    if header.get("format") != FORMAT:
        raise BadCodecFile(f"{about.name} is a codec file of version {header.get('format')}, expected {FORMAT}")
    try:
        model = find_family(about.family).build(header["config"]).to(place)
        if (header["config"]["channels"], header["config"]["levels"]) != (about.channels, about.levels):
            raise ValueError(f"{about.channels} channels of {about.levels} levels are not those of its model")
        tensors = load_tensors(about.content)
        for name, part in exact_parts(model).items():
            part.load_stored(**{key: tensors.pop(f"{name}.{key}") for key in part.stored_names})
        expected = list(header["known_answers"])
    except (KeyError, TypeError, ValueError, SafetensorError) as error:
        raise BadCodecFile(f"{about.name} is not a valid codec file: {type(error).__name__}, {error}") from None
    if tensors:
        raise BadCodecFile(f"{about.name} holds tensors that its model does not have, such as {min(tensors)}")
    codec = Codec(model, PixelFormat(about.channels, about.levels), about, place)
    with one_thread():
        check_answers(codec, expected)
        if model.has_engine and place.type == "cpu" and not codec.safe:
            codec.set_compiled(engine_agrees(codec))
    return codec
