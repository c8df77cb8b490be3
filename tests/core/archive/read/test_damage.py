"""Damaged archives: what is whole is restored, what is not is named, and nothing is wrong silently."""

import io
import itertools
import os
import zipfile
from contextlib import suppress

import msgpack
import numpy as np
import pytest
from fake_codec import familiar, load_fake, squeeze
from folders import (
    ALL,
    FAKE,
    GREY,
    N_FILES,
    check_same_file,
    check_same_tree,
    contents,
    damage,
    noise,
    read_all,
    restore,
    save,
    smooth,
    write_archive,
)
from hypothesis import given, settings
from hypothesis import strategies as st

import bbcodec
from bbcodec import options as settings_of_work
from bbcodec.archive.format import container
from bbcodec.archive.format.chunks import BYTES, pack_bytes
from bbcodec.archive.format.index import Entry, Place
from bbcodec.archive.read.archive import Archive
from bbcodec.archive.write import tasks as planning
from bbcodec.archive.write import writer as assembling
from bbcodec.codec.pool import CodecSource
from bbcodec.errors import (
    BBCodecError,
    DamagedArchive,
    InputError,
    NotAnArchive,
    UnsupportedVersion,
)
from bbcodec.options import RunOptions


def make_small(tmp_path):
    """A little of everything, in several chunks and two segments."""
    top = tmp_path / "in"
    save(top / "a.png", familiar())
    save(top / "b.png", familiar(seed=1), dpi=(50, 50))
    save(top / "c.png", smooth(8, 9, 3))
    (top / "d.txt").write_text("text")
    (top / "d copy.txt").write_text("text")
    np.save(top / "e.npy", familiar(12, 12, count=5)[..., 0])
    (top / "f").symlink_to("d.txt")
    (top / "g").mkdir()
    for number in range(3):
        save(top / "h" / f"{number}.bmp", np.tile(noise(2, 8, 1, seed=number % 2), (8, 2, 1)))
    squeeze(top, tmp_path / "small.bb", [GREY], embed=True, force=True)
    return (tmp_path / "small.bb").read_bytes()


@pytest.fixture
def small_segments(monkeypatch):
    monkeypatch.setattr(container, "SEGMENT_BYTES", 1)
    # Every fake codec pays for itself: its file is long, and these archives are small.
    monkeypatch.setattr(assembling.ArchiveWriter, "embedded", property(lambda self: 0, lambda self, value: None), False)


def check_right_or_refused(path, whole):
    """What an archive gives is right, or refused; the names of what is refused, or None if it was not opened."""
    try:
        found = read_all(path)
    except BBCodecError:
        return None
    lost = {name for name, content in found.items() if content is None}
    for name in found.keys() - lost:
        assert found[name] == whole[name], name
    return lost | (whole.keys() - found.keys())


def test_every_cut_of_an_archive_is_noticed(tmp_path, small_segments):
    data = make_small(tmp_path)
    whole = read_all(tmp_path / "small.bb")
    bad = tmp_path / "bad.bb"
    seen = []
    for length in (len(data) - 1, *range(len(data) - 2, -1, -5)):
        bad.write_bytes(data[:length])
        try:
            with Archive(bad, run=FAKE) as archive, pytest.raises(DamagedArchive):
                archive.verify()
        except (DamagedArchive, NotAnArchive):
            continue
        lost = check_right_or_refused(bad, whole)
        assert lost is not None
        seen.append(frozenset(lost))
    # The more is cut, the more is lost.
    assert len(set(seen)) >= 4
    assert seen[0] == set()
    assert all(one <= two for one, two in itertools.pairwise(seen))


