"""From the bound to the message: what every step of bits-back coding adds, measured on the message of a learned chunk.

All costs are whole numbers of units of 2**-24 bits, so that steps add up exactly. A message is decoded, and encoded
once more with everybody watched; it must come out the same.
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

UNIT: Final = 2**24  # units of a bit
EXTREMES: Final = 6  # images of each chunk that are kept as its best and its worst
IWAE_PIXELS: Final = 2**18  # evaluated together

Whole = NDArray[np.int64]
Real = NDArray[np.float64]
Images = NDArray[np.uint8]


def units(nats: Any) -> Whole:
    """Nats as whole units of 2**-24 bits.

    >>> units([math.log(2)]).tolist()
    [16777216]
    """
    return np.rint(np.asarray(nats, np.float64) * (UNIT / math.log(2))).astype(np.int64)


@dataclass
class Site:
    """What each image costs at one random variable, (N,) in units of 2**-24 bits.

    continuous: minus the terms of the bound, with latents that no grid holds. discretised: the same of the latents that
    were coded, in floats. masses: in whole numbers, as coded. popped: what its posterior took off the stack (0 of
    pixels).
    """

    latent: bool
    continuous: Whole
    discretised: Whole
    masses: Whole
    popped: Whole


@dataclass
class Means:
    """Sums of the posterior means of one layer over images of one size, for active units: of the latents' shape."""

    count: int
    total: Real
    squares: Real

    def add(self, other: Means) -> None:
        """Take in more images."""
        self.count += other.count
        self.total += other.total
        self.squares += other.squares

    @property
    def variances(self) -> Real:
        """Of the posterior mean of each latent, over the images."""
        found: Real = self.squares / self.count - (self.total / self.count) ** 2
        return found


@dataclass
class ChunkAccount:
    """What the message of one learned chunk consists of.

    sites: by name, the top of the hierarchy first, pixels last. message_bits: all of the message. initial and room, in
    units: the bits that latents were first popped from, and what the last head could still have held. iwae: the gap
    between the bounds of 1 and of k draws, nats, by k, (n,) for the n images at `iwae_at`; draw_variances: how much the
    bound of one draw varies from draw to draw, nats squared, (n,). extremes: pictures of the images that cost least and
    most, by their position, of 256 levels.
    """

    count: int
    dims: int  # of one image
    sites: dict[str, Site]
    message_bytes: int
    word_bytes: int
    initial: int
    room: int
    batches: int
    means: dict[tuple[str, tuple[int, ...]], Means] = field(default_factory=dict)
    iwae_at: tuple[int, ...] = ()
    iwae: dict[int, Real] = field(default_factory=dict)
    draw_variances: Real = field(default_factory=lambda: np.zeros(0))
    extremes: dict[int, Images] = field(default_factory=dict)

    @property
    def per_image(self) -> Whole:
        """What each image adds to the message, (N,) in units."""
        total: Whole = sum((site.masses for site in self.sites.values()), np.zeros(self.count, np.int64))
        return total


class _Ledger:
    """Watches the encoding of a chunk, batch by batch, and keeps what each site cost."""

    def __init__(self, model: Any, count: int, seed: int) -> None:
        import torch

        self.model, self.count = model, count
        self.generator = torch.Generator().manual_seed(seed)
        self.sites: dict[str, Site] = {}
        self.means: dict[tuple[str, tuple[int, ...]], Means] = {}
        self._noise: dict[str, Tensor] = {}
        self._order: list[str] = []
        self._at = slice(0)

    def open(self, at: slice) -> None:
        """A batch begins; `at` are its images."""
        self._at, self._noise, self._order = at, {}, []

    def visit(self, name: str, p: Distribution, q: Distribution | None, value: Tensor) -> None:
        """Note what coding `value` cost, and what noise would have drawn it."""
        from bbcodec.distributions.gaussian import PARAMETER_UNIT as STEP
        from bbcodec.distributions.gaussian import Gaussian

        if name not in self.sites:
            self.sites[name] = Site(q is not None, *(np.zeros(self.count, np.int64) for _ in range(4)))
        self._order.append(name)
        site = self.sites[name]
        nats = -p.log_prob(value).double()
        cost, popped = p.information(value), np.zeros(len(value), np.int64)
        if q is not None:
            nats = nats + q.log_prob(value).double()
            popped = q.information(value)
            self._noise[name] = q.noise(value, self.generator) if isinstance(q, Gaussian) else value
            if isinstance(q, Gaussian):
                mean = q.mean.clamp(-8 * STEP, 8 * STEP).double().cpu().numpy() / STEP
                self._add_means(name, Means(len(mean), mean.sum(0), (mean * mean).sum(0)))
        site.discretised[self._at] = units(nats.cpu().numpy())
        site.masses[self._at] = cost - popped
        site.popped[self._at] = popped

    def _add_means(self, name: str, means: Means) -> None:
        key = name, means.total.shape
        if key in self.means:
            self.means[key].add(means)
        else:
            self.means[key] = means

    def close(self, x: Tensor) -> None:
        """A batch (B, C, H, W) ends: the bound of latents that no grid holds, from the same noise."""
        from bbcodec.distributions.gaussian import Gaussian
        from bbcodec.model.bounds import continuous_elbo

        def draw(name: str, q: Distribution) -> Tensor:
            return q.between(self._noise[name]) if isinstance(q, Gaussian) else self._noise[name]

        for name, nats in continuous_elbo(self.model, x, draw).items():
            self.sites[name].continuous[self._at] = units(-nats.cpu().numpy())
        self.sites = {name: self.sites[name] for name in reversed(self._order)}


