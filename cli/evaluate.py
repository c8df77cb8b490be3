"""`bbcodec evaluate`."""

from __future__ import annotations

import click

from bbcodec.cli.options import coding_options
from bbcodec.cli.output import print_status


@click.command("evaluate", short_help="Measure a codec on images: bounds, bytes, and other codecs.")
@click.argument("codec")
@click.argument("inputs", nargs=-1, required=True, metavar="DATA...")
@click.option(
    "--iwae", type=click.IntRange(0), default=100, metavar="K", help="Draws of the IWAE bound (100; 0: none)."
)
@click.option("--iwae-images", type=click.IntRange(1), metavar="N", help="Images it is measured on (100, or fewer).")
@click.option("--no-peers", is_flag=True, help="Do not compare with PNG, WebP, JPEG XL and no codec.")
@click.option("--exclude", multiple=True, metavar="PATTERN", help="Skip matching names, e.g. '*.tmp' (repeatable).")
@click.option("--html", metavar="FILE", help="Also write the report as an HTML page.")
@click.option("-f", "--force", is_flag=True, help="Overwrite the page.")
@coding_options
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
    """Compress images with CODEC and account for every byte, from the bounds of the theory to the file.

    CODEC is a shipped codec or a .bbc file; DATA are image files, folders and arrays (.npy, .npz). The archive is
    discarded.
    """
    from bbcodec.cli.progress import progress_display
    from bbcodec.cli.report import print_report
    from bbcodec.options import RunOptions
    from bbcodec.remote import check_output
    from bbcodec.report.evaluate import evaluate

    if html is not None:
        check_output(html, force)
    with progress_display("scanning", quiet) as display:
        report = evaluate(
            codec,
            list(inputs),
            iwae=iwae,
            iwae_images=iwae_images,
            baselines=not no_peers,
            reconstruct=html is not None,
            exclude=exclude,
            run=RunOptions(jobs, device, display.progress),
        )
        elapsed = display.elapsed
    print_report(report, html, force, as_json)
    print_status(f"{report.archive_bytes:,} bytes, {elapsed}", quiet)
