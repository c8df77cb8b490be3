"""The storage coding `lepton`: JPEG files byte for byte, their coefficients coded anew by the package lepton.

A stream is in the format of Dropbox's lepton (version 1), with one partition. The package is written in safe Rust, but
takes as much memory as a header asks for: headers are checked here first.
"""

from __future__ import annotations

import struct
import zlib
from typing import Any, Final

from bbcodec.errors import DamagedArchive
from bbcodec.images.codings.base import FileCoding, FileFacts

MAGIC: Final = b"\xcf\x84\x01"
FIXED_HEADER: Final = struct.Struct("<2sBcB15xII")  # magic, version, kind, partitions; size of file and of next header
# Records of the header of variable size, by their names: how many bytes each of the things takes that a number counts.
COUNTED: Final = {b"CRS": 4, b"FRS": 1, b"GRB": 1}
FIXED: Final = {b"P0D": 1, b"EEE": 28}
PARTITION: Final = b"HH\x01"  # one of them
PARTITION_BYTES: Final = 16
HEADER_SLACK: Final = 2**16  # bytes that a header may have more than the file it is of
SCAN: Final = b"\xff\xda"
MAX_SCANS: Final = 100  # each takes time for every pixel; libjpeg's own scripts make ten
ONE_THREAD: Final = {"max_partitions": 1, "threads": "single"}  # so that a stream depends on the file alone


class LeptonCoding(FileCoding):
    """JPEG files of one or three components. Raises MissingPackage without lepton_jpeg_python."""

    name = "lepton"
    needs = "lepton"
    form = "jpeg"
    pillow_formats = ("JPEG", "MPO")
    package = "lepton_jpeg_python"
    install = "lepton_jpeg_python"

    def _encode_file(self, data: bytes, facts: FileFacts) -> bytes:
        try:
            stream: bytes = self.require().compress_bytes(data, _bounds(facts))
        except BaseException as error:
            raise ValueError(f"lepton does not take the file ({_told(error)})") from None
        return stream

    def _decode_file(self, stream: bytes, facts: FileFacts) -> bytes:
        lepton = self.require()
        check_header(stream, facts.size)
        try:
            data: bytes = lepton.decompress_bytes(stream, _bounds(facts))
        except BaseException as error:
            raise DamagedArchive(f"a JPEG of the archive cannot be decoded ({_told(error)})") from None
        return data


def check_header(stream: bytes, size: int) -> None:
    """Raise DamagedArchive unless a stream begins as one of a file of `size` bytes, and asks for no more memory."""
    try:
        magic, version, _, partitions, whole, header_bytes = FIXED_HEADER.unpack(stream[: FIXED_HEADER.size])
        inflater = zlib.decompressobj()
        header = inflater.decompress(stream[FIXED_HEADER.size : FIXED_HEADER.size + header_bytes], size + HEADER_SLACK)
        sound = magic + bytes([version]) == MAGIC and partitions == 1 and whole == size and inflater.eof
        name, jpeg_bytes = struct.unpack("<3sI", header[:7])
    except (struct.error, zlib.error):
        raise DamagedArchive("a JPEG of the archive has a malformed header") from None
    at = 7 + jpeg_bytes
    sound = sound and name == b"HDR" and header.count(SCAN, 0, at) <= MAX_SCANS
    while sound and at < len(header):
        name = header[at : at + 3]
        if name in COUNTED:
            count = int.from_bytes(header[at + 3 : at + 7], "little")
            at += 7 + count * COUNTED[name]
        else:
            sound = name == PARTITION or name in FIXED
            at += 3 + FIXED.get(name, PARTITION_BYTES)
    if not sound or at != len(header):
        raise DamagedArchive("a JPEG of the archive has a header of another file, or of impossible sizes")


def _bounds(facts: FileFacts) -> dict[str, Any]:
    """What the package is told: to take no file larger than this."""
    size = facts.size + HEADER_SLACK  # a header may be longer than a tiny file
    return {
        **ONE_THREAD, "max_jpeg_width": facts.width, "max_jpeg_height": facts.height, "max_jpeg_file_size": size,
    }  # fmt: skip


def _told(error: BaseException) -> str:
    """An error of the package in a line; raises any other again. The package's panics are no `Exception`."""
    if not isinstance(error, (RuntimeError, ValueError, MemoryError)) and type(error).__name__ != "PanicException":
        raise error
    return " ".join(str(error).split(" at ")[0].split())[:100]
