"""`bbcodec verify`."""

from __future__ import annotations

from dataclasses import asdict

import click

from bbcodec.cli.group import show_json, size, stored, tell, work_options


@click.command("verify", short_help="Decode everything in an archive, write nothing.")
@click.argument("archive")
@click.option("--codec", metavar="FILE", help="The .bbc file of a codec that is neither in the archive nor shipped.")
@work_options
def command(archive: str, codec: str | None, jobs: int, device: str, as_json: bool, quiet: bool) -> None:
    """Decode everything in an archive, compare digests, and write nothing.

    ARCHIVE may be -, standard input.
    """
    from bbcodec.archive.read.archive import verify
    from bbcodec.cli.progress import watched
    from bbcodec.cli.streams import archive_at, shown

    with archive_at(archive) as path, watched("verifying", quiet) as watch:
        summary = verify(path, codec=codec, jobs=jobs, device=device, progress=watch.progress)
    tell(f"{shown(archive, 'input')}: whole, {stored(summary)}, {size(summary.archive_bytes)}, {watch.seconds}", quiet)
    if as_json:
        show_json(asdict(summary))
