"""`bbcodec report`, and how reports are printed."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Final

import click

from bbcodec.archive.format.names import escaped
from bbcodec.cli.options import coding_options, limit_options
from bbcodec.cli.output import print_json, print_line, print_status

if TYPE_CHECKING:
    from bbcodec.options import Limits
    from bbcodec.report.report import Report

THUMBNAILS: Final = 60  # on a page, which takes about 1 MB for them at most


@click.command("report", short_help="Account for every byte of an archive.")
@click.argument("archive")
@click.option("--codec", metavar="FILE", help="The .bbc file of a codec that is neither in the archive nor shipped.")
@click.option("--html", metavar="FILE", help="Also write the report as an HTML page.")
@click.option("-f", "--force", is_flag=True, help="Overwrite the page.")
@limit_options
@coding_options
def command(
    archive: str,
    codec: str | None,
    html: str | None,
    force: bool,
    limits: Limits,
    jobs: int,
    device: str,
    as_json: bool,
    quiet: bool,
) -> None:
    """Account for every byte of an archive, without the original files. Learned images are decoded.

    ARCHIVE may be -, standard input.
    """
    from bbcodec.cli.progress import progress_display
    from bbcodec.cli.streams import archive_path, display_name
    from bbcodec.options import RunOptions
    from bbcodec.remote import check_output
    from bbcodec.report.evaluate import inspect

    if html is not None:
        check_output(html, force)
    with archive_path(archive) as path, progress_display("scanning", quiet) as display:
        run = RunOptions(jobs, device, display.progress, limits=limits)
        report = inspect(path, codec=codec, most_thumbnails=THUMBNAILS if html else 0, run=run)
        elapsed = display.elapsed
    name = display_name(archive, "input")
    print_report(replace(report, title=name), html, force, as_json)
    print_status(f"{name}: {report.archive_bytes:,} bytes, {elapsed}", quiet)


def print_report(report: Report, html: str | None, force: bool, as_json: bool) -> None:
    """Print a report on stdout as text or JSON, and write it as a page to the file `html`, if given."""
    from bbcodec.atomic_files import new_file
    from bbcodec.remote import local_output
    from bbcodec.report.render_json import render_json
    from bbcodec.report.render_text import render_text

    if as_json:
        print_json(render_json(report))
    else:
        for line in render_text(report).split("\n"):
            print_line(escaped(line))
    if html is not None:
        from bbcodec.report.render_html import render_html

        with local_output(html, force=force) as path, new_file(path, force) as (_, stream):
            stream.write(render_html(report).encode())
