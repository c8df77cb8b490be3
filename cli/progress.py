"""Progress on stderr: a bar where that is a terminal, and lines about files."""

from __future__ import annotations

import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final

from bbcodec.archive.format.names import escaped
from bbcodec.cli.output import format_duration, format_size, print_status
from bbcodec.coder.first_use import telling
from bbcodec.options import LEARNING

if TYPE_CHECKING:
    from rich.progress import Progress, ProgressColumn, TaskID

    from bbcodec.archive.summary import FileReport

COMPILING: Final = "first use on this computer: compiling machine code, which takes up to half a minute"


@contextmanager
def progress_bar(quiet: bool, *, time_left: bool) -> Iterator[Progress | None]:
    """A bar on stderr while the body runs, or None if `quiet` or stderr is not a terminal.

    Its tasks have a field `details`, shown after the percentage; `time_left` adds an estimate.
    """
    if quiet or not sys.stderr.isatty():
        yield None
        return
    from rich.console import Console
    from rich.progress import BarColumn, Progress, TaskProgressColumn, TextColumn, TimeRemainingColumn

    details = TextColumn("{task.fields[details]}")
    columns: list[str | ProgressColumn] = ["{task.description}", BarColumn(), TaskProgressColumn(), details]
    if time_left:
        columns.append(TimeRemainingColumn(compact=True))
    bar = Progress(*columns, console=Console(stderr=True), transient=True)
    with bar, telling(lambda: print_above(bar, COMPILING)):
        yield bar


def print_above(bar: Progress | None, line: str, quiet: bool = False) -> None:
    """Print a line on stderr, above the bar if there is one."""
    if bar is None:
        print_status(line, quiet)
    else:
        bar.console.print(escaped(line), markup=False, highlight=False, soft_wrap=True)


@dataclass
class ProgressDisplay:
    """Shows how far work on an archive has come: its methods are the callbacks `progress` and `report`."""

    bar: Progress | None = None
    task: TaskID | None = None
    phase: str = ""
    started: float = field(default_factory=time.monotonic)

    def progress(self, phase: str, done: int, total: int, written: int) -> None:
        """Move the bar to so many bytes of `total`. Each new phase starts it afresh."""
        if self.bar is None:
            return
        if phase != self.phase or self.task is None:
            if self.task is not None:
                self.bar.remove_task(self.task)
            self.task, self.phase = self.bar.add_task(phase, total=None, details=""), phase
        if phase == LEARNING:
            details = f"{written / 1000:.3f} bits/dim"
        else:
            details = f"{format_size(done)} of {format_size(total)}" + (
                f" -> {format_size(written)}" if written else ""
            )
        self.bar.update(self.task, completed=done, total=total, details=details)

    def report(self, file: FileReport) -> None:
        """Print how a file was stored."""
        print_above(self.bar, describe_file(file))

    @property
    def elapsed(self) -> str:
        """The time since the work began."""
        return format_duration(time.monotonic() - self.started)


@contextmanager
def progress_display(phase: str, quiet: bool) -> Iterator[ProgressDisplay]:
    """A display of progress while the body runs, in this phase at first."""
    with progress_bar(quiet, time_left=True) as bar:
        yield ProgressDisplay(bar, bar.add_task(phase, total=None, details="") if bar else None, phase)


def describe_file(file: FileReport) -> str:
    """How a file was stored, and why, in one line.

    >>> from bbcodec.archive.summary import FileReport
    >>> tried = {"learned": 1234, "webp": 1400, "original": 2345}
    >>> describe_file(FileReport("cat.png", "learned", 1234, 2345, "RGB", tried))
    'cat.png: learned, 1,234 of 2,345 bytes (learned 1,234, webp 1,400)'
    >>> describe_file(FileReport("notes.txt", "original", 5, 7))
    'notes.txt: original, 5 of 7 bytes (not an image)'
    """
    if file.copy_of:
        return f"{file.name}: copy of {file.copy_of}"
    if file.how == "link":
        return f"{file.name}: link"
    ranked = sorted((size, coding) for coding, size in file.tried.items() if coding != "original")
    why = ", ".join(f"{coding} {size:,}" for size, coding in ranked)
    if file.how == "original" and not file.file_bytes:
        why = "empty"
    elif file.how == "original" and not ranked:
        reason = f" ({file.reason})" if file.reason else ""
        why = f"its pixels would not give this file back{reason}" if file.mode else "not an image"
    elif file.how == "original" and "bytes" not in file.tried:
        why = f"shorter as it is: {why}"
    return f"{file.name}: {file.how}, {file.stored_bytes:,} of {file.file_bytes:,} bytes ({why})"
