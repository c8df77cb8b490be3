"""What every byte of an archive is for, and which images are in which chunk, from its directory and chunks."""

from __future__ import annotations

import os
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from pathlib import Path
from typing import Final

import numpy as np

from bbcodec.archive.format.chunks import (
    BYTES,
    CODEC,
    DIRECTORY,
    LEARNED,
    SHEET,
    Chunk,
    SheetBody,
    read_chunk,
    unpack_bytes,
)
from bbcodec.archive.format.contents import read_contents
from bbcodec.archive.format.header import HEADER_BYTES
from bbcodec.archive.format.index import Directory, Entry, Place
from bbcodec.binary import FRAME_BYTES
from bbcodec.codec.message import LearnedMessage
from bbcodec.errors import BBCodecError, DamagedArchive, InputError
from bbcodec.images.formats import PIXEL_FORMS
from bbcodec.remote import located
from bbcodec.sample_formats import pixel_mode

MODE_CHANNELS: Final = {"RGB": 3, "RGBA": 4, "LA": 2, "CMYK": 4, "YCbCr": 3, "LAB": 3, "HSV": 3, "PA": 2}
FORMAT_CHANNELS: Final = {"RGB8": 3, "RGBA8": 4, "LA8": 2}


class Purpose(StrEnum):
    """What bytes are for, in the order of reports; the values are keys of JSON reports, fixed forever.

    MESSAGES and CLASSICAL are images, OTHER the content of other files; all else but CODECS is the container.
    """

    MESSAGES = "learned messages"
    CLASSICAL = "images stored classically"
    OTHER = "files that are no images"
    SKELETONS = "metadata of images and arrays"
    HEADS = "heads and frames of chunks"
    DIRECTORIES = "directories and index"
    CODECS = "codecs"


@dataclass(frozen=True)
class SourceImage:
    """An image of the input: a file of the directory, and the image's number if that is an array."""

    file: int
    number: int = 0


UNKNOWN_SOURCE: Final = SourceImage(-1)  # of images in chunks that no file of a damaged archive names


@dataclass(frozen=True)
class LearnedChunk:
    """The images of a learned chunk, and the bytes of their message."""

    count: int
    height: int
    width: int
    message_bytes: int

    @property
    def pixels(self) -> int:
        """Pixels of all its images."""
        return self.count * self.height * self.width


@dataclass(frozen=True)
class PlainArray:
    """An array of images whose file is stored as plain bytes, because they were fewer."""

    count: int
    dims: int
    mode: str


@dataclass
class ByteCounts:
    """The bytes and images of an archive. Equal files are counted once.

    by_purpose: bytes; they add up to `archive_bytes`. learned: chunks by number. sources: for each learned chunk, the
    image that each of its images is or is a part of. plain_arrays: by number of file. n_images, dims: images of all
    files, and their values. classical_images: images without a learned part. input_bytes: of all files, outside the
    archive.
    """

    path: str | Path
    archive_bytes: int
    directory: Directory
    rebuilt: str = ""
    by_purpose: dict[Purpose, int] = field(default_factory=dict)
    learned: dict[int, LearnedChunk] = field(default_factory=dict)
    sources: dict[int, list[SourceImage]] = field(default_factory=dict)
    plain_arrays: dict[int, PlainArray] = field(default_factory=dict)
    n_files: int = 0
    n_copies: int = 0
    n_images: int = 0
    dims: int = 0
    classical_images: int = 0
    input_bytes: int = 0

    def name(self, image: SourceImage) -> str:
        """The name of an image: its file's, with its number in brackets if that is an array."""
        file = self.directory.files[image.file]
        name = os.fsdecode(file.name)
        return f"{name}[{image.number}]" if file.form == "arrays" else name


