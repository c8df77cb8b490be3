"""What is coded together: scanned files are grouped into independent tasks; large images and arrays are opened in turn.

Tasks, and their order, depend on names and contents alone, never on how many processes work on them. That is what makes
archives the same, byte for byte, on every machine.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Final, NamedTuple, TypeVar

import numpy as np
from numpy.typing import NDArray

from bbcodec.archive.format.container import PIECE_BYTES
from bbcodec.archive.format.index import MODES
from bbcodec.archive.format.tiles import tile_bounds, tile_count
from bbcodec.archive.write.scan import ScannedEntry, array_suffix
from bbcodec.atomic_files import temporary_folder
from bbcodec.errors import OutputError
from bbcodec.images.array_files import zips_alike
from bbcodec.images.codings import file_codings
from bbcodec.images.formats.base import Outline
from bbcodec.images.image_files import Picture, palette, split_image
from bbcodec.images.large_images import split_large
from bbcodec.images.npy import Images, Member, MemberLayout, split_npy, split_npz
from bbcodec.images.planes import Plane, plane_layouts, plane_shapes, to_planes
from bbcodec.images.probe import Probe, probe
from bbcodec.images.samples import Samples
from bbcodec.input_files import FileSource, RemoteFile, read_file
from bbcodec.options import StorageOptions
from bbcodec.remote import is_url
from bbcodec.sample_formats import mode_channels

# Images of one mode and size are coded together, about so many values at a time.
GROUP_VALUES: Final = 2**22
# An image of more pixels is coded alone: it gains nothing from company, and other processes take the others.
LONE_PIXELS: Final = 2**16
# Small files of other formats share chunks of about this size.
SHARED_BYTES: Final = 2**20
# Larger image files are kept as bytes, in pieces, and never held in memory as a whole.
MAX_IMAGE_FILE: Final = 2**31
# Larger ones are not coded as a whole: that takes a multiple of their bytes.
MAX_WHOLE_FILE: Final = 2**27
# Images of more pixels are never held in memory more than once.
LARGE_PIXELS: Final = 2**23
# A larger image is cut into tiles of about so many pixels. Fine ones are for codecs that need PyTorch, which holds the
# parameters of all pixels of a tile while it encodes: some 300 bytes each.
TILE_PIXELS: Final = 2**22
FINE_TILE_PIXELS: Final = 2**17

T = TypeVar("T")


# --- tasks -----------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class ImageDescription:
    """What the index says of an image. mode: Pillow's, empty where it is none; sample format and layout: of its pixels.

    plane_layout: of arrays without a skeleton, the number of their shape (`bbcodec.images.npy.USUAL_SHAPES`).
    """

    mode: str = ""
    sample_format: str = ""
    plane_layout: int = 0
    width: int = 0
    height: int = 0

    @classmethod
    def of(cls, seen: Probe) -> ImageDescription:
        """Describes an image file that is kept as bytes."""
        return cls(seen.mode if seen.mode in MODES else "other", width=seen.width, height=seen.height)


NO_IMAGE: Final = ImageDescription()


class ImageFile(NamedTuple):
    """An image file of a task; `entry` is its index in the scan."""

    entry: int
    path: FileSource


@dataclass(frozen=True)
class ImageTask:
    """Image files of one mode and size, in the order of the scan. work: about how many values their pixels are."""

    files: tuple[ImageFile, ...]
    expected: Probe
    options: StorageOptions
    work: int


class FilePart(NamedTuple):
    """`length` bytes of a file from byte `start`, and what is known of the image that the file may be."""

    entry: int
    path: FileSource
    start: int
    length: int
    image: ImageDescription = NO_IMAGE


@dataclass(frozen=True)
class FileTask:
    """An image file that is coded as a whole (`bbcodec.images.codings.FILE_CODINGS`). work: its bytes."""

    entry: int
    path: FileSource
    seen: Probe
    options: StorageOptions
    work: int


@dataclass(frozen=True)
class BytesTask:
    """A chunk of bytes: some small files, or one piece of a large one. last: no more pieces of it follow."""

    parts: tuple[FilePart, ...]
    last: bool
    work: int


class LevelledPlane(NamedTuple):
    """A plane (h, w, C), and how many levels its values have."""

    pixels: Plane
    levels: int


@dataclass(frozen=True)
class TileTask:
    """One tile of a large image: its planes in each plane layout that restores it.

    Only the first tile brings the skeleton in its outline; it is empty in the others. last: of the file.
    """

    entry: int
    outline: Outline
    layouts: dict[int, list[LevelledPlane]]
    last: bool
    options: StorageOptions


@dataclass(frozen=True)
class ArrayTask:
    """Some images of an array file, or other bytes of it.

    member: the member that ends with this part, if any, its chunks not counted yet. last: whether the file ends.
    """

    entry: int
    content: Images | bytes
    member: MemberLayout | None
    last: bool
    options: StorageOptions


Task = ImageTask | FileTask | TileTask | BytesTask | ArrayTask


@dataclass(frozen=True)
class LargeImage:
    """An image file that is opened when its turn comes, and then gives a task a tile, of about `tile_pixels`."""

    entry: int
    path: str
    size: int
    seen: Probe
    tile_pixels: int
    options: StorageOptions

    @property
    def work(self) -> int:
        """About how many values its pixels are."""
        return values_of(self.seen)


@dataclass(frozen=True)
class ArrayFile:
    """An array file that is opened when its turn comes, and then gives several tasks."""

    entry: int
    path: str
    size: int
    options: StorageOptions

    @property
    def work(self) -> int:
        """About how many values it holds."""
        return self.size


PlannedTask = ImageTask | FileTask | BytesTask | LargeImage | ArrayFile


# --- planning --------------------------------------------------------------------------------------------------------


def plan(
    entries: Sequence[ScannedEntry],
    copies: dict[int, int],
    options: StorageOptions,
    tile_pixels: Callable[[str], int] = lambda mode: TILE_PIXELS,
    see: Callable[[str], Probe | None] = probe,
) -> list[PlannedTask]:
    """The tasks, in order. Arrays, and images of more than `tile_pixels(mode)`, are opened when their turn comes.

    see: probes what is at a path.
    """
    groups: dict[tuple[str, int, int], list[tuple[ImageFile, Probe]]] = defaultdict(list)
    whole: list[PlannedTask] = []
    others: list[FilePart] = []
    opened_later: list[PlannedTask] = []
    for number, entry in enumerate(entries):
        if entry.file_type != "file" or entry.size == 0 or number in copies:
            continue
        if array_suffix(entry.path):
            opened_later.append(ArrayFile(number, entry.path, entry.size, options))
            continue
        source = _source(entry)
        seen = see(entry.path) if entry.size <= MAX_IMAGE_FILE else None
        if seen is not None and entry.size <= MAX_WHOLE_FILE and file_codings(seen.format):
            whole.append(FileTask(number, source, seen, options, entry.size))
        elif seen is None or not seen.may_split:
            image = ImageDescription.of(seen) if seen else NO_IMAGE
            others.append(FilePart(number, source, 0, entry.size, image))
        elif seen.width * seen.height > tile_pixels(seen.mode):
            opened_later.append(LargeImage(number, entry.path, entry.size, seen, tile_pixels(seen.mode), options))
        else:
            groups[seen.mode, seen.height, seen.width].append((ImageFile(number, source), seen))
    images = [task for key in sorted(groups) for task in _image_tasks(groups[key], options)]
    return [*images, *whole, *opened_later, *_bytes_tasks(others)]


def _source(entry: ScannedEntry) -> FileSource:
    return RemoteFile(entry.path, entry.size, entry.modified_ns) if is_url(entry.path) else entry.path


def values_of(seen: Probe) -> int:
    """About how many values the pixels of an image are. Those of a palette may be coded as colours."""
    return seen.width * seen.height * (2 if seen.mode == "P" else mode_channels(seen.mode))


def main_mode(tasks: Iterable[PlannedTask]) -> str:
    """Pillow's mode of most values in images, empty if most are in arrays."""
    values: dict[str, int] = defaultdict(int)
    for task in tasks:
        if isinstance(task, ImageTask):
            values[task.expected.mode] += task.work
        elif isinstance(task, LargeImage):
            values[task.seen.mode] += task.work
        elif isinstance(task, ArrayFile):
            values[""] += task.work
    return max(values, key=values.__getitem__, default="")


