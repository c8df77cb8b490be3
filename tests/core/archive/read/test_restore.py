"""Files through archives and back: every one, exactly, or one clear error and nothing half written."""

import json
import os
import stat

import numpy as np
import pytest
from fake_codec import load_hasty, load_lying, squeeze
from folders import (
    ALL,
    BITS,
    COLOUR,
    GREY,
    N_FILES,
    check_same_tree,
    contents,
    hows,
    noise,
    restore,
    save,
    smooth,
    text,
    write_archive,
)
from hypothesis import given, settings
from hypothesis import strategies as st

from bbcodec.archive.format import container
from bbcodec.archive.format.chunks import BYTES, pack_bytes
from bbcodec.archive.format.index import CodecRecord, Entry, Place
from bbcodec.archive.read import restore as restoring
from bbcodec.archive.read.archive import Archive
from bbcodec.archive.write import tasks as planning
from bbcodec.archive.write import writer as assembling
from bbcodec.errors import (
    DamagedArchive,
    OutputError,
    TargetExists,
    UnsafePath,
)

# --- everything comes back


@pytest.mark.parametrize("exact", [False, True], ids=["pictures", "exact"])
@pytest.mark.parametrize("codecs", [(), ALL], ids=["classical", "learned"])
def test_a_folder_comes_back(folder, tmp_path, codecs, exact):
    summary = squeeze(folder, tmp_path / "a.bb", codecs, exact=exact)
    restored = restore(tmp_path / "a.bb", tmp_path / "out")
    check_same_tree(folder, tmp_path / "out", exact)
    assert (summary.files, summary.folders, summary.copies) == (N_FILES, 4, 1)
    assert (restored.files, restored.folders, restored.copies) == (N_FILES, 4, 1)
    assert ("learned" in summary.how) == bool(codecs)
    assert summary.archive_bytes == (tmp_path / "a.bb").stat().st_size
    assert summary.file_bytes == sum(path.lstat().st_size for path in folder.rglob("*") if not path.is_dir())
    assert restored.how == summary.how


def test_each_way_of_storing_is_used(folder, tmp_path, careful_webp):
    np.save(folder / "smooth.npy", np.stack([smooth(40, 40, seed=n)[..., 0] for n in range(10)]))
    for number in range(8):
        save(folder / "few" / f"{number}.png", np.tile(noise(2, 8, 1, seed=number % 2), (4, 4, 1)))
    squeeze(folder, tmp_path / "a.bb", (GREY, BITS))
    how = hows(tmp_path / "a.bb")
    assert how["grey/0.png"] == how["stack.npy"] == how["both.npz"] == "learned"
    assert how["few/0.png"] == how["smooth.npy"] == "sheet"
    assert how["colour/same.bmp"] in ("webp", "png", "sheet")
    assert how["deep.png"] in ("webp", "png", "predicted")
    assert how["photo.jpg"] == how["notes.txt"] == how["grey/link.png"] == how["empty.txt"] == "original"


def test_folders_come_back_with_times_and_permissions(tmp_path):
    """Empty ones, nested ones, those that may not be written, and those whose parents may not."""
    top = tmp_path / "in"
    for number, name in enumerate(["a", "a/b", "a/b/c", "d", "d/e", ".hidden", "z"]):
        (top / name).mkdir(parents=True)
        if number % 2:
            (top / name / "file").write_text(name)
    for number, path in enumerate(sorted(top.rglob("*"), reverse=True)):
        path.chmod([0o555, 0o755, 0o500, 0o700][number % 4] if path.is_dir() else 0o400)
        os.utime(path, ns=(1, 10**18 + number * 1_000_000_007))
    squeeze(top, tmp_path / "a.bb")
    restore(tmp_path / "a.bb", tmp_path / "out")
    check_same_tree(top, tmp_path / "out")


def test_folders_get_their_permissions_from_the_inside_out(folder, tmp_path, monkeypatch):
    """One that may not be entered would else hide those in it (but not from root, as whom tests may run)."""
    order = []
    monkeypatch.setattr(restoring, "finish_folder", lambda top, file: order.append(file.name))
    squeeze(folder, tmp_path / "a.bb")
    restore(tmp_path / "a.bb", tmp_path / "out")
    assert order == [b"hollow/inner", b"hollow", b"grey", b"colour"]


