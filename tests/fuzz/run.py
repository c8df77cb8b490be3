"""Fuzzing: bytes that are changed again and again, for whatever is no error of bbcodec, or takes too long.

    python tests/fuzz/run.py TARGET --minutes M     guided by coverage; needs atheris (pip install atheris)
    python tests/fuzz/run.py TARGET --mutations N   N changes of each seed, always the same

TARGET is a function of `targets.py`, or `all`. Bytes that led to a failure go to `findings/TARGET/`, one for each place
in the code; they are tried again before the seeds, and tests/fuzz/test_fuzz.py does so too. Minutes are those of a
processor. What was done is added to benchmarks/results/fuzzing.json.
"""

import argparse
import json
import os
import random
import resource
import subprocess
import sys
import tempfile
import time
import traceback
from collections.abc import Callable, Iterator
from contextlib import nullcontext
from hashlib import blake2b
from importlib.util import find_spec
from pathlib import Path
from typing import Any

HERE = Path(__file__).resolve().parent
RESULT = HERE.parents[1] / "benchmarks" / "results" / "fuzzing.json"
NAMES = (
    "container",
    "manifest",
    "directory",
    "chunk",
    "codec_file",
    "stack",
    "image_reader",
    "skeleton",
    "file_stream",
    "arrays",
    "predicted",
)
SECONDS = 10  # of processor time, for one input
MEMORY_MB = 2048
MOST_BYTES = 2**16  # of an input
COMPILED = "bbcodec.coder.compilation import"  # in modules of what numba compiles, which must stay as it is
COMPILED_ROOMS = ("coder/kernels", "engine", "exact")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("target", choices=[*NAMES, "all"])
    parser.add_argument("--minutes", type=float, help="how long, guided by coverage")
    parser.add_argument("--mutations", type=int, help="how many changes of each seed, without atheris")
    parser.add_argument("--corpus", type=Path, help="folder for inputs that reach new code, to go on with later")
    parser.add_argument("--stats", type=Path, help=argparse.SUPPRESS)  # of the process that fuzzes
    options = parser.parse_args()
    names = NAMES if options.target == "all" else (options.target,)
    if options.stats:
        guided(options.target, options.minutes, options.corpus, options.stats)
    elif options.mutations is not None:
        limit_memory()
        failures = [failure for name in names for failure in mutated(name, options.mutations)]
        sys.exit("\n".join(failures) or 0)
    elif options.minutes is None or find_spec("atheris") is None:
        sys.exit("fuzzing needs --minutes and the package atheris (pip install atheris), or --mutations and neither")
    else:
        for name in names:
            add_result(name, fuzz(name, options.minutes / len(names), options.corpus))


# --- one input -------------------------------------------------------------------------------------------------------


def failure_of(target: Callable[[bytes], None], data: bytes, *, again: bool = False) -> str:
    """What is wrong with how a target ends, in a line and the trace behind it; empty if nothing is.

    What is slow is tried again, as the first input of a kind has machine code compiled.
    """
    from bbcodec.errors import BBCodecError

    start = time.process_time()
    try:
        target(data)
    except BBCodecError:
        pass
    except Exception as error:
        last = traceback.extract_tb(error.__traceback__)[-1]
        return f"{type(error).__name__} in {Path(last.filename).name}, {last.name}\n{traceback.format_exc()}"
    seconds = time.process_time() - start
    if seconds > SECONDS and not again:
        return failure_of(target, data, again=True)
    return f"slow: {seconds:.0f} seconds" if seconds > SECONDS else ""


def keep(name: str, data: bytes, failure: str) -> None:
    """Keep an input that led to a failure, unless there is one for the same place."""
    place = failure.partition("\n")[0]
    path = HERE / "findings" / name / blake2b(place.encode(), digest_size=6).hexdigest()
    if not path.exists():
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(data)
        print(f"{path}\n{failure}", file=sys.stderr, flush=True)


def kept(name: str) -> Iterator[Path]:
    """The findings and seeds of a target."""
    for folder in ("findings", "seeds"):
        yield from sorted((HERE / folder / name).glob("*"))


# --- changes without guidance ----------------------------------------------------------------------------------------


def mutated(name: str, count: int) -> Iterator[str]:
    """Failures of a target on all that is kept for it and on `count` changes of each, at most one of each kind."""
    import targets

    seen = set()
    for path in kept(name):
        rng, content = random.Random(f"{name} {path.name}"), path.read_bytes()
        for number in range(count + 1):
            data = changed(rng, content) if number else content
            failure = failure_of(targets.TARGETS[name], data)
            if failure and failure.partition("\n")[0] not in seen:
                seen.add(failure.partition("\n")[0])
                yield f"{name}, change {number} of {path.relative_to(HERE)}: {failure}"


