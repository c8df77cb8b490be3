"""Each command, as users meet it: what it prints where, its exit code, and what it leaves on the disk."""

import io
import itertools
import json
import os
import pty
import re
import resource
import signal
import subprocess
import sys
import time
from collections import Counter
from contextlib import suppress
from pathlib import Path

import numpy as np
import pytest
from fake_codec import fake_content, familiar, load_fake
from PIL import Image

from bbcodec import input_files
from bbcodec.archive import compress as compressing
from bbcodec.archive.format.chunks import DIRECTORY
from bbcodec.archive.format.container import ContainerReader
from bbcodec.cli.main import main
from bbcodec.codec import pool as workers

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
    monkeypatch.setattr(workers, "load_content", load_fake)
    path = tmp_path / "mine.bbc"
    path.write_bytes(fake_content(bits_per_dim=1.5))
    return path


def run(*arguments, **options) -> subprocess.CompletedProcess[str]:
    command = [SCRIPT, *map(str, arguments)]
    return subprocess.run(command, capture_output=True, text=True, check=False, timeout=60, **options)


def run_bytes(*arguments, **options) -> subprocess.CompletedProcess[bytes]:
    command = [SCRIPT, *map(str, arguments)]
    return subprocess.run(command, capture_output=True, check=False, timeout=60, **options)


def listed(archive: bytes) -> list[bytes]:
    return run_bytes("list", "-", input=archive).stdout.splitlines()


