"""Writes coded tasks into an archive, in order, with the directories that name their files."""

from __future__ import annotations

import os
from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Final

from bbcodec.archive.format.chunks import BYTES
from bbcodec.archive.format.container import SEGMENT_FILES, ContainerWriter
from bbcodec.archive.format.index import Entry, Place
from bbcodec.archive.summary import FileReport, Summary, how_stored
from bbcodec.archive.write.changes import check_copies
from bbcodec.archive.write.coded import ChunkPiece, CodedFiles, DraftChunk, SharedPiece, StoredFile
from bbcodec.archive.write.encode import CodedPart, join_parts
from bbcodec.archive.write.promises import Promises, content_digest, in_chunk
from bbcodec.archive.write.scan import ScannedEntry
from bbcodec.archive.write.shared_parts import PendingFile, SharedParts
from bbcodec.codec.pool import CodecSource
from bbcodec.images.codings import coding_named
from bbcodec.images.formats import PIXEL_FORMS, form_named
from bbcodec.images.probe import why_not_pixels

SHARED_PARTS_BYTES: Final = 2**20  # parts of files share chunks of about this size


@dataclass(frozen=True)
class CodecChoice:
    """A codec that chunks may need, and whether an archive that needs it embeds it."""

    source: CodecSource
    embed: bool


