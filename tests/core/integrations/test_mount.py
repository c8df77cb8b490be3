"""Archives as folders: what FUSE is told of the files, and, where it is there, what the system then sees."""

import errno
import os
import shutil
import signal
import stat
import subprocess
import sys
import threading
import time
from pathlib import Path

import numpy as np
import pytest
from folders import make_folder

import bbcodec
from bbcodec.archive.file_system import ArchiveFileSystem
from bbcodec.cli.main import main
from bbcodec.errors import OutputError
from bbcodec.integrations import mount as module
from bbcodec.integrations.mount import ArchiveOperations, mount

SCRIPT = str(Path(sys.executable).parent / "bbcodec")


# An empty folder through FUSE, by nothing of bbcodec.
PROBE = """
import stat, sys, mfusepy
class Nothing:
    use_ns = True
    def getattr(self, path, fh=None): return {"st_mode": stat.S_IFDIR | 0o755, "st_nlink": 2}
mfusepy.FUSE(Nothing(), sys.argv[1], foreground=True)
"""


@pytest.fixture(scope="module")
def fuse(tmp_path_factory) -> str:
    """The program that unmounts. Skips where the machine mounts nothing."""
    place = tmp_path_factory.mktemp("probe")
    program = shutil.which("fusermount") or shutil.which("fusermount3")
    if program is None:
        pytest.skip("FUSE is not installed: no fusermount")
    with subprocess.Popen([sys.executable, "-c", PROBE, place], stderr=subprocess.PIPE, text=True) as probe:
        try:
            if not wait_until(lambda: os.path.ismount(place) or probe.poll() is not None) or probe.poll() is not None:
                pytest.skip(f"nothing can be mounted here: {probe.stderr.read().strip().splitlines()[-1:]}")
            subprocess.run([program, "-u", place], check=True)
        finally:
            probe.kill()
    return program


def wait_until(true, seconds=30) -> bool:
    """Whether something is true before long."""
    end = time.monotonic() + seconds
    while not true() and time.monotonic() < end:
        time.sleep(0.05)
    return bool(true())


@pytest.fixture(scope="module")
def packed(tmp_path_factory) -> tuple[Path, Path]:
    """A folder of one of everything as it is restored, and its archive."""
    top = tmp_path_factory.mktemp("mounted")
    make_folder(top / "in")
    for path in (top / "in").rglob("*"):
        if path.is_symlink():
            path.unlink()
    (top / "in" / "odd \udcff name").write_bytes(b"odd")
    bbcodec.compress(top / "in", top / "out.bb", codec="none")
    bbcodec.decompress(top / "out.bb", top / "back")
    return top / "back", top / "out.bb"


@pytest.fixture
def operations(packed):
    return ArchiveOperations(ArchiveFileSystem(packed[1]))


def content(operations, path):
    handle = operations.open(path, os.O_RDONLY)
    try:
        return b"".join(iter_parts(operations, path, handle))
    finally:
        operations.release(path, handle)


def iter_parts(operations, path, handle, step=100):
    for offset in range(0, 2**18, step):
        part = operations.read(path, step, offset, handle)
        if not part:
            return
        yield part


def test_everything_is_as_it_is_restored(operations, packed):
    seen = []
    for folder, folders, files in os.walk(packed[0]):
        place = "/" + os.path.relpath(folder, packed[0]).removeprefix(".")
        assert sorted(operations.readdir(place)) == sorted([".", "..", *folders, *files])
        assert stat.S_ISDIR(operations.getattr(place)["st_mode"])
        for name in files:
            path, real = f"{place.rstrip('/')}/{name}", Path(folder, name)
            about = operations.getattr(path)
            assert about["st_size"] == real.stat().st_size  # also of files with other bytes than they had
            assert about["st_mode"] == stat.S_IFREG | real.stat().st_mode & 0o555
            assert abs(about["st_mtime"] - real.stat().st_mtime_ns) < 1000
            assert content(operations, path) == real.read_bytes()
            seen.append(path)
    assert len(seen) > 15
    assert operations._open == {}


def test_sizes_are_of_what_is_read(operations, packed):
    with bbcodec.open(packed[1]) as archive:
        said = {entry.name: entry.size for entry in archive.files}
    assert said[b"alpha.png"] != operations.getattr("/alpha.png")["st_size"]  # or the test above shows nothing


def test_what_is_not_there_or_not_for_writing(operations):
    for call in (operations.getattr, operations.readdir, lambda path: operations.open(path, os.O_RDONLY)):
        with pytest.raises(OSError, match="No such file") as caught:
            call("/nothing")
        assert caught.value.errno == errno.ENOENT
    for flags in (os.O_WRONLY, os.O_RDWR):
        with pytest.raises(OSError, match="Read-only") as caught:
            operations.open("/notes.txt", flags)
        assert caught.value.errno == errno.EROFS
    with pytest.raises(IsADirectoryError):
        operations.open("/grey", os.O_RDONLY)