def count_bytes(path: str | os.PathLike[str]) -> ByteCounts:
    """The byte counts of an archive.

    Raises InputError, NotAnArchive, DamagedArchive, UnsupportedVersion or UnsafePath, and BBCodecError if counts do not
    add up to its size.
    """
    place = located(path)
    try:
        contents = read_contents(place)
    except BBCodecError as error:
        raise type(error)(f"{place}: {error}") from None
    except OSError as error:
        raise InputError(f"{place} cannot be read: {error.strerror}") from None
    counts = ByteCounts(place, contents.size, contents.directory, contents.rebuilt)
    counts.learned = dict(_learned_chunks(counts))
    counts.plain_arrays = dict(_plain_arrays(counts))
    _count_files(counts)
    counts.by_purpose = _bytes_by_purpose(counts)
    total = sum(counts.by_purpose.values())
    if total != contents.size:
        raise BBCodecError(f"{place}: expected parts of {contents.size} bytes in all, got {total}: a bug in bbcodec")
    return counts


def read_body(counts: ByteCounts, chunk: Chunk) -> bytes:
    """The body of a chunk. Raises DamagedArchive or InputError, with the archive's name."""
    try:
        return read_chunk(str(counts.path), chunk)
    except DamagedArchive as error:
        raise DamagedArchive(f"{counts.path}: {error}") from None
    except OSError as error:
        raise InputError(f"{counts.path} cannot be read: {error.strerror}") from None


# --- images ----------------------------------------------------------------------------------------------------------


def _learned_chunks(counts: ByteCounts) -> Iterator[tuple[int, LearnedChunk]]:
    for number, chunk in enumerate(counts.directory.chunks):
        if chunk.type == LEARNED:
            learned = LearnedMessage.unpack(read_body(counts, chunk))
            yield number, LearnedChunk(learned.count, learned.height, learned.width, len(learned.stream))


def _sheet_counts(counts: ByteCounts) -> dict[int, int]:
    """The number of images of each sheet, by its chunk."""
    return {
        number: SheetBody.unpack(read_body(counts, chunk)).count
        for number, chunk in enumerate(counts.directory.chunks)
        if chunk.type == SHEET
    }


def _plain_arrays(counts: ByteCounts) -> Iterator[tuple[int, PlainArray]]:
    """Files that are npy arrays of images, but are stored as plain bytes."""
    from bbcodec.images.npy import read_npy

    parts = _part_lengths(counts.directory)
    for number, file in enumerate(counts.directory.files):
        if file.form == "bytes" and len(file.places) == 1 and file.name.lower().endswith(b".npy"):
            place = file.places[0]
            start = sum(length for position, length in parts[place.chunk].items() if position < place.position)
            content = unpack_bytes(read_body(counts, counts.directory.chunks[place.chunk]))
            array = read_npy(np.frombuffer(content, np.uint8)[start : start + place.length])
            if array is not None:
                pixels, levels = array.images
                yield number, PlainArray(len(pixels), pixels.size, pixel_mode(pixels.shape[3], levels))


def _part_lengths(directory: Directory) -> dict[int, dict[int, int]]:
    """The length of each part of each `B` chunk, by its position."""
    lengths: dict[int, dict[int, int]] = defaultdict(dict)
    for file in directory.files:
        for place in file.places:
            if directory.chunks[place.chunk].type == BYTES:
                lengths[place.chunk][place.position] = place.length
    return lengths


def _count_files(counts: ByteCounts) -> None:
    """Count files, copies and images, and find the source of each learned image."""
    counts.sources = {number: [UNKNOWN_SOURCE] * chunk.count for number, chunk in counts.learned.items()}
    sheets = _sheet_counts(counts)
    seen: set[tuple[str, tuple[Place, ...]]] = set()
    for number, file in enumerate(counts.directory.files):
        if file.form == "folder":
            continue
        counts.n_files += 1
        counts.input_bytes += file.size
        if file.places and (file.form, file.places) in seen:
            counts.n_copies += 1
            continue
        seen.add((file.form, file.places))
        if file.form == "arrays":
            _count_array(counts, number, file, sheets)
        elif file.width * file.height:
            _count_image(counts, number, file)
        elif number in counts.plain_arrays:
            array = counts.plain_arrays[number]
            counts.n_images += array.count
            counts.dims += array.dims
            counts.classical_images += array.count


