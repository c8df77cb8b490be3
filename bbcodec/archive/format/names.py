"""Names of entries: which are safe to restore, and how messages show them."""

from __future__ import annotations

import os
from collections.abc import Iterable
from itertools import pairwise
from typing import Final

from bbcodec.errors import DamagedArchive, UnsafePath

MAX_NAME_BYTES: Final = 2**16 - 1
ODD_PARTS: Final = frozenset((b"", b".", b".."))  # of a path


def check_names(entries: Iterable[tuple[bytes, bool]]) -> None:
    """Raise UnsafePath for a name that could leave the target folder, DamagedArchive for disorder and duplicates.

    entries: the name of each, and whether it is a folder.
    """
    known = list(entries)
    for name, _ in known:
        check_name(name)
    for (name, _), (following, _) in pairwise(known):
        if following <= name:
            raise DamagedArchive(f"the names of the index are not in order at {printable(following)}")
    paths = [(name.replace(b"/", b"\0"), is_folder) for name, is_folder in known]
    # In this order what lies in a folder follows it at once, so that neighbours tell all; `a-b` is no longer between.
    paths.sort()
    for (path, is_folder), (following, _) in pairwise(paths):
        if not is_folder and following.startswith(path) and following[len(path)] == 0:
            name = path.replace(b"\0", b"/")
            raise DamagedArchive(f"the index has {printable(name)} both as a file and as a folder")


def check_name(name: bytes) -> None:
    """Raise UnsafePath where a name is not a plain relative path, DamagedArchive where it is too long."""
    if len(name) > MAX_NAME_BYTES:
        raise DamagedArchive(f"the index has a name of {len(name)} bytes; at most {MAX_NAME_BYTES} are allowed")
    foreign = os.name == "nt" and (b"\\" in name or b":" in name)
    if foreign or b"\0" in name or not ODD_PARTS.isdisjoint(name.split(b"/")):
        raise UnsafePath(f"the archive holds the name {printable(name)}, which could leave the target folder: refused")


def link_stays_inside(name: bytes, target: bytes) -> bool:
    """Whether a link called `name` that points to `target` is plain and cannot lead out of the folder that holds all.

    Plain: `..` only at the front, and no more of them than folders above the link; `.` anywhere. Then each step starts
    inside and ends inside, whatever other plain links it passes.
    """
    parts = [part for part in target.split(b"/") if part != b"."]
    ups = next((depth for depth, part in enumerate(parts) if part != b".."), len(parts))
    plain = ODD_PARTS.isdisjoint(parts[ups:]) and b"\0" not in target
    return plain and ups <= name.count(b"/") and os.name != "nt"


def printable(name: bytes) -> str:
    """A name for a message on one line, in quotes, whatever its bytes are."""
    return repr(name.decode("utf-8", "backslashreplace"))


def escaped(text: str) -> str:
    r"""`text` with control characters, which file names may contain, as escape sequences.

    >>> escaped("a\nb")
    'a\\nb'
    """
    return "".join(letter if letter.isprintable() else repr(letter)[1:-1] for letter in text)
