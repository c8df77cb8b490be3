"""Tables of speeds for `readme_table.py`: results of speed, profiling, engine, scaling, frontier and device."""

from __future__ import annotations

import math
from collections.abc import Iterator
from itertools import groupby
from typing import Any

Result = dict[str, Any]
ENGINE_PARTS = ("net", "distribution_in", "rans_in", "distribution_and_rans_out")


def two_digits(rate: float) -> str:
    """A rate above 0 to two significant digits, or to whole numbers: 0.56, 7.0, 23, 120."""
    return f"{rate:,.{max(0, 1 - math.floor(math.log10(rate)))}f}"


def thread_counts(speed: Result) -> list[str]:
    """The numbers of threads that something was measured with, smallest first."""
    measured = speed["commands"] | speed["codecs"] | speed["peers"]
    return sorted({count for one in measured.values() for count in one["by_threads"]}, key=int)


def with_options(words: str) -> str:
    """A command with some options of `compress`, in words."""
    return f"`{words}`" if words else "by default"


def named(threads: str) -> str:
    """So many threads, in words."""
    return f"{threads} thread{'s' if threads != '1' else ''}"


def two_ways(rates: Result, threads: list[str], into: str, out: str) -> list[str]:
    """Cells of rates both ways, by numbers of threads; empty where nothing was measured."""
    found = [rates.get(count, {}).get(way) for count in threads for way in (into, out)]
    return ["" if rate is None else two_digits(rate) for rate in found]


def speed(result: Result) -> Iterator[str]:
    """MB/s."""
    threads = thread_counts(result)
    ways = "".join(f" in, {named(count)} | out |" for count in threads)
    line = "| --- |" + " ---: | ---: |" * len(threads)
    yield f"| {result['unit']} |{ways}"
    yield line
    yield from rates_of(result, threads)
    for name, one in result["peers"].items():
        yield f"| {PEERS[name]} | {' | '.join(two_ways(one['by_threads'], threads, 'encode', 'decode'))} |"
    yield ""
    yield "Commands include start-up; peers code whole photos side by side."
    told = [
        f"{with_options(words)} {one['one_photo_seconds']['compress_checked']:.2f} s to compress and check, "
        f"{one['one_photo_seconds']['decompress']:.2f} s to restore"
        for words, one in result["commands"].items()
    ]
    yield f"One photo from the shell, seconds of wall time of the third run: {'; '.join(told)}."
    digits = result["digits"]
    if digits["images"]:
        yield ""
        yield f"| {digits['images']:,} digits, images/s |{ways}"
        yield line
        yield from rates_of(digits, threads)
        yield ""
        sizes = [f"{with_options(words)} {one['bits_per_dim']:.4f}" for words, one in digits["commands"].items()]
        yield f"Bits/dim of the digits: {', '.join(sizes)}."


def rates_of(result: Result, threads: list[str]) -> Iterator[str]:
    """Rows of commands and of codecs."""
    for words, one in result["commands"].items():
        for what, *both in COMMAND_ROWS:
            cells = two_ways(one["by_threads"], threads, *both)
            yield f"| commands, {with_options(words)}{what} | {' | '.join(cells)} |"
    for name, one in result["codecs"].items():
        yield f"| `{name}`, the codec alone | {' | '.join(two_ways(one['by_threads'], threads, 'encode', 'decode'))} |"


COMMAND_ROWS = ((" (result not checked)", "compress", "decompress"), ("", "compress_checked", ""))
PEERS = {
    "png": "PNG (Pillow, optimize)",
    "webp_m6": "WebP m6",
    "jpegxl_e7": "JPEG XL e7",
    "jpegxl_e9": "JPEG XL e9",
}


def profile(result: Result) -> Iterator[str]:
    """Where one command's time goes."""
    engine, pixels = result["engine"], result["pixels"]
    for command in ("compress", "decompress"):
        told = result[command]
        yield f"| `{command}`, `{result['codec']}`, {pixels / 1e6:.2f} megapixels | ms of {told['whole_ms']:,} |"
        yield "| --- | ---: |"
        yield f"| process starts and ends | {told['start_and_end_of_the_process_ms']:,} |"
        for phase, rooms in told["ms"].items():
            for room, spent in rooms.items():
                yield f"| {phase}: {room} | {spent:,} |"
        yield ""
    yield "One job on one core, one run; what takes less than 0.2 % is left out."
    if engine:
        each = engine["us_per_pixel"]
        yield (
            f"The engine alone ({engine['kernels']}), microseconds a pixel: net {each['net']:.2f}; distribution "
            f"{each['distribution_in']:.2f} and rANS {each['rans_in']:.2f} in, together "
            f"{each['distribution_and_rans_out']:.2f} out; whole {each['in']:.2f} in, {each['out']:.2f} out. "
            f"{floor_of(engine)}"
        )


