"""Data sets for training: the images of one pixel format, some of them held out."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Final

import numpy as np
from numpy.typing import NDArray

from bbcodec.codec.codec import PixelFormat
from bbcodec.errors import InputError
from bbcodec.models.training.image_sources import (
    FORMAT_NAMES,
    FORMATS,
    MAX_NAMED,
    FoundImages,
    Images,
    Pixels,
    counted,
    find_images,
)
from bbcodec.models.training.random_streams import Purpose, generator
from bbcodec.models.training.recipes import TrainingSettings
from bbcodec.prediction.planes import predicted

HELD_OUT_SHARE: Final = 0.05
COVERED_SHARE: Final = 0.9  # of the pixels, in `Dataset.max_crop_side`


@dataclass(frozen=True)
class Dataset:
    """Images of one pixel format, uint8 or uint16 (H, W, C), to train on and held out."""

    train: Images
    valid: Images
    pixels: PixelFormat
    notes: tuple[str, ...] = ()  # lines for the user: what was skipped, and why
    binarise: bool = False  # whether pixels are grey levels, binarised at random each time they are used
    chosen: bool = False  # whether the held-out images were chosen from the input, not given

    @property
    def size(self) -> tuple[int, int] | None:
        """Height and width of all images, or None if they differ."""
        sizes = {image.shape[:2] for images in (self.train, self.valid) for image in _of_each_size(images)}
        return next(iter(sizes)) if len(sizes) == 1 else None

    def seen(self) -> Dataset:
        """The same as a network sees it: of 16 bits the tokens of prediction errors, of one stack or of each image."""
        if not self.pixels.deep:
            return self
        return replace(self, train=_tokens(self.train), valid=_tokens(self.valid), pixels=self.pixels.seen)

    def smallest(self) -> tuple[int, int]:
        """The smallest height and the smallest width of any image."""
        shapes = [image.shape for images in (self.train, self.valid) for image in _of_each_size(images)]
        return min(shape[0] for shape in shapes), min(shape[1] for shape in shapes)

    def max_crop_side(self) -> int:
        """The side of the largest square crop that fits into images with 90 % of all training pixels."""
        pairs = [(min(one.shape[:2]), one.shape[0] * one.shape[1]) for one in _of_each_size(self.train)]
        sides, pixels = np.array(sorted(pairs, reverse=True)).T
        reached = np.searchsorted(np.cumsum(pixels), COVERED_SHARE * pixels.sum())
        return int(sides[min(reached, len(sides) - 1)])

    def digest(self) -> str:
        """A digest of all images, and of which are held out."""
        seen = hashlib.blake2b(digest_size=16)
        for images in (self.train, self.valid):
            for one in images if isinstance(images, list) else [images]:
                seen.update(repr(one.shape).encode())
                seen.update(np.ascontiguousarray(one).data)
        return seen.hexdigest()


def _tokens(images: Images) -> Images:
    """Tokens uint8 of images of 16 bits."""
    if isinstance(images, list):
        return [predicted(image[None, ..., 0]).tokens[0, ..., None] for image in images]
    return predicted(images[..., 0]).tokens[..., None]


def _of_each_size(images: Images) -> Sequence[Pixels]:
    """All images if sizes may differ, otherwise one."""
    return images if isinstance(images, list) else [images[0]]


def load_dataset(
    inputs: Sequence[Path],
    valid: Sequence[Path] = (),
    *,
    levels: int | None = None,
    valid_images: int = 1000,
    seed: int = 0,
) -> Dataset:
    """The images of folders, files and arrays, of the pixel format with most pixels of those with enough images.

    valid: the held-out images; without it some 5 % of the others are held out, at least one, chosen by the seed and
    the number of images alone. At most `valid_images` are held out. levels: None uses images as they are (mode `1`,
    and arrays without values above 1, have two levels); 256 makes two-level images grey; 2 binarises grey images each
    time they are used. Raises InputError if there are too few images, or no held-out ones of that pixel format.
    """
    found = find_images(inputs, levels)
    key = found.largest(enough=1 if valid else 2)
    if not found.count(key):
        reason = next(found.notes(key), "")
        raise InputError(f"no images in {_listed(inputs)}" + (f" ({reason})" if reason else ""))
    notes = list(found.notes(key))
    if valid:
        others = _found_valid(valid, levels, key)
        notes += [f"held out: {note}" for note in others.notes(key)]
        train, rest = found.images(key), others.images(key)
        held_out = selected(rest, random_subset(len(rest), valid_images, seed))
        notes += overlap_notes(train, held_out)
    else:
        train, held_out = split(found.images(key), valid_images, seed, notes)
    return with_levels(Dataset(train, held_out, FORMATS[key], tuple(notes), chosen=not valid), levels)


def _found_valid(valid: Sequence[Path], levels: int | None, key: str) -> FoundImages:
    """Held-out images. Raises InputError if there are none of the pixel format of this key."""
    found = find_images(valid, levels)
    if not found.count(key):
        others = " and ".join(FORMAT_NAMES[other] for other in FORMATS if found.count(other))
        raise InputError(
            f"no images in {_listed(valid)} are {FORMAT_NAMES[key]} like the training images"
            + (f": they are {others}" if others else "")
        )
    return found


def _listed(paths: Sequence[Path]) -> str:
    return ", ".join(map(str, paths[:MAX_NAMED])) + (" ..." if len(paths) > MAX_NAMED else "")


def with_levels(dataset: Dataset, levels: int | None) -> Dataset:
    """The data set for pixels of this many levels. Raises InputError for two levels of colour images."""
    if levels != 2 or dataset.pixels.levels == 2:
        return dataset
    if dataset.pixels.channels != 1:
        raise InputError("the images are RGB: only grey images can be binarised")
    return replace(dataset, pixels=PixelFormat(1, 2), binarise=True)


# --- held-out images -------------------------------------------------------------------------------------------------


def overlap_notes(train: Images, held_out: Images) -> Iterator[str]:
    """A line if held-out images are training images, too."""
    known = {_digest(image) for image in train}
    count = sum(_digest(image) in known for image in held_out)
    if count:
        are = "is also a training image" if count == 1 else "are also training images"
        yield f"{counted(count, 'held-out')} {are}: expect new images to take more bits"


def _digest(image: Pixels) -> bytes:
    return hashlib.blake2b(repr(image.shape).encode() + image.tobytes(), digest_size=16).digest()


def split(images: Images, valid_images: int, seed: int, notes: Sequence[str] = ()) -> tuple[Images, Images]:
    """Training and held-out images. Raises InputError, with the notes, if there are fewer than two."""
    if len(images) < 2:
        skipped = f" ({'; '.join(notes)})" if notes else ""
        raise InputError(f"expected at least 2 images, one of them to hold out, got 1{skipped}")
    number = max(1, min(valid_images, round(HELD_OUT_SHARE * len(images))))
    out = random_subset(len(images), number, seed)
    return selected(images, np.setdiff1d(np.arange(len(images)), out)), selected(images, out)


def random_subset(count: int, number: int, seed: int) -> NDArray[np.intp]:
    """At most `number` of the first `count` whole numbers, sorted."""
    return np.sort(generator(seed, Purpose.HELD_OUT).permutation(count)[:number])


def selected(images: Images, which: NDArray[np.intp]) -> Images:
    """Some of the images, in this order; one array if they have one size."""
    if not isinstance(images, list):
        return images[which]
    some = [images[n] for n in which]
    return np.stack(some) if len({image.shape for image in some}) == 1 else some


# --- the data set of a run -------------------------------------------------------------------------------------------


def fit(dataset: Dataset, settings: TrainingSettings) -> Dataset:
    """The data set for a run with these settings: without images smaller than a crop, which a note counts.

    Held-out images are then chosen again, unless they were given. Raises InputError if too few images remain, if
    sizes differ and there are no crops, and if `binarise` does not fit the images.
    """
    if settings.binarise and dataset.pixels.levels != 2:
        raise InputError(f"binarise is true, but the images have {dataset.pixels.levels} levels")
    side = settings.crop
    if not side and dataset.size is None:
        raise InputError("images of several sizes need crops: set crop, as in --set crop=64")
    parts = [dataset.train, dataset.valid]
    if dataset.chosen:
        parts = [[*dataset.train, *dataset.valid]]
    kept = [[n for n, one in enumerate(images) if min(one.shape[:2]) >= side] for images in parts]
    small = sum(map(len, parts)) - sum(map(len, kept))
    if not small:
        return dataset
    crops = f"crops of {side} x {side} pixels"
    height, width = dataset.smallest()
    hint = f"set a smaller crop, as in --set crop={min(height, width)}"
    if not all(kept):
        part = "" if dataset.chosen else "training " if not kept[0] else "held-out "
        raise InputError(f"no {part}image is as large as {crops}: the smallest is {width} x {height}; {hint}")
    if dataset.chosen and len(kept[0]) == 1:
        raise InputError(f"expected at least 2 images as large as {crops}, got 1; {hint}")
    images = [selected(images, np.array(which)) for images, which in zip(parts, kept, strict=True)]
    train, valid = split(images[0], settings.valid_images, settings.seed) if dataset.chosen else images
    notes = (*dataset.notes, f"skipped {counted(small)} smaller than {crops}")
    return replace(dataset, train=train, valid=valid, notes=notes)


def check_codec(dataset: Dataset, name: str, pixels: PixelFormat) -> None:
    """Raise InputError unless a codec of this name and pixel format takes the images of the data set."""
    if pixels != dataset.pixels:
        names = {known: FORMAT_NAMES[key] for key, known in FORMATS.items()}
        binarisable = (pixels, dataset.pixels) == (FORMATS["1"], FORMATS["L"])
        hint = ": --set binarise=true makes them two-level" if binarisable else ""
        raise InputError(f"codec {name} takes {names[pixels]} images, got {names[dataset.pixels]} ones{hint}")
