"""Archives as users know them: compress files, open an archive, verify it, restore files.

Planning (`bbcodec.planning`) cuts the input into tasks, coding (`bbcodec.coding`) works on each, and this module puts
the results in their place: into an archive, or into a folder.
"""

from __future__ import annotations

import io
import os
from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Any, BinaryIO, Final

from bbcodec.catalogue import CodecFile, find_codec, parse_codec, shipped_codecs
from bbcodec.container import (
    BYTES,
    CODEC,
    LEARNED,
    MAX_CODEC_BYTES,
    PIECE_BYTES,
    CodecRecord,
    File,
    Reader,
    Writer,
    pack_bytes,
    printable,
    unpack_bytes,
)
from bbcodec.errors import (
    BBCodecError,
    DamagedArchive,
    InputError,
    MissingCodec,
    NoSuchName,
    VerificationFailed,
)
from bbcodec.targets import check_link, check_target, new_file, put_in_place, refuse_existing, staging_folder

if TYPE_CHECKING:
    from bbcodec.arrays import ArrayWriter
    from bbcodec.coding import Bench, CodecSource, Coded, Decoded, DecodeTask, Loader, Stored
    from bbcodec.planning import Entry, Planned, Task

# Below so many pixel values the work is done in this process: workers take 2 s to start, as each imports torch.
POOL_VALUES: Final = 2**21
SHARED_PARTS_BYTES: Final = 2**20  # WebP and PNG streams share chunks of about this size

Progress = Callable[[int, int], None]  # bytes done, bytes in all
PathLike = str | os.PathLike[str]


@dataclass
class Summary:
    """What was done: files, their bytes outside the archive, the archive's bytes, and how the files are stored."""

    files: int = 0
    file_bytes: int = 0
    archive_bytes: int = 0
    how: dict[str, int] = field(default_factory=dict)
    codecs: list[str] = field(default_factory=list)
    skipped: list[str] = field(default_factory=list)


@dataclass(frozen=True)
class Setting:
    """How work is done: processes, device, who watches, and how codecs are loaded (None: as installed)."""

    jobs: int = 1
    device: str = "auto"
    progress: Progress | None = None
    load: Loader | None = None

    def report(self, done: int, total: int) -> None:
        """Tell whoever watches."""
        if self.progress:
            self.progress(done, total)

    def processes(self, values: int, learned: bool) -> int:
        """Processes for work on so many pixel values. A GPU is not shared among processes."""
        on_gpu = learned and (self.device == "cuda" or (self.device == "auto" and os.path.exists("/dev/nvidia0")))
        return 1 if on_gpu or values < POOL_VALUES else self.jobs


# --- compress --------------------------------------------------------------------------------------------------------


def compress(
    inputs: PathLike | Sequence[PathLike],
    output: PathLike,
    *,
    codec: PathLike | None = "auto",
    embed_codec: bool = True,
    force: bool = False,
    verify: bool = True,
    jobs: int = 1,
    device: str = "auto",
    progress: Progress | None = None,
) -> Summary:
    """Compress files, folders and arrays into the archive `output`, which appears only when it is whole and verified.

    codec: `auto` (of the shipped ones the shortest), a shipped name, a `.bbc` file, or `none`.
    embed_codec: put a codec that is not shipped into the archive, so that it can be read anywhere.
    jobs: worker processes. Scripts that ask for more than one need an `if __name__ == "__main__":` guard.

    Raises InputError, TargetExists, OutputError, MissingCodec, BadCodecFile or VerificationFailed.
    """
    codecs = choose_codecs(codec)
    return compress_with(codecs, inputs, output, embed_codec, force, verify, Setting(jobs, device, progress))


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
    force: bool,
    verify: bool,
    setting: Setting,
) -> Summary:
    """`compress` with the codecs given, and how to load them."""
    from bbcodec.coding import Bench
    from bbcodec.planning import plan, scan

    target = Path(output)
    refuse_existing(target, force)
    scanned = scan([inputs] if isinstance(inputs, str | os.PathLike) else list(inputs), target)
    bench = Bench(map(_source, codecs), setting.device, setting.load)
    bare = {codec.digest for codec in codecs if codec.shipped or not embed_codec}
    total = sum(entry.size for entry in scanned.entries)
    with new_file(target, force) as (path, stream):
        assembler = _Assembler(stream, scanned.entries, bare)
        tasks = plan(scanned.entries)
        processes = setting.processes(_values(tasks, scanned.entries), bool(codecs))
        for done in assembler.run(bench, tasks, processes):
            setting.report(done, total * (1 + verify))
        summary = assembler.finish()
        if verify:
            progress = replace(setting, progress=lambda done, of: setting.report(total + done, total + of))
            stream.flush()
            _verify_written(path, bench.sources, progress)
        summary.archive_bytes = stream.seek(0, os.SEEK_END)
        summary.skipped = scanned.skipped
    return summary


