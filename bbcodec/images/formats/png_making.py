"""How the bytes of a PNG's pixels were made: filters of rows, the zlib stream, and the chunks that it was cut into.

With this the very file can be made again from its samples. `docs/format.md` has the layout.
"""

from __future__ import annotations

import struct
import zlib
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Final

import numpy as np

from bbcodec.binary import pack_varint, take_varint
from bbcodec.deflate.recipe import QUICK, Recipe, find_recipe, pack_recipe, remake, take_apart, unpack_recipe
from bbcodec.errors import DamagedArchive
from bbcodec.images.formats.png_filters import N_FILTERS, filtered, filtered_by
from bbcodec.images.samples import Bytes

AROUND: Final = 6  # bytes of a zlib stream before and behind the deflate stream: two, and the Adler-32
MOST_CHUNKS: Final = 2**16
MOST_QUICK_BYTES: Final = 2**23  # of filtered rows whose making is looked for where it need not be known
MOST_MORE: Final = 2**16  # bytes beyond twice those of filtered rows that their stream may have
# How the filters of rows are told: one for all; those of the least sums; each.
ONE, LEAST, EACH = range(3)


@dataclass(frozen=True)
class Making:
    """header: the two bytes of zlib. sizes: bytes of each IDAT chunk. filters: of each row, uint8."""

    header: bytes
    sizes: tuple[int, ...]
    filters: bytes
    recipe: Recipe


def find_making(
    chunks: Sequence[bytes], images: Sequence[Bytes], pixel_bytes: int, *, quick: bool = False
) -> Making | None:
    """How the IDAT chunks of a PNG were made; None where they cannot be made again, or not of these images.

    images: rows of the image or of each of its reduced images. quick: only where that is found and done quickly.
    """
    data = b"".join(chunks)
    size = sum(rows.size + len(rows) for rows in images)
    if len(data) < AROUND or len(chunks) > MOST_CHUNKS or not 0x18 <= data[0] <= 0x78 or data[0] & 15 != 8:
        return None
    if quick and (data[1] >> 6 > QUICK or size > MOST_QUICK_BYTES):
        return None
    stream = data[2:-4]
    taken = take_apart(stream, size)
    if taken is None or struct.pack(">I", zlib.adler32(taken.content.data)) != data[-4:]:
        return None
    filters, at = [], 0
    for rows in images:
        filters.append(taken.content[at : at + rows.size + len(rows) : 1 + rows.shape[1]].tobytes())
        at += rows.size + len(rows)
    if not np.array_equal(_content(b"".join(filters), images, pixel_bytes), taken.content):
        return None
    recipe = find_recipe(stream, taken, data[:2], quick=quick)
    return None if recipe is None else Making(data[:2], tuple(map(len, chunks)), b"".join(filters), recipe)


def _content(told: bytes, images: Sequence[Bytes], pixel_bytes: int) -> Bytes:
    """What is compressed of rows of the image or its reduced images: each with its filter, and filtered."""
    filters = np.frombuffer(told, np.uint8)
    parts, at = [], 0
    for rows in images:
        parts.append(filtered_by(rows, filters[at : at + len(rows)], pixel_bytes).ravel())
        at += len(rows)
    return np.concatenate(parts)


def made_again(making: Making, images: Sequence[Bytes], pixel_bytes: int) -> list[bytes]:
    """The data of the IDAT chunks, from rows of the image or its reduced images. Raises DamagedArchive."""
    content = _content(making.filters, images, pixel_bytes)
    total = sum(making.sizes)
    if total > 2 * len(content) + MOST_MORE:
        raise DamagedArchive("a PNG of the archive has pixels of more bytes than any zlib makes of them")
    data = (
        making.header + remake(content, making.recipe, total - AROUND) + struct.pack(">I", zlib.adler32(content.data))
    )
    if len(data) != total:
        raise DamagedArchive("a PNG of the archive has pixels of another length than is said")
    edges = np.cumsum([0, *making.sizes]).tolist()
    return [data[start:end] for start, end in pairwise(edges)]


def pack_making(making: Making, least: bytes) -> bytes:
    """The bytes of a making. least: the filters of least sums."""
    sizes, filters = making.sizes, making.filters
    even = len(sizes) > 1 and _even(sizes[0], sum(sizes)) == sizes
    listed = sizes if len(sizes) > 1 and not even else (sum(sizes), sizes[0] if even else 0)
    out = [making.header, pack_varint(len(sizes) if listed is sizes else 0), *map(pack_varint, listed)]
    if filters.count(filters[0]) == len(filters):
        out.append(bytes([ONE, filters[0]]))
    else:
        out.append(bytes([LEAST]) if filters == least else bytes([EACH]) + filters)
    return b"".join(out) + pack_recipe(making.recipe)


def unpack_making(data: bytes, least: bytes) -> Making:
    """A making that fills some bytes. least: the filters of least sums. Raises DamagedArchive."""
    count, at = take_varint(data, 2)
    if count > MOST_CHUNKS:
        raise DamagedArchive("a PNG of the archive has too many chunks of pixels")
    listed = []
    for _ in range(count or 2):
        number, at = take_varint(data, at)
        listed.append(number)
    sizes = tuple(listed) if count else _even(listed[1] or listed[0], listed[0])
    told, filters = data[at : at + 1], least
    at += 1
    if told == bytes([ONE]):
        filters, at = data[at : at + 1] * len(least), at + 1
    elif told == bytes([EACH]):
        filters, at = data[at : at + len(least)], at + len(least)
    recipe, at = unpack_recipe(data, at)
    known = told in (bytes([ONE]), bytes([LEAST]), bytes([EACH])) and max(filters, default=0) < N_FILTERS
    if not known or len(filters) != len(least) or at != len(data) or sum(sizes) < AROUND:
        raise DamagedArchive("a PNG of the archive is not said how to be made")
    return Making(data[:2], sizes, filters, recipe)


def least_filters(images: Sequence[Bytes], pixel_bytes: int) -> bytes:
    """The filters of least sums, of each row of the image or its reduced images."""
    return b"".join(filtered(rows, np.zeros_like(rows[0]), pixel_bytes)[:, 0].tobytes() for rows in images)


def _even(size: int, total: int) -> tuple[int, ...]:
    """Chunks of one size but for the last. Raises DamagedArchive for too many."""
    if not size or total > size * MOST_CHUNKS:
        raise DamagedArchive("a PNG of the archive has too many chunks of pixels")
    full, rest = divmod(total, size)
    return (size,) * full + ((rest,) if rest else ())
