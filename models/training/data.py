"""Training data: folders of images, image files and arrays, of which the largest part of one pixel format is taken.

Any step of a run can be had again without the steps before it: what it draws (the order of the images, crops, mirror
images, two levels of grey) comes from the seed and the number of the step alone. Images follow one another in a fresh
order in each epoch, and a batch that reaches beyond the end of one goes on with the next, so that all are seen equally
often.
"""

from __future__ import annotations

import hashlib
import os
import zipfile
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from functools import lru_cache
from pathlib import Path
from typing import Any, Final

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image

from bbcodec.codec.codec import PixelFormat
from bbcodec.errors import InputError
from bbcodec.images.display import image_shown
from bbcodec.images.npy import image_shape
from bbcodec.images.pillow import BAD_IMAGE, MAX_PIXELS, strictly
from bbcodec.models.training.recipes import TrainingSettings

Pixels = NDArray[np.uint8]
Images = Pixels | list[Pixels]  # (N, H, W, C), or images (H, W, C) of several sizes

HELD_OUT_SHARE: Final = 0.05
MAX_VALUES: Final = 2**32  # that are read at all: they are held in memory, a byte each
MOST: Final = 0.9  # of the pixels, in `Dataset.roomy_side`
NAMED: Final = 3  # files that a note names; more are counted

# What is drawn, so that no two draws share random numbers.
ORDER, STEP, HELD_OUT, LEVELS = range(4)

FORMATS: Final = {"RGB": PixelFormat(3, 256), "L": PixelFormat(1, 256), "1": PixelFormat(1, 2)}
WORDS: Final = {"RGB": "RGB", "L": "grey", "1": "two-level"}
TAKEN: Final = ("1", "L", "LA", "P", "PA", "RGB", "RGBA", "RGBX")  # modes of Pillow; all others are left out


@dataclass(frozen=True)
class Dataset:
    """Images of one pixel format, uint8 (H, W, C), to train on and held out."""

    train: Images
    valid: Images
    pixels: PixelFormat
    notes: tuple[str, ...] = ()  # lines for the user: what was left out, and why
    binarise: bool = False  # whether values are grey levels, of which two levels are drawn at each use
    chosen: bool = False  # whether the held-out images were chosen from one set, not given

    @property
    def size(self) -> tuple[int, int] | None:
        """Height and width of all images, or None where they differ."""
        sizes = {image.shape[:2] for images in (self.train, self.valid) for image in _examples(images)}
        return next(iter(sizes)) if len(sizes) == 1 else None

    def smallest(self) -> tuple[int, int]:
        """The least height and the least width of any image."""
        shapes = [image.shape for images in (self.train, self.valid) for image in _examples(images)]
        return min(shape[0] for shape in shapes), min(shape[1] for shape in shapes)

    def digest(self) -> str:
        """A digest of all images and of which are held out."""
        seen = hashlib.blake2b(digest_size=16)
        for images in (self.train, self.valid):
            for one in images if isinstance(images, list) else [images]:
                seen.update(repr(one.shape).encode())
                seen.update(np.ascontiguousarray(one).data)
        return seen.hexdigest()

    def roomy_side(self) -> int:
        """The side of the largest square that fits into images which together have most (90 %) of the pixels."""
        pairs = [(min(one.shape[:2]), one.shape[0] * one.shape[1]) for one in _examples(self.train)]
        sides, pixels = np.array(sorted(pairs, reverse=True)).T
        reached = np.searchsorted(np.cumsum(pixels), MOST * pixels.sum())
        return int(sides[min(reached, len(sides) - 1)])


def _examples(images: Images) -> Sequence[Pixels]:
    """All images where sizes may differ, else one."""
    return images if isinstance(images, list) else [images[0]]


# --- reading ---------------------------------------------------------------------------------------------------------


