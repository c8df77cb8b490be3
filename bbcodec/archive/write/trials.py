"""Quick trials: whether a slow storage coding could make images shorter than they are already, by a learned codec.

Most cannot, and coding them in full would take longer than everything else. What quick trials say is no proof: their
margins leave room beyond what photos and drawings were found to need; `benchmarks/trials.py` compares with full ones.
"""

from __future__ import annotations

import lzma
import zlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Final, NamedTuple

import numpy as np
from numpy.typing import NDArray

from bbcodec.binary import HARDLY, compress_lzma
from bbcodec.codec.pool import Pixels
from bbcodec.images.codings.base import SHEET_SIDE, Effort
from bbcodec.images.codings.predicted import PredictedCoding
from bbcodec.images.codings.webp import WebPCoding
from bbcodec.images.samples import Samples
from bbcodec.prediction.colours import few_colours


class Even(NamedTuple):
    """The ratio of the bytes of two codings on a strip that are even on the whole, and bounds of what leaves doubt."""

    low: float
    middle: float
    high: float


# A WebP of full effort has this share, or more, of one made at a glance (a fifth of the time of a closer look, which
# takes a third of the time of full effort), and of one made with a closer look.
GLANCE: Final = 1 / 1.3
LOOK: Final = 1 / 1.15
SHEET_LOOK: Final = 1 / 1.08  # which have more pixels, and so less that is by chance
# Pictures for which the least effort is nearly as good as a glance are photos, which further effort hardly shrinks.
PHOTO: Final = 1.1
PHOTO_GLANCE: Final = 1 / 1.07
PNG: Final = 1 / 1.07  # a PNG has this share, or more, of a WebP made at a glance
# Of an image of which few samples are as those beside or above them, codings have these shares, or more, of the entropy
# of its residuals in a fourth of its rows.
OF_ENTROPY: Final = {"webp": 0.88, "png": 0.97, "predicted": 0.5}
FEW_ALIKE: Final = 1 / 3
STRIP: Final = 8  # rows
# But quick WebPs do not see what is repeated more than 16 rows below: they count with the share of bytes that is new,
# and of small images further effort may make up for so many bytes.
SLACK_BYTES: Final = 32

# An image in `predicted` has this share, or more, of what the strip in its middle says, an eighth of its rows: what the
# coding learns there is not yet of use. Images of few colours, and small ones, are coded in full.
PREDICTED: Final = 0.8
SMALL: Final = 2**15  # samples

# Of a photo, the rows in its middle tell whether `predicted` or a learned codec takes fewer bytes: by the ratio of the
# former's to the latter's there, unless it is between the bounds. What `predicted` learns gains it 1 to 8 % on the
# whole; a codec mixed with contexts learns nearly as much.
STRIP_SAMPLES: Final = 2**14
MANY_STRIPS: Final = 8
EVEN: Final = Even(1.015, 1.03, 1.045)
EVEN_MIXED: Final = Even(1.0, 1.02, 1.035)
# Before that, a few of these rows tell where `predicted` takes much fewer: what it takes for the last ones, as those
# above have taught it, has this share, or less, of what a codec takes for them alone.
CLEARLY_FEWER: Final = 0.93
LAST: Final = 4  # rows of a strip, one in so many

# Of flat images, so many samples are as those to the left; an image that takes so few bytes for its samples is left as
# it is: `predicted` could save no more than them, and takes a second for a million samples.
FLAT: Final = 0.98
NOTHING: Final = 2**12

# LZMA has these shares, or more: of deflate of the least effort, where that gives over half of the bytes and nothing
# repeats far away; of LZMA of the least effort; and of that of two levels, eight to a byte.
LZMA_OF_DEFLATE: Final = 0.6
LZMA_OF_LEAST: Final = 0.55
DEFLATE_OF_LEAST: Final = 0.9  # deflate has this share, or more, of that of the least effort where that gains nothing
LZMA_OF_PACKED: Final = 0.7
LEAST_LZMA: Final = [{"id": lzma.FILTER_LZMA2, "preset": 0, "dict_size": 2**24}]

