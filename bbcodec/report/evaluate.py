"""Measuring a codec on images, or an archive: real encodings, accounted for to the byte (`docs/report.md`)."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Final

import numpy as np

from bbcodec.archive.format.chunks import pack_bytes
from bbcodec.atomic_files import temporary_folder
from bbcodec.binary import FRAME_BYTES
from bbcodec.codec.catalogue import CodecFile, find_codec, parse_codec
from bbcodec.errors import InputError
from bbcodec.options import PathLike, RunOptions
from bbcodec.remote import local_inputs
from bbcodec.report.baselines import measure_baselines
from bbcodec.report.byte_counts import ByteCounts, count_bytes
from bbcodec.report.coding_costs import ChunkCosts, ChunkTask, measure_chunk
from bbcodec.report.reconstructions import reconstructions
from bbcodec.report.report import CodecUse, Report, build_report
from bbcodec.report.thumbnails import thumbnails

if TYPE_CHECKING:
    from bbcodec.codec.pool import CodecSource

IWAE_IMAGES: Final = 100  # by default
IWAE_PIXELS: Final = 2**24  # pixels times draws: fewer images are used where they would exceed this

DEFAULT_RUN: Final = RunOptions()

PIXELS: Final = {"RGB": "three channels of 256 levels (RGB)", "L": "grey of 256 levels", "1": "two levels"}

# Sample formats that have a plane of a codec's pixel format, or the beginnings of their names.
PLANE_SOURCES: Final = {
    "RGB": ("RGB8", "RGBA8", "P"),
    "L": ("L2", "L4", "L8", "L16", "RGBA8", "LA8", "P"),
    "1": ("L1", "P1"),
}


def evaluate(
    codec: PathLike,
    inputs: PathLike | Sequence[PathLike],
    *,
    iwae: int = 100,
    iwae_images: int | None = None,
    baselines: bool = True,
    reconstruct: bool = False,
    exclude: Sequence[str] = (),
    run: RunOptions = DEFAULT_RUN,
) -> Report:
    """The report on a codec: how far the bytes of images are from the theory, and from classical codecs.

    The images are compressed as by `compress`, and the archive is accounted for step by step; it is not kept.

    codec: a shipped name or a `.bbc` file. inputs, exclude: as of `compress`. iwae: draws of the importance-weighted
    bound, 0 for none. iwae_images: on how many images; by default 100, fewer if they are large. baselines: compare with
    PNG, WebP, JPEG XL and an archive without a codec. reconstruct: draw images given the latents of some.

    Raises InputError if no image is of the codec's pixel format, and what `compress` raises.
    """
    from bbcodec.archive.compress import compress
    from bbcodec.codec.pool import CodecPool, CodecSource

    chosen = find_codec(codec)
    with local_inputs(inputs) as local, temporary_folder() as folder:
        path = folder / "archive.bb"
        # Not verified here: measuring decodes every learned chunk, and encodes it once more.
        how = compress(
            local.paths, path, codec=codec, embed_codec=False, exclude=exclude, verify=False, jobs=run.jobs,
            device=run.device, progress=run.progress,
        ).how  # fmt: skip
        counts = count_bytes(path)
        check_fit(chosen, counts)
        source = CodecSource.of(chosen)
        costs = measure_archive(counts, [source], run, draws_up_to(iwae), iwae_images)
        report = build_report(f"{chosen.name} on {_input_names(inputs)}", counts, costs)
        classical = measure_baselines(local.paths, exclude, run) if baselines else []
    codecs = CodecPool([source], run.device, run.load)
    drawn = reconstructions(codecs.codec(source), report.pictures) if reconstruct else {}
    return replace(
        report,
        how=how,
        reconstructions=drawn,
        codecs=[CodecUse(chosen.name, chosen.digest.hex(), chosen.family, len(chosen.content), False)],
        codec_chunk_bytes=embedded_bytes(chosen),
        baselines=classical,
    )


def inspect(
    path: PathLike, *, codec: PathLike | None = None, most_thumbnails: int = 0, run: RunOptions = DEFAULT_RUN
) -> Report:
    """The report on an archive, without the original files: learned chunks are decoded and measured.

    codec: the file of a codec that is neither shipped nor in the archive. most_thumbnails: how many images are
    pictured at most. Raises what `open_archive` raises, and DamagedArchive if a learned chunk does not decode.
    """
    from bbcodec.archive.read.archive import open_archive
    from bbcodec.codec.device import check_device

    check_device(run.device)
    counts = count_bytes(path)
    with open_archive(path, codec=codec, limits=run.limits) as archive:
        sources = [archive.source_of(record) for record in archive.codecs]
        how = archive.summary().how
        report = build_report(str(path), counts, measure_archive(counts, sources, run))
        pictures = thumbnails(archive, most_thumbnails) if most_thumbnails else ()
    return replace(report, how=how, thumbnails=pictures, codecs=list(_codec_uses(counts, sources)))


def _codec_uses(counts: ByteCounts, sources: Sequence[CodecSource]) -> Iterator[CodecUse]:
    """The codecs of an archive, from their files."""
    for record, source in zip(counts.directory.codecs, sources, strict=True):
        family = parse_codec(source.content, source.name).family
        yield CodecUse(record.name, record.digest.hex(), family, len(source.content), record.chunk is not None)


def _input_names(inputs: PathLike | Sequence[PathLike]) -> str:
    """The names of the first inputs, and how many there are besides."""
    several = [inputs] if isinstance(inputs, str | os.PathLike) else list(inputs)
    names = [os.path.basename(os.path.abspath(one)) for one in several]
    return ", ".join(names[:3]) + (f" and {len(names) - 3} more" if len(names) > 3 else "")


def draws_up_to(most: int) -> tuple[int, ...]:
    """The powers of ten up to `most` draws, and `most`.

    >>> draws_up_to(100), draws_up_to(25), draws_up_to(0)
    ((1, 10, 100), (1, 10, 25), ())
    """
    powers = [10**n for n in range(len(str(most))) if 10**n <= most]
    return tuple(sorted({*powers, most})) if most else ()


def check_fit(codec: CodecFile, counts: ByteCounts) -> None:
    """Raise InputError if there is no image, or none that the codec takes."""
    if not counts.n_images:
        raise InputError("there is no image to evaluate a codec on: give image files, folders of them, or arrays")
    if not any(fits(codec, counts, number) for number in range(len(counts.directory.files))):
        raise InputError(
            f"codec {codec.name} takes images of {PIXELS.get(codec.pixels, codec.pixels)}; "
            "none of these is one that can be restored from its pixels"
        )


def fits(codec: CodecFile, counts: ByteCounts, number: int) -> bool:
    """Whether the pixels of a file can be of the format that a codec takes."""
    file = counts.directory.files[number]
    if any(place.chunk in counts.learned for place in file.content):
        return True
    if number in counts.plain_arrays:
        return counts.plain_arrays[number].mode == codec.pixels
    if file.form == "arrays":
        return bool(file.width) and file.mode == codec.pixels
    return bool(file.sample_format) and file.sample_format.startswith(PLANE_SOURCES.get(codec.pixels, ()))


def measure_archive(
    counts: ByteCounts,
    sources: Sequence[CodecSource],
    run: RunOptions,
    draws: tuple[int, ...] = (),
    iwae_images: int | None = None,
) -> dict[int, ChunkCosts]:
    """The costs of every learned chunk of an archive, by the chunk's number, in up to `run.jobs` processes.

    draws: numbers of draws to evaluate bounds of, on `iwae_images` images.
    """
    from bbcodec.codec.pool import CodecPool
    from bbcodec.parallel import run_tasks

    numbers = sorted(counts.learned)
    positions = iwae_positions(counts, draws, iwae_images)
    chunks = counts.directory.chunks
    tasks = [
        ChunkTask(str(counts.path), chunks[number], positions.get(number, ()), draws, number) for number in numbers
    ]
    values = sum(counts.learned[number].pixels for number in numbers)
    values += sum(map(len, positions.values())) * max(draws, default=0)
    pool = CodecPool(sources, run.device, run.load, run.limits)
    total = sum(task.chunk.length for task in tasks)
    done, found = 0, {}
    run.tell("measuring", 0, total)
    results = run_tasks(measure_chunk, tasks, pool, run.workers(values, learned=True, threads=False))
    for number, costs in zip(numbers, results, strict=True):
        done += chunks[number].length
        run.tell("measuring", done, total)
        found[number] = costs
    return found


def iwae_positions(counts: ByteCounts, draws: tuple[int, ...], images: int | None) -> dict[int, tuple[int, ...]]:
    """The images to evaluate the bounds on, evenly spread: their positions in each learned chunk.

    images: how many; by default as many as IWAE_IMAGES and IWAE_PIXELS allow.
    """
    everything = [(number, n) for number, chunk in sorted(counts.learned.items()) for n in range(chunk.count)]
    if not draws or not everything:
        return {}
    if images is None:
        pixels = sum(chunk.pixels for chunk in counts.learned.values()) / len(everything)
        images = int(max(1, min(IWAE_IMAGES, IWAE_PIXELS // (max(draws) * pixels))))
    positions: dict[int, tuple[int, ...]] = {}
    for index in np.unique(np.linspace(0, len(everything) - 1, min(images, len(everything))).round().astype(int)):
        number, position = everything[index]
        positions[number] = (*positions.get(number, ()), position)
    return positions


def embedded_bytes(codec: CodecFile) -> int:
    """What a codec takes in an archive that embeds it."""
    return len(pack_bytes(codec.content)) + FRAME_BYTES
