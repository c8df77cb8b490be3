"""What to put into an archive, and in which pieces: files are found, told apart, and grouped into independent tasks.

Tasks, and their order, depend on names and contents alone, never on how many processes work on them. That is what makes
archives the same, byte for byte, on every machine.
"""

from __future__ import annotations

import os
import stat
import tempfile
from collections import defaultdict
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from fnmatch import fnmatchcase
from hashlib import blake2b
from pathlib import Path
from typing import Final

import numpy as np
from numpy.typing import NDArray

from bbcodec.archive.format.container import PIECE_BYTES
from bbcodec.archive.format.names import printable
from bbcodec.archive.format.tiles import TILE_PIXELS, tile_bounds
from bbcodec.errors import InputError
from bbcodec.images import npy as arrays
from bbcodec.images.image_files import Picture, palette, split_image
from bbcodec.images.large_images import split_large
from bbcodec.images.planes import plane_layouts, plane_shapes, to_planes
from bbcodec.images.probe import Probe, probe
from bbcodec.images.samples import Samples
from bbcodec.options import StorageOptions

# Images of one mode and size are coded together, about so many values at a time.
GROUP_VALUES: Final = 2**22
# An image of more pixels goes alone: it gains nothing from company, and other processes take the others.
LONE_PIXELS: Final = 2**16
# Small files of other kinds share chunks of about this size.
SHARED_BYTES: Final = 2**20
# Larger image files are kept as bytes, in pieces, and never held in memory as a whole.
MAX_IMAGE_FILE: Final = 2**31
# Images of more pixels are never held in memory more than once.
LARGE_PIXELS: Final = 2**23


@dataclass(frozen=True)
class ScannedEntry:
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

    entries: list[ScannedEntry]
    skipped: list[str] = field(default_factory=list)


@dataclass(frozen=True)
class ImageTask:
    """Image files of one mode and size. `entries` are indices into the scan, ascending; work is in values."""

    entries: tuple[int, ...]
    paths: tuple[str, ...]
    expected: Probe
    options: StorageOptions
    work: int


Planes = dict[int, list[tuple[NDArray[np.uint8], int]]]  # for each way, each plane and its levels


@dataclass(frozen=True)
class TileTask:
    """One tile of an image of width x height pixels: for each way its planes, (h, w, C) each, and their levels.

    The first tile brings the picture without its samples; `last` is the last of the file.
    """

    entry: int
    width: int
    height: int
    picture: Picture | None
    planes: Planes
    last: bool
    options: StorageOptions
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
    """Some images (N, H, W, C) of an array file, or other bytes of it.

    The last task of each member brings the member's `recipe`; `last` is the last of the file.
    """

    entry: int
    images: NDArray[np.uint8] | None
    levels: int
    rest: bytes
    recipe: arrays.MemberLayout | None
    last: bool
    options: StorageOptions
    work: int


Task = ImageTask | TileTask | BytesTask | ArrayTask


@dataclass(frozen=True)
class FileTask:
    """A file that is opened when its turn comes, and then gives several tasks: an array, or a large image."""

    entry: int
    path: str
    size: int
    seen: Probe | None
    options: StorageOptions
    work: int


Planned = ImageTask | BytesTask | FileTask


# --- finding files ---------------------------------------------------------------------------------------------------


def scan(
    inputs: Sequence[str | os.PathLike[str]], output: Path | None = None, exclude: Sequence[str] = ()
) -> Scan:
    """Everything under `inputs`, sorted by name. Names are relative to a single folder; several inputs keep theirs.

    exclude: shell patterns. What has a name, or a last part of its name, that matches one is left out, and with a
    folder all that is in it. Links are not followed, except an input itself. Raises InputError for inputs that are
    missing, unreadable or empty.
    """
    if not inputs:
        raise InputError("nothing to compress: no input was given")
    found: dict[bytes, ScannedEntry] = {}
    skipped: list[str] = []
    alone = len(inputs) == 1 and os.path.isdir(inputs[0])
    for source in inputs:
        top = os.path.realpath(source)
        name = b"" if alone else os.fsencode(os.path.basename(os.path.abspath(source)))
        if not os.path.exists(top):
            raise InputError(f"there is no file or folder {str(source)!r}")
        if not name and not alone:
            raise InputError(f"{str(source)!r} has no name of its own: compress it alone, or name the folders in it")
        for entry in _walk(top, name, skipped, exclude):
            if entry.name in found:
                raise InputError(f"two inputs would both be called {printable(entry.name)} in the archive: rename one")
            if output is None or not _same_file(entry.path, output):
                found[entry.name] = entry
    entries = [found[name] for name in sorted(found)]
    _refuse_clashes(entries)
    if not entries:
        why = "is empty, or all of it is excluded" if exclude else "is empty"
        raise InputError(f"nothing to compress: {', '.join(repr(str(source)) for source in inputs)} {why}")
    return Scan(entries, skipped)


