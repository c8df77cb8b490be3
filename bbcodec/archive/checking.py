"""How archives that workers made are checked: each worker decodes what it coded, and compares it with what it read.

The driver then compares digests: of what workers sent, and of what it wrote.
"""

from __future__ import annotations

import pickle
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import accumulate
from pathlib import Path
from typing import NoReturn

import numpy as np

from bbcodec.archive.format.chunks import BYTES, DIRECTORY, LEARNED, unpack_bytes
from bbcodec.archive.format.index import Entry, Place
from bbcodec.archive.format.names import printable
from bbcodec.archive.read.archive_file import ArchiveFile
from bbcodec.archive.read.codecs import CodecFinder
from bbcodec.archive.read.damage import as_damage, check_size
from bbcodec.archive.read.decode import plane_of, unpack_chunk
from bbcodec.archive.read.join import member_layouts
from bbcodec.archive.read.kept_chunks import ChunkImages
from bbcodec.archive.write.array_parts import CodedArrayPart
from bbcodec.archive.write.carried import carried
from bbcodec.archive.write.coded import ChunkPiece, CodedFiles, DraftChunk, Piece, StoredFile
from bbcodec.archive.write.encode import CodedPart
from bbcodec.archive.write.image_tiles import CodedTile
from bbcodec.archive.write.parts import KeepingPool, encode_or_take, entries_of
from bbcodec.archive.write.promises import Promises, content_digest, entry_digest, in_chunk
from bbcodec.archive.write.tasks import ArrayTask, BytesTask, FileTask, ImageTask, Task, TileTask
from bbcodec.codec.pool import CodecPool, pixel_bytes
from bbcodec.errors import DamagedArchive, InputError, VerificationFailed
from bbcodec.images.codings import FILE_CODINGS, coding_named, file_coding
from bbcodec.images.codings.base import FileFacts
from bbcodec.images.formats import PIXEL_FORMS, form_named
from bbcodec.images.image_files import Picture, join_image, palette, split_image
from bbcodec.images.planes import PlaneShape, from_planes, plane_shapes
from bbcodec.images.samples import Samples
from bbcodec.input_files import FileSource, read_file, read_piece
from bbcodec.options import RunOptions

# --- by workers ------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Sealed:
    """The result of a task as it travels, and its digest, made where it was checked."""

    digest: bytes
    content: bytes

    @classmethod
    def of(cls, coded: CodedFiles | CodedPart) -> Sealed:
        """Sealed where it was checked."""
        content = pickle.dumps(coded)
        return cls(content_digest(content), content)

    def opened(self) -> CodedFiles | CodedPart:
        """The result. Raises VerificationFailed where it is not what was sent."""
        if content_digest(self.content) != self.digest:
            raise VerificationFailed("what a worker sent is not what came here, nothing was kept: compress again")
        coded: CodedFiles | CodedPart = pickle.loads(self.content)
        return coded


def encode_checked(pool: CodecPool | KeepingPool, task: Task) -> Sealed:
    """A task, coded and checked. Raises VerificationFailed, and what coding raises."""
    task = carried(task, always=True)  # so that files are read once
    coded = encode_or_take(pool, task)
    try:
        _check(pool.pool if isinstance(pool, KeepingPool) else pool, task, coded)
    except InputError:
        raise
    except Exception as error:
        why = f"what was coded does not decode to what was read, nothing was kept: {as_damage(error)}"
        raise VerificationFailed(why) from None
    return Sealed.of(coded)


def _check(pool: CodecPool, task: Task, coded: CodedFiles | CodedPart) -> None:
    """Raise some error unless a result decodes to what its task says."""
    if isinstance(task, TileTask) and isinstance(coded, CodedTile):
        _check_tile(pool, task, coded)
    elif isinstance(task, ArrayTask) and isinstance(coded, CodedArrayPart):
        _check_array(pool, task, coded)
    elif isinstance(task, ImageTask | FileTask | BytesTask) and isinstance(coded, CodedFiles):
        _check_files(pool, task, coded)
    else:
        raise DamagedArchive("it is the result of another task")


