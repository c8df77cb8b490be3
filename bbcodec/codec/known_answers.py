"""The known-answer test: whether a codec computes here what it computed where it was saved.

Fixed images are encoded; the digests of their messages must be those in the codec's file, and decoding must restore
them. Every backend is tested in this way.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from itertools import zip_longest

import numpy as np

from bbcodec.codec.backend import Backend, Images
from bbcodec.codec.codec import SEED, PixelFormat
from bbcodec.coder.ans import AnsStack, filler
from bbcodec.errors import CoderError

KNOWN_ANSWERS = ((1, 40, 56), (16, 16, 16), (64, 8, 8))  # count, height, width of the test's images


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


def answers(backend: Backend, pixels: PixelFormat) -> list[str]:
    """All of `each_answer`."""
    return list(each_answer(backend, pixels))


def each_answer(backend: Backend, pixels: PixelFormat) -> Iterator[str]:
    """Digests of the words of each batch of fixed images, on a stack of one head and on one of all.

    Raises CoderError for a batch that does not come back.
    """
    for lanes in sorted({1, backend.lanes}):
        for images in known_images(pixels, backend.image_size):
            stack = AnsStack.seeded(SEED, lanes)
            backend.encode(stack, images)
            words = stack.flatten()
            decoded = backend.decode(AnsStack.unflatten(words, lanes), images.shape)
            if not np.array_equal(decoded, images):
                raise CoderError(f"images of shape {images.shape} were decoded to others")
            yield hashlib.blake2b(words.astype("<u4").tobytes(), digest_size=16).hexdigest()


def passes(backend: Backend, pixels: PixelFormat, expected: list[str]) -> bool:
    """Whether a backend computes the known answers. Stops at the first that differs."""
    try:
        found = each_answer(backend, pixels)
        return all(one == other for one, other in zip_longest(found, expected, fillvalue=object()))
    except CoderError:
        return False  # wrong parameters may pop more than the stack holds
