"""What an archive holds, and the tasks that decode it."""

from __future__ import annotations

import os
from collections import defaultdict
from collections.abc import Iterable, Iterator, Sequence
from contextlib import suppress
from itertools import accumulate
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from bbcodec.archive.format.container import Reader, read_chunk, unpack_bytes
from bbcodec.archive.format.index import BYTES, LEARNED, PIXEL_FORMS, Chunk, CodecRecord, Entry, Place, tile_bounds
from bbcodec.binary import MAX_CODEC_BYTES
from bbcodec.codec.catalogue import CodecFile, parse_codec, shipped_codecs
from bbcodec.errors import BBCodecError, DamagedArchive, InputError, MissingCodec
from bbcodec.options import RunOptions

if TYPE_CHECKING:
    from bbcodec.archive.read.decode import Decoded, FilesTask, ResolvedPlace, StretchTask
    from bbcodec.codec.pool import CodecPool, CodecSource


class Unit(NamedTuple):
    """Files that are decoded by some tasks in a row: several by one task, or a long one by several."""

    numbers: tuple[int, ...]
    tasks: list[FilesTask | StretchTask]
    long: bool


class Contents:
    """The files of an archive, in the terms of its directory: how they are cut into tasks, and who does these.

    It holds no open file, so that threads and forked processes may share it.
    """

    def __init__(self, path: Path, known: Iterable[CodecSource] = (), setting: RunOptions | None = None) -> None:
        """Open `path`. `known` are codecs to look among before the embedded and the shipped ones."""
        self.path = path
        self._known = list(known)
        self._setting = setting or RunOptions()
        try:
            with open(path, "rb") as stream:
                reader = Reader(stream)
                self._size = stream.seek(0, os.SEEK_END)
        except BBCodecError as error:
            raise type(error)(f"{path}: {error}") from None
        except OSError as error:
            raise InputError(f"{path} cannot be read: {error.strerror}") from None
        self._directory = reader.directory
        self.rebuilt = reader.rebuilt
        self.files = self._directory.files
        self._numbers = {os.fsdecode(file.name): number for number, file in enumerate(self.files)}
        self._starts: dict[int, list[int]] = {}  # of each array: where each of its chunks begins
        self._tasks: dict[int, list[FilesTask | StretchTask]] = {}  # of each array: what reads each of its chunks
        self._offsets = self._part_offsets()
        self._pool: CodecPool | None = None

    @property
    def codecs(self) -> list[CodecRecord]:
        """The codecs that the archive needs."""
        return self._directory.codecs

    def _part_offsets(self) -> dict[int, tuple[list[int], int]]:
        """Of each `B` chunk: where each of its parts begins, and the bytes of all."""
        lengths: dict[int, dict[int, int]] = defaultdict(dict)
        for file in self.files:
            for place in file.places:
                if self._directory.chunks[place.chunk].type == BYTES:
                    lengths[place.chunk][place.position] = place.length
        ends = {chunk: [0, *accumulate(parts[key] for key in sorted(parts))] for chunk, parts in lengths.items()}
        return {chunk: (edges[:-1], edges[-1]) for chunk, edges in ends.items()}

    def _spot(self, place: Place) -> ResolvedPlace:
        from bbcodec.archive.read.decode import ResolvedPlace

        chunk = self._directory.chunks[place.chunk]
        offsets, size = self._offsets.get(place.chunk, ([], 0))
        offset = offsets[place.position] if chunk.type == BYTES else 0
        return ResolvedPlace(chunk, place.position, offset, place.length, size, place.coding)

    def _units(self, numbers: Iterable[int], *, restore: bool) -> list[Unit]:
        """The files in units, in the order of their chunks. Files whose content begins in one chunk are one unit."""
        from bbcodec.archive.read.decode import FilesTask

        together: dict[int, list[int]] = defaultdict(list)
        units: dict[int, Unit] = {}
        for number in numbers:
            file = self.files[number]
            if file.form == "arrays" or len(file.content) > file.n_planes:
                units[self._key(number)] = Unit((number,), self._stretches(file, restore), True)
            elif file.content:
                together[file.content[0].chunk].append(number)
        for chunk, members in together.items():
            files = tuple(
                (self.files[number], tuple(self._spot(place) for place in self.files[number].places))
                for number in members
            )
            size = sum(one.length for one in {spot.chunk for _, spots in files for spot in spots})
            task = FilesTask(str(self.path), files, restore, size)
            units[chunk * (len(self.files) + 1)] = Unit(tuple(members), [task], False)
        return [units[key] for key in sorted(units)]

    def _key(self, number: int) -> int:
        """Sorts long files by their first chunk; copies of one file, and files in that chunk, stay apart."""
        return self.files[number].content[0].chunk * (len(self.files) + 1) + number + 1

    def _stretches(self, file: Entry, restore: bool) -> list[FilesTask | StretchTask]:
        """The tasks of a long file, in the order in which it is written."""
        from bbcodec.archive.read.decode import StretchTask

        skeleton = self._spot(file.places[0]) if file.skeleton else None
        spots = [self._spot(place) for place in file.content]
        if file.form not in PIXEL_FORMS:
            return [
                StretchTask(str(self.path), file, skeleton, (spot,), 0, 0, restore, spot.chunk.length) for spot in spots
            ]
        bounds = tile_bounds(file.width, file.height)
        tasks: list[FilesTask | StretchTask] = []
        for tile, (top, bottom, left, right) in enumerate(bounds):
            planes = tuple(spots[tile :: len(bounds)])
            size = sum(spot.chunk.length for spot in planes if spot.chunk.type != BYTES) + sum(
                spot.length for spot in planes
            )
            shape = bottom - top, right - left
            tasks.append(StretchTask(str(self.path), file, skeleton, planes, *shape, restore, size))
        return tasks

    def _skeleton(self, file: Entry) -> bytes:
        """The skeleton of a long file. Raises DamagedArchive."""
        from bbcodec.archive.read.decode import decode_part

        if not file.skeleton:
            return b""
        return decode_part(self._pool_for([]), str(self.path), self._spot(file.places[0]))

    def _here(self, tasks: Iterable[FilesTask | StretchTask]) -> Iterator[list[Decoded]]:
        """What tasks give, done in this process."""
        from bbcodec.archive.read.decode import decode_task

        tasks = list(tasks)
        pool = self._pool_for(tasks)
        for task in tasks:
            yield decode_task(pool, task)

    def _everywhere(self, units: Sequence[Unit], what: str) -> Iterator[list[Decoded]]:
        """What the tasks of units give, in order, done by as many processes as are set."""
        from bbcodec.archive.read.decode import decode_task
        from bbcodec.parallel import run_tasks

        tasks = [task for unit in units for task in unit.tasks]
        pool = self._pool_for(tasks)
        values = sum(_pixel_values(self.files[number]) for unit in units for number in unit.numbers)
        jobs = self._setting.processes(values, bool(pool.sources))
        done, total = 0, sum(task.size for task in tasks)
        for task, decoded in zip(tasks, run_tasks(decode_task, tasks, pool, jobs), strict=True):
            done += task.size
            self._setting.tell(what, done, total)
            yield decoded

    def _pool_for(self, tasks: Iterable[FilesTask | StretchTask]) -> CodecPool:
        """A pool with the codecs that these tasks need. Raises MissingCodec."""
        from bbcodec.codec.pool import CodecPool

        needed = self._codec_ids(tasks)
        records = [record for record in self.codecs if record.digest[:4] in needed]
        pool = self._pool or CodecPool((), self._setting.device, self._setting.load)
        have = {source.digest for source in pool.sources}
        missing = []
        for record in records:
            if record.digest not in have:
                with suppress(DamagedArchive):  # of an embedded codec: what needs it is damaged, and nothing else
                    missing.append(self.source_of(record))
        self._pool = pool.extended(missing) if missing else pool
        return self._pool

    def _codec_ids(self, tasks: Iterable[FilesTask | StretchTask]) -> set[bytes]:
        """The codec ids of all learned chunks that these tasks read."""
        from bbcodec.archive.read.decode import StretchTask

        chunks: set[Chunk] = set()
        for task in tasks:
            spots = [task.spots] if isinstance(task, StretchTask) else [spots for _, spots in task.files]
            chunks.update(spot.chunk for some in spots for spot in some if spot.chunk.type == LEARNED)
        if len(self.codecs) == 1:
            return {self.codecs[0].digest[:4]} if chunks else set()
        ids = set()
        try:
            with open(self.path, "rb") as stream:
                for chunk in chunks:
                    stream.seek(max(0, chunk.offset))
                    ids.add(stream.read(4))
        except OSError as error:
            raise InputError(f"{self.path} cannot be read: {error.strerror}") from None
        return ids

    def source_of(self, record: CodecRecord) -> CodecSource:
        """The codec of a record: given, embedded or shipped. Raises MissingCodec."""
        from bbcodec.codec.pool import CodecSource

        for source in self._known:
            if source.digest == record.digest:
                return source
        if record.chunk is not None:
            return CodecSource.of(self._embedded(record, record.chunk))
        for codec in shipped_codecs():
            if codec.digest == record.digest:
                return CodecSource.of(codec)
        raise MissingCodec(
            f"{self.path} needs the codec {record.name!r} (digest {record.digest.hex()}), which is neither installed "
            f"nor in the archive: give its file with --codec, or install the bbcodec that ships it"
        )

    def _embedded(self, record: CodecRecord, chunk: int) -> CodecFile:
        body = self._body(self._directory.chunks[chunk])
        codec = parse_codec(unpack_bytes(body, MAX_CODEC_BYTES), record.name)
        if codec.digest != record.digest:
            raise DamagedArchive(f"{self.path}: the embedded codec {record.name!r} is not the one that was stored")
        return codec

    def _body(self, chunk: Chunk) -> bytes:
        """The body of a chunk. Raises DamagedArchive or InputError."""
        try:
            return read_chunk(str(self.path), chunk)
        except DamagedArchive as error:
            raise DamagedArchive(f"{self.path}: {error}") from None
        except OSError as error:
            raise InputError(f"{self.path} cannot be read: {error.strerror}") from None


def _pixel_values(file: Entry) -> int:
    """About how many pixel values a file has."""
    return file.size if file.form == "arrays" else file.width * file.height * (3 if file.sample_format else 0)
