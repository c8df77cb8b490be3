"""`bbcodec evaluate`."""

from __future__ import annotations

from pathlib import Path

import click

from bbcodec.cli.group import tell, work_options


@click.command("evaluate", short_help="Measure a codec on images: the theory, the bytes, and other codecs.")
@click.argument("codec")
@click.argument("inputs", nargs=-1, required=True, metavar="DATA...")
@click.option("--iwae", type=click.IntRange(0), default=100, metavar="K", help="Draws of the IWAE bound; 100.")
@click.option("--iwae-images", type=click.IntRange(1), metavar="N", help="Images it is measured on (100, or fewer).")
@click.option("--no-peers", is_flag=True, help="Do not compare with PNG, WebP, JPEG XL and no codec.")
@click.option("--exclude", multiple=True, metavar="PATTERN", help="Leave out names like this, as '*.tmp' (repeatable).")
@click.option("--html", metavar="FILE", help="Write the report as a page, too.")
@click.option("-f", "--force", is_flag=True, help="Overwrite the page.")
@work_options
def command(
    codec: str,
    inputs: tuple[str, ...],
    iwae: int,
    iwae_images: int | None,
    no_peers: bool,
    exclude: tuple[str, ...],
    html: str | None,
    force: bool,
    jobs: int,
    device: str,
    as_json: bool,
    quiet: bool,
) -> None:
    """Compress images with CODEC, and account for every byte: from the bounds of the theory to the file.

    CODEC is a shipped codec or a .bbc file; DATA are image files, folders and arrays (.npy, .npz). The archive is not
    kept.
    """
    from bbcodec.atomic_files import check_new_file
    from bbcodec.cli.progress import watched
    from bbcodec.cli.report import show_report
    from bbcodec.report.evaluate import evaluate

    if html is not None:
        check_new_file(Path(html), force)
    with watched("looking", quiet) as watch:
        report = evaluate(
            codec,
            list(inputs),
            iwae=iwae,
            iwae_images=iwae_images,
            peers=not no_peers,
            exclude=exclude,
            jobs=jobs,
            device=device,
            progress=watch.progress,
        )
        seconds = watch.seconds
    show_report(report, html, force, as_json)
    tell(f"{report.file_bytes:,} bytes, {seconds}", quiet)
