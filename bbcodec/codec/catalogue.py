"""Codec files from outside: names, digests, pixel formats and cards, read from their headers without torch.

A `.bbc` file is `MAGIC`, the length of its header (four bytes, little-endian), the header as raw deflate, JSON text of
`format`, `family`, `config`, `pixels` (`channels`, `levels`), `known_answers`, `card` and the layouts of `tensors`, and
a message with the weights (`bbcodec.codec.weights`).
`bbcodec.codec.file` reads the weights and checks them.
"""

from __future__ import annotations

import json
import os
import struct
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cache
from importlib.util import find_spec
from pathlib import Path
from typing import Any, Final

from bbcodec.binary import MAX_CODEC_BYTES, codec_digest, inflate
from bbcodec.errors import BadCodecFile, DamagedArchive, InputError, MissingCodec
from bbcodec.remote import located, open_readable

MAX_HEADER_BYTES: Final = 2**22
SUFFIX: Final = ".bbc"
MAGIC: Final = b"\xb8BBC"
UNREADABLE: Final = (
    struct.error, ValueError, KeyError, TypeError, AttributeError, RecursionError, OverflowError, DamagedArchive,
)  # fmt: skip


@dataclass(frozen=True)
class CodecFile:
    """A trained codec, not loaded: `content` is the whole file, `digest` its BLAKE2b-128."""

    name: str
    digest: bytes
    family: str
    channels: int
    levels: int
    content: bytes = field(repr=False)
    shipped: bool = False
    card: Mapping[str, Any] = field(default_factory=dict)

    @property
    def pixels(self) -> str:
        """The pixels that it codes, as a mode of Pillow: `RGB`, `L` (grey), `1` (two levels) or `I;16` (grey)."""
        modes = {(3, 256): "RGB", (1, 256): "L", (1, 2): "1", (1, 65536): "I;16"}
        return modes.get((self.channels, self.levels), f"{self.channels} channels of {self.levels} levels")


def split_codec(content: bytes) -> tuple[dict[str, Any], bytes]:
    """The header of a codec file, and the message after it. Raises one of several errors: `parse_codec` comes first."""
    if content[:4] != MAGIC:
        raise ValueError("it does not begin as one does")
    end = 8 + struct.unpack("<I", content[4:8])[0]
    if end > len(content):
        raise ValueError("it is cut short")
    header: dict[str, Any] = json.loads(inflate(content[8:end], MAX_HEADER_BYTES))
    return header, content[end:]


def parse_codec(content: bytes, name: str, *, shipped: bool = False) -> CodecFile:
    """The codec in the bytes of a `.bbc` file. Raises BadCodecFile if they are not one."""
    try:
        about, _ = split_codec(content)
        channels, levels = int(about["pixels"]["channels"]), int(about["pixels"]["levels"])
        card = about.get("card") or {}
        family = str(about.get("family", "unknown"))
        if not isinstance(card, dict):
            raise TypeError("its card is not an object")
    except (
        struct.error,
        ValueError,
        KeyError,
        TypeError,
        AttributeError,
        RecursionError,
        OverflowError,
        DamagedArchive,
    ) as error:
        raise BadCodecFile(f"{name} is not a codec file (.bbc): {type(error).__name__}, {error}") from None
    return CodecFile(name, codec_digest(content), family, channels, levels, content, shipped, card)


def read_codec(path: str | Path, *, shipped: bool = False) -> CodecFile:
    """The codec of a file of at most 64 MiB, or at a URL. Raises MissingCodec, InputError or BadCodecFile."""
    try:
        with open_readable(path, anew=True) as stream:
            size = stream.seek(0, os.SEEK_END)
            if size > MAX_CODEC_BYTES:
                raise BadCodecFile(f"{path} has {size} bytes; a codec file has at most {MAX_CODEC_BYTES}")
            stream.seek(0)
            content = stream.read()
    except FileNotFoundError:
        raise MissingCodec(f"there is no codec file {path}") from None
    except OSError as error:
        raise InputError(f"the codec file {path} cannot be read: {error.strerror}") from None
    name = Path(path).name  # of a URL, too
    return parse_codec(content, name.removesuffix(SUFFIX), shipped=shipped)


@cache
def shipped_codecs() -> tuple[CodecFile, ...]:
    """The codecs that are installed with bbcodec, sorted by name."""
    spec = find_spec("bbcodec.models")  # finds the folder without importing the models, and so torch
    folders = list(spec.submodule_search_locations or []) if spec else []
    paths = sorted(path for folder in folders for path in Path(folder, "zoo").glob(f"*{SUFFIX}"))
    return tuple(read_codec(path, shipped=True) for path in paths)


def find_codec(wanted: str | os.PathLike[str]) -> CodecFile:
    """The codec of a shipped name or of a path. Raises MissingCodec if it is neither."""
    for codec in shipped_codecs():
        if codec.name == wanted:
            return codec
    path = located(wanted)
    if isinstance(path, Path) and path.suffix != SUFFIX and not path.exists():
        names = ", ".join(codec.name for codec in shipped_codecs()) or "none"
        raise MissingCodec(f"{str(wanted)!r} is neither a shipped codec ({names}) nor a codec file")
    return read_codec(path)


def choose_codecs(codec: str | os.PathLike[str] | None, *, fast: bool = False) -> Sequence[CodecFile]:
    """The codecs that a `codec` argument stands for; `auto` leaves out those made for speed, which their cards say.

    fast: it takes these, and others only for pixels for which there are none.
    """
    if codec is None or codec == "none":
        return ()
    if codec != "auto":
        return [find_codec(codec)]
    made_for_speed = [one for one in shipped_codecs() if one.card.get("fast")]
    known = {one.pixels for one in made_for_speed} if fast else set()
    others = [one for one in shipped_codecs() if one not in made_for_speed and one.pixels not in known]
    return [*made_for_speed, *others] if fast else others
