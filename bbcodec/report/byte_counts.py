"""What every byte of an archive is for, and which images lie in which chunk: read from its directory and chunks."""

from __future__ import annotations

import os
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
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
from bbcodec.archive.format.container import HEADER, Reader
from bbcodec.archive.format.index import Directory, Entry, Place
from bbcodec.binary import FRAME_BYTES
from bbcodec.codec.message import LearnedMessage
from bbcodec.errors import BBCodecError, DamagedArchive, InputError
from bbcodec.images.formats import PIXEL_FORMS

# What bytes are for, in the order in which reports show them. The first two are images, the third whatever else files
# hold; all others are the container.
MESSAGES: Final = "learned messages"
CLASSICAL: Final = "images stored classically"
OTHER: Final = "files that are no images"
SKELETONS: Final = "metadata of images and arrays"
HEADS: Final = "heads and frames of chunks"
DIRECTORIES: Final = "directories and index"
CODECS: Final = "codecs"
PURPOSES: Final = (MESSAGES, CLASSICAL, OTHER, SKELETONS, HEADS, DIRECTORIES, CODECS)

MODE_CHANNELS: Final = {"RGB": 3, "RGBA": 4, "LA": 2, "CMYK": 4, "YCbCr": 3, "LAB": 3, "HSV": 3, "PA": 2}
KIND_CHANNELS: Final = {"RGB8": 3, "RGBA8": 4, "LA8": 2}


@dataclass(frozen=True)
class Owner:
    """The image that an image of a chunk is, or is a part of: a file of the directory, and a number in its array."""

    file: int
    number: int = 0


@dataclass
class Anatomy:
    """What an archive of `size` bytes consists of. Equal files are counted once, with those they are copies of.

    bytes: by purpose; they add up to `size`. owners: of each learned chunk, by number, the image that each of its
    images is. n_images, dims: images of all files and their values; classical_*: those of them without a learned part.
    """

    path: Path
    size: int
    directory: Directory
    rebuilt: str = ""
    bytes: dict[str, int] = field(default_factory=dict)
    owners: dict[int, list[Owner]] = field(default_factory=dict)
    bodies: dict[int, tuple[int, int, int]] = field(default_factory=dict)  # count, height, width of learned chunks
    kept: dict[int, tuple[int, int, str]] = field(default_factory=dict)  # count, values, mode of arrays kept as bytes
    n_files: int = 0
    n_copies: int = 0
    n_images: int = 0
    dims: int = 0
    classical_images: int = 0
    classical_dims: int = 0
    file_bytes: int = 0  # of the files outside the archive
    image_file_bytes: int = 0  # of those that are images or arrays of images, each once

    def name(self, owner: Owner) -> str:
        """What people call an image."""
        file = self.directory.files[owner.file]
        name = os.fsdecode(file.name)
        return f"{name}[{owner.number}]" if file.form == "arrays" else name


def dissect(path: str | os.PathLike[str]) -> Anatomy:
    """Take an archive apart. Raises InputError, NotAnArchive, DamagedArchive, UnsupportedVersion or UnsafePath."""
    place = Path(path)
    try:
        with open(place, "rb") as stream:
            reader = Reader(stream)
            size = stream.seek(0, os.SEEK_END)
    except BBCodecError as error:
        raise type(error)(f"{place}: {error}") from None
    except OSError as error:
        raise InputError(f"{place} cannot be read: {error.strerror}") from None
    found = Anatomy(place, size, reader.directory, reader.rebuilt)
    sizes = _image_counts(found)
    found.kept = dict(_arrays_kept_as_bytes(found))
    _count_files(found, sizes)
    found.bytes = _count_bytes(found)
    if sum(found.bytes.values()) != size:
        raise BBCodecError(f"{place}: the bytes of its parts are {sum(found.bytes.values())}, not {size}: a fault")
    return found


def read_body(anatomy: Anatomy, chunk: Chunk) -> bytes:
    """The body of a chunk. Raises DamagedArchive or InputError, with the archive's name."""
    try:
        return read_chunk(str(anatomy.path), chunk)
    except DamagedArchive as error:
        raise DamagedArchive(f"{anatomy.path}: {error}") from None
    except OSError as error:
        raise InputError(f"{anatomy.path} cannot be read: {error.strerror}") from None


def _image_counts(anatomy: Anatomy) -> dict[int, int]:
    """How many images each chunk of images holds. Fills `bodies`."""
    counts = {}
    for number, chunk in enumerate(anatomy.directory.chunks):
        if chunk.type == LEARNED:
            learned = LearnedMessage.unpack(read_body(anatomy, chunk))
            anatomy.bodies[number] = learned.count, learned.height, learned.width
            counts[number] = learned.count
        elif chunk.type == SHEET:
            counts[number] = SheetBody.unpack(read_body(anatomy, chunk)).count
    return counts


def _arrays_kept_as_bytes(anatomy: Anatomy) -> Iterator[tuple[int, tuple[int, int, str]]]:
    """Files that are npy arrays of images, but are stored as plain bytes, which were fewer."""
    from bbcodec.images.npy import read_npy

    parts = _part_lengths(anatomy.directory)
    for number, file in enumerate(anatomy.directory.files):
        if file.form == "bytes" and len(file.places) == 1 and file.name.lower().endswith(b".npy"):
            place = file.places[0]
            start = sum(length for position, length in parts[place.chunk].items() if position < place.position)
            content = unpack_bytes(read_body(anatomy, anatomy.directory.chunks[place.chunk]))
            found = read_npy(np.frombuffer(content, np.uint8)[start : start + place.length])
            if found is not None:
                pixels, levels = found[1]
                mode = "1" if levels == 2 else {1: "L", 3: "RGB"}[pixels.shape[3]]
                yield number, (len(pixels), pixels.size, mode)


