"""`bbcodec compress`."""

from __future__ import annotations

from dataclasses import asdict

import click

from bbcodec.cli.group import counted, show_json, sizes, stored, tell, work_options


@click.command("compress", short_help="Compress image files, folders and arrays into an archive.")
@click.argument("inputs", nargs=-1, required=True, metavar="INPUT...")
@click.option("-o", "--output", required=True, metavar="ARCHIVE", help="The archive to write; - is standard output.")
@click.option("--codec", default="auto", metavar="CODEC", help="A shipped codec, a .bbc file, auto (the best) or none.")
@click.option("--no-embed-codec", is_flag=True, help="Leave a codec of your own out of the archive.")
@click.option("--exact-files", is_flag=True, help="Keep the bytes of every file, not just its picture.")
@click.option("--jpegxl", is_flag=True, help="Try JPEG XL too; an archive with it needs imagecodecs.")
@click.option("--exclude", multiple=True, metavar="PATTERN", help="Leave out names like this, as '*.tmp' (repeatable).")
@click.option("--name", metavar="NAME", help="What standard input, - among the inputs, is called in the archive.")
@click.option("--no-verify", is_flag=True, help="Do not decode the archive again before it gets its name.")
@click.option("-f", "--force", is_flag=True, help="Overwrite the output.")
@click.option("-v", "--verbose", is_flag=True, help="Say of each file how it is stored, and what was tried.")
@work_options
def command(
    inputs: tuple[str, ...],
    output: str,
    codec: str,
    no_embed_codec: bool,
    exact_files: bool,
    jpegxl: bool,
    exclude: tuple[str, ...],
    name: str | None,
    no_verify: bool,
    force: bool,
    verbose: bool,
    jobs: int,
    device: str,
    as_json: bool,
    quiet: bool,
) -> None:
    """Compress image files, folders and arrays (.npy, .npz) into one archive. INPUT may be -, standard input.

    Names in the archive are relative to the folder, if a single one is given; else each input keeps its own name. Files
    that are no images, or that cannot be given back from their pixels, are kept byte for byte.
    """
    from bbcodec.archive.compress import compress
    from bbcodec.cli.progress import watched
    from bbcodec.cli.streams import STANDARD, inputs_of, output_at, shown

    if as_json and output == STANDARD:
        raise click.UsageError("standard output takes the archive or the JSON, not both")
    if quiet and verbose:
        raise click.UsageError("--quiet and --verbose contradict each other")
    with output_at(output) as target, inputs_of(inputs, name) as sources, watched("looking", quiet) as watch:
        summary = compress(
            list(sources),
            target,
            codec=codec,
            embed_codec=not no_embed_codec,
            exact_files=exact_files,
            jpegxl=jpegxl,
            exclude=exclude,
            force=force,
            verify=not no_verify,
            jobs=jobs,
            device=device,
            progress=watch.progress,
            report=watch.report if verbose else None,
        )
    for line in summary.skipped:
        tell(line)
    told = f"{stored(summary)}, {sizes(summary.file_bytes, summary.archive_bytes)}, {watch.seconds}"
    tell(f"{shown(output, 'output')}: {told}", quiet)
    if summary.rewritten:
        what = f"{counted(summary.rewritten, 'file')} come{'s' * (summary.rewritten == 1)} back"
        tell(f"{what} with identical pictures, but other file checksums; --exact-files keeps them", quiet)
    if as_json:
        show_json(asdict(summary))
