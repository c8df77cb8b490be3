"""What is in a codec file (`.bbc`): a header, and the weights as a message (`docs/format.md`)."""

from __future__ import annotations

import json
import struct
from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace
from functools import lru_cache
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from bbcodec.binary import deflate
from bbcodec.codec.catalogue import MAGIC, CodecFile, parse_codec, shipped_codecs, split_codec
from bbcodec.codec.codec import PixelFormat
from bbcodec.codec.weights import Layout, layout_of, pack_weights, unpack_weights
from bbcodec.errors import BadCodecFile, MissingCodec

FORMAT: Final = 3  # version of codec files

Tensors = dict[str, NDArray[Any]]  # whole numbers by name


@dataclass(frozen=True)
class StoredCodec:
    """The content of a codec file. name: for error messages; config: the sizes of the family's model.

    base: the shipped codec whose tensors the file holds differences to; None for a file that stands alone.
    """

    name: str
    family: str
    config: dict[str, Any]
    pixels: PixelFormat
    known_answers: list[str]
    card: dict[str, Any]
    tensors: Tensors
    base: CodecFile | None = None

    @classmethod
    def read(cls, file: CodecFile) -> StoredCodec:
        """What a file holds. Raises BadCodecFile for what cannot be a codec, MissingCodec if its base is not here."""
        header, message = split_codec(file.content)
        if header.get("format") != FORMAT:
            raise BadCodecFile(f"{file.name} is a codec file of version {header.get('format')}, expected {FORMAT}")
        pixels = PixelFormat(file.channels, file.levels)
        try:
            config, known_answers = dict(header["config"]), list(header["known_answers"])
            if (config["channels"], config["levels"]) != (pixels.seen.channels, pixels.seen.levels):
                raise ValueError(f"{pixels.channels} channels of {pixels.levels} levels are not those of its model")
            rows = header["tensors"]
            layouts = tuple(Layout(name, kind, tuple(shape), centre, low) for name, kind, shape, centre, low in rows)
            tensors = dict(zip((one.name for one in layouts), _unpacked(layouts, message), strict=True))
        except (KeyError, TypeError, ValueError) as error:
            raise BadCodecFile(f"{file.name} is not a valid codec file: {type(error).__name__}, {error}") from None
        if len(tensors) < len(layouts):
            raise BadCodecFile(f"{file.name} has two tensors of one name")
        base = _base_of(header, file.name)
        if base is not None:
            tensors = _combined(cls.read(base).tensors, tensors, np.add, file.name)
        return cls(file.name, file.family, config, pixels, known_answers, dict(file.card), tensors, base)

    def pack(self) -> bytes:
        """The content of the file. Raises BadCodecFile if the tensors of the base are of other sizes or types."""
        about = {"format": FORMAT, "family": self.family, "config": self.config, "pixels": asdict(self.pixels)}
        about |= {"known_answers": self.known_answers, "card": self.card}
        if self.base is None:
            return pack_file(about, self.tensors)
        tensors = _combined(self.tensors, self.read(self.base).tensors, np.subtract, self.name)
        return pack_file({**about, "base": {"name": self.base.name, "digest": self.base.digest.hex()}}, tensors)


def _base_of(header: dict[str, Any], name: str) -> CodecFile | None:
    """The codec that a file holds differences to. Raises MissingCodec, or BadCodecFile if it is none that can be."""
    if "base" not in header:
        return None
    try:
        base_name, digest = str(header["base"]["name"]), bytes.fromhex(header["base"]["digest"])
    except (KeyError, TypeError, ValueError) as error:
        raise BadCodecFile(f"{name} does not say what it is a difference to: {type(error).__name__}") from None
    base = next((one for one in shipped_codecs() if one.digest == digest), None)
    if base is None:
        raise MissingCodec(
            f"{name} is a difference to the codec {base_name!r} (digest {digest.hex()[:8]}...), "
            "which this version of bbcodec does not have: use the version that made it"
        )
    if "base" in split_codec(base.content)[0]:
        raise BadCodecFile(f"{name} is a difference to {base.name}, which is one itself")
    return base


def _combined(first: Tensors, second: Tensors, how: np.ufunc, name: str) -> Tensors:
    """The sums or differences of tensors, which wrap around within their types. Raises BadCodecFile."""
    kinds = [{key: (one.shape, one.dtype) for key, one in tensors.items()} for tensors in (first, second)]
    if kinds[0] != kinds[1]:
        raise BadCodecFile(f"{name} has other tensors than the codec that it is a difference to")
    return {key: how(one, second[key]) for key, one in first.items()}


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


def as_difference(content: bytes, base: CodecFile) -> bytes:
    """A codec file as differences to a shipped one. Raises BadCodecFile if that has tensors of other sizes or types."""
    return replace(StoredCodec.read(parse_codec(content, "codec")), base=base).pack()


def with_card(content: bytes, card: dict[str, Any]) -> bytes:
    """A codec file with another card. Raises BadCodecFile."""
    return replace(StoredCodec.read(parse_codec(content, "codec")), card=card).pack()
