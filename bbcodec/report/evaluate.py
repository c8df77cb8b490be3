"""Measure a codec on images, or look into an archive: real encodings, accounted for to the byte (`docs/report.md`)."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Final

import numpy as np

from bbcodec.archive.format.chunks import pack_bytes
from bbcodec.binary import FRAME_BYTES
from bbcodec.codec.catalogue import CodecFile, find_codec
from bbcodec.errors import InputError
from bbcodec.options import PathLike, Progress, RunOptions
from bbcodec.report.byte_counts import Anatomy, dissect
from bbcodec.report.coding_costs import AccountTask, ChunkAccount, account_task
from bbcodec.report.report import CodecUse, Report, build_report

if TYPE_CHECKING:
    from bbcodec.codec.pool import CodecSource

IWAE_PIXELS: Final = 2**24  # the default number of images makes about so many pixels, each draw counted, and
IWAE_IMAGES: Final = 100  # is at most this


def evaluate(
    codec: PathLike,
    inputs: PathLike | Sequence[PathLike],
    *,
    iwae: int = 100,
    iwae_images: int | None = None,
    peers: bool = True,
    exclude: Sequence[str] = (),
    jobs: int = 1,
    device: str = "auto",
    progress: Progress | None = None,
) -> Report:
    """How far the bytes of images in a codec are from the theory, and from classical codecs.

    The images are compressed as `compress` does it, and the archive is accounted for step by step; it is not kept.

    codec: a shipped name or a `.bbc` file. inputs: as of `compress`. iwae: draws of the importance-weighted bound, 0
    for none. iwae_images: on how many images; by default on 100, of large ones on fewer. peers: compare with PNG, WebP,
    JPEG XL and an archive without a codec.

    Raises InputError where no image is of the codec's pixel format, and what `compress` raises.
    """
    from bbcodec.archive.compress import compress
    from bbcodec.codec.pool import CodecSource

    chosen = find_codec(codec)
    setting = RunOptions(jobs, device, progress)
    with tempfile.TemporaryDirectory(prefix="bbcodec-") as folder:
        path = Path(folder, "archive.bb")
        # What is written is not verified here: the account decodes every learned chunk, and encodes it once more.
        how = compress(
            inputs, path, codec=codec, embed_codec=False, exclude=exclude, verify=False, jobs=jobs, device=device,
            progress=progress,
        ).how  # fmt: skip
        anatomy = dissect(path)
        check_fit(chosen, anatomy)
        accounts = account_archive(anatomy, [CodecSource.of(chosen)], setting, draws_of(iwae), iwae_images)
        report = build_report(f"{chosen.name} on {_named(inputs)}", anatomy, accounts)
    report.how = how
    report.codecs = [CodecUse(chosen.name, chosen.digest.hex(), chosen.family, len(chosen.content), False)]
    report.codec_chunk_bytes = embedded_bytes(chosen)
    if peers:
        from bbcodec.report.baselines import measure_peers

        report.peers = measure_peers(inputs, exclude, setting)
    return report


def inspect(
    path: PathLike,
    *,
    codec: PathLike | None = None,
    jobs: int = 1,
    device: str = "auto",
    progress: Progress | None = None,
) -> Report:
    """What can be known of an archive without the originals: learned chunks are decoded and accounted for.

    codec: the file of a codec that is neither shipped nor in the archive. Raises what `open_archive` raises, and
    DamagedArchive where a learned chunk does not decode.
    """
    from bbcodec.archive.read.archive import open_archive
    from bbcodec.codec.catalogue import parse_codec
    from bbcodec.codec.device import check_device

    check_device(device)
    anatomy = dissect(path)
    with open_archive(path, codec=codec) as archive:
        sources = [archive.source_of(record) for record in archive.codecs]
        how = archive.summary().how
    accounts = account_archive(anatomy, sources, RunOptions(jobs, device, progress))
    report = build_report(str(path), anatomy, accounts)
    report.how = how
    for record, source in zip(anatomy.directory.codecs, sources, strict=True):
        family = parse_codec(source.content, source.name).family
        use = CodecUse(record.name, record.digest.hex(), family, len(source.content), record.chunk is not None)
        report.codecs.append(use)
    return report


def _named(inputs: PathLike | Sequence[PathLike]) -> str:
    """What people call the inputs."""
    several = [inputs] if isinstance(inputs, str | os.PathLike) else list(inputs)
    names = [os.path.basename(os.path.abspath(one)) for one in several]
    return ", ".join(names[:3]) + (f" and {len(names) - 3} more" if len(names) > 3 else "")


def draws_of(most: int) -> tuple[int, ...]:
    """The powers of ten up to `most` draws, and `most`.

    >>> draws_of(100), draws_of(25), draws_of(0)
    ((1, 10, 100), (1, 10, 25), ())
    """
    powers = [10**n for n in range(len(str(most))) if 10**n <= most]
    return tuple(sorted({*powers, most})) if most else ()


def check_fit(codec: CodecFile, anatomy: Anatomy) -> None:
    """Raise InputError where there is no image, or none that the codec takes."""
    if not anatomy.n_images:
        raise InputError("there is no image to evaluate a codec on: give image files, folders of them, or arrays")
    if not any(fits(codec, anatomy, number) for number in range(len(anatomy.directory.files))):
        raise InputError(
            f"codec {codec.name} takes images of {PIXELS.get(codec.pixels, codec.pixels)}; "
            "none of these is such an image that can be given back from its pixels"
        )


PIXELS: Final = {"RGB": "three channels of 256 levels (RGB)", "L": "grey of 256 levels", "1": "two levels"}


def fits(codec: CodecFile, anatomy: Anatomy, number: int) -> bool:
    """Whether pixels of a file may be of the format that a codec takes."""
    file = anatomy.directory.files[number]
    if any(place.chunk in anatomy.owners for place in file.content):
        return True
    if number in anatomy.kept:
        return anatomy.kept[number][2] == codec.pixels
    if file.form == "arrays":
        return bool(file.width) and file.mode == codec.pixels
    takes = {"RGB": ("RGB8", "RGBA8", "P"), "L": ("L2", "L4", "L8", "L16", "RGBA8", "LA8", "P"), "1": ("L1", "P1")}
    return bool(file.sample_format) and file.sample_format.startswith(takes.get(codec.pixels, ()))


def account_archive(
    anatomy: Anatomy,
    sources: Sequence[CodecSource],
    setting: RunOptions,
    ks: tuple[int, ...] = (),
    iwae_images: int | None = None,
) -> dict[int, ChunkAccount]:
    """The account of every learned chunk of an archive, by the chunk's number, made in as many processes as are set."""
    from bbcodec.codec.pool import CodecPool
    from bbcodec.parallel import run_tasks

    numbers = sorted(anatomy.owners)
    chosen = iwae_positions(anatomy, ks, iwae_images)
    chunks = anatomy.directory.chunks
    tasks = [
        AccountTask(str(anatomy.path), chunks[number], chosen.get(number, ()), ks, number) for number in numbers
    ]
    values = sum(int(np.prod(anatomy.bodies[number])) for number in numbers)
    processes = setting.processes(values + sum(len(some) for some in chosen.values()) * max(ks, default=0), True)
    pool = CodecPool(sources, setting.device, setting.load)
    total = sum(task.chunk.length for task in tasks)
    done, found = 0, {}
    setting.tell("accounting", 0, total)
    for number, account in zip(numbers, run_tasks(account_task, tasks, pool, processes), strict=True):
        done += chunks[number].length
        setting.tell("accounting", done, total)
        found[number] = account
    return found


def iwae_positions(anatomy: Anatomy, ks: tuple[int, ...], count: int | None) -> dict[int, tuple[int, ...]]:
    """The images on which the bound of k draws is measured, evenly spread: their positions in each learned chunk."""
    everything = [(number, position) for number, body in sorted(anatomy.bodies.items()) for position in range(body[0])]
    if not ks or not everything:
        return {}
    if count is None:
        pixels = sum(int(np.prod(body)) for body in anatomy.bodies.values()) / len(everything)
        count = int(max(1, min(IWAE_IMAGES, IWAE_PIXELS // (max(ks) * pixels))))
    chosen: dict[int, tuple[int, ...]] = {}
    for index in np.unique(np.linspace(0, len(everything) - 1, min(count, len(everything))).round().astype(int)):
        number, position = everything[index]
        chosen[number] = (*chosen.get(number, ()), position)
    return chosen


def embedded_bytes(codec: CodecFile) -> int:
    """What a codec takes in an archive that embeds it."""
    return len(pack_bytes(codec.content)) + FRAME_BYTES
