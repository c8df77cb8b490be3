"""A whole training run, from images to a codec: interruptible, and resumable from its last checkpoint.

Beside the codec `my.bbc` is the folder `my.training` (`bbcodec.models.training.checkpoints`). At 16 equal shares of the
run the averaged network is validated on the held-out images; the best one so far is a codec in the folder, and becomes
`my.bbc` at the end.
"""

from __future__ import annotations

import json
import math
import os
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import torch

from bbcodec.atomic_files import refuse_existing
from bbcodec.codec.file import load_codec
from bbcodec.errors import InputError, TargetExists
from bbcodec.models.training.batches import held_out_images
from bbcodec.models.training.cards import (
    archive_bits_per_dim,
    card_page,
    file_bits_per_dim,
    measured_images,
    with_measured_card,
)
from bbcodec.models.training.checkpoints import WorkFolder, write_whole
from bbcodec.models.training.distributed import Process, torchrun_process
from bbcodec.models.training.loop import TICKS, TrainingLoop
from bbcodec.models.training.model_choice import TRIAL_SHARE, choose, plans_to_try, shortened
from bbcodec.models.training.preparation import TrainingPlan, load_images, worth_compiling
from bbcodec.models.training.recipes import Recipe, TrainingSettings
from bbcodec.models.training.trainer import Trainer
from bbcodec.models.training.watcher import SilentWatcher, Watcher
from bbcodec.remote import check_output, is_url, local_inputs, local_target, upload

PathLike = str | os.PathLike[str]


@dataclass(frozen=True)
class TrainingSummary:
    """The result of a run. Bits/dim are of the held-out images: as messages of the codec, as WebP and PNG files, and
    in an archive without a codec, without its container. Ranks other than 0 measure nothing: their figures are 0."""

    output: str
    model: str
    parameters: int = 0
    codec_bytes: int = 0
    steps: int = 0
    minutes: float = 0.0
    images_per_second: float = 0.0
    valid_images: int = 0
    bits_per_dim: float = 0.0
    webp_bits_per_dim: float = 0.0
    png_bits_per_dim: float = 0.0
    archive_bits_per_dim: float | None = 0.0  # None: not measurable
    pays_after_images: int | None = None  # of the size of the held-out ones; None: it never does
    kept_step: int = 0  # after which the codec was best; 0: it has the weights that the run began with


def train(
    inputs: Sequence[PathLike],
    output: PathLike,
    *,
    valid: Sequence[PathLike] = (),
    family: str | None = None,
    preset: str | None = None,
    recipe: Recipe | None = None,
    overrides: Mapping[str, Any] | None = None,
    init_from: PathLike | None = None,
    resume: bool = False,
    force: bool = False,
    threads: int | None = None,
    device: str = "auto",
    watch: Watcher | None = None,
) -> TrainingSummary:
    """Train a codec on images and write it to `output`, a `.bbc` file.

    inputs, valid: folders of images, image files, `.npy`, `.npz`; without `valid` some images are held out.
    family, preset: by default those of the recipe, or `auto`, which chooses by trials (`model_choice`), and `balanced`;
    overrides win over both.
    init_from: a codec to take model and initial weights from.
    resume: continue from the checkpoint, if there is one; force: discard an earlier run and an earlier codec.
    threads: of torch; by default OMP_NUM_THREADS, or one a core. Under `torchrun` all processes train the same model.

    Raises InputError, TargetExists, OutputError, MissingCodec, BadCodecFile, and TrainingDiverged if the loss diverges
    twice.
    """
    target, watch = local_target(output), watch or SilentWatcher()
    folder = WorkFolder(target)
    overwrite = _check_target(target, folder, resume, force)
    if is_url(output):
        check_output(output, force or resume)
    recipe = recipe or Recipe("")
    recipe = replace(
        recipe,
        model=family or recipe.model,
        preset=preset or recipe.preset,
        init_from=os.fspath(init_from) if init_from else recipe.init_from,
    )
    with torchrun_process(device) as process:
        torch.set_num_threads(threads or default_threads(process.ranks))
        if process.rank:
            watch = SilentWatcher()
        with local_inputs(inputs) as training, local_inputs(valid) as held_out:
            paths = [Path(path) for path in training.paths], [Path(path) for path in held_out.paths]
            dataset = load_images(*paths, recipe, overrides or {})
        plans = plans_to_try(dataset, recipe, overrides or {})
        plans[0].trainer(process, compiled=False)  # raises what is wrong before anything is written
        for note in plans[0].dataset.notes:
            watch.note(note)
        resuming = folder.open(resume, force) if process.rank == 0 else False
        try:
            plan = _chosen(plans, folder, process, watch)
            trainer = plan.trainer(process, worth_compiling(process.device, plan))
            _start_or_resume(trainer, folder, resuming, resume, watch)
            watch.started(plan.facts(trainer))
            TrainingLoop(trainer, folder, plan, watch).run()
            if process.rank:
                return TrainingSummary(str(target), plan.family.name, steps=trainer.step)
            summary = _finish(trainer, folder, target, plan, overwrite)
        finally:
            folder.close()
    if is_url(output):
        upload(target, str(output), force or resume)
    return replace(summary, output=str(output))


