"""Images too large to be held in memory several times: taken apart into a file of samples, checked band by band.

Pillow decodes an image as a whole, so one copy of it is in memory; everything else is done in bands of rows.
"""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO, Final

import numpy as np
from PIL import Image

from bbcodec.errors import DamagedArchive
from bbcodec.images.formats import png, raw
from bbcodec.images.image_files import Picture, join_bands
from bbcodec.images.probe import BAD_IMAGE, MAX_PIXELS, facts, probe_of, strictly
from bbcodec.sample_formats import SAMPLE_FORMATS, Samples, band_rows, image_samples

Shape = tuple[int, int, int]

COMPARE_BYTES: Final = 2**20


def split_large(path: str | Path, spool: Path, exact: bool = False) -> Picture | None:
    """The picture of an image file, its samples in the file `spool` (as a read-only memory map), or None.

    As `split_image`, for png and raw. A second file, as large as the image file, is beside `spool` for a while. None
    also where there is no room for them, and for an interlaced PNG, which cannot be written in bands.
    """
    try:
        with strictly(MAX_PIXELS):
            found = _spooled(path, spool, exact)
            if found is None:
                return None
            form, kind, shape, metadata, known = found
            with tempfile.TemporaryFile(dir=spool.parent) as joined:
                bands = spool_bands(spool, kind, shape)
                join_bands(form, kind, shape[1], shape[0], metadata, bands, joined, png.TRIAL_LEVEL)
                same = _same_bytes(path, joined) or (form == "png" and _shows(joined, known, spool, kind, shape))
        samples = np.memmap(spool, SAMPLE_FORMATS[kind].dtype, "r", shape=shape)
        return Picture(form, kind, samples, metadata) if same else None
    except (*BAD_IMAGE, DamagedArchive):
        return None


def _spooled(path: str | Path, spool: Path, exact: bool) -> tuple[str, str, Shape, bytes, tuple[object, ...]] | None:
    """Form, kind, shape and metadata of an image whose samples are now in `spool`, and what Pillow knows of it.

    Pillow's copy of the image is gone on return.
    """
    with open(path, "rb") as stream, Image.open(path) as image:
        seen = probe_of(image)
        if not seen.may_split or seen.format == "WEBP" or (exact and seen.format == "PNG"):
            return None
        place = raw.place_of(image)
        parts = png.take_apart(stream) if seen.format == "PNG" else None
        if parts is not None and not parts[0].interlaced and (parts[0].width, parts[0].height) == image.size:
            form, (header, metadata) = "png", parts
            kind = header.sample_format
        elif seen.format != "PNG" and place is not None:
            form, kind, metadata = "raw", place.sample_format, None
        else:
            return None
        shape = (image.height, image.width, SAMPLE_FORMATS[kind].channels)
        image.load()
        with open(spool, "wb") as out:
            for band in image_bands(image, kind):
                out.write(band.data)
        known = facts(image)
        if metadata is None and place is not None:
            metadata = raw.take_apart(stream, place, image.width, image.height, lambda: spool_bands(spool, kind, shape))
    return None if metadata is None else (form, kind, shape, metadata, known)


def image_bands(image: Image.Image, kind: str) -> Iterator[Samples]:
    """The samples of a loaded image in bands of rows."""
    step = band_rows(image.width * SAMPLE_FORMATS[kind].channels * SAMPLE_FORMATS[kind].dtype.itemsize)
    for top in range(0, image.height, step):
        bottom = min(top + step, image.height)
        yield image_samples(image.crop((0, top, image.width, bottom)), SAMPLE_FORMATS[kind])


def spool_bands(spool: Path, kind: str, shape: Shape) -> Iterator[Samples]:
    """The samples in a file in bands of rows. Not by a memory map, whose pages would count as memory in use."""
    height, width, channels = shape
    dtype = SAMPLE_FORMATS[kind].dtype
    step = band_rows(width * channels * dtype.itemsize)
    with open(spool, "rb") as stream:
        for top in range(0, height, step):
            rows = min(step, height - top)
            yield np.fromfile(stream, dtype, rows * width * channels).reshape(rows, width, channels)


def _same_bytes(path: str | Path, joined: BinaryIO) -> bool:
    joined.seek(0)
    with open(path, "rb") as stream:
        while True:
            one, two = stream.read(COMPARE_BYTES), joined.read(COMPARE_BYTES)
            if one != two:
                return False
            if not one:
                return True


def _shows(joined: BinaryIO, known: tuple[object, ...], spool: Path, kind: str, shape: Shape) -> bool:
    """Whether Pillow sees in a file the samples of `spool`, and knows of it what it is to know."""
    joined.seek(0)
    with Image.open(joined) as image:
        image.load()
        if facts(image) != known:
            return False
        pairs = zip(image_bands(image, kind), spool_bands(spool, kind, shape), strict=True)
        return all(np.array_equal(one, two) for one, two in pairs)
