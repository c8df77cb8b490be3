"""docs/format.md, checked: the archive as bytes, checksums, refusals, recovery of the index, and how small it is."""

import contextlib
import io
import itertools
import random
import re
import struct
import zlib
from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from bbcodec.archive.format import container, recovery
from bbcodec.archive.format.chunks import (
    BYTES,
    CODEC,
    DIRECTORY,
    LEARNED,
    SHEET,
    pack_bytes,
    read_chunk,
    unpack_bytes,
)
from bbcodec.archive.format.container import ContainerReader, ContainerWriter
from bbcodec.archive.format.header import FOOTER_BYTES, HEADER_BYTES, START, VERSION
from bbcodec.archive.format.index import CodecRecord, Directory, Entry, Place, pack_directory
from bbcodec.binary import digest64
from bbcodec.codec.message import LearnedMessage
from bbcodec.errors import BBCodecError, DamagedArchive, InputError, NotAnArchive, UnsafePath, UnsupportedVersion


def archive(segments=()) -> bytes:
    """An archive of segments, each of chunks and then the files in them."""
    stream = io.BytesIO()
    writer = ContainerWriter(stream)
    for chunks, files in segments:
        first = len(writer.chunks)
        for chunk in chunks:
            writer.add(*chunk)
        writer.add_files(file.moved(first) for file in files)
        writer.end_segment()
    writer.finish()
    return stream.getvalue()


def text(name: bytes, content: bytes, chunk=0, position=0) -> Entry:
    about = {"modified_ns": 10**18 + len(content), "permissions": 0o600}
    return Entry(name, "bytes", size=len(content), places=(Place(chunk, position, len(content)),), **about)


def small() -> bytes:
    files = [text(b"a.txt", b"hello"), text(b"b.txt", b" world", position=1)]
    return archive([([(BYTES, pack_bytes(b"hello world"))], files)])


def read(data: bytes) -> ContainerReader:
    return ContainerReader(io.BytesIO(data))


def entries(data: bytes) -> list[Entry]:
    return read(data).directory.files


# --- whole archives


def test_golden_bytes():
    """The whole of a small archive, from the page that specifies it."""

    def chunk(kind, body):
        framed = kind + struct.pack("<I", len(body)) + body
        return framed + struct.pack("<I", zlib.crc32(framed))

    body = digest64(b"hi") + b"\x00\x02hi"
    # form mode kind way w h size s ns permissions skeleton count; chunk position length coding
    row = b"\x9c\x02\x00\x00\x00\x00\x00\x02\x07\x09\xcd\x01\xa4\x00\x01" + b"place"
    crc = zlib.crc32(chunk(b"B", body)[:-4])
    start = b"\x00\x00\x99\xc4\x02a\x00" + row.replace(b"place", b"\x94\x00\x00\x02\x00") + b"\x90\x90"
    directory = start + b"\xa1B\x0c" + b"\xc4\x04" + struct.pack("<I", crc) + b"\x00"
    header = b"\x89BBC\r\n\x1a\n\x05" + digest64(directory)[:4]
    repeated = chunk(b"D", header + directory)
    data = header + repeated + chunk(b"B", body)
    start = start.replace(b"\x94\x00\x00\x02\x00", b"\x94\x01\x00\x02\x00")  # the chunk is number 1 of the archive
    lengths = b"\x92\x0c\xc4\x02" + bytes([len(header + directory) - 12, 0])
    crcs = b"\xc4\x08" + repeated[-4:] + struct.pack("<I", crc)
    index = start + b"\xa2DB" + lengths + crcs + b"\x02"
    data += index + struct.pack("<I", len(index)) + digest64(header + index) + header
    file = Entry(b"a", "bytes", size=2, modified_ns=7 * 10**9 + 9, places=(Place(0, 0, 2),))
    assert archive([([(BYTES, pack_bytes(b"hi"))], [file])]) == data
    assert entries(data) == [file.moved(1)]


