"""Plane layouts: how samples become planes, arrays of few channels that codecs and storage codings take.

A plane layout is a number of two flags. `SPLIT`: alpha in a plane of its own, 16 bits as a plane of high and one of low
bytes. `COLOURS`: indices as the colours of their palette. Without both, `WHOLE`, the samples are one plane as they are.
Or it is `BLACK_AND_WHITE` or `ZERO_AND_ONE`: samples that have two values are one plane of two levels.
"""

from __future__ import annotations

from typing import Any, Final, NamedTuple

import numpy as np
from numpy.typing import NDArray

from bbcodec.errors import DamagedArchive
from bbcodec.images.samples import Bytes, Samples
from bbcodec.sample_formats import SAMPLE_FORMATS, sample_format_named

WHOLE: Final = 0
SPLIT: Final = 1
COLOURS: Final = 2
BLACK_AND_WHITE: Final = 4  # all channels 0, or all the highest, but for alpha, which is the highest
ZERO_AND_ONE: Final = 8  # of one channel
TWO_LEVELS: Final = (BLACK_AND_WHITE, ZERO_AND_ONE)
PLANE_LAYOUTS: Final = {
    WHOLE: "whole", SPLIT: "split", COLOURS: "colours", COLOURS | SPLIT: "colours, split",
    BLACK_AND_WHITE: "black and white", ZERO_AND_ONE: "zero and one",
}  # fmt: skip

Plane = NDArray[Any]  # uint8, or uint16 with 65536 levels, (H, W, c)


class PlaneShape(NamedTuple):
    """What the values of a plane are: channels, and levels (2, 256 or 65536) of each."""

    channels: int
    levels: int


def plane_layouts(sample_format: str, palette: Bytes | None) -> tuple[int, ...]:
    """The plane layouts that samples of a format have. palette: uint8 (n, 3) or (n, 4), or None."""
    description, found = SAMPLE_FORMATS[sample_format], [WHOLE]
    if sample_format in ("LA8", "RGBA8", "L16"):
        found.append(SPLIT)
    if description.indexed and palette is not None:
        found += [COLOURS, COLOURS | SPLIT][: palette.shape[1] - 2]
    if description.depth > 1:
        found += [] if description.indexed else [BLACK_AND_WHITE]
        found += [ZERO_AND_ONE] if description.channels == 1 else []
    return tuple(found)


def layouts_of(samples: Samples, sample_format: str, palette: Bytes | None) -> tuple[int, ...]:
    """The plane layouts that give samples (H, W, C) back: those of two levels, or if there are none, all others."""
    possible = plane_layouts(sample_format, palette)
    two = tuple(one for one in possible if one in TWO_LEVELS and to_planes(samples, sample_format, one) is not None)
    known = COLOURS in possible and to_planes(samples, sample_format, COLOURS, palette) is not None
    return two or tuple(one for one in possible if one not in TWO_LEVELS and (known or not one & COLOURS))


def plane_shapes(sample_format: str, layout: int, palette_channels: int = 0) -> list[PlaneShape]:
    """Channels and levels of each plane. Raises DamagedArchive for a layout that does not exist.

    palette_channels: 3 or 4 for indices that have a palette, else 0.

    >>> plane_shapes("RGBA8", SPLIT)
    [PlaneShape(channels=3, levels=256), PlaneShape(channels=1, levels=256)]
    """
    description = sample_format_named(sample_format)
    unknown = np.zeros((1, palette_channels), np.uint8) if palette_channels in (3, 4) else None
    if layout not in plane_layouts(sample_format, unknown):
        raise DamagedArchive(f"the archive gives {sample_format} samples an unknown plane layout, {layout}")
    if layout in TWO_LEVELS:
        return [PlaneShape(1, 2)]
    if sample_format == "L16":
        return [PlaneShape(1, 256), PlaneShape(1, 256)] if layout & SPLIT else [PlaneShape(1, 65536)]
    if description.depth == 16:
        return [PlaneShape(description.channels, 65536)]
    channels = palette_channels if layout & COLOURS else description.channels
    if layout & SPLIT:
        return [PlaneShape(channels - 1, 256), PlaneShape(1, 256)]
    return [PlaneShape(channels, 2 if description.depth == 1 and not layout & COLOURS else 256)]


