"""Images of several channels as planes one after another, each less one that came before, where that is smoother."""

from __future__ import annotations

from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from bbcodec.errors import DamagedArchive

ORDER: Final = {1: (0,), 2: (0, 1), 3: (1, 0, 2), 4: (1, 0, 2, 3)}  # green first, which is most like the others
ZERO: Final = 2**15  # what stands for no difference; differences are taken modulo 2**16
BYTES: Final = {1: (0,), 2: (1, 0), 3: (1, 0, 2), 4: (3, 1, 0, 2)}  # of pixels, the highest first
MEAN: Final = 2  # what is taken from a channel: 0 nothing, 1 the first in order, 2 the mean of the first two

Samples = NDArray[Any]  # uint8 or uint16 (N, H, W, C)
Planes = NDArray[np.uint16]  # (C, N, H, W)


def to_planes(images: Samples) -> tuple[Planes, bytes]:
    """Planes of images, and what was taken from each."""
    planes, taken = [], []
    for number, channel in enumerate(ORDER[images.shape[3]]):
        own = images[..., channel].astype(np.int32)
        may_be_less = number and images.dtype == np.uint8  # of 16 bits, differences would have more values
        ways = [own, *(own - other for other in _others(images, min(number, MEAN)))] if may_be_less else [own]
        roughness = [_roughness(way) for way in ways]
        taken.append(roughness.index(min(roughness)))
        planes.append((ways[taken[-1]] + (ZERO if taken[-1] else 0)).astype(np.uint16))
    return np.stack(planes), bytes(taken)


def from_planes(planes: Planes, taken: bytes, dtype: Any) -> Samples:
    """The images (N, H, W, C) of `to_planes`. Raises DamagedArchive."""
    images = np.empty((*planes.shape[1:], len(planes)), np.uint16)
    for number, (channel, way) in enumerate(zip(ORDER[len(planes)], taken, strict=True)):
        if way > min(number, MEAN):
            raise DamagedArchive("channels of images are less others that are not there")
        own = planes[number]
        images[..., channel] = own + _others(images, way)[-1] - np.uint16(ZERO) if way else own
    if images.max() > np.iinfo(dtype).max:
        raise DamagedArchive("images have values that are out of range")
    return images.astype(dtype)


def joined(images: Samples) -> NDArray[np.uint32]:
    """The pixels (N, H, W) of images uint8, as numbers: alpha in the highest byte, then green, red and blue."""
    pixels = np.zeros(images.shape[:3], np.uint32)
    for channel in BYTES[images.shape[3]]:
        pixels = pixels << np.uint32(8) | images[..., channel]
    return pixels


def parted(pixels: NDArray[np.uint32], channels: int) -> Samples:
    """The images uint8 of `joined`."""
    images = np.empty((*pixels.shape, channels), np.uint8)
    for number, channel in enumerate(reversed(BYTES[channels])):
        images[..., channel] = pixels >> np.uint32(8 * number) & np.uint32(255)
    return images


def _others(images: Samples, most: int) -> list[Samples]:
    """What may be taken from a channel, up to the way `most`."""
    first, second = (images[..., channel] for channel in ORDER[images.shape[3]][:2])
    return [first, (first & second) + ((first ^ second) >> 1)][:most]


def _roughness(plane: NDArray[np.int32]) -> int:
    return int(np.abs(np.diff(plane, axis=-1)).sum() + np.abs(np.diff(plane, axis=-2)).sum())
