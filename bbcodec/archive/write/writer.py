"""Coded tasks are put into the archive, in the order in which they come, with the directories that tell of them."""

from __future__ import annotations

import os
from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, BinaryIO, Final

from bbcodec.archive.format.chunks import BYTES, LEARNED, SHEET, pack_bytes
from bbcodec.archive.format.container import SEGMENT_FILES, Writer
from bbcodec.archive.format.index import NEEDS, Entry, Place
from bbcodec.archive.summary import FileReport, Summary

if TYPE_CHECKING:
    from bbcodec.archive.write.candidates import Coded, Draft, Group, Piece, Stored
    from bbcodec.archive.write.tasks import Planned, ScannedEntry, Task
    from bbcodec.codec.pool import CodecPool, CodecSource

SHARED_PARTS_BYTES: Final = 2**20  # parts of files share chunks of about this size


@dataclass
class _Pending:
    """A file some of whose places are not known yet."""

    stored: Stored
    places: list[Place | None]


class _Shared:
    """Parts of several files that wait for a common `B` chunk, in which equal parts are stored once."""

    def __init__(self, compress: bool) -> None:
        self.compress = compress
        self.parts: list[bytes] = []
        self.size = 0
        self._numbers: dict[bytes, int] = {}
        self._waiting: list[tuple[_Pending, int, int, str]] = []

    def add(self, part: bytes, pending: _Pending, slot: int, coding: str) -> None:
        """Take in a part; its place is to become number `slot` of a file's places."""
        number = self._numbers.get(part, len(self.parts))
        if number == len(self.parts):
            self._numbers[part] = number
            self.parts.append(part)
            self.size += len(part)
        self._waiting.append((pending, slot, number, coding))

    def flush(self, writer: Writer) -> None:
        """Write the chunk and tell the files their places."""
        if self.parts:
            chunk = writer.add(BYTES, pack_bytes(b"".join(self.parts), compress=self.compress))
            for pending, slot, number, coding in self._waiting:
                pending.places[slot] = Place(chunk, number, len(self.parts[number]), coding)
        self.parts, self.size, self._numbers, self._waiting = [], 0, {}, []


