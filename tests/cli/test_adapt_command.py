"""`bbcodec compress --adapt`: a codec learns from the files, and the archive carries what it learned."""

import json
import shutil
import subprocess
import sys
import time

import numpy as np
import pytest
from PIL import Image

import bbcodec

BBCODEC = [sys.executable, "-P", "-c", "from bbcodec.cli.main import run; run()"]
WITHOUT_PREDICTIONS = """
from bbcodec.archive.write import candidates
candidates.CODINGS = tuple(one for one in candidates.CODINGS if one.name != "predicted")
"""
UNPREDICTED = [*BBCODEC[:-1], WITHOUT_PREDICTIONS + BBCODEC[-1]]


def command(*arguments, program=BBCODEC):
    return subprocess.run([*program, *map(str, arguments)], capture_output=True, text=True, timeout=1500)


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """Pictures that share what no photograph has: the third channel follows from the others."""
    folder = tmp_path_factory.mktemp("adapt") / "in"
    folder.mkdir()
    rng = np.random.default_rng(0)
    for n in range(12):
        waves = np.cumsum(rng.normal(0, 3, (2, 144, 144)), 2) + np.cumsum(rng.normal(0, 3, (2, 144, 144)), 1)
        first, second = (waves.clip(-120, 120) + 128).astype(np.uint8)
        third = ((first.astype(int) * 3 + second) // 4).astype(np.uint8)
        Image.fromarray(np.stack([first, second, third], -1)).save(folder / f"{n:02}.png")
    return folder


def check_restored(archive, folder, target):
    assert command("decompress", archive, "-o", target).returncode == 0
    for path in folder.iterdir():
        assert np.array_equal(np.asarray(Image.open(path)), np.asarray(Image.open(target / path.name)))


def test_what_learning_does_not_shorten_it_leaves_as_it_was(folder, tmp_path):
    """Three seconds may be too short here; without predictions, which learn as they go, they seldom are."""
    options = ["--codec", "photo-fast-1", "--json"]
    plain, adapted = tmp_path / "plain.bb", tmp_path / "adapted.bb"
    few = tmp_path / "few"
    few.mkdir()
    for path in sorted(folder.iterdir())[:9]:
        shutil.copy(path, few)
    assert command("compress", few, "-o", plain, *options, program=UNPREDICTED).returncode == 0
    done = command("compress", few, "-o", adapted, *options, "--adapt", 0.05, program=UNPREDICTED)
    assert done.returncode == 0, done.stderr
    (line,) = json.loads(done.stdout)["adapted"]
    assert line.startswith("photo-fast-1 learned for ")
    assert line in done.stderr
    with bbcodec.open(adapted) as archive:
        codecs = [one.name for one in archive.codecs]
    if codecs == ["photo-fast-1, adapted"]:
        assert adapted.stat().st_size < plain.stat().st_size
        assert "not used" not in done.stderr
    else:
        assert adapted.read_bytes() == plain.read_bytes()
        assert "not used" in done.stderr or "stored without it" in done.stderr
    check_restored(adapted, few, tmp_path / "out")


@pytest.mark.slow
def test_a_folder_gets_a_codec_of_its_own(folder, tmp_path):
    """On slow machines too. What it learns saves a twentieth of what predictions, which learn as they go, take."""
    options = ["--codec", "photo-fast-1"]
    plain, adapted = tmp_path / "plain.bb", tmp_path / "adapted.bb"
    assert command("compress", folder, "-o", plain, *options).returncode == 0
    done = command("compress", folder, "-o", adapted, *options, "--adapt", 4)
    assert done.returncode == 0, done.stderr
    assert "not used" not in done.stderr
    assert adapted.stat().st_size < 0.97 * plain.stat().st_size
    with bbcodec.open(adapted) as archive:
        assert [one.name for one in archive.codecs] == ["photo-fast-1, adapted"]
    check_restored(adapted, folder, tmp_path / "out")


@pytest.mark.slow
def test_killed_at_any_moment_it_leaves_no_archive_or_a_whole_one(folder, tmp_path):
    arguments = ["compress", folder, "-o", tmp_path / "a.bb", "--codec", "photo-fast-1", "--adapt", "0.1"]
    start = time.monotonic()
    assert command(*arguments).returncode == 0
    whole, took = (tmp_path / "a.bb").read_bytes(), time.monotonic() - start
    assert whole
    for moment in np.random.default_rng(0).uniform(0, 1.1 * took, 20):
        (tmp_path / "a.bb").unlink(missing_ok=True)
        process = subprocess.Popen([*BBCODEC, *map(str, arguments)], stderr=subprocess.DEVNULL)
        time.sleep(moment)
        process.kill()
        process.wait()
        left = [path.name for path in tmp_path.iterdir()]
        assert left in ([], ["a.bb"])
        if left:
            bbcodec.verify(tmp_path / "a.bb")


@pytest.mark.parametrize("minutes", ["0", "-1", "soon", "nan", "inf"])
def test_minutes_that_are_none_are_refused(folder, tmp_path, minutes):
    done = command("compress", folder, "-o", tmp_path / "a.bb", "--adapt", minutes)
    assert done.returncode == 2
    assert f"expected minutes above 0, or auto, got '{minutes}'" in done.stderr


def test_what_is_learned_has_to_be_embedded(folder, tmp_path):
    done = command("compress", folder, "-o", tmp_path / "a.bb", "--adapt", "1", "--no-embed-codec")
    assert done.returncode == 2
    assert "--adapt and --no-embed-codec are mutually exclusive" in done.stderr