def _walk(path: str, name: bytes, skipped: list[str], exclude: Sequence[str]) -> Iterator[ScannedEntry]:
    """The entry at `path`, and those below it; `name` is its name in the archive, empty at the top."""
    if _excluded(name, exclude):
        return
    try:
        about = os.lstat(path)
        common = (about.st_size, about.st_mtime_ns, stat.S_IMODE(about.st_mode) & 0o777)
        if stat.S_ISREG(about.st_mode):
            yield ScannedEntry(name, path, "file", *common)
        elif stat.S_ISLNK(about.st_mode):
            target = os.fsencode(os.readlink(path))
            yield ScannedEntry(name, path, "link", len(target), *common[1:], target)
        elif stat.S_ISDIR(about.st_mode):
            children = sorted(os.listdir(path))
            if name:
                yield ScannedEntry(name, path, "folder", 0, *common[1:])
            for child in children:
                below = os.fsencode(child)
                yield from _walk(os.path.join(path, child), name + b"/" + below if name else below, skipped, exclude)
        else:
            skipped.append(f"{path}: neither file, folder nor link: left out")
    except OSError as error:
        raise InputError(f"{error.filename or path} cannot be read: {error.strerror}") from None


def _excluded(name: bytes, exclude: Sequence[str]) -> bool:
    """Whether a name, or its last part, matches a pattern."""
    whole = os.fsdecode(name)
    last = whole.rpartition("/")[2]
    return any(fnmatchcase(whole, pattern.rstrip("/")) or fnmatchcase(last, pattern.rstrip("/")) for pattern in exclude)


def _same_file(path: str, output: Path) -> bool:
    return output.exists() and os.path.exists(path) and os.path.samefile(path, output)


def _refuse_clashes(entries: list[ScannedEntry]) -> None:
    """Two inputs may not give the same name to a file and to a folder."""
    names = {entry.name for entry in entries if entry.kind != "folder"}
    for name in names:
        parts = name.split(b"/")
        for depth in range(1, len(parts)):
            if b"/".join(parts[:depth]) in names:
                raise InputError(f"two inputs would both be called {printable(parts[0])} in the archive: rename one")


# --- making tasks ----------------------------------------------------------------------------------------------------


def find_copies(entries: Sequence[ScannedEntry]) -> dict[int, int]:
    """Files whose bytes are those of an earlier one: their number, and that of the first with these bytes.

    An array file is a copy of another array file only: its name says how it is stored, and given back.
    """
    alike: dict[tuple[int, str], list[int]] = defaultdict(list)
    for number, entry in enumerate(entries):
        if entry.kind == "file" and entry.size > 0:
            alike[entry.size, _array_suffix(entry.path)].append(number)
    copies: dict[int, int] = {}
    for numbers in alike.values():
        first: dict[bytes, int] = {}
        for number in numbers if len(numbers) > 1 else ():
            digest = file_digest(entries[number].path)
            if first.setdefault(digest, number) != number:
                copies[number] = first[digest]
    return copies


def _array_suffix(path: str) -> str:
    """How the name of an array file ends; empty for other files."""
    suffix = path[-4:].lower()
    return suffix if suffix in (".npy", ".npz") else ""


def file_digest(path: str) -> bytes:
    """BLAKE2b of a file's bytes, 32 bytes. Raises InputError."""
    state = blake2b(digest_size=32)
    try:
        with open(path, "rb") as stream:
            while piece := stream.read(2**20):
                state.update(piece)
    except OSError as error:
        raise InputError(f"{path} cannot be read: {error.strerror}") from None
    return state.digest()


