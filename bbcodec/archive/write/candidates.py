"""From the files of one task to chunks: every way of storing them is tried, and the shortest is kept.

Files of one kind and size are coded together. Their samples become planes in one or several ways; a plane of all
files is coded by a learned codec, as a sheet, or each image alone; and a file that would be shorter alone, or as it is,
leaves the group. Costs are in bytes, and count what the directories need for a place.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass, field, replace
from typing import Any, Final, NamedTuple

import numpy as np
from numpy.typing import NDArray

from bbcodec.archive.format.chunks import BYTES, LEARNED, SHEET, SheetBody, pack_bytes
from bbcodec.archive.format.container import PIECE_BYTES
from bbcodec.archive.format.index import MODES
from bbcodec.archive.write.tasks import (
    ArrayTask,
    BytesTask,
    ImageTask,
    Task,
    TileTask,
    read_file,
    read_piece,
    split_evenly,
)
from bbcodec.binary import FRAME_BYTES, digest64, shortest
from bbcodec.codec.pool import CodecPool, Pixels
from bbcodec.errors import InputError
from bbcodec.images.codings import coding_named
from bbcodec.images.image_files import Picture, palette, split_image
from bbcodec.images.planes import COLOURS, plane_layouts, plane_shapes, to_planes
from bbcodec.images.probe import Probe
from bbcodec.options import StorageOptions
from bbcodec.sample_formats import SAMPLE_FORMATS

# A learned chunk holds about so many pixels, by channels and levels: less than a second of decoding, the unit of random
# access. Arrays are read as a whole, and a longer chain of grey or two-level images has less of it in initial bits.
CHUNK_PIXELS: Final = {(3, 256): 2**16, (1, 256): 2**17, (1, 2): 2**18}
ARRAY_CHUNK_PIXELS: Final = {**CHUNK_PIXELS, (1, 256): 2**18, (1, 2): 2**22}
SHEET_PIXELS: Final = 2**16  # larger images gain nothing from a sheet
MAX_APART_PIXELS: Final = 2**23  # of an image of an array: WebP takes about 20 bytes of memory a pixel
SHEET_HEIGHT: Final = 16383  # the most that WebP takes
SAMPLE_PIXELS: Final = 2**16  # on which a coding has to come near the best so far, before all images are coded in it
SAMPLE_SLACK: Final = 1.25  # a larger sheet is shorter than its sample says
HARD_GAIN: Final = 0.95  # WebP tries hard where that makes a sample so much shorter: 0.83 on sprites, 0.98 on digits
SAMPLE_FILES: Final = 128  # on which the way of a larger group is chosen
PLACE_BYTES: Final = 4  # about what directories need for one more place
MOST_EXCESS: Final = 64  # bytes that a file may cost more in company than alone

ALONE: Final = ("webp", "png", "jpegxl")  # codings of one image

Costs = NDArray[np.float64]


class Piece(NamedTuple):
    """A piece of a file: image `position` of a draft chunk, its part of `length` bytes, or `data` to be shared."""

    draft: int = -1
    position: int = 0
    length: int = 0
    coding: str = "bytes"
    data: bytes | None = None

    def moved(self, by: int) -> Piece:
        """The piece when `by` drafts were put before its own."""
        return self if self.draft < 0 else self._replace(draft=self.draft + by)


@dataclass(frozen=True)
class Draft:
    """A chunk that is to be written, what it needs to be read, and the name of its codec."""

    kind: str
    body: bytes
    codec: bytes = b""
    need: str = ""


@dataclass(frozen=True)
class Stored:
    """How one file is stored: what its directory entry says of its content; what that costs, and what was tried.

    Costs are bytes, of what is shared with others in part. tried: by coding.
    """

    entry: int
    form: str
    size: int
    mode: str = ""
    sample_format: str = ""
    way: int = 0
    width: int = 0
    height: int = 0
    skeleton: bytes = b""
    pieces: tuple[Piece, ...] = ()
    tried: dict[str, int] = field(default_factory=dict)
    cost: int = 0


@dataclass(frozen=True)
class Coded:
    """What a task gives: chunks, and the files (or the tiles of one, by way) that lie in them.

    The task comes back without its pixels, as results of a large file wait for each other. Of a chunk of an array,
    `shape` is that of its images, `length` its bytes, `saved` what a learned codec saves of the best of everything
    else, and `tried` the bytes of its images by coding.
    """

    task: Task
    drafts: list[Draft]
    files: list[Stored]
    tiles: dict[int, Group] = field(default_factory=dict)
    shape: tuple[int, ...] = ()
    length: int = 0
    saved: int = 0
    tried: dict[str, int] = field(default_factory=dict)


@dataclass(frozen=True)
class Group:
    """Images coded in some way: chunks, the pieces of each image, and what each costs. tried: costs by coding."""

    drafts: list[Draft]
    pieces: list[tuple[Piece, ...]]
    costs: Costs
    tried: dict[str, Costs]

    @property
    def alone(self) -> Costs:
        """What each image costs if each is coded alone."""
        costs: Costs = np.min([self.tried[one] for one in ALONE if one in self.tried], axis=0)
        return costs


def encode_task(pool: CodecPool, task: Task) -> Coded:
    """The files of a task, coded."""
    if isinstance(task, ImageTask):
        return encode_images(pool, task)
    if isinstance(task, TileTask):
        return encode_tile(pool, task)
    return encode_bytes(task) if isinstance(task, BytesTask) else encode_array(pool, task)


# --- planes ----------------------------------------------------------------------------------------------------------


def encode_plane(pool: CodecPool, images: Pixels, levels: int, options: StorageOptions) -> Group:
    """The shortest coding of uint8 images (N, H, W, C) of so many levels (uint16 for 65,536)."""
    best = encode_each(images, levels, options)
    if levels > 256:
        return best
    found = [best]
    few = sample_of(images)
    most = CHUNK_PIXELS.get((images.shape[3], levels), 2**16)
    tried_on_few = encode_learned(pool, images[few], levels, most)
    if tried_on_few is not None and tried_on_few.costs.sum() < SAMPLE_SLACK * best.costs[few].sum():
        learned = encode_learned(pool, images, levels, most) if len(images) > few.stop else tried_on_few
        found.extend([learned] if learned else [])
    found.extend(_encode_sheets(images, options, best))
    best = min(found, key=lambda group: float(group.costs.sum()))
    tried: dict[str, Costs] = {}
    for group in found:
        for coding, costs in group.tried.items():
            tried[coding] = np.minimum(costs, tried.get(coding, costs))
    return Group(best.drafts, best.pieces, best.costs, tried)


def sample_of(images: Pixels) -> slice:
    """The first few images: all of a small group, at least two."""
    return slice(0, min(len(images), max(2, SAMPLE_PIXELS // (images.shape[1] * images.shape[2]))))


def encode_each(images: Pixels, levels: int, options: StorageOptions) -> Group:
    """Every image alone, as WebP, PNG or, where that is asked for, JPEG XL."""
    pieces: list[tuple[Piece, ...]] = []
    tried: dict[str, list[float]] = defaultdict(list)
    for image in images:
        coded: dict[str, bytes] = {}
        for coding in ALONE[: 3 if options.jpegxl else 2]:
            with suppress(ValueError):  # too large, or too many levels
                coded[coding] = coding_named(coding).encode(image, levels)
            tried[coding].append(len(coded[coding]) + PLACE_BYTES if coding in coded else np.inf)
        coding = min(coded, key=lambda one: len(coded[one]))
        pieces.append((Piece(length=len(coded[coding]), coding=coding, data=coded[coding]),))
    costs = {coding: np.array(sizes) for coding, sizes in tried.items()}
    return Group([], pieces, np.min(list(costs.values()), axis=0), costs)


def encode_learned(pool: CodecPool, images: Pixels, levels: int, most: int) -> Group | None:
    """Chunks of a learned codec, or None if there is none for such images. most: pixels of a chunk."""
    source = pool.choose(images, levels)
    if source is None:
        return None
    drafts: list[Draft] = []
    pieces: list[tuple[Piece, ...]] = []
    costs = np.zeros(len(images))
    parts = split_evenly(len(images), max(1, most // (images.shape[1] * images.shape[2])))
    try:
        for number, part in enumerate(parts):
            body, bits = pool.encode(source, images[part])
            packed = body.pack()
            drafts.append(Draft(LEARNED, packed, source.digest))
            pieces.extend((Piece(number, position),) for position in range(body.count))
            rest = len(packed) + FRAME_BYTES - bits.sum() / 8  # of the message, and around it
            costs[part] = bits / 8 + rest / body.count + PLACE_BYTES / 4
    except InputError:
        return None  # images of another size than the codec takes
    return Group(drafts, pieces, costs, {"learned": costs})


def _encode_sheets(images: Pixels, options: StorageOptions, best: Group) -> Iterator[Group]:
    """Small images in sheets of each coding that comes near to the best so far on a few of them."""
    count, height, width, channels = images.shape
    if count < 2 or height * width > SHEET_PIXELS:
        return
    few = images[sample_of(images)][: max(1, SHEET_HEIGHT // height)]
    codings = ["lzma"] + ["lzma-planar"] * (channels > 1)
    if max(height, width) <= SHEET_HEIGHT:
        codings = ["webp"] + ["jpegxl"] * options.jpegxl + codings
    sizes = {coding: len(coding_named(coding).encode_sheet(few, hard=False)) for coding in codings}
    bar = SAMPLE_SLACK * min(best.costs[: len(few)].sum(), *sizes.values())
    for coding in codings:
        if sizes[coding] < bar or len(few) == count:
            hard = coding == "webp" and len(coding_named(coding).encode_sheet(few)) < HARD_GAIN * sizes[coding]
            most = 2**24 if coding.startswith("lzma") else SHEET_HEIGHT // height
            yield _encode_sheet(images, coding, best, hard, most)


def _encode_apart(images: Pixels, options: StorageOptions, best: Group) -> Iterator[Group]:
    """Images of an array in a sheet each, in each coding that comes near to the best so far on the first of them."""
    count, height, width, _ = images.shape
    if max(height, width) > SHEET_HEIGHT or height * width > MAX_APART_PIXELS:
        return
    for coding in ["webp"] + ["jpegxl"] * options.jpegxl:
        if count == 1 or len(coding_named(coding).encode_sheet(images[:1], hard=False)) < SAMPLE_SLACK * best.costs[0]:
            yield _encode_sheet(images, coding, best, False, 1)


def _encode_sheet(images: Pixels, coding: str, best: Group, hard: bool, most: int) -> Group:
    """All images in sheets of at most so many. An image's share of one is in proportion to what it costs alone."""
    drafts: list[Draft] = []
    pieces: list[tuple[Piece, ...]] = []
    costs = np.zeros(len(images))
    need = coding if coding == "jpegxl" else ""
    for number, part in enumerate(split_evenly(len(images), most)):
        count, height, width, channels = images[part].shape
        stream = coding_named(coding).encode_sheet(images[part], hard=hard)
        digest = digest64(images[part].tobytes())
        body = SheetBody(digest, coding, channels, count, height, width, stream).pack()
        drafts.append(Draft(SHEET, body, need=need))
        pieces.extend((Piece(number, position),) for position in range(count))
        share = best.costs[part] / best.costs[part].sum()
        costs[part] = (len(body) + FRAME_BYTES) * share + PLACE_BYTES / 4
    return Group(drafts, pieces, costs, {f"sheet ({coding})" if most > 1 else coding: costs})


