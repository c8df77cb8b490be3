"""Whose an error is: what goes wrong within one chunk, entry or embedded codec concerns that alone; others go on."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Final

from bbcodec.archive.format.index import Entry
from bbcodec.errors import (
    NEEDS_PACKAGE,
    BadCodecFile,
    BBCodecError,
    DamagedArchive,
    InexactArithmetic,
    InputError,
    LimitExceeded,
    MissingCodec,
    MissingPackage,
)
from bbcodec.images.codings import FILE_CODINGS
from bbcodec.images.codings.base import FileFacts
from bbcodec.options import LIMIT_ENDING
from bbcodec.sample_formats import SAMPLE_FORMATS

# What is amiss with the run as a whole: the archive cannot be read, or this installation or machine lacks something.
OF_THE_RUN: Final = (InputError, MissingCodec, BadCodecFile, InexactArithmetic)

# How many times as long as a file what deflate unpacks of it may be: 1,032, and a little.
MOST_TIMES: Final = 1100
_TIMES: Final = {"png": MOST_TIMES, "raw": 1, "segments": 1400}  # LZW: strings of up to 3,800 bytes in 12 bits
MAX_WEBP_SIDE: Final = 2**14
FREE_BYTES: Final = 2**16  # beside these times


def as_damage(error: Exception) -> DamagedArchive:
    """Any error as damage of what was being decoded, told in one line."""
    if isinstance(error, DamagedArchive):
        return error
    text = " ".join(str(error).split())
    if isinstance(error, BBCodecError):
        return DamagedArchive(text)
    if isinstance(error, MemoryError):
        return DamagedArchive("decoding it needs more memory than there is")
    return DamagedArchive(f"decoding it fails: {type(error).__name__}: {text[:200]}")


def error_for(reasons: Iterable[str]) -> type[BBCodecError]:
    """What to raise for entries left out for these reasons: DamagedArchive unless all are limits, or missing packages.

    Reasons come from other processes as text, in which the messages of either are alike.
    """
    reasons = list(reasons)
    if all(reason.endswith(LIMIT_ENDING) for reason in reasons):
        return LimitExceeded
    return MissingPackage if all(NEEDS_PACKAGE in reason for reason in reasons) else DamagedArchive


def what_is_wrong(kind: type[BBCodecError]) -> str:
    """What entries are that are left out with such an error."""
    return {LimitExceeded: "beyond the limits", MissingPackage: "not to be read here"}.get(kind, "damaged")


def check_size(entry: Entry) -> None:
    """Raise DamagedArchive where an image has more samples than a file of its size could hold.

    So a few bytes that `list` names are not many gigabytes on the disk, and a small file takes no long time.
    """
    if entry.form in FILE_CODINGS and not FileFacts(entry.size, entry.width, entry.height).plausible:
        raise _too_large(entry)
    if not entry.sample_format:
        return
    about = SAMPLE_FORMATS[entry.sample_format]
    samples = entry.width * entry.height * about.channels * about.depth // 8
    too_many = samples > _TIMES.get(entry.form, samples) * entry.size + FREE_BYTES
    if too_many or (entry.form == "webp" and max(entry.width, entry.height) > MAX_WEBP_SIDE):
        raise _too_large(entry)


def _too_large(entry: Entry) -> DamagedArchive:
    size = f"{entry.width}x{entry.height}"
    return DamagedArchive(f"an image of {size} pixels cannot have been a file of {entry.size} bytes")