def _part_lengths(directory: Directory) -> dict[int, dict[int, int]]:
    """The length of each part of each `B` chunk, by its position."""
    found: dict[int, dict[int, int]] = defaultdict(dict)
    for file in directory.files:
        for place in file.places:
            if directory.chunks[place.chunk].type == BYTES:
                found[place.chunk][place.position] = place.length
    return found


def _count_files(anatomy: Anatomy, counts: Mapping[int, int]) -> None:
    """Go through the files: whose are the images of each learned chunk, and how many images are stored how."""
    anatomy.owners = {number: [Owner(-1)] * body[0] for number, body in anatomy.bodies.items()}
    seen: set[tuple[str, tuple[Place, ...]]] = set()
    for number, file in enumerate(anatomy.directory.files):
        if file.form == "folder":
            continue
        anatomy.n_files += 1
        anatomy.file_bytes += file.size
        if file.places and (file.form, file.places) in seen:
            anatomy.n_copies += 1
            continue
        seen.add((file.form, file.places))
        if file.form == "arrays":
            _count_array(anatomy, number, file, counts)
        elif file.width * file.height:
            _count_image(anatomy, number, file)
        elif number in anatomy.kept:
            count, dims, _ = anatomy.kept[number]
            anatomy.n_images, anatomy.dims = anatomy.n_images + count, anatomy.dims + dims
            anatomy.classical_images += count
            anatomy.classical_dims += dims
            anatomy.image_file_bytes += file.size


def _count_image(anatomy: Anatomy, number: int, file: Entry) -> None:
    """One image file."""
    dims = file.width * file.height * channels_of(file)
    anatomy.n_images += 1
    anatomy.dims += dims
    anatomy.image_file_bytes += file.size
    places = [place for place in file.content if place.chunk in anatomy.owners]
    for place in places:
        if place.position < len(anatomy.owners[place.chunk]):
            anatomy.owners[place.chunk][place.position] = Owner(number)
    if not places:
        anatomy.classical_images += 1
        anatomy.classical_dims += dims


def _count_array(anatomy: Anatomy, number: int, file: Entry, counts: Mapping[int, int]) -> None:
    """The images of an array file, chunk by chunk."""
    first = 0
    values = file.width * file.height * channels_of(file)
    for place in file.content:
        if place.chunk in counts:
            count = counts[place.chunk]
        else:
            count = place.length // values if values and not place.length % values else 0
        dims = count * values
        if place.chunk in anatomy.owners:
            anatomy.owners[place.chunk] = [Owner(number, first + n) for n in range(count)]
            height, width = anatomy.bodies[place.chunk][1:]
            dims = count * height * width * channels_of(file)
        else:
            anatomy.classical_images += count
            anatomy.classical_dims += dims
        anatomy.n_images += count
        anatomy.dims += dims
        first += count
    if first:
        anatomy.image_file_bytes += file.size


def channels_of(file: Entry) -> int:
    """How many values a pixel of a file has."""
    if file.form in PIXEL_FORMS:
        return KIND_CHANNELS.get(file.sample_format, 1)
    return MODE_CHANNELS.get(file.mode, 1)


def _count_bytes(anatomy: Anatomy) -> dict[str, int]:
    """Every byte by its purpose."""
    found = dict.fromkeys(PURPOSES, 0)
    chunks = anatomy.directory.chunks
    parts = _parts(anatomy)
    for number, chunk in enumerate(chunks):
        if chunk.type == LEARNED:
            message = len(LearnedMessage.unpack(read_body(anatomy, chunk)).stream)
            found[MESSAGES] += message
            found[HEADS] += chunk.length - message + FRAME_BYTES
        elif chunk.type == SHEET:
            found[CLASSICAL] += chunk.length + FRAME_BYTES
        elif chunk.type == BYTES:
            for purpose, share in _shares(chunk.length + FRAME_BYTES, parts.get(number, [(OTHER, 1)])):
                found[purpose] += share
        else:
            found[{CODEC: CODECS, DIRECTORY: DIRECTORIES}[chunk.type]] += chunk.length + FRAME_BYTES
    lost = chunks[0].offset - 5 - len(HEADER) if chunks else 0  # of a damaged archive, before the first chunk known
    end = chunks[-1].end if chunks else len(HEADER)
    found[HEADS] += len(HEADER)
    found[DIRECTORIES] += anatomy.size - end + lost
    return found


def _parts(anatomy: Anatomy) -> dict[int, list[tuple[str, int]]]:
    """Purpose and length of each part of each `B` chunk, in order."""
    found: dict[int, dict[int, tuple[str, int]]] = defaultdict(dict)
    for number, file in enumerate(anatomy.directory.files):
        for slot, place in enumerate(file.places):
            if anatomy.directory.chunks[place.chunk].type == BYTES:
                image = file.width * file.height > 0 or number in anatomy.kept
                purpose = SKELETONS if file.skeleton and not slot else CLASSICAL if image else OTHER
                found[place.chunk][place.position] = purpose, place.length
    return {chunk: [parts[key] for key in sorted(parts)] for chunk, parts in found.items()}


def _shares(size: int, parts: Sequence[tuple[str, int]]) -> Iterator[tuple[str, int]]:
    """`size` bytes shared among parts in proportion to their lengths, in whole bytes that add up."""
    total, done = max(1, sum(length for _, length in parts)), 0
    for purpose, length in parts[:-1]:
        share = size * length // total
        done += share
        yield purpose, share
    if parts:
        yield parts[-1][0], size - done


