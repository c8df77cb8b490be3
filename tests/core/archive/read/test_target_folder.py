"""Where restored files may be written, and that nothing half written is left."""

import os
import stat
from pathlib import Path

import pytest

from bbcodec.archive.format.index import Entry
from bbcodec.archive.read.target_folder import check_targets, finish_folder, put_in_place, staging_folder
from bbcodec.atomic_files import temporary_name
from bbcodec.errors import OutputError, TargetExists, UnsafePath


def inside(folder):
    return sorted(path.name for path in folder.iterdir())


def write_and_raise(path, stop):
    path.write_text("new")
    raise stop


def test_nothing_is_written_through_a_link(tmp_path):
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "sub").symlink_to("../elsewhere")
    for name, form in ((b"sub/a", "bytes"), (b"sub/a/b", "bytes"), (b"sub/a", "folder"), (b"sub/a", "link")):
        with pytest.raises(UnsafePath, match="sub is a link"):
            check_targets(tmp_path / "out", [Entry(name, form)], True)
    with pytest.raises(UnsafePath, match="sub is a link"):
        check_targets(tmp_path / "out", [Entry(b"sub", "folder")], True)


def test_what_is_in_the_way_is_named(tmp_path):
    (tmp_path / "file").write_text("x")
    (tmp_path / "folder").mkdir()
    with pytest.raises(OutputError, match="file is a file, where 'file/a' needs a folder"):
        check_targets(tmp_path, [Entry(b"file/a", "bytes")], True)
    with pytest.raises(OutputError, match="folder is a folder, where"):
        check_targets(tmp_path, [Entry(b"folder", "bytes")], True)
    with pytest.raises(OutputError, match="file is a file, where 'file' needs a folder"):
        check_targets(tmp_path, [Entry(b"file", "folder")], True)
    with pytest.raises(TargetExists, match="--force"):
        check_targets(tmp_path, [Entry(b"file", "bytes")], False)
    with pytest.raises(OutputError, match="cannot be written"):
        check_targets(tmp_path, [Entry(b"n" * 300, "bytes")], False)
    check_targets(tmp_path, [Entry(b"file", "bytes")], True)
    check_targets(tmp_path, [Entry(b"folder", "folder")], False)
    check_targets(tmp_path, [Entry(b"folder/new/a", "bytes")], False)


@pytest.mark.parametrize("made", [True, False])
def test_folders_that_were_made_for_nothing_go_again(tmp_path, made):
    if made:
        (tmp_path / "deep" / "out").mkdir(parents=True)
    with pytest.raises(KeyboardInterrupt), staging_folder(tmp_path / "deep" / "out") as (_, stage):
        write_and_raise(stage.path / "half", KeyboardInterrupt)
    assert (tmp_path / "deep").exists() == made
    assert not made or inside(tmp_path / "deep" / "out") == []


def test_folders_in_which_something_was_restored_stay(tmp_path):
    with pytest.raises(OutputError, match="No space"), staging_folder(tmp_path / "deep" / "out"):
        write_and_raise(tmp_path / "deep" / "out" / "restored", OSError(28, "No space left on device"))
    assert inside(tmp_path / "deep" / "out") == ["restored"]


def test_the_staging_folder_is_gone_at_the_end(tmp_path):
    with staging_folder(tmp_path / "out") as (_, stage):
        (stage.path / "sub").mkdir()
        assert stage.path.parent == tmp_path / "out"
    assert inside(tmp_path / "out") == []


@pytest.mark.parametrize("fsync", [True, False])
@pytest.mark.parametrize("force", [True, False])
def test_files_get_their_times_and_permissions(tmp_path, force, fsync):
    time = 1234567890_123456789
    with staging_folder(tmp_path, force, fsync) as (target, stage):
        (stage.path / "0").write_text("x")
        (stage.path / "1").write_bytes(b"sub/file")
        put_in_place(stage, "0", target, Entry(b"sub/file", "bytes", modified_ns=time, permissions=0o440))
        put_in_place(stage, "1", target, Entry(b"link", "link", modified_ns=time, permissions=0o777))
        put_in_place(stage, "2", target, Entry(b"empty/folder", "folder"))
        about = (tmp_path / "sub" / "file").stat()
        assert (about.st_mtime_ns, stat.S_IMODE(about.st_mode), about.st_nlink) == (time, 0o440, 1)
        assert (os.readlink(tmp_path / "link"), (tmp_path / "link").lstat().st_mtime_ns) == ("sub/file", time)
        finish_folder(target, Entry(b"sub", "folder", modified_ns=time, permissions=0o555))
        about = (tmp_path / "sub").stat()
        assert (about.st_mtime_ns, stat.S_IMODE(about.st_mode)) == (time, 0o555)
    assert inside(tmp_path) == ["empty", "link", "sub"]
    assert (tmp_path / "empty" / "folder").is_dir()


