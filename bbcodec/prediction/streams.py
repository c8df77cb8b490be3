"""Images as one stream: what their channels are less, into what parts they fall, the values used, and messages."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from bbcodec.binary import pack_varint, take_varint
from bbcodec.errors import DamagedArchive
from bbcodec.prediction.channels import from_planes, to_planes
from bbcodec.prediction.residuals import decode, encode
from bbcodec.prediction.stacks import parts_of
from bbcodec.prediction.used_values import UsedValues

WIDE = 0x80  # in the first byte: samples of 16 bits


def pack_images(images: NDArray[Any]) -> bytes:
    """Images uint8 or uint16 (N, H, W, C), C from 1 to 4."""
    parts, (count, height, width, channels) = parts_of(images), images.shape
    planes, taken = to_planes(images.reshape(count * parts, height // parts, width, channels))
    used = [UsedValues.of(plane) for plane in planes]
    ranks = np.stack([values.ranks(plane) for values, plane in zip(used, planes, strict=True)], 1)
    most = np.array([values.most for values in used])
    kind = bytes([taken[0] | (WIDE if images.dtype == np.uint16 else 0)]) + taken[1:]
    return kind + pack_varint(parts) + b"".join(values.pack() for values in used) + encode(ranks, most)


def unpack_images(data: bytes, shape: tuple[int, int, int, int]) -> NDArray[Any]:
    """The images of `pack_images`, of their type. Raises DamagedArchive."""
    count, height, width, channels = shape
    if len(data) < channels:
        raise DamagedArchive("predicted images are cut short")
    dtype = np.uint16 if data[0] & WIDE else np.uint8
    taken, used = bytes([data[0] & ~WIDE]) + data[1:channels], []
    parts, position = take_varint(data, channels)
    if parts == 0 or height % parts:
        raise DamagedArchive("predicted images fall into parts that are not of equal height")
    for _ in range(channels):
        values, position = UsedValues.take(data, position)
        used.append(values)
    most = np.array([values.most for values in used])
    ranks = decode(data[position:], (count * parts, channels, height // parts, width), most)
    planes = np.stack([values.values(ranks[:, channel]) for channel, values in enumerate(used)])
    return from_planes(planes, taken, dtype).reshape(shape)
