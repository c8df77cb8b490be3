"""Tables of what must never happen and did not: `reliability.py`, and fuzzing (`tests/fuzz/run.py`)."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from typing import Any, Final

Result = dict[str, Any]

ENDS: Final = ("told", "harmless", "repaired")  # of cases; all others must not be
KINDS: Final = {
    "damaged": "damaged archives, of 21 kinds, many with checksums made right",
    "hostile": "hostile archives, their checksums right",
    "codec": "hostile codecs",
    "hole": "64 kB holes of 10 MB archives with `--recovery 5`",
    "full disk": "full disks",
    "killed": "kills, and the same command again",
}


def reliability(result: Result) -> Iterator[str]:
    """Cases by kind, how they ended, and the most processor time that one took."""
    rows = {name: Counter[str]() for name in KINDS}
    seconds = dict.fromkeys(KINDS, 0.0)
    for kind, row in result["kinds"].items():
        name = kind.partition(": ")[0]
        seconds[name] = max(seconds[name], row["seconds"])
        rows[name].update({key: count for key, count in row.items() if key != "seconds"})
    yield "| cases | number | told | harmless | repaired | must not be | seconds, at most |"
    yield "| --- | ---: | ---: | ---: | ---: | ---: | ---: |"
    for name, row in rows.items():
        if row["cases"]:
            good = [row[end] for end in ENDS]
            cells = [row["cases"], *good, row["cases"] - sum(good)]
            most = "" if name == "killed" else f"{seconds[name]:.1f}"  # theirs is the commands' start
            yield f"| {KINDS[name]} | {' | '.join(f'{cell:,}' for cell in cells)} | {most} |"
    yield ""
    yield (
        "What must not be: a file missing or wrong without a word, a file lost whose chunks are whole, an exception "
        "that is none of bbcodec's, a crash, more than 2 GiB or 10 seconds, something left of a killed run after the "
        "next."
    )


def fuzzing(result: Result) -> Iterator[str]:
    """Inputs, minutes and findings by target."""
    yield "| target | inputs | minutes of a processor | findings |"
    yield "| --- | ---: | ---: | ---: |"
    for name, row in [*result["targets"].items(), ("**all**", result["sum"])]:
        yield f"| {name} | {row['executions']:,} | {row['minutes']:.1f} | {row['findings']} |"