def _source(codec: CodecFile) -> CodecSource:
    from bbcodec.coding import CodecSource

    return CodecSource(codec.digest, codec.name, codec.channels, codec.levels, codec.content)


def _values(tasks: Iterable[Planned], entries: Sequence[Entry]) -> int:
    """About how many pixel values there are to code. Bytes count less: they only go through LZMA."""
    return sum(entries[task[0]].size if isinstance(task, tuple) else task.work for task in tasks)


def _verify_written(path: Path, sources: Iterable[CodecSource], setting: Setting) -> None:
    try:
        with Archive(path, sources, setting) as archive:
            archive.verify()
    except DamagedArchive as error:
        raise VerificationFailed(
            f"what was written does not decode to what was read, nothing was kept: {error}"
        ) from None


class _Assembler:
    """Puts coded tasks into an archive, in the order in which they come, and writes its index."""

    def __init__(self, stream: BinaryIO, entries: Sequence[Entry], bare: set[bytes]) -> None:
        self._writer = Writer(stream)
        self._entries = entries
        self._bare = bare  # digests of codecs that are not to be embedded
        self._files: dict[int, File] = {}
        self._codecs: dict[bytes, CodecSource] = {}
        self._shared: list[Stored] = []  # files whose parts wait for a common chunk
        self._shared_bytes = 0
        self._array: list[Coded] = []  # the chunks so far of one array file

    def run(self, bench: Bench, tasks: Iterable[Planned], processes: int) -> Iterator[int]:
        """Do all tasks; gives the bytes of input that are done, again and again."""
        from bbcodec.coding import encode_task, run_tasks

        done = 0
        for coded in run_tasks(encode_task, self._opened(tasks), bench, processes):
            known = len(self._files)
            self._take(coded)
            if len(self._files) > known:
                done += sum(self._files[number].size for number in list(self._files)[known:])
                yield done

    def _opened(self, tasks: Iterable[Planned]) -> Iterator[Task]:
        from bbcodec.planning import array_tasks

        for task in tasks:
            if isinstance(task, tuple):
                yield from array_tasks(*task, self._entries[task[0]].size)
            else:
                yield task

    def _take(self, coded: Coded) -> None:
        from bbcodec.planning import ArrayTask

        if isinstance(coded.task, ArrayTask):
            self._array.append(coded)
            if coded.task.last:
                self._take_array(coded.task.entry)
            return
        number = self._add(coded) if coded.kind else -1
        for file in coded.files:
            if file.part is None:
                self._place(file, number)
            else:
                self._share(file)

    def _add(self, coded: Coded) -> int:
        if coded.codec:
            self._codecs.setdefault(coded.codec.digest, coded.codec)
        return self._writer.add(coded.kind, coded.body)

    def _place(self, stored: Stored, chunk: int) -> None:
        """Note that (a further piece of) a file lies in a chunk."""
        entry = self._entries[stored.entry]
        before = self._files.get(stored.entry)
        if before is not None:
            size = before.size + stored.size
            self._files[stored.entry] = replace(before, n_chunks=before.n_chunks + 1, length=0, size=size)
            return
        form = "link" if entry.kind == "link" else stored.form
        about = stored.mode, stored.width, stored.height, stored.size, entry.modified_ns, entry.permissions
        place = chunk, 1, stored.length
        self._files[stored.entry] = File(entry.name, form, stored.how, *about, *place, stored.metadata)

    def _share(self, file: Stored) -> None:
        """Put a part with others of its kind into one chunk; a very large one into chunks of its own."""
        part = file.part or b""
        if len(part) > PIECE_BYTES and file.form == "bytes":
            for start in range(0, len(part), PIECE_BYTES):
                piece = part[start : start + PIECE_BYTES]
                self._place(replace(file, part=None, size=len(piece)), self._writer.add(BYTES, pack_bytes(piece)))
            return
        if self._shared_bytes + len(part) > SHARED_PARTS_BYTES:
            self._flush()
        self._shared.append(file)
        self._shared_bytes += len(part)

    def _flush(self) -> None:
        """Write the chunk of the parts that wait. Their order in it is that of the index."""
        if not self._shared:
            return
        self._shared.sort(key=lambda file: file.entry)
        content = b"".join(file.part or b"" for file in self._shared)
        plain = any(file.how == "original" for file in self._shared)
        chunk = self._writer.add(BYTES, pack_bytes(content, compress=plain))
        for file in self._shared:
            self._place(replace(file, length=len(file.part or b""), part=None), chunk)
        self._shared, self._shared_bytes = [], 0

    def _take_array(self, number: int) -> None:
        """Write the chunks of an array file, or its bytes where these are fewer (an npz is compressed already)."""
        from bbcodec.arrays import pack_recipes
        from bbcodec.coding import Stored, encode_bytes
        from bbcodec.planning import ArrayTask, whole_file

        chunks, self._array = self._array, []
        entry = self._entries[number]
        done = [coded.task for coded in chunks if isinstance(coded.task, ArrayTask)]
        recipes = [task.recipe for task in done if task.recipe]
        zipped = bool(recipes[0].name)
        metadata = pack_recipes(recipes, zipped=zipped)
        if zipped and sum(len(coded.body) for coded in chunks) + len(metadata) >= entry.size:
            for task in whole_file(number, entry.path, entry.size):
                self._take(encode_bytes(task))
            return
        images = next((task.images for task in done if task.images is not None), None)
        height, width, channels = images.shape[1:] if images is not None else (0, 0, 0)
        levels = max(task.levels for task in done)
        mode = {0: "", 1: "1" if levels == 2 else "L", 3: "RGB"}[channels]
        how = "learned" if any(coded.kind == LEARNED for coded in chunks) else "original"
        for index, coded in enumerate(chunks):
            size = 0 if index else entry.size
            self._place(Stored(number, "arrays", how, size, mode, width, height, metadata), self._add(coded))

    def finish(self) -> Summary:
        """Write what waits, the codecs, and the index."""
        from bbcodec.coding import Stored

        for number, entry in enumerate(self._entries):
            if entry.kind == "folder" or (entry.kind == "file" and number not in self._files and entry.size == 0):
                form = "folder" if entry.kind == "folder" else "bytes"
                self._files[number] = File(
                    entry.name, form, modified_ns=entry.modified_ns, permissions=entry.permissions
                )
            elif entry.kind == "link":
                self._share(Stored(number, "link", "original", len(entry.target), part=entry.target))
        self._flush()
        records = []
        for source in self._codecs.values():
            bare = source.digest in self._bare
            chunk = None if bare else self._writer.add(CODEC, pack_bytes(source.content))
            records.append(CodecRecord(source.digest, source.name, chunk))
        self._writer.finish(list(self._files.values()), records)
        return _summarise(self._files.values(), [record.name for record in records])