def on_terminal(*arguments) -> tuple[int, str]:
    """Exit code and output of a process that has a terminal."""
    pid, terminal = pty.fork()
    if pid == 0:
        os.execv(SCRIPT, [SCRIPT, *map(str, arguments)])
    text = b""
    with suppress(OSError):  # the end, on Linux
        while piece := os.read(terminal, 2**16):
            text += piece
    os.close(terminal)
    return os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]), text.decode()


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
    assert told.keys() == {
        "files", "file_bytes", "archive_bytes", "how", "codecs", "skipped", "changed", "lost", "adapted", "folders",
        "copies", "rewritten",
    }  # fmt: skip
    assert (told["folders"], told["copies"], told["rewritten"]) == (1, 0, 3)
    assert told["archive_bytes"] == (tmp_path / "a.bb").stat().st_size
    assert told["file_bytes"] == sum(path.stat().st_size for path in folder.rglob("*") if path.is_file())
    assert told["files"] == sum(told["how"].values()) == 4
    closing, note = err.splitlines()
    assert f"ratio {told['file_bytes'] / told['archive_bytes']:.2f}" in closing
    assert (
        note == "3 files will be restored with identical images but different checksums; --exact-files keeps the bytes"
    )


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
    assert told.keys() == {"files", "folders", "codecs", "needs", "rebuilt"}
    assert (told["folders"], told["needs"], told["rebuilt"]) == (["sub"], [], "")
    first, *_, last = told["files"]
    assert first.keys() == {"name", "width", "height", "mode", "bytes", "how", "stored_bytes", "copy_of"}
    assert (first["name"], first["width"], first["height"], first["mode"]) == ("0.png", 20, 20, "L")
    assert (last["name"], last["width"], last["mode"], last["bytes"], last["how"]) == (
        "sub/notes.txt", None, None, 5, "original",
    )  # fmt: skip
    assert sum(file["stored_bytes"] for file in told["files"]) <= archive.stat().st_size
    assert main(["list", str(archive)]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert [line.split()[-1] for line in lines] == [*(file["name"] for file in told["files"]), "sub/"]


def test_verify(archive, capsys):
    capsys.readouterr()
    assert main(["verify", str(archive), "--json"]) == 0
    out, err = capsys.readouterr()
    assert json.loads(out)["files"] == 4
    assert "intact" in err


def test_codecs(codec, capsys, monkeypatch):
    from bbcodec.cli import codecs
    from bbcodec.codec.catalogue import parse_codec

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
    Image.fromarray(familiar(40, 40)[:, :, 0]).save(folder / "familiar.png")
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


def test_links_that_lead_out_are_left_out_and_told_even_when_quiet(folder, tmp_path, capsys):
    (folder / "far").symlink_to("/nowhere")
    (folder / "near").symlink_to("0.png")
    archive = str(tmp_path / "a.bb")
    assert main(["compress", str(folder), "-o", archive, "--codec", "none", "-q"]) == 0
    assert capsys.readouterr().err == ""
    assert main(["decompress", archive, "-o", str(tmp_path / "out"), "-q"]) == 0
    told = "'far' links to '/nowhere', out of the folder: left out (--unsafe-links makes it)\n"
    assert capsys.readouterr().err == told
    assert names(tmp_path / "out") == [name for name in names(folder) if name != "far"]
    assert os.readlink(tmp_path / "out" / "near") == "0.png"
    assert main(["decompress", archive, "-o", str(tmp_path / "all"), "-q", "--unsafe-links"]) == 0
    assert capsys.readouterr().err == ""
    assert os.readlink(tmp_path / "all" / "far") == "/nowhere"


def test_exact_files(folder, tmp_path, capsys):
    archive = str(tmp_path / "a.bb")
    np.savez_compressed(folder / "z.npz", a=np.zeros((50, 8, 8), np.uint8))
    assert main(["compress", str(folder), "-o", archive, "--codec", "none", "--exact-files"]) == 0
    assert "checksums" not in capsys.readouterr().err
    assert main(["decompress", archive, "-o", str(tmp_path / "out"), "-q"]) == 0
    for name in ("0.png", "1.png", "2.png", "z.npz"):
        assert (tmp_path / "out" / name).read_bytes() == (folder / name).read_bytes()


def test_names_are_left_out(folder, tmp_path, capsys):
    archive = str(tmp_path / "a.bb")
    exclude = ["--exclude", "[01].png", "--exclude", "sub"]
    assert main(["compress", str(folder), "-o", archive, "--codec", "none", "-q", *exclude]) == 0
    assert main(["list", archive]) == 0
    assert [line.split()[-1] for line in capsys.readouterr().out.splitlines()] == ["2.png"]


def test_jpegxl_is_told_as_a_need(folder, tmp_path, capsys):
    pytest.importorskip("imagecodecs", reason="JPEG XL is optional")
    i, j, random = *np.mgrid[:128, :128], np.random.default_rng(0)
    level = (np.sin(i / 17) + np.cos(j / 11) + random.normal(2.5, 0.15, i.shape)).clip(0, 4.99) / 5 * 16
    colours = np.sort(random.integers(0, 256, (16, 3)), 0).astype(np.uint8)  # few: as JPEG XL codes best
    Image.fromarray(colours[level.astype(int)]).save(folder / "9.png")
    archive = str(tmp_path / "a.bb")
    assert main(["compress", str(folder), "-o", archive, "--codec", "none", "-q", "--jpegxl"]) == 0
    assert main(["list", archive]) == 0
    out, err = capsys.readouterr()
    assert "jpegxl" in out
    assert err == "needs the package imagecodecs, for JPEG XL\n"
    assert main(["verify", archive, "-q"]) == 0


def test_copies_are_told(folder, tmp_path, capsys):
    (folder / "9.png").write_bytes((folder / "0.png").read_bytes())
    archive = str(tmp_path / "a.bb")
    assert main(["compress", str(folder), "-o", archive, "--codec", "none"]) == 0
    assert "; 1 copy)" in capsys.readouterr().err
    assert main(["list", archive]) == 0
    assert "9.png (copy of 0.png)" in capsys.readouterr().out
    assert main(["list", archive, "--json"]) == 0
    told = {file["name"]: file["copy_of"] for file in json.loads(capsys.readouterr().out)["files"]}
    assert {name for name, first in told.items() if first} == {"9.png"}
    assert told["9.png"] == "0.png"


def test_verbose_tells_how_each_file_is_stored(folder, tmp_path, capsys):
    (folder / "9.png").write_bytes((folder / "0.png").read_bytes())
    (folder / "empty").touch()
    (folder / "near").symlink_to("0.png")
    Image.fromarray(np.random.default_rng(0).integers(0, 256, (30, 30)).astype(np.uint8)).save(folder / "j.gif")
    assert main(["compress", str(folder), "-o", str(tmp_path / "a.bb"), "--codec", "none", "-v"]) == 0
    *lines, _, _ = capsys.readouterr().err.splitlines()
    told = dict(line.split(": ", 1) for line in lines)
    assert told.keys() == set(names(folder)) - {"sub"}
    size = (folder / "0.png").stat().st_size
    assert re.fullmatch(rf"sheet, (\d+) of {size} bytes \(sheet \(\S+\) \1, .*webp \d+, png \d+\)", told["0.png"])
    assert told["9.png"] == "copy of 0.png"
    assert told["near"] == "link"
    assert told["empty"] == "original, 0 of 0 bytes (empty)"
    assert told["j.gif"].endswith("(its pixels would not give this file back (GIF))")
    assert re.fullmatch(r"original, \d of 5 bytes \(not an image\)", told["sub/notes.txt"])


def test_a_codec_that_does_not_pay_is_told_once(folder, codec, tmp_path, capsys):
    """Its own bytes are more than it saves, so all is compressed anew without it: files are told of once."""
    codec.write_bytes(fake_content(bits_per_dim=1.5, noise=os.urandom(5000).hex()))
    Image.fromarray(familiar(40, 40)[:, :, 0]).save(folder / "familiar.png")
    assert main(["compress", str(folder), "-o", str(tmp_path / "a.bb"), "--codec", str(codec), "-v"]) == 0
    err = capsys.readouterr().err
    assert len(re.findall("familiar.png: (webp|predicted|original), ", err)) == 1
    assert err.count("familiar.png") == 1
    assert "the codec mine would take more bytes than it saves: stored without it" in err


def test_copied_streams(folder, archive, tmp_path):
    """An archive from standard input to standard output, and one file of it, as real processes."""
    png = (folder / "0.png").read_bytes()
    pack = ["compress", "-", "--name", "sub/x.png", "--codec", "none", "-q", "-o", "-"]
    done = run_bytes(*pack, input=png)
    assert (done.returncode, done.stderr) == (0, b"")
    assert run_bytes(*pack, input=png).stdout == done.stdout
    assert [name.split()[-1] for name in listed(done.stdout)] == [b"sub/x.png", b"sub/"]
    assert run_bytes("verify", "-", input=done.stdout).stderr.startswith(b"standard input: intact, 1 file ")
    back = run_bytes("decompress", "-", "sub/x.png", "-o", "-", input=done.stdout)
    assert (back.returncode, back.stderr) == (0, b"")
    with Image.open(io.BytesIO(back.stdout)) as one, Image.open(folder / "0.png") as two:
        assert one.tobytes() == two.tobytes()
    several = run_bytes("compress", folder, "-", "--name", "sub/x.png", "--codec", "none", "-o", "-", input=png)
    assert any(line.endswith(b"  sub/x.png (copy of in/0.png)") for line in listed(several.stdout))
    assert run_bytes("decompress", archive, "sub/notes.txt", "-o", "-").stdout == b"hello"


def test_a_file_on_standard_input_keeps_its_time(folder, tmp_path):
    os.utime(folder / "0.png", (1000, 1000))
    with open(folder / "0.png") as stream:
        done = run("compress", "-", "--name", "x.png", "-o", tmp_path / "x.bb", "--codec", "none", "-q", stdin=stream)
    assert done.returncode == 0
    assert run("decompress", tmp_path / "x.bb", "-o", tmp_path / "out", "-q").returncode == 0
    assert (tmp_path / "out" / "x.png").stat().st_mtime == 1000


@pytest.mark.parametrize(
    ("arguments", "match"),
    [
        (["compress", "-", "-o", "a.bb"], "needs --name"),
        (["compress", "x", "-o", "a.bb", "--name", "x"], "not among the inputs"),
        (["compress", "-", "-", "-o", "a.bb", "--name", "x"], "more than once"),
        (["compress", "-", "-o", "a.bb", "--name", "../x"], "expected a relative name"),
        (["compress", "x", "-o", "-", "--json"], "not both"),
        (["compress", "x", "-o", "a.bb", "-q", "-v"], "mutually exclusive"),
        (["compress", "x", "-o", "a.bb", "--fast", "--mix"], "--fast and --mix are mutually exclusive"),
        (["decompress", "a.bb", "-o", "-"], "exactly one name"),
        (["decompress", "a.bb", "-o", "-", "x", "y"], "exactly one name"),
        (["decompress", "a.bb", "-o", "-", "x", "--json"], "exactly one name"),
    ],
)
def test_streams_that_make_no_sense(arguments, match, capsys):
    assert main(arguments) == 2
    out, err = capsys.readouterr()
    assert out == ""
    assert match in err


def test_standard_input_that_is_no_archive(folder, tmp_path):
    for command in (["list", "-"], ["verify", "-"], ["decompress", "-", "-o", str(tmp_path / "out")]):
        done = run_bytes(*command, input=b"text")
        assert (done.returncode, done.stdout) == (10, b"")
        assert done.stderr == b"bbcodec: standard input: the file is not a bbcodec archive\n"
    assert run_bytes("compress", "-", "--name", "x", "-o", "-", "--json", input=b"").returncode == 2


def test_a_terminal_gets_no_archive_and_shows_a_bar(folder, tmp_path, archive):
    """With a terminal as stdout and stderr: a bar while work runs, and nothing that is not text."""
    code, text = on_terminal("compress", folder, "-o", tmp_path / "b.bb", "--codec", "none", "-v")
    assert code == 0, text
    assert "compressing" in text
    assert "sub/notes.txt: original" in text
    assert "ratio" in text
    code, text = on_terminal("compress", folder, "-o", tmp_path / "c.bb", "--codec", "none", "-q")
    assert (code, text) == (0, "")
    for arguments in (["compress", folder, "-o", "-"], ["decompress", archive, "0.png", "-o", "-"], ["list", "-"]):
        code, text = on_terminal(*arguments)
        assert code == 2
        assert "terminal" in text
        assert text.count("\n") == 1
    code, text = on_terminal("list", archive)
    assert code == 0
    assert text.split()[:5] == ["bytes", "stored", "how", "pixels", "name"]


def test_a_reader_that_goes_away(tmp_path):
    """As `bbcodec list big.bb | head -1`: no word, and the code of a broken pipe."""
    (tmp_path / "in").mkdir()
    for number in range(2000):
        (tmp_path / "in" / f"{number:0100}.txt").touch()
    assert main(["compress", str(tmp_path / "in"), "-o", str(tmp_path / "a.bb"), "-q"]) == 0
    with subprocess.Popen(
        [SCRIPT, "list", str(tmp_path / "a.bb")], stdout=subprocess.PIPE, stderr=subprocess.PIPE
    ) as process:
        process.stdout.readline()
        process.stdout.close()
        assert process.stderr.read() == b""
        assert process.wait(120) == 141


def test_an_archive_without_its_end(archive, folder, tmp_path, capsys):
    """Its index is rebuilt: every command says so, and those that cannot know whether all is there exit with 11."""
    archive.write_bytes(archive.read_bytes()[:-10])
    capsys.readouterr()
    assert main(["list", str(archive)]) == 0
    out, err = capsys.readouterr()
    assert out.count("\n") == 5
    assert err.endswith("; the list is of what is left\n")
    assert err.count("\n") == 1
    assert main(["list", str(archive), "--json"]) == 0
    assert "cut short" in json.loads(capsys.readouterr().out)["rebuilt"]
    assert main(["verify", str(archive)]) == 11
    assert "compress them again" in capsys.readouterr().err
    assert main(["decompress", str(archive), "-o", str(tmp_path / "out")]) == 11
    err = capsys.readouterr().err
    assert "cut short" in err
    assert "4 files" in err
    assert names(tmp_path / "out") == names(folder)
    assert main(["decompress", str(archive), "0.png", "-o", str(tmp_path / "one")]) == 0
    assert names(tmp_path / "one") == ["0.png"]


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
    check_fails(9, "compress", folder, "-o", tmp_path / "a.bb", match="0.png: could not be read any more")
    assert (tmp_path / "a.bb").exists()


def test_a_file_that_vanishes_meanwhile_is_named_and_has_an_exit_code(folder, tmp_path, capsys, monkeypatch):
    real = compressing.find_copies

    def find(*given):
        (folder / "0.png").unlink(missing_ok=True)
        return real(*given)

    monkeypatch.setattr(compressing, "find_copies", find)
    assert main(["compress", str(folder), "-o", str(tmp_path / "a.bb"), "--codec", "none"]) == 9
    assert f"{folder / '0.png'}: was removed before it was read: left out" in capsys.readouterr().err
    assert main(["verify", str(tmp_path / "a.bb")]) == 0


def test_a_file_that_cannot_be_read(folder, tmp_path, capsys, monkeypatch):
    """The same for root: the read itself fails."""

    def refusing(path, *_):
        raise OSError(5, "Input/output error", path)

    monkeypatch.setattr(input_files, "open", refusing, raising=False)
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


def restored(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def test_archives_cut_anywhere(archive, tmp_path, capsys):
    """In this process, at every length; the code is 10 within the magic and 11 after it."""
    data = archive.read_bytes()
    assert main(["decompress", str(archive), "-o", str(tmp_path / "right"), "-q"]) == 0
    right, found = restored(tmp_path / "right"), []
    for length in range(len(data)):
        archive.write_bytes(data[:length])
        target = tmp_path / f"out{length}"
        assert main(["decompress", str(archive), "-o", str(target), "-q"]) == (11 if length else 10)
        assert capsys.readouterr().err.count("\n") == 1
        found.append(restored(target).items() if target.exists() else set())
        assert found[-1] <= right.items()
    # The directory chunk comes first, so that the more is left, the more is restored: at last all.
    assert all(len(one) <= len(two) for one, two in itertools.pairwise(found))
    assert (len(found[0]), len(found[-1])) == (0, len(right))


def test_archives_changed_anywhere(archive, tmp_path, capsys):
    """In this process, at every byte: an error of the right kind, and whatever is restored is right.

    No error where all is restored all the same: header and directory chunk are not needed while the index is whole.
    """
    data = archive.read_bytes()
    assert main(["decompress", str(archive), "-o", str(tmp_path / "right")]) == 0
    right = restored(tmp_path / "right")
    capsys.readouterr()
    codes = Counter()
    for place in range(len(data)):
        changed = bytearray(data)
        changed[place] ^= 0x20
        archive.write_bytes(changed)
        target = tmp_path / f"out{place}"
        code = main(["decompress", str(archive), "-o", str(target), "-q"])
        codes[code] += 1
        assert code in ((0,) if place < 13 else (0, 11)), place
        assert capsys.readouterr().err.count("\n") == (code != 0)
        assert restored(target).items() <= right.items()
        assert code or restored(target) == right
        verified = main(["verify", str(archive)])
        assert verified == code if code else verified != 0
        capsys.readouterr()
    assert codes[0] < codes[11]


def test_a_changed_archive_as_a_process(archive, tmp_path):
    data = bytearray(archive.read_bytes())
    with open(archive, "rb") as stream:
        chunk = next(chunk for chunk in ContainerReader(stream).directory.chunks if chunk.type != DIRECTORY)
    data[chunk.offset + 5] ^= 1
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


@pytest.mark.skipif(os.path.exists("/dev/nvidia0"), reason="there is a GPU")
def test_a_device_that_is_not_there(folder, archive, tmp_path):
    check_fails(3, "compress", folder, "-o", tmp_path / "b.bb", "--device", "cuda", match="no device 'cuda'")
    check_fails(3, "verify", archive, "--device", "cuda", match="no device 'cuda'")


def test_no_arguments_show_the_commands(capsys):
    assert main([]) == 2
    out, err = capsys.readouterr()
    assert out == ""
    assert "  compress    Compress image files" in err


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
    noise = np.random.default_rng(0).integers(0, 256, (8, 500, 500, 3)).astype(np.uint8)
    for number, pixels in enumerate(noise):
        Image.fromarray(pixels).save(tmp_path / "in" / f"{number}.png")
    source, target = str(tmp_path / "in"), str(tmp_path / "a.bb")
    return [SCRIPT, "compress", source, "-o", target, "--codec", "none", "--jobs", jobs]


@pytest.fixture(scope="module")
def long_archive(tmp_path_factory):
    """An archive that takes some seconds to decompress."""
    folder = tmp_path_factory.mktemp("long")
    assert main([*long_work(folder, "1")[1:], "--no-verify", "-q"]) == 0
    return folder / "a.bb"


@pytest.mark.parametrize("jobs", ["1", "2"])
def test_ctrl_c_leaves_nothing(tmp_path, jobs, long_archive):
    """Sent to the whole group, as a terminal does: one line, code 130, no file, no process."""
    arguments = long_work(tmp_path, jobs)
    before = names(tmp_path)
    check_interrupted(arguments, tmp_path, writes_unnamed)
    assert names(tmp_path) == before
    arguments = [SCRIPT, "decompress", str(long_archive), "-o", str(tmp_path / "out"), "--jobs", jobs]
    check_interrupted(arguments, tmp_path, lambda _: any((tmp_path / "out").glob(".bbcodec-*")))
    assert names(tmp_path) == before


@pytest.mark.parametrize("jobs", ["1", "2"])
def test_sigterm_leaves_nothing(tmp_path, jobs):
    """Sent to the process alone, as `kill` does: it tidies up, and its workers end."""
    arguments = long_work(tmp_path, jobs)
    before = names(tmp_path)
    check_interrupted(arguments, tmp_path, writes_unnamed, signal.SIGTERM, (143, "bbcodec: terminated"))
    assert names(tmp_path) == before
    temporary = tmp_path / "tmp"
    temporary.mkdir()
    arguments[arguments.index("-o") + 1] = "-"
    check_interrupted(arguments, tmp_path, writes_unnamed, signal.SIGHUP, (129, "bbcodec: terminated"), temporary)
    assert names(temporary) == []


def test_workers_end_with_a_process_that_is_killed(tmp_path):
    """Of a codec that needs PyTorch: other codecs are shared by threads."""
    arguments = long_work(tmp_path, "2")
    arguments[arguments.index("none")] = str(
        Path(__file__).parents[2] / "benchmarks" / "codecs" / "cifar10-attentive-2.bbc"
    )
    process = subprocess.Popen(arguments, stderr=subprocess.DEVNULL, start_new_session=True)
    end = time.monotonic() + 120
    while group_size(process.pid) < 3 and time.monotonic() < end:
        time.sleep(0.02)
    assert group_size(process.pid) >= 3
    process.kill()
    process.wait()
    end = time.monotonic() + 120
    while group_is_alive(process.pid) and time.monotonic() < end:
        time.sleep(0.05)
    assert not group_is_alive(process.pid)


def group_size(group: int) -> int:
    size = 0
    for path in Path("/proc").glob("[0-9]*/stat"):
        with suppress(OSError):  # it ended meanwhile
            size += int(path.read_text().rpartition(")")[2].split()[2]) == group
    return size


def writes_unnamed(pid: int) -> bool:
    """Whether a process has a file open that has no name: the archive that it writes."""
    with suppress(OSError):
        return any("(deleted)" in os.readlink(one) for one in Path(f"/proc/{pid}/fd").iterdir())
    return False


def check_interrupted(arguments, folder, begun, number=signal.SIGINT, told=(130, "bbcodec: interrupted"), tmp=None):
    """Ctrl-C goes to the whole group, other signals to the process alone."""
    process = subprocess.Popen(
        arguments,
        stderr=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        start_new_session=True,
        env={**os.environ, **({"TMPDIR": str(tmp)} if tmp else {})},
        preexec_fn=lambda: signal.signal(number, signal.SIG_DFL),  # shells let background jobs ignore some
    )
    end = time.monotonic() + 120
    while not begun(process.pid) and time.monotonic() < end and process.poll() is None:
        time.sleep(0.005)
    time.sleep(0.2)
    (os.killpg if number == signal.SIGINT else os.kill)(process.pid, number)
    out, err = process.communicate(timeout=120)
    assert (process.returncode, out, err.strip()) == (told[0], "", told[1])
    end = time.monotonic() + 120
    while group_is_alive(process.pid) and time.monotonic() < end:
        time.sleep(0.05)
    assert not group_is_alive(process.pid)


def group_is_alive(group: int) -> bool:
    try:
        os.killpg(group, 0)
    except ProcessLookupError:
        return False
    return True


# --- limits


def test_limits_of_what_an_archive_may_cost(archive, tmp_path, capsys):
    """Each option, below and above what is needed; the message names it."""
    out = str(tmp_path / "out")
    for options, wanted in (
        (["--max-output", "4"], 17), (["--max-memory", "1K"], 17), (["--max-output", "1M", "--max-memory", "1M"], 0)
    ):  # fmt: skip
        assert main(["decompress", str(archive), "-o", out, "-f", "--jobs", "1", *options]) == wanted
        told = capsys.readouterr().err
        assert (f"raise {options[0]}" in told) == (wanted == 17)
    assert main(["verify", str(archive), "--max-memory", "1K"]) == 17
    assert main(["verify", str(archive), "--max-memory", "1G", "--max-work", "1", "--no-embedded-codec"]) == 0
    assert main(["decompress", str(archive), "-o", out, "--max-output", "much"]) == 2
    assert "expected a whole number of bytes" in capsys.readouterr().err


def test_files_are_synced_on_request(archive, tmp_path, monkeypatch):
    synced = []
    monkeypatch.setattr(os, "fsync", synced.append)
    assert main(["decompress", str(archive), "-o", str(tmp_path / "one")]) == 0
    assert synced == []
    assert main(["decompress", str(archive), "-o", str(tmp_path / "two"), "--fsync"]) == 0
    assert len(synced) > 8  # four files, their folders, and those above


def test_append_adds_and_says_so(tmp_path, capsys):
    (tmp_path / "in").mkdir()
    (tmp_path / "in" / "a").write_text("one\n" * 40)
    archive = str(tmp_path / "a.bb")
    words = ["compress", str(tmp_path / "in"), "-o", archive, "--codec", "none"]
    assert main(words) == 0
    (tmp_path / "in" / "b").write_text("two\n" * 40)
    capsys.readouterr()
    assert main([*words, "--append"]) == 0
    err = capsys.readouterr().err
    assert f"1 file is in {archive} already" in err
    assert "1 file (1 original), 160 B added to what are now" in err
    assert main(["verify", archive]) == 0
    (tmp_path / "in" / "b").write_text("three")
    assert main([*words, "--append"]) == 4
    assert "holds another 'b', of 160 bytes" in capsys.readouterr().err
    for more in (["--force"], ["--recovery", "5"]):
        assert main([*words, "--append", *more]) == 2
    assert main(["compress", str(tmp_path / "in"), "-o", "-", "--append"]) == 2
