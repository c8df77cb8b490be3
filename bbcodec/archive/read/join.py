"""Long entries put together from their stretches: tiles of an image, chunks of an array, pieces of other files."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from itertools import islice
from typing import TYPE_CHECKING, Any, BinaryIO

from bbcodec.archive.format.index import Entry
from bbcodec.archive.format.tiles import tile_grid
from bbcodec.archive.read.damage import FREE_BYTES, MOST_TIMES, OF_THE_RUN, as_damage
from bbcodec.errors import DamagedArchive
from bbcodec.images.formats import PIXEL_FORMS

if TYPE_CHECKING:
    from bbcodec.archive.read.decode import Decoded
    from bbcodec.images.npy import MemberLayout
    from bbcodec.images.samples import Samples


def write_long(entry: Entry, skeleton: bytes, results: Iterable[list[Decoded]], stream: BinaryIO) -> None:
    """Write a long entry to a stream that can seek, from what its tasks gave, in order. Raises DamagedArchive."""
    contents = _contents(results)
    try:
        if entry.form in PIXEL_FORMS:
            _write_image(entry, skeleton, contents, stream)
        elif entry.form == "arrays":
            _write_arrays(entry, skeleton, contents, stream)
        else:
            stream.writelines(contents)
    except (OSError, *OF_THE_RUN):
        raise
    except Exception as error:  # a skeleton of a stranger
        raise as_damage(error) from error


def _contents(results: Iterable[list[Decoded]]) -> Iterator[Any]:
    """What was decoded. Raises DamagedArchive where something could not be."""
    for some in results:
        for decoded in some:
            if decoded.damage:
                raise DamagedArchive(decoded.damage)
            yield decoded.content


# --- images ----------------------------------------------------------------------------------------------------------


def join_samples(entry: Entry, results: Iterable[list[Decoded]]) -> Samples:
    """The samples (H, W, C) of an image from what its tasks gave. Raises DamagedArchive."""
    import numpy as np

    return np.concatenate(list(_rows_of_tiles(entry, _contents(results))))


def _write_image(entry: Entry, skeleton: bytes, tiles: Iterator[Samples], stream: BinaryIO) -> None:
    from bbcodec.images.formats.base import Outline
    from bbcodec.images.image_files import join_bands

    outline = Outline(entry.form, entry.sample_format, entry.width, entry.height, skeleton)
    join_bands(outline, _rows_of_tiles(entry, tiles), stream)


def _rows_of_tiles(entry: Entry, tiles: Iterator[Samples]) -> Iterator[Samples]:
    """The tiles of an image joined to bands, each a row of tiles."""
    import numpy as np

    rows, columns = tile_grid(entry.width, entry.height, entry.n_tiles)
    for _ in range(rows):
        yield np.concatenate(list(islice(tiles, columns)), axis=1)


# --- arrays ----------------------------------------------------------------------------------------------------------


def member_layouts(entry: Entry, skeleton: bytes) -> tuple[bool, list[MemberLayout]]:
    """Whether an array file is a zip, and how its members are put together. Raises DamagedArchive."""
    from bbcodec.images.npy import MemberLayout, unpack_members, usual_header

    if entry.skeleton:
        return unpack_members(skeleton)
    header = usual_header(entry.plane_layout, entry.size, entry.height, entry.width)
    return False, [MemberLayout("", 0, (), header, len(entry.content))]


def _write_arrays(entry: Entry, skeleton: bytes, contents: Iterable[bytes], stream: BinaryIO) -> None:
    from bbcodec.images.array_files import ArrayWriter

    start = stream.tell()
    limit = MOST_TIMES * entry.size + FREE_BYTES if entry.skeleton else entry.size
    writer = ArrayWriter(stream, *member_layouts(entry, skeleton), limit)
    try:
        for content in contents:
            writer.add(content)
        writer.close()
    except BaseException:
        writer.abandon()
        raise
    if not entry.skeleton and stream.tell() - start != entry.size:
        raise DamagedArchive("an array has another size than its shape")
