"""Each command, as users meet it: what it prints where, its exit code, and what it leaves on the disk."""

import json
import os
import resource
import signal
import subprocess
import sys
import time
from contextlib import suppress
from pathlib import Path

import numpy as np
import pytest
from bbcodec.cli.main import main
from fake_codec import fake_content, load_fake
from PIL import Image

from bbcodec import coding

SCRIPT = str(Path(sys.executable).parent / "bbcodec")


@pytest.fixture
def folder(tmp_path) -> Path:
    top = tmp_path / "in"
    (top / "sub").mkdir(parents=True)
    for number in range(3):
        pixels = np.cumsum(np.full((20, 20), number + 1), axis=1).astype(np.uint8)
        Image.fromarray(pixels).save(top / f"{number}.png")
    (top / "sub" / "notes.txt").write_text("hello")
    return top


@pytest.fixture
def archive(folder, tmp_path) -> Path:
    assert main(["compress", str(folder), "-o", str(tmp_path / "a.bb"), "-q", "--codec", "none"]) == 0
    return tmp_path / "a.bb"


@pytest.fixture
def codec(tmp_path, monkeypatch) -> Path:
    monkeypatch.setattr(coding, "load_installed", load_fake)
    path = tmp_path / "mine.bbc"
    path.write_bytes(fake_content(bits_per_dim=1.5))
    return path


def run(*arguments, **options) -> subprocess.CompletedProcess[str]:
    command = [SCRIPT, *map(str, arguments)]
    return subprocess.run(command, capture_output=True, text=True, check=False, timeout=60, **options)


def check_fails(code: int, *arguments, match: str, **options):
    """A real process: one line on stderr, nothing on stdout, this exit code."""
    done = run(*arguments, **options)
    assert (done.returncode, done.stdout) == (code, ""), done.stderr
    assert done.stderr.count("\n") == 1, done.stderr
    assert done.stderr.startswith("bbcodec: ")
    assert match in done.stderr


def names(folder: Path) -> list[str]:
    return sorted(str(path.relative_to(folder)) for path in folder.rglob("*"))


# --- what they do


def test_there_and_back(folder, archive, tmp_path, capsys):
    capsys.readouterr()
    assert main(["decompress", str(archive), "-o", str(tmp_path / "out")]) == 0
    out, err = capsys.readouterr()
    assert out == ""
    assert "4 files (" in err
    assert names(tmp_path / "out") == names(folder)
    for number in range(3):
        with Image.open(folder / f"{number}.png") as one, Image.open(tmp_path / "out" / f"{number}.png") as two:
            assert one.tobytes() == two.tobytes()


def test_compress_tells_sizes_and_ratio(folder, tmp_path, capsys):
    assert main(["compress", str(folder), "-o", str(tmp_path / "a.bb"), "--codec", "none", "--json"]) == 0
    out, err = capsys.readouterr()
    told = json.loads(out)
    assert told.keys() == {"files", "file_bytes", "archive_bytes", "how", "codecs", "skipped"}
    assert told["archive_bytes"] == (tmp_path / "a.bb").stat().st_size
    assert told["file_bytes"] == sum(path.stat().st_size for path in folder.rglob("*") if path.is_file())
    assert told["files"] == sum(told["how"].values()) == 4
    assert f"ratio {told['file_bytes'] / told['archive_bytes']:.2f}" in err
    assert err.count("\n") == 1


def test_quiet_is_quiet(folder, tmp_path, capsys):
    for arguments in (
        ["compress", folder, "-o", tmp_path / "a.bb", "--codec", "none"],
        ["verify", tmp_path / "a.bb"],
        ["decompress", tmp_path / "a.bb", "-o", tmp_path / "out"],
    ):
        assert main([*map(str, arguments), "-q"]) == 0
        assert capsys.readouterr() == ("", "")


