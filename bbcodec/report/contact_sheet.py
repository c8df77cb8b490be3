"""A contact sheet of an archive: small pictures of its images, with their names, in one picture."""

from __future__ import annotations

import math
from typing import Final

from PIL import Image, ImageDraw

from bbcodec.archive.read.archive import Archive
from bbcodec.errors import InputError
from bbcodec.report.thumbnails import SIDE, small_picture, spread_images

MARGIN, CAPTION = 8, 14  # pixels
MOST: Final = 100  # images
PAPER, INK = 255, 90


def contact_sheet(archive: Archive, most: int = MOST) -> tuple[Image.Image, int]:
    """A sheet of at most `most` images, evenly spread over the archive, and how many it holds in all.

    Image files come one each, arrays with each of their images. Raises InputError if there are none, and what reading
    them raises.
    """
    shown, count = spread_images(archive, most)
    if not shown:
        raise InputError(f"{archive.path} holds no images")
    columns = math.ceil(math.sqrt(len(shown)))
    rows = math.ceil(len(shown) / columns)
    cell = SIDE + MARGIN, SIDE + CAPTION + MARGIN
    sheet = Image.new("RGB", (columns * cell[0] + MARGIN, rows * cell[1] + MARGIN), (PAPER,) * 3)
    draw = ImageDraw.Draw(sheet)
    for place, image in enumerate(shown):
        left, top = MARGIN + place % columns * cell[0], MARGIN + place // columns * cell[1]
        small = small_picture(archive, image)
        sheet.paste(small, (left + (SIDE - small.width) // 2, top + (SIDE - small.height) // 2))
        draw.text((left, top + SIDE + 1), fitting(image.caption, draw), fill=(INK,) * 3)
    return sheet, count


def fitting(caption: str, draw: ImageDraw.ImageDraw) -> str:
    """The end of a caption that has room below a picture, in letters that the font has."""
    plain = "".join(letter if " " <= letter <= "~" else "?" for letter in caption)
    while draw.textlength(plain) > SIDE:
        plain = f"~{plain.lstrip('~')[1:]}"
    return plain
