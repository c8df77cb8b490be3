"""Images as one stream: into what parts they fall, and colours, if these are few, pixels, or errors of predictions."""

from __future__ import annotations

from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from bbcodec.binary import pack_varint, take_varint
from bbcodec.errors import DamagedArchive
from bbcodec.prediction import pixels, residuals
from bbcodec.prediction.channels import from_planes, joined, parted, to_planes
from bbcodec.prediction.colours import Colours, all_grey, few_colours, indices_of, pack_colours, take_colours
from bbcodec.prediction.stacks import parts_of
from bbcodec.prediction.used_values import UsedValues

WIDE: Final = 0x80  # in the first byte: samples of 16 bits
COLOURED: Final = 0x40  # in the first byte: few colours
BY_PIXELS: Final = 0x20  # in the first byte: many colours, pixel by pixel

SAMPLE: Final = 2**13  # samples that tell whether images are drawn
CLEARLY: Final = 0.9

Samples = NDArray[Any]  # uint8 or uint16 (N, H, W, C)
Shape = tuple[int, int, int, int]


def pack_images(images: Samples) -> bytes:
    """Images uint8 or uint16 (N, H, W, C), C from 1 to 4."""
    parts, (count, height, width, channels) = parts_of(images), images.shape
    images = images.reshape(count * parts, height // parts, width, channels)
    colours = few_colours(images)
    if colours is None:
        return (_pack_pixels if _drawn(images) else _pack_errors)(images, parts)
    by_colours = _pack_colours(images, colours, parts)
    if len(colours) <= 2 or not all_grey(colours):
        return by_colours
    return min(by_colours, _pack_errors(images, parts), key=len)


def unpack_images(data: bytes, shape: Shape) -> Samples:
    """The images of `pack_images`, of their type. Raises DamagedArchive."""
    count, height, width, channels = shape
    kind = data[0] & (COLOURED | BY_PIXELS) if data else 0
    head = 1 if kind else channels
    if len(data) < head:
        raise DamagedArchive("predicted images are cut short")
    parts, position = take_varint(data, head)
    if parts == 0 or height % parts:
        raise DamagedArchive("predicted images fall into parts that are not of equal height")
    own = count * parts, height // parts, width, channels
    unpack = {0: _unpack_errors, COLOURED: _unpack_colours}.get(kind, _unpack_pixels)
    return unpack(data[:head], data[position:], own).reshape(shape)


def _drawn(images: Samples) -> bool:
    """Whether images of many colours are clearly shorter pixel by pixel, by a few of them or rows of one."""
    if images.dtype != np.uint8 or images.shape[3] == 1:
        return False
    some = images[: max(SAMPLE // images[0].size, 1)]
    if some.size > SAMPLE:
        rows = max(SAMPLE // some[0, 0].size, 1)
        some = some[:, (some.shape[1] - rows) // 2 :][:, :rows]
    return len(_pack_pixels(some, 1)) < CLEARLY * len(_pack_errors(some, 1))


def _pack_colours(images: Samples, colours: Colours, parts: int) -> bytes:
    kind, found = COLOURED | _wide(images.dtype), indices_of(images, colours).astype(np.uint32)
    return bytes([kind]) + pack_varint(parts) + pack_colours(colours) + pixels.encode(found, 1, len(colours) - 1)


def _unpack_colours(head: bytes, data: bytes, shape: Shape) -> Samples:
    if head[0] & ~(COLOURED | WIDE):
        raise DamagedArchive("images of few colours are less others")
    count, height, width, channels = shape
    colours, position = take_colours(data, 0, channels, _dtype(head[0]))
    images: Samples = colours[pixels.decode(data[position:], (count, height, width), 1, len(colours) - 1)]
    return images


def _pack_pixels(images: Samples, parts: int) -> bytes:
    return bytes([BY_PIXELS]) + pack_varint(parts) + pixels.encode(joined(images), images.shape[3])


def _unpack_pixels(head: bytes, data: bytes, shape: Shape) -> Samples:
    if head[0] != BY_PIXELS:
        raise DamagedArchive("pixels are of few colours, of 16 bits, or less others")
    return parted(pixels.decode(data, shape[:3], shape[3]), shape[3])


def bits_of_last_rows(images: Samples, rows: int) -> float:
    """What the last rows of images uint8 (N, H, W, C) cost as errors of predictions, in bits, after those above."""
    ranks, most = _ranks(to_planes(images)[0])[1:]
    return residuals.bits_of_last_rows(ranks, most, False, rows)


def _ranks(planes: Any) -> tuple[list[UsedValues], NDArray[Any], NDArray[np.int64]]:
    """Values that planes (C, N, H, W) have; which of them samples are, (N, C, H, W); and the greatest of these."""
    used = [UsedValues.of(plane) for plane in planes]
    ranks = np.stack([values.ranks(plane) for values, plane in zip(used, planes, strict=True)], 1)
    return used, ranks, np.array([values.most for values in used])


def _pack_errors(images: Samples, parts: int) -> bytes:
    planes, taken = to_planes(images)
    used, ranks, most = _ranks(planes)
    head = bytes([taken[0] | _wide(images.dtype)]) + taken[1:] + pack_varint(parts)
    return head + b"".join(values.pack() for values in used) + residuals.encode(ranks, most, images.dtype == np.uint16)


def _unpack_errors(head: bytes, data: bytes, shape: Shape) -> Samples:
    count, height, width, channels = shape
    used, position = [], 0
    for _ in range(channels):
        values, position = UsedValues.take(data, position)
        used.append(values)
    most = np.array([values.most for values in used])
    ranks = residuals.decode(data[position:], (count, channels, height, width), most, bool(head[0] & WIDE))
    planes = np.stack([values.values(ranks[:, channel]) for channel, values in enumerate(used)])
    return from_planes(planes, bytes([head[0] & ~WIDE]) + head[1:], _dtype(head[0]))


def _wide(dtype: Any) -> int:
    return WIDE if dtype == np.uint16 else 0


def _dtype(kind: int) -> Any:
    return np.uint16 if kind & WIDE else np.uint8