def test_folders_that_are_there_already_are_filled(folder, tmp_path):
    squeeze(folder, tmp_path / "a.bb")
    (tmp_path / "out" / "grey").mkdir(parents=True)
    (tmp_path / "out" / "grey" / "mine").write_text("mine")
    restore(tmp_path / "a.bb", tmp_path / "out")
    assert (tmp_path / "out" / "grey" / "mine").read_text() == "mine"
    (tmp_path / "out" / "grey" / "mine").unlink()
    os.utime(tmp_path / "out" / "grey", ns=(1, (folder / "grey").stat().st_mtime_ns))
    check_same_tree(folder, tmp_path / "out")


@settings(max_examples=15)
@given(st.lists(st.tuples(st.integers(-(2**33), 2**33), st.integers(0, 10**9 - 1), st.integers(0, 0o777)), max_size=4))
def test_any_time_and_permissions_come_back(tmp_path_factory, abouts):
    tmp_path = tmp_path_factory.mktemp("times")
    for number, (seconds, nanoseconds, permissions) in enumerate([(0, 0, 0o644), *abouts]):
        path = tmp_path / "in" / str(number)
        path.mkdir(parents=True) if number % 2 else (path.parent.mkdir(exist_ok=True), path.touch())
        os.utime(path, ns=(0, seconds * 10**9 + nanoseconds))
        path.chmod(permissions)
    squeeze(tmp_path / "in", tmp_path / "a.bb")
    restore(tmp_path / "a.bb", tmp_path / "out")
    check_same_tree(tmp_path / "in", tmp_path / "out")


ODD = [b"new\nline", b"\xff\xfe no text", "äöü ☃".encode(), b"back\\slash", b" space ", b"-o", b"...", b"\x1b[31m",
       b".hidden", b"a:b", b"tab\t", b"\x01\x7f"]  # fmt: skip


def test_odd_names_come_back(tmp_path):
    top = tmp_path / "in"
    for name in ODD:
        inner = os.path.join(os.fsencode(top), name)
        os.makedirs(inner)
        with open(os.path.join(inner, name), "wb") as stream:
            stream.write(name)
        os.symlink(name, os.path.join(inner, b"link to " + name))
    squeeze(top, tmp_path / "a.bb")
    restore(tmp_path / "a.bb", tmp_path / "out")
    check_same_tree(top, tmp_path / "out")
    with Archive(tmp_path / "a.bb") as archive:
        json.dumps(archive.listing())
        for name in ODD:
            assert archive.read_bytes(os.fsdecode(name + b"/" + name)) == name


def test_equal_files_are_stored_once(tmp_path):
    """Copies, hard links, and files of any kind: one content each, and an entry of a few bytes."""
    (tmp_path / "one").mkdir()
    content = noise(3000).tobytes()
    save(tmp_path / "one" / "0.png", noise(40, 40, 3))
    np.save(tmp_path / "one" / "0.npy", noise(5, 20, 20))
    (tmp_path / "one" / "0.bin").write_bytes(content)
    alone = squeeze(tmp_path / "one", tmp_path / "one.bb").archive_bytes
    for source in sorted((tmp_path / "one").iterdir()):
        os.link(source, source.with_name(f"link{source.suffix}"))
        for number in range(1, 100):
            source.with_name(f"{number}{source.suffix}").write_bytes(source.read_bytes())
    summary = squeeze(tmp_path / "one", tmp_path / "many.bb")
    assert (summary.files, summary.copies) == (303, 300)
    assert summary.archive_bytes < alone + 300 * 20
    restore(tmp_path / "many.bb", tmp_path / "out")
    check_same_tree(tmp_path / "one", tmp_path / "out")


def test_many_small_files_over_several_segments(tmp_path, monkeypatch):
    monkeypatch.setattr(assembling, "SEGMENT_FILES", 1000)
    monkeypatch.setattr(planning, "SHARED_BYTES", 500)
    for number in range(3000):
        path = tmp_path / "in" / f"{number % 7}" / f"{number}.txt"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(b"%d" % number)
    squeeze(tmp_path / "in", tmp_path / "a.bb")
    with Archive(tmp_path / "a.bb") as archive:
        assert sum(chunk.type == "D" for chunk in archive._file.directory.chunks) == 3
        assert len(archive) == 3000
    restore(tmp_path / "a.bb", tmp_path / "out")
    check_same_tree(tmp_path / "in", tmp_path / "out")
    data = (tmp_path / "a.bb").read_bytes()
    (tmp_path / "a.bb").write_bytes(data[:-1])
    restore(tmp_path / "a.bb", tmp_path / "again")
    check_same_tree(tmp_path / "in", tmp_path / "again")


