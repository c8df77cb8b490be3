"""Directories: what files an archive holds, how each is stored, and where. `docs/format.md` specifies their bytes.

The index of an archive is a directory of all its chunks, and a directory chunk is one of the chunks just before it.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Final, NamedTuple

import msgpack

from bbcodec.archive.format.chunks import BYTES, CHUNK_TYPES, CODEC, HEAD_BYTES, LEARNED, SHEET, Chunk
from bbcodec.archive.format.names import check_names, printable
from bbcodec.archive.format.tiles import tile_grid
from bbcodec.binary import FRAME_BYTES, MAX_BODY_BYTES, MAX_CONTENT_BYTES, shortest, unpack_method
from bbcodec.errors import DamagedArchive, InputError, UnsupportedVersion
from bbcodec.images.codings import CODINGS, coding_number
from bbcodec.images.formats import PIXEL_FORMS
from bbcodec.sample_formats import SAMPLE_FORMATS, mode_channels

MAX_DIRECTORY_BYTES: Final = 2**26
MAX_DIRECTORY_CONTENT: Final = 2**28
MAX_FILES: Final = 2**24
MAX_CHUNKS: Final = 2**24
MAX_SIDE: Final = 2**31

# The place of a name here is its number in archives, fixed forever: new ones go to the end.
FORMS: Final = ("folder", "link", "bytes", "arrays", *PIXEL_FORMS)
SAMPLE_FORMAT_NAMES: Final = ("", *SAMPLE_FORMATS)
SPLIT: Final = 1  # bit of a plane layout (`bbcodec.images.planes`)
MODES: Final = (
    "", "1", "L", "RGB", "P", "RGBA", "LA", "CMYK", "YCbCr", "I", "F", "I;16", "PA", "La", "RGBa", "RGBX", "LAB", "HSV",
    "I;16B", "other",
)  # fmt: skip
NEEDS: Final = tuple(coding.needs for coding in CODINGS if coding.needs)

# What a part of a `B` chunk may be coded as, by number.
PART_CODINGS: Final = {number: one.name for number, one in enumerate(CODINGS) if one.alone or one.name == "bytes"}


@dataclass(frozen=True, slots=True)
class Place:
    """Where a piece of content lies: an image of an `L` or `S` chunk, or a part of a `B` chunk.

    length and coding are those of a part: its bytes, and the storage coding of the image that it is, or `bytes`.
    """

    chunk: int
    position: int
    length: int = 0
    coding: str = "bytes"


@dataclass(frozen=True, slots=True)
class Entry:
    """One entry of an archive: a file, a link, or a folder. Times are nanoseconds since 1970, sizes bytes or pixels.

    plane_layout: that of its samples (`bbcodec.images.planes`); of arrays without a skeleton, the number of their shape
    (`bbcodec.images.npy.USUAL_SHAPES`). skeleton: whether the first of its places is that of its skeleton.
    """

    name: bytes
    form: str
    mode: str = ""
    sample_format: str = ""
    plane_layout: int = 0
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
        return 2 if self.plane_layout & SPLIT else 1

    @property
    def n_tiles(self) -> int:
        """How many tiles each plane of its pixels is cut into."""
        return len(self.content) // self.n_planes

    @property
    def channels(self) -> int:
        """How many values a pixel has."""
        return SAMPLE_FORMATS[self.sample_format].channels if self.sample_format else mode_channels(self.mode)

    def moved(self, by: int) -> Entry:
        """The entry with `by` added to the numbers of its chunks."""
        places = (Place(place.chunk + by, place.position, place.length, place.coding) for place in self.places)
        return replace(self, places=tuple(places))


@dataclass(frozen=True, slots=True)
class CodecRecord:
    """A codec that an archive needs: its digest, its name, and the chunk that embeds it, if one does."""

    digest: bytes
    name: str
    chunk: int | None = None


@dataclass(frozen=True)
class Directory:
    """What some chunks hold: files sorted by name, and what it takes to read them."""

    files: list[Entry]
    codecs: list[CodecRecord]
    chunks: list[Chunk]
    needs: list[str] = field(default_factory=list)


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


class _EntryRow(NamedTuple):
    """An entry as a number in each column; of names, their place in the lists above."""

    form: int
    mode: int
    sample_format: int
    plane_layout: int
    width: int
    height: int
    size: int
    seconds: int
    nanoseconds: int
    permissions: int
    skeleton: int
    n_places: int

    @classmethod
    def of(cls, entry: Entry) -> _EntryRow:
        """That of an entry."""
        seconds, nanoseconds = divmod(entry.modified_ns, 10**9)
        return cls(
            form=FORMS.index(entry.form),
            mode=MODES.index(entry.mode),
            sample_format=SAMPLE_FORMAT_NAMES.index(entry.sample_format),
            plane_layout=entry.plane_layout,
            width=entry.width,
            height=entry.height,
            size=entry.size,
            seconds=seconds,
            nanoseconds=nanoseconds,
            permissions=entry.permissions,
            skeleton=int(entry.skeleton),
            n_places=len(entry.places),
        )

    def entry(self, name: bytes, places: tuple[Place, ...]) -> Entry:
        """The entry of a row that is within bounds."""
        return Entry(
            name=name,
            form=FORMS[self.form],
            mode=MODES[self.mode],
            sample_format=SAMPLE_FORMAT_NAMES[self.sample_format],
            plane_layout=self.plane_layout,
            width=self.width,
            height=self.height,
            size=self.size,
            modified_ns=self.seconds * 10**9 + self.nanoseconds,
            permissions=self.permissions,
            skeleton=bool(self.skeleton),
            places=places,
        )


_ENTRY_BOUNDS: Final = {
    "form": range(len(FORMS)),
    "mode": range(len(MODES)),
    "sample_format": range(len(SAMPLE_FORMAT_NAMES)),
    "plane_layout": range(4),
    "width": range(MAX_SIDE),
    "height": range(MAX_SIDE),
    "size": range(2**63),
    "seconds": range(-(2**62), 2**62),
    "nanoseconds": range(10**9),
    "permissions": range(0o1000),
    "skeleton": range(2),
    "n_places": range(MAX_FILES * 2),
}


class _PlaceRow(NamedTuple):
    """A place as a number in each column. step: its position, less the next one expected in its chunk."""

    chunk: int
    step: int
    length: int
    coding: int


def pack_directory(directory: Directory) -> bytes:
    """The bytes of a directory, its entries sorted by name. Raises InputError beyond the bounds of the format."""
    files = directory.files
    rows = [_EntryRow.of(file) for file in files]
    places = _pack_places([place for file in files for place in file.places])
    content: list[Any] = [
        b"".join(file.name + b"\0" for file in files),
        [pack_column(column) for column in zip(*rows, strict=True)] or [0] * len(_EntryRow._fields),
        [pack_column(column) for column in zip(*places, strict=True)] or [0] * len(_PlaceRow._fields),
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


def _pack_places(places: Iterable[Place]) -> list[_PlaceRow]:
    expected: dict[int, int] = defaultdict(int)
    rows = []
    for place in places:
        step = place.position - expected[place.chunk]
        rows.append(_PlaceRow(place.chunk, step, place.length, coding_number(place.coding)))
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
    types: tuple[Any, ...] = (bytes, list, list, list, list, str, (int, list))
    pairs = zip(content, types, strict=True) if isinstance(content, list) and len(content) == len(types) else None
    if pairs is None or not all(isinstance(value, expected) for value, expected in pairs):
        raise DamagedArchive("the index is malformed: its fields are not those of the format")
    names, rows, places, codecs, needs, chunk_types, lengths = content
    _check_needs(needs)
    chunks = _place_chunks(chunk_types, lengths, end, start)
    entries = _unpack_entries(names, rows, places)
    directory = Directory(entries, [_codec_record(one, chunks) for one in codecs], chunks, needs)
    _check_places(directory)
    return directory


def _check_needs(needs: list[Any]) -> None:
    unknown = [need for need in needs if need not in NEEDS]
    if unknown:
        raise UnsupportedVersion(f"the archive needs {unknown[0]!r}, which this bbcodec does not know: use a newer one")


def _place_chunks(chunk_types: str, lengths: Any, end: int, start: int | None) -> list[Chunk]:
    """Chunks one after another, the last of which ends at `end`."""
    if len(chunk_types) > MAX_CHUNKS:
        raise DamagedArchive(f"the index says {len(chunk_types)} chunks: out of bounds")
    sizes = unpack_column(lengths, len(chunk_types))
    if not all(0 <= size <= MAX_BODY_BYTES for size in sizes):
        raise DamagedArchive("the index gives a chunk a length out of bounds")
    offset = end - sum(sizes) - FRAME_BYTES * len(sizes)
    if start is not None and offset != start:
        raise DamagedArchive("the chunks of a directory do not fill the space before it")
    chunks = []
    for chunk_type, size in zip(chunk_types, sizes, strict=True):
        if chunk_type not in CHUNK_TYPES:
            raise UnsupportedVersion(
                f"the archive holds a chunk of type {chunk_type!r}, which this bbcodec does not know"
            )
        chunks.append(Chunk(chunk_type, offset + HEAD_BYTES, size))
        offset += size + FRAME_BYTES
    return chunks


def _unpack_entries(names: bytes, columns: list[Any], place_columns: list[Any]) -> list[Entry]:
    if names[-1:] not in (b"", b"\0") or names.count(b"\0") > MAX_FILES:
        raise DamagedArchive("the names of the index are not each followed by a zero byte, or too many")
    if len(columns) != len(_EntryRow._fields) or len(place_columns) != len(_PlaceRow._fields):
        raise DamagedArchive("the index has other columns than the format")
    split = names.split(b"\0")[:-1]
    numbers = [unpack_column(column, len(split)) for column in columns]
    for (label, bounds), column in zip(_ENTRY_BOUNDS.items(), numbers, strict=True):
        if column and not (min(column) in bounds and max(column) in bounds):
            raise DamagedArchive(f"the index gives the {label} of an entry out of bounds")
    rows = list(map(_EntryRow._make, zip(*numbers, strict=True)))
    n_places = sum(row.n_places for row in rows)
    if n_places > MAX_FILES * 2:
        raise DamagedArchive(f"the index gives its entries {n_places} places: out of bounds")
    places = _unpack_places(place_columns, n_places)
    entries, first = [], 0
    for name, row in zip(split, rows, strict=True):
        entries.append(row.entry(name, tuple(places[first : first + row.n_places])))
        first += row.n_places
    check_entry_names(entries)
    return entries


def check_entry_names(entries: Iterable[Entry]) -> None:
    """`check_names` of entries."""
    check_names((entry.name, entry.form == "folder") for entry in entries)


def _unpack_places(columns: list[Any], count: int) -> list[Place]:
    expected: dict[int, int] = defaultdict(int)
    places = []
    for row in map(_PlaceRow._make, zip(*(unpack_column(column, count) for column in columns), strict=True)):
        position = expected[row.chunk] + row.step
        bounds = (row.chunk, MAX_CHUNKS), (position, MAX_FILES), (row.length, MAX_CONTENT_BYTES + 1)
        if row.coding not in PART_CODINGS or not all(0 <= value < bound for value, bound in bounds):
            raise DamagedArchive("the index holds a place out of bounds")
        places.append(Place(row.chunk, position, row.length, PART_CODINGS[row.coding]))
        expected[row.chunk] = max(expected[row.chunk], position + 1)
    return places


def _codec_record(entry: Any, chunks: list[Chunk]) -> CodecRecord:
    match entry:
        case [bytes(digest), str(name), None | int() as chunk] if len(digest) == 16 and not isinstance(chunk, bool):
            if chunk is None or (0 <= chunk < len(chunks) and chunks[chunk].type == CODEC):
                return CodecRecord(digest, name, chunk)
    raise DamagedArchive("the index holds a malformed codec record")


# --- checking --------------------------------------------------------------------------------------------------------


def _check_places(directory: Directory) -> None:
    """Every entry must name what its form needs, in chunks that exist; every part of a chunk has one length."""
    types = [chunk.type for chunk in directory.chunks]
    parts: dict[int, dict[int, int]] = defaultdict(dict)  # of each `B` chunk: length at each position
    for entry in directory.files:
        for place in entry.places:
            if place.chunk >= len(types) or types[place.chunk] not in (LEARNED, SHEET, BYTES):
                raise DamagedArchive(f"the index places {printable(entry.name)} in a chunk that does not hold files")
            if types[place.chunk] == BYTES:
                length = parts[place.chunk].setdefault(place.position, place.length)
                if length != place.length:
                    raise DamagedArchive(f"the index gives a part of {printable(entry.name)} two lengths")
        if not _fits(entry, [types[place.chunk] for place in entry.places]):
            raise DamagedArchive(f"the index entry of {printable(entry.name)} contradicts itself")
    if any(max(lengths) != len(lengths) - 1 for lengths in parts.values()):
        raise DamagedArchive("the index does not name all parts of a chunk")


def _fits(entry: Entry, types: list[str]) -> bool:
    """Whether an entry has the places that its form asks for, in chunks of these types."""
    content, has_skeleton = entry.content, int(entry.skeleton)
    if len(entry.places) - len(content) != has_skeleton:
        return False
    if has_skeleton and not (types[0] == BYTES and entry.places[0].coding == "bytes"):
        return False
    if entry.form in PIXEL_FORMS:
        return _fits_pixels(entry, types[has_skeleton:])
    if any(place.coding != "bytes" for place in content):
        return False
    if entry.form == "arrays":
        known_shape = entry.plane_layout > 0 and entry.width * entry.height > 0
        return len(content) > 0 and (entry.plane_layout == 0 if has_skeleton else known_shape)
    return set(types) <= {BYTES} and not has_skeleton and (entry.form != "folder" or not content)


def _fits_pixels(entry: Entry, types: list[str]) -> bool:
    """Whether an entry of pixels has as many tiles of each plane, and none that is empty or plain bytes."""
    if not entry.sample_format or not 1 <= entry.width * entry.height <= 2**40:
        return False
    if not entry.n_tiles or len(entry.content) % entry.n_planes:
        return False
    rows, columns = tile_grid(entry.width, entry.height, entry.n_tiles)
    coded = all(one != BYTES or place.coding != "bytes" for one, place in zip(types, entry.content, strict=True))
    return coded and rows <= entry.height and columns <= entry.width
