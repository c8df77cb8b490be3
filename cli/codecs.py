"""`bbcodec codecs`."""

from __future__ import annotations

from typing import Any

import click

from bbcodec.archive.format.names import escaped
from bbcodec.cli.output import format_size, print_json, print_line, print_status
from bbcodec.codec.catalogue import shipped_codecs


@click.command("codecs")
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
def command(as_json: bool) -> None:
    """List the codecs that ship with bbcodec."""
    rows: list[dict[str, Any]] = [
        {
            "name": codec.name,
            "model": codec.family,
            "pixels": codec.pixels,
            "bytes": len(codec.content),
            "digest": codec.digest.hex(),
            "bits_per_dim": codec.card.get("bits_per_dim"),
        }
        for codec in shipped_codecs()
    ]
    if as_json:
        print_json({"codecs": rows})
        return
    for row in rows:
        rate = f"{row['bits_per_dim']} bits/dim" if row["bits_per_dim"] is not None else ""
        model = f"{row['name']:<16} {row['model']:<12} {row['pixels']:<4}"
        line = f"{model} {format_size(row['bytes']):>8}  {row['digest']}  {rate}"
        print_line(escaped(line).rstrip())
    if not rows:
        print_status("no codecs are installed: images are stored as WebP or PNG")
