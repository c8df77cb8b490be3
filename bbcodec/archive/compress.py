"""Compress files, folders and arrays into an archive.

Files are found (`bbcodec.archive.write.scan`) and grouped into tasks (`tasks`); each task is coded in some process
(`encode`), and an `ArchiveWriter` (`writer`) puts the results into the archive, in order.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import Executor
from contextlib import ExitStack, suppress
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path
from typing import BinaryIO, Final

from bbcodec.archive.adaptation import Adapted, adapted_codecs, find_learner
from bbcodec.archive.checking import check_written, encode_checked
from bbcodec.archive.format.container import ContainerWriter
from bbcodec.archive.format.journal import growing
from bbcodec.archive.format.names import printable
from bbcodec.archive.read.archive import Archive
from bbcodec.archive.recovery_blocks import add_recovery, require_zfec
from bbcodec.archive.sharding import write_shards
from bbcodec.archive.summary import FileReport, Summary
from bbcodec.archive.write.carried import carried
from bbcodec.archive.write.changes import at_rest, changed_files, unreadable_files, with_copies
from bbcodec.archive.write.coded import CodedFiles
from bbcodec.archive.write.encode import CodedPart
from bbcodec.archive.write.looks import Looks, look_at_urls
from bbcodec.archive.write.parts import KeepingPool, Parts, encode_or_take, parts_in
from bbcodec.archive.write.promises import Promises
from bbcodec.archive.write.scan import Scan, find_copies, scan, without_known
from bbcodec.archive.write.tasks import (
    FINE_TILE_PIXELS,
    TILE_PIXELS,
    BytesTask,
    PlannedTask,
    Task,
    main_mode,
    opened,
    plan,
)
from bbcodec.archive.write.whole_files import missing_packages
from bbcodec.archive.write.writer import ArchiveWriter, CodecChoice
from bbcodec.atomic_files import new_file, refuse_existing, temporary_folder
from bbcodec.codec.catalogue import CodecFile, choose_codecs
from bbcodec.codec.device import check_device
from bbcodec.codec.pool import CodecPool, CodecSource
from bbcodec.errors import DamagedArchive, InputError, MissingCodec, VerificationFailed
from bbcodec.images.codings.jpegxl import require_jpegxl
from bbcodec.options import PathLike, Progress, RunOptions, StorageOptions
from bbcodec.parallel import Workers, run_tasks, usable_cores
from bbcodec.remote import is_url, local_inputs, local_output

Begin = Callable[[], ContainerWriter]  # starts an archive over, or what is appended to one

ROUNDS: Final = 3  # in which files that change are read anew


@dataclass(frozen=True)
class CompressRequest:
    """What is to be compressed, and how.

    codecs: of which the shortest is taken. embed: put those that are not shipped into the archive. exclude: shell
    patterns of names to leave out. force: overwrite `output`. verify: decode the archive before it gets its name.
    recovery: how many percent of it may be lost, about, so that `repair` still makes it whole; 0 for none. adapt:
    minutes in which codecs learn from the files first; None: as long as they are worth; 0: not at all. adapted: the
    codecs that have learned, which are used beside the others and in place of those that they began with. append: to
    the archive `output`, in place. workers: who code, in place of those of `run`. parts: where they keep what is done.
    known: the codecs that it needs already.
    """

    inputs: PathLike | Sequence[PathLike]
    output: PathLike
    codecs: Sequence[CodecFile] = ()
    embed: bool = True
    storage: StorageOptions = field(default_factory=StorageOptions)
    exclude: Sequence[str] = ()
    force: bool = False
    verify: bool = True
    run: RunOptions = field(default_factory=RunOptions)
    recovery: int = 0
    adapt: float | None = 0
    adapted: Sequence[Adapted] = ()
    append: bool = False
    workers: Workers | None = None
    parts: Parts | None = None
    known: Sequence[CodecChoice] = ()

    @property
    def input_paths(self) -> list[PathLike]:
        """The inputs as a list."""
        return [self.inputs] if isinstance(self.inputs, str | os.PathLike) else list(self.inputs)

    @cached_property
    def codec_uses(self) -> list[CodecChoice]:
        """The codecs as an archive would use them."""
        begun_with = {one.base.digest for one in self.adapted}
        codecs = [*(one.codec for one in self.adapted), *(one for one in self.codecs if one.digest not in begun_with)]
        uses = [CodecChoice(CodecSource.of(one), self.embed and not one.shipped) for one in codecs]
        digests = {one.digest for one in codecs}
        return [*uses, *(one for one in self.known if one.source.digest not in digests)]

    def tile_pixels(self, mode: str) -> int:
        """The size of the tiles of large images of a mode."""
        fitting = fitting_codecs(self.codec_uses, mode)
        return TILE_PIXELS if all(source.compiled for source in fitting) else FINE_TILE_PIXELS


def compress(
    inputs: PathLike | Sequence[PathLike],
    output: PathLike,
    *,
    codec: PathLike | None = "auto",
    embed_codec: bool = True,
    exact_files: bool = False,
    jpegxl: bool = False,
    mix: bool = False,
    fast: bool = False,
    exclude: Sequence[str] = (),
    force: bool = False,
    append: bool = False,
    shard_size: int | None = None,
    verify: bool = True,
    recovery: int = 0,
    adapt: float | None = 0,
    jobs: int = 1,
    executor: Executor | None = None,
    parts: PathLike | None = None,
    device: str = "auto",
    progress: Progress | None = None,
    report: Callable[[FileReport], None] | None = None,
) -> Summary:
    """Compress files, folders and arrays into the archive `output`, which appears only when it is whole and verified.

    codec: `auto` (the shortest shipped ones, but those made for speed), a shipped name, a `.bbc` file, or `none`.
    embed_codec: put a codec that is not shipped into the archive, so that it can be read anywhere.
    exact_files: keep every file's bytes, not just its picture.
    jpegxl: try JPEG XL as well; if it is the shortest for some image, the archive needs imagecodecs to be read.
    mix: mix codecs with contexts that learn while images are coded: smaller, and slower to write and to read.
    fast: with the shipped codecs that are made for speed, and without predictions: larger, and faster both ways.
    exclude: shell patterns of names to leave out.
    append: put the files into `output`, an archive that is there, behind what it holds. Those that it holds already, of
    the same name, size and time, are left out. Whatever stops this, the archive keeps what it held.
    shard_size: write several archives beside `output`, its shards, each of files of up to so many bytes in all, or of
    one, and `output` as a small manifest of them, which is opened like one archive.
    recovery: append blocks from which `repair` makes the archive whole where up to about so many percent of it are
    lost, 1 to 100; needs the package zfec.
    adapt: let codecs learn from the files first, for so many minutes in all, with `jobs` threads; None: as long as the
    files are worth. What they learned is embedded, if that makes the archive smaller; otherwise nothing changes.
    jobs: workers. They are threads, but for codecs that need PyTorch processes: scripts that ask for more than one then
    need an `if __name__ == "__main__":` guard.
    executor: of `concurrent.futures`, or one like it, whose `jobs` workers do the work. They must see inputs, paths and
    URLs. A task whose worker is lost is done again. They decode what they coded; what was written is compared with
    digests of that here.
    parts: a folder, or its URL, for what is done: when this is stopped, whatever stops it, and called again with the
    same folder, it goes on where it was. The folder goes when the archive is whole. All workers must see it.
    progress, report: called as the work goes on, and for each file with what was tried.

    Raises InputError, TargetExists, OutputError, MissingCodec, BadCodecFile or VerificationFailed.

    >>> import tempfile, pathlib, PIL.Image
    >>> folder = pathlib.Path(tempfile.mkdtemp())
    >>> PIL.Image.new("RGB", (64, 64), "teal").save(folder / "teal.png")
    >>> compress(folder / "teal.png", folder / "out.bb", codec="none").files
    1
    """
    check_device(device)
    if recovery not in range(101):
        raise InputError(f"recovery: expected a whole number of percent from 0 to 100, got {recovery}")
    if recovery:
        require_zfec()
    if append and (force or recovery):
        raise InputError("append: nothing is overwritten, and recovery data cannot be added")
    if jpegxl:
        require_jpegxl()
    if adapt is None or adapt > 0:
        if not embed_codec:
            raise InputError("what codecs learn from files has to be in their archive: embed_codec must be true")
        find_learner()
    elif adapt < 0:
        raise InputError(f"adapt: expected minutes, at least 0, got {adapt}")
    if shard_size is not None and (append or adapt != 0):
        raise InputError("shard_size: shards are not appended to, and codecs do not learn from their files")
    if append and is_url(output):
        raise InputError(f"append: {output} is no file on this machine, and nothing else can grow in place")
    if parts is not None and adapt != 0:
        raise InputError("parts: what codecs learn from files is not kept in parts, and is not the same twice")
    with (
        parts_in(parts, inputs) as kept,
        local_output(output, force=force) as target,
        local_inputs(inputs, shared=executor is not None and adapt == 0) as sources,
    ):
        request = CompressRequest(
            sources.paths,
            target,
            codecs=choose_codecs(codec, fast=fast),
            embed=embed_codec,
            storage=StorageOptions(exact_files, jpegxl, mix, fast),
            exclude=exclude,
            force=force,
            verify=verify,
            run=RunOptions(jobs if executor is None else min(jobs, usable_cores()), device, progress, report=report),
            recovery=recovery,
            adapt=adapt,
            append=append,
            workers=None if executor is None else Workers(jobs, executor=executor),
            parts=kept,
        )
        if shard_size is not None:
            found = scan(request.input_paths, target, exclude)
            write = lambda some, place: compress_found(some, replace(request, output=place))  # noqa: E731
            summary = write_shards(found, output, target, shard_size, force, write)
        else:
            summary = append_with(request) if append else compress_with(request)
        summary.skipped = list(map(sources.told, summary.skipped))
    return summary


def fitting_codecs(choices: Iterable[CodecChoice], mode: str) -> list[CodecSource]:
    """The codecs that images of a mode are expected to be coded with: all of them, for modes of several planes."""
    channels = {"RGB": (3,), "L": (1,)}.get(mode, (1, 3))
    return [one.source for one in choices if one.source.channels in channels]


def compress_with(request: CompressRequest) -> Summary:
    """Do what is requested. Raises as `compress`."""
    refuse_existing(Path(request.output), request.force)
    return compress_found(scan(request.input_paths, Path(request.output), request.exclude), request)


def compress_found(found: Scan, request: CompressRequest) -> Summary:
    """Compress what was found in place of the inputs of a request. Raises as `compress`."""
    target = Path(request.output)
    learned, lines = _learned(found, request)
    request = replace(request, adapted=[one for one in learned if one.pays])
    with new_file(target, request.force) as (path, stream):
        written = _write_at_rest(found, lambda: _new_archive(stream), request)
        summary = written.summary
        del found  # which of many files takes as much memory as verifying them
        if request.recovery:
            add_recovery(stream, request.recovery)
            stream.flush()
            summary.archive_bytes = stream.tell()
        if request.verify:
            _verify_written(path, request, written.promises)
    summary.adapted = lines
    return summary


def append_with(request: CompressRequest) -> Summary:
    """Append what is requested to an archive, in place. Raises as `compress`, and what `growing` raises."""
    target = Path(request.output)
    found = scan(request.input_paths, target, request.exclude)
    with growing(target) as archive:
        new, kept = without_known(found, archive.directory.files, str(target))
        if not new.entries:
            return Summary(archive_bytes=os.path.getsize(target), skipped=[*new.skipped, kept])
        request = replace(request, known=_known_codecs(target, request))
        learned, lines = _learned(new, request)
        request = replace(request, adapted=[one for one in learned if one.pays])
        written = _write_at_rest(new, archive.begin, request)
        if request.verify:
            _verify_written(target, request, written.promises, [os.fsdecode(one.name) for one in new.entries])
    summary = written.summary
    summary.adapted = lines
    summary.skipped += [kept] if kept else []
    return summary


def _known_codecs(path: Path, request: CompressRequest) -> list[CodecChoice]:
    """The codecs of an archive that are here, unless none is wanted."""
    choices = []
    with Archive(path, map(CodecSource.of, request.codecs), request.run) as archive:
        for record in archive.codecs if request.codecs else ():
            with suppress(MissingCodec):
                choices.append(CodecChoice(archive.source_of(record), embed=False))
    return choices


def _new_archive(stream: BinaryIO) -> ContainerWriter:
    """Begin an archive in a stream, whatever it held."""
    stream.seek(0)
    stream.truncate()
    return ContainerWriter(stream)


def _learned(found: Scan, request: CompressRequest) -> tuple[list[Adapted], list[str]]:
    """The codecs that learned from what was found, if that is wanted, and lines on them."""
    if request.adapt == 0:
        return [], []
    tasks = _Work.of(found, request).tasks
    return adapted_codecs(tasks, request.codecs, request.adapt, request.run)


def _write_at_rest(found: Scan, begin: Begin, request: CompressRequest) -> _Written:
    """Write an archive of what was found, and again with copies of the files that changed meanwhile.

    Files that were not even at rest while they were copied are named in the summary.
    """
    unstable: list[bytes] = []
    rounds, looks = ROUNDS, Looks()
    with ExitStack() as stack:
        if request.workers:
            folder = stack.enter_context(temporary_folder())
            found, looks = look_at_urls(found, request.tile_pixels, request.workers, folder)
        while True:
            found, rounds = at_rest(found), rounds - 1
            try:
                if found.lost and all(entry.file_type != "file" for entry in found.entries):
                    raise InputError(f"nothing is left to compress: {found.skipped[-1]}")
                written = _write(_Work.of(found, request, looks), begin, request)
            except Exception as error:  # perhaps because a file has become shorter, say
                lost = unreadable_files(found.entries, None if request.workers else error)
                changed = changed_files(found.entries)
                if lost:
                    found, rounds = found.without(lost), rounds + 1
                    continue
                if not changed and request.workers and isinstance(error, InputError):
                    raise InputError(f"a worker said: {error}; workers must see the same files") from None
                if not changed:
                    raise
                if not rounds:
                    found, rounds = found.without(dict.fromkeys(changed, "changed whenever it was read")), 1
                    continue
            else:
                changed = changed_files(found.entries)
                if not changed or not rounds:
                    break
            found, more = with_copies(found, changed, stack.enter_context(temporary_folder()))
            unstable += more
    names = {*unstable, *(found.entries[number].name for number in changed)}
    summary = written.summary
    summary.changed = sorted(map(printable, names))
    summary.lost = sorted(map(printable, found.lost))
    summary.skipped += [f"{name} changed whenever it was read: stored as it was read last" for name in summary.changed]
    return written


def _write(work: _Work, begin: Begin, request: CompressRequest) -> _Written:
    """Write an archive, with the codecs if they pay."""
    written = work.write(begin, request.codec_uses)
    if not written.codecs_pay:  # by what quick trials say they save at least
        written = work.thorough().write(begin, request.codec_uses)
    notes = []
    if not written.codecs_pay:
        rest = [use for use in replace(request, adapted=()).codec_uses if not use.embed]
        written = work.write(begin, rest)
        names = ", ".join(use.source.name for use in request.codec_uses if use.embed)
        notes.append(f"the codec {names} would take more bytes than it saves: stored without it")
    elif request.adapted or len(request.codecs) == 1:
        wanted = [one.codec for one in request.adapted] or request.codecs
        unused = [one.name for one in wanted if one.name not in written.summary.codecs]
        notes += [f"codec {name} was not used: {written.unused}" for name in unused]
    written.summary.skipped = [*work.scan.skipped, *missing_packages(work.tasks), *notes]
    return written


@dataclass(frozen=True)
class _Written:
    """An archive as it was written, and whether the codecs embedded in it save the bytes that they take.

    unused: why no file is stored by a codec, if none is. promises: what workers checked, if they did.
    """

    summary: Summary
    codecs_pay: bool
    unused: str
    promises: Promises | None


@dataclass(frozen=True)
class _Work:
    """What was found to be compressed. copies: by number the entry stored in place of another. checked: by workers."""

    scan: Scan
    copies: dict[int, int]
    tasks: Sequence[PlannedTask]
    run: RunOptions
    workers: Workers | None
    parts: Parts | None
    checked: bool

    @classmethod
    def of(cls, found: Scan, request: CompressRequest, looks: Looks = Looks()) -> _Work:  # noqa: B008  frozen
        """Plans the tasks of what was found for a request."""
        copies = find_copies(found.entries, looks.digest)
        tasks = plan(found.entries, copies, request.storage, request.tile_pixels, looks.see)
        checked = request.verify and request.workers is not None
        return cls(found, copies, tasks, request.run, request.workers, request.parts, checked)

    def thorough(self) -> _Work:
        """The same, with every coding tried in full."""
        tasks: list[PlannedTask] = []
        for task in self.tasks:
            if not isinstance(task, BytesTask):
                task = replace(task, options=replace(task.options, thorough=True))
            tasks.append(task)
        return replace(self, tasks=tasks)

    def write(self, begin: Begin, codecs: Sequence[CodecChoice]) -> _Written:
        """Write an archive, or what is appended to one. Files are reported, except where the codecs do not pay."""
        run, entries = self.run, self.scan.entries
        held: list[FileReport] = []  # while embedded codecs may turn out not to pay
        report = held.append if run.report and any(use.embed for use in codecs) else run.report
        container = begin()
        promises = Promises() if self.checked else None
        writer = ArchiveWriter(container, entries, self.copies, codecs, report, promises)
        pool = CodecPool([use.source for use in codecs], run.device, run.load)
        values = sum(task.work for task in self.tasks)
        mostly = CodecPool(fitting_codecs(codecs, main_mode(self.tasks)), run.device, run.load)
        here = run.workers(values, learned=bool(codecs), threads=mostly.concurrent)
        total = sum(entry.size for entry in entries)
        tasks = opened(self.tasks) if self.workers is None else map(carried, opened(self.tasks))
        results = self._results(tasks, pool, self.workers or here)
        for done in writer.take_all(results):
            run.tell("compressing", done, total, container.position + writer.waiting)
        summary = writer.finish()
        if run.report and writer.codecs_pay:
            for one in held:
                run.report(one)
        summary.archive_bytes = container.position
        unused = "no image is one that it takes, or comes near to other codings in it"
        if writer.learned_bytes:
            unused = f"it would take {writer.learned_bytes:,} bytes for what takes {writer.other_bytes:,} without it"
        return _Written(summary, writer.codecs_pay, unused, promises)

    def _results(self, tasks: Iterable[Task], pool: CodecPool, workers: Workers) -> Iterator[CodedFiles | CodedPart]:
        context = pool if self.parts is None else KeepingPool(pool, self.parts)
        if self.checked:
            return (sealed.opened() for sealed in run_tasks(encode_checked, tasks, context, workers))
        return run_tasks(encode_or_take, tasks, context, workers)


def _verify_written(path: Path, request: CompressRequest, promises: Promises | None, names: Sequence[str] = ()) -> None:
    """Decode an archive, or what is called `names`; with promises, only compare it with these.

    Raises VerificationFailed where it is not what was read.
    """
    try:
        if promises is not None:
            check_written(path, promises, request.run)
        else:
            with Archive(path, map(CodecSource.of, request.codecs), request.run) as archive:
                archive.verify(names)
    except DamagedArchive as error:
        what = str(error).replace(str(path), str(request.output))
        raise VerificationFailed(f"what was written is not what was read, nothing was kept: {what}") from None
