"""Manifests: a small file that names the archives, its *shards*, that are read as one (`docs/format.md`)."""

from __future__ import annotations

import os
import struct
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from bbcodec.archive.format.header import ID_BYTES, VERSION
from bbcodec.binary import digest64
from bbcodec.errors import DamagedArchive, UnsafePath, UnsupportedVersion
from bbcodec.remote import is_url

MANIFEST_MAGIC: Final = b"\x89BBM\r\n\x1a\n"
START: Final = MANIFEST_MAGIC + bytes([VERSION])
MAX_MANIFEST_BYTES: Final = 2**24
DIGEST_BYTES: Final = 8
ROW: Final = struct.Struct(f"<Q{DIGEST_BYTES}s{ID_BYTES}sI")  # size, digest of header and index, id, files
ODD: Final = frozenset('/\\:\0"*?<>|#%')  # in a name: a folder, another scheme, or what some system or URL takes apart


@dataclass(frozen=True)
class Shard:
    """An archive of a manifest. digest: of its header and index, as in its footer; id: of its header.

    files: how many files and links it holds.
    """

    name: str
    size: int
    digest: bytes
    id: bytes
    files: int


def pack_manifest(shards: Iterable[Shard]) -> bytes:
    """The bytes of a manifest."""
    rows = []
    for shard in shards:
        check_shard_name(shard.name)
        name = shard.name.encode()
        rows.append(bytes([len(name)]) + name + ROW.pack(shard.size, shard.digest, shard.id, shard.files))
    body = b"".join(rows)
    return START + digest64(START, body) + body


def unpack_manifest(data: bytes) -> list[Shard]:
    """The shards of a manifest, at least one. Raises DamagedArchive, UnsupportedVersion or UnsafePath."""
    if data[: len(START)] != START:
        version = data[len(MANIFEST_MAGIC)] if len(data) > len(MANIFEST_MAGIC) else 0
        raise UnsupportedVersion(f"the manifest is of format {version >> 4}.{version & 15}, which is not read here")
    digest, body = data[len(START) : len(START) + DIGEST_BYTES], data[len(START) + DIGEST_BYTES :]
    if len(data) > MAX_MANIFEST_BYTES or digest64(START, body) != digest:
        raise DamagedArchive("the manifest is damaged: its digest differs")
    shards, at = [], 0
    while at < len(body):
        end = at + 1 + body[at]
        row = body[end : end + ROW.size]
        if len(row) < ROW.size:
            raise DamagedArchive("the manifest is malformed: it ends too early")
        try:
            name = body[at + 1 : end].decode()
        except UnicodeDecodeError:
            raise DamagedArchive("the manifest holds a name that is not UTF-8") from None
        check_shard_name(name)
        shards.append(Shard(name, *ROW.unpack(row)))
        at = end + ROW.size
    if not shards or len({shard.name for shard in shards}) < len(shards):
        raise DamagedArchive("the manifest names no shards, or one of them twice")
    return shards


def check_shard_name(name: str) -> None:
    """Raise UnsafePath unless a name is that of a file in the manifest's folder, on every system and in every URL."""
    if name in ("", ".", "..") or ODD & set(name) or not name.isprintable() or len(name.encode()) > 255:
        raise UnsafePath(f"the manifest names {name!r}, which may lie outside its folder: refused")


def beside(path: str | Path, name: str) -> str | Path:
    """The path, or URL, of a file in the folder of another.

    >>> beside("s3://bucket/in/out.bb", "out-00001.bb"), beside("zip://out.bb::https://host/a.zip", "b.bb")
    ('s3://bucket/in/out-00001.bb', 'zip://b.bb::https://host/a.zip')
    """
    if not is_url(path):
        return Path(path).parent / name
    links = str(path).split("::")
    place = next(number for number, link in enumerate(links) if "://" in link)
    links[place] = f"{links[place].rpartition('/')[0]}/{name}"
    return "::".join(links)


def name_of(path: str | os.PathLike[str]) -> str:
    """The name of a file, or of what is at a URL, in its folder.

    >>> name_of("in/a.bb"), name_of("zip://b.bb::https://host/a.zip")
    ('a.bb', 'b.bb')
    """
    if not is_url(path):
        return Path(path).name
    return next(link for link in str(path).split("::") if "://" in link).rpartition("/")[2]


def shard_names(path: str | os.PathLike[str], count: int) -> Sequence[str]:
    """What the shards of a manifest are called.

    >>> shard_names("in/out.bb", 2)
    ['out-00001.bb', 'out-00002.bb']
    """
    last = Path(path).name
    stem, suffix = os.path.splitext(last)
    return [f"{stem}-{number:05}{suffix}" for number in range(1, count + 1)]
