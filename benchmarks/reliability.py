"""Damage, hostile archives and codecs, holes, full disks, kills: how often something goes wrong that must not.

    python benchmarks/reliability.py --hours 2 [--seed 1]
    python benchmarks/reliability.py --damaged 10000 --hostile 1000 --codec 500 --full-disk 500 --hole 200 --killed 200

Either all kinds for some hours, or so many cases of each in all: what the result already has is not done again, so
that an interrupted campaign goes on where it was. Each case (`harm.py`, `hostile.py`) runs in a process of its own,
with 2 GiB of memory and 10 seconds of processor time, and ends in one of these ways:

    told       an error of bbcodec, and every file that was restored all the same is right
    harmless   no error, and all files are right
    repaired   the archive is whole again, bit for bit
    silent     no error, but a file is missing                      must not be
    wrong      a file was restored with other content               must not be
    lost       a file is missing whose chunks are whole             must not be
    bug        an exception that is no error of bbcodec             must not be
    crash      ended by a signal, for want of memory or otherwise   must not be
    slow       more than 10 seconds                                 must not be
    stray      something is left of a killed run after the next     must not be

Hostile archives have no right content: there, only files of chunks that were left alone are compared. Cases follow from
--seed, their kind and their number alone; --case does one of them again.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import resource
import shutil
import signal
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, Final

from common import HERE, command, environment
from harm import FAST_CODEC, Case, Corpus, damaged_case, full_disk_case, hole_case, kill_case, make_corpus
from hostile import FAST_CODECS, codec_case, hostile_case

import bbcodec

SECONDS: Final = 10  # of processor time
WAITING: Final = 12  # times as much may pass
MEMORY: Final = 2**31
SAVED_EACH: Final = 60  # seconds
FORBIDDEN: Final = ("silent", "wrong", "lost", "bug", "crash", "slow", "stray")
OUTCOMES: Final = ("told", "harmless", "repaired", *FORBIDDEN)
CASES: Final[dict[str, tuple[Case, int]]] = {  # and how often of each hundred, where hours are given
    "damaged": (damaged_case, 60), "hostile": (hostile_case, 20), "codec": (codec_case, 10),
    "full disk": (full_disk_case, 5), "hole": (hole_case, 4), "killed": (kill_case, 1),
}  # fmt: skip

Result = dict[str, Any]


def outcome_of(work: Callable[[], str], seconds: int = SECONDS) -> tuple[str, str, float]:
    """How a case ends in a process of its own, what it says of that, and the processor time that it took."""
    reading, writing = os.pipe()
    child = os.fork()
    if not child:
        os.close(reading)
        resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
        resource.setrlimit(resource.RLIMIT_CPU, (seconds, seconds + 1))
        held = int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
        resource.setrlimit(resource.RLIMIT_AS, (held + MEMORY, held + MEMORY))
        told = "bug"
        try:
            told = work()
        except BaseException as error:
            told = f"bug {type(error).__name__}: {error}"[:300]
        finally:
            os.write(writing, told.encode())
            os._exit(0)
    os.close(writing)
    signal.signal(signal.SIGALRM, lambda *_: os.kill(child, signal.SIGKILL))
    signal.alarm(WAITING * seconds)  # for what sleeps
    with open(reading, "rb") as pipe:
        told = pipe.read().decode()
    _, status, used = os.wait4(child, 0)
    signal.alarm(0)
    spent = used.ru_utime + used.ru_stime
    if not told:
        return ("slow" if os.WTERMSIG(status) in (signal.SIGXCPU, signal.SIGKILL) else "crash"), "", spent
    outcome, _, why = told.partition(" ")
    return outcome, why, spent


class Campaign:
    """Cases done one after another, and what came of them; makes its corpus in a folder."""

    def __init__(self, seed: int, folder: Path, done: Result, codec: bool = True) -> None:
        """done: what an earlier campaign of this seed has come to."""
        self._folder = folder
        self.seed, self.done = seed, done
        done.setdefault("kinds", {})
        done.setdefault("found", [])
        self._compiled = False
        self.corpus: Corpus = make_corpus(folder, seed, FAST_CODEC if codec else "none")

    def count(self, name: str) -> int:
        """How many cases of a kind are done."""
        return sum(one["cases"] for kind, one in self.done["kinds"].items() if kind.startswith(f"{name}: "))

    def do(self, name: str, number: int | None = None) -> tuple[str, str, str]:
        """The next case of a kind, or case `number`, which is not counted: what it is, how it ends, and why."""
        if name == "codec" and not self._compiled:
            compile_codecs()
            self._compiled = True
        counted, number = number is None, self.count(name) if number is None else number
        rng, folder = random.Random(f"{self.seed} {name} {number}"), self._folder / "case"
        folder.mkdir()
        kind, work = CASES[name][0](self.corpus, rng, folder)
        outcome, why, spent = outcome_of(work)
        shutil.rmtree(folder, ignore_errors=True)
        if counted:
            row = self.done["kinds"].setdefault(f"{name}: {kind}", {"cases": 0, "seconds": 0.0})
            row["cases"] += 1
            row[outcome] = row.get(outcome, 0) + 1
            row["seconds"] = max(row["seconds"], round(spent, 2))
            if outcome in FORBIDDEN:
                case = {"case": f"{name} {number}", "kind": kind, "outcome": outcome, "why": why}
                self.done["found"].append(case)
        return kind, outcome, why

    def result(self) -> Result:
        """Counts of outcomes, in all and by kind, with the most seconds of one, and all that must not be."""
        kinds = {kind: self.done["kinds"][kind] for kind in sorted(self.done["kinds"])}
        return {
            "seed": self.seed,
            "cases": sum(one["cases"] for one in kinds.values()),
            "outcomes": {outcome: sum(one.get(outcome, 0) for one in kinds.values()) for outcome in OUTCOMES},
            "kinds": kinds,
            "found": self.done["found"],
        }


def compile_codecs() -> None:
    """Compile what codecs need, and import torch: here, once, not in every case."""
    for one in FAST_CODECS:
        for engine in (True, False):
            bbcodec.load_codec(one.content, "cpu", engine)


def wanted(campaign: Campaign, hours: float, counts: dict[str, int]) -> Iterator[str]:
    """Which kind of case comes next, until all counts are reached, or else the time is up."""
    for name, count in counts.items():
        while campaign.count(name) < count:
            yield name
    end, rng = time.monotonic() + 3600 * hours, random.Random(f"{campaign.seed} {campaign.result()['cases']}")
    while time.monotonic() < end and not counts:
        yield rng.choices(list(CASES), [share for _, share in CASES.values()])[0]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--hours", type=float, default=0.0, help="all kinds, so long")
    for name in CASES:
        parser.add_argument(f"--{name.replace(' ', '-')}", type=int, default=0, help="how many of these, in all")
    parser.add_argument("--seed", type=int, default=0, help="another seed gives other cases (0)")
    parser.add_argument("--case", help='one case again, as "damaged 17"; nothing is written')
    parser.add_argument("--out", type=Path, default=HERE / "results" / "reliability.json", help="where the result goes")
    options = parser.parse_args()
    counts = {name: getattr(options, name.replace(" ", "_")) for name in CASES}
    known = json.loads(options.out.read_text()) if options.out.exists() else {}
    done = known if known.get("seed") == options.seed and not options.case else {}
    with tempfile.TemporaryDirectory(prefix="bbcodec-reliability-") as place:
        campaign = Campaign(options.seed, Path(place), done)
        if options.case:
            name, _, number = options.case.rpartition(" ")
            sys.exit(" - ".join(campaign.do(name, int(number))))
        saved = time.monotonic()
        for name in wanted(campaign, options.hours, {name: count for name, count in counts.items() if count}):
            campaign.do(name)
            if time.monotonic() - saved > SAVED_EACH:
                write(options, parser, campaign.result())
                saved = time.monotonic()
    write(options, parser, campaign.result())
    sys.exit(any(campaign.result()["outcomes"][outcome] for outcome in FORBIDDEN))


def write(options: argparse.Namespace, parser: argparse.ArgumentParser, result: Result) -> None:
    """Write the result with its command and environment; whatever ends this meanwhile, there is one."""
    record = {"command": command(options, parser, ""), "data": "made from the seed", "environment": environment()}
    new = options.out.with_suffix(".new")
    new.write_text(json.dumps({**record, **result}, indent=1) + "\n")
    new.replace(options.out)


if __name__ == "__main__":
    main()