def join_planes(groups: Sequence[Group]) -> Group:
    """The planes of the same images as one group."""
    drafts: list[Draft] = []
    pieces: list[tuple[Piece, ...]] = [() for _ in groups[0].pieces]
    for group in groups:
        pieces = [
            (*before, *(piece.moved(len(drafts)) for piece in more))
            for before, more in zip(pieces, group.pieces, strict=True)
        ]
        drafts.extend(group.drafts)
    common = set.intersection(*(set(group.tried) for group in groups))
    tried = {coding: np.sum([group.tried[coding] for group in groups], axis=0) for coding in sorted(common)}
    return Group(drafts, pieces, np.sum([group.costs for group in groups], axis=0), tried)


# --- image files -----------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Opened:
    """An image file and its picture."""

    entry: int
    data: bytes
    picture: Picture
    colours: NDArray[np.uint8] | None
    ways: tuple[int, ...]

    @classmethod
    def of(cls, entry: int, data: bytes, picture: Picture) -> Opened:
        """With its palette, and the ways that its samples can go and be found again."""
        colours = palette(picture.form, picture.sample_format, picture.skeleton)
        some = plane_layouts(picture.sample_format, colours)
        if any(way & COLOURS for way in some) and to_planes(picture.samples, picture.sample_format, COLOURS, colours) is None:
            some = tuple(way for way in some if not way & COLOURS)
        return cls(entry, data, picture, colours, some)