def _image_tasks(group: list[tuple[ImageFile, Probe]], options: StorageOptions) -> Iterator[ImageTask]:
    seen = group[0][1]
    values = values_of(seen)
    most = 1 if seen.width * seen.height > LONE_PIXELS else max(1, GROUP_VALUES // values)
    for part in split_evenly(len(group), most):
        files = tuple(file for file, _ in group[part])
        yield ImageTask(files, seen, options, values * len(files))


def split_evenly(count: int, most: int) -> list[slice]:
    """Slices of nearly equal size, at most `most` each, that cover range(count).

    >>> split_evenly(7, 3)
    [slice(0, 2, None), slice(2, 4, None), slice(4, 7, None)]
    """
    pieces = -(-count // most)
    return [slice(count * piece // pieces, count * (piece + 1) // pieces) for piece in range(pieces)]


def _bytes_tasks(files: Iterable[FilePart]) -> Iterator[BytesTask]:
    """Small files share chunks, in the order of their names; large ones are cut into pieces."""
    shared: list[FilePart] = []
    total = 0
    for file in files:
        if file.length > SHARED_BYTES:
            yield from pieces_of(file)
            continue
        if total + file.length > SHARED_BYTES:
            yield BytesTask(tuple(shared), True, total)
            shared, total = [], 0
        shared.append(file)
        total += file.length
    if shared:
        yield BytesTask(tuple(shared), True, total)


def pieces_of(file: FilePart) -> Iterator[BytesTask]:
    """The tasks of a whole file that is kept as bytes and shares no chunk."""
    for start in range(0, file.length, PIECE_BYTES):
        length = min(PIECE_BYTES, file.length - start)
        piece = file._replace(start=start, length=length)
        yield BytesTask((piece,), start + length == file.length, length)


def cut_bytes(data: bytes) -> list[bytes]:
    """Bytes in pieces, none larger than a piece of a large file."""
    return [data[start : start + PIECE_BYTES] for start in range(0, len(data), PIECE_BYTES)]


# --- opening ---------------------------------------------------------------------------------------------------------


def opened(tasks: Iterable[PlannedTask]) -> Iterator[Task]:
    """The tasks, with large images and array files opened as their turn comes."""
    for task in tasks:
        if isinstance(task, LargeImage):
            yield from _tile_tasks(task)
        elif isinstance(task, ArrayFile):
            yield from _array_tasks(task)
        else:
            yield task


def _tile_tasks(file: LargeImage) -> Iterator[Task]:
    """The tiles of an image, or its bytes where it cannot be restored from its pixels."""
    seen = file.seen
    with temporary_folder() as folder:
        spool = folder / "samples" if seen.width * seen.height > LARGE_PIXELS else None
        if spool is not None:
            picture = _mapped_anew(split_large(file.path, spool, file.options.exact), spool)
        else:
            picture = split_image(read_file(file.path), file.options.exact)
        if picture is None:
            yield from pieces_of(FilePart(file.entry, file.path, 0, file.size, ImageDescription.of(seen)))
            return
        outline = Outline(picture.form, picture.sample_format, seen.width, seen.height, picture.skeleton)
        count = tile_count(seen.width, seen.height, file.tile_pixels)
        for bounds, last in _with_last(tile_bounds(seen.width, seen.height, count)):
            top, bottom, left, right = bounds
            if left == 0:
                rows = picture.samples[top:bottom] if spool is None else _read_rows(spool, picture.samples, top, bottom)
            layouts = _tile_layouts(picture, np.array(rows[:, left:right]))
            yield TileTask(file.entry, outline, layouts, last, file.options)
            outline = replace(outline, skeleton=b"")


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


def _tile_layouts(picture: Picture, tile: NDArray[np.uint8]) -> dict[int, list[LevelledPlane]]:
    """The planes of a tile in each plane layout that the picture allows and that restores the tile."""
    colours = palette(picture.form, picture.sample_format, picture.skeleton)
    palette_channels = 0 if colours is None else colours.shape[1]
    found = {}
    for layout in plane_layouts(picture.sample_format, colours):
        planes = to_planes(tile, picture.sample_format, layout, colours)
        if planes is not None:
            shapes = plane_shapes(picture.sample_format, layout, palette_channels)
            found[layout] = [LevelledPlane(plane, shape.levels) for plane, shape in zip(planes, shapes, strict=True)]
    return found


def _array_tasks(file: ArrayFile) -> Iterator[Task]:
    """The parts of the arrays of an npy or npz file, or its bytes where it is not made of images."""
    members = _members(file)
    if members is None:
        yield from pieces_of(FilePart(file.entry, file.path, 0, file.size))
        return
    parts = (part for member in members for part in _member_parts(member))
    for (content, ended), last in _with_last(parts):
        yield ArrayTask(file.entry, content, ended, last, file.options)


def _members(file: ArrayFile) -> Iterator[Member] | None:
    """The arrays of a file; None where they could not be joined again to the same bytes."""
    if array_suffix(file.path) == ".npz":
        members = None if file.options.exact else split_npz(file.path)  # how a zip is written is up to Python and zlib
        return members if members and _zips_alike(file.path) else None
    single = split_npy(file.path)
    return iter([single]) if single else None


def _zips_alike(path: str) -> bool:
    """Whether a zip that is written anew has the same bytes. Raises OutputError where it cannot be written."""
    try:
        with temporary_folder() as folder, open(folder / "zip", "w+b") as spool:
            return zips_alike(path, spool)
    except OSError as error:
        raise OutputError(f"no temporary file can be written (TMPDIR): {error.strerror or error}") from None


def _member_parts(member: Member) -> Iterator[tuple[Images | bytes, MemberLayout | None]]:
    """The contents of the tasks of an array; with the last comes how the array is put together."""
    contents: Iterable[Images | bytes]
    view = member.view
    if member.images is not None:
        pixels, levels = member.images
        most = max(1, GROUP_VALUES // int(np.prod(pixels.shape[1:])))
        parts = split_evenly(len(pixels), most)
        contents = (Images(pixels[part], levels) for part in parts)
        view = view and replace(view, parts=len(parts))
    else:
        contents = cut_bytes(member.rest)
    layout = MemberLayout(member.name, member.method, member.date, member.header, 0, view)
    for content, last in _with_last(contents):
        yield content, layout if last else None


def _with_last(items: Iterable[T]) -> Iterator[tuple[T, bool]]:
    """Each item, and whether it is the last."""
    waiting: list[T] = []
    for item in items:
        if waiting:
            yield waiting.pop(), False
        waiting.append(item)
    if waiting:
        yield waiting.pop(), True
