"""Array files joined again from the content of chunks: an npy byte for byte, an npz member for member."""

from __future__ import annotations

import os
import zipfile
from collections.abc import Iterable, Iterator
from contextlib import suppress
from dataclasses import replace
from typing import Any, BinaryIO, Final

import numpy as np
from numpy.typing import NDArray

from bbcodec.errors import DamagedArchive, InputError
from bbcodec.images.array_views import ArrayView
from bbcodec.images.npy import READ_BYTES, MemberLayout
from bbcodec.input_files import read_piece

ANY_SIZE: Final = 2**63


class ArrayWriter:
    """Puts an array file together in `stream` from the contents of its chunks, given in order to `add`."""

    def __init__(self, stream: BinaryIO, zipped: bool, members: Iterable[MemberLayout], limit: int = ANY_SIZE) -> None:
        """Begin. zipped: whether the file is a zip. limit: bytes, without headers, after which it is damaged."""
        self._members = list(members)
        self._stream = stream
        self._zip = zipfile.ZipFile(stream, "w", allowZip64=True) if zipped else None
        self._sink: Any = None
        self._images: _ImageCollector | None = None
        self._left = limit
        self._advance()

    def add(self, content: bytes) -> None:
        """Append the content of the next chunk. Raises DamagedArchive."""
        if not self._members:
            raise DamagedArchive("an array file has more chunks than its skeleton says")
        for data in self._images.add(content) if self._images else (content,):
            self._left -= len(data)
            if self._left < 0:
                raise DamagedArchive("the arrays are longer than those of a file of this size")
            self._sink.write(data)
        self._members[0] = replace(self._members[0], n_chunks=self._members[0].n_chunks - 1)
        if self._members[0].n_chunks == 0:
            if self._images:
                self._images.end()
            if self._zip:
                self._sink.close()
            self._members.pop(0)
            self._advance()

    def abandon(self) -> None:
        """Let go of a file that cannot be finished: a zip would try to, when it is forgotten."""
        if self._zip:
            with suppress(Exception):
                self._sink.close()
            with suppress(Exception):
                self._zip.close()

    def close(self) -> None:
        """Finish the file; DamagedArchive if chunks are missing."""
        if self._members:
            raise DamagedArchive("an array file has fewer chunks than its skeleton says")
        if self._zip:
            self._zip.close()

    def _advance(self) -> None:
        """Open the next member, if there is one, and write its header."""
        if self._members:
            member = self._members[0]
            self._sink = self._stream
            if self._zip:
                info = zipfile.ZipInfo(member.name, member.date)  # type: ignore[arg-type]  # six ints, checked by zipfile
                info.compress_type = member.method
                info.create_system = 3  # Unix, on every system
                self._sink = self._zip.open(info, "w", force_zip64=True)
            self._images = _ImageCollector(member.view) if member.view else None
            self._sink.write(member.header)


class _ImageCollector:
    """Images of a view from the contents of chunks, which come plane by plane in each part, as bytes of the array."""

    def __init__(self, view: ArrayView) -> None:
        self._view = view
        self._wanted = iter((count, channels) for count in view.part_images() for channels in view.planes)
        self._planes: list[NDArray[np.uint8]] = []  # of this part, so far
        self._waiting: list[bytes] = []  # of this plane, so far
        self._images: list[NDArray[np.uint8]] = []  # of a scattered array, so far
        self._done = 0

    def add(self, content: bytes) -> Iterator[bytes]:
        """Bytes of the array that follow from the content of the next chunk. Raises DamagedArchive."""
        seen = self._view.seen
        if not self._view.split:
            yield from self._put(_shaped(content, (-1, *seen.images[1:]), self._view.pixel_type))
            return
        if not self._waiting:
            self._plane = next(self._wanted, (0, 1))
        self._waiting.append(content)
        count, channels = self._plane
        missing = count * seen.height * seen.width * channels - sum(map(len, self._waiting))
        if missing < 0:
            raise DamagedArchive("a plane of an array is longer than its view says")
        if missing == 0:
            self._planes.append(_shaped(b"".join(self._waiting), (count, seen.height, seen.width, channels)))
            self._waiting = []
        if len(self._planes) == len(self._view.planes):
            yield from self._put(np.concatenate(self._planes, axis=3))
            self._planes = []

    def end(self) -> None:
        """Raise DamagedArchive unless all images have come."""
        if self._done != self._view.seen.count or self._waiting or self._planes:
            raise DamagedArchive("an array has another number of images than its view says")

    def _put(self, images: NDArray[np.uint8]) -> Iterator[bytes]:
        self._done += len(images)
        if self._done > self._view.seen.count:
            raise DamagedArchive("an array has more images than its view says")
        if not self._view.fortran:
            yield self._view.bytes_of(images)
            return
        self._images.append(images)
        if self._done == self._view.seen.count:
            yield self._view.bytes_of(np.concatenate(self._images))


def _shaped(
    content: bytes, shape: tuple[int, int, int, int], dtype: np.dtype[Any] | type[np.uint8] = np.uint8
) -> NDArray[Any]:
    """Images of a content. Raises DamagedArchive where it holds a part of one."""
    try:
        return np.frombuffer(content, dtype).reshape(shape)
    except ValueError:
        raise DamagedArchive("a chunk of an array holds a part of an image") from None


def zips_alike(path: str, spool: BinaryIO) -> bool:
    """Whether an npz file is the zip, byte for byte, that `ArrayWriter` makes of its members. spool: to write it to.

    Raises OSError where that cannot be written, InputError where the file cannot be read any more.
    """
    try:
        with zipfile.ZipFile(path) as archive:
            infos = archive.infolist()
            layouts = [MemberLayout(info.filename, info.compress_type, info.date_time, b"", 1) for info in infos]
            writer = ArrayWriter(spool, True, layouts)
            for info in infos:
                writer.add(archive.read(info))
            writer.close()
    except zipfile.BadZipFile:
        raise InputError(f"{path} changed while it was read: compress again") from None
    size = spool.seek(0, 2)
    spool.seek(0)
    return size == os.path.getsize(path) and all(
        spool.read(READ_BYTES) == read_piece(path, start, min(READ_BYTES, size - start))
        for start in range(0, size, READ_BYTES)
    )
