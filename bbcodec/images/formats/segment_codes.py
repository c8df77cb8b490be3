"""How the bytes of a segment are compressed, and made again as they were: by number, 0 for not at all.

A recipe says what a compression leaves open: of deflate the two bytes of zlib's header and how zlib was set
(`bbcodec.deflate`), of LZW when its table is cleared (`bbcodec.tiff_codes.lzw`), of PackBits nothing.
"""

from __future__ import annotations

import struct
import zlib
from abc import ABC, abstractmethod
from typing import Final, NamedTuple

import numpy as np

from bbcodec.deflate import recipe as recipes
from bbcodec.errors import DamagedArchive
from bbcodec.images.formats.base import Unfit
from bbcodec.images.formats.segment_layouts import DEFLATE, LZW, PACKBITS, PLAIN
from bbcodec.images.samples import Bytes
from bbcodec.tiff_codes import lzw, packbits

SHORT_BYTES: Final = 16  # of a recipe that other segments may have, too
ZLIB_AROUND: Final = 6  # bytes of a zlib stream before and behind the deflate stream


class TakenApart(NamedTuple):
    """The content of a segment, how it was compressed, and how many bytes that took."""

    content: Bytes
    recipe: bytes
    length: int


class Coder(ABC):
    """Compresses the segments of a file."""

    @abstractmethod
    def taken_apart(self, data: bytes, size: int, row_bytes: int) -> TakenApart:
        """A segment of `size` bytes, from its bytes in a file, which may be more. Raises Unfit."""

    @abstractmethod
    def made_again(self, content: Bytes, recipe: bytes, length: int, row_bytes: int) -> bytes:
        """A segment as it was, in `length` bytes. Raises DamagedArchive."""


class _Plain(Coder):
    def taken_apart(self, data: bytes, size: int, row_bytes: int) -> TakenApart:
        if len(data) < size:
            raise Unfit("segments that are cut short")
        return TakenApart(np.frombuffer(data[:size], np.uint8), b"", size)

    def made_again(self, content: Bytes, recipe: bytes, length: int, row_bytes: int) -> bytes:
        return content.tobytes()


class _Deflate(Coder):
    def __init__(self) -> None:
        self._before = b""  # the recipe of the last segment, which most others have, if it is short

    def taken_apart(self, data: bytes, size: int, row_bytes: int) -> TakenApart:
        reader = zlib.decompressobj()
        try:
            content = reader.decompress(data, size + 1)
        except zlib.error:
            raise Unfit("segments that do not unpack") from None
        length = len(data) - len(reader.unused_data)
        if len(content) != size or not reader.eof:
            raise Unfit("segments that do not unpack to their size")
        stream, array = data[:length], np.frombuffer(content, np.uint8)
        if not self._before or not self._makes(array, self._before, stream):
            recipe = self._found(stream, size)
            self._before = recipe if len(recipe) <= SHORT_BYTES else b""
            return TakenApart(array, recipe, length)
        return TakenApart(array, self._before, length)

    def _makes(self, content: Bytes, recipe: bytes, stream: bytes) -> bool:
        """Whether a recipe makes a stream."""
        try:
            return self.made_again(content, recipe, len(stream), 0) == stream
        except DamagedArchive:
            return False

    def _found(self, stream: bytes, size: int) -> bytes:
        """The recipe of a stream."""
        taken = recipes.take_apart(stream[2:-4], size)
        found = taken and recipes.find_recipe(stream[2:-4], taken, stream[:2])
        if found is None:
            raise Unfit("compressed by a deflate that cannot be followed")
        return stream[:2] + recipes.pack_recipe(found)

    def made_again(self, content: Bytes, recipe: bytes, length: int, row_bytes: int) -> bytes:
        made, at = recipes.unpack_recipe(recipe, 2)
        if at != len(recipe) or length < ZLIB_AROUND:
            raise DamagedArchive("a segment of the archive is not said how to be made")
        stream = recipes.remake(content, made, length - ZLIB_AROUND)
        return recipe[:2] + stream + struct.pack(">I", zlib.adler32(content.data))


class _LZW(Coder):
    def __init__(self) -> None:
        self._codes = lzw.LZW()

    def taken_apart(self, data: bytes, size: int, row_bytes: int) -> TakenApart:
        found = self._codes.taken_apart(data, size)
        if found is None:
            raise Unfit("compressed by another LZW than libtiff's")
        return TakenApart(*found)

    def made_again(self, content: Bytes, recipe: bytes, length: int, row_bytes: int) -> bytes:
        return self._codes.made_again(content, recipe, length)


class _PackBits(Coder):
    def taken_apart(self, data: bytes, size: int, row_bytes: int) -> TakenApart:
        found = packbits.taken_apart(data, size)
        if found is None or not self._makes(found[0], row_bytes, data[: found[1]]):
            raise Unfit("compressed by other PackBits than libtiff's")
        return TakenApart(found[0], b"", found[1])

    def _makes(self, content: Bytes, row_bytes: int, stream: bytes) -> bool:
        try:
            return packbits.made_again(content, row_bytes, len(stream)) == stream
        except DamagedArchive:
            return False

    def made_again(self, content: Bytes, recipe: bytes, length: int, row_bytes: int) -> bytes:
        return packbits.made_again(content, row_bytes, length)


CODERS: Final[dict[int, type[Coder]]] = {PLAIN: _Plain, DEFLATE: _Deflate, LZW: _LZW, PACKBITS: _PackBits}


def coder_of(compression: int) -> Coder:
    """What compresses the segments of a file. Raises DamagedArchive for an unknown number."""
    if compression not in CODERS:
        raise DamagedArchive(f"an image of the archive has segments of an unknown compression, {compression}")
    return CODERS[compression]()