class Assembler:
    """Puts coded tasks into an archive, in the order in which they come, and writes its directories."""

    def __init__(
        self,
        stream: BinaryIO,
        entries: Sequence[ScannedEntry],
        copies: dict[int, int],
        sources: Iterable[CodecSource],
        bare: set[bytes],
        report: Callable[[FileReport], None] | None,
    ) -> None:
        """Begin an archive in `stream`. copies: by number the entry that is stored in place of another.

        bare: digests of the codecs, among `sources`, that are not embedded. report: told of each file.
        """
        self.embedded = 0  # bytes of codecs in the archive
        self.saved = 0  # bytes that learned chunks are shorter than the best of everything else
        self._writer = Writer(stream)
        self._entries = entries
        self._copies: dict[int, list[int]] = defaultdict(list)
        for number, first in copies.items():
            self._copies[first].append(number)
        self._sources = {source.digest: source for source in sources}
        self._bare = bare
        self._report = report
        self._plain, self._coded = _Shared(compress=True), _Shared(compress=False)
        self._pending: dict[int, _Pending] = {}
        self._open: list[Coded] = []  # the results so far of a file that gives several
        self._summary = Summary()
        self._how: Counter[str] = Counter()

    def run(self, pool: CodecPool, tasks: Iterable[Planned], processes: int) -> Iterator[int]:
        """Do all tasks; gives the bytes of input that are done, again and again."""
        from bbcodec.archive.write.candidates import encode_task
        from bbcodec.parallel import run_tasks

        for coded in run_tasks(encode_task, _opened(tasks), pool, processes):
            self._take(coded)
            full = self._writer.segment_full or len(self._pending) >= SEGMENT_FILES
            if full and not self._open and self._complete():
                self._end_segment()
            yield self._summary.file_bytes

    @property
    def waiting(self) -> int:
        """Bytes of parts that are not written yet."""
        return self._plain.size + self._coded.size

    def _complete(self) -> bool:
        """Whether no file waits for more tasks, as the pieces of a large one do."""
        self._flush()
        return all(None not in pending.places for pending in self._pending.values())

    def _take(self, coded: Coded) -> None:
        from bbcodec.archive.write.tasks import ArrayTask, BytesTask, TileTask

        task = coded.task
        if isinstance(task, ArrayTask | TileTask):
            self._open.append(coded)
            if task.last:
                parts, self._open = self._open, []
                (self._take_array if isinstance(task, ArrayTask) else self._take_tiles)(task.entry, parts)
            return
        numbers = [self._add(draft) for draft in coded.drafts]
        for file in coded.files:
            unfinished = isinstance(task, BytesTask) and not task.last
            self._place(file, numbers, unfinished)

    def _add(self, draft: Draft) -> int:
        """Write a chunk, after the codec that it needs."""
        if draft.codec:
            source = self._sources[draft.codec]
            bare = source.digest in self._bare
            self.embedded += self._writer.add_codec(source.digest, source.name, None if bare else source.content)
        if draft.need:
            self._writer.add_need(draft.need)
        return self._writer.add(draft.kind, draft.body)

    def _place(self, file: Stored, numbers: Sequence[int], unfinished: bool = False) -> None:
        """Note where (a further piece of) a file lies; what brings its own bytes waits for a shared chunk."""
        before = self._pending.get(file.entry)
        if before is not None:
            before.places[-1:] = [Place(numbers[piece.draft], *piece[1:4]) for piece in file.pieces]
            size, cost = before.stored.size + file.size, before.stored.cost + file.cost
            before.stored = replace(before.stored, size=size, cost=cost)
            pending = before
        else:
            places = [
                None if piece.draft < 0 else Place(numbers[piece.draft], *piece[1:4]) for piece in file.pieces
            ]
            if file.skeleton:
                places.insert(0, None)
            pending = self._pending[file.entry] = _Pending(file, places)
            self._share(file, pending)
        if unfinished:
            pending.places.append(None)
        else:
            self._count(pending)

    def _share(self, file: Stored, pending: _Pending) -> None:
        if file.skeleton:
            self._plain.add(file.skeleton, pending, 0, "bytes")
        for slot, piece in enumerate(file.pieces, int(bool(file.skeleton))):
            if piece.draft < 0:
                shared = self._plain if file.form == "link" else self._coded
                shared.add(piece.data or b"", pending, slot, piece.coding)
                if piece.coding in NEEDS:
                    self._writer.add_need(piece.coding)
        for shared in (self._plain, self._coded):
            if shared.size >= SHARED_PARTS_BYTES:
                shared.flush(self._writer)

    def _count(self, pending: _Pending) -> None:
        """Take a whole file, and its copies, into the sums."""
        stored = pending.stored
        how = self._how_of(pending)
        if how == "learned" and stored.form != "arrays":  # of which `_take_array` tells
            self.saved += min(size for coding, size in stored.tried.items() if coding != "learned") - stored.cost
        first = os.fsdecode(self._entries[stored.entry].name)
        rewritten = stored.form in ("png", "webp") or (stored.form == "arrays" and first.lower().endswith(".npz"))
        for number in (stored.entry, *self._copies[stored.entry]):
            copy = number != stored.entry
            self._how[how] += 1
            self._summary.files += 1
            self._summary.copies += copy
            self._summary.rewritten += rewritten
            self._summary.file_bytes += stored.size
            if self._report:
                name, cost = os.fsdecode(self._entries[number].name), 0 if copy else stored.cost
                sizes = stored.size, stored.mode, stored.tried
                told = "link" if stored.form == "link" else how
                self._report(FileReport(name, told, cost, *sizes, first if copy else ""))

    def _how_of(self, pending: _Pending) -> str:
        """How a file is stored, in a word."""
        first = next((place for place in pending.places[bool(pending.stored.skeleton) :] if place), None)
        if first is not None:
            kind = self._writer.chunks[first.chunk].type
            return {LEARNED: "learned", SHEET: "sheet"}.get(kind, _named(first.coding))
        return _named(pending.stored.pieces[0].coding if pending.stored.pieces else "bytes")

    def _take_array(self, number: int, parts: list[Coded]) -> None:
        """Write the chunks of an array file, or its bytes where these are fewer (an npz is compressed already)."""
        from bbcodec.archive.write.candidates import Piece, Stored, total_bytes
        from bbcodec.archive.write.tasks import ArrayTask
        from bbcodec.images.npy import pack_members, usual_shape

        entry = self._entries[number]
        tasks = [part.task for part in parts if isinstance(part.task, ArrayTask)]
        recipes, count = [], 0
        for part, task in zip(parts, tasks, strict=True):
            count += len(part.drafts)
            if task.recipe:
                recipes.append(replace(task.recipe, n_chunks=count))
                count = 0
        zipped = bool(recipes[0].name)
        height, width, channels = next((part.shape[1:] for part in parts if part.shape), (0, 0, 0))
        way = usual_shape(recipes, entry.size, height, width)
        skeleton = b"" if way else pack_members(recipes, zipped=zipped)
        cost = sum(total_bytes(part.drafts) for part in parts) + len(skeleton)
        tried = _array_costs(parts) | {"original": entry.size}
        if zipped and cost >= entry.size:
            self._take_whole(number, tried=tried)
            return
        levels = max(task.levels for task in tasks)
        mode = {0: "", 1: "1" if levels == 2 else "L", 3: "RGB"}[channels]
        pieces: list[Piece] = []
        for part in parts:
            pieces += [
                Piece(len(pieces) + index, 0, part.length if draft.kind == BYTES else 0)
                for index, draft in enumerate(part.drafts)
            ]
        numbers = [self._add(draft) for part in parts for draft in part.drafts]
        self.saved += sum(part.saved for part in parts)
        about = mode, "", way, width, height, skeleton
        self._place(Stored(number, "arrays", entry.size, *about, tuple(pieces), tried, cost), numbers)

    def _take_tiles(self, number: int, parts: list[Coded]) -> None:
        """Write the tiles of an image in the way that is shortest for all, or its bytes where these are fewer."""
        from bbcodec.archive.write.candidates import Stored
        from bbcodec.archive.write.tasks import TileTask
        from bbcodec.sample_formats import SAMPLE_FORMATS

        entry = self._entries[number]
        first = parts[0].task
        if not isinstance(first, TileTask) or first.picture is None:
            raise RuntimeError("the first tile of an image came without its picture")
        picture = first.picture
        common = set.intersection(*(set(part.tiles) for part in parts))
        totals = {way: sum(float(part.tiles[way].costs.sum()) for part in parts) for way in common}
        way = min(sorted(totals), key=lambda one: totals[one])
        groups = [part.tiles[way] for part in parts]
        tried = _tile_costs(groups) | {"original": entry.size}
        mode = SAMPLE_FORMATS[picture.sample_format].mode
        if totals[way] + len(picture.skeleton) >= entry.size:
            self._take_whole(number, mode, first.width, first.height, tried)
            return
        numbers = []
        pieces: list[Piece] = []
        for plane in range(len(groups[0].pieces[0])):
            for group in groups:
                piece = group.pieces[0][plane]
                if piece.draft >= 0:
                    numbers.append(self._add(group.drafts[piece.draft]))
                    piece = piece._replace(draft=len(numbers) - 1)
                pieces.append(piece)
        about = mode, picture.sample_format, way, first.width, first.height, picture.skeleton
        cost = round(totals[way]) + len(picture.skeleton)
        self._place(Stored(number, picture.form, entry.size, *about, tuple(pieces), tried, cost), numbers)

    def _take_whole(
        self, number: int, mode: str = "", width: int = 0, height: int = 0, tried: dict[str, int] | None = None
    ) -> None:
        """Write the bytes of a file, which may be an image."""
        from bbcodec.archive.write.candidates import encode_bytes
        from bbcodec.archive.write.tasks import whole_file

        for task in whole_file(number, self._entries[number].path, self._entries[number].size):
            coded = encode_bytes(task)
            files = [replace(file, mode=mode, width=width, height=height, tried=tried or {}) for file in coded.files]
            self._take(replace(coded, files=files))

    def _flush(self) -> None:
        self._plain.flush(self._writer)
        self._coded.flush(self._writer)

    def _end_segment(self) -> None:
        """Write a directory of the files since the last one."""
        self._add_files()
        self._writer.end_segment()

    def _add_files(self) -> None:
        self._writer.add_files(
            self._as_file(number, pending)
            for first, pending in self._pending.items()
            for number in (first, *self._copies[first])
        )
        self._pending = {}

    def _as_file(self, number: int, pending: _Pending) -> Entry:
        entry, stored = self._entries[number], pending.stored
        places = tuple(place for place in pending.places if place is not None)
        if len(places) < len(pending.places):
            raise RuntimeError(f"{entry.path} was not stored as a whole")
        about = stored.mode, stored.sample_format, stored.way, stored.width, stored.height, stored.size
        times = entry.modified_ns, entry.permissions
        return Entry(entry.name, stored.form, *about, *times, bool(stored.skeleton), places)

    def finish(self) -> Summary:
        """Write what waits, links and folders, and the directories."""
        from bbcodec.archive.write.candidates import Piece, Stored

        for number, entry in enumerate(self._entries):
            if entry.kind == "link":
                pieces = (Piece(length=len(entry.target), data=entry.target),)
                self._place(Stored(number, "link", len(entry.target), pieces=pieces, cost=len(entry.target)), ())
            elif entry.kind == "file" and entry.size == 0:
                self._place(Stored(number, "bytes", 0), ())
        self._flush()
        self._add_files()
        folders = [entry for entry in self._entries if entry.kind == "folder"]
        self._writer.add_files(
            Entry(entry.name, "folder", modified_ns=entry.modified_ns, permissions=entry.permissions)
            for entry in folders
        )
        self._writer.finish()
        self._summary.folders = len(folders)
        self._summary.how = dict(sorted(self._how.items()))
        self._summary.codecs = [record.name for record in self._writer.codecs]
        return self._summary


def _opened(tasks: Iterable[Planned]) -> Iterator[Task]:
    from bbcodec.archive.write.tasks import FileTask, open_task

    for task in tasks:
        if isinstance(task, FileTask):
            yield from open_task(task)
        else:
            yield task


def _named(coding: str) -> str:
    return "original" if coding == "bytes" else coding


def _array_costs(parts: Sequence[Coded]) -> dict[str, int]:
    """What all images of an array file cost in each coding that all of them could take."""
    tried = [part.tried for part in parts if part.tried]
    common = set.intersection(*(set(one) for one in tried)) if tried else set()
    return {coding: sum(one[coding] for one in tried) for coding in sorted(common)}


def _tile_costs(groups: Sequence[Group]) -> dict[str, int]:
    """What the tiles of an image cost in each coding that all of them could take."""
    common = set.intersection(*(set(group.tried) for group in groups))
    sums = {coding: sum(float(group.tried[coding].sum()) for group in groups) for coding in sorted(common)}
    return {coding: round(size) for coding, size in sums.items() if size < float("inf")}
