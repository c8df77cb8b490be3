"""What an archive holds, told without decoding it: the listing of `bbcodec list`, and sums."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Iterable
from typing import Any

from bbcodec.archive.format.chunks import BYTES
from bbcodec.archive.format.index import Entry, Place
from bbcodec.archive.read.archive_file import ArchiveFile
from bbcodec.archive.summary import Summary, how_stored


def list_archive(file: ArchiveFile) -> dict[str, Any]:
    """What `bbcodec list --json` prints: `files`, `folders`, `codecs`, `needs` and `rebuilt`."""
    return {
        "files": _list_files(file),
        "folders": [os.fsdecode(entry.name) for entry in file.entries if entry.form == "folder"],
        "codecs": [
            {"name": codec.name, "digest": codec.digest.hex(), "embedded": codec.chunk is not None}
            for codec in file.codecs
        ],
        "needs": file.directory.needs,
        "rebuilt": file.rebuilt,
    }


def summarise(file: ArchiveFile, numbers: Iterable[int], archive_bytes: int = 0) -> Summary:
    """Counts and sizes of some entries."""
    chosen = [file.entries[number] for number in numbers]
    files = [entry for entry in chosen if entry.form != "folder"]
    places = Counter((entry.form, entry.places) for entry in files if entry.places)
    return Summary(
        files=len(files),
        file_bytes=sum(entry.size for entry in files),
        archive_bytes=archive_bytes,
        how=dict(sorted(Counter(_how(file, entry) for entry in files).items())),
        codecs=[codec.name for codec in file.codecs],
        folders=len(chosen) - len(files),
        copies=sum(count - 1 for count in places.values()),
    )


def _list_files(file: ArchiveFile) -> list[dict[str, Any]]:
    """One row for each file or link. What they are stored in sums to all chunks; copies have nothing of their own."""
    distinct = dict.fromkeys((entry.form, entry.places) for entry in file.entries)
    users = Counter(_shared(file, place) for _, places in distinct for place in set(places))
    met = Counter[tuple[int, int]]()
    firsts: dict[tuple[str, tuple[Place, ...]], str] = {}  # for places that were met before, the name of the file there
    rows = []
    for entry in file.entries:
        if entry.form == "folder":
            continue
        name = os.fsdecode(entry.name)
        first = firsts.setdefault((entry.form, entry.places), name) if entry.places else name
        stored = 0
        for place in set(entry.places) if first == name else ():
            shared, whole = _shared(file, place), _chunk_share(file, place)
            stored += _part_of(whole, met[shared], met[shared] + 1, users[shared])
            met[shared] += 1
        rows.append({
            "name": name,
            "width": entry.width or None,
            "height": entry.height or None,
            "mode": entry.mode or None,
            "bytes": entry.size,
            "how": _how(file, entry),
            "stored_bytes": stored,
            "copy_of": first if first != name else None,
        })  # fmt: skip
    return rows


def _how(file: ArchiveFile, entry: Entry) -> str:
    """How a file is stored, in a word: as its first place is."""
    if not entry.content:
        return how_stored(BYTES, "bytes")
    place = entry.content[0]
    return how_stored(file.chunk(place).type, place.coding)


def _shared(file: ArchiveFile, place: Place) -> tuple[int, int]:
    """What the files at a place share equally: one part of a `B` chunk, or all of another chunk."""
    return place.chunk, place.position if file.chunk(place).type == BYTES else 0


def _chunk_share(file: ArchiveFile, place: Place) -> int:
    """The bytes of a chunk that are for a place: of a part those in proportion to its length, else all."""
    chunk, part = file.chunk(place), file.resolve(place)
    if chunk.type != BYTES:
        return chunk.length
    return _part_of(chunk.length, part.offset, part.offset + part.length, max(1, part.size))


def _part_of(whole: int, start: int, end: int, count: int) -> int:
    """What is from `start` to `end` of `count` equal parts of a number, in whole numbers: all parts sum to it."""
    return whole * end // count - whole * start // count
