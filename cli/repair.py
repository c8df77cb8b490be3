"""`bbcodec repair`."""

from __future__ import annotations

from dataclasses import asdict

import click

from bbcodec.cli.output import format_count, print_json, print_status


@click.command("repair", short_help="Make a damaged archive whole from its recovery data.")
@click.argument("archive", type=click.Path())
@click.option("-o", "--output", metavar="FILE", help="Where to write it (default: in its own place).")
@click.option("-f", "--force", is_flag=True, help="Overwrite the output.")
@click.option("--json", "as_json", is_flag=True, help="Print a summary as JSON on stdout.")
@click.option("-q", "--quiet", is_flag=True, help="Print errors only.")
def command(archive: str, output: str | None, force: bool, as_json: bool, quiet: bool) -> None:
    """Make a damaged archive whole, bit for bit, from the data that `compress --recovery` appended.

    Where more is lost than that makes up for, nothing is written. What a killed `compress --append` left is taken back.
    """
    from bbcodec.archive.recovery_blocks import repair

    done = repair(archive, output, force=force)
    what = f"{format_count(done.mended, 'block')} of {done.blocks:,} made whole" if done.mended else "already whole"
    if done.taken_back:
        what = "as it was before the run that was appending to it was killed"
    print_status(f"{archive if output is None else output}: {what}", quiet)
    if as_json:
        print_json(asdict(done))
