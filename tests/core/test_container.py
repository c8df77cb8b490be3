"""docs/format.md, checked: bounds, checksums, refusals, and how small it all is."""

import contextlib
import io
import struct
import tracemalloc
import zlib
from hashlib import shake_128

import msgpack
import pytest
from hypothesis import given
from hypothesis import strategies as st

from bbcodec import container
from bbcodec.container import (
    BYTES,
    CODEC,
    LEARNED,
    CodecRecord,
    File,
    LearnedBody,
    Reader,
    Writer,
    pack_bytes,
    unpack_bytes,
)
from bbcodec.errors import BBCodecError, DamagedArchive, NotAnArchive, UnsafePath, UnsupportedVersion


def archive(files=(), chunks=(), codecs=()) -> bytes:
    stream = io.BytesIO()
    writer = Writer(stream)
    for kind, body in chunks:
        writer.add(kind, body)
    writer.finish(list(files), list(codecs))
    return stream.getvalue()


def small() -> bytes:
    files = [File(b"a.txt", "bytes", n_chunks=1, length=5), File(b"b.txt", "bytes", n_chunks=1, length=6)]
    return archive(files, [(BYTES, pack_bytes(b"hello world"))])


def with_index(packed: bytes, chunks=()) -> bytes:
    """An archive whose index is these msgpack bytes, with a right digest: what only a hostile writer makes."""
    data = archive([], chunks)
    start = len(data) - container.FOOTER_BYTES - struct.unpack("<I", data[-16:-12])[0]
    index = b"\0" + packed
    header = data[: container.HEADER_BYTES]
    return data[:start] + index + struct.pack("<I", len(index)) + container.digest64(header, index) + b"BBCE"


def fields(**changes) -> bytes:
    base = {
        "n": 1, "names": b"a", "columns": [2, 0, 0, 0, 0, 0, 0, 0, 0o644, 0, 0, 0], "metadata": [], "codecs": [],
        "types": "", "lengths": 0,
    }  # fmt: skip
    base.update(changes)
    return msgpack.packb(list(base.values()))


def read(data: bytes) -> Reader:
    return Reader(io.BytesIO(data))


# --- numbers


@given(st.integers(0, 2**32 - 1))
def test_varints_come_back(number):
    data = container.pack_varint(number)
    assert container.take_varint(b"x" + data + b"y", 1) == (number, 1 + len(data))


def test_varint_golden_bytes():
    assert container.pack_varint(300) == b"\xac\x02"


@pytest.mark.parametrize("data", [b"", b"\x80", b"\xff\xff\xff\xff\x7f", b"\x80\x80\x80\x80\x80\x01"])
def test_varints_cut_short_or_too_large_are_damage(data):
    with pytest.raises(DamagedArchive):
        container.take_varint(data, 0)


@given(st.lists(st.integers(-(2**62), 2**62)))
def test_columns_come_back(numbers):
    column = msgpack.unpackb(msgpack.packb(container.pack_column(numbers)))
    assert container.unpack_column(column, len(numbers)) == numbers


def test_column_golden_bytes():
    assert container.pack_column([7, 7]) == 7
    assert container.pack_column([300, 5, 6]) == [5, bytes([39, 0, 1, 1, 0, 0])]  # 295 = 0x127


@pytest.mark.parametrize("column", [[0], [0, b""], [0, b"123"], [0, "12"], True, None, 1.5, [0, bytes(18)]])
def test_malformed_columns_are_damage(column):
    with pytest.raises(DamagedArchive):
        container.unpack_column(column, 2)


# --- bytes


@given(st.binary(max_size=300), st.integers(1, 50), st.booleans())
def test_bytes_come_back(piece, times, compress):
    content = piece * times
    assert unpack_bytes(pack_bytes(content, compress=compress)) == content