def plan(entries: Sequence[ScannedEntry], copies: dict[int, int], options: StorageOptions) -> list[Planned]:
    """The tasks, in order. Arrays and large images are opened when their turn comes (`open_task`)."""
    groups: dict[tuple[str, int, int], list[tuple[int, Probe]]] = defaultdict(list)
    others: list[tuple[int, Probe | None]] = []
    alone: list[Planned] = []
    for number, entry in enumerate(entries):
        if entry.kind != "file" or entry.size == 0 or number in copies:
            continue
        if _array_suffix(entry.path):
            alone.append(FileTask(number, entry.path, entry.size, None, options, entry.size))
            continue
        seen = probe(entry.path) if entry.size <= MAX_IMAGE_FILE else None
        if seen is None or not seen.may_split:
            others.append((number, seen))
        elif seen.width * seen.height > TILE_PIXELS:
            alone.append(FileTask(number, entry.path, entry.size, seen, options, values_of(seen)))
        else:
            groups[seen.mode, seen.height, seen.width].append((number, seen))
    images = [task for key in sorted(groups) for task in _image_tasks(entries, groups[key], options)]
    return [*images, *alone, *_bytes_tasks(entries, others)]


def values_of(seen: Probe) -> int:
    """About how many values the pixels of an image are."""
    return seen.width * seen.height * {"RGB": 3, "RGBA": 4, "LA": 2, "P": 2}.get(seen.mode, 1)


