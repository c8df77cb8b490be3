"""Images in folders, image files and arrays, sorted by pixel format, with notes on what is skipped."""

from __future__ import annotations

import os
import zipfile
from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from bbcodec.codec.codec import PixelFormat
from bbcodec.errors import InputError
from bbcodec.images.display import image_shown
from bbcodec.images.npy import seen_images
from bbcodec.images.pillow import BAD_IMAGE, MAX_PIXELS, strictly

Pixels = NDArray[Any]  # uint8, or uint16 of 16-bit grey
Images = Pixels | list[Pixels]  # (N, H, W, C), or images (H, W, C) of several sizes

MAX_VALUES: Final = 2**32  # read at most: they are held in memory, a byte each
MAX_NAMED: Final = 3  # files named in a note; more are counted

FORMATS: Final = {
    "RGB": PixelFormat(3, 256), "L": PixelFormat(1, 256), "1": PixelFormat(1, 2), "L16": PixelFormat(1, 65536),
}  # fmt: skip
FORMAT_NAMES: Final = {"RGB": "RGB", "L": "grey", "1": "two-level", "L16": "16-bit grey"}
ARRAY_SHAPES: Final = (
    "(N, H, W), (N, H, W, C) or (N, C, H, W) with C = 1, 3 or 4, of values 0 to 255, k / 255, or up to 256 others; or "
    "(N, H, W) of whole numbers of 16 bits"
)
SUPPORTED_MODES: Final = ("1", "L", "LA", "P", "PA", "RGB", "RGBA", "RGBX")  # of Pillow


@dataclass
class FoundImages:
    """Images found in files: stacks (N, H, W, C) by pixel format, a key of `FORMATS`; and what was skipped."""

    stacks: dict[str, list[Pixels]] = field(default_factory=lambda: {key: [] for key in FORMATS})
    skipped: Counter[str] = field(default_factory=Counter)  # images, by reason
    unreadable: list[str] = field(default_factory=list)  # names of files
    not_images: int = 0  # files
    refused: list[str] = field(default_factory=list)  # arrays that are no images, in words
    with_alpha: int = 0  # images
    from_jpeg: int = 0  # images
    members: list[str] = field(default_factory=list)  # notes on the arrays of npz files
    values: int = 0  # pixels times channels, of all images
    full: bool = False  # whether MAX_VALUES was reached

    def add(self, key: str, stack: Pixels) -> None:
        """Take in images (N, H, W, C) of a pixel format."""
        self.values += stack.size
        self.full = self.full or self.values > MAX_VALUES
        if not self.full:
            self.stacks[key].append(stack)

    def count(self, key: str) -> int:
        """The number of images of a pixel format."""
        return sum(len(stack) for stack in self.stacks[key])

    def largest(self, enough: int) -> str:
        """The pixel format with most pixels, of those that have enough images if any do."""
        return max(self.stacks, key=lambda key: (self.count(key) >= enough, self._pixels(key)))

    def _pixels(self, key: str) -> int:
        return sum(stack[..., 0].size for stack in self.stacks[key])

    def images(self, key: str) -> Images:
        """All images of a pixel format: one array if all have one size."""
        stacks = self.stacks[key]
        if len({stack.shape[1:] for stack in stacks}) == 1:
            return stacks[0] if len(stacks) == 1 else np.concatenate(stacks)
        return [image for stack in stacks for image in stack]

    def notes(self, chosen: str) -> Iterator[str]:
        """Lines on what is not used if images of the chosen pixel format are, and on what else is good to know."""
        for key, name in FORMAT_NAMES.items():
            if key != chosen and self.count(key):
                few = self._pixels(key) > self._pixels(chosen)
                why = "too few to train on" if few else f"most pixels are {FORMAT_NAMES[chosen]}"
                yield f"skipped {counted(self.count(key), name)}: {why}"
        for reason, count in sorted(self.skipped.items()):
            yield f"skipped {counted(count)}: {reason}"
        if self.unreadable:
            more = f" and {len(self.unreadable) - MAX_NAMED} more" if len(self.unreadable) > MAX_NAMED else ""
            yield f"skipped files that cannot be read: {', '.join(self.unreadable[:MAX_NAMED])}{more}"
        if self.refused:
            more = f", and {len(self.refused) - MAX_NAMED} more" if len(self.refused) > MAX_NAMED else ""
            yield f"skipped arrays that are no images: {', '.join(self.refused[:MAX_NAMED])}{more}"
        if self.not_images:
            yield f"skipped {self.not_images:,} file{'s' * (self.not_images != 1)}: not images"
        if self.with_alpha:
            yield f"{counted(self.with_alpha)} with alpha, which is dropped"
        if self.from_jpeg:
            yield f"{counted(self.from_jpeg)} from JPEG, which `compress` stores as the files are"
        yield from self.members
        if self.full:
            yield f"skipped images after the first {MAX_VALUES / 1e9:.1f} GB of pixels, which are held in memory"