@dataclass(frozen=True)
class AccountTask:
    """A learned chunk that is to be accounted for: where it lies, and on which images the bound of k draws is wanted.

    draws: of the latents, at least the greatest of `ks`.
    """

    path: str
    chunk: Chunk
    iwae_at: tuple[int, ...] = ()
    ks: tuple[int, ...] = ()
    seed: int = 0


def account_task(pool: CodecPool, task: AccountTask) -> ChunkAccount:
    """Decode a chunk and account for its message.

    Raises DamagedArchive where the chunk does not decode, BBCodecError where its message cannot be written again.
    """
    from bbcodec.codec.device import one_thread
    from bbcodec.model.bounds import iwae

    body = LearnedMessage.unpack(read_chunk(task.path, task.chunk))
    source, images = pool.decode(body)
    codec: Any = pool.codec(source)
    with one_thread():
        found = account_message(codec, images, body.stream, task.seed)
        if task.iwae_at:
            found.iwae_at = task.iwae_at
            weights = draw_weights(codec, images[list(task.iwae_at)], max(task.ks), task.seed)
            found.iwae = {k: iwae(weights, k) - iwae(weights, 1) for k in task.ks}
            found.draw_variances = weights.var(0, ddof=min(1, len(weights) - 1))
    return found


def account_message(codec: Codec, images: Images, message: bytes, seed: int = 0) -> ChunkAccount:
    """Account for the message of images (N, H, W, C). Raises BBCodecError unless encoding them gives it once more."""
    from bbcodec.codec.codec import SEED
    from bbcodec.coder.ans import AnsStack

    ledger = _Ledger(codec.model, len(images), seed)
    stack, batches = _encode_again(codec, images, message[0], ledger)
    words = stack.flatten()
    packed = words.astype("<u4").tobytes()
    if message != bytes([message[0]]) + packed:
        raise BBCodecError("a message that is encoded again comes out different: a fault of bbcodec or of this machine")
    high, low = words[: stack.lanes].astype(np.float64), words[stack.lanes : 2 * stack.lanes].astype(np.float64)
    head_bits = float(np.log2(high * 2.0**32 + low).sum())
    return ChunkAccount(
        count=len(images),
        dims=int(images[0].size),
        sites=ledger.sites,
        message_bytes=len(message),
        word_bytes=len(packed),
        initial=round((32 * stack.initial_words + AnsStack.seeded(SEED, stack.lanes).bits) * UNIT),
        room=round((64 * stack.lanes - head_bits) * UNIT),
        batches=batches,
        means=ledger.means,
        extremes=_extremes(images if codec.pixels.levels > 2 else images * np.uint8(255), ledger.sites),
    )


def _encode_again(codec: Codec, images: Images, growth: int, ledger: _Ledger) -> tuple[AnsStack, int]:
    """The stack of a message, and its number of batches, as `Codec.chain` makes it, with the ledger watching."""
    from bbcodec.codec.codec import SEED, batch_widths
    from bbcodec.coder.ans import AnsStack
    from bbcodec.model.interpreters import encode

    stack = AnsStack.seeded(SEED)
    end = len(images)
    widths = batch_widths(end, growth, codec.widest(images.shape))
    for width in widths:
        x = codec.tensor(images[end - width : end])
        ledger.open(slice(end - width, end))
        encode(codec.model, stack, x, visit=ledger.visit)
        ledger.close(x)
        end -= width
    return stack, len(widths)


def draw_weights(codec: Codec, images: Images, draws: int, seed: int) -> Real:
    """log p(x, z) - log q(z | x) of images (n, H, W, C) at so many draws of their latents: (draws, n) nats."""
    import torch

    from bbcodec.model.bounds import importance_weights

    generator = torch.Generator().manual_seed(seed)
    most = max(1, IWAE_PIXELS // (images.shape[1] * images.shape[2]))
    parts = (codec.tensor(images[first : first + most]) for first in range(0, len(images), most))
    return np.concatenate([importance_weights(codec.model, x, draws, generator) for x in parts], 1)


def _extremes(images: Images, sites: dict[str, Site]) -> dict[int, Images]:
    """The images that cost least and most, by position."""
    cost: Whole = np.sum([site.masses for site in sites.values()], axis=0)
    order = np.argsort(cost, kind="stable").tolist()
    return {position: images[position].copy() for position in {*order[:EXTREMES], *order[-EXTREMES:]}}
