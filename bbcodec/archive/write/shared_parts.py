"""Files whose places are not all known yet, and the chunks that parts of several files wait for."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import NamedTuple

from bbcodec.archive.format.chunks import BYTES, pack_bytes
from bbcodec.archive.format.container import ContainerWriter
from bbcodec.archive.format.index import Place
from bbcodec.archive.write.coded import StoredFile


@dataclass
class PendingFile:
    """A file that is not in a directory yet. places: None where a part waits for its chunk.

    continued: whether more pieces of it follow. contents: what tells that of each place (`promises`).
    """

    stored: StoredFile
    places: list[Place | None] = field(default_factory=list)
    contents: list[bytes] = field(default_factory=list)
    continued: bool = False

    @property
    def complete(self) -> bool:
        """Whether all its places are known."""
        return not self.continued and None not in self.places


class _WaitingPart(NamedTuple):
    """Part `number` of a chunk; its place becomes number `slot` of a file's places."""

    file: PendingFile
    slot: int
    number: int
    coding: str


class SharedParts:
    """Parts of several files that wait for a common `B` chunk, in which equal parts are stored once."""

    def __init__(self, *, compress: bool) -> None:
        """Begin without parts. compress: whether the chunk is stored in the shortest method, or as it is."""
        self.size = 0
        self._compress = compress
        self._numbers: dict[bytes, int] = {}  # of each part in the chunk, in order
        self._waiting: list[_WaitingPart] = []

    def add(self, part: bytes, coding: str, file: PendingFile) -> None:
        """Take in a part, whose place becomes the next of the file's."""
        if part not in self._numbers:
            self._numbers[part] = len(self._numbers)
            self.size += len(part)
        self._waiting.append(_WaitingPart(file, len(file.places), self._numbers[part], coding))
        file.places.append(None)

    def flush(self, writer: ContainerWriter) -> None:
        """Write the chunk, if there is one, and tell the files their places."""
        if not self._waiting:
            return
        parts = list(self._numbers)
        chunk = writer.add(BYTES, pack_bytes(b"".join(parts), compress=self._compress))
        for part in self._waiting:
            part.file.places[part.slot] = Place(chunk, part.number, len(parts[part.number]), part.coding)
        self.size, self._numbers, self._waiting = 0, {}, []
