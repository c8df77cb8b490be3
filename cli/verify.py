"""`bbcodec verify`."""

from __future__ import annotations

from dataclasses import asdict

import click
from bbcodec.cli.group import show_json, size, stored, tell, watched, work_options


@click.command("verify")
@click.argument("archive")
@click.option("--codec", help="The .bbc file of a codec that is neither in the archive nor shipped.")
@work_options
def command(archive: str, codec: str | None, jobs: int, device: str, as_json: bool, quiet: bool) -> None:
    """Decode everything in an archive, compare digests, and write nothing."""
    from bbcodec.archive import verify

    with watched("verifying", quiet) as progress:
        summary = verify(archive, codec=codec, jobs=jobs, device=device, progress=progress)
    tell(f"{archive}: whole, {stored(summary)}, {size(summary.archive_bytes)}", quiet)
    if as_json:
        show_json(asdict(summary))
