"""What commands print: status lines on stderr, JSON on stdout, and numbers formatted for people."""

from __future__ import annotations

import errno
import json
import os
import sys
from contextlib import suppress
from typing import TYPE_CHECKING, Any, Final, TextIO

import click

from bbcodec.archive.format.names import escaped
from bbcodec.errors import BBCodecError, OutputError

if TYPE_CHECKING:
    from bbcodec.archive.summary import Summary


UNWRITABLE: Final = (errno.ENOSPC, errno.EBADF, errno.EIO, errno.EFBIG, errno.EDQUOT)  # of a stream that takes nothing


def print_status(message: str, quiet: bool = False) -> None:
    """Print a line on stderr, unless `quiet`. Where nobody can read it, work goes on without."""
    if not quiet:
        try:
            click.echo(escaped(message), err=True)
        except OSError:
            discard(sys.stderr)


def print_line(text: str) -> None:
    """Print lines on stdout. Raises as `output_error` says."""
    try:
        click.echo(text)
    except OSError as error:
        raise output_error(error) from None


def print_json(data: Any) -> None:
    """Print data as JSON on stdout. Raises as `output_error` says."""
    print_line(json.dumps(data, indent=1))


def output_error(error: OSError) -> BBCodecError | BrokenPipeError:
    """What to raise where stdout cannot be written: OutputError, or BrokenPipeError if its reader went away."""
    discard(sys.stdout)
    if isinstance(error, BrokenPipeError):
        return error
    return OutputError(f"standard output cannot be written: {error.strerror or error}")


def discard(stream: TextIO) -> None:
    """Send what is still in a stream's buffer nowhere: Python writes it once more when it ends, and would fail."""
    with suppress(OSError, ValueError):  # a stream without a file, in tests
        os.dup2(os.open(os.devnull, os.O_WRONLY), stream.fileno())


def format_size(n_bytes: int) -> str:
    """A number of bytes with three digits and an SI prefix.

    >>> format_size(999), format_size(1_234_567), format_size(999_999)
    ('999 B', '1.23 MB', '1 MB')
    """
    if n_bytes < 1000:
        return f"{n_bytes} B"
    rounded = int(float(f"{n_bytes:.3g}"))
    power = min((len(str(rounded)) - 1) // 3, 4)
    return f"{rounded / 1000**power:.3g} {('kB', 'MB', 'GB', 'TB')[power - 1]}"


def format_count(number: int, noun: str) -> str:
    """A number and its noun, in the plural if need be.

    >>> format_count(1, "file"), format_count(2000, "file"), format_count(2, "copy")
    ('1 file', '2,000 files', '2 copies')
    """
    plural = noun if number == 1 else f"{noun.removesuffix('y')}ies" if noun.endswith("y") else f"{noun}s"
    return f"{number:,} {plural}"


def format_contents(summary: Summary) -> str:
    """How many files an archive has, and how they are stored.

    >>> from bbcodec.archive.summary import Summary
    >>> format_contents(Summary(3, how={"learned": 2, "original": 1}, copies=1))
    '3 files (2 learned, 1 original; 1 copy)'
    """
    how = ", ".join(f"{count:,} {how}" for how, count in summary.how.items())
    copies = f"; {format_count(summary.copies, 'copy')}" if summary.copies else ""
    folders = f", {format_count(summary.folders, 'folder')}" if summary.folders and not summary.files else ""
    return format_count(summary.files, "file") + (f" ({how}{copies})" if how else "") + folders


def format_ratio(file_bytes: int, archive_bytes: int) -> str:
    """The sizes of files and of their archive, and the compression ratio.

    >>> format_ratio(3_000_000, 1_000_000)
    '3 MB -> 1 MB, ratio 3.00'
    """
    ratio = file_bytes / max(1, archive_bytes)
    return f"{format_size(file_bytes)} -> {format_size(archive_bytes)}, ratio {ratio:.2f}"


def format_duration(seconds: float) -> str:
    """A duration in its two largest units.

    >>> format_duration(1.234), format_duration(83), format_duration(7384)
    ('1.2 s', '1 min 23 s', '2 h 3 min')
    """
    if seconds < 60:
        return f"{seconds:.1f} s"
    minutes, rest = divmod(round(seconds), 60)
    return f"{minutes} min {rest} s" if minutes < 60 else f"{minutes // 60} h {minutes % 60} min"
