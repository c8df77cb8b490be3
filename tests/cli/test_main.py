"""The command line as a whole: exit codes, one line for every failure, a fast start."""

import contextlib
import re
import signal
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

import bbcodec.errors
from bbcodec.cli import main as entry
from bbcodec.cli.group import COMMANDS
from bbcodec.cli.main import main
from bbcodec.errors import BBCodecError

DOCS = Path(__file__).resolve().parents[2] / "docs" / "cli.md"


def subclasses(kind):
    return {kind} | {below for child in kind.__subclasses__() for below in subclasses(child)}


def test_exit_codes_are_those_of_the_table():
    """Every error class has a row with its code, and every row with a class is one."""
    rows = re.findall(r"^\| (\d+) \| (?:`(\w+)`)? *\| ", DOCS.read_text(), re.MULTILINE)
    told = {name: int(code) for code, name in rows if name}
    ours = {kind for kind in subclasses(BBCodecError) if kind.__module__ == bbcodec.errors.__name__}
    assert told == {kind.__name__: kind.exit_code for kind in ours}
    assert {int(code) for code, name in rows if not name} == {0, 2, 129, 130, 141, 143}
    assert len({code for code, _ in rows}) == len(rows)


def test_every_command_and_option_is_documented(capsys):
    text = DOCS.read_text()
    for command in COMMANDS:
        assert f"`bbcodec {command} " in text or f"`bbcodec {command}`" in text
        assert main([command, "--help"]) == 0
        for option in re.findall(r"--[a-z][-a-z]+", capsys.readouterr().out):
            assert f"`{option}" in text, option


@pytest.mark.parametrize(
    "arguments",
    [["nonsense"], ["compress"], ["compress", "x"], ["list"], ["verify", "x", "--jobs", "0"], ["list", "x", "--nope"]],
)
def test_a_wrong_command_line_is_one_line_and_code_2(arguments, capsys):
    assert main(arguments) == 2
    out, err = capsys.readouterr()
    assert (out, err.count("\n")) == ("", 1)
    assert err.startswith("bbcodec: ")


@pytest.mark.parametrize("kind", sorted(subclasses(BBCodecError), key=lambda kind: kind.__name__))
def test_every_error_becomes_its_code(kind, capsys, monkeypatch):
    def failing(*_, **__):
        raise kind("this, here:\n\x1b[31mthat")

    monkeypatch.setattr("bbcodec.archive.read.archive.verify", failing)
    assert main(["verify", "x.bb"]) == kind.exit_code
    assert capsys.readouterr().err == "bbcodec: this, here:\\n\\x1b[31mthat\n"


def test_an_interrupt_is_130(capsys, monkeypatch):
    def interrupted(*_, **__):
        raise KeyboardInterrupt

    monkeypatch.setattr("bbcodec.archive.read.archive.verify", interrupted)
    assert main(["verify", "x.bb"]) == 130
    assert capsys.readouterr().err.strip() == "bbcodec: interrupted"


@pytest.mark.parametrize(
    ("number", "code", "word"), [(signal.SIGTERM, 143, "terminated"), (signal.SIGINT, 130, "interrupted")]
)
def test_a_signal_whose_exception_is_lost_ends_the_work_all_the_same(number, code, word, capsys, monkeypatch):
    """As where it comes while compiled code calls back, which then fails for another reason."""

    def losing(*_, **__):
        with contextlib.suppress(KeyboardInterrupt):
            signal.raise_signal(number)
        raise RuntimeError("no compiled object yet")

    monkeypatch.setattr("bbcodec.archive.read.archive.verify", losing)
    before = signal.getsignal(number)
    signal.signal(number, signal.default_int_handler if number == signal.SIGINT else signal.SIG_DFL)
    try:
        assert main(["verify", "x.bb"]) == code
    finally:
        signal.signal(number, before)
    assert capsys.readouterr().err.strip() == f"bbcodec: {word}"
    monkeypatch.setattr("bbcodec.archive.read.archive.verify", lambda *_, **__: 1 / 0)
    assert main(["verify", "x.bb"]) == 1  # the next one is a fault again


def test_a_fault_of_ours_is_one_line_unless_a_traceback_is_asked_for(capsys, monkeypatch):
    def faulty(*_, **__):
        raise ZeroDivisionError("oops")

    monkeypatch.setattr("bbcodec.archive.read.archive.verify", faulty)
    monkeypatch.delenv("BBCODEC_TRACEBACK", raising=False)
    assert main(["verify", "x.bb"]) == 1
    err = capsys.readouterr().err
    assert "please report it (ZeroDivisionError: oops)" in err
    assert err.count("\n") == 1
    monkeypatch.setenv("BBCODEC_TRACEBACK", "1")
    with pytest.raises(ZeroDivisionError):
        main(["verify", "x.bb"])


HEAVY = ("torch", "numba", "numpy", "PIL", "scipy", "matplotlib", "rich")
WITHOUT_PIXELS = [["--help"], ["--version"], ["codecs"], ["codecs", "--json"], *([name, "--help"] for name in COMMANDS)]


def imported_by(arguments: list[str]) -> tuple[str, set[str]]:
    """What a command prints in a process of its own, and the heavy packages that it imports."""
    code = (
        f"import sys; from bbcodec.cli.main import main; code = main({arguments!r}); "
        f"print(*set({HEAVY!r}) & sys.modules.keys(), file=sys.stderr); sys.exit(code)"
    )
    done = subprocess.run([sys.executable, "-P", "-c", code], capture_output=True, text=True, check=False, timeout=60)
    assert done.returncode == 0, done.stderr
    return done.stdout, set(done.stderr.split())


@pytest.mark.parametrize("arguments", WITHOUT_PIXELS, ids=" ".join)
def test_commands_that_code_nothing_import_little(arguments):
    printed, imported = imported_by(arguments)
    assert printed
    assert imported == set()


def test_list_imports_little(tmp_path):
    """Of an archive with images, whose index has columns of numbers."""
    for size in (3, 400):
        np.save(tmp_path / f"{size}.npy", np.zeros((9, 8, size), np.uint8))
    inputs = [str(path) for path in tmp_path.iterdir()]
    assert main(["compress", *inputs, "-o", str(tmp_path / "a.bb"), "--codec", "none", "-q"]) == 0
    printed, imported = imported_by(["list", str(tmp_path / "a.bb")])
    assert "400.npy" in printed
    assert imported == set()


def test_a_command_that_codes_pixels_is_seen_to_import(tmp_path):
    Image.new("L", (9, 9)).save(tmp_path / "a.png")
    _, imported = imported_by(
        ["compress", str(tmp_path / "a.png"), "-o", str(tmp_path / "a.bb"), "--codec", "none", "-q"]
    )
    assert {"numpy", "PIL"} <= imported


def test_the_entry_module_loads_nothing_before_it_can_catch_an_interrupt():
    source = Path(entry.__file__).read_text()
    top = source.split("def main")[0]
    assert set(re.findall(r"^(?:from|import) (\w+)", top, re.MULTILINE)) <= {
        "__future__",
        "os",
        "sys",
        "typing",
        "collections",
        "contextlib",
    }