def test_files_and_folders_are_synced_on_request(tmp_path, monkeypatch):
    """Each file before it gets its name, its folder after that."""
    synced = []
    monkeypatch.setattr(os, "fsync", lambda handle: synced.append(os.readlink(f"/proc/self/fd/{handle}")))
    for fsync in (False, True):
        with staging_folder(tmp_path / "out", True, fsync) as (target, stage):
            (stage.path / "0").write_text("x")
            put_in_place(stage, "0", target, Entry(b"sub/a", "bytes"))
            finish_folder(target, Entry(b"sub", "folder"))
        assert synced == [str(stage.path / "0"), *[str(tmp_path / "out" / "sub")] * 2][: 3 * fsync]


@pytest.mark.parametrize("form", ["bytes", "link"])
def test_a_link_in_the_place_of_a_file_is_replaced_not_followed(tmp_path, form):
    (tmp_path / "secret").write_text("old")
    (tmp_path / "a").symlink_to("secret")
    with staging_folder(tmp_path, force=True) as (target, stage):
        (stage.path / "0").write_text("new")
        put_in_place(stage, "0", target, Entry(b"a", form))
    assert (tmp_path / "secret").read_text() == "old"
    if form == "bytes":
        assert (tmp_path / "a").read_text() == "new"
        assert not (tmp_path / "a").is_symlink()
    else:
        assert os.readlink(tmp_path / "a") == "new"


# --- what happens while it works


@pytest.mark.parametrize("form", ["bytes", "link"])
def test_a_file_that_appears_meanwhile_is_not_overwritten(tmp_path, form):
    with staging_folder(tmp_path) as (target, stage):
        (stage.path / "0").write_text("new")
        check_targets(tmp_path, [Entry(b"a", form)], False)
        (tmp_path / "a").write_text("precious")
        with pytest.raises(TargetExists, match="appeared"):
            put_in_place(stage, "0", target, Entry(b"a", form))
    assert (tmp_path / "a").read_text() == "precious"
    assert inside(tmp_path) == ["a"]


@pytest.mark.parametrize("force", [True, False])
@pytest.mark.parametrize("name", [b"sub/a", b"sub/deep/a"])
def test_a_folder_that_becomes_a_link_leads_nowhere(tmp_path, name, force):
    (tmp_path / "outside" / "deep").mkdir(parents=True)
    with staging_folder(tmp_path / "out", force) as (target, stage):
        (stage.path / "0").write_text("new")
        (tmp_path / "out" / "sub").symlink_to(tmp_path / "outside")
        for work in (lambda: put_in_place(stage, "0", target, Entry(name, "bytes")),
                     lambda: put_in_place(stage, "0", target, Entry(b"sub", "folder")),
                     lambda: finish_folder(target, Entry(b"sub", "folder", permissions=0))):  # fmt: skip
            with pytest.raises(UnsafePath, match="became a link"):
                work()
    assert [path.name for path in (tmp_path / "outside").rglob("*")] == ["deep"]
    assert stat.S_IMODE((tmp_path / "outside").stat().st_mode) != 0


def test_the_target_may_be_moved_meanwhile(tmp_path):
    (tmp_path / "outside").mkdir()
    with staging_folder(tmp_path / "out") as (target, stage):
        (tmp_path / "out").rename(tmp_path / "moved")
        (tmp_path / "out").symlink_to("outside")
        with stage.open("0", "xb") as stream:
            stream.write(b"new")
        put_in_place(stage, "0", target, Entry(b"sub/a", "bytes"))
    assert inside(tmp_path / "outside") == []
    assert inside(tmp_path / "moved") == ["sub"]


def test_a_file_in_the_way_of_a_folder_is_told(tmp_path):
    with staging_folder(tmp_path) as (target, stage):
        (tmp_path / "sub").write_text("x")
        with pytest.raises(OutputError, match="sub is a file, where a folder is needed"):
            put_in_place(stage, "0", target, Entry(b"sub/a", "bytes"))


def test_what_a_killed_process_left_is_removed(tmp_path):
    stray = tmp_path / temporary_name()
    (stray / "0").mkdir(parents=True)
    with staging_folder(tmp_path) as (_, stage), staging_folder(tmp_path) as (_, other):
        assert inside(tmp_path) == sorted([stage.path.name, other.path.name])  # each in use
    assert inside(tmp_path) == []


def test_each_folder_is_looked_at_once(tmp_path, monkeypatch):
    """However deep the names and however many: else a short archive costs minutes."""
    looked, real = [], Path.is_symlink
    monkeypatch.setattr(Path, "is_symlink", lambda path: looked.append(path) or real(path))
    deep = b"/".join([b"d"] * 500)
    entries = [Entry(deep + b"/%d" % number, "bytes") for number in range(300)]
    check_targets(tmp_path, [*entries, Entry(deep, "folder")], False)
    assert len(looked) == 500
