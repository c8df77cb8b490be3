"""`bbcodec evaluate` as users meet it: what it prints where, its exit codes, and what it leaves on the disk."""

import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from pattern_model import codec_content, familiar, load_pattern
from PIL import Image

from bbcodec.cli.main import main
from bbcodec.codec import pool as workers

SCRIPT = str(Path(sys.executable).parent / "bbcodec")


@pytest.fixture
def codec(tmp_path, monkeypatch):
    monkeypatch.setattr(workers, "load_content", load_pattern)
    path = tmp_path / "pattern.bbc"
    path.write_bytes(codec_content())
    return path


@pytest.fixture
def array(tmp_path):
    np.save(tmp_path / "digits.npy", familiar(120)[..., 0])
    return tmp_path / "digits.npy"


def evaluate(*arguments, code=0):
    assert main(["evaluate", *map(str, arguments), "--jobs", "1", "--device", "cpu"]) == code


def test_text_on_stdout_and_a_line_on_stderr(codec, array, capsys):
    evaluate(codec, array, "--iwae", 10)
    out, err = capsys.readouterr()
    assert out.startswith("pattern on digits.npy\n120 images of 30,720 values, 120 learned in 1 chunk")
    for words in ("IWAE bound, 10 draws", "rate of z1", "WebP, contact sheets", "codec installed"):
        assert words in out
    assert err.count("\n") == 1
    assert "bytes" in err


def test_json_is_all_of_stdout(codec, array, capsys):
    evaluate(codec, array, "--json", "--no-peers", "--iwae", 10, "-q")
    out, err = capsys.readouterr()
    assert err == ""
    data = json.loads(out)
    contract = {
        "images", "dims", "iwae_bits_per_dim", "negative_elbo_bits_per_dim", "account_bits_per_dim", "initial_bits",
        "container_bytes", "file_bytes", "measured_bits_per_dim",
    }  # fmt: skip
    assert contract <= set(data)
    assert data["iwae_bits_per_dim"] < data["negative_elbo_bits_per_dim"] < data["measured_bits_per_dim"]
    assert sum(row["step_units"] for row in data["chain"]) == data["file_bytes"] * 8 * data["units_per_bit"]
    assert data["peers"] == []


def test_the_bound_can_be_left_out_and_its_images_chosen(codec, array, capsys):
    evaluate(codec, array, "--json", "--no-peers", "--iwae", 0)
    assert json.loads(capsys.readouterr().out)["iwae_bits_per_dim"] is None
    evaluate(codec, array, "--json", "--no-peers", "--iwae", 3, "--iwae-images", 7)
    assert json.loads(capsys.readouterr().out)["iwae"]["images"] == 7


def test_a_page_is_written_once_unless_forced(codec, array, tmp_path, capsys):
    page = tmp_path / "page.html"
    evaluate(codec, array, "--no-peers", "--html", tmp_path / "nowhere" / "page.html", code=5)
    assert "there is no folder" in capsys.readouterr().err
    evaluate(codec, array, "--no-peers", "--iwae", 0, "--html", page)
    assert page.read_text().startswith("<!doctype html>")
    assert page.read_text().count("drawn given its latents</figcaption>") == 8
    evaluate(codec, array, "--no-peers", "--iwae", 0, "--html", page, code=4)
    assert "use --force" in capsys.readouterr().err
    page.write_text("old")
    evaluate(codec, array, "--no-peers", "--iwae", 0, "--html", page, "--force")
    assert "digits.npy" in page.read_text()


def test_nothing_but_the_page_is_left(codec, array, tmp_path, monkeypatch):
    scratch = tmp_path / "scratch"
    scratch.mkdir()
    monkeypatch.setattr("tempfile.tempdir", str(scratch))
    before = sorted(path.name for path in tmp_path.iterdir())
    evaluate(codec, array, "--no-peers", "--iwae", 0)
    assert sorted(path.name for path in tmp_path.iterdir()) == before
    assert list(scratch.iterdir()) == []


def test_files_can_be_excluded(codec, array, tmp_path, capsys):
    folder = tmp_path / "in"
    folder.mkdir()
    (folder / "digits.npy").write_bytes(array.read_bytes())
    np.save(folder / "raw.npy", familiar(30, seed=8)[..., 0])
    evaluate(codec, folder, "--json", "--no-peers", "--iwae", 0, "--exclude", "raw*")
    assert json.loads(capsys.readouterr().out)["images"] == 120


@pytest.mark.parametrize(
    ("make", "code", "told"),
    [
        (lambda path: None, 3, "there is no file or folder"),
        (lambda path: path.write_text("no image"), 3, "there is no image to evaluate a codec on"),
        (lambda path: Image.new("RGB", (9, 9), (1, 2, 3)).save(path, "PNG"), 3, "takes images of two levels"),
    ],
)
def test_data_that_cannot_be_measured_gets_one_line(codec, tmp_path, capsys, make, code, told):
    make(tmp_path / "data")
    evaluate(codec, tmp_path / "data", "--no-peers", code=code)
    out, err = capsys.readouterr()
    assert out == ""
    assert err.startswith("bbcodec: ")
    assert err.count("\n") == 1
    assert told in err


def test_wrong_codecs_and_options(array, tmp_path, capsys):
    evaluate("nowhere", array, code=7)
    (tmp_path / "x.bbc").write_bytes(b"x")
    evaluate(tmp_path / "x.bbc", array, code=14)
    evaluate("photo-3", code=2)
    evaluate("photo-3", array, "--iwae", "-1", code=2)
    assert "bbcodec:" in capsys.readouterr().err


def test_help_tells_the_options():
    out = subprocess.run([SCRIPT, "evaluate", "--help"], capture_output=True, text=True, check=True, timeout=60).stdout
    for option in ("--iwae", "--iwae-images", "--no-peers", "--html", "--json", "--device", "--exclude", "--quiet"):
        assert option in out
