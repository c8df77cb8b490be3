"""docs/format.md, checked: the archive as bytes, checksums, refusals, recovery of the index, and how small it is."""

import contextlib
import io
import re
import struct
import zlib
from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from bbcodec.archive.format import container
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
from bbcodec.archive.format.container import HEADER, VERSION, ContainerReader, ContainerWriter
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

    body = chunk(b"B", digest64(b"hi") + b"\x00\x02hi")
    # form mode kind way w h size s ns permissions skeleton count; chunk position length coding
    row = b"\x9c\x02\x00\x00\x00\x00\x00\x02\x07\x09\xcd\x01\xa4\x00\x01" + b"\x94\x00\x00\x02\x00"
    start = b"\x00\x97\xc4\x02a\x00" + row + b"\x90\x90"
    header = b"\x89BBC\r\n\x1a\n\x03"
    data = header + body + chunk(b"D", start + b"\xa1B\x0c")
    index = start + b"\xa2BD" + b"\x92\x0c\xc4\x02" + bytes([0, len(start) + 3 - 12])
    data += index + struct.pack("<I", len(index)) + digest64(header + index) + b"BBCE"
    file = Entry(b"a", "bytes", size=2, modified_ns=7 * 10**9 + 9, places=(Place(0, 0, 2),))
    assert archive([([(BYTES, pack_bytes(b"hi"))], [file])]) == data
    assert entries(data) == [file]


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
    whole, rebuilt = read(stream.getvalue()), read(stream.getvalue()[:-1] + b"?")
    assert (whole.rebuilt, rebuilt.rebuilt != "") == ("", True)
    assert [file.name for file in whole.directory.files] == sorted(names)
    assert whole.directory.chunks == writer.chunks
    assert resolved(whole.directory) == resolved(rebuilt.directory)


def resolved(directory):
    """What a directory says, with chunks themselves for their numbers (directory chunks are not among those found)."""

    def chunk(number):
        return None if number is None else directory.chunks[number]

    files = [
        replace(file, places=tuple(replace(place, chunk=chunk(place.chunk)) for place in file.places))
        for file in directory.files
    ]
    codecs = [replace(codec, chunk=chunk(codec.chunk)) for codec in directory.codecs]
    return files, codecs, [one for one in directory.chunks if one.type != DIRECTORY], directory.needs


def test_places_move_with_their_chunks(tmp_path):
    """Chunks are numbered from 0 in each directory chunk, and the index numbers them all."""
    segments = [([(BYTES, pack_bytes(b"%d" % n))] * 2, [text(b"%d" % n, b"%d" % n, 1)]) for n in range(3)]
    data = archive(segments)
    (tmp_path / "a").write_bytes(data)
    assert [file.places[0].chunk for file in entries(data)] == [1, 4, 7]
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
        try:
            reader = read(bytes(bad))
        except (NotAnArchive, UnsupportedVersion):
            assert place < len(HEADER)
            continue
        assert reader.directory.files == entries(data)
        if not reader.rebuilt:
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
            read(data[:8] + bytes([version]) + data[9:])


def test_an_unknown_chunk_type_is_refused():
    with pytest.raises(UnsupportedVersion, match="type 'Q'"):
        read(archive([([("Q", b"new")], [])]))


# --- directories found again


def three_segments() -> bytes:
    return archive([([(BYTES, pack_bytes(b"%d" % n * 9))], [text(b"%d" % n, b"%d" % n * 9)]) for n in range(3)])


def directory_starts(data: bytes) -> list[int]:
    return [chunk.offset - 5 for chunk in read(data).directory.chunks if chunk.type == DIRECTORY]


def test_a_cut_archive_gives_the_segments_before_the_cut():
    data = three_segments()
    starts = directory_starts(data)
    ends = [chunk.end for chunk in read(data).directory.chunks if chunk.type == DIRECTORY]
    assert len(starts) == 3
    for length in range(len(HEADER) + container.FOOTER_BYTES, len(data)):
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
    """As after an interrupted write over an old archive."""
    one = archive([([(BYTES, pack_bytes(b"old"))], [text(b"a", b"old")])])
    two = archive([([(BYTES, pack_bytes(b"newer"))], [text(b"a", b"newer")])])
    files = entries(one + two[len(HEADER) :] + b"cut")
    assert [file.size for file in files] == [5]


def test_what_only_looks_like_a_directory_is_passed_by():
    """Right frames with wrong content, and lengths that lead out of the file or into other chunks."""

    def frame(body):
        head = b"D" + struct.pack("<I", len(body))
        return head + body + struct.pack("<I", zlib.crc32(head + body))

    hostile = pack_directory(Directory([Entry(b"../a", "bytes")], [], []))
    frames = [frame(body) for body in (b"junk", b"\0junk", b"", hostile)]
    for junk in (*frames, b"D" * 30, b"D" + struct.pack("<I", 2**26 + 1), b"D\0\0\0\0"):
        data = HEADER + junk + small()[len(HEADER) :]
        assert len(entries(data)) == 2
        assert read(data).rebuilt


def test_an_archive_without_any_directory_is_damaged():
    with pytest.raises(DamagedArchive, match="its end is damaged"):
        read(HEADER + b"B" * 100)


def test_chunks_are_checked_before_they_are_given(tmp_path):
    path = tmp_path / "a.bb"
    data = small()
    chunk = read(data).directory.chunks[0]
    path.write_bytes(data)
    assert unpack_bytes(read_chunk(str(path), chunk)) == b"hello world"
    for place, reason in ((chunk.offset - 5, "header differs"), (chunk.offset - 2, "header differs"),
                          (chunk.offset, "CRC-32"), (chunk.end - 1, "CRC-32")):  # fmt: skip
        bad = bytearray(data)
        bad[place] ^= 1
        path.write_bytes(bad)
        with pytest.raises(DamagedArchive, match=f"byte 9 is damaged: its {reason}"):
            read_chunk(str(path), chunk)
    path.write_bytes(data[: chunk.end - 1])
    with pytest.raises(DamagedArchive, match="byte 9"):
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
    assert len(stream.getvalue()) - 3 * len(name) <= 270


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
