"""The command `bbcodec`: finds the command, runs it, and turns every failure into one line and an exit code."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any, Final

# Each module has the click command as `command`. They are imported when asked for, and import torch only when they run.
COMMANDS: Final = {
    "compress": "bbcodec.cli.compress",
    "decompress": "bbcodec.cli.decompress",
    "list": "bbcodec.cli.list",
    "verify": "bbcodec.cli.verify",
    "train": "bbcodec.cli.train",
    "evaluate": "bbcodec.cli.evaluate",
    "report": "bbcodec.cli.report",
    "codecs": "bbcodec.cli.codecs",
}
SIGNALLED: Final = 128  # and the number of the signal, as shells tell it
INTERRUPTED: Final = 130
RECEIVED: Final[list[int]] = []  # signals that asked this process to end
BROKEN_PIPE: Final = 141


class Ended(KeyboardInterrupt):
    """A signal asked the process to end: it does so as at Ctrl-C, and leaves nothing behind."""

    def __init__(self, number: int) -> None:
        """number: of the signal."""
        super().__init__(number)
        self.number = number


def asked_to_end(error: BaseException) -> KeyboardInterrupt | None:
    """The interrupt that an error is, or that it comes from; None if it is just an error.

    An exception that a signal raises while compiled code calls back is lost there; what follows fails for want of it.
    """
    if isinstance(error, KeyboardInterrupt):
        return error
    if not RECEIVED:
        return None
    return KeyboardInterrupt() if SIGNALLED + RECEIVED[-1] == INTERRUPTED else Ended(RECEIVED[-1])


class Stopped(Exception):
    """Work was stopped from outside, with this line to say (or none) and this exit code."""

    def __init__(self, message: str, code: int) -> None:
        """An empty message is not said."""
        super().__init__(message)
        self.code = code


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

        with _ended_by_signals():
            result = group.main(args=arguments, prog_name="bbcodec", standalone_mode=False)
        return result if isinstance(result, int) else 0
    except click.exceptions.Exit as stop:
        return stop.exit_code
    except Stopped as stop:
        return _fail(str(stop), stop.code)
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
        told = f"{type(error).__name__}: {error}"
        return _fail(f"a fault of bbcodec, please report it ({told}); BBCODEC_TRACEBACK=1 shows where", 1)


@contextmanager
def _ended_by_signals() -> Iterator[None]:
    """SIGTERM and SIGHUP raise Ended, once, where they would else end the process on the spot; SIGINT is noted."""
    import signal
    import threading

    def end(number: int, _: Any) -> None:
        RECEIVED.append(number)
        if number == signal.SIGINT:
            raise KeyboardInterrupt
        signal.signal(number, signal.SIG_IGN)  # so that a second one does not disturb the tidying up
        raise Ended(number)

    numbers = [getattr(signal, name) for name in ("SIGTERM", "SIGHUP", "SIGINT") if hasattr(signal, name)]
    here = threading.current_thread() is threading.main_thread()
    usual = {number: signal.getsignal(number) for number in numbers if here}
    taken = {number: one for number, one in usual.items() if one in (signal.SIG_DFL, signal.default_int_handler)}
    RECEIVED.clear()
    for number in taken:
        signal.signal(number, end)
    try:
        yield
    finally:
        for number, one in taken.items():
            signal.signal(number, one)


def _fail(message: str, code: int) -> int:
    """Say what went wrong on one line of stderr, whatever characters the names of files put into it."""
    line = "".join(letter if letter.isprintable() else repr(letter)[1:-1] for letter in message)
    if line:
        print(f"bbcodec: {line}", file=sys.stderr)
    return code
