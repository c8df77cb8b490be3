"""The known-answer test: whether a codec computes here what it computed where it was saved.

Fixed images are encoded; the digests of their messages must be those in the codec's file, and decoding must restore
them. Every backend is tested in this way.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from typing import NamedTuple

import numpy as np

from bbcodec.codec.backend import Backend, Images
from bbcodec.codec.codec import SEED, PixelFormat
from bbcodec.coder.ans import AnsStack, Words, filler
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
    """Digests of the words of each batch of fixed images, on a stack of one head and on one of all.

    Nothing is decoded: `difference` does that. Raises CoderError where wrong parameters pop more than the stack holds.
    """
    return [_digest(_words(backend, lanes, images)) for lanes, images in _questions(backend, pixels)]


class Difference(NamedTuple):
    """The first answer that is not the known one: its number, and what came instead; empty for no message at all."""

    number: int
    found: str


def difference(
    backend: Backend, pixels: PixelFormat, expected: list[str], before: Difference | None = None
) -> Difference | None:
    """Where a backend's answers first differ from the known ones; None if they are the same.

    before: the difference of another backend. Its question is asked first, and if the answer is the same, that is the
    result: where two ways of computing agree, the known answer is wrong, and a third need not be tried.
    """
    questions = list(_questions(backend, pixels))
    if len(expected) != len(questions):
        return Difference(len(questions), "another number of answers")
    if before and before.number < len(questions) and _tried(backend, *questions[before.number]) == before.found:
        return before
    for number, (question, known) in enumerate(zip(questions, expected, strict=True)):
        found = _tried(backend, *question)
        if found != known:
            return Difference(number, found)
    return None


def _questions(backend: Backend, pixels: PixelFormat) -> Iterator[tuple[int, Images]]:
    """The heads of a stack, and the images that go on it."""
    for lanes in sorted({1, backend.lanes}):
        for images in known_images(pixels, backend.image_size):
            yield lanes, images


def _words(backend: Backend, lanes: int, images: Images) -> Words:
    stack = AnsStack.seeded(SEED, lanes)
    backend.encode(stack, images)
    return stack.flatten()


def _digest(words: Words) -> str:
    return hashlib.blake2b(words.astype("<u4").tobytes(), digest_size=16).hexdigest()


def _answer(backend: Backend, lanes: int, images: Images) -> str:
    words = _words(backend, lanes, images)
    decoded = backend.decode(AnsStack.unflatten(words, lanes), images.shape)
    if not np.array_equal(decoded, images):
        raise CoderError(f"images of shape {images.shape} were decoded to others")
    return _digest(words)


def _tried(backend: Backend, lanes: int, images: Images) -> str:
    """An answer, or nothing: wrong parameters may pop more than the stack holds."""
    try:
        return _answer(backend, lanes, images)
    except CoderError:
        return ""
