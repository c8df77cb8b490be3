"""Several archives and a manifest, which is opened like one archive: of a very large set, or of separate jobs."""

from __future__ import annotations

import os
import re
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import fields, replace
from pathlib import Path

from bbcodec.archive.format.container import ContainerReader
from bbcodec.archive.format.index import Entry
from bbcodec.archive.format.names import check_names, printable
from bbcodec.archive.format.shards import (
    MANIFEST_MAGIC,
    MAX_MANIFEST_BYTES,
    Shard,
    beside,
    check_shard_name,
    name_of,
    pack_manifest,
    shard_names,
    unpack_manifest,
)
from bbcodec.archive.summary import Summary
from bbcodec.archive.write.scan import Scan, ScannedEntry
from bbcodec.atomic_files import new_file
from bbcodec.errors import BBCodecError, DamagedArchive, InputError, UnsafePath
from bbcodec.options import PathLike
from bbcodec.remote import check_output, file_system, is_url, local_output, located, open_readable

WriteArchive = Callable[[Scan, Path], Summary]


def write_shards(
    found: Scan, output: PathLike, manifest: Path, shard_bytes: int, force: bool, write: WriteArchive
) -> Summary:
    """Write what was found as archives beside `output`, each of files of up to `shard_bytes` in all, or of one.

    Last comes the manifest. write: makes an archive of a part of what was found. Where this fails, shards go again.
    Raises InputError, TargetExists, OutputError, and what `write` raises.
    """
    if shard_bytes < 1:
        raise InputError(f"shard_size: expected bytes, at least 1, got {shard_bytes}")
    groups = list(_groups(_without_shards(found.entries, output), shard_bytes))
    names = shard_names(os.fspath(output), len(groups))
    try:
        check_shard_name(names[0])
    except UnsafePath:
        raise InputError(f"{names[0]!r} cannot be the name of a shard: give the archive a plainer name") from None
    places = [beside(located(output), name) for name in names]
    for place in (output, *places):
        check_output(place, force)
    shards, summaries = list[Shard](), [Summary(skipped=list(found.skipped))]
    written: list[str | Path] = []
    try:
        for name, place, group in zip(names, places, groups, strict=True):
            with local_output(place, force=force) as local:
                summaries.append(write(replace(found, entries=group, skipped=[]), local))
                shards.append(_described(name, local)[0])
            written.append(place)
        data = pack_manifest(shards)
        with new_file(manifest, force) as (_, stream):
            stream.write(data)
    except BaseException:
        for place in written:
            _remove(place)
        raise
    return _sum(summaries, len(data))


def _groups(entries: Sequence[ScannedEntry], most: int) -> Iterator[list[ScannedEntry]]:
    """Entries in the order of their names, cut so that the files of each group have at most so many bytes."""
    group, total = list[ScannedEntry](), 0
    for entry in entries:
        if group and total + entry.size > most:
            yield group
            group, total = [], 0
        group.append(entry)
        total += entry.size
    yield group


def _without_shards(entries: Sequence[ScannedEntry], output: PathLike) -> list[ScannedEntry]:
    """The entries but for shards of an earlier archive in place of `output`."""
    if is_url(output):
        return list(entries)
    stem, suffix = os.path.splitext(os.path.realpath(output))
    shard = re.compile(f"{re.escape(stem)}-[0-9]{{5,}}{re.escape(suffix)}")
    return [entry for entry in entries if not shard.fullmatch(entry.path)]


def _described(name: str, path: str | Path) -> tuple[Shard, list[Entry]]:
    """What a manifest says of an archive, and its entries. Raises DamagedArchive, and as `ContainerReader`."""
    with open_readable(path, anew=True) as stream:
        reader = ContainerReader(stream)
        size = stream.seek(0, os.SEEK_END)
    if reader.damage:
        raise DamagedArchive(reader.damage)
    files = sum(entry.form != "folder" for entry in reader.directory.files)
    return Shard(name, size, reader.digest, reader.ids[0], files), reader.directory.files