@dataclass
class Found:
    """What was found in files: stacks (N, H, W, C) of each pixel format, and what cannot be used."""

    stacks: dict[str, list[Pixels]] = field(default_factory=lambda: {name: [] for name in FORMATS})
    left_out: Counter[str] = field(default_factory=Counter)  # images, by what they are
    broken: list[str] = field(default_factory=list)  # names of files
    foreign: int = 0  # files that are no images
    translucent: int = 0  # images that have alpha
    lossy: int = 0  # JPEG files
    members: list[str] = field(default_factory=list)  # arrays of npz files, in words
    values: int = 0
    full: bool = False

    def add(self, name: str, stack: Pixels) -> None:
        """Take in images (N, H, W, C) of the pixel format of this name."""
        self.values += stack.size
        self.full = self.full or self.values > MAX_VALUES
        if not self.full:
            self.stacks[name].append(stack)

    def count(self, name: str) -> int:
        """Images of the pixel format of this name."""
        return sum(len(stack) for stack in self.stacks[name])

    def largest(self) -> str:
        """The pixel format that has the most pixels."""
        return max(self.stacks, key=lambda name: sum(stack[..., 0].size for stack in self.stacks[name]))

    def images(self, name: str) -> Images:
        """All images of the pixel format of this name: one array where they have one size."""
        stacks = self.stacks[name]
        if len({stack.shape[1:] for stack in stacks}) == 1:
            return stacks[0] if len(stacks) == 1 else np.concatenate(stacks)
        return [image for stack in stacks for image in stack]

    def notes(self, taken: str) -> Iterator[str]:
        """What was not used, and what else is good to know, in lines."""
        for name in self.stacks:
            if name != taken and self.count(name):
                rest = f"most pixels are {WORDS[taken]}"
                yield f"{counted(self.count(name))} left out that {_are(self.count(name))} {WORDS[name]}: {rest}"
        for what, count in sorted(self.left_out.items()):
            yield f"{counted(count)} left out: {what}"
        if self.broken:
            more = f" and {len(self.broken) - NAMED} more" if len(self.broken) > NAMED else ""
            yield f"left out, as they cannot be read: {', '.join(self.broken[:NAMED])}{more}"
        if self.foreign:
            yield f"{self.foreign:,} file{'s' * (self.foreign != 1)} left out: no images"
        if self.translucent:
            yield f"{counted(self.translucent)} {_has(self.translucent)} alpha: it is left out, colours are used"
        if self.lossy:
            yield f"{counted(self.lossy)} from JPEG, files that `compress` keeps as they are"
        yield from self.members
        if self.full:
            yield f"images after the first {MAX_VALUES / 1e9:.1f} GB of pixels left out: they are held in memory"


def counted(number: int) -> str:
    """A number of images.

    >>> counted(1), counted(2000)
    ('1 image', '2,000 images')
    """
    return f"{number:,} image{'s' * (number != 1)}"


def _are(number: int) -> str:
    return "is" if number == 1 else "are"


def _has(number: int) -> str:
    return "has" if number == 1 else "have"


def find_images(inputs: Iterable[Path], levels: int | None) -> Found:
    """All images in folders and files. Raises InputError for one that is not there, and arrays that are no images."""
    found = Found()
    for path, named in files_of(inputs):
        if found.full:
            break
        if path.suffix.lower() in (".npy", ".npz"):
            read_arrays(path, named, levels, found)
        else:
            read_image(path, named, levels, found)
    return found


def files_of(inputs: Iterable[Path]) -> Iterator[tuple[Path, bool]]:
    """Files in the order of their names, each once, and whether they were named rather than found in a folder."""
    seen: set[Path] = set()
    for top in inputs:
        if not top.exists():
            raise InputError(f"there is no {top}: a folder, an image file, or an array (.npy, .npz) was expected")
        inside = (Path(folder) / name for folder, _, names in os.walk(top) for name in names)
        for path in sorted(inside) if top.is_dir() else [top]:
            if path.resolve() not in seen and path.is_file():
                seen.add(path.resolve())
                yield path, not top.is_dir()


def read_image(path: Path, named: bool, levels: int | None, found: Found) -> None:
    """Take in the image of a file, if it is one that can be used."""
    try:
        with strictly(MAX_PIXELS), Image.open(path) as image:
            if getattr(image, "n_frames", 1) > 1:
                found.left_out["of several frames"] += 1
            elif image.mode not in TAKEN:
                deep = image.mode.startswith("I") or image.mode == "F"
                found.left_out["more than 8 bits" if deep else f"mode {image.mode}"] += 1
            else:
                alpha = image.mode in ("LA", "PA", "RGBA") or image.has_transparency_data
                name, pixels = plane_of(image, levels)
                found.lossy += image.format == "JPEG"
                found.translucent += alpha
                found.add(name, pixels[None])
    except BAD_IMAGE:
        if named or path.suffix.lower() in Image.registered_extensions():
            found.broken.append(str(path))
        else:
            found.foreign += 1