def test_damaged_files_cannot_be_read(packed, tmp_path):
    with bbcodec.open(packed[1]) as archive:
        chunk = archive._file.chunk(next(one for one in archive.files if one.name == b"notes.txt").content[0])
    data = bytearray(packed[1].read_bytes())
    data[chunk.offset + chunk.length // 2] ^= 1
    (tmp_path / "out.bb").write_bytes(data)
    lines = []
    operations = ArchiveOperations(ArchiveFileSystem(tmp_path / "out.bb"), lines.append)
    with pytest.raises(OSError, match="Input/output error") as caught:
        operations.open("/notes.txt", os.O_RDONLY)
    assert caught.value.errno == errno.EIO
    assert len(lines) == 1
    assert "damaged" in lines[0]


def test_what_is_kept_is_bounded(operations, monkeypatch):
    monkeypatch.setattr(module, "KEPT_BYTES", 2000)
    for name in operations.readdir("/grey")[2:]:
        assert content(operations, f"/grey/{name}")
        assert sum(map(len, operations._kept.values())) <= 2000
    assert operations._kept


def test_threads_read_at_once(operations, packed):
    names = [path.relative_to(packed[0]).as_posix() for path in packed[0].rglob("*.png")]
    wrong = []

    def look():
        wrong.extend(name for name in names if content(operations, f"/{name}") != (packed[0] / name).read_bytes())

    threads = [threading.Thread(target=look) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert wrong == []


# --- the command -----------------------------------------------------------------------------------------------------


def test_without_the_package(packed, tmp_path, monkeypatch, capsys):
    monkeypatch.setitem(sys.modules, "mfusepy", None)
    assert main(["mount", str(packed[1]), str(tmp_path)]) == 18
    assert capsys.readouterr().err == ("bbcodec: mounting an archive needs the package mfusepy: pip install mfusepy\n")


def test_without_fuse(packed, tmp_path, monkeypatch, capsys):
    def fails(*arguments):
        raise OSError("Unable to find libfuse")

    monkeypatch.setattr(module, "required", fails)
    assert main(["mount", str(packed[1]), str(tmp_path)]) == 18
    assert "needs the package fuse3 of the system" in capsys.readouterr().err
    monkeypatch.undo()
    monkeypatch.setattr(module, "_fuse", lambda: None)
    monkeypatch.setattr(module, "DEVICE", str(tmp_path / "none"))
    with pytest.raises(OutputError, match="none, which mounting takes, cannot be opened: No such file"):
        mount(packed[1], tmp_path)


def test_on_what_is_no_empty_folder(packed, tmp_path, monkeypatch):
    monkeypatch.setattr(module, "_fuse", lambda: None)
    (tmp_path / "file").touch()
    for place in (tmp_path, tmp_path / "file", tmp_path / "nothing"):
        with pytest.raises(OutputError, match="expected an empty folder"):
            mount(packed[1], place)


@pytest.mark.parametrize("stop", ["interrupt", "terminate", "unmount"])
def test_a_mounted_archive(stop, packed, fuse, tmp_path):
    """A process of its own; what the system reads is what is restored, and nothing is mounted at the end."""
    place = tmp_path / "mounted"
    place.mkdir()
    with subprocess.Popen([SCRIPT, "mount", packed[1], place], stderr=subprocess.PIPE, text=True) as process:
        try:
            assert process.stderr.readline().startswith(f"{place}: mounted")
            assert wait_until(lambda: os.path.ismount(place))
            if stop == "interrupt":
                wanted = {path.relative_to(packed[0]): path for path in packed[0].rglob("*")}
                assert {path.relative_to(place) for path in place.rglob("*")} == set(wanted)
                for name, path in wanted.items():
                    assert path.is_dir() or (place / name).read_bytes() == path.read_bytes()
                assert np.array_equal(np.load(place / "stack.npy", mmap_mode="r"), np.load(packed[0] / "stack.npy"))
                with pytest.raises(OSError, match="Read-only"):
                    (place / "new").touch()
                assert not (place / "nothing").exists()
                process.send_signal(signal.SIGINT)
            elif stop == "terminate":
                process.terminate()
            else:
                subprocess.run([fuse, "-u", place], check=True)
            assert process.wait(30) == 0
            assert process.stderr.read() == ""
            assert not os.path.ismount(place)
        finally:
            process.kill()