def test_large_files_are_cut_into_pieces(tmp_path, monkeypatch):
    monkeypatch.setattr(planning, "PIECE_BYTES", 1000)
    monkeypatch.setattr(planning, "SHARED_BYTES", 500)
    monkeypatch.setattr(container, "SEGMENT_BYTES", 1500)
    (tmp_path / "in").mkdir()
    pieces = noise(3500).tobytes()
    (tmp_path / "in" / "large.bin").write_bytes(pieces)
    (tmp_path / "in" / "small.bin").write_bytes(pieces[:300])
    (tmp_path / "in" / "zero.bin").write_bytes(bytes(4000))
    save(tmp_path / "in" / "noise.png", noise(40, 40, 1))
    squeeze(tmp_path / "in", tmp_path / "a.bb")
    with Archive(tmp_path / "a.bb") as archive:
        assert len(archive.files[0].places) == 4
        assert archive.read_bytes("large.bin") == pieces
        assert archive.summary().files == 4
    restore(tmp_path / "a.bb", tmp_path / "out")
    check_same_tree(tmp_path / "in", tmp_path / "out")


# --- links


def make_links(top):
    (top / "sub").mkdir(parents=True)
    (top / "file").write_text("x")
    links = {"abs": "/etc/passwd", "up": "../x", "sub/far": "../../x", "dots": "sub/../file", "top": ".."}
    links |= {"sub/near": "../file", "dangling": "nothing", "folder": "sub", "sub/self": "self"}
    for name, target in links.items():
        (top / name).symlink_to(target)
    return ["abs", "dots", "sub/far", "top", "up"]


def test_links_that_lead_outside_are_left_out_and_named(tmp_path):
    outside = make_links(tmp_path / "in")
    summary = squeeze(tmp_path / "in", tmp_path / "a.bb")
    assert (summary.files, summary.skipped) == (10, [])
    summary = restore(tmp_path / "a.bb", tmp_path / "out")
    assert [line.split("'")[1] for line in summary.skipped] == outside
    assert "--unsafe-links" in summary.skipped[0]
    assert summary.files == 5
    restore(tmp_path / "a.bb", tmp_path / "all", unsafe_links=True)
    check_same_tree(tmp_path / "in", tmp_path / "all")
    for name in outside:
        (tmp_path / "in" / name).unlink()
    os.utime(tmp_path / "in" / "sub", ns=(1, (tmp_path / "out" / "sub").stat().st_mtime_ns))
    check_same_tree(tmp_path / "in", tmp_path / "out")


@pytest.mark.parametrize("target", [b"", b"a\0b", b"\0"])
def test_what_is_no_target_of_a_link_is_never_made(tmp_path, target):
    files = [text(b"file", b"hi"), Entry(b"link", "link", size=len(target), places=(Place(0, 1, len(target)),))]
    bad = write_archive(tmp_path / "a.bb", files, [(BYTES, pack_bytes(b"hi" + target))])
    for unsafe in (False, True):
        summary = restore(bad, tmp_path / str(unsafe), unsafe_links=unsafe)
        assert len(summary.skipped) == 1
        assert contents(tmp_path / str(unsafe)) == {"file": b"hi"}


def test_nothing_is_written_through_a_link_of_the_archive(tmp_path):
    """Links come last, and none is the folder of another entry; so not even a hostile order helps."""
    files = [Entry(b"d", "link", size=4, places=(Place(0, 0, 4),)), text(b"d/file", b"hi", 1)]
    with pytest.raises(DamagedArchive, match="both as a file and as a folder"):
        write_archive(tmp_path / "a.bb", files, [(BYTES, pack_bytes(b"/tmphi"))])
    files = [Entry(b"a", "link", size=2, places=(Place(0, 0, 2),)), text(b"b/file", b"hi", 1), Entry(b"b", "folder")]
    good = write_archive(tmp_path / "b.bb", files, [(BYTES, pack_bytes(b"..hi"))])
    restore(good, tmp_path / "deep" / "out", unsafe_links=True)
    assert sorted(path.name for path in (tmp_path / "deep").iterdir()) == ["out"]