def test_every_changed_byte_is_noticed_or_harmless(tmp_path, small_segments):
    """Never wrong pixels, never an error of another kind; and files of other chunks still come back."""
    data = make_small(tmp_path)
    whole = read_all(tmp_path / "small.bb")
    bad = tmp_path / "bad.bb"
    seen = set()
    for place in range(len(data)):
        changed = bytearray(data)
        changed[place] ^= (1, 0x80, 0xFF)[place % 3]
        bad.write_bytes(changed)
        lost = check_right_or_refused(bad, whole)
        assert lost is not None
        seen.add(frozenset(lost))
        if place % 5 == 0:
            with Archive(bad, run=FAKE) as archive, pytest.raises(DamagedArchive, match=r"bad\.bb"):
                archive.verify()
    # Each chunk takes its own files along, no others; the codec's takes those that need it.
    learned = {"a.png", "b.png", "e.npy"}
    texts = {"d.txt", "d copy.txt"}
    for some in ({"a.png", "b.png"}, {"e.npy"}, learned, texts, set()):
        assert frozenset(some) in seen, some
    assert all(len(some) <= 6 for some in seen)


@pytest.mark.parametrize("place", ["footer", "index", "both", "cut"])
@pytest.mark.parametrize("segment_bytes", [1, 1000, 2**24])
def test_without_index_all_comes_back(folder, tmp_path, monkeypatch, place, segment_bytes):
    """Names, times, permissions, folders, links, codecs."""
    monkeypatch.setattr(container, "SEGMENT_BYTES", segment_bytes)
    squeeze(folder, tmp_path / "a.bb", ALL)
    data = bytearray((tmp_path / "a.bb").read_bytes())
    with Archive(tmp_path / "a.bb") as archive:
        start = max(chunk.end for chunk in archive._file.directory.chunks)
        segments = sum(chunk.type == "D" for chunk in archive._file.directory.chunks)
    assert (segments == 1) == (segment_bytes == 2**24)
    if place in ("footer", "both"):
        data[-16:] = bytes(16)
    if place in ("index", "both"):
        data[start : start + 20] = bytes(20)
    if place == "cut":
        del data[start:]
    (tmp_path / "a.bb").write_bytes(data)
    summary = restore(tmp_path / "a.bb", tmp_path / "out")
    check_same_tree(folder, tmp_path / "out")
    assert "a.bb" in summary.skipped[-1]
    with Archive(tmp_path / "a.bb", run=FAKE) as archive:
        assert archive.listing()["rebuilt"]
        with pytest.raises(DamagedArchive, match=f"the {N_FILES} files"):
            archive.verify()