def _remove(place: str | Path) -> None:
    with suppress(Exception):
        if is_url(place):
            system, path = file_system(str(place))
            system.rm_file(path)
        else:
            os.unlink(place)


def _sum(summaries: Sequence[Summary], manifest_bytes: int) -> Summary:
    """The summaries of shards as one; each codec is named once."""
    total = Summary(archive_bytes=manifest_bytes)
    how: Counter[str] = Counter()
    for one in summaries:
        how.update(one.how)
        for field in fields(Summary):
            if field.name not in ("how", "codecs"):
                setattr(total, field.name, getattr(total, field.name) + getattr(one, field.name))
    total.how = dict(sorted(how.items()))
    total.codecs = list(dict.fromkeys(name for one in summaries for name in one.codecs))
    total.skipped = list(dict.fromkeys(total.skipped))
    return total


# --- archives that are there -----------------------------------------------------------------------------------------


def join_archives(archives: Sequence[PathLike], output: PathLike, *, force: bool = False) -> list[Shard]:
    """Write a manifest `output` of archives in its folder, which is then opened like one archive. Its shards.

    Archives that several jobs made, say: they stay where they are, and what they say. Of a manifest its shards are
    taken. No two may hold a file of one name; of folders of one name the first counts.

    Raises InputError, NotAnArchive, DamagedArchive, UnsupportedVersion, UnsafePath, TargetExists or OutputError.
    """
    if not archives:
        raise InputError("nothing to join: no archive was given")
    check_output(output, force)
    shards: dict[str, Shard] = {}
    held: dict[bytes, tuple[str, bool]] = {}  # by name the shard, and whether it is a folder
    for path in archives:
        for name, place in _archives_at(path, output):
            if name in shards:
                raise InputError(f"{place} is given twice")
            with _telling(place):
                shards[name], entries = _described(name, place)
            for entry in entries:
                other, was_folder = held.setdefault(entry.name, (name, entry.form == "folder"))
                if other != name and not (was_folder and entry.form == "folder"):
                    raise InputError(f"{other} and {name} both hold {printable(entry.name)}: compress one anew without")
    if name_of(output) in shards:
        raise InputError(f"{output} is one of the archives: give the manifest a name of its own")
    try:
        check_names(sorted((name, folder) for name, (_, folder) in held.items()))
    except DamagedArchive as error:
        raise InputError(f"these archives cannot be one: {error}") from None
    data = pack_manifest(shards.values())
    if len(data) > MAX_MANIFEST_BYTES:
        raise InputError(f"{len(shards):,} archives are more than a manifest names")
    with local_output(output, force=force) as local, new_file(local, force) as (_, stream):
        stream.write(data)
    return list(shards.values())


def _archives_at(path: PathLike, output: PathLike) -> Iterator[tuple[str, str | Path]]:
    """The name and the place of an archive, or of the shards of a manifest. Raises InputError for other folders."""
    place = located(path)
    names = [name_of(path)]
    with _telling(place):
        with open_readable(place, anew=True) as stream:
            data = stream.read(MAX_MANIFEST_BYTES + 1) if stream.read(8) == MANIFEST_MAGIC else b""
        if data:
            names = [shard.name for shard in unpack_manifest(MANIFEST_MAGIC + data)]
        else:
            check_shard_name(names[0])
    for name in names:
        found, wanted = (os.fspath(beside(located(one), name)) for one in (path, output))
        if found != wanted and (is_url(path) or is_url(output) or _folder(found) != _folder(wanted)):
            raise InputError(f"{found} does not lie in the folder of {output}, where a manifest looks for it")
        yield name, beside(place, name)


def _folder(path: str) -> str:
    return os.path.realpath(os.path.dirname(path))


@contextmanager
def _telling(place: str | Path) -> Iterator[None]:
    """Errors of the body name what is read."""
    try:
        yield
    except BBCodecError as error:
        raise type(error)(f"{place}: {error}") from None
    except OSError as error:
        raise InputError(f"{place} cannot be read: {error.strerror}") from None
