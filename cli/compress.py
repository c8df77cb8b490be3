"""`bbcodec compress`."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager, redirect_stdout, suppress
from dataclasses import asdict
from typing import TYPE_CHECKING, Any, NamedTuple

import click
from click.core import ParameterSource

from bbcodec.cli.options import coding_options, size
from bbcodec.cli.output import format_contents, format_count, format_ratio, format_size, print_json, print_status

if TYPE_CHECKING:
    from concurrent.futures import Executor


class AdaptMinutes(click.ParamType):  # type: ignore[type-arg]  # generic from click 8.2 on
    """Minutes above 0, or `auto`, which is None."""

    name = "minutes"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> float | None:
        """From text; the default is a number."""
        if value == "auto":
            return None
        with suppress(ValueError):
            minutes = float(value)
            if value == 0 or 0 < minutes < float("inf"):
                return minutes
        self.fail(f"expected minutes above 0, or auto, got {value!r}", param, ctx)


class Workers(NamedTuple):
    """Who does the work: so many threads or processes here, or so many workers of an executor."""

    jobs: int
    executor: Executor | None = None


@contextmanager
def distributed(distributor: str | None, address: str | None, jobs: int) -> Iterator[Workers]:
    """The workers of a cluster, all of them unless --jobs was given, or those of this machine."""
    if distributor is None:
        yield Workers(jobs)
        return
    from bbcodec.clusters import cluster

    default = click.get_current_context().get_parameter_source("jobs") == ParameterSource.DEFAULT
    # Ray tells of dead workers on standard output, where the archive or JSON may go.
    with (
        open(os.devnull, "w") as nowhere,
        redirect_stdout(nowhere),
        cluster(distributor, address) as connected,
    ):
        yield Workers(connected.workers if default else jobs, connected.executor)


@click.command("compress", short_help="Compress image files, folders and arrays into an archive.")
@click.argument("inputs", nargs=-1, required=True, metavar="INPUT...")
@click.option("-o", "--output", required=True, metavar="ARCHIVE", help="The archive to write; - is standard output.")
@click.option("--codec", default="auto", metavar="CODEC", help="A shipped codec, a .bbc file, auto (the best) or none.")
@click.option("--no-embed-codec", is_flag=True, help="Do not embed a codec of your own in the archive.")
@click.option("--exact-files", is_flag=True, help="Restore every file byte for byte, not just its pixels.")
@click.option("--jpegxl", is_flag=True, help="Try JPEG XL, too; reading the archive may then need imagecodecs.")
@click.option("--mix", is_flag=True, help="Let codecs learn while they code: smaller archives, but slower both ways.")
@click.option("--fast", is_flag=True, help="Faster both ways, but larger archives: codecs made for speed.")
@click.option("--exclude", multiple=True, metavar="PATTERN", help="Skip matching names, e.g. '*.tmp' (repeatable).")
@click.option("--name", metavar="NAME", help="The name of standard input (-) in the archive.")
@click.option("--no-verify", is_flag=True, help="Do not decode the archive before it is renamed into place.")
@click.option("--recovery", type=click.IntRange(1, 100), metavar="PERCENT",
              help="Append data from which `repair` restores about so much of the archive; needs zfec.")  # fmt: skip
@click.option("--adapt", type=AdaptMinutes(), default=0, metavar="MINUTES",
              help="Let codecs learn from the files first, for so long, or auto; Ctrl-C ends it early.")  # fmt: skip
@click.option("--append", is_flag=True, help="Add the files to an archive that is there.")
@click.option("--shard-size", type=size, metavar="SIZE",
              help="Write archives of so many bytes of files each, and a manifest that is opened as one.")  # fmt: skip
@click.option("--distributor", type=click.Choice(["dask", "ray"]), help="Let the workers of a cluster do the work.")
@click.option("--address", metavar="ADDRESS", help="Of Dask's scheduler, or of Ray's head (default: this machine's).")
@click.option("--parts", metavar="DIR", help="Keep what is done in a folder, and go on from there if stopped.")
@click.option("-f", "--force", is_flag=True, help="Overwrite the output.")
@click.option("-v", "--verbose", is_flag=True, help="Print how each file is stored, and what was tried.")
@coding_options
def command(
    inputs: tuple[str, ...],
    output: str,
    codec: str,
    no_embed_codec: bool,
    exact_files: bool,
    jpegxl: bool,
    mix: bool,
    fast: bool,
    exclude: tuple[str, ...],
    name: str | None,
    no_verify: bool,
    recovery: int | None,
    adapt: float | None,
    append: bool,
    shard_size: int | None,
    distributor: str | None,
    address: str | None,
    parts: str | None,
    force: bool,
    verbose: bool,
    jobs: int,
    device: str,
    as_json: bool,
    quiet: bool,
) -> None:
    """Compress image files, folders and arrays (.npy, .npz) into one archive. INPUT may be -, standard input.

    With a single folder as input, names in the archive are relative to it; otherwise each input keeps its own name.
    Files that are not images, or that cannot be restored from their pixels, are stored byte for byte.
    """
    from bbcodec.archive.compress import compress
    from bbcodec.cli.progress import progress_display
    from bbcodec.cli.streams import STANDARD_STREAM, display_name, input_paths, output_path
    from bbcodec.errors import InputChanged, InputLost

    if as_json and output == STANDARD_STREAM:
        raise click.UsageError("standard output takes the archive or the JSON, not both")
    if fast and mix:
        raise click.UsageError("--fast and --mix are mutually exclusive")
    if quiet and verbose:
        raise click.UsageError("--quiet and --verbose are mutually exclusive")
    if adapt != 0 and no_embed_codec:
        raise click.UsageError("--adapt and --no-embed-codec are mutually exclusive")
    if shard_size is not None and (append or adapt != 0 or output == STANDARD_STREAM):
        raise click.UsageError("--shard-size writes several files: without --append and --adapt, and not to -")
    if append and (force or recovery or output == STANDARD_STREAM):
        raise click.UsageError("--append adds to an archive on disk: without --force and --recovery, and not to -")
    if (address is not None or distributor == "dask") and not (address and distributor):
        raise click.UsageError("--distributor dask needs --address, as tcp://HOST:8786, and --address needs it, or ray")
    with (
        output_path(output) as target,
        input_paths(inputs, name) as sources,
        distributed(distributor, address, jobs) as workers,
        progress_display("scanning", quiet) as display,
    ):
        summary = compress(
            list(sources),
            target,
            codec=codec,
            embed_codec=not no_embed_codec,
            exact_files=exact_files,
            jpegxl=jpegxl,
            mix=mix,
            fast=fast,
            exclude=exclude,
            force=force,
            append=append,
            shard_size=shard_size,
            verify=not no_verify,
            recovery=recovery or 0,
            adapt=adapt,
            jobs=workers.jobs,
            executor=workers.executor,
            parts=parts,
            device=device,
            progress=display.progress,
            report=display.report if verbose else None,
        )
    for line in summary.skipped:
        print_status(line)
    for line in summary.adapted:
        print_status(line, quiet)
    sizes = format_ratio(summary.file_bytes, summary.archive_bytes)
    if append:
        sizes = f"{format_size(summary.file_bytes)} added to what are now {format_size(summary.archive_bytes)}"
    closing = f"{display_name(output, 'output')}: {format_contents(summary)}, {sizes}, {display.elapsed}"
    print_status(closing, quiet)
    if summary.rewritten:
        files = format_count(summary.rewritten, "file")
        note = f"{files} will be restored with identical images but different checksums"
        print_status(f"{note}; --exact-files keeps the bytes", quiet)
    if as_json:
        print_json(asdict(summary))
    if summary.lost:
        click.get_current_context().exit(InputLost.exit_code)
    if summary.changed:
        click.get_current_context().exit(InputChanged.exit_code)
