"""What callers choose: how files may be stored, and how the work is run."""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from bbcodec.errors import InputError, LimitExceeded
from bbcodec.parallel import Workers

if TYPE_CHECKING:
    from bbcodec.archive.summary import FileReport
    from bbcodec.codec.pool import Loader

# Work on fewer pixel values is done in this process: workers take 2 s to start, as each imports torch.
POOL_VALUES: Final = 2**21

Progress = Callable[[str, int, int, int], None]  # what is done, bytes done, bytes in all, bytes written
LEARNING: Final = "learning"  # where progress is in milliseconds, and in bits/dim * 1000 in place of bytes written
PathLike = str | os.PathLike[str]


@dataclass(frozen=True)
class StorageOptions:
    """How files may be stored.

    exact: restored with every byte, not just with the same picture. jpegxl: tried, too. mix: codecs that can be are
    mixed with contexts that learn while images are coded (`bbcodec.engine.mixed`). fast: without predictions, which are
    slow to decode, where there is another way. thorough: code images in full also where quick trials say that nothing
    is to be gained, so that it is known how much a learned codec saves.
    """

    exact: bool = False
    jpegxl: bool = False
    mix: bool = False
    fast: bool = False
    thorough: bool = False

    def __post_init__(self) -> None:
        """Raises InputError for options that exclude each other."""
        if self.fast and self.mix:
            raise InputError("fast: codecs that are mixed are slower; choose one of fast and mix")


LIMIT_ENDING: Final = "if you trust the archive"  # of every message about a limit


@dataclass(frozen=True)
class Limits:
    """What an archive, from whomever, may cost its reader (`docs/security.md` has the table).

    memory: bytes that any one chunk or codec may take, for each worker. output: bytes that are restored at a time;
    None: 2**30, and 10,000 for each byte of the archive. work: multiply-adds of the test of a codec in an archive;
    None: 5 * 10**10, and 80,000 for each byte that it takes there. embedded_codecs: whether such are used at all.
    """

    memory: int = 2**31
    output: int | None = None
    work: int | None = None
    embedded_codecs: bool = True

    def work_for(self, codec_bytes: int) -> int:
        """Multiply-adds for the test of a codec that takes so many bytes in its archive."""
        return 5 * 10**10 + 80_000 * codec_bytes if self.work is None else self.work

    def check_memory(self, needed: int, what: str) -> None:
        """Raise LimitExceeded if `what` needs more bytes than it may."""
        if needed > self.memory:
            raise LimitExceeded(
                f"{what} needs about {needed:,} bytes of memory, at most {self.memory:,} are allowed: "
                f"raise --max-memory {LIMIT_ENDING}"
            )

    def check_output(self, wanted: int, archive_bytes: int) -> None:
        """Raise LimitExceeded if restoring writes more bytes than an archive of `archive_bytes` may."""
        most = 2**30 + 10_000 * archive_bytes if self.output is None else self.output
        if wanted > most:
            raise LimitExceeded(
                f"{wanted:,} bytes would be restored from an archive of {archive_bytes:,}, "
                f"at most {most:,} are allowed: raise --max-output {LIMIT_ENDING}"
            )


@dataclass(frozen=True)
class RunOptions:
    """How work is run: workers, device, who watches, how codecs are loaded (None: as installed), and its limits."""

    jobs: int = 1
    device: str = "auto"
    progress: Progress | None = None
    load: Loader | None = None
    report: Callable[[FileReport], None] | None = None
    limits: Limits = Limits()

    def tell(self, what: str, done: int, total: int, written: int = 0) -> None:
        """Tell `progress`, if anybody watches, how many bytes are done."""
        if self.progress:
            self.progress(what, done, total, written)

    def workers(self, values: int, *, learned: bool, threads: bool) -> Workers:
        """Workers for work on so many pixel values, with learned codecs or without.

        threads: whether these, and the codecs, can be shared by threads. Processes do not share a GPU.
        """
        if threads:
            return Workers(self.jobs, threads=True)
        on_gpu = self.device.startswith("cuda") or (self.device == "auto" and os.path.exists("/dev/nvidia0"))
        return Workers(1 if (learned and on_gpu) or values < POOL_VALUES else self.jobs)
