"""`bbcodec report` as users meet it, with a shipped codec and from standard input."""

import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from pattern_model import codec_content, familiar, load_pattern

import bbcodec
from bbcodec.cli.main import main
from bbcodec.codec import pool as workers

SCRIPT = str(Path(sys.executable).parent / "bbcodec")


@pytest.fixture
def archive(tmp_path, monkeypatch):
    monkeypatch.setattr(workers, "load_content", load_pattern)
    (tmp_path / "pattern.bbc").write_bytes(codec_content())
    np.save(tmp_path / "digits.npy", familiar(120)[..., 0])
    (tmp_path / "notes.txt").write_text("hello\n" * 100)
    inputs = [tmp_path / "digits.npy", tmp_path / "notes.txt"]
    bbcodec.compress(inputs, tmp_path / "a.bb", codec=tmp_path / "pattern.bbc")
    return tmp_path / "a.bb"


def test_text(archive, capsys):
    assert main(["report", str(archive)]) == 0
    out, err = capsys.readouterr()
    assert out.startswith(f"{archive}\n120 images of 30,720 values")
    for words in ("negative ELBO", "other files", "codecs in the archive", "rate of z2", "learned messages"):
        assert words in out
    assert "IWAE" not in out
    assert err.count("\n") == 1


def test_json(archive, capsys):
    assert main(["report", str(archive), "--json", "-q"]) == 0
    out, err = capsys.readouterr()
    data = json.loads(out)
    assert err == ""
    assert data["file_bytes"] == archive.stat().st_size == sum(data["bytes_by_purpose"].values())
    assert data["how"] == {"learned": 1, "original": 1}
    assert data["codecs"][0]["embedded"]
    assert data["peers"] == []


def test_a_page(archive, tmp_path, capsys):
    page = tmp_path / "a.html"
    assert main(["report", str(archive), "--html", str(page), "-q"]) == 0
    assert "From the bounds to the file" in page.read_text()
    assert main(["report", str(archive), "--html", str(page), "-q"]) == 4
    assert main(["report", str(archive), "--html", str(page), "-q", "-f"]) == 0
    assert main(["report", str(archive), "--html", str(tmp_path / "no" / "a.html"), "-q"]) == 5


def test_without_a_learned_image(tmp_path):
    """A process of its own, from standard input."""
    np.save(tmp_path / "a.npy", np.zeros((9, 8, 8), np.uint8))
    bbcodec.compress(tmp_path / "a.npy", tmp_path / "a.bb", codec="none")
    with open(tmp_path / "a.bb", "rb") as stream:
        found = subprocess.run([SCRIPT, "report", "-"], stdin=stream, capture_output=True, text=True, timeout=60)
    assert found.returncode == 0, found.stderr
    assert found.stdout.startswith("standard input\n9 images of 576 values, 0 learned")
    assert "no image is learned" in found.stdout


def test_what_is_no_archive(tmp_path, capsys):
    (tmp_path / "a").write_text("not an archive at all, though it is long enough to be one")
    assert main(["report", str(tmp_path / "a")]) == 10
    assert main(["report", str(tmp_path / "nowhere")]) == 3
    out, err = capsys.readouterr()
    assert out == ""
    assert err.count("\n") == 2


def test_damage(archive, capsys):
    data = bytearray(archive.read_bytes())
    data[len(data) // 2] ^= 1
    archive.write_bytes(data)
    assert main(["report", str(archive)]) == 11
    assert capsys.readouterr().err.count("\n") == 1
