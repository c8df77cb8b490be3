"""Arrays of samples (H, W, C), whole, in bands of rows, and as rows of bytes: uint8, or uint16 for `L16`."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import TYPE_CHECKING, Any, Final

import numpy as np
from numpy.typing import NDArray

from bbcodec.sample_formats import SampleFormat

if TYPE_CHECKING:
    from PIL import Image

Samples = NDArray[Any]  # uint8 or uint16, (H, W, C)
Bytes = NDArray[np.uint8]

BAND_BYTES: Final = 2**18  # about so much of an image is worked on at a time: it fits into a cache


def image_samples(image: Image.Image, sample_format: SampleFormat) -> Samples:
    """The samples (H, W, C) of a Pillow image that shows samples of this format."""
    shown = np.asarray(image)
    shown = shown.reshape(*shown.shape[:2], -1).astype(sample_format.dtype, copy=False)
    step = sample_format.grey_step
    return np.ascontiguousarray(shown if step == 1 else shown // np.uint8(step))


def image_bands(image: Image.Image, sample_format: SampleFormat) -> Iterator[Samples]:
    """The samples of a loaded Pillow image in bands of rows, from top to bottom."""
    step = band_rows(image.width * sample_format.channels * sample_format.dtype.itemsize)
    for top in range(0, image.height, step):
        bottom = min(top + step, image.height)
        yield image_samples(image.crop((0, top, image.width, bottom)), sample_format)


def check_samples(samples: Samples, sample_format: SampleFormat) -> None:
    """Raise ValueError unless an array is samples (H, W, C) of this format, at least one pixel."""
    channels, depth, dtype = sample_format.channels, sample_format.depth, sample_format.dtype
    if samples.ndim != 3 or samples.shape[2] != channels or samples.dtype != dtype or not samples.size:
        raise ValueError(f"expected {dtype} samples (H, W, {channels}), got {samples.dtype} {samples.shape}")
    if depth < 8 and int(samples.max()) >= 2**depth:
        raise ValueError(f"expected samples of {depth} bits, below {2**depth}, got {samples.max()}")


def band_rows(row_bytes: int) -> int:
    """How many rows make a band."""
    return max(1, BAND_BYTES // max(1, row_bytes))


def bands_of(samples: Samples) -> Iterator[Samples]:
    """Samples (H, W, C) in bands of whole rows, from top to bottom."""
    step = band_rows(samples[0].nbytes)
    for top in range(0, len(samples), step):
        yield samples[top : top + step]


def checked_bands(bands: Iterable[Samples], sample_format: SampleFormat, width: int, height: int) -> Iterator[Samples]:
    """The same bands. Raises ValueError unless they are bands of such an image, and all of it."""
    left = height
    for band in bands:
        check_samples(band, sample_format)
        left -= len(band)
        if band.shape[1] != width or left < 0:
            break
        yield band
    else:
        if left == 0:
            return
    raise ValueError(f"expected bands of {height} rows of {width} pixels in all")


def packed_rows(samples: Samples, depth: int) -> Bytes:
    """Samples (H, W, C) as rows of bytes (H, bytes of a row): 16 bits high byte first, below 8 bits high bits first.

    So PNG, PBM, TIFF and BMP store them; the last byte of a row is filled with zero bits.
    """
    rows = samples.reshape(len(samples), -1)  # (H, W * C)
    if depth == 16:
        return rows.astype(">u2", order="C").view(np.uint8)
    if depth == 8:
        return rows
    bits = (rows[:, :, None] >> np.arange(depth - 1, -1, -1, dtype=np.uint8)) & np.uint8(1)  # (H, W, depth)
    return np.packbits(bits.reshape(len(rows), -1), axis=1)


def unpacked_rows(rows: Bytes, count: int, depth: int) -> NDArray[Any]:
    """The `count` samples of each row of bytes, (H, count): the inverse of `packed_rows`."""
    if depth == 16:
        return np.ascontiguousarray(rows).view(">u2").astype(np.uint16)
    if depth == 8:
        return rows
    bits = np.unpackbits(rows, axis=1)[:, : count * depth].reshape(len(rows), count, depth)
    weights = np.uint8(1) << np.arange(depth - 1, -1, -1, dtype=np.uint8)
    samples: Bytes = (bits * weights).sum(axis=2, dtype=np.uint8)
    return samples