names = st.lists(
    st.binary(min_size=1, max_size=6).filter(lambda name: not set(name) & set(b"/\0\\:.")),
    unique=True, min_size=1, max_size=12,
)  # fmt: skip


@settings(max_examples=40)
@given(names, st.data())
def test_an_archive_comes_back_from_its_index_or_without_it(names, data):
    """With any number of segments, codecs embedded or not, chunks of all types."""
    stream = io.BytesIO()
    writer = ContainerWriter(stream)
    for name in names:
        if data.draw(st.booleans()):
            writer.add(LEARNED, data.draw(st.binary(max_size=9)))
        if data.draw(st.booleans()):
            digest = bytes([data.draw(st.integers(0, 3))]) * 16
            writer.add_codec(digest, "codec", data.draw(st.sampled_from([None, b"content"])))
        content = data.draw(st.binary(max_size=9))
        writer.add_files([text(name, content, writer.add(BYTES, pack_bytes(content)))])
        if data.draw(st.booleans()):
            writer.add_need("jpegxl")
        if data.draw(st.booleans()):
            writer.end_segment()
    writer.finish()
    whole, rebuilt = read(stream.getvalue()), read(stream.getvalue()[:-9] + b"?" + stream.getvalue()[-8:])
    assert (whole.rebuilt, rebuilt.rebuilt != "") == ("", True)
    assert [file.name for file in whole.directory.files] == sorted(names)
    chunks = [chunk for chunk in whole.directory.chunks if chunk.type != DIRECTORY]
    assert [replace(chunk, offset=0) for chunk in chunks] == writer.chunks
    found = [{codec.digest: codec for codec in reader.directory.codecs} for reader in (whole, rebuilt)]
    assert found[0] == found[1]
    assert replace(whole.directory, codecs=[]) == replace(rebuilt.directory, codecs=[])


def test_places_move_with_their_chunks(tmp_path):
    """Chunks are numbered from 0 in each directory chunk, and the index numbers them all."""
    segments = [([(BYTES, pack_bytes(b"%d" % n))] * 2, [text(b"%d" % n, b"%d" % n, 1)]) for n in range(3)]
    data = archive(segments)
    (tmp_path / "a").write_bytes(data)
    assert [chunk.type for chunk in read(data).directory.chunks] == list("DBB" * 3)
    assert [file.places[0].chunk for file in entries(data)] == [2, 5, 8]
    rebuilt = read(data[:-1])
    for file in rebuilt.directory.files:
        chunk = rebuilt.directory.chunks[file.places[0].chunk]
        assert unpack_bytes(read_chunk(str(tmp_path / "a"), chunk)) == file.name


def test_an_empty_archive_is_an_archive():
    assert entries(archive()) == []


def test_what_exceeds_the_format_cannot_be_written(monkeypatch):
    monkeypatch.setattr(container, "MAX_BODY_BYTES", 10)
    with pytest.raises(InputError, match="exceeds the archive format"):
        ContainerWriter(io.BytesIO()).add(BYTES, bytes(11))
    monkeypatch.setattr(container, "MAX_CHUNKS", 3)
    writer = ContainerWriter(io.BytesIO())
    writer.add(BYTES, b"")
    with pytest.raises(InputError, match="exceeds the archive format"):
        writer.add(BYTES, b"")


def test_names_that_leave_the_folder_cannot_be_written():
    with pytest.raises(UnsafePath):
        archive([([], [Entry(b"../a", "bytes")])])


def test_segments_end_after_so_many_bytes(monkeypatch):
    monkeypatch.setattr(container, "SEGMENT_BYTES", 100)
    writer = ContainerWriter(io.BytesIO())
    writer.add(BYTES, bytes(90))
    assert not writer.segment_full
    writer.add(BYTES, bytes(1))
    assert writer.segment_full
    writer.end_segment()
    assert not writer.segment_full


# --- damage


def test_every_cut_is_noticed():
    """What a cut archive gives is right; and that it was cut is told."""
    data = small()
    whole = entries(data)
    for length in range(len(data)):
        try:
            reader = read(data[:length])
        except (NotAnArchive, DamagedArchive):
            continue
        assert reader.rebuilt
        assert reader.directory.files == whole


