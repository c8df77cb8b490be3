"""What people see on stderr while work goes on: a progress bar where that is a terminal, and lines of files."""

from __future__ import annotations

import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from bbcodec.cli.group import clean, duration, size, tell

if TYPE_CHECKING:
    from rich.progress import Progress as Bar
    from rich.progress import TaskID

    from bbcodec.archive.summary import FileReport


@dataclass
class Watch:
    """Someone who watches long work. Without a bar, only lines are shown."""

    bar: Bar | None = None
    task: TaskID | None = None
    what: str = ""
    began: float = field(default_factory=time.monotonic)

    def progress(self, what: str, done: int, total: int, written: int) -> None:
        """A `Progress` callback: shows how far the work has come. Each new `what` starts the bar anew."""
        if self.bar is None:
            return
        if what != self.what or self.task is None:
            if self.task is not None:
                self.bar.remove_task(self.task)
            self.task, self.what = self.bar.add_task(what, total=None, bytes=""), what
        done_of = f"{size(done)} of {size(total)}" + (f" -> {size(written)}" if written else "")
        self.bar.update(self.task, completed=done, total=total, bytes=done_of)

    def report(self, file: FileReport) -> None:
        """A line on how one file was stored."""
        line = clean(described(file))
        if self.bar is None:
            tell(line)
        else:
            self.bar.console.print(line, markup=False, highlight=False, soft_wrap=True)

    @property
    def seconds(self) -> str:
        """The time since the work began."""
        return duration(time.monotonic() - self.began)


@contextmanager
def watched(title: str, quiet: bool) -> Iterator[Watch]:
    """A bar on stderr while the body runs, called `title` until the first progress is told; none if not a terminal."""
    if quiet or not sys.stderr.isatty():
        yield Watch()
        return
    from rich.console import Console
    from rich.progress import BarColumn, TaskProgressColumn, TextColumn, TimeRemainingColumn
    from rich.progress import Progress as Bar

    columns = ("{task.description}", BarColumn(), TaskProgressColumn(), TextColumn("{task.fields[bytes]}"))
    with Bar(*columns, TimeRemainingColumn(compact=True), console=Console(stderr=True), transient=True) as bar:
        yield Watch(bar, bar.add_task(title, total=None, bytes=""), title)


def described(file: FileReport) -> str:
    """How a file was stored, and why, on a line.

    >>> from bbcodec.archive.summary import FileReport
    >>> tried = {"learned": 1234, "webp": 1400, "original": 2345}
    >>> described(FileReport("cat.png", "learned", 1234, 2345, "RGB", tried))
    'cat.png: learned, 1,234 of 2,345 bytes (learned 1,234, webp 1,400)'
    >>> described(FileReport("notes.txt", "original", 5, 7))
    'notes.txt: original, 5 of 7 bytes (not an image)'
    """
    if file.copy_of:
        return f"{file.name}: copy of {file.copy_of}"
    if file.how == "link":
        return f"{file.name}: link"
    ways = sorted((size, coding) for coding, size in file.tried.items() if coding != "original")
    why = ", ".join(f"{coding} {size:,}" for size, coding in ways)
    if file.how == "original" and not file.file_bytes:
        why = "empty"
    elif file.how == "original" and not ways:
        why = "its pixels would not give this file back" if file.mode else "not an image"
    elif file.how == "original" and "bytes" not in file.tried:
        why = f"shorter as it is: {why}"
    return f"{file.name}: {file.how}, {file.stored_bytes:,} of {file.file_bytes:,} bytes ({why})"
