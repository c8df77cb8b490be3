"""Array files (`.npy`, `.npz`) taken apart into headers and images. `array_files` joins them again."""

from __future__ import annotations

import io
import math
import re
import tokenize
import zipfile
import zlib
from collections.abc import Iterable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import Any, Final, NamedTuple

import msgpack
import numpy as np
from numpy.typing import NDArray

from bbcodec.errors import DamagedArchive, InputError
from bbcodec.images.array_views import MAX_SCATTERED_BYTES, ArrayView, array_type, deep_shape, find_values, seen_shape
from bbcodec.input_files import read_piece
from bbcodec.sample_formats import pixel_mode

MAX_MEMBER_BYTES: Final = 2**31  # members of an npz are held in memory, one at a time
MAX_ARRAY_SKELETON_BYTES: Final = 2**22  # a file with longer headers is kept as bytes; some 20,000 arrays have room
LEAST_MEMBER_BYTES: Final = 7  # of a member in a skeleton
LEAST_HEADER_BYTES: Final = 16
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
    """The images of an array: `pixels` is uint8 (N, H, W, C), `levels` 2 if no value is above 1; or uint16, 65,536."""

    pixels: NDArray[Any]
    levels: int

    @property
    def mode(self) -> str:
        """Pillow's mode of one image."""
        return pixel_mode(self.pixels.shape[3], self.levels)


class StoredPixels:
    """Images (N, H, W, C) that an array in a file is seen as, read when they are asked for.

    Not mapped into memory: pages of a file that is cut meanwhile would kill the process.
    """

    def __init__(self, path: str, offset: int, view: ArrayView) -> None:
        """offset: where the array begins, in bytes. view: in C order."""
        self.path, self.offset, self.view, self.shape = path, offset, view, view.seen.images

    def __len__(self) -> int:
        """N."""
        return self.shape[0]

    def __getitem__(self, part: slice) -> NDArray[Any]:
        """Neighbouring images (n, H, W, C). Raises InputError where they are no longer there."""
        start, stop, _ = part.indices(len(self))
        size = self.view.image_bytes
        data = read_piece(self.path, self.offset + start * size, (stop - start) * size)
        images = self.view.images_of(data)
        if not self.view.plain and self.view.bytes_of(images) != data:
            raise InputError(f"{self.path} changed while it was read: compress again")
        return images


class StoredImages(NamedTuple):
    """`Images` that lie in a file."""

    pixels: StoredPixels
    levels: int


@dataclass(frozen=True)
class Member:
    """One array of an array file: its header, and its images, or the bytes after the header where it has none.

    view: how its bytes are seen as images.
    """

    name: str
    method: int
    date: tuple[int, ...]
    header: bytes
    images: Images | StoredImages | None
    rest: bytes = b""
    view: ArrayView | None = None


@dataclass(frozen=True)
class MemberLayout:
    """How one member of an array file is put together: its header, then the content of `n_chunks` chunks.

    view: how images become its bytes; None where they are the content as it is.
    """

    name: str
    method: int
    date: tuple[int, ...]
    header: bytes
    n_chunks: int
    view: ArrayView | None = None


class NpyHeader(NamedTuple):
    """The header of an npy file whose array may be seen as images: its bytes, and what they say of the array."""

    content: bytes
    shape: tuple[int, ...]
    fortran: bool
    dtype: np.dtype[Any]

    def view(self, pieces: Iterable[NDArray[np.uint8]]) -> tuple[ArrayView, int] | None:
        """How the array is seen, and the levels of its images; None for too many values. pieces: its bytes."""
        found = find_values((piece.view(self.dtype) for piece in pieces), self.dtype)
        if found is None or (found.levels > 256 and deep_shape(self.shape) is None):
            return None
        return ArrayView(self.dtype.str, self.shape, self.fortran, found.values), found.levels


def npy_header(start: bytes, size: int) -> NpyHeader | None:
    """The header of an npy file of `size` bytes, or None unless its array may be seen as images (`array_views`).

    start: the first bytes of the file.
    """
    stream = io.BytesIO(PYTHON_2_LONG.sub(b" ", start))  # of which NumPy would warn
    try:
        readers = {(1, 0): np.lib.format.read_array_header_1_0, (2, 0): np.lib.format.read_array_header_2_0}
        shape, fortran, dtype = readers[np.lib.format.read_magic(stream)](stream)
    except BAD_HEADER:
        return None
    plain = all(type(side) is int for side in shape) and isinstance(dtype, np.dtype) and array_type(dtype.str)
    length = size - stream.tell()
    if not plain or seen_shape(shape) is None or math.prod(shape) * dtype.itemsize != length:
        return None
    if fortran and length > MAX_SCATTERED_BYTES:
        return None
    return NpyHeader(start[: stream.tell()], shape, bool(fortran), dtype)


