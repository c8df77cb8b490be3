"""Array files (`.npy`, `.npz`) taken apart into headers and images, and joined again byte for byte (`.npy`) or member
for member (`.npz`).
"""

from __future__ import annotations

import io
import math
import os
import re
import tokenize
import zipfile
import zlib
from collections.abc import Iterable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from typing import Any, BinaryIO, Final, NamedTuple

import msgpack
import numpy as np
from numpy.typing import NDArray

from bbcodec.binary import MAX_VALUES
from bbcodec.errors import DamagedArchive, InputError
from bbcodec.input_files import read_piece
from bbcodec.sample_formats import pixel_mode

MAX_MEMBER_BYTES: Final = 2**31  # members of an npz are held in memory, one at a time
MAX_ARRAY_SKELETON_BYTES: Final = 2**22  # a file with longer headers is kept as bytes; some 20,000 arrays have room
LEAST_MEMBER_BYTES: Final = 7  # of a member in a skeleton
HEADER_BYTES: Final = 2**14  # of a file in which a header is looked for
READ_BYTES: Final = 2**24  # at a time
# What NumPy raises for a header that is none, some of it undocumented.
BAD_HEADER: Final = (
    ValueError, KeyError, SyntaxError, OSError, TypeError, ArithmeticError, RecursionError, MemoryError,
    tokenize.TokenError,
)  # fmt: skip
PYTHON_2_LONG: Final = re.compile(rb"(?<=[0-9])L(?=[,) ])")  # in a shape, as in (40L, 28L)
USUAL_BYTES: Final = 128  # of the header that NumPy writes before uint8 arrays of a usual shape

# Of arrays without a skeleton, what follows (N, H, W) in their shape, by the number that the index has for it. 0 stands
# for any other array, whose header is in the skeleton.
USUAL_SHAPES: Final = ((), (), (1,), (3,))


class Images(NamedTuple):
    """The images of an array: `pixels` is uint8 (N, H, W, C), `levels` 2 if no value is above 1."""

    pixels: NDArray[np.uint8]
    levels: int

    @property
    def mode(self) -> str:
        """Pillow's mode of one image."""
        return pixel_mode(self.pixels.shape[3], self.levels)


class StoredPixels:
    """Images (N, H, W, C) uint8 that lie in a file, read when they are asked for.

    Not mapped into memory: pages of a file that is cut meanwhile would kill the process.
    """

    def __init__(self, path: str, offset: int, shape: tuple[int, int, int, int]) -> None:
        """offset: where they begin, in bytes."""
        self.path, self.offset, self.shape = path, offset, shape

    def __len__(self) -> int:
        """N."""
        return self.shape[0]

    def __getitem__(self, part: slice) -> NDArray[np.uint8]:
        """Neighbouring images (n, H, W, C). Raises InputError where they are no longer there."""
        start, stop, _ = part.indices(len(self))
        size = math.prod(self.shape[1:])
        data = read_piece(self.path, self.offset + start * size, (stop - start) * size)
        return np.frombuffer(data, np.uint8).reshape(stop - start, *self.shape[1:])

    def bytes_in_pieces(self) -> Iterator[NDArray[np.uint8]]:
        """All their bytes, some at a time."""
        for start in range(0, math.prod(self.shape), READ_BYTES):
            length = min(READ_BYTES, math.prod(self.shape) - start)
            yield np.frombuffer(read_piece(self.path, self.offset + start, length), np.uint8)


class StoredImages(NamedTuple):
    """`Images` that lie in a file."""

    pixels: StoredPixels
    levels: int


@dataclass(frozen=True)
class Member:
    """One array of an array file: its header, and its images, or the bytes after the header where it has none."""

    name: str
    method: int
    date: tuple[int, ...]
    header: bytes
    images: Images | StoredImages | None
    rest: bytes = b""


@dataclass(frozen=True)
class MemberLayout:
    """How one member of an array file is put together: its header, then the content of `n_chunks` chunks."""

    name: str
    method: int
    date: tuple[int, ...]
    header: bytes
    n_chunks: int


class NpyHeader(NamedTuple):
    """The header of an npy file of images: its bytes, and the shape (N, H, W, C) and type of the images."""

    content: bytes
    shape: tuple[int, int, int, int]
    dtype: np.dtype[Any]


def npy_header(start: bytes, size: int) -> NpyHeader | None:
    """The header of an npy file of `size` bytes, or None unless it is uint8 or bool, C order, images by shape.

    start: the first bytes of the file. Shapes: (N, H, W, C) with C = 1 or 3; (N, H, W); (H, W, 3); (H, W).
    """
    stream = io.BytesIO(PYTHON_2_LONG.sub(b" ", start))  # of which NumPy would warn
    try:
        readers = {(1, 0): np.lib.format.read_array_header_1_0, (2, 0): np.lib.format.read_array_header_2_0}
        shape, fortran, dtype = readers[np.lib.format.read_magic(stream)](stream)
    except BAD_HEADER:
        return None
    images = image_shape(shape)
    plain = dtype in (np.dtype(np.uint8), np.dtype(bool)) and not fortran
    if not plain or images is None or math.prod(images) != size - stream.tell():
        return None
    return NpyHeader(start[: stream.tell()], images, dtype)


