"""Runs decoding tasks, here or by workers, with the codecs that they need."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from typing import TYPE_CHECKING

from bbcodec.archive.format.index import Entry
from bbcodec.archive.read.archive_file import ArchiveFile
from bbcodec.archive.read.codecs import CodecFinder
from bbcodec.archive.read.kept_chunks import KeptChunks
from bbcodec.archive.read.tasks import Task, Unit
from bbcodec.errors import DamagedArchive
from bbcodec.options import RunOptions

if TYPE_CHECKING:
    from bbcodec.archive.read.decode import Decoded
    from bbcodec.codec.pool import CodecPool


class TaskRunner:
    """Decodes what an archive holds. Keeps loaded codecs, and the chunks decoded last, until `close`."""

    def __init__(self, file: ArchiveFile, codecs: CodecFinder, options: RunOptions) -> None:
        self.file = file
        self.codecs = codecs
        self._options = options
        self.limits = options.limits
        self._pool: CodecPool | None = None

    def close(self) -> None:
        """Forget codecs and chunks."""
        self._pool = None

    def here(self, tasks: Iterable[Task]) -> Iterator[list[Decoded]]:
        """What tasks give, done in this process. Raises MissingCodec or InputError."""
        from bbcodec.archive.read.decode import decode_task

        tasks = list(tasks)
        pool = self._begin(tasks)
        for task in tasks:
            yield decode_task(pool, task)

    def everywhere(self, units: Sequence[Unit], what: str) -> Iterator[list[Decoded]]:
        """What the tasks of units give, in order, done by as many workers as are set. Raises as `here`.

        what: the activity, as progress displays name it.
        """
        from bbcodec.archive.read.decode import decode_task
        from bbcodec.parallel import run_tasks

        tasks = [task for unit in units for task in unit.tasks]
        pool = self._begin(tasks)
        values = sum(pixel_values(self.file.entries[number]) for unit in units for number in unit.numbers)
        workers = self._options.workers(values, learned=bool(pool.sources), threads=pool.concurrent)
        done, total = 0, sum(task.size for task in tasks)
        for task, decoded in zip(tasks, run_tasks(decode_task, tasks, pool, workers), strict=True):
            done += task.size
            self._options.tell(what, done, total)
            yield decoded

    def skeleton(self, entry: Entry) -> bytes:
        """The skeleton of an entry, empty if it has none. Raises DamagedArchive."""
        from bbcodec.archive.read.decode import decode_part

        if not entry.skeleton:
            return b""
        return decode_part(self._pool_for([]), str(self.file.path), self.file.resolve(entry.places[0]))

    def _begin(self, tasks: Iterable[Task]) -> CodecPool:
        """A pool for tasks, of which nothing is decoded yet. Raises MissingCodec."""
        pool = self._pool_for(tasks)
        KeptChunks.of(pool.kept).begin()
        return pool

    def _pool_for(self, tasks: Iterable[Task]) -> CodecPool:
        """A pool with the codecs that these tasks need. Raises MissingCodec."""
        from bbcodec.codec.pool import CodecPool

        records = self.codecs.needed_by(tasks)
        pool = self._pool or CodecPool((), self._options.device, self._options.load, self._options.limits)
        for record in records:
            if record.digest in {source.digest for source in pool.sources}:
                continue
            try:
                wider = pool.extended([self.codecs.source_of(record)])
            except DamagedArchive:
                continue  # of an embedded codec: what needs it is damaged, and nothing else
            try:
                wider.concurrent  # noqa: B018  looks into the codec
            except Exception:
                if record.chunk is None:
                    raise
                continue
            pool = wider
        self._pool = pool
        return pool


def pixel_values(entry: Entry) -> int:
    """About how many pixel values there are to decode for an entry."""
    if entry.form == "arrays":
        return entry.size
    return entry.width * entry.height * entry.channels if entry.sample_format else 0
