"""Plots of a training run as PNG files: the curves of its log, and sheets of images."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from bbcodec.atomic_files import new_file

if TYPE_CHECKING:
    from matplotlib.axes import Axes

Lines = Sequence[Mapping[str, Any]]

TILE: Final = 96  # pixels: small images on a sheet are enlarged by an integer factor, to at most this side
GAP: Final = 2  # pixels between the images of a sheet
GREY: Final = 128  # of the gap
SETTLED: Final = 0.1  # share of the steps before which the loss does not set the scale
TRAIN, VALID, RATE = "#7a869a", "#0b5fa5", "#b35900"


def draw_curves(log_lines: Lines, path: Path) -> None:
    """Draw the curves of a training log over the steps: bits/dim, the rate of the latents, and the learning rate.

    log_lines, each with `kind` and `step`: `train` (`train_` and the name of each site: bits/dim; `rate`: factor of
    the learning rates; `exact`; `committed_bits_per_dim` if latents have such a rate), `valid` (`valid_bits_per_dim`,
    `rate_bits_per_dim`, `best`) and `rolled_back`. Raises OutputError if the file cannot be written.
    """
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    lines = {kind: [line for line in log_lines if line["kind"] == kind] for kind in ("train", "valid", "rolled_back")}
    figure = Figure(figsize=(9, 8), layout="constrained")
    FigureCanvasAgg(figure)
    above, middle, below = figure.subplots(3, 1, sharex=True, height_ratios=(4, 2, 1.2))
    _draw_losses(above, lines["train"], lines["valid"])
    _draw_rates(middle, lines["train"], lines["valid"])
    _plot(below, lines["train"], "rate", TRAIN, "-", "learning rate")
    below.set_ylabel("learning rate,\nof its maximum")
    below.set_ylim(bottom=0)
    below.set_xlabel("step")
    for axes in (above, middle, below):
        axes.grid(alpha=0.3)
        _mark(axes, lines)
    above.legend(loc="upper right")
    with new_file(path, force=True) as (_, stream):
        figure.savefig(stream, format="png", dpi=100)


def _plot(axes: Axes, lines: Lines, key: str, colour: str, style: str, label: str) -> None:
    axes.plot([line["step"] for line in lines], [line[key] for line in lines], style, color=colour, ms=4, label=label)


def _draw_losses(axes: Axes, train: Lines, valid: Lines) -> None:
    """Bits/dim over the steps, on a scale that fits all but the first steps."""
    summed = [{"step": line["step"], "bits": sum_of_sites(line)} for line in train]
    _plot(axes, summed, "bits", TRAIN, "-", "training images")
    _plot(axes, valid, "valid_bits_per_dim", VALID, "o-", "held-out images")
    last = max((line["step"] for line in (*train, *valid)), default=0)
    values = [(line["step"], line["bits"]) for line in summed]
    values += [(line["step"], line["valid_bits_per_dim"]) for line in valid]
    seen = [bits for step, bits in values if step >= SETTLED * last and math.isfinite(bits)]
    if seen:
        room = 0.05 * (max(seen) - min(seen)) + 0.01
        axes.set_ylim(min(seen) - room, max(seen) + room)
        axes.set_title(f"bits/dim; held out, best: {best_of(valid):.4f}" if valid else "bits/dim")
    axes.set_ylabel("bits/dim")


def _draw_rates(axes: Axes, train: Lines, valid: Lines) -> None:
    """The rate of the latents over the steps; with a committed rate, that rate and the one in training, too."""
    _plot(axes, valid, "rate_bits_per_dim", RATE, "o-", "latents, held out")
    committed = [line for line in train if "committed_bits_per_dim" in line]
    if committed:
        learning = [{"step": line["step"], "rate": sum_of_sites(line) - pixels_of(line)} for line in committed]
        _plot(axes, learning, "rate", TRAIN, "-", "latents, training images")
        _plot(axes, committed, "committed_bits_per_dim", TRAIN, "--", "committed rate")
        axes.legend(loc="upper right")
    axes.set_ylabel("bits/dim of latents")
    axes.set_ylim(bottom=0)


def sum_of_sites(line: Mapping[str, Any]) -> float:
    """Bits/dim of all sites together in a line of kind `train`."""
    return math.fsum(value for key, value in line.items() if key.startswith("train_"))


def pixels_of(line: Mapping[str, Any]) -> float:
    """Bits/dim of the pixels in a line of kind `train`: the last of its sites."""
    last: float = [value for key, value in line.items() if key.startswith("train_")][-1]
    return last


def best_of(valid: Lines) -> float:
    """The lowest bits/dim of the held-out images; NaN if there is none."""
    return min((float(line["valid_bits_per_dim"]) for line in valid), default=math.nan)


def _mark(axes: Axes, lines: Mapping[str, Lines]) -> None:
    """Vertical lines where rounding starts, and where the run was rolled back."""
    rounded = next((line["step"] for line in lines["train"] if line.get("exact")), None)
    if rounded is not None:
        axes.axvline(rounded, color="black", ls="--", lw=1, label="rounding starts")
    for number, line in enumerate(lines["rolled_back"]):
        axes.axvline(line["step"], color="red", ls=":", lw=1, label="" if number else "rolled back")


def draw_samples(images: NDArray[np.uint8], path: Path) -> None:
    """Draw images (N, H, W, C) uint8, C = 1 or 3, on one sheet, row by row; small ones enlarged.

    Raises OutputError if the file cannot be written.
    """
    sheet = sheet_of(images)
    with new_file(path, force=True) as (_, stream):
        Image.fromarray(sheet[..., 0] if sheet.shape[2] == 1 else sheet).save(stream, "PNG")


def sheet_of(images: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """The sheet of `draw_samples` as pixels (H, W, C), about as many images wide as high.

    >>> sheet_of(np.zeros((5, 28, 20, 3), np.uint8)).shape
    (174, 188, 3)
    """
    count, height, width, channels = images.shape
    scale = max(1, TILE // max(height, width))
    columns = math.ceil(math.sqrt(count))
    rows = -(-count // columns)
    down, across = scale * height + GAP, scale * width + GAP
    sheet = np.full((rows * down + GAP, columns * across + GAP, channels), GREY, np.uint8)
    for number, image in enumerate(images):
        top, left = (number // columns) * down + GAP, (number % columns) * across + GAP
        large = image.repeat(scale, axis=0).repeat(scale, axis=1)
        sheet[top : top + down - GAP, left : left + across - GAP] = large
    return sheet
