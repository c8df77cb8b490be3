"""One function for each half of the work: a task is coded in any process; parts of a large file are joined in one."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from bbcodec.archive.write.array_parts import CodedArrayPart, encode_array, join_array
from bbcodec.archive.write.byte_parts import encode_bytes
from bbcodec.archive.write.coded import CodedFiles
from bbcodec.archive.write.image_storage import encode_images
from bbcodec.archive.write.image_tiles import CodedTile, encode_tile, join_tiles
from bbcodec.archive.write.scan import ScannedEntry
from bbcodec.archive.write.tasks import BytesTask, FileTask, ImageTask, Task, TileTask
from bbcodec.archive.write.whole_files import encode_file
from bbcodec.codec.pool import CodecPool

CodedPart = CodedTile | CodedArrayPart


def encode_task(pool: CodecPool, task: Task) -> CodedFiles | CodedPart:
    """The files of a task, coded, or a part of a large one."""
    if isinstance(task, ImageTask):
        return encode_images(pool, task)
    if isinstance(task, TileTask):
        return encode_tile(pool, task)
    if isinstance(task, FileTask):
        return encode_file(task)
    return encode_bytes(task) if isinstance(task, BytesTask) else encode_array(pool, task)


def join_parts(parts: Sequence[CodedPart], file: ScannedEntry) -> Iterator[CodedFiles]:
    """All parts of a large file, joined: in one result, or in several where the file is kept as bytes after all."""
    tiles = [part for part in parts if isinstance(part, CodedTile)]
    array = [part for part in parts if isinstance(part, CodedArrayPart)]
    return join_tiles(tiles, file) if tiles else join_array(array, file)
