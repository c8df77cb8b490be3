"""What Pillow sees of an image file: the measure of whether a file came back."""

from __future__ import annotations

import io
import struct
import warnings
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final, NamedTuple

from PIL import ExifTags, Image
from PIL.TiffImagePlugin import IFDRational

MAX_PIXELS: Final = 2**30  # of an image that is opened at all

# Formats of which some files are split, and the modes in which Pillow shows samples of some kind.
SPLIT_FORMATS: Final = ("PNG", "WEBP", "BMP", "DIB", "PPM", "TIFF", "TGA", "SGI", "SUN")
SPLIT_MODES: Final = ("1", "L", "P", "LA", "RGB", "RGBA", "I", "I;16", "I;16L", "I;16B", "I;16N")

# What Pillow raises on a broken or hostile file is not documented; these have been seen.
BAD_IMAGE: Final = (
    OSError, SyntaxError, ValueError, TypeError, KeyError, IndexError, EOFError, AttributeError, ArithmeticError,
    MemoryError, RuntimeError, Warning, struct.error, zlib.error, Image.DecompressionBombError,
)  # fmt: skip


class Probe(NamedTuple):
    """What the header of an image file says."""

    format: str
    mode: str
    width: int
    height: int
    frames: int

    @property
    def may_split(self) -> bool:
        """Whether its samples may be taken out of it. Cheap: the last word is `split_image`'s."""
        known = self.mode in SPLIT_MODES and self.format in SPLIT_FORMATS and self.frames == 1
        return known and 1 <= self.width * self.height <= MAX_PIXELS


@contextmanager
def strictly(max_pixels: int | None = None) -> Iterator[None]:
    """Pillow's warnings (among them that of a decompression bomb) as errors, so that such files are kept as bytes.

    With `max_pixels`, images up to that size are opened here. Changes state of the whole process: not for threads.
    """
    before = Image.MAX_IMAGE_PIXELS
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        try:
            if max_pixels is not None:
                Image.MAX_IMAGE_PIXELS = max_pixels
            yield
        finally:
            Image.MAX_IMAGE_PIXELS = before


def probe(source: str | Path | bytes | io.BytesIO) -> Probe | None:
    """What the header of an image says (bytes of a file, a path or a stream), or None if Pillow reads none."""
    try:
        with strictly(MAX_PIXELS), Image.open(io.BytesIO(source) if isinstance(source, bytes) else source) as image:
            return probe_of(image)
    except BAD_IMAGE:
        return None


def probe_of(image: Image.Image) -> Probe:
    """What the header of an open image says."""
    frames = int(getattr(image, "n_frames", 1))
    return Probe(str(image.format), image.mode, image.width, image.height, frames)


def facts(image: Image.Image) -> tuple[object, ...]:
    """All that Pillow knows of a loaded image of one frame, but its pixels; made to be compared."""
    palette = image.palette and (image.palette.mode, image.palette.rawmode, bytes(image.palette.palette))
    exif = image.getexif()
    parts = [_plain(exif.get_ifd(number)) for number in ExifTags.IFD]
    colours = image.getpalette("RGBA") if image.mode == "P" else None
    text = _plain(getattr(image, "text", None))
    return (*probe_of(image), palette, colours, _plain(image.info), _plain(dict(exif)), parts, text)


def _plain(value: object) -> object:
    """A value so that == means the same value: also for NaN, for fractions, and for text with a language."""
    if isinstance(value, dict):
        return {key: _plain(each) for key, each in value.items()}
    if isinstance(value, (list, tuple)):
        return [_plain(each) for each in value]
    if isinstance(value, IFDRational):
        return value.numerator, value.denominator
    if isinstance(value, float):
        return value.hex()
    if isinstance(value, str) and hasattr(value, "lang"):  # PngImagePlugin.iTXt
        return str(value), value.lang, getattr(value, "tkey", None)
    return value
