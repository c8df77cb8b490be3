"""Files that change while they are read: noticed by their times, and then stored from copies, which nobody changes.

Of equal files, of which one is stored, it is the content that tells. Files at URLs, which workers open, they refuse
themselves where these are no longer those that were found.

The system dates a change to some milliseconds. So files are looked at when they have been at rest for longer: any later
change gives them another time, and what was read until then is what was there when they were found.
"""

from __future__ import annotations

import errno
import os
import shutil
import stat
import time
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import BinaryIO, Final, NamedTuple

from bbcodec.archive.write.scan import Scan, ScannedEntry, array_suffix, find_copies, signature_of
from bbcodec.errors import InputError, OutputError
from bbcodec.remote import is_url

REST_NS: Final = 20_000_000  # longer than the system's clock of files takes from tick to tick, at most 10 ms
TRIES: Final = 3  # to copy a file while nobody writes it
COPY_BYTES: Final = 2**20


def at_rest(scanned: Scan) -> Scan:
    """The scan, its files looked at again if changed in the last milliseconds; those that are gone left out."""
    young = [number for number, entry in enumerate(scanned.entries) if _is_young(entry)]
    if not young:
        return scanned
    time.sleep(REST_NS / 1e9)
    entries, lost = list(scanned.entries), dict[int, str]()
    for number in young:
        try:
            entries[number] = _looked_at(entries[number])
        except OSError as error:
            lost[number] = reason_of(error)
    return replace(scanned, entries=entries).without(lost)


def reason_of(error: OSError) -> str:
    """Why a file is left out."""
    if isinstance(error, FileNotFoundError):
        return "was removed before it was read"
    return f"could not be read any more ({error.strerror})"


def unreadable_files(entries: Sequence[ScannedEntry], error: Exception | None) -> dict[int, str]:
    """Files that cannot be read, and why, by number: those that do not open, and that which an error, if any, names."""
    found: dict[int, str] = {}
    for number, entry in enumerate(entries):
        if _lies_here(entry):
            try:
                open(entry.path, "rb").close()
            except OSError as reason:
                found[number] = reason_of(reason)
            else:
                if isinstance(error, InputError) and str(error).startswith(f"{entry.path} cannot be read"):
                    found[number] = str(error).removeprefix(f"{entry.path} ")
    return found


def _lies_here(entry: ScannedEntry) -> bool:
    return entry.file_type == "file" and not is_url(entry.path)


def _is_young(entry: ScannedEntry) -> bool:
    return _lies_here(entry) and 0 <= time.time_ns() - entry.signature[-1] < REST_NS


def _looked_at(entry: ScannedEntry, path: str | None = None) -> ScannedEntry:
    """An entry as its file, or the one at `path`, is now. Raises OSError, also where the file was emptied."""
    about = os.lstat(path or entry.path)
    if entry.size and not about.st_size:  # whatever was in it is gone, as if it had been removed
        raise OSError(errno.ENODATA, "it was emptied")
    return replace(
        entry,
        path=path or entry.path,
        size=about.st_size,
        modified_ns=about.st_mtime_ns,
        permissions=stat.S_IMODE(about.st_mode) & 0o777,
        signature=signature_of(about),
    )


def changed_files(entries: Sequence[ScannedEntry]) -> list[int]:
    """The numbers of the files that are no longer what they were when they were found, or no longer there."""
    return [number for number, entry in enumerate(entries) if _lies_here(entry) and _has_changed(entry)]


def _has_changed(entry: ScannedEntry) -> bool:
    try:
        return signature_of(os.lstat(entry.path)) != entry.signature
    except OSError:
        return True


def check_copies(entries: Sequence[ScannedEntry], copies: Mapping[int, int]) -> None:
    """Raise InputError where a file and the first of its copies are no longer equal, though their times say nothing.

    Programs that write through a memory map leave times as they are for seconds. Changes that times tell of are those
    of `changed_files`.
    """
    pairs: dict[int, int] = {}
    for number, first in copies.items():
        pairs.setdefault(first, number)
    for pair in pairs.items():
        two = [entries[number] for number in pair]
        if all(map(_lies_here, two)) and not changed_files(two) and not find_copies(two):
            raise InputError(f"{two[0].path} or {two[1].path} changed while they were read: compress again")


class Copied(NamedTuple):
    """A scan in which files are copies; unstable: names of those that changed whenever they were copied."""

    scan: Scan
    unstable: list[bytes]


def with_copies(scanned: Scan, numbers: Sequence[int], folder: Path) -> Copied:
    """The scan with copies of some files, made in a folder, in their places; those that cannot be read are left out.

    Raises OutputError where there is no room for the copies.
    """
    entries, unstable, lost = list(scanned.entries), list[bytes](), dict[int, str]()
    for number in numbers:
        entry = entries[number]
        target = folder / f"{os.urandom(8).hex()}{array_suffix(entry.path)}"
        try:
            with open(entry.path, "rb") as source:
                calm = _copied(source, target)
            entries[number] = _looked_at(entry, str(target))
        except OSError as error:
            lost[number] = reason_of(error)
            continue
        if not calm:
            unstable.append(entry.name)
    return Copied(replace(scanned, entries=entries).without(lost), unstable)


def _copied(source: BinaryIO, target: Path) -> bool:
    """Copy an open file, with its time and permissions. Whether it was at rest meanwhile, at some try.

    Raises OSError if it cannot be read, OutputError if the copy cannot be written.
    """
    for _ in range(TRIES):
        source.seek(0)
        before = os.fstat(source.fileno())
        try:
            with open(target, "wb") as copy:
                shutil.copyfileobj(source, copy, COPY_BYTES)
            os.chmod(target, stat.S_IMODE(before.st_mode) & 0o777 | 0o400)
            os.utime(target, ns=(before.st_mtime_ns, before.st_mtime_ns))
        except OSError as error:
            raise OutputError(f"a file that changes cannot be copied to {target}: {error.strerror}") from None
        if signature_of(os.fstat(source.fileno())) == signature_of(before):
            return True
        time.sleep(REST_NS / 1e9)
    return False
