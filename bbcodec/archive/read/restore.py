"""Entries verified, written to a stream, or restored into a folder."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, BinaryIO

from bbcodec.archive.format.chunks import DIRECTORY
from bbcodec.archive.format.index import Entry
from bbcodec.archive.format.names import link_stays_inside, printable
from bbcodec.archive.read.archive_file import ArchiveFile
from bbcodec.archive.read.damage import error_for, what_is_wrong
from bbcodec.archive.read.join import member_layouts, write_long
from bbcodec.archive.read.target_folder import Stage, check_targets, finish_folder, put_in_place, staging_folder
from bbcodec.archive.read.task_runner import TaskRunner
from bbcodec.archive.read.tasks import Unit, plan_units
from bbcodec.archive.recovery_blocks import damaged_blocks
from bbcodec.atomic_files import sync_folder
from bbcodec.errors import DamagedArchive

if TYPE_CHECKING:
    from bbcodec.archive.read.decode import Decoded

Sink = Callable[[int], AbstractContextManager[BinaryIO]]  # where an entry is written, by its number

SHOWN_NAMES = 10  # of damaged entries, in a message


# --- verifying -------------------------------------------------------------------------------------------------------


def verify_archive(decoder: TaskRunner, numbers: Sequence[int] | None = None) -> None:
    """Decode everything, or entries of these numbers. Raises DamagedArchive with the names of damaged entries, or
    MissingCodec.
    """
    file = decoder.file
    damaged: dict[int, str] = {}
    units = plan_units(file, range(len(file.entries)) if numbers is None else numbers, restore=False)
    results = decoder.everywhere(units, "verifying")
    for unit in units:
        decoded = [one for some in islice(results, len(unit.tasks)) for one in some]
        if not unit.long:
            damaged.update(
                (number, one.damage) for number, one in zip(unit.numbers, decoded, strict=True) if one.damage
            )
            continue
        why = next((one.damage for one in decoded if one.damage), "")
        if why or not _sound_skeleton(decoder, file.entries[unit.numbers[0]]):
            damaged[unit.numbers[0]] = why or "its skeleton is damaged"
    if damaged:
        raise error_for(damaged.values())(f"{file.path}: {_damage(file, damaged)}")
    for record in file.codecs:
        decoder.codecs.embedded(record)
    for chunk in file.directory.chunks:
        if chunk.type == DIRECTORY:
            file.body(chunk)
    if file.rebuilt:
        raise DamagedArchive(
            f"{file.path}: {file.rebuilt}; the {_n_files(file)} files that its chunks name are whole: decompress them, "
            "see whether any are missing, and compress them again"
        )
    if file.damage:
        raise DamagedArchive(f"{file.path}: {file.damage}; its {_n_files(file)} files are whole: compress them again")
    blocks = sum(map(damaged_blocks, file.paths))
    if blocks:
        raise DamagedArchive(f"{file.path}: {blocks} of its recovery blocks are damaged; bbcodec repair renews them")


def _sound_skeleton(decoder: TaskRunner, entry: Entry) -> bool:
    """Whether the skeleton of a long entry is whole, and of an array asks for as many chunks as there are."""
    try:
        skeleton = decoder.skeleton(entry)
        members = member_layouts(entry, skeleton)[1] if entry.form == "arrays" else []
    except DamagedArchive:
        return False
    return entry.form != "arrays" or sum(member.n_chunks for member in members) == len(entry.content)


def _damage(file: ArchiveFile, damaged: Mapping[int, str]) -> str:
    """Which entries are damaged, and what is wrong with the first."""
    names = [printable(file.entries[number].name) for number in sorted(damaged)]
    more = f" and {len(names) - SHOWN_NAMES} more" if len(names) > SHOWN_NAMES else ""
    shown = f"{', '.join(names[:SHOWN_NAMES])}{more} ({damaged[min(damaged)]})"
    what = what_is_wrong(error_for(damaged.values()))
    return f"{len(names)} of {_n_files(file)} files are {what}: {shown}"


def _n_files(file: ArchiveFile) -> int:
    return sum(entry.form != "folder" for entry in file.entries)


# --- writing entries -------------------------------------------------------------------------------------------------


def write_entry(decoder: TaskRunner, number: int, stream: BinaryIO, *, spread: bool) -> None:
    """Write one entry to a stream that can seek; of a large one no more than a few chunks are held in memory.

    spread: over as many processes as are set. Raises LimitExceeded, DamagedArchive or MissingCodec.
    """
    file = decoder.file
    decoder.limits.check_output(file.entries[number].size, file.size)
    units = plan_units(file, [number], restore=True)
    if spread:
        results = decoder.everywhere(units, "decompressing")
    else:
        results = decoder.here(task for unit in units for task in unit.tasks)
    for unit in units:
        damage = write_unit(decoder, unit, results, lambda _: nullcontext(stream))
        if damage:
            name = printable(file.entries[number].name)
            kind = error_for(damage.values())
            raise kind(f"{file.path}: {name} is {what_is_wrong(kind)}: {damage[number]}")


def write_unit(decoder: TaskRunner, unit: Unit, results: Iterator[list[Decoded]], sink: Sink) -> dict[int, str]:
    """Write the entries of a unit from what its tasks gave. Says what is wrong with damaged ones, by number."""
    if unit.long:
        number = unit.numbers[0]
        entry = decoder.file.entries[number]
        try:
            with sink(number) as stream:
                write_long(entry, decoder.skeleton(entry), results, stream)
        except DamagedArchive as error:
            for _ in results:
                pass  # the rest of this entry, which is no longer wanted
            return {number: str(error)}
        return {}
    damage = {}
    for number, decoded in zip(unit.numbers, next(results), strict=True):
        if decoded.damage:
            damage[number] = decoded.damage
        else:
            with sink(number) as stream:
                stream.write(decoded.content)
    return damage


# --- restoring -------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Restored:
    """The numbers of the entries that were restored, and a line on each link that was left out."""

    numbers: list[int]
    skipped: list[str]


def restore_entries(
    decoder: TaskRunner, numbers: Sequence[int], folder: Path, *, force: bool, unsafe_links: bool, fsync: bool = False
) -> Restored:
    """Restore entries into a folder: all are first written to a temporary folder in it, then get their names.

    fsync: all of it is on disk on return. Damaged entries are left out, and named by the DamagedArchive that is raised
    at the end. Raises LimitExceeded, MissingCodec, UnsafePath, TargetExists (also for a file that appeared meanwhile),
    OutputError or DamagedArchive.
    """
    file = decoder.file
    decoder.limits.check_output(sum(file.entries[number].size for number in numbers), file.size)
    check_targets(folder, (file.entries[number] for number in numbers), force)
    with staging_folder(folder, force, fsync) as (target, stage):
        damaged = _stage(decoder, numbers, stage)
        whole = [number for number in numbers if number not in damaged]
        skipped = dict(_links_left_out(file, whole, stage, unsafe_links))
        kept = [number for number in whole if number not in skipped]
        # links last, so that nothing is ever written through one of them
        for number in sorted(kept, key=lambda number: file.entries[number].form == "link"):
            put_in_place(stage, str(number), target, file.entries[number])
        for number in reversed(kept):
            if file.entries[number].form == "folder":
                finish_folder(target, file.entries[number])
        if fsync:
            sync_folder(target.handle)
    if damaged:
        raise error_for(damaged.values())(f"{file.path}: {_damage(file, damaged)}; all others were restored")
    lines = list(skipped.values())
    if file.rebuilt:
        lines.append(f"{file.path}: {file.rebuilt}; restored are the files that its chunks name")
    return Restored(kept, lines)


def _stage(decoder: TaskRunner, numbers: Sequence[int], stage: Stage) -> dict[int, str]:
    """Write entries into `stage`, called by their numbers; says what is wrong with damaged ones, to be left there."""
    damaged: dict[int, str] = {}
    for number in numbers:
        entry = decoder.file.entries[number]
        if entry.form != "folder" and not entry.content:
            stage.open(str(number), "xb").close()
    units = plan_units(decoder.file, numbers, restore=True)
    results = decoder.everywhere(units, "decompressing")
    for unit in units:
        some = islice(results, len(unit.tasks))
        damaged.update(write_unit(decoder, unit, some, lambda number: stage.open(str(number), "w+b")))
    return damaged


def _links_left_out(
    file: ArchiveFile, numbers: Iterable[int], stage: Stage, allowed: bool
) -> Iterator[tuple[int, str]]:
    """The links that are not made, and a line on each: those that lead out, unless allowed, or that cannot be."""
    for number in numbers:
        entry = file.entries[number]
        if entry.form == "link":
            with stage.open(str(number), "rb") as stream:
                goal = stream.read()
            line = f"{printable(entry.name)} links to {printable(goal)}"
            if not goal or b"\0" in goal:
                yield number, f"{line}, which is no path: left out"
            elif not allowed and not link_stays_inside(entry.name, goal):
                yield number, f"{line}, out of the folder: left out (--unsafe-links makes it)"
