"""What classical codecs make of the same images: PNG, WebP and JPEG XL, a file each and as contact sheets, and an
archive without a codec.
"""

from __future__ import annotations

import math
import os
from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from enum import Enum
from importlib.util import find_spec
from typing import TYPE_CHECKING, Any, Final, NamedTuple

import numpy as np
from numpy.typing import NDArray

from bbcodec.archive.write.scan import ScannedEntry, find_copies, scan
from bbcodec.atomic_files import temporary_folder
from bbcodec.images.codings import coding_named
from bbcodec.images.codings.jpegxl import require_jpegxl
from bbcodec.images.display import image_shown
from bbcodec.images.formats.webp import encode_webp
from bbcodec.images.image_files import split_image
from bbcodec.images.npy import StoredPixels, split_npy, split_npz
from bbcodec.images.planes import to_planes
from bbcodec.images.probe import probe
from bbcodec.input_files import read_file
from bbcodec.options import PathLike, RunOptions
from bbcodec.report.report import Baseline
from bbcodec.sample_formats import pixel_mode

if TYPE_CHECKING:
    from bbcodec.codec.pool import CodecPool

SAMPLED_IMAGES: Final = 1000  # of more images, so many are coded a file each, evenly spread, and the sum is scaled up
TASK_PIXELS: Final = 2**18  # about so many per task of images that are coded a file each
SHEET_IMAGE_PIXELS: Final = 2**16  # larger images gain nothing from a sheet
SHEET_SIDE: Final = 2048  # about; libjxl codes larger pictures in pieces, and takes longer
EFFORT: Final = 9  # of JPEG XL, for pictures of up to EFFORT_PIXELS; it takes 7 us a pixel
EFFORT_PIXELS: Final = 2**24
LARGE_EFFORT: Final = 7
HIGHEST_EFFORT: Final = 10  # three times as slow, and shorter for some sheets only: tried on a corner
CORNER_SIDE: Final = 512
HIGHEST_EFFORT_RATIO: Final = 0.99  # and used for the whole sheet if the corner shrinks to less than this

LABELS: Final = {
    "png": "PNG, a file each",
    "webp": "WebP, a file each",
    "jpegxl": "JPEG XL, a file each",
    "webp_sheet": "WebP, contact sheets",
    "jpegxl_sheet": "JPEG XL, contact sheets",
}

Pixels = NDArray[np.uint8]


class Placement(Enum):
    """How an image is coded: on a contact sheet, in a file of its own, or both."""

    SHEET = "on a sheet"
    SMALL = "a file of its own; also on a sheet"
    ALONE = "a file of its own, in place of a sheet, too"


class ImageFormat(NamedTuple):
    """Images of one format share sheets. mode: Pillow's."""

    mode: str
    height: int
    width: int


@dataclass(frozen=True)
class ImageSource:
    """Images of one format: of an array in a file, the `member`th, or the image of an image file (-1)."""

    path: str
    format: ImageFormat
    count: int = 1
    member: int = -1

    @property
    def image_pixels(self) -> int:
        """The pixels of one image."""
        return self.format.height * self.format.width


@dataclass(frozen=True)
class Selection:
    """Some of the images of a source."""

    source: ImageSource
    numbers: Sequence[int]


@dataclass(frozen=True)
class BaselineTask:
    """Images to code with all codecs. scale: how many images each of them stands for."""

    selections: tuple[Selection, ...]
    placement: Placement
    jpegxl: bool
    scale: float = 1


def measure_baselines(inputs: PathLike | Sequence[PathLike], exclude: Sequence[str], run: RunOptions) -> list[Baseline]:
    """The bytes of all images of the inputs in classical codecs; equal files count once.

    First come the files as they are, last what `compress` makes of the inputs without a codec. JPEG XL has None bytes
    if imagecodecs is not installed. Sheets hold all small images of one format; other images count as a file each.
    """
    from bbcodec.codec.pool import CodecPool
    from bbcodec.parallel import run_tasks

    entries = scan([inputs] if isinstance(inputs, str | os.PathLike) else list(inputs), None, exclude).entries
    copies = find_copies(entries)
    files = [entry for n, entry in enumerate(entries) if n not in copies and entry.file_type == "file"]
    sources = list(find_sources(files))
    small, large = split_by_placement(sources)
    jpegxl = find_spec("imagecodecs") is not None
    tasks = [
        *file_tasks(small, Placement.SMALL, jpegxl),
        *file_tasks(large, Placement.ALONE, jpegxl),
        *sheet_tasks(small, jpegxl),
    ]
    sums: dict[Placement, dict[str, float]] = {placement: defaultdict(float) for placement in Placement}
    values = sum(source.image_pixels * source.count for source in sources)
    run.tell("comparing", 0, len(tasks))
    results = run_tasks(coded_bytes, tasks, CodecPool(), run.workers(values, learned=False, threads=False))
    for done, (task, sizes) in enumerate(zip(tasks, results, strict=True), 1):
        for coding, size in sizes.items():
            sums[task.placement][coding] += size * task.scale
        run.tell("comparing", done, len(tasks))
    paths = {source.path for source in sources}
    baselines = [Baseline("inputs", "input files", sum(entry.size for entry in files if entry.path in paths))]
    sampled = any(task.scale > 1 for task in tasks)
    for key, label in LABELS.items():
        on_sheets = key.endswith("_sheet")
        coding = key.removesuffix("_sheet")
        if coding == "jpegxl" and not jpegxl:
            baselines.append(Baseline(key, label, None, note="imagecodecs is not installed"))
        elif sources and (small or not on_sheets):
            placement = Placement.SHEET if on_sheets else Placement.SMALL
            total = round(sums[placement][coding] + sums[Placement.ALONE][coding])
            note = f"estimated from {SAMPLED_IMAGES:,} images" if sampled and not on_sheets else ""
            baselines.append(Baseline(key, label, total, bool(note), note))
    return [*baselines, Baseline("no_codec", "an archive without a codec", archive_bytes(inputs, exclude, run))]


