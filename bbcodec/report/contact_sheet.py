"""A contact sheet of an archive: small pictures of its images, with their names, in one picture."""

from __future__ import annotations

import math
from typing import Final

import numpy as np
from PIL import Image, ImageDraw

from bbcodec.archive.read.archive import Archive
from bbcodec.errors import InputError

SIDE: Final = 128  # pixels of a small picture, at most
MARGIN, CAPTION = 8, 14  # pixels
MOST: Final = 100  # images
PAPER, INK = 255, 90


def contact_sheet(archive: Archive, most: int = MOST) -> tuple[Image.Image, int]:
    """A sheet of at most `most` images, evenly spread over the archive, and how many it holds in all.

    Image files come one each, arrays with each of their images. Raises InputError if there are none, and what reading
    them raises.
    """
    counts = [(name, archive.count(name)) for name in archive.names]
    everything = [(name, number) for name, count in counts for number in range(count)]
    if not everything:
        raise InputError(f"{archive.path} holds no images")
    shown = [everything[round(place)] for place in np.linspace(0, len(everything) - 1, min(most, len(everything)))]
    columns = math.ceil(math.sqrt(len(shown)))
    rows = math.ceil(len(shown) / columns)
    cell = SIDE + MARGIN, SIDE + CAPTION + MARGIN
    sheet = Image.new("RGB", (columns * cell[0] + MARGIN, rows * cell[1] + MARGIN), (PAPER,) * 3)
    draw = ImageDraw.Draw(sheet)
    for place, (name, number) in enumerate(shown):
        left, top = MARGIN + place % columns * cell[0], MARGIN + place // columns * cell[1]
        small = thumbnail(archive, name, number)
        sheet.paste(small, (left + (SIDE - small.width) // 2, top + (SIDE - small.height) // 2))
        caption = name if dict(counts)[name] == 1 else f"{name} [{number}]"
        draw.text((left, top + SIDE + 1), fitting(caption, draw), fill=(INK,) * 3)
    return sheet, len(everything)


def thumbnail(archive: Archive, name: str, number: int) -> Image.Image:
    """An image as RGB of at most SIDE x SIDE pixels; smaller ones are enlarged by a whole factor. Alpha is on grey."""
    pixels = archive.pixels(name, number)
    if archive.count(name) > 1 and pixels.max() < 2:  # two levels, which arrays keep as they are
        pixels = pixels * 255
    image = Image.fromarray(pixels.squeeze(2) if pixels.shape[2] == 1 else pixels).convert("RGBA")
    factor = SIDE // max(image.size)
    if factor > 1:
        image = image.resize((image.width * factor, image.height * factor), Image.Resampling.NEAREST)
    image.thumbnail((SIDE, SIDE))
    ground = Image.new("RGBA", image.size, (200, 200, 200, 255))
    return Image.alpha_composite(ground, image).convert("RGB")


def fitting(caption: str, draw: ImageDraw.ImageDraw) -> str:
    """The end of a caption that has room below a picture, in letters that the font has."""
    plain = "".join(letter if " " <= letter <= "~" else "?" for letter in caption)
    while draw.textlength(plain) > SIDE:
        plain = f"~{plain.lstrip('~')[1:]}"
    return plain
