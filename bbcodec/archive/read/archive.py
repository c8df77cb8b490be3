"""Archives as users read them: open, look into, verify, restore."""

from __future__ import annotations

import io
import os
from bisect import bisect_left, bisect_right
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from itertools import accumulate, islice
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Any, BinaryIO

from bbcodec.archive.format.container import SheetBody
from bbcodec.archive.format.index import (
    BYTES,
    DIRECTORY,
    LEARNED,
    PIXEL_FORMS,
    SHEET,
    Entry,
    Place,
    link_stays_inside,
    printable,
)
from bbcodec.archive.read.contents import Contents, Unit
from bbcodec.archive.read.join import bands, recipes_of, sound, write_long
from bbcodec.archive.summary import Summary
from bbcodec.atomic_files import check_target, finish_folder, put_in_place, staging_folder
from bbcodec.codec.catalogue import find_codec
from bbcodec.codec.message import LearnedMessage
from bbcodec.errors import DamagedArchive, InputError, NoSuchName
from bbcodec.options import PathLike, Progress, RunOptions

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from bbcodec.archive.read.decode import Decoded, FilesTask, StretchTask
    from bbcodec.codec.pool import CodecSource


def open_archive(
    path: PathLike,
    *,
    codec: PathLike | None = None,
    device: str = "auto",
    jobs: int = 1,
    progress: Progress | None = None,
) -> Archive:
    """An archive, open for reading: a mapping from names to images and arrays.

    codec: a `.bbc` file, for archives that neither embed their codec nor use a shipped one.

    Raises InputError, NotAnArchive, DamagedArchive, UnsupportedVersion, UnsafePath, MissingCodec or BadCodecFile.

    >>> import tempfile, pathlib, numpy, bbcodec
    >>> folder = pathlib.Path(tempfile.mkdtemp())
    >>> numpy.save(folder / "a.npy", numpy.arange(192, dtype=numpy.uint8).reshape(3, 8, 8))
    >>> _ = bbcodec.compress(folder / "a.npy", folder / "a.bb", codec="none")
    >>> with bbcodec.open(folder / "a.bb") as archive:
    ...     list(archive), archive["a.npy"].shape, archive.images("a.npy", 1, 2).shape
    (['a.npy'], (3, 8, 8), (1, 8, 8, 1))
    """
    if device not in ("auto", "cpu"):
        from bbcodec.codec.device import check_device

        check_device(device)
    known: list[CodecSource] = []
    if codec is not None:
        from bbcodec.codec.pool import CodecSource

        known = [CodecSource.of(find_codec(codec))]
    return Archive(Path(path), known, RunOptions(jobs, device, progress))


