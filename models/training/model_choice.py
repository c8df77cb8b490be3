"""Which model a run trains: the one whose archive would be the smallest, by short trials.

Tried are shipped codecs that go on learning from these very images, and new nets with and without latents. The bytes of
an archive are estimated for the whole collection: messages of held-out images, with their initial bits, and the codec
itself, so that few images choose small codecs.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields, replace
from functools import partial
from typing import Any, Final

import numpy as np

from bbcodec.codec.catalogue import CodecFile, shipped_codecs
from bbcodec.codec.file import load_codec
from bbcodec.codec.pool import CodecSource
from bbcodec.models.families import find_family
from bbcodec.models.training.batches import held_out_images, steps_per_epoch
from bbcodec.models.training.cards import coded_bits_per_dim, measured_images, packed
from bbcodec.models.training.data import Dataset
from bbcodec.models.training.distributed import Process
from bbcodec.models.training.preparation import DEFAULT_FAMILY, TrainingPlan, plan_for, sizes_of
from bbcodec.models.training.recipes import Recipe
from bbcodec.models.training.trainer import Diverged, Trainer
from bbcodec.models.training.watcher import Watcher

AUTO: Final = "auto"
TRIAL_SHARE: Final = 0.1  # of a run, for all trials
SHORTEST_MINUTES: Final = 0.2  # of a trial: in less, no net shows what it is worth
FEWEST_STEPS: Final = 100


@dataclass(frozen=True)
class Trial:
    """What a plan reached. Bits/dim of messages of held-out images; bytes of the codec, and of an archive of all."""

    name: str
    bits_per_dim: float
    codec_bytes: int
    archive_bytes: int

    def __str__(self) -> str:
        """In a line."""
        return (
            f"tried {self.name}: {self.bits_per_dim:.4f} bits/dim, a codec of {self.codec_bytes / 1000:,.0f} kB; "
            f"{self.archive_bytes / 1e6:,.3f} MB for all images"
        )


def plans_to_try(dataset: Dataset, recipe: Recipe, overrides: Mapping[str, Any]) -> list[TrainingPlan]:
    """The plans among which trials choose, the best guess first; that alone if the run is too short for trials.

    One, too, if the recipe names a model or a codec. Shipped codecs are starts only where no setting is a size of the
    model. Raises InputError, MissingCodec or BadCodecFile.
    """
    if recipe.init_from or recipe.model not in ("", AUTO):
        return [plan_for(dataset, recipe, overrides)]
    family = find_family(DEFAULT_FAMILY)
    recipe = replace(recipe, model=family.name)
    sizes = {field.name for field in fields(family.config)} & {*recipe.settings, *overrides}
    starts = [] if sizes else [one for one in shipped_codecs() if is_start(one, dataset, recipe)]
    variants = family.variants(dataset.pixels.seen, *sizes_of(dataset))
    if sizes.intersection(*variants.values()):  # what tells variants apart was set
        variants = {"as set": {}}
    makers = [
        *(partial(plan_for, dataset, replace(recipe, init_from=one.name), overrides, one.name) for one in starts),
        *(partial(plan_for, dataset, recipe, overrides, f"a new net {name}", one) for name, one in variants.items()),
    ]
    first = makers[0]()
    return [first, *(make() for make in makers[1:])] if long_enough(first, len(makers)) else [first]


def is_start(codec: CodecFile, dataset: Dataset, recipe: Recipe) -> bool:
    """Whether to try a shipped codec as a start: it codes such images without PyTorch, and fast where that is asked."""
    fits = codec.family == DEFAULT_FAMILY and (codec.channels, codec.levels) == (
        dataset.pixels.channels,
        dataset.pixels.levels,
    )
    return fits and CodecSource.of(codec).compiled and (recipe.preset != "fast" or bool(codec.card.get("fast")))


def shortened(plan: TrainingPlan, share: float) -> TrainingPlan:
    """The plan of a run of a share of its length."""
    settings = plan.settings
    length = replace(settings, minutes=settings.minutes * share, epochs=settings.epochs * share)
    return replace(plan, settings=length)


def long_enough(plan: TrainingPlan, count: int) -> bool:
    """Whether each of so many trials would show anything."""
    settings = shortened(plan, TRIAL_SHARE / count).settings
    if settings.epochs:
        return settings.epochs * steps_per_epoch(plan.dataset, settings) >= FEWEST_STEPS
    return settings.minutes >= SHORTEST_MINUTES


def choose(plans: Sequence[TrainingPlan], process: Process, watch: Watcher) -> tuple[TrainingPlan, list[Trial]]:
    """The best plan by trials, if there are several, for what they leave of its length.

    The same in all processes of a run.
    """
    if len(plans) == 1:
        return plans[0], []
    trials = []
    for plan in plans:
        trials.append(tried(shortened(plan, TRIAL_SHARE / len(plans)), process, watch))
        watch.note(str(trials[-1]))
    best = int(np.argmin([trial.archive_bytes for trial in trials]))
    return shortened(plans[best], 1 - TRIAL_SHARE), trials


def tried(plan: TrainingPlan, process: Process, watch: Watcher) -> Trial:
    """Train for the length of a plan, and measure the codec on held-out images."""
    trainer = plan.trainer(process, compiled=False)
    try:
        trainer.advance(0.0)  # compiles, which does not count
        while (share := trainer.share()) < 1:
            with trainer.timed():
                trainer.advance(share)
            watch.step(trainer.event(share))
    except Diverged:
        pass  # what it has learned is measured all the same
    return measured(plan, trainer)


def measured(plan: TrainingPlan, trainer: Trainer) -> Trial:
    """What a trainer has reached."""
    dataset = plan.dataset
    content = packed(trainer.average, trainer.family, trainer.config, dataset.pixels, {})
    bits = coded_bits_per_dim(load_codec(content, "cpu"), measured_images(list(held_out_images(dataset))))
    values = sum(image.size for images in (dataset.train, dataset.valid) for image in images)
    return Trial(plan.name, bits, len(content), len(content) + round(bits * values / 8))
