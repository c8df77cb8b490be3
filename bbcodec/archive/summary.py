"""What was done, in numbers: of an archive as a whole, and of one file."""

from __future__ import annotations

from dataclasses import dataclass, field

from bbcodec.archive.format.chunks import LEARNED, SHEET


def how_stored(chunk_type: str, coding: str) -> str:
    """How content is stored, in a word: `learned`, `sheet`, the storage coding of an image alone, or `original`."""
    named = {LEARNED: "learned", SHEET: "sheet"}.get(chunk_type, coding)
    return "original" if named == "bytes" else named


@dataclass
class Summary:
    """What was done: files, their bytes outside the archive, the archive's bytes, and how the files are stored.

    rewritten: how many files keep their picture or arrays, but not their very bytes (only `compress` counts them).
    changed: the names of files that changed whenever they were read, of which all that was read last is stored.
    lost: the names of files that were found, but could not be read when their turn came, and are left out.
    adapted: a line for each codec that learned from the files.
    """

    files: int = 0
    file_bytes: int = 0
    archive_bytes: int = 0
    how: dict[str, int] = field(default_factory=dict)
    codecs: list[str] = field(default_factory=list)
    skipped: list[str] = field(default_factory=list)
    folders: int = 0
    copies: int = 0
    rewritten: int = 0
    changed: list[str] = field(default_factory=list)
    lost: list[str] = field(default_factory=list)
    adapted: list[str] = field(default_factory=list)


@dataclass(frozen=True)
class FileReport:
    """How one file was stored: its bytes in the archive (of what it shares, its share) and outside.

    how: as in the listing, or `link`. mode: Pillow's, empty where it is no image. tried: bytes by storage coding.
    copy_of: the file whose contents these are too. reason: of an image that was not tried as pixels, why, if known.
    """

    name: str
    how: str
    stored_bytes: int
    file_bytes: int
    mode: str = ""
    tried: dict[str, int] = field(default_factory=dict)
    copy_of: str = ""
    reason: str = ""