def changed(rng: random.Random, content: bytes) -> bytes:
    """One to four changes: of a bit, a byte, a number; bytes lost, doubled or moved."""
    data = bytearray(content)
    for _ in range(rng.randrange(1, 5)):
        at, end = sorted((rng.randrange(len(data) + 1), rng.randrange(len(data) + 1)))
        end = min(end, at + 32)
        match rng.randrange(6):
            case 0 if at < len(data):
                data[at] ^= 1 << rng.randrange(8)
            case 1 if at < len(data):
                data[at] = rng.choice((0, 1, 127, 128, 255, rng.randrange(256)))
            case 2:
                number = rng.choice((0, 1, 2**16, 2**24, 2**31 - 1, 2**31, 2**32 - 1, rng.randrange(2**32)))
                data[at : at + 4] = number.to_bytes(4, rng.choice(("little", "big")))
            case 3:
                del data[at:end]
            case 4:
                data[at:at] = data[at:end] * rng.choice((1, 2, 50))
            case _:
                to = rng.randrange(len(data) + 1)
                data[to : to + end - at] = data[at:end]
    return bytes(data)


def limit_memory() -> None:
    """Let this process take so much memory, and no more."""
    held = int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
    resource.setrlimit(resource.RLIMIT_AS, (held + (MEMORY_MB << 20),) * 2)


# --- changes guided by coverage --------------------------------------------------------------------------------------


def fuzz(name: str, minutes: float, corpus: Path | None) -> dict[str, Any]:
    """Fuzz a target in processes of its own, each until it crashes: executions, minutes, findings."""
    done: dict[str, Any] = {"executions": 0, "minutes": 0.0, "findings": 0}
    before = set((HERE / "findings" / name).glob("*"))
    with tempfile.TemporaryDirectory() if corpus is None else nullcontext(corpus) as place:
        folder, stats = Path(place, name), Path(place, f"{name}.json")
        folder.mkdir(parents=True, exist_ok=True)
        while minutes - done["minutes"] > 0.05:
            stats.unlink(missing_ok=True)
            words = [name, "--minutes", str(minutes - done["minutes"]), "--corpus", folder, "--stats", stats]
            code = subprocess.run([sys.executable, Path(__file__).resolve(), *words]).returncode
            if not stats.exists():
                sys.exit(f"fuzzing {name} left with {code} before it began")
            executions, spent = json.loads(stats.read_text())
            done["executions"] += executions
            done["minutes"] += spent
    done["minutes"] = round(done["minutes"], 2)
    done["findings"] = len(set((HERE / "findings" / name).glob("*")) - before)
    return done


def guided(name: str, minutes: float, corpus: Path, stats: Path) -> None:
    """Fuzz a target in this process, and end it."""
    import atheris

    package = HERE.parents[1] / "bbcodec"
    sources = {path for room in COMPILED_ROOMS for path in (package / room).glob("*.py")}
    sources |= {path for path in package.rglob("*.py") if COMPILED in path.read_text()}
    compiled = [".".join(path.relative_to(HERE.parents[1]).with_suffix("").parts) for path in sources]
    with atheris.instrument_imports(include=["bbcodec"], exclude=compiled):  # which tells what lines are reached
        import targets
    target, executions = targets.TARGETS[name], 0

    def one(data: bytes) -> None:
        nonlocal executions
        failure = failure_of(target, data)
        if failure:
            keep(name, data, failure)
        executions += 1
        spent = time.process_time() / 60
        if executions % 256 == 1 or spent >= minutes:
            stats.write_text(json.dumps([executions, spent]))
        if spent >= minutes:
            targets.PLACE.cleanup()
            os._exit(0)

    found = HERE / "findings" / name
    found.mkdir(parents=True, exist_ok=True)
    settings = {
        "max_len": MOST_BYTES, "timeout": 30 * SECONDS, "rss_limit_mb": MEMORY_MB, "artifact_prefix": f"{found}/",
        "verbosity": 1, "report_slow_units": 30 * SECONDS,
    }  # fmt: skip
    inputs = [corpus, found, HERE / "seeds" / name]
    atheris.Setup([name, *(f"-{key}={value}" for key, value in settings.items()), *map(str, inputs)], one)
    atheris.Fuzz()


def add_result(name: str, done: dict[str, Any]) -> None:
    """Add what was done to the result."""
    sys.path.insert(0, str(HERE.parents[1] / "benchmarks"))
    from common import environment

    known = json.loads(RESULT.read_text())["targets"] if RESULT.exists() else {}
    before = known.get(name, {"executions": 0, "minutes": 0.0, "findings": 0})
    known[name] = {key: round(before[key] + done[key], 2) for key in before}
    total = {key: round(sum(one[key] for one in known.values()), 2) for key in before}
    record = {"command": "python tests/fuzz/run.py all --minutes M", "data": "tests/fuzz/seeds",
              "environment": environment(), "sum": total, "targets": dict(sorted(known.items()))}  # fmt: skip
    RESULT.write_text(json.dumps(record, indent=1) + "\n")
    print(f"{name}: {done}", flush=True)


if __name__ == "__main__":
    main()
