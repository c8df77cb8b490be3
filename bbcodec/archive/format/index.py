"""Directories: what files an archive holds, how each is stored, and where. `docs/format.md` specifies their bytes.

The index of an archive is a directory of all its chunks, and a directory chunk is one of the chunks just before it.
"""

from __future__ import annotations

import math
import os
from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any, Final

import msgpack

from bbcodec.binary import FRAME_BYTES, MAX_BODY_BYTES, MAX_CONTENT_BYTES, shortest, unpack_method
from bbcodec.errors import DamagedArchive, InputError, UnsafePath, UnsupportedVersion

LEARNED: Final = "L"
SHEET: Final = "S"
BYTES: Final = "B"
CODEC: Final = "C"
DIRECTORY: Final = "D"

MAX_DIRECTORY_BYTES: Final = 2**26
MAX_DIRECTORY_CONTENT: Final = 2**28
MAX_FILES: Final = 2**24
MAX_CHUNKS: Final = 2**24
MAX_SIDE: Final = 2**31
TILE_PIXELS: Final = 2**17

FORMS: Final = ("folder", "link", "bytes", "arrays", "png", "webp", "raw")
PIXEL_FORMS: Final = ("png", "webp", "raw")
SAMPLE_FORMAT_NAMES: Final = ("", "L1", "L2", "L4", "L8", "L16", "LA8", "RGB8", "RGBA8", "P1", "P2", "P4", "P8")
CODINGS: Final = ("bytes", "webp", "png", "jpegxl", "lzma", "lzma-planar")
SPLIT, COLOURS = 1, 2  # bits of a way
MODES: Final = (
    "", "1", "L", "RGB", "P", "RGBA", "LA", "CMYK", "YCbCr", "I", "F", "I;16", "PA", "La", "RGBa", "RGBX", "LAB", "HSV",
    "I;16B", "other",
)  # fmt: skip
NEEDS: Final = ("jpegxl",)

N_FILE_COLUMNS: Final = 12
N_PLACE_COLUMNS: Final = 4


@dataclass(frozen=True, slots=True)
class Place:
    """Where a piece of content lies: an image of an `L` or `S` chunk, or a part of a `B` chunk.

    length and coding are those of a part: its bytes, and whether they are plain (`bytes`), WebP, PNG or JPEG XL.
    """

    chunk: int
    position: int
    length: int = 0
    coding: str = "bytes"


@dataclass(frozen=True, slots=True)
class Entry:
    """One entry of an archive: a file, a link, or a folder. Times are nanoseconds since 1970, sizes bytes or pixels.

    way: how samples are made into planes; of arrays without a skeleton, their shape (`arrays.USUAL_SHAPES`).
    """

    name: bytes
    form: str
    mode: str = ""
    sample_format: str = ""
    way: int = 0
    width: int = 0
    height: int = 0
    size: int = 0
    modified_ns: int = 0
    permissions: int = 0o644
    skeleton: bool = False
    places: tuple[Place, ...] = ()

    @property
    def content(self) -> tuple[Place, ...]:
        """The places of its content, without that of its skeleton."""
        return self.places[1:] if self.skeleton else self.places

    @property
    def n_planes(self) -> int:
        """How many planes its pixels are stored as."""
        return 2 if self.way & SPLIT else 1


@dataclass(frozen=True, slots=True)
class CodecRecord:
    """A codec that an archive needs: its digest, its name, and the chunk that embeds it, if one does."""

    digest: bytes
    name: str
    chunk: int | None = None


@dataclass(frozen=True, slots=True)
class Chunk:
    """Where a chunk lies: `offset` and `length` are those of its body."""

    type: str
    offset: int
    length: int

    @property
    def end(self) -> int:
        """The offset of the byte after its frame."""
        return self.offset + self.length + FRAME_BYTES - 5


@dataclass(frozen=True)
class Directory:
    """What some chunks hold: files sorted by name, and what it takes to read them."""

    files: list[Entry]
    codecs: list[CodecRecord]
    chunks: list[Chunk]
    needs: list[str] = field(default_factory=list)


