"""Images too large to be held in memory several times: taken apart into a file of samples, checked band by band.

Pillow decodes an image as a whole, so one copy of it is in memory; everything else is done in bands of rows.
"""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO, Final, cast

import numpy as np
from PIL import Image

from bbcodec.errors import DamagedArchive, OutputError
from bbcodec.images.formats import find_samples, form_named, form_of_format
from bbcodec.images.formats.base import Outline
from bbcodec.images.image_files import Picture, join_bands
from bbcodec.images.pillow import BAD_IMAGE, MAX_PIXELS, strictly
from bbcodec.images.probe import facts, probe_of
from bbcodec.images.samples import Samples, band_rows, image_bands
from bbcodec.sample_formats import SAMPLE_FORMATS, SampleFormat

COMPARE_BYTES: Final = 2**20


@dataclass(frozen=True)
class _Spool:
    """A file of samples (H, W, C), read in bands: the pages of a memory map would count as memory in use."""

    path: Path
    sample_format: SampleFormat
    width: int
    height: int

    @classmethod
    def of(cls, image: Image.Image, sample_format: SampleFormat, path: Path) -> _Spool:
        """That of an image, which is loaded for it."""
        image.load()
        with _written_to(path), open(path, "wb") as out:
            for band in image_bands(image, sample_format):
                out.write(band.data)
        return cls(path, sample_format, image.width, image.height)

    def bands(self) -> Iterator[Samples]:
        """Its samples in bands of rows."""
        channels, dtype = self.sample_format.channels, self.sample_format.dtype
        step = band_rows(self.width * channels * dtype.itemsize)
        with open(self.path, "rb") as stream:
            for top in range(0, self.height, step):
                rows = min(step, self.height - top)
                yield np.fromfile(stream, dtype, rows * self.width * channels).reshape(rows, self.width, channels)

    def mapped(self) -> Samples:
        """Its samples as a read-only memory map."""
        shape = self.height, self.width, self.sample_format.channels
        return np.memmap(self.path, self.sample_format.dtype, "r", shape=shape)


@dataclass(frozen=True)
class _Split:
    """An image file taken apart, and what Pillow knows of it."""

    outline: Outline
    spool: _Spool
    known: tuple[object, ...]


def split_large(path: str | Path, spool: Path, exact: bool = False) -> Picture | None:
    """The picture of an image file, its samples in the file `spool` (as a read-only memory map), or None.

    As `split_image`, for files that are joined in bands: no WebP, no interlaced PNG. A second file, as large as the
    image file, is beside `spool` for a while. Raises OutputError where there is no room for them: how an image is
    stored must not depend on that.
    """
    try:
        with strictly(MAX_PIXELS):
            split = _split_found(path, spool) or _split(path, spool, exact)
            if split is None:
                return None
            outline = split.outline
            with _new_beside(spool) as joined:
                with _written_to(spool.parent):
                    join_bands(outline, split.spool.bands(), joined, trial=True)
                    joined.flush()
                exactly = form_named(outline.form).keeps_bytes(outline.skeleton)
                same = _same_bytes(path, joined) or (not exactly and _shows(joined, split))
        return Picture(outline.form, outline.sample_format, split.spool.mapped(), outline.skeleton) if same else None
    except (*BAD_IMAGE, DamagedArchive):
        return None


@contextmanager
def _written_to(path: Path) -> Iterator[None]:
    """What fails within, fails because a temporary file cannot be written. Raises OutputError."""
    try:
        yield
    except OSError as error:
        raise OutputError(f"no temporary file can be written to {path} (TMPDIR): {error.strerror or error}") from None


def _new_beside(spool: Path) -> BinaryIO:
    with _written_to(spool.parent):
        return cast(BinaryIO, tempfile.TemporaryFile(dir=spool.parent))


def _split_found(path: str | Path, spool: Path) -> _Split | None:
    """An image file whose samples are found without Pillow, taken apart; None if they are not."""
    with open(path, "rb") as stream:
        known = find_samples(stream)
        if known is None:
            return None
        form, found = known
        with _written_to(spool), open(spool, "wb") as out:
            for band in found.bands():
                out.write(np.ascontiguousarray(band).data)
        skeleton = found.skeleton()
    outline = Outline(form.name, found.sample_format, found.width, found.height, skeleton)
    samples = _Spool(spool, SAMPLE_FORMATS[found.sample_format], found.width, found.height)
    return _Split(outline, samples, ()) if len(skeleton) <= form.most_skeleton_bytes else None


def _split(path: str | Path, spool: Path, exact: bool) -> _Split | None:
    """An image file taken apart, not yet joined again. Pillow's copy of the image is gone on return."""
    with open(path, "rb") as stream, Image.open(path) as image:
        seen = probe_of(image)
        form = form_of_format(seen.format)
        if form is None or not seen.may_split or (exact and not form.exact):
            return None
        written: list[_Spool] = []

        def bands(sample_format: SampleFormat) -> Iterator[Samples]:
            if not written:
                written.append(_Spool.of(image, sample_format, spool))
            return written[0].bands()

        parts = form.take_apart(image, stream, bands, exact)
        if parts is None or len(parts.skeleton) > form.most_skeleton_bytes or not form.joins_in_bands(parts.skeleton):
            return None
        samples = written[0] if written else _Spool.of(image, SAMPLE_FORMATS[parts.sample_format], spool)
        outline = Outline(form.name, parts.sample_format, image.width, image.height, parts.skeleton)
        return _Split(outline, samples, facts(image))


def _same_bytes(path: str | Path, joined: BinaryIO) -> bool:
    joined.seek(0)
    with open(path, "rb") as stream:
        while True:
            one, two = stream.read(COMPARE_BYTES), joined.read(COMPARE_BYTES)
            if one != two:
                return False
            if not one:
                return True


def _shows(joined: BinaryIO, split: _Split) -> bool:
    """Whether Pillow sees in a file the same samples as in the original, and knows the same of it."""
    joined.seek(0)
    with Image.open(joined) as image:
        image.load()
        if facts(image) != split.known:
            return False
        pairs = zip(image_bands(image, split.spool.sample_format), split.spool.bands(), strict=True)
        return all(np.array_equal(one, two) for one, two in pairs)
