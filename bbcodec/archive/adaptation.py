"""Codecs that learn from the files of an archive before it is written, and what that saves.

Learning itself comes from outside, by the entry point `learner` of the group `bbcodec.learners`: it needs PyTorch.
"""

from __future__ import annotations

import signal
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from importlib.metadata import entry_points
from typing import Any, Final, Protocol

from bbcodec.archive.write.learnable import LearnableImages, learnable_images
from bbcodec.archive.write.tasks import PlannedTask
from bbcodec.codec.catalogue import CodecFile
from bbcodec.codec.stored import StoredCodec
from bbcodec.errors import BBCodecError, InputError
from bbcodec.options import LEARNING, RunOptions
from bbcodec.signal_handlers import replaced_handlers

LEARNERS: Final = "bbcodec.learners"
FEWEST_BYTES: Final = 2**19  # raw, of a pixel format: what is learned from fewer takes more bytes than it saves
AUTO_BYTES: Final = 2**21  # raw: a minute for so many
AUTO_MINUTES: Final = 20.0  # at most
AUTO_LEAST: Final = 0.001  # of what the images take: what a minute has to save
LEARNING_PARTS: Final = {"weight", "bias", "shift"}  # of layers of 8 bits, see `bbcodec.exact.quantised`
TOLD_SECONDS: Final = 0.5  # from one word on progress to the next
NOTHING: Final = "nothing was learned: there are too few images, or no codec here can learn from such ones"

# Told after each step: milliseconds of learning done and in all, and bits/dim now. Returns whether to go on.
Watch = Callable[[int, int, float], bool]


@dataclass(frozen=True)
class Adapted:
    """A codec that learned from images, and the one that it began with. Bits/dim of the images, by each.

    saved: bytes in all, about, without those of the codec. over: whether it ended before its time, as what a further
    minute would have saved was less than it costs.
    """

    codec: CodecFile
    base: CodecFile
    before: float
    after: float
    seconds: float
    saved: int
    over: bool = False

    @property
    def pays(self) -> bool:
        """Whether it saves more bytes than it takes; one that is not shipped would be in the archive as it was, too."""
        return self.saved > len(self.codec.content) - (0 if self.base.shipped else len(self.base.content))

    def __str__(self) -> str:
        """What was learned, in a line."""
        over = ", as more would not have paid" if self.over else ""
        line = (
            f"{self.base.name} learned for {self.seconds / 60:.1f} min{over}: "
            f"{self.before:.3f} -> {self.after:.3f} bits/dim"
        )
        size = f"{len(self.codec.content) / 1000:.1f} kB"
        return f"{line}, {size} for what it learned" if self.pays else f"{line}, too little for its {size}: not used"


class Learner(Protocol):
    """What makes codecs learn."""

    def __call__(
        self,
        images: LearnableImages,
        codecs: Sequence[CodecFile],
        seconds: float,
        threads: int,
        watch: Watch,
        least: float,
    ) -> Adapted:
        """The best of the codecs, all of which fit the images and can learn, after learning.

        seconds: at most. least: the share of what the images take that a further minute must save, beside what it adds
        to what was learned.
        """


def can_learn(codec: CodecFile) -> bool:
    """Whether all layers of a codec can learn differences, and it takes images of any size."""
    stored = StoredCodec.read(codec)
    return {name.rsplit(".", 1)[1] for name in stored.tensors} == LEARNING_PARTS and "height" not in stored.config


def adapted_codecs(
    tasks: Sequence[PlannedTask], codecs: Sequence[CodecFile], minutes: float | None, run: RunOptions
) -> tuple[list[Adapted], list[str]]:
    """The codecs that learned from the images of tasks, one for each pixel format that has enough of them, and a line
    on each; also on what failed, which costs nothing but what it might have saved.

    minutes: of learning in all, at most; None: as long as the images are worth. Ctrl-C ends learning early, twice the
    process. Raises InputError if nothing here can learn.
    """
    learner = find_learner()
    able = [one for one in codecs if can_learn(one)]
    found = {
        key: images
        for key, images in learnable_images(tasks).items()
        if images.raw_bytes >= FEWEST_BYTES and any((one.channels, one.levels) == key for one in able)
    }
    total = sum(images.raw_bytes for images in found.values())
    least = AUTO_LEAST if minutes is None else 0.0
    if minutes is None:
        minutes = min(AUTO_MINUTES, total / AUTO_BYTES)
    adapted, lines = [], []
    watching = _Watching(run)
    with replaced_handlers([signal.SIGINT], watching.interrupt):
        for key, images in found.items():
            fitting = [one for one in able if (one.channels, one.levels) == key]
            seconds = 60 * minutes * images.raw_bytes / total
            try:
                one = learner(images, fitting, seconds, run.jobs, watching.watch, least)
            except (BBCodecError, MemoryError) as error:
                why = str(error) or "no memory is left"
                lines.append(f"nothing was learned from {len(images.images):,} images: {why}")
                continue
            adapted.append(one)
            lines.append(str(one))
    return adapted, lines or [NOTHING]


class _Watching:
    """Tells how far learning has come, and ends it at Ctrl-C."""

    def __init__(self, run: RunOptions) -> None:
        self._run, self._interrupted, self._told = run, False, 0.0

    def interrupt(self, *_: Any) -> None:
        """Answer SIGINT."""
        if self._interrupted:
            raise KeyboardInterrupt
        self._interrupted = True

    def watch(self, done: int, whole: int, bits_per_dim: float) -> bool:
        """As Watch."""
        if time.monotonic() - self._told > TOLD_SECONDS:
            self._told = time.monotonic()
            self._run.tell(LEARNING, done, whole, round(1000 * bits_per_dim))
        return not self._interrupted


def find_learner() -> Learner:
    """The installed learner. Raises InputError if there is none."""
    for entry in entry_points(group=LEARNERS):
        learner: Learner = entry.load()
        return learner
    raise InputError("this installation of bbcodec cannot learn: it lacks the models (bbcodec.models)")
