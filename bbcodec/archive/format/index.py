"""Directories: what files an archive holds, how each is stored, and where. `docs/format.md` specifies their bytes.

The index of an archive is a directory of all its chunks, and a directory chunk is one of the chunks just before it.
"""

from __future__ import annotations

import struct
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from itertools import accumulate, pairwise
from typing import Any, Final, Generic, NamedTuple, TypeVar

import msgpack

from bbcodec.archive.format.chunks import BYTES, CHUNK_TYPES, CODEC, HEAD_BYTES, LEARNED, SHEET, Chunk
from bbcodec.archive.format.fields import Budget, FieldReader, content_bound, pack_column, padding
from bbcodec.archive.format.names import check_names, printable
from bbcodec.archive.format.tiles import tile_grid
from bbcodec.binary import (
    FRAME_BYTES,
    MAX_BODY_BYTES,
    MAX_CONTENT_BYTES,
    pack_varint,
    shortest,
    take_varint,
    unpack_method,
)
from bbcodec.errors import DamagedArchive, InputError, UnsupportedVersion
from bbcodec.images.codings import CODINGS, FILE_CODINGS, coding_number
from bbcodec.images.formats import PIXEL_FORMS
from bbcodec.sample_formats import SAMPLE_FORMATS, mode_channels

MAX_DIRECTORY_BYTES: Final = 2**26
MAX_DIRECTORY_CONTENT: Final = 2**28
MAX_FILES: Final = 2**24
MAX_CHUNKS: Final = 2**24
MAX_SIDE: Final = 2**31

# The place of a name here is its number in archives, fixed forever: new ones go to the end.
FORMS: Final = ("folder", "link", "bytes", "arrays", "png", "webp", "raw", "jpeg", "segments")
SAMPLE_FORMAT_NAMES: Final = ("", *SAMPLE_FORMATS)
SPLIT: Final = 1  # bit of a plane layout (`bbcodec.images.planes`)
MODES: Final = (
    "", "1", "L", "RGB", "P", "RGBA", "LA", "CMYK", "YCbCr", "I", "F", "I;16", "PA", "La", "RGBa", "RGBX", "LAB", "HSV",
    "I;16B", "other",
)  # fmt: skip
NEEDS: Final = tuple({coding.needs: None for coding in CODINGS if coding.needs})

# What a part of a `B` chunk may be coded as, by number: all but those of sheets alone.
PART_CODINGS: Final = {number: one.name for number, one in enumerate(CODINGS) if one.alone or not one.together}
IMAGE_CODINGS: Final = {one.name for one in CODINGS if one.alone}


class Place(NamedTuple):
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

    def renumbered(self, numbers: Sequence[int] | Mapping[int, int]) -> Entry:
        """The entry with the numbers of its chunks replaced by those in `numbers`."""
        places = (Place(numbers[place.chunk], place.position, place.length, place.coding) for place in self.places)
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


# --- packing ---------------------------------------------------------------------------------------------------------


N_FIELDS: Final = 9  # of a directory

T = TypeVar("T")


