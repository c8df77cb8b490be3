"""What is in a codec file (`.bbc`): a safetensors file with a header (`docs/format.md`)."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass, replace
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray
from safetensors import SafetensorError
from safetensors.numpy import load as load_tensors
from safetensors.numpy import save as save_tensors

from bbcodec.codec.catalogue import CodecFile, codec_header, parse_codec
from bbcodec.codec.codec import PixelFormat
from bbcodec.errors import BadCodecFile

FORMAT: Final = 2  # version of codec files

Tensors = dict[str, NDArray[Any]]  # whole numbers by name


@dataclass(frozen=True)
class StoredCodec:
    """The content of a codec file. name: for error messages; config: the sizes of the family's model."""

    name: str
    family: str
    config: dict[str, Any]
    pixels: PixelFormat
    known_answers: list[str]
    card: dict[str, Any]
    tensors: Tensors

    @classmethod
    def read(cls, file: CodecFile) -> StoredCodec:
        """What a file holds. Raises BadCodecFile for what cannot be a codec."""
        header = codec_header(file.content)
        if header.get("format") != FORMAT:
            raise BadCodecFile(f"{file.name} is a codec file of version {header.get('format')}, expected {FORMAT}")
        pixels = PixelFormat(file.channels, file.levels)
        try:
            config, known_answers = dict(header["config"]), list(header["known_answers"])
            if (config["channels"], config["levels"]) != (pixels.channels, pixels.levels):
                raise ValueError(f"{pixels.channels} channels of {pixels.levels} levels are not those of its model")
            tensors = load_tensors(file.content)
        except (KeyError, TypeError, ValueError, SafetensorError) as error:
            raise BadCodecFile(f"{file.name} is not a valid codec file: {type(error).__name__}, {error}") from None
        return cls(file.name, file.family, config, pixels, known_answers, dict(file.card), tensors)

    def pack(self) -> bytes:
        """The content of the file."""
        about = {"format": FORMAT, "family": self.family, "config": self.config, "pixels": asdict(self.pixels)}
        text = json.dumps({**about, "known_answers": self.known_answers, "card": self.card}, sort_keys=True)
        tensors = {name: np.ascontiguousarray(tensor) for name, tensor in self.tensors.items()}
        content: bytes = save_tensors(tensors, {"bbcodec": text})
        return content


def with_card(content: bytes, card: dict[str, Any]) -> bytes:
    """A codec file with another card. Raises BadCodecFile."""
    return replace(StoredCodec.read(parse_codec(content, "codec")), card=card).pack()
