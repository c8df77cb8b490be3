"""An archive as it lies on disk: its directory, the bodies of its chunks, and where the parts of chunks are."""

from __future__ import annotations

from collections import defaultdict
from itertools import accumulate
from pathlib import Path
from typing import NamedTuple

from bbcodec.archive.format.chunks import BYTES, Chunk, read_chunk
from bbcodec.archive.format.contents import read_contents
from bbcodec.archive.format.index import CodecRecord, Entry, Place
from bbcodec.archive.format.journal import journal_of
from bbcodec.archive.format.shards import beside
from bbcodec.errors import BBCodecError, DamagedArchive, InputError
from bbcodec.remote import is_url


class ResolvedPlace(NamedTuple):
    """A place with all that it takes to read it. offset, length, size: of a part, in a content of `size` bytes."""

    chunk: Chunk
    position: int
    offset: int
    length: int
    size: int
    coding: str


class _Parts(NamedTuple):
    """Where each part of a `B` chunk begins, and the bytes of all."""

    offsets: list[int]
    size: int


class ArchiveFile:
    """An archive, its index read. Holds no open file, so that threads and forked processes may share it.

    size, paths, rebuilt, damage: as of `Contents`. Of a manifest, `path` is its own.
    """

    def __init__(self, path: str | Path) -> None:
        """Read the index.

        Raises InputError, NotAnArchive, DamagedArchive, UnsupportedVersion or UnsafePath.
        """
        self.path = path
        try:
            contents = read_contents(path)
        except BBCodecError as error:
            raise type(error)(f"{path}: {error}") from None
        except OSError as error:
            raise InputError(f"{path} cannot be read: {error.strerror}") from None
        self.directory, self.size, self.paths = contents.directory, contents.size, contents.paths
        killed = not is_url(path) and journal_of(Path(path)).exists()
        hint = "; bbcodec repair takes back what was being appended" if killed else ""
        self.rebuilt = contents.rebuilt and contents.rebuilt + hint
        self.damage = contents.damage and contents.damage + hint
        self._parts = self._find_parts()

    @property
    def entries(self) -> list[Entry]:
        """The entries, sorted by name."""
        return self.directory.files

    @property
    def codecs(self) -> list[CodecRecord]:
        """The codecs that its learned chunks need."""
        return self.directory.codecs

    def chunk(self, place: Place) -> Chunk:
        """The chunk of a place."""
        return self.directory.chunks[place.chunk]

    def path_of(self, chunk: Chunk) -> str | Path:
        """The path of the archive that a chunk lies in: its own, or that of a shard."""
        return beside(self.path, chunk.shard) if chunk.shard else self.path

    def body(self, chunk: Chunk) -> bytes:
        """The body of a chunk. Raises DamagedArchive or InputError, with the name of the archive."""
        try:
            return read_chunk(str(self.path), chunk)
        except DamagedArchive as error:
            raise DamagedArchive(f"{self.path}: {error}") from None
        except OSError as error:
            raise InputError(f"{self.path} cannot be read: {error.strerror}") from None

    def resolve(self, place: Place) -> ResolvedPlace:
        """A place, with where its part lies."""
        chunk = self.chunk(place)
        parts = self._parts.get(place.chunk, _Parts([], 0))
        offset = parts.offsets[place.position] if chunk.type == BYTES else 0
        return ResolvedPlace(chunk, place.position, offset, place.length, parts.size, place.coding)

    def _find_parts(self) -> dict[int, _Parts]:
        lengths: dict[int, dict[int, int]] = defaultdict(dict)
        for entry in self.entries:
            for place in entry.places:
                if self.chunk(place).type == BYTES:
                    lengths[place.chunk][place.position] = place.length
        ends = {chunk: [0, *accumulate(parts[key] for key in sorted(parts))] for chunk, parts in lengths.items()}
        return {chunk: _Parts(edges[:-1], edges[-1]) for chunk, edges in ends.items()}
