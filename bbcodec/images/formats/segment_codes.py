"""How the bytes of a segment are compressed, and made again: by number, 0 for not at all."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from bbcodec.errors import DamagedArchive
from bbcodec.images.formats.base import Unfit
from bbcodec.images.formats.segment_layouts import PLAIN
from bbcodec.images.samples import Bytes


class TakenApart(NamedTuple):
    """The content of a segment, how it was compressed, and how many bytes that took."""

    content: Bytes
    recipe: bytes
    length: int


class Coder:
    """Compresses the segments of a file."""

    def __init__(self, compression: int) -> None:
        """Raises DamagedArchive for a compression that is not known."""
        if compression != PLAIN:
            raise DamagedArchive(f"an image of the archive has segments of an unknown compression, {compression}")

    def taken_apart(self, data: bytes, size: int, row_bytes: int) -> TakenApart:
        """A segment of `size` bytes, from its bytes in a file, which may be more. Raises Unfit."""
        if len(data) < size:
            raise Unfit("segments that are cut short")
        return TakenApart(np.frombuffer(data[:size], np.uint8), b"", size)

    def made_again(self, content: Bytes, recipe: bytes, length: int, row_bytes: int) -> bytes:
        """A segment as it was, in `length` bytes. Raises DamagedArchive."""
        return content.tobytes()
