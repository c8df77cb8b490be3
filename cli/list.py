"""`bbcodec list`."""

from __future__ import annotations

import click
from bbcodec.cli.group import clean, show_json


@click.command("list")
@click.argument("archive")
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
def command(archive: str, as_json: bool) -> None:
    """Show what is in an archive, without decoding it."""
    from bbcodec.archive import open_archive

    with open_archive(archive) as opened:
        listing = opened.listing()
    if as_json:
        show_json(listing)
        return
    for file in listing["files"]:
        dims = f"{file['width']}x{file['height']} {file['mode']}" if file["width"] else ""
        click.echo(
            f"{file['bytes']:>12} {file['stored_bytes']:>12}  {file['how']:<8}  {dims:<16}  {clean(file['name'])}"
        )
    for folder in listing["folders"]:
        click.echo(f"{'':>12} {'':>12}  {'':<8}  {'':<16}  {clean(folder)}/")
    for codec in listing["codecs"]:
        place = "in the archive" if codec["embedded"] else "not in the archive"
        click.echo(f"needs codec {clean(codec['name'])}, digest {codec['digest']}, {place}", err=True)
