"""Directories as docs/format.md says: what is packed comes back, and what breaks a rule is refused as such."""

import contextlib
import tracemalloc
from dataclasses import replace

import msgpack
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from bbcodec.archive.format import index as directories
from bbcodec.archive.format.chunks import Chunk
from bbcodec.archive.format.fields import FieldReader, item_bound
from bbcodec.archive.format.index import (
    FORMS,
    MODES,
    NEEDS,
    PART_CODINGS,
    SAMPLE_FORMAT_NAMES,
    CodecRecord,
    Directory,
    Entry,
    Place,
    pack_directory,
    unpack_directory,
)
from bbcodec.binary import FRAME_BYTES, compress_lzma, deflate, take_varint, unpack_method
from bbcodec.errors import BBCodecError, DamagedArchive, InputError, UnsafePath, UnsupportedVersion
from bbcodec.images import planes
from bbcodec.images.codings import FILE_CODINGS
from bbcodec.images.formats import PIXEL_FORMS

# --- any directory comes back

FAR = 2**40  # bytes of an archive that has room for everything

folder_names = st.binary(min_size=1, max_size=5).filter(lambda name: not set(name) & set(b"/\0\\:."))
numbers = {
    "size": st.integers(0, 2**63 - 1),
    "modified_ns": st.integers(-(2**62), 2**62 - 1).map(lambda s: s * 10**9 + s % 10**9),
    "permissions": st.integers(0, 0o777),
    "mode": st.sampled_from(MODES),
}


@st.composite
def files_of(draw, name: bytes, parts: list[Place], images: list[Place]) -> Entry:
    """Any entry that the format allows, with places among these."""
    about = {key: draw(value) for key, value in numbers.items()}
    form = draw(st.sampled_from(FORMS))
    form = form if parts or form == "folder" else "bytes"
    if form == "folder":
        return Entry(name, form, **about)
    places = draw(st.lists(st.sampled_from(parts), max_size=3)) if parts else []
    if form in ("link", "bytes"):
        about["size"] = sum(place.length for place in places)
        return Entry(name, form, places=tuple(places), **about)
    if form == "arrays":
        plane_layout = draw(st.integers(0, 3))
        side = st.integers(int(plane_layout > 0), 2**31 - 1)
        shape = {"plane_layout": plane_layout, "width": draw(side), "height": draw(side), "skeleton": not plane_layout}
        content = draw(st.lists(st.sampled_from(parts + images), min_size=1, max_size=3))
        return Entry(name, form, places=(*([] if plane_layout else parts[:1]), *content), **shape, **about)
    width, height = draw(st.sampled_from([(1, 1), (700, 500), (2**31 - 1, 1), (1025, 512), (1500, 1500)]))
    if form in FILE_CODINGS:
        coded = draw(st.sampled_from(parts))._replace(coding=draw(st.sampled_from(FILE_CODINGS[form])))
        return Entry(name, form, width=width, height=height, places=(coded,), **about)
    plane_layout = draw(st.integers(0, 3))
    skeleton = draw(st.booleans())
    tiles = draw(st.sampled_from([1, 2, 5, 6] if min(width, height) > 9 else [1]))
    coded = [part._replace(coding=coding) for part in parts for coding in ("webp", "png", "jpegxl")] + images
    content = [draw(st.sampled_from(coded)) for _ in range(tiles * (2 if plane_layout & 1 else 1))]
    sample_format = draw(st.sampled_from(SAMPLE_FORMAT_NAMES[1:]))
    return Entry(
        name, form, sample_format=sample_format, plane_layout=plane_layout,
        width=width, height=height, skeleton=skeleton,
        places=(*([parts[0]] if skeleton else []), *content), **about,
    )  # fmt: skip


