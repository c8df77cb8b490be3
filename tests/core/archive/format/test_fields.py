"""Columns, and the types of MessagePack that directories have: what is packed comes back, all else is refused."""

import msgpack
import pytest
from hypothesis import given
from hypothesis import strategies as st

from bbcodec.archive.format.fields import FieldReader, content_bound, item_bound, pack_column, padding
from bbcodec.errors import DamagedArchive


def column(packed, count):
    fields = FieldReader(msgpack.packb(packed))
    found = fields.column(count)
    fields.end()
    return found


@given(st.lists(st.integers(-(2**62), 2**62)))
def test_columns_come_back(numbers):
    assert column(pack_column(numbers), len(numbers)) == numbers


def test_column_golden_bytes():
    assert pack_column([]) == 0
    assert pack_column([7, 7]) == 7
    assert pack_column([300, 5, 6]) == [5, bytes([39, 0, 1, 1, 0, 0])]  # 295 = 0x127
    assert pack_column([-3, -2]) == [-3, b"\0\1"]


@given(st.integers(0, 2**24), st.integers(0, 2**28), st.integers(0, 2**24))
def test_padding_is_what_both_bounds_ask_for_and_no_more(items, content, stored):
    pad = padding(items, content, stored)

    def suffices(size):
        return item_bound(size) >= items and content_bound(size) >= content

    assert suffices(stored + pad)
    assert pad == 0 or not suffices(stored + pad - 1)


def test_a_megabyte_names_few_enough_to_be_read_in_seconds():
    """A million names and places took ten."""
    assert item_bound(100) == 164
    assert item_bound(2**17) == 2**17 + 64
    assert item_bound(2**20) < 2**20 * 0.35


@pytest.mark.parametrize(
    "packed",
    [[0], [0, b""], [0, b"123"], [0, "12"], True, None, 1.5, float("inf"), [0, bytes(18)], [1.5, b"12"], [True, b"12"],
     [float("nan"), b"12"], [0, b"12", 0], [[0, b"12"], b"12"], {0: b"12"}, "12", b"12"],
)  # fmt: skip
def test_malformed_columns_are_damage(packed):
    with pytest.raises(DamagedArchive):
        column(packed, 2)


def test_planes_for_nothing_are_damage():
    assert column(0, 0) == []
    with pytest.raises(DamagedArchive):
        column([0, b""], 0)


READS = {
    int: FieldReader.integer, bytes: FieldReader.binary, str: FieldReader.text, type(None): FieldReader.integer_or_nil,
    list: FieldReader.array,
}  # fmt: skip
values = st.none() | st.booleans() | st.floats() | st.integers(-(2**63), 2**64 - 1) | st.binary(max_size=300)
values |= st.text(max_size=300) | st.lists(st.integers(0, 9), max_size=20) | st.just({})


@given(values)
def test_each_type_is_read_as_itself_and_as_nothing_else(value):
    for kind, read in READS.items():
        fields = FieldReader(msgpack.packb(value))
        if type(value) is kind or (kind is type(None) and type(value) is int):
            assert read(fields) == (len(value) if kind is list else value)
        else:
            with pytest.raises(DamagedArchive):
                read(fields)


@given(st.binary(max_size=12), st.sampled_from(sorted(READS, key=str)))
def test_random_bytes_raise_nothing_unforeseen(data, kind):
    fields = FieldReader(data)
    try:
        READS[kind](fields)
        fields.end()
    except DamagedArchive:
        return
    assert data


def test_nothing_is_allocated_for_what_is_not_there():
    for head in (b"\xc6\xff\xff\xff\xff", b"\xdb\xff\xff\xff\xff"):
        with pytest.raises(DamagedArchive, match="ends too early"):
            READS[bytes if head[0] == 0xC6 else str](FieldReader(head + b"123"))
