"""PNG files: what is in them besides samples, and samples written anew.

The numbers cited are sections of the PNG specification, third edition (W3C, 2025).

The skeleton of a plain PNG (not interlaced, no chunks but IHDR, IDAT, IEND) is empty. Else it is one byte, 1 if the
file is interlaced and 0 if not, and the records (`bbcodec.images.chunk_records`) of all chunks but IHDR and IEND.
Bytes after IEND are a record, too. Of a PNG that comes back byte for byte the first byte is 2 more, and a varint and so
many bytes follow it, which say how its pixels were made (`bbcodec.images.formats.png_making`).
"""

from __future__ import annotations

import io
import struct
import zlib
from collections.abc import Iterable, Iterator, Sequence
from typing import Any, BinaryIO, Final, NamedTuple

import numpy as np
from PIL import Image

from bbcodec.binary import pack_varint, take_varint
from bbcodec.errors import DamagedArchive
from bbcodec.images.chunk_records import pack_records, take_records
from bbcodec.images.formats.base import MAX_SKELETON_BYTES, BandSource, FileForm, Found, Outline, Parts, Unfit
from bbcodec.images.formats.png_filters import filtered, unfiltered
from bbcodec.images.pillow import MAX_PIXELS, strictly
from bbcodec.images.samples import (
    Bytes,
    Samples,
    bands_of,
    checked_bands,
    packed_rows,
)
from bbcodec.sample_formats import SAMPLE_FORMATS, SampleFormat, sample_format_named

SIGNATURE: Final = b"\x89PNG\r\n\x1a\n"
IDAT_BYTES: Final = 2**20  # of a chunk of pixels that is written; any size is allowed
# zlib's effort for files that are restored. Filtered rows, as of photos, are shorter at 3 than at 6, in half the time
# (Kodak: 3 % shorter, 27 instead of 14 MB/s); rows that are not, as of drawings, are longer.
FILE_LEVEL: Final = 6
FILTERED_FILE_LEVEL: Final = 3
TRIAL_LEVEL: Final = 1  # to find out whether filters help
# Files that are only looked at are stored, without filters: what could go wrong is all around the rows. Large ones are
# compressed a little, as they take room on a disk.
STORED_TRIAL_PIXELS: Final = 2**23
READ_BYTES: Final = 2**20

# Bit depth and colour type (11.2.1 IHDR) of each sample format.
COLOUR_TYPES: Final = {
    "L1": (1, 0), "L2": (2, 0), "L4": (4, 0), "L8": (8, 0), "L16": (16, 0), "LA8": (8, 4), "RGB8": (8, 2),
    "RGBA8": (8, 6), "P1": (1, 3), "P2": (2, 3), "P4": (4, 3), "P8": (8, 3),
    "RGB16": (16, 2), "RGBA16": (16, 6),
}  # fmt: skip
DEEP_COLOUR: Final = ("RGB16", "RGBA16")  # of which Pillow shows the high bytes
HEADER_BYTES: Final = 29  # up to the end of the data of IHDR
SAMPLE_FORMAT_OF: Final = {colour: name for name, colour in COLOUR_TYPES.items()}
ANIMATION: Final = (b"acTL", b"fcTL", b"fdAT")
EXACT: Final = 2  # in the first byte of a skeleton
# By default a PNG comes back byte for byte if telling how it was made takes no more than one in so many of its
# compressed bytes: so a hundredth of what it takes in an archive, which is seldom less than a third. Alone in an
# archive, telling takes so many bytes more.
LEAST_FOR_MAKING: Final = 300
AROUND_MAKING: Final = 85
TAIL: Final = b"\0end"  # stands for the bytes after IEND: no type of a chunk, which is letters

# Adam7 (8.1): first column, first row, column step, row step of each pass.
ADAM7: Final = ((0, 0, 8, 8), (4, 0, 8, 8), (0, 4, 4, 8), (2, 0, 4, 4), (0, 2, 2, 4), (1, 0, 2, 2), (0, 1, 1, 2))


