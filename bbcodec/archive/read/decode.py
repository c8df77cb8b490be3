"""From chunks to files: the work on one task, in any process.

A task is either the files of a chunk, each given whole, or one stretch of a long file: a tile of an image, a chunk of
an array, a piece of a large file. Chunks that were decoded last are kept, as neighbouring tasks may need them too.
"""

from __future__ import annotations

import os
import threading
from collections.abc import Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import Any, Final, NamedTuple

import numpy as np
from numpy.typing import NDArray

from bbcodec.archive.format.container import SheetBody, read_chunk, unpack_bytes
from bbcodec.archive.format.index import BYTES, CODINGS, LEARNED, PIXEL_FORMS, Chunk, Entry
from bbcodec.binary import digest64
from bbcodec.codec.message import LearnedMessage
from bbcodec.codec.pool import CodecPool
from bbcodec.errors import DamagedArchive, InputError
from bbcodec.images import (
    Picture,
    Samples,
    decode_alone,
    decode_together,
    from_planes,
    join_image,
    palette,
    plane_shapes,
)

KEPT_BYTES: Final = 2**26  # of decoded chunks, in each process

_pillow = threading.RLock()


def pillow_alone() -> AbstractContextManager[Any]:
    """One thread at a time: while an image is decoded, Pillow's limits and warnings are set for the whole process."""
    return _pillow


def _renew_lock() -> None:
    """In a forked process nobody is left to release what another thread held."""
    global _pillow
    _pillow = threading.RLock()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_renew_lock)


class ResolvedPlace(NamedTuple):
    """A place with all that it takes to read it. offset, length, size: of a part, in a content of `size` bytes."""

    chunk: Chunk
    position: int
    offset: int
    length: int
    size: int
    coding: str


@dataclass(frozen=True)
class FilesTask:
    """Files that are wanted whole, with the spots of all their places. `restore`: give their bytes, else only check."""

    path: str
    files: tuple[tuple[Entry, tuple[ResolvedPlace, ...]], ...]
    restore: bool
    size: int  # bytes of its chunks, for progress


@dataclass(frozen=True)
class StretchTask:
    """A stretch of a long file: the spots of one tile in each plane, or of one place; and the spot of the skeleton.

    height and width are those of the tile.
    """

    path: str
    file: Entry
    skeleton: ResolvedPlace | None
    spots: tuple[ResolvedPlace, ...]
    height: int
    width: int
    restore: bool
    size: int


@dataclass(frozen=True)
class Decoded:
    """What came of a file or stretch: bytes, or the samples (h, w, C) of a tile; or what is wrong with it."""

    content: Any
    damage: str = ""


def decode_task(pool: CodecPool, task: FilesTask | StretchTask) -> list[Decoded]:
    """The files or the stretch of a task. Damage is told, not raised: other files go on."""
    if isinstance(task, StretchTask):
        return [_told(_stretch, pool, task)]
    return [_told(_whole, pool, task, file, spots) for file, spots in task.files]


def decode_part(pool: CodecPool, path: str, spot: ResolvedPlace) -> bytes:
    """A part of a `B` chunk. Raises DamagedArchive."""
    return _Chunks(pool, path).part(spot)


def _told(function: Any, pool: CodecPool, task: FilesTask | StretchTask, *arguments: Any) -> Decoded:
    try:
        return Decoded(function(pool, task, *arguments))
    except DamagedArchive as error:
        return Decoded(b"", str(error))


def _whole(pool: CodecPool, task: FilesTask, file: Entry, spots: Sequence[ResolvedPlace]) -> bytes:
    """The bytes of a file."""
    reader = _Chunks(pool, task.path)
    if file.form not in PIXEL_FORMS:
        return b"".join(reader.part(spot) for spot in spots)
    skeleton = reader.part(spots[0]) if file.skeleton else b""
    samples = _samples(reader, file, skeleton, spots[int(file.skeleton) :], file.height, file.width)
    return join_image(Picture(file.form, file.sample_format, samples, skeleton)) if task.restore else b""


