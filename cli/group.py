"""The group of commands, loaded one by one, and what several of them share: options, sizes, progress."""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from importlib import import_module
from typing import TYPE_CHECKING, Any

import click
from bbcodec.cli.main import COMMANDS

from bbcodec import __version__

if TYPE_CHECKING:
    from bbcodec.archive import Progress, Summary


class LazyGroup(click.Group):
    """A group whose commands are imported when they are asked for."""

    def list_commands(self, context: click.Context) -> list[str]:
        """The names, in the order of the table."""
        return list(COMMANDS)

    def get_command(self, context: click.Context, name: str) -> click.Command | None:
        """The command called `name`, imported now."""
        if name not in COMMANDS:
            return None
        command: click.Command = import_module(COMMANDS[name]).command
        return command


@click.group(cls=LazyGroup, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(__version__, prog_name="bbcodec")
def group() -> None:
    """Lossless image compression with latent variable models and bits-back coding."""


Decorator = Callable[[Callable[..., Any]], Callable[..., Any]]


def work_options(function: Callable[..., Any]) -> Callable[..., Any]:
    """Options of commands that code pixels."""
    options = (
        click.option("--jobs", type=click.IntRange(1), default=cores, help="Worker processes (default: all cores)."),
        click.option(
            "--device", type=click.Choice(["auto", "cpu", "cuda"]), default="auto", help="Where networks run."
        ),
        click.option("--json", "as_json", is_flag=True, help="Print a summary as JSON on stdout."),
        click.option("-q", "--quiet", is_flag=True, help="Print errors only."),
    )
    for option in reversed(options):
        function = option(function)
    return function


def cores() -> int:
    """The processor cores that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def tell(message: str, quiet: bool = False) -> None:
    """A line for people, on stderr."""
    if not quiet:
        click.echo(clean(message), err=True)


def clean(text: str) -> str:
    """`text` without control characters, which names of files may have."""
    return "".join(letter if letter.isprintable() else repr(letter)[1:-1] for letter in text)


def show_json(data: Any) -> None:
    """Data on stdout."""
    click.echo(json.dumps(data, indent=1))


def size(n_bytes: int) -> str:
    """A number of bytes for people.

    >>> size(999), size(1_234_567)
    ('999 B', '1.23 MB')
    """
    if n_bytes < 1000:
        return f"{n_bytes} B"
    power = min((len(str(n_bytes)) - 1) // 3, 4)
    return f"{n_bytes / 1000**power:.3g} {('kB', 'MB', 'GB', 'TB')[power - 1]}"


def counted(number: int, noun: str) -> str:
    """A number and its noun.

    >>> counted(1, "file"), counted(2, "file")
    ('1 file', '2 files')
    """
    return f"{number} {noun}{'' if number == 1 else 's'}"


def stored(summary: Summary) -> str:
    """How the files of an archive are stored, for people.

    >>> from bbcodec.archive import Summary
    >>> stored(Summary(3, how={"learned": 2, "original": 1}))
    '3 files (2 learned, 1 original)'
    """
    ways = ", ".join(f"{count} {how}" for how, count in summary.how.items())
    return counted(summary.files, "file") + (f" ({ways})" if ways else "")


@contextmanager
def watched(title: str, quiet: bool) -> Iterator[Progress | None]:
    """A progress bar on stderr where that is a terminal, else nothing."""
    if quiet or not sys.stderr.isatty():
        yield None
        return
    from rich.console import Console
    from rich.progress import Progress as Bar

    with Bar(console=Console(stderr=True), transient=True) as bar:
        task = bar.add_task(title, total=None)
        yield lambda done, total: bar.update(task, completed=done, total=total)
