"""The archive format `.bb`: header, chunks, index and footer, as `docs/format.md` specifies them.

This module knows bytes and bounds, not images: it writes chunks and an index to a stream and reads them back, checking
every length before anything is allocated and every checksum before anything is parsed.
"""

from __future__ import annotations

import lzma
import os
import struct
import zlib
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from hashlib import blake2b
from typing import Any, BinaryIO, Final

import msgpack

from bbcodec.errors import DamagedArchive, InputError, NotAnArchive, UnsafePath, UnsupportedVersion

MAGIC: Final = b"\x89BBC\r\n\x1a\n"
VERSION: Final = 1
FOOTER_MAGIC: Final = b"BBCE"

HEADER_BYTES: Final = len(MAGIC) + 1
FRAME_BYTES: Final = 9  # type, length, CRC-32 of a chunk
FOOTER_BYTES: Final = 16

# Bounds of what a reader allocates. 2**28 values are 89 megapixels of RGB, where Pillow warns of bombs too.
MAX_BODY_BYTES: Final = 2**30
MAX_VALUES: Final = 2**28
MAX_CONTENT_BYTES: Final = 2**29
PIECE_BYTES: Final = 2**24  # a large file is cut into pieces of this size, so that none is held in memory as a whole
MAX_CODEC_BYTES: Final = 2**26
MAX_INDEX_BYTES: Final = 2**26
MAX_INDEX_CONTENT: Final = 2**28
MAX_FILES: Final = 2**24
MAX_CHUNKS: Final = 2**24

LEARNED: Final = "L"
BYTES: Final = "B"
CODEC: Final = "C"

FORMS: Final = ("folder", "link", "bytes", "png", "raw", "arrays", "webp")
PIXEL_FORMS: Final = ("png", "raw", "webp")
HOWS: Final = ("original", "learned", "webp", "png")
MODES: Final = (
    "", "1", "L", "RGB", "P", "RGBA", "LA", "CMYK", "YCbCr", "I", "F", "I;16", "PA", "La", "RGBa", "RGBX", "LAB", "HSV",
    "I;16B", "other",
)  # fmt: skip

LZMA_FILTERS: Final = [{"id": lzma.FILTER_LZMA2, "preset": 6, "dict_size": 2**24}]
N_COLUMNS: Final = 12


def digest64(*pieces: bytes | memoryview) -> bytes:
    """BLAKE2b of all pieces, one after another: 8 bytes."""
    state = blake2b(digest_size=8)
    for piece in pieces:
        state.update(piece)
    return state.digest()


def codec_digest(content: bytes) -> bytes:
    """The digest that names a codec: BLAKE2b of its file, 16 bytes."""
    return blake2b(content, digest_size=16).digest()


# --- numbers ---------------------------------------------------------------------------------------------------------


def pack_varint(number: int) -> bytes:
    """An unsigned number below 2**32 as LEB128."""
    if not 0 <= number < 2**32:
        raise ValueError(f"a varint holds 0 to 2**32 - 1, not {number}")
    out = bytearray()
    while number >= 0x80:
        out.append(number & 0x7F | 0x80)
        number >>= 7
    out.append(number)
    return bytes(out)


def take_varint(data: bytes, position: int) -> tuple[int, int]:
    """The number at `position` and the position after it; DamagedArchive if there is none below 2**32."""
    number = 0
    for shift in range(0, 35, 7):
        if position >= len(data):
            break
        byte = data[position]
        position += 1
        number |= (byte & 0x7F) << shift
        if byte < 0x80:
            if number >= 2**32:
                break
            return number, position
    raise DamagedArchive("a number in the archive is cut short or too large")


def pack_column(numbers: Sequence[int]) -> int | list[int | bytes]:
    """Whole numbers as one column: a constant, or a base and byte planes (like bytes lie together, for deflate)."""
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
    import numpy as np

    offsets = np.zeros((count, 8), np.uint8)
    offsets[:, :width] = np.frombuffer(data, np.uint8).reshape(width, count).T
    return [base + int(offset) for offset in offsets.view("<u8")[:, 0]]


def is_int(value: Any) -> bool:
    """Whether `value` is a whole number; msgpack's booleans are ints to Python."""
    return isinstance(value, int) and not isinstance(value, bool)


# --- compression of bytes --------------------------------------------------------------------------------------------


def deflate(data: bytes) -> bytes:
    """`data` as a raw deflate stream."""
    state = zlib.compressobj(9, zlib.DEFLATED, -15)
    return state.compress(data) + state.flush()


