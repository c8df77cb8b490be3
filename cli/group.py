"""The group of commands, loaded one by one, and what several of them share: options, and words for people."""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Callable
from importlib import import_module
from typing import TYPE_CHECKING, Any

import click

from bbcodec import __version__
from bbcodec.cli.main import BROKEN_PIPE, COMMANDS, INTERRUPTED, SIGNALLED, Ended, Stopped, asked_to_end

if TYPE_CHECKING:
    from bbcodec.archive.summary import Summary


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

    def invoke(self, context: click.Context) -> Any:
        """Run a command. Raises Stopped where a signal ended it, or whoever read its output went away."""
        try:
            result = super().invoke(context)
            sys.stdout.flush()
        except BrokenPipeError:
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())  # for what is flushed at exit
            raise Stopped("", BROKEN_PIPE) from None
        except (KeyboardInterrupt, Exception) as error:
            stop = asked_to_end(error)
            if stop is None or isinstance(error, Stopped):
                raise
            if isinstance(stop, Ended):
                raise Stopped("terminated", SIGNALLED + stop.number) from None
            if sys.stderr.isatty():
                click.echo(err=True)  # the terminal shows ^C
            raise Stopped("interrupted", INTERRUPTED) from None
        return result


@click.group(cls=LazyGroup, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(__version__, prog_name="bbcodec")
def group() -> None:
    """Lossless image compression with latent variable models and bits-back coding."""


Decorator = Callable[[Callable[..., Any]], Callable[..., Any]]


def work_options(function: Callable[..., Any]) -> Callable[..., Any]:
    """Options of commands that code pixels."""
    options = (
        click.option(
            "--jobs", type=click.IntRange(1), default=cores, metavar="N", help="Worker processes (default: one a core)."
        ),
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

    >>> size(999), size(1_234_567), size(999_999)
    ('999 B', '1.23 MB', '1 MB')
    """
    if n_bytes < 1000:
        return f"{n_bytes} B"
    rounded = int(float(f"{n_bytes:.3g}"))
    power = min((len(str(rounded)) - 1) // 3, 4)
    return f"{rounded / 1000**power:.3g} {('kB', 'MB', 'GB', 'TB')[power - 1]}"


def counted(number: int, noun: str) -> str:
    """A number and its noun.

    >>> counted(1, "file"), counted(2000, "file"), counted(2, "copy")
    ('1 file', '2,000 files', '2 copies')
    """
    plural = noun if number == 1 else f"{noun.removesuffix('y')}ies" if noun.endswith("y") else f"{noun}s"
    return f"{number:,} {plural}"


def stored(summary: Summary) -> str:
    """How the files of an archive are stored, for people.

    >>> from bbcodec.archive.summary import Summary
    >>> stored(Summary(3, how={"learned": 2, "original": 1}, copies=1))
    '3 files (2 learned, 1 original; 1 copy)'
    """
    ways = ", ".join(f"{count:,} {how}" for how, count in summary.how.items())
    more = f"; {counted(summary.copies, 'copy')}" if summary.copies else ""
    folders = f", {counted(summary.folders, 'folder')}" if summary.folders and not summary.files else ""
    return counted(summary.files, "file") + (f" ({ways}{more})" if ways else "") + folders


def sizes(file_bytes: int, archive_bytes: int) -> str:
    """Sizes outside and inside an archive, and their ratio.

    >>> sizes(3_000_000, 1_000_000)
    '3 MB -> 1 MB, ratio 3.00'
    """
    return f"{size(file_bytes)} -> {size(archive_bytes)}, ratio {file_bytes / max(1, archive_bytes):.2f}"


def duration(seconds: float) -> str:
    """A time for people.

    >>> duration(1.234), duration(83), duration(7384)
    ('1.2 s', '1 min 23 s', '2 h 3 min')
    """
    if seconds < 60:
        return f"{seconds:.1f} s"
    minutes, rest = divmod(round(seconds), 60)
    return f"{minutes} min {rest} s" if minutes < 60 else f"{minutes // 60} h {minutes % 60} min"