def tile_bounds(width: int, height: int) -> list[tuple[int, int, int, int]]:
    """The tiles of a plane, row by row, as (top, bottom, left, right).

    >>> tile_bounds(768, 512)
    [(0, 512, 0, 256), (0, 512, 256, 512), (0, 512, 512, 768)]
    >>> tile_bounds(512, 256)
    [(0, 256, 0, 512)]
    """
    rows, columns = tile_grid(width, height)
    tops = [height * row // rows for row in range(rows + 1)]
    lefts = [width * column // columns for column in range(columns + 1)]
    return [
        (tops[row], tops[row + 1], lefts[column], lefts[column + 1]) for row in range(rows) for column in range(columns)
    ]


def tile_grid(width: int, height: int) -> tuple[int, int]:
    """Rows and columns of tiles of a plane."""
    least = -(-width * height // TILE_PIXELS)
    if least <= 1:
        return 1, 1
    rows = min(height, max(1, math.isqrt(least * height // width)))
    return rows, min(width, -(-least // rows))


# --- columns ---------------------------------------------------------------------------------------------------------


def pack_column(numbers: Sequence[int]) -> int | list[int | bytes]:
    """Whole numbers as one column: a constant, or a base and byte planes (like bytes lie together, for compression)."""
    import numpy as np

    base = min(numbers, default=0)
    spread = max(numbers, default=0) - base
    if spread == 0:
        return base
    width = (spread.bit_length() + 7) // 8
    offsets = np.array([number - base for number in numbers], dtype="<u8")
    planes = offsets.view(np.uint8).reshape(-1, 8)[:, :width]  # (n, width)
    return [base, planes.T.tobytes()]


def unpack_column(column: Any, count: int) -> list[int]:
    """The `count` numbers of a column; DamagedArchive where it is malformed."""
    if is_int(column):
        return [column] * count
    if not (isinstance(column, list) and len(column) == 2 and is_int(column[0]) and isinstance(column[1], bytes)):
        raise DamagedArchive("the index holds a malformed column")
    base, data = column
    width, rest = divmod(len(data), count) if count else (0, 1)
    if rest or not 1 <= width <= 8:
        raise DamagedArchive(f"the index holds a column of {len(data)} bytes for {count} entries")
    # NumPy would halve this time, 0.3 us a number, but takes 0.1 s to import: `bbcodec list` does without it.
    return [base + int.from_bytes(data[first::count], "little") for first in range(count)]


def is_int(value: Any) -> bool:
    """Whether `value` is a whole number; msgpack's booleans are ints to Python."""
    return isinstance(value, int) and not isinstance(value, bool)


# --- packing ---------------------------------------------------------------------------------------------------------


def pack_directory(directory: Directory) -> bytes:
    """The bytes of a directory. Its files must be sorted by name. Raises InputError beyond the bounds of the format."""
    files = directory.files
    rows = [
        (
            FORMS.index(file.form),
            MODES.index(file.mode),
            SAMPLE_FORMAT_NAMES.index(file.sample_format),
            file.way,
            file.width,
            file.height,
            file.size,
            file.modified_ns // 10**9,
            file.modified_ns % 10**9,
            file.permissions,
            int(file.skeleton),
            len(file.places),
        )
        for file in files
    ]
    places = _pack_places([place for file in files for place in file.places])
    content: list[Any] = [
        b"".join(file.name + b"\0" for file in files),
        [pack_column(column) for column in zip(*rows, strict=True)] or [0] * N_FILE_COLUMNS,
        [pack_column(column) for column in zip(*places, strict=True)] or [0] * N_PLACE_COLUMNS,
        [[codec.digest, codec.name, codec.chunk] for codec in directory.codecs],
        directory.needs,
        "".join(chunk.type for chunk in directory.chunks),
        pack_column([chunk.length for chunk in directory.chunks]),
    ]
    packed: bytes = msgpack.packb(content)
    method, coded = shortest(packed)
    if len(files) > MAX_FILES or len(packed) > MAX_DIRECTORY_CONTENT or len(coded) >= MAX_DIRECTORY_BYTES:
        raise InputError(f"{len(files)} files exceed the index of one archive: make several archives")
    return bytes([method]) + coded


def _pack_places(places: Iterable[Place]) -> list[tuple[int, int, int, int]]:
    """Rows of the place columns. Positions are told as their distance from the next one expected in their chunk."""
    expected: dict[int, int] = defaultdict(int)
    rows = []
    for place in places:
        step = place.position - expected[place.chunk]
        rows.append((place.chunk, step, place.length, CODINGS.index(place.coding)))
        expected[place.chunk] = max(expected[place.chunk], place.position + 1)
    return rows


def unpack_directory(data: bytes, end: int, start: int | None = None) -> Directory:
    """The directory in `data`, of chunks that lie one after another up to byte `end` of the archive.

    start, if given, is where the first must begin; else some may begin before the archive, where bytes were lost.
    Raises DamagedArchive, UnsafePath or UnsupportedVersion where the directory breaks a rule of the format.
    """
    if not data or len(data) > MAX_DIRECTORY_BYTES:
        raise DamagedArchive(f"a directory of {len(data)} bytes is out of bounds")
    packed = unpack_method(data[0], data[1:], MAX_DIRECTORY_CONTENT)
    try:
        content = msgpack.unpackb(packed, raw=False)
    except (ValueError, TypeError, msgpack.UnpackException) as error:
        raise DamagedArchive(f"the index is malformed ({type(error).__name__})") from None
    kinds: tuple[Any, ...] = (bytes, list, list, list, list, str, (int, list))
    pairs = zip(content, kinds, strict=True) if isinstance(content, list) and len(content) == len(kinds) else None
    if pairs is None or not all(isinstance(value, kind) for value, kind in pairs):
        raise DamagedArchive("the index is malformed: its fields are not those of the format")
    names, files, places, codecs, needs, types, lengths = content
    _check_needs(needs)
    chunks = _place_chunks(types, lengths, end, start)
    directory = Directory(_unpack_files(names, files, places), [_codec_record(one, chunks) for one in codecs], chunks)
    directory.needs.extend(needs)
    _check_places(directory)
    return directory


def _check_needs(needs: list[Any]) -> None:
    unknown = [need for need in needs if need not in NEEDS]
    if unknown:
        raise UnsupportedVersion(f"the archive needs {unknown[0]!r}, which this bbcodec does not know: use a newer one")


def _place_chunks(types: str, lengths: Any, end: int, start: int | None) -> list[Chunk]:
    """Chunks one after another, the last of which ends at `end`."""
    if len(types) > MAX_CHUNKS:
        raise DamagedArchive(f"the index says {len(types)} chunks: out of bounds")
    sizes = unpack_column(lengths, len(types))
    if not all(0 <= size <= MAX_BODY_BYTES for size in sizes):
        raise DamagedArchive("the index gives a chunk a length out of bounds")
    offset = end - sum(sizes) - FRAME_BYTES * len(sizes)
    if start is not None and offset != start:
        raise DamagedArchive("the chunks of a directory do not fill the space before it")
    chunks = []
    for kind, size in zip(types, sizes, strict=True):
        if kind not in (LEARNED, SHEET, BYTES, CODEC, DIRECTORY):
            raise UnsupportedVersion(f"the archive holds a chunk of type {kind!r}, which this bbcodec does not know")
        chunks.append(Chunk(kind, offset + 5, size))
        offset += size + FRAME_BYTES
    return chunks


def _unpack_files(names: bytes, columns: list[Any], place_columns: list[Any]) -> list[Entry]:
    if names[-1:] not in (b"", b"\0") or names.count(b"\0") > MAX_FILES:
        raise DamagedArchive("the names of the index are not each followed by a zero byte, or too many")
    if len(columns) != N_FILE_COLUMNS or len(place_columns) != N_PLACE_COLUMNS:
        raise DamagedArchive("the index has other columns than the format")
    split = names.split(b"\0")[:-1]
    numbers = [unpack_column(column, len(split)) for column in columns]
    counts = numbers.pop()
    if any(count < 0 for count in counts) or sum(counts) > MAX_FILES * 2:
        raise DamagedArchive("the index gives an entry a number of places out of bounds")
    places = _unpack_places(place_columns, sum(counts))
    files, first = [], 0
    for name, count, *row in zip(split, counts, *numbers, strict=True):
        files.append(_build_file(name, tuple(places[first : first + count]), *row))
        first += count
    check_names(files)
    return files


def _unpack_places(columns: list[Any], count: int) -> list[Place]:
    expected: dict[int, int] = defaultdict(int)
    places = []
    for chunk, step, length, coding in zip(*(unpack_column(column, count) for column in columns), strict=True):
        position = expected[chunk] + step
        bounds = (chunk, MAX_CHUNKS), (position, MAX_FILES), (length, MAX_CONTENT_BYTES + 1), (coding, 4)
        if not all(0 <= value < bound for value, bound in bounds):
            raise DamagedArchive("the index holds a place out of bounds")
        places.append(Place(chunk, position, length, CODINGS[coding]))
        expected[chunk] = max(expected[chunk], position + 1)
    return places


def _build_file(
    name: bytes, places: tuple[Place, ...], form: int, mode: int, kind: int, way: int, width: int, height: int,
    size: int, seconds: int, nanoseconds: int, permissions: int, skeleton: int,
) -> Entry:  # fmt: skip
    bounds = (
        (form, len(FORMS)), (mode, len(MODES)), (kind, len(SAMPLE_FORMAT_NAMES)), (way, 4), (width, MAX_SIDE), (height, MAX_SIDE),
        (size, 2**63), (seconds + 2**62, 2**63), (nanoseconds, 10**9), (permissions, 0o1000), (skeleton, 2),
    )  # fmt: skip
    if not all(0 <= value < bound for value, bound in bounds):
        raise DamagedArchive(f"the index entry of {printable(name)} holds a number out of bounds")
    modified = seconds * 10**9 + nanoseconds
    pixels = MODES[mode], SAMPLE_FORMAT_NAMES[kind], way, width, height
    return Entry(name, FORMS[form], *pixels, size, modified, permissions, bool(skeleton), places)


def _codec_record(entry: Any, chunks: list[Chunk]) -> CodecRecord:
    match entry:
        case [bytes(digest), str(name), None | int() as chunk] if len(digest) == 16 and not isinstance(chunk, bool):
            if chunk is None or (0 <= chunk < len(chunks) and chunks[chunk].type == CODEC):
                return CodecRecord(digest, name, chunk)
    raise DamagedArchive("the index holds a malformed codec record")


# --- checking --------------------------------------------------------------------------------------------------------


def _check_places(directory: Directory) -> None:
    """Every entry must name what its form needs, in chunks that exist; the parts of a chunk must be told apart."""
    types = [chunk.type for chunk in directory.chunks]
    parts: dict[int, dict[int, int]] = defaultdict(dict)  # of each B chunk: length at each position
    for file in directory.files:
        for place in file.places:
            if place.chunk >= len(types) or types[place.chunk] not in (LEARNED, SHEET, BYTES):
                raise DamagedArchive(f"the index places {printable(file.name)} in a chunk that is none for files")
            if types[place.chunk] == BYTES and parts[place.chunk].setdefault(place.position, place.length) != (
                place.length
            ):
                raise DamagedArchive(f"the index gives a part of {printable(file.name)} two lengths")
        if not _fits(file, [types[place.chunk] for place in file.places]):
            raise DamagedArchive(f"the index entry of {printable(file.name)} contradicts itself")
    if any(max(lengths) != len(lengths) - 1 for lengths in parts.values()):
        raise DamagedArchive("the index does not name all parts of a chunk")


def _fits(file: Entry, types: list[str]) -> bool:
    """Whether an entry has the places that its form asks for, in chunks of these types."""
    content = file.content
    if len(file.places) - len(content) != int(file.skeleton):
        return False
    if file.skeleton and not (types[0] == BYTES and file.places[0].coding == "bytes"):
        return False
    types = types[int(file.skeleton) :]
    if file.form in PIXEL_FORMS:
        if not file.sample_format or not 1 <= file.width * file.height <= 2**40:
            return False
        rows, columns = tile_grid(file.width, file.height)
        coded = all(kind != BYTES or place.coding != "bytes" for kind, place in zip(types, content, strict=True))
        return coded and len(content) == file.n_planes * rows * columns
    if file.form == "arrays":
        told = not file.way if file.skeleton else file.way > 0 and file.width * file.height > 0
        return told and len(content) > 0 and all(place.coding == "bytes" for place in content)
    plain = set(types) <= {BYTES} and all(place.coding == "bytes" for place in content) and not file.skeleton
    return plain and (file.form != "folder" or not content)


def check_names(files: Iterable[Entry]) -> None:
    """Raise UnsafePath for a name that could leave the target folder, DamagedArchive for disorder and doubles."""
    previous: bytes | None = None
    needed: set[bytes] = set()  # the folders that names lie in
    others: set[bytes] = set()
    for file in files:
        check_name(file.name)
        if previous is not None and file.name <= previous:
            raise DamagedArchive(f"the names of the index are not in order at {printable(file.name)}")
        previous = file.name
        if file.form != "folder":
            others.add(file.name)
        parts = file.name.split(b"/")
        needed.update(b"/".join(parts[:depth]) for depth in range(1, len(parts)))
    both = others & needed
    if both:
        raise DamagedArchive(f"the index has {printable(min(both))} both as a file and as a folder")


def check_name(name: bytes) -> None:
    """Raise UnsafePath where a name is not a plain relative path."""
    foreign = os.name == "nt" and (b"\\" in name or b":" in name)
    if foreign or b"\0" in name or any(part in (b"", b".", b"..") for part in name.split(b"/")):
        raise UnsafePath(f"the archive holds the name {printable(name)}, which could leave the target folder: refused")


def link_stays_inside(name: bytes, target: bytes) -> bool:
    """Whether a link called `name` that points to `target` is plain and cannot lead out of the folder that holds all.

    Plain: `..` only at the front, and no more of them than folders above the link. Then each step starts inside and
    ends inside, whatever other links of the same kind it passes.
    """
    parts = target.split(b"/")
    ups = next((depth for depth, part in enumerate(parts) if part != b".."), len(parts))
    plain = not any(part in (b"", b".", b"..") for part in parts[ups:]) and b"\0" not in target
    return plain and ups <= name.count(b"/") and os.name != "nt"


def printable(name: bytes) -> str:
    """A name for a message on one line, in quotes, whatever its bytes are."""
    return repr(name.decode("utf-8", "backslashreplace"))
