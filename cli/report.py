"""`bbcodec report`, and how reports are shown."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

from bbcodec.cli.group import clean, show_json, tell, work_options

if TYPE_CHECKING:
    from bbcodec.report.report import Report


@click.command("report", short_help="Account for every byte of an archive.")
@click.argument("archive")
@click.option("--codec", metavar="FILE", help="The .bbc file of a codec that is neither in the archive nor shipped.")
@click.option("--html", metavar="FILE", help="Write the report as a page, too.")
@click.option("-f", "--force", is_flag=True, help="Overwrite the page.")
@work_options
def command(
    archive: str,
    codec: str | None,
    html: str | None,
    force: bool,
    jobs: int,
    device: str,
    as_json: bool,
    quiet: bool,
) -> None:
    """Account for every byte of an archive, without the original files. Learned images are decoded.

    ARCHIVE may be -, standard input.
    """
    from bbcodec.atomic_files import check_new_file
    from bbcodec.cli.progress import watched
    from bbcodec.cli.streams import archive_at, shown
    from bbcodec.report.evaluate import inspect

    if html is not None:
        check_new_file(Path(html), force)
    with archive_at(archive) as path, watched("looking", quiet) as watch:
        report = inspect(path, codec=codec, jobs=jobs, device=device, progress=watch.progress)
        seconds = watch.seconds
    report.title = shown(archive, "input")
    show_report(report, html, force, as_json)
    tell(f"{shown(archive, 'input')}: {report.file_bytes:,} bytes, {seconds}", quiet)


def show_report(report: Report, html: str | None, force: bool, as_json: bool) -> None:
    """Text or JSON on stdout, and a page if a file for it is given."""
    from bbcodec.atomic_files import new_file
    from bbcodec.report.report import as_text

    if as_json:
        show_json(report.as_json())
    else:
        for line in as_text(report).split("\n"):
            click.echo(clean(line))
    if html is not None:
        from bbcodec.report.render_html import as_html

        with new_file(Path(html), force) as (_, stream):
            stream.write(as_html(report).encode())