def levels_of(pieces: Iterable[NDArray[np.uint8]], dtype: np.dtype[Any]) -> int | None:
    """2 if no value in any piece is above 1, else 256; None for booleans that have such values."""
    levels = 2 if all(int(piece.max()) <= 1 for piece in pieces) else 256
    return None if dtype == np.dtype(bool) and levels != 2 else levels


def read_npy(data: NDArray[np.uint8]) -> tuple[bytes, Images] | None:
    """Header and images of a whole npy file (as bytes), or None unless it is as `npy_header` says."""
    header = npy_header(data[:HEADER_BYTES].tobytes(), len(data))
    if header is None:
        return None
    pixels = data[len(header.content) :].reshape(header.shape)
    levels = levels_of([pixels], header.dtype)
    return None if levels is None else (header.content, Images(pixels, levels))


def usual_header(usual_shape: int, size: int, height: int, width: int) -> bytes:
    """The header of an npy file of `size` bytes without a skeleton: the shape number in `USUAL_SHAPES` is not 0.

    Raises DamagedArchive for a size that no number of such images has.

    >>> usual_header(2, 128 + 5 * 28 * 28, 28, 28).split(b"  ")[0]
    b"\\x93NUMPY\\x01\\x00v\\x00{'descr': '|u1', 'fortran_order': False, 'shape': (5, 28, 28, 1), }"
    """
    known = 1 <= usual_shape < len(USUAL_SHAPES) and min(height, width) > 0
    more = USUAL_SHAPES[usual_shape] if known else ()
    count, rest = divmod(size - USUAL_BYTES, height * width * math.prod(more)) if known else (0, 0)
    text = f"{{'descr': '|u1', 'fortran_order': False, 'shape': {(count, height, width, *more)}, }}"
    if count < 1 or rest or len(text) > USUAL_BYTES - 11:
        raise DamagedArchive("an array has another size than its shape")
    return b"\x93NUMPY\x01\0v\0" + text.encode().ljust(USUAL_BYTES - 11) + b"\n"


def usual_shape(members: Sequence[MemberLayout], size: int, height: int, width: int) -> int:
    """The number in `USUAL_SHAPES` of an array file that needs no skeleton, as its header is the usual one; else 0."""
    if len(members) != 1 or members[0].name or not height * width:
        return 0
    for number in range(1, len(USUAL_SHAPES)):
        with suppress(DamagedArchive):
            if usual_header(number, size, height, width) == members[0].header:
                return number
    return 0


def image_shape(shape: tuple[int, ...]) -> tuple[int, int, int, int] | None:
    """(N, H, W, C) of an array that is a stack of images or one image, each within a chunk; else None."""
    match shape:
        case (n, h, w, (1 | 3) as c):
            pass
        case (h, w, 3):
            n, c = 1, 3
        case (n, h, w):
            c = 1
        case (h, w):
            n, c = 1, 1
        case _:
            return None
    return (n, h, w, c) if min(n, h, w) > 0 and h * w * c <= MAX_VALUES else None


def split_npy(path: str) -> Member | None:
    """The one member of an npy file, its pixels read when asked for; None where it must be kept as bytes."""
    try:
        with open(path, "rb") as stream:
            header = npy_header(stream.read(HEADER_BYTES), stream.seek(0, 2))
    except OSError:
        return None
    if header is None:
        return None
    pixels = StoredPixels(path, len(header.content), header.shape)
    levels = levels_of(pixels.bytes_in_pieces(), header.dtype)
    return None if levels is None else Member("", 0, (), header.content, StoredImages(pixels, levels))


def split_npz(path: str) -> Iterator[Member] | None:
    """The members of an npz file, read one after another; None where the zip is not one that can be written again."""
    try:
        with zipfile.ZipFile(path) as archive:
            infos = archive.infolist()
            plain = not archive.comment and len({info.filename for info in infos}) == len(infos)
            for info in infos:
                plain = plain and info.filename != "" and info.compress_type in (0, 8)
                plain = plain and not info.flag_bits & 1 and not info.comment
                plain = plain and 0 < info.file_size <= MAX_MEMBER_BYTES and is_date(info.date_time)
            plain = plain and bool(infos) and archive.testzip() is None
    except (OSError, zipfile.BadZipFile, ValueError, NotImplementedError, RuntimeError, EOFError, zlib.error):
        return None
    return _npz_members(path, infos) if plain else None


def zips_alike(path: str, spool: BinaryIO) -> bool:
    """Whether an npz file is the zip, byte for byte, that `ArrayWriter` makes of its members. spool: to write it to.

    Raises OSError where that cannot be written, InputError where the file cannot be read any more.
    """
    try:
        with zipfile.ZipFile(path) as archive:
            infos = archive.infolist()
            layouts = [MemberLayout(info.filename, info.compress_type, info.date_time, b"", 1) for info in infos]
            writer = ArrayWriter(spool, True, layouts)
            for info in infos:
                writer.add(archive.read(info))
            writer.close()
    except zipfile.BadZipFile:
        raise InputError(f"{path} changed while it was read: compress again") from None
    size = spool.seek(0, 2)
    spool.seek(0)
    return size == os.path.getsize(path) and all(
        spool.read(READ_BYTES) == read_piece(path, start, min(READ_BYTES, size - start))
        for start in range(0, size, READ_BYTES)
    )


