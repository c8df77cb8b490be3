"""`bbcodec train`."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from bbcodec.cli.output import format_count, format_duration, format_size, print_json, print_status
from bbcodec.cli.progress import print_above, progress_bar
from bbcodec.cli.signals import Stopped, StopSignals
from bbcodec.remote import local_target

if TYPE_CHECKING:
    from rich.progress import Progress, TaskID

    from bbcodec.models.training.run import TrainingSummary


@click.command("train", short_help="Train a codec on your own images.")
@click.argument("data", nargs=-1, required=True, metavar="DATA...")
@click.option("-o", "--output", required=True, metavar="CODEC", help="The codec to write, e.g. my.bbc.")
@click.option(
    "--valid", multiple=True, metavar="DATA", help="Images to hold out, instead of some of DATA (repeatable)."
)
@click.option("--model", metavar="FAMILY", help="The model family (default: auto, by short trials).")
@click.option(
    "--preset", metavar="PRESET", help="fast, balanced (default) or strong: a larger model, slower, smaller files."
)
@click.option("--config", metavar="FILE", help="A recipe: a TOML file with a model and settings.")
@click.option(
    "--set", "assignments", multiple=True, metavar="KEY=VALUE", help="Any setting: see docs/training.md (repeatable)."
)
@click.option(
    "--minutes", type=click.FloatRange(0, min_open=True), help="Length of the run (default: 20, or the recipe's)."
)
@click.option("--epochs", type=click.FloatRange(0, min_open=True), help="Length in passes over the images, instead.")
@click.option("--init-from", metavar="CODEC", help="Start from a shipped codec or a .bbc file.")
@click.option("--resume", is_flag=True, help="Continue a run that was stopped.")
@click.option("--threads", type=click.IntRange(1, 256), metavar="N", help="Threads (default: OMP_NUM_THREADS, or all).")
@click.option("--device", type=click.Choice(["auto", "cpu", "cuda"]), default="auto", help="Where networks run.")
@click.option("--seed", type=click.IntRange(0), help="Random seed (default: 0).")
@click.option("-f", "--force", is_flag=True, help="Overwrite the output, and discard an earlier run.")
@click.option("-q", "--quiet", is_flag=True, help="Print errors only.")
@click.option("--json", "as_json", is_flag=True, help="Print a summary as JSON on stdout.")
@click.pass_obj
def command(
    signals: StopSignals,
    data: tuple[str, ...],
    output: str,
    valid: tuple[str, ...],
    model: str | None,
    preset: str | None,
    config: str | None,
    assignments: tuple[str, ...],
    minutes: float | None,
    epochs: float | None,
    init_from: str | None,
    resume: bool,
    threads: int | None,
    device: str,
    seed: int | None,
    force: bool,
    quiet: bool,
    as_json: bool,
) -> None:
    """Train a codec on folders of images, image files, and arrays.

    Arrays (.npy, .npz) are N x H x W, of 8 or 16 bits, or N x H x W x 3.
    The folder my.training, beside my.bbc, holds the log, curves, samples, checkpoints, and the best codec so far.
    Training is interruptible; continue with --resume.
    """
    from bbcodec.models.training.recipes import read_recipe

    if minutes is not None and epochs is not None:
        raise click.UsageError("--minutes and --epochs are mutually exclusive")
    if resume and force:
        raise click.UsageError("--resume and --force are mutually exclusive")
    overrides = overrides_of(assignments, minutes, epochs, seed)
    recipe = read_recipe(config) if config else None
    follower = os.environ.get("RANK", "0") != "0"  # of several processes under torchrun, the first one reports
    with resumable(local_target(output), signals), training_display(signals, quiet or follower) as display:
        from bbcodec.models.training.run import train

        summary = train(
            data,
            output,
            valid=valid,
            family=model,
            preset=preset,
            recipe=recipe,
            overrides=overrides,
            init_from=init_from,
            resume=resume,
            force=force,
            threads=threads,
            device=device,
            watch=display,
        )
    if follower:
        return
    for line in closing_lines(summary):
        print_status(line, quiet)
    if as_json:
        print_json(asdict(summary))


def overrides_of(
    assignments: tuple[str, ...], minutes: float | None, epochs: float | None, seed: int | None
) -> dict[str, Any]:
    """Settings that the options override; an option of its own wins over --set. Raises InputError."""
    from bbcodec.models.training.recipes import parse_assignment

    overrides = dict(parse_assignment(text) for text in assignments)
    if minutes is not None:
        overrides |= {"minutes": minutes, "epochs": 0.0}  # a recipe may set epochs
    if epochs is not None:
        overrides["epochs"] = epochs
    if seed is not None:
        overrides["seed"] = seed
    return overrides


@contextmanager
def resumable(output: Path, signals: StopSignals) -> Iterator[None]:
    """Ctrl-C and signals become a line that says how to resume, and where the best codec so far is."""
    try:
        yield
    except (KeyboardInterrupt, Exception) as error:
        stop = signals.stop_behind(error)
        if stop is None:
            raise
        raise Stopped(f"{stop}: {resume_advice(output.with_suffix('.training'))}", stop.exit_code) from None


def resume_advice(run_folder: Path) -> str:
    """How the run in a folder can be continued.

    >>> resume_advice(Path("no/such/folder"))
    'nothing was saved yet'
    """
    if not (run_folder / "checkpoint.pt").exists():
        return "nothing was saved yet"
    best = run_folder / "best.bbc"
    codec = f"; the best codec so far is {best}" if best.exists() else ""
    return f"continue with the same command and --resume, without --force{codec}"


# --- what is printed -------------------------------------------------------------------------------------------------


@dataclass
class TrainingDisplay:
    """A watcher of training (`bbcodec.models.training.run`): lines on stderr, and a bar if that is a terminal."""

    signals: StopSignals
    quiet: bool = False
    bar: Progress | None = None
    task: TaskID | None = None

    def started(self, facts: Mapping[str, Any]) -> None:
        """Print what is trained on what."""
        self.note(started_line(facts))

    def step(self, event: Mapping[str, Any]) -> None:
        """Move the bar. Raises an interrupt that was lost in compiled code (see `StopSignals.check`)."""
        self.signals.check()
        if self.bar is not None and self.task is not None:
            self.bar.update(self.task, completed=event["share"], total=1.0, details=step_line(event))

    def report(self, event: Mapping[str, Any]) -> None:
        """Print how the held-out images fare."""
        self.note(report_line(event))

    def note(self, line: str) -> None:
        """Print a line."""
        print_above(self.bar, line, self.quiet)


@contextmanager
def training_display(signals: StopSignals, quiet: bool) -> Iterator[TrainingDisplay]:
    """A display of training while the body runs."""
    with progress_bar(quiet, time_left=False) as bar:
        task = bar.add_task("training", total=None, details="") if bar else None
        yield TrainingDisplay(signals, quiet, bar, task)


def started_line(facts: Mapping[str, Any]) -> str:
    """What is trained on what.

    >>> pixels = {"channels": 1, "levels": 256}
    >>> facts = {"model": "vlae", "parameters": 1234, "pixels": pixels, "train_images": 95, "valid_images": 5}
    >>> started_line(facts)
    'vlae of 1,234 weights: 95 grey images to train on, 5 held out'
    """
    names = {(3, 256): "RGB ", (1, 256): "grey ", (1, 2): "two-level "}
    name = names.get((facts["pixels"]["channels"], facts["pixels"]["levels"]), "")
    images = format_count(facts["train_images"], f"{name}image")
    return (
        f"{facts['model']} of {facts['parameters']:,} weights: {images} to train on, {facts['valid_images']:,} held out"
    )


def step_line(event: Mapping[str, Any]) -> str:
    """How far training has come, and how fast it is.

    >>> step_line({"bits_per_dim": 3.21987, "images_per_second": 27.4, "seconds_left": 83.2})
    '3.220 bits/dim, 27.4 images/s, 1 min 23 s left'
    >>> step_line({"bits_per_dim": 3.2, "images_per_second": 2740, "seconds_left": 0.0})
    '3.200 bits/dim, 2,740 images/s, measuring the codec'
    """
    left = f"{format_duration(event['seconds_left'])} left" if event["seconds_left"] >= 1 else "measuring the codec"
    speed = event["images_per_second"]
    rate = f"{speed:,.0f}" if speed >= 1000 else f"{speed:.3g}"
    return f"{event['bits_per_dim']:.3f} bits/dim, {rate} images/s, {left}"


def report_line(event: Mapping[str, Any]) -> str:
    """How the held-out images fare.

    >>> event = {"step": 1200, "share": 0.25, "train_bits_per_dim": 3.2, "valid_bits_per_dim": 3.31}
    >>> report_line({**event, "rate_bits_per_dim": 0.012, "exact": False, "best": True})
    'step 1,200 (25 %): 3.2000 bits/dim, held out 3.3100 (latents 0.0120), the best so far'

    Before the first step of a run that begins with a codec, there is no training loss:

    >>> report_line({**event, "step": 0, "share": 0.0, "rate_bits_per_dim": 0.012, "best": True})
    'step 0 (0 %): held out 3.3100 (latents 0.0120), the best so far'
    """
    line = f"step {event['step']:,} ({event['share']:.0%}): ".replace("%", " %")
    line += f"{event['train_bits_per_dim']:.4f} bits/dim, " if event["step"] else ""
    line += f"held out {event['valid_bits_per_dim']:.4f} (latents {event['rate_bits_per_dim']:.4f})"
    return line + (", the best so far" if event["best"] else "")


def closing_lines(summary: TrainingSummary) -> Iterator[str]:
    """The last lines: what the codec is worth, and how to use it."""
    held_out = format_count(summary.valid_images, "held-out image")
    others = {"WebP": summary.webp_bits_per_dim, "PNG": summary.png_bits_per_dim}
    if summary.archive_bits_per_dim is not None:
        others["an archive without a codec"] = summary.archive_bits_per_dim
    rates = ", ".join(f"{name} {rate:.4f}" for name, rate in others.items())
    yield (
        f"{summary.output}: {summary.bits_per_dim:.4f} bits/dim on {held_out} ({rates}), "
        f"{format_size(summary.codec_bytes)}, {format_duration(60 * summary.minutes)}"
    )
    if not summary.kept_step:
        yield "no step made them shorter: these are the weights that the run began with (a smaller muon_rate may help)"
    best = min(others, key=lambda name: others[name])
    if summary.bits_per_dim >= others[best]:
        yield f"{best} is shorter: train longer, e.g. with --init-from {summary.output} -o better.bbc --minutes 120"
    elif summary.pays_after_images:
        yield f"it pays for its own bytes after {format_count(summary.pays_after_images, 'image')} like these"
    yield f"to use it: bbcodec compress --codec {summary.output} IMAGES -o out.bb"