Part = tuple[NDArray[np.intp], int, Group]  # numbers of files, their way, their coding


def encode_images(pool: CodecPool, task: ImageTask) -> Coded:
    """Image files of one mode and size."""
    shape = task.expected.height, task.expected.width
    coded = Coded(task, [], [])
    alike: dict[str, list[Opened]] = defaultdict(list)
    for entry, path in zip(task.entries, task.paths, strict=True):
        data = read_file(path)
        picture = split_image(data, task.options.exact)
        if picture is None or picture.samples.shape[:2] != shape:
            coded.files.append(_as_bytes(entry, data, task.expected))
        else:
            alike[picture.sample_format].append(Opened.of(entry, data, picture))
    for kind in sorted(alike):
        for drafts, files in _encode_alike(pool, alike[kind], task):
            by = len(coded.drafts)
            coded.drafts.extend(drafts)
            coded.files.extend(_moved(file, by) for file in files)
    return coded


def _moved(file: Stored, by: int) -> Stored:
    return replace(file, pieces=tuple(piece.moved(by) for piece in file.pieces))


Result = tuple[list[Draft], list[Stored]]


def _encode_alike(pool: CodecPool, files: list[Opened], task: ImageTask, together: bool = True) -> Iterator[Result]:
    """Files of one kind and size, in the shortest way; those that are better off alone are coded once more, alone."""
    skeletons = _skeleton_costs(files)
    parts = _best_parts(pool, files, task.options, together)
    leaving: list[Opened] = []
    staying: list[Opened] = []
    results: list[Result] = []
    for numbers, way, group in parts:
        members = [files[number] for number in numbers]
        costs = group.costs + skeletons[numbers]
        original = np.array([len(file.data) + PLACE_BYTES for file in members], float)
        alone = np.minimum(original, group.alone + skeletons[numbers])
        if any(draft.kind == SHEET for draft in group.drafts):
            costs = alone * (costs.sum() / alone.sum())  # a sheet has no bytes of one image: all gain alike
            group = replace(group, costs=costs - skeletons[numbers])
        excess = costs - alone
        if group.drafts and together and (excess.max() > MOST_EXCESS or excess.clip(0).sum() > 0.01 * costs.sum()):
            leaving.extend(file for file, more in zip(members, excess, strict=True) if more > 0)
            staying.extend(file for file, more in zip(members, excess, strict=True) if more <= 0)
            continue
        stored = [
            _as_bytes(file.entry, file.data, task.expected, _tried(group, number, skeletons[numbers[number]]))
            if not group.drafts and original[number] <= costs[number]
            else _as_pixels(file, way, group, number, skeletons[numbers[number]])
            for number, file in enumerate(members)
        ]
        results.append((group.drafts, stored))
    yield from results
    if leaving:
        yield from _encode_alike(pool, leaving, task, together=False)
    if staying:
        yield from _encode_alike(pool, staying, task)


