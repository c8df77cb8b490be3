"""What classical codecs make of the same images: PNG, WebP and JPEG XL, a file each and as contact sheets, and an
archive without a codec.
"""

from __future__ import annotations

import math
import os
import tempfile
from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import numpy as np
from numpy.typing import NDArray

from bbcodec.archive.write.scan import ScannedEntry, find_copies, read_file, scan
from bbcodec.images.codings import coding_named
from bbcodec.images.codings.jpegxl import require_jpegxl
from bbcodec.images.display import image_shown
from bbcodec.images.formats.webp import encode_webp
from bbcodec.images.image_files import split_image
from bbcodec.images.npy import split_npy, split_npz
from bbcodec.images.planes import to_planes
from bbcodec.images.probe import probe
from bbcodec.options import PathLike, RunOptions
from bbcodec.report.report import Peer

if TYPE_CHECKING:
    from bbcodec.codec.pool import CodecPool

ALONE_IMAGES: Final = 1000  # of more images, so many are coded a file each, evenly spread, and the sum is scaled up
TASK_PIXELS: Final = 2**18  # of images that are coded a file each by one task, about
SHEET_PIXELS: Final = 2**16  # larger images gain nothing from a sheet
SHEET_SIDE: Final = 2048  # of a sheet, about: libjxl codes larger pictures piece by piece, and longer
EFFORT: Final = 9  # of JPEG XL, up to so many pixels of a picture; above it 7, as effort 9 takes 7 us a pixel
EFFORT_PIXELS: Final = 2**24
HIGHEST_EFFORT: Final = 10  # three times as slow, and shorter for some sheets only: tried on a corner,
CORNER: Final = 512  # of so many pixels a side,
WORTH: Final = 0.99  # and taken for all of a sheet if the corner is so much shorter

LABELS: Final = {
    "png": "PNG, a file each",
    "webp": "WebP, a file each",
    "jpegxl": "JPEG XL, a file each",
    "webp_sheet": "WebP, contact sheets",
    "jpegxl_sheet": "JPEG XL, contact sheets",
}

Pixels = NDArray[np.uint8]


@dataclass(frozen=True)
class Source:
    """Images of one kind and size: of an array in a file (its number, -1 of an image file), or one file."""

    path: str
    kind: tuple[str, int, int]  # mode, height, width
    count: int = 1
    member: int = -1

    @property
    def pixels(self) -> int:
        """Of one image."""
        return self.kind[1] * self.kind[2]


Pick = tuple[Source, tuple[int, ...]]  # a source, and which of its images


@dataclass(frozen=True)
class PeerTask:
    """Images that are coded a file each or, if `together`, as one sheet. scale: images that one of these stands for."""

    picks: tuple[Pick, ...]
    together: bool
    in_company: bool
    scale: float
    jpegxl: bool


def measure_peers(inputs: PathLike | Sequence[PathLike], exclude: Sequence[str], setting: RunOptions) -> list[Peer]:
    """Sizes of all images of the inputs, each of equal files once, in classical codecs; first of the files as they are.

    JPEG XL has None bytes where imagecodecs is not installed. Sheets hold all images of one kind and size, if they are
    small; the others count as in a file each. Last is what `compress` makes of the inputs without a codec.
    """
    from bbcodec.codec.pool import CodecPool
    from bbcodec.parallel import run_tasks

    entries = scan([inputs] if isinstance(inputs, str | os.PathLike) else list(inputs), None, exclude).entries
    copies = find_copies(entries)
    files = [entry for n, entry in enumerate(entries) if n not in copies and entry.file_type == "file"]
    sources = list(find_sources(files))
    company, lone = in_company(sources)
    jpegxl = find_spec("imagecodecs") is not None
    tasks = [
        *alone_tasks(company, True, jpegxl),
        *alone_tasks(lone, False, jpegxl),
        *sheet_tasks(company, jpegxl),
    ]
    sums: dict[bool | None, dict[str, float]] = {place: defaultdict(float) for place in (True, False, None)}
    processes = setting.processes(sum(one.pixels * one.count for one in sources), False)
    setting.tell("comparing", 0, len(tasks))
    for done, (task, sizes) in enumerate(zip(tasks, run_tasks(peer_task, tasks, CodecPool(), processes), strict=True), 1):
        place = sums[None if task.together else task.in_company]
        for key, size in sizes.items():
            place[key] += size * task.scale
        setting.tell("comparing", done, len(tasks))
    paths = {source.path for source in sources}
    peers = [Peer("inputs", "the files as they come", sum(entry.size for entry in files if entry.path in paths))]
    sampled = any(task.scale > 1 for task in tasks)
    for key, label in LABELS.items():
        sheet = key.endswith("_sheet")
        one = key.removesuffix("_sheet")
        if one == "jpegxl" and not jpegxl:
            peers.append(Peer(key, label, None, note="imagecodecs is not installed"))
        elif sources and (company or not sheet):
            total = round(sums[None if sheet else True][one] + sums[False][one])
            note = f"estimated from {ALONE_IMAGES:,} images" if sampled and not sheet else ""
            peers.append(Peer(key, label, total, bool(note), note))
    return [*peers, Peer("no_codec", "an archive without a codec", archived(inputs, exclude, setting))]


