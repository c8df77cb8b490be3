"""The fuzz targets on their seeds, on what fuzzing found, and on a few changes of each."""

import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
import run
import seeds
import targets

from bbcodec.codec.catalogue import parse_codec
from bbcodec.codec.engine_backend import engine_backend
from bbcodec.codec.stored import StoredCodec
from bbcodec.errors import BBCodecError


@pytest.fixture(scope="module")
def made():
    return seeds.make()


def test_seeds_are_those_of_the_formats_as_they_are(made):
    """Else `python tests/fuzz/seeds.py` writes them anew."""
    kept = {
        folder.name: {path.name: path.read_bytes() for path in folder.iterdir()} for folder in seeds.FOLDER.iterdir()
    }
    assert kept == made
    assert sum(len(data) for each in kept.values() for data in each.values()) < 2**16


def test_every_target_has_seeds_that_it_accepts(made):
    """None ends in an error, so that changes reach what lies behind the checks."""
    assert tuple(targets.TARGETS) == run.NAMES == tuple(made)
    assert {path.name for path in (run.HERE / "findings").glob("*")} <= set(run.NAMES)
    for name, each in made.items():
        for data in each.values():
            targets.TARGETS[name](data)
    content = seeds.with_engine()
    assert engine_backend(StoredCodec.read(parse_codec(content, "codec")), "cpu") is not None


def test_nothing_but_errors_of_bbcodec_comes_of_changes():
    """In a process of its own, as memory is limited there."""
    line = [sys.executable, Path(run.__file__), "all", "--mutations", "60"]
    done = subprocess.run(line, capture_output=True, text=True)
    assert (done.returncode, done.stdout) == (0, ""), done.stderr


def test_changes_are_always_the_same():
    import random

    content = bytes(range(50))
    once, again = ([run.changed(random.Random(n), content) for n in range(300)] for _ in range(2))
    assert once == again
    assert len(set(once)) > 250


def busy(seconds: list[float]):
    """A target that takes so much of the processor, one after another."""

    def work(data):
        end = time.process_time() + seconds.pop(0)
        while time.process_time() < end:
            pass

    return work


def test_failures_are_told_apart_from_errors(monkeypatch, tmp_path):
    def refuse(data):
        raise BBCodecError("damaged")

    def fail(data):
        raise IndexError(data)

    assert run.failure_of(refuse, b"") == run.failure_of(len, b"") == ""
    failure = run.failure_of(fail, b"x")
    assert failure.startswith("IndexError in test_fuzz.py, fail\n")
    monkeypatch.setattr(run, "SECONDS", -1)
    assert run.failure_of(len, b"").startswith("slow")
    monkeypatch.setattr(run, "SECONDS", 0.2)
    assert run.failure_of(busy([0.3, 0.3]), b"").startswith("slow")
    assert run.failure_of(busy([0.3, 0.0]), b"") == ""  # machine code was compiled, say
    monkeypatch.setattr(run, "HERE", tmp_path)
    for data in (b"one", b"two"):
        run.keep("stack", data, failure)
    assert [path.read_bytes() for path in run.kept("stack")] == [b"one"]
    monkeypatch.setitem(targets.TARGETS, "stack", fail)
    assert [one.partition(": ")[0] for one in run.mutated("stack", 5)] == [
        f"stack, change 0 of findings/stack/{next(run.kept('stack')).name}"
    ]


def test_digests_are_made_right(made):
    """A changed index passes its digest, and a changed directory chunk its checksum."""
    whole = made["container"]["whole"]
    assert targets.sealed(whole) == whole
    at = whole.index(b"\x89BBC", 1)
    for place in (at + 9, len(whole) - 25 - 4):
        data = bytearray(whole)
        data[place] ^= 1
        differs = np.flatnonzero(np.frombuffer(targets.sealed(bytes(data)), np.uint8) != np.frombuffer(data, np.uint8))
        assert 0 < len(differs) <= 8
        assert place not in differs