def _best_parts(pool: CodecPool, files: list[Opened], options: StorageOptions, together: bool) -> list[Part]:
    """The files in the way, or ways, that cost the least. Of a large group the ways are tried on some files."""
    candidates = sorted({way for file in files for way in file.ways})
    if len(candidates) > 1 and len(files) > 2 * SAMPLE_FILES:
        first = len(files) // 3
        few = files[first : first + SAMPLE_FILES]
        candidates = [min(candidates, key=lambda way: _total(_encode_parts(pool, few, way, options, together)))]
    return min((_encode_parts(pool, files, way, options, together) for way in candidates), key=_total)


def _total(parts: list[Part]) -> float:
    return sum(float(group.costs.sum()) for _, _, group in parts)


def _encode_parts(pool: CodecPool, files: list[Opened], way: int, options: StorageOptions, together: bool) -> list[Part]:
    """The files that can go some way in that way, apart by the channels of their palettes, and the others whole."""
    numbers: dict[tuple[int, int], list[int]] = defaultdict(list)
    for number, file in enumerate(files):
        own = way if way in file.ways else 0
        depth = file.colours.shape[1] if own & COLOURS and file.colours is not None else 0
        numbers[own, depth].append(number)
    return [
        (np.array(some, np.intp), own, _encode_way(pool, [files[one] for one in some], own, options, together))
        for (own, _), some in sorted(numbers.items())
    ]


