"""Ways to turn samples into planes: arrays of few channels that codecs and WebP take.

A way is a number of two flags. `SPLIT`: alpha in a plane of its own, 16 bits as a plane of high and one of low bytes.
`COLOURS`: indices as the colours of their palette. Without both the samples are one plane as they are.
"""

from __future__ import annotations

from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from bbcodec.errors import DamagedArchive
from bbcodec.sample_formats import SAMPLE_FORMATS, Bytes, Samples, grey_step, sample_format_named

SPLIT: Final = 1
COLOURS: Final = 2
PLANE_LAYOUTS: Final = {0: "whole", SPLIT: "split", COLOURS: "colours", COLOURS | SPLIT: "colours, split"}

Plane = NDArray[Any]  # uint8, or uint16 with 65536 levels, (H, W, c)


def ways(kind: str, palette: Bytes | None) -> tuple[int, ...]:
    """The ways that samples of a kind can go. `palette`: uint8 (n, 3) or (n, 4), of palette kinds."""
    if not SAMPLE_FORMATS[kind].indexed:
        return (0, SPLIT) if kind in ("LA8", "RGBA8", "L16") else (0,)
    if palette is None:
        return (0,)
    return (0, COLOURS, COLOURS | SPLIT) if palette.shape[1] == 4 else (0, COLOURS)


def plane_shapes(kind: str, way: int, palette_channels: int = 0) -> list[tuple[int, int]]:
    """Channels and levels (2, 256 or 65536) of each plane. Raises DamagedArchive for a way that does not exist.

    `palette_channels` is 3 or 4 for a palette kind that has a palette, and 0 else.

    >>> plane_shapes("RGBA8", SPLIT)
    [(3, 256), (1, 256)]
    """
    description = sample_format_named(kind)
    unknown = np.zeros((1, palette_channels), np.uint8) if palette_channels in (3, 4) else None
    if way not in ways(kind, unknown):
        raise DamagedArchive(f"the archive says that samples of kind {kind} go way {way}, which does not exist")
    if kind == "L16":
        return [(1, 256), (1, 256)] if way & SPLIT else [(1, 65536)]
    channels = palette_channels if way & COLOURS else description.channels
    if way & SPLIT:
        return [(channels - 1, 256), (1, 256)]
    return [(channels, 2 if description.depth == 1 and not way & COLOURS else 256)]


def to_planes(samples: Samples, kind: str, way: int, palette: Bytes | None = None) -> list[Plane] | None:
    """Planes (H, W, c) of samples (H, W, C), or None where indices cannot be had back from their colours.

    That is so where an index is not in the palette, or not the lowest of its colour.
    """
    if kind == "L16":
        return [_byte(samples, 8), _byte(samples, 0)] if way & SPLIT else [samples]
    if way & COLOURS and palette is not None:
        if int(samples.max()) >= len(palette) or (_lowest(palette)[samples] != samples).any():
            return None
        samples = palette[samples[:, :, 0]]
    if way & SPLIT:
        return [np.ascontiguousarray(part) for part in (samples[:, :, :-1], samples[:, :, -1:])]
    step = grey_step(SAMPLE_FORMATS[kind])
    return [samples if SAMPLE_FORMATS[kind].depth == 1 or step == 1 else samples * np.uint8(step)]


def from_planes(planes: list[Plane], kind: str, way: int, palette: Bytes | None = None) -> Samples:
    """Samples (H, W, C) of planes (H, W, c); the inverse of `to_planes`.

    Raises DamagedArchive for planes that it does not give: of other shapes, a value out of range, a colour that is not
    in the palette.
    """
    shapes = plane_shapes(kind, way, 0 if palette is None else palette.shape[1])
    fitting = len(planes) == len(shapes) and all(
        plane.ndim == 3 and plane.shape == (*planes[0].shape[:2], channels) and int(plane.max(initial=0)) < levels
        for plane, (channels, levels) in zip(planes, shapes, strict=True)
    )
    if not fitting:
        raise DamagedArchive(f"decoded planes are not those of {kind} samples")
    if kind == "L16":
        whole = planes[0].astype(np.uint16)
        return whole << np.uint16(8) | planes[1] if way & SPLIT else whole
    samples: Samples = np.concatenate(planes, axis=2) if way & SPLIT else planes[0]
    if way & COLOURS and palette is not None:
        return _indices(samples, palette)
    return _plain(samples, kind)


def _byte(samples: Samples, shift: int) -> Bytes:
    return (samples >> np.uint16(shift)).astype(np.uint8)


def _plain(samples: Samples, kind: str) -> Samples:
    """Samples of less than 8 bits from the grey that Pillow shows, or indices; checked."""
    description = SAMPLE_FORMATS[kind]
    if description.depth >= 8 or description.depth == 1:
        return samples
    step = np.uint8(grey_step(description))
    plain = samples // step
    if (plain * step != samples).any() or int(plain.max()) >= 2**description.depth:
        raise DamagedArchive(f"a decoded value is none of {kind} samples")
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
