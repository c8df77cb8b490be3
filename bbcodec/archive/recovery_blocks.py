"""Recovery blocks written behind an archive, and used to make a damaged one whole.

The arithmetic is that of zfec, an optional package: archives are read and verified without it.
"""

from __future__ import annotations

import zlib
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType
from typing import BinaryIO

from bbcodec.archive.format.header import HEADER_BYTES
from bbcodec.archive.format.journal import take_back
from bbcodec.archive.format.parity import (
    Layout,
    ParityBlock,
    archive_end,
    find_parity_blocks,
    pack_trailer,
)
from bbcodec.atomic_files import new_file
from bbcodec.errors import DamagedArchive, InputError
from bbcodec.images.codings.base import required
from bbcodec.options import PathLike
from bbcodec.remote import is_url, local_output, open_readable

COPY_BYTES = 2**20


@dataclass(frozen=True)
class Repaired:
    """What repairing did: how many blocks the archive and its recovery blocks have, and how many were made whole.

    taken_back: whether a run that was appending to it had been killed; blocks are then not looked at.
    """

    blocks: int
    mended: int
    taken_back: bool = False


def require_zfec() -> ModuleType:
    """The package zfec. Raises MissingPackage where it is not installed."""
    return required("zfec", "zfec", "recovery data")


def add_recovery(stream: BinaryIO, percent: int) -> None:
    """Append recovery blocks to the archive that fills a stream: `percent`, 1 to 100, of it may be lost, about.

    Raises MissingPackage without zfec.
    """
    _write_parity(stream, Layout.of(stream.seek(0, 2), percent))


def _write_parity(stream: BinaryIO, layout: Layout) -> None:
    zfec = require_zfec()
    stream.seek(0)
    header = stream.read(HEADER_BYTES)
    for group in range(layout.n_groups):
        data = _read_group(stream, layout, group)
        numbers = range(len(data), len(data) + layout.n_parity)
        parity = zfec.Encoder(len(data), len(data) + layout.n_parity).encode(data, tuple(numbers))
        crcs = tuple(map(zlib.crc32, data))
        for number, one in enumerate(parity):
            stream.seek(layout.parity_start(group, number))
            stream.write(ParityBlock(layout, header, group, number, crcs, bytes(one)).pack())
    stream.seek(0, 2)
    stream.write(pack_trailer(layout.archive_bytes))


def _read_group(stream: BinaryIO, layout: Layout, group: int) -> list[bytes]:
    """The data blocks of a group, filled with zeros where the file or the archive ends."""
    blocks = []
    for number in range(group, layout.n_blocks, layout.n_groups):
        start = number * layout.block_bytes
        stream.seek(start)
        data = stream.read(min(layout.block_bytes, layout.archive_bytes - start))
        blocks.append(data.ljust(layout.block_bytes, b"\0"))
    return blocks


# --- repairing -------------------------------------------------------------------------------------------------------


def repair(path: PathLike, output: PathLike | None = None, *, force: bool = False) -> Repaired:
    """Make a damaged archive whole from its recovery blocks: as it was, bit for bit, in `output` or in its own place.

    In its own place, what a killed run was appending is taken back instead.

    Raises InputError, DamagedArchive where more is lost than they make up for (then nothing is written), TargetExists,
    OutputError, or MissingPackage without zfec.
    """
    in_place = output is None
    if in_place and not is_url(path) and take_back(Path(path)):
        return Repaired(0, 0, taken_back=True)
    try:
        with open_readable(path, anew=True) as stream:
            found = _survey(stream, str(path))
            whole = not found.mended and stream.seek(0, 2) == found.layout.file_bytes
            if not (whole and in_place):
                with (
                    local_output(path if output is None else output, force=force or in_place) as target,
                    new_file(target, force or in_place) as (_, repaired),
                ):
                    _write_repaired(stream, found, repaired)
    except OSError as error:
        raise InputError(f"{path} cannot be read: {error.strerror or error}") from None
    return Repaired(found.layout.n_blocks + found.layout.n_groups * found.layout.n_parity, found.mended)


def damaged_blocks(path: PathLike) -> int:
    """How many blocks of an archive, and of the recovery blocks that it says it has, are damaged.

    Raises DamagedArchive where they are too many to be made whole, or InputError.
    """
    try:
        with open_readable(path) as stream:
            size = stream.seek(0, 2)
            return 0 if archive_end(stream, size) == size else _survey(stream, str(path)).mended
    except OSError as error:
        raise InputError(f"{path} cannot be read: {error.strerror or error}") from None


@dataclass(frozen=True)
class _Survey:
    """What is left. lost: by group the places in it of data blocks that are not whole."""

    layout: Layout
    header: bytes
    parity: dict[int, list[ParityBlock]]
    lost: dict[int, list[int]]
    mended: int


def _survey(stream: BinaryIO, name: str) -> _Survey:
    """Which blocks are whole. Raises DamagedArchive where too few are."""
    parity: dict[int, list[ParityBlock]] = defaultdict(list)
    first: ParityBlock | None = None
    for block in find_parity_blocks(stream):
        first = first or block
        if (block.layout, block.header) == (first.layout, first.header):
            parity[block.group].append(block)
    if first is None:
        raise DamagedArchive(f"{name} has no recovery blocks, or none is left: --recovery of compress adds them")
    layout, lost = first.layout, {}
    for group in range(layout.n_groups):
        if group not in parity:
            raise DamagedArchive(f"{name} is beyond repair: all {layout.n_parity} recovery blocks of a group are lost")
        data = _read_group(stream, layout, group)
        crcs = parity[group][0].crcs
        wrong = [place for place, block in enumerate(data) if zlib.crc32(block) != crcs[place]]
        if len(wrong) > len(parity[group]):
            raise DamagedArchive(
                f"{name} is beyond repair: {len(wrong)} blocks of a group are lost, and {len(parity[group])} recovery "
                "blocks are left; decompress restores the files that are whole"
            )
        if wrong:
            lost[group] = wrong
    missing = layout.n_groups * layout.n_parity - sum(map(len, parity.values()))
    return _Survey(layout, first.header, dict(parity), lost, missing + sum(map(len, lost.values())))


def _write_repaired(stream: BinaryIO, found: _Survey, target: BinaryIO) -> None:
    """Copy the archive, put in what was lost, and write all recovery blocks anew."""
    layout = found.layout
    stream.seek(0)
    left = layout.archive_bytes
    while left > 0 and (some := stream.read(min(COPY_BYTES, left))):
        target.write(some)
        left -= len(some)
    target.seek(layout.archive_bytes)  # what the source lacks is among what was lost
    for group, places in found.lost.items():
        data = _decoded(_read_group(stream, layout, group), places, found.parity[group])
        for place in places:
            start = (group + place * layout.n_groups) * layout.block_bytes
            target.seek(start)
            target.write(data[place][: layout.archive_bytes - start])
    _write_parity(target, layout)


def _decoded(data: list[bytes], places: Sequence[int], parity: list[ParityBlock]) -> list[bytes]:
    """The data blocks of a group, of which those at `places` are lost."""
    count = len(data)
    numbers = list(range(count))
    blocks = list(data)
    for place, one in zip(places, parity, strict=False):
        numbers[place], blocks[place] = count + one.number, one.parity
    decoder = require_zfec().Decoder(count, count + parity[0].layout.n_parity)
    return [bytes(block) for block in decoder.decode(blocks, numbers)]