def inflate(data: bytes, limit: int) -> bytes:
    """What a raw deflate stream holds; DamagedArchive if it is none, has a tail, or holds more than `limit` bytes."""
    state = zlib.decompressobj(-15)
    try:
        content = state.decompress(data, limit + 1)
    except zlib.error as error:
        raise DamagedArchive(f"a deflate stream is damaged ({error})") from None
    if len(content) > limit or not state.eof or state.unused_data:
        raise DamagedArchive(f"a deflate stream is cut short, has a tail, or holds more than {limit} bytes")
    return content


def _lzma(data: bytes) -> bytes:
    return lzma.compress(data, lzma.FORMAT_RAW, filters=LZMA_FILTERS)


def _unlzma(data: bytes, limit: int) -> bytes:
    state = lzma.LZMADecompressor(lzma.FORMAT_RAW, filters=LZMA_FILTERS)
    try:
        content = state.decompress(data, limit + 1)
    except (lzma.LZMAError, EOFError) as error:
        raise DamagedArchive(f"an LZMA2 stream is damaged ({error})") from None
    if len(content) > limit or not state.eof or state.unused_data:
        raise DamagedArchive(f"an LZMA2 stream is cut short, has a tail, or holds more than {limit} bytes")
    return content


# --- bodies of chunks ------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class LearnedBody:
    """Images coded by a learned codec: what an `L` chunk says of itself, and the codec's message."""

    codec_id: bytes
    digest: bytes
    count: int
    height: int
    width: int
    message: bytes

    def pack(self) -> bytes:
        """The body of the chunk."""
        shape = pack_varint(self.count) + pack_varint(self.height) + pack_varint(self.width)
        return self.codec_id[:4] + self.digest + shape + self.message

    @classmethod
    def unpack(cls, body: bytes) -> LearnedBody:
        """The parts of a body; DamagedArchive where a size is zero or beyond its bound."""
        count, position = take_varint(body, 12)
        height, position = take_varint(body, position)
        width, position = take_varint(body, position)
        if not 1 <= count * height * width <= MAX_VALUES:
            raise DamagedArchive(f"a chunk says it holds {count} images of {width}x{height} pixels: out of bounds")
        return cls(body[:4], body[4:12], count, height, width, body[position:])


def pack_bytes(content: bytes, *, compress: bool = True) -> bytes:
    """The body of a `B` or `C` chunk: `content` in the shortest of stored, deflate and LZMA2.

    Just stored without `compress`, and where a quick try shows that it is compressed already.
    """
    compress = compress and len(zlib.compress(content, 1)) < 0.98 * len(content)  # LZMA takes thirty times as long
    coded = [content, deflate(content), _lzma(content)] if compress else [content]
    method = min(range(len(coded)), key=lambda index: len(coded[index]))
    return digest64(content) + bytes([method]) + pack_varint(len(content)) + coded[method]


def unpack_bytes(body: bytes, limit: int = MAX_CONTENT_BYTES) -> bytes:
    """The content of a `B` or `C` chunk; DamagedArchive if it is not what was stored, or more than `limit` bytes."""
    if len(body) < 10:
        raise DamagedArchive("a chunk is shorter than its own header")
    size, position = take_varint(body, 9)
    if size > limit:
        raise DamagedArchive(f"a chunk says it holds {size} bytes; at most {limit} are allowed")
    decoders: tuple[Callable[[bytes, int], bytes], ...] = (lambda data, limit: data, inflate, _unlzma)
    if body[8] >= len(decoders):
        raise UnsupportedVersion(f"the archive uses compression method {body[8]}, which this bbcodec does not know")
    content = decoders[body[8]](body[position:], size)
    if len(content) != size or digest64(content) != body[:8]:
        raise DamagedArchive("a chunk does not hold what was stored in it: its digest differs")
    return content


# --- the index -------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class File:
    """One entry of an archive: a file, a link, or an empty folder."""

    name: bytes
    form: str
    how: str = "original"
    mode: str = ""
    width: int = 0
    height: int = 0
    size: int = 0
    modified_ns: int = 0
    permissions: int = 0o644
    first_chunk: int = 0
    n_chunks: int = 0
    length: int = 0
    metadata: bytes = b""

    @property
    def chunk_numbers(self) -> range:
        """The chunks that hold its content, in order."""
        return range(self.first_chunk, self.first_chunk + self.n_chunks)

    @property
    def alone(self) -> bool:
        """Whether its chunks hold nothing else, and all of each is its content."""
        return self.form == "arrays" or self.n_chunks > 1


