# mypy: allow-untyped-defs, allow-untyped-calls
"""A local net in one compiled call: all waves of a batch of images, from pixels to parameters to intervals and back.

Within a wave, rows of all arrays are (row of the image, image), images innermost, so that the taps of neighbouring
pixels lie side by side. Symbols are coded image by image, in an image row by row from the top, in groups as `logistic`
says; a wave is one push.

Activations lie in rings: the last few waves, in each the rows of the image, with zeros above, below, and where a row
has no pixel in a wave. So tap (di, dj) of the pixels of wave t is a run of rows of wave t + dj + 2 di, -di rows up.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final, NamedTuple

import numpy as np
import numpy.typing as npt

from bbcodec.coder.kernels.arithmetic import INFORMATION_BITS, log2_of
from bbcodec.coder.tables import LOG2
from bbcodec.coder.vectors import LANES
from bbcodec.engine.compiling import Kernels, address, choose, clear, compiled, inlined, part
from bbcodec.engine.families import Family, Nothing, note, pop_pixels, room, support
from bbcodec.engine.local_net import SKEW, Integers, Packed, padded
from bbcodec.engine.logistic import Room
from bbcodec.engine.products import (
    SLACK_ROWS,
    Matrix,
    inner_to_bytes,
    inner_to_halves,
    inner_to_stream,
    wide_to_stream,
    wide_to_words,
)
from bbcodec.engine.rans import put_all
from bbcodec.errors import CoderError

if TYPE_CHECKING:
    from bbcodec.coder.ans import AnsStack

PARAMETERS, ENCODE, DECODE = range(3)  # what a run is for

Context = npt.NDArray[np.int16]
Pixels = npt.NDArray[Any]  # uint8, or int16 of latents
Words = npt.NDArray[np.int32]
Costs = npt.NDArray[np.int64]  # (B,), in 2**-24 bits

NO_COSTS: Final[Costs] = np.zeros(0, np.int64)


class Work(NamedTuple):
    """Memory that a run works in; one for each thread."""

    pixels: npt.NDArray[np.int16]  # ring of what the net sees: (waves, rows, images, pixel width) and slack, flat
    rings: npt.NDArray[np.uint8]  # a ring for each block: (blocks, waves, rows, images, hidden) and slack, flat
    seen: npt.NDArray[np.uint8]  # (pixels of a wave, hidden): the activations after the last block
    stream: npt.NDArray[np.int16]  # (pixels, hidden)
    between: npt.NDArray[np.uint8]  # (pixels, inner)
    neck: npt.NDArray[np.int16]  # (pixels, neck)
    params: npt.NDArray[np.int32]  # (pixels, parameters)
    offsets: Integers  # (4, taps), bytes; the last row stays zero
    order: Integers  # (pixels,): their rows in the order of coding
    values: npt.NDArray[np.int32]  # (pixels, channels)
    room: Room | Nothing


class Wave(NamedTuple):
    """Wave t: image rows first .. last - 1 of `batch` images, so many pixels in all."""

    t: int
    first: int
    last: int
    batch: int
    pixels: int


class Ring(NamedTuple):
    """The shape of a ring: waves kept, rows of zeros above and below the image, and rows with these."""

    waves: int
    pad: int
    rows: int


def make_work(net: Packed, family: Family, shape: tuple[int, int, int]) -> Work:
    """Memory for runs of batches of this shape (B, H, W)."""
    batch, height, width = shape
    pixels = min(height, (width + 1) // 2) * batch
    below, block = _ring(net.depth, height), _ring(net.block_depth, height)
    taps = max(len(net.stem_taps), len(net.skip_taps), net.spatial_taps.shape[1])
    return Work(
        np.zeros((below.waves * below.rows * batch + SLACK_ROWS) * net.pixel_width, np.int16),
        np.zeros((len(net.spatial.weight) * block.waves * block.rows * batch + SLACK_ROWS) * net.hidden, np.uint8),
        np.zeros((pixels + SLACK_ROWS, net.hidden), np.uint8),
        np.zeros((pixels, net.hidden), np.int16),
        np.zeros((pixels + SLACK_ROWS, net.inner), np.uint8),
        np.zeros((pixels + SLACK_ROWS, net.neck_width), np.int16),
        np.zeros((pixels, padded(net.parameters)), np.int32),
        np.zeros((4, taps), np.int64),
        np.zeros(pixels, np.int64),
        np.zeros((pixels, net.channels), np.int32),
        room(family),
    )


def _ring(depth, height):
    """The ring of layers that look `depth` waves back, and so fewer rows than that beyond the ends of a wave."""
    return Ring(depth + 1, depth, height + 2 * depth)


ring_of = inlined(_ring)


@inlined
def wave_of(t, height, width, batch):
    """Wave t of images of this size; it may be empty where they are narrow."""
    first, last = max(np.int64(0), -((width - 1 - t) // SKEW)), min(height - 1, t // SKEW) + 1
    return Wave(t, first, last, batch, (last - first) * batch)


@inlined
def place(ring, wave, back, di):
    """Which row of a ring holds what lies di rows and `back` waves (both 0 or less) from the first pixel of a wave."""
    return (((wave.t + back) % ring.waves) * ring.rows + ring.pad + wave.first + di) * wave.batch


@inlined
def place_taps(offsets, taps, ring, wave, size):
    """Offsets of the taps of a wave in a ring whose rows have `size` bytes."""
    for tap in range(len(offsets)):
        offsets[tap] = place(ring, wave, taps[tap, 1], taps[tap, 0]) * size


@inlined
def clear_around(ring, first, count, border, size):
    """Zero `border` rows of `size` bytes before and after rows first .. first + count - 1 of a ring at an address."""
    clear(ring + (first - border) * size, border * size)
    clear(ring + (first + count) * size, border * size)


@inlined
def start_stream(stream, context, stride, wave):
    """The context of the pixels of a wave, (h, w, B, hidden) with a value for stride x stride pixels; or zero."""
    width = stream.shape[1]
    if not stride:
        clear(address(stream), 2 * wave.pixels * width)
        return
    row = 0
    for i in range(wave.first, wave.last):
        above, left = i // stride, (wave.t - SKEW * i) // stride
        for image in range(wave.batch):
            for c in range(width):
                stream[row, c] = context[above, left, image, c]
            row += 1


@part
def evaluate(kernels, net, work, wave, height, context, stride):
    """Parameters of the pixels of a wave, into work.params, from the ring of pixels; fills the rings of the blocks."""
    count, hidden, blocks, none = wave.pixels, net.hidden, len(net.spatial.weight), np.int64(0)
    below, ring = ring_of(net.depth, height), ring_of(net.block_depth, height)
    stem_at, skip_at = work.offsets[0, : len(net.stem_taps)], work.offsets[1, : len(net.skip_taps)]
    here = work.offsets[3, :1]
    pixel = 2 * net.pixel_width  # bytes
    place_taps(stem_at, net.stem_taps, below, wave, pixel)
    place_taps(skip_at, net.skip_taps, below, wave, pixel)
    pixels, stream, between = address(work.pixels), address(work.stream), address(work.between)
    neck, params, seen = address(work.neck), address(work.params), address(work.seen)
    ring_rows, at = ring.waves * ring.rows * wave.batch, place(ring, wave, 0, 0)

    start_stream(work.stream, context, stride, wave)
    into = address(work.rings) + at * hidden if blocks else seen
    wide_to_stream(kernels, pixels, pixel, stem_at, net.pixel_width, net.stem, stream, 2 * hidden, into, hidden, count)
    for block in range(blocks):
        a = address(work.rings) + block * ring_rows * hidden
        clear_around(a, at, count, ring.pad * wave.batch, hidden)
        block_at = work.offsets[2, : net.spatial_count[block]]
        place_taps(block_at, net.spatial_taps[block], ring, wave, hidden)
        w = net.spatial
        matrix = Matrix(w.weight[block], w.start[block], w.shift[block])
        inner_to_bytes(kernels, a, hidden, block_at, hidden, matrix, between, net.inner, none, none, count)
        into = a + (ring_rows + at) * hidden if block + 1 < blocks else seen
        w = net.pointwise
        matrix = Matrix(w.weight[block], w.start[block], w.shift[block])
        inner_to_stream(kernels, between, net.inner, here, net.inner, matrix, stream, 2 * hidden, into, hidden, count)
    width = work.params.shape[1] * 4
    inner_to_halves(kernels, seen, hidden, here, hidden, net.neck, neck, 2 * net.neck_width, none, none, count)
    clear(params, width * count)
    wide_to_words(kernels, pixels, pixel, skip_at, net.pixel_width, net.skip, params, width, none, none, count)
    wide_to_words(kernels, neck, 2 * net.neck_width, here, net.neck_width, net.head, params, width, none, none, count)


@inlined
def show_pixels(net, work, wave, height, lowest):
    """Put the values of a wave into the ring of pixels, as the net sees them."""
    ring, width = ring_of(net.depth, height), net.pixel_width
    at = place(ring, wave, 0, 0)
    clear_around(address(work.pixels), at, wave.pixels, ring.pad * wave.batch, 2 * width)
    for p in range(wave.pixels):
        to = (at + p) * width
        for c in range(net.channels):
            work.pixels[to + c] = net.embedding[work.values[p, c] - lowest]
        work.pixels[to + net.channels] = net.inside


@inlined
def exchange(images, values, wave, write):
    """Values of the pixels of a wave, out of images (B, C, H, W); or into them, to write."""
    p = 0
    for i in range(wave.first, wave.last):
        j = wave.t - SKEW * i
        for image in range(wave.batch):
            for c in range(values.shape[1]):
                if write:
                    images[image, c, i, j] = values[p, c]
                else:
                    values[p, c] = images[image, c, i, j]
            p += 1


@inlined
def order_pixels(order, wave):
    """Rows of the pixels of a wave in the order of coding: image by image."""
    rows = wave.last - wave.first
    for image in range(wave.batch):
        for row in range(rows):
            order[image * rows + row] = row * wave.batch + image


@part
def add_costs(costs, wave, masses, position, channels, precision, log2):
    """Add what the symbols of a wave cost, in 2**-24 bits, to that of their images. position: of its first mass."""
    rows = wave.last - wave.first
    for first in range(0, wave.pixels, LANES):
        for _ in range(channels):
            for p in range(first, min(first + LANES, wave.pixels)):
                costs[p // rows] += (precision << INFORMATION_BITS) - log2_of(np.int64(masses[position]), log2)
                position += 1


@compiled
def run(
    kernels, net, family, work, images, context, stride, purpose, heads, words, n, starts, masses, costs, log2, params
):
    """Code a batch of images, or note its parameters. Returns the new n, UNDERFLOW or OUTSIDE.

    images: (B, C, H, W), to be filled by DECODE. context: (h, w, B, hidden) int16, stride 0 if there is none.
    ENCODE works in starts and masses, (symbols,) int32, and adds what images cost in 2**-24 bits to costs, (B,) int64;
    PARAMETERS fills params, (B, H, W, parameters) int32.
    """
    batch, channels, height, width = images.shape
    steps, position = width + SKEW * (height - 1), np.int64(0)
    clear(address(work.pixels), 2 * work.pixels.size)
    clear(address(work.rings), work.rings.size)
    for t in range(steps):
        wave = wave_of(t, height, width, batch)
        if purpose != DECODE:
            exchange(images, work.values, wave, False)
        evaluate(kernels, net, work, wave, height, context, stride)
        order_pixels(work.order, wave)
        if purpose == DECODE:
            n = pop_pixels(family, heads, words, n, work.params, work.order, wave.pixels, work.values, work.room)
            if n < 0:
                return n
            exchange(images, work.values, wave, True)
        elif purpose == ENCODE:
            first = position
            position = note(
                family, work.params, work.order, wave.pixels, work.values, work.room, starts, masses, position
            )
            if position < 0:
                return position
            add_costs(costs, wave, masses, first, channels, family.precision, log2)
        else:
            for p in range(wave.pixels):
                i = wave.first + p // batch
                for k in range(net.parameters):
                    params[p % batch, i, t - SKEW * i, k] = work.params[p, k]
        show_pixels(net, work, wave, height, family.lowest)
    if purpose == ENCODE:
        for t in range(steps - 1, -1, -1):
            first = position - wave_of(t, height, width, batch).pixels * channels
            n = put_all(heads, words, n, starts, masses, first, position, family.precision)
            position = first
    return n


class LocalCoder:
    """Codes batches of images, or of maps of latents, with a local net and a distribution, without PyTorch.

    Images are uint8, latents int16.
    """

    def __init__(self, net: Packed, family: Family, kernels: Kernels | None = None) -> None:
        """kernels: None for those of `compiling.choose`. Raises ValueError if net and family do not fit together."""
        levels = support(family).highest - support(family).lowest + 1
        if (net.parameters, net.channels, len(net.embedding)) != (family.size, family.channels, levels):
            raise ValueError(
                f"a net of {net.channels} channels, {net.parameters} parameters and {len(net.embedding)} levels, "
                f"expected {family.channels}, {family.size} and {levels} as the distribution has them"
            )
        self.net, self.family, self.kernels = net, family, kernels or choose()

    def parameters(self, images: Pixels, context: Context | None = None, stride: int = 1) -> Words:
        """Parameters of every pixel of images (B, C, H, W): (B, H, W, P) int32.

        context: None, or (B, hidden, ceil(H / stride), ceil(W / stride)) int16, each value for stride x stride pixels.
        """
        params = np.empty((len(images), *images.shape[2:], self.net.parameters), np.int32)
        self._run(PARAMETERS, images, context, stride, np.empty(1, np.uint64), np.empty(1, np.uint32), 0, params=params)
        return params

    def push(self, stack: AnsStack, images: Pixels, context: Context | None = None, stride: int = 1) -> Costs:
        """Put images (B, C, H, W) on a stack; context as for `parameters`. Gives what each costs, in 2**-24 bits.

        Raises CoderError for a level that the distribution does not have.
        """
        costs = np.zeros(len(images), np.int64)
        stack.push(lambda heads, words, n, x: self._run(ENCODE, x, context, stride, heads, words, n, costs), images, ())
        return costs

    def pop(
        self, stack: AnsStack, shape: tuple[int, int, int], context: Context | None = None, stride: int = 1
    ) -> Pixels:
        """Take images of shape (B, H, W) off a stack: (B, C, H, W). Raises StackUnderflow as the stack does."""
        batch, height, width = shape
        images = np.empty((batch, self.family.channels, height, width), support(self.family).dtype)
        stack.pop(lambda heads, words, n, x: self._run(DECODE, x, context, stride, heads, words, n), images, ())
        return images

    def _run(
        self,
        purpose: int,
        images: Pixels,
        context: Context | None,
        stride: int,
        heads: npt.NDArray[np.uint64],
        words: npt.NDArray[np.uint32],
        n: int,
        costs: Costs = NO_COSTS,
        params: Words | None = None,
    ) -> int:
        lowest, highest, dtype = support(self.family)
        if images.ndim != 4 or images.shape[1] != self.family.channels or images.dtype != dtype or not images.size:
            raise ValueError(
                f"images are {images.shape} {images.dtype}, "
                f"expected (B, {self.family.channels}, H, W) {np.dtype(dtype)}"
            )
        if purpose != DECODE and not lowest <= images.min() <= images.max() <= highest:
            raise CoderError(f"pixels are {images.min()} to {images.max()}, expected {lowest} to {highest}")
        batch, _, height, width = images.shape
        net, symbols = self.net, images.size if purpose == ENCODE else 0
        if context is None:
            rows, stride = np.zeros((1, 1, 1, net.hidden), np.int16), 0
        else:
            expected = (batch, net.stem_width, -(-height // stride), -(-width // stride))
            if context.shape != expected or context.dtype != np.int16:
                raise ValueError(f"context is {context.shape} {context.dtype}, expected {expected} int16")
            more = net.hidden - net.stem_width
            rows = context.transpose(2, 3, 0, 1)
            if more:
                rows = np.pad(rows, ((0, 0), (0, 0), (0, 0), (0, more)))
        starts, masses = np.empty(symbols, np.int32), np.empty(symbols, np.int32)
        if params is None:
            params = np.empty((0, 0, 0, 0), np.int32)
        work = make_work(net, self.family, (batch, height, width))
        done = run(
            self.kernels,
            net,
            self.family,
            work,
            images,
            np.ascontiguousarray(rows),
            stride,
            purpose,
            heads,
            words,
            n,
            starts,
            masses,
            costs,
            LOG2,
            params,
        )
        return int(done)