def _stretch(pool: CodecPool, task: StretchTask) -> bytes | Samples:
    """The samples of a tile, or bytes."""
    reader = _Chunks(pool, task.path)
    if task.file.form in PIXEL_FORMS:
        skeleton = reader.part(task.skeleton) if task.skeleton else b""
        samples = _samples(reader, task.file, skeleton, task.spots, task.height, task.width)
        return samples if task.restore else b""
    spot = task.spots[0]
    content = reader.part(spot) if spot.chunk.type == BYTES else reader.images(spot.chunk)[0].tobytes()
    return content if task.restore else b""


def _samples(
    reader: _Chunks, file: Entry, skeleton: bytes, spots: Sequence[ResolvedPlace], height: int, width: int
) -> Samples:
    """The samples (height, width, C) of an image or a tile."""
    colours = palette(file.form, file.sample_format, skeleton)
    shapes = plane_shapes(file.sample_format, file.way, 0 if colours is None else colours.shape[1])
    if len(shapes) != len(spots):
        raise DamagedArchive("an image has another number of planes than its kind")
    planes = [
        reader.plane(spot, (height, width, channels), levels)
        for spot, (channels, levels) in zip(spots, shapes, strict=True)
    ]
    return from_planes(planes, file.sample_format, file.way, colours)


class _Chunks:
    """Chunks of an archive, as one process reads them."""

    def __init__(self, pool: CodecPool, path: str) -> None:
        self._pool, self._path = pool, path

    def part(self, spot: ResolvedPlace) -> bytes:
        """The bytes of a part. Raises DamagedArchive."""
        content = self._content(spot.chunk)
        if not isinstance(content, bytes) or len(content) != spot.size:
            raise DamagedArchive("the parts of a chunk do not add up to its content")
        return content[spot.offset : spot.offset + spot.length]

    def images(self, chunk: Chunk) -> tuple[NDArray[np.uint8], int]:
        """The images (N, H, W, C) of an `L` or `S` chunk, and their levels (of an `S` chunk always 256)."""
        content = self._content(chunk)
        if isinstance(content, bytes):
            raise DamagedArchive("a chunk holds bytes where images are expected")
        images: tuple[NDArray[np.uint8], int] = content
        return images

    def plane(self, spot: ResolvedPlace, shape: tuple[int, int, int], levels: int) -> Samples:
        """The plane at a spot, which must have this shape (h, w, C) and so many levels."""
        if spot.chunk.type == BYTES:
            height, width, channels = shape
            data = self.part(spot)
            with pillow_alone():
                return decode_alone(data, levels, spot.coding, height, width, channels)
        images, coded_levels = self.images(spot.chunk)
        fits = images.shape[1:] == shape and spot.position < len(images)
        if not fits or (spot.chunk.type == LEARNED and coded_levels != levels):
            raise DamagedArchive("a chunk holds other images than the index says")
        image: Samples = images[spot.position]
        return image

    def _content(self, chunk: Chunk) -> Any:
        key = self._path, chunk.offset
        kept = self._pool.kept
        found = kept.get(key)
        if found is None:
            found = self._decode(chunk)
            kept[key] = found
            for old in list(kept)[:-1]:
                if sum(_size(one) for one in list(kept.values())) <= KEPT_BYTES:
                    break
                kept.pop(old, None)
        return found

    def _decode(self, chunk: Chunk) -> Any:
        try:
            body = read_chunk(self._path, chunk)
        except OSError as error:
            raise InputError(f"{self._path} cannot be read: {error.strerror}") from None
        if chunk.type == BYTES:
            return unpack_bytes(body)
        if chunk.type == LEARNED:
            source, images = self._pool.decode(LearnedMessage.unpack(body))
            return images, source.levels
        sheet = SheetBody.unpack(body)
        shape = sheet.count, sheet.height, sheet.width, sheet.channels
        with pillow_alone():
            images = decode_together(sheet.stream, CODINGS[sheet.coding], *shape)
        if digest64(images.tobytes()) != sheet.digest:
            raise DamagedArchive("a chunk decodes to other pixels than were stored: its digest differs")
        return images, 256


def _size(content: Any) -> int:
    return len(content) if isinstance(content, bytes) else int(content[0].nbytes)
