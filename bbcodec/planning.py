"""What to put into an archive, and in which pieces: files are found, told apart, and grouped into independent tasks.

Tasks, and their order, depend on names and contents alone, never on how many processes work on them. That is what makes
archives the same, byte for byte, on every machine.
"""

from __future__ import annotations

import os
import stat
from collections import defaultdict
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Final

import numpy as np
from numpy.typing import NDArray

from bbcodec import arrays
from bbcodec.container import PIECE_BYTES, link_stays_inside, printable
from bbcodec.errors import InputError
from bbcodec.images import CHANNELS, Probe, probe

# A chunk of small images has about so many values: a second or so of decoding, the unit of random access.
CHUNK_VALUES: Final = 2**22
# An image with at least so many values has a chunk of its own: it takes its second alone.
LONE_VALUES: Final = 2**19
# Small files of other kinds share chunks of about this size.
SHARED_BYTES: Final = 2**20
# Larger image files are kept as bytes, in pieces, and never held in memory as a whole.
MAX_IMAGE_FILE: Final = 2**30


@dataclass(frozen=True)
class Entry:
    """A file, a link or an empty folder to be archived. `target` is where a link points."""

    name: bytes
    path: str
    kind: str
    size: int
    modified_ns: int
    permissions: int
    target: bytes = b""


@dataclass(frozen=True)
class Scan:
    """Entries sorted by name; `skipped` says, a line each, what was left out and why."""

    entries: list[Entry]
    skipped: list[str] = field(default_factory=list)


@dataclass(frozen=True)
class ImageTask:
    """Image files of one mode and size. `entries` are indices into the scan, ascending."""

    entries: tuple[int, ...]
    paths: tuple[str, ...]
    expected: Probe
    work: int


@dataclass(frozen=True)
class BytesTask:
    """A chunk of bytes: some small files, or one piece of a large one, as (path, start, length)."""

    entries: tuple[int, ...]
    pieces: tuple[tuple[str, int, int], ...]
    probes: tuple[Probe | None, ...]
    last: bool
    work: int


@dataclass(frozen=True)
class ArrayTask:
    """A chunk of an array file: some of its images (N, H, W, C), or other bytes of it.

    The last chunk of each member brings the member's `recipe`; `last` is the last of the file.
    """

    entry: int
    images: NDArray[np.uint8] | None
    levels: int
    rest: bytes
    recipe: arrays.Recipe | None
    last: bool


Task = ImageTask | BytesTask | ArrayTask
Planned = ImageTask | BytesTask | tuple[int, str]  # an array file stands as its entry and path, to be opened later


# --- finding files ---------------------------------------------------------------------------------------------------


def scan(inputs: Sequence[str | os.PathLike[str]], output: Path | None = None) -> Scan:
    """Everything under `inputs`, sorted by name. Names are relative to a single folder; several inputs keep theirs.

    Links are not followed, except an input itself. Raises InputError for inputs that are missing, unreadable or empty.
    """
    if not inputs:
        raise InputError("nothing to compress: no input was given")
    found: dict[bytes, Entry] = {}
    skipped: list[str] = []
    alone = len(inputs) == 1 and os.path.isdir(inputs[0])
    for source in inputs:
        top = os.path.realpath(source)
        name = b"" if alone else os.fsencode(os.path.basename(os.path.abspath(source)))
        if not os.path.exists(top):
            raise InputError(f"there is no file or folder {str(source)!r}")
        if not name and not alone:
            raise InputError(f"{str(source)!r} has no name of its own: compress it alone, or name the folders in it")
        for entry in _walk(top, name, skipped):
            if entry.name in found:
                raise InputError(f"two inputs would both be called {printable(entry.name)} in the archive: rename one")
            if output is None or not _same_file(entry.path, output):
                found[entry.name] = entry
    entries = [found[name] for name in sorted(found)]
    _refuse_clashes(entries)
    if not entries:
        raise InputError(f"nothing to compress: {', '.join(repr(str(source)) for source in inputs)} is empty")
    return Scan(entries, skipped)


def _walk(path: str, name: bytes, skipped: list[str]) -> Iterator[Entry]:
    """The entry at `path`, or those below it; `name` is its name in the archive, empty at the top."""
    try:
        about = os.lstat(path)
        common = (about.st_size, about.st_mtime_ns, stat.S_IMODE(about.st_mode) & 0o777)
        if stat.S_ISREG(about.st_mode):
            yield Entry(name, path, "file", *common)
        elif stat.S_ISLNK(about.st_mode):
            target = os.fsencode(os.readlink(path))
            if link_stays_inside(name, target):
                yield Entry(name, path, "link", len(target), *common[1:], target)
            else:
                skipped.append(f"{path}: a link that points outside, or is not relative: left out")
        elif stat.S_ISDIR(about.st_mode):
            children = sorted(os.listdir(path))
            if not children and name:
                yield Entry(name, path, "folder", 0, *common[1:])
            for child in children:
                below = os.fsencode(child)
                yield from _walk(os.path.join(path, child), name + b"/" + below if name else below, skipped)
        else:
            skipped.append(f"{path}: neither file, folder nor link: left out")
    except OSError as error:
        raise InputError(f"{error.filename or path} cannot be read: {error.strerror}") from None


def _same_file(path: str, output: Path) -> bool:
    return output.exists() and os.path.exists(path) and os.path.samefile(path, output)