def _pixel_values(file: File) -> int:
    """About how many pixel values a file has."""
    return file.size if file.form == "arrays" else file.width * file.height * (3 if file.mode == "RGB" else 1)


def _summarise(files: Iterable[File], codecs: list[str]) -> Summary:
    real = [file for file in files if file.form != "folder"]
    how = Counter(file.how for file in real)
    return Summary(len(real), sum(file.size for file in real), 0, dict(sorted(how.items())), codecs)


# --- open ------------------------------------------------------------------------------------------------------------


def open_archive(
    path: PathLike,
    *,
    codec: PathLike | None = None,
    device: str = "auto",
    jobs: int = 1,
    progress: Progress | None = None,
) -> Archive:
    """An archive, open for reading.

    codec: a `.bbc` file, for archives that neither embed their codec nor use a shipped one.

    Raises InputError, NotAnArchive, DamagedArchive, UnsupportedVersion, UnsafePath, MissingCodec or BadCodecFile.
    """
    known = [_source(find_codec(codec))] if codec is not None else []
    return Archive(Path(path), known, Setting(jobs, device, progress))


class Archive:
    """An archive, open for reading: a mapping from names to images and arrays.

    Opening reads the index alone. Asking for a file decodes the chunk it lies in.
    """

    def __init__(self, path: Path, known: Iterable[CodecSource] = (), setting: Setting | None = None) -> None:
        """Open `path`. `known` are codecs to look among before the embedded and the shipped ones."""
        self.path = path
        self._known = list(known)
        self._setting = setting or Setting()
        try:
            self._stream = open(path, "rb")  # noqa: SIM115  # closed by close()
        except OSError as error:
            raise InputError(f"{path} cannot be read: {error.strerror}") from None
        try:
            self._reader = Reader(self._stream)
        except BBCodecError as error:
            self._stream.close()
            raise type(error)(f"{path}: {error}") from None
        except OSError as error:
            self._stream.close()
            raise InputError(f"{path} cannot be read: {error.strerror}") from None
        self.files = self._reader.index.files
        self._numbers = {os.fsdecode(file.name): number for number, file in enumerate(self.files)}
        self._inside: dict[int, list[int]] = defaultdict(list)  # the files of each chunk
        for number, file in enumerate(self.files):
            for chunk in file.chunk_numbers:
                self._inside[chunk].append(number)
        self._bench: Bench | None = None

    def close(self) -> None:
        """Close the file."""
        self._stream.close()

    def __enter__(self) -> Archive:
        """Itself."""
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Close the file."""
        self.close()

    @property
    def names(self) -> list[str]:
        """The names of all files (and links), sorted; empty folders are not among them."""
        return [name for name, number in self._numbers.items() if self.files[number].form != "folder"]

    @property
    def codecs(self) -> list[CodecRecord]:
        """The codecs that the archive needs."""
        return self._reader.index.codecs

    def __len__(self) -> int:
        """How many names there are."""
        return len(self.names)

    def __iter__(self) -> Iterator[str]:
        """The names."""
        return iter(self.names)

    def __contains__(self, name: object) -> bool:
        """Whether there is such a name."""
        return name in self._numbers

    def read_bytes(self, name: str) -> bytes:
        """The file called `name`, as `decompress` restores it. Raises NoSuchName, DamagedArchive or MissingCodec."""
        number = self.select([name], folders=False)[0]
        file, stream = self.files[number], io.BytesIO()
        pieces = _Pieces(stream, file)
        for task in self._tasks([number], restore=True):
            pieces.add(self._decode(task)[0])
        return stream.getvalue()

    def __getitem__(self, name: str) -> Any:
        """The image called `name` (PIL.Image), the array of an `.npy`, or a dict of arrays of an `.npz`.

        Raises NoSuchName, InputError for files of other kinds (see `read_bytes`), DamagedArchive or MissingCodec.
        """
        import numpy as np
        from PIL import Image

        data = self.read_bytes(name)
        if self.files[self._numbers[name]].form == "arrays":
            loaded = np.load(io.BytesIO(data), allow_pickle=False)
            return loaded if isinstance(loaded, np.ndarray) else dict(loaded)
        try:
            image = Image.open(io.BytesIO(data))
            image.load()
        except OSError as error:
            raise InputError(f"{name!r} is not an image: read_bytes() gives its bytes") from error
        return image

    def select(self, names: Iterable[str], *, folders: bool = True) -> list[int]:
        """The numbers of the files that are so called, or lie in folders that are so called. Raises NoSuchName."""
        chosen: set[int] = set()
        for name in names:
            if name in self._numbers:
                chosen.add(self._numbers[name])
                continue
            folder = name.rstrip("/") + "/"
            below = [number for known, number in self._numbers.items() if folders and known.startswith(folder)]
            if not below:
                raise NoSuchName(f"{self.path} holds no file {name!r}; `bbcodec list {self.path}` shows its names")
            chosen.update(below)
        return sorted(chosen)

    def listing(self) -> dict[str, Any]:
        """What `bbcodec list --json` prints: `files` and `codecs`."""
        return {
            "files": [self._listed(file) for file in self.files if file.form != "folder"],
            "folders": [os.fsdecode(file.name) for file in self.files if file.form == "folder"],
            "codecs": [
                {"name": codec.name, "digest": codec.digest.hex(), "embedded": codec.chunk is not None}
                for codec in self.codecs
            ],
        }

    def _listed(self, file: File) -> dict[str, Any]:
        return {
            "name": os.fsdecode(file.name),
            "width": file.width or None,
            "height": file.height or None,
            "mode": file.mode or None,
            "bytes": file.size,
            "how": file.how,
            "stored_bytes": sum(self._share(file, chunk) for chunk in file.chunk_numbers),
        }

    def _share(self, file: File, chunk: int) -> int:
        """A file's share of the bytes of a chunk: by its length there, or an equal one of images in a chain."""
        inside = self._inside[chunk]
        lengths = [self.files[number].length for number in inside]
        part, whole = (file.length, sum(lengths)) if any(lengths) else (1, len(inside))
        return self._reader.index.chunks[chunk].length * part // whole

    def verify(self) -> Summary:
        """Decode everything, write nothing. Raises DamagedArchive with the names of damaged files, or MissingCodec."""
        damaged: set[int] = set()
        everything = range(len(self.files))
        for task, decoded in self._run(everything, restore=False):
            if decoded.damage:
                damaged.update(self._number(task, place) for place in task.wanted)
        self._check_embedded()
        if damaged:
            raise DamagedArchive(f"{self.path}: {self._damage(damaged)}")
        return self.summary()

    def summary(self) -> Summary:
        """Counts and sizes."""
        done = _summarise(self.files, [codec.name for codec in self.codecs])
        done.archive_bytes = self._stream.seek(0, os.SEEK_END)
        return done

    def _damage(self, damaged: Iterable[int]) -> str:
        names = [printable(self.files[number].name) for number in sorted(damaged)]
        more = f" and {len(names) - 10} more" if len(names) > 10 else ""
        return f"{len(names)} of {len(self.files)} files are damaged: {', '.join(names[:10])}{more}"

    def _check_embedded(self) -> None:
        for record in self.codecs:
            if record.chunk is not None:
                self._embedded(record)

    # decoding

    def _tasks(self, numbers: Iterable[int], *, restore: bool) -> list[DecodeTask]:
        """The chunks of these files, in order; a chunk is decoded once however many files are wanted from it."""
        from bbcodec.coding import DecodeTask

        wanted: dict[int, list[int]] = defaultdict(list)
        for number in numbers:
            for chunk in self.files[number].chunk_numbers:
                wanted[chunk].append(number)
        tasks = []
        for chunk in sorted(wanted):
            inside = self._inside[chunk]
            places = {number: place for place, number in enumerate(inside)}
            files = tuple(self.files[number] for number in inside)
            picks = tuple(places[number] for number in wanted[chunk])
            tasks.append(DecodeTask(str(self.path), self._reader.index.chunks[chunk], files, picks, restore))
        return tasks

    def _run(self, numbers: Iterable[int], *, restore: bool) -> Iterator[tuple[DecodeTask, Decoded]]:
        """Every chunk of these files and what it gave, in the order of the chunks."""
        from bbcodec.coding import decode_task, run_tasks

        numbers = list(numbers)
        tasks = self._tasks(numbers, restore=restore)
        bench = self._bench_for(tasks)
        values = sum(_pixel_values(file) for number in numbers if (file := self.files[number]).how != "original")
        jobs = self._setting.processes(values, bool(bench.sources))
        done, total = 0, sum(task.chunk.length for task in tasks)
        for task, decoded in zip(tasks, run_tasks(decode_task, tasks, bench, jobs), strict=True):
            done += task.chunk.length
            self._setting.report(done, total)
            yield task, decoded

    def _decode(self, task: DecodeTask) -> list[bytes]:
        """The wanted files of one chunk, here and now."""
        from bbcodec.coding import decode_task

        decoded = decode_task(self._bench_for([task]), task)
        if decoded.damage:
            raise DamagedArchive(f"{self.path}: {decoded.damage}")
        return decoded.parts

    def _bench_for(self, tasks: Iterable[DecodeTask]) -> Bench:
        """A bench with the codecs that these chunks need. Raises MissingCodec."""
        from bbcodec.coding import Bench

        needed = {self._codec_id(task) for task in tasks if task.chunk.type == LEARNED}
        records = [record for record in self.codecs if record.digest[:4] in needed]
        have = {source.digest for source in self._bench.sources} if self._bench else set()
        if self._bench is None or not {record.digest for record in records} <= have:
            sources = [self._find(record) for record in records]
            self._bench = Bench(sources, self._setting.device, self._setting.load)
        return self._bench

    def _codec_id(self, task: DecodeTask) -> bytes:
        self._stream.seek(task.chunk.offset)
        return self._stream.read(4)

    def _find(self, record: CodecRecord) -> CodecSource:
        """The codec of a record: given, embedded or shipped. Raises MissingCodec."""
        for source in self._known:
            if source.digest == record.digest:
                return source
        if record.chunk is not None:
            return _source(self._embedded(record))
        for codec in shipped_codecs():
            if codec.digest == record.digest:
                return _source(codec)
        raise MissingCodec(
            f"{self.path} needs the codec {record.name!r} (digest {record.digest.hex()}), which is neither installed "
            f"nor in the archive: give its file with --codec, or install the bbcodec that ships it"
        )

    def _embedded(self, record: CodecRecord) -> CodecFile:
        content = unpack_bytes(self._reader.body(record.chunk or 0), MAX_CODEC_BYTES)
        codec = parse_codec(content, record.name)
        if codec.digest != record.digest:
            raise DamagedArchive(f"{self.path}: the embedded codec {record.name!r} is not the one that was stored")
        return codec

    # restoring

    def restore(self, target: PathLike, names: Sequence[str] = (), *, force: bool = False) -> Summary:
        """Restore files into the folder `target`: all, or those called or below `names`.

        All is first written to a temporary folder in `target`, then renamed. Files in damaged chunks are left out, and
        named by the DamagedArchive that is raised at the end.

        Raises NoSuchName, MissingCodec, UnsafePath, TargetExists, OutputError or DamagedArchive.
        """
        numbers = self.select(names) if names else list(range(len(self.files)))
        folder = Path(target)
        for number in numbers:
            check_target(folder, self.files[number], force)
        with staging_folder(folder) as stage:
            damaged = self._stage(numbers, stage)
            whole = [number for number in numbers if number not in damaged]
            for number in whole:
                if self.files[number].form == "link":
                    check_link(stage / str(number), self.files[number])
            for number in whole:
                put_in_place(stage / str(number), folder, self.files[number])
        if damaged:
            raise DamagedArchive(f"{self.path}: {self._damage(damaged)}; all others were restored")
        return _summarise([self.files[number] for number in whole], [codec.name for codec in self.codecs])

    def _stage(self, numbers: Iterable[int], stage: Path) -> set[int]:
        """Write files into `stage`, called by their numbers; gives the numbers of damaged ones, to be left there."""
        damaged: set[int] = set()
        writing: dict[int, _Pieces] = {}
        for number in numbers:
            if self.files[number].form != "folder" and self.files[number].n_chunks == 0:
                (stage / str(number)).touch()
        try:
            for task, decoded in self._run(numbers, restore=True):
                for place, number in enumerate(self._number(task, wanted) for wanted in task.wanted):
                    if decoded.damage:
                        damaged.add(number)
                    if number not in damaged:
                        try:
                            self._add_piece(writing, stage, number, decoded.parts[place])
                        except DamagedArchive:
                            damaged.add(number)
        finally:
            for pieces in writing.values():
                pieces.stream.close()
        return damaged

    def _number(self, task: DecodeTask, place: int) -> int:
        return self._numbers[os.fsdecode(task.files[place].name)]

    def _add_piece(self, writing: dict[int, _Pieces], stage: Path, number: int, part: bytes) -> None:
        if number not in writing:
            stream = open(stage / str(number), "wb")  # noqa: SIM115  # closed with the last piece, or by _stage
            writing[number] = _Pieces(stream, self.files[number])
        if writing[number].add(part):
            writing.pop(number).stream.close()