def default_threads(ranks: int) -> int:
    """Threads of one of so many processes: what OMP_NUM_THREADS says, or its share of the cores."""
    wanted = os.environ.get("OMP_NUM_THREADS", "")
    return int(wanted) if wanted.isdecimal() and int(wanted) else max(1, len(os.sched_getaffinity(0)) // ranks)


def _check_target(target: Path, folder: WorkFolder, resume: bool, force: bool) -> bool:
    """Whether an existing target may be overwritten. Raises TargetExists, or InputError for a bad name."""
    overwrite = force or (resume and folder.checkpoint.exists())
    if resume and not overwrite and target.exists():
        raise TargetExists(
            f"{target} exists, but {folder.path} holds no run to resume: --init-from {target} with another output "
            "starts a new run from it, --force overwrites it"
        )
    refuse_existing(target, overwrite)
    if target.suffix != ".bbc":
        raise InputError(f"expected a codec name that ends in .bbc, got {target}")
    return overwrite


def _chosen(plans: Sequence[TrainingPlan], folder: WorkFolder, process: Process, watch: Watcher) -> TrainingPlan:
    """The plan that trials choose, now or when the run in the folder was started. The log says why."""
    first = process.rank == 0
    before = process.broadcast(folder.lines() if first and folder.checkpoint.exists() else [])
    name = next((line["name"] for line in before if line["kind"] == "chosen"), None)
    if before or len(plans) == 1:
        plan = next((plan for plan in plans if plan.name == name), plans[0])
        return plan if name is None else shortened(plan, 1 - TRIAL_SHARE)
    plan, trials = choose(plans, process, watch)
    for trial in trials if first else []:
        folder.append({"kind": "trial", "step": 0, **asdict(trial)})
    if first and trials:
        folder.append({"kind": "chosen", "step": 0, "name": plan.name})
    if trials:
        watch.note(f"chosen: {plan.name}")
    return plan


# --- start -----------------------------------------------------------------------------------------------------------


def _start_or_resume(trainer: Trainer, folder: WorkFolder, resuming: bool, wanted: bool, watch: Watcher) -> None:
    """Continue from the checkpoint, or write the first one. All ranks get what rank 0 reads.

    resuming: whether there is a checkpoint to continue from; wanted: whether the user asked for it.
    """
    first = trainer.process.rank == 0
    state = trainer.process.broadcast(folder.load() if resuming else None)
    if state is None:
        if wanted:
            watch.note(f"{folder.path} holds no run to resume: starting a new one")
        if first:
            folder.save(trainer.state())
        return
    restore(trainer, state, folder)
    if first and math.isfinite(trainer.best) and not folder.holds_codec():
        trainer.best = math.inf
        watch.note(f"{folder.best} is missing or damaged: the next codec counts as the best so far")
    trainer.tick = min(trainer.tick, int(trainer.share() * TICKS))  # fewer if the run is now to be longer
    if first:
        folder.forget_after(trainer.step)
    watch.note(f"resuming at step {trainer.step:,}, after {trainer.spent / 60:.1f} minutes")


def restore(trainer: Trainer, state: Mapping[str, Any], folder: WorkFolder) -> None:
    """Continue from the state of a checkpoint. Raises InputError if it is of another run."""
    try:
        before, now = json.loads(state["identity"]), trainer.identity()
        later = {name: value for name, value in asdict(TrainingSettings()).items() if name in now["settings"]}
        before["settings"] = later | before["settings"]  # the run may have begun before there were some of them
        difference = _difference(before, now)
        if not difference:
            trainer.restore(dict(state))
    except (AttributeError, LookupError, TypeError, ValueError, RuntimeError) as error:
        raise InputError(f"{folder.checkpoint} does not fit this version ({error}); --force starts over") from None
    if difference:
        raise InputError(
            f"{folder.path} holds a run with {difference}: only the length of a run may change; --force starts over"
        )


def _difference(before: Mapping[str, Any], now: Mapping[str, Any]) -> str:
    """The first difference between the identities of two runs, in words; empty if there is none."""
    if before["images"] != now["images"]:
        return "other training or held-out images"
    if before["model"] != now["model"]:
        return f"model {before['model']}, not {now['model']}"
    for key in ("sizes", "settings"):
        for name in sorted({*before[key], *now[key]}):
            if before[key].get(name) != now[key].get(name):
                return f"{name}={before[key].get(name)}, not {now[key].get(name)}"
    return ""


# --- finish ----------------------------------------------------------------------------------------------------------


def _finish(trainer: Trainer, folder: WorkFolder, target: Path, plan: TrainingPlan, force: bool) -> TrainingSummary:
    """Measure the best codec, and write it and its card."""
    if not folder.best.exists():
        raise InputError(f"{folder.best} is missing; --force starts over")
    family, config, valid = trainer.family, trainer.config, list(held_out_images(plan.dataset))
    content = with_measured_card(folder.best.read_bytes(), valid)
    codec = load_codec(content, device="cpu")
    write_whole(target, content, force)
    recipe = f"`bbcodec train{f' --config {plan.recipe.name}.toml' if plan.recipe.name else ''}`"
    page = card_page(target.stem, codec.card, family, config, len(content), recipe)
    write_whole(folder.path / "card.md", page.encode())
    some = measured_images(valid)
    archived, levels = archive_bits_per_dim(some), plan.dataset.pixels.levels
    others = [file_bits_per_dim(some, levels, "webp"), file_bits_per_dim(some, levels, "png")]
    saved = min([*others, *([] if archived is None else [archived])]) - codec.card["bits_per_dim"]
    values = sum(image.size for image in some) / len(some)
    return TrainingSummary(
        output=str(target),
        model=family.name,
        parameters=codec.card["parameters"],
        codec_bytes=len(content),
        steps=trainer.step,
        minutes=round(trainer.spent / 60, 1),
        images_per_second=round(trainer.step * trainer.settings.batch / max(trainer.spent, 1e-9), 1),
        valid_images=len(some),
        bits_per_dim=codec.card["bits_per_dim"],
        webp_bits_per_dim=round(others[0], 4),
        png_bits_per_dim=round(others[1], 4),
        archive_bits_per_dim=archived and round(archived, 4),
        pays_after_images=math.ceil(8 * len(content) / (saved * values)) if saved > 0 else None,
        kept_step=codec.card["steps"],
    )
