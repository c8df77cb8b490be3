"""Chunks that were decoded last, kept as neighbouring tasks may need them too.

What is not kept is decoded again. Honest archives hardly need that; a stranger's files may take turns in chunks too
large to be kept, so that some kilobytes cost hours: what may be decoded again is bounded.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Final, NamedTuple

from bbcodec.archive.format.chunks import Chunk
from bbcodec.errors import DamagedArchive

if TYPE_CHECKING:
    from bbcodec.images.samples import Samples

KEPT_BYTES: Final = 2**26  # of decoded chunks, in each process
KEPT_CHUNKS: Final = 3  # whatever their size: an image has at most a skeleton and two planes, which alternate
AGAIN_BYTES: Final = 2**28  # that may be decoded again, beside a quarter of what was decoded once


class ChunkImages(NamedTuple):
    """The images (N, H, W, C) of an `L` or `S` chunk, and their levels (of an `S` chunk 256 or 65,536)."""

    pixels: Samples
    levels: int


Content = bytes | ChunkImages
Key = tuple[str, Chunk]  # path of an archive, and a chunk of it


@dataclass
class KeptChunks:
    """The contents of the chunks decoded last, what is wrong with others, and how much was decoded in some work.

    Several threads may use it, each in work of its own: they share the counts, which any that begins sets back.
    """

    contents: dict[Key, Content] = field(default_factory=dict)
    damage: dict[Key, str] = field(default_factory=dict)
    sizes: dict[Key, int] = field(default_factory=dict)  # of all that were decoded since the work began
    once: int = 0  # bytes decoded since then, of each chunk once
    again: int = 0  # and what was decoded beyond that

    @classmethod
    def of(cls, kept: dict[Any, Any]) -> KeptChunks:
        """Those of a pool of codecs, whose `kept` this is."""
        found: KeptChunks | None = kept.get(cls)
        return found or kept.setdefault(cls, cls())  # of several threads, the first

    def begin(self) -> None:
        """Begin some work: what was decoded before does not count."""
        self.sizes.clear()
        self.once = self.again = 0

    def content(self, key: Key, decode: Callable[[], Content]) -> Content:
        """The content of a chunk, which is decoded unless it is kept. Raises what `decode` does, or DamagedArchive.

        A chunk that is damaged is not decoded again: thousands of files may need it.
        """
        found = self.contents.get(key)
        if found is not None:
            return found
        if key in self.damage:
            raise DamagedArchive(self.damage[key])
        size = self.sizes.get(key)  # looked up once: other threads may begin some work at any time
        if size is not None:
            self.again += size
            if self.again > self.once // 4 + AGAIN_BYTES:
                raise DamagedArchive("files take turns in chunks that are too large to be kept")
        try:
            found = decode()
        except DamagedArchive as error:
            self.damage[key] = str(error)
            raise
        self._keep(key, found)
        return found

    def _keep(self, key: Key, content: Content) -> None:
        if key not in self.sizes:
            size = self.sizes[key] = _size(content)
            self.once += size
        self.contents[key] = content
        for old in list(self.contents)[:-KEPT_CHUNKS]:
            if sum(map(_size, list(self.contents.values()))) <= KEPT_BYTES:
                break
            self.contents.pop(old, None)


def _size(content: Content) -> int:
    return len(content) if isinstance(content, bytes) else int(content.pixels.nbytes)
