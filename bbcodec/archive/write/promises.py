"""What an archive has to hold, by digests: noted while it is written of what workers checked, and compared with it."""

from __future__ import annotations

from collections.abc import Iterable
from hashlib import blake2b
from typing import Final

from bbcodec.archive.format.index import Entry

DIGEST_BYTES: Final = 16


class Promises:
    """Digests of chunks, and by name those of entries with all that lies at their places.

    The content of a place is told by its chunk, if that came whole from a worker, and by the bytes of a part otherwise.
    """

    def __init__(self) -> None:
        """Nothing is promised yet."""
        self.chunks: set[bytes] = set()
        self.entries: dict[bytes, bytes] = {}

    def add_chunk(self, body: bytes) -> bytes:
        """Promise a chunk. Its digest."""
        digest = content_digest(body)
        self.chunks.add(digest)
        return digest

    def add_entry(self, entry: Entry, contents: Iterable[bytes]) -> None:
        """Promise an entry. contents: what tells that of each place, as of `in_chunk` or `content_digest`."""
        self.entries[entry.name] = entry_digest(entry, contents)


def content_digest(data: bytes) -> bytes:
    """What tells a chunk by its body, or a part."""
    return blake2b(data, digest_size=DIGEST_BYTES).digest()


def in_chunk(chunk: bytes, position: int) -> bytes:
    """What tells an image or part number `position` of a chunk of this digest."""
    return chunk + position.to_bytes(8, "little")


def entry_digest(entry: Entry, contents: Iterable[bytes]) -> bytes:
    """What tells an entry, wherever its chunks lie."""
    fields = (
        entry.name, entry.form, entry.mode, entry.sample_format, entry.plane_layout, entry.width, entry.height,
        entry.size, entry.modified_ns, entry.permissions, entry.skeleton,
        [(place.length, place.coding, content) for place, content in zip(entry.places, contents, strict=True)],
    )  # fmt: skip
    return content_digest(repr(fields).encode())
