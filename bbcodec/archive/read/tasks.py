"""What is decoded in one go: entries in units, units in tasks, which any process can do.

A task is either the entries whose content begins in one chunk, each wanted whole, or one stretch of a long entry: a
tile of an image, a chunk of an array, a piece of a large file.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from bbcodec.archive.format.chunks import BYTES
from bbcodec.archive.format.index import Entry
from bbcodec.archive.format.tiles import tile_bounds
from bbcodec.archive.read.archive_file import ArchiveFile, ResolvedPlace
from bbcodec.images.formats import PIXEL_FORMS


@dataclass(frozen=True)
class ResolvedEntry:
    """An entry, and the places of its skeleton and of its content, or of a stretch of that."""

    entry: Entry
    skeleton: ResolvedPlace | None
    content: tuple[ResolvedPlace, ...]


@dataclass(frozen=True)
class EntriesTask:
    """Entries of the archive at `path` that are wanted whole. restore: give their bytes, else only check.

    size: bytes of their chunks, for progress.
    """

    path: str
    entries: tuple[ResolvedEntry, ...]
    restore: bool
    size: int

    def places(self) -> Iterator[ResolvedPlace]:
        """The places that it reads, without those of skeletons."""
        for one in self.entries:
            yield from one.content


@dataclass(frozen=True)
class StretchTask:
    """A stretch of a long entry: one place, or of an image one tile of height x width in each plane. Else as above."""

    path: str
    stretch: ResolvedEntry
    height: int
    width: int
    restore: bool
    size: int

    def places(self) -> Iterator[ResolvedPlace]:
        """The places that it reads, without that of the skeleton."""
        yield from self.stretch.content


Task = EntriesTask | StretchTask


@dataclass(frozen=True)
class Unit:
    """Entries, by number, that some tasks in a row decode: several by one task, or a long one by several."""

    numbers: tuple[int, ...]
    tasks: list[Task]
    long: bool


def resolve_entry(file: ArchiveFile, entry: Entry) -> ResolvedEntry:
    """An entry with its places resolved."""
    skeleton = file.resolve(entry.places[0]) if entry.skeleton else None
    return ResolvedEntry(entry, skeleton, tuple(map(file.resolve, entry.content)))


def plan_units(file: ArchiveFile, numbers: Iterable[int], *, restore: bool) -> list[Unit]:
    """Entries in units, in the order of their chunks. Those without content are left out."""
    together: dict[int, list[int]] = defaultdict(list)
    units: dict[tuple[int, int], Unit] = {}  # by first chunk, then by number: copies of a long entry stay apart
    for number in numbers:
        entry = file.entries[number]
        if entry.form == "arrays" or len(entry.content) > entry.n_planes:
            units[entry.content[0].chunk, number + 1] = Unit(
                (number,), list(plan_stretches(file, entry, restore)), True
            )
        elif entry.content:
            together[entry.content[0].chunk].append(number)
    for chunk, members in together.items():
        entries = tuple(resolve_entry(file, file.entries[number]) for number in members)
        chunks = {place.chunk for one in entries for place in (one.skeleton, *one.content) if place is not None}
        task = EntriesTask(str(file.path), entries, restore, sum(one.length for one in chunks))
        units[chunk, 0] = Unit(tuple(members), [task], False)
    return [units[key] for key in sorted(units)]


def plan_stretches(file: ArchiveFile, entry: Entry, restore: bool) -> list[StretchTask]:
    """The tasks of a long entry, in the order in which it is written."""
    whole = resolve_entry(file, entry)
    path = str(file.path)
    if entry.form not in PIXEL_FORMS:
        return [
            StretchTask(path, ResolvedEntry(entry, whole.skeleton, (place,)), 0, 0, restore, place.chunk.length)
            for place in whole.content
        ]
    tiles = tile_bounds(entry.width, entry.height, entry.n_tiles)
    tasks = []
    for number, tile in enumerate(tiles):
        planes = whole.content[number :: len(tiles)]
        size = sum(place.length + (place.chunk.length if place.chunk.type != BYTES else 0) for place in planes)
        stretch = ResolvedEntry(entry, whole.skeleton, planes)
        tasks.append(StretchTask(path, stretch, tile.bottom - tile.top, tile.right - tile.left, restore, size))
    return tasks
