"""What learned codecs will code of the files of an archive: planes of pixels, or a sample of them, to learn on."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Final

import numpy as np

from bbcodec.archive.write.image_storage import OpenedImage
from bbcodec.archive.write.tasks import ArrayFile, ArrayTask, ImageTask, PlannedTask, Task, TileTask, opened
from bbcodec.codec.pool import Pixels
from bbcodec.errors import BBCodecError
from bbcodec.images.image_files import split_image
from bbcodec.images.npy import Images
from bbcodec.images.planes import TWO_LEVELS, WHOLE, plane_shapes
from bbcodec.input_files import read_file

SAMPLE_VALUES: Final = 2**27  # more than can be looked at in an hour
PIXEL_FORMATS: Final = ((3, 256), (1, 256), (1, 2))  # channels and levels, of learned codecs

PixelKey = tuple[int, int]


@dataclass
class LearnableImages:
    """Images of one pixel format, uint8 (H, W, C) each, and about how many values there are in all files like these."""

    images: list[Pixels] = field(default_factory=list)
    total: int = 0
    levels: int = 256

    @property
    def raw_bytes(self) -> int:
        """About how many bytes all files like these take raw: what learning from them may cost. A value has a byte, or
        a bit where there are two levels."""
        return self.total if self.levels > 2 else self.total // 8

    @property
    def values(self) -> int:
        """The values of the images."""
        return sum(image.size for image in self.images)


def learnable_images(tasks: Sequence[PlannedTask], most: int = SAMPLE_VALUES) -> dict[PixelKey, LearnableImages]:
    """The images of tasks by channels and levels; of about `most` values, drawn by task. The same at each call."""
    found = {key: LearnableImages(levels=key[1]) for key in PIXEL_FORMATS}
    work = read = 0
    for number in np.random.default_rng(0).permutation(len(tasks)):
        task = tasks[number]
        work += task.work
        if read < most:
            read += task.work
            every = -(-task.work // most) if isinstance(task, ArrayFile) else 1
            for pixels, levels in _planes_of_planned(task, every):
                if one := found.get((pixels.shape[2], levels)):
                    one.images.append(pixels)
                    one.total += pixels.size * every
    for one in found.values():
        one.total = round(one.total * work / max(1, read))
    return {key: one for key, one in sorted(found.items()) if one.images}


def _planes_of_planned(task: PlannedTask, every: int) -> Iterator[tuple[Pixels, int]]:
    """Planes (H, W, C) of a task, with their levels; of every so manieth part of it. Files that have gone have none."""
    with suppress(BBCodecError, OSError):  # compressing tells
        for number, part in enumerate(opened([task])):
            if number % every == 0:
                yield from _planes_of(part)


def _planes_of(task: Task) -> Iterator[tuple[Pixels, int]]:
    if isinstance(task, TileTask):
        yield from task.layouts[_best_layout(task.outline.sample_format, task.layouts)]
    elif isinstance(task, ArrayTask) and isinstance(task.content, Images):
        yield from ((image, task.content.levels) for image in task.content.pixels)
    elif isinstance(task, ImageTask):
        for file in task.files:
            data = read_file(file.path)
            picture = split_image(data, task.options.exact)
            if picture is not None:
                yield from _planes_of_image(OpenedImage.of(file.entry, data, picture))


def _planes_of_image(image: OpenedImage) -> Iterator[tuple[Pixels, int]]:
    """The planes of an image in its best layout."""
    layout = _best_layout(image.picture.sample_format, image.layouts)
    shapes = plane_shapes(image.picture.sample_format, layout, image.palette_channels)
    yield from ((plane, shape.levels) for plane, shape in zip(image.planes(layout), shapes, strict=True))


def _best_layout(sample_format: str, layouts: Iterable[int]) -> int:
    """The plane layout that learned codecs take best: two levels, 16 bits whole, else as finely split as possible."""
    best = max(layouts)
    return WHOLE if sample_format == "L16" and best not in TWO_LEVELS else best
