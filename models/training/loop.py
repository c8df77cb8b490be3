"""The loop of a training run: steps, and between them logging, validation, checkpoints and recovery."""

from __future__ import annotations

import math
import platform
import time
from contextlib import ExitStack
from functools import partial
from typing import Any

import numpy as np
import torch

from bbcodec.errors import OutputError, TrainingDiverged
from bbcodec.models.training.cards import packed
from bbcodec.models.training.checkpoints import WorkFolder, write_whole
from bbcodec.models.training.plots import draw_curves, draw_samples
from bbcodec.models.training.preparation import TrainingPlan
from bbcodec.models.training.trainer import Diverged, Trainer, compiler_failures
from bbcodec.models.training.watcher import Watcher

TICKS = 160  # equal shares of a run, each with a line in the log
REPORTS = 16  # equal shares of a run, each with a validation
CHECKPOINT_SECONDS = 60.0
EVENT_SECONDS = 0.2  # between the step events of a watcher
SAMPLES = 16


class TrainingLoop:
    """Steps of a trainer until the run ends."""

    def __init__(self, trainer: Trainer, folder: WorkFolder, plan: TrainingPlan, watch: Watcher) -> None:
        """folder: open, with a checkpoint; only rank 0 writes there."""
        self.trainer, self.folder, self.plan, self.watch = trainer, folder, plan, watch
        self.last_save = self.last_event = time.monotonic()
        self.parts: list[dict[str, float]] = []  # bits/dim by site, of the steps since the last line of the log
        self.committed = trainer.committed_rate()
        self.compiler_stance = ExitStack()  # how torch compiles while the loop runs
        self.failed_plots: set[str] = set()

    def run(self) -> None:
        """Run to the end. Raises TrainingDiverged."""
        trainer = self.trainer
        first = trainer.process.rank == 0
        with self.compiler_stance:
            if first and self.plan.start is not None and trainer.step == 0:
                with trainer.timed():
                    self.validate(0.0)  # the codec that the run begins with may stay the best
                self.save()
            while trainer.tick < TICKS:
                self._iterate()
            if first and math.isinf(trainer.best):  # a finished run whose best codec was lost
                self.validate(trainer.share())

    def _iterate(self) -> None:
        """One step, and what follows it."""
        trainer = self.trainer
        share = trainer.share()
        try:
            if share < 1:
                with trainer.timed():
                    self.parts.append(trainer.advance(share))
        except Diverged as error:
            self.roll_back(error)
            return
        except compiler_failures() as error:
            self.disable_compilation(error)
            return
        self.send_event(share)
        if trainer.process.rank == 0:
            with trainer.timed():
                self.after_step(share)
        trainer.tick = max(trainer.tick, int(share * TICKS))

    # --- recovery ----------------------------------------------------------------------------------------------------

    def roll_back(self, error: Diverged) -> None:
        """Continue from the last checkpoint, once. Raises TrainingDiverged the second time."""
        trainer = self.trainer
        first = trainer.process.rank == 0
        if trainer.rolled_back:
            best = f"; the best codec so far is {self.folder.best}" if self.folder.best.exists() else ""
            raise TrainingDiverged(f"training diverged again after it was rolled back: {error}{best}") from None
        trainer.roll_back(trainer.process.broadcast(self.folder.load() if first else {}))
        self.parts.clear()
        if first:
            self.folder.forget_after(trainer.step)
            self.folder.append({"kind": "rolled_back", "step": trainer.step, "why": str(error)})
            self.save()
        self.watch.note(f"{error}: rolled back to step {trainer.step:,}, with half the learning rate")

    def disable_compilation(self, error: Exception) -> None:
        """Continue without compilation, which may fail for reasons outside the model; re-raise with several ranks.

        They would no longer be in step.
        """
        if not self.trainer.compiled or self.trainer.process.ranks > 1:
            raise error
        self.trainer.compiled = False
        self.compiler_stance.enter_context(torch.compiler.set_stance("force_eager"))
        cause = getattr(error, "inner_exception", error)
        reason = (str(cause).splitlines() or [type(cause).__name__])[0]
        self.watch.note(f"torch could not compile the model ({reason}): continuing without, which is slower")

    # --- between steps -----------------------------------------------------------------------------------------------

    def send_event(self, share: float) -> None:
        """Send the watcher a step event, a few times a second."""
        now = time.monotonic()
        if now - self.last_event >= EVENT_SECONDS and self.parts:
            self.last_event = now
            self.watch.step(self.trainer.event(share))

    def after_step(self, share: float) -> None:
        """Log, validate and save a checkpoint if it is time; on rank 0."""
        trainer, tick = self.trainer, int(share * TICKS)
        if tick > trainer.tick and self.parts:
            self.log_step(share)
        if tick * REPORTS // TICKS > trainer.tick * REPORTS // TICKS:
            self.validate(share)
        if time.monotonic() - self.last_save > CHECKPOINT_SECONDS or tick >= TICKS:
            trainer.tick = max(trainer.tick, tick)
            self.save()

    def log_step(self, share: float) -> None:
        """Append the means of the steps since the last line to the log."""
        trainer = self.trainer
        mean = {f"train_{key}": round(float(np.mean([p[key] for p in self.parts])), 5) for key in self.parts[0]}
        self.parts.clear()
        minutes = round(trainer.spent / 60, 2)
        line = {"kind": "train", "step": trainer.step, "share": round(share, 5), "minutes": minutes}
        line |= {"committed_bits_per_dim": round(self.committed, 5)} if self.committed else {}
        self.folder.append({**line, **mean, "rate": trainer.rate_factor(share), "exact": trainer.rounds(share)})

    def save(self) -> None:
        """Write a checkpoint."""
        self.folder.save(self.trainer.state())
        self.last_save = time.monotonic()

    def validate(self, share: float) -> None:
        """Evaluate the average on the held-out images, keep it as a codec if it is the best so far, and draw plots."""
        trainer, folder = self.trainer, self.folder
        valid = trainer.validate()
        bits = sum(valid.values())
        best = bits < trainer.best
        if best:
            trainer.best = bits
            pixels = self.plan.dataset.pixels
            write_whole(folder.best, packed(trainer.average, trainer.family, trainer.config, pixels, self.card()))
        pixel_site = list(valid)[-1]
        event = {
            "step": trainer.step, "share": share, "train_bits_per_dim": trainer.recent if trainer.step else None,
            "valid_bits_per_dim": bits, "rate_bits_per_dim": bits - valid[pixel_site],
            "exact": trainer.rounds(share), "best": best,
        }  # fmt: skip
        folder.append({"kind": "valid", **event, **{f"valid_{name}": round(value, 5) for name, value in valid.items()}})
        self.watch.report(event)
        self.draw_plots()

    def draw_plots(self) -> None:
        """Draw the curves, samples of the average, and a preview of the model if it has one."""
        trainer, levels = self.trainer, self.trainer.dataset.pixels.levels
        samples = trainer.samples(SAMPLES).permute(0, 2, 3, 1).to(torch.uint8).cpu().numpy()
        preview = trainer.average.preview()
        plots = {
            "curves.png": partial(draw_curves, self.folder.lines()),
            "samples.png": partial(draw_samples, samples * np.uint8(255 // (levels - 1))),
            **({} if preview is None else {"model.png": partial(draw_samples, preview)}),
        }
        for name in plots.keys() - self.failed_plots:
            try:
                plots[name](self.folder.path / name)
            except OutputError as error:  # the run does not need plots
                self.failed_plots.add(name)
                self.watch.note(f"continuing without a plot: {error}")

    def card(self) -> dict[str, Any]:
        """The card of the codec: what it is made from."""
        trainer, plan = self.trainer, self.plan
        device, ranks = trainer.device.type.upper(), trainer.process.ranks
        images = len(trainer.dataset.train)
        card = {
            "data": plan.recipe.data or f"{images:,} images",
            "images": images,
            "steps": trainer.step,
            "epochs": round(trainer.step * trainer.settings.batch / images, 2),
            "minutes": round(trainer.spent / 60, 1),
            "device": f"{platform.machine()} {f'{ranks} x ' * (ranks > 1)}{device}, {torch.get_num_threads()} threads",
            "parameters": sum(p.numel() for p in trainer.average.parameters()),
        }
        return {**card, **({"began_with": plan.initial_codec} if plan.initial_codec else {})}