def test_list(archive, capsys):
    assert main(["list", str(archive), "--json"]) == 0
    told = json.loads(capsys.readouterr().out)
    assert told.keys() == {"files", "folders", "codecs"}
    first, *_, last = told["files"]
    assert first.keys() == {"name", "width", "height", "mode", "bytes", "how", "stored_bytes"}
    assert (first["name"], first["width"], first["height"], first["mode"]) == ("0.png", 20, 20, "L")
    assert (last["name"], last["width"], last["mode"], last["bytes"], last["how"]) == (
        "sub/notes.txt", None, None, 5, "original",
    )  # fmt: skip
    assert sum(file["stored_bytes"] for file in told["files"]) <= archive.stat().st_size
    assert main(["list", str(archive)]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert [line.split()[-1] for line in lines] == [file["name"] for file in told["files"]]


def test_verify(archive, capsys):
    capsys.readouterr()
    assert main(["verify", str(archive), "--json"]) == 0
    out, err = capsys.readouterr()
    assert json.loads(out)["files"] == 4
    assert "whole" in err


def test_codecs(codec, capsys, monkeypatch):
    from bbcodec.cli import codecs

    from bbcodec.catalogue import parse_codec

    shipped = parse_codec(codec.read_bytes(), "photo-9", shipped=True)
    monkeypatch.setattr(codecs, "shipped_codecs", lambda: (shipped,))
    assert main(["codecs", "--json"]) == 0
    expected = {"name": "photo-9", "model": "fake", "pixels": "L", "bytes": len(codec.read_bytes())}
    assert json.loads(capsys.readouterr().out) == {
        "codecs": [{**expected, "digest": shipped.digest.hex(), "bits_per_dim": 1.5}]
    }
    assert main(["codecs"]) == 0
    assert "photo-9" in capsys.readouterr().out


def test_a_codec_of_ones_own(folder, codec, tmp_path, capsys):
    archive = str(tmp_path / "a.bb")
    assert main(["compress", str(folder), "-o", archive, "--codec", str(codec), "--no-embed-codec", "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["codecs"] == ["mine"]
    assert main(["list", archive, "--json"]) == 0
    (told,) = json.loads(capsys.readouterr().out)["codecs"]
    assert (told["name"], told["embedded"]) == ("mine", False)
    assert main(["decompress", archive, "-o", str(tmp_path / "no")]) == 7
    assert "needs the codec 'mine'" in capsys.readouterr().err
    assert not (tmp_path / "no").exists()
    assert main(["decompress", archive, "-o", str(tmp_path / "out"), "--codec", str(codec)]) == 0
    assert names(tmp_path / "out") == names(folder)


def test_links_left_out_are_told_even_when_quiet(folder, tmp_path, capsys):
    (folder / "far").symlink_to("/etc/passwd")
    assert main(["compress", str(folder), "-o", str(tmp_path / "a.bb"), "--codec", "none", "-q"]) == 0
    assert capsys.readouterr().err == f"{folder / 'far'}: a link that points outside, or is not relative: left out\n"


def test_odd_names_are_listed_without_harm(folder, tmp_path):
    (folder / "new\nline\x1b[31m").touch()
    with open(os.fsencode(folder) + b"/\xff", "w"):
        pass
    done = run("compress", folder, "-o", tmp_path / "a.bb", "--codec", "none", env={**os.environ, "LC_ALL": "C"})
    assert done.returncode == 0, done.stderr
    done = run("list", tmp_path / "a.bb", env={**os.environ, "LC_ALL": "C"})
    assert done.returncode == 0
    assert "new\\nline\\x1b[31m" in done.stdout


def test_help_and_progress_do_not_mix_with_data(folder, tmp_path):
    done = run("compress", folder, "-o", tmp_path / "a.bb", "--codec", "none", "--json")
    assert json.loads(done.stdout)["files"] == 4
    assert "\x1b" not in done.stderr


# --- how they fail, each as a real process


def test_inputs_that_are_not_there(tmp_path):
    check_fails(3, "compress", tmp_path / "nope", "-o", tmp_path / "a.bb", match="there is no file or folder")
    check_fails(3, "list", tmp_path / "nope", match="No such file")
    check_fails(3, "verify", tmp_path, match="cannot be read")
    (tmp_path / "empty").mkdir()
    check_fails(3, "compress", tmp_path / "empty", "-o", tmp_path / "a.bb", match="is empty")
    assert names(tmp_path) == ["empty"]


@pytest.mark.skipif(os.geteuid() == 0, reason="root may read every file")
def test_an_unreadable_file(folder, tmp_path):
    (folder / "0.png").chmod(0)
    check_fails(3, "compress", folder, "-o", tmp_path / "a.bb", match="0.png cannot be read")
    assert names(tmp_path) == sorted(["in", *(f"in/{name}" for name in names(folder))])


def test_a_file_that_cannot_be_read(folder, tmp_path, capsys, monkeypatch):
    """The same for root: the read itself fails."""

    def refusing(path, *_):
        raise OSError(5, "Input/output error", path)

    monkeypatch.setattr(coding, "open", refusing, raising=False)
    assert main(["compress", str(folder), "-o", str(tmp_path / "a.bb"), "--codec", "none"]) == 3
    assert "cannot be read: Input/output error" in capsys.readouterr().err
    assert not (tmp_path / "a.bb").exists()


def test_files_that_are_no_archives(tmp_path):
    (tmp_path / "empty").touch()
    Image.new("L", (3, 3)).save(tmp_path / "image.png")
    for command in ("list", "verify"):
        check_fails(10, command, tmp_path / "empty", match="is empty")
        check_fails(10, command, tmp_path / "image.png", match="not a bbcodec archive")
    check_fails(10, "decompress", tmp_path / "image.png", "-o", tmp_path / "out", match="not a bbcodec archive")
    assert not (tmp_path / "out").exists()


def test_archives_cut_anywhere(archive, tmp_path, capsys):
    """In this process, at every length; the code is 10 within the magic and 11 after it."""
    data = archive.read_bytes()
    for length in range(len(data)):
        archive.write_bytes(data[:length])
        assert main(["decompress", str(archive), "-o", str(tmp_path / "out")]) == (11 if length else 10)
        assert capsys.readouterr().err.count("\n") == 1
    assert not (tmp_path / "out").exists()


def test_archives_changed_anywhere(archive, folder, tmp_path, capsys):
    """In this process, at every byte: an error of the right kind, and whatever is restored is right."""
    data = archive.read_bytes()
    assert main(["decompress", str(archive), "-o", str(tmp_path / "right")]) == 0
    right = {path.name: path.read_bytes() for path in (tmp_path / "right").rglob("*") if path.is_file()}
    capsys.readouterr()
    for place in range(len(data)):
        changed = bytearray(data)
        changed[place] ^= 0x20
        archive.write_bytes(changed)
        target = tmp_path / f"out{place}"
        assert main(["decompress", str(archive), "-o", str(target)]) in ((10, 12) if place < 9 else (11,)), place
        assert capsys.readouterr().err.count("\n") == 1
        found = {path.name: path.read_bytes() for path in target.rglob("*") if path.is_file()}
        assert found.items() <= right.items()


def test_a_changed_archive_as_a_process(archive, tmp_path):
    data = bytearray(archive.read_bytes())
    data[30] ^= 1
    archive.write_bytes(data)
    check_fails(11, "verify", archive, match="files are damaged")
    check_fails(11, "decompress", archive, "-o", tmp_path / "out", match="all others were restored")


def test_a_missing_codec(folder, tmp_path):
    check_fails(7, "compress", folder, "-o", tmp_path / "a.bb", "--codec", "nope-1", match="neither a shipped codec")
    (tmp_path / "bad.bbc").write_text("not a codec")
    check_fails(
        14, "compress", folder, "-o", tmp_path / "a.bb", "--codec", tmp_path / "bad.bbc", match="not a codec file"
    )
    assert not (tmp_path / "a.bb").exists()


def test_existing_targets(folder, archive, tmp_path):
    before = archive.read_bytes()
    check_fails(4, "compress", folder, "-o", archive, "--codec", "none", match="--force")
    assert archive.read_bytes() == before
    check_fails(4, "decompress", archive, "-o", folder, match="exists")
    assert run("compress", folder, "-o", archive, "--codec", "none", "--force").returncode == 0
    assert run("decompress", archive, "-o", folder, "-f").returncode == 0


def test_names_that_are_not_there(archive, tmp_path):
    check_fails(6, "decompress", archive, "-o", tmp_path / "out", "nope.png", match="no file 'nope.png'")


def test_names_that_would_leave_the_folder(archive, tmp_path):
    (tmp_path / "out").mkdir()
    (tmp_path / "else").mkdir()
    (tmp_path / "out" / "sub").symlink_to(tmp_path / "else")
    check_fails(13, "decompress", archive, "-o", tmp_path / "out", match="is a link")
    assert names(tmp_path / "out") == ["sub"]
    assert names(tmp_path / "else") == []


def limit_file_size():
    resource.setrlimit(resource.RLIMIT_FSIZE, (2000, 2000))


def test_a_full_disk(tmp_path):
    """A limit on file sizes stands for the end of the disk: the write fails in the middle."""
    (tmp_path / "in").mkdir()
    (tmp_path / "in" / "noise").write_bytes(np.random.default_rng(0).bytes(50000))
    archive, out = tmp_path / "a.bb", tmp_path / "out"
    compress = ["compress", tmp_path / "in", "-o", archive, "--codec", "none"]
    check_fails(5, *compress, match="cannot be written", preexec_fn=limit_file_size)
    assert names(tmp_path) == ["in", "in/noise"]
    assert run(*compress).returncode == 0
    check_fails(5, "decompress", archive, "-o", out, match="cannot be written", preexec_fn=limit_file_size)
    assert not out.exists()


def test_targets_that_cannot_be_written(folder, archive, tmp_path):
    (tmp_path / "file").touch()
    check_fails(5, "compress", folder, "-o", tmp_path / "file" / "a.bb", match="cannot be written")
    check_fails(5, "compress", folder, "-o", tmp_path / "no" / "a.bb", match="cannot be written")
    check_fails(5, "decompress", archive, "-o", tmp_path / "file" / "out", match="cannot be written")
    check_fails(5, "compress", folder, "-o", tmp_path, match="is a folder")


def long_work(tmp_path, jobs):
    """A command that compresses photos of noise for some seconds."""
    (tmp_path / "in").mkdir()
    noise = np.random.default_rng(0).integers(0, 256, (24, 500, 500, 3)).astype(np.uint8)
    for number, pixels in enumerate(noise):
        Image.fromarray(pixels).save(tmp_path / "in" / f"{number}.png")
    source, target = str(tmp_path / "in"), str(tmp_path / "a.bb")
    return [SCRIPT, "compress", source, "-o", target, "--codec", "none", "--jobs", jobs]


@pytest.mark.parametrize("jobs", ["1", "2"])
def test_ctrl_c_leaves_nothing(tmp_path, jobs):
    """Sent to the whole group, as a terminal does: one line, code 130, no file, no process."""
    arguments = long_work(tmp_path, jobs)
    before = names(tmp_path)
    check_interrupted(arguments, tmp_path, lambda: any(tmp_path.glob(".a.bb.*")))
    assert names(tmp_path) == before
    assert main([*arguments[1:], "--no-verify", "-q"]) == 0
    before = names(tmp_path)
    arguments = [SCRIPT, "decompress", str(tmp_path / "a.bb"), "-o", str(tmp_path / "out"), "--jobs", jobs]
    check_interrupted(arguments, tmp_path, lambda: any((tmp_path / "out").glob(".bbcodec-*")))
    assert names(tmp_path) == before


def test_workers_end_with_a_process_that_is_killed(tmp_path):
    arguments = long_work(tmp_path, "2")
    process = subprocess.Popen(arguments, stderr=subprocess.DEVNULL, start_new_session=True)
    end = time.monotonic() + 30
    while group_size(process.pid) < 3 and time.monotonic() < end:
        time.sleep(0.02)
    assert group_size(process.pid) >= 3
    process.kill()
    process.wait()
    end = time.monotonic() + 20
    while group_is_alive(process.pid) and time.monotonic() < end:
        time.sleep(0.05)
    assert not group_is_alive(process.pid)


def group_size(group: int) -> int:
    size = 0
    for path in Path("/proc").glob("[0-9]*/stat"):
        with suppress(OSError):  # it ended meanwhile
            size += int(path.read_text().rpartition(")")[2].split()[2]) == group
    return size


def check_interrupted(arguments, folder, begun):
    process = subprocess.Popen(
        arguments,
        stderr=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        start_new_session=True,
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),  # shells let background jobs ignore it
    )
    end = time.monotonic() + 30
    while not begun() and time.monotonic() < end and process.poll() is None:
        time.sleep(0.005)
    time.sleep(0.2)
    os.killpg(process.pid, signal.SIGINT)
    out, err = process.communicate(timeout=30)
    assert (process.returncode, out, err.strip()) == (130, "", "bbcodec: interrupted")
    end = time.monotonic() + 10
    while group_is_alive(process.pid) and time.monotonic() < end:
        time.sleep(0.05)
    assert not group_is_alive(process.pid)


def group_is_alive(group: int) -> bool:
    try:
        os.killpg(group, 0)
    except ProcessLookupError:
        return False
    return True
