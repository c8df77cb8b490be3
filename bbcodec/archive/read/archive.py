"""Archives as users read them: open, look into, verify, restore."""

from __future__ import annotations

import io
import os
from collections.abc import Iterable, Iterator, Mapping, Sequence
from functools import cached_property
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Any, BinaryIO

from bbcodec.archive.format.index import CodecRecord, Entry
from bbcodec.archive.format.names import printable
from bbcodec.archive.read.archive_file import ArchiveFile
from bbcodec.archive.read.array_images import ArrayImages
from bbcodec.archive.read.codecs import CodecFinder
from bbcodec.archive.read.damage import error_for, what_is_wrong
from bbcodec.archive.read.join import join_samples
from bbcodec.archive.read.listing import list_archive, summarise
from bbcodec.archive.read.restore import restore_entries, verify_archive, write_entry
from bbcodec.archive.read.task_runner import TaskRunner
from bbcodec.archive.read.tasks import plan_stretches
from bbcodec.archive.summary import Summary
from bbcodec.codec.catalogue import find_codec
from bbcodec.errors import DamagedArchive, InputError, NoSuchName
from bbcodec.images.formats import PIXEL_FORMS
from bbcodec.options import Limits, PathLike, Progress, RunOptions
from bbcodec.remote import is_url, local_folder, located

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from bbcodec.codec.pool import CodecSource
    from bbcodec.images.samples import Bytes


