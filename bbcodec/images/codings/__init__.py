"""Storage codings: how images and bytes are stored where no learned codec does better. One module each.

`CODINGS` is the registry. To add a coding: write its module, append it here, and describe its stream in
`docs/format.md`.
"""

from __future__ import annotations

from typing import Final

from bbcodec.errors import DamagedArchive
from bbcodec.images.codings.base import FileCoding, StorageCoding
from bbcodec.images.codings.jpegxl import JPEGXLCoding
from bbcodec.images.codings.lepton import LeptonCoding
from bbcodec.images.codings.lzma import LZMACoding, PlanarLZMACoding
from bbcodec.images.codings.png import PNGCoding
from bbcodec.images.codings.predicted import PredictedCoding
from bbcodec.images.codings.webp import WebPCoding


class PlainBytes(StorageCoding):
    """Bytes as they are: no images."""

    name = "bytes"


# The place of a coding here is its number in archives, fixed forever: new ones go to the end.
CODINGS: Final[tuple[StorageCoding, ...]] = (
    PlainBytes(), WebPCoding(), PNGCoding(), JPEGXLCoding(), LZMACoding(), PlanarLZMACoding(), LeptonCoding(),
    PredictedCoding(),
)  # fmt: skip

_BY_NAME: Final = {coding.name: coding for coding in CODINGS}
_OF_FILES: Final = [coding for coding in CODINGS if isinstance(coding, FileCoding)]
# Of whole files, by their form: the names of codings.
FILE_CODINGS: Final = {
    form: tuple(one.name for one in _OF_FILES if one.form == form) for form in sorted({one.form for one in _OF_FILES})
}


def coding_named(name: str) -> StorageCoding:
    """The storage coding of a name. Raises ValueError for an unknown one."""
    if name not in _BY_NAME:
        raise ValueError(f"expected a storage coding, one of {', '.join(_BY_NAME)}, got {name!r}")
    return _BY_NAME[name]


def coding_number(name: str) -> int:
    """The number of a storage coding in archives."""
    return CODINGS.index(coding_named(name))


def file_codings(pillow_format: str) -> list[FileCoding]:
    """The codings of whole files of a Pillow format."""
    return [coding for coding in _OF_FILES if pillow_format in coding.pillow_formats]


def file_coding(name: str, form: str) -> FileCoding:
    """The coding of this name of files of a form. Raises DamagedArchive where it is none of these."""
    coding = coding_named(name)
    if not isinstance(coding, FileCoding) or coding.form != form:
        raise DamagedArchive(f"a file of the form {form} cannot be coded as {name}")
    return coding
