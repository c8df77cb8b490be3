"""The command `bbcodec`: runs a command line, and turns every failure into one line and an exit code."""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence
from typing import Final

INTERRUPTED: Final = 130


def main(arguments: Sequence[str] | None = None) -> int:
    """Run a command line (`sys.argv` by default) and return its exit code; `docs/cli.md` has the table."""
    try:
        import click

        from bbcodec.cli.signals import Stopped, StopSignals
        from bbcodec.errors import BBCodecError
    except KeyboardInterrupt:
        return INTERRUPTED
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
        if os.environ.get("BBCODEC_TRACEBACK"):
            raise
        what = f"{type(error).__name__}: {error}"
        return _fail(f"a bug in bbcodec, please report it ({what}); BBCODEC_TRACEBACK=1 prints a traceback", 1)


def _fail(message: str, exit_code: int) -> int:
    """Print what went wrong as one line on stderr, if there is anything to print."""
    from bbcodec.cli.output import escaped

    if message:
        print(f"bbcodec: {escaped(message)}", file=sys.stderr)
    return exit_code