def _image_tasks(
    entries: Sequence[ScannedEntry], group: list[tuple[int, Probe]], options: StorageOptions
) -> Iterator[ImageTask]:
    seen = group[0][1]
    values = values_of(seen)
    most = 1 if seen.width * seen.height > LONE_PIXELS else max(1, GROUP_VALUES // values)
    for part in split_evenly(len(group), most):
        numbers = tuple(number for number, _ in group[part])
        paths = tuple(entries[number].path for number in numbers)
        yield ImageTask(numbers, paths, seen, options, values * len(numbers))


def split_evenly(count: int, most: int) -> list[slice]:
    """Slices of nearly equal size, at most `most` each, that cover range(count).

    >>> split_evenly(7, 3)
    [slice(0, 2, None), slice(2, 4, None), slice(4, 7, None)]
    """
    pieces = -(-count // most)
    return [slice(count * piece // pieces, count * (piece + 1) // pieces) for piece in range(pieces)]


def _bytes_tasks(entries: Sequence[ScannedEntry], others: Iterable[tuple[int, Probe | None]]) -> Iterator[BytesTask]:
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


def _shared_task(entries: Sequence[ScannedEntry], shared: list[tuple[int, Probe | None]]) -> BytesTask:
    pieces = tuple((entries[number].path, 0, entries[number].size) for number, _ in shared)
    numbers = tuple(number for number, _ in shared)
    return BytesTask(numbers, pieces, tuple(seen for _, seen in shared), True, sum(piece[2] for piece in pieces))


def whole_file(entry: int, path: str, size: int, seen: Probe | None = None) -> Iterator[BytesTask]:
    """The tasks of one file that is kept as bytes and shares no chunk."""
    for start in range(0, size, PIECE_BYTES):
        length = min(PIECE_BYTES, size - start)
        yield BytesTask((entry,), ((path, start, length),), (seen,), start + length == size, length)


def open_task(task: FileTask) -> Iterator[Task]:
    """The tasks of an array file or a large image."""
    return _array_tasks(task) if task.seen is None else _tile_tasks(task, task.seen)


# --- large images ----------------------------------------------------------------------------------------------------


def _tile_tasks(task: FileTask, seen: Probe) -> Iterator[Task]:
    """The tiles of an image, or its bytes where it cannot be given back from its pixels."""
    with tempfile.TemporaryDirectory(prefix="bbcodec-") as folder:
        spool = Path(folder, "samples") if seen.width * seen.height > LARGE_PIXELS else None
        if spool is not None:
            picture = _mapped_anew(split_large(task.path, spool, task.options.exact), spool)
        else:
            picture = split_image(read_file(task.path), task.options.exact)
        if picture is None:
            yield from whole_file(task.entry, task.path, task.size, seen)
            return
        bounds = tile_bounds(seen.width, seen.height)
        about = replace(picture, samples=np.array(picture.samples[:0]))
        for number, (top, bottom, left, right) in enumerate(bounds, 1):
            if left == 0:
                rows = picture.samples[top:bottom] if spool is None else _read_rows(spool, picture.samples, top, bottom)
            tile = np.array(rows[:, left:right])
            planes = _tile_planes(picture, tile)
            work = tile.size * len(planes)
            last = number == len(bounds)
            first = about if number == 1 else None
            yield TileTask(task.entry, seen.width, seen.height, first, planes, last, task.options, work)


def _mapped_anew(picture: Picture | None, spool: Path) -> Picture | None:
    """The picture with a new map of its samples: pages of the old one, which were read, count as memory in use."""
    if picture is None:
        return None
    return replace(picture, samples=np.memmap(spool, picture.samples.dtype, "r", shape=picture.samples.shape))


def _read_rows(spool: Path, samples: Samples, top: int, bottom: int) -> Samples:
    """Rows of samples that lie in a file: read, as pages that are mapped would count as memory in use."""
    row = samples[0].size
    flat = np.fromfile(spool, samples.dtype, (bottom - top) * row, offset=top * row * samples.dtype.itemsize)
    return flat.reshape(-1, *samples.shape[1:])


def _tile_planes(picture: Picture, tile: NDArray[np.uint8]) -> Planes:
    """The planes of a tile, and their levels, for each way that the picture allows and that gives the tile back."""
    colours = palette(picture.form, picture.sample_format, picture.skeleton)
    depth = 0 if colours is None else colours.shape[1]
    found = {}
    for way in plane_layouts(picture.sample_format, colours):
        planes = to_planes(tile, picture.sample_format, way, colours)
        if planes is not None:
            levels = [levels for _, levels in plane_shapes(picture.sample_format, way, depth)]
            found[way] = list(zip(planes, levels, strict=True))
    return found


def read_file(path: str) -> bytes:
    """All bytes of a file. Raises InputError."""
    return read_piece(path, 0, -1)


def read_piece(path: str, start: int, length: int) -> bytes:
    """`length` bytes of a file from `start` (-1: all the rest). Raises InputError."""
    try:
        with open(path, "rb") as stream:
            stream.seek(start)
            data = stream.read(length)
    except OSError as error:
        raise InputError(f"{path} cannot be read: {error.strerror}") from None
    if length >= 0 and len(data) != length:
        raise InputError(f"{path} became shorter while it was read: compress again")
    return data


# --- arrays ----------------------------------------------------------------------------------------------------------


def _array_tasks(task: FileTask) -> Iterator[ArrayTask | BytesTask]:
    """The tasks of an npy or npz file: parts of its arrays, or its bytes where it is not made of images."""
    if _array_suffix(task.path) == ".npz":
        members = None if task.options.exact else arrays.split_npz(task.path)  # a zip is written anew
    else:
        single = arrays.split_npy(task.path)
        members = iter([single]) if single else None
    if members is None:
        yield from whole_file(task.entry, task.path, task.size)
        return
    waiting: ArrayTask | None = None
    for member in members:
        for piece in _member_tasks(task, member):
            if waiting is not None:
                yield waiting
            waiting = piece
    if waiting is not None:
        yield replace(waiting, last=True)


def _member_tasks(task: FileTask, member: arrays.Member) -> Iterator[ArrayTask]:
    pieces: list[tuple[NDArray[np.uint8] | None, int, bytes]] = []
    if member.images is not None:
        pixels = member.images.pixels
        most = max(1, GROUP_VALUES // int(np.prod(pixels.shape[1:])))
        parts = split_evenly(len(pixels), most)
        pieces = [(pixels[part], member.images.levels, b"") for part in parts]
    else:
        starts = range(0, len(member.rest), PIECE_BYTES)
        pieces = [(None, 0, member.rest[start : start + PIECE_BYTES]) for start in starts]
    recipe = arrays.MemberLayout(member.name, member.method, member.date, member.header, 0)
    for number, (images, levels, rest) in enumerate(pieces, 1):
        work = len(rest) if images is None else images.size
        ends = recipe if number == len(pieces) else None
        yield ArrayTask(task.entry, images, levels, rest, ends, False, task.options, work)