def _encode_way(pool: CodecPool, files: list[Opened], way: int, options: StorageOptions, together: bool) -> Group:
    """Files, all in one way."""
    kind = files[0].picture.sample_format
    depth = 0 if files[0].colours is None else files[0].colours.shape[1]
    stacks: list[list[Any]] = [[] for _ in plane_shapes(kind, way, depth)]
    for file in files:
        planes = to_planes(file.picture.samples, kind, way, file.colours)
        for stack, plane in zip(stacks, planes or (), strict=True):
            stack.append(plane)
    groups = []
    for stack, (_, levels) in zip(stacks, plane_shapes(kind, way, depth), strict=True):
        images = np.stack(stack)
        if together:
            groups.append(encode_plane(pool, images, levels, options))
        else:
            groups.append(encode_each(images, levels, options))
    return join_planes(groups)


def _skeleton_costs(files: list[Opened]) -> Costs:
    """What each file's skeleton costs, with those of all packed together and equal ones stored once."""
    distinct = list(dict.fromkeys(file.picture.skeleton for file in files if file.picture.skeleton))
    whole = len(shortest(b"".join(distinct))[1]) if distinct else 0
    share = whole / max(1, sum(map(len, distinct)))
    uses: dict[bytes, int] = defaultdict(int)
    for file in files:
        uses[file.picture.skeleton] += 1
    return np.array(
        [len(file.picture.skeleton) * share / uses[file.picture.skeleton] + PLACE_BYTES * bool(file.picture.skeleton)
         for file in files]
    )  # fmt: skip


def _tried(group: Group, number: int, skeleton: float) -> dict[str, int]:
    own = {coding: float(costs[number]) for coding, costs in group.tried.items()}
    return {coding: round(cost + skeleton) for coding, cost in own.items() if cost < np.inf}