# --- where files may be written


def test_links_in_the_target_are_not_written_through(folder, tmp_path):
    squeeze(folder, tmp_path / "a.bb")
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "colour").symlink_to(tmp_path / "elsewhere")
    for force in (False, True):
        with pytest.raises(UnsafePath, match="colour is a link"):
            restore(tmp_path / "a.bb", tmp_path / "out", force=force)
    assert list((tmp_path / "elsewhere").iterdir()) == []
    assert [path.name for path in (tmp_path / "out").iterdir()] == ["colour"]


def test_existing_files_are_left_alone_without_force(folder, tmp_path):
    squeeze(folder, tmp_path / "a.bb")
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "notes.txt").write_text("mine")
    with pytest.raises(TargetExists, match=r"notes.txt exists"):
        restore(tmp_path / "a.bb", tmp_path / "out")
    assert contents(tmp_path / "out") == {"notes.txt": b"mine"}
    restore(tmp_path / "a.bb", tmp_path / "out", force=True)
    check_same_tree(folder, tmp_path / "out")
    (tmp_path / "out" / "notes.txt").unlink()
    (tmp_path / "out" / "notes.txt").mkdir()
    with pytest.raises(OutputError, match="is a folder"):
        restore(tmp_path / "a.bb", tmp_path / "out", force=True)


def test_a_name_too_long_for_the_file_system_is_told(tmp_path):
    long = write_archive(tmp_path / "a.bb", [text(b"n" * 300, b"hi")], [(BYTES, pack_bytes(b"hi"))])
    with pytest.raises(OutputError, match="nnn' cannot be written"):
        restore(long, tmp_path / "out")
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("seconds", [2**61, -(2**61), 2**40])
def test_times_that_no_file_system_has_raise_nothing_unforeseen(tmp_path, seconds):
    file = Entry(b"a", "bytes", size=2, modified_ns=seconds * 10**9, places=(Place(0, 0, 2),))
    odd = write_archive(tmp_path / "a.bb", [file, Entry(b"b", "folder", modified_ns=seconds * 10**9)],
                        [(BYTES, pack_bytes(b"hi"))])  # fmt: skip
    try:
        restore(odd, tmp_path / "out")
    except OutputError:
        return
    assert (tmp_path / "out" / "a").read_bytes() == b"hi"


@pytest.mark.parametrize("stop", [KeyboardInterrupt, OSError(28, "No space left on device")])
@pytest.mark.parametrize("made", [True, False])
def test_nothing_is_left_when_restoring_stops(folder, tmp_path, monkeypatch, stop, made):
    squeeze(folder, tmp_path / "a.bb", ALL)
    if made:
        (tmp_path / "deep" / "out").mkdir(parents=True)

    def stopping(*_):
        raise stop

    monkeypatch.setattr(restoring, "write_unit", stopping)
    with pytest.raises(OutputError if isinstance(stop, OSError) else KeyboardInterrupt):
        restore(tmp_path / "a.bb", tmp_path / "deep" / "out")
    assert (tmp_path / "deep").exists() == made
    assert not made or list((tmp_path / "deep" / "out").iterdir()) == []


def test_permissions_are_kept_from_the_umask(tmp_path):
    (tmp_path / "in" / "sub").mkdir(parents=True)
    (tmp_path / "in" / "a").write_text("x")
    (tmp_path / "in" / "a").chmod(0o666)
    (tmp_path / "in" / "sub").chmod(0o777)
    squeeze(tmp_path / "in", tmp_path / "a.bb")
    old = os.umask(0o077)
    try:
        restore(tmp_path / "a.bb", tmp_path / "out")
    finally:
        os.umask(old)
    check_same_tree(tmp_path / "in", tmp_path / "out")
    assert stat.S_IMODE((tmp_path / "out").stat().st_mode) == 0o700


def test_codec_records_are_looked_up_by_whole_digests():
    assert CodecRecord(b"x" * 16, "a") != CodecRecord(b"x" * 15 + b"y", "a")
    assert {COLOUR.digest, GREY.digest, BITS.digest} == {codec.digest for codec in ALL}
    assert load_hasty is not load_lying
