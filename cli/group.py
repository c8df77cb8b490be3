"""The group of commands, each imported when it is asked for."""

from __future__ import annotations

import sys
from importlib import import_module
from typing import Any, Final

import click

from bbcodec import __version__
from bbcodec.cli.output import discard
from bbcodec.cli.signals import BROKEN_PIPE, Stopped

# Modules of this package, each with the click command as `command`. They import torch and numpy only to run.
COMMANDS: Final = (
    "compress", "decompress", "list", "verify", "repair", "join", "mount", "train", "evaluate", "report", "codecs",
)  # fmt: skip


class LazyGroup(click.Group):
    """A group that imports a command when it is asked for."""

    def list_commands(self, context: click.Context) -> list[str]:
        """The names of all commands, as `--help` orders them."""
        return list(COMMANDS)

    def get_command(self, context: click.Context, name: str) -> click.Command | None:
        """The command called `name`, imported now; None if there is none."""
        if name not in COMMANDS:
            return None
        command: click.Command = import_module(f"bbcodec.cli.{name}").command
        return command

    def invoke(self, context: click.Context) -> Any:
        """Run a command. Raises Stopped if a signal ended it, or the reader of its output went away."""
        try:
            result = super().invoke(context)
            sys.stdout.flush()
        except BrokenPipeError:
            discard(sys.stdout)
            raise Stopped("", BROKEN_PIPE) from None
        except (KeyboardInterrupt, Exception) as error:
            stop = context.obj.stop_behind(error)
            if stop is None:
                raise
            if sys.stderr.isatty():
                click.echo(err=True)  # the terminal shows ^C
            raise stop from None
        return result


@click.group(cls=LazyGroup, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(__version__, prog_name="bbcodec")
def group() -> None:
    """Lossless image compression with latent variable models and bits-back coding."""
