"""`bbcodec verify`."""

from __future__ import annotations

from dataclasses import asdict
from typing import TYPE_CHECKING

import click

from bbcodec.cli.options import coding_options, limit_options
from bbcodec.cli.output import format_contents, format_size, print_json, print_status

if TYPE_CHECKING:
    from bbcodec.options import Limits


@click.command("verify", short_help="Decode everything in an archive, write nothing.")
@click.argument("archive")
@click.option("--codec", metavar="FILE", help="The .bbc file of a codec that is neither in the archive nor shipped.")
@limit_options
@coding_options
def command(
    archive: str, codec: str | None, limits: Limits, jobs: int, device: str, as_json: bool, quiet: bool
) -> None:
    """Decode everything in an archive and compare digests; write nothing.

    ARCHIVE may be -, standard input.
    """
    from bbcodec.archive.read.archive import verify
    from bbcodec.cli.progress import progress_display
    from bbcodec.cli.streams import archive_path, display_name

    with archive_path(archive) as path, progress_display("verifying", quiet) as display:
        summary = verify(path, codec=codec, jobs=jobs, device=device, progress=display.progress, limits=limits)
    contents = f"{format_contents(summary)}, {format_size(summary.archive_bytes)}"
    print_status(f"{display_name(archive, 'input')}: intact, {contents}, {display.elapsed}", quiet)
    if as_json:
        print_json(asdict(summary))
