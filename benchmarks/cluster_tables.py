"""Tables of clusters: killed workers, what a driver does, and on paper what 100 million images take."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final

from speed_tables import with_options

Result = dict[str, Any]

IMAGES: Final = 100_000_000
MACHINES: Final = (1, 10, 100)
CORES: Final = 32  # of a machine, each as fast as one of those that were measured
COMMANDS: Final = ("--fast", "")  # options of `compress`
RESULTS: Final = Path(__file__).resolve().parent / "results"


def clusters(result: Result) -> Iterator[str]:
    """What was measured, and what follows from it and from `speed.json`."""
    yield "| workers killed | chunks | by | equal to the archive of one machine |"
    yield "| ---: | ---: | --- | --- |"
    for kind, row in result["kills"].items():
        equal = "yes, byte for byte" if row["equal_to_the_local_archive"] else "NO"
        yield f"| {row['workers_killed']} | {row['chunks']} | {kind.capitalize()} | {equal} |"
    driver = result["driver"]
    parts = driver["milliseconds_an_image"]
    yield ""
    yield (
        f"What a driver does for each of {driver['images']:,} images of {driver['pixels_bytes_an_image']:,} bytes of "
        f"pixels: {parts['all']} ms in all, of which {parts['find']} to find it, "
        f"{parts['compare_those_of_equal_size']} to compare files of equal size, {parts['read_heads_and_plan']} to "
        f"read its head and plan, and {parts['check']} to check the archive against digests of what workers checked; "
        f"{driver['memory_bytes_an_image']} bytes of memory; "
        f"{driver['sent_bytes_an_image']} bytes sent to workers, and {driver['received_bytes_an_image']:,} received."
    )
    yield ""
    yield from on_paper(driver, json.loads((RESULTS / "speed.json").read_text(encoding="utf-8"))["commands"])


def on_paper(driver: Result, speed: Result) -> Iterator[str]:
    """Hours and core hours of 100 million images."""
    pixels = IMAGES * driver["pixels_bytes_an_image"] / 1e6
    alone = IMAGES * driver["milliseconds_an_image"]["all"] / 1000 / 3600
    yield (
        f"On paper, {IMAGES // 10**6} million such images ({pixels / 1e6:.2f} TB of pixels), on machines of {CORES} "
        "cores, each as fast as one of those in `speed.json`, which compressed photos with two threads. One job on all "
        "machines: what its workers take, who decode what they coded, and what its driver takes meanwhile. "
        "Or a job on each machine, which codes nothing while it does what a driver does, and decodes what it wrote:"
    )
    yield ""
    yield "| | machines | one job: workers | driver | a job on each | core hours, coding | coding and decoding |"
    yield "| --- | ---: | ---: | ---: | ---: | ---: | ---: |"
    for words in COMMANDS:
        rates = speed[words]["by_threads"]["2"]
        coding, checked = (pixels / (rates[key] / 2) / 3600 for key in ("compress", "compress_checked"))
        for machines in MACHINES:
            hours = [checked / machines / CORES, alone, (checked / CORES + alone) / machines]
            cells = " | ".join(f"{value:.2f} h" for value in hours)
            yield f"| {with_options(words)} | {machines} | {cells} | {coding:,.0f} | {checked:,.0f} |"
    yield ""
    yield (
        f"What breaks first is the driver of one job: it is done with {IMAGES / alone / 3600:,.0f} images a second, "
        f"needs {IMAGES * driver['memory_bytes_an_image'] / 1e9:.0f} GB of memory for the list of all, and writes "
        f"{IMAGES * driver['received_bytes_an_image'] / 1e12:.1f} TB of archive by itself. Files of equal size are "
        "compared, and in so large a set most have company: it then reads them all first, "
        f"{IMAGES * driver['file_bytes_an_image'] / 1e12:.1f} TB, which is not in its hours. So a set of this size is "
        "cut, and each machine does a job of its own; such jobs share nothing. The cost is the core hours times the "
        "price of one."
    )