def archive_bytes(inputs: PathLike | Sequence[PathLike], exclude: Sequence[str], run: RunOptions) -> int:
    """The bytes of an archive of the inputs that uses no learned codec."""
    from bbcodec.archive.compress import compress

    with temporary_folder() as folder:
        path = folder / "archive.bb"
        compress(inputs, path, codec="none", exclude=exclude, verify=False, jobs=run.jobs, progress=run.progress)
        return path.stat().st_size


# --- the images ------------------------------------------------------------------------------------------------------


def find_sources(files: Iterable[ScannedEntry]) -> Iterator[ImageSource]:
    """The images of files, and of arrays in them."""
    for entry in files:
        suffix = entry.path[-4:].lower()
        if suffix in (".npy", ".npz"):
            for number, pixels, levels in _arrays(entry.path):
                mode = pixel_mode(pixels.shape[3], levels)
                yield ImageSource(entry.path, ImageFormat(mode, *pixels.shape[1:3]), len(pixels), number)
        else:
            seen = probe(entry.path)
            if seen is not None and seen.frames == 1:
                yield ImageSource(entry.path, ImageFormat(seen.mode, seen.height, seen.width))


def _arrays(path: str) -> Iterator[tuple[int, Pixels | StoredPixels, int]]:
    """Number, images (N, H, W, C) and levels of each array of images in a file."""
    if path[-4:].lower() == ".npy":
        single = split_npy(path)
        members = iter([single] if single else [])
    else:
        members = split_npz(path) or iter([])
    for number, member in enumerate(members):
        if member.images is not None:
            yield number, member.images.pixels, member.images.levels


def split_by_placement(sources: Iterable[ImageSource]) -> tuple[list[ImageSource], list[ImageSource]]:
    """Small images that share their format with others, for sheets, and all other images."""
    sources = list(sources)
    counts = Counter[ImageFormat]()
    for source in sources:
        counts[source.format] += source.count
    small, large = list[ImageSource](), list[ImageSource]()
    for source in sources:
        shared = counts[source.format] >= 2 and source.image_pixels <= SHEET_IMAGE_PIXELS
        (small if shared else large).append(source)
    return small, large