def is_damaged(path, chunk):
    try:
        read_chunk(path, chunk)
    except DamagedArchive:
        return True
    return False


@pytest.mark.parametrize("flip", [1, 0x80, 0xFF])
def test_every_changed_byte_is_noticed(flip, tmp_path):
    data = small()
    path = tmp_path / "bad.bb"
    for place in range(len(data)):
        bad = bytearray(data)
        bad[place] ^= flip
        path.write_bytes(bad)
        reader = read(bytes(bad))
        assert reader.directory.files == entries(data)
        assert bool(reader.damage) == (place < HEADER_BYTES or bool(reader.rebuilt))
        if not reader.damage:
            assert any(is_damaged(str(path), chunk) for chunk in reader.directory.chunks)


@pytest.mark.parametrize("changed", [lambda data: data + b"x", lambda data: b"x" + data, lambda data: data * 2])
def test_nothing_may_come_before_or_after(changed):
    try:
        assert read(changed(small())).rebuilt
    except NotAnArchive:
        assert changed(small())[0] == ord("x")


def test_what_is_no_archive_is_told_apart():
    with pytest.raises(NotAnArchive, match="empty"):
        read(b"")
    with pytest.raises(NotAnArchive, match=r"not a bbcodec archive$"):
        read(b"\x89PNG\r\n\x1a\n" + bytes(100))
    for data in (b"x" + small()[:-1], bytes(9) + small()[9:-1]):
        with pytest.raises(NotAnArchive, match=r"not a bbcodec archive$"):
            read(data)
    for data in (small().replace(b"\r\n", b"\n"), bytes(byte & 127 for byte in small())):
        with pytest.raises(NotAnArchive, match="line ends or high bits"):
            read(data)
    for length in (4, 8, 9, 20):
        with pytest.raises(DamagedArchive, match="cut short"):
            read(small()[:length])


def test_every_other_version_is_refused_by_name():
    data = small()
    for version in set(range(256)) - {VERSION}:
        with pytest.raises(UnsupportedVersion, match=re.escape(f"format {version // 16}.{version % 16}; this bbcodec")):
            read(data[:8] + bytes([version]) + data[9:-5] + bytes([version]) + data[-4:])


def test_an_unknown_chunk_type_is_refused():
    with pytest.raises(UnsupportedVersion, match="type 'Q'"):
        read(archive([([("Q", b"new")], [])]))


# --- directories found again


def frame(body):
    head = b"D" + struct.pack("<I", len(body))
    return head + body + struct.pack("<I", zlib.crc32(head + body))


def three_segments() -> bytes:
    return archive([([(BYTES, pack_bytes(b"%d" % n * 9))], [text(b"%d" % n, b"%d" % n * 9)]) for n in range(3)])


def directory_starts(data: bytes) -> list[int]:
    return [chunk.start for chunk in read(data).directory.chunks if chunk.type == DIRECTORY]


def test_a_cut_archive_gives_the_segments_before_the_cut():
    data = three_segments()
    starts = directory_starts(data)
    ends = [chunk.end for chunk in read(data).directory.chunks if chunk.type == DIRECTORY]
    assert len(starts) == 3
    for length in range(HEADER_BYTES + FOOTER_BYTES, len(data)):
        whole = sum(end <= length for end in ends)
        if whole == 0:
            with pytest.raises(DamagedArchive, match="cut short"):
                read(data[:length])
        else:
            assert [file.name for file in entries(data[:length])] == [b"%d" % n for n in range(whole)]


def test_a_damaged_directory_costs_its_files_only_where_the_index_is_gone_too():
    data = bytearray(three_segments())
    data[directory_starts(data)[1] + 20] ^= 1
    assert len(entries(bytes(data))) == 3
    data[-1] ^= 1
    assert [file.name for file in entries(bytes(data))] == [b"0", b"2"]


