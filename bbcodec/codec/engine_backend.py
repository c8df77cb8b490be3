"""Codecs on the engine: compiled integer code of the families that have it, without PyTorch.

A family's engine is a function that an entry point of the group `bbcodec.engines` names.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from functools import cache
from importlib.metadata import entry_points
from typing import TYPE_CHECKING, Any, Final, Protocol

import numpy as np
from numpy.typing import NDArray

from bbcodec.codec.catalogue import parse_codec
from bbcodec.codec.stored import StoredCodec
from bbcodec.errors import BadCodecFile, CoderError, MissingCodec
from bbcodec.model.coding import UNITS_PER_BIT, Account, bits_of, decode, encode
from bbcodec.model.drawing import generate, infer
from bbcodec.model.program import Coded, Programmed

if TYPE_CHECKING:
    from bbcodec.codec.backend import Bits, Images, Latents
    from bbcodec.coder.ans import AnsStack
    from bbcodec.engine.mixed import MixedCoder
    from bbcodec.engine.waves import LocalCoder

ENGINES: Final = "bbcodec.engines"  # entry points: each loads one function, an Engine

Values = NDArray[Any]


class EngineProgram(Programmed[Coded[Values], Values], Protocol):
    """A program of compiled code, over arrays: images are uint8 (B, C, H, W).

    image_size: height and width of the only images it takes; None: any size. lanes: heads of the stack of large
    messages. mixable: the net of pixels, if it is all of the program and its distribution is a mixture of logistics.
    """

    image_size: tuple[int, int] | None
    lanes: int
    mixable: LocalCoder | None


# (config, tensors by name) of a codec file -> its program, or None if there is none for such a config. Raises KeyError,
# TypeError or ValueError for numbers that cannot be.
Engine = Callable[[Mapping[str, Any], Mapping[str, Values]], EngineProgram | None]


class EngineBackend:
    """Codes with compiled code, in any number of threads at once. It computes in integers, and so is always safe."""

    concurrent = True
    safe = True
    device = "cpu"

    def __init__(self, program: EngineProgram) -> None:
        """program: of a codec."""
        self.program = program
        self.image_size, self.lanes = program.image_size, program.lanes
        self.mixes = program.mixable is not None

    def set_safe(self, safe: bool) -> None:
        """Does nothing: there is one path."""

    def encode(self, stack: AnsStack, images: Images, bits: Bits | None = None) -> None:
        """Put a batch of images (N, H, W, C) on the stack. bits, (N,), receives what each image adds to it."""
        rows: Account | None = None if bits is None else {}
        x = np.require(images.transpose(0, 3, 1, 2), requirements=("C", "W"))  # compiled code fills what it decodes
        encode(self.program, stack, x, rows)
        if bits is not None and rows is not None:
            bits[:] = bits_of(rows)

    def decode(self, stack: AnsStack, shape: tuple[int, int, int, int]) -> Images:
        """Take a batch of images (N, H, W, C) off the stack. Raises CoderError if that cannot be."""
        count, height, width, channels = shape
        x = decode(self.program, stack, (count, channels, height, width))
        return np.ascontiguousarray(x.transpose(0, 2, 3, 1))

    def encode_mixed(self, batches: Iterable[Images], bits: Bits | None = None) -> bytes:
        """Messages of batches of images, mixed with contexts that learn. bits: (N,), of all images."""
        coder, parts, costs = self._mixed_coder(), [], []
        for images in batches:
            costs.append(np.zeros(len(images), np.int64))
            parts.append(coder.push(np.ascontiguousarray(images.transpose(0, 3, 1, 2)), costs[-1]))
        if bits is not None:
            bits[:] = np.concatenate(costs) / UNITS_PER_BIT
        return b"".join(parts)

    def decode_mixed(self, data: bytes, shapes: Iterable[tuple[int, int, int, int]]) -> list[Images]:
        """The batches of `encode_mixed`, given their shapes. Raises CoderError for data that cannot be."""
        coder, parts, position = self._mixed_coder(), [], 0
        for count, height, width, channels in shapes:
            x, position = coder.pop(data, position, (count, channels, height, width))
            parts.append(np.ascontiguousarray(x.transpose(0, 2, 3, 1)))
        if position != len(data):
            raise CoderError("bytes follow a message")
        return parts

    def _mixed_coder(self) -> MixedCoder:
        from bbcodec.engine.mixed import MixedCoder

        if self.program.mixable is None:
            raise CoderError("its messages are never mixed")
        return MixedCoder(self.program.mixable)

    def infer(self, stack: AnsStack, images: Images) -> dict[str, NDArray[np.int16]]:
        """Latents of a batch of images (N, H, W, C), drawn with the words of a stack (`bbcodec.model.drawing`)."""
        drawn = infer(self.program, stack, np.ascontiguousarray(images.transpose(0, 3, 1, 2)))
        return {name: z.astype(np.int16) for name, z in drawn.items()}

    def generate(self, stack: AnsStack, shape: tuple[int, int, int, int], latents: Latents) -> Images:
        """Images (N, H, W, C) drawn given latents. Raises CoderError for values that they cannot have."""
        count, height, width, channels = shape
        x = generate(self.program, stack, (count, channels, height, width), latents)
        return np.ascontiguousarray(x.transpose(0, 2, 3, 1))


def engine_backend(stored: StoredCodec, device: str) -> EngineBackend | None:
    """The engine of a stored codec, if it has one and the device is the CPU or `auto`."""
    if device not in ("auto", "cpu"):
        return None
    engine = find_engine(stored.family)
    if engine is None:
        return None
    try:
        program = engine(stored.config, stored.tensors)
    except (KeyError, TypeError, ValueError):
        return None  # the network refuses it too, and says why
    return None if program is None else EngineBackend(program)


@cache  # finding entry points reads files of every package that is installed
def find_engine(family: str) -> Engine | None:
    """What makes engines of a family's codecs, if it has any."""
    for entry in entry_points(group=ENGINES, name=family):
        engine: Engine = entry.load()
        return engine
    return None


def runs_without_torch(content: bytes, device: str) -> bool:
    """Whether the codec in the bytes of a file has an engine on a device, so that threads can code with it."""
    try:
        return engine_backend(StoredCodec.read(parse_codec(content, "codec")), device) is not None
    except (BadCodecFile, MissingCodec):
        return False
