"""The known-answer test: whether a codec computes on this machine what it computed where it was saved.

Fixed images are encoded and decoded; digests of every integer parameter and symbol on the way must be those in the
codec's file. Where the fast path fails, the safe one is taken.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from typing import Any

import numpy as np
import torch

from bbcodec.codec.codec import SEED, Codec, Images, PixelFormat
from bbcodec.coder.ans import AnsStack, Integers, Kernel, filler
from bbcodec.errors import CoderError, InexactArithmetic
from bbcodec.model.interpreters import decode, encode

WRONG = "wrong pixels"  # the answer of a codec that does not restore an image
KNOWN_ANSWERS = ((1, 40, 56), (16, 16, 16), (64, 8, 8))  # count, height, width of the test's images


class Recorder(AnsStack):
    """A stack that digests all parameters and symbols that are pushed and popped."""

    def __init__(self, lanes: int = 1) -> None:
        """An empty stack and an empty digest."""
        super().__init__(lanes)
        self.seen = hashlib.blake2b(digest_size=16)

    def note(self, symbols: Integers, params: tuple[Integers, ...]) -> None:
        """Add a kernel's arguments to the digest, as little-endian int64."""
        for array in (symbols, *params):
            self.seen.update(np.ascontiguousarray(array, "<i8").tobytes())

    def push(self, kernel: Kernel, symbols: Integers, params: tuple[Integers, ...], *shared: Any) -> None:
        """As AnsStack.push."""
        self.note(symbols, params)
        super().push(kernel, symbols, params, *shared)

    def pop(self, kernel: Kernel, symbols: Integers, params: tuple[Integers, ...], *shared: Any) -> None:
        """As AnsStack.pop."""
        super().pop(kernel, symbols, params, *shared)
        self.note(symbols, params)


def known_images(pixels: PixelFormat, size: tuple[int, int] | None = None) -> Iterator[Images]:
    """The fixed images of the test: noise, and flat parts, which reach the ends of the tables.

    size: height and width, where a model takes no others.
    """
    for number, (count, *sides) in enumerate(KNOWN_ANSWERS):
        height, width = size or sides
        shape = count, height, width, pixels.channels
        noise = filler(number + 1, 0, int(np.prod(shape))).reshape(shape) >> np.uint32(24)
        noise[:, : height // 2, : width // 2] = noise[:, :1, :1]
        noise[:, height // 2 :, width // 2 :] >>= np.uint32(4)
        yield (noise if pixels.levels == 256 else noise >> np.uint32(7)).astype(np.uint8)


def answers(codec: Codec) -> list[str]:
    """Digests of every integer parameter and symbol when the fixed images are encoded, and when they are decoded."""
    found = []
    for images in known_images(codec.pixels, codec.model.image_size):
        x = codec.tensor(images)
        pushed = Recorder.seeded(SEED)
        encode(codec.model, pushed, x)
        popped = Recorder.unflatten(pushed.flatten())
        decoded = decode(codec.model, popped, x.shape)
        equal = bool(torch.equal(decoded, x))
        found += [pushed.seen.hexdigest(), popped.seen.hexdigest() if equal else WRONG]
    return found


def engine_agrees(codec: Codec) -> bool:
    """Whether the compiled engine gives the messages of PyTorch's layers for the fixed images, and decodes them."""
    for images in known_images(codec.pixels, codec.model.image_size):
        codec.set_compiled(False)
        expected = codec.encode(images)
        codec.set_compiled(True)
        if codec.encode(images) != expected or not np.array_equal(codec.decode(expected), images):
            return False
    return True


def check_answers(codec: Codec, expected: list[str]) -> None:
    """Run the known-answer test; take the safe path if the fast one fails it. Raises InexactArithmetic if both do."""
    for safe in (False, True):
        codec.set_safe(safe)
        try:
            if answers(codec) == expected:
                return
        except CoderError:
            continue  # wrong parameters may pop more than the stack holds
    raise InexactArithmetic(
        f"codec {codec.name} fails its known-answer test on {codec.device}, also on the safe path; "
        "messages from this machine could not be decoded elsewhere (or the codec file is damaged)"
    )
