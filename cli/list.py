"""`bbcodec list`."""

from __future__ import annotations

import sys
from typing import Any

import click

from bbcodec.cli.group import clean, counted, show_json, sizes, tell


@click.command("list", short_help="Show what is in an archive.")
@click.argument("archive")
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
def command(archive: str, as_json: bool) -> None:
    """Show what is in an archive, without decoding it.

    ARCHIVE may be -, standard input.
    """
    from bbcodec.archive.read.archive import open_archive
    from bbcodec.cli.streams import archive_at, shown

    with archive_at(archive) as path, open_archive(path) as opened:
        listing = opened.listing()
        summary = opened.summary()
    if as_json:
        show_json(listing)
        return
    if sys.stdout.isatty():
        click.echo(_row("bytes", "stored", "how", "pixels", "name"))
    for file in listing["files"]:
        click.echo(_line(file))
    for folder in listing["folders"]:
        click.echo(_row("", "", "", "", clean(folder) + "/"))
    if sys.stdout.isatty():
        tell(f"{counted(summary.files, 'file')}, {sizes(summary.file_bytes, summary.archive_bytes)}")
    for codec in listing["codecs"]:
        tell(f"needs codec {codec['name']}, digest {codec['digest']}, {_place(codec)}")
    if "jpegxl" in listing["needs"]:
        tell("needs JPEG XL, which the package imagecodecs decodes")
    if listing["rebuilt"]:
        tell(f"{shown(archive, 'input')}: {listing['rebuilt']}; listed are the files that its chunks name")


def _place(codec: dict[str, Any]) -> str:
    """Where a codec is, for people."""
    from bbcodec.codec.catalogue import shipped_codecs

    if codec["embedded"]:
        return "in the archive"
    shipped = any(one.digest.hex() == codec["digest"] for one in shipped_codecs())
    return "shipped with bbcodec" if shipped else "neither in the archive nor shipped: --codec takes its file"


def _line(file: dict[str, Any]) -> str:
    """A file, for people."""
    pixels = f"{file['width']}x{file['height']} {file['mode']}" if file["width"] else ""
    copy = f" (copy of {clean(file['copy_of'])})" if file["copy_of"] else ""
    return _row(file["bytes"], file["stored_bytes"], file["how"], pixels, clean(file["name"]) + copy)


def _row(n_bytes: object, n_stored: object, how: str, pixels: str, name: str) -> str:
    return f"{n_bytes:>12} {n_stored:>12}  {how:<8}  {pixels:<16}  {name}"