@dataclass(frozen=True)
class CodecRecord:
    """A codec that an archive needs: its digest, its name, and the chunk that embeds it, if one does."""

    digest: bytes
    name: str
    chunk: int | None = None


@dataclass(frozen=True)
class Chunk:
    """Where a chunk lies: `offset` and `length` are those of its body."""

    type: str
    offset: int
    length: int


@dataclass(frozen=True)
class Index:
    """What an archive holds and where."""

    files: list[File]
    codecs: list[CodecRecord]
    chunks: list[Chunk]


def pack_index(index: Index) -> bytes:
    """The index as it lies in the archive. The files must be sorted by name."""
    metadata = list(dict.fromkeys(file.metadata for file in index.files if file.metadata))
    number = {piece: position for position, piece in enumerate(metadata, 1)} | {b"": 0}
    rows = [
        (
            FORMS.index(file.form),
            HOWS.index(file.how),
            MODES.index(file.mode),
            file.width,
            file.height,
            file.size,
            file.modified_ns // 10**9,
            file.modified_ns % 10**9,
            file.permissions,
            file.first_chunk * MAX_CHUNKS + file.n_chunks,
            file.length,
            number[file.metadata],
        )
        for file in index.files
    ]
    columns = [pack_column(column) for column in zip(*rows, strict=True)] or [0] * N_COLUMNS
    content = [
        len(rows),
        b"\0".join(file.name for file in index.files),
        columns,
        metadata,
        [[codec.digest, codec.name, codec.chunk] for codec in index.codecs],
        "".join(chunk.type for chunk in index.chunks),
        pack_column([chunk.length for chunk in index.chunks[:-1]]),
    ]
    packed: bytes = msgpack.packb(content)
    coded = min(b"\0" + packed, b"\1" + deflate(packed), key=len)
    if len(index.files) > MAX_FILES or len(packed) > MAX_INDEX_CONTENT or len(coded) > MAX_INDEX_BYTES:
        raise InputError(f"{len(index.files)} files exceed the index of one archive: make several archives")
    return coded


def unpack_index(data: bytes, end: int) -> Index:
    """The index from its bytes, for chunks that end at byte `end` of the archive.

    Raises DamagedArchive, UnsafePath or UnsupportedVersion where it breaks a rule of the format.
    """
    if data[:1] not in (b"\0", b"\1"):
        raise DamagedArchive("the index is malformed: its first byte is not 0 or 1")
    try:
        packed = data[1:] if data[0] == 0 else inflate(data[1:], MAX_INDEX_CONTENT)
        content = msgpack.unpackb(packed, raw=False)
    except (ValueError, TypeError, msgpack.UnpackException) as error:
        raise DamagedArchive(f"the index is malformed ({type(error).__name__})") from None
    kinds: tuple[Any, ...] = (int, bytes, list, list, list, str, (int, list))
    pairs = zip(content, kinds, strict=True) if isinstance(content, list) and len(content) == len(kinds) else None
    if pairs is None or not all(isinstance(field, kind) for field, kind in pairs):
        raise DamagedArchive("the index is malformed: its fields are not those of the format")
    n_files, names, columns, metadata, codecs, types, lengths = content
    chunks = _place_chunks(types, unpack_column(lengths, max(len(types) - 1, 0)), end)
    files = _build_files(n_files, names, columns, metadata)
    records = [_codec_record(entry, chunks) for entry in codecs]
    _check_places(files, chunks)
    return Index(files, records, chunks)


def _place_chunks(types: str, lengths: list[int], end: int) -> list[Chunk]:
    """Chunks one after another from the header to `end`: the length of the last is what is left."""
    if len(types) > MAX_CHUNKS:
        raise DamagedArchive(f"the index says {len(types)} chunks: out of bounds")
    last = end - HEADER_BYTES - sum(lengths) - FRAME_BYTES * len(types)
    if types:
        lengths = [*lengths, last]
    elif last != 0:
        raise DamagedArchive("its chunks do not fill the space before its index")
    if not all(0 <= length <= MAX_BODY_BYTES for length in lengths):
        raise DamagedArchive("the index gives a chunk a length out of bounds")
    chunks, offset = [], HEADER_BYTES
    for kind, length in zip(types, lengths, strict=True):
        if kind not in (LEARNED, BYTES, CODEC):
            raise UnsupportedVersion(f"the archive holds a chunk of type {kind!r}, which this bbcodec does not know")
        chunks.append(Chunk(kind, offset + 5, length))
        offset += length + FRAME_BYTES
    return chunks


