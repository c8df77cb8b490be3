"""What an archive holds, read from its index; of a manifest, what all its shards hold, as if they were one archive."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from bbcodec.archive.format.chunks import Chunk
from bbcodec.archive.format.container import ContainerReader, ManifestFound
from bbcodec.archive.format.index import CodecRecord, Directory, Entry, check_entry_names
from bbcodec.archive.format.shards import MAX_MANIFEST_BYTES, Shard, beside, unpack_manifest
from bbcodec.errors import BBCodecError, DamagedArchive
from bbcodec.remote import is_url, open_readable


@dataclass(frozen=True)
class Contents:
    """The directory of an archive, and its bytes. paths: of the archives that its chunks lie in.

    rebuilt: why files may be missing, in one line: its index was put together from directory chunks, or shards are
    missing. damage: that, or what is wrong with a header, which costs nothing.
    """

    directory: Directory
    size: int
    paths: Sequence[str | Path]
    rebuilt: str = ""
    damage: str = ""


def read_contents(path: str | Path) -> Contents:
    """What an archive holds, or the shards of a manifest.

    Raises OSError, NotAnArchive, DamagedArchive, UnsupportedVersion or UnsafePath.
    """
    with open_readable(path, anew=True) as stream:
        try:
            reader = ContainerReader(stream)
        except ManifestFound:
            stream.seek(0)
            data = stream.read(MAX_MANIFEST_BYTES + 1)
        else:
            return Contents(reader.directory, stream.seek(0, os.SEEK_END), [path], reader.rebuilt, reader.damage)
    shards = unpack_manifest(data)
    found, wrong, damage = [], [], []
    for shard in shards:
        try:
            reader = _open_shard(beside(path, shard.name), shard)
        except (BBCodecError, OSError) as error:
            why = error.strerror if isinstance(error, OSError) else str(error)
            wrong.append(f"shard {shard.name} is lost ({why}), and its {shard.files:,} files with it")
        else:
            found.append((shard, reader))
            wrong += [f"shard {shard.name}: {reader.rebuilt}"] if reader.rebuilt else []
            damage += [f"shard {shard.name}: {reader.damage}"] if reader.damage else []
    if not found:
        raise DamagedArchive(f"none of its {len(shards):,} shards is whole: the first {wrong[0]}")
    more = f"; {len(wrong) - 1} more shards are damaged" if len(wrong) > 1 else ""
    rebuilt = wrong[0] + more if wrong else ""
    size = len(data) + sum(shard.size for shard, _ in found)
    paths = [beside(path, shard.name) for shard, _ in found]
    return Contents(_joined(found), size, paths, rebuilt, rebuilt or "; ".join(damage))


def _open_shard(path: str | Path, shard: Shard) -> ContainerReader:
    """The archive of a shard. Raises DamagedArchive where it is another, and as `read_contents`."""
    if not is_url(path) and os.path.exists(path) and not os.path.isfile(path):
        raise DamagedArchive("it is no file")  # opening a pipe would wait for ever
    with open_readable(path, anew=True) as stream:
        reader = ContainerReader(stream)
        size = stream.seek(0, os.SEEK_END)
    same = reader.digest == shard.digest and size == shard.size
    if not (shard.id in reader.ids if reader.rebuilt else same):
        raise DamagedArchive("it is another archive than the manifest names")
    return reader


def _joined(found: Sequence[tuple[Shard, ContainerReader]]) -> Directory:
    """The directories of shards as one; of folders of one name the first. Raises DamagedArchive for other names that
    two shards hold.
    """
    files, codecs = list[Entry](), dict[bytes, CodecRecord]()
    chunks, needs = list[Chunk](), dict[str, None]()
    folders = set[bytes]()
    for shard, reader in found:
        first = len(chunks)
        own = [file for file in reader.directory.files if file.form != "folder" or file.name not in folders]
        folders.update(file.name for file in own if file.form == "folder")
        files += [file.moved(first) for file in own]
        chunks += [replace(chunk, shard=shard.name) for chunk in reader.directory.chunks]
        needs |= dict.fromkeys(reader.directory.needs)
        for record in _moved(reader.directory.codecs, first):
            known = codecs.get(record.digest)
            if known is None or known.chunk is None:
                codecs[record.digest] = record
    files.sort(key=lambda file: file.name)
    check_entry_names(files)
    return Directory(files, list(codecs.values()), chunks, sorted(needs))


def _moved(codecs: Sequence[CodecRecord], by: int) -> Iterator[CodecRecord]:
    for record in codecs:
        yield record if record.chunk is None else replace(record, chunk=record.chunk + by)
