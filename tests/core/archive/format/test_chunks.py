"""Bodies of chunks as docs/format.md says: what is packed comes back, and what breaks a rule is refused as such."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bbcodec.archive.format.chunks import (
    SheetBody,
    pack_bytes,
    unpack_bytes,
)
from bbcodec.binary import MAX_CONTENT_BYTES, MAX_VALUES, compress_lzma, deflate, digest64, pack_varint
from bbcodec.codec.message import LearnedMessage
from bbcodec.errors import DamagedArchive, UnsupportedVersion


@given(st.binary(max_size=300), st.integers(1, 50), st.booleans())
def test_bytes_come_back(piece, times, compress):
    content = piece * times
    body = pack_bytes(content, compress=compress)
    assert unpack_bytes(body) == content
    assert body[:8] == digest64(content)
    assert compress or body[8] == 0


def test_a_bomb_is_refused_before_it_unfolds():
    for method, bomb in ((1, deflate(bytes(10**6))), (2, compress_lzma(bytes(10**6)))):
        with pytest.raises(DamagedArchive, match="more than 10 bytes"):
            unpack_bytes(digest64(bytes(10)) + bytes([method]) + pack_varint(10) + bomb)


def test_content_that_is_not_what_was_stored_is_damage():
    """With a right CRC-32: a fault of the writer, not of the disk."""
    for body in (digest64(b"hello") + b"\x00\x05jello", digest64(b"hello") + b"\x00\x06hello"):
        with pytest.raises(DamagedArchive, match="digest"):
            unpack_bytes(body)


def test_a_size_over_the_limit_is_refused():
    for size, limit in ((MAX_CONTENT_BYTES + 1, MAX_CONTENT_BYTES), (100, 99)):
        with pytest.raises(DamagedArchive, match=f"at most {limit}"):
            unpack_bytes(digest64(b"") + b"\x00" + pack_varint(size), limit)


def test_an_unknown_method_is_refused():
    body = bytearray(pack_bytes(b"hello"))
    body[8] = 3
    with pytest.raises(UnsupportedVersion, match="method 3"):
        unpack_bytes(bytes(body))


shapes = st.integers(1, 2**20), st.integers(1, 200), st.integers(1, 200)


@given(*shapes, st.binary(max_size=20))
def test_learned_bodies_come_back(count, height, width, message):
    body = LearnedMessage(b"codc", b"12345678", count, height, width, message)
    if count * height * width <= MAX_VALUES:
        assert LearnedMessage.unpack(body.pack()) == body
    else:
        with pytest.raises(DamagedArchive):
            LearnedMessage.unpack(body.pack())


@given(*shapes, st.sampled_from(["webp", "jpegxl", "lzma", "lzma-planar"]), st.integers(1, 4), st.binary(max_size=20))
def test_sheets_come_back(count, height, width, coding, channels, stream):
    body = SheetBody(b"12345678", coding, channels, count, height, width, stream)
    if count * height * width * channels <= MAX_VALUES:
        assert SheetBody.unpack(body.pack()) == body
    else:
        with pytest.raises(DamagedArchive):
            SheetBody.unpack(body.pack())


def test_bodies_have_the_bytes_of_the_format():
    assert LearnedMessage(b"codcmore", b"12345678", 300, 2, 3, b"msg").pack() == b"codc12345678\xac\x02\x02\x03msg"
    assert SheetBody(b"12345678", "lzma-planar", 3, 300, 2, 3, b"msg").pack() == b"12345678\x05\x03\xac\x02\x02\x03msg"


@pytest.mark.parametrize("size", [(0, 1, 1), (1, 0, 1), (1, 1, 0)])
def test_bodies_of_no_pixels_are_damage(size):
    with pytest.raises(DamagedArchive, match="out of bounds"):
        LearnedMessage.unpack(LearnedMessage(b"codc", b"12345678", *size, b"").pack())
    with pytest.raises(DamagedArchive, match="out of bounds"):
        SheetBody.unpack(SheetBody(b"12345678", "webp", 3, *size, b"").pack())


def test_sheets_of_unknown_codings_and_channels_are_refused():
    for number in (0, 2, 6, 255):
        with pytest.raises(UnsupportedVersion, match=f"coding {number},"):
            SheetBody.unpack(b"12345678" + bytes([number, 1, 1, 1, 1]))
    for channels in (0, 5):
        with pytest.raises(DamagedArchive, match="channels"):
            SheetBody.unpack(SheetBody(b"12345678", "webp", channels, 1, 1, 1, b"").pack())


@given(st.binary(max_size=40), st.sampled_from([LearnedMessage.unpack, SheetBody.unpack, unpack_bytes]))
def test_random_bodies_raise_nothing_unforeseen(body, unpack):
    try:
        found = unpack(body)
    except (DamagedArchive, UnsupportedVersion):
        return
    if not isinstance(found, bytes):
        assert type(found).unpack(found.pack()) == found
