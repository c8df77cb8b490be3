"""What callers choose: how files may be stored, and how the work is run."""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from bbcodec.parallel import Workers

if TYPE_CHECKING:
    from bbcodec.archive.summary import FileReport
    from bbcodec.codec.pool import Loader

# Work on fewer pixel values is done in this process: workers take 2 s to start, as each imports torch.
POOL_VALUES: Final = 2**21

Progress = Callable[[str, int, int, int], None]  # what is done, bytes done, bytes in all, bytes written
PathLike = str | os.PathLike[str]


@dataclass(frozen=True)
class StorageOptions:
    """How files may be stored.

    exact: restored with every byte, not just with the same picture. jpegxl: tried, too. thorough: code images in full
    also where quick trials say that nothing is to be gained, so that it is known how much a learned codec saves.
    """

    exact: bool = False
    jpegxl: bool = False
    thorough: bool = False


@dataclass(frozen=True)
class RunOptions:
    """How work is run: workers, device, who watches, and how codecs are loaded (None: as installed)."""

    jobs: int = 1
    device: str = "auto"
    progress: Progress | None = None
    load: Loader | None = None
    report: Callable[[FileReport], None] | None = None

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
