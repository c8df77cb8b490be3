"""`bbcodec join`."""

from __future__ import annotations

import click

from bbcodec.cli.output import format_count, format_size, print_json, print_status


@click.command("join", short_help="Make several archives one, by a manifest of them.")
@click.argument("archives", nargs=-1, required=True, metavar="ARCHIVE...")
@click.option("-o", "--output", required=True, metavar="MANIFEST", help="The manifest to write, in the same folder.")
@click.option("-f", "--force", is_flag=True, help="Overwrite the output.")
@click.option("--json", "as_json", is_flag=True, help="Print a summary as JSON on stdout.")
@click.option("-q", "--quiet", is_flag=True, help="Print errors only.")
def command(archives: tuple[str, ...], output: str, force: bool, as_json: bool, quiet: bool) -> None:
    """Make archives that lie in one folder, of separate jobs say, one that every command opens.

    They stay where they are: what is written names them in a few dozen bytes each.
    """
    from bbcodec.archive.sharding import join_archives

    shards = join_archives(archives, output, force=force)
    files, size = sum(shard.files for shard in shards), sum(shard.size for shard in shards)
    what = f"{format_count(len(shards), 'archive')} of {format_count(files, 'file')}, {format_size(size)}"
    print_status(f"{output}: {what}", quiet)
    if as_json:
        print_json({"archives": len(shards), "files": files, "archive_bytes": size})