def test_each_method_is_used_and_read():
    noise = shake_128(b"noise").digest(4000)
    contents = [noise, b"abc" * 20, (noise[:600] + bytes(40000)) * 3]
    methods = [pack_bytes(content)[8] for content in contents]
    assert methods == [0, 1, 2]
    assert [unpack_bytes(pack_bytes(content)) for content in contents] == contents


def test_a_bomb_is_refused_before_it_unfolds():
    bomb = zlib.compressobj(9, zlib.DEFLATED, -15)
    data = bomb.compress(bytes(10**7)) + bomb.flush()
    with pytest.raises(DamagedArchive, match="more than 1000 bytes"):
        container.inflate(data, 1000)
    body = container.digest64(bytes(10)) + b"\x01" + container.pack_varint(10) + data
    with pytest.raises(DamagedArchive):
        unpack_bytes(body)
    lzma_bomb = pack_bytes(bytes(10**6) + b"x" * 10**6)
    assert lzma_bomb[8] == 2
    with pytest.raises(DamagedArchive):
        unpack_bytes(container.digest64(b"") + b"\x02" + container.pack_varint(10) + lzma_bomb[12:])


def test_a_bomb_is_not_held_in_memory():
    bomb = container.deflate(bytes(10**7))
    tracemalloc.start()
    try:
        with pytest.raises(DamagedArchive):
            container.inflate(bomb, 1000)
        assert tracemalloc.get_traced_memory()[1] < 10**6
    finally:
        tracemalloc.stop()


def test_content_that_is_not_what_was_stored_is_damage():
    """With a right CRC-32: a fault of the writer, not of the disk."""
    body = container.digest64(b"hello") + b"\x00\x05jello"
    with pytest.raises(DamagedArchive, match="digest"):
        unpack_bytes(body)


def test_entries_may_not_share_several_chunks():
    """Else a small index could stand for any number of pieces, each listed for each of very many entries."""
    files = [File(b"%d" % number, "bytes", n_chunks=2) for number in range(3)]
    with pytest.raises(DamagedArchive, match="names chunks that the archive does not have"):
        read(archive(files, [(BYTES, pack_bytes(b"x"))] * 2))


def test_a_size_over_the_limit_is_refused():
    body = container.digest64(b"") + b"\x00" + container.pack_varint(container.MAX_CONTENT_BYTES + 1)
    with pytest.raises(DamagedArchive, match="at most"):
        unpack_bytes(body)


def test_an_unknown_method_is_refused():
    body = bytearray(pack_bytes(b"hello"))
    body[8] = 3
    with pytest.raises(UnsupportedVersion, match="method 3"):
        unpack_bytes(bytes(body))


@given(st.integers(1, 2**20), st.integers(1, 200), st.integers(1, 200), st.binary(max_size=20))
def test_learned_bodies_come_back(count, height, width, message):
    body = LearnedBody(b"codc", b"12345678", count, height, width, message)
    if count * height * width <= container.MAX_VALUES:
        assert LearnedBody.unpack(body.pack()) == body
    else:
        with pytest.raises(DamagedArchive):
            LearnedBody.unpack(body.pack())


def test_a_learned_body_of_no_images_is_damage():
    with pytest.raises(DamagedArchive):
        LearnedBody.unpack(LearnedBody(b"codc", b"12345678", 0, 1, 1, b"").pack())


# --- whole archives


def test_golden_bytes():
    """The whole of a small archive, from the page that specifies it."""
    body = container.digest64(b"hi") + b"\x00\x02hi"
    chunk = b"B" + struct.pack("<I", 12) + body
    chunk += struct.pack("<I", zlib.crc32(chunk))
    #          n   "a"        12 columns: form how mode w h size s ns permissions chunks length metadata
    index = b"\x97\x01\xc4\x01a" + b"\x9c\x02\x00\x00\x00\x00\x02\x00\x00\xcd\x01\xa4\x01\x02\x00"
    index = b"\x00" + index + b"\x90\x90\xa1B\x00"
    header = b"\x89BBC\r\n\x1a\n\x01"
    footer = struct.pack("<I", len(index)) + container.digest64(header + index) + b"BBCE"
    file = File(b"a", "bytes", size=2, n_chunks=1, length=2)
    assert archive([file], [(BYTES, pack_bytes(b"hi"))]) == header + chunk + index + footer


