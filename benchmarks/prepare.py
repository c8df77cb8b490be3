"""The images that recipes and result tables name, made from plain data sets: training, held-out and test images.

    python benchmarks/prepare.py --data DATA --out PREPARED [NAME...]

Writes folders of images and .npy files into PREPARED; with no NAME, all of those whose data are in DATA
(benchmarks/README.md says what is where). The same data give the same files: every choice is drawn with
numpy.random.default_rng(0). Names tell what images are for: train, valid (held out while training), test.
"""

from __future__ import annotations

import argparse
import os
import shutil
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
from common import Pixels, needed
from mnist_binary import binarised
from PIL import Image

SPRITE_SIZE = (32, 32)  # of most
SPRITE_TEST_SHARE = 0.1
FREY_PARTS = {"train": 1565, "valid": 200, "test": 200}  # as the VampPrior paper has it, in numbers
MICROSCOPY_HELD_OUT = 20  # the last ones of the training images


def as_it_is(*names: str) -> Callable[[Path, Path], None]:
    """Arrays that need no preparation, but for those in Fortran's order, which `compress` would keep as bytes."""

    def prepare(data: Path, out: Path) -> None:
        for name in names:
            array = np.load(needed(data / f"{name}.npy"), mmap_mode="r")
            if array.flags.c_contiguous:
                same_file(data / f"{name}.npy", out / f"{name}.npy")
            else:
                (out / f"{name}.npy").unlink(missing_ok=True)  # it may be a link to the other
                np.save(out / f"{name}.npy", np.ascontiguousarray(array))

    return prepare


def with_binary_test(name: str) -> Callable[[Path, Path], None]:
    """Grey training images, of which two levels are drawn afresh in training, and test images of two levels."""

    def prepare(data: Path, out: Path) -> None:
        as_it_is(f"{name}_train", f"{name}_test")(data, out)
        np.save(out / f"{name}_binary_test.npy", binarised(np.load(data / f"{name}_test.npy")))
        for labels in sorted(data.glob(f"{name}_*_labels.npy")):
            same_file(labels, out / labels.name)

    return prepare


def freyfaces(data: Path, out: Path) -> None:
    """A random split of 1,965 faces."""
    faces = np.load(needed(data / "freyfaces.npy"))
    shuffled = faces[np.random.default_rng(0).permutation(len(faces))]
    ends = np.cumsum(list(FREY_PARTS.values()))[:-1]
    for part, images in zip(FREY_PARTS, np.split(shuffled, ends), strict=True):
        np.save(out / f"freyfaces_{part}.npy", images)


def sprites(data: Path, out: Path) -> None:
    """The files of the largest group, colours of 32 x 32, as `bbcodec train` groups them; 10 % of them for testing.

    Modes are RGBA, RGB and palettes, of which the colours count. Each picture is there once.
    """
    from bbcodec.models.training.image_sources import pixels_of

    chosen: dict[bytes, Path] = {}
    for path in sorted(needed(data / "sprites").iterdir()):
        with Image.open(path) as image:
            group, colours = pixels_of(image, None)
            if group == "RGB" and image.size == SPRITE_SIZE:
                chosen.setdefault(colours.tobytes(), path)
    paths = list(chosen.values())
    order = np.random.default_rng(0).permutation(len(paths))
    n_test = round(SPRITE_TEST_SHARE * len(paths))
    for part, which in (("test", order[:n_test]), ("train", order[n_test:])):
        folder = fresh_folder(out / f"sprites_{part}")
        for number in which:
            same_file(paths[number], folder / paths[number].name)


def microscopy(data: Path, out: Path) -> None:
    """Cell images as they come, and the training images in two parts."""
    as_it_is("microscopy_train", "microscopy_test")(data, out)
    cells = np.load(data / "microscopy_train.npy")
    np.save(out / "microscopy_train_part.npy", cells[:-MICROSCOPY_HELD_OUT])
    np.save(out / "microscopy_valid_part.npy", cells[-MICROSCOPY_HELD_OUT:])


def photos(data: Path, out: Path) -> None:
    """RGB photos as they come."""
    for part in ("train", "train2", "valid"):
        folder = fresh_folder(out / "photos" / part)
        for path in sorted(needed(data / "photos" / part).iterdir()):
            same_file(path, folder / path.name)