@st.composite
def sane_directories(draw, start: int = 9) -> tuple[Directory, int]:
    """A directory that keeps all rules, and where it ends."""
    types = draw(st.lists(st.sampled_from("LSBCD"), max_size=6))
    lengths = [draw(st.integers(0, 2**30)) for _ in types]
    offset, chunks = start, []
    for kind, length in zip(types, lengths, strict=True):
        chunks.append(Chunk(kind, offset + 5, length, draw(st.integers(0, 2**32 - 1))))
        offset += length + FRAME_BYTES
    parts, images = [], []
    for number, kind in enumerate(types):
        if kind == "B":
            sizes = draw(st.lists(st.integers(0, 2**29), min_size=1, max_size=4))
            parts += [Place(number, position, size) for position, size in enumerate(sizes)]
        elif kind in "LS":
            images += [Place(number, position) for position in draw(st.lists(st.integers(0, 2**24 - 1), max_size=3))]
    names = draw(st.lists(folder_names, unique=True, max_size=5))
    files = [draw(files_of(name, parts, images)) for name in names]
    # Every part must be named: the rest by one more file.
    files.append(Entry(b"~" * 6, "bytes", size=sum(part.length for part in parts), places=tuple(parts)))
    files.sort(key=lambda file: file.name)
    embedded = [number for number, kind in enumerate(types) if kind == "C"]
    codecs = [
        CodecRecord(draw(st.binary(min_size=16, max_size=16)), draw(st.text(max_size=5)), chunk)
        for chunk in draw(st.lists(st.sampled_from([None, *embedded]), max_size=3))
    ]
    return Directory(files, codecs, chunks, draw(st.sampled_from([[], ["jpegxl"]]))), offset


@settings(max_examples=100)
@given(sane_directories())
def test_any_directory_comes_back(case):
    directory, end = case
    data = pack_directory(directory)
    assert unpack_directory(data, (end, end), FAR) == directory
    assert unpack_directory(data, (end, end), FAR, 9) == directory


@settings(max_examples=50)
@given(sane_directories(), st.integers(0, 6), st.integers(0, 99))
def test_a_directory_may_lie_between_its_chunks(case, before, gap):
    directory, end = case
    before = min(before, len(directory.chunks))
    at = directory.chunks[before].start if before < len(directory.chunks) else end
    moved = [replace(one, offset=one.offset + gap * (one.start >= at)) for one in directory.chunks]
    data = pack_directory(directory, before)
    assert unpack_directory(data, (at, at + gap), FAR) == replace(directory, chunks=moved)
    if before < len(moved):
        with pytest.raises(DamagedArchive, match="fill"):
            unpack_directory(data, (at, at + gap), FAR, 9)


@settings(max_examples=30)
@given(sane_directories(start=0))
def test_chunks_must_fill_the_space_before_the_directory(case):
    directory, end = case
    data = pack_directory(directory)
    assert unpack_directory(data, (end, end), FAR, 0) == directory
    with pytest.raises(DamagedArchive, match="fill"):
        unpack_directory(data, (end + 1, end + 1), FAR, 0)
    with pytest.raises(DamagedArchive, match="fill"):
        unpack_directory(data, (end - 1, end - 1), FAR, 0)
    lost = unpack_directory(data, (end - 1, end - 1), FAR)  # as where a byte was lost before it
    assert [chunk.offset + 1 for chunk in lost.chunks] == [chunk.offset for chunk in directory.chunks]


def test_a_directory_says_what_its_methods_say():
    """Stored, deflate and LZMA2 hold the same; another method is refused."""
    directory = Directory([Entry(b"a", "bytes")], [], [])
    packed = msgpack.packb(FIELDS)
    for method, coded in enumerate([packed, deflate(packed), compress_lzma(packed)]):
        assert unpack_directory(bytes([method, 0]) + coded, (9, 9), FAR) == directory
    with pytest.raises(UnsupportedVersion, match="method 3"):
        unpack_directory(b"\3\0" + packed, (9, 9), FAR)


def fields_of(directory):
    """What msgpack holds of a packed directory."""
    data = pack_directory(directory)
    pad, position = take_varint(data, 1)
    return msgpack.unpackb(unpack_method(data[0], data[position + pad :], 10**6))