def _build_files(n_files: int, names: bytes, columns: list[Any], metadata: list[Any]) -> list[File]:
    split = names.split(b"\0") if n_files else []
    if len(split) != n_files or n_files > MAX_FILES or len(columns) != N_COLUMNS:
        raise DamagedArchive(f"the index says {n_files} entries and names {len(split)}")
    if not all(isinstance(piece, bytes) for piece in metadata):
        raise DamagedArchive("the index holds malformed metadata")
    check_names(split)
    rows = zip(split, *(unpack_column(column, n_files) for column in columns), strict=True)
    return [_build_file([b"", *metadata], *row) for row in rows]


def _build_file(
    metadata: list[bytes], name: bytes, form: int, how: int, mode: int, width: int, height: int, size: int,
    seconds: int, nanoseconds: int, permissions: int, chunks: int, length: int, meta: int,
) -> File:  # fmt: skip
    first, count = divmod(chunks, MAX_CHUNKS)
    bounds = (
        (form, len(FORMS)), (how, len(HOWS)), (mode, len(MODES)), (width, 2**32), (height, 2**32), (size, 2**63),
        (seconds + 2**62, 2**63), (nanoseconds, 10**9), (permissions, 0o1000), (chunks, MAX_CHUNKS**2),
        (length, MAX_CONTENT_BYTES + 1), (meta, len(metadata)),
    )  # fmt: skip
    if not all(0 <= value < bound for value, bound in bounds):
        raise DamagedArchive(f"the index entry of {printable(name)} holds a number out of bounds")
    modified = seconds * 10**9 + nanoseconds
    kinds = FORMS[form], HOWS[how], MODES[mode]
    return File(name, *kinds, width, height, size, modified, permissions, first, count, length, metadata[meta])


def _codec_record(entry: Any, chunks: list[Chunk]) -> CodecRecord:
    match entry:
        case [bytes(digest), str(name), None | int() as chunk] if len(digest) == 16 and chunk is not True:
            if chunk is None or (0 <= chunk < len(chunks) and chunks[chunk].type == CODEC):
                return CodecRecord(digest, name, chunk)
    raise DamagedArchive("the index holds a malformed codec record")


def _check_places(files: list[File], chunks: list[Chunk]) -> None:
    """Every entry must name chunks that exist, of the type that its `how` and its form need, alone where it must."""
    spread = sum(file.n_chunks for file in files if file.n_chunks > 1)
    if spread > len(chunks) or any(file.first_chunk + file.n_chunks > len(chunks) for file in files):
        raise DamagedArchive("the index names chunks that the archive does not have")
    owners = Counter(number for file in files for number in file.chunk_numbers)
    for file in files:
        kinds = {chunks[number].type for number in file.chunk_numbers}
        pixels = file.form in PIXEL_FORMS
        if pixels:
            fits = file.n_chunks == 1 and kinds == {LEARNED if file.how == "learned" else BYTES}
            fits = fits and file.how != "original" and file.mode in ("1", "L", "RGB")
            fits = fits and 1 <= file.width * file.height * (3 if file.mode == "RGB" else 1) <= MAX_VALUES
        elif file.form == "arrays":
            fits = kinds <= {LEARNED, BYTES} and file.n_chunks > 0
        else:
            fits = kinds <= {BYTES} and file.how == "original" and (file.form != "folder" or file.n_chunks == 0)
        if not fits or (file.alone and any(owners[number] != 1 for number in file.chunk_numbers)):
            raise DamagedArchive(f"the index entry of {printable(file.name)} contradicts itself")


def check_names(names: Iterable[bytes]) -> None:
    """Raise UnsafePath for a name that could leave the target folder, DamagedArchive for disorder and doubles."""
    previous: bytes | None = None
    folders: set[bytes] = set()
    seen: set[bytes] = set()
    for name in names:
        check_name(name)
        if previous is not None and name <= previous:
            raise DamagedArchive(f"the names of the index are not in order at {printable(name)}")
        previous = name
        seen.add(name)
        parts = name.split(b"/")
        folders.update(b"/".join(parts[:depth]) for depth in range(1, len(parts)))
    both = seen & folders
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


# --- the file --------------------------------------------------------------------------------------------------------


