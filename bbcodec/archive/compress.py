"""Compress files, folders and arrays into an archive.

Planning (`bbcodec.archive.write.tasks`) cuts the input into tasks, encoding (`bbcodec.archive.write.candidates`) works on each in some process,
and an assembler (`bbcodec.archive.write.writer`) puts the results into the archive, in order.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, BinaryIO

from bbcodec.archive.summary import FileReport, Summary
from bbcodec.atomic_files import new_file, refuse_existing
from bbcodec.codec.catalogue import CodecFile, find_codec, shipped_codecs
from bbcodec.errors import DamagedArchive, VerificationFailed
from bbcodec.options import PathLike, Progress, RunOptions

if TYPE_CHECKING:
    from bbcodec.archive.write.tasks import Planned, Scan
    from bbcodec.codec.pool import CodecSource
    from bbcodec.options import StorageOptions


def compress(
    inputs: PathLike | Sequence[PathLike],
    output: PathLike,
    *,
    codec: PathLike | None = "auto",
    embed_codec: bool = True,
    exact_files: bool = False,
    jpegxl: bool = False,
    exclude: Sequence[str] = (),
    force: bool = False,
    verify: bool = True,
    jobs: int = 1,
    device: str = "auto",
    progress: Progress | None = None,
    report: Callable[[FileReport], None] | None = None,
) -> Summary:
    """Compress files, folders and arrays into the archive `output`, which appears only when it is whole and verified.

    codec: `auto` (of the shipped ones the shortest), a shipped name, a `.bbc` file, or `none`.
    embed_codec: put a codec that is not shipped into the archive, so that it can be read anywhere.
    exact_files: keep every file's bytes, not just its picture.
    jpegxl: try JPEG XL as well; if it is the shortest for some image, the archive needs imagecodecs to be read.
    exclude: shell patterns of names to leave out.
    jobs: worker processes. Scripts that ask for more than one need an `if __name__ == "__main__":` guard.
    progress, report: called as the work goes on, and for each file with the ways that were tried.

    Raises InputError, TargetExists, OutputError, MissingCodec, BadCodecFile or VerificationFailed.

    >>> import tempfile, pathlib, PIL.Image
    >>> folder = pathlib.Path(tempfile.mkdtemp())
    >>> PIL.Image.new("RGB", (64, 64), "teal").save(folder / "teal.png")
    >>> compress(folder / "teal.png", folder / "out.bb", codec="none").files
    1
    """
    from bbcodec.codec.device import check_device
    from bbcodec.options import StorageOptions

    check_device(device)
    if jpegxl:
        from bbcodec.images.codings.jpegxl import require_jpegxl

        require_jpegxl()
    setting = RunOptions(jobs, device, progress, None, report)
    options = StorageOptions(exact_files, jpegxl)
    return compress_with(choose_codecs(codec), inputs, output, embed_codec, options, exclude, force, verify, setting)


def choose_codecs(codec: PathLike | None) -> Sequence[CodecFile]:
    """The codecs that a `codec` argument stands for."""
    if codec is None or codec == "none":
        return ()
    return shipped_codecs() if codec == "auto" else [find_codec(codec)]


def compress_with(
    codecs: Sequence[CodecFile],
    inputs: PathLike | Sequence[PathLike],
    output: PathLike,
    embed_codec: bool,
    options: StorageOptions,
    exclude: Sequence[str],
    force: bool,
    verify: bool,
    setting: RunOptions,
) -> Summary:
    """`compress` with the codecs given, and how to load them."""
    from bbcodec.archive.write.tasks import find_copies, plan, scan
    from bbcodec.codec.pool import CodecSource

    target = Path(output)
    refuse_existing(target, force)
    scanned = scan([inputs] if isinstance(inputs, str | os.PathLike) else list(inputs), target, exclude)
    copies = find_copies(scanned.entries)
    job = _Job(scanned, copies, plan(scanned.entries, copies, options), setting)
    sources = [CodecSource.of(one) for one in codecs]
    with new_file(target, force) as (path, stream):
        summary = job.write(stream, sources, {one.digest for one in codecs if one.shipped or not embed_codec})
        if summary is None:  # the codec's own bytes are more than it saves
            stream.seek(0)
            stream.truncate()
            summary = job.write(stream, (), set())
            names = ", ".join(one.name for one in codecs)
            scanned.skipped.append(f"the codec {names} would take more bytes than it saves: stored without it")
        if summary is None:
            raise RuntimeError("an archive without codecs was refused for the size of its codecs")
        summary.skipped = scanned.skipped
        del job, scanned, copies  # which of many files take as much memory as the reading of them
        if verify:
            _verify_written(path, sources, setting)
    return summary


@dataclass(frozen=True)
class _Job:
    """What is to be compressed."""

    scanned: Scan
    copies: dict[int, int]
    tasks: Sequence[Planned]
    setting: RunOptions

    def write(self, stream: BinaryIO, sources: Sequence[CodecSource], bare: set[bytes]) -> Summary | None:
        """Write an archive; None if the codecs embedded in it do not pay for themselves.

        bare: digests of codecs that are not to be embedded.
        """
        from bbcodec.archive.write.writer import Assembler
        from bbcodec.codec.pool import CodecPool

        entries = self.scanned.entries
        pool = CodecPool(sources, self.setting.device, self.setting.load)
        total = sum(entry.size for entry in entries)
        report, kept = self.setting.report, list[FileReport]()  # kept, if all this may turn out to be for nothing
        may_fail = any(one.digest not in bare for one in sources)
        tell = kept.append if report and may_fail else report
        assembler = Assembler(stream, entries, self.copies, sources, bare, tell)
        processes = self.setting.processes(sum(task.work for task in self.tasks), bool(sources))
        for done in assembler.run(pool, self.tasks, processes):
            self.setting.tell("compressing", done, total, stream.tell() + assembler.waiting)
        summary = assembler.finish()
        if assembler.embedded > assembler.saved:
            return None
        if report:
            for one in kept:
                report(one)
        stream.flush()
        summary.archive_bytes = stream.tell()
        return summary


def _verify_written(path: Path, sources: Iterable[CodecSource], setting: RunOptions) -> None:
    from bbcodec.archive.read.archive import Archive

    try:
        with Archive(path, sources, setting) as archive:
            archive.verify()
    except DamagedArchive as error:
        raise VerificationFailed(
            f"what was written does not decode to what was read, nothing was kept: {error}"
        ) from None
