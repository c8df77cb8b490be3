"""Codecs that learn from the files of an archive before it is written, and what that saves.

Learning itself comes from outside, by the entry point `learner` of the group `bbcodec.learners`: it needs PyTorch.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from importlib.metadata import entry_points
from typing import Final, Protocol

from bbcodec.archive.write.learnable import LearnableImages, learnable_images
from bbcodec.archive.write.tasks import PlannedTask
from bbcodec.codec.catalogue import CodecFile
from bbcodec.errors import BBCodecError, InputError
from bbcodec.options import LEARNING, RunOptions

LEARNERS: Final = "bbcodec.learners"
FEWEST_VALUES: Final = 2**19  # of a pixel format: what is learned from fewer takes more bytes than it saves
AUTO_VALUES: Final = 2**21  # a minute for so many values
AUTO_MINUTES: Final = 20.0  # at most
NOTHING: Final = "nothing was learned: there are too few images, or no codec here can learn from such ones"

# Milliseconds of learning done and in all, and bits/dim now.
Watch = Callable[[int, int, float], None]


@dataclass(frozen=True)
class Adapted:
    """A codec that learned from images, and the one that it began with. Bits/dim of the images, by each.

    saved: bytes in all, about, without those of the codec.
    """

    codec: CodecFile
    base: CodecFile
    before: float
    after: float
    seconds: float
    saved: int

    @property
    def pays(self) -> bool:
        """Whether it saves more bytes than it takes."""
        return self.saved > len(self.codec.content)

    def __str__(self) -> str:
        """What was learned, in a line."""
        line = (
            f"{self.base.name} learned for {self.seconds / 60:.1f} min: {self.before:.3f} -> {self.after:.3f} bits/dim"
        )
        size = f"{len(self.codec.content) / 1000:.1f} kB"
        return f"{line}, {size} for what it learned" if self.pays else f"{line}, too little for its {size}: not used"


class Learner(Protocol):
    """What makes codecs learn."""

    def __call__(
        self, images: LearnableImages, codecs: Sequence[CodecFile], seconds: float, threads: int, watch: Watch
    ) -> Adapted | None:
        """Of codecs that fit the images, the best that can learn, after learning; None if none can.

        Ctrl-C ends learning early.
        """


def adapted_codecs(
    tasks: Sequence[PlannedTask], codecs: Sequence[CodecFile], minutes: float | None, run: RunOptions
) -> tuple[list[Adapted], list[str]]:
    """The codecs that learned from the images of tasks, one for each pixel format that has enough of them, and a line
    on each; also on what failed, which costs nothing but what it might have saved.

    minutes: of learning in all; None: as long as the images are worth. Raises InputError if nothing here can learn.
    """
    learner = find_learner()
    found = {key: one for key, one in learnable_images(tasks).items() if one.total >= FEWEST_VALUES}
    total = sum(one.total for one in found.values())
    if minutes is None:
        minutes = min(AUTO_MINUTES, total / AUTO_VALUES)
    adapted, lines = [], []
    for key, images in found.items():
        fitting = [one for one in codecs if (one.channels, one.levels) == key]
        if not fitting:
            continue

        def watch(done: int, whole: int, bits_per_dim: float) -> None:
            run.tell(LEARNING, done, whole, round(1000 * bits_per_dim))

        try:
            one = learner(images, fitting, 60 * minutes * images.total / total, run.jobs, watch)
        except (BBCodecError, MemoryError) as error:
            lines.append(f"nothing was learned from {len(images.images):,} images: {str(error) or 'no memory is left'}")
            continue
        if one is not None:
            adapted.append(one)
            lines.append(str(one))
    return adapted, lines or [NOTHING]


def find_learner() -> Learner:
    """The installed learner. Raises InputError if there is none."""
    for entry in entry_points(group=LEARNERS):
        learner: Learner = entry.load()
        return learner
    raise InputError("this installation of bbcodec cannot learn: it lacks the models (bbcodec.models)")
