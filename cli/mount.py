"""`bbcodec mount`."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from bbcodec.cli.options import limit_options
from bbcodec.cli.output import print_status

if TYPE_CHECKING:
    from bbcodec.options import Limits


@click.command("mount", short_help="Show an archive's files in a folder.")
@click.argument("archive")
@click.argument("folder")
@click.option("--codec", metavar="FILE", help="The .bbc file of a codec that is neither in the archive nor shipped.")
@limit_options
@click.option("-q", "--quiet", is_flag=True, help="Print nothing but errors.")
def command(archive: str, folder: str, codec: str | None, limits: Limits, quiet: bool) -> None:
    """Show an archive's files in an empty folder, for reading alone, until Ctrl-C or `umount FOLDER`.

    Files are decoded when they are opened. Needs FUSE, and the package mfusepy.
    """
    from bbcodec.integrations.mount import mount

    mount(archive, folder, codec=codec, limits=limits, tell=lambda line: print_status(line, quiet))