def test_positions_are_told_as_steps():
    """One more than the greatest before it in the chunk is 0."""
    places = [(1, 0), (2, 5), (1, 1), (2, 6), (1, 0), (1, 2), (2, 3), (2, 7)]
    file = Entry(b"a", "arrays", skeleton=True, places=(Place(0, 0, 3), *(Place(*place) for place in places)))
    directory = Directory([file], [], [Chunk("B", 14, 5), Chunk("L", 28, 5), Chunk("S", 42, 5)])
    steps = FieldReader(msgpack.packb(fields_of(directory)[2][1])).column(9)
    assert steps == [0, 0, 5, 0, 0, -2, 0, -4, 0]
    assert unpack_directory(pack_directory(directory), (51, 51), 51, 9) == directory


def test_positions_in_order_are_a_constant():
    """Else the position of every image of every file would take bytes."""
    files = [Entry(b"%04d" % number, "png", "L", "L8", 0, 8, 8, places=(Place(0, number),)) for number in range(500)]
    assert fields_of(Directory(files, [], [Chunk("L", 14, 5)]))[2] == [0, 0, 0, 0]


def test_a_directory_that_is_too_large_is_told(monkeypatch):
    monkeypatch.setattr(directories, "MAX_FILES", 1)
    files = [Entry(b"a", "bytes"), Entry(b"b", "bytes")]
    with pytest.raises(InputError, match="several archives"):
        pack_directory(Directory(files, [], []))


# --- directories that only a hostile or faulty writer makes

ROW = [2, 0, 0, 0, 0, 0, 0, 0, 0, 0o644, 0, 0]
FIELDS = [b"a\0", ROW, [0, 0, 0, 0], [], [], "", 0, b"", 0]
COLUMNS = (
    "form", "mode", "sample_format", "plane_layout", "width", "height", "size", "seconds", "nanoseconds", "permissions",
    "skeleton", "count",
)  # fmt: skip
NAMES = ("names", "files", "places", "codecs", "needs", "types", "lengths", "crcs", "before")


def fields(**changes):
    assert set(changes) <= set(NAMES)
    types = changes.get("types", "")
    changes = {"crcs": bytes(4 * len(types)), "before": len(types)} | changes
    return [changes.get(name, value) for name, value in zip(NAMES, FIELDS, strict=True)]


def row(**changes):
    assert set(changes) <= set(COLUMNS)
    return [changes.get(name, value) for name, value in zip(COLUMNS, ROW, strict=True)]


def unpack(content):
    packed = content if isinstance(content, bytes) else msgpack.packb(content)
    return unpack_directory(b"\0\0" + packed, (10**6, 10**6), 10**6)


def picture(**changes):
    """A directory of one picture, image 0 of the chunk L."""
    about = {"form": 4, "mode": 2, "sample_format": 4, "width": 3, "height": 3, "count": 1}
    return fields(files=row(**{**about, **changes}), types="LB", lengths=20)


def test_the_helpers_make_readable_directories():
    assert unpack(fields()).files == [Entry(b"a", "bytes")]
    assert unpack(picture()).files[0].places == (Place(0, 0),)
    # and with two parts of a chunk of bytes
    both = fields(files=row(count=2, size=3), places=[0, 0, [1, b"\0\1"], 0], types="B", lengths=20)
    assert unpack(both).files[0].places == (Place(0, 0, 1), Place(0, 1, 2))