_WEBP: Final = WebPCoding()
_PREDICTED: Final = PredictedCoding()
ENOUGH: Final = 512
LOOKED_AT: Final = 32
_ODD: Final = np.array([0x9E3779B1, 0x85EBCA77, 0xC2B2AE3D, 0x27D4EB2F], np.uint32)  # of xxHash


@dataclass
class PictureTrials:
    """Quick trials of one image (H, W, C), each made when it is first asked for."""

    image: Samples
    levels: int
    _sizes: dict[Effort, int] = field(default_factory=dict)

    def ordered(self, codings: Sequence[str]) -> list[str]:
        """Storage codings in the order in which they are best tried: of flat images, `predicted` is the last.

        Others code these much sooner, and may settle that it can gain next to nothing.
        """
        flat = self.image.shape[1] > 1 and (self.image[:, 1:] == self.image[:, :-1]).mean() > FLAT
        return sorted(codings, key=lambda coding: coding == "predicted") if flat else list(codings)

    def least(self, coding: str, bar: float) -> float | None:
        """The bytes that a storage coding gives, at least, if these are over `bar`; None where they may be fewer."""
        if bar == np.inf or coding not in OF_ENTROPY:
            return None
        if coding == "predicted" and bar * NOTHING < self.image.size > SMALL:
            return bar + 1
        if coding == "predicted" and self._drawn:
            return None
        of_entropy = OF_ENTROPY[coding] * self._entropy
        if of_entropy > bar:
            least = of_entropy * self._new_share - SLACK_BYTES
            if least > bar:
                return least
        if coding == "predicted":
            least = self._least_predicted()
            return least if least > bar else None
        least = self._share("glance", PHOTO_GLANCE if coding == "webp" else PNG)
        if least > bar and coding == "webp":
            least = self._least_webp(bar)
        return least if least > bar else None

    def _least_webp(self, bar: float) -> float:
        """The bytes of a WebP, at least, where a glance says that more than the bar are possible."""
        least = self._share("glance", GLANCE)
        if least > bar:
            return least
        if self._size("least") < PHOTO * self._size("glance"):
            return self._share("glance", PHOTO_GLANCE)
        return self._share("look", LOOK)

    def _least_predicted(self) -> float:
        """The bytes in `predicted`, at least; 0 where it is as well to try."""
        height = len(self.image)
        if self.image.size <= SMALL or height < 8 * STRIP:
            return 0.0
        rows = height // 8
        strip = self.image[(height - rows) // 2 :][:rows]
        return PREDICTED * len(_PREDICTED.encode(strip, self.levels)) * height / rows

    def _share(self, effort: Effort, share: float) -> float:
        """The bytes at least, if they are such a share of a WebP of less effort: no more than of plain samples."""
        plain = self.image.nbytes / (8 if self.levels == 2 else 1)
        size = min(self._size(effort) * share, plain) - SLACK_BYTES
        return size * self._new_share if size > 0 else 0

    def _size(self, effort: Effort) -> int:
        """The bytes of a WebP; none where it cannot be one."""
        if effort not in self._sizes:
            fits = _WEBP.takes(self.image.shape[2], self.levels) and max(self.image.shape[:2]) <= SHEET_SIDE
            pixels = self.image * np.uint8(255) if self.levels == 2 else self.image
            self._sizes[effort] = len(_WEBP.encode_picture(pixels, effort)) if fits else 0
        return self._sizes[effort]

    @cached_property
    def _entropy(self) -> float:
        """Bytes by the entropy of residuals; 0 where they do not tell what a WebP or PNG takes."""
        alike, size = self._residuals
        return min(size, self.image.nbytes) if alike < FEW_ALIKE else 0.0

    @cached_property
    def _drawn(self) -> bool:
        """Whether colours are few, or pixels often as those nearby: then `predicted` finds what is repeated."""
        alike = self.levels == 256 and self._residuals[0] >= FEW_ALIKE
        return alike or few_colours(self.image[None]) is not None

    @cached_property
    def _residuals(self) -> tuple[float, float]:
        return (1.0, 0.0) if self.levels != 256 else residuals(self.image)

    @cached_property
    def _new_share(self) -> float:
        return 1 - repeated_share(self.image)


def middle_strips(images: Pixels) -> Pixels | None:
    """The rows in the middle of photos (N, H, W, C) that tell how well they can be coded: an eighth of all, or more.

    Those of every second photo, or fewer, where they are many. None of small images, and where one is a drawing, which
    has other things in other rows.
    """
    height, width, channels = images.shape[1:]
    rows = max(height // 8, -(-STRIP_SAMPLES // (width * channels)))
    some = images[:: -(-len(images) // MANY_STRIPS)]
    if 4 * rows > height or any(map(drawn, some[:, None])):
        return None
    return np.ascontiguousarray(some[:, (height - rows) // 2 :][:, :rows])


def predicted_by_less(strips: Pixels, learned: Callable[[Pixels], float | None]) -> bool:
    """Whether `predicted` takes clearly fewer bytes than a codec for the last rows of each of some strips.

    learned: the bytes in which the codec has images; None if it cannot have them.
    """
    from bbcodec.prediction.streams import bits_of_last_rows

    rows = max(strips.shape[1] // LAST, STRIP)
    for strip in strips[:, None]:
        codec = learned(np.ascontiguousarray(strip[:, -rows:]))
        if codec is None or bits_of_last_rows(strip, rows) / 8 > CLEARLY_FEWER * codec:
            return False
    return True


def drawn(images: Pixels) -> bool:
    """Whether images (N, H, W, C) are drawings: many pixels are as those beside them, or colours are few."""
    return residuals(images.reshape(-1, *images.shape[2:]))[0] >= FEW_ALIKE


def residuals(image: Samples) -> tuple[float, float]:
    """Of pixels (H, W, C) uint8, which share is as that to the left or above; and bytes by the entropy of residuals.

    Those of the best of three predictors and of the best of three ways to subtract green, in each strip of rows that is
    looked at, a fourth of all: about what WebP chooses from. (1, 0) where there are no such strips, or few colours, of
    which codings make palettes.
    """
    height, width = image.shape[:2]
    if image.dtype != np.uint8 or height <= STRIP or width <= STRIP or few_colours(image[None]) is not None:
        return 1.0, 0.0
    first = np.linspace(0, height - STRIP - 1, -(-height // (4 * STRIP))).astype(int)
    rows = np.stack([image[at : at + STRIP + 1] for at in first]).astype(np.int16)
    here, left, above, corner = rows[:, 1:, 1:], rows[:, 1:, :-1], rows[:, :-1, 1:], rows[:, :-1, :-1]
    alike = ((here == left).all(-1) | (here == above).all(-1)).mean()
    plane = left + above - corner
    median = np.clip(plane, np.minimum(left, above), np.maximum(left, above))
    predictions = plane.clip(0, 255), median, (left + above) >> 1
    bits = np.minimum.reduce([_channel_bits(here - prediction) for prediction in predictions]).mean()
    return float(alike), float(bits) * height * width / 8


def _channel_bits(residual: NDArray[np.int16]) -> NDArray[np.float64]:
    """Bits a pixel of residuals (strips, rows, W, C) in each strip."""
    plain = _entropies(residual)
    if residual.shape[-1] < 3:
        return np.asarray(plain.sum(-1))
    green, others = residual[..., 1:2], residual[..., 0:3:2]
    plain[:, 0:3:2] = np.minimum.reduce(
        [plain[:, 0:3:2], _entropies(others - green), _entropies(others - (green >> 1))]
    )
    return np.asarray(plain.sum(-1))


def _entropies(residual: NDArray[np.int16]) -> NDArray[np.float64]:
    """Bits of a value modulo 256, of each channel of each strip: (strips, C)."""
    strips, channels = len(residual), residual.shape[-1]
    histograms = np.arange(strips * channels).reshape(strips, 1, 1, channels) * 256 + (residual & 255)
    counts = np.bincount(histograms.reshape(-1), minlength=256 * strips * channels).reshape(strips, channels, 256)
    shares = counts / counts.sum(-1, keepdims=True)
    return np.asarray(-(shares * np.log2(np.maximum(shares, 1e-12))).sum(-1))


def least_sheet(coding: str, images: Pixels, bar: float) -> float:
    """The bytes of images (N, H, W, C) in a sheet of a storage coding, at least; 0 where nothing is known.

    bar: bytes of interest: if it is clear that a sheet takes more, no more is found out.
    """
    if coding == "webp":
        sheet, new_share = images.reshape(-1, *images.shape[2:]), 1 - repeated_share(images)
        alike, size = residuals(sheet) if images.max() > 1 else (1.0, 0.0)
        least = OF_ENTROPY[coding] * min(size, images.nbytes) * new_share - SLACK_BYTES
        if alike < FEW_ALIKE and least > bar:
            return least
        least = (len(_WEBP.encode_picture(sheet, "glance")) * GLANCE - SLACK_BYTES) * new_share
        if least > bar:
            return least
        return (len(_WEBP.encode_picture(sheet, "look")) * SHEET_LOOK - SLACK_BYTES) * new_share
    if coding in ("lzma", "lzma-planar"):
        return least_lzma(np.ascontiguousarray(images if coding == "lzma" else images.transpose(3, 0, 1, 2)))
    return 0


def least_lzma(values: Pixels) -> float:
    """The bytes that uint8 values of 2 or 256 levels would take in LZMA, at least."""
    if values.max() <= 1:
        return LZMA_OF_PACKED * len(compress_lzma(np.packbits(values).tobytes(), LEAST_LZMA))
    data = values.tobytes()
    return _least_lzma(data, len(zlib.compress(data, 1)))


def _least_lzma(data: bytes, deflated: int) -> float:
    """The bytes of data that deflate of the least effort makes so short."""
    if deflated > len(data) / 2:
        return LZMA_OF_DEFLATE * deflated * (1 - repeated_share(np.frombuffer(data, np.uint8)))
    return LZMA_OF_LEAST * len(compress_lzma(data, LEAST_LZMA))


def least_packed(data: bytes) -> float:
    """The bytes that data would take in the shortest of deflate and LZMA (`bbcodec.binary.shortest`), at least."""
    deflated = len(zlib.compress(data, 1))
    return DEFLATE_OF_LEAST * deflated if deflated >= HARDLY * len(data) else _least_lzma(data, deflated)


def repetition(images: Pixels, bar: float) -> float:
    """How much images (N, H, W, C) repeat each other, 0 to 1: a sheet of all takes less than its share of a few says.

    bar: bytes that they take in another way. Short stretches of two levels repeat in any case: there LZMA tells.
    """
    return float(least_lzma(images) <= bar) if images.max() <= 1 else repeated_share(images)


def repeated_share(values: Samples) -> float:
    """The share of stretches of 16 bytes that occurred before, however far away; those of one colour do not count.

    Looked at are about ENOUGH stretches, or one in LOOKED_AT, by their hashes, so that all occurrences of one are.
    """
    data, found = np.ascontiguousarray(values).reshape(-1).view(np.uint8), []
    below = np.uint32(2**32 // min(max(data.size // ENOUGH, 1), LOOKED_AT) - 1)
    for first in range(4):
        words = data[first : first + max(0, data.size - first) // 4 * 4].view(np.uint32)
        hashes = words[:-3] * _ODD[0]
        for after in range(1, 4):
            hashes += words[after : len(words) - 3 + after] * _ODD[after]
        at = np.flatnonzero(hashes <= below)
        one, two, three, four = (words[at + after] for after in range(4))
        flat = (one == two) & (two == three) & (three == four)
        more = (one ^ np.uint64(2**32) * two) * _ODD[0] ^ (three ^ np.uint64(2**32) * four) * _ODD[1]
        found.append((more ^ hashes[at] * np.uint64(2**32))[~flat])
    stretches = np.concatenate(found)
    return 1 - len(np.unique(stretches)) / len(stretches) if len(stretches) else 0.0