def file_tasks(sources: Sequence[ImageSource], placement: Placement, jpegxl: bool) -> Iterator[BaselineTask]:
    """Tasks to code images a file each: a sample, evenly spread over all."""
    total = sum(source.count for source in sources)
    if not total:
        return
    chosen = np.unique(np.linspace(0, total - 1, min(total, SAMPLED_IMAGES)).round().astype(int))
    scale = total / len(chosen)
    first, waiting, pixels = 0, list[Selection](), 0
    for source in sources:
        numbers = chosen[(chosen >= first) & (chosen < first + source.count)] - first
        first += source.count
        step = max(1, TASK_PIXELS // source.image_pixels)
        for start in range(0, len(numbers), step):
            some = numbers[start : start + step].tolist()
            waiting.append(Selection(source, some))
            pixels += source.image_pixels * len(some)
            if pixels >= TASK_PIXELS:
                yield BaselineTask(tuple(waiting), placement, jpegxl, scale)
                waiting, pixels = [], 0
    if waiting:
        yield BaselineTask(tuple(waiting), placement, jpegxl, scale)


def sheet_tasks(sources: Sequence[ImageSource], jpegxl: bool) -> Iterator[BaselineTask]:
    """Tasks to code sheets of all images of one format."""
    groups: dict[ImageFormat, list[ImageSource]] = defaultdict(list)
    for source in sources:
        groups[source.format].append(source)
    for (_, height, width), group in groups.items():
        capacity = max(1, SHEET_SIDE // height) * max(1, SHEET_SIDE // width)
        waiting, free = list[Selection](), capacity
        for source in group:
            start = 0
            while start < source.count:
                some = range(start, min(start + free, source.count))
                waiting.append(Selection(source, some))
                start, free = some.stop, free - len(some)
                if not free:
                    yield BaselineTask(tuple(waiting), Placement.SHEET, jpegxl)
                    waiting, free = [], capacity
        if waiting:
            yield BaselineTask(tuple(waiting), Placement.SHEET, jpegxl)


# --- coding them -----------------------------------------------------------------------------------------------------


def coded_bytes(_: CodecPool, task: BaselineTask) -> dict[str, int]:
    """Bytes of a task's images by codec; a file that cannot be read counts as it is."""
    on_sheet = task.placement is Placement.SHEET
    codings = [*(() if on_sheet else ("png",)), "webp", *(("jpegxl",) if task.jpegxl else ())]
    images: list[Image] = []
    sums = Counter[str]()
    for selection in task.selections:
        try:
            images.extend(_load(selection))
        except (OSError, ValueError, SyntaxError):  # what Pillow raises for unreadable files
            sums.update(dict.fromkeys(codings, os.path.getsize(selection.source.path)))
    for samples, levels in [_sheet(images)] if on_sheet and images else images:
        effort = _sheet_effort(samples, levels) if on_sheet and task.jpegxl else EFFORT
        sums.update({coding: len(_encode(samples, levels, coding, effort)) for coding in codings})
    return dict(sums)


Image = tuple[NDArray[Any], int]  # samples (H, W, C), and their levels


def _load(selection: Selection) -> Iterator[Image]:
    """The selected images."""
    source = selection.source
    if source.member >= 0:
        for number, pixels, levels in _arrays(source.path):
            if number == source.member:
                yield from ((np.array(pixels[index : index + 1][0]), levels) for index in selection.numbers)
    else:
        yield _read(source.path)


def _read(path: str) -> Image:
    """The image of a file: its samples if a codec takes them, else what it shows."""
    from io import BytesIO

    from PIL import Image as Pillow

    data = read_file(path)
    picture = split_image(data, False)
    if picture is not None and picture.sample_format == "L1":
        return picture.samples, 2
    if picture is not None and picture.sample_format == "L16":
        return picture.samples, 2**16
    if picture is not None and not picture.sample_format.startswith("P") and picture.samples.dtype == np.uint8:
        planes = to_planes(picture.samples, picture.sample_format, 0, None)
        if planes is not None:
            return planes[0], 256
    with Pillow.open(BytesIO(data)) as image:
        return image_shown(image), 256


def _sheet(images: Sequence[Image]) -> Image:
    """All images side by side, in a picture as square as possible; the rest is zeros."""
    levels = max(levels for _, levels in images)
    channels = max(samples.shape[2] for samples, _ in images)
    stack = [_with_channels(samples, channels) for samples, _ in images]
    height, width = stack[0].shape[:2]
    columns = math.ceil(math.sqrt(len(stack) * height / width))
    rows = math.ceil(len(stack) / columns)
    sheet = np.zeros((rows * height, columns * width, channels), stack[0].dtype)
    for number, samples in enumerate(stack):
        row, column = divmod(number, columns)
        sheet[row * height : (row + 1) * height, column * width : (column + 1) * width] = samples
    return sheet, levels


def _with_channels(samples: NDArray[Any], channels: int) -> NDArray[Any]:
    """Samples with more channels: grey in three, and opaque alpha."""
    if samples.shape[2] < 3 <= channels:
        samples = np.concatenate([samples[:, :, :1].repeat(3, 2), samples[:, :, 1:]], 2)
    if samples.shape[2] < channels:
        opaque = np.full((*samples.shape[:2], 1), 255, samples.dtype)
        samples = np.concatenate([samples, opaque], 2)
    return samples


def _sheet_effort(samples: NDArray[Any], levels: int) -> int:
    """The better effort of JPEG XL for a sheet."""
    corner = samples[:CORNER_SIDE, :CORNER_SIDE]
    usual, highest = (len(_encode(corner, levels, "jpegxl", effort)) for effort in (EFFORT, HIGHEST_EFFORT))
    return HIGHEST_EFFORT if highest < HIGHEST_EFFORT_RATIO * usual else EFFORT


def _encode(samples: NDArray[Any], levels: int, coding: str, effort: int = EFFORT) -> bytes:
    """An image in a coding, or as PNG if that does not take it. effort: of JPEG XL, unless the image is too large."""
    pixels = samples * np.uint8(255) if levels == 2 else samples
    if coding == "jpegxl":
        effort = effort if pixels.shape[0] * pixels.shape[1] <= EFFORT_PIXELS else LARGE_EFFORT
        grey = np.ascontiguousarray(pixels[:, :, 0] if pixels.shape[2] == 1 else pixels)
        return bytes(require_jpegxl().jpegxl_encode(grey, lossless=True, effort=effort, numthreads=1))
    if coding == "webp" and levels <= 256:
        with suppress(ValueError):
            return encode_webp(pixels)
    return coding_named("png").encode(samples, levels)