DAMAGED = {
    "nothing": b"",
    "no list": msgpack.packb(5),
    "a map": msgpack.packb({}),
    "too few fields": [b"a\0"],
    "too many fields": [*FIELDS, 0],
    "garbage": b"\xc1\xc1",
    "map bomb": b"\xdf\xff\xff\xff\xff",
    "array bomb": b"\xdd\xff\xff\xff\xff",
    "deep": b"\x91" * 5000,
    "text that is not UTF-8": b"\xa2\xff\xfe",
    "a time": b"\xd6\xff\x00\x00\x00\x00",
    "map with odd keys": b"\x81\x90\x00",
    "a tail": msgpack.packb(FIELDS) + b"\0",
    "names that are text": fields(names="a\0"),
    "names without their last zero": fields(names=b"a"),
    "names after the last zero": fields(names=b"a\0b"),
    "names not in order": fields(names=b"b\0a\0"),
    "one name twice": fields(names=b"a\0a\0"),
    "file and folder": fields(names=b"a\0a/b\0"),
    "file and folder, apart": fields(names=b"a\0a-b\0a/b\0"),
    "missing column": fields(files=ROW[1:]),
    "a column too many": fields(files=[*ROW, 0]),
    "a column that is text": fields(files=["2", *ROW[1:]]),
    "a column of another length": fields(files=[[2, b"123"], *ROW[1:]]),
    "missing place column": fields(places=[0, 0, 0]),
    "unknown form": fields(files=row(form=7)),
    "negative form": fields(files=row(form=-1)),
    "unknown mode": fields(files=row(mode=20)),
    "unknown sample format": fields(files=row(sample_format=15)),
    "unknown plane_layout": fields(files=row(plane_layout=9)),
    "huge width": fields(files=row(width=2**31)),
    "huge height": fields(files=row(height=2**31)),
    "negative size": fields(files=row(size=-1)),
    "huge size": fields(files=row(size=2**63)),
    "huge time": fields(files=row(seconds=2**62)),
    "a second of nanoseconds": fields(files=row(nanoseconds=10**9)),
    "negative nanoseconds": fields(files=row(nanoseconds=-1)),
    "setuid": fields(files=row(permissions=0o4755)),
    "half a skeleton": fields(files=row(skeleton=2)),
    "negative count": fields(files=row(count=-1)),
    "huge count": fields(files=row(count=2**40)),
    "a chunk that is not there": fields(files=row(count=1)),
    "a huge chunk number": fields(files=row(count=1), places=[2**24, 0, 0, 0]),
    "a negative chunk number": fields(files=row(count=1), places=[-1, 0, 0, 0], types="B"),
    "a negative position": fields(files=row(count=1), places=[0, -1, 0, 0], types="B"),
    "a huge position": fields(files=row(count=1), places=[0, 2**24, 0, 0], types="B"),
    "a huge length": fields(files=row(count=1), places=[0, 0, 2**29 + 1, 0], types="B"),
    "an unknown coding": fields(files=row(count=1), places=[0, 0, 0, 4], types="B"),
    "bytes in a learned chunk": fields(files=row(count=1), types="L"),
    "bytes in a codec": fields(files=row(count=1), types="C"),
    "bytes in a directory": fields(files=row(count=1), types="D"),
    "bytes that are WebP": fields(files=row(count=1), places=[0, 0, 0, 1], types="B"),
    "a part that is not named": fields(files=row(count=1), places=[0, 1, 0, 0], types="B"),
    "a part of two lengths": fields(files=row(count=2), places=[0, [-1, b"\1\0"], [1, b"\0\1"], 0], types="B"),
    "a folder with content": fields(files=row(form=0, count=1), types="B"),
    "a skeleton of nothing": fields(files=row(skeleton=1)),
    "bytes with a skeleton": fields(files=row(skeleton=1, count=2), types="B"),
    "a picture of no sample format": picture(sample_format=0),
    "a picture of no pixels": picture(width=0),
    "a picture in no chunk": picture(count=0),
    "a picture of more tiles than it has columns": picture(width=2, height=1, count=3),
    "a picture of more tiles than it has rows": picture(width=1, height=2, count=3),
    "a split picture of three places": picture(sample_format=8, plane_layout=1, count=3),
    "a split picture of one place": picture(sample_format=8, plane_layout=1),
    "a picture of too many pixels": picture(width=2**31 - 1, height=2**31 - 1),
    "a picture whose skeleton is an image": picture(skeleton=1, count=2),
    "a picture that is bytes": fields(files=row(form=4, sample_format=4, width=3, height=3, count=1), types="B"),
    "arrays without a skeleton": fields(files=row(form=3, count=1), types="B"),
    "arrays without a skeleton, of no pixels": fields(files=row(form=3, plane_layout=1, height=3, count=1), types="B"),
    "arrays with a skeleton and a plane_layout": fields(
        files=row(form=3, plane_layout=1, width=3, height=3, skeleton=1, count=2),
        places=[0, [0, b"\0\1"], 0, 0],
        types="B",
    ),
    "an array of nothing": fields(files=row(form=3, plane_layout=1, width=3, height=3), types="B"),
    "arrays of nothing": fields(files=row(form=3, skeleton=1, count=1), types="B"),
    "arrays in a WebP": fields(files=row(form=3, skeleton=1, count=2), places=[0, 0, 0, [0, b"\0\1"]], types="B"),
    "a skeleton that is WebP": fields(
        files=row(form=4, sample_format=4, width=3, height=3, skeleton=1, count=2), places=[0, 0, 0, 1], types="B"
    ),
    "a short codec digest": fields(codecs=[[b"123", "x", None]]),
    "a codec digest of text": fields(codecs=[["x" * 16, "x", None]]),
    "a codec name of bytes": fields(codecs=[[bytes(16), b"x", None]]),
    "a codec that is no list": fields(codecs=[5]),
    "a codec of two fields": fields(codecs=[[bytes(16), "x"]]),
    "a codec in no chunk": fields(codecs=[[bytes(16), "x", 0]]),
    "a codec in a negative chunk": fields(codecs=[[bytes(16), "x", -1]], types="C"),
    "a codec in chunk true": fields(codecs=[[bytes(16), "x", True]], types="BC"),
    "a codec in chunk false": fields(codecs=[[bytes(16), "x", False]], types="C"),
    "a codec in a chunk of bytes": fields(codecs=[[bytes(16), "x", 0]], types="B"),
    "a negative length": fields(types="B", lengths=-1),
    "a huge chunk": fields(types="B", lengths=2**30 + 1),
    "lengths of other chunks": fields(types="BB", lengths=[0, b"123"]),
    "lengths that are text": fields(types="B", lengths="1"),
    "fewer checksums than chunks": fields(types="BB", crcs=bytes(4)),
    "checksums that are text": fields(types="B", crcs="1234"),
    "more chunks before it than there are": fields(types="B", before=2),
    "fewer chunks before it than none": fields(types="B", before=-1),
    "more chunks than the archive could hold": fields(types="B" * 111_112),
    "a need twice": fields(needs=["jpegxl", "jpegxl"]),
    "a need that is a list": fields(needs=[["jpegxl"]]),
    "an infinite size": fields(files=row(size=float("inf"))),
    "an infinite base": fields(files=row(size=[float("inf"), b"\0"])),
    "a number that is none": fields(files=row(seconds=float("nan"))),
    "an infinite number of chunks before it": fields(before=float("inf")),
    "a size that is not that of the content": fields(files=row(count=1, size=5), types="B"),
    "a link of another size than its target": fields(files=row(form=1, count=1, size=5), types="B"),
    "an empty file of some size": fields(files=row(size=5)),
    "a name that is too long": fields(names=b"a" * 2**16 + b"\0"),
}


