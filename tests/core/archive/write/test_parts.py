"""Finished parts: a job that was stopped goes on, makes the archive that it would have made, and trusts no part."""

import os
import pickle
import random
import subprocess
import sys
import time
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context
from pathlib import Path

import fsspec
import numpy as np
import pytest
from fake_codec import familiar
from folders import save
from PIL import Image

import bbcodec
from bbcodec.archive.write import parts as keeping
from bbcodec.archive.write import tasks as planning
from bbcodec.cli.main import main
from bbcodec.errors import InputError, OutputError

BBCODEC = [sys.executable, "-P", "-c", "from bbcodec.cli.main import run; run()"]


@pytest.fixture
def folder(tmp_path, monkeypatch) -> Path:
    """Tasks of every kind: small images of many sizes, a large one in tiles, an array in parts, JPEG, bytes."""
    monkeypatch.setattr(planning, "TILE_PIXELS", 2**11)
    monkeypatch.setattr(planning, "GROUP_VALUES", 5000)
    top = tmp_path / "in"
    for number in range(8):
        save(top / "many" / f"{number:02}.png", familiar(12, 12 + number, 3, seed=number))
    Image.fromarray(familiar(60, 100, 3)).save(top / "large.png")
    Image.fromarray(familiar(40, 40, 3)).save(top / "photo.jpg")
    np.save(top / "array.npy", np.random.default_rng(0).integers(0, 9, (20, 28, 28)).astype(np.uint8))
    (top / "notes.txt").write_text("hello")
    return top


class Counting:
    """`encode_task` that counts, and is stopped at some call."""

    def __init__(self, monkeypatch) -> None:
        self.inner, self.calls, self.stop_at = keeping.encode_task, 0, -1
        monkeypatch.setattr(keeping, "encode_task", self)

    def __call__(self, pool, task):
        if self.calls == self.stop_at:
            raise KeyboardInterrupt
        self.calls += 1
        return self.inner(pool, task)


def squeeze(folder: Path, target: Path, parts: str | Path | None, **options) -> bytes:
    bbcodec.compress(folder, target, codec="none", force=True, parts=parts, **options)
    return target.read_bytes()


@pytest.fixture
def whole(folder, tmp_path) -> bytes:
    return squeeze(folder, tmp_path / "whole.bb", None)


def stop_after(counting: Counting, calls: int, folder: Path, target: Path, parts: str | Path) -> None:
    counting.calls, counting.stop_at = 0, calls
    with pytest.raises(KeyboardInterrupt):
        squeeze(folder, target, parts)
    counting.calls, counting.stop_at = 0, -1


def tasks_of(counting: Counting, folder: Path, tmp_path: Path) -> int:
    counting.calls = 0
    squeeze(folder, tmp_path / "counted.bb", tmp_path / "of a count")
    return counting.calls


@pytest.mark.parametrize("done", [0, 1, 12])
def test_a_job_goes_on_where_it_was(done, folder, whole, tmp_path, monkeypatch):
    counting = Counting(monkeypatch)
    total = tasks_of(counting, folder, tmp_path)
    assert total == 15
    stop_after(counting, done, folder, tmp_path / "out.bb", tmp_path / "parts")
    assert not (tmp_path / "out.bb").exists()
    assert squeeze(folder, tmp_path / "out.bb", tmp_path / "parts") == whole
    assert counting.calls == total - done
    assert not (tmp_path / "parts").exists()


def test_parts_may_lie_at_a_url_and_be_used_by_other_processes(folder, whole, tmp_path, monkeypatch):
    counting = Counting(monkeypatch)
    stop_after(counting, 9, folder, tmp_path / "out.bb", "memory://parts of a test")
    assert len(fsspec.filesystem("memory").find("/parts of a test")) == 10
    assert squeeze(folder, tmp_path / "out.bb", "memory://parts of a test") == whole
    assert not fsspec.filesystem("memory").exists("/parts of a test")


def test_processes_share_parts(folder, whole, tmp_path, monkeypatch):
    counting = Counting(monkeypatch)
    stop_after(counting, 9, folder, tmp_path / "out.bb", tmp_path / "parts")
    before = {path: path.stat().st_mtime_ns for path in (tmp_path / "parts").rglob("*.part")}
    monkeypatch.setattr(keeping, "PART", keeping.re.compile("nothing"))  # so that they stay
    with ProcessPoolExecutor(1, mp_context=get_context("spawn")) as executor:
        assert squeeze(folder, tmp_path / "out.bb", tmp_path / "parts", executor=executor) == whole
    after = {path: path.stat().st_mtime_ns for path in (tmp_path / "parts").rglob("*.part")}
    assert len(after) > len(before) == 9
    assert all(after[path] == before[path] for path in before)


def test_what_changed_meanwhile_is_coded_anew_and_the_rest_is_not(folder, tmp_path, monkeypatch):
    """A file that comes first gives all others new numbers."""
    counting = Counting(monkeypatch)
    total = tasks_of(counting, folder, tmp_path)
    stop_after(counting, total - 1, folder, tmp_path / "out.bb", tmp_path / "parts")
    save(folder / "many" / "03.png", familiar(20, 23, 3, seed=99))
    save(folder / "0.png", familiar(61, 61, 3))
    made = squeeze(folder, tmp_path / "out.bb", tmp_path / "parts")
    assert counting.calls == 1 + 2
    assert made == squeeze(folder, tmp_path / "again.bb", None)