def grey(data: Path, out: Path) -> None:
    """Luminance of the photos."""
    for part in ("train", "train2", "valid"):
        folder = fresh_folder(out / f"grey_{part}")
        for path in sorted(needed(data / "photos" / part).iterdir()):
            if path.suffix not in Image.registered_extensions():
                continue
            with Image.open(path) as image:
                image.convert("L").save(folder / f"{path.stem}.png")


def glyphs(data: Path, out: Path) -> None:
    """Silhouettes as greys, to be binarised beside digits and drawings, and masks of sprites, each once."""
    silhouettes = np.load(needed(data / "caltech101_train.npy"))
    np.save(out / "glyphs_silhouettes_train.npy", np.ascontiguousarray(255 * silhouettes))
    sprites(data, out)
    seen: set[bytes] = set()
    for part in ("train", "test"):
        masks = {mask.tobytes(): mask for mask in map(opaque, sorted((out / f"sprites_{part}").iterdir()))}
        new = [mask for words, mask in masks.items() if words not in seen]
        np.save(out / f"glyphs_masks_{part}.npy", np.ascontiguousarray(np.stack(new)))
        seen.update(masks)


def opaque(path: Path) -> Pixels:
    """255 where a sprite is not transparent, else 0: (H, W)."""
    with Image.open(path) as image:
        alpha = np.asarray(image.convert("RGBA"))[..., 3]
    return np.where(alpha > 0, 255, 0).astype(np.uint8)


SETS: dict[str, Callable[[Path, Path], None]] = {
    "cifar10": as_it_is("cifar10_train", "cifar10_test"),
    "mnist": with_binary_test("mnist"),
    "omniglot28": with_binary_test("omniglot28"),
    "caltech101": as_it_is("caltech101_train", "caltech101_val", "caltech101_test"),
    "freyfaces": freyfaces,
    "microscopy": microscopy,
    "sprites": sprites,
    "glyphs": glyphs,
    "photos": photos,
    "grey": grey,
}


def same_file(source: Path, target: Path) -> None:
    """The file under another name: a link to it where the file system has such, else a copy."""
    if target.exists() and target.samefile(source):
        return
    target.unlink(missing_ok=True)
    try:
        os.link(source.resolve(), target)
    except OSError:
        shutil.copyfile(source, target)


def fresh_folder(path: Path) -> Path:
    """An empty folder."""
    if path.exists():
        shutil.rmtree(path)
    path.mkdir(parents=True)
    return path


def written(out: Path, name: str) -> list[str]:
    """What there is of a set now, in words."""
    words = []
    for path in sorted(out.glob(f"{name}*")):
        if path.is_dir():
            words.append(f"{path.name}/: {sum(one.is_file() for one in path.rglob('*')):,} files")
        else:
            images: Pixels = np.load(path, mmap_mode="r")
            words.append(f"{path.name}: {images.dtype} {images.shape}")
    return words


def has_data(data: Path, name: str) -> bool:
    """Whether there seem to be the data of a set."""
    needs = {
        "freyfaces": ["freyfaces.npy"],
        "sprites": ["sprites"],
        "glyphs": ["sprites", "caltech101_train.npy"],
        "photos": ["photos"],
        "grey": ["photos"],
    }
    return all((data / one).exists() for one in needs.get(name, [f"{name}_train.npy"]))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, required=True, help="folder with the data sets (see benchmarks/README.md)")
    parser.add_argument("--out", type=Path, required=True, help="folder to write into")
    parser.add_argument("names", nargs="*", metavar="NAME", help=f"of {', '.join(SETS)}")
    options = parser.parse_args()
    unknown = set(options.names) - set(SETS)
    if unknown:
        sys.exit(f"there is no data set {sorted(unknown)[0]!r}: one of {', '.join(SETS)} was expected")
    options.out.mkdir(parents=True, exist_ok=True)
    for name in options.names or [name for name in SETS if has_data(options.data, name)]:
        SETS[name](options.data, options.out)
        print("\n".join(written(options.out, name)), flush=True)


if __name__ == "__main__":
    main()
