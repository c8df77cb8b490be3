"""What is printed while work runs, and how."""

import io

import pytest
from rich.console import Console
from rich.progress import Progress

from bbcodec.archive.summary import FileReport
from bbcodec.cli.progress import ProgressDisplay, describe_file, progress_display
from bbcodec.coder.first_use import compiling


@pytest.mark.parametrize(
    ("file", "line"),
    [
        (
            FileReport("a.png", "original", 90, 90, "L", {"webp": 95, "png": 91, "original": 90}),
            "a.png: original, 90 of 90 bytes (shorter as it is: png 91, webp 95)",
        ),
        (
            FileReport("a.npy", "sheet", 9000, 10000, "L", {"sheet (webp)": 9000, "bytes": 9100, "original": 10000}),
            "a.npy: sheet, 9,000 of 10,000 bytes (sheet (webp) 9,000, bytes 9,100)",
        ),
        (
            FileReport("a.npy", "original", 900, 1000, "L", {"sheet (webp)": 910, "bytes": 900, "original": 1000}),
            "a.npy: original, 900 of 1,000 bytes (bytes 900, sheet (webp) 910)",
        ),
        (FileReport("b.png", "webp", 0, 90, "L", {"webp": 9}, "a.png"), "b.png: copy of a.png"),
        (
            FileReport("a.tif", "original", 90, 91, "RGB", reason="tiled"),
            "a.tif: original, 90 of 91 bytes (its pixels would not give this file back (tiled))",
        ),
        (
            FileReport("a.jpg", "original", 90, 91, "RGB"),
            "a.jpg: original, 90 of 91 bytes (its pixels would not give this file back)",
        ),
    ],
)
def test_files_are_described(file, line):
    assert describe_file(file) == line


def test_a_bar_shows_each_phase_alone():
    stream = io.StringIO()
    with Progress("{task.description} {task.fields[details]}", console=Console(file=stream, width=80)) as bar:
        display = ProgressDisplay(bar, bar.add_task("scanning", total=None, details=""), "scanning")
        display.progress("compressing", 1000, 4000, 500)
        assert [(task.description, task.completed, task.total) for task in bar.tasks] == [("compressing", 1000, 4000)]
        assert bar.tasks[0].fields["details"] == "1 kB of 4 kB -> 500 B"
        display.report(FileReport("[red]a\n.png", "link", 0, 0))
        display.progress("verifying", 4000, 4000, 0)
        assert [(task.description, task.fields["details"]) for task in bar.tasks] == [("verifying", "4 kB of 4 kB")]
    assert "[red]a\\n.png: link\n" in stream.getvalue()


def test_compiling_is_told_above_the_bar(monkeypatch):
    """Where there is one."""
    stream = io.StringIO()
    stream.isatty = lambda: True
    monkeypatch.setattr("sys.stderr", stream)
    with progress_display("scanning", quiet=True):
        compiling()
    assert stream.getvalue() == ""
    with progress_display("scanning", quiet=False):
        compiling()
        compiling()
    assert stream.getvalue().count("first use on this computer: compiling machine code") == 1


def test_nothing_is_shown_without_a_terminal(capsys):
    with progress_display("scanning", quiet=False) as display:
        display.progress("compressing", 1, 2, 0)
    assert display.bar is None
    assert capsys.readouterr() == ("", "")
