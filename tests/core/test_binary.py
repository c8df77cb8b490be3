"""Digests, varints and compression of bytes as docs/format.md says, and nothing allocated beyond a bound."""

import contextlib
import lzma
import tracemalloc
import zlib
from hashlib import blake2b, shake_128

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bbcodec.binary import (
    codec_digest,
    compress_lzma,
    decompress_lzma,
    deflate,
    digest64,
    inflate,
    pack_varint,
    shortest,
    take_varint,
    unpack_method,
)
from bbcodec.errors import DamagedArchive, UnsupportedVersion

NOISE = shake_128(b"noise").digest(4000)


def test_digests_are_unkeyed_blake2b():
    assert digest64(b"ab", memoryview(b"c")) == blake2b(b"abc", digest_size=8).digest()
    assert codec_digest(b"abc") == blake2b(b"abc", digest_size=16).digest()


@given(st.integers(0, 2**32 - 1))
def test_varints_come_back(number):
    data = pack_varint(number)
    assert take_varint(b"x" + data + b"y", 1) == (number, 1 + len(data))
    assert len(data) == max(1, -(-number.bit_length() // 7))


def test_varint_golden_bytes():
    assert pack_varint(300) == b"\xac\x02"


@pytest.mark.parametrize("number", [-1, 2**32])
def test_numbers_that_are_no_varint_are_a_bug_of_the_caller(number):
    with pytest.raises(ValueError, match="for a varint"):
        pack_varint(number)


@pytest.mark.parametrize("data", [b"", b"\x80", b"\xff\xff\xff\xff\x7f", b"\x80\x80\x80\x80\x10", b"\x80" * 5 + b"\1"])
def test_varints_cut_short_or_too_large_are_damage(data):
    with pytest.raises(DamagedArchive):
        take_varint(data, 0)


@given(st.binary(max_size=300), st.integers(1, 50))
def test_the_shortest_method_is_found_and_undone(piece, times):
    content = piece * times
    method, coded = shortest(content)
    assert unpack_method(method, coded, len(content)) == content
    assert len(coded) <= len(content)


def test_each_method_is_used():
    contents = [NOISE, b"abc" * 20, (NOISE[:600] + bytes(40000)) * 3]
    assert [shortest(content)[0] for content in contents] == [0, 1, 2]
    assert [unpack_method(*shortest(content), len(content)) for content in contents] == contents


def test_deflate_and_lzma_have_no_headers():
    assert zlib.decompress(deflate(b"hello"), -15) == b"hello"
    filters = [{"id": lzma.FILTER_LZMA2, "dict_size": 2**24, "lc": 3, "lp": 0, "pb": 2}]
    assert lzma.decompress(compress_lzma(b"hello"), lzma.FORMAT_RAW, filters=filters) == b"hello"


@pytest.mark.parametrize(("pack", "unpack"), [(deflate, inflate), (compress_lzma, decompress_lzma)])
def test_streams_that_are_not_whole_are_damage(pack, unpack):
    data = pack(NOISE)
    assert unpack(data, len(NOISE)) == NOISE
    for bad in (data[:-1], data[:10], b"", data + b"x", b"\xff" + data[1:]):
        with pytest.raises(DamagedArchive):
            unpack(bad, 10**6)
    with pytest.raises(DamagedArchive):
        unpack(data, len(NOISE) - 1)


@pytest.mark.parametrize(("pack", "unpack"), [(deflate, inflate), (compress_lzma, decompress_lzma)])
def test_a_bomb_is_not_held_in_memory(pack, unpack):
    bomb = pack(bytes(3 * 10**7))
    tracemalloc.start()
    try:
        with pytest.raises(DamagedArchive, match="more than 1000 bytes"):
            unpack(bomb, 1000)
        assert tracemalloc.get_traced_memory()[1] < 2 * 10**7  # LZMA2 has a dictionary of 2**24
    finally:
        tracemalloc.stop()


def test_stored_bytes_have_a_bound_too():
    assert unpack_method(0, b"12345", 5) == b"12345"
    with pytest.raises(DamagedArchive, match="at most 4"):
        unpack_method(0, b"12345", 4)


@given(st.integers(3, 255), st.binary(max_size=9))
def test_an_unknown_method_is_refused(method, data):
    with pytest.raises(UnsupportedVersion, match=f"method {method},"):
        unpack_method(method, data, 5)


@given(st.integers(1, 2), st.binary(max_size=60))
def test_random_streams_raise_nothing_unforeseen(method, data):
    with contextlib.suppress(DamagedArchive):
        unpack_method(method, data, 100)