class Archive(Contents, Mapping[str, Any]):
    """An archive, open for reading: a mapping from names to images and arrays.

    Opening reads the index alone. Asking for a file decodes the chunks it lies in; the chunks decoded last are kept.
    May be used by several threads, and by processes forked from this one: it holds no open file.
    """

    def close(self) -> None:
        """Forget what was decoded. (No file is held open.)"""
        self._pool = None

    def __enter__(self) -> Archive:
        """Itself."""
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """As close()."""
        self.close()

    # looking into it

    @property
    def names(self) -> list[str]:
        """The names of all files (and links), sorted; folders are not among them."""
        return [name for name, number in self._numbers.items() if self.files[number].form != "folder"]

    def __len__(self) -> int:
        """How many names there are."""
        return sum(file.form != "folder" for file in self.files)

    def __iter__(self) -> Iterator[str]:
        """The names."""
        return iter(self.names)

    def __contains__(self, name: object) -> bool:
        """Whether there is such a name."""
        return name in self._numbers and self.files[self._numbers[str(name)]].form != "folder"

    def read_bytes(self, name: str) -> bytes:
        """The file called `name`, as `decompress` restores it. Raises NoSuchName, DamagedArchive or MissingCodec."""
        number = self._file(name)
        units = self._units([number], restore=True)
        stream = io.BytesIO()
        self._write_one(number, units, self._here(task for unit in units for task in unit.tasks), stream)
        return stream.getvalue()

    def extract(self, name: str, stream: BinaryIO) -> None:
        """Write the file called `name` to a stream that can seek; raises as `read_bytes`, and is told of as `restore`.

        Of a large file no more is held in memory than a few chunks.
        """
        number = self._file(name)
        units = self._units([number], restore=True)
        self._write_one(number, units, self._everywhere(units, "decompressing"), stream)

    def _write_one(
        self, number: int, units: Sequence[Unit], results: Iterator[list[Decoded]], stream: BinaryIO
    ) -> None:
        """Write one file, of which there is one unit, or none if it is empty. Raises DamagedArchive."""
        for unit in units:
            damage = self._write_unit(unit, results, {number: stream})
            if damage:
                raise DamagedArchive(f"{self.path}: {printable(self.files[number].name)} is damaged: {damage[number]}")

    def __getitem__(self, name: str) -> Any:
        """The image called `name` (PIL.Image), the array of an `.npy`, or a dict of arrays of an `.npz`.

        Raises NoSuchName, InputError for files of other kinds (see `read_bytes`), DamagedArchive or MissingCodec.
        """
        import numpy as np
        from PIL import Image

        from bbcodec.archive.read.decode import pillow_alone

        data = self.read_bytes(name)
        if self.files[self._numbers[name]].form == "arrays":
            loaded = np.load(io.BytesIO(data), allow_pickle=False)
            return loaded if isinstance(loaded, np.ndarray) else dict(loaded)
        try:
            with pillow_alone():
                image = Image.open(io.BytesIO(data))
                image.load()
        except OSError as error:
            raise InputError(f"{name!r} is not an image: read_bytes() gives its bytes") from error
        return image

    def count(self, name: str) -> int:
        """How many images an `.npy` file holds, 1 for an image file, 0 for other files. Raises NoSuchName."""
        number = self._file(name)
        file = self.files[number]
        if file.form == "arrays" and file.width and name.lower().endswith(".npy"):
            return self._array_starts(number)[-1]
        return int(file.width > 0 and file.form != "arrays")

    def images(self, name: str, start: int, stop: int) -> NDArray[np.uint8]:
        """The images from `start` to before `stop` of an `.npy` file, (n, H, W, C); decodes only chunks that hold some.

        Raises NoSuchName, InputError for files of other kinds and images that are not there, DamagedArchive or
        MissingCodec.
        """
        import numpy as np

        number = self._file(name)
        file = self.files[number]
        count = self.count(name) if file.form == "arrays" else 0
        if not 0 <= start < stop <= count:
            raise InputError(f"{name!r} has {count} images of an array, not those from {start} to {stop}")
        starts = self._array_starts(number)
        wanted = range(bisect_right(starts, start) - 1, bisect_left(starts, stop))
        tasks = [self._array_tasks(number)[chunk] for chunk in wanted]
        parts = []
        for chunk, (decoded,) in zip(wanted, self._here(tasks), strict=True):
            if decoded.damage:
                raise DamagedArchive(f"{self.path}: {decoded.damage}")
            pixels = np.frombuffer(decoded.content, np.uint8)
            first, last = starts[chunk], starts[chunk + 1]
            images = pixels.reshape(last - first, file.height, file.width, -1)
            parts.append(images[max(start - first, 0) : stop - first])
        return np.concatenate(parts)

    def pixels(self, name: str, number: int = 0, mode: str | None = None) -> NDArray[np.uint8]:
        """What an image file, or image `number` of an `.npy` file, shows: uint8 (H, W, C), yours to change.

        C is 1 for grey, 2 with alpha, 3 for RGB, 4 for RGBA. Two levels are 0 and 255 (in arrays as they are), of 16
        bits the high ones are given, colours of palettes are looked up. mode: convert to `L`, `LA`, `RGB` or `RGBA`.

        Raises NoSuchName, InputError for what is no image, DamagedArchive or MissingCodec.
        """
        from bbcodec.images import converted, image_shown, palette, samples_shown

        index = self._file(name)
        file = self.files[index]
        if file.form == "arrays":
            shown = self.images(name, number, number + 1)[0]
        else:
            if number:
                raise InputError(f"{name!r} is one image, not several: it has none of number {number}")
            seen = None
            if file.form in PIXEL_FORMS:
                samples, skeleton = self._samples(file), self._skeleton(file)
                seen = samples_shown(samples, file.sample_format, palette(file.form, file.sample_format, skeleton))
            shown = image_shown(self[name]) if seen is None else seen
        return converted(shown, mode) if mode else shown

    def chunk_of(self, name: str, number: int = 0) -> int:
        """The number of the chunk that an image begins in: images of one chunk are decoded together.

        Raises NoSuchName, or InputError for images that are not there.
        """
        index = self._file(name)
        if not 0 <= number < self.count(name):
            raise InputError(f"{name!r} has {self.count(name)} images, none of number {number}")
        content = self.files[index].content
        if self.files[index].form == "arrays":
            return content[bisect_right(self._array_starts(index), number) - 1].chunk
        return content[0].chunk

    def _samples(self, file: Entry) -> Any:
        """The samples (H, W, C) of an image that is stored by them. Raises DamagedArchive."""
        import numpy as np

        results = self._here(self._stretches(file, restore=True))
        try:
            return np.concatenate(list(bands(file, (sound(one) for some in results for one in some))))
        except DamagedArchive as error:
            raise DamagedArchive(f"{self.path}: {printable(file.name)} is damaged: {error}") from None

    def _array_tasks(self, number: int) -> list[FilesTask | StretchTask]:
        """The tasks of an array, one a chunk."""
        if number not in self._tasks:
            self._tasks[number] = self._stretches(self.files[number], restore=True)
        return self._tasks[number]

    def _array_starts(self, number: int) -> list[int]:
        """The number of the first image of each chunk of an array, and that of all images."""
        if number not in self._starts:
            file = self.files[number]
            counts = [0]
            for place in file.content:
                chunk = self._directory.chunks[place.chunk]
                if chunk.type == BYTES:
                    values = file.width * file.height * (3 if file.mode == "RGB" else 1)
                    counts.append(place.length // values)
                else:
                    body = LearnedMessage if chunk.type == LEARNED else SheetBody
                    counts.append(body.unpack(self._body(chunk)).count)
            self._starts[number] = list(accumulate(counts))
        return self._starts[number]

    def _file(self, name: str) -> int:
        """The number of a file or link. Raises NoSuchName."""
        if name not in self:
            raise NoSuchName(f"{self.path} holds no file {name!r}; `bbcodec list {self.path}` shows its names")
        return self._numbers[name]

    def select(self, names: Iterable[str]) -> list[int]:
        """The numbers of the entries that are so called, or lie in folders that are so called. Raises NoSuchName."""
        chosen: set[int] = set()
        for name in names:
            folder = name.rstrip("/") + "/"
            below = [number for known, number in self._numbers.items() if known.startswith(folder)]
            if name.rstrip("/") in self._numbers:
                below.append(self._numbers[name.rstrip("/")])
            if not below:
                raise NoSuchName(f"{self.path} holds no file {name!r}; `bbcodec list {self.path}` shows its names")
            chosen.update(below)
        return sorted(chosen)

    def listing(self) -> dict[str, Any]:
        """What `bbcodec list --json` prints: `files`, `folders` and `codecs`."""
        users = Counter(self._shared(place) for file in self.files for place in set(file.places))
        firsts: dict[tuple[str, tuple[Place, ...]], str] = {}
        return {
            "files": [self._listed(file, users, firsts) for file in self.files if file.form != "folder"],
            "folders": [os.fsdecode(file.name) for file in self.files if file.form == "folder"],
            "codecs": [
                {"name": codec.name, "digest": codec.digest.hex(), "embedded": codec.chunk is not None}
                for codec in self.codecs
            ],
            "needs": self._directory.needs,
            "rebuilt": self.rebuilt,
        }

    def _listed(
        self, file: Entry, users: Mapping[tuple[int, int], int], firsts: dict[tuple[str, tuple[Place, ...]], str]
    ) -> dict[str, Any]:
        """One row of the listing. firsts: for places that were met before, the name of the file there."""
        name = os.fsdecode(file.name)
        first = firsts.setdefault((file.form, file.places), name) if file.places else name
        return {
            "name": name,
            "width": file.width or None,
            "height": file.height or None,
            "mode": file.mode or None,
            "bytes": file.size,
            "how": self._how(file),
            "stored_bytes": sum(self._share(place, users) for place in file.places),
            "copy_of": first if first != name else None,
        }

    def _how(self, file: Entry) -> str:
        """How a file is stored, in a word: as its first place is."""
        if not file.content:
            return "original"
        place = file.content[0]
        named = {LEARNED: "learned", SHEET: "sheet"}.get(self._directory.chunks[place.chunk].type, place.coding)
        return "original" if named == "bytes" else named

    def _shared(self, place: Place) -> tuple[int, int]:
        """What the files at a place share equally: one part of a `B` chunk, or all of another chunk."""
        return place.chunk, place.position if self._directory.chunks[place.chunk].type == BYTES else 0

    def _share(self, place: Place, users: Mapping[tuple[int, int], int]) -> int:
        """A place's share of the bytes of its chunk: a part's by its length, and equal ones of all who use it."""
        chunk = self._directory.chunks[place.chunk]
        size = chunk.length
        if chunk.type == BYTES:
            size = size * place.length // max(1, self._offsets[place.chunk][1])
        return size // users[self._shared(place)]

    def summary(self) -> Summary:
        """Counts and sizes."""
        return self._summarise(range(len(self.files)), self._size)

    def _summarise(self, numbers: Iterable[int], archive_bytes: int = 0) -> Summary:
        chosen = [self.files[number] for number in numbers]
        files = [file for file in chosen if file.form != "folder"]
        how = dict(sorted(Counter(self._how(file) for file in files).items()))
        size = sum(file.size for file in files)
        names = [codec.name for codec in self.codecs]
        places = Counter((file.form, file.places) for file in files if file.places)
        copies = sum(count - 1 for count in places.values())
        return Summary(len(files), size, archive_bytes, how, names, [], len(chosen) - len(files), copies)

    # verifying and restoring

    def verify(self) -> Summary:
        """Decode everything, write nothing. Raises DamagedArchive with the names of damaged files, or MissingCodec."""
        damaged: set[int] = set()
        units = self._units(range(len(self.files)), restore=False)
        results = self._everywhere(units, "verifying")
        for unit in units:
            decoded = [one for some in islice(results, len(unit.tasks)) for one in some]
            if unit.long and (any(one.damage for one in decoded) or not self._has_recipe(unit.numbers[0])):
                damaged.update(unit.numbers)
            elif not unit.long:
                damaged.update(number for number, one in zip(unit.numbers, decoded, strict=True) if one.damage)
        if damaged:
            raise DamagedArchive(f"{self.path}: {self._damage(damaged)}")
        for record in self.codecs:
            if record.chunk is not None:
                self._embedded(record, record.chunk)
        for chunk in self._directory.chunks:
            if chunk.type == DIRECTORY:
                self._body(chunk)
        if self.rebuilt:
            raise DamagedArchive(
                f"{self.path}: {self.rebuilt}; the {len(self)} files that its chunks name are whole: decompress them, "
                "see whether any are missing, and compress them again"
            )
        return self.summary()

    def _has_recipe(self, number: int) -> bool:
        """Whether the skeleton of a long file is whole, and of an array asks for as many chunks as there are."""
        file = self.files[number]
        try:
            skeleton = self._skeleton(file)
            recipes = recipes_of(file, skeleton)[1] if file.form == "arrays" else []
        except DamagedArchive:
            return False
        return file.form != "arrays" or sum(recipe.n_chunks for recipe in recipes) == len(file.content)

    def _damage(self, damaged: Iterable[int]) -> str:
        names = [printable(self.files[number].name) for number in sorted(damaged)]
        more = f" and {len(names) - 10} more" if len(names) > 10 else ""
        return f"{len(names)} of {len(self)} files are damaged: {', '.join(names[:10])}{more}"

    def restore(
        self, target: PathLike, names: Sequence[str] = (), *, force: bool = False, unsafe_links: bool = False
    ) -> Summary:
        """Restore files into the folder `target`: all, or those called or below `names`.

        All is first written to a temporary folder in `target`, then renamed. Files in damaged chunks are left out, and
        named by the DamagedArchive that is raised at the end. Links that lead out of the folder are made only with
        `unsafe_links`; else the summary names them.

        Raises NoSuchName, MissingCodec, UnsafePath, TargetExists, OutputError or DamagedArchive.
        """
        numbers = self.select(names) if names else list(range(len(self.files)))
        folder = Path(target)
        for number in numbers:
            check_target(folder, self.files[number], force)
        with staging_folder(folder) as stage:
            damaged = self._stage(numbers, stage)
            whole = [number for number in numbers if number not in damaged]
            skipped = self._unsafe_links(whole, stage, unsafe_links)
            left_out = {number for number, _ in skipped}
            kept = [number for number in whole if number not in left_out]
            # links last, so that nothing is ever written through one of them
            for number in sorted(kept, key=lambda number: self.files[number].form == "link"):
                put_in_place(stage / str(number), folder, self.files[number])
            for number in reversed(kept):
                if self.files[number].form == "folder":
                    finish_folder(folder, self.files[number])
        if damaged:
            raise DamagedArchive(f"{self.path}: {self._damage(damaged)}; all others were restored")
        summary = self._summarise(kept)
        summary.skipped = [line for _, line in skipped]
        if self.rebuilt:
            summary.skipped.append(f"{self.path}: {self.rebuilt}; restored are the files that its chunks name")
        return summary

    def _unsafe_links(self, numbers: Iterable[int], stage: Path, allowed: bool) -> list[tuple[int, str]]:
        """The links that are not made, and a line on each: those that lead out, unless allowed, or that cannot be."""
        found = []
        for number in numbers:
            file = self.files[number]
            if file.form == "link":
                goal = (stage / str(number)).read_bytes()
                line = f"{printable(file.name)} links to {printable(goal)}"
                if not goal or b"\0" in goal:
                    found.append((number, f"{line}, which is no path: left out"))
                elif not allowed and not link_stays_inside(file.name, goal):
                    found.append((number, f"{line}, out of the folder: left out (--unsafe-links makes it)"))
        return found

    def _stage(self, numbers: Iterable[int], stage: Path) -> set[int]:
        """Write files into `stage`, called by their numbers; gives the numbers of damaged ones, to be left there."""
        damaged: set[int] = set()
        numbers = list(numbers)
        for number in numbers:
            if self.files[number].form != "folder" and not self.files[number].content:
                (stage / str(number)).touch()
        units = self._units(numbers, restore=True)
        results = self._everywhere(units, "decompressing")
        for unit in units:
            streams: dict[int, BinaryIO] = {}
            try:
                for number in unit.numbers:
                    if unit.long:
                        streams[number] = open(stage / str(number), "w+b")  # noqa: SIM115  # closed below
                some = islice(results, len(unit.tasks))
                damaged.update(self._write_unit(unit, some, streams, stage))
            finally:
                for stream in streams.values():
                    stream.close()
        return damaged

    def _write_unit(
        self, unit: Unit, results: Iterator[list[Decoded]], streams: Mapping[int, BinaryIO], stage: Path | None = None
    ) -> dict[int, str]:
        """Write the files of a unit, to their streams or into `stage`; what is wrong with damaged ones, by number."""
        if unit.long:
            number = unit.numbers[0]
            try:
                write_long(self.files[number], self._skeleton(self.files[number]), results, streams[number])
            except DamagedArchive as error:
                for _ in results:
                    pass  # the rest of this file, which is not wanted any more
                return {number: str(error)}
            return {}
        damage = {}
        for number, decoded in zip(unit.numbers, next(results), strict=True):
            if decoded.damage:
                damage[number] = decoded.damage
            elif stage is not None:
                (stage / str(number)).write_bytes(decoded.content)
            else:
                streams[number].write(decoded.content)
        return damage


def decompress(
    path: PathLike,
    target: PathLike,
    names: Sequence[str] = (),
    *,
    force: bool = False,
    unsafe_links: bool = False,
    codec: PathLike | None = None,
    jobs: int = 1,
    device: str = "auto",
    progress: Progress | None = None,
) -> Summary:
    """Restore files of an archive into the folder `target`: all, or those called or below `names`.

    Raises what `open_archive` and `Archive.restore` raise.
    """
    with open_archive(path, codec=codec, device=device, jobs=jobs, progress=progress) as archive:
        return archive.restore(target, names, force=force, unsafe_links=unsafe_links)


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
