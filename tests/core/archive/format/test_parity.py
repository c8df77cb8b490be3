"""Recovery blocks as docs/format.md lays them out."""

import io
import struct
import zlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bbcodec.archive.format.parity import (
    GROUP_BLOCKS,
    TRAILER_BYTES,
    Layout,
    ParityBlock,
    archive_end,
    find_parity_blocks,
    pack_trailer,
    read_parity_block,
)

HEADER = b"\x89BBC\r\n\x1a\n\x05idid"


@given(st.integers(60, 2**33), st.integers(1, 100))
def test_every_archive_has_a_layout(size, percent):
    one = Layout.of(size, percent)
    assert one.sound
    assert one.n_data(0) + one.n_parity <= GROUP_BLOCKS
    assert one.n_parity >= min(255 - one.n_data(0), one.n_data(0) * percent / 100)
    assert sum(map(one.n_data, range(min(one.n_groups, 5)))) <= one.n_blocks <= one.n_groups * one.n_data(0)
    assert one.block_bytes * (one.n_blocks - 1) < size <= one.block_bytes * one.n_blocks
    if size > 10**5:  # and costs what is asked for, about
        assert (one.file_bytes - size) / size < 1.25 * percent / 100 + 0.05


@given(st.integers(60, 2**22), st.integers(1, 100), st.integers(256, 2**12))
def test_parity_blocks_follow_each_other(size, percent, block_bytes):
    groups = -(-size // block_bytes // 100) or 1
    one = Layout(size, block_bytes, min(groups, -(-size // block_bytes)), 1 + percent % 7)
    if not one.sound:
        return
    end = size
    for number in range(one.n_parity):
        for group in range(one.n_groups):
            assert one.parity_start(group, number) == end
            end += one.parity_bytes(group)
    assert one.file_bytes == end + TRAILER_BYTES


def block(number=1, layout=None, group=0):
    layout = layout or Layout(1000, 300, 1, 2)
    crcs = tuple(range(layout.n_data(group)))
    return ParityBlock(layout, HEADER, group, number, crcs, bytes(range(250)) + bytes(layout.block_bytes - 250))


def test_golden_bytes():
    body = HEADER + struct.pack("<QIIIBB", 1000, 300, 1, 0, 2, 1) + struct.pack("<4I", 0, 1, 2, 3) + block().parity
    assert block().pack() == b"\x89BBP\r\n\x1a\n" + struct.pack("<I", zlib.crc32(body)) + body
    length = struct.pack("<Q", 1000)
    assert pack_trailer(1000) == length + struct.pack("<I", zlib.crc32(length)) + b"\x89BBT\r\n\x1a\n"


def test_blocks_are_read_in_their_places_alone():
    start = block().layout.parity_start(0, 1)
    data = bytes(start) + block().pack()
    assert read_parity_block(io.BytesIO(data), start) == block()
    assert list(find_parity_blocks(io.BytesIO(data))) == [block()]
    assert list(find_parity_blocks(io.BytesIO(b"x" + data))) == []
    for place in range(start, len(data)):
        bad = data[:place] + bytes([data[place] ^ 1]) + data[place + 1 :]
        assert read_parity_block(io.BytesIO(bad), start) is None
    for length in range(start, len(data)):
        assert read_parity_block(io.BytesIO(data[:length]), start) is None


@pytest.mark.parametrize(
    "layout",
    [(0, 300, 1, 2), (1000, 0, 1, 2), (1000, 300, 0, 2), (1000, 300, 1, 0), (1000, 300, 5, 2), (1000, 2, 1, 2),
     (2**64 - 1, 2**16, 2**32 - 1, 255), (2**63, 1, 1, 1), (1000, 2**16 + 1, 1, 1)],
)  # fmt: skip
def test_layouts_that_cannot_be_are_no_blocks(layout):
    assert not Layout(*layout).sound
    for group, number in ((0, 0), (2**32 - 1, 255)):
        body = HEADER + struct.pack("<QIIIBB", *layout[:3], group, layout[3], number) + bytes(500)
        data = b"\x89BBP\r\n\x1a\n" + struct.pack("<I", zlib.crc32(body)) + body
        assert list(find_parity_blocks(io.BytesIO(bytes(2000) + data))) == []


@given(st.binary(max_size=200))
def test_any_bytes_are_looked_at(junk):
    assert list(find_parity_blocks(io.BytesIO(junk + block().pack()[:30] + junk))) == []


def test_blocks_at_the_edges_of_what_is_read_at_once_are_found():
    for shift in range(-12, 3):
        size = 2**20 + shift - 338 - 4 * 12
        layout = Layout(size, 2**16, 1, 1)
        one = block(0, layout)
        assert list(find_parity_blocks(io.BytesIO(bytes(size) + one.pack()))) == [one]
        far = Layout(2**20 + shift, 2**16, 1, 1)
        assert list(find_parity_blocks(io.BytesIO(bytes(2**20 + shift) + block(0, far).pack()))) == [block(0, far)]


def test_a_trailer_says_where_the_archive_ends():
    data = bytes(70) + pack_trailer(50)
    assert archive_end(io.BytesIO(data), len(data)) == 50
    for bad in (data[:-1], data + b"x", data[:-9] + b"x" + data[-8:], bytes(70) + pack_trailer(90), b"", bytes(70)):
        assert archive_end(io.BytesIO(bad), len(bad)) == len(bad)