def _as_pixels(file: Opened, way: int, group: Group, number: int, skeleton: float) -> Stored:
    picture = file.picture
    height, width = picture.samples.shape[:2]
    about = SAMPLE_FORMATS[picture.sample_format].mode, picture.sample_format, way, width, height, picture.skeleton
    tried = _tried(group, number, skeleton) | {"original": len(file.data)}
    cost = round(float(group.costs[number]) + skeleton)
    return Stored(file.entry, picture.form, len(file.data), *about, group.pieces[number], tried, cost)


def _as_bytes(entry: int, data: bytes, seen: Probe | None, tried: dict[str, int] | None = None) -> Stored:
    mode, width, height = _seen(seen)
    parts = [data[start : start + PIECE_BYTES] for start in range(0, len(data), PIECE_BYTES)]
    pieces = tuple(Piece(length=len(part), data=part) for part in parts)
    sizes = {**(tried or {}), "original": len(data)}
    return Stored(entry, "bytes", len(data), mode, "", 0, width, height, b"", pieces, sizes, len(data))


def _seen(seen: Probe | None) -> tuple[str, int, int]:
    """Mode, width and height for the directory."""
    if seen is None:
        return "", 0, 0
    return seen.mode if seen.mode in MODES else "other", seen.width, seen.height


# --- tiles, bytes, arrays --------------------------------------------------------------------------------------------


def encode_tile(pool: CodecPool, task: TileTask) -> Coded:
    """A tile of a large image, in every way that it allows: which is taken is known when all tiles are coded."""
    tiles = {}
    for way, planes in task.planes.items():
        groups = [encode_plane(pool, plane[None], levels, task.options) for plane, levels in planes]
        tiles[way] = join_planes(groups)
    return Coded(replace(task, planes={}), [], [], tiles)


def encode_bytes(task: BytesTask) -> Coded:
    """A chunk of small files, or of one piece of a large file."""
    parts = [read_piece(*piece) for piece in task.pieces]
    body = pack_bytes(b"".join(parts))
    total = sum(map(len, parts))
    files = []
    for position, (entry, part, seen) in enumerate(zip(task.entries, parts, task.probes, strict=True)):
        mode, width, height = _seen(seen)
        pieces = (Piece(0, position, len(part)),)
        cost = len(body) * len(part) // total
        files.append(Stored(entry, "bytes", len(part), mode, "", 0, width, height, b"", pieces, {}, cost))
    return Coded(task, [Draft(BYTES, body)], files)


def encode_array(pool: CodecPool, task: ArrayTask) -> Coded:
    """A chunk of an array: its images by a codec, in sheets, or apart, or its bytes, whichever is shortest."""
    plain = [Draft(BYTES, pack_bytes(task.rest if task.images is None else task.images.tobytes()))]
    bare = replace(task, images=None, rest=b"")
    if task.images is None:
        return Coded(bare, plain, [], length=len(task.rest))
    images = np.array(task.images, order="C")  # a copy: torch dislikes arrays that are mapped read-only
    most = ARRAY_CHUNK_PIXELS.get((images.shape[3], task.levels), 2**16)
    learned = encode_learned(pool, images, task.levels, most)
    best = learned or Group([], [], np.full(len(images), total_bytes(plain) / len(images)), {})
    found = {"bytes": plain}
    for encode in (_encode_sheets, _encode_apart):
        for group in encode(images, task.options, best):
            found.update(dict.fromkeys(group.tried, group.drafts))
            best = min(best, group, key=lambda one: float(one.costs.sum()))
    classical = min(map(total_bytes, found.values()))
    found.update({"learned": learned.drafts} if learned else {})
    tried = {coding: total_bytes(drafts) for coding, drafts in found.items()}
    coding = min(tried, key=lambda one: tried[one])
    saved = max(0, classical - tried.get("learned", classical))
    return Coded(bare, found[coding], [], {}, images.shape, images.nbytes, saved, tried)


def total_bytes(drafts: Iterable[Draft]) -> int:
    """The bytes of chunks, with their frames."""
    return sum(len(draft.body) + FRAME_BYTES for draft in drafts)