names = st.lists(
    st.binary(min_size=1, max_size=6).filter(lambda name: not set(name) & set(b"/\0\\:.")), unique=True, max_size=12
)


@given(names, st.data())
def test_an_index_comes_back(names, data):
    files = []
    for name in sorted(names):
        numbers = [data.draw(st.integers(0, 2**31)) for _ in range(3)]
        files.append(
            File(name, "bytes", "original", data.draw(st.sampled_from(container.MODES)), *numbers,
                 data.draw(st.integers(-(2**60), 2**60)), data.draw(st.integers(0, 0o777)),
                 metadata=data.draw(st.sampled_from([b"", b"one", b"two"])))
        )  # fmt: skip
    codecs = [CodecRecord(bytes(16), "mine", 1), CodecRecord(b"x" * 16, "photo-1")]
    chunks = [(LEARNED, b"12"), (CODEC, b""), (BYTES, b"345")]
    reader = read(archive(files, chunks, codecs))
    assert reader.index.files == files
    assert reader.index.codecs == codecs
    assert [reader.body(number) for number in range(3)] == [body for _, body in chunks]


def test_an_empty_archive_is_an_archive():
    assert read(archive()).index.files == []


def test_every_cut_is_noticed():
    data = small()
    for length in range(len(data)):
        with pytest.raises((NotAnArchive, DamagedArchive)):
            read(data[:length])


@pytest.mark.parametrize("flip", [1, 0x80, 0xFF])
def test_every_changed_byte_is_noticed(flip):
    data = small()
    for place in range(len(data)):
        bad = bytearray(data)
        bad[place] ^= flip
        with pytest.raises((NotAnArchive, DamagedArchive, UnsupportedVersion)):
            unpack_bytes(read(bytes(bad)).body(0))


@pytest.mark.parametrize("changed", [lambda data: data + b"x", lambda data: b"x" + data, lambda data: data * 2])
def test_nothing_may_come_before_or_after(changed):
    with pytest.raises((NotAnArchive, DamagedArchive)):
        read(changed(small())).body(0)


def test_what_is_no_archive_is_told_apart():
    with pytest.raises(NotAnArchive, match="empty"):
        read(b"")
    with pytest.raises(NotAnArchive, match=r"not a bbcodec archive$"):
        read(b"\x89PNG\r\n\x1a\n" + bytes(100))
    with pytest.raises(NotAnArchive, match="line ends"):
        read(small().replace(b"\r\n", b"\n"))


def test_another_version_is_refused():
    data = bytearray(small())
    data[8] = 2
    with pytest.raises(UnsupportedVersion, match="version 2"):
        read(bytes(data))


def test_an_unknown_chunk_type_is_refused():
    with pytest.raises(UnsupportedVersion, match="type 'Q'"):
        read(archive([], [("Q", b"new")]))


# --- indices that only a hostile writer makes


def test_the_hostile_index_helper_makes_readable_archives():
    assert read(with_index(fields())).index.files == [File(b"a", "bytes")]