@pytest.mark.parametrize("case", DAMAGED)
def test_directories_that_break_a_rule_are_damage(case):
    with pytest.raises(DamagedArchive):
        unpack(DAMAGED[case])


@pytest.mark.parametrize("content", [fields(needs=["avif"]), fields(types="Q")])
def test_what_is_not_known_is_refused_by_name(content):
    with pytest.raises(UnsupportedVersion, match=r"avif|'Q'"):
        unpack(content)


BAD_NAMES = [b"/a", b"../a", b"a/../b", b"a//b", b"a/", b".", b"..", b"a/.", b"", b"/", b"./a", b"a/./b"]


@pytest.mark.parametrize("name", BAD_NAMES)
@pytest.mark.parametrize("form", [0, 2])
def test_names_that_leave_the_folder_are_refused(name, form):
    with pytest.raises(UnsafePath):
        unpack(fields(names=name + b"\0", files=row(form=form)))


@pytest.mark.parametrize("name", [b"...", b"a..b", b" ", b"\xff", b"\n", b"-", b"~", b"a/.b", b"C:\\x"])
def test_odd_names_are_names(name):
    assert unpack(fields(names=name + b"\0")).files[0].name == name


# --- directories that cost more than they weigh

N = 10**5
BOMBS = {
    "empty names": fields(names=bytes(N)),
    "names": fields(names=b"".join(b"%05x\0" % number for number in range(N))),
    "one name of many folders": fields(names=b"a/" * N + b"a\0"),
    "places": fields(files=row(count=2**24), types="B", lengths=10),
    "places of many files": fields(
        names=b"".join(b"%03x\0" % number for number in range(500)), files=row(count=2**14), types="B", lengths=10
    ),
    "chunks": fields(types="B" * N),
    "codecs": fields(codecs=[[bytes(16), "", None]] * N),
    "empty lists": fields(codecs=[[]] * N),
    "empty lists for files": fields(files=[[]] * N),
    "empty maps": fields(codecs=[{}] * N),
    "empty needs": fields(needs=[""] * N),
    "numbers that are columns of columns": fields(files=row(size=[[[0] * N, b""], b""])),
}