@given(st.binary(max_size=40), st.integers(0, 3))
def test_directories_are_found_past_any_damage(junk, which):
    """Bytes in place of a chunk, more or fewer than it had: what it held is lost, nothing else."""
    data = three_segments()
    chunks = [chunk for chunk in read(data).directory.chunks if chunk.type == BYTES]
    bad = data[:-1]
    if which < 3:
        bad = bad[: chunks[which].offset - 5] + junk + bad[chunks[which].end :]
    assert {file.name for file in entries(bad)} == {b"0", b"1", b"2"}


def test_of_two_directories_with_a_name_the_later_holds():
    """No encoder writes two; but bytes that come twice, as from a disk that lost its order, hold them."""
    data = three_segments()
    files = entries(data[:-1] + data[:-1])
    assert [file.name for file in files] == [b"0", b"1", b"2"]


def test_directories_of_another_archive_are_left_out():
    """As after an interrupted write over an old archive: what is left of that is not what the header is of."""
    old = archive([([(BYTES, pack_bytes(b"old"))], [text(b"a", b"old"), text(b"b", b"old")])])
    new = archive([([(BYTES, pack_bytes(b"newer"))], [text(b"a", b"newer")])])
    assert len(old) > len(new)
    files = entries(new[:-9] + old[len(new) - 9 : -9])
    assert [(file.name, file.size) for file in files] == [(b"a", 5)]
    assert [file.size for file in entries(new + old[:-9])] == [5]


def test_what_only_looks_like_a_directory_is_passed_by():
    """Right frames with wrong content, and lengths that lead out of the file or into other chunks."""

    header = small()[:HEADER_BYTES]
    hostile = pack_directory(Directory([Entry(b"../a", "bytes")], [], []))
    frames = [frame(header + body) for body in (b"junk", b"\0\0junk", b"", hostile)]
    heads = [b"D" + struct.pack("<I", n) + header for n in (0, 1, 13, 14, 300, 2**26 + 1, 2**32 - 1)]
    for junk in (*frames, frame(header[:-1]), *heads, *(head * 3 for head in heads), header, b"D" * 30):
        data = header + junk + small()[HEADER_BYTES:]
        assert len(entries(data)) == 2
        assert read(data).rebuilt


def test_an_archive_without_any_directory_is_damaged():
    with pytest.raises(DamagedArchive, match="its end is damaged"):
        read(START + b"B" * 100)


def test_chunks_are_checked_before_they_are_given(tmp_path):
    path = tmp_path / "a.bb"
    data = small()
    chunk = read(data).directory.chunks[1]
    path.write_bytes(data)
    assert unpack_bytes(read_chunk(str(path), chunk)) == b"hello world"
    for place, reason in ((chunk.offset - 5, "header differs"), (chunk.offset - 2, "header differs"),
                          (chunk.offset, "CRC-32"), (chunk.end - 1, "CRC-32")):  # fmt: skip
        bad = bytearray(data)
        bad[place] ^= 1
        path.write_bytes(bad)
        with pytest.raises(DamagedArchive, match=f"byte {chunk.start} is damaged: its {reason}"):
            read_chunk(str(path), chunk)
    path.write_bytes(data[: chunk.end - 1])
    with pytest.raises(DamagedArchive, match=f"byte {chunk.start}"):
        read_chunk(str(path), chunk)


@settings(max_examples=80)
@given(st.data())
def test_changed_archives_raise_nothing_unforeseen(data):
    bad = bytearray(data.draw(st.sampled_from([small(), three_segments()])))
    for _ in range(data.draw(st.integers(1, 4))):
        place = data.draw(st.integers(0, len(bad) - 1))
        bad[place : place + data.draw(st.integers(0, 9))] = data.draw(st.binary(max_size=9))
    with contextlib.suppress(BBCodecError):
        read(bytes(bad))


# --- what lies where


def noise(size: int, seed: int = 0) -> bytes:
    return random.Random(seed).randbytes(size)


