"""Kinds of samples: what the numbers of an image are, apart from any file format.

Samples are arrays (H, W, C): uint8, or uint16 for `L16`. Kinds of less than 8 bits hold the plain numbers
0 to 2**depth - 1, and palette kinds hold indices.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any, Final, NamedTuple

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from bbcodec.errors import DamagedArchive

Samples = NDArray[Any]  # uint8 or uint16, (H, W, C)
Bytes = NDArray[np.uint8]

MAX_VALUES: Final = 2**28  # samples of one image, or of the images of one chunk
MAX_METADATA_BYTES: Final = 2**18  # a file with more around its samples is kept as bytes; the index stays small
BAND_BYTES: Final = 2**18  # about so much of an image is worked on at once: it fits into a cache


class SampleFormat(NamedTuple):
    """Samples of one kind: the mode that Pillow gives them, channels, and bits of a sample."""

    mode: str
    channels: int
    depth: int

    @property
    def dtype(self) -> np.dtype[Any]:
        """uint8, or uint16 for 16 bits."""
        return np.dtype(np.uint16 if self.depth == 16 else np.uint8)

    @property
    def indexed(self) -> bool:
        """Whether samples are indices into a palette."""
        return self.mode == "P"


SAMPLE_FORMATS: Final = {
    "L1": SampleFormat("1", 1, 1),
    "L2": SampleFormat("L", 1, 2),
    "L4": SampleFormat("L", 1, 4),
    "L8": SampleFormat("L", 1, 8),
    "L16": SampleFormat("I;16", 1, 16),
    "LA8": SampleFormat("LA", 2, 8),
    "RGB8": SampleFormat("RGB", 3, 8),
    "RGBA8": SampleFormat("RGBA", 4, 8),
    "P1": SampleFormat("P", 1, 1),
    "P2": SampleFormat("P", 1, 2),
    "P4": SampleFormat("P", 1, 4),
    "P8": SampleFormat("P", 1, 8),
}


def sample_format_named(name: str) -> SampleFormat:
    """The kind of a name that an archive gives. Raises DamagedArchive for a name that is none."""
    if name not in SAMPLE_FORMATS:
        raise DamagedArchive(f"the archive names samples of an unknown kind, {name!r}")
    return SAMPLE_FORMATS[name]


def grey_step(kind: SampleFormat) -> int:
    """What Pillow shows for one step of a grey sample of less than 8 bits: 85 for 2 bits, 17 for 4; 1 for all else."""
    return 255 // (2**kind.depth - 1) if kind.mode == "L" else 1


def image_samples(image: Image.Image, kind: SampleFormat) -> Samples:
    """The samples (H, W, C) of a Pillow image that shows samples of this kind."""
    shown = np.asarray(image)
    shown = shown.reshape(*shown.shape[:2], -1).astype(kind.dtype, copy=False)
    step = grey_step(kind)
    return np.ascontiguousarray(shown if step == 1 else shown // np.uint8(step))


def check_samples(samples: Samples, kind: SampleFormat) -> None:
    """Raise ValueError where an array is not samples (H, W, C) of this kind, at least one pixel."""
    if samples.ndim != 3 or samples.shape[2] != kind.channels or samples.dtype != kind.dtype or not samples.size:
        raise ValueError(f"expected {kind.dtype} samples (H, W, {kind.channels}), got {samples.dtype} {samples.shape}")
    if kind.depth < 8 and int(samples.max()) >= 2**kind.depth:
        raise ValueError(f"samples of {kind.depth} bits are below {2**kind.depth}, got {samples.max()}")


def band_rows(row_bytes: int) -> int:
    """How many rows make a band."""
    return max(1, BAND_BYTES // max(1, row_bytes))


def bands_of(samples: Samples) -> Iterator[Samples]:
    """Samples (H, W, C) in bands of whole rows, from top to bottom."""
    step = band_rows(samples[0].nbytes)
    for top in range(0, len(samples), step):
        yield samples[top : top + step]


def packed_rows(samples: Samples, depth: int) -> Bytes:
    """Samples (H, W, C) as rows of bytes (H, bytes of a row): 16 bits high byte first, less than 8 high bits first.

    As PNG, PBM, TIFF and BMP store them; the last byte of a row is filled with zero bits.
    """
    rows = samples.reshape(len(samples), -1)  # (H, W * C)
    if depth == 16:
        return rows.astype(">u2").view(np.uint8)
    if depth == 8:
        return rows
    bits = (rows[:, :, None] >> np.arange(depth - 1, -1, -1, dtype=np.uint8)) & np.uint8(1)  # (H, W, depth)
    return np.packbits(bits.reshape(len(rows), -1), axis=1)


def counted(bands: Iterable[Samples], kind: SampleFormat, width: int, height: int) -> Iterator[Samples]:
    """The bands as they come; ValueError where they are not bands of such an image, or not all of it."""
    left = height
    for band in bands:
        check_samples(band, kind)
        left -= len(band)
        if band.shape[1] != width or left < 0:
            break
        yield band
    else:
        if left == 0:
            return
    raise ValueError(f"expected bands of {height} rows of {width} pixels in all")
