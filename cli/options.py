"""Options that several commands share."""

from __future__ import annotations

import os
from collections.abc import Callable
from typing import Any

import click


def coding_options(function: Callable[..., Any]) -> Callable[..., Any]:
    """Add the options of commands that code pixels: --jobs, --device, --json and --quiet."""
    options = (
        click.option(
            "--jobs",
            type=click.IntRange(1),
            default=usable_cores,
            metavar="N",
            help="Threads, or worker processes for codecs that need PyTorch (default: one per core).",
        ),
        click.option(
            "--device", type=click.Choice(["auto", "cpu", "cuda"]), default="auto", help="Where networks run."
        ),
        click.option("--json", "as_json", is_flag=True, help="Print a summary as JSON on stdout."),
        click.option("-q", "--quiet", is_flag=True, help="Print errors only."),
    )
    for option in reversed(options):
        function = option(function)
    return function


def usable_cores() -> int:
    """The number of processor cores that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