def _count_image(counts: ByteCounts, number: int, file: Entry) -> None:
    """Count an image file; its tiles and planes may be in several chunks."""
    counts.n_images += 1
    counts.dims += file.width * file.height * channels_of(file)
    places = [place for place in file.content if place.chunk in counts.learned]
    for place in places:
        if place.position < counts.learned[place.chunk].count:
            counts.sources[place.chunk][place.position] = SourceImage(number)
    if not places:
        counts.classical_images += 1


def _count_array(counts: ByteCounts, number: int, file: Entry, sheets: Mapping[int, int]) -> None:
    """Count the images of an array file, chunk by chunk."""
    first = 0
    channels = channels_of(file)
    values = file.width * file.height * channels
    for place in file.content:
        chunk = counts.learned.get(place.chunk)
        if chunk is not None:
            count = chunk.count
            counts.sources[place.chunk] = [SourceImage(number, first + n) for n in range(count)]
            counts.dims += chunk.pixels * channels
        else:
            plain = place.length // values if values and not place.length % values else 0
            count = sheets.get(place.chunk, plain)
            counts.classical_images += count
            counts.dims += count * values
        counts.n_images += count
        first += count


def channels_of(file: Entry) -> int:
    """How many values a pixel of a file has."""
    if file.form in PIXEL_FORMS:
        return FORMAT_CHANNELS.get(file.sample_format, 1)
    return MODE_CHANNELS.get(file.mode, 1)


# --- bytes -----------------------------------------------------------------------------------------------------------


def _bytes_by_purpose(counts: ByteCounts) -> dict[Purpose, int]:
    """Every byte by its purpose."""
    found = dict.fromkeys(Purpose, 0)
    chunks = counts.directory.chunks
    parts = _parts_by_chunk(counts)
    for number, chunk in enumerate(chunks):
        size = chunk.length + FRAME_BYTES
        if chunk.type == LEARNED:
            message = counts.learned[number].message_bytes
            found[Purpose.MESSAGES] += message
            found[Purpose.HEADS] += size - message
        elif chunk.type == SHEET:
            found[Purpose.CLASSICAL] += size
        elif chunk.type == BYTES:
            for purpose, share in _shares(size, parts.get(number, [(Purpose.OTHER, 1)])):
                found[purpose] += share
        else:
            found[{CODEC: Purpose.CODECS, DIRECTORY: Purpose.DIRECTORIES}[chunk.type]] += size
    found[Purpose.HEADS] += HEADER_BYTES
    # index and footer; in a damaged archive also what is between the chunks that are known, or lost
    known = HEADER_BYTES + sum(chunk.length + FRAME_BYTES for chunk in chunks)
    found[Purpose.DIRECTORIES] += counts.archive_bytes - known
    return found


def _parts_by_chunk(counts: ByteCounts) -> dict[int, list[tuple[Purpose, int]]]:
    """Purpose and length of each part of each `B` chunk, in order."""
    found: dict[int, dict[int, tuple[Purpose, int]]] = defaultdict(dict)
    for number, file in enumerate(counts.directory.files):
        content = Purpose.CLASSICAL if file.width * file.height or number in counts.plain_arrays else Purpose.OTHER
        for slot, place in enumerate(file.places):
            if counts.directory.chunks[place.chunk].type == BYTES:
                purpose = Purpose.SKELETONS if file.skeleton and not slot else content
                found[place.chunk][place.position] = purpose, place.length
    return {chunk: [parts[key] for key in sorted(parts)] for chunk, parts in found.items()}


def _shares(size: int, parts: Sequence[tuple[Purpose, int]]) -> Iterator[tuple[Purpose, int]]:
    """`size` bytes divided among parts in proportion to their lengths, in whole bytes that add up."""
    total, done = max(1, sum(length for _, length in parts)), 0
    for purpose, length in parts[:-1]:
        share = size * length // total
        done += share
        yield purpose, share
    if parts:
        yield parts[-1][0], size - done