class _Pieces:
    """A file that is written from the contents of its chunks, one after another."""

    def __init__(self, stream: BinaryIO, file: File) -> None:
        self.stream = stream
        self._left = file.n_chunks
        self._metadata = file.metadata if file.form == "arrays" else None
        self._array: ArrayWriter | None = None

    def add(self, part: bytes) -> bool:
        """Write the next piece; true if it was the last. Raises DamagedArchive."""
        from bbcodec.arrays import ArrayWriter

        self._left -= 1
        if self._metadata is None:
            self.stream.write(part)
            return self._left == 0
        if self._array is None:
            self._array = ArrayWriter(self.stream, self._metadata)
        self._array.add(part)
        if self._left == 0:
            self._array.close()
        return self._left == 0


def decompress(
    path: PathLike,
    target: PathLike,
    names: Sequence[str] = (),
    *,
    force: bool = False,
    codec: PathLike | None = None,
    jobs: int = 1,
    device: str = "auto",
    progress: Progress | None = None,
) -> Summary:
    """Restore files of an archive into the folder `target`: all, or those called or below `names`.

    Raises what `open_archive` and `Archive.restore` raise.
    """
    with open_archive(path, codec=codec, device=device, jobs=jobs, progress=progress) as archive:
        return archive.restore(target, names, force=force)


def verify(
    path: PathLike,
    *,
    codec: PathLike | None = None,
    jobs: int = 1,
    device: str = "auto",
    progress: Progress | None = None,
) -> Summary:
    """Decode all of an archive and compare digests; write nothing.

    Raises DamagedArchive with the names of damaged files, and what `open_archive` raises.
    """
    with open_archive(path, codec=codec, device=device, jobs=jobs, progress=progress) as archive:
        return archive.verify()
