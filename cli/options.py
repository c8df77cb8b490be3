"""Options that several commands share."""

from __future__ import annotations

import re
from collections.abc import Callable
from functools import wraps
from typing import Any, Final

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


SIZE_UNITS: Final = {"": 1, "K": 2**10, "M": 2**20, "G": 2**30, "T": 2**40}


def size(text: str) -> int:
    """A number of bytes from text such as `500M` or `2G`: units of 1,024. Raises click.BadParameter."""
    match = re.fullmatch(r"([0-9]{1,15})([KMGT]?)", text.strip(), re.IGNORECASE)
    if not match:
        raise click.BadParameter(f"{text!r} is not a size: expected a whole number of bytes, or as 500M or 2G")
    return int(match[1]) * SIZE_UNITS[match[2].upper()]


def limit_options(function: Callable[..., Any]) -> Callable[..., Any]:
    """Add the options of commands that decode archives, as one argument `limits`: what a stranger's may cost."""

    @click.option("--max-memory", type=size, metavar="SIZE", help="What one chunk or codec may take (default: 2G).")
    @click.option("--max-work", type=click.IntRange(0), metavar="N", help="Billions of multiply-adds that testing a "
                  "codec in the archive may take (default: 50, and more for larger ones).")  # fmt: skip
    @click.option("--no-embedded-codec", is_flag=True, help="Refuse a codec that the archive carries.")
    @wraps(function)
    def limited(max_memory: int | None, max_work: int | None, no_embedded_codec: bool, **others: Any) -> Any:
        from bbcodec.options import Limits

        limits = Limits(
            memory=Limits.memory if max_memory is None else max_memory,
            output=others.pop("max_output", None),
            work=None if max_work is None else max_work * 10**9,
            embedded_codecs=not no_embedded_codec,
        )
        return function(limits=limits, **others)

    return limited


def usable_cores() -> int:
    """The number of processor cores that this process may use."""
    from bbcodec.parallel import usable_cores

    return usable_cores()
