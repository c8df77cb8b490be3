"""Standard input and output in place of files, `-` on the command line: both pass through temporary files."""

from __future__ import annotations

import os
import shutil
import stat
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO, Final

import click

from bbcodec.archive.format.names import check_name
from bbcodec.atomic_files import temporary_folder
from bbcodec.cli.output import output_error
from bbcodec.errors import BBCodecError, InputError, OutputError, UnsafePath

STANDARD_STREAM: Final = "-"
BUFFER_BYTES: Final = 2**20


def display_name(argument: str, stream: str) -> str:
    """What messages call a file of the command line: `-` is standard `stream`, "input" or "output"."""
    return f"standard {stream}" if argument == STANDARD_STREAM else argument


@contextmanager
def archive_path(argument: str) -> Iterator[str]:
    """The path of an archive; for `-`, of a temporary file with the content of standard input."""
    if argument != STANDARD_STREAM:
        yield argument
        return
    with temporary_folder() as folder:
        path = Path(folder, "archive.bb")
        _save_stdin(path)
        try:
            yield str(path)
        except BBCodecError as error:
            message = str(error).replace(str(path), display_name(STANDARD_STREAM, "input"))
            raise type(error)(message) from None


@contextmanager
def input_paths(arguments: Sequence[str], name: str | None) -> Iterator[list[str]]:
    """The paths of inputs; for `-`, of a temporary file with the content of standard input, called `name`.

    Raises click.UsageError unless `name` is given with `-`, and only then, and is a safe relative name.
    """
    if list(arguments).count(STANDARD_STREAM) > 1:
        raise click.UsageError("'-', standard input, was given more than once")
    if STANDARD_STREAM in arguments and name is None:
        raise click.UsageError("'-', standard input, needs --name NAME, its name in the archive")
    if STANDARD_STREAM not in arguments and name is not None:
        raise click.UsageError("--name is for '-', standard input, which is not among the inputs")
    if name is None:
        yield list(arguments)
        return
    try:
        check_name(os.fsencode(name))
    except UnsafePath:
        raise click.UsageError(f"--name: expected a relative name such as cats/01.png, got {name!r}") from None
    with temporary_folder() as folder:
        path = Path(folder, name)
        _save_stdin(path)
        _copy_metadata_of_stdin(path, folder)
        # Names are relative to a folder that is the only input; one of several inputs keeps its own name.
        source = str(folder if len(arguments) == 1 else folder / Path(name).parts[0])
        yield [source if argument == STANDARD_STREAM else argument for argument in arguments]


def _save_stdin(path: Path) -> None:
    """Write all of standard input to a new file. Raises click.UsageError if it is a terminal."""
    if sys.stdin.isatty():
        raise click.UsageError("standard input is a terminal: redirect a file or a pipe to it")
    with _new_temporary_file(path) as stream:
        while data := _read_stdin():
            stream.write(data)


@contextmanager
def _new_temporary_file(path: Path) -> Iterator[BinaryIO]:
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with open(path, "wb") as stream:
            yield stream
    except OSError as error:
        raise OutputError(f"the temporary file {path} (TMPDIR) cannot be written: {error.strerror}") from None


def _read_stdin() -> bytes:
    try:
        return sys.stdin.buffer.read(BUFFER_BYTES)
    except OSError as error:
        raise InputError(f"standard input cannot be read: {error.strerror}") from None


def _copy_metadata_of_stdin(path: Path, top: Path) -> None:
    """Give a file the time and permissions of the file that is standard input, and its folders below `top` the time.

    A pipe has none: its file is dated 1970, so that equal inputs give equal archives at any time.
    """
    status = os.fstat(sys.stdin.fileno())
    is_file = stat.S_ISREG(status.st_mode)
    time_ns = status.st_mtime_ns if is_file else 0
    path.chmod(stat.S_IMODE(status.st_mode) & 0o777 | 0o400 if is_file else 0o644)
    while path != top:
        if path.is_dir():
            path.chmod(0o755)
        os.utime(path, ns=(time_ns, time_ns))
        path = path.parent


def refuse_terminal(content: str) -> None:
    """Raise click.UsageError if standard output is a terminal, which binary content would garble."""
    if sys.stdout.isatty():
        raise click.UsageError(f"{content} would go to the terminal: redirect it, or name a target with -o")


@contextmanager
def output_path(argument: str) -> Iterator[str]:
    """The path of a file to write; for `-`, of a temporary one, copied to standard output when it is complete."""
    if argument != STANDARD_STREAM:
        yield argument
        return
    refuse_terminal("the archive")
    with temporary_folder() as folder:
        path = Path(folder, "archive.bb")
        yield str(path)
        with open(path, "rb") as stream:
            copy_to_stdout(stream)


def copy_to_stdout(stream: BinaryIO) -> None:
    """Copy a stream to standard output. Raises as `bbcodec.cli.output.output_error` says."""
    try:
        shutil.copyfileobj(stream, sys.stdout.buffer, BUFFER_BYTES)
        sys.stdout.buffer.flush()
    except OSError as error:
        raise output_error(error) from None
