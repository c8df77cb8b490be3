"""`bbcodec list`."""

from __future__ import annotations

import sys
from pathlib import PurePath
from typing import Any, Final

import click

from bbcodec.archive.format.names import escaped
from bbcodec.cli.output import format_count, format_ratio, print_json, print_line, print_status

TOLD_NAMES: Final = 3  # of images that are not drawn


@click.command("list", short_help="Show what is in an archive.")
@click.argument("archive")
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
@click.option("--sheet", metavar="FILE", help="Write small pictures of up to 100 images as one picture instead.")
@click.option("-f", "--force", is_flag=True, help="Overwrite the sheet.")
def command(archive: str, as_json: bool, sheet: str | None, force: bool) -> None:
    """Show what is in an archive, without decoding it.

    ARCHIVE may be -, standard input.
    """
    if sheet is not None:
        _write_sheet(archive, sheet, force)
        return
    from bbcodec.archive.read.archive import open_archive
    from bbcodec.cli.streams import archive_path, display_name

    with archive_path(archive) as path, open_archive(path) as opened:
        listing = opened.listing()
        summary = opened.summary()
    if as_json:
        print_json(listing)
        return
    if sys.stdout.isatty():
        print_line(_row("bytes", "stored", "how", "pixels", "name"))
    for file in listing["files"]:
        print_line(_file_row(file))
    for folder in listing["folders"]:
        print_line(_row("", "", "", "", escaped(folder) + "/"))
    if sys.stdout.isatty():
        sizes = format_ratio(summary.file_bytes, summary.archive_bytes)
        print_status(f"{format_count(summary.files, 'file')}, {sizes}")
    for codec in listing["codecs"]:
        print_status(f"needs codec {codec['name']}, digest {codec['digest']}, {_codec_source(codec)}")
    if "jpegxl" in listing["needs"]:
        print_status("needs the package imagecodecs, for JPEG XL")
    if "lepton" in listing["needs"]:
        print_status("needs the package lepton_jpeg_python, for JPEG files")
    if listing["rebuilt"]:
        print_status(f"{display_name(archive, 'input')}: {listing['rebuilt']}; the list is of what is left")


def _write_sheet(archive: str, target: str, force: bool) -> None:
    """Write the contact sheet of an archive. The format is that of the target's suffix.

    Raises, once it is written, the error of the first image that could not be drawn.
    """
    from PIL import Image

    from bbcodec.archive.read.archive import open_archive
    from bbcodec.atomic_files import new_file
    from bbcodec.cli.streams import archive_path, display_name
    from bbcodec.errors import InputError
    from bbcodec.remote import check_output, local_output
    from bbcodec.report.contact_sheet import MOST, contact_sheet

    suffix = PurePath(target).suffix.lower()
    kind = Image.registered_extensions().get(suffix)
    if kind not in Image.SAVE:
        raise InputError(f"{target}: expected the name of a picture, such as sheet.png")
    check_output(target, force)
    with archive_path(archive) as path, open_archive(path) as opened:
        picture, count, failed = contact_sheet(opened)
    with local_output(target, force=force) as place, new_file(place, force) as (_, stream):
        picture.save(stream, kind)
    shown = f"{MOST} of {count:,} images" if count > MOST else format_count(count, "image")
    print_status(f"{target}: {shown} of {display_name(archive, 'input')}")
    if failed:
        first = next(iter(failed.values()))
        names = ", ".join(map(escaped, list(failed)[:TOLD_NAMES]))
        more = f" and {len(failed) - TOLD_NAMES:,} more" if len(failed) > TOLD_NAMES else ""
        why = str(first).removeprefix(f"{path}: ")
        raise type(first)(f"{target} lacks {format_count(len(failed), 'image')}: {names}{more} ({why})")


def _codec_source(codec: dict[str, Any]) -> str:
    """Where a codec can be found."""
    from bbcodec.codec.catalogue import shipped_codecs

    if codec["embedded"]:
        return "in the archive"
    shipped = any(one.digest.hex() == codec["digest"] for one in shipped_codecs())
    return "shipped with bbcodec" if shipped else "neither in the archive nor shipped: pass its file as --codec"


def _file_row(file: dict[str, Any]) -> str:
    pixels = f"{file['width']}x{file['height']} {file['mode']}" if file["width"] else ""
    copy = f" (copy of {escaped(file['copy_of'])})" if file["copy_of"] else ""
    return _row(file["bytes"], file["stored_bytes"], file["how"], pixels, escaped(file["name"]) + copy)


def _row(n_bytes: object, n_stored: object, how: str, pixels: str, name: str) -> str:
    return f"{n_bytes:>12} {n_stored:>12}  {how:<8}  {pixels:<16}  {name}"
