"""Which colours images have, where these are few: a table of them, and for each pixel its index in it."""

from __future__ import annotations

from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from bbcodec.binary import pack_varint, shortest, take_varint, unpack_method
from bbcodec.errors import DamagedArchive

MOST_COLOURS: Final = 256
LOOKED_AT: Final = 2**12  # pixels that tell of most images that their colours are many
ALIKE: Final = 1 / 8  # of the pixels of grey images are like those above, or errors of predictions are shorter
METHODS: Final = 3  # of `unpack_method`

Samples = NDArray[Any]  # uint8 or uint16 (N, H, W, C)
Colours = NDArray[Any]  # of the same type, (K, C), in ascending order, by their first channel first
Indices = NDArray[np.uint16]  # (N, H, W), 0 to K - 1


def few_colours(images: Samples) -> Colours | None:
    """The colours of images; None where there are more than MOST_COLOURS, and of grey photos."""
    alike = images.shape[1] == 1 or (images[:, 1:] == images[:, :-1]).mean() >= ALIKE
    if images.shape[3] == 1 and not alike:
        return None
    keys = _keys(images).reshape(-1)
    some = np.unique(keys[:: max(keys.size // LOOKED_AT, 1)])
    known = np.unique(keys) if len(some) <= MOST_COLOURS else some
    if len(known) > MOST_COLOURS:
        return None
    shifts = np.arange(images.shape[3] - 1, -1, -1, dtype=np.uint64) * np.uint64(16)
    colours: Colours = (known[:, None] >> shifts).astype(images.dtype)
    return colours if alike or not all_grey(colours) else None


def all_grey(colours: Colours) -> bool:
    """Whether the channels of each colour, but for alpha, are equal."""
    return bool((colours[:, :3] == colours[:, :1]).all()) if colours.shape[1] > 2 else True


def indices_of(images: Samples, colours: Colours) -> Indices:
    """The index of each pixel among all colours of the images."""
    return np.searchsorted(_keys(colours), _keys(images)).astype(np.uint16)


def pack_colours(colours: Colours) -> bytes:
    """How many there are, less 1, and the method, size and content of what each is more than the one before."""
    differences = np.diff(colours, axis=0, prepend=colours.dtype.type(0))
    method, content = shortest(differences.T.astype(colours.dtype.newbyteorder(">")).tobytes())
    return pack_varint(len(colours) - 1) + bytes([method]) + pack_varint(len(content)) + content


def take_colours(data: bytes, position: int, channels: int, dtype: Any) -> tuple[Colours, int]:
    """What `pack_colours` wrote, and the position after it. Raises DamagedArchive."""
    last, position = take_varint(data, position)
    if last >= MOST_COLOURS or position >= len(data) or data[position] >= METHODS:
        raise DamagedArchive("the colours of images are too many, cut short, or packed by no known method")
    method, (size, position) = data[position], take_varint(data, position + 1)
    expected = (last + 1) * channels * np.dtype(dtype).itemsize
    content = unpack_method(method, data[position : position + size], expected)
    if len(content) != expected:
        raise DamagedArchive("a table of the colours of images has another length")
    differences = np.frombuffer(content, np.dtype(dtype).newbyteorder(">")).reshape(channels, last + 1).T
    return np.cumsum(differences, axis=0, dtype=dtype), position + size


def _keys(samples: Samples) -> NDArray[np.uint64]:
    """Pixels (..., C) as one number each."""
    keys = np.zeros(samples.shape[:-1], np.uint64)
    for channel in range(samples.shape[-1]):
        keys = keys << np.uint64(16) | samples[..., channel]
    return keys