def floor_of(row: Result) -> str:
    """The floor of a net in words."""
    amounts = row["multiply_adds"]
    return (
        f"The floor is {row['floor_us_per_pixel']:.2f}: {amounts['inner']:,} inner multiply-adds a pixel at "
        f"{row['inner_gmac_per_s']} and {amounts['wide']:,} wide ones at {row['wide_gmac_per_s']} GMAC/s."
    )


def engine(result: Result) -> Iterator[str]:
    """Where the compiled engine spends its time."""
    yield "| net | kernels | products alone | net | distribution in | rANS in | distribution and rANS out | in | out |"
    yield "| --- | --- | ---: | ---: | ---: | ---: | ---: | ---: | ---: |"
    for row in result["rows"]:
        each = row["us_per_pixel"]
        parts = [row["floor_us_per_pixel"], *(each[part] for part in ENGINE_PARTS)]
        speeds = [f"{row['mb_per_s'][way]:.1f} MB/s" for way in ("in", "out")]
        yield f"| {row['net']} | {row['kernels']} | " + " | ".join([*(f"{part:.2f}" for part in parts), *speeds]) + " |"
    yield ""
    yield "Microseconds of CPU time a pixel, one thread, without files and start-up."


def scaling(result: Result) -> Iterator[str]:
    """Time and memory by size."""
    yield "| images | cores | s in, checked | s out | us a pixel in | out | MB of memory in | out |"
    yield "| --- | ---: | ---: | ---: | ---: | ---: | ---: | ---: |"
    ways = ("compress_checked", "decompress")
    for row in result["rows"]:
        cells = [f"{row['seconds'][way]:.2f}" for way in ways] + [f"{row['us_per_pixel'][way]:.2f}" for way in ways]
        cells += [f"{row['memory_mb'][way]:,}" for way in ways]
        yield f"| {row['images']:,} of {row['side']:,} x {row['side']:,} | {row['cores']} | {' | '.join(cells)} |"
    yield ""
    yield (
        f"With `{result['codec']}`. Times a pixel are above those of one image of 32 x 32. From a megapixel on, a "
        f"pixel takes at most {result['most_growth_of_time_a_pixel']:.2f} times as long in larger cases as in smaller "
        f"ones; memory of all processes is at most {result['most_memory_mb']:,} MB."
    )


def frontier(result: Result) -> Iterator[str]:
    """Local nets by bits/dim and speed."""
    for (images, steps), group in groupby(result["rows"], key=lambda row: (row["set"], row["steps"])):
        rows = sorted(group, key=lambda row: row["bits_per_dim"])
        yield f"| {FRONTIER_SETS[images]}, {steps:,} steps | parameters | bits/dim | us a pixel: net | MB/s in | out |"
        yield "| --- | ---: | ---: | ---: | ---: | ---: |"
        fastest = 0.0
        for row in rows:
            speed = row.get("speed")
            rates = [f"{speed['mb_per_s'][way]:.1f}" for way in ("in", "out")] if speed else ["", ""]
            cells = [f"{speed['us_per_pixel']['net']:.2f}" if speed else "", *rates]
            best = bool(speed) and speed["mb_per_s"]["out"] > fastest
            fastest = max(fastest, speed["mb_per_s"]["out"]) if speed else fastest
            name = f"**{row['arm']}**" if best else row["arm"]
            yield f"| {name} | {row['parameters']:,} | {row['bits_per_dim']:.4f} | {' | '.join(cells)} |"
        yield ""
    yield (
        "Names: hidden x inner channels, blocks with a 3 x 3 layer, and what differs from radius 3 and 5 joint "
        "components. Bold: no net above it decodes as fast. Equal steps, one run each, far from converged; small "
        "differences may be chance. Speeds: the compiled engine, one thread, without files and start-up; other nets "
        "have none."
    )
    loads = [row["speed"]["load_average"] for row in result["rows"] if row.get("speed")]
    if loads and max(loads) > IDLE_LOAD:
        yield f"Some speeds were measured while the machine was busy (load {max(loads):g})."


FRONTIER_SETS = {"photos": "photos", "cifar": "CIFAR-10"}
IDLE_LOAD = 1.5


def device(result: Result) -> Iterator[str]:
    """Codecs on an accelerator."""
    yield f"| on {result['device']} | known answers | equal messages | decoded right | MB/s in | out |"
    yield "| --- | --- | ---: | ---: | ---: | ---: |"
    for row in result["rows"]:
        if "failed" in row:
            yield f"| `{row['codec']}` | {row['failed']} | | | | |"
            continue
        rates = [two_digits(row["mb_per_s"][way]) for way in ("in", "out")]
        pairs = [f"{row['messages_equal']} of {row['of']}", f"{row['decoded_right']} of {row['decodings']}"]
        yield f"| `{row['codec']}` | {row['known_answers']} | {' | '.join(pairs + rates)} |"
