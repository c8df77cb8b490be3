"""Very large sets as several archives and a manifest, which is opened like one archive."""

from __future__ import annotations

import os
import re
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from dataclasses import fields, replace
from pathlib import Path

from bbcodec.archive.format.container import ContainerReader
from bbcodec.archive.format.shards import Shard, beside, check_shard_name, pack_manifest, shard_names
from bbcodec.archive.summary import Summary
from bbcodec.archive.write.scan import Scan, ScannedEntry
from bbcodec.atomic_files import new_file
from bbcodec.errors import InputError, UnsafePath
from bbcodec.options import PathLike
from bbcodec.remote import check_output, file_system, is_url, local_output, located

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
                shards.append(_described(name, local))
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


def _described(name: str, path: Path) -> Shard:
    """What a manifest says of an archive."""
    with open(path, "rb") as stream:
        reader = ContainerReader(stream)
        size = stream.seek(0, os.SEEK_END)
    files = sum(entry.form != "folder" for entry in reader.directory.files)
    return Shard(name, size, reader.digest, reader.ids[0], files)


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