def to_planes(samples: Samples, sample_format: str, layout: int, palette: Bytes | None = None) -> list[Plane] | None:
    """Planes (H, W, c) of samples (H, W, C), or None where the layout does not give these back.

    That is so where an index is not in the palette, or not the lowest of its colour, and where samples have values that
    are not two levels.
    """
    if layout in TWO_LEVELS:
        return _levels(samples, sample_format, layout)
    if sample_format == "L16":
        return [_byte(samples, 8), _byte(samples, 0)] if layout & SPLIT else [samples]
    if layout & COLOURS and palette is not None:
        if int(samples.max()) >= len(palette) or (_lowest(palette)[samples] != samples).any():
            return None
        samples = palette[samples[:, :, 0]]
    if layout & SPLIT:
        return [np.ascontiguousarray(part) for part in (samples[:, :, :-1], samples[:, :, -1:])]
    description = SAMPLE_FORMATS[sample_format]
    step = description.grey_step
    return [samples if description.depth == 1 or step == 1 else samples * np.uint8(step)]


def from_planes(planes: list[Plane], sample_format: str, layout: int, palette: Bytes | None = None) -> Samples:
    """Samples (H, W, C) of planes (H, W, c); the inverse of `to_planes`.

    Raises DamagedArchive for planes that it does not give: of other shapes, a value out of range, a colour that is not
    in the palette.
    """
    shapes = plane_shapes(sample_format, layout, 0 if palette is None else palette.shape[1])
    fitting = len(planes) == len(shapes) and all(
        plane.ndim == 3
        and plane.shape == (*planes[0].shape[:2], shape.channels)
        and int(plane.max(initial=0)) < shape.levels
        for plane, shape in zip(planes, shapes, strict=True)
    )
    if not fitting:
        raise DamagedArchive(f"decoded planes are not those of {sample_format} samples")
    if layout in TWO_LEVELS:
        return _two_values(sample_format, layout)[planes[0][:, :, 0]]
    if sample_format == "L16":
        whole = planes[0].astype(np.uint16)
        return whole << np.uint16(8) | planes[1] if layout & SPLIT else whole
    if SAMPLE_FORMATS[sample_format].depth == 16:
        return planes[0].astype(np.uint16)
    samples: Samples = np.concatenate(planes, axis=2) if layout & SPLIT else planes[0]
    if layout & COLOURS and palette is not None:
        return _indices(samples, palette)
    return _plain(samples, sample_format)


def _two_values(sample_format: str, layout: int) -> Samples:
    """The pixels (2, C) that two levels stand for."""
    description = SAMPLE_FORMATS[sample_format]
    highest = description.dtype.type(2**description.depth - 1 if layout == BLACK_AND_WHITE else 1)
    pixels = np.zeros((2, description.channels), description.dtype)
    pixels[1] = highest
    if description.channels in (2, 4):
        pixels[0, -1] = highest
    return pixels


def _levels(samples: Samples, sample_format: str, layout: int) -> list[Plane] | None:
    """The plane of samples that have no more than two values."""
    black, white = _two_values(sample_format, layout)
    for part in (samples[0], samples):  # most are settled by the first row
        plane = (part == white).all(-1, keepdims=True)
        if not (plane | (part == black).all(-1, keepdims=True)).all():
            return None
    return [plane.view(np.uint8)]


def _byte(samples: Samples, shift: int) -> Bytes:
    return (samples >> np.uint16(shift)).astype(np.uint8)


def _plain(samples: Samples, sample_format: str) -> Samples:
    """Samples of less than 8 bits from the grey that Pillow shows, or indices; checked."""
    description = SAMPLE_FORMATS[sample_format]
    if description.depth >= 8 or description.depth == 1:
        return samples
    step = np.uint8(description.grey_step)
    plain = samples // step
    if (plain * step != samples).any() or int(plain.max()) >= 2**description.depth:
        raise DamagedArchive(f"a decoded value is out of range for {sample_format} samples")
    return plain


def _keys(colours: Bytes) -> NDArray[np.uint32]:
    """Colours (..., 3) or (..., 4) as one number each."""
    keys = np.zeros(colours.shape[:-1], np.uint32)
    for channel in range(colours.shape[-1]):
        keys = keys << np.uint32(8) | colours[..., channel]
    return keys


def _lowest(palette: Bytes) -> Bytes:
    """For each index of the palette the lowest that has its colour."""
    _, first, inverse = np.unique(_keys(palette), return_index=True, return_inverse=True)
    return first[inverse].astype(np.uint8)


def _indices(colours: Bytes, palette: Bytes) -> Samples:
    """The lowest index of each colour (H, W, c), as (H, W, 1). Raises DamagedArchive for colours not in the palette."""
    known, first = np.unique(_keys(palette), return_index=True)
    wanted = _keys(colours)
    found = np.minimum(np.searchsorted(known, wanted), len(known) - 1)
    if (known[found] != wanted).any():
        raise DamagedArchive("a decoded colour is not in the palette of its image")
    return first[found].astype(np.uint8)[:, :, None]
