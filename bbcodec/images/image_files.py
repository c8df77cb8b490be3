"""Image files taken apart into samples and a skeleton, and joined again.

A file is taken apart (`split_image`) only where joining it again (`join_image`) was tried and gave the same picture, or
the same bytes. How is up to the file form (`bbcodec.images.formats`). All other files are left as bytes.
"""

from __future__ import annotations

import io
from collections.abc import Iterable
from dataclasses import dataclass
from typing import BinaryIO

import numpy as np
from PIL import Image

from bbcodec.binary import MAX_VALUES
from bbcodec.errors import DamagedArchive
from bbcodec.images.formats import find_samples, form_named, form_of_format
from bbcodec.images.formats.base import FileForm, Found, Outline
from bbcodec.images.pillow import BAD_IMAGE, strictly
from bbcodec.images.probe import facts, probe_of
from bbcodec.images.samples import Bytes, Samples, bands_of, check_samples, image_samples
from bbcodec.sample_formats import SAMPLE_FORMATS, sample_format_named


@dataclass(frozen=True)
class Picture:
    """An image file taken apart: its file form, samples (H, W, C) of a sample format, and its skeleton."""

    form: str
    sample_format: str
    samples: Samples
    skeleton: bytes

    @property
    def outline(self) -> Outline:
        """The file without its samples."""
        height, width = self.samples.shape[:2]
        return Outline(self.form, self.sample_format, width, height, self.skeleton)


def split_image(data: bytes, exact: bool | None = False) -> Picture | None:
    """The picture of an image file, or None where the file could not be joined again.

    exact: only if joining gives the very same bytes, and the file form promises so. Those of a WebP depend on the
    version of libwebp. None: with the same bytes where that is quickly found out and takes little.
    """
    try:
        known = find_samples(io.BytesIO(data))
        if known is not None:
            return _split_found(*known, data)
        with strictly(), Image.open(io.BytesIO(data)) as image:
            seen = probe_of(image)
            form = form_of_format(seen.format)
            if form is None or not seen.may_split or (exact and not form.exact):
                return None
            parts = form.take_apart(image, io.BytesIO(data), lambda known: bands_of(image_samples(image, known)), exact)
            if parts is None or len(parts.skeleton) > form.most_skeleton_bytes:
                return None
            image.load()
            samples = image_samples(image, SAMPLE_FORMATS[parts.sample_format])
            picture = Picture(form.name, parts.sample_format, samples, parts.skeleton)
            if samples.size > MAX_VALUES:
                return None
            joined = join_image(picture, trial=True) if parts.joined is None else parts.joined
            return picture if joined == data or (not exact and _shows(joined, image)) else None
    except (*BAD_IMAGE, DamagedArchive):
        return None


def _split_found(form: FileForm, found: Found, data: bytes) -> Picture | None:
    """The picture of a file whose samples were found without Pillow."""
    if found.width * found.height * SAMPLE_FORMATS[found.sample_format].channels > MAX_VALUES:
        return None
    samples = np.concatenate(list(found.bands()))
    picture = Picture(form.name, found.sample_format, samples, found.skeleton())
    return picture if join_image(picture) == data else None


def _shows(joined: bytes, image: Image.Image) -> bool:
    """Whether a file is the same picture to Pillow as a loaded image."""
    with Image.open(io.BytesIO(joined)) as again:
        again.load()
        return facts(again) == facts(image) and np.array_equal(np.asarray(again), np.asarray(image))


def join_image(picture: Picture, *, trial: bool = False) -> bytes:
    """The image file of a picture. Raises DamagedArchive where its parts do not fit together.

    trial: with little effort, for a file that is only looked at.
    """
    try:
        check_samples(picture.samples, sample_format_named(picture.sample_format))
    except ValueError as error:
        raise DamagedArchive(f"an image of the archive is not {picture.sample_format}: {error}") from None
    stream = io.BytesIO()
    join_bands(picture.outline, bands_of(picture.samples), stream, trial=trial)
    return stream.getvalue()


def join_bands(outline: Outline, bands: Iterable[Samples], stream: BinaryIO, *, trial: bool = False) -> None:
    """Write the image file of samples that come as bands of rows (h, W, C), from top to bottom, to a seekable stream.

    One band is held at a time, except of an interlaced PNG and of a WebP. trial: as for `join_image`. Raises
    DamagedArchive for a skeleton that is not of the file form, ValueError for bands that are not of this sample format
    and size.
    """
    _form_of(outline.form, outline.skeleton).join(outline, bands, stream, trial=trial)


def palette(form: str, sample_format: str, skeleton: bytes) -> Bytes | None:
    """The palette of a picture as uint8 (n, 3), or (n, 4) where it has transparent colours; None if not known.

    Raises DamagedArchive for a malformed skeleton.
    """
    return _form_of(form, skeleton).palette(sample_format_named(sample_format), skeleton)


def _form_of(name: str, skeleton: bytes) -> FileForm:
    """A form, for a skeleton that is no longer than any encoder makes one: records take 30 times as much memory.

    Raises DamagedArchive.
    """
    form = form_named(name)
    if len(skeleton) > form.most_skeleton_bytes:
        raise DamagedArchive(f"the skeleton of an image has {len(skeleton)} bytes, at most {form.most_skeleton_bytes}")
    return form
