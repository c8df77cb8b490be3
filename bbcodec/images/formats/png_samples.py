"""Samples as a PNG, as an archive stores them."""

from __future__ import annotations

import io

from PIL import Image

from bbcodec.errors import DamagedArchive
from bbcodec.images.formats.base import Outline
from bbcodec.images.formats.png import Header, take_apart, write_png
from bbcodec.images.pillow import BAD_IMAGE, strictly
from bbcodec.images.samples import Samples, bands_of, check_samples, image_samples
from bbcodec.sample_formats import SAMPLE_FORMATS, sample_format_named


def encode_png(samples: Samples, sample_format: str, level: int = 9) -> bytes:
    """A PNG of the samples (H, W, C) alone; indices as grey. The shorter of filtered and not filtered."""
    check_samples(samples, SAMPLE_FORMATS[sample_format])
    height, width = samples.shape[:2]
    outline = Outline("png", _grey(sample_format), width, height, b"")
    streams = [io.BytesIO(), io.BytesIO()]
    for filtering, stream in enumerate(streams):
        write_png(stream, outline, bands_of(samples), level, bool(filtering))
    return min((stream.getvalue() for stream in streams), key=len)


def decode_png(data: bytes, sample_format: str, width: int, height: int) -> Samples:
    """The samples (H, W, C) of a PNG that an archive holds; DamagedArchive unless it is of this format and size."""
    grey = _grey(sample_format)
    try:
        parts = take_apart(io.BytesIO(data))
        if parts is None or parts[0] != Header(grey, width, height, False):
            raise DamagedArchive(f"a PNG of the archive is not {grey} of {width}x{height}, as the archive says")
        with strictly(width * height), Image.open(io.BytesIO(data), formats=["PNG"]) as image:
            image.load()
            return image_samples(image, SAMPLE_FORMATS[grey])
    except BAD_IMAGE as error:
        raise DamagedArchive(f"a PNG of the archive cannot be decoded ({type(error).__name__})") from None


def _grey(sample_format: str) -> str:
    """The sample format to store samples in where there is no palette: indices are grey."""
    description = sample_format_named(sample_format)
    return f"L{description.depth}" if description.indexed else sample_format