@pytest.mark.parametrize("method", [0, 1, 2])
@pytest.mark.parametrize("name", BOMBS)
def test_a_directory_costs_no_more_than_its_bytes_could(name, method):
    """Refused, before more than about a hundred times its bytes are allocated."""
    packed = msgpack.packb(BOMBS[name])
    bomb = bytes([method, 0]) + (packed, deflate(packed), compress_lzma(packed))[method]
    tracemalloc.start()
    try:
        with contextlib.suppress(DamagedArchive, UnsupportedVersion, UnsafePath):
            unpack_directory(bomb, (len(bomb), len(bomb)), len(bomb))
            assert len(bomb) > N / 2
        assert tracemalloc.get_traced_memory()[1] < 10**5 + 2**12 + 1000 * len(bomb)
    finally:
        tracemalloc.stop()


@pytest.mark.parametrize("count", [1, 300, 3000])
def test_directories_that_compress_well_are_written_so_that_they_may_be_read(count):
    """Nothing but a digit differs between names of 999 bytes, and all else is equal."""
    files = [Entry(b"long name/" * 99 + b"%09d" % n, "bytes", size=1, places=(Place(0, 0, 1),)) for n in range(count)]
    for some in (files, [replace(file, name=file.name[-9:]) for file in files]):
        directory = Directory(some, [], [Chunk("B", 14, 9)])
        assert unpack_directory(pack_directory(directory), (27, 27), FAR, 9) == directory


def test_places_that_are_all_equal_may_be_read():
    """Those of 5,000 tiles that follow each other in a chunk take no byte each, but for a reader's sake."""
    file = Entry(
        b"a", "png", "L", "L8", 0, 5000, 1, 10**6, places=tuple(Place(0, position) for position in range(5000))
    )
    directory = Directory([file], [], [Chunk("L", 14, 9)])
    data = pack_directory(directory)
    assert item_bound(len(data)) in range(5001, 5005)
    assert unpack_directory(data, (27, 27), FAR, 9) == directory


@given(st.binary(max_size=60))
def test_random_directories_raise_nothing_unforeseen(packed):
    with pytest.raises(BBCodecError):
        unpack_directory(packed, (10**6, 10**6), 10**6)