class Header(NamedTuple):
    """What IHDR says."""

    sample_format: str
    width: int
    height: int
    interlaced: bool


# --- reading ---------------------------------------------------------------------------------------------------------


def read_chunks(stream: BinaryIO) -> Iterator[tuple[bytes, bytes]]:
    """Type and data of every chunk of a PNG, and as `TAIL` what follows IEND. IDATs in a row are one, without data.

    Raises ValueError or struct.error on a bad length or CRC, and on more data than the bound.
    """
    if stream.read(len(SIGNATURE)) != SIGNATURE:
        raise ValueError("not a PNG")
    chunk_type, around = b"", 0
    while chunk_type != b"IEND":
        before = chunk_type
        left, chunk_type = struct.unpack(">I4s", stream.read(8))
        around += left + 12 if chunk_type != b"IDAT" else 0
        if around > MAX_SKELETON_BYTES:
            raise ValueError("its chunks exceed the bound of a skeleton")
        crc, data = zlib.crc32(chunk_type), b""
        while left:
            data = stream.read(min(left, READ_BYTES))
            if not data:
                raise ValueError("a chunk is cut short")
            crc, left = zlib.crc32(data, crc), left - len(data)
        if stream.read(4) != struct.pack(">I", crc):
            raise ValueError("a CRC is wrong")
        if chunk_type == TAIL:
            raise ValueError("a chunk's type is not letters")
        if chunk_type != b"IDAT":
            yield chunk_type, data
        elif before != b"IDAT":
            yield chunk_type, b""
    tail = stream.read(MAX_SKELETON_BYTES + 1)
    if len(tail) > MAX_SKELETON_BYTES:
        raise ValueError("the bytes after IEND exceed the bound of a skeleton")
    if tail:
        yield TAIL, tail


def parse_header(data: bytes) -> Header | None:
    """The header in the data of IHDR, or None where the specification or Pillow does not take its samples plainly."""
    width, height, depth, colour, compression, filters, interlaced = struct.unpack(">IIBBBBB", data)
    if (depth, colour) not in SAMPLE_FORMAT_OF or compression or filters or interlaced > 1 or not width or not height:
        return None
    return Header(SAMPLE_FORMAT_OF[depth, colour], width, height, bool(interlaced))


def take_apart(stream: BinaryIO) -> tuple[Header, bytes] | None:
    """Header and skeleton of a PNG, or None where it could not be joined again.

    Raises what `read_chunks` raises.
    """
    chunks = list(read_chunks(stream))
    tail = [chunks.pop()] if chunks[-1][0] == TAIL else []
    types = [chunk_type for chunk_type, _ in chunks]
    header = parse_header(chunks[0][1]) if types[0] == b"IHDR" else None
    once = types.count(b"IHDR") == types.count(b"IDAT") == 1
    if header is None or not once or chunks[-1][1] or any(chunk_type in ANIMATION for chunk_type in types):
        return None
    records = pack_records(chunks[1:-1] + tail, b"IDAT")
    return header, bytes([header.interlaced]) + records if header.interlaced or records else b""


class _Skeleton(NamedTuple):
    """A skeleton taken apart: the chunks between IHDR and IEND; making: how the pixels were made, if that is known."""

    interlaced: bool
    chunks: list[tuple[bytes, bytes]]
    making: bytes | None


def _parsed(skeleton: bytes) -> _Skeleton:
    """A skeleton taken apart. Raises DamagedArchive."""
    first = skeleton[0] if skeleton else 0
    if first > EXACT + 1:
        raise DamagedArchive("the skeleton of a PNG of the archive starts with a byte that is not 0 to 3")
    making, at = None, 1
    if first & EXACT:
        length, at = take_varint(skeleton, 1)
        making, at = skeleton[at : at + length], at + length
        if at > len(skeleton):
            raise DamagedArchive("the skeleton of a PNG of the archive is cut short")
    return _Skeleton(bool(first & 1), list(take_records(skeleton, at, b"IDAT")), making)


