"""Where files may be written, that nothing half written is left, and nothing overwritten that nobody asked for."""

import os
import signal
import stat
import subprocess
import sys
import time

import pytest

from bbcodec import atomic_files
from bbcodec.atomic_files import locked_folder, new_file, open_folder, sweep, temporary_name
from bbcodec.errors import OutputError, TargetExists


def inside(folder):
    return sorted(path.name for path in folder.iterdir())


# --- one new file


@pytest.fixture(params=["unnamed", "named", "named, without links"])
def way(request, monkeypatch):
    """The ways in which file systems let a file appear."""
    if request.param != "unnamed":
        monkeypatch.setattr(atomic_files, "UNNAMED", 0)
    if request.param == "named, without links":

        def refuse(*_, **__):
            raise OSError(1, "Operation not permitted")

        monkeypatch.setattr(os, "link", refuse)
    return request.param


@pytest.mark.parametrize("force", [True, False])
def test_a_new_file_appears_when_it_is_whole(tmp_path, way, force):
    with new_file(tmp_path / "a", force) as (path, stream):
        stream.write(b"x")
        stream.flush()
        assert path.read_bytes() == b"x"
        assert subprocess.run(["cat", path], capture_output=True, check=True).stdout == b"x"  # by other processes, too
        assert inside(tmp_path) == ([] if way == "unnamed" else [path.name])
    assert (tmp_path / "a").read_bytes() == b"x"
    assert inside(tmp_path) == ["a"]


@pytest.mark.usefixtures("way")
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
@pytest.mark.usefixtures("way")
@pytest.mark.parametrize("force", [True, False])
def test_nothing_is_left_of_a_file_that_failed(tmp_path, stop, force):
    if force:
        (tmp_path / "a").write_text("old")
    wanted = OutputError if isinstance(stop, OSError) else type(stop)
    with pytest.raises(wanted), new_file(tmp_path / "a", force) as (path, _):
        write_and_raise(path, stop)
    assert inside(tmp_path) == (["a"] if force else [])
    assert not force or (tmp_path / "a").read_text() == "old"


@pytest.mark.usefixtures("way")
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


@pytest.mark.usefixtures("way")
@pytest.mark.parametrize("made", [lambda path: path.write_text("mine"), lambda path: path.symlink_to("nothing")])
def test_what_appears_at_the_last_moment_is_left_alone(tmp_path, monkeypatch, made):
    """After the last check, too: the name is taken only if nobody has it."""
    publish = atomic_files._publish

    def late(stream, name, folder, target, force):
        made(tmp_path / "a")
        publish(stream, name, folder, target, force)

    monkeypatch.setattr(atomic_files, "_publish", late)
    with pytest.raises(TargetExists, match="appeared"), new_file(tmp_path / "a", False) as (_, stream):
        stream.write(b"x")
    assert inside(tmp_path) == ["a"]
    assert (tmp_path / "a").is_symlink() or (tmp_path / "a").read_text() == "mine"


@pytest.mark.usefixtures("way")
def test_a_link_is_replaced_not_followed(tmp_path):
    (tmp_path / "precious").write_text("old")
    (tmp_path / "a").symlink_to("precious")
    with new_file(tmp_path / "a", True) as (_, stream):
        stream.write(b"new")
    assert (tmp_path / "precious").read_text() == "old"
    assert not (tmp_path / "a").is_symlink()


@pytest.mark.usefixtures("way")
def test_a_folder_that_is_replaced_meanwhile_gets_nothing(tmp_path):
    (tmp_path / "in").mkdir()
    (tmp_path / "outside").mkdir()
    with new_file(tmp_path / "in" / "a", False) as (_, stream):
        stream.write(b"x")
        (tmp_path / "in").rename(tmp_path / "moved")
        (tmp_path / "in").symlink_to("outside")
    assert inside(tmp_path / "outside") == []
    assert inside(tmp_path / "moved") == ["a"]


def test_a_long_name_is_no_hindrance(tmp_path):
    with new_file(tmp_path / ("n" * 250), False) as (_, stream):
        stream.write(b"x")
    assert inside(tmp_path) == ["n" * 250]


# --- killed processes

KILLED = """
import os, sys, time
from pathlib import Path
from bbcodec import atomic_files
if sys.argv[2] == "named":
    atomic_files.UNNAMED = 0
with atomic_files.new_file(Path(sys.argv[1]), False) as (path, stream):
    stream.write(b"x")
    stream.flush()
    print("ready", flush=True)
    time.sleep(60)
"""


@pytest.mark.parametrize("named", ["named", "unnamed"])
def test_nothing_is_left_of_a_killed_process_after_the_next(tmp_path, named):
    """Without a name nothing at all; a named file stays while its process lives, and goes when another one comes."""
    process = subprocess.Popen([sys.executable, "-c", KILLED, tmp_path / "a", named], stdout=subprocess.PIPE)
    assert process.stdout.readline() == b"ready\n"
    strays = inside(tmp_path)
    assert len(strays) == (named == "named")
    with new_file(tmp_path / "b", False):
        pass
    assert inside(tmp_path) == sorted([*strays, "b"])
    process.send_signal(signal.SIGKILL)
    process.wait()
    process.stdout.close()
    with new_file(tmp_path / "c", False):
        pass
    assert inside(tmp_path) == ["b", "c"]


def test_only_what_killed_processes_left_is_swept(tmp_path):
    folder, file = tmp_path / temporary_name(), tmp_path / temporary_name()
    (folder / "deep").mkdir(parents=True)
    (folder / "deep" / "0").write_text("x")
    file.write_text("x")
    os.mkfifo(tmp_path / temporary_name())
    kept = [".bbcodec-mine", ".bbcodec-", "a", f"{temporary_name()}.tmp"]
    for name in kept:
        (tmp_path / name).write_text("x")
    link = tmp_path / temporary_name()
    link.symlink_to(tmp_path / "a")
    with open_folder(tmp_path) as handle:
        started = time.monotonic()
        sweep(handle)
    assert time.monotonic() - started < 10
    assert inside(tmp_path) == sorted([*kept, link.name])


def test_a_folder_that_is_swept_as_soon_as_it_is_made_is_made_again(tmp_path, monkeypatch):
    """As by another process, before it is locked."""
    real, made = os.mkdir, []

    def mkdir(name, *arguments, **options):
        real(name, *arguments, **options)
        made.append(name)
        if len(made) < 3:
            os.rmdir(name, dir_fd=options["dir_fd"])

    monkeypatch.setattr(os, "mkdir", mkdir)
    with open_folder(tmp_path) as folder:
        name, handle = locked_folder(folder)
        os.close(handle)
    assert made[2:] == [name]
    assert inside(tmp_path) == [name]
