"""From images to a codec: a whole training run that can be left alone, stopped, and gone on with.

Beside the codec `my.bbc` lies the folder `my.training` (`bbcodec.models.training.checkpoints`). At 16 even shares of the run the
averaged network is tried on the held-out images; the best so far is a codec there, and becomes `my.bbc` at the end.
"""

from __future__ import annotations

import json
import math
import os
import platform
import shutil
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import torch
import torch.distributed as dist

from bbcodec.atomic_files import new_file, refuse_existing
from bbcodec.codec.codec import Codec
from bbcodec.codec.device import check_device
from bbcodec.codec.file import load_codec
from bbcodec.errors import InputError, OutputError, TargetExists, TrainingDiverged
from bbcodec.models.families import PRESETS, Family, Strength, TrainableModel, find_family
from bbcodec.models.training.cards import (
    archive_bits_per_dim,
    card_page,
    file_bits_per_dim,
    measured_images,
    packed,
    with_measured_card,
)
from bbcodec.models.training.checkpoints import WorkFolder
from bbcodec.models.training.data import Dataset, check_codec, fit, held_out, load_dataset, steps_per_epoch
from bbcodec.models.training.loop import Diverged, Run, compiler_failures
from bbcodec.models.training.plots import draw_curves, draw_samples
from bbcodec.models.training.recipes import RULES, Recipe, TrainingSettings, configure

TICKS = 160  # even shares of a run at which a line is logged
REPORTS = 16  # and those at which the average is tried on the held-out images
CHECKPOINT_SECONDS = 60.0
COMPILED_MINUTES, COMPILED_STEPS = 3.0, 500  # shorter runs are over before the compiler has paid off
EVENT_SECONDS = 0.2  # between steps that a watcher is told of
SAMPLES = 16
PathLike = str | os.PathLike[str]


class Watcher(Protocol):
    """Who is told how a run goes on."""

    def started(self, facts: dict[str, Any]) -> None:
        """What is trained on what."""

    def step(self, event: dict[str, Any]) -> None:
        """A few times a second: step, share, bits_per_dim, images_per_second, seconds_left."""

    def report(self, event: dict[str, Any]) -> None:
        """When held-out images were tried: {train,valid,rate}_bits_per_dim, exact, best."""

    def note(self, line: str) -> None:
        """A line for people."""


class Silent:
    """A watcher who says nothing."""

    def started(self, facts: dict[str, Any]) -> None:
        """Nothing."""

    def step(self, event: dict[str, Any]) -> None:
        """Nothing."""

    def report(self, event: dict[str, Any]) -> None:
        """Nothing."""

    def note(self, line: str) -> None:
        """Nothing."""


