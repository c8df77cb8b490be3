"""Where restored files may be written, and that nothing half written is left."""

import os
import stat

import pytest

from bbcodec.archive.format.index import Entry
from bbcodec.archive.read.restore import check_target, finish_folder, put_in_place, staging_folder
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
            check_target(tmp_path / "out", Entry(name, form), True)
    with pytest.raises(UnsafePath, match="sub is a link"):
        check_target(tmp_path / "out", Entry(b"sub", "folder"), True)


def test_what_is_in_the_way_is_named(tmp_path):
    (tmp_path / "file").write_text("x")
    (tmp_path / "folder").mkdir()
    with pytest.raises(OutputError, match="file is a file, where 'file/a' needs a folder"):
        check_target(tmp_path, Entry(b"file/a", "bytes"), True)
    with pytest.raises(OutputError, match="folder is a folder, where"):
        check_target(tmp_path, Entry(b"folder", "bytes"), True)
    with pytest.raises(OutputError, match="file is a file, where 'file' needs a folder"):
        check_target(tmp_path, Entry(b"file", "folder"), True)
    with pytest.raises(TargetExists, match="--force"):
        check_target(tmp_path, Entry(b"file", "bytes"), False)
    with pytest.raises(OutputError, match="cannot be written"):
        check_target(tmp_path, Entry(b"n" * 300, "bytes"), False)
    check_target(tmp_path, Entry(b"file", "bytes"), True)
    check_target(tmp_path, Entry(b"folder", "folder"), False)
    check_target(tmp_path, Entry(b"folder/new/a", "bytes"), False)


@pytest.mark.parametrize("made", [True, False])
def test_folders_that_were_made_for_nothing_go_again(tmp_path, made):
    if made:
        (tmp_path / "deep" / "out").mkdir(parents=True)
    with pytest.raises(KeyboardInterrupt), staging_folder(tmp_path / "deep" / "out") as stage:
        write_and_raise(stage / "half", KeyboardInterrupt)
    assert (tmp_path / "deep").exists() == made
    assert not made or inside(tmp_path / "deep" / "out") == []


def test_folders_in_which_something_was_restored_stay(tmp_path):
    with pytest.raises(OutputError, match="No space"), staging_folder(tmp_path / "deep" / "out"):
        write_and_raise(tmp_path / "deep" / "out" / "restored", OSError(28, "No space left on device"))
    assert inside(tmp_path / "deep" / "out") == ["restored"]


def test_the_staging_folder_is_gone_at_the_end(tmp_path):
    with staging_folder(tmp_path / "out") as stage:
        (stage / "sub").mkdir()
        assert stage.parent == tmp_path / "out"
    assert inside(tmp_path / "out") == []


def test_files_get_their_times_and_permissions(tmp_path):
    time = 1234567890_123456789
    with staging_folder(tmp_path) as stage:
        (stage / "0").write_text("x")
        (stage / "1").write_bytes(b"sub/file")
        put_in_place(stage / "0", tmp_path, Entry(b"sub/file", "bytes", modified_ns=time, permissions=0o440))
        put_in_place(stage / "1", tmp_path, Entry(b"link", "link", modified_ns=time, permissions=0o777))
        put_in_place(stage / "2", tmp_path, Entry(b"empty/folder", "folder"))
    about = (tmp_path / "sub" / "file").stat()
    assert (about.st_mtime_ns, stat.S_IMODE(about.st_mode)) == (time, 0o440)
    assert (os.readlink(tmp_path / "link"), (tmp_path / "link").lstat().st_mtime_ns) == ("sub/file", time)
    finish_folder(tmp_path, Entry(b"sub", "folder", modified_ns=time, permissions=0o555))
    about = (tmp_path / "sub").stat()
    assert (about.st_mtime_ns, stat.S_IMODE(about.st_mode)) == (time, 0o555)
    assert (tmp_path / "empty" / "folder").is_dir()


def test_a_link_in_the_place_of_a_file_is_replaced_not_followed(tmp_path):
    (tmp_path / "secret").write_text("old")
    (tmp_path / "a").symlink_to("secret")
    with staging_folder(tmp_path) as stage:
        (stage / "0").write_text("new")
        put_in_place(stage / "0", tmp_path, Entry(b"a", "bytes"))
    assert (tmp_path / "secret").read_text() == "old"
    assert (tmp_path / "a").read_text() == "new"
    assert not (tmp_path / "a").is_symlink()
