"""What Pillow sees of an image file: what its header says, and the facts by which a restored file is judged."""

from __future__ import annotations

import io
from contextlib import AbstractContextManager, nullcontext, suppress
from pathlib import Path
from typing import BinaryIO, NamedTuple

from PIL import ExifTags, Image
from PIL.TiffImagePlugin import IFDRational

from bbcodec.images.formats import find_samples, form_of_format
from bbcodec.images.formats.base import Unfit
from bbcodec.images.pillow import BAD_IMAGE, MAX_PIXELS, strictly
from bbcodec.sample_formats import SAMPLE_FORMATS


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


def probe(source: str | Path | bytes | BinaryIO) -> Probe | None:
    """What the header of an image says (bytes of a file, a path or a stream), or None if nobody reads it."""
    try:
        with _opened(source) as stream, strictly(MAX_PIXELS):
            return _found(stream) or _seen_by_pillow(stream)
    except BAD_IMAGE:
        return None


def _opened(source: str | Path | bytes | BinaryIO) -> AbstractContextManager[BinaryIO]:
    if isinstance(source, (str, Path)):
        return open(source, "rb")
    return nullcontext(io.BytesIO(source) if isinstance(source, bytes) else source)


def _found(stream: BinaryIO) -> Probe | None:
    """What a form sees of a file whose samples it finds without Pillow; its pages are one image."""
    with suppress(*BAD_IMAGE):
        known = find_samples(stream)
        if known is not None:
            found = known[1]
            mode = SAMPLE_FORMATS[found.sample_format].mode
            return Probe(found.file_format, mode, found.width, found.height, 1)
    return None


def _seen_by_pillow(stream: BinaryIO) -> Probe:
    stream.seek(0)
    with Image.open(stream) as image:
        return probe_of(image)


def why_not_pixels(source: str | Path) -> str:
    """What keeps an image file from being restored from its pixels, in a few words; empty where nobody knows."""
    try:
        with open(source, "rb") as stream, strictly(MAX_PIXELS):
            known = find_samples(stream)
            if known is not None:
                for _ in known[1].bands():
                    pass
                known[1].skeleton()
            stream.seek(0)
            with Image.open(stream) as image:
                seen = probe_of(image)
        form = form_of_format(seen.format)
        if form is None:
            return seen.format
        found = {f"{seen.frames} frames": seen.frames > 1, f"mode {seen.mode}": seen.mode not in form.modes}
        return next((reason for reason, holds in found.items() if holds), "")
    except Unfit as error:
        return str(error)
    except BAD_IMAGE:
        return ""


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
