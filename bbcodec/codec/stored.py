"""What is in a codec file (`.bbc`): a header, and the weights as a message (`docs/format.md`)."""

from __future__ import annotations

import json
import struct
from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace
from functools import lru_cache
from typing import Any, Final

from numpy.typing import NDArray

from bbcodec.binary import deflate
from bbcodec.codec.catalogue import MAGIC, CodecFile, parse_codec, split_codec
from bbcodec.codec.codec import PixelFormat
from bbcodec.codec.weights import Layout, layout_of, pack_weights, unpack_weights
from bbcodec.errors import BadCodecFile

FORMAT: Final = 3  # version of codec files

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
        header, message = split_codec(file.content)
        if header.get("format") != FORMAT:
            raise BadCodecFile(f"{file.name} is a codec file of version {header.get('format')}, expected {FORMAT}")
        pixels = PixelFormat(file.channels, file.levels)
        try:
            config, known_answers = dict(header["config"]), list(header["known_answers"])
            if (config["channels"], config["levels"]) != (pixels.channels, pixels.levels):
                raise ValueError(f"{pixels.channels} channels of {pixels.levels} levels are not those of its model")
            rows = header["tensors"]
            layouts = tuple(Layout(name, kind, tuple(shape), centre, low) for name, kind, shape, centre, low in rows)
            tensors = dict(zip((one.name for one in layouts), _unpacked(layouts, message), strict=True))
        except (KeyError, TypeError, ValueError) as error:
            raise BadCodecFile(f"{file.name} is not a valid codec file: {type(error).__name__}, {error}") from None
        if len(tensors) < len(layouts):
            raise BadCodecFile(f"{file.name} has two tensors of one name")
        return cls(file.name, file.family, config, pixels, known_answers, dict(file.card), tensors)

    def pack(self) -> bytes:
        """The content of the file."""
        about = {"format": FORMAT, "family": self.family, "config": self.config, "pixels": asdict(self.pixels)}
        return pack_file({**about, "known_answers": self.known_answers, "card": self.card}, self.tensors)


@lru_cache(maxsize=2)
def _unpacked(layouts: tuple[Layout, ...], message: bytes) -> list[NDArray[Any]]:
    """`unpack_weights`, once for what asks whether a codec has an engine and what loads it then: read-only."""
    tensors = unpack_weights(layouts, message)
    for tensor in tensors:
        tensor.flags.writeable = False
    return tensors


def pack_file(header: Mapping[str, Any], tensors: Mapping[str, NDArray[Any]]) -> bytes:
    """The content of a file, from its header but for `tensors`. Raises BadCodecFile for tensors of other types."""
    stored = [(layout_of(name, tensor), tensor) for name, tensor in sorted(tensors.items())]
    text = json.dumps({**header, "tensors": [layout for layout, _ in stored]}, sort_keys=True, separators=(",", ":"))
    packed = deflate(text.encode())
    return MAGIC + struct.pack("<I", len(packed)) + packed + pack_weights(stored)


def with_card(content: bytes, card: dict[str, Any]) -> bytes:
    """A codec file with another card. Raises BadCodecFile."""
    return replace(StoredCodec.read(parse_codec(content, "codec")), card=card).pack()
