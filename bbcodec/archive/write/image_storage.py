"""Storage of image files of one mode and size: the cheapest plane layout and coding, together or alone.

Three steps, repeated (`settle`) until every file has its place. `choose` makes groups of the files, each in one plane
layout, so that all cost the least. `evict` breaks a group up in which files cost too much: those that are better off
alone are coded alone, and the others begin anew. `store` makes records for the writer of the groups that are kept.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Final

import numpy as np

from bbcodec.archive.format.chunks import LEARNED, SHEET
from bbcodec.archive.write.byte_parts import KeptFile, files_as_bytes, packed_size
from bbcodec.archive.write.candidates import PLACE_BYTES, Candidate, Costs, encode_each, encode_plane, join_planes
from bbcodec.archive.write.coded import CodedFiles, DraftChunk, Piece, StoredFile
from bbcodec.archive.write.tasks import ImageDescription, ImageTask
from bbcodec.archive.write.trials import least_packed
from bbcodec.binary import shortest
from bbcodec.codec.pool import CodecPool, Pixels
from bbcodec.images.image_files import Picture, palette, split_image
from bbcodec.images.planes import COLOURS, TWO_LEVELS, WHOLE, Plane, layouts_of, plane_shapes, to_planes
from bbcodec.images.samples import Bytes
from bbcodec.input_files import read_file
from bbcodec.sample_formats import SAMPLE_FORMATS

SAMPLE_FILES: Final = 128  # on which the plane layout of a larger group is chosen
MAX_EXCESS: Final = 64  # bytes that a file may cost more in company than alone
MAX_EXCESS_SHARE: Final = 0.01  # of the cost of a group, that its files may cost more in company in all

# Images (N, H, W, C) of so many levels, stored. The third argument is a number of bytes: what costs more is not wanted.
PlaneEncoder = Callable[[Pixels, int, float], Candidate]


def encode_images(pool: CodecPool, task: ImageTask) -> CodedFiles:
    """The files of a task, stored: as pixels, or as bytes where they cannot be restored from their pixels."""
    described = ImageDescription.of(task.expected)
    shape = task.expected.height, task.expected.width
    chunks: list[DraftChunk] = []
    stored: list[StoredFile] = []
    kept: list[KeptFile] = []
    alike: dict[str, list[OpenedImage]] = defaultdict(list)
    for file in task.files:
        data = read_file(file.path)
        picture = split_image(data, task.options.exact or None)
        if picture is None or picture.samples.shape[:2] != shape:
            kept.append(KeptFile(file.entry, data, described))
        else:
            alike[picture.sample_format].append(OpenedImage.of(file.entry, data, picture))

    def together(images: Pixels, levels: int, bar: float) -> Candidate:
        return encode_plane(pool, images, levels, task.options, bar)

    def apart(images: Pixels, levels: int, bar: float) -> Candidate:
        return encode_each(images, levels, task.options)

    for sample_format in sorted(alike):
        for group in settle(alike[sample_format], together, apart):
            for file_stored in store(group, described):
                if isinstance(file_stored, KeptFile):
                    kept.append(file_stored)
                else:
                    stored.append(file_stored.moved(len(chunks)))
            chunks.extend(group.chunks)
    as_they_are = files_as_bytes(kept)
    stored.extend(file.moved(len(chunks)) for file in as_they_are.files)
    return CodedFiles(chunks + as_they_are.chunks, stored)


def settle(files: Sequence[OpenedImage], together: PlaneEncoder, apart: PlaneEncoder) -> Iterator[ImageGroup]:
    """The groups in which files of one sample format and size are best stored."""
    remaining = list(files)
    while remaining:
        leaving: list[OpenedImage] = []
        staying: list[OpenedImage] = []
        for group in choose(remaining, together):
            evicted = evict(group)
            leaving.extend(evicted.leaving)
            staying.extend(evicted.staying)
            if not evicted.leaving:
                yield group
        if leaving:
            yield from choose(leaving, apart)
        remaining = staying


# --- opened files and groups -----------------------------------------------------------------------------------------


@dataclass(frozen=True)
class OpenedImage:
    """An image file taken apart, its palette, and the plane layouts that restore its samples."""

    entry: int
    data: bytes
    picture: Picture
    palette: Bytes | None
    layouts: tuple[int, ...]

    @classmethod
    def of(cls, entry: int, data: bytes, picture: Picture) -> OpenedImage:
        """From an image file and its picture."""
        colours = palette(picture.form, picture.sample_format, picture.skeleton)
        return cls(entry, data, picture, colours, layouts_of(picture.samples, picture.sample_format, colours))

    @property
    def palette_channels(self) -> int:
        """3 or 4 with a palette, else 0."""
        return 0 if self.palette is None else self.palette.shape[1]

    @cached_property
    def _least_packed(self) -> float:
        return least_packed(self.data)

    @cached_property
    def _packed(self) -> int:
        return packed_size(self.data)

    def original_cost(self, bar: float) -> int:
        """What its bytes cost as they are, compressed; it may be too many if they are over the bar in any case."""
        return (self._packed if self._least_packed <= bar else len(self.data)) + PLACE_BYTES

    def planes(self, layout: int) -> list[Plane]:
        """Its samples in one of its plane layouts."""
        planes = to_planes(self.picture.samples, self.picture.sample_format, layout, self.palette)
        if planes is None:
            raise RuntimeError(f"plane layout {layout} does not restore the samples of a file")
        return planes


@dataclass(frozen=True)
class Member:
    """A file of a group: its pieces in the group's chunks, and what it costs there and elsewhere, in bytes.

    cost: in the group, with its skeleton. alone: coded alone, or as it is, at least. original: as it is. stored_bytes:
    `cost`, as reports have it. tried: by storage coding, with the skeleton.
    """

    file: OpenedImage
    pieces: tuple[Piece, ...]
    cost: float
    alone: float
    original: int
    stored_bytes: int
    tried: dict[str, int]

    @property
    def excess(self) -> float:
        """How much more it costs in the group than alone."""
        return self.cost - self.alone

    @property
    def saved(self) -> int:
        """How much less it costs than in the best coding that is not learned, at least."""
        others = [size for coding, size in self.tried.items() if coding != "learned"]
        return round(min([self.alone, *others]) - self.cost)


@dataclass(frozen=True)
class ImageGroup:
    """Files stored together in one plane layout. Where each is coded alone, there are no chunks."""

    layout: int
    chunks: list[DraftChunk]
    members: list[Member]


# --- choose ----------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class _CodedLayout:
    """Files in one plane layout, and how their planes are best stored."""

    layout: int
    files: list[OpenedImage]
    candidate: Candidate


def choose(files: Sequence[OpenedImage], encode: PlaneEncoder) -> list[ImageGroup]:
    """The files as groups, in the plane layouts that cost the least. Of many files, some are tried."""
    uses = Counter(layout for file in files for layout in file.layouts)
    layouts = sorted(one for one in uses if one not in TWO_LEVELS or 2 * uses[one] >= len(files)) or [WHOLE]
    if len(layouts) > 1 and len(files) > 2 * SAMPLE_FILES:
        first = len(files) // 3
        few = files[first : first + SAMPLE_FILES]
        layouts = [min(layouts, key=lambda layout: _total(_encode_layout(few, layout, encode)))]
    coded: dict[int, list[_CodedLayout]] = {}
    for layout in reversed(layouts):  # so that planes that learned codecs take come first
        bar = min(map(_total, coded.values()), default=np.inf) if len(files) == 1 else np.inf
        coded[layout] = _encode_layout(files, layout, encode, bar)
    cheapest = min(layouts, key=lambda layout: _total(coded[layout]))
    skeletons = skeleton_costs(files)
    return [ImageGroup(one.layout, one.candidate.chunks, _members(one, skeletons)) for one in coded[cheapest]]


def _total(coded: Iterable[_CodedLayout]) -> float:
    return sum(one.candidate.total for one in coded)


def _encode_layout(
    files: Sequence[OpenedImage], layout: int, encode: PlaneEncoder, bar: float = np.inf
) -> list[_CodedLayout]:
    """Files in a plane layout, those that lack it as they are; one group for each number of palette channels.

    bar: bytes that all may cost, or they are not wanted.
    """
    alike: dict[tuple[int, int], list[OpenedImage]] = defaultdict(list)
    for file in files:
        own = layout if layout in file.layouts else WHOLE
        alike[own, file.palette_channels if own & COLOURS else 0].append(file)
    return [_CodedLayout(own, some, _encode_alike(some, own, encode, bar)) for (own, _), some in sorted(alike.items())]


def _encode_alike(files: list[OpenedImage], layout: int, encode: PlaneEncoder, bar: float) -> Candidate:
    """Files in one layout that give planes of the same shapes. bar: as above."""
    shapes = plane_shapes(files[0].picture.sample_format, layout, files[0].palette_channels)
    stacks: list[list[Plane]] = [[] for _ in shapes]
    for file in files:
        for stack, plane in zip(stacks, file.planes(layout), strict=True):
            stack.append(plane)
    bar = bar if len(shapes) == 1 else np.inf
    planes = zip(stacks, shapes, strict=True)
    return join_planes([encode(np.stack(stack), shape.levels, bar) for stack, shape in planes])


def skeleton_costs(files: Iterable[OpenedImage]) -> dict[int, float]:
    """What each file's skeleton costs, by entry, with those of all packed together and equal ones stored once."""
    skeletons = {file.entry: file.picture.skeleton for file in files}
    uses: dict[bytes, int] = defaultdict(int)
    for skeleton in skeletons.values():
        uses[skeleton] += 1
    distinct = [skeleton for skeleton in uses if skeleton]
    whole = len(shortest(b"".join(distinct))[1]) if distinct else 0
    share = whole / max(1, sum(map(len, distinct)))
    return {
        entry: len(skeleton) * share / uses[skeleton] + PLACE_BYTES * bool(skeleton)
        for entry, skeleton in skeletons.items()
    }