@pytest.mark.parametrize("options", [{"exact_files": True}, {"codec": "photo-fast-1"}])
def test_parts_of_other_settings_are_not_used(options, folder, tmp_path, monkeypatch):
    counting = Counting(monkeypatch)
    total = tasks_of(counting, folder, tmp_path)
    stop_after(counting, total - 1, folder, tmp_path / "out.bb", tmp_path / "parts")
    bbcodec.compress(folder, tmp_path / "out.bb", parts=tmp_path / "parts", **{"codec": "none", **options})
    assert counting.calls == total


def test_damaged_swapped_and_foreign_parts_are_coded_anew(folder, whole, tmp_path, monkeypatch):
    counting = Counting(monkeypatch)
    stop_after(counting, 14, folder, tmp_path / "out.bb", tmp_path / "parts")
    parts = sorted((tmp_path / "parts").rglob("*.part"))
    assert len(parts) == 14
    cut, flipped, empty, one, two, foreign, other = parts[:7]
    cut.write_bytes(cut.read_bytes()[:-1])
    data = bytearray(flipped.read_bytes())
    data[len(data) // 2] ^= 1
    flipped.write_bytes(data)
    empty.write_bytes(b"")
    first = one.read_bytes()
    one.write_bytes(two.read_bytes())
    two.write_bytes(first)
    for path, content in ((foreign, os.system), (other, [1])):
        key = f"{path.parent.name}{path.stem}".encode()
        payload = pickle.dumps(([0], Call(content)) if content is os.system else content)
        path.write_bytes(keeping._digest(key + payload) + payload)
    assert squeeze(folder, tmp_path / "out.bb", tmp_path / "parts") == whole
    assert counting.calls - 7 == tasks_of(counting, folder, tmp_path) - 14
    assert not (tmp_path / "called").exists()


class Call:
    """Unpickled, it would make a file."""

    def __init__(self, function) -> None:
        self.function = function

    def __reduce__(self):
        return self.function, ("touch called",)


@pytest.mark.slow
def test_a_killed_process_codes_no_finished_part_again(tmp_path):
    top, parts = tmp_path / "in", tmp_path / "parts"
    for number in range(40):
        save(top / f"{number:02}.png", familiar(150, 150 + number, 3, seed=number))
    words = [*BBCODEC, "compress", top, "-o", tmp_path / "out.bb", "--codec", "none", "-q", "--jobs", "2"]
    chance, done, kills = random.Random(0), {}, 0
    for _ in range(10):
        running = subprocess.Popen([*words, "--parts", parts])
        time.sleep(chance.random() / 2)
        least = len(done) + chance.randint(1, 3)
        while running.poll() is None and len(list(parts.rglob("*.part"))) < least:
            time.sleep(0.02)
        running.kill()
        kills += running.wait() == -9
        now = {path: path.stat().st_mtime_ns for path in parts.rglob("*.part") if path.stat().st_size}
        assert {path: now.get(path) for path in done} == done
        done = now
    assert kills == 10
    assert not (tmp_path / "out.bb").exists()
    subprocess.run([*words, "--parts", parts], check=True)
    assert not parts.exists()
    assert (tmp_path / "out.bb").read_bytes() == squeeze(top, tmp_path / "whole.bb", None)


# --- what is wrong is told


def test_a_folder_that_holds_something_else_is_refused(folder, tmp_path, capsys):
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "notes.txt").write_text("mine")
    words = ["compress", str(folder), "-o", str(tmp_path / "out.bb"), "--codec", "none", "--parts"]
    assert main([*words, str(tmp_path / "mine")]) == 3
    assert "is no folder of parts" in capsys.readouterr().err
    assert main([*words, str(folder / "parts")]) == 3
    assert "which is compressed" in capsys.readouterr().err
    assert not (folder / "parts").exists()
    assert main([*words, str(tmp_path / "parts"), "--adapt", "1"]) == 3
    assert "not the same twice" in capsys.readouterr().err
    assert (tmp_path / "mine" / "notes.txt").read_text() == "mine"


def test_what_is_not_of_parts_stays(folder, tmp_path, monkeypatch):
    counting = Counting(monkeypatch)
    stop_after(counting, 2, folder, tmp_path / "out.bb", tmp_path / "parts")
    (tmp_path / "parts" / "notes.txt").write_text("mine")
    squeeze(folder, tmp_path / "out.bb", tmp_path / "parts")
    assert os.listdir(tmp_path / "parts") == ["notes.txt"]


def test_workers_that_do_not_see_the_folder_say_so(folder, tmp_path):
    with pytest.raises(OutputError, match="all workers must see the same"):
        keeping.Parts(str(tmp_path / "elsewhere")).put("00" * 20, [])
    assert not (tmp_path / "elsewhere").exists()


def test_keys_tell_all_values_apart():
    values = [
        b"1",
        "1",
        1,
        1.0,
        True,
        None,
        (1,),
        (1, 1),
        ((1,), 1),
        ("1", 1),
        (),
        {1: 1},
        np.ones(1),
        np.ones(1, "u1"),
    ]
    assert len({b"".join(keeping._words(value)) for value in values}) == len(values)
    with pytest.raises(TypeError, match="has no digest"):
        list(keeping._words(object()))
    with pytest.raises(InputError), keeping.parts_in("memory://a/parts", ["memory://a"]):
        pass
