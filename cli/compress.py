"""`bbcodec compress`."""

from __future__ import annotations

from dataclasses import asdict

import click
from bbcodec.cli.group import show_json, size, stored, tell, watched, work_options


@click.command("compress")
@click.argument("inputs", nargs=-1, required=True)
@click.option("-o", "--output", required=True, help="The archive to write, by custom called something.bb.")
@click.option("--codec", default="auto", help="A shipped codec, a .bbc file, auto (the best shipped one) or none.")
@click.option("--no-embed-codec", is_flag=True, help="Leave a codec of your own out of the archive.")
@click.option("--no-verify", is_flag=True, help="Do not decode the archive again before it gets its name.")
@click.option("-f", "--force", is_flag=True, help="Overwrite the output.")
@work_options
def command(
    inputs: tuple[str, ...],
    output: str,
    codec: str,
    no_embed_codec: bool,
    no_verify: bool,
    force: bool,
    jobs: int,
    device: str,
    as_json: bool,
    quiet: bool,
) -> None:
    """Compress image files, folders and arrays (.npy, .npz) into one archive.

    Names in the archive are relative to the folder, if a single one is given; else each input keeps its own name. Files
    that are no images, or that cannot be given back from their pixels, are kept byte for byte.
    """
    from bbcodec.archive import compress

    with watched("compressing", quiet) as progress:
        summary = compress(
            list(inputs),
            output,
            codec=codec,
            embed_codec=not no_embed_codec,
            force=force,
            verify=not no_verify,
            jobs=jobs,
            device=device,
            progress=progress,
        )
    for line in summary.skipped:
        tell(line)
    ratio = summary.file_bytes / summary.archive_bytes
    sizes = f"{size(summary.file_bytes)} -> {size(summary.archive_bytes)}, ratio {ratio:.2f}"
    tell(f"{output}: {stored(summary)}, {sizes}", quiet)
    if as_json:
        show_json(asdict(summary))
