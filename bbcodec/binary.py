"""Building blocks of binary formats: digests, varints, bounds, general compression of bytes (`docs/format.md`)."""

from __future__ import annotations

import lzma
import zlib
from hashlib import blake2b
from typing import Final

from bbcodec.errors import DamagedArchive, UnsupportedVersion

FRAME_BYTES: Final = 9  # type, length, CRC-32 of a chunk

# Bounds of what a reader allocates. 2**28 values are 89 megapixels of RGB.
MAX_BODY_BYTES: Final = 2**30
MAX_VALUES: Final = 2**28
MAX_CONTENT_BYTES: Final = 2**29
MAX_CODEC_BYTES: Final = 2**26

LZMA_FILTERS: Final = [{"id": lzma.FILTER_LZMA2, "preset": 6, "dict_size": 2**24}]
HARDLY: Final = 0.98  # of the bytes of data that deflate, with the header and the checksum of zlib, hardly shrinks
ZLIB_BYTES: Final = 6
FEW_BYTES: Final = 64


def digest64(*pieces: bytes | memoryview) -> bytes:
    """BLAKE2b of the pieces, concatenated: 8 bytes."""
    state = blake2b(digest_size=8)
    for piece in pieces:
        state.update(piece)
    return state.digest()


def codec_digest(content: bytes) -> bytes:
    """The digest that names a codec: BLAKE2b of its file, 16 bytes."""
    return blake2b(content, digest_size=16).digest()


def pack_varint(number: int) -> bytes:
    """An unsigned number below 2**32 as LEB128."""
    if not 0 <= number < 2**32:
        raise ValueError(f"expected a number from 0 to 2**32 - 1 for a varint, got {number}")
    out = bytearray()
    while number >= 0x80:
        out.append(number & 0x7F | 0x80)
        number >>= 7
    out.append(number)
    return bytes(out)


def take_varint(data: bytes, position: int) -> tuple[int, int]:
    """The number at `position` and the position after it. Raises DamagedArchive if there is none below 2**32."""
    number = 0
    for shift in range(0, 35, 7):
        if position >= len(data):
            break
        byte = data[position]
        position += 1
        number |= (byte & 0x7F) << shift
        if byte < 0x80:
            if number >= 2**32:
                break
            return number, position
    raise DamagedArchive("a number in the archive is cut short or too large")


def take_shape(body: bytes, position: int, channels: int) -> tuple[int, int, int, int]:
    """Count, height and width of the images of a chunk, and the position after them. Raises DamagedArchive."""
    count, position = take_varint(body, position)
    height, position = take_varint(body, position)
    width, position = take_varint(body, position)
    if not 1 <= count * height * width * channels <= MAX_VALUES:
        raise DamagedArchive(f"a chunk says it holds {count} images of {width}x{height} pixels: out of bounds")
    return count, height, width, position


# --- compression of bytes --------------------------------------------------------------------------------------------


def deflate(data: bytes) -> bytes:
    """`data` as a raw deflate stream."""
    state = zlib.compressobj(9, zlib.DEFLATED, -15)
    return state.compress(data) + state.flush()


def inflate(data: bytes, limit: int) -> bytes:
    """The content of a raw deflate stream. Raises DamagedArchive if it is not one, whole, of at most `limit` bytes."""
    state = zlib.decompressobj(-15)
    try:
        content = state.decompress(data, limit + 1)
    except zlib.error as error:
        raise DamagedArchive(f"a deflate stream is damaged ({error})") from None
    if len(content) > limit or not state.eof or state.unused_data:
        raise DamagedArchive(f"a deflate stream is cut short, has a tail, or holds more than {limit} bytes")
    return content


def compress_lzma(data: bytes, filters: list[dict[str, int]] = LZMA_FILTERS) -> bytes:
    """`data` as a raw LZMA2 stream. Its dictionary is no longer than the data: clearing a long one takes 20 ms."""
    return lzma.compress(data, lzma.FORMAT_RAW, filters=_fitting(filters, len(data)))


def decompress_lzma(data: bytes, limit: int, filters: list[dict[str, int]] = LZMA_FILTERS) -> bytes:
    """The content of a raw LZMA2 stream. Raises DamagedArchive as `inflate` does."""
    state = lzma.LZMADecompressor(lzma.FORMAT_RAW, filters=_fitting(filters, limit))
    try:
        content = state.decompress(data, limit + 1)
    except (lzma.LZMAError, EOFError) as error:
        raise DamagedArchive(f"an LZMA2 stream is damaged ({error})") from None
    if len(content) > limit or not state.eof or state.unused_data:
        raise DamagedArchive(f"an LZMA2 stream is cut short, has a tail, or holds more than {limit} bytes")
    return content


def _fitting(filters: list[dict[str, int]], size: int) -> list[dict[str, int]]:
    """The filters with a dictionary that is no longer than a content of `size` bytes."""
    return [{**one, "dict_size": min(one["dict_size"], max(2**12, size))} for one in filters]


def shortest(data: bytes) -> tuple[int, bytes]:
    """The method (0 stored, 1 deflate, 2 LZMA2) that makes `data` shortest, and its result.

    LZMA2, which takes fifteen times as long as deflate where there is nothing to gain, is not tried where that hardly
    shrinks the data; a few bytes are no reason to compress them at all.
    """
    coded = [data, deflate(data)]
    if len(coded[1]) + ZLIB_BYTES < HARDLY * len(data):
        coded.append(compress_lzma(data))
    elif len(data) - len(coded[1]) < FEW_BYTES:
        return 0, data
    method = min(range(len(coded)), key=lambda number: len(coded[number]))
    return method, coded[method]


def unpack_method(method: int, data: bytes, limit: int) -> bytes:
    """The inverse of `shortest`. Raises UnsupportedVersion for other methods, DamagedArchive beyond `limit` bytes."""
    if method == 0 and len(data) <= limit:
        return data
    if method == 1:
        return inflate(data, limit)
    if method == 2:
        return decompress_lzma(data, limit)
    if method == 0:
        raise DamagedArchive(f"expected at most {limit} stored bytes, got {len(data)}")
    raise UnsupportedVersion(f"the archive uses compression method {method}, which this bbcodec does not know")