def is_date(date: tuple[int, ...]) -> bool:
    """Whether six numbers are a date that zip files can hold."""
    bounds = (1980, 2107), (1, 12), (1, 31), (0, 23), (0, 59), (0, 59)
    return len(date) == 6 and all(low <= part <= high for part, (low, high) in zip(date, bounds, strict=True))


def _npz_members(path: str, infos: list[zipfile.ZipInfo]) -> Iterator[Member]:
    with zipfile.ZipFile(path) as archive:
        for info in infos:
            data = archive.read(info)
            parts = read_npy(np.frombuffer(data, np.uint8))
            header, images = parts or (b"", None)
            rest = b"" if parts else data
            yield Member(info.filename, info.compress_type, info.date_time, header, images, rest)


def pack_members(members: Iterable[MemberLayout], *, zipped: bool) -> bytes:
    """The skeleton of an array file."""
    rows = [[member.name, member.method, list(member.date), member.header, member.n_chunks] for member in members]
    packed: bytes = msgpack.packb([zipped, rows])
    return packed


def unpack_members(skeleton: bytes) -> tuple[bool, list[MemberLayout]]:
    """Whether the file is a zip, and how its members are put together. Raises DamagedArchive."""
    if len(skeleton) > MAX_ARRAY_SKELETON_BYTES:
        raise DamagedArchive(f"the skeleton of an array file has {len(skeleton)} bytes: no encoder makes one so long")
    try:
        most = max(6, len(skeleton) // LEAST_MEMBER_BYTES)  # members, or parts of a date
        zipped, rows = msgpack.unpackb(skeleton, max_array_len=most, max_map_len=0, max_ext_len=0)
        members = [_member_layout(*row) for row in rows]
    except (ValueError, TypeError, msgpack.UnpackException):
        raise DamagedArchive("the skeleton of an array file is malformed") from None
    names = {member.name for member in members}
    zippable = len(names) == len(members) and all(member.name and member.date for member in members)
    if not members or not (zippable if zipped else len(members) == 1):
        raise DamagedArchive(f"the skeleton of an array file has {len(members)} arrays, or one without name or date")
    return bool(zipped), members


def _member_layout(name: Any, method: Any, date: Any, header: Any, n_chunks: Any) -> MemberLayout:
    fields = isinstance(name, str) and "\0" not in name and method in (0, 8) and isinstance(header, bytes)
    fields = fields and len(name.encode()) < 2**16  # as zip files have it
    dated = date == [] or (all(isinstance(part, int) for part in date) and is_date(tuple(date)))
    if not fields or not dated or not isinstance(n_chunks, int) or n_chunks < 1:
        raise TypeError("a member's fields are not those of the format")
    return MemberLayout(name, method, tuple(date), header, n_chunks)


class ArrayWriter:
    """Puts an array file together in `stream` from the contents of its chunks, given in order to `add`."""

    def __init__(self, stream: BinaryIO, zipped: bool, members: Iterable[MemberLayout]) -> None:
        """Begin; `zipped` is whether the file is a zip."""
        self._members = list(members)
        self._stream = stream
        self._zip = zipfile.ZipFile(stream, "w", allowZip64=True) if zipped else None
        self._sink: Any = None
        self._advance()

    def add(self, content: bytes) -> None:
        """Append the content of the next chunk."""
        if not self._members:
            raise DamagedArchive("an array file has more chunks than its skeleton says")
        self._sink.write(content)
        self._members[0] = replace(self._members[0], n_chunks=self._members[0].n_chunks - 1)
        if self._members[0].n_chunks == 0:
            if self._zip:
                self._sink.close()
            self._members.pop(0)
            self._advance()

    def abandon(self) -> None:
        """Let go of a file that cannot be finished: a zip would try to, when it is forgotten."""
        if self._zip:
            with suppress(Exception):
                self._sink.close()
            with suppress(Exception):
                self._zip.close()

    def close(self) -> None:
        """Finish the file; DamagedArchive if chunks are missing."""
        if self._members:
            raise DamagedArchive("an array file has fewer chunks than its skeleton says")
        if self._zip:
            self._zip.close()

    def _advance(self) -> None:
        """Open the next member, if there is one, and write its header."""
        if self._members:
            member = self._members[0]
            self._sink = self._stream
            if self._zip:
                info = zipfile.ZipInfo(member.name, member.date)  # type: ignore[arg-type]  # six ints, checked by zipfile
                info.compress_type = member.method
                info.create_system = 3  # Unix, on every system
                self._sink = self._zip.open(info, "w", force_zip64=True)
            self._sink.write(member.header)
