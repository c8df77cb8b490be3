"""Long files put together from their stretches: tiles of an image, chunks of an array, pieces of other files."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import islice
from typing import TYPE_CHECKING, Any, BinaryIO

from bbcodec.archive.format.index import PIXEL_FORMS, Entry, tile_grid
from bbcodec.errors import DamagedArchive

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from bbcodec.archive.read.decode import Decoded
    from bbcodec.images.npy import Recipe


def write_long(file: Entry, skeleton: bytes, results: Iterator[list[Decoded]], stream: BinaryIO) -> None:
    """Write a long file to a stream that can seek, from what its tasks gave, in order. Raises DamagedArchive."""
    from bbcodec.images.npy import ArrayWriter

    start = stream.tell()
    contents = (sound(decoded) for some in results for decoded in some)
    if file.form in PIXEL_FORMS:
        _write_tiles(file, skeleton, contents, stream)
    elif file.form == "arrays":
        writer = ArrayWriter(stream, *recipes_of(file, skeleton))
        try:
            for content in contents:
                writer.add(content)
            writer.close()
        except BaseException:
            writer.abandon()
            raise
        if not file.skeleton and stream.tell() - start != file.size:
            raise DamagedArchive("an array has another size than its shape")
    else:
        stream.writelines(contents)


def recipes_of(file: Entry, skeleton: bytes) -> tuple[bool, list[Recipe]]:
    """Whether an array file is a zip, and how its members are put together. Raises DamagedArchive."""
    from bbcodec.images.npy import Recipe, unpack_recipes, usual_header

    if file.skeleton:
        return unpack_recipes(skeleton)
    return False, [Recipe("", 0, (), usual_header(file.way, file.size, file.height, file.width), len(file.content))]


def sound(decoded: Decoded) -> Any:
    """What was decoded. Raises DamagedArchive where it could not be."""
    if decoded.damage:
        raise DamagedArchive(decoded.damage)
    return decoded.content


def _write_tiles(file: Entry, skeleton: bytes, tiles: Iterator[NDArray[Any]], stream: BinaryIO) -> None:
    """Write an image from its tiles, one row of tiles after another."""
    import numpy as np

    from bbcodec.images import Picture, join_bands, join_image

    rows = bands(file, tiles)
    if file.form == "webp":  # which libwebp writes from memory
        stream.write(join_image(Picture(file.form, file.sample_format, np.concatenate(list(rows)), skeleton)))
    else:
        join_bands(file.form, file.sample_format, file.width, file.height, skeleton, rows, stream)


def bands(file: Entry, tiles: Iterator[NDArray[Any]]) -> Iterator[NDArray[Any]]:
    """The tiles of an image, joined to rows of tiles."""
    import numpy as np

    rows, columns = tile_grid(file.width, file.height)
    for _ in range(rows):
        yield np.concatenate(list(islice(tiles, columns)), axis=1)
