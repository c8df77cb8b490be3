"""Image files taken apart into samples and metadata, and put together again.

A file is taken apart (`split_image`) only where joining it again (`join_image`) was tried and gave the same picture.
Two ways are safe without trusting anybody's writer:

- *png*, *webp*: all chunks but the pixels are kept verbatim and pixels are written anew. The result is decoded and
  compared, with all that Pillow knows of the picture. The bytes of the file change, the picture does not.
- *raw*: the file contains its samples as plain bytes. What lies before and after is the metadata, so the file comes
  back byte for byte.

Everything else is left as bytes.
"""

from __future__ import annotations

import io
from collections.abc import Iterable
from dataclasses import dataclass
from typing import BinaryIO

import numpy as np
from PIL import Image

from bbcodec.errors import DamagedArchive
from bbcodec.images.formats import png, raw, webp
from bbcodec.images.probe import BAD_IMAGE, facts, probe_of, strictly
from bbcodec.sample_formats import (
    MAX_METADATA_BYTES,
    MAX_VALUES,
    SAMPLE_FORMATS,
    Bytes,
    Samples,
    bands_of,
    check_samples,
    image_samples,
    sample_format_named,
)


@dataclass(frozen=True)
class Picture:
    """An image file taken apart: its form (`png`, `raw` or `webp`), samples (H, W, C) of a kind, and the rest."""

    form: str
    sample_format: str
    samples: Samples
    metadata: bytes


def split_image(data: bytes, exact: bool = False) -> Picture | None:
    """The picture of an image file, or None where it could not be given back from its samples.

    With `exact`, only if joining gives the very same bytes. That is promised of raw files alone: the bytes of a PNG or
    WebP are up to the zlib and libwebp of the day.
    """
    try:
        with strictly(), Image.open(io.BytesIO(data)) as image:
            seen = probe_of(image)
            if not seen.may_split or (exact and seen.format in ("PNG", "WEBP")):
                return None
            place = raw.place_of(image)
            if place is None and seen.format not in ("PNG", "WEBP"):
                return None
            image.load()
            picture = _taken_apart(image, place, data)
            if picture is None or picture.samples.size > MAX_VALUES or len(picture.metadata) > MAX_METADATA_BYTES:
                return None
            joined = join_image(picture, png.TRIAL_LEVEL)
            return picture if joined == data or (not exact and _shows(joined, image)) else None
    except (*BAD_IMAGE, DamagedArchive):
        return None


def _taken_apart(image: Image.Image, place: raw.Place | None, data: bytes) -> Picture | None:
    """The picture of a loaded image, not yet tried."""
    if image.format == "PNG":
        parts = png.take_apart(io.BytesIO(data))
        if parts is None or (parts[0].width, parts[0].height) != image.size:
            return None
        return Picture("png", parts[0].sample_format, image_samples(image, SAMPLE_FORMATS[parts[0].sample_format]), parts[1])
    if image.format == "WEBP":
        metadata, kind = webp.take_apart(data), f"{image.mode}8"
        return None if metadata is None else Picture("webp", kind, image_samples(image, SAMPLE_FORMATS[kind]), metadata)
    if place is None:
        return None
    samples = image_samples(image, SAMPLE_FORMATS[place.sample_format])
    metadata = raw.take_apart(io.BytesIO(data), place, image.width, image.height, lambda: bands_of(samples))
    return None if metadata is None else Picture("raw", place.sample_format, samples, metadata)


def _shows(joined: bytes, image: Image.Image) -> bool:
    """Whether a file is the same picture to Pillow as a loaded image."""
    with Image.open(io.BytesIO(joined)) as again:
        again.load()
        return facts(again) == facts(image) and np.array_equal(np.asarray(again), np.asarray(image))


def join_image(picture: Picture, level: int = png.FILE_LEVEL) -> bytes:
    """The image file of a picture; level: zlib's effort. Raises DamagedArchive where its parts do not fit together."""
    try:
        check_samples(picture.samples, sample_format_named(picture.sample_format))
    except ValueError as error:
        raise DamagedArchive(f"an image of the archive is not {picture.sample_format}: {error}") from None
    if picture.form == "webp":
        return webp.join(picture.samples, picture.sample_format, picture.metadata)
    stream = io.BytesIO()
    height, width = picture.samples.shape[:2]
    join_bands(picture.form, picture.sample_format, width, height, picture.metadata, bands_of(picture.samples), stream, level)
    return stream.getvalue()


def join_bands(
    form: str, kind: str, width: int, height: int, metadata: bytes, bands: Iterable[Samples], stream: BinaryIO,
    level: int = png.FILE_LEVEL,
) -> None:  # fmt: skip
    """Write a png or raw file of samples that come as bands of rows (h, W, C), from top to bottom.

    One band is held at a time, of an interlaced PNG all of them. `stream` can seek. Raises DamagedArchive for metadata
    that is not of this form, ValueError for bands that are not of this kind and size.
    """
    sample_format_named(kind)
    if form == "png":
        png.write_png(stream, kind, width, height, metadata, bands, level)
    elif form == "raw":
        raw.write_raw(stream, kind, width, height, metadata, bands)
    else:
        raise DamagedArchive(f"an image of the archive has the form {form!r}, which is not written in bands")


def palette(form: str, kind: str, metadata: bytes) -> Bytes | None:
    """The palette of a picture as uint8 (n, 3), or (n, 4) where it has transparent colours; None if not known.

    Raises DamagedArchive for malformed metadata.
    """
    return png.palette(sample_format_named(kind), metadata) if form == "png" else None