RICH = fields(
    names=b"a\0b\0c/d\0",
    files=[[0, b"\2\4\3"], [0, b"\0\2\2"], [0, b"\0\4\0"], 0, [0, b"\0\3\3"], [0, b"\0\3\3"],
           [0, b"\3\x32\x32"], 10**9, 999, 0o644, [0, b"\0\1\1"], [0, b"\1\2\2"]],
    places=[[0, b"\0\0\1\0\2"], [0, b"\0\0\0\0\0"], [0, b"\3\4\0\5\0"], [0, b"\0\0\0\0\0"]],
    codecs=[[bytes(16), "name", 3]],
    needs=["jpegxl"],
    types="BLSCD",
    lengths=[0, b"\1\2\3\4\5"],
    before=2,
)  # fmt: skip


def test_the_rich_directory_is_one():
    found = unpack(RICH)
    assert [file.form for file in found.files] == ["bytes", "png", "arrays"]
    assert [len(file.places) for file in found.files] == [1, 2, 2]


@settings(max_examples=300)
@given(st.data())
def test_changed_directories_raise_nothing_unforeseen(data):
    """Bytes changed, put in or taken out: what comes either keeps the rules or is refused."""
    packed = bytearray(msgpack.packb(RICH))
    for _ in range(data.draw(st.integers(1, 3))):
        place = data.draw(st.integers(0, len(packed) - 1))
        how = data.draw(st.sampled_from(["change", "insert", "delete"]))
        if how == "delete":
            del packed[place]
        else:
            packed[place : place + (how == "change")] = bytes([data.draw(st.integers(0, 255))])
    with contextlib.suppress(BBCodecError):
        found = unpack(bytes(packed))
        assert all(0 <= place.chunk < len(found.chunks) for file in found.files for place in file.places)
        before = next((n for n, one in enumerate(found.chunks) if one.start >= 10**6), len(found.chunks))
        assert unpack_directory(pack_directory(found, before), (10**6, 10**6), 10**6) == found


scalars = st.one_of(st.none(), st.booleans(), st.integers(-(2**63), 2**64 - 1), st.floats(), st.binary(max_size=9))
scalars |= st.text(max_size=4)
values = st.recursive(scalars, lambda inner: st.lists(inner, max_size=13), max_leaves=13)


@given(st.sampled_from(range(9)), st.data())
def test_other_values_raise_nothing_unforeseen(number, data):
    """Any value in the place of a field, or of one of its members."""
    content = [list(value) if isinstance(value, list) else value for value in RICH]
    if isinstance(content[number], list) and content[number] and data.draw(st.booleans()):
        content[number][data.draw(st.integers(0, len(content[number]) - 1))] = data.draw(values)
    else:
        content[number] = data.draw(values)
    with contextlib.suppress(BBCodecError):
        unpack(content)


def test_codes_of_the_format_are_fixed():
    """Numbers in archives: these lists may grow at their ends, and never change."""
    assert FORMS == ("folder", "link", "bytes", "arrays", "png", "webp", "raw", "jpeg", "segments")
    assert set(FORMS[4:]) == {*PIXEL_FORMS, *FILE_CODINGS}
    names = "L1", "L2", "L4", "L8", "L16", "LA8", "RGB8", "RGBA8", "P1", "P2", "P4", "P8", "RGB16", "RGBA16"
    assert SAMPLE_FORMAT_NAMES[1:] == names
    assert SAMPLE_FORMAT_NAMES[0] == ""
    assert PART_CODINGS == {0: "bytes", 1: "webp", 2: "png", 3: "jpegxl", 6: "lepton", 7: "predicted"}
    assert NEEDS == ("jpegxl", "lepton")
    assert directories.SPLIT == planes.SPLIT
    assert MODES.index("I;16B") == 18


def test_padding_is_zero():
    packed = msgpack.packb(FIELDS)
    assert unpack_directory(b"\0\3\0\0\0" + packed, (9, 9), FAR).files == [Entry(b"a", "bytes")]
    for wrong in (b"\0\3\0\1\0", b"\0\4\0\0\0", b"\0\xff\xff\xff\xff\x0f", b"\0\xff\xff"):
        with pytest.raises(DamagedArchive):
            unpack_directory(wrong + packed, (9, 9), FAR)
