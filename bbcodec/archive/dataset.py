"""An archive as a data set for PyTorch: images are decoded when they are asked for."""

from __future__ import annotations

import os
from bisect import bisect_right
from collections import defaultdict
from collections.abc import Callable, Iterator, Sequence
from itertools import accumulate
from typing import Any

import numpy as np
from numpy.typing import NDArray
from torch.utils.data import Dataset, Sampler

from bbcodec.archive.read.archive import Archive, open_archive
from bbcodec.errors import InputError
from bbcodec.options import PathLike


class ArchiveDataset(Dataset[Any]):
    """The images of an archive: every image file, and every image of an `.npy` array, is an item.

    Items are uint8 (H, W, C), or what `transform` makes of them. A data set can be pickled, and used by several threads
    and by the workers of a DataLoader, forked or spawned: each process opens the archive for itself.

    Learned chunks are decoded as a whole, about a second each, and the chunks decoded last are kept (64 MiB of them in
    each process). So items in order are quick, and random items of many chunks cost a chunk each: `ChunkBatches`
    shuffles so that each chunk is decoded about once.

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
        path: PathLike,
        transform: Callable[[NDArray[np.uint8]], Any] | None = None,
        *,
        mode: str | None = None,
        names: Sequence[str] = (),
        codec: PathLike | None = None,
        device: str = "cpu",
    ) -> None:
        """Open the archive `path`; nothing is decoded yet.

        transform: applied to each item. For spawned workers it must be picklable, so no lambda.
        mode: `L`, `LA`, `RGB` or `RGBA`, to which image files are converted; None: each as it is.
        names: files and folders of the archive; all if empty.
        codec, device: as for `bbcodec.open`. Workers should not share a GPU.

        Raises InputError if there is no image, and what `bbcodec.open` raises.
        """
        self.path, self.transform, self.mode = os.fspath(path), transform, mode
        self._codec, self._device = codec, device
        self._archive: Archive | None = None
        self._process = 0
        archive = self.archive
        chosen = [os.fsdecode(archive.files[number].name) for number in archive.select(names)] if names else archive
        counts = [(name, archive.count(name)) for name in chosen if name in archive]
        self._names = [name for name, count in counts if count]
        self._starts = [0, *accumulate(count for _, count in counts if count)]
        if not self._names:
            raise InputError(f"{self.path} holds no images{' of these names' if names else ''}")

    @property
    def archive(self) -> Archive:
        """The archive, opened in this process: a forked one may have inherited a lock that is never released."""
        if self._archive is None or self._process != os.getpid():
            self._archive = open_archive(self.path, codec=self._codec, device=self._device)
            self._process = os.getpid()
        return self._archive

    def __getstate__(self) -> dict[str, Any]:
        """Everything except the open archive."""
        return {**self.__dict__, "_archive": None}

    def __len__(self) -> int:
        """How many images there are."""
        return self._starts[-1]

    def item(self, index: int) -> tuple[str, int]:
        """The name of the file that an item is from, and its number in that file. Raises IndexError."""
        if not -len(self) <= index < len(self):
            raise IndexError(f"{self.path} holds {len(self)} images, none of number {index}")
        index %= len(self)
        place = bisect_right(self._starts, index) - 1
        return self._names[place], index - self._starts[place]

    def __getitem__(self, index: int) -> Any:
        """An image, transformed. Raises IndexError, DamagedArchive or MissingCodec."""
        name, number = self.item(index)
        pixels = self.archive.pixels(name, number, self.mode)
        return pixels if self.transform is None else self.transform(pixels)

    def chunks(self) -> list[list[int]]:
        """The indices of all items, those that are decoded together in one list, in the order of the archive."""
        together: dict[int, list[int]] = defaultdict(list)
        for start, stop, name in zip(self._starts, self._starts[1:], self._names, strict=False):
            for index in range(start, stop):
                together[self.archive.chunk_of(name, index - start)].append(index)
        return [together[chunk] for chunk in sorted(together)]


class ChunkBatches(Sampler[list[int]]):
    """Batches of indices, shuffled anew each time, such that every chunk is decoded about once: a `batch_sampler`.

    Chunks come in random order, and items of `pool` chunks at a time are shuffled together. A DataLoader deals batches
    to its workers in turn, so chunks are dealt the same way: `workers` is the loader's `num_workers`.

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
        self.batch_size, self.pool, self.seed, self.drop_last = batch_size, pool, seed, drop_last
        self.epoch = 0
        self._workers = max(1, workers)
        self._chunks = dataset.chunks()

    def __len__(self) -> int:
        """How many batches there are in this epoch."""
        return len(self._batches())

    def __iter__(self) -> Iterator[list[int]]:
        """The batches of this epoch."""
        batches = self._batches()
        self.epoch += 1
        return iter(batches)

    def _batches(self) -> list[list[int]]:
        random = np.random.default_rng((self.seed, self.epoch))
        order = random.permutation(len(self._chunks))
        hands = [self._hand(order[worker :: self._workers], random) for worker in range(self._workers)]
        rounds = range(max(map(len, hands)))
        return [hand[number] for number in rounds for hand in hands if number < len(hand)]

    def _hand(self, order: NDArray[np.intp], random: np.random.Generator) -> list[list[int]]:
        """The batches of one worker, from these chunks."""
        indices: list[int] = []
        for first in range(0, len(order), self.pool):
            pooled = [index for chunk in order[first : first + self.pool] for index in self._chunks[chunk]]
            indices.extend(random.permutation(pooled).tolist())
        batches = [indices[start : start + self.batch_size] for start in range(0, len(indices), self.batch_size)]
        return batches[:-1] if self.drop_last and batches and len(batches[-1]) < self.batch_size else batches
