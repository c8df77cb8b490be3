"""The command `bbcodec`: runs a command line, and turns every failure into one line and an exit code."""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence
from contextlib import suppress
from typing import Final, NoReturn

INTERRUPTED: Final = 130
STANDARD_STREAMS: Final = (("stdin", os.O_WRONLY, "r"), ("stdout", os.O_RDONLY, "w"), ("stderr", os.O_WRONLY, "w"))


def run() -> NoReturn:
    """Run the command line of this process, and end it with the exit code."""
    code = main()
    parallel = sys.modules.get("bbcodec.parallel")  # not there if nothing was done that could take threads
    if parallel is not None:
        parallel.end_process(code)
    sys.exit(code)


def main(arguments: Sequence[str] | None = None) -> int:
    """Run a command line (`sys.argv` by default) and return its exit code; `docs/cli.md` has the table."""
    try:
        import click

        from bbcodec.cli.output import UNWRITABLE, output_error
        from bbcodec.cli.signals import Stopped, StopSignals
        from bbcodec.errors import BBCodecError, OutputError
    except KeyboardInterrupt:
        return INTERRUPTED
    open_standard_streams()
    for stream in (sys.stdout, sys.stderr):
        if hasattr(stream, "reconfigure"):
            stream.reconfigure(errors="backslashreplace")  # file names need not be valid text
    try:
        from bbcodec.cli.group import group

        signals = StopSignals()
        with signals.handled():
            result = group.main(args=arguments, prog_name="bbcodec", standalone_mode=False, obj=signals)
        return result if isinstance(result, int) else 0
    except click.exceptions.Exit as stop:
        return stop.exit_code
    except Stopped as stop:
        return _fail(str(stop), stop.exit_code)
    except (KeyboardInterrupt, click.Abort):
        return _fail("interrupted", INTERRUPTED)
    except click.exceptions.NoArgsIsHelpError as error:
        with suppress(OSError):
            print(error.format_message(), file=sys.stderr)
        return error.exit_code
    except click.UsageError as error:
        hint = f" (see {error.ctx.command_path} --help)" if error.ctx else ""
        return _fail(error.format_message().removesuffix(".") + hint, error.exit_code)
    except click.ClickException as error:
        return _fail(error.format_message(), error.exit_code)
    except BBCodecError as error:
        return _fail(str(error), error.exit_code)
    except Exception as error:
        if isinstance(error, OSError) and error.filename is None and error.errno in UNWRITABLE:  # of click's help
            return _fail(str(output_error(error)), OutputError.exit_code)
        if os.environ.get("BBCODEC_TRACEBACK"):
            raise
        what = f"{type(error).__name__}: {error}"
        return _fail(f"a bug in bbcodec, please report it ({what}); BBCODEC_TRACEBACK=1 prints a traceback", 1)


def _fail(message: str, exit_code: int) -> int:
    """Print what went wrong as one line on stderr, if there is anything to print and somebody to read it."""
    from bbcodec.cli.output import print_status

    print_status(f"bbcodec: {message}", quiet=not message)
    return exit_code


def open_standard_streams() -> None:
    """Open standard streams that are closed, so that no file that is opened later takes the place of one.

    Reading and writing them fails, as if they were still closed; but what is said on standard error is lost in silence.
    """
    for number, (name, flag, mode) in enumerate(STANDARD_STREAMS):
        try:
            os.fstat(number)
        except OSError:
            os.open(os.devnull, flag)  # the lowest number that is free, which is this one
            setattr(sys, name, open(number, mode, closefd=False))  # noqa: SIM115  as long as the process
