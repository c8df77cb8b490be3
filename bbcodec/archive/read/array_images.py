"""The images of the arrays of an archive, by number: only the chunks that hold some are decoded."""

from __future__ import annotations

import math
import os
from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, NamedTuple

from bbcodec.archive.format.chunks import BYTES, LEARNED, SheetBody
from bbcodec.archive.format.index import Entry, Place
from bbcodec.archive.read.join import member_layouts
from bbcodec.archive.read.task_runner import TaskRunner
from bbcodec.archive.read.tasks import StretchTask, plan_stretches
from bbcodec.codec.message import LearnedMessage
from bbcodec.errors import DamagedArchive, InputError

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from bbcodec.images.array_views import ArrayView


@dataclass(frozen=True)
class _Span:
    """`count` images from number `first` on, in place number `place` of an entry."""

    first: int
    count: int
    place: int

    @property
    def end(self) -> int:
        """The number of the image after them."""
        return self.first + self.count


class _Plane(NamedTuple):
    """Where a plane of the images of an array lies; `channels` of each."""

    channels: int
    spans: list[_Span]


class ArrayImages:
    """The images of `.npy` entries, which are called by their numbers."""

    def __init__(self, decoder: TaskRunner) -> None:
        """Look at nothing yet."""
        self._decoder = decoder
        self._file = decoder.file
        self._known: dict[int, list[_Plane]] = {}
        self._tasks: dict[int, list[StretchTask]] = {}

    def count(self, number: int) -> int:
        """How many images an entry holds; 0 if it is not an `.npy` of images."""
        entry = self._entry(number)
        images = entry.form == "arrays" and entry.width * entry.height > 0 and entry.name.lower().endswith(b".npy")
        return self._planes(number)[0].spans[-1].end if images else 0

    def chunk_of(self, number: int, image: int) -> int:
        """The number of the chunk that an image begins in."""
        spans = self._planes(number)[0].spans
        return next(self._entry(number).content[span.place].chunk for span in spans if image < span.end)

    def images(self, number: int, start: int, stop: int) -> NDArray[np.uint8]:
        """The images from `start` to before `stop`, (n, H, W, C).

        Raises InputError for images that are not there, DamagedArchive or MissingCodec.
        """
        import numpy as np

        entry, count = self._entry(number), self.count(number)
        if not 0 <= start < stop <= count:
            name = os.fsdecode(entry.name)
            raise InputError(f"{name!r} has {count} images of an array, not those from {start} to {stop}")
        planes = [self._plane_images(number, plane, start, stop) for plane in self._planes(number)]
        images = np.concatenate(planes, axis=3)
        view = self._view(number)
        return images if view is None else view.shown(images)

    def _plane_images(self, number: int, plane: _Plane, start: int, stop: int) -> NDArray[np.uint8]:
        import numpy as np

        entry, view = self._entry(number), self._view(number)
        wanted = [span for span in plane.spans if span.first < stop and span.end > start]
        tasks = [self._chunk_tasks(number)[span.place] for span in wanted]
        parts = []
        for span, (decoded,) in zip(wanted, self._decoder.here(tasks), strict=True):
            damage = decoded.damage
            shape = span.count, entry.height, entry.width, plane.channels
            kind = np.dtype("u1") if view is None else view.pixel_type
            if not damage and len(decoded.content) != math.prod(shape) * kind.itemsize:
                damage = "a chunk of an array holds a part of an image"
            if damage:
                raise DamagedArchive(f"{self._file.path}: {damage}")
            images = np.frombuffer(decoded.content, kind).reshape(shape)
            parts.append(images[max(start - span.first, 0) : stop - span.first])
        return np.concatenate(parts)

    def _entry(self, number: int) -> Entry:
        return self._file.entries[number]

    def _view(self, number: int) -> ArrayView | None:
        """How an array is seen as images, if these are not its bytes."""
        entry = self._entry(number)
        return member_layouts(entry, self._decoder.skeleton(entry))[1][0].view

    def _chunk_tasks(self, number: int) -> list[StretchTask]:
        """The tasks of an array, one a chunk."""
        if number not in self._tasks:
            self._tasks[number] = plan_stretches(self._file, self._entry(number), restore=True)
        return self._tasks[number]

    def _planes(self, number: int) -> list[_Plane]:
        """Where the images of an array lie. Raises DamagedArchive where places are not those of its view."""
        if number not in self._known:
            view = self._view(number)
            planes = [_Plane(channels, []) for channels in view.planes] if view else []
            planes = planes or [_Plane(self._entry(number).channels, [])]
            counts = view.part_images() if view and len(planes) > 1 else None
            pixel_bytes = view.pixel_type.itemsize if view else 1
            places = iter(enumerate(self._entry(number).content))
            if counts is None:
                self._take(number, planes[0], places, None, pixel_bytes)
            else:
                for count in counts:
                    for plane in planes:
                        self._take(number, plane, places, count)
            if not all(plane.spans for plane in planes) or next(places, None):
                raise DamagedArchive(f"{self._file.path}: an array has other chunks than its view says")
            self._known[number] = planes
        return self._known[number]

    def _take(
        self, number: int, plane: _Plane, places: Iterator[tuple[int, Place]], count: int | None, pixel_bytes: int = 1
    ) -> None:
        """Note the next places, with so many images of a plane in all."""
        end = plane.spans[-1].end if plane.spans else 0
        stop = None if count is None else end + count
        while stop is None or end < stop:
            place_number, place = next(places, (-1, None))
            if place is None:
                return
            images = self._images_of(number, place, plane.channels * pixel_bytes)
            plane.spans.append(_Span(end, images, place_number))
            end += images

    def _images_of(self, number: int, place: Place, bytes_a_pixel: int) -> int:
        """How many images lie at a place."""
        entry, chunk = self._entry(number), self._file.chunk(place)
        if chunk.type == BYTES:
            return place.length // (entry.width * entry.height * bytes_a_pixel)
        body = LearnedMessage if chunk.type == LEARNED else SheetBody
        return body.unpack(self._file.body(chunk)).count
