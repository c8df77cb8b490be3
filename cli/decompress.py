"""`bbcodec decompress`."""

from __future__ import annotations

from dataclasses import asdict

import click
from bbcodec.cli.group import show_json, size, stored, tell, watched, work_options


@click.command("decompress")
@click.argument("archive")
@click.argument("names", nargs=-1)
@click.option("-o", "--output", required=True, help="The folder to restore into; made if it does not exist.")
@click.option("--codec", help="The .bbc file of a codec that is neither in the archive nor shipped.")
@click.option("-f", "--force", is_flag=True, help="Overwrite files.")
@work_options
def command(
    archive: str,
    names: tuple[str, ...],
    output: str,
    codec: str | None,
    force: bool,
    jobs: int,
    device: str,
    as_json: bool,
    quiet: bool,
) -> None:
    """Restore the files of an archive: all, or those with NAMES and those in folders with NAMES."""
    from bbcodec.archive import decompress

    with watched("decompressing", quiet) as progress:
        summary = decompress(
            archive, output, list(names), force=force, codec=codec, jobs=jobs, device=device, progress=progress
        )
    tell(f"{output}: {stored(summary)}, {size(summary.file_bytes)}", quiet)
    if as_json:
        show_json(asdict(summary))