class ArchiveWriter:
    """Puts coded tasks into an archive, in the order in which they come, and writes its directories.

    embedded: bytes of codecs in the archive. saved: bytes, at least, that learned chunks are shorter than the best of
    everything else. learned_bytes: what learned codecs would take for files that they were tried on in full, which take
    other_bytes. summary: of what was written so far.
    """

    def __init__(
        self,
        container: ContainerWriter,
        entries: Sequence[ScannedEntry],
        copies: dict[int, int],
        codecs: Iterable[CodecChoice],
        report: Callable[[FileReport], None] | None,
        promises: Promises | None = None,
    ) -> None:
        """Write into a container, new or resumed. copies: by number the entry that is stored in place of another.

        report: called with each file, once all of it is coded. promises: note there what is written.
        """
        self.embedded = 0
        self.saved = 0
        self.learned_bytes = self.other_bytes = 0
        self.summary = Summary()
        self._writer = container
        self._entries = entries
        self._first_of = copies
        self._copies: dict[int, list[int]] = defaultdict(list)
        for number, first in copies.items():
            self._copies[first].append(number)
        self._codecs = {use.source.digest: use for use in codecs}
        self._report = report
        self._promises = promises
        self._digests: dict[int, bytes] = {}  # of chunks that were promised, by number
        self._texts = SharedParts(compress=True)  # skeletons and targets of links
        self._images = SharedParts(compress=False)  # and image files as they are
        self._pending: dict[int, PendingFile] = {}
        self._parts: list[CodedPart] = []  # so far, of a file that is coded in several
        self._how: Counter[str] = Counter()
        self._place_what_is_empty()

    @property
    def codecs_pay(self) -> bool:
        """Whether codecs save at least the bytes that they take in the archive."""
        return not self.embedded or self.embedded <= self.saved

    @property
    def waiting(self) -> int:
        """Bytes of parts that are not written yet."""
        return self._texts.size + self._images.size

    def take_all(self, results: Iterable[CodedFiles | CodedPart]) -> Iterator[int]:
        """Take coded tasks, in order; yields after each how many bytes of input are done."""
        for result in results:
            if isinstance(result, CodedFiles):
                self._take(result)
            else:
                self._parts.append(result)
                if result.last:
                    parts, self._parts = self._parts, []
                    for coded in join_parts(parts, self._entries[result.entry]):
                        self._take(coded)
            if not self._parts:
                self._end_full_segment()
            yield self.summary.file_bytes

    def finish(self) -> Summary:
        """Write what waits, links, and the directories. Raises InputError where copies are no longer equal."""
        check_copies(self._entries, self._first_of)
        for number, entry in enumerate(self._entries):
            if entry.file_type == "link":
                target = SharedPiece(entry.target)
                size = len(entry.target)
                self._place(StoredFile(entry=number, form="link", size=size, pieces=(target,), cost=size), ())
        self._flush()
        self._add_files()
        self._writer.finish()
        self.summary.how = dict(sorted(self._how.items()))
        self.summary.codecs = [record.name for record in self._writer.codecs]
        return self.summary

    # --- chunks and places

    def _place_what_is_empty(self) -> None:
        """Name folders and empty files in the first directory: it is far from the index, but in small archives."""
        for number, entry in enumerate(self._entries):
            if entry.file_type == "folder":
                folder = Entry(entry.name, "folder", modified_ns=entry.modified_ns, permissions=entry.permissions)
                self._add_entry(folder, ())
                self.summary.folders += 1
            elif entry.file_type == "file" and entry.size == 0:
                self._place(StoredFile(entry=number, form="bytes", size=0), ())

    def _take(self, coded: CodedFiles) -> None:
        """Write chunks, and note the files that lie in them."""
        numbers = [self._add_chunk(chunk) for chunk in coded.chunks]
        for file in coded.files:
            self._place(file, numbers, continued=coded.continued)

    def _add_chunk(self, chunk: DraftChunk) -> int:
        """Write a chunk, after the codec that it needs."""
        if chunk.codec:
            use = self._codecs[chunk.codec]
            content = use.source.content if use.embed else None
            self.embedded += self._writer.add_codec(use.source.digest, use.source.name, content)
        if chunk.needs:
            self._writer.add_need(chunk.needs)
        number = self._writer.add(chunk.type, chunk.body)
        if self._promises is not None:
            self._digests[number] = self._promises.add_chunk(chunk.body)
        return number

    def _place(self, file: StoredFile, numbers: Sequence[int], *, continued: bool = False) -> None:
        """Note where a file, or a further piece of it, lies. numbers: those of the chunks of its result."""
        pending = self._pending.get(file.entry)
        if pending is None:
            pending = self._pending[file.entry] = PendingFile(file)
            if file.skeleton:
                self._texts.add(file.skeleton, "bytes", pending)
                self._promise(pending, file.skeleton)
        else:
            before = pending.stored
            pending.stored = replace(before, size=before.size + file.size, cost=before.cost + file.cost)
        pending.continued = continued
        for piece in file.pieces:
            if isinstance(piece, ChunkPiece):
                number = numbers[piece.chunk]
                pending.places.append(Place(number, piece.position, piece.length))
                if self._promises is not None:
                    pending.contents.append(in_chunk(self._digests[number], piece.position))
            else:
                self._share(piece, pending)
                self._promise(pending, piece.data)
        for shared in (self._texts, self._images):
            if shared.size >= SHARED_PARTS_BYTES:
                shared.flush(self._writer)
        if not continued:
            self._count(pending)

    def _share(self, piece: SharedPiece, pending: PendingFile) -> None:
        """Let a piece that brings its bytes wait for a shared chunk."""
        shared = self._texts if pending.stored.form == "link" else self._images
        shared.add(piece.data, piece.coding, pending)
        needs = coding_named(piece.coding).needs
        if needs:
            self._writer.add_need(needs)

    def _promise(self, pending: PendingFile, part: bytes) -> None:
        """Note the bytes of a part of a shared chunk."""
        if self._promises is not None:
            pending.contents.append(content_digest(part))

    # --- sums

    def _count(self, pending: PendingFile) -> None:
        """Take a whole file, and its copies, into the sums."""
        stored = pending.stored
        how = self._how_stored(pending)
        self.saved += stored.saved
        first = os.fsdecode(self._entries[stored.entry].name)
        if stored.form == "arrays":
            rewritten = not stored.same_bytes
        else:
            rewritten = stored.form in PIXEL_FORMS and not form_named(stored.form).keeps_bytes(stored.skeleton)
        untried = how == "original" and stored.image.mode != "" and not stored.tried
        if "learned" in stored.tried:
            self.learned_bytes += stored.tried["learned"]
            self.other_bytes += stored.cost
        for number in (stored.entry, *self._copies[stored.entry]):
            copy = number != stored.entry
            self._how[how] += 1
            self.summary.files += 1
            self.summary.copies += copy
            self.summary.rewritten += rewritten
            self.summary.file_bytes += stored.size
            if self._report:
                report = FileReport(
                    name=os.fsdecode(self._entries[number].name),
                    how="link" if stored.form == "link" else how,
                    stored_bytes=0 if copy else stored.cost,
                    file_bytes=stored.size,
                    mode=stored.image.mode,
                    tried=stored.tried,
                    copy_of=first if copy else "",
                    reason=why_not_pixels(self._entries[number].path) if untried and not copy else "",
                )
                self._report(report)

    def _how_stored(self, pending: PendingFile) -> str:
        """How a file is stored, in a word: as the first piece of its content that has a place, or else the first."""
        content = pending.places[bool(pending.stored.skeleton) :]
        first = next((place for place in content if place), None)
        if first is not None:
            return how_stored(self._writer.chunks[first.chunk].type, first.coding)
        waiting = (piece.coding for piece in pending.stored.pieces if isinstance(piece, SharedPiece))
        return how_stored(BYTES, next(waiting, "bytes"))

    # --- directories

    def _end_full_segment(self) -> None:
        """Write a directory of the files since the last one, if these are many and all of them are complete."""
        if self._writer.segment_full or len(self._pending) >= SEGMENT_FILES:
            self._flush()
            if all(pending.complete for pending in self._pending.values()):
                self._add_files()
                self._writer.end_segment()

    def _flush(self) -> None:
        self._texts.flush(self._writer)
        self._images.flush(self._writer)

    def _add_files(self) -> None:
        """Name the files since the last directory in the next."""
        for first, pending in self._pending.items():
            for number in (first, *self._copies[first]):
                self._add_entry(self._entry_of(number, pending), pending.contents)
        self._pending = {}

    def _add_entry(self, entry: Entry, contents: Sequence[bytes]) -> None:
        """Name an entry in the next directory. contents: what tells that of each of its places."""
        self._writer.add_files([entry])
        if self._promises is not None:
            self._promises.add_entry(entry, contents)

    def _entry_of(self, number: int, pending: PendingFile) -> Entry:
        """What a directory says of a file, or of a copy of it."""
        entry, stored = self._entries[number], pending.stored
        if not pending.complete:
            raise RuntimeError(f"{entry.path} was not stored as a whole")
        places = tuple(place for place in pending.places if place)
        plain = stored.form in ("link", "bytes")
        return Entry(
            name=entry.name,
            form=stored.form,
            mode=stored.image.mode,
            sample_format=stored.image.sample_format,
            plane_layout=stored.image.plane_layout,
            width=stored.image.width,
            height=stored.image.height,
            size=sum(place.length for place in places) if plain else stored.size,
            modified_ns=entry.modified_ns,
            permissions=entry.permissions,
            skeleton=bool(stored.skeleton),
            places=places,
        )