@dataclass(frozen=True)
class TrainingSummary:
    """What came of a run. Bits/dim are of the held-out images: coded messages, WebP and PNG files of each, and all of
    them in an archive that uses no learned codec, without its container."""

    output: str
    model: str
    parameters: int
    codec_bytes: int
    steps: int
    minutes: float
    images_per_second: float
    valid_images: int
    bits_per_dim: float
    webp_bits_per_dim: float
    png_bits_per_dim: float
    archive_bits_per_dim: float | None  # None: it was not to be had


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
    family, preset: what the recipe says if left out, or `vlae` and `balanced`; overrides win over both.
    init_from: a codec whose model and weights the run starts from.
    resume: go on from the checkpoint, if there is one; force: throw an earlier run and an earlier codec away.
    threads: of torch; one a core if left out. Under `torchrun` all processes learn the same model.

    Raises InputError, TargetExists, OutputError, MissingCodec, BadCodecFile, and TrainingDiverged where the loss was
    lost twice.
    """
    target, watch = Path(output), watch or Silent()
    folder = WorkFolder(target)
    overwrite = force or (resume and folder.checkpoint.exists())
    if resume and not overwrite and target.exists():
        raise TargetExists(
            f"{target} exists, but no run in {folder.path} to go on with: --init-from {target} and another output "
            "begin a new run where it is, --force overwrites it"
        )
    refuse_existing(target, overwrite)
    if target.suffix != ".bbc":
        raise InputError(f"{target} is to be a codec: a name that ends in .bbc was expected")
    recipe = recipe or Recipe("")
    with ranks_of_torchrun(device) as (place, rank, ranks):
        torch.set_num_threads(threads or max(1, len(os.sched_getaffinity(0)) // ranks))
        prepared = prepare(inputs, valid, recipe, overrides or {}, family, preset, init_from or recipe.init_from)
        compiled, why = can_compile(place, prepared)
        run = prepared.run(place, rank, ranks, compiled)
        if rank:
            watch = Silent()
        for note in (*prepared.dataset.notes, *why):
            watch.note(note)
        going_on = folder.open(resume, force) if rank == 0 else False
        try:
            _start(run, folder, going_on, resume, watch)
            watch.started(prepared.facts(run))
            _Loop(run, folder, prepared, watch).go()
            if rank:
                return TrainingSummary(str(target), run.family.name, 0, 0, run.step, 0.0, 0.0, 0, 0.0, 0.0, 0.0, 0.0)
            return _finish(run, folder, target, prepared, overwrite)
        finally:
            folder.close()


# --- before the first step -------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Prepared:
    """All that a run is made of."""

    family: Family
    config: Any
    settings: TrainingSettings
    dataset: Dataset
    recipe: Recipe
    start: TrainableModel | None
    began_with: str

    def run(self, device: torch.device, rank: int, ranks: int, compiled: bool) -> Run:
        """The run at its beginning. Raises InputError where the images do not fit the model."""
        if self.settings.batch % ranks:
            raise InputError(f"a batch of {self.settings.batch} images cannot be shared evenly among {ranks} processes")
        where = {"start": self.start, "device": device, "rank": rank, "ranks": ranks, "compiled": compiled}
        try:
            return Run(self.family, self.config, self.settings, self.dataset, **where)  # type: ignore[arg-type]
        except ValueError as error:
            raise InputError(f"this model cannot be: {error}") from None

    def facts(self, run: Run) -> dict[str, Any]:
        """For a watcher."""
        return {
            "model": self.family.name,
            "parameters": sum(p.numel() for p in run.model.parameters()),
            "pixels": asdict(self.dataset.pixels),
            "train_images": len(self.dataset.train),
            "valid_images": len(self.dataset.valid),
            "settings": asdict(self.settings),
            "config": asdict(self.config),
            "steps": run.steps,
            "step": run.step,
        }


def prepare(
    inputs: Sequence[PathLike],
    valid: Sequence[PathLike],
    recipe: Recipe,
    overrides: Mapping[str, Any],
    family_name: str | None,
    preset: str | None,
    init_from: PathLike | None,
) -> Prepared:
    """Images, model and settings; overrides win over the recipe. Raises InputError, MissingCodec or BadCodecFile."""
    strength = preset or recipe.preset or "balanced"
    if strength not in PRESETS:
        raise InputError(f"there is no preset {strength!r}: one of {', '.join(PRESETS)} was expected")
    begin = load_codec(init_from, device="cpu") if init_from else None
    name = family_name or recipe.model or (begin.family if begin else "vlae")
    family = find_family(name)
    some = {**recipe.settings, **overrides}
    dataset = load_dataset(
        [Path(path) for path in inputs],
        [Path(path) for path in valid],
        levels=2 if some.get("binarise") else None,
        valid_images=_count(some, "valid_images", TrainingSettings.valid_images),
        seed=_count(some, "seed", TrainingSettings.seed),
    )
    size = dataset.size
    room = size or (dataset.roomy_side(), dataset.roomy_side())
    defaults = family.preset(_strength(strength), dataset.pixels, room, size is not None)
    defaults |= asdict(dataset.pixels)
    if begin is not None:
        check_codec(dataset, begin.name, begin.pixels)
        defaults |= asdict(_model_of(begin, family).config)
    try:
        config, settings = configure(family.config, defaults, some)
    except InputError as error:
        raise blamed(error, family, defaults, recipe) from None
    if (config.channels, config.levels) != (dataset.pixels.channels, dataset.pixels.levels):
        raise InputError(
            f"channels is {config.channels} and levels {config.levels}, but the images have {dataset.pixels.channels} "
            f"and {dataset.pixels.levels}: leave them out (binarise makes two levels of grey images)"
        )
    start = _model_of(begin, family) if begin else None
    if start is not None and config != start.config:
        raise InputError(f"the codec {name_of(begin)} has another model than these settings say: leave them out")
    return Prepared(family, config, settings, fit(dataset, settings), recipe, start, name_of(begin))


def _strength(name: str) -> Strength:
    return next(one for one in PRESETS if one == name)


def blamed(error: InputError, family: Family, defaults: Mapping[str, Any], recipe: Recipe) -> InputError:
    """The error, which names the recipe if that alone is wrong in this way."""
    try:
        configure(family.config, defaults, recipe.settings)
    except InputError as alone:
        if recipe.name and str(alone) == str(error):
            return InputError(f"{recipe.name}.toml: {error}")
    return error


def _count(settings: Mapping[str, Any], name: str, default: int) -> int:
    value = settings.get(name, default)
    fits = isinstance(value, int) and RULES[name].holds(value)
    return value if fits else default  # anything else is refused by `configure`


def _model_of(begin: Codec, family: Family) -> TrainableModel:
    """The model of a codec that training starts from. Raises InputError where it is of another family."""
    if begin.family != family.name or not isinstance(begin.model, TrainableModel):
        raise InputError(f"the codec {begin.name} is of family {begin.family}, not {family.name}")
    return begin.model


def name_of(codec: Codec | None) -> str:
    """Name and digest of a codec, for cards; empty for none."""
    return f"{codec.name}, digest {codec.digest}" if codec else ""


def can_compile(device: torch.device, prepared: Prepared) -> tuple[bool, list[str]]:
    """Whether parts of the model are to be compiled, and a line to say where that would help but cannot be."""
    settings = prepared.settings
    steps = settings.epochs * steps_per_epoch(prepared.dataset, settings)
    if steps < COMPILED_STEPS if settings.epochs else settings.minutes < COMPILED_MINUTES:
        return False, []
    if device.type == "cpu" and not any(shutil.which(name) for name in ("g++", "clang++", "c++")):
        return False, ["there is no C++ compiler (g++): training takes about three times as long without one"]
    return True, []


@contextmanager
def ranks_of_torchrun(device: str) -> Iterator[tuple[torch.device, int, int]]:
    """The device of this process, its rank and the number of ranks, as `torchrun` says; without it 0 of 1."""
    check_device(device)
    on_cuda = device == "cuda" or (device == "auto" and torch.cuda.is_available())
    ranks, local = int(os.environ.get("WORLD_SIZE", "1")), int(os.environ.get("LOCAL_RANK", "0"))
    place = torch.device("cuda", local) if on_cuda else torch.device("cpu")
    if ranks == 1:
        yield place, 0, 1
        return
    dist.init_process_group("nccl" if on_cuda else "gloo")
    try:
        yield place, dist.get_rank(), ranks
    finally:
        dist.destroy_process_group()


# --- the run ---------------------------------------------------------------------------------------------------------


def _start(run: Run, folder: WorkFolder, going_on: bool, resume: bool, watch: Watcher) -> None:
    """Go on from the checkpoint, or write the first one. All ranks read what rank 0 has."""
    states: list[Any] = [folder.load() if going_on else None]
    if run.ranks > 1:
        dist.broadcast_object_list(states)
    state = states[0]
    if state is None:
        if resume:
            watch.note(f"there is no run in {folder.path} to go on with: this one starts anew")
        if run.rank == 0:
            folder.save(run.state())
        return
    restore(run, state, folder)
    if run.rank == 0 and math.isfinite(run.best) and not folder.holds_codec():
        run.best = math.inf
        watch.note(f"{folder.best} is gone or damaged: the next codec counts as the best so far")
    run.tick = min(run.tick, int(run.share() * TICKS))  # less, where the run is to be longer than it was
    if run.rank == 0:
        folder.forget_after(run.step)
    watch.note(f"going on at step {run.step:,}, after {run.spent / 60:.1f} minutes")


def restore(run: Run, state: Mapping[str, Any], folder: WorkFolder) -> None:
    """Go on from a checkpoint. Raises InputError where it is that of another run."""
    try:
        before, now = json.loads(state["identity"]), run.identity()
        differs = _difference(before, now)
        if not differs:
            run.restore(dict(state))
    except (AttributeError, LookupError, TypeError, ValueError, RuntimeError) as error:
        raise InputError(f"{folder.checkpoint} does not fit this version ({error}); --force starts anew") from None
    if differs:
        raise InputError(
            f"{folder.path} holds a run with {differs}: give the same images, model and settings as then "
            "(the length may differ), or --force to start anew"
        )


def _difference(before: Mapping[str, Any], now: Mapping[str, Any]) -> str:
    """How the identity of a run differs from another's, in words; empty if it does not."""
    if before["images"] != now["images"]:
        return "other images, or a seed that holds others out"
    if before["model"] != now["model"]:
        return f"the model {before['model']}"
    for key in ("sizes", "settings"):
        for name in sorted({*before[key], *now[key]}):
            if before[key].get(name) != now[key].get(name):
                return f"{name}={before[key].get(name)}, not {now[key].get(name)}"
    return ""


