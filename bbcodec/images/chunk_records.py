"""Skeletons as a sequence of records: chunks of a file, in order, without what can be computed again.

A record is a type of four bytes, the length as a varint, and the data. The chunk that holds the pixels is its
type alone; where that is missing, it is the last.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from bbcodec.binary import pack_varint, take_varint
from bbcodec.errors import DamagedArchive


def pack_records(chunks: Iterable[tuple[bytes, bytes]], pixels: bytes) -> bytes:
    """The records of chunks (type, data); the one of type `pixels` holds the pixels.

    >>> pack_records([(b"tEXt", b"a"), (b"IDAT", b""), (b"tIME", b"")], b"IDAT")
    b'tEXt\\x01aIDATtIME\\x00'
    """
    packed = [name if name == pixels else name + pack_varint(len(data)) + data for name, data in chunks]
    return b"".join(packed[:-1] if packed[-1:] == [pixels] else packed)


def take_records(skeleton: bytes, position: int, pixels: bytes) -> Iterator[tuple[bytes, bytes]]:
    """The chunks of the records from `position` on, with empty data for pixels. Raises DamagedArchive.

    There is exactly one of type `pixels` among them.
    """
    seen = False
    while position < len(skeleton):
        chunk_type = skeleton[position : position + 4]
        position += 4
        if chunk_type == pixels:
            if seen:
                raise DamagedArchive("the skeleton of an image of the archive has pixels twice")
            seen = True
            yield chunk_type, b""
            continue
        length, position = take_varint(skeleton, position)
        data = skeleton[position : position + length]
        position += length
        if len(chunk_type) != 4 or position > len(skeleton):
            raise DamagedArchive("the skeleton of an image of the archive is cut short")
        yield chunk_type, data
    if not seen:
        yield pixels, b""