def test_a_cut_archive_gives_the_files_of_whole_segments(folder, tmp_path, monkeypatch):
    monkeypatch.setattr(container, "SEGMENT_BYTES", 1)
    squeeze(folder, tmp_path / "a.bb", ALL)
    whole = read_all(tmp_path / "a.bb")
    data = (tmp_path / "a.bb").read_bytes()
    (tmp_path / "a.bb").write_bytes(data[: len(data) // 2])
    found = {name: content for name, content in read_all(tmp_path / "a.bb").items() if content is not None}
    assert 3 < len(found) < N_FILES
    assert all(whole[name] == content for name, content in found.items())
    with suppress(DamagedArchive):
        restore(tmp_path / "a.bb", tmp_path / "out")
    assert contents(tmp_path / "out").keys() == found.keys()
    for name in found:
        check_same_file(folder / name, tmp_path / "out" / name)


@pytest.mark.parametrize("jobs", [1, 2])
def test_files_outside_a_damaged_chunk_are_restored(folder, tmp_path, jobs, monkeypatch):
    monkeypatch.setattr(settings_of_work, "POOL_VALUES", 0)
    squeeze(folder, tmp_path / "a.bb", ALL)
    damage(tmp_path / "a.bb", "grey/0.png")
    setting = RunOptions(jobs, "cpu", None, load_fake)
    with pytest.raises(DamagedArchive, match=rf"6 of {N_FILES} files are damaged: 'grey/0.png'.*others were restored"):
        restore(tmp_path / "a.bb", tmp_path / "out", run=setting)
    with Archive(tmp_path / "a.bb", run=setting) as archive, pytest.raises(DamagedArchive, match="6 of"):
        archive.verify()
    times = (folder / "grey").stat().st_mtime_ns
    for number in range(6):
        (folder / "grey" / f"{number}.png").unlink()
    os.utime(folder / "grey", ns=(times, times))
    check_same_tree(folder, tmp_path / "out")


def test_a_damaged_codec_costs_the_files_that_need_it(folder, tmp_path):
    squeeze(folder, tmp_path / "a.bb", ALL)
    with Archive(tmp_path / "a.bb") as archive:
        record = next(codec for codec in archive.codecs if codec.name == "grey-1")
        chunk = archive._file.directory.chunks[record.chunk]
    data = bytearray((tmp_path / "a.bb").read_bytes())
    data[chunk.offset + 30] ^= 1
    (tmp_path / "a.bb").write_bytes(data)
    with pytest.raises(DamagedArchive, match=rf"8 of {N_FILES} files are damaged: 'both.npz', 'grey/0.png'"):
        restore(tmp_path / "a.bb", tmp_path / "out")
    assert len([path for path in (tmp_path / "out").rglob("*") if not path.is_dir()]) == N_FILES - 8
    with Archive(tmp_path / "a.bb", run=FAKE) as archive:
        with pytest.raises(DamagedArchive, match="8 of"):
            archive.verify()
        with pytest.raises(DamagedArchive, match="codec"):
            archive["grey/0.png"]
    restore(tmp_path / "a.bb", tmp_path / "all", known=[CodecSource.of(GREY)])
    check_same_tree(folder, tmp_path / "all")


def test_a_damaged_piece_costs_the_whole_array(tmp_path, monkeypatch):
    monkeypatch.setattr(planning, "GROUP_VALUES", 3 * 24 * 24)
    (tmp_path / "in").mkdir()
    np.save(tmp_path / "in" / "a.npy", familiar(count=10))
    np.save(tmp_path / "in" / "b.npy", familiar(count=10, seed=1))
    np.savez(tmp_path / "in" / "c.npz", one=familiar(count=5, seed=2), two=familiar(count=5, seed=3))
    squeeze(tmp_path / "in", tmp_path / "a.bb", ALL)
    damage(tmp_path / "a.bb", "a.npy", 2)
    damage(tmp_path / "a.bb", "c.npz", 2)
    with pytest.raises(DamagedArchive, match=r"2 of 3 files are damaged: 'a.npy', 'c.npz'"):
        restore(tmp_path / "a.bb", tmp_path / "out")
    assert contents(tmp_path / "out").keys() == {"b.npy"}
    with Archive(tmp_path / "a.bb", run=FAKE) as archive:
        assert np.array_equal(archive.images("b.npy", 0, 3), familiar(count=10, seed=1)[:3])
        with pytest.raises(DamagedArchive, match=r"a\.bb"):
            archive.images("a.npy", 0, 10)


def test_a_damaged_directory_is_told_where_it_costs_nothing(folder, tmp_path):
    squeeze(folder, tmp_path / "a.bb")
    with Archive(tmp_path / "a.bb") as archive:
        chunk = next(chunk for chunk in archive._file.directory.chunks if chunk.type == "D")
    data = bytearray((tmp_path / "a.bb").read_bytes())
    data[chunk.offset + 5] ^= 1
    (tmp_path / "a.bb").write_bytes(data)
    restore(tmp_path / "a.bb", tmp_path / "out")
    check_same_tree(folder, tmp_path / "out")
    with Archive(tmp_path / "a.bb") as archive, pytest.raises(DamagedArchive, match=r"a\.bb.*CRC-32"):
        archive.verify()


@pytest.mark.parametrize(
    "skeleton",
    [b"", b"junk", b"\x03\x00", b"\xc1", b"\x92\xc2\x90", b"\x92\xc2\x91\x90",
     # [zip, [[name, method, date, header, n]]]
     b"\x92\xc2\x91\x95\xa0\x00\x90\xc4\x00\x02", b"\x92\xc2\x91\x95\xa0\x00\x90\xc4\x00\x00",
     b"\x92\xc2\x92" + b"\x95\xa0\x00\x90\xc4\x00\x01" * 2, b"\x92\xc3\x91\x95\xa1a\x00\x90\xc4\x00\x01",
     b"\x92\xc3\x91\x95\xa1a\x01\x96\xcd\x07\xd0\x01\x01\x00\x00\x00\xc4\x00\x01",
     b"\x92\xc3\x91\x95\xa1a\x00\x96\xcd\x07\xd0\x0d\x01\x00\x00\x00\xc4\x00\x01",
     b"\x92\xc3\x91\x95\xda\xff\xff" + b"a" * 65535 + b"\x00\x96\xcd\x07\xd0\x01\x01\x00\x00\x00\xc4\x00\x02"],
)  # fmt: skip
def test_bad_skeletons_of_arrays_are_damage(tmp_path, skeleton):
    places = (Place(0, 0, len(skeleton)), Place(0, 1, 1))
    file = Entry(b"a", "arrays", skeleton=True, places=places)
    bad = write_archive(tmp_path / "a.bb", [file], [(BYTES, pack_bytes(skeleton + b"x"))])
    assert read_all(bad) == {"a": None}
    with pytest.raises(DamagedArchive):
        restore(bad, tmp_path / "out")
    assert contents(tmp_path / "out") == {}


def packed_array(names, header=b"", zipped=True):
    """A hostile npz: members of these names, each of one part of a byte."""
    members = [[name, 0, [2000, 1, 1, 0, 0, 0] if zipped else [], header, 1] for name in names]
    return msgpack.packb([zipped, members])


@pytest.mark.parametrize(
    "names", [["a", "a"], ["\0"], ["a" * 65536], ["ä" * 40000], ["/a"], [""], ["a" * 70000, "b"], ["../x"]]
)
def test_odd_members_of_an_npz_are_damage_or_members(tmp_path, names):
    skeleton = packed_array(names)
    places = (Place(0, 0, len(skeleton)), *(Place(0, 1, 1) for _ in names))
    file = Entry(b"a", "arrays", skeleton=True, places=places)
    bad = write_archive(tmp_path / "a.bb", [file], [(BYTES, pack_bytes(skeleton + b"x"))])
    found = read_all(bad)["a"]
    if found is not None:
        with zipfile.ZipFile(io.BytesIO(found)) as archive:
            assert [archive.read(info) for info in archive.infolist()] == [b"x"] * len(names)


@settings(max_examples=60)
@given(st.binary(max_size=60))
def test_random_skeletons_of_arrays_raise_nothing_unforeseen(tmp_path_factory, junk):
    tmp_path = tmp_path_factory.mktemp("skeleton")
    good = packed_array(["a"])
    for skeleton in (junk, good[: len(junk)] + junk, good[:-1] + junk):
        file = Entry(b"a", "arrays", skeleton=True, places=(Place(0, 0, len(skeleton)), Place(0, 1, 1)))
        read_all(write_archive(tmp_path / "a.bb", [file], [(BYTES, pack_bytes(skeleton + b"x"))]))


def test_streams_are_not_left_open(tmp_path):
    (tmp_path / "bad.bb").write_bytes(b"no archive at all, but long enough to look at")
    with pytest.raises(NotAnArchive):
        Archive(tmp_path / "bad.bb")  # ResourceWarnings are errors
    with pytest.raises(InputError, match="cannot be read"):
        Archive(tmp_path)
    with pytest.raises(InputError, match="cannot be read"):
        Archive(tmp_path / "nope.bb")


def test_chunks_that_change_places_are_found(tmp_path):
    """Whole ones of one type and length: two files, two pieces of one file, and one copied over another."""
    (tmp_path / "in").mkdir()
    for number in range(3):
        (tmp_path / "in" / f"{number}.jpg").write_bytes(noise(1100, 1000, 1, seed=number).tobytes())
    bbcodec.compress(tmp_path / "in", tmp_path / "a.bb", codec="none")
    with Archive(tmp_path / "a.bb") as archive:
        one, two = (archive._file.chunk(entry.content[0]) for entry in archive.files[:2])
    data = (tmp_path / "a.bb").read_bytes()
    for copied in (True, False):
        bad = bytearray(data)
        bad[two.start : two.end] = data[one.start : one.end]
        if not copied:
            bad[one.start : one.end] = data[two.start : two.end]
        (tmp_path / "bad.bb").write_bytes(bad)
        lost = {"1.jpg"} if copied else {"0.jpg", "1.jpg"}
        assert {name for name, content in read_all(tmp_path / "bad.bb").items() if content is None} == lost
        with Archive(tmp_path / "bad.bb") as archive, pytest.raises(DamagedArchive, match=f"{len(lost)} of 3 files"):
            archive.verify()
        with pytest.raises(DamagedArchive, match=r"another than the index names"):
            restore(tmp_path / "bad.bb", tmp_path / f"out {copied}")
        assert contents(tmp_path / f"out {copied}").keys() == {"0.jpg", "1.jpg", "2.jpg"} - lost


def test_an_archive_that_is_replaced_while_open_gives_no_bytes_of_another(tmp_path):
    for seed in (0, 3):
        (tmp_path / f"in {seed}").mkdir()
        for number in range(2):
            (tmp_path / f"in {seed}" / f"{number}.jpg").write_bytes(noise(1100, 1000, 1, seed=seed + number).tobytes())
            os.utime(tmp_path / f"in {seed}" / f"{number}.jpg", (0, 0))
        bbcodec.compress(tmp_path / f"in {seed}", tmp_path / f"{seed}.bb", codec="none")
    assert (tmp_path / "0.bb").stat().st_size == (tmp_path / "3.bb").stat().st_size
    with Archive(tmp_path / "0.bb") as archive:
        os.replace(tmp_path / "3.bb", tmp_path / "0.bb")
        with pytest.raises(DamagedArchive, match="another than the index names"):
            archive.read_bytes("0.jpg")
        with pytest.raises(DamagedArchive, match="2 of 2"):
            archive.verify()


@pytest.mark.parametrize("segment_bytes", [1, 2**24])
def test_a_lost_sector_costs_the_files_in_it(folder, tmp_path, monkeypatch, segment_bytes):
    """Whatever it holds: of header, directories and index, one copy at least is left."""
    monkeypatch.setattr(container, "SEGMENT_BYTES", segment_bytes)
    squeeze(folder, tmp_path / "a.bb", ALL)
    whole, data = read_all(tmp_path / "a.bb"), (tmp_path / "a.bb").read_bytes()
    with Archive(tmp_path / "a.bb") as archive:
        spans = {name: set() for name in whole}
        for entry in archive.files:
            if entry.form != "folder":
                spans[os.fsdecode(entry.name)] = {archive._file.chunk(place) for place in entry.places}
        embedded = {archive._file.directory.chunks[codec.chunk] for codec in archive.codecs}
    for start in range(0, len(data), 512):
        end = min(start + 512, len(data))
        (tmp_path / "b.bb").write_bytes(data[:start] + bytes(end - start) + data[end:])
        lost = check_right_or_refused(tmp_path / "b.bb", whole)
        assert lost is not None
        if not any(chunk.start < end and start < chunk.end for chunk in embedded):
            hit = {
                name for name, some in spans.items() if any(chunk.start < end and start < chunk.end for chunk in some)
            }  # fmt: skip
            assert lost <= hit, start


def test_other_versions_are_refused_by_name(folder, tmp_path):
    squeeze(folder, tmp_path / "a.bb")
    for version, name in ((1, "0.1"), (4, "0.4"), (16, "1.0")):
        data = bytearray((tmp_path / "a.bb").read_bytes())
        data[8] = data[-5] = version
        (tmp_path / "b.bb").write_bytes(data)
        with pytest.raises(UnsupportedVersion, match=rf"b\.bb: the archive is of format {name}; this .* 0\.5"):
            Archive(tmp_path / "b.bb")


def test_an_archive_that_goes_away_is_an_input_error(folder, tmp_path):
    squeeze(folder, tmp_path / "a.bb", ALL)
    with Archive(tmp_path / "a.bb", run=FAKE) as archive:
        (tmp_path / "a.bb").unlink()
        for name in ("notes.txt", "grey/0.png", "stack.npy", "both.npz"):
            with pytest.raises(InputError, match=r"a\.bb cannot be read"):
                archive.read_bytes(name)
        with pytest.raises(InputError, match=r"a\.bb cannot be read"):
            archive.images("stack.npy", 0, 1)
        with pytest.raises(InputError, match=r"a\.bb cannot be read"):
            archive.verify()
