"""Storage codings: how images and bytes are stored where no learned codec does better. One module each.

`CODINGS` is the registry. To add a coding: write its module, append it here, and describe its stream in
`docs/format.md`.
"""

from __future__ import annotations

from typing import Final

from bbcodec.images.codings.base import StorageCoding
from bbcodec.images.codings.jpegxl import JPEGXLCoding
from bbcodec.images.codings.lzma import LZMACoding, PlanarLZMACoding
from bbcodec.images.codings.png import PNGCoding
from bbcodec.images.codings.webp import WebPCoding


class PlainBytes(StorageCoding):
    """Bytes as they are: no images."""

    name = "bytes"


# The place of a coding here is its number in archives, fixed forever: new ones go to the end.
CODINGS: Final[tuple[StorageCoding, ...]] = (
    PlainBytes(), WebPCoding(), PNGCoding(), JPEGXLCoding(), LZMACoding(), PlanarLZMACoding(),
)  # fmt: skip

_BY_NAME: Final = {coding.name: coding for coding in CODINGS}


def coding_named(name: str) -> StorageCoding:
    """The storage coding of a name. Raises ValueError for an unknown one."""
    if name not in _BY_NAME:
        raise ValueError(f"expected a storage coding, one of {', '.join(_BY_NAME)}, got {name!r}")
    return _BY_NAME[name]


def coding_number(name: str) -> int:
    """The number of a storage coding in archives."""
    return CODINGS.index(coding_named(name))
