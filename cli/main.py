"""The command `bbcodec`: finds the command, runs it, and turns every failure into one line and an exit code."""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence
from typing import Final

# Each module has the click command as `command`. They are imported when asked for, and import torch only when they run.
COMMANDS: Final = {
    "compress": "bbcodec.cli.compress",
    "decompress": "bbcodec.cli.decompress",
    "list": "bbcodec.cli.list",
    "verify": "bbcodec.cli.verify",
    "codecs": "bbcodec.cli.codecs",
}
INTERRUPTED: Final = 130


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command line (`sys.argv` by default) and return its exit code: `docs/cli.md` has the table."""
    try:
        import click

        from bbcodec.errors import BBCodecError
    except KeyboardInterrupt:
        return INTERRUPTED
    for stream in (sys.stdout, sys.stderr):
        if hasattr(stream, "reconfigure"):
            stream.reconfigure(errors="backslashreplace")  # names of files may be no text at all
    try:
        from bbcodec.cli.group import group

        result = group.main(args=arguments, prog_name="bbcodec", standalone_mode=False)
        return result if isinstance(result, int) else 0
    except click.exceptions.Exit as stop:
        return stop.exit_code
    except (KeyboardInterrupt, click.Abort):
        return _fail("interrupted", INTERRUPTED)
    except click.UsageError as error:
        hint = f" (see {error.ctx.command_path} --help)" if error.ctx else ""
        return _fail(error.format_message() + hint, error.exit_code)
    except click.ClickException as error:
        return _fail(error.format_message(), error.exit_code)
    except BBCodecError as error:
        return _fail(str(error), error.exit_code)
    except Exception as error:
        if os.environ.get("BBCODEC_TRACEBACK"):
            raise
        told = f"{type(error).__name__}: {error}"
        return _fail(f"a fault of bbcodec, please report it ({told}); BBCODEC_TRACEBACK=1 shows where", 1)


def _fail(message: str, code: int) -> int:
    """Say what went wrong on one line of stderr, whatever characters the names of files put into it."""
    line = "".join(letter if letter.isprintable() else repr(letter)[1:-1] for letter in message)
    print(f"bbcodec: {line}", file=sys.stderr)
    return code
