"""Where files may be written, and that nothing half written is left."""

import os
import stat

import pytest

from bbcodec.atomic_files import new_file
from bbcodec.errors import OutputError, TargetExists


def inside(folder):
    return sorted(path.name for path in folder.iterdir())


# --- one new file


def test_a_new_file_appears_when_it_is_whole(tmp_path):
    with new_file(tmp_path / "a", False) as (path, stream):
        stream.write(b"x")
        assert not (tmp_path / "a").exists()
        assert path.parent == tmp_path
        assert inside(tmp_path) == [path.name]
    assert (tmp_path / "a").read_bytes() == b"x"
    assert inside(tmp_path) == ["a"]


@pytest.mark.parametrize("mask", [0o027, 0o022, 0])
def test_a_new_file_keeps_the_umask(tmp_path, mask):
    old = os.umask(mask)
    try:
        with new_file(tmp_path / "a", False) as (_, stream):
            stream.write(b"x")
    finally:
        os.umask(old)
    assert stat.S_IMODE((tmp_path / "a").stat().st_mode) == 0o666 & ~mask


def write_and_raise(path, stop):
    path.write_text("new")
    raise stop


@pytest.mark.parametrize("stop", [KeyboardInterrupt(), OSError(28, "No space left on device"), ValueError("bug")])
@pytest.mark.parametrize("force", [True, False])
def test_nothing_is_left_of_a_file_that_failed(tmp_path, stop, force):
    if force:
        (tmp_path / "a").write_text("old")
    wanted = OutputError if isinstance(stop, OSError) else type(stop)
    with pytest.raises(wanted), new_file(tmp_path / "a", force) as (path, _):
        write_and_raise(path, stop)
    assert inside(tmp_path) == (["a"] if force else [])
    assert not force or (tmp_path / "a").read_text() == "old"


def test_what_exists_is_left_alone_without_force(tmp_path):
    (tmp_path / "a").write_text("old")
    (tmp_path / "dangling").symlink_to("nothing")
    (tmp_path / "folder").mkdir()
    for name in ("a", "dangling"):
        with pytest.raises(TargetExists, match="--force"), new_file(tmp_path / name, False):
            pass
    with pytest.raises(OutputError, match="is a folder"), new_file(tmp_path / "folder", True):
        pass
    with pytest.raises(OutputError, match="cannot be written"), new_file(tmp_path / "no" / "a", True):
        pass
    with pytest.raises(TargetExists), new_file(tmp_path / "b", False):
        (tmp_path / "b").write_text("somebody was faster")
    assert (tmp_path / "b").read_text() == "somebody was faster"
    assert inside(tmp_path) == ["a", "b", "dangling", "folder"]


def test_a_long_name_is_no_hindrance(tmp_path):
    with new_file(tmp_path / ("n" * 250), False) as (_, stream):
        stream.write(b"x")
    assert inside(tmp_path) == ["n" * 250]
