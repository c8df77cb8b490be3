"""Standard input and output in place of files: `-` on the command line. All goes through temporary files."""

from __future__ import annotations

import os
import shutil
import stat
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import BinaryIO, Final

import click

from bbcodec.archive.format.names import check_name
from bbcodec.errors import BBCodecError, InputError, OutputError, UnsafePath

STANDARD: Final = "-"


def shown(argument: str, stream: str) -> str:
    """How messages call a file of the command line."""
    return f"standard {stream}" if argument == STANDARD else argument


@contextmanager
def archive_at(argument: str) -> Iterator[str]:
    """The path of the archive that is meant: for `-` of a temporary file with what comes from standard input."""
    if argument != STANDARD:
        yield argument
        return
    with TemporaryDirectory(prefix="bbcodec-") as folder:
        path = Path(folder, "archive.bb")
        _spool(path)
        try:
            yield str(path)
        except BBCodecError as error:
            raise type(error)(str(error).replace(str(path), shown(STANDARD, "input"))) from None


@contextmanager
def inputs_of(arguments: Sequence[str], name: str | None) -> Iterator[list[str]]:
    """The inputs that are meant: for `-` a temporary file with what comes from standard input, called `name`."""
    if list(arguments).count(STANDARD) > 1:
        raise click.UsageError("'-', standard input, was given more than once")
    if STANDARD in arguments and name is None:
        raise click.UsageError("'-', standard input, needs --name NAME: what the file is called in the archive")
    if STANDARD not in arguments and name is not None:
        raise click.UsageError("--name is for '-', standard input, which is not among the inputs")
    if name is None:
        yield list(arguments)
        return
    try:
        check_name(os.fsencode(name))
    except UnsafePath:
        raise click.UsageError(f"--name takes a relative name, as cats/01.png, not {name!r}") from None
    with TemporaryDirectory(prefix="bbcodec-") as folder:
        path = Path(folder, name)
        path.parent.mkdir(parents=True, exist_ok=True)
        _spool(path)
        _take_over_times(path, Path(folder))
        # A folder that is the one input lends its name to nothing in it; of several inputs each keeps its name.
        source = folder if len(arguments) == 1 else os.path.join(folder, Path(name).parts[0])
        yield [source if argument == STANDARD else argument for argument in arguments]


def _spool(path: Path) -> None:
    """Write all of standard input to a new file."""
    if sys.stdin.isatty():
        raise click.UsageError("standard input is a terminal: give it a file or a pipe")
    with _new(path) as stream:
        while piece := _read():
            stream.write(piece)


@contextmanager
def _new(path: Path) -> Iterator[BinaryIO]:
    try:
        with open(path, "wb") as stream:
            yield stream
    except OSError as error:
        raise OutputError(f"the temporary file {path} cannot be written: {error.strerror}") from None


def _read() -> bytes:
    try:
        return sys.stdin.buffer.read(2**20)
    except OSError as error:
        raise InputError(f"standard input cannot be read: {error.strerror}") from None


def _take_over_times(path: Path, top: Path) -> None:
    """Give a file, and its folders below `top`, the time of the file that is standard input, or of none: 1970.

    So the same input gives the same archive whenever it is read.
    """
    about = os.fstat(sys.stdin.fileno())
    real = stat.S_ISREG(about.st_mode)
    time_ns = about.st_mtime_ns if real else 0
    path.chmod(stat.S_IMODE(about.st_mode) & 0o777 | 0o400 if real else 0o644)
    while path != top:
        if path.is_dir():
            path.chmod(0o755)
        os.utime(path, ns=(time_ns, time_ns))
        path = path.parent


def refuse_terminal(what: str) -> None:
    """Raise a usage error where standard output is a terminal, which binary data would upset."""
    if sys.stdout.isatty():
        raise click.UsageError(f"{what} would go to the terminal: redirect it, or name a target with -o")


@contextmanager
def output_at(argument: str) -> Iterator[str]:
    """The path of the file that is to be made: for `-` of a temporary one, copied to standard output when whole."""
    if argument != STANDARD:
        yield argument
        return
    refuse_terminal("the archive")
    with TemporaryDirectory(prefix="bbcodec-") as folder:
        path = Path(folder, "archive.bb")
        yield str(path)
        with open(path, "rb") as stream:
            copy_out(stream)


def copy_out(stream: BinaryIO) -> None:
    """Copy a stream to standard output. Raises OutputError, or BrokenPipeError where nobody reads it."""
    try:
        shutil.copyfileobj(stream, sys.stdout.buffer, 2**20)
        sys.stdout.buffer.flush()
    except BrokenPipeError:
        raise
    except OSError as error:
        raise OutputError(f"standard output cannot be written: {error.strerror}") from None
