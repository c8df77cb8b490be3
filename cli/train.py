"""`bbcodec train`."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from bbcodec.cli.group import clean, counted, duration, show_json, size, tell
from bbcodec.cli.main import INTERRUPTED, SIGNALLED, Ended, Stopped, asked_to_end

if TYPE_CHECKING:
    from rich.progress import Progress as Bar
    from rich.progress import TaskID

    from bbcodec.models.training.run import TrainingSummary


@click.command("train", short_help="Train a codec on images of your own.")
@click.argument("data", nargs=-1, required=True, metavar="DATA...")
@click.option("-o", "--output", required=True, metavar="CODEC", help="The codec to write, as my.bbc.")
@click.option(
    "--valid", multiple=True, metavar="DATA", help="Images to be held out; else some of DATA are (repeatable)."
)
@click.option("--model", metavar="FAMILY", help="The model family (default: vlae).")
@click.option(
    "--preset", metavar="PRESET", help="fast, balanced (default) or strong: a larger model, slower, shorter files."
)
@click.option("--config", metavar="FILE", help="A recipe: a TOML file with a model and settings.")
@click.option(
    "--set", "assignments", multiple=True, metavar="KEY=VALUE", help="Set anything: docs/training.md (repeatable)."
)
@click.option(
    "--minutes", type=click.FloatRange(0, min_open=True), help="Length of the run (default: 20, or as the recipe says)."
)
@click.option(
    "--epochs", type=click.FloatRange(0, min_open=True), help="Its length in passes over the images, instead."
)
@click.option("--init-from", metavar="CODEC", help="A shipped codec or a .bbc file, to go on learning.")
@click.option("--resume", is_flag=True, help="Go on with a run that was stopped.")
@click.option("--threads", type=click.IntRange(1, 256), metavar="N", help="Threads (default: one a core).")
@click.option("--device", type=click.Choice(["auto", "cpu", "cuda"]), default="auto", help="Where networks run.")
@click.option("--seed", type=click.IntRange(0), help="Of everything random (default: 0).")
@click.option("-f", "--force", is_flag=True, help="Overwrite the output, and forget an earlier run.")
@click.option("-q", "--quiet", is_flag=True, help="Print errors only.")
@click.option("--json", "as_json", is_flag=True, help="Print a summary as JSON on stdout.")
def command(
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
    """Train a codec on folders of images, image files, and arrays (.npy, .npz: N x H x W, or N x H x W x 3, uint8).

    Beside my.bbc, the folder my.training holds the log, curves, samples, checkpoints, and the best codec so far. A run
    that was stopped goes on with --resume.
    """
    from bbcodec.models.training.recipes import read_recipe

    if minutes is not None and epochs is not None:
        raise click.UsageError("--minutes and --epochs contradict each other")
    if resume and force:
        raise click.UsageError("--resume and --force contradict each other")
    overrides = overrides_of(assignments, minutes, epochs, seed)
    recipe = read_recipe(config) if config else None
    follower = os.environ.get("RANK", "0") != "0"  # of several processes under torchrun the first one speaks
    with stopped_well(Path(output)), watched(quiet or follower) as watch:
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
            watch=watch,
        )
    if follower:
        return
    for line in closing(summary):
        tell(line, quiet)
    if as_json:
        show_json(asdict(summary))


def overrides_of(
    assignments: tuple[str, ...], minutes: float | None, epochs: float | None, seed: int | None
) -> dict[str, Any]:
    """What the options set; an option of its own wins over --set. Raises InputError."""
    from bbcodec.models.training.recipes import parse_assignment

    overrides = dict(parse_assignment(text) for text in assignments)
    if minutes is not None:
        overrides |= {"minutes": minutes, "epochs": 0.0}  # of a recipe, say
    if epochs is not None:
        overrides["epochs"] = epochs
    if seed is not None:
        overrides["seed"] = seed
    return overrides


@contextmanager
def stopped_well(output: Path) -> Iterator[None]:
    """Ctrl-C and signals become a line that says how to go on, and where the best codec so far is."""
    try:
        yield
    except (KeyboardInterrupt, Exception) as error:
        stop = asked_to_end(error)
        if stop is None:
            raise
        if sys.stderr.isatty():
            click.echo(err=True)  # the terminal shows ^C
        code = SIGNALLED + stop.number if isinstance(stop, Ended) else INTERRUPTED
        what = "terminated" if isinstance(stop, Ended) else "interrupted"
        raise Stopped(f"{what}: {how_to_go_on(output.with_suffix('.training'))}", code) from None


def how_to_go_on(work: Path) -> str:
    """What a folder of work allows.

    >>> how_to_go_on(Path("no/such/folder"))
    'nothing was learnt yet'
    """
    if not (work / "checkpoint.pt").exists():
        return "nothing was learnt yet"
    best = work / "best.bbc"
    codec = f"; the best codec so far is {best}" if best.exists() else ""
    return f"the same command with --resume, and without --force, goes on{codec}"


# --- what people see -------------------------------------------------------------------------------------------------


@dataclass
class Watch:
    """A watcher of training (`bbcodec.models.training.run.Watcher`): lines on stderr, and a bar where that is a terminal."""

    quiet: bool = False
    bar: Bar | None = None
    task: TaskID | None = None

    def started(self, facts: Mapping[str, Any]) -> None:
        """A line on what is trained on what."""
        self.note(started_line(facts))

    def step(self, event: Mapping[str, Any]) -> None:
        """Move the bar; raise an interrupt that was lost on its way (see `asked_to_end`)."""
        stop = asked_to_end(RuntimeError())
        if stop is not None:
            raise stop
        if self.bar is not None and self.task is not None:
            self.bar.update(self.task, completed=event["share"], total=1.0, told=step_line(event))

    def report(self, event: Mapping[str, Any]) -> None:
        """A line on the held-out images."""
        self.note(report_line(event))

    def note(self, line: str) -> None:
        """A line."""
        if self.bar is not None:
            self.bar.console.print(clean(line), markup=False, highlight=False, soft_wrap=True)
        else:
            tell(line, self.quiet)


@contextmanager
def watched(quiet: bool) -> Iterator[Watch]:
    """A watcher; its bar is there while the body runs, if stderr is a terminal."""
    if quiet or not sys.stderr.isatty():
        yield Watch(quiet)
        return
    from rich.console import Console
    from rich.progress import BarColumn, TaskProgressColumn, TextColumn
    from rich.progress import Progress as Bar

    columns = (TextColumn("{task.description}"), BarColumn(), TaskProgressColumn(), TextColumn("{task.fields[told]}"))
    with Bar(*columns, console=Console(stderr=True), transient=True) as bar:
        yield Watch(bar=bar, task=bar.add_task("training", total=None, told=""))


def started_line(facts: Mapping[str, Any]) -> str:
    """What is trained on what.

    >>> pixels = {"channels": 1, "levels": 256}
    >>> facts = {"model": "vlae", "parameters": 1234, "pixels": pixels, "train_images": 95, "valid_images": 5}
    >>> started_line(facts)
    'vlae of 1,234 weights: 95 grey images to train on, 5 held out'
    """
    kinds = {(3, 256): "RGB ", (1, 256): "grey ", (1, 2): "two-level "}
    kind = kinds.get((facts["pixels"]["channels"], facts["pixels"]["levels"]), "")
    images = counted(facts["train_images"], f"{kind}image")
    return (
        f"{facts['model']} of {facts['parameters']:,} weights: {images} to train on, {facts['valid_images']:,} held out"
    )


def step_line(event: Mapping[str, Any]) -> str:
    """Where training is.

    >>> step_line({"bits_per_dim": 3.21987, "images_per_second": 27.4, "seconds_left": 83.2})
    '3.220 bits/dim, 27.4 images/s, 1 min 23 s left'
    >>> step_line({"bits_per_dim": 3.2, "images_per_second": 2740, "seconds_left": 0.0})
    '3.200 bits/dim, 2,740 images/s, measuring the codec'
    """
    left = f"{duration(event['seconds_left'])} left" if event["seconds_left"] >= 1 else "measuring the codec"
    speed = event["images_per_second"]
    told = f"{speed:,.0f}" if speed >= 1000 else f"{speed:.3g}"
    return f"{event['bits_per_dim']:.3f} bits/dim, {told} images/s, {left}"


def report_line(event: Mapping[str, Any]) -> str:
    """How held-out images fare.

    >>> event = {"step": 1200, "share": 0.25, "train_bits_per_dim": 3.2, "valid_bits_per_dim": 3.31}
    >>> report_line({**event, "rate_bits_per_dim": 0.012, "exact": False, "best": True})
    'step 1,200 (25 %): 3.2000 bits/dim, held out 3.3100 (latents 0.0120), the best so far'
    """
    line = f"step {event['step']:,} ({event['share']:.0%}): ".replace("%", " %")
    line += f"{event['train_bits_per_dim']:.4f} bits/dim, held out {event['valid_bits_per_dim']:.4f} "
    line += f"(latents {event['rate_bits_per_dim']:.4f})"
    return line + (", the best so far" if event["best"] else "")


def closing(summary: TrainingSummary) -> Iterator[str]:
    """The last lines: what the codec is worth, and what to do with it."""
    held_out = counted(summary.valid_images, "held-out image")
    others = {"WebP": summary.webp_bits_per_dim, "PNG": summary.png_bits_per_dim}
    if summary.archive_bits_per_dim is not None:
        others["an archive without a codec"] = summary.archive_bits_per_dim
    told = ", ".join(f"{name} {rate:.4f}" for name, rate in others.items())
    yield (
        f"{summary.output}: {summary.bits_per_dim:.4f} bits/dim on {held_out} ({told}), "
        f"{size(summary.codec_bytes)}, {duration(60 * summary.minutes)}"
    )
    best = min(others, key=lambda name: others[name])
    if summary.bits_per_dim >= others[best]:
        yield f"{best} is shorter: learn longer, as with --init-from {summary.output} -o better.bbc --minutes 120"
    yield f"to use it: bbcodec compress --codec {summary.output} IMAGES -o out.bb"
