"""Machine code on disk is used again, but not once any source that it was made of has changed."""

import os
import shutil
import subprocess
import sys
import time
from pathlib import Path

import numba as nb
import numpy as np
import pytest

import bbcodec
from bbcodec.coder import compilation

PROGRAM = """
import sys
import numpy as np
from bbcodec.coder import first_use, tables
from bbcodec.coder.kernels import uniform

bits, told = np.empty(1, np.int64), []
with first_use.telling(lambda: told.append(1)):
    uniform.information(np.zeros(1, np.int32), bits, 2, tables.LOG2)
hits = sum(uniform.information.stats.cache_hits.values())
assert len(told) == 1 - hits
assert ("scipy.linalg" in sys.modules) == (hits == 0)  # which only compiling needs
print(bits[0], hits)
"""


@pytest.fixture
def site(tmp_path) -> Path:
    """A folder with a copy of the coder alone."""
    source, copy = Path(bbcodec.__file__).parent, tmp_path / "bbcodec"
    shutil.copytree(source / "coder", copy / "coder", ignore=shutil.ignore_patterns("__pycache__"))
    for name in ("__init__.py", "errors.py"):
        shutil.copy(source / name, copy)
    return tmp_path


def run(site: Path) -> tuple[int, int]:
    """Bits of one of two levels, in the unit of information, and how often machine code came from the disk."""
    environment = {**os.environ, "PYTHONPATH": str(site), "NUMBA_CACHE_DIR": str(site / "cache")}
    found = subprocess.run([sys.executable, "-c", PROGRAM], env=environment, capture_output=True, text=True, cwd=site)
    assert found.returncode == 0, found.stderr
    bits, hits = found.stdout.split()
    return int(bits), int(hits)


def test_of_several_processes_one_compiles(site):
    """The others wait for its code, wherever they run, and leave nothing there."""
    places = [site / "work" / str(number) for number in range(3)]
    for place in places:
        place.mkdir(parents=True)
    environment = {**os.environ, "PYTHONPATH": str(site), "NUMBA_CACHE_DIR": str(site / "cache")}
    command = [sys.executable, "-c", PROGRAM]
    several = [subprocess.Popen(command, env=environment, stdout=subprocess.PIPE, cwd=place) for place in places]
    hits = sorted(int(one.communicate()[0].split()[1]) for one in several)
    assert hits == [0, 1, 1]
    assert not list(site.rglob("*.lock"))


def test_a_turn_ends_with_its_process_and_nobody_waits_for_ever(tmp_path, monkeypatch):
    path = str(tmp_path / "code.lock")
    if not (child := os.fork()):
        compilation.Turn(path)
        os._exit(0)
    os.waitpid(child, 0)
    monkeypatch.setattr(compilation, "LONGEST_WAIT", 30.0)
    before = time.monotonic()
    mine = compilation.Turn(path)
    assert time.monotonic() - before < 10
    monkeypatch.setattr(compilation, "LONGEST_WAIT", 0.2)
    compilation.Turn(path).end()  # though it is not its turn
    mine.end()
    compilation.Turn(str(tmp_path / "no folder" / "code.lock")).end()


def change(site: Path, old: str, new: str) -> None:
    path = site / "bbcodec" / "coder" / "kernels" / "arithmetic.py"
    text = path.read_text()
    assert text.count(old) == 1
    path.write_text(text.replace(old, new))


def test_a_change_of_another_file_is_noticed(site):
    """`log2_of` is inlined and `INFORMATION_BITS` a constant of the kernel, both from another file."""
    assert run(site) == (1 << 24, 0)
    assert run(site) == (1 << 24, 1)
    change(site, "return (exponent << INFORMATION_BITS)", "return 5 + (exponent << INFORMATION_BITS)")
    assert run(site) == ((1 << 24) - 5, 0)
    change(site, "INFORMATION_BITS = 24", "INFORMATION_BITS = 30")
    bits, hits = run(site)
    assert bits > 1 << 29
    assert hits == 0


def test_where_no_folder_can_be_written_each_process_compiles(monkeypatch):
    monkeypatch.setattr("numba.core.caching.CompileResultCacheImpl._locator_classes", [])
    with pytest.raises(RuntimeError, match="no locator"):
        nb.njit(cache=True)(lambda x: x + 1)
    kernel = compilation.kept(nb.njit(lambda x: x + 1), Path(__file__).parent)
    assert kernel(1) == 2


def test_where_compilation_is_switched_off_a_kernel_is_the_function():
    assert compilation.kept(len, Path(__file__).parent) is len


def test_a_numba_with_other_files_compiles_and_keeps_nothing(tmp_path, monkeypatch):
    monkeypatch.setattr("numba.core.config.CACHE_DIR", str(tmp_path))
    monkeypatch.delattr("numba.core.caching.IndexDataCacheFile._load_data")
    kernel = compilation.kept(nb.njit(plus_one), Path(__file__).parent)
    assert kernel(1) == 2
    assert not [path for path in tmp_path.rglob("*") if path.is_file()]


def plus_one(x):
    return x + 1


def test_a_file_of_code_is_of_one_kernel_and_one_set_of_types(tmp_path, monkeypatch):
    """Whatever other processes write at the same time: nothing tells a file by its number."""
    monkeypatch.setattr("numba.core.config.CACHE_DIR", str(tmp_path))
    turns, turn = [], compilation.Turn
    monkeypatch.setattr(compilation, "Turn", lambda path: turns.append(Path(path)) or turn(path))
    kernel = compilation.kept(nb.njit(plus_one), Path(__file__).parent)
    written = [kernel(x) and {path.name for path in tmp_path.rglob("*.nbc")} for x in (1, 1.5, np.uint8(3))]
    assert [len(names) for names in written] == [1, 2, 3]
    assert len(turns) == 3
    assert all(path.is_relative_to(tmp_path) for path in turns)  # beside the code
    assert not list(tmp_path.rglob("*.nbi"))  # the index, through which numba finds numbers
    again = compilation.kept(nb.njit(plus_one), Path(__file__).parent)
    assert [again(np.uint8(3)), again(1.5), again(1)] == [4, 2.5, 2]
    assert sum(again.stats.cache_hits.values()) == 3
    elsewhere = compilation.kept(nb.njit(plus_one), tmp_path)  # another package: other sources
    assert elsewhere(1) == 2
    assert sum(elsewhere.stats.cache_hits.values()) == 0


def test_the_digest_covers_the_package_and_the_coder(tmp_path):
    (tmp_path / "a.py").write_text("1")
    compilation.source_digest.cache_clear()
    one = compilation.source_digest(tmp_path)
    (tmp_path / "a.py").write_text("2")
    compilation.source_digest.cache_clear()
    assert compilation.source_digest(tmp_path) != one
    assert compilation.source_digest(tmp_path) != compilation.source_digest(compilation.CODER)