def _rows_of(bands: Iterable[Samples], sample_format: SampleFormat, interlaced: bool) -> list[Bytes]:
    """The rows of bytes of an image, or of each of its reduced images."""
    images = _reduced_images(bands, interlaced)
    return [np.concatenate([packed_rows(band, sample_format.depth) for band in image]) for image in images]


def _pixel_chunks(stream: BinaryIO) -> list[bytes]:
    """The data of the IDAT chunks of a PNG that was read without fault, from its start."""
    stream.seek(8)
    found = []
    while True:
        length, kind = struct.unpack(">I4s", stream.read(8))
        data = stream.read(length)
        stream.seek(4, 1)
        if kind == b"IDAT":
            found.append(data)
        elif found:
            return found


def with_making(
    stream: BinaryIO, header: Header, skeleton: bytes, bands: BandSource, *, quick: bool = False
) -> bytes | None:
    """The skeleton with how the pixels of the file in `stream` were made; None where that cannot be found.

    quick: or takes long, or more than about a hundredth of what the file will take in an archive.
    """
    chunks = _pixel_chunks(stream)
    most = sum(map(len, chunks)) // LEAST_FOR_MAKING - AROUND_MAKING if quick else MAX_SKELETON_BYTES
    if most <= 0:
        return None
    from bbcodec.images.formats.png_making import find_making, least_filters, pack_making

    sample_format = SAMPLE_FORMATS[header.sample_format]
    images, pixel_bytes = _rows_of(bands(sample_format), sample_format, header.interlaced), _pixel_bytes(sample_format)
    making = find_making(chunks, images, pixel_bytes, quick=quick)
    if making is None:
        return None
    packed = pack_making(making, least_filters(images, pixel_bytes))
    if len(zlib.compress(packed) if quick else packed) > most:  # an archive compresses skeletons
        return None
    return bytes([EXACT + header.interlaced]) + pack_varint(len(packed)) + packed + (skeleton[1:] or b"")


