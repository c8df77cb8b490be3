"""File forms of pixels: how image files are taken apart into samples and a skeleton, and joined again.

`PIXEL_FORMS` is the registry. To add a form: write a module of its name with a `FORM`, append the name here, and
describe the skeleton in `docs/format.md`. Modules are imported when first needed: listing an archive needs names alone.
"""

from __future__ import annotations

from functools import cache
from importlib import import_module
from typing import TYPE_CHECKING, BinaryIO, Final

from bbcodec.errors import DamagedArchive

if TYPE_CHECKING:
    from bbcodec.images.formats.base import FileForm, Found

# Their numbers in archives are those of `FORMS` (`bbcodec.archive.format.index`), which names them, too.
PIXEL_FORMS: Final = ("png", "webp", "raw", "segments")


@cache
def _form(name: str) -> FileForm:
    form: FileForm = import_module(f"{__name__}.{name}").FORM
    return form


def form_named(name: str) -> FileForm:
    """The file form that an archive names. Raises DamagedArchive for an unknown name."""
    if name not in PIXEL_FORMS:
        raise DamagedArchive(f"an image of the archive has the unknown file form {name!r}")
    return _form(name)


def find_samples(stream: BinaryIO) -> tuple[FileForm, Found] | None:
    """The samples of an image file whose form finds them without Pillow; None if none does. Raises as `find`."""
    for form in map(_form, PIXEL_FORMS):
        stream.seek(0)
        found = form.find(stream)
        if found is not None:
            return form, found
    return None


@cache
def form_of_format(pillow_format: str) -> FileForm | None:
    """The file form that takes files of a Pillow format apart; None if none does."""
    return next((form for form in map(_form, PIXEL_FORMS) if pillow_format in form.pillow_formats), None)
