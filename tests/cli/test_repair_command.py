"""`bbcodec repair` and `compress --recovery`, as users meet them."""

import json

import numpy as np
import pytest

from bbcodec.cli.main import main

pytest.importorskip("zfec", reason="recovery data are optional")


@pytest.fixture
def archive(tmp_path):
    np.save(tmp_path / "a.npy", np.random.default_rng(0).integers(0, 256, 200_000, np.uint8))
    assert main(["compress", str(tmp_path / "a.npy"), "-o", str(tmp_path / "a.bb"), "-q", "--recovery", "10"]) == 0
    return tmp_path / "a.bb"


def test_a_damaged_archive_is_made_whole(archive, tmp_path, capsys):
    good = archive.read_bytes()
    archive.write_bytes(good[:1000] + bytes(10_000) + good[11_000:])
    assert main(["verify", str(archive), "-q"]) == 11
    capsys.readouterr()
    assert main(["repair", str(archive), "-o", str(tmp_path / "b.bb")]) == 0
    out, err = capsys.readouterr()
    assert out == ""
    assert err.endswith("b.bb: 4 blocks of 79 made whole\n")
    assert (tmp_path / "b.bb").read_bytes() == good != archive.read_bytes()
    assert main(["repair", str(archive), "-o", str(tmp_path / "b.bb")]) == 4
    assert main(["repair", str(archive), "--json", "-q"]) == 0
    assert json.loads(capsys.readouterr().out) == {"blocks": 79, "mended": 4, "taken_back": False}
    assert archive.read_bytes() == good
    assert main(["repair", str(archive)]) == 0
    assert capsys.readouterr().err.endswith("a.bb: already whole\n")
    assert main(["verify", str(archive), "-q"]) == 0


def test_what_cannot_be_repaired_is_told_in_a_line(archive, tmp_path, capsys):
    good = archive.read_bytes()
    archive.write_bytes(good[:1000] + bytes(100_000) + good[101_000:])
    assert main(["repair", str(archive), "-o", str(tmp_path / "b.bb")]) == 11
    assert capsys.readouterr().err.count("\n") == 1
    assert main(["repair", str(tmp_path / "a.npy")]) == 11
    assert main(["repair", str(tmp_path / "nope.bb")]) == 3
    assert not (tmp_path / "b.bb").exists()


@pytest.mark.parametrize("percent", ["0", "101", "x", "5%"])
def test_percentages_are_checked(tmp_path, percent):
    assert main(["compress", str(tmp_path), "-o", str(tmp_path / "a.bb"), "--recovery", percent]) == 2