def _refuse_clashes(entries: list[Entry]) -> None:
    """Two inputs may not give the same name to a file and to a folder."""
    names = {entry.name for entry in entries}
    for name in names:
        parts = name.split(b"/")
        for depth in range(1, len(parts)):
            if b"/".join(parts[:depth]) in names:
                raise InputError(f"two inputs would both be called {printable(parts[0])} in the archive: rename one")


# --- making tasks ----------------------------------------------------------------------------------------------------


def plan(entries: Sequence[Entry]) -> list[Planned]:
    """The tasks, in order. Array files are opened when their turn comes (`array_tasks`)."""
    groups: dict[tuple[str, int, int], list[tuple[int, Probe]]] = defaultdict(list)
    others: list[tuple[int, Probe | None]] = []
    arrays_found: list[tuple[int, str]] = []
    for number, entry in enumerate(entries):
        if entry.kind != "file" or entry.size == 0:
            continue
        if entry.path.lower().endswith((".npy", ".npz")):
            arrays_found.append((number, entry.path))
            continue
        seen = probe(entry.path) if entry.size <= MAX_IMAGE_FILE else None
        if seen is not None and seen.may_split:
            groups[seen.mode, seen.height, seen.width].append((number, seen))
        else:
            others.append((number, seen))
    images = [task for key in sorted(groups) for task in _image_tasks(entries, groups[key])]
    return [*images, *arrays_found, *_bytes_tasks(entries, others)]


def _image_tasks(entries: Sequence[Entry], group: list[tuple[int, Probe]]) -> Iterator[ImageTask]:
    seen = group[0][1]
    values = seen.width * seen.height * CHANNELS[seen.mode]
    for part in split_evenly(len(group), images_a_chunk(values)):
        numbers = tuple(number for number, _ in group[part])
        yield ImageTask(numbers, tuple(entries[number].path for number in numbers), seen, values * len(numbers))


def images_a_chunk(values: int) -> int:
    """How many images of so many values share a chunk at most."""
    return 1 if values >= LONE_VALUES else CHUNK_VALUES // values


def split_evenly(count: int, most: int) -> list[slice]:
    """Slices of nearly equal size, at most `most` each, that cover range(count).

    >>> split_evenly(7, 3)
    [slice(0, 2, None), slice(2, 4, None), slice(4, 7, None)]
    """
    pieces = -(-count // most)
    return [slice(count * piece // pieces, count * (piece + 1) // pieces) for piece in range(pieces)]


def _bytes_tasks(entries: Sequence[Entry], others: Iterable[tuple[int, Probe | None]]) -> Iterator[BytesTask]:
    """Small files share chunks, in the order of their names; large ones are cut into pieces."""
    shared: list[tuple[int, Probe | None]] = []
    total = 0
    for number, seen in others:
        size = entries[number].size
        if size > SHARED_BYTES:
            yield from whole_file(number, entries[number].path, size, seen)
            continue
        if total + size > SHARED_BYTES:
            yield _shared_task(entries, shared)
            shared, total = [], 0
        shared.append((number, seen))
        total += size
    if shared:
        yield _shared_task(entries, shared)


def _shared_task(entries: Sequence[Entry], shared: list[tuple[int, Probe | None]]) -> BytesTask:
    pieces = tuple((entries[number].path, 0, entries[number].size) for number, _ in shared)
    numbers = tuple(number for number, _ in shared)
    return BytesTask(numbers, pieces, tuple(seen for _, seen in shared), True, sum(piece[2] for piece in pieces))


def whole_file(entry: int, path: str, size: int, seen: Probe | None = None) -> Iterator[BytesTask]:
    """The tasks of one file that is kept as bytes and shares no chunk."""
    for start in range(0, size, PIECE_BYTES):
        length = min(PIECE_BYTES, size - start)
        yield BytesTask((entry,), ((path, start, length),), (seen,), start + length == size, length)


def array_tasks(entry: int, path: str, size: int) -> Iterator[ArrayTask | BytesTask]:
    """The tasks of an npy or npz file: chunks of its arrays, or its bytes where it is not made of images."""
    if path.lower().endswith(".npz"):
        members = arrays.split_npz(path)
    else:
        single = arrays.split_npy(path)
        members = iter([single]) if single else None
    if members is None:
        yield from whole_file(entry, path, size)
        return
    waiting: ArrayTask | None = None
    for member in members:
        for task in _member_tasks(entry, member):
            if waiting is not None:
                yield waiting
            waiting = task
    if waiting is not None:
        yield replace(waiting, last=True)


def _member_tasks(entry: int, member: arrays.Member) -> Iterator[ArrayTask]:
    pieces: list[tuple[NDArray[np.uint8] | None, int, bytes]] = []
    if member.images is not None:
        pixels = member.images.pixels
        values = int(np.prod(pixels.shape[1:]))
        parts = split_evenly(len(pixels), images_a_chunk(values))
        pieces = [(pixels[part], member.images.levels, b"") for part in parts]
    else:
        starts = range(0, len(member.rest), PIECE_BYTES)
        pieces = [(None, 0, member.rest[start : start + PIECE_BYTES]) for start in starts]
    recipe = arrays.Recipe(member.name, member.method, member.date, member.header, len(pieces))
    for number, piece in enumerate(pieces, 1):
        yield ArrayTask(entry, *piece, recipe if number == len(pieces) else None, last=False)