class _EntryRow(NamedTuple, Generic[T]):
    """What the columns of entries hold: of one entry a number each, or of all of them a list. Names are numbers."""

    form: T
    mode: T
    sample_format: T
    plane_layout: T
    width: T
    height: T
    size: T
    seconds: T
    nanoseconds: T
    permissions: T
    skeleton: T
    n_places: T

    @staticmethod
    def of(entry: Entry) -> _EntryRow[int]:
        """That of an entry."""
        seconds, nanoseconds = divmod(entry.modified_ns, 10**9)
        return _EntryRow(
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


_ENTRY_BOUNDS: Final = {
    "form": range(len(FORMS)),
    "mode": range(len(MODES)),
    "sample_format": range(len(SAMPLE_FORMAT_NAMES)),
    "plane_layout": range(9),
    "width": range(MAX_SIDE),
    "height": range(MAX_SIDE),
    "size": range(2**63),
    "seconds": range(-(2**62), 2**62),
    "nanoseconds": range(10**9),
    "permissions": range(0o1000),
    "skeleton": range(2),
    "n_places": range(MAX_FILES * 2),
}


class _PlaceRow(NamedTuple, Generic[T]):
    """What the columns of places hold. step: a position, less the next one expected in its chunk."""

    chunk: T
    step: T
    length: T
    coding: T


def pack_directory(directory: Directory, before: int | None = None) -> bytes:
    """The bytes of a directory, its entries sorted by name. Raises InputError beyond the bounds of the format.

    before: how many of its chunks lie before it in the archive, by default all; the others follow it.
    """
    files, chunks = directory.files, directory.chunks
    rows = [_EntryRow.of(file) for file in files]
    places = _pack_places([place for file in files for place in file.places])
    content: list[Any] = [
        b"".join(file.name + b"\0" for file in files),
        [pack_column(column) for column in zip(*rows, strict=True)] or [0] * len(_EntryRow._fields),
        [pack_column(column) for column in zip(*places, strict=True)] or [0] * len(_PlaceRow._fields),
        [[codec.digest, codec.name, codec.chunk] for codec in directory.codecs],
        directory.needs,
        "".join(chunk.type for chunk in chunks),
        pack_column([chunk.length for chunk in chunks]),
        b"".join(struct.pack("<I", chunk.crc) for chunk in chunks),
        len(chunks) if before is None else before,
    ]
    packed: bytes = msgpack.packb(content)
    method, coded = shortest(packed)
    pad = padding(len(files) + len(places) + len(directory.codecs), len(packed), len(coded) + 2)
    data = bytes([method]) + pack_varint(pad) + bytes(pad) + coded
    if len(files) > MAX_FILES or len(packed) > MAX_DIRECTORY_CONTENT or len(data) > MAX_DIRECTORY_BYTES:
        raise InputError(f"{len(files)} files exceed the index of one archive: make several archives")
    return data


def _pack_places(places: Iterable[Place]) -> list[_PlaceRow[int]]:
    expected: dict[int, int] = defaultdict(int)
    rows = []
    for place in places:
        step = place.position - expected[place.chunk]
        rows.append(_PlaceRow(place.chunk, step, place.length, coding_number(place.coding)))
        expected[place.chunk] = max(expected[place.chunk], place.position + 1)
    return rows


# --- unpacking -------------------------------------------------------------------------------------------------------


def unpack_directory(data: bytes, frame: tuple[int, int], size: int, first: int | None = None) -> Directory:
    """The directory in `data`, whose frame in an archive of `size` bytes begins and ends at the bytes `frame`.

    Its chunks lie right before and after that. first, if given, is where the first of them must begin, and then none
    may follow; else they may begin before the archive or end after it, where bytes were lost. Raises DamagedArchive,
    UnsafePath or UnsupportedVersion where the directory breaks a rule of the format.
    """
    if len(data) < 2 or len(data) > MAX_DIRECTORY_BYTES:
        raise DamagedArchive(f"a directory of {len(data)} bytes is out of bounds")
    pad, position = take_varint(data, 1)
    if any(data[position : position + pad]):
        raise DamagedArchive("the padding of a directory is not zero")
    most = min(MAX_DIRECTORY_CONTENT, content_bound(len(data)))
    fields, budget = FieldReader(unpack_method(data[0], data[position + pad :], most)), Budget(len(data))
    if fields.array() != N_FIELDS:
        raise DamagedArchive("the index is malformed: its fields are not those of the format")
    entries = _unpack_entries(fields, budget)
    codecs = _unpack_codecs(fields, budget)
    needs = _unpack_needs(fields)
    chunks = _unpack_chunks(fields, frame, size, first)
    fields.end()
    if any(codec.chunk is not None and not _holds_codec(codec.chunk, chunks) for codec in codecs):
        raise DamagedArchive("the index says of a codec that it is in another chunk than one of a codec")
    directory = Directory(entries, codecs, chunks, needs)
    _check_places(directory)
    return directory


def _unpack_needs(fields: FieldReader) -> list[str]:
    needs: list[str] = []
    for _ in range(fields.array()):
        need = fields.text()
        if need not in NEEDS:
            raise UnsupportedVersion(f"the archive needs {need!r}, which this bbcodec does not know: use a newer one")
        if need in needs:
            raise DamagedArchive("the index says twice what a reader needs")
        needs.append(need)
    return needs


def _unpack_codecs(fields: FieldReader, budget: Budget) -> list[CodecRecord]:
    count = fields.array()
    budget.spend(count, "codecs")
    records = []
    for _ in range(count):
        if fields.array() != 3:
            raise DamagedArchive("the index holds a malformed codec record")
        digest, name, chunk = fields.binary(), fields.text(), fields.integer_or_nil()
        if len(digest) != 16:
            raise DamagedArchive("the index holds a malformed codec record")
        records.append(CodecRecord(digest, name, chunk))
    return records


def _unpack_chunks(fields: FieldReader, frame: tuple[int, int], size: int, first: int | None) -> list[Chunk]:
    """Chunks one after another, around a directory at the bytes `frame`."""
    types = fields.text()
    count = len(types)
    if count > min(MAX_CHUNKS, size // FRAME_BYTES):
        raise DamagedArchive(f"the index says {count} chunks: more than the archive could hold")
    unknown = set(types) - set(CHUNK_TYPES)
    if unknown:
        kind = min(unknown)
        raise UnsupportedVersion(f"the archive holds a chunk of type {kind!r}, which this bbcodec does not know")
    lengths, crcs, before = fields.column(count), fields.binary(), fields.integer()
    if count and not 0 <= min(lengths) <= max(lengths) <= MAX_BODY_BYTES:
        raise DamagedArchive("the index gives a chunk a length out of bounds")
    if len(crcs) != 4 * count or not 0 <= before <= count:
        raise DamagedArchive("the index gives its chunks too few checksums, or an impossible place")
    offset = frame[0] - sum(lengths[:before]) - FRAME_BYTES * before
    if first is not None and (offset != first or before != count):
        raise DamagedArchive("the chunks of a directory do not fill the space before it")
    chunks = []
    for number, (length, (crc,)) in enumerate(zip(lengths, struct.iter_unpack("<I", crcs), strict=True)):
        offset = frame[1] if number == before else offset
        chunks.append(Chunk(types[number], offset + HEAD_BYTES, length, crc))
        offset += length + FRAME_BYTES
    return chunks


def _holds_codec(number: int, chunks: list[Chunk]) -> bool:
    return 0 <= number < len(chunks) and chunks[number].type == CODEC


def _unpack_entries(fields: FieldReader, budget: Budget) -> list[Entry]:
    names = fields.binary()
    count = names.count(b"\0")
    if names[-1:] not in (b"", b"\0") or count > MAX_FILES:
        raise DamagedArchive("the names of the index are not each followed by a zero byte, or too many")
    budget.spend(count, "files")
    if fields.array() != len(_EntryRow._fields):
        raise DamagedArchive("the index has other columns than the format")
    numbers = [fields.column(count) for _ in _EntryRow._fields]
    for (label, bounds), column in zip(_ENTRY_BOUNDS.items(), numbers, strict=True):
        if column and not (min(column) in bounds and max(column) in bounds):
            raise DamagedArchive(f"the index gives the {label} of an entry out of bounds")
    row: _EntryRow[list[int]] = _EntryRow._make(numbers)
    places, ends = _unpack_places(fields, sum(row.n_places), budget), [0, *accumulate(row.n_places)]
    entries = list(
        map(
            Entry,
            names.split(b"\0")[:-1],
            [FORMS[number] for number in row.form],
            [MODES[number] for number in row.mode],
            [SAMPLE_FORMAT_NAMES[number] for number in row.sample_format],
            row.plane_layout,
            row.width,
            row.height,
            row.size,
            [seconds * 10**9 + rest for seconds, rest in zip(row.seconds, row.nanoseconds, strict=True)],
            row.permissions,
            map(bool, row.skeleton),
            [tuple(places[first:end]) for first, end in pairwise(ends)],
        )
    )
    check_entry_names(entries)
    return entries


def check_entry_names(entries: Iterable[Entry]) -> None:
    """`check_names` of entries."""
    check_names((entry.name, entry.form == "folder") for entry in entries)


def _unpack_places(fields: FieldReader, count: int, budget: Budget) -> list[Place]:
    budget.spend(count, "places")
    if fields.array() != len(_PlaceRow._fields):
        raise DamagedArchive("the index has other columns than the format")
    row: _PlaceRow[list[int]] = _PlaceRow._make([fields.column(count) for _ in _PlaceRow._fields])
    bounds = (row.chunk, MAX_CHUNKS), (row.length, MAX_CONTENT_BYTES + 1), (row.coding, max(PART_CODINGS) + 1)
    if count and not all(0 <= min(column) <= max(column) < bound for column, bound in bounds):
        raise DamagedArchive("the index holds a place out of bounds")
    codings = [PART_CODINGS.get(number, "") for number in range(max(PART_CODINGS) + 1)]
    expected: dict[int, int] = defaultdict(int)
    places = []
    for chunk, step, length, coding in zip(*row, strict=True):
        following = expected[chunk]
        position = following + step
        if not 0 <= position < MAX_FILES or not codings[coding]:
            raise DamagedArchive("the index holds a place out of bounds")
        places.append(Place(chunk, position, length, codings[coding]))
        if position >= following:
            expected[chunk] = position + 1
    return places


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
    if not types:  # of many empty files, if a stranger wrote them: quickly
        return not entry.skeleton and (entry.form == "folder" or (entry.form in ("bytes", "link") and not entry.size))
    content, has_skeleton = entry.content, int(entry.skeleton)
    if len(entry.places) - len(content) != has_skeleton:
        return False
    if has_skeleton and not (types[0] == BYTES and entry.places[0].coding == "bytes"):
        return False
    if entry.form in PIXEL_FORMS:
        return _fits_pixels(entry, types[has_skeleton:])
    if entry.form in FILE_CODINGS:
        coded = types == [BYTES] and content[0].coding in FILE_CODINGS[entry.form]
        return coded and not has_skeleton and not entry.sample_format and 1 <= entry.width * entry.height <= 2**40
    if any(place.coding != "bytes" for place in content):
        return False
    if entry.form == "arrays":
        known_shape = entry.plane_layout > 0 and entry.width * entry.height > 0
        return len(content) > 0 and (entry.plane_layout == 0 if has_skeleton else known_shape)
    if set(types) - {BYTES} or has_skeleton or (entry.form == "folder" and content):
        return False
    return entry.form == "folder" or entry.size == sum(place.length for place in content)


def _fits_pixels(entry: Entry, types: list[str]) -> bool:
    """Whether an entry of pixels has as many tiles of each plane, and none that is empty or plain bytes."""
    if not entry.sample_format or not 1 <= entry.width * entry.height <= 2**40:
        return False
    if not entry.n_tiles or len(entry.content) % entry.n_planes:
        return False
    rows, columns = tile_grid(entry.width, entry.height, entry.n_tiles)
    coded = all(one != BYTES or place.coding in IMAGE_CODINGS for one, place in zip(types, entry.content, strict=True))
    return coded and rows <= entry.height and columns <= entry.width