def plane_of(image: Image.Image, levels: int | None) -> tuple[str, Pixels]:
    """The pixel format of an open image, and its colours uint8 (H, W, C) without alpha; palettes are looked up."""
    if image.mode == "1" and levels != 256:
        return "1", np.asarray(image).astype(np.uint8)[..., None]
    shown = image_shown(image)
    if shown.shape[2] < 3:
        return "L", shown[..., :1]
    colours = shown[..., :3]
    if image.mode in ("P", "PA") and bool((colours == colours[..., :1]).all()):
        return "L", colours[..., :1]
    return "RGB", colours


def read_arrays(path: Path, named: bool, levels: int | None, found: Found) -> None:
    """Take in the images of an npy or npz file. Raises InputError for one that was named and holds no images."""
    why = ""
    try:
        for key, array in arrays_of(path):
            shape = image_shape(array.shape) if array.dtype in (np.uint8, np.bool_) else None
            if shape is None:
                what = f"{array.dtype} {array.shape}" if array.size else f"empty, of shape {array.shape}"
                why = why or f"{key and f'{key} in '}{path} is {what}"
                continue
            pixels = np.ascontiguousarray(array).view(np.uint8).reshape(shape)
            two = levels != 256 and shape[3] == 1 and int(pixels.max()) <= 1
            found.add("1" if two else "RGB" if shape[3] == 3 else "L", pixels)
            if key:
                found.members.append(f"{path.name}: {key}, {counted(shape[0])}, used")
            why = "used"
    except (*BAD_IMAGE, zipfile.BadZipFile) as error:
        if named:
            reason = getattr(error, "strerror", None) or "it is damaged, or of another format"
            raise InputError(f"{path} is not an array that can be read: {reason}") from None
        found.broken.append(str(path))
        return
    if named and why != "used":
        raise InputError(f"{why or f'{path} is empty'}; uint8 (N, H, W), (N, H, W, 1) or (N, H, W, 3) was expected")
    if why != "used":
        found.foreign += 1


def arrays_of(path: Path) -> Iterator[tuple[str, NDArray[Any]]]:
    """The arrays of an npz file with their names, or that of an npy file, which has none. Nothing is unpickled."""
    if path.suffix.lower() == ".npy":
        yield "", np.load(path, mmap_mode="r", allow_pickle=False)
        return
    with open(path, "rb") as stream, np.load(stream, allow_pickle=False) as members:
        yield from members.items()


# --- data sets -------------------------------------------------------------------------------------------------------


def load_dataset(
    inputs: Sequence[Path],
    valid: Sequence[Path] = (),
    *,
    levels: int | None = None,
    valid_images: int = 1000,
    seed: int = 0,
) -> Dataset:
    """The images of folders, files and arrays, of the pixel format that has most pixels.

    valid: where held-out images are; without it some 5 % of the others are chosen, by the seed and their number alone,
    at least one. At most `valid_images` are held out. levels: None takes what is found: images of mode `1` and arrays
    without values above 1 have two levels. 256 takes them as grey, too. 2 makes two levels of grey images whenever
    they are used. Raises InputError where there are too few images, or those held out are of another format.
    """
    found = find_images(inputs, levels)
    name = found.largest()
    if not found.count(name):
        told = next(found.notes(name), "")
        raise InputError(f"no images in {_listed(inputs)}" + (f" ({told})" if told else ""))
    notes = list(found.notes(name))
    if valid:
        others = find_images(valid, levels)
        if not others.count(name):
            there = [WORDS[other] for other in FORMATS if others.count(other)]
            raise InputError(
                f"no {WORDS[name]} images, as those to train on are, in {_listed(valid)}"
                + (f": they are {' and '.join(there)}" if there else "")
            )
        notes += [f"held out: {note}" for note in others.notes(name)]
        rest = others.images(name)
        train, held_out = found.images(name), taken(rest, chosen(len(rest), valid_images, seed))
        notes += seen_before(train, held_out)
    else:
        train, held_out = split(found.images(name), valid_images, seed, notes)
    return with_levels(Dataset(train, held_out, FORMATS[name], tuple(notes), chosen=not valid), levels)


def _listed(paths: Sequence[Path]) -> str:
    return ", ".join(map(str, paths[:NAMED])) + (" ..." if len(paths) > NAMED else "")