def blocks_of_noise(sizes, name=b"%03d") -> bytes:
    """An archive of incompressible files of these sizes, each its own chunk; a new segment where a size is None."""
    segments: list = [([], [])]
    for number, size in enumerate(sizes):
        if size is None:
            segments.append(([], []))
            continue
        content = noise(size, number)
        segments[-1][1].append(text(name % number, content, len(segments[-1][0])))
        segments[-1][0].append((BYTES, pack_bytes(content, compress=False)))
    return archive(segments)


def whole_files(data: bytes, path) -> set[bytes]:
    """The names of the files whose chunks are whole, as an archive tells."""
    path.write_bytes(data)
    directory = read(data).directory
    return {
        file.name for file in directory.files
        if not any(is_damaged(str(path), directory.chunks[place.chunk]) for place in file.places)
    }  # fmt: skip


@pytest.mark.parametrize(
    ("sizes", "hole"),
    [([9, 99, 2000], 64), ([30000] * 8, 2**16), ([30000] * 8 + [None, 100, 2000], 2**16), ([10, None] * 9, 64),
     ([200000, 10], 2**16), ([70000, None, 70000, None, 70000], 2**16), ([900] * 40, 512)],
)  # fmt: skip
@pytest.mark.parametrize("fill", [b"\0", b"\xff"])
def test_a_lost_block_costs_only_the_chunks_that_it_hits(sizes, hole, fill, tmp_path):
    """Header, directories and index are each said twice, a block's length apart or around all chunks in question."""
    data = blocks_of_noise(sizes)
    directory = read(data).directory
    files = directory.files
    for start in sorted({*range(0, len(data), max(1, hole // 4)), len(data) - hole}):
        end = min(start + hole, len(data))
        lost = {
            file.name for file in files
            if any(directory.chunks[p.chunk].start < end and start < directory.chunks[p.chunk].end for p in file.places)
        }  # fmt: skip
        bad = data[:start] + fill * (end - start) + data[end:]
        assert whole_files(bad, tmp_path / "a.bb") >= {file.name for file in files} - lost, start


def test_any_bits_of_the_header_may_be_lost():
    data = small()
    for place in range(HEADER_BYTES):
        for bit in range(8):
            bad = data[:place] + bytes([data[place] ^ 1 << bit]) + data[place + 1 :]
            reader = read(bad)
            assert (reader.damage, reader.rebuilt) == ("its header is damaged", "")
            assert reader.directory == read(data).directory
            cut = read(bad[:-1]) if place < 8 and (place, bit) != (0, 7) else None  # with the end gone, guessed
            assert cut is None or cut.directory.files == entries(data)


def test_chunks_that_change_places_are_found(tmp_path):
    """Whole chunks of equal type and length: their own checksums are right."""
    data = blocks_of_noise([500] * 4 + [None] + [500] * 2)
    path = tmp_path / "a.bb"
    chunks = [chunk for chunk in read(data).directory.chunks if chunk.type == BYTES]
    for one, two in itertools.permutations(chunks, 2):
        frame_one, frame_two = data[one.start : one.end], data[two.start : two.end]
        for put in (frame_one, frame_two):  # copied over the other, or swapped
            bad = bytearray(data)
            bad[one.start : one.end], bad[two.start : two.end] = frame_two, put
            path.write_bytes(bad)
            with pytest.raises(DamagedArchive, match=f"byte {one.start} is another"):
                read_chunk(str(path), one)
            assert is_damaged(str(path), two) == (put == frame_one)
            # and where the directory chunks tell
            rebuilt = read(bytes(bad[:-1])).directory
            assert sum(is_damaged(str(path), chunk) for chunk in rebuilt.chunks) == 1 + (put == frame_one)


def test_equal_content_gives_equal_archives_and_other_content_another_id():
    assert small() == small()
    one, two = (archive([([(BYTES, pack_bytes(content))], [text(b"a", content)])]) for content in (b"old", b"new"))
    assert one[:9] == two[:9]
    assert one[9:HEADER_BYTES] != two[9:HEADER_BYTES]


@pytest.mark.parametrize("junk", ["heads", "frames", "nested", "ends"])
def test_looking_for_directories_takes_time_in_proportion_to_the_bytes(junk):
    """A stranger's archive without an index, of nothing but what looks like directories. Bytes read are counted."""
    header, size = small()[:HEADER_BYTES], 2 * 10**5
    if junk == "frames":
        body = b"".join(frame(header + b"\0\0\x97") for _ in range(size // 30))
    elif junk == "nested":
        body = b""
        for _ in range(400):
            body = frame(header + body)
    else:
        many = range(0, size, 18)
        ends = [size - at if junk == "heads" else size // 2 - at for at in many]
        body = b"".join(b"D" + struct.pack("<I", max(14, end)) + header for end in ends)
    stream = Counting(header + body + bytes(60))
    with pytest.raises(DamagedArchive):
        ContainerReader(stream)
    assert stream.bytes_read < 7 * len(stream.getvalue()) + 1000


class Counting(io.BytesIO):
    """A stream that counts the bytes that are read."""

    bytes_read = 0

    def read(self, size=-1):
        data = super().read(size)
        self.bytes_read += len(data)
        return data


def test_nothing_is_read_twice_where_damage_is_natural():
    """Files of noise, each with a flipped bit, and no index: once to find the directories, and these once more."""
    data = bytearray(blocks_of_noise([10**5, None] * 8))
    for chunk in read(bytes(data)).directory.chunks:
        if chunk.type == BYTES:
            data[chunk.offset + 100] ^= 1
    stream = Counting(data[:-1])
    assert len(ContainerReader(stream).directory.files) == 8
    assert stream.bytes_read < 1.02 * len(data)


@pytest.mark.parametrize("at", range(-24, 3))
def test_directories_at_the_edges_of_what_is_read_at_once_are_found(at, monkeypatch):
    data = small()
    start = directory_starts(data)[0]
    monkeypatch.setattr(recovery, "BLOCK_BYTES", 200)
    moved = data[:start] + bytes(200 - start + at) + data[start:-1]
    assert len(entries(moved)) == 2


# --- how small it is


def test_overhead_of_one_image():
    """What is not message, name or codec name."""
    name = b"kodim01.png"
    about = {"mode": "RGB", "sample_format": "RGB8", "width": 768, "height": 512, "size": 736501}
    about |= {"modified_ns": 1763712345123456789, "places": (Place(0, 0),)}
    stream = io.BytesIO()
    writer = ContainerWriter(stream)
    writer.add_codec(bytes(range(100, 116)), "photo-1", None)
    writer.add(LEARNED, LearnedMessage(bytes(range(100, 116)), b"12345678", 1, 512, 384, b"").pack())
    writer.add(LEARNED, LearnedMessage(bytes(range(100, 116)), b"12345678", 1, 512, 384, b"").pack())
    writer.add_files([replace(Entry(name, "png", **about), places=(Place(0, 0), Place(1, 0)))])
    writer.finish()
    # Two tiles of 9 + 16 bytes, twice the 90 bytes or so of a directory.
    assert len(stream.getvalue()) - 3 * len(name) <= 310


def test_overhead_of_many_images():
    """Below 15 bytes a file beyond its name, with times as a file system has them: index and directory chunk."""

    def time(number):
        return 10**18 + zlib.crc32(b"%d" % number) * 10

    files = [
        Entry(b"%05d.png" % i, "png", "L", "L8", 0, 28, 28, 300 + i * 7 % 50, time(i), places=(Place(0, i),))
        for i in range(1000)
    ]
    data = archive([([(LEARNED, b"")], files)])
    assert (len(data) - 2 * len(zlib.compress(b"".join(file.name for file in files), 9))) / len(files) < 15


def test_types_of_chunks_are_fixed():
    assert (LEARNED, SHEET, BYTES, CODEC, DIRECTORY) == ("L", "S", "B", "C", "D")
    assert CodecRecord(b"", "").chunk is None
