"""Archives as a data set for PyTorch: images are decoded when they are asked for."""

from __future__ import annotations

import os
from bisect import bisect_right
from collections import defaultdict
from collections.abc import Callable, Iterator, Sequence
from itertools import accumulate, pairwise
from typing import Any, Final, NamedTuple

import numpy as np
from numpy.typing import NDArray
from torch.utils.data import Dataset, Sampler

from bbcodec.archive.read.archive import Archive, open_archive
from bbcodec.errors import InputError
from bbcodec.options import PathLike

OPEN_ARCHIVES: Final = 8  # of a data set in one process, each with its index and 64 MiB of decoded chunks


class ArchiveDataset(Dataset[Any]):
    """The images of one or more archives: every image file, and every image of an `.npy` array, is an item.

    Items are uint8 (H, W, C), or what `transform` makes of them. A data set can be pickled, and used by several threads
    and by the workers of a DataLoader, forked or spawned: each process opens the archive for itself.

    Learned chunks are decoded as a whole, about a second each, and the chunks decoded last are kept (64 MiB of them in
    each process and archive). So items in order are quick, and random items of many chunks cost a chunk each:
    `ChunkBatches` shuffles so that each chunk is decoded about once.

    >>> import pathlib, tempfile, bbcodec, numpy
    >>> folder = pathlib.Path(tempfile.mkdtemp())
    >>> numpy.save(folder / "digits.npy", numpy.zeros((100, 28, 28), numpy.uint8))
    >>> _ = bbcodec.compress(folder, folder / "digits.bb", codec="none")
    >>> images = bbcodec.ArchiveDataset(folder / "digits.bb", transform=lambda image: image / 255)
    >>> len(images), images[7].shape, images.item(7)
    (100, (28, 28, 1), ('digits.npy', 7))
    """

    def __init__(
        self,
        paths: PathLike | Sequence[PathLike],
        transform: Callable[[NDArray[np.uint8]], Any] | None = None,
        *,
        mode: str | None = None,
        names: Sequence[str] = (),
        codec: PathLike | None = None,
        device: str = "cpu",
    ) -> None:
        """Open the archives, one after another; nothing is decoded yet. Paths may be URLs.

        transform: applied to each item. For spawned workers it must be picklable, so no lambda.
        mode: `L`, `LA`, `RGB` or `RGBA`, to which image files are converted; None: each as it is.
        names: files and folders of each archive; all if empty.
        codec, device: as for `bbcodec.open`. Workers should not share a GPU.

        Raises InputError if there is no image, and what `bbcodec.open` raises.
        """
        several = [paths] if isinstance(paths, str | os.PathLike) else paths
        self.paths, self.transform, self.mode = [os.fspath(path) for path in several], transform, mode
        self._codec, self._device = codec, device
        self._open: dict[int, Archive] = {}
        self._process = 0
        self._files: list[tuple[int, str]] = []  # the number of an archive, and a name in it
        counts: list[int] = []
        for number, path in enumerate(self.paths):
            counted = list(_counted(self._archive(number), names))
            if not counted:
                raise InputError(f"{path} holds no images{' of these names' if names else ''}")
            self._files += [(number, name) for name, _ in counted]
            counts += [count for _, count in counted]
        if not counts:
            raise InputError("no archive was given")
        self._starts = [0, *accumulate(counts)]

    def _archive(self, number: int) -> Archive:
        """An archive, opened in this process: a forked one may have inherited a lock that is never released."""
        if self._process != os.getpid():
            self._open, self._process = {}, os.getpid()
        opened = self._open
        archive = opened.get(number) or open_archive(self.paths[number], codec=self._codec, device=self._device)
        others = [(one, kept) for one, kept in opened.items() if one != number]
        self._open = dict([*others, (number, archive)][-OPEN_ARCHIVES:])  # anew, as other threads look into it
        return archive

    def __getstate__(self) -> dict[str, Any]:
        """Everything except the open archives."""
        return {**self.__dict__, "_open": {}}

    def __len__(self) -> int:
        """How many images there are."""
        return self._starts[-1]

    def item(self, index: int) -> tuple[str, int]:
        """The name of the file that an item is from, and its number in that file. Raises IndexError."""
        place, number = self._place(index)
        return self._files[place][1], number

    def opened(self, index: int) -> Archive:
        """The archive that an item is from, open in this process. Raises IndexError."""
        return self._archive(self._files[self._place(index)[0]][0])

    def archive_of(self, index: int) -> str:
        """The path of the archive that an item is from. Raises IndexError."""
        return self.paths[self._files[self._place(index)[0]][0]]

    def _place(self, index: int) -> tuple[int, int]:
        """The place of an item's file among all, and the item's number in that file. Raises IndexError."""
        if not -len(self) <= index < len(self):
            raise IndexError(f"{', '.join(self.paths)}: {len(self)} images, none of number {index}")
        index %= len(self)
        place = bisect_right(self._starts, index) - 1
        return place, index - self._starts[place]

    def __getitem__(self, index: int) -> Any:
        """An image, transformed. Raises IndexError, DamagedArchive or MissingCodec."""
        place, number = self._place(index)
        archive, name = self._files[place]
        pixels = self._archive(archive).pixels(name, number, self.mode)
        return pixels if self.transform is None else self.transform(pixels)

    def chunks(self) -> list[list[list[int]]]:
        """By archive and chunk, in their order: the indices of the items that are decoded together."""
        together: list[dict[int, list[int]]] = [defaultdict(list) for _ in self.paths]
        for start, stop, (archive, name) in zip(self._starts, self._starts[1:], self._files, strict=False):
            for index in range(start, stop):
                chunk = self._archive(archive).chunk_of(name, index - start)
                together[archive][chunk].append(index)
        return [[chunks[number] for number in sorted(chunks)] for chunks in together]