class Writer:
    """Writes an archive to a binary stream, from front to back.

    >>> import io
    >>> stream = io.BytesIO()
    >>> writer = Writer(stream)
    >>> writer.add(BYTES, pack_bytes(b"hello"))
    0
    >>> writer.finish([File(b"a.txt", "bytes", size=5, n_chunks=1, length=5)], [])
    >>> Reader(io.BytesIO(stream.getvalue())).index.files[0].name
    b'a.txt'
    """

    def __init__(self, stream: BinaryIO) -> None:
        """Write the header to `stream`."""
        self._stream = stream
        self._header = MAGIC + bytes([VERSION])
        self._offset = HEADER_BYTES
        self.chunks: list[Chunk] = []
        stream.write(self._header)

    def add(self, kind: str, body: bytes) -> int:
        """Append one chunk and return its number. Raises InputError past the bounds of the format."""
        if len(body) > MAX_BODY_BYTES or len(self.chunks) >= MAX_CHUNKS - 1:
            raise InputError(f"a chunk of {len(body)} bytes, number {len(self.chunks)}, exceeds the archive format")
        head = kind.encode("ascii") + struct.pack("<I", len(body))
        crc = zlib.crc32(body, zlib.crc32(head))
        self._stream.write(head)
        self._stream.write(body)
        self._stream.write(struct.pack("<I", crc))
        self.chunks.append(Chunk(kind, self._offset + 5, len(body)))
        self._offset += len(body) + FRAME_BYTES
        return len(self.chunks) - 1

    def finish(self, files: list[File], codecs: list[CodecRecord]) -> None:
        """Write index and footer. Names are sorted here; they must be safe and distinct."""
        files = sorted(files, key=lambda file: file.name)
        check_names(file.name for file in files)
        index = pack_index(Index(files, codecs, self.chunks))
        self._stream.write(index)
        self._stream.write(struct.pack("<I", len(index)) + digest64(self._header, index) + FOOTER_MAGIC)


class Reader:
    """Reads an archive from a seekable binary stream."""

    def __init__(self, stream: BinaryIO) -> None:
        """Read the index. Raises NotAnArchive, DamagedArchive, UnsupportedVersion or UnsafePath."""
        self._stream = stream
        size = stream.seek(0, 2)
        stream.seek(0)
        header = stream.read(HEADER_BYTES)
        _check_header(header, size)
        stream.seek(size - FOOTER_BYTES)
        footer = stream.read(FOOTER_BYTES)
        length = struct.unpack("<I", footer[:4])[0]
        start = size - FOOTER_BYTES - length
        if footer[12:] != FOOTER_MAGIC or start < HEADER_BYTES or length > MAX_INDEX_BYTES:
            raise DamagedArchive("it does not end as an archive does: it was cut short, or its end is damaged")
        stream.seek(start)
        data = stream.read(length)
        if digest64(header, data) != footer[4:12]:
            raise DamagedArchive("its index is damaged: the digest differs")
        self.index = unpack_index(data, start)

    def body(self, number: int) -> bytes:
        """The body of chunk `number`, its CRC-32 checked; DamagedArchive where that fails."""
        return read_body(self._stream, self.index.chunks[number])


def read_body(stream: BinaryIO, chunk: Chunk) -> bytes:
    """The body of a chunk at a known place, its CRC-32 checked; DamagedArchive where that fails."""
    stream.seek(chunk.offset - 5)
    data = stream.read(chunk.length + FRAME_BYTES)
    head = chunk.type.encode("ascii") + struct.pack("<I", chunk.length)
    if len(data) != chunk.length + FRAME_BYTES or data[:5] != head:
        raise DamagedArchive(f"the chunk at byte {chunk.offset - 5} is damaged: its header differs from the index")
    if zlib.crc32(memoryview(data)[:-4]) != struct.unpack("<I", data[-4:])[0]:
        raise DamagedArchive(f"the chunk at byte {chunk.offset - 5} is damaged: its CRC-32 differs")
    return data[5:-4]


def _check_header(header: bytes, size: int) -> None:
    if not header:
        raise NotAnArchive("the file is empty, not a bbcodec archive")
    if not MAGIC.startswith(header[: len(MAGIC)]):
        text_mode = header[:4] == MAGIC[:4] or header[1:4] == MAGIC[1:4]
        hint = " (it looks like one whose line ends or high bits were changed on the way)" if text_mode else ""
        raise NotAnArchive(f"the file is not a bbcodec archive{hint}")
    if len(header) == HEADER_BYTES and header[-1] != VERSION:
        raise UnsupportedVersion(f"the archive is of format version {header[-1]}; this bbcodec reads version {VERSION}")
    if size < HEADER_BYTES + FOOTER_BYTES:
        raise DamagedArchive(f"the archive is cut short: it has only {size} bytes")