def _members(coded: _CodedLayout, skeletons: dict[int, float]) -> list[Member]:
    """The files of a group with their costs."""
    candidate = coded.candidate
    skeleton: Costs = np.array([skeletons[file.entry] for file in coded.files])
    planes = candidate.costs
    costs = planes + skeleton
    original: Costs = np.array([file.original_cost(cost) for file, cost in zip(coded.files, costs, strict=True)], float)
    alone = np.minimum(original, candidate.alone + skeleton)
    if any(chunk.type == SHEET for chunk in candidate.chunks):
        costs = alone * (costs.sum() / alone.sum())  # a sheet has no bytes of one image: all gain alike
        planes = costs - skeleton
    return [
        Member(
            file,
            candidate.pieces[number],
            cost=float(costs[number]),
            alone=float(alone[number]),
            original=int(original[number]),
            stored_bytes=round(float(planes[number]) + skeletons[file.entry]),
            tried={
                coding: round(float(each[number]) + skeletons[file.entry])
                for coding, each in candidate.tried.items()
                if each[number] < np.inf
            },
        )
        for number, file in enumerate(coded.files)
    ]


# --- evict -----------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Eviction:
    """The files of a group that is broken up: those that are better off alone, and those that stay together."""

    leaving: list[OpenedImage]
    staying: list[OpenedImage]


