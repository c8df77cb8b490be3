"""Chunks as records."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bbcodec.errors import DamagedArchive
from bbcodec.images.chunk_records import pack_records, take_records

names = st.binary(min_size=4, max_size=4).filter(lambda name: name != b"IDAT")
chunks = st.lists(st.tuples(names, st.binary(max_size=300)), max_size=5)


@given(chunks, chunks)
def test_records_give_the_chunks_back(before, after):
    everything = [*before, (b"IDAT", b""), *after]
    packed = pack_records(everything, b"IDAT")
    assert list(take_records(b"head" + packed, 4, b"IDAT")) == everything
    assert len(packed) <= sum(4 + 2 + len(data) for _, data in everything)


def test_data_that_ends_like_pixels_is_kept():
    everything = [(b"IDAT", b""), (b"tEXt", b"a\0IDAT")]
    assert list(take_records(pack_records(everything, b"IDAT"), 0, b"IDAT")) == everything


def test_nothing_but_pixels_takes_no_bytes():
    assert pack_records([(b"IDAT", b"")], b"IDAT") == b""


@given(st.binary(max_size=60))
def test_any_bytes_are_records_or_damage(data):
    try:
        found = list(take_records(data, 0, b"IDAT"))
    except DamagedArchive:
        return
    assert [name for name, _ in found].count(b"IDAT") == 1


@pytest.mark.parametrize("data", [b"tEX", b"tEXt", b"tEXt\x05abcd", b"tEXt\x80", b"IDATIDAT", b"tEXt\0IDATtEXt\0IDAT"])
def test_malformed_records_are_damage(data):
    with pytest.raises(DamagedArchive):
        list(take_records(data, 0, b"IDAT"))
