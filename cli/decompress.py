"""`bbcodec decompress`."""

from __future__ import annotations

from dataclasses import asdict
from tempfile import TemporaryFile
from typing import TYPE_CHECKING

import click

from bbcodec.cli.options import coding_options, limit_options, size
from bbcodec.cli.output import format_contents, format_size, print_json, print_status

if TYPE_CHECKING:
    from bbcodec.archive.read.archive import Archive
    from bbcodec.options import Limits


@click.command("decompress", short_help="Restore files from an archive.")
@click.argument("archive")
@click.argument("names", nargs=-1, metavar="[NAME...]")
@click.option("-o", "--output", required=True, metavar="FOLDER", help="The folder to restore into; - is stdout.")
@click.option("--codec", metavar="FILE", help="The .bbc file of a codec that is neither in the archive nor shipped.")
@click.option("--unsafe-links", is_flag=True, help="Also create links that lead out of the folder.")
@click.option("-f", "--force", is_flag=True, help="Overwrite files.")
@click.option("--fsync", is_flag=True, help="Wait until all files are on disk.")
@click.option("--max-output", type=size, metavar="SIZE", help="What may be written in all (default: 1G, and more "
              "for larger archives).")  # fmt: skip
@limit_options
@coding_options
def command(
    archive: str,
    names: tuple[str, ...],
    output: str,
    codec: str | None,
    unsafe_links: bool,
    force: bool,
    fsync: bool,
    limits: Limits,
    jobs: int,
    device: str,
    as_json: bool,
    quiet: bool,
) -> None:
    """Restore the files of an archive: all of them, or those named NAME and those in folders named NAME.

    ARCHIVE may be -, standard input. With -o - and one name, that file goes to standard output.
    """
    from bbcodec.archive.read.archive import open_archive
    from bbcodec.cli.progress import progress_display
    from bbcodec.cli.streams import STANDARD_STREAM, archive_path, display_name, refuse_terminal
    from bbcodec.errors import DamagedArchive

    if output == STANDARD_STREAM:
        if len(names) != 1 or as_json:
            raise click.UsageError("-o - takes exactly one name, and no --json")
        refuse_terminal(repr(names[0]))
    with archive_path(archive) as path, progress_display("decompressing", quiet) as display:
        with open_archive(
            path, codec=codec, jobs=jobs, device=device, progress=display.progress, limits=limits
        ) as opened:
            if output == STANDARD_STREAM:
                _write_to_stdout(opened, names[0])
                return
            summary = opened.restore(output, names, force=force, unsafe_links=unsafe_links, fsync=fsync)
        elapsed = display.elapsed
    for line in summary.skipped:
        print_status(line.replace(path, display_name(archive, "input")))
    print_status(f"{output}: {format_contents(summary)}, {format_size(summary.file_bytes)}, {elapsed}", quiet)
    if as_json:
        print_json(asdict(summary))
    if opened.rebuilt and not names:  # files may be missing without a trace
        click.get_current_context().exit(DamagedArchive.exit_code)


def _write_to_stdout(opened: Archive, name: str) -> None:
    """Write one file to standard output, once it is complete."""
    from bbcodec.cli.streams import copy_to_stdout
    from bbcodec.errors import OutputError

    try:
        with TemporaryFile() as stream:
            opened.extract(name, stream)
            stream.seek(0)
            copy_to_stdout(stream)
    except BrokenPipeError:
        raise
    except OSError as error:
        raise OutputError(f"a temporary file (in TMPDIR) cannot be written: {error.strerror or error}") from None