def _pixel_bytes(sample_format: SampleFormat) -> int:
    return max(1, sample_format.channels * sample_format.depth // 8)


def _remade(making: bytes, bands: Iterable[Samples], sample_format: SampleFormat, interlaced: bool) -> list[bytes]:
    """The data of the chunks of pixels, as they were. Raises DamagedArchive."""
    from bbcodec.images.formats.png_making import least_filters, made_again, unpack_making

    images = _rows_of(bands, sample_format, interlaced)
    pixel_bytes = _pixel_bytes(sample_format)
    return made_again(unpack_making(making, least_filters(images, pixel_bytes)), images, pixel_bytes)


def palette(sample_format: SampleFormat, skeleton: bytes) -> Bytes | None:
    """The palette as uint8 (n, 3), or (n, 4) with transparent colours; None without one (11.2.2 PLTE, 11.3.1.1 tRNS).

    Raises DamagedArchive for a skeleton that is not of a PNG.
    """
    chunks = dict(_parsed(skeleton).chunks)
    flat = chunks.get(b"PLTE", b"")
    if not sample_format.indexed or not flat or len(flat) % 3 or len(flat) > 768:
        return None
    colours = np.frombuffer(flat, np.uint8).reshape(-1, 3)
    alpha = np.full(len(colours), 255, np.uint8)
    given = np.frombuffer(chunks.get(b"tRNS", b""), np.uint8)[: len(colours)]
    alpha[: len(given)] = given
    return colours if alpha.min() == 255 else np.column_stack((colours, alpha))


# --- writing ---------------------------------------------------------------------------------------------------------


def write_png(
    stream: BinaryIO,
    outline: Outline,
    bands: Iterable[Samples],
    level: int | None = None,
    filtering: bool | None = None,
    made: Sequence[bytes] = (),
) -> None:
    """Write the PNG of samples that come as bands of rows (h, W, C), from top to bottom.

    Holds one band at a time; of an interlaced PNG, all. level: zlib's effort, or None for that of files. filtering: of
    rows; None: tried on the first. made: the data of the chunks of pixels, of a file that comes back byte for byte,
    where they are known; the bands are not read then. Raises DamagedArchive for a skeleton that is not of a PNG,
    ValueError for bands that are not of this sample format and size.
    """
    interlaced, chunks, making = _parsed(outline.skeleton)
    sample_format = sample_format_named(outline.sample_format)
    size = outline.width, outline.height
    stream.write(SIGNATURE)
    _write_chunk(
        stream, b"IHDR", struct.pack(">IIBBBBB", *size, *COLOUR_TYPES[outline.sample_format], 0, 0, interlaced)
    )
    for chunk_type, data in chunks:
        if chunk_type == b"IDAT":
            checked = checked_bands(bands, sample_format, *size)
            if making is not None:
                for part in made or _remade(making, checked, sample_format, interlaced):
                    _write_chunk(stream, b"IDAT", part)
                continue
            pixels = _Pixels(stream, sample_format, level, filtering)
            for image in _reduced_images(checked, interlaced):
                pixels.add_image(image)
            pixels.finish()
        elif chunk_type != TAIL:
            _write_chunk(stream, chunk_type, data)
    _write_chunk(stream, b"IEND", b"")
    stream.write(dict(chunks).get(TAIL, b""))


def _write_chunk(stream: BinaryIO, chunk_type: bytes, data: bytes) -> None:
    crc = zlib.crc32(data, zlib.crc32(chunk_type))
    stream.write(struct.pack(">I", len(data)) + chunk_type + data + struct.pack(">I", crc))


def _reduced_images(bands: Iterable[Samples], interlaced: bool) -> Iterator[Iterable[Samples]]:
    """The image as bands, or if interlaced the reduced images of Adam7 (8.1), except empty ones."""
    if not interlaced:
        yield bands
        return
    samples = np.concatenate(list(bands))
    for column, row, column_step, row_step in ADAM7:
        reduced = samples[row::row_step, column::column_step]
        if reduced.size:
            yield bands_of(reduced)


class _Pixels:
    """The compressed stream of filtered rows, written as IDAT chunks."""

    def __init__(
        self, stream: BinaryIO, sample_format: SampleFormat, level: int | None, filtering: bool | None
    ) -> None:
        self._stream, self._depth, self._level = stream, sample_format.depth, level
        # 12.7: filters seldom help there
        self._filtering = False if sample_format.indexed or sample_format.depth < 8 else filtering
        self._pixel_bytes = _pixel_bytes(sample_format)
        self._deflate: zlib._Compress | None = None
        self._waiting = b""

    def add_image(self, bands: Iterable[Samples]) -> None:
        """Append the rows of an image, or of one of its reduced images."""
        above: Bytes | None = None
        for part in (part for band in bands for part in bands_of(band)):
            rows = packed_rows(part, self._depth)
            self._add_rows(rows, np.zeros_like(rows[0]) if above is None else above)
            above = rows[-1].copy()

    def _add_rows(self, rows: Bytes, above: Bytes) -> None:
        lines = unfiltered(rows) if self._filtering is False else filtered(rows, above, self._pixel_bytes)
        if self._filtering is None:
            plain = unfiltered(rows)
            self._filtering = len(zlib.compress(lines.data, TRIAL_LEVEL)) < len(zlib.compress(plain.data, TRIAL_LEVEL))
            lines = lines if self._filtering else plain
        if self._deflate is None:
            # Z_FILTERED: zlib's setting for filtered rows. memLevel 9, as libpng and Pillow have it.
            strategy = zlib.Z_FILTERED if self._filtering else zlib.Z_DEFAULT_STRATEGY
            level = self._level
            if level is None:
                level = FILTERED_FILE_LEVEL if self._filtering else FILE_LEVEL
            self._deflate = zlib.compressobj(level, zlib.DEFLATED, 15, 9, strategy)
        self._put(self._deflate.compress(lines.data))

    def _put(self, data: bytes) -> None:
        self._waiting += data
        while len(self._waiting) > IDAT_BYTES:
            _write_chunk(self._stream, b"IDAT", self._waiting[:IDAT_BYTES])
            self._waiting = self._waiting[IDAT_BYTES:]

    def finish(self) -> None:
        """Write what is left."""
        if self._deflate is not None:
            self._put(self._deflate.flush())
            _write_chunk(self._stream, b"IDAT", self._waiting)


# --- the file form ---------------------------------------------------------------------------------------------------


class _DeepColour:
    """A PNG of 16 bits of several channels, which is not to be seen whole through Pillow."""

    def __init__(self, stream: BinaryIO) -> None:
        self._stream = stream
        self._samples: Samples | None = None

    def bands(self, sample_format: SampleFormat | None = None) -> Iterator[Samples]:
        """The samples, from top to bottom."""
        if self._samples is None:
            self._samples = self._bytes("16B").astype(np.uint16) << np.uint16(8) | self._bytes("16L")
        return bands_of(self._samples)

    def _bytes(self, order: str) -> Bytes:
        """High bytes, or, in the other order of bytes, the low ones: all that Pillow tells of 16 bits."""
        self._stream.seek(0)
        with strictly(MAX_PIXELS), Image.open(self._stream, formats=["PNG"]) as image:
            raw: Any = image  # what is to be unpacked: codec, extents, offset, and the order of bytes
            raw.tile = [(*raw.tile[0][:3], f"{image.mode};{order}")]
            return np.array(image)

    def skeleton(self) -> bytes:
        """The skeleton, with how the pixels were made."""
        self._stream.seek(0)
        parts = take_apart(self._stream)
        found = with_making(self._stream, *parts, self.bands) if parts else None
        if found is None:
            raise Unfit("16 bits a channel, and made in an unknown way")
        return found


class PNGFile(FileForm):
    """All chunks but the pixels are kept verbatim, and pixels are compressed anew: the same picture."""

    name = "png"
    pillow_formats = ("PNG",)
    exact = True

    def find(self, stream: BinaryIO) -> Found | None:
        """Those of 16 bits and several channels, which come back byte for byte."""
        start = stream.read(HEADER_BYTES)
        if start[:8] != SIGNATURE or start[12:16] != b"IHDR" or len(start) < HEADER_BYTES:
            return None
        header = parse_header(start[16:])
        if header is None or header.sample_format not in DEEP_COLOUR:
            return None
        file = _DeepColour(stream)
        return Found("PNG", header.sample_format, header.width, header.height, file.bands, file.skeleton)

    def take_apart(self, image: Image.Image, stream: BinaryIO, bands: BandSource, exact: bool | None) -> Parts | None:
        """As `FileForm` says."""
        parts = take_apart(stream)
        if parts is None or (parts[0].width, parts[0].height) != image.size:
            return None
        header, skeleton = parts
        found = None if exact is False else with_making(stream, header, skeleton, bands, quick=not exact)
        if found is None:
            return None if exact else Parts(header.sample_format, skeleton)
        joined = io.BytesIO()
        outline = Outline(self.name, header.sample_format, header.width, header.height, found)
        write_png(joined, outline, (), made=_pixel_chunks(stream))
        return Parts(header.sample_format, found, joined.getvalue())

    def join(self, outline: Outline, bands: Iterable[Samples], stream: BinaryIO, *, trial: bool = False) -> None:
        """As `FileForm` says; all samples are held of an interlaced PNG, and of one that comes back byte for byte."""
        if trial:
            level = 0 if outline.width * outline.height <= STORED_TRIAL_PIXELS else TRIAL_LEVEL
            write_png(stream, outline, bands, level, filtering=False)
        else:
            write_png(stream, outline, bands)

    def joins_in_bands(self, skeleton: bytes) -> bool:
        """Unless it is interlaced, or comes back byte for byte."""
        parsed = _parsed(skeleton)
        return not parsed.interlaced and parsed.making is None

    def keeps_bytes(self, skeleton: bytes) -> bool:
        """Whether the skeleton says how the pixels were made."""
        return bool(skeleton) and skeleton[0] >= EXACT

    def palette(self, sample_format: SampleFormat, skeleton: bytes) -> Bytes | None:
        """That of PLTE and tRNS."""
        return palette(sample_format, skeleton)


FORM: Final = PNGFile()
