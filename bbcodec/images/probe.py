"""What Pillow sees of an image file: what its header says, and the facts by which a restored file is judged."""

from __future__ import annotations

import io
from pathlib import Path
from typing import NamedTuple

from PIL import ExifTags, Image
from PIL.TiffImagePlugin import IFDRational

from bbcodec.images.formats import form_of_format
from bbcodec.images.pillow import BAD_IMAGE, MAX_PIXELS, strictly


class Probe(NamedTuple):
    """What the header of an image file says: Pillow's format and mode, pixels, and frames."""

    format: str
    mode: str
    width: int
    height: int
    frames: int

    @property
    def may_split(self) -> bool:
        """Whether its samples may be taken out of it. Cheap: `split_image` has the last word."""
        form = form_of_format(self.format)
        known = form is not None and self.mode in form.modes and self.frames == 1
        return known and 1 <= self.width * self.height <= MAX_PIXELS


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
    """All that Pillow knows of a loaded image of one frame except its pixels, to be compared."""
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