def _check_tile(pool: CodecPool, task: TileTask, coded: CodedTile) -> None:
    if coded.outline != task.outline:
        raise _differs("what an image has around its pixels")
    for layout, candidate in coded.layouts.items():
        drafts = _Drafts(pool, candidate.chunks, candidate.pieces)
        for piece, (pixels, levels) in zip(candidate.pieces[0], task.layouts[layout], strict=True):
            shape = PlaneShape(pixels.shape[2], levels)
            if not np.array_equal(drafts.plane(piece, pixels.shape[0], pixels.shape[1], shape), pixels):
                raise _differs(f"a tile of an image of {task.outline.width} x {task.outline.height} pixels")


def _check_array(pool: CodecPool, task: ArrayTask, coded: CodedArrayPart) -> None:
    if coded.member != task.member:
        raise _differs("what an array is put together of")
    if isinstance(task.content, bytes):
        expected = [task.content]
    else:
        pixels = task.content.pixels
        expected = [pixel_bytes(pixels)]
        if pixels.shape[3] == 4:
            expected.append(pixel_bytes(pixels[..., :3]) + pixel_bytes(pixels[..., 3:]))
    for way, content in zip(coded.ways, expected, strict=True):
        drafts = _Drafts(pool, [one.chunk for one in way.chunks], [])
        if b"".join(map(_as_bytes, drafts.contents)) != content:
            raise _differs("a part of an array")


def _check_files(pool: CodecPool, task: ImageTask | FileTask | BytesTask, coded: CodedFiles) -> None:
    drafts = _Drafts(pool, coded.chunks, [file.pieces for file in coded.files])
    files = {file.entry: file for file in coded.files}
    for number, (name, data) in zip(entries_of(task), _sources(task), strict=True):
        if not drafts.holds(files[number], data):
            raise _differs(name)


def _sources(task: ImageTask | FileTask | BytesTask) -> Iterator[tuple[str, bytes]]:
    """The files of a task, or parts of them, with their names."""
    if isinstance(task, BytesTask):
        for part in task.parts:
            yield _name(part.path), read_piece(part.path, part.start, part.length)
    else:
        for path in [file.path for file in task.files] if isinstance(task, ImageTask) else [task.path]:
            yield _name(path), read_file(path)


def _name(source: FileSource) -> str:
    return source if isinstance(source, str) else "a file"


def _differs(what: str) -> DamagedArchive:
    return DamagedArchive(f"{what} comes back otherwise")


class _Drafts:
    """Chunks that are not in an archive yet, decoded. `contents` are theirs."""

    def __init__(self, pool: CodecPool, chunks: Sequence[DraftChunk], pieces: Sequence[Sequence[Piece]]) -> None:
        """Decode chunks. pieces: all that lie in them."""
        self.contents = [unpack_chunk(pool, chunk.type, chunk.body, "the archive") for chunk in chunks]
        self._types = [chunk.type for chunk in chunks]
        used = {source.digest: source.digest[:4] for source in pool.sources}
        if any(chunk.type == LEARNED and used.get(chunk.codec) != chunk.body[:4] for chunk in chunks):
            raise DamagedArchive("a chunk names another codec than that which coded it")
        lengths: dict[int, dict[int, int]] = defaultdict(dict)
        for piece in (piece for some in pieces for piece in some):
            if isinstance(piece, ChunkPiece):
                lengths[piece.chunk][piece.position] = piece.length
        self._starts = {
            chunk: [0, *accumulate(parts[key] for key in range(len(parts)))]
            for chunk, parts in lengths.items()
            if self._types[chunk] == BYTES
        }

    def part(self, piece: Piece) -> bytes:
        """The bytes of a piece."""
        if not isinstance(piece, ChunkPiece):
            return piece.data
        start = self._starts[piece.chunk][piece.position]
        return _as_bytes(self.contents[piece.chunk])[start : start + piece.length]

    def plane(self, piece: Piece, height: int, width: int, shape: PlaneShape) -> Samples:
        """The plane (height, width, C) that a piece is."""
        if not isinstance(piece, ChunkPiece):
            return coding_named(piece.coding).decode(piece.data, (height, width, shape.channels), shape.levels)
        images = self.contents[piece.chunk]
        if isinstance(images, bytes):
            raise DamagedArchive("a chunk holds bytes where images are expected")
        return plane_of(images, self._types[piece.chunk], piece.position, height, width, shape)

    def holds(self, file: StoredFile, data: bytes) -> bool:
        """Whether the pieces of a file give its bytes, or its samples."""
        if file.form in FILE_CODINGS:
            (piece,) = file.pieces
            coding = "bytes" if isinstance(piece, ChunkPiece) else piece.coding
            facts = FileFacts(file.size, file.image.width, file.image.height)
            return file_coding(coding, file.form).decode_file(self.part(piece), facts) == data
        if file.form not in PIXEL_FORMS:
            return b"".join(map(self.part, file.pieces)) == data
        image, colours = file.image, palette(file.form, file.image.sample_format, file.skeleton)
        shapes = plane_shapes(image.sample_format, image.plane_layout, 0 if colours is None else colours.shape[1])
        pieces = zip(file.pieces, shapes, strict=True)
        planes = [self.plane(piece, image.height, image.width, shape) for piece, shape in pieces]
        samples = from_planes(planes, image.sample_format, image.plane_layout, colours)
        stored = Picture(file.form, image.sample_format, samples, file.skeleton)
        if form_named(file.form).keeps_bytes(file.skeleton):
            return join_image(stored) == data
        picture = split_image(data)
        return picture is not None and picture.outline == stored.outline and np.array_equal(picture.samples, samples)