def evict(group: ImageGroup) -> Eviction:
    """The files of a group in which one of them, or all together, cost too much; none where the group is kept."""
    if not group.chunks:
        return Eviction([], [])
    excess = np.array([member.excess for member in group.members])
    total = np.array([member.cost for member in group.members]).sum()
    if excess.max() <= MAX_EXCESS and excess.clip(0).sum() <= MAX_EXCESS_SHARE * total:
        return Eviction([], [])
    return Eviction(
        leaving=[member.file for member in group.members if member.excess > 0],
        staying=[member.file for member in group.members if member.excess <= 0],
    )


# --- store -----------------------------------------------------------------------------------------------------------


def store(group: ImageGroup, described: ImageDescription) -> Iterator[StoredFile | KeptFile]:
    """How each file of a group is stored. described: what is known of those that are kept as bytes."""
    picture = group.members[0].file.picture
    height, width = picture.samples.shape[:2]
    mode = SAMPLE_FORMATS[picture.sample_format].mode
    image = ImageDescription(mode, picture.sample_format, group.layout, width, height)
    learned = any(chunk.type == LEARNED for chunk in group.chunks)
    for member in group.members:
        file = member.file
        if not group.chunks and member.original <= member.cost:
            yield KeptFile(file.entry, file.data, described, member.tried)
        else:
            yield StoredFile(
                entry=file.entry,
                form=file.picture.form,
                size=len(file.data),
                image=image,
                skeleton=file.picture.skeleton,
                pieces=member.pieces,
                cost=member.stored_bytes,
                tried=member.tried | {"original": member.original - PLACE_BYTES},
                saved=member.saved if learned else 0,
            )
