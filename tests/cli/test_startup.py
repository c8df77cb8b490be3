"""What commands import: with a codec that has an engine no torch, and nothing that only drawing or compiling needs."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
from PIL import Image
from pinned_inputs import natural

CODEC = Path(__file__).parents[2] / "benchmarks" / "codecs" / "photo-8bit-1.bbc"
HEAVY = ("torch", "matplotlib", "rich", "scipy.linalg", "imagecodecs", "skimage")

WITHOUT_PREDICTIONS = """
from bbcodec.archive.write import candidates
candidates.CODINGS = tuple(one for one in candidates.CODINGS if one.name != "predicted")
"""
PROGRAM = """
import json, sys
from bbcodec.cli.main import main
code = main(sys.argv[2:])
open(sys.argv[1], "w").write(json.dumps([code, sorted(sys.modules)]))
"""


def modules_of(folder: Path, *arguments: object) -> set[str]:
    """The modules that a process has imported once it has run a command; `compress` is to need the codec."""
    told = folder / "modules.json"
    program = WITHOUT_PREDICTIONS + PROGRAM if arguments[0] == "compress" else PROGRAM
    command = [sys.executable, "-c", program, str(told), *map(str, arguments)]
    done = subprocess.run(command, capture_output=True, text=True, env={**os.environ, "PYTHONPATH": ""}, cwd=folder)
    assert done.returncode == 0, done.stderr
    code, modules = json.loads(told.read_text())
    assert code == 0, done.stderr
    return set(modules)


@pytest.fixture(scope="module")
def archive(tmp_path_factory) -> Path:
    """An archive of a picture coded by the codec; machine code is on the disk from then on."""
    folder = tmp_path_factory.mktemp("startup")
    Image.fromarray(natural(1, 96, 128, 3)[0]).save(folder / "a.png")
    modules_of(folder, *COMMANDS["compress"], "--codec", CODEC, "--jobs", 1)
    return folder / "a.bb"


COMMANDS = {
    "compress": ["compress", "a.png", "-o", "a.bb", "--force", "--no-embed-codec"],
    "decompress": ["decompress", "a.bb", "-o", "out"],
    "verify": ["verify", "a.bb"],
}


@pytest.mark.parametrize("command", COMMANDS)
def test_an_engine_codes_without_torch(archive, command):
    found = modules_of(archive.parent, *COMMANDS[command], "--codec", CODEC, "--jobs", 1)
    assert found.isdisjoint(HEAVY)
    assert "bbcodec.engine.waves" in found  # the codec was needed


def test_looking_needs_no_numba_either(archive):
    for arguments in (["list", archive, "--json"], ["codecs"], ["--help"]):
        assert modules_of(archive.parent, *arguments).isdisjoint({*HEAVY, "numba"})


def test_a_network_needs_torch(archive):
    """So that the tests above can fail."""
    program = f"import bbcodec, sys; bbcodec.load_codec({str(CODEC)!r}, engine=False); print('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-P", "-c", program], capture_output=True, text=True).stdout == "True\n"
