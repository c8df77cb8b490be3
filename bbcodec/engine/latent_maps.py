"""Nets between images and maps of latents, as `bbcodec.models.latent_maps` has them, for arrays.

Images go through a net some at a time, so that their activations stay in a CPU's cache.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any, Final, NamedTuple

import numpy as np
import numpy.typing as npt

from bbcodec.engine.compiling import Kernels, choose
from bbcodec.engine.convolutions import (
    TO_BYTES,
    TO_STREAM,
    TO_VALUES,
    WIDE_TO_STREAM,
    Convolution,
    Map,
    blank,
    convolve,
    inside,
    plain,
    transposed,
    view,
)
from bbcodec.engine.local_net import padded
from bbcodec.engine.stored_layers import Arrays

IMAGES: Final = 48  # at a time: a multiple of the rows of every tile of the products
STREAM_BOUND: Final = 2047

Values = npt.NDArray[Any]
Halves = npt.NDArray[np.int16]
Size = tuple[int, int]


class Stream(NamedTuple):
    """A residual stream on a map, what layers see of it, and room for what is between the layers of a block."""

    values: Map
    seen: Map
    between: Map


class Block(NamedTuple):
    """The two layers of a block."""

    spatial: Convolution
    pointwise: Convolution


def _stream(size: Size, images: int, width: int) -> Stream:
    values, seen, between = (blank(*size, images, width, dtype) for dtype in (np.int16, np.uint8, np.uint8))
    return Stream(values, seen, between)


def _blocks(arrays: Arrays, width: int, count: int) -> list[Block]:
    names = [f"blocks.{block}" for block in range(count)]
    shapes = (width, width, 3), (width, width, 1)
    return [
        Block(plain(arrays, f"{each}.spatial", shapes[0]), plain(arrays, f"{each}.pointwise", shapes[1]))
        for each in names
    ]


def _refuse_others(arrays: Arrays, layers: int) -> None:
    if len(arrays) != 3 * layers:
        raise ValueError(f"the net has {len(arrays)} arrays, expected {3 * layers}")


class MapNet:
    """What both nets share: a wide layer into a stream, and blocks."""

    def __init__(self, width: int, kernels: Kernels | None) -> None:
        """width: channels of the stream. kernels: None for those of `compiling.choose`."""
        self.width, self.kernels = padded(width), kernels or choose()

    def start(self, layer: Convolution, source: Map, size: Size) -> Stream:
        """The stream after a wide layer."""
        stream = _stream(size, source.images, self.width)
        convolve(self.kernels, WIDE_TO_STREAM, layer, source, stream.values, stream.seen)
        return stream

    def go_through(self, blocks: Sequence[Block], stream: Stream) -> None:
        """Add to the stream what blocks make of it."""
        for block in blocks:
            convolve(self.kernels, TO_BYTES, block.spatial, stream.seen, stream.between)
            convolve(self.kernels, TO_STREAM, block.pointwise, stream.between, stream.values, stream.seen)


class MapEncoder(MapNet):
    """Parameters of a map of latents from images."""

    def __init__(
        self,
        arrays: Arrays,
        sizes: tuple[int, int, int],
        halvings: int,
        blocks: int,
        bound: int,
        kernels: Kernels | None = None,
    ) -> None:
        """sizes: channels of the embedded image, of the stream, and of the parameters; bound: of the image.

        arrays: as in codec files, by the names of layers. Raises ValueError as `convolutions.plain` does, or for arrays
        of other layers.
        """
        cin, width, cout = sizes
        super().__init__(width, kernels)
        self.first = plain(arrays, "first", (width, cin, 3), bound, 2)
        names = [f"halvings.{n}" for n in range(halvings - 1)]
        self.halvings = [plain(arrays, each, (width, width, 3), stride=2) for each in names]
        self.blocks = _blocks(arrays, width, blocks)
        self.head = plain(arrays, "head", (cout, width, 1))
        _refuse_others(arrays, 2 + 2 * blocks + len(names))

    def __call__(self, images: Values, embedding: Halves, inside_value: int, sizes: Sequence[Size]) -> Halves:
        """Parameters (B, outputs, h, w), within +-2047, of images (B, C, H, W) uint8.

        embedding: (levels,) what the net sees of each level; inside_value: what it sees in the channel after these.
        sizes: height and width of the image, and after each halving.
        """
        out = np.empty((*sizes[-1], len(images), padded(self.head.outputs)), np.int16)
        for first, some in _some(images):
            source = blank(*sizes[0], len(some), self.first.inputs, np.int16)
            pixels = inside(source, np.int16)
            pixels[..., : images.shape[1]] = embedding[some.transpose(2, 3, 0, 1)]
            pixels[..., images.shape[1]] = inside_value
            stream = self.start(self.first, source, sizes[1])
            for layer, size in zip(self.halvings, sizes[2:], strict=True):
                next_stream = _stream(size, len(some), self.width)
                convolve(self.kernels, TO_STREAM, layer, stream.seen, next_stream.values, next_stream.seen)
                stream = next_stream
            self.go_through(self.blocks, stream)
            convolve(self.kernels, TO_VALUES, self.head, stream.seen, view(out, first, len(some)))
        return out.transpose(2, 3, 0, 1)[:, : self.head.outputs]


class MapContext(MapNet):
    """The context of a local net from maps of latents."""

    def __init__(
        self,
        arrays: Arrays,
        sizes: tuple[int, int, int],
        doublings: int,
        blocks: int,
        kernels: Kernels | None = None,
    ) -> None:
        """sizes: channels of the latents, of the stream, and of the context. arrays, errors: as for `MapEncoder`."""
        cin, width, cout = sizes
        super().__init__(width, kernels)
        self.first = plain(arrays, "first", (width, cin, 3), STREAM_BOUND)
        self.blocks = _blocks(arrays, width, blocks)
        names = [f"doublings.{n}" for n in range(doublings - 1)]
        self.doublings = [transposed(arrays, each, (width, width)) for each in names]
        self.head = transposed(arrays, "head", (cout, width)) if doublings else plain(arrays, "head", (cout, width, 3))
        _refuse_others(arrays, 2 + 2 * blocks + len(names))

    def __call__(self, z: Halves, sizes: Sequence[Size]) -> Halves:
        """The context, (B, outputs, *sizes[-1]), within +-2047, of latents z (B, C, h, w) worth 1/256.

        sizes: height and width of the latents, and after each doubling.
        """
        out = np.empty((*sizes[-1], len(z), padded(self.head.outputs)), np.int16)
        for first, some in _some(z):
            source = blank(*sizes[0], len(some), self.first.inputs, np.int16)
            inside(source, np.int16)[..., : z.shape[1]] = some.transpose(2, 3, 0, 1)
            stream = self.start(self.first, source, sizes[0])
            self.go_through(self.blocks, stream)
            seen = stream.seen
            for layer, size in zip(self.doublings, sizes[1:], strict=False):
                finer = blank(*size, len(some), self.width, np.uint8)
                convolve(self.kernels, TO_BYTES, layer, seen, finer)
                seen = finer
            convolve(self.kernels, TO_VALUES, self.head, seen, view(out, first, len(some)))
        return out.transpose(2, 3, 0, 1)[:, : self.head.outputs]


def _some(images: Values) -> Iterator[tuple[int, Values]]:
    """Some images at a time, with the number of the first."""
    for first in range(0, len(images), IMAGES):
        yield first, images[first : first + IMAGES]
