"""The header of an archive, which its end and its directory chunks repeat, and the footer (`docs/format.md`)."""

from __future__ import annotations

import struct
from dataclasses import dataclass
from typing import Final

from bbcodec.binary import digest64
from bbcodec.errors import DamagedArchive, NotAnArchive, UnsupportedVersion

MAGIC: Final = b"\x89BBC\r\n\x1a\n"
VERSION: Final = 0x05  # 16 * major + minor: 0.5
START: Final = MAGIC + bytes([VERSION])  # of every header; the archive's id follows
ID_BYTES: Final = 4
HEADER_BYTES: Final = len(START) + ID_BYTES
FOOTER_BYTES: Final = 12 + HEADER_BYTES  # length and digest of the index, header
ALIKE: Final = 6  # bytes of the magic that a damaged header still has, at least; PNG's have 5


@dataclass(frozen=True)
class Footer:
    """What the end of an archive says. header: as at its begin; digest: of header and index."""

    index_bytes: int
    digest: bytes
    header: bytes

    def pack(self) -> bytes:
        """The bytes of the footer."""
        return struct.pack("<I", self.index_bytes) + self.digest + self.header

    @classmethod
    def of(cls, header: bytes, index: bytes) -> Footer:
        """That of an archive of this header and index."""
        return cls(len(index), digest64(header, index), header)

    @classmethod
    def unpack(cls, data: bytes) -> Footer | None:
        """The footer in the last bytes of an archive; None where they are none."""
        header = data[-HEADER_BYTES:]
        if len(data) != FOOTER_BYTES or not header.startswith(START):
            return None
        return cls(struct.unpack("<I", data[:4])[0], data[4:12], header)


def pack_header(first_directory: bytes) -> bytes:
    """The header of an archive whose first directory is this: its id follows from what the archive holds.

    So equal inputs give equal archives, and none can hold a stranger's bytes that pass for its own directories.
    """
    return START + digest64(first_directory)[:ID_BYTES]


def check_header(front: bytes, footer: Footer | None, size: int) -> None:
    """Raise NotAnArchive or UnsupportedVersion unless the first bytes are a header, perhaps a damaged one.

    Where the footer repeats a header of this version, the first bytes may be anything. Raises DamagedArchive for what
    is too short to be an archive.
    """
    if not front:
        raise NotAnArchive("the file is empty, not a bbcodec archive")
    if footer is None:
        magic = front[: len(MAGIC)]
        alike = sum(one == two for one, two in zip(magic, MAGIC, strict=False))
        seven_bits = magic == bytes(byte & 0x7F for byte in MAGIC)
        text_mode = seven_bits or front[:4] == MAGIC[:4] or front[1:4] == MAGIC[1:4]
        if alike < min(ALIKE, len(magic)) or seven_bits:
            hint = " (it looks like one whose line ends or high bits were changed on the way)" if text_mode else ""
            raise NotAnArchive(f"the file is not a bbcodec archive{hint}")
        if magic == MAGIC and len(front) > len(MAGIC) and front[len(MAGIC)] != VERSION:
            version = front[len(MAGIC)]
            raise UnsupportedVersion(
                f"the archive is of format {version >> 4}.{version & 15}; this bbcodec reads "
                f"{VERSION >> 4}.{VERSION & 15} and no other before 1.0"
            )
    if size < HEADER_BYTES + FOOTER_BYTES:
        raise DamagedArchive(f"the archive is cut short: it has only {size} bytes")