def archived(inputs: PathLike | Sequence[PathLike], exclude: Sequence[str], setting: RunOptions) -> int:
    """Bytes of an archive of the inputs that uses no learned codec."""
    from bbcodec.archive.compress import compress

    with tempfile.TemporaryDirectory(prefix="bbcodec-") as folder:
        path = Path(folder, "archive.bb")
        compress(
            inputs, path, codec="none", exclude=exclude, verify=False, jobs=setting.jobs, progress=setting.progress
        )
        return path.stat().st_size


# --- the images ------------------------------------------------------------------------------------------------------


def find_sources(files: Iterable[ScannedEntry]) -> Iterator[Source]:
    """The images of files and of arrays in them."""
    for entry in files:
        suffix = entry.path[-4:].lower()
        if suffix in (".npy", ".npz"):
            for number, pixels, levels in _arrays(entry.path):
                mode = "1" if levels == 2 else {1: "L", 3: "RGB"}[pixels.shape[3]]
                yield Source(entry.path, (mode, *pixels.shape[1:3]), len(pixels), number)
        else:
            seen = probe(entry.path)
            if seen is not None and seen.frames == 1:
                yield Source(entry.path, (seen.mode, seen.height, seen.width))


def _arrays(path: str) -> Iterator[tuple[int, Pixels, int]]:
    """Number, images (N, H, W, C) and levels of each array of images in a file."""
    if path[-4:].lower() == ".npy":
        single = split_npy(path)
        members = iter([single] if single else [])
    else:
        members = split_npz(path) or iter([])
    for number, member in enumerate(members):
        if member.images is not None:
            yield number, member.images.pixels, member.images.levels


def in_company(sources: Iterable[Source]) -> tuple[list[Source], list[Source]]:
    """Small images of which there are several of one kind and size, and all others."""
    sources = list(sources)
    counts = Counter[tuple[str, int, int]]()
    for source in sources:
        counts[source.kind] += source.count
    few = [counts[source.kind] < 2 or source.pixels > SHEET_PIXELS for source in sources]
    lone = [source for source, alone in zip(sources, few, strict=True) if alone]
    return [source for source, alone in zip(sources, few, strict=True) if not alone], lone


