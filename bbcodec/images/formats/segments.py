"""TIFF and DICOM files: samples in segments that lie anywhere in the file, plain or compressed.

Nothing is known of the formats here: `tiff` and `dicom` beside this module find the segments. The skeleton says where
they lie and how each is made of its samples (`docs/format.md`). It ends with all other bytes of the file, with zeros in
place of numbers that tell where segments begin and how long they are. The same file comes back, byte for byte.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator
from dataclasses import replace
from typing import BinaryIO, Final

import numpy as np

from bbcodec.errors import DamagedArchive
from bbcodec.images.formats import dicom, tiff
from bbcodec.images.formats.base import FileForm, Found, Outline, Unfit
from bbcodec.images.formats.segment_codes import coder_of
from bbcodec.images.formats.segment_layouts import (
    GIVEN,
    MOST_SEGMENTS,
    MOST_SKELETON_BYTES,
    Beyond,
    Padding,
    Unit,
    content_of,
    place_content,
)
from bbcodec.images.formats.segment_skeletons import (
    Pointers,
    Segmented,
    Skeleton,
    Span,
    gaps,
    pack_skeleton,
    palette_of,
    pointer_bytes,
    unpack_skeleton,
)
from bbcodec.images.samples import Bytes, Samples, checked_bands
from bbcodec.sample_formats import SAMPLE_FORMATS, SampleFormat, sample_format_named

# --- taking apart ----------------------------------------------------------------------------------------------------


class SegmentReader:
    """The samples of a file in bands, each read once, and then its skeleton."""

    def __init__(self, stream: BinaryIO, segmented: Segmented) -> None:
        self._stream, self._segmented = stream, segmented
        self._about = SAMPLE_FORMATS[segmented.sample_format]
        self._spans = list(segmented.spans)
        self._recipes: dict[bytes, int] = {}
        self._recipe_of = [0] * len(self._spans)
        self._recipe_bytes = 0
        self._padding: list[bytes] = []
        self._fills = set(Beyond().fills)

    def bands(self) -> Iterator[Samples]:
        """The samples, from top to bottom. Raises ValueError where the segments do not hold them."""
        layout, about = self._segmented.layout, self._about
        coder = coder_of(layout.compression)
        for unit in layout.units(about.channels):
            samples: Samples = np.zeros((unit.rows, layout.width, about.channels), about.dtype)
            for one in unit.segments:
                span = self._spans[one.number]
                self._stream.seek(span.start)
                size = layout.raw_bytes(one, about)
                row_bytes = size // layout.values_of(one, about.channels)[0]
                taken = coder.taken_apart(self._stream.read(span.length), size, row_bytes)
                self._spans[one.number] = span._replace(length=taken.length)
                known = len(self._recipes)
                self._recipe_of[one.number] = self._recipes.setdefault(taken.recipe, known)
                self._recipe_bytes += len(taken.recipe) if len(self._recipes) > known else 0
                if self._recipe_bytes > MOST_SKELETON_BYTES:
                    raise Unfit("compressed in a way that takes much to tell")
                beyond = place_content(layout, about, samples, one, taken.content)
                self._padding.append(beyond.padding)
                self._fills &= set(beyond.fills)
            yield samples

    def skeleton(self) -> bytes:
        """The skeleton, once all bands were read. Raises ValueError where it is too long."""
        segmented, fill = self._segmented, min(self._fills)
        size = self._stream.seek(0, os.SEEK_END)
        if size - sum(span.length for span in self._spans) > MOST_SKELETON_BYTES:
            raise Unfit("much besides its pixels")
        numbers = [pointers for pointers in segmented.pointers if self._points(pointers)]
        return pack_skeleton(
            Skeleton(
                layout=replace(segmented.layout, fill=fill),
                spans=self._spans,
                pointers=numbers,
                palette=self._palette(size),
                recipes=list(self._recipes),
                recipe_of=self._recipe_of,
                padding=b"".join(self._padding) if fill == GIVEN else b"",
                rest=_rest(self._stream, size, self._spans, numbers),
            )
        )

    def _palette(self, size: int) -> int:
        """How far before the end of the skeleton the colours begin; 0: nowhere."""
        start = self._segmented.palette
        behind = sum(max(0, end - max(at, start)) for at, end in gaps(self._spans, size))
        return behind if start else 0

    def _points(self, pointers: Pointers) -> bool:
        """Whether numbers in the file are those of the segments."""
        self._stream.seek(pointers.start)
        return self._stream.read(pointers.item_bytes * pointers.count) == pointer_bytes(pointers, self._spans)


def _rest(stream: BinaryIO, size: int, spans: Iterable[Span], pointers: Iterable[Pointers]) -> bytes:
    """The bytes of a file that are of no segment, with zeros for pointers. Raises ValueError where spans overlap."""
    found, at = [], 0
    blank = sorted(one.span for one in pointers)
    for start, end in gaps(spans, size):
        stream.seek(start)
        data = bytearray(stream.read(end - start))
        while at < len(blank) and blank[at].start < end:
            if blank[at].start < start or blank[at].end > end:
                raise Unfit("segments that overlap")
            data[blank[at].start - start : blank[at].end - start] = bytes(blank[at].length)
            at += 1
        found.append(bytes(data))
    return b"".join(found)


# --- joining ---------------------------------------------------------------------------------------------------------


def join_segments(outline: Outline, bands: Iterable[Samples], stream: BinaryIO) -> None:
    """Write the file of an outline and samples. Raises DamagedArchive or ValueError."""
    skeleton, about = unpack_skeleton(outline), sample_format_named(outline.sample_format)
    layout, spans, base = skeleton.layout, skeleton.spans, stream.tell()
    size = len(skeleton.rest) + sum(span.length for span in spans)
    try:
        at = 0
        for start, end in gaps(spans, size):
            stream.seek(base + start)
            stream.write(skeleton.rest[at : at + end - start])
            at += end - start
        for one in skeleton.pointers:
            if one.span.end > size:
                raise DamagedArchive("an image of the archive has numbers beyond its end")
            stream.seek(base + one.start)
            stream.write(pointer_bytes(one, spans))
    except (ValueError, OverflowError) as error:
        raise DamagedArchive(f"an image of the archive has {error}") from None
    coder, padding = coder_of(layout.compression), Padding(skeleton.padding)
    checked = checked_bands(bands, about, outline.width, outline.height)
    for unit, samples in _in_units(layout.units(about.channels), checked):
        for segment in unit.segments:
            content = content_of(layout, about, samples, segment, padding)
            span, recipe = spans[segment.number], skeleton.recipes[skeleton.recipe_of[segment.number]]
            row_bytes = len(content) // layout.values_of(segment, about.channels)[0]
            made = coder.made_again(content, recipe, span.length, row_bytes)
            if len(made) != span.length:
                raise DamagedArchive("a segment of the archive has another length than is said")
            stream.seek(base + span.start)
            stream.write(made)
    stream.seek(base + size)


def _in_units(units: Iterable[Unit], bands: Iterator[Samples]) -> Iterator[tuple[Unit, Samples]]:
    """Units with their samples, of bands of any number of rows, which are all of the picture."""
    waiting: list[Samples] = []
    held = 0
    for unit in units:
        while held < unit.rows:
            waiting.append(next(bands))
            held += len(waiting[-1])
        rows = waiting[0] if len(waiting) == 1 else np.concatenate(waiting)
        yield unit, rows[: unit.rows]
        waiting, held = [rows[unit.rows :]], held - unit.rows
    for _ in bands:  # none: but whoever gives them checks that at the end
        pass


class SegmentsFile(FileForm):
    """Samples in segments, anywhere in the file: the same file, byte for byte."""

    name = "segments"
    pillow_formats = ("TIFF", "DICOM")
    exact = True
    most_skeleton_bytes = MOST_SKELETON_BYTES

    def find(self, stream: BinaryIO) -> Found | None:
        """As `FileForm` says."""
        segmented = dicom.find_segments(stream) or tiff.find_segments(stream)  # a preamble may be a TIFF
        if segmented is None:
            return None
        if len(segmented.spans) > MOST_SEGMENTS:
            raise Unfit("too many segments")
        layout, reader = segmented.layout, SegmentReader(stream, segmented)
        size = layout.width, layout.height * layout.groups * layout.pages
        return Found(segmented.file_format, segmented.sample_format, *size, reader.bands, reader.skeleton)

    def join(self, outline: Outline, bands: Iterable[Samples], stream: BinaryIO, *, trial: bool = False) -> None:
        """As `FileForm` says; rows of a segment are held, or of a page with several groups of channels."""
        join_segments(outline, bands, stream)

    def palette(self, sample_format: SampleFormat, skeleton: bytes) -> Bytes | None:
        """As `FileForm` says."""
        return palette_of(sample_format, skeleton)

    def shown(self, outline: Outline, samples: Samples) -> Samples | None:
        """The first page; None where its channels are in more groups than one."""
        layout = unpack_skeleton(outline).layout
        return samples[: layout.height] if layout.groups == 1 else None


FORM: Final = SegmentsFile()