def counted(number: int, adjective: str = "") -> str:
    """A number of images.

    >>> counted(1), counted(2000, "grey")
    ('1 image', '2,000 grey images')
    """
    return f"{number:,} {adjective}{' ' * bool(adjective)}image{'s' * (number != 1)}"


def find_images(inputs: Iterable[Path], levels: int | None) -> FoundImages:
    """All images in folders and files. levels: as for `bbcodec.models.training.data.load_dataset`.

    Raises InputError for an input that does not exist, and for a named array file without images.
    """
    found = FoundImages()
    for path, named in files_of(inputs):
        if found.full:
            break
        if path.suffix.lower() in (".npy", ".npz"):
            read_arrays(path, named, levels, found)
        else:
            read_image(path, named, levels, found)
    return found


def files_of(inputs: Iterable[Path]) -> Iterator[tuple[Path, bool]]:
    """Files sorted by name within each input, each once, and whether the input names the file itself."""
    seen: set[Path] = set()
    for top in inputs:
        if not top.exists():
            raise InputError(f"{top} does not exist: expected a folder, an image file, or an array (.npy, .npz)")
        inside = (Path(folder) / name for folder, _, names in os.walk(top) for name in names)
        for path in sorted(inside) if top.is_dir() else [top]:
            if path.resolve() not in seen and path.is_file():
                seen.add(path.resolve())
                yield path, not top.is_dir()


def read_image(path: Path, named: bool, levels: int | None, found: FoundImages) -> None:
    """Add the image of a file, or the reason why it is skipped."""
    try:
        with strictly(MAX_PIXELS), Image.open(path) as image:
            if getattr(image, "n_frames", 1) > 1:
                found.skipped["several frames"] += 1
            elif image.mode.startswith("I;16"):
                found.add("L16", np.asarray(image).astype(np.uint16)[None, ..., None])
            elif image.mode not in SUPPORTED_MODES:
                deep = image.mode == "I" or image.mode == "F"
                found.skipped["more than 16 bits" if deep else f"mode {image.mode}"] += 1
            else:
                alpha = image.mode in ("LA", "PA", "RGBA") or image.has_transparency_data
                key, pixels = pixels_of(image, levels)
                found.from_jpeg += image.format == "JPEG"
                found.with_alpha += alpha
                found.add(key, pixels[None])
    except BAD_IMAGE:
        if named or path.suffix.lower() in Image.registered_extensions():
            found.unreadable.append(str(path))
        else:
            found.not_images += 1


def pixels_of(image: Image.Image, levels: int | None) -> tuple[str, Pixels]:
    """The pixel format of an open image, a key of `FORMATS`, and its pixels uint8 (H, W, C).

    Alpha is dropped and palettes are looked up. levels: 256 for grey pixels of two-level images, too.
    """
    if image.mode == "1" and levels != 256:
        return "1", np.asarray(image).astype(np.uint8)[..., None]
    shown = image_shown(image)
    if shown.shape[2] < 3:
        return "L", shown[..., :1]
    colours = shown[..., :3]
    if image.mode in ("P", "PA") and bool((colours == colours[..., :1]).all()):
        return "L", colours[..., :1]
    return "RGB", colours


def read_arrays(path: Path, named: bool, levels: int | None, found: FoundImages) -> None:
    """Add the images of an npy or npz file. Raises InputError if the file is named and holds no images."""
    unusable = ""  # the first array that holds no images, in words
    used = False
    try:
        for key, array in arrays_of(path):
            images = seen_images(array)
            if images is None:
                what = f"{array.dtype} {array.shape}" if array.size else f"empty, of shape {array.shape}"
                unusable = unusable or f"{key and f'{key} in '}{path} is {what}"
                continue
            pixels = images.pixels
            if pixels.shape[3] == 4:
                found.with_alpha += len(pixels)
                pixels = np.ascontiguousarray(pixels[..., :3])
            two_level = levels != 256 and pixels.shape[3] == 1 and images.levels == 2
            grey = "L16" if images.levels == 65536 else "1" if two_level else "L"
            found.add("RGB" if pixels.shape[3] == 3 else grey, pixels)
            if key:
                found.members.append(f"using {counted(len(pixels))} of {key} in {path.name}")
            used = True
    except (*BAD_IMAGE, zipfile.BadZipFile) as error:
        if named:
            reason = getattr(error, "strerror", None) or "damaged, or of another format"
            raise InputError(f"{path} cannot be read as an array: {reason}") from None
        found.unreadable.append(str(path))
        return
    if named and not used:
        raise InputError(f"{unusable or f'{path} is empty'}, expected {ARRAY_SHAPES}")
    if unusable and not used:
        found.refused.append(unusable)
    elif not used:
        found.not_images += 1


def arrays_of(path: Path) -> Iterator[tuple[str, NDArray[Any]]]:
    """The arrays of an npz file with their names, or that of an npy file without one. Nothing is unpickled."""
    if path.suffix.lower() == ".npy":
        yield "", np.load(path, mmap_mode="r", allow_pickle=False)
        return
    with open(path, "rb") as stream, np.load(stream, allow_pickle=False) as members:
        yield from members.items()
