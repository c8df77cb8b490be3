"""Small pictures of images of an archive, evenly spread over it."""

from __future__ import annotations

from typing import Final, NamedTuple

import numpy as np
from PIL import Image

from bbcodec.archive.read.archive import Archive
from bbcodec.errors import BBCodecError

SIDE: Final = 128  # pixels of a small picture, at most
MOST_PIXELS: Final = 2**26  # of an image: more take a gigabyte to make small
GROUND: Final = (200, 200, 200, 255)  # behind transparent pixels


class ShownImage(NamedTuple):
    """An image of an archive: a file's name, the image's number in it, and what it is called."""

    name: str
    number: int
    caption: str


class Thumbnail(NamedTuple):
    """A small picture, RGB, of an image. picture: None where there is none; note: what the image is, or why."""

    caption: str
    picture: Image.Image | None
    note: str


def spread_images(archive: Archive, most: int) -> tuple[list[ShownImage], int]:
    """At most `most` images, evenly spread over an archive, and how many it holds in all.

    Image files come one each, arrays with each of their images.
    """
    counts = [(name, _count(archive, name)) for name in archive.names]
    everything = [(name, number) for name, count in counts for number in range(count)]
    places = np.linspace(0, len(everything) - 1, min(most, len(everything))).round().astype(int)
    several = {name for name, count in counts if count > 1}
    chosen = [everything[place] for place in places]
    shown = [ShownImage(name, n, f"{name}[{n}]" if name in several else name) for name, n in chosen]
    return shown, len(everything)


def _count(archive: Archive, name: str) -> int:
    """How many images a file holds; 1 where damage hides that, so that it is met when the image is decoded."""
    try:
        return archive.count(name)
    except BBCodecError:
        return 1


def small_picture(archive: Archive, image: ShownImage) -> Image.Image:
    """An image as RGB of at most SIDE x SIDE pixels; smaller ones are enlarged by a whole factor. Alpha is on grey.

    Raises what `Archive.pixels` raises.
    """
    pixels = archive.pixels(image.name, image.number)
    if archive.count(image.name) > 1 and pixels.max() < 2:  # two levels, which arrays keep as they are
        pixels = pixels * 255
    picture = Image.fromarray(pixels.squeeze(2) if pixels.shape[2] == 1 else pixels).convert("RGBA")
    factor = SIDE // max(picture.size)
    if factor > 1:
        picture = picture.resize((picture.width * factor, picture.height * factor), Image.Resampling.NEAREST)
    picture.thumbnail((SIDE, SIDE))
    ground = Image.new("RGBA", picture.size, GROUND)
    return Image.alpha_composite(ground, picture).convert("RGB")


def thumbnails(archive: Archive, most: int) -> list[Thumbnail]:
    """Small pictures of at most `most` images; of those that cannot be decoded, or are too large, why not."""
    shown, _ = spread_images(archive, most)
    rows = {row["name"]: row for row in archive.listing()["files"]}
    found = []
    for image in shown:
        row = rows[image.name]
        size = f"{row['width']} x {row['height']}, " if row["width"] else ""
        if (row["width"] or 0) * (row["height"] or 0) > MOST_PIXELS:
            found.append(Thumbnail(image.caption, None, f"{size}too large to be made small here"))
            continue
        try:
            found.append(Thumbnail(image.caption, small_picture(archive, image), f"{size}{row['how']}"))
        except BBCodecError as error:
            found.append(Thumbnail(image.caption, None, str(error).removeprefix(f"{archive.path}: ")))
    return found