def alone_tasks(sources: Sequence[Source], company: bool, jpegxl: bool) -> Iterator[PeerTask]:
    """Images that are coded a file each, evenly spread over all."""
    total = sum(source.count for source in sources)
    if not total:
        return
    chosen = np.unique(np.linspace(0, total - 1, min(total, ALONE_IMAGES)).round().astype(int))
    first, waiting, pixels = 0, list[Pick](), 0
    scale = total / len(chosen)
    for source in sources:
        some = chosen[(chosen >= first) & (chosen < first + source.count)] - first
        first += source.count
        most = max(1, TASK_PIXELS // source.pixels)
        for start in range(0, len(some), most):
            part = tuple(some[start : start + most].tolist())
            waiting.append((source, part))
            pixels += source.pixels * len(part)
            if pixels >= TASK_PIXELS:
                yield PeerTask(tuple(waiting), False, company, scale, jpegxl)
                waiting, pixels = [], 0
    if waiting:
        yield PeerTask(tuple(waiting), False, company, scale, jpegxl)


def sheet_tasks(sources: Sequence[Source], jpegxl: bool) -> Iterator[PeerTask]:
    """Sheets of all images of one kind and size."""
    groups: dict[tuple[str, int, int], list[Pick]] = defaultdict(list)
    for source in sources:
        groups[source.kind].append((source, tuple(range(source.count))))
    for (_, height, width), picks in groups.items():
        most = max(1, SHEET_SIDE // height) * max(1, SHEET_SIDE // width)
        waiting, count = list[Pick](), 0
        for source, numbers in picks:
            start = 0
            while start < len(numbers):
                part = numbers[start : start + most - count]
                waiting.append((source, part))
                start, count = start + len(part), count + len(part)
                if count == most:
                    yield PeerTask(tuple(waiting), True, True, 1, jpegxl)
                    waiting, count = [], 0
        if waiting:
            yield PeerTask(tuple(waiting), True, True, 1, jpegxl)


# --- coding them -----------------------------------------------------------------------------------------------------


def peer_task(_: CodecPool, task: PeerTask) -> dict[str, int]:
    """Bytes by codec of the images of a task; a file that cannot be read counts as it is."""
    codings = [*(() if task.together else ("png",)), "webp", *(("jpegxl",) if task.jpegxl else ())]
    images: list[Image] = []
    sums = Counter[str]()
    for pick in task.picks:
        try:
            images.extend(_load(pick))
        except (OSError, ValueError, SyntaxError):  # as Pillow calls what it cannot read
            sums.update(dict.fromkeys(codings, os.path.getsize(pick[0].path)))
    for samples, levels in [_sheet(images)] if task.together and images else images:
        effort = _sheet_effort(samples, levels) if task.together and task.jpegxl else EFFORT
        sums.update({coding: len(_coded(samples, levels, coding, effort)) for coding in codings})
    return dict(sums)


Image = tuple[NDArray[Any], int]  # samples (H, W, C), and their levels


def _load(pick: Pick) -> Iterator[Image]:
    """The images of a pick."""
    source, numbers = pick
    if source.member >= 0:
        for number, pixels, levels in _arrays(source.path):
            if number == source.member:
                yield from ((np.array(pixels[index]), levels) for index in numbers)
    else:
        yield _read(source.path)


def _read(path: str) -> Image:
    """An image file: its samples where they are plain, else what it shows."""
    from io import BytesIO

    from PIL import Image as Pillow

    data = read_file(path)
    picture = split_image(data, False)
    if picture is not None and picture.sample_format == "L1":
        return picture.samples, 2
    if picture is not None and picture.sample_format == "L16":
        return picture.samples, 2**16
    if picture is not None and not picture.sample_format.startswith("P"):
        planes = to_planes(picture.samples, picture.sample_format, 0, None)
        if planes is not None:
            return planes[0], 256
    with Pillow.open(BytesIO(data)) as image:
        return image_shown(image), 256


def _sheet(images: Sequence[Image]) -> Image:
    """All images side by side, in as square a picture as may be; rests are filled with zeros."""
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
    """Samples with more channels: grey as three, opaque alpha."""
    if samples.shape[2] < 3 <= channels:
        samples = np.concatenate([samples[:, :, :1].repeat(3, 2), samples[:, :, 1:]], 2)
    if samples.shape[2] < channels:
        opaque = np.full((*samples.shape[:2], 1), 255, samples.dtype)
        samples = np.concatenate([samples, opaque], 2)
    return samples


def _sheet_effort(samples: NDArray[Any], levels: int) -> int:
    """The effort of JPEG XL that is best for a sheet."""
    corner = samples[:CORNER, :CORNER]
    usual, highest = (len(_coded(corner, levels, "jpegxl", effort)) for effort in (EFFORT, HIGHEST_EFFORT))
    return HIGHEST_EFFORT if highest < WORTH * usual else EFFORT


def _coded(samples: NDArray[Any], levels: int, coding: str, effort: int = EFFORT) -> bytes:
    """An image in a coding. One that the format does not take is PNG. effort: of JPEG XL, for what is not too large."""
    pixels = samples * np.uint8(255) if levels == 2 else samples
    if coding == "jpegxl":
        effort = effort if pixels.shape[0] * pixels.shape[1] <= EFFORT_PIXELS else 7
        grey = np.ascontiguousarray(pixels[:, :, 0] if pixels.shape[2] == 1 else pixels)
        return bytes(require_jpegxl().jpegxl_encode(grey, lossless=True, effort=effort, numthreads=1))
    if coding == "webp" and levels <= 256:
        with suppress(ValueError):
            return encode_webp(pixels)
    return coding_named("png").encode(samples, levels)