def _as_bytes(content: bytes | ChunkImages) -> bytes:
    return content if isinstance(content, bytes) else pixel_bytes(content.pixels)


# --- by the driver ---------------------------------------------------------------------------------------------------


def check_written(path: Path, promises: Promises, run: RunOptions) -> None:
    """Read an archive, and compare it with what was promised: what workers checked is not decoded again.

    Raises DamagedArchive.
    """
    file = ArchiveFile(path)
    if file.damage:
        raise DamagedArchive(f"{path}: {file.damage}")
    entries = [entry for entry in file.entries if entry.name in promises.entries]
    if len(entries) < len(promises.entries):
        raise DamagedArchive(f"{path}: some files are not in it")
    contents = _contents(file, entries, promises, run)
    for entry in entries:
        if (
            entry_digest(entry, [contents[place.chunk, place.position] for place in entry.places])
            != (promises.entries[entry.name])
        ):
            _refuse(path, entry, "it is not what was checked")
        try:
            check_size(entry)
            _check_members(file, entry)
        except Exception as error:
            _refuse(path, entry, str(as_damage(error)))
    codecs = CodecFinder(file)
    for record in file.codecs:
        codecs.embedded(record)
    for chunk in file.directory.chunks:
        if chunk.type == DIRECTORY:
            file.body(chunk)


def _contents(
    file: ArchiveFile, entries: Sequence[Entry], promises: Promises, run: RunOptions
) -> Mapping[tuple[int, int], bytes]:
    """What tells the content of each place of entries, by its chunk and position. Raises DamagedArchive."""
    places: dict[int, set[Place]] = defaultdict(set)
    for entry in entries:
        for place in entry.places:
            places[place.chunk].add(place)
    found: dict[tuple[int, int], bytes] = {}
    done, total = 0, sum(file.directory.chunks[number].length for number in places)
    for number in sorted(places):
        body = file.body(file.directory.chunks[number])
        digest = content_digest(body)
        if digest in promises.chunks:
            found |= {(number, place.position): in_chunk(digest, place.position) for place in places[number]}
        else:
            content = _unpacked(file, body)
            for place in places[number]:
                start = file.resolve(place).offset
                found[number, place.position] = content_digest(content[start : start + place.length])
        done += len(body)
        run.tell("verifying", done, total)
    return found


def _unpacked(file: ArchiveFile, body: bytes) -> bytes:
    try:
        return unpack_bytes(body)
    except Exception as error:
        raise DamagedArchive(f"{file.path}: {as_damage(error)}") from None


def _check_members(file: ArchiveFile, entry: Entry) -> None:
    """Raise some error unless the skeleton of an array asks for as many chunks as there are."""
    if entry.form == "arrays":
        skeleton = b""
        if entry.skeleton:
            place = file.resolve(entry.places[0])
            skeleton = _unpacked(file, file.body(place.chunk))[place.offset : place.offset + place.length]
        if sum(member.n_chunks for member in member_layouts(entry, skeleton)[1]) != len(entry.content):
            raise DamagedArchive("its skeleton is damaged")


def _refuse(path: Path, entry: Entry, why: str) -> NoReturn:
    raise DamagedArchive(f"{path}: {printable(entry.name)} is damaged: {why}")