class SeenArray(NamedTuple):
    """An array seen as images: its header, the images, and how its bytes are seen as them."""

    header: bytes
    images: Images
    view: ArrayView


def read_npy(data: NDArray[np.uint8]) -> SeenArray | None:
    """The array of a whole npy file (as bytes) seen as images, or None unless it may be."""
    header = npy_header(data[:HEADER_BYTES].tobytes(), len(data))
    if header is None:
        return None
    rest = data[len(header.content) :]
    found = header.view([rest])
    if found is None:
        return None
    view, levels = found
    images = view.images_of(rest.data)
    if view.bytes_of(images) != rest.tobytes():
        return None
    return SeenArray(header.content, Images(images, levels), view)


def seen_images(array: NDArray[Any]) -> Images | None:
    """The images that an array is seen as, whatever its order; None where it is not."""
    dtype = array_type(array.dtype.str)
    if dtype is None or seen_shape(array.shape) is None:
        return None
    whole = np.ascontiguousarray(array)
    found = find_values([whole.reshape(-1)], dtype)
    if found is None or (found.levels > 256 and deep_shape(array.shape) is None):
        return None
    view = ArrayView(dtype.str, array.shape, False, found.values)
    return Images(np.ascontiguousarray(view.images_of(whole.data)), found.levels)


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
    if members[0].view and not members[0].view.plain:
        return 0
    for number in range(1, len(USUAL_SHAPES)):
        with suppress(DamagedArchive):
            if usual_header(number, size, height, width) == members[0].header:
                return number
    return 0


def split_npy(path: str) -> Member | None:
    """The one member of an npy file, its pixels read when asked for; None where it must be kept as bytes."""
    try:
        with open(path, "rb") as stream:
            header = npy_header(stream.read(HEADER_BYTES), stream.seek(0, 2))
            size = stream.tell()
    except OSError:
        return None
    if header is None:
        return None
    offset = len(header.content)
    found = header.view(_bytes_in_pieces(path, offset, size - offset))
    if found is None:
        return None
    view, levels = found
    if view.fortran:
        data = read_piece(path, offset, size - offset)
        images = Images(view.images_of(data), levels)
        return Member("", 0, (), header.content, images, view=view) if view.bytes_of(images.pixels) == data else None
    return Member("", 0, (), header.content, StoredImages(StoredPixels(path, offset, view), levels), view=view)


def _bytes_in_pieces(path: str, start: int, length: int) -> Iterator[NDArray[np.uint8]]:
    """Bytes of a file, some at a time. Raises InputError where they are no longer there."""
    for first in range(0, length, READ_BYTES):
        yield np.frombuffer(read_piece(path, start + first, min(READ_BYTES, length - first)), np.uint8)


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


def is_date(date: tuple[int, ...]) -> bool:
    """Whether six numbers are a date that zip files can hold."""
    bounds = (1980, 2107), (1, 12), (1, 31), (0, 23), (0, 59), (0, 59)
    return len(date) == 6 and all(low <= part <= high for part, (low, high) in zip(date, bounds, strict=True))


def _npz_members(path: str, infos: list[zipfile.ZipInfo]) -> Iterator[Member]:
    with zipfile.ZipFile(path) as archive:
        for info in infos:
            data = archive.read(info)
            header, images, view = read_npy(np.frombuffer(data, np.uint8)) or (b"", None, None)
            rest = data if images is None else b""
            yield Member(info.filename, info.compress_type, info.date_time, header, images, rest, view)


def pack_members(members: Iterable[MemberLayout], *, zipped: bool) -> bytes:
    """The skeleton of an array file."""
    packed: bytes = msgpack.packb([zipped, [_packed_member(member) for member in members]])
    return packed


def _packed_member(member: MemberLayout) -> list[Any]:
    """A member in a skeleton: of a header that NumPy would write for its view, only the length."""
    view, header = member.view, member.header
    short = view is not None and view.header(len(header)) == header
    row = [member.name, member.method, list(member.date), len(header) if short else header, member.n_chunks]
    return [*row, view.packed()] if view and (short or not view.plain) else row


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


def _member_layout(
    name: Any, method: Any, date: Any, header: Any, n_chunks: Any, packed_view: Any = None
) -> MemberLayout:
    view = None if packed_view is None else ArrayView.unpacked(packed_view)
    if view and type(header) is int and LEAST_HEADER_BYTES <= header <= HEADER_BYTES:
        header = view.header(header)
    fields = isinstance(name, str) and "\0" not in name and method in (0, 8) and isinstance(header, bytes)
    fields = fields and len(name.encode()) < 2**16  # as zip files have it
    dated = date == [] or (all(isinstance(part, int) for part in date) and is_date(tuple(date)))
    if not fields or not dated or not isinstance(n_chunks, int) or n_chunks < 1:
        raise TypeError("a member's fields are not those of the format")
    return MemberLayout(name, method, tuple(date), header, n_chunks, view)