HOSTILE = {
    "no list": msgpack.packb(5),
    "too few fields": msgpack.packb([1]),
    "garbage": b"\xc1\xc1",
    "map bomb": b"\xdf\xff\xff\xff\xff",
    "wrong count": fields(n=2),
    "negative count": fields(n=-1),
    "huge count": fields(n=2**40),
    "missing column": fields(columns=[2] * 11),
    "unknown form": fields(columns=[99, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0]),
    "unknown how": fields(columns=[2, 9, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0]),
    "unknown mode": fields(columns=[2, 0, 99, 0, 0, 0, 0, 0, 0, 0, 0, 0]),
    "huge time": fields(columns=[2, 0, 0, 0, 0, 0, 2**63, 0, 0, 0, 0, 0]),
    "setuid": fields(columns=[2, 0, 0, 0, 0, 0, 0, 0, 0o4755, 0, 0, 0]),
    "chunk that is not there": fields(columns=[2, 0, 0, 0, 0, 0, 0, 0, 0, 1, 0, 0]),
    "many chunks": fields(columns=[2, 0, 0, 0, 0, 0, 0, 0, 0, 2**24 - 1, 0, 0]),
    "metadata that is not there": fields(columns=[2, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1]),
    "metadata that is no bytes": fields(metadata=["a"]),
    "learned without chunk": fields(columns=[3, 1, 2, 4, 4, 0, 0, 0, 0, 0, 0, 0]),
    "short codec digest": fields(codecs=[[b"123", "x", None]]),
    "codec in no chunk": fields(codecs=[[bytes(16), "x", 0]]),
    "names not in order": fields(n=2, names=b"b\0a"),
    "one name twice": fields(n=2, names=b"a\0a"),
    "file and folder": fields(n=2, names=b"a\0a/b"),
    "chunks that fill nothing": fields(types="BB"),
}


@pytest.mark.parametrize("case", HOSTILE)
def test_hostile_indices_are_damage(case):
    with pytest.raises(DamagedArchive):
        read(with_index(HOSTILE[case]))


BAD_NAMES = [b"/a", b"../a", b"a/../b", b"a//b", b"a/", b".", b"..", b"a/.", b"", b"/"]


@pytest.mark.parametrize("name", BAD_NAMES)
def test_names_that_leave_the_folder_are_refused(name):
    with pytest.raises(UnsafePath):
        read(with_index(fields(names=name)))
    with pytest.raises(UnsafePath):
        archive([File(name, "bytes")])


@given(st.binary(max_size=60))
def test_random_indices_raise_nothing_unforeseen(packed):
    with pytest.raises(BBCodecError):
        read(with_index(packed))


@given(st.data())
def test_changed_indices_raise_nothing_unforeseen(data):
    """With a right digest: every other field value either reads or is refused."""
    packed = bytearray(fields(n=2, names=b"a\0b", columns=[[0, b"\0\1"] for _ in range(12)], metadata=[b"m"]))
    for _ in range(data.draw(st.integers(1, 3))):
        packed[data.draw(st.integers(0, len(packed) - 1))] = data.draw(st.integers(0, 255))
    with contextlib.suppress(BBCodecError):
        read(with_index(bytes(packed)))


# --- how small it is


def test_overhead_of_one_image():
    """What is not message, name or codec name: at most 115 bytes with a codec's 28, 85 without."""
    name = b"kodim01.png"
    about = ("RGB", 768, 512, 736501, 1763712345123456789, 0o644, 0, 1)
    codec = CodecRecord(bytes(range(100, 116)), "photo-1")
    body = LearnedBody(codec.digest[:4], b"12345678", 1, 512, 768, b"").pack()
    learned = archive([File(name, "png", "learned", *about)], [(LEARNED, body)], [codec])
    webp = archive([File(name, "png", "webp", *about)], [(BYTES, pack_bytes(b"", compress=False))])
    assert len(learned) - len(name) - len(codec.name) <= 115
    assert len(webp) - len(name) <= 85


def test_overhead_of_many_images():
    """Below 10 bytes a file beyond its name, with times as a file system has them."""

    def time(number):
        return 10**18 + zlib.crc32(b"%d" % number) * 10

    files = [
        File(b"%05d.png" % i, "png", "learned", "L", 28, 28, 300 + i * 7 % 50, time(i), 0o644, 0, 1)
        for i in range(1000)
    ]
    data = archive(files, [(LEARNED, b"")])
    assert (len(data) - len(zlib.compress(b"".join(file.name for file in files), 9))) / len(files) < 10
