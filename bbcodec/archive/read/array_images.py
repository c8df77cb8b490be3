"""The images of the arrays of an archive, by number: only the chunks that hold some are decoded."""

from __future__ import annotations

import os
from bisect import bisect_left, bisect_right
from itertools import accumulate
from typing import TYPE_CHECKING

from bbcodec.archive.format.chunks import BYTES, LEARNED, SheetBody
from bbcodec.archive.format.index import Entry
from bbcodec.archive.read.task_runner import TaskRunner
from bbcodec.archive.read.tasks import StretchTask, plan_stretches
from bbcodec.codec.message import LearnedMessage
from bbcodec.errors import DamagedArchive, InputError

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray


class ArrayImages:
    """The images of `.npy` entries, which are called by their numbers."""

    def __init__(self, decoder: TaskRunner) -> None:
        """Look at nothing yet."""
        self._decoder = decoder
        self._file = decoder.file
        self._starts: dict[int, list[int]] = {}
        self._tasks: dict[int, list[StretchTask]] = {}

    def count(self, number: int) -> int:
        """How many images an entry holds; 0 if it is not an `.npy` of images."""
        entry = self._entry(number)
        images = entry.form == "arrays" and entry.width * entry.height > 0 and entry.name.lower().endswith(b".npy")
        return self._chunk_starts(number)[-1] if images else 0

    def chunk_of(self, number: int, image: int) -> int:
        """The number of the chunk that an image begins in."""
        return self._entry(number).content[bisect_right(self._chunk_starts(number), image) - 1].chunk

    def images(self, number: int, start: int, stop: int) -> NDArray[np.uint8]:
        """The images from `start` to before `stop`, (n, H, W, C).

        Raises InputError for images that are not there, DamagedArchive or MissingCodec.
        """
        import numpy as np

        entry, count = self._entry(number), self.count(number)
        if not 0 <= start < stop <= count:
            name = os.fsdecode(entry.name)
            raise InputError(f"{name!r} has {count} images of an array, not those from {start} to {stop}")
        starts = self._chunk_starts(number)
        wanted = range(bisect_right(starts, start) - 1, bisect_left(starts, stop))
        tasks = [self._chunk_tasks(number)[chunk] for chunk in wanted]
        parts = []
        for chunk, (decoded,) in zip(wanted, self._decoder.here(tasks), strict=True):
            first, last = starts[chunk], starts[chunk + 1]
            damage = decoded.damage
            if not damage and len(decoded.content) % max(1, (last - first) * entry.height * entry.width):
                damage = "a chunk of an array holds a part of an image"
            if damage:
                raise DamagedArchive(f"{self._file.path}: {damage}")
            images = np.frombuffer(decoded.content, np.uint8).reshape(last - first, entry.height, entry.width, -1)
            parts.append(images[max(start - first, 0) : stop - first])
        return np.concatenate(parts)

    def _entry(self, number: int) -> Entry:
        return self._file.entries[number]

    def _chunk_tasks(self, number: int) -> list[StretchTask]:
        """The tasks of an array, one a chunk."""
        if number not in self._tasks:
            self._tasks[number] = plan_stretches(self._file, self._entry(number), restore=True)
        return self._tasks[number]

    def _chunk_starts(self, number: int) -> list[int]:
        """The number of the first image of each chunk of an array, and that of all images."""
        if number not in self._starts:
            entry, counts = self._entry(number), [0]
            for place in entry.content:
                chunk = self._file.chunk(place)
                if chunk.type == BYTES:
                    counts.append(place.length // (entry.width * entry.height * entry.channels))
                else:
                    body = LearnedMessage if chunk.type == LEARNED else SheetBody
                    counts.append(body.unpack(self._file.body(chunk)).count)
            self._starts[number] = list(accumulate(counts))
        return self._starts[number]
