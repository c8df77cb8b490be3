"""Files at URLs that workers open: they look at each before tasks are planned, so that the driver reads hardly any."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass, field, replace
from hashlib import blake2b
from pathlib import Path
from typing import Final, NamedTuple

from bbcodec.archive.format.container import PIECE_BYTES
from bbcodec.archive.write.scan import Scan, ScannedEntry, array_suffix, file_digest, of_one_size, signature_of
from bbcodec.errors import OutputError
from bbcodec.images.probe import Probe, probe
from bbcodec.input_files import RemoteFile, read_file, read_piece
from bbcodec.parallel import Workers, run_tasks
from bbcodec.remote import is_url, open_readable

FILES: Final = 64  # that a worker looks at in a task
WHOLE_BYTES: Final = 2**20  # up to which a file is fetched as a whole to be looked at


class Look(NamedTuple):
    """What a worker sees of a file. digest: of its bytes, empty where no other file has as many."""

    seen: Probe | None
    digest: bytes


@dataclass(frozen=True)
class Looks:
    """What workers saw of files, by URL; what lies at paths is looked at when it is asked for."""

    found: dict[str, Look] = field(default_factory=dict)

    def see(self, path: str) -> Probe | None:
        """What the header of a file says, or None."""
        return self.found[path].seen if path in self.found else probe(path)

    def digest(self, path: str) -> bytes:
        """The digest of a file's bytes. Raises InputError."""
        return self.found[path].digest if path in self.found else file_digest(path)


def look_at_urls(
    scanned: Scan, tile_pixels: Callable[[str], int], workers: Workers, folder: Path
) -> tuple[Scan, Looks]:
    """The scan, and what workers see of its files at URLs. Arrays and large images, which the driver takes apart, are
    copied into a folder.

    Raises InputError or OutputError.
    """
    entries = list(scanned.entries)
    equal = {number for numbers in of_one_size(entries) for number in numbers}
    far = [number for number, entry in enumerate(entries) if entry.file_type == "file" and is_url(entry.path)]
    wanted = [(_remote(entries[number]), number in equal) for number in far]
    tasks = (wanted[start : start + FILES] for start in range(0, len(wanted), FILES))
    looks = (look for some in run_tasks(_look_at_all, tasks, None, workers) for look in some)
    found: dict[str, Look] = {}
    for number, look in zip(far, looks, strict=True):
        entry, seen = entries[number], look.seen
        large = seen is not None and seen.may_split and seen.width * seen.height > tile_pixels(seen.mode)
        if large or array_suffix(entry.path):
            entries[number] = _copied_here(entry, folder)
        else:
            found[entry.path] = look
    return replace(scanned, entries=entries), Looks(found)


def _remote(entry: ScannedEntry) -> RemoteFile:
    return RemoteFile(entry.path, entry.size, entry.modified_ns)


def _look_at_all(_: None, files: list[tuple[RemoteFile, bool]]) -> list[Look]:
    return [_look_at(file, compare=compare) for file, compare in files]


def _look_at(file: RemoteFile, *, compare: bool) -> Look:
    """compare: whether its digest is wanted. Raises InputError."""
    if 0 < file.size <= WHOLE_BYTES:
        data = read_file(file)
        return Look(probe(data), blake2b(data, digest_size=32).digest() if compare else b"")
    seen, state = None, blake2b(digest_size=32)
    with suppress(OSError), open_readable(file.url, anew=True) as stream:
        seen = probe(stream) if file.size else None
    for piece in _pieces(file) if compare else ():
        state.update(piece)
    return Look(seen, state.digest() if compare else b"")


def _pieces(file: RemoteFile) -> Iterator[bytes]:
    for start in range(0, file.size, PIECE_BYTES):
        yield read_piece(file, start, min(PIECE_BYTES, file.size - start))


def _copied_here(entry: ScannedEntry, folder: Path) -> ScannedEntry:
    """A file in a copy. Raises InputError or OutputError."""
    target = folder / f"{os.urandom(8).hex()}{array_suffix(entry.path)}"
    pieces = _pieces(_remote(entry))
    try:
        with open(target, "wb") as stream:
            stream.writelines(pieces)
        os.utime(target, ns=(entry.modified_ns,) * 2)
        about = os.lstat(target)
    except OSError as error:
        raise OutputError(f"{entry.path} cannot be copied to {target}: {error.strerror}") from None
    return replace(entry, path=str(target), signature=signature_of(about))