def open_archive(
    path: PathLike,
    *,
    codec: PathLike | None = None,
    device: str = "auto",
    jobs: int = 1,
    progress: Progress | None = None,
    limits: Limits = Limits(),  # noqa: B008  frozen
) -> Archive:
    """An archive, open for reading: a mapping from names to images and arrays.

    codec: a `.bbc` file, for archives that neither embed their codec nor use a shipped one.
    limits: what reading it may cost, for archives from anywhere (`docs/security.md`).

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
    return Archive(located(path), known, RunOptions(jobs, device, progress, limits=limits))


class Archive(Mapping[str, Any]):
    """An archive, open for reading: a mapping from names to images and arrays.

    Opening reads the index alone. Asking for a file decodes the chunks it lies in; the chunks decoded last are kept.
    May be used by several threads, and by processes forked from this one: it holds no open file.
    """

    def __init__(self, path: str | Path, known: Iterable[CodecSource] = (), run: RunOptions | None = None) -> None:
        """Open `path`. `known` are codecs to look among before the embedded and the shipped ones."""
        self.path = path
        run = run or RunOptions()
        self._file = ArchiveFile(path)
        self._codecs = CodecFinder(self._file, known, run.limits.embedded_codecs)
        self._decoder = TaskRunner(self._file, self._codecs, run)
        self._arrays = ArrayImages(self._decoder)

    def close(self) -> None:
        """Forget what was decoded. (No file is held open.)"""
        self._decoder.close()

    def __enter__(self) -> Archive:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    # looking into it

    @cached_property
    def _numbers(self) -> dict[str, int]:
        """The numbers of the entries by their names."""
        return {os.fsdecode(entry.name): number for number, entry in enumerate(self.files)}

    @property
    def files(self) -> list[Entry]:
        """Its entries, sorted by name: files, links and folders."""
        return self._file.entries

    @property
    def codecs(self) -> list[CodecRecord]:
        """The codecs that it needs."""
        return self._file.codecs

    @property
    def rebuilt(self) -> str:
        """Why its index was put together from its chunks, in one line; empty where the index is whole."""
        return self._file.rebuilt

    @property
    def names(self) -> list[str]:
        """The names of all files (and links), sorted; folders are not among them."""
        return [name for name, number in self._numbers.items() if self.files[number].form != "folder"]

    def __len__(self) -> int:
        """How many names there are."""
        return sum(entry.form != "folder" for entry in self.files)

    def __iter__(self) -> Iterator[str]:
        return iter(self.names)

    def __contains__(self, name: object) -> bool:
        """Whether there is such a name."""
        return name in self._numbers and self.files[self._numbers[str(name)]].form != "folder"

    def select(self, names: Iterable[str]) -> list[int]:
        """The numbers of the entries that have these names, or lie in folders of these names. Raises NoSuchName."""
        chosen: set[int] = set()
        for name in names:
            folder = name.rstrip("/") + "/"
            below = [number for known, number in self._numbers.items() if known.startswith(folder)]
            if name.rstrip("/") in self._numbers:
                below.append(self._numbers[name.rstrip("/")])
            if not below:
                raise self._no_such(name)
            chosen.update(below)
        return sorted(chosen)

    def listing(self) -> dict[str, Any]:
        """What `bbcodec list --json` prints: `files`, `folders`, `codecs`, `needs` and `rebuilt`."""
        return list_archive(self._file)

    def summary(self) -> Summary:
        """Counts and sizes."""
        return summarise(self._file, range(len(self.files)), self._file.size)

    def source_of(self, record: CodecRecord) -> CodecSource:
        """The codec of a record: given, embedded or shipped. Raises MissingCodec or DamagedArchive."""
        return self._codecs.source_of(record)

    # files

    def read_bytes(self, name: str) -> bytes:
        """The file called `name`, as `decompress` restores it. Raises NoSuchName, DamagedArchive or MissingCodec."""
        stream = io.BytesIO()
        write_entry(self._decoder, self._number(name), stream, spread=False)
        return stream.getvalue()

    def extract(self, name: str, stream: BinaryIO) -> None:
        """Write the file called `name` to a stream that can seek, with progress as `restore`. Raises as `read_bytes`.

        Of a large file no more than a few chunks are held in memory.
        """
        write_entry(self._decoder, self._number(name), stream, spread=True)

    def __getitem__(self, name: str) -> Any:
        """The image called `name` (PIL.Image), the array of an `.npy`, or a dict of arrays of an `.npz`.

        Raises NoSuchName, InputError for other files (see `read_bytes`), DamagedArchive or MissingCodec.
        """
        import numpy as np
        from PIL import Image

        from bbcodec.images.pillow import BAD_IMAGE, pillow_alone

        data = self.read_bytes(name)
        if self._entry(name).form == "arrays":
            try:
                loaded = np.load(io.BytesIO(data), allow_pickle=False)
                return loaded if isinstance(loaded, np.ndarray) else dict(loaded)
            except Exception as error:  # NumPy raises many for headers that are none
                raise InputError(f"{name!r} holds no array: read_bytes() gives its bytes") from error
        try:
            with pillow_alone():
                image = Image.open(io.BytesIO(data))
                image.load()
        except BAD_IMAGE as error:
            raise InputError(f"{name!r} is not an image that Pillow reads: read_bytes() gives its bytes") from error
        return image

    # images

    def count(self, name: str) -> int:
        """How many images an `.npy` file holds, 1 for an image file, 0 for other files. Raises NoSuchName."""
        entry = self._entry(name)
        return self._arrays.count(self._number(name)) if self.holds_array(name) else int(entry.width > 0)

    def holds_array(self, name: str) -> bool:
        """Whether a file is an `.npy` or `.npz`, not an image file or another. Raises NoSuchName."""
        return self._entry(name).form == "arrays"

    def images(self, name: str, start: int, stop: int) -> NDArray[np.uint8]:
        """The images from `start` to before `stop` of an `.npy` file, (n, H, W, C); decodes only chunks that hold some.

        Raises NoSuchName, InputError for other files and images that are not there, DamagedArchive or MissingCodec.
        """
        return self._arrays.images(self._number(name), start, stop)

    def pixels(self, name: str, number: int = 0, mode: str | None = None) -> NDArray[np.uint8]:
        """What an image file, or image `number` of an `.npy` file, shows: uint8 (H, W, C), yours to change.

        C is 1 for grey, 2 with alpha, 3 for RGB, 4 for RGBA. Two levels are 0 and 255 (in arrays as they are), 16 bits
        are cut to the high 8, indices become their colours. Of a file of several pages or frames it is the first, as
        of Pillow: `read_bytes` has them all. mode: convert to `L`, `LA`, `RGB` or `RGBA`.

        Raises NoSuchName, InputError for files without images, DamagedArchive or MissingCodec.
        """
        from bbcodec.images.display import converted

        entry = self._entry(name)
        if entry.form == "arrays":
            shown = self.images(name, number, number + 1)[0]
        elif number:
            raise InputError(f"{name!r} is one image, not several: it has none of number {number}")
        else:
            seen = self._samples_shown(entry) if entry.form in PIXEL_FORMS else None
            shown = self._converted_by_pillow(name) if seen is None else seen
        return converted(shown, mode) if mode else shown

    def _converted_by_pillow(self, name: str) -> NDArray[np.uint8]:
        """What Pillow sees in a file. Raises InputError where it sees nothing."""
        from bbcodec.images.display import image_shown
        from bbcodec.images.pillow import BAD_IMAGE

        image = self[name]
        try:
            return image_shown(image)
        except BAD_IMAGE as error:
            raise InputError(f"{name!r} is an image that Pillow cannot convert: see read_bytes()") from error

    def chunk_of(self, name: str, number: int = 0) -> int:
        """The number of the chunk that an image begins in: images of one chunk are decoded together.

        Raises NoSuchName, or InputError for images that are not there.
        """
        entry = self._entry(name)
        if not 0 <= number < self.count(name):
            raise InputError(f"{name!r} has {self.count(name)} images, none of number {number}")
        return self._arrays.chunk_of(self._number(name), number) if entry.form == "arrays" else entry.content[0].chunk

    def _samples_shown(self, entry: Entry) -> Bytes | None:
        """What the samples of an image show, without joining its file; None where they do not tell."""
        from bbcodec.images.display import samples_shown
        from bbcodec.images.formats import form_named
        from bbcodec.images.formats.base import Outline
        from bbcodec.images.image_files import palette

        skeleton = self._decoder.skeleton(entry)
        outline = Outline(entry.form, entry.sample_format, entry.width, entry.height, skeleton)
        try:
            samples = join_samples(entry, self._decoder.here(plan_stretches(self._file, entry, restore=True)))
        except DamagedArchive as error:
            kind = error_for([str(error)])
            raise kind(f"{self.path}: {printable(entry.name)} is {what_is_wrong(kind)}: {error}") from None
        shown = form_named(entry.form).shown(outline, samples)
        colours = palette(entry.form, entry.sample_format, skeleton)
        return None if shown is None else samples_shown(shown, entry.sample_format, colours)

    def _number(self, name: str) -> int:
        """The number of a file or link. Raises NoSuchName."""
        if name not in self:
            raise self._no_such(name)
        return self._numbers[name]

    def _entry(self, name: str) -> Entry:
        """A file or link. Raises NoSuchName."""
        return self.files[self._number(name)]

    def _no_such(self, name: str) -> NoSuchName:
        return NoSuchName(f"{self.path} holds no file {name!r}; `bbcodec list {self.path}` shows its names")

    # verifying and restoring

    def verify(self, names: Sequence[str] = ()) -> Summary:
        """Decode everything, or what is called or below `names`; write nothing.

        Raises DamagedArchive with the names of damaged files, NoSuchName or MissingCodec.
        """
        verify_archive(self._decoder, self.select(names) if names else None)
        return self.summary()

    def restore(
        self,
        target: PathLike,
        names: Sequence[str] = (),
        *,
        force: bool = False,
        unsafe_links: bool = False,
        fsync: bool = False,
    ) -> Summary:
        """Restore files into the folder `target`: all, or those called or below `names`.

        All are first written to a temporary folder in `target`, then renamed. Files in damaged chunks are left out, and
        named by the DamagedArchive that is raised at the end. Links that lead out of the folder are made only with
        `unsafe_links`; else the summary names them. fsync: all files are on disk on return.

        Raises NoSuchName, LimitExceeded, MissingCodec, UnsafePath, TargetExists, OutputError or DamagedArchive.
        """
        numbers = self.select(names) if names else range(len(self.files))
        with local_folder(target, force=force) as folder:
            restored = restore_entries(
                self._decoder, numbers, folder, force=force, unsafe_links=unsafe_links, fsync=fsync
            )
        summary = summarise(self._file, restored.numbers)
        summary.skipped = restored.skipped
        if is_url(target) and any(self.files[number].form == "link" for number in restored.numbers):
            summary.skipped.append(f"{target}: links, empty folders, times and permissions are not kept there")
        return summary


def decompress(
    path: PathLike,
    target: PathLike,
    names: Sequence[str] = (),
    *,
    force: bool = False,
    unsafe_links: bool = False,
    fsync: bool = False,
    codec: PathLike | None = None,
    jobs: int = 1,
    device: str = "auto",
    progress: Progress | None = None,
    limits: Limits = Limits(),  # noqa: B008  frozen
) -> Summary:
    """Restore files of an archive into the folder `target`: all, or those called or below `names`.

    Raises what `open_archive` and `Archive.restore` raise.
    """
    with open_archive(path, codec=codec, device=device, jobs=jobs, progress=progress, limits=limits) as archive:
        return archive.restore(target, names, force=force, unsafe_links=unsafe_links, fsync=fsync)


def verify(
    path: PathLike,
    *,
    codec: PathLike | None = None,
    jobs: int = 1,
    device: str = "auto",
    progress: Progress | None = None,
    limits: Limits = Limits(),  # noqa: B008  frozen
) -> Summary:
    """Decode all of an archive and compare digests; write nothing.

    Raises DamagedArchive with the names of damaged files, and what `open_archive` raises.
    """
    with open_archive(path, codec=codec, device=device, jobs=jobs, progress=progress, limits=limits) as archive:
        return archive.verify()
