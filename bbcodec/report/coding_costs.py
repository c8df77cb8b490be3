"""What every step of bits-back coding adds, from the bound to the message of a learned chunk.

Costs are whole numbers of units of 2**-24 bits, so that steps add up exactly. A message is decoded, and encoded once
more while the cost of every random variable is recorded; it must come out the same.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Final

import numpy as np
from numpy.typing import NDArray

from bbcodec.archive.format.chunks import Chunk, read_chunk
from bbcodec.codec.message import LearnedMessage
from bbcodec.errors import BBCodecError

if TYPE_CHECKING:
    from torch import Tensor

    from bbcodec.codec.codec import Codec
    from bbcodec.codec.pool import CodecPool
    from bbcodec.coder.ans import AnsStack
    from bbcodec.distributions.base import Distribution

UNITS_PER_BIT: Final = 2**24
UNITS_PER_BYTE: Final = 8 * UNITS_PER_BIT
EXTREME_IMAGES: Final = 6  # kept of each chunk: so many of the cheapest, and of the most expensive
IWAE_PIXELS: Final = 2**18  # evaluated together

Integers = NDArray[np.int64]
Reals = NDArray[np.float64]
Images = NDArray[np.uint8]


def units_from_nats(nats: Any) -> Integers:
    """Nats as whole units of 2**-24 bits.

    >>> units_from_nats([math.log(2)]).tolist()
    [16777216]
    """
    return np.rint(np.asarray(nats, np.float64) * (UNITS_PER_BIT / math.log(2))).astype(np.int64)


@dataclass
class SiteCosts:
    """What each image costs at one random variable, (N,) in units.

    latent: the variable is a latent, not the pixels. elbo: minus its terms of the bound, with continuous latents.
    discretised: the same with the latents that were coded, on their grid, in floats. integer: the same in integer
    masses, as coded. popped: what its posterior took off the stack; 0 for pixels.
    """

    latent: bool
    elbo: Integers
    discretised: Integers
    integer: Integers
    popped: Integers


@dataclass
class MeanMoments:
    """Sums over `count` images of a layer's posterior means and of what was drawn, and of the squares of both.

    Arrays of two rows, means and draws, each in the shape of the latents.
    """

    count: int
    totals: Reals
    squares: Reals

    @classmethod
    def of(cls, means: Reals, draws: Reals) -> MeanMoments:
        """Those of posterior means and draws, (N, ...), of the same images."""
        both = np.stack([means, draws])
        return cls(len(means), both.sum(1), (both * both).sum(1))

    def __add__(self, other: MeanMoments) -> MeanMoments:
        return MeanMoments(self.count + other.count, self.totals + other.totals, self.squares + other.squares)

    @property
    def shares(self) -> Reals:
        """The variance of each latent's posterior mean over the images, of that of the latent itself: 0 to 1.

        Latents as they are drawn follow the prior, if it is a good one.
        """
        means, draws = self.squares / self.count - (self.totals / self.count) ** 2
        shares: Reals = means / np.maximum(draws, 1e-9)
        return shares


LayerShape = tuple[str, tuple[int, ...]]  # a layer's name, and the shape of its latents


@dataclass
class ChunkCosts:
    """What the message of one learned chunk consists of.

    count, dims: images, and values of each. sites: by name, from the top of the hierarchy to the pixels. word_bytes:
    of the message without its first byte. initial_units: the bits that the first latents are popped from. spare_units:
    what the last head could still have held. moments: of posterior means. mixed: what each image adds to a mixed
    message, (N,) in units; None for others.

    iwae_gaps_nats: the gap between the bounds of 1 and k draws, by k, (n,) for the n images at `iwae_positions`.
    draw_variances: how the bound of one draw varies from draw to draw, in squared nats, (n,). extreme_images: the
    cheapest and the most expensive images, with 256 levels, by position.
    """

    count: int
    dims: int
    sites: dict[str, SiteCosts]
    message_bytes: int
    word_bytes: int
    initial_units: int
    spare_units: int
    batches: int
    moments: dict[LayerShape, MeanMoments] = field(default_factory=dict)
    mixed: Integers | None = None
    iwae_positions: tuple[int, ...] = ()
    iwae_gaps_nats: dict[int, Reals] = field(default_factory=dict)
    draw_variances: Reals = field(default_factory=lambda: np.zeros(0))
    extreme_images: dict[int, Images] = field(default_factory=dict)

    @property
    def image_units(self) -> Integers:
        """What each image adds to the message, (N,) in units."""
        if self.mixed is not None:
            return self.mixed
        total: Integers = sum((site.integer for site in self.sites.values()), np.zeros(self.count, np.int64))
        return total


class _CostRecorder:
    """Records what each site costs while a chunk is encoded, batch by batch."""

    def __init__(self, model: Any, count: int, seed: int) -> None:
        import torch

        self.model, self.count = model, count
        self.generator = torch.Generator().manual_seed(seed)
        self.sites: dict[str, SiteCosts] = {}
        self.moments: dict[LayerShape, MeanMoments] = {}
        self._noise: dict[str, Tensor] = {}
        self._order: list[str] = []
        self._batch = slice(0)

    def begin(self, batch: slice) -> None:
        """Begin a batch, with these images of the chunk."""
        self._batch, self._noise, self._order = batch, {}, []

    def visit(self, name: str, p: Distribution, q: Distribution | None, value: Tensor, cost: Integers) -> None:
        """Record what coding `value` costs, and draw noise that the posterior would have rounded to it."""
        from bbcodec.distributions.gaussian import PARAMETER_UNIT as STEP
        from bbcodec.distributions.gaussian import Gaussian

        if name not in self.sites:
            self.sites[name] = SiteCosts(q is not None, *(np.zeros(self.count, np.int64) for _ in range(4)))
        self._order.append(name)
        site = self.sites[name]
        nats = -p.log_prob(value).double()
        popped = np.zeros(len(value), np.int64)
        if q is not None:
            nats = nats + q.log_prob(value).double()
            popped = q.information(value)
            self._noise[name] = q.noise(value, self.generator) if isinstance(q, Gaussian) else value
            if isinstance(q, Gaussian):
                mean = q.mean.clamp(-8 * STEP, 8 * STEP).double().cpu().numpy() / STEP
                self._add_moments(name, MeanMoments.of(mean, value.double().cpu().numpy() / q.steps))
        site.discretised[self._batch] = units_from_nats(nats.cpu().numpy())
        site.integer[self._batch] = cost - popped
        site.popped[self._batch] = popped

    def _add_moments(self, name: str, moments: MeanMoments) -> None:
        key = name, moments.totals.shape[1:]
        self.moments[key] = self.moments[key] + moments if key in self.moments else moments

    def end(self, x: Tensor) -> None:
        """End the batch x (B, C, H, W): evaluate the bound with continuous latents, drawn from the same noise."""
        from bbcodec.distributions.gaussian import Gaussian
        from bbcodec.model.bounds import continuous_elbo

        def draw(name: str, q: Distribution) -> Tensor:
            return q.between(self._noise[name]) if isinstance(q, Gaussian) else self._noise[name]

        for name, nats in continuous_elbo(self.model, x, draw).items():
            self.sites[name].elbo[self._batch] = units_from_nats(-nats.cpu().numpy())
        self.sites = {name: self.sites[name] for name in reversed(self._order)}


@dataclass(frozen=True)
class ChunkTask:
    """A learned chunk to measure: where it is, and at which images to evaluate the bounds of `draws` draws.

    seed: of the latents drawn for these bounds.
    """

    path: str
    chunk: Chunk
    iwae_positions: tuple[int, ...] = ()
    draws: tuple[int, ...] = ()
    seed: int = 0


def measure_chunk(pool: CodecPool, task: ChunkTask) -> ChunkCosts:
    """The costs of a learned chunk, which is decoded first.

    Raises DamagedArchive if the chunk does not decode, BBCodecError if its message cannot be reproduced.
    """
    from bbcodec.codec.codec import is_mixed
    from bbcodec.codec.device import one_thread
    from bbcodec.model.bounds import iwae

    body = LearnedMessage.unpack(read_chunk(task.path, task.chunk))
    source, images = pool.decode(body)
    mixed = None
    if is_mixed(body.stream):
        again, bits = pool.encode(source, images, mix=True)
        check_again(again.stream, body.stream)
        mixed = np.rint(bits * UNITS_PER_BIT).astype(np.int64)
    codec: Any = pool.codec(source, engine=False)
    with one_thread():
        costs = measure_message(codec, images, body.stream, task.seed, mixed)
        if task.iwae_positions:
            costs.iwae_positions = task.iwae_positions
            weights = importance_weights_of(codec, images[list(task.iwae_positions)], max(task.draws), task.seed)
            costs.iwae_gaps_nats = {k: iwae(weights, k) - iwae(weights, 1) for k in task.draws}
            costs.draw_variances = weights.var(0, ddof=min(1, len(weights) - 1))
    return costs


def check_again(found: bytes, expected: bytes) -> None:
    """Raise BBCodecError unless a message that was encoded again is the same."""
    if found != expected:
        raise BBCodecError("encoding a message again gives other bytes: a fault of bbcodec or of this machine")


def measure_message(
    codec: Codec, images: Images, message: bytes, seed: int = 0, mixed: Integers | None = None
) -> ChunkCosts:
    """The costs of the message of images (N, H, W, C). Raises BBCodecError unless encoding them reproduces it.

    mixed: of a mixed message, which the caller has checked, what each image adds to it.
    """
    from bbcodec.codec.codec import SEED
    from bbcodec.codec.torch_backend import torch_of
    from bbcodec.coder.ans import AnsStack

    recorder = _CostRecorder(torch_of(codec).model, len(images), seed)
    stack, batches = _encode_again(codec, images, message[0], recorder)
    words = stack.flatten()
    if mixed is None:
        check_again(bytes([message[0]]) + words.astype("<u4").tobytes(), message)
    high, low = words[: stack.lanes].astype(np.float64), words[stack.lanes : 2 * stack.lanes].astype(np.float64)
    initial = round((32 * stack.initial_words + AnsStack.seeded(SEED, stack.lanes).bits) * UNITS_PER_BIT)
    head_bits = float(np.log2(high * 2.0**32 + low).sum())
    return ChunkCosts(
        count=len(images),
        dims=int(images[0].size),
        sites=recorder.sites,
        message_bytes=len(message),
        word_bytes=len(message) - 1,
        initial_units=0 if mixed is not None else initial,
        spare_units=0 if mixed is not None else round((64 * stack.lanes - head_bits) * UNITS_PER_BIT),
        mixed=mixed,
        batches=batches,
        moments=recorder.moments,
        extreme_images=_extreme_images(images if codec.pixels.levels > 2 else images * np.uint8(255), recorder.sites),
    )


def _encode_again(codec: Codec, images: Images, growth: int, recorder: _CostRecorder) -> tuple[AnsStack, int]:
    """The stack of a message as `Codec.chain` makes it, and its number of batches, with costs recorded."""
    from bbcodec.codec.codec import SEED, batch_widths
    from bbcodec.codec.torch_backend import torch_of
    from bbcodec.coder.ans import AnsStack
    from bbcodec.model.coding import encode

    network = torch_of(codec)
    stack = AnsStack.seeded(SEED, codec.lanes(images.shape))
    end = len(images)
    widths = batch_widths(end, growth, codec.widest(images.shape))
    for width in widths:
        x = network.tensor(images[end - width : end])
        recorder.begin(slice(end - width, end))
        encode(network.model, stack, x, visit=recorder.visit)
        recorder.end(x)
        end -= width
    return stack, len(widths)


def importance_weights_of(codec: Codec, images: Images, draws: int, seed: int) -> Reals:
    """log p(x, z) - log q(z | x) of images (n, H, W, C) at `draws` draws of their latents: (draws, n) nats."""
    import torch

    from bbcodec.codec.torch_backend import torch_of
    from bbcodec.model.bounds import importance_weights

    network = torch_of(codec)
    generator = torch.Generator().manual_seed(seed)
    most = max(1, IWAE_PIXELS // (images.shape[1] * images.shape[2]))
    parts = (network.tensor(images[first : first + most]) for first in range(0, len(images), most))
    return np.concatenate([importance_weights(network.model, x, draws, generator) for x in parts], 1)


def _extreme_images(images: Images, sites: dict[str, SiteCosts]) -> dict[int, Images]:
    """The cheapest and the most expensive images, by position."""
    cost: Integers = np.sum([site.integer for site in sites.values()], axis=0)
    order = np.argsort(cost, kind="stable").tolist()
    positions = {*order[:EXTREME_IMAGES], *order[-EXTREME_IMAGES:]}
    return {position: images[position].copy() for position in positions}