class _Loop:
    """Steps, and what is to be done between them."""

    def __init__(self, run: Run, folder: WorkFolder, prepared: Prepared, watch: Watcher) -> None:
        self.run, self.folder, self.prepared, self.watch = run, folder, prepared, watch
        self.saved = self.told = time.monotonic()
        self.parts: list[dict[str, float]] = []  # of the steps since the last line of the log
        self.began, self.first = time.monotonic(), run.step
        self.committed = run.committed_rate()
        self.stance = ExitStack()  # how torch compiles, while this runs
        self.undrawn: set[str] = set()  # pictures that cannot be written

    def go(self) -> None:
        """To the end of the run. Raises TrainingDiverged."""
        with self.stance:
            self._go()

    def _go(self) -> None:
        run = self.run
        while run.tick < TICKS:
            share = run.share()
            try:
                if share < 1:
                    with run.timed():
                        self.parts.append(run.advance(share))
            except Diverged as error:
                self.recover(error)
                continue
            except compiler_failures() as error:
                self.do_without_compiler(error)
                continue
            self.tell(share)
            if run.rank == 0:
                with run.timed():
                    self.look(share)
            run.tick = max(run.tick, int(share * TICKS))
        if run.rank == 0 and math.isinf(run.best):  # its best codec was lost when the run had ended already
            self.report(run.share())

    def recover(self, error: Diverged) -> None:
        """Roll back once; a second time, give up."""
        run = self.run
        if run.rolled_back:
            kept = f"; the best codec so far is {self.folder.best}" if self.folder.best.exists() else ""
            raise TrainingDiverged(f"training was rolled back once and diverged again: {error}{kept}") from None
        states = [self.folder.load() if run.rank == 0 else None]
        if run.ranks > 1:
            dist.broadcast_object_list(states)
        run.roll_back(states[0] or {})
        self.parts.clear()
        if run.rank == 0:
            self.folder.forget_after(run.step)
            self.folder.append({"kind": "rolled_back", "step": run.step, "why": str(error)})
            self.save()
        self.watch.note(f"{error}: back at step {run.step:,}, with half the learning rate")

    def do_without_compiler(self, error: Exception) -> None:
        """Go on with what is not compiled: compilers fail for reasons of their own, as a process that cannot start.

        Several ranks would no longer be in step.
        """
        if not self.run.compiled or self.run.ranks > 1:
            raise error
        self.run.compiled = False
        self.stance.enter_context(torch.compiler.set_stance("force_eager"))
        cause = getattr(error, "inner_exception", error)
        reason = (str(cause).splitlines() or [type(cause).__name__])[0]
        self.watch.note(f"torch could not compile the model ({reason}): training goes on without, and is slower")

    def tell(self, share: float) -> None:
        """Tell the watcher of a step, a few times a second."""
        now = time.monotonic()
        if now - self.told < EVENT_SECONDS or not self.parts:
            return
        self.told = now
        run = self.run
        elapsed, images = now - self.began, (run.step - self.first) * run.settings.batch
        left = run.settings.minutes * 60 - run.spent
        if run.steps:
            left = (run.steps - run.step) * elapsed / max(1, run.step - self.first)
        self.watch.step({
            "step": run.step, "share": share, "bits_per_dim": run.recent,
            "images_per_second": images / max(elapsed, 1e-9), "seconds_left": max(0.0, left),
        })  # fmt: skip

    def look(self, share: float) -> None:
        """Log, try and keep what it is time for; on rank 0."""
        run, tick = self.run, int(share * TICKS)
        if tick > run.tick and self.parts:
            mean = {f"train_{key}": round(float(np.mean([p[key] for p in self.parts])), 5) for key in self.parts[0]}
            self.parts.clear()
            line = {"kind": "train", "step": run.step, "share": round(share, 5), "minutes": round(run.spent / 60, 2)}
            line |= {"committed_bits_per_dim": round(self.committed, 5)} if self.committed else {}
            self.folder.append({**line, **mean, "rate": run.rate(share), "exact": run.rounds(share)})
        if tick * REPORTS // TICKS > run.tick * REPORTS // TICKS:
            self.report(share)
        if time.monotonic() - self.saved > CHECKPOINT_SECONDS or tick >= TICKS:
            run.tick = max(run.tick, tick)
            self.save()

    def save(self) -> None:
        """Write a checkpoint."""
        self.folder.save(self.run.state())
        self.saved = time.monotonic()

    def report(self, share: float) -> None:
        """Try the average on the held-out images; keep it as a codec if it is the best so far; draw."""
        run, folder = self.run, self.folder
        valid = run.validate()
        bits = sum(valid.values())
        best = bits < run.best
        if best:
            run.best = bits
            write(folder.best, packed(run.average, run.family, run.config, run.dataset.pixels, self.card()))
        pixels = list(valid)[-1]
        event = {
            "step": run.step, "share": share, "train_bits_per_dim": run.recent, "valid_bits_per_dim": bits,
            "rate_bits_per_dim": bits - valid[pixels], "exact": run.rounds(share), "best": best,
        }  # fmt: skip
        folder.append({"kind": "valid", **event, **{f"valid_{name}": round(value, 5) for name, value in valid.items()}})
        self.watch.report(event)
        self.draw()

    def draw(self) -> None:
        """The curves, samples of the average, and what else the model has to show."""
        run, levels, path = self.run, self.run.dataset.pixels.levels, self.folder.path
        some = run.draw(SAMPLES).permute(0, 2, 3, 1).to(torch.uint8).cpu().numpy()
        more = run.average.pictures()
        drawings = {
            "curves.png": partial(draw_curves, self.folder.lines()),
            "samples.png": partial(draw_samples, some * np.uint8(255 // (levels - 1))),
            **({} if more is None else {"model.png": partial(draw_samples, more)}),
        }
        for name in drawings.keys() - self.undrawn:
            try:
                drawings[name](path / name)
            except OutputError as error:  # nothing that a run needs
                self.undrawn.add(name)
                self.watch.note(f"training goes on without a picture: {error}")

    def card(self) -> dict[str, Any]:
        """What the codec is made from."""
        run, prepared = self.run, self.prepared
        where = f"{run.ranks} x {run.device.type.upper()}" if run.ranks > 1 else run.device.type.upper()
        images = len(run.dataset.train)
        card = {
            "data": prepared.recipe.data or f"{images:,} images",
            "images": images,
            "steps": run.step,
            "epochs": round(run.step * run.settings.batch / images, 2),
            "minutes": round(run.spent / 60, 1),
            "device": f"{platform.machine()} {where}, {torch.get_num_threads()} threads",
            "parameters": sum(p.numel() for p in run.average.parameters()),
        }
        return {**card, **({"began_with": prepared.began_with} if prepared.began_with else {})}


# --- after the last step ---------------------------------------------------------------------------------------------


def _finish(run: Run, folder: WorkFolder, target: Path, prepared: Prepared, force: bool) -> TrainingSummary:
    """Measure the best codec, write it under its name, and its card."""
    if not folder.best.exists():
        raise InputError(f"{folder.best} is gone: --force trains anew")
    family, config, valid = run.family, run.config, list(held_out(prepared.dataset))
    content = with_measured_card(folder.best.read_bytes(), family, config, valid)
    codec = load_codec(content, device="cpu")
    write(target, content, force)
    recipe = f"`bbcodec train{f' --config {prepared.recipe.name}.toml' if prepared.recipe.name else ''}`"
    page = card_page(target.stem, codec.card, family, config, len(content), recipe)
    write(folder.path / "card.md", page.encode())
    some = measured_images(valid)
    archived, levels = archive_bits_per_dim(some), run.dataset.pixels.levels
    return TrainingSummary(
        output=str(target),
        model=family.name,
        parameters=codec.card["parameters"],
        codec_bytes=len(content),
        steps=run.step,
        minutes=round(run.spent / 60, 1),
        images_per_second=round(run.step * run.settings.batch / max(run.spent, 1e-9), 1),
        valid_images=len(some),
        bits_per_dim=codec.card["bits_per_dim"],
        webp_bits_per_dim=round(file_bits_per_dim(some, levels, "webp"), 4),
        png_bits_per_dim=round(file_bits_per_dim(some, levels, "png"), 4),
        archive_bits_per_dim=archived and round(archived, 4),
    )


def write(path: Path, content: bytes, force: bool = True) -> None:
    """A file that appears when it is whole."""
    with new_file(path, force) as (_, stream):
        stream.write(content)
