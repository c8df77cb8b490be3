"""From chunks to entries: the work on one task, in any process."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Any, Final

from bbcodec.archive.format.chunks import BYTES, LEARNED, Chunk, SheetBody, read_chunk, unpack_bytes
from bbcodec.archive.format.index import Entry
from bbcodec.archive.read.archive_file import ResolvedPlace
from bbcodec.archive.read.damage import OF_THE_RUN, as_damage, check_size
from bbcodec.archive.read.kept_chunks import ChunkImages, KeptChunks
from bbcodec.archive.read.tasks import ResolvedEntry, StretchTask, Task
from bbcodec.binary import take_varint
from bbcodec.codec.message import LearnedMessage
from bbcodec.codec.pool import CodecPool, pixel_bytes, pixel_digest
from bbcodec.errors import BadCodecFile, DamagedArchive, InexactArithmetic, InputError, MissingCodec, MissingPackage
from bbcodec.images.codings import FILE_CODINGS, coding_named, file_coding
from bbcodec.images.codings.base import FileFacts
from bbcodec.images.formats import PIXEL_FORMS
from bbcodec.images.image_files import Picture, join_image, palette
from bbcodec.images.planes import PlaneShape, from_planes, plane_shapes
from bbcodec.images.samples import Samples

COPIES: Final = 4  # of the content of a chunk, in memory while it is decoded
CONTENT_SIZE_AT: Final = 9  # in a `B` chunk, after digest and method
MAX_CHANNELS: Final = 3  # of a learned chunk's images


@dataclass(frozen=True)
class Decoded:
    """A decoded entry or stretch: bytes, or the samples (h, w, C) of a tile; or what is wrong with it."""

    content: Any
    damage: str = ""


def decode_task(pool: CodecPool, task: Task) -> list[Decoded]:
    """The entries or the stretch of a task. Damage is reported, not raised: other entries go on."""
    reader = _ChunkReader(pool, task.path)
    if isinstance(task, StretchTask):
        return [_attempt(partial(_decode_stretch, reader, task))]
    return [_attempt(partial(_decode_whole, reader, one, task.restore)) for one in task.entries]


def decode_part(pool: CodecPool, path: str, place: ResolvedPlace) -> bytes:
    """A part of a `B` chunk. Raises DamagedArchive."""
    return _ChunkReader(pool, path).part(place)


def _attempt(decode: Callable[[], Any]) -> Decoded:
    try:
        return Decoded(decode())
    except MissingPackage as error:  # which others may not need
        return Decoded(b"", str(error))
    except OF_THE_RUN:
        raise
    except Exception as error:  # whatever it is: a stranger may have written this entry, and others go on
        return Decoded(b"", str(as_damage(error)))


def _decode_whole(reader: _ChunkReader, resolved: ResolvedEntry, restore: bool) -> bytes:
    """The bytes of an entry; only checked, and empty, unless they are to be restored."""
    entry = resolved.entry
    check_size(entry)
    if entry.form in FILE_CODINGS:
        return reader.file(entry, resolved.content[0])
    if entry.form not in PIXEL_FORMS:
        return b"".join(map(reader.part, resolved.content))
    samples, skeleton = _decode_samples(reader, resolved, entry.height, entry.width)
    return join_image(Picture(entry.form, entry.sample_format, samples, skeleton)) if restore else b""


def _decode_stretch(reader: _ChunkReader, task: StretchTask) -> bytes | Samples:
    """The samples of a tile, or bytes; only checked, and empty, unless they are to be restored."""
    content: bytes | Samples
    check_size(task.stretch.entry)
    if task.stretch.entry.form in PIXEL_FORMS:
        content, _ = _decode_samples(reader, task.stretch, task.height, task.width)
    else:
        (place,) = task.stretch.content
        content = reader.part(place) if place.chunk.type == BYTES else pixel_bytes(reader.images(place.chunk).pixels)
    return content if task.restore else b""


def _decode_samples(reader: _ChunkReader, resolved: ResolvedEntry, height: int, width: int) -> tuple[Samples, bytes]:
    """The samples (height, width, C) of an image or a tile, and the skeleton."""
    entry, places = resolved.entry, resolved.content
    skeleton = reader.part(resolved.skeleton) if resolved.skeleton else b""
    colours = palette(entry.form, entry.sample_format, skeleton)
    shapes = plane_shapes(entry.sample_format, entry.plane_layout, 0 if colours is None else colours.shape[1])
    if len(shapes) != len(places):
        raise DamagedArchive("an image has another number of planes than its sample format")
    planes = [reader.plane(place, height, width, shape) for place, shape in zip(places, shapes, strict=True)]
    return from_planes(planes, entry.sample_format, entry.plane_layout, colours), skeleton


def plane_of(
    images: ChunkImages, chunk_type: str, position: int, height: int, width: int, shape: PlaneShape
) -> Samples:
    """The plane (height, width, C) that an image of an `L` or `S` chunk is. Raises DamagedArchive if it is another."""
    fits = images.pixels.shape[1:] == (height, width, shape.channels) and position < len(images.pixels)
    levels = shape.levels if chunk_type == LEARNED else max(shape.levels, 256)
    if not fits or images.levels != levels:
        raise DamagedArchive("a chunk holds other images than the index says")
    image: Samples = images.pixels[position]
    return image


class _ChunkReader:
    """Chunks of an archive, as one process reads them."""

    def __init__(self, pool: CodecPool, path: str) -> None:
        self._pool, self._path, self._kept = pool, path, KeptChunks.of(pool.kept)

    def part(self, place: ResolvedPlace) -> bytes:
        """The bytes of a part. Raises DamagedArchive."""
        content = self._content(place.chunk)
        if not isinstance(content, bytes) or len(content) != place.size:
            raise DamagedArchive("the parts of a chunk do not add up to its content")
        return content[place.offset : place.offset + place.length]

    def file(self, entry: Entry, place: ResolvedPlace) -> bytes:
        """The file that a part is, coded as a whole. Raises DamagedArchive, LimitExceeded or MissingPackage."""
        facts = FileFacts(entry.size, entry.width, entry.height)
        self._pool.limits.check_memory(facts.memory, f"an image of {self._path}")
        return file_coding(place.coding, entry.form).decode_file(self.part(place), facts)

    def images(self, chunk: Chunk) -> ChunkImages:
        """The images of an `L` or `S` chunk. Raises DamagedArchive."""
        content = self._content(chunk)
        if isinstance(content, bytes):
            raise DamagedArchive("a chunk holds bytes where images are expected")
        return content

    def plane(self, place: ResolvedPlace, height: int, width: int, shape: PlaneShape) -> Samples:
        """The plane (height, width, C) at a place. Raises DamagedArchive unless it has this shape."""
        if place.chunk.type == BYTES:
            data = self.part(place)
            return coding_named(place.coding).decode(data, (height, width, shape.channels), shape.levels)
        return plane_of(self.images(place.chunk), place.chunk.type, place.position, height, width, shape)

    def _content(self, chunk: Chunk) -> bytes | ChunkImages:
        return self._kept.content((self._path, chunk), partial(self._decode, chunk))

    def _decode(self, chunk: Chunk) -> bytes | ChunkImages:
        try:
            body = read_chunk(self._path, chunk)
        except OSError as error:
            raise InputError(f"{self._path} cannot be read: {error.strerror}") from None
        try:
            return unpack_chunk(self._pool, chunk.type, body, self._path)
        except MissingCodec:
            raise  # of a package that is not installed
        except (BadCodecFile, InexactArithmetic) as error:
            if not self._from_archive(body[:4]):
                raise
            raise as_damage(error) from None
        except Exception as error:
            raise as_damage(error) from error

    def _from_archive(self, codec_id: bytes) -> bool:
        """Whether a codec is embedded, so that what is wrong with it is wrong with the archive."""
        return any(one.stored_bytes is not None for one in self._pool.sources if one.digest[:4] == codec_id)


def unpack_chunk(pool: CodecPool, chunk_type: str, body: bytes, path: str) -> bytes | ChunkImages:
    """The content of a chunk of files, checked against its digest. path: of its archive, for errors.

    Raises DamagedArchive, LimitExceeded, and what codecs raise.
    """

    def check_memory(content_bytes: int) -> None:
        pool.limits.check_memory(COPIES * content_bytes, f"a chunk of {path}")

    if chunk_type == BYTES:
        check_memory(take_varint(body, CONTENT_SIZE_AT)[0])
        return unpack_bytes(body)
    if chunk_type == LEARNED:
        message = LearnedMessage.unpack(body)
        check_memory(MAX_CHANNELS * message.count * message.height * message.width)
        source, pixels = pool.decode(message)
        return ChunkImages(pixels, source.levels)
    sheet = SheetBody.unpack(body)
    shape = sheet.count, sheet.height, sheet.width, sheet.channels
    coding = coding_named(sheet.coding)
    check_memory(math.prod(shape) * (4 if "uint16" in coding.sheet_types else 1))
    pixels = coding.decode_sheet(sheet.stream, shape)
    if pixel_digest(pixels) != sheet.digest:
        raise DamagedArchive("a chunk decodes to other pixels than were stored: its digest differs")
    return ChunkImages(pixels, 2 ** (8 * pixels.itemsize))
