"""A trained model as a codec: images to messages and back.

A message is one bits-back chain: a byte that says how batch widths grow, then the words of the stack, little-endian.
Or, if it is mixed with contexts that learn, a byte that says so, and the messages of batches, first to last.
The caller keeps the number and the size of the images. `docs/format.md` has the details.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from bbcodec.binary import MAX_VALUES, pack_varint, take_varint
from bbcodec.codec.backend import Backend, Bits, Images
from bbcodec.codec.catalogue import CodecFile
from bbcodec.coder.ans import AnsStack
from bbcodec.errors import CoderError, DamagedArchive, InputError
from bbcodec.prediction.planes import predicted, restored

SEED = 0  # of the filler under every chain
GROWTH_UNIT = 32  # a growth byte of g makes each batch g / 32 times as wide as all batches before it together
MAX_IMAGE_PIXELS = 2**23  # of one image: its parameters take some 300 bytes a pixel
MAX_BATCH_PIXELS = 2**18  # a coding batch is no wider, so that memory stays bounded
TRIAL = 4  # images that are coded to choose the growth
LANES_PIXELS = 2**16  # of a message, from which it has as many heads as its codec gives it
MIXED = 255  # in place of the growth byte
GRID_BOUND = 2**10  # beyond the index of any latent's grid
MARGIN = 0.75  # share of the widest batch that the stack affords according to the trial


@dataclass(frozen=True)
class PixelFormat:
    """What a codec takes: channels (1 or 3) and levels a channel (2 or 256; or 65,536 of one channel)."""

    channels: int
    levels: int

    @property
    def deep(self) -> bool:
        """Whether pixels have 16 bits, of which a network sees tokens of prediction errors (`bbcodec.prediction`)."""
        return (self.channels, self.levels) == (1, 65536)

    @property
    def dtype(self) -> type[np.uint8] | type[np.uint16]:
        """The type of arrays of such pixels."""
        return np.uint16 if self.deep else np.uint8

    @property
    def seen(self) -> PixelFormat:
        """What a network sees of such pixels."""
        return PixelFormat(1, 256) if self.deep else self


def batch_widths(count: int, growth: int, limit: int) -> list[int]:
    """Number of images in each batch of a chain, in the order of coding: 1 in the first, more in later ones.

    Each batch pops what the batches before it pushed, so only the first one's latents are paid for.

    >>> batch_widths(10, 16, 100)
    [1, 1, 1, 1, 2, 3, 1]
    """
    widths: list[int] = []
    done = 0
    while done < count:
        widths.append(min(max(1, done * growth // GROWTH_UNIT), limit, count - done))
        done += widths[-1]
    return widths


def is_mixed(stream: bytes) -> bool:
    """Whether a message is mixed with contexts that learn."""
    return stream[:1] == bytes([MIXED])


class Codec:
    """A trained model that codes images of one pixel format: `encode` and `decode`, or messages for archives."""

    def __init__(
        self, backend: Backend, pixels: PixelFormat, about: CodecFile, compiled: Callable[[], Backend] | None = None
    ) -> None:
        """backend: what computes; about: the codec's file; compiled: gives what decodes mixed messages in its place."""
        self.backend, self.pixels, self._compiled = backend, pixels, compiled
        self.name, self.family, self.digest, self.card = about.name, about.family, about.digest.hex(), about.card
        self.file_bytes = len(about.content)

    @property
    def concurrent(self) -> bool:
        """Whether several threads may code at once."""
        return self.backend.concurrent

    @property
    def mixes(self) -> bool:
        """Whether it codes messages whose probabilities are mixed with those of contexts that learn."""
        return self.backend.mixes

    @property
    def safe(self) -> bool:
        """Whether it computes on a path that no kernel can make inexact."""
        return self.backend.safe

    def set_safe(self, safe: bool) -> None:
        """Compute on the slow path that no kernel can make inexact, or on the fast one, where there are two."""
        self.backend.set_safe(safe)

    def lanes(self, shape: tuple[int, ...]) -> int:
        """Heads of the stack of a message of images (N, H, W, C): more where 8 bytes each are nothing."""
        return self.backend.lanes if shape[0] * shape[1] * shape[2] >= LANES_PIXELS else 1

    def encode(self, images: Images, mix: bool = False) -> bytes:
        """A self-contained message of images (N, H, W, C) uint8. Raises InputError for images that it does not take.

        mix: as for `encode_message`.
        """
        self.check(images)
        return b"".join(pack_varint(n) for n in images.shape[:3]) + self.encode_message(images, mix=mix)

    def decode(self, data: bytes) -> Images:
        """The images (N, H, W, C) uint8 of a message of `encode`. Raises DamagedArchive if it is damaged."""
        at, shape = 0, []
        for _ in range(3):
            number, at = take_varint(data, at)
            shape.append(number)
        if not all(shape) or np.prod(shape, dtype=object) * self.pixels.channels > MAX_VALUES:
            raise DamagedArchive(f"a message of {shape[0]} images of {shape[1]} x {shape[2]} pixels is impossible")
        return self.decode_message(data[at:], shape[0], shape[1], shape[2])

    def check(self, images: object) -> None:
        """Raise InputError unless this codec takes the images."""
        if not isinstance(images, np.ndarray):
            raise InputError(f"codec {self.name} takes images as a numpy array, not as {type(images).__name__}")
        expected, channels = np.dtype(self.pixels.dtype), self.pixels.channels
        if images.ndim != 4 or images.dtype != expected or not images.size or images.shape[3] != channels:
            raise InputError(
                f"codec {self.name} takes {expected} images (N, H, W, {channels}), not {images.dtype} {images.shape}"
            )
        if images.shape[1] * images.shape[2] > MAX_IMAGE_PIXELS:
            raise InputError(
                f"codec {self.name} takes images of up to {MAX_IMAGE_PIXELS} pixels, not {images.shape[1:3]}"
            )
        size = self.backend.image_size
        if size is not None and images.shape[1:3] != size:
            raise InputError(
                f"codec {self.name} takes images of {size[0]} x {size[1]} pixels only, "
                f"not {images.shape[1]} x {images.shape[2]}"
            )
        if images.size > MAX_VALUES:
            raise InputError(f"codec {self.name} takes at most {MAX_VALUES} values a message, not {images.size}")
        if int(images.max()) >= self.pixels.levels:
            raise InputError(f"codec {self.name} takes values below {self.pixels.levels}, not {int(images.max())}")

    def encode_message(self, images: Images, bits: Bits | None = None, mix: bool = False) -> bytes:
        """The message of images (N, H, W, C) uint8. Batches are coded last to first, so that decoding is in order.

        bits, if given, float64 (N,), receives the bits that each image adds to the message, without initial bits. Of
        images of 16 bits, uint16, it is the message of their tokens, behind the rest of them, each with its share.
        mix: with contexts that learn from the images while they are coded, if the codec `mixes`: shorter, slower both
        ways, and not what its ELBO says.
        """
        self.check(images)
        if not self.pixels.deep:
            return self._message(images, bits, mix)
        tokens, rest = predicted(images[..., 0])
        before = pack_varint(len(rest)) + rest
        message = self._message(tokens[..., None], bits, mix)
        if bits is not None:
            bits += 8 * len(before) / len(images)
        return before + message

    def _message(self, images: Images, bits: Bits | None, mix: bool) -> bytes:
        """The message of images (N, H, W, C) uint8, as the network sees them."""
        if mix and self.mixes:
            widest = self.widest(images.shape)
            batches = (images[n : n + widest] for n in range(0, len(images), widest))
            return bytes([MIXED]) + self.backend.encode_mixed(batches, bits)
        growth = self.growth(images)
        stack = self.chain(images, growth, bits)
        return bytes([growth]) + stack.flatten().astype("<u4").tobytes()

    def chain(self, images: Images, growth: int, bits: Bits | None = None) -> AnsStack:
        """The stack that holds all images, on seeded filler."""
        stack = AnsStack.seeded(SEED, self.lanes(images.shape))
        end = len(images)
        for width in batch_widths(end, growth, self.widest(images.shape)):
            batch = slice(end - width, end)
            self.backend.encode(stack, images[batch], None if bits is None else bits[batch])
            end -= width
        return stack

    def growth(self, images: Images) -> int:
        """The growth byte: batches as wide as the stack affords, by a trial on a few images, with a margin."""
        if len(images) < 3:
            return 0
        stack = AnsStack.seeded(SEED)
        before = stack.bits
        self.backend.encode(stack, images[-min(TRIAL, self.widest(images.shape)) :])
        affords = (stack.bits - before) / max(1, 32 * stack.initial_words)
        return int(min(MIXED - 1, max(1, GROWTH_UNIT * MARGIN * affords)))

    def widest(self, shape: tuple[int, ...]) -> int:
        """The widest batch of images (N, H, W, C)."""
        return max(1, MAX_BATCH_PIXELS // (shape[1] * shape[2]))

    def latents(self, images: Images, seed: int = 0) -> dict[str, NDArray[np.int16]]:
        """Latents of images (N, H, W, C) uint8, drawn from their posteriors; by name, the top of the hierarchy first.

        Axis 0 counts images. Indices on the latents' grids: whole numbers around 0. Empty if the codec has none. Raises
        InputError for images that it does not take.
        """
        self.check(images)
        if self.pixels.deep:
            images = predicted(images[..., 0]).tokens[..., None]
        stack = AnsStack.seeded(seed)
        widest = self.widest(images.shape)
        batches = [self.backend.infer(stack, images[n : n + widest]) for n in range(0, len(images), widest)]
        return {name: np.concatenate([batch[name] for batch in batches]) for name in batches[0]}

    def draw(
        self, shape: tuple[int, int, int], latents: Mapping[str, NDArray[np.int16]] | None = None, seed: int = 0
    ) -> Images:
        """Images (N, H, W, C) uint8 of a shape (N, H, W), drawn from the model given latents (of `latents`).

        Latents that are not given are drawn, too. The same on every machine. Raises InputError for a shape that the
        codec does not take, for latents that cannot be, and for a codec of images of 16 bits.
        """
        if self.pixels.deep:
            raise InputError(f"codec {self.name} draws no images: it knows how they differ from predictions")
        count, height, width = shape
        given = {name: np.asarray(values) for name, values in (latents or {}).items()}
        self._check_latents(shape, given)
        stack = AnsStack.seeded(seed)
        widest, parts = self.widest(shape), []
        try:
            for n in range(0, count, widest):
                batch = {name: values[n : n + widest].astype(np.int16) for name, values in given.items()}
                size = min(widest, count - n), height, width, self.pixels.channels
                parts.append(self.backend.generate(stack, size, batch))
        except CoderError as error:
            raise InputError(f"codec {self.name} has no such latents: {error}") from None
        return np.concatenate(parts)

    def reconstruct(self, images: Images, seed: int = 0) -> Images:
        """Images that share the latents of images (N, H, W, C) uint8: what latents know of them, the rest drawn anew.

        The lossy half of a lossy autoencoder (Chen et al. 2017, section 4.2). Raises InputError.
        """
        return self.draw(images.shape[:3], self.latents(images, seed), seed)

    def _check_latents(self, shape: tuple[int, int, int], latents: Mapping[str, NDArray[Any]]) -> None:
        """Raise InputError unless images of a shape (N, H, W) can be drawn given such latents."""
        blank = np.zeros((1, *shape[1:], self.pixels.channels), np.uint8)
        if shape[0] < 1 or shape[0] * blank.size > MAX_VALUES:
            most = MAX_VALUES // max(1, blank.size)
            raise InputError(f"codec {self.name} draws 1 to {most} such images, not {shape[0]}")
        known = {name: (shape[0], *values.shape[1:]) for name, values in self.latents(blank).items()}
        for name, values in latents.items():
            if name not in known:
                raise InputError(f"codec {self.name} has no latents {name!r}: {', '.join(known) or 'it has none'}")
            if values.shape != known[name] or values.dtype.kind not in "iu" or np.abs(values).max() > GRID_BOUND:
                raise InputError(
                    f"latents {name} of such images are whole numbers {known[name]} between -{GRID_BOUND} and "
                    f"{GRID_BOUND}, not {values.dtype} {values.shape}"
                )

    def decode_message(self, data: bytes, count: int, height: int, width: int) -> Images:
        """The images (N, H, W, C) uint8 of a message. Raises DamagedArchive unless the chain ends where it began."""
        if not self.pixels.deep:
            return self._images(data, count, height, width)
        size, position = take_varint(data, 0)
        tokens = self._images(data[position + size :], count, height, width)
        return restored(tokens[..., 0], data[position : position + size])[..., None]

    def _images(self, data: bytes, count: int, height: int, width: int) -> Images:
        """The images (N, H, W, C) uint8 of a message, as the network sees them."""
        if is_mixed(data):
            return self._mixed_images(data[1:], count, height, width)
        lanes = self.lanes((count, height, width))
        if len(data) < 1 + 8 * lanes or len(data) % 4 != 1:
            raise DamagedArchive(f"a message of {len(data)} bytes was cut")
        if height * width > MAX_IMAGE_PIXELS or (data[0] == 0 and count > 2):  # which no encoder writes
            raise DamagedArchive(f"a message of {count} images of {height} x {width}, growth {data[0]}, is impossible")
        if self.backend.image_size not in (None, (height, width)):
            raise DamagedArchive(f"codec {self.name} has no messages of images of {height} x {width}")
        try:
            stack = AnsStack.unflatten(np.frombuffer(data, "<u4", offset=1), lanes)
            parts = []
            for n in reversed(batch_widths(count, data[0], self.widest((count, height, width)))):
                parts.append(self.backend.decode(stack, (n, height, width, self.pixels.channels)))
        except CoderError as error:
            raise DamagedArchive(f"a message does not decode: {error}") from None
        if not stack.is_seed(SEED, len(stack.flatten()) - 2 * lanes):
            raise DamagedArchive("a message does not decode: its chain does not end where every chain begins")
        return np.concatenate(parts)

    def _mixed_images(self, data: bytes, count: int, height: int, width: int) -> Images:
        """The images (N, H, W, C) uint8 of a mixed message."""
        if height * width > MAX_IMAGE_PIXELS or self.backend.image_size not in (None, (height, width)):
            raise DamagedArchive(f"a message of images of {height} x {width} is impossible")
        widest = self.widest((count, height, width))
        sizes = (min(widest, count - n) for n in range(0, count, widest))
        backend = self.backend if self.mixes or self._compiled is None else self._compiled()
        try:
            parts = backend.decode_mixed(data, ((n, height, width, self.pixels.channels) for n in sizes))
        except CoderError as error:
            raise DamagedArchive(f"a message does not decode: {error}") from None
        return np.concatenate(parts)