def _counted(archive: Archive, names: Sequence[str]) -> Iterator[tuple[str, int]]:
    """The files of these names that hold images, and how many. Raises NoSuchName."""
    chosen = [os.fsdecode(archive.files[number].name) for number in archive.select(names)] if names else archive
    for name in chosen:
        if name in archive and (count := archive.count(name)):
            yield name, count


class _Parts(NamedTuple):
    """Parts of chunks: their numbers, and from which to before which item."""

    chunk: NDArray[np.intp]
    start: NDArray[np.intp]
    stop: NDArray[np.intp]

    def of(self, worker: int, workers: int) -> _Parts:
        """Those of one worker."""
        return _Parts(*(each[worker::workers] for each in self))


class ChunkBatches(Sampler[list[int]]):
    """Batches of indices, shuffled anew each time, such that every chunk is decoded about once: a `batch_sampler`.

    Chunks come in random order, those of a few archives at a time, and items of `pool` chunks are shuffled together. A
    DataLoader deals batches to its workers in turn, so chunks are dealt the same way: `workers` is the loader's
    `num_workers`. Of several processes that train one model, each takes its share of all images, `rank` of `ranks`: no
    image is in two shares, or in none. All have the same number of batches, as such training takes, for which some
    batches are smaller; images are left out only with `drop_last`, or in batches of one.

    To go on where training stopped, set `epoch`, and `first` to the number of batches of it that are done.

    >>> import pathlib, tempfile, bbcodec, numpy
    >>> folder = pathlib.Path(tempfile.mkdtemp())
    >>> numpy.save(folder / "digits.npy", numpy.zeros((100, 28, 28), numpy.uint8))
    >>> _ = bbcodec.compress(folder, folder / "digits.bb", codec="none")
    >>> images = bbcodec.ArchiveDataset(folder / "digits.bb")
    >>> batches = list(bbcodec.ChunkBatches(images, batch_size=32))
    >>> [len(batch) for batch in batches], sorted(sum(batches, [])) == list(range(100))
    ([32, 32, 32, 4], True)
    """

    def __init__(
        self,
        dataset: ArchiveDataset,
        batch_size: int,
        *,
        workers: int = 0,
        rank: int = 0,
        ranks: int = 1,
        pool: int = 16,
        seed: int = 0,
        drop_last: bool = False,
    ) -> None:
        """Ask the data set for its chunks. The order follows from `seed` and `epoch`, to which each pass adds one."""
        super().__init__()
        if batch_size < 1 or pool < 1 or workers < 0:
            raise InputError(
                f"expected a batch size and a pool of at least 1, and no negative number of workers; got {batch_size}, "
                f"{pool} and {workers}"
            )
        if not 0 <= rank < ranks:
            raise InputError(f"expected a rank of 0 to {ranks - 1}, got {rank}")
        if len(dataset) < ranks:
            raise InputError(f"there are {len(dataset)} images for {ranks} processes: expected one for each at least")
        self.batch_size, self.pool, self.seed, self.drop_last = batch_size, pool, seed, drop_last
        self.epoch = self.first = 0
        self._workers, self._rank, self._ranks = max(1, workers), rank, ranks
        archives = dataset.chunks()
        ends = [0, *accumulate(map(len, archives))]
        self._chunks = [chunk for chunks in archives for chunk in chunks]
        self._sizes, self._items = np.array([len(chunk) for chunk in self._chunks]), len(dataset)
        self._numbers = [np.arange(start, end) for start, end in pairwise(ends)]  # of the chunks of each archive

    def __len__(self) -> int:
        """How many batches are left of this epoch."""
        return len(self._batches()) - self.first

    def __iter__(self) -> Iterator[list[int]]:
        """The batches of this epoch, from the first that is not done."""
        batches = self._batches()[self.first :]
        self.epoch, self.first = self.epoch + 1, 0
        return iter(batches)

    def _batches(self) -> list[list[int]]:
        """The batches of this epoch and rank: as many as of any other."""
        order = self._order(np.random.default_rng((self.seed, self.epoch)))
        shares = [self._share(order, rank) for rank in range(self._ranks)]
        counts = [self._count(share) for share in shares]
        batches = self._batches_of(shares[self._rank])
        if self.drop_last:
            return batches[: min(counts)]
        return _as_many(batches, min(max(counts), self._items // self._ranks), self.batch_size)

    def _share(self, order: NDArray[np.intp], rank: int) -> _Parts:
        """The chunks of a rank, one after another, of which the first and the last may be shared with a neighbour."""
        ends = self._sizes[order].cumsum()
        starts = ends - self._sizes[order]
        first, last = (self._items * border // self._ranks for border in (rank, rank + 1))
        start, stop = (np.clip(border, starts, ends) - starts for border in (first, last))
        there = stop > start
        return _Parts(order[there], start[there], stop[there])

    def _count(self, parts: _Parts) -> int:
        """How many batches some parts of chunks are."""
        sizes = parts.stop - parts.start
        each = [int(sizes[worker :: self._workers].sum()) for worker in range(self._workers)]
        return sum(count // self.batch_size if self.drop_last else -(-count // self.batch_size) for count in each)

    def _order(self, random: np.random.Generator) -> NDArray[np.intp]:
        """All chunks, shuffled, such that few archives are in use at any time."""
        archives = random.permutation(len(self._numbers))
        groups = [archives[first : first + OPEN_ARCHIVES] for first in range(0, len(archives), OPEN_ARCHIVES)]
        chunks = [np.concatenate([self._numbers[archive] for archive in group]) for group in groups]
        return np.concatenate([random.permutation(some) for some in chunks])

    def _batches_of(self, parts: _Parts) -> list[list[int]]:
        """The batches of this rank, from these parts of chunks, dealt to its workers."""
        random = np.random.default_rng((self.seed, self.epoch, self._rank))
        hands = [self._hand(parts.of(worker, self._workers), random) for worker in range(self._workers)]
        rounds = range(max(map(len, hands)))
        return [hand[number] for number in rounds for hand in hands if number < len(hand)]

    def _hand(self, parts: _Parts, random: np.random.Generator) -> list[list[int]]:
        """The batches of one worker, from these parts of chunks."""
        indices: list[int] = []
        items = [self._chunks[chunk][start:stop] for chunk, start, stop in zip(*parts, strict=True)]
        for first in range(0, len(items), self.pool):
            pooled = [index for part in items[first : first + self.pool] for index in part]
            indices.extend(random.permutation(pooled).tolist())
        batches = [indices[start : start + self.batch_size] for start in range(0, len(indices), self.batch_size)]
        return batches[:-1] if self.drop_last and batches and len(batches[-1]) < self.batch_size else batches


def _as_many(batches: list[list[int]], count: int, batch_size: int) -> list[list[int]]:
    """`count` batches of the same images: where there are fewer, the longest of them are halved.

    There are more only where they have one or two images each, and are dealt anew.
    """
    if len(batches) > count:
        indices = [index for batch in batches for index in batch]
        even = [part.tolist() for part in np.array_split(np.array(indices), count)]
        batches = even if batch_size > 1 else batches[:count]
    while len(batches) < count:
        longest = max(range(len(batches)), key=lambda number: len(batches[number]))
        middle = len(batches[longest]) // 2
        batches[longest : longest + 1] = batches[longest][:middle], batches[longest][middle:]
    return batches
