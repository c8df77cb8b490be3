"""`bbcodec decompress`."""

from __future__ import annotations

from dataclasses import asdict
from tempfile import TemporaryFile
from typing import TYPE_CHECKING

import click

from bbcodec.cli.group import show_json, size, stored, tell, work_options

if TYPE_CHECKING:
    from bbcodec.archive.read.archive import Archive


@click.command("decompress", short_help="Restore files of an archive.")
@click.argument("archive")
@click.argument("names", nargs=-1, metavar="[NAME...]")
@click.option("-o", "--output", required=True, metavar="FOLDER", help="The folder to restore into; - is stdout.")
@click.option("--codec", metavar="FILE", help="The .bbc file of a codec that is neither in the archive nor shipped.")
@click.option("--unsafe-links", is_flag=True, help="Make links that lead out of the folder, too.")
@click.option("-f", "--force", is_flag=True, help="Overwrite files.")
@work_options
def command(
    archive: str,
    names: tuple[str, ...],
    output: str,
    codec: str | None,
    unsafe_links: bool,
    force: bool,
    jobs: int,
    device: str,
    as_json: bool,
    quiet: bool,
) -> None:
    """Restore the files of an archive: all, or those called NAME and those in folders called NAME.

    ARCHIVE may be -, standard input. With -o - and one name, that file goes to standard output.
    """
    from bbcodec.archive.read.archive import open_archive
    from bbcodec.cli.progress import watched
    from bbcodec.cli.streams import STANDARD, archive_at, refuse_terminal, shown
    from bbcodec.errors import DamagedArchive

    if output == STANDARD:
        if len(names) != 1 or as_json:
            raise click.UsageError("with -o - give exactly one name, and no --json")
        refuse_terminal(repr(names[0]))
    with archive_at(archive) as path, watched("decompressing", quiet) as watch:
        with open_archive(path, codec=codec, jobs=jobs, device=device, progress=watch.progress) as opened:
            if output == STANDARD:
                _write_out(opened, names[0])
                return
            summary = opened.restore(output, names, force=force, unsafe_links=unsafe_links)
        seconds = watch.seconds
    for line in summary.skipped:
        tell(line.replace(path, shown(archive, "input")))
    tell(f"{output}: {stored(summary)}, {size(summary.file_bytes)}, {seconds}", quiet)
    if as_json:
        show_json(asdict(summary))
    if opened.rebuilt and not names:  # what was lost behind the damage is not known
        click.get_current_context().exit(DamagedArchive.exit_code)


def _write_out(opened: Archive, name: str) -> None:
    """Write one file to standard output, once it is whole."""
    from bbcodec.cli.streams import copy_out

    with TemporaryFile() as stream:
        opened.extract(name, stream)
        stream.seek(0)
        copy_out(stream)