def with_levels(dataset: Dataset, levels: int | None) -> Dataset:
    """The data set with pixels of this many levels. Raises InputError for two levels of colour images."""
    if levels != 2 or dataset.pixels.levels == 2:
        return dataset
    if dataset.pixels.channels != 1:
        raise InputError("the images are RGB: two levels are drawn of grey images only")
    return replace(dataset, pixels=PixelFormat(1, 2), binarise=True)


def seen_before(train: Images, held_out: Images) -> Iterator[str]:
    """A line where held-out images are among those to train on, too."""
    known = {_digest(image) for image in train}
    count = sum(_digest(image) in known for image in held_out)
    if count:
        yield f"{counted(count)} held out {_are(count)} learnt from, too: expect new images to take more than these"


def _digest(image: Pixels) -> bytes:
    return hashlib.blake2b(repr(image.shape).encode() + image.tobytes(), digest_size=16).digest()


def split(images: Images, valid_images: int, seed: int, notes: Sequence[str] = ()) -> tuple[Images, Images]:
    """Images to train on and images held out. Raises InputError, with the notes, where there are fewer than two."""
    if len(images) < 2:
        told = f" ({'; '.join(notes)})" if notes else ""
        raise InputError(f"there is 1 image: at least 2 are needed, one to train on and one held out{told}")
    number = max(1, min(valid_images, round(HELD_OUT_SHARE * len(images))))
    out = chosen(len(images), number, seed)
    return taken(images, np.setdiff1d(np.arange(len(images)), out)), taken(images, out)


def chosen(count: int, number: int, seed: int) -> NDArray[np.intp]:
    """At most `number` of the first `count` whole numbers, rising."""
    return np.sort(generator(seed, HELD_OUT).permutation(count)[:number])


def taken(images: Images, which: NDArray[np.intp]) -> Images:
    """Some of the images, in this order."""
    return same_size([images[n] for n in which]) if isinstance(images, list) else images[which]


def same_size(images: list[Pixels]) -> Images:
    """One array where all images have one size."""
    return np.stack(images) if len({image.shape for image in images}) == 1 else images


def fit(dataset: Dataset, settings: TrainingSettings) -> Dataset:
    """The data set for a run with these settings: images that are smaller than a crop are left out, with a note.

    Of those that are left, held-out ones are chosen anew, unless they were given. Raises InputError where too few
    images are left, where sizes differ and there are no crops, and where grey images cannot be made two-level.
    """
    if settings.binarise and dataset.pixels.levels != 2:
        raise InputError(f"binarise is true, but the images have {dataset.pixels.levels} levels")
    side = settings.crop
    if not side and dataset.size is None:
        raise InputError("images of several sizes are trained on crops: set crop, as --set crop=64")
    parts = [dataset.train, dataset.valid]
    if dataset.chosen:
        parts = [[*dataset.train, *dataset.valid]]
    kept = [[n for n, one in enumerate(images) if min(one.shape[:2]) >= side] for images in parts]
    small = sum(map(len, parts)) - sum(map(len, kept))
    if not small:
        return dataset
    what = f"crops of {side} x {side} pixels"
    height, width = dataset.smallest()
    hint = f"set a smaller crop, as --set crop={min(height, width)}"
    if not all(kept):
        part = "" if dataset.chosen else " to train on" if not kept[0] else " held out"
        raise InputError(f"no image{part} is as large as {what}: the smallest is {width} x {height}; {hint}")
    notes = (*dataset.notes, f"{counted(small)} left out: smaller than {what}")
    if dataset.chosen and len(kept[0]) == 1:
        raise InputError(f"1 image alone is as large as {what}, and 2 are needed; {hint}")
    images = [taken(images, np.array(which)) for images, which in zip(parts, kept, strict=True)]
    train, valid = split(images[0], settings.valid_images, settings.seed) if dataset.chosen else images
    return replace(dataset, train=train, valid=valid, notes=notes)


def check_codec(dataset: Dataset, name: str, pixels: PixelFormat) -> None:
    """Raise InputError unless a codec of this name and pixel format takes the images of the data set."""
    if pixels != dataset.pixels:
        kinds = {known: WORDS[key] for key, known in FORMATS.items()}
        hint = ""
        if (pixels, dataset.pixels) == (FORMATS["1"], FORMATS["L"]):
            hint = "; --set binarise=true makes two levels of grey"
        raise InputError(f"codec {name} takes {kinds[pixels]} images, and these are {kinds[dataset.pixels]}{hint}")


