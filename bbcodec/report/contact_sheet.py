"""A contact sheet of an archive: small pictures of its images, with their names, in one picture."""

from __future__ import annotations

import math
from typing import Final, NamedTuple

from PIL import Image, ImageDraw

from bbcodec.archive.read.archive import Archive
from bbcodec.errors import BBCodecError, DamagedArchive, InputError, LimitExceeded, MissingPackage
from bbcodec.report.thumbnails import SIDE, small_picture, spread_images

MARGIN, CAPTION = 8, 14  # pixels
MOST: Final = 100  # images
PAPER, INK, GAP = 255, 90, 225
OF_ONE: Final = (DamagedArchive, LimitExceeded, MissingPackage)  # errors that other images need not have


class ContactSheet(NamedTuple):
    """A sheet of small pictures, how many images the archive has in all, and what is wrong with those not drawn."""

    picture: Image.Image
    n_images: int
    failed: dict[str, BBCodecError]


def contact_sheet(archive: Archive, most: int = MOST) -> ContactSheet:
    """A sheet of at most `most` images, evenly spread over the archive.

    Image files come one each, arrays with each of their images. An image that is damaged leaves an empty frame. Raises
    InputError if there are none, and what keeps all from being read.
    """
    shown, count = spread_images(archive, most)
    if not shown:
        raise InputError(f"{archive.path} holds no images")
    columns = math.ceil(math.sqrt(len(shown)))
    rows = math.ceil(len(shown) / columns)
    cell = SIDE + MARGIN, SIDE + CAPTION + MARGIN
    sheet = Image.new("RGB", (columns * cell[0] + MARGIN, rows * cell[1] + MARGIN), (PAPER,) * 3)
    draw = ImageDraw.Draw(sheet)
    failed: dict[str, BBCodecError] = {}
    for place, image in enumerate(shown):
        left, top = MARGIN + place % columns * cell[0], MARGIN + place // columns * cell[1]
        try:
            small = small_picture(archive, image)
        except OF_ONE as error:
            failed[image.caption] = error
            draw.rectangle((left, top, left + SIDE - 1, top + SIDE - 1), outline=(GAP,) * 3)
        else:
            sheet.paste(small, (left + (SIDE - small.width) // 2, top + (SIDE - small.height) // 2))
        draw.text((left, top + SIDE + 1), fitting(image.caption, draw), fill=(INK,) * 3)
    return ContactSheet(sheet, count, failed)


def fitting(caption: str, draw: ImageDraw.ImageDraw) -> str:
    """The end of a caption that has room below a picture, in letters that the font has."""
    plain = "".join(letter if " " <= letter <= "~" else "?" for letter in caption)
    while draw.textlength(plain) > SIDE:
        plain = f"~{plain.lstrip('~')[1:]}"
    return plain