# --- batches ---------------------------------------------------------------------------------------------------------


def generator(seed: int, purpose: int, number: int = 0) -> np.random.Generator:
    """Random numbers that depend on a seed, on what is drawn, and on its number alone."""
    return np.random.Generator(np.random.Philox(np.random.SeedSequence((seed, purpose, number))))


@lru_cache(maxsize=4)
def order(seed: int, epoch: int, count: int) -> NDArray[np.intp]:
    """The order of the images in an epoch."""
    return generator(seed, ORDER, epoch).permutation(count)


def steps_per_epoch(dataset: Dataset, settings: TrainingSettings) -> int:
    """Steps after which every image was seen at least once."""
    return -(-len(dataset.train) // settings.batch)


def indices(count: int, settings: TrainingSettings, step: int) -> NDArray[np.intp]:
    """Which of `count` images a step sees, int (B,)."""
    epochs, places = np.divmod(np.arange(step * settings.batch, (step + 1) * settings.batch), count)
    return np.array([order(settings.seed, int(e), count)[p] for e, p in zip(epochs, places, strict=True)])


def batch(dataset: Dataset, settings: TrainingSettings, step: int, rank: int = 0, ranks: int = 1) -> torch.Tensor:
    """The images of a step, float32 whole numbers (B / ranks, C, H, W); with several ranks, the part of this one.

    Raises InputError unless the batch can be shared equally.
    """
    if settings.batch % ranks:
        raise InputError(f"batch is {settings.batch}: a multiple of {ranks}, the number of processes, was expected")
    which = indices(len(dataset.train), settings, step)
    draw = generator(settings.seed, STEP, step)
    images = cropped(dataset.train, which, settings.crop, draw)
    if settings.flips:
        images = np.where(draw.random(len(images))[:, None, None, None] < 0.5, images[:, :, ::-1], images)
    if dataset.binarise:
        images = binarised(images, draw)
    share = settings.batch // ranks
    return tensor(images[rank * share : (rank + 1) * share])


def cropped(images: Images, which: NDArray[np.intp], side: int, draw: np.random.Generator) -> Pixels:
    """Some images as one array (B, H, W, C): squares from anywhere in them, or whole ones where `side` is 0."""
    if not side:
        return np.stack([images[n] for n in which]) if isinstance(images, list) else images[which]
    shares = draw.random((len(which), 2))
    out = []
    for n, share in zip(which, shares, strict=True):
        image = images[n]
        top, left = (int(s * (length - side + 1)) for s, length in zip(share, image.shape[:2], strict=True))
        out.append(image[top : top + side, left : left + side])
    return np.stack(out)


def binarised(images: Pixels, draw: np.random.Generator) -> Pixels:
    """Two levels, 1 as likely as the grey level is of 255."""
    return (draw.random(images.shape, np.float32) < images / np.float32(255)).astype(np.uint8)


def tensor(images: Pixels) -> torch.Tensor:
    """(B, H, W, C) uint8 to (B, C, H, W) float32."""
    return torch.from_numpy(images.transpose(0, 3, 1, 2).astype(np.float32, order="C"))


def held_out(dataset: Dataset) -> Images:
    """The held-out images, whole, as they are coded: of grey levels that are binarised, always the same draw."""
    if not dataset.binarise:
        return dataset.valid
    draw = generator(0, LEVELS)
    if isinstance(dataset.valid, list):
        return [binarised(image, draw) for image in dataset.valid]
    return binarised(dataset.valid, draw)


def validation_batches(dataset: Dataset, settings: TrainingSettings) -> list[torch.Tensor]:
    """The held-out images in batches (B, C, H, W) as in `batch`, the same each time; with crops, their middles."""
    images, side = held_out(dataset), settings.crop
    if side:
        images = np.stack([image[_middle(image, 0, side), _middle(image, 1, side)] for image in images])
    whole = np.stack(images) if isinstance(images, list) else images
    return [tensor(whole[at : at + settings.batch]) for at in range(0, len(whole), settings.batch)]


def _middle(image: Pixels, axis: int, side: int) -> slice:
    start = (image.shape[axis] - side) // 2
    return slice(start, start + side)
