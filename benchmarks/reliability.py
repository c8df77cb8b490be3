"""Damage, hostile archives and codecs, kills, full disks: how often something goes wrong that must not.

    python benchmarks/reliability.py --hours 2 [--seed 1]

Each case runs in a process of its own, with 2 GiB of memory and 10 seconds of processor time, and ends in one of these
ways:

    told       an error of bbcodec, and every file that was restored all the same is right
    harmless   no error, and all files are right
    silent     no error, but a file is missing                      must not be
    wrong      a file was restored with other content               must not be
    bug        an exception that is no error of bbcodec             must not be
    crash      ended by a signal, for want of memory or otherwise   must not be
    slow       more than 10 seconds                                 must not be
    stray      something is left of a killed run after the next     must not be

Hostile archives have no right content: there, what is restored is not compared. Cases follow from --seed and their
number alone.
"""

from __future__ import annotations

import argparse
import os
import random
import resource
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass, fields, replace
from itertools import islice
from pathlib import Path
from typing import Any, Final

import numpy as np
from common import HERE, save
from PIL import Image

import bbcodec
from bbcodec.archive.format.container import ContainerWriter
from bbcodec.archive.format.index import Entry
from bbcodec.archive.read.archive import Archive
from bbcodec.codec.catalogue import parse_codec, shipped_codecs
from bbcodec.codec.pool import CodecPool, CodecSource
from bbcodec.errors import BBCodecError

SECONDS: Final = 10  # of processor time
WAITING: Final = 12  # times as much may pass
MEMORY: Final = 2**31
FORBIDDEN: Final = ("silent", "wrong", "bug", "crash", "slow", "stray")
FAST_CODEC: Final = "mnist-binary-fast-1"  # which is loaded in a moment
FAST_CODECS: Final = [codec for codec in shipped_codecs() if codec.card.get("fast")]
HOLE: Final = 2**16


# --- the corpus ------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Corpus:
    """An archive of some of everything, what is in it, and where its chunks lie (first and last byte, with frames)."""

    archive: bytes
    files: dict[str, bytes]
    chunks: list[tuple[int, int]]


def make_corpus(folder: Path, seed: int, codec: str = FAST_CODEC) -> Corpus:
    """Files of many kinds, some of them incompressible and equally long, as an archive that uses a codec."""
    rng = np.random.default_rng(seed)
    top = folder / "in"
    (top / "deep" / "er").mkdir(parents=True)
    for number in range(2):
        (top / f"equal{number}.bin").write_bytes(rng.bytes(2**17))
        (top / "deep" / f"large{number}.bin").write_bytes(rng.bytes(2**20 + 5))
    for number in range(12):
        (top / "deep" / "er" / f"{number}.txt").write_text(f"line {number}\n" * (number * 40))
        pixels = np.cumsum(rng.integers(-2, 3, (40, 50, 3)), 0).astype(np.uint8)
        Image.fromarray(pixels).save(top / f"{number}.png")
    np.save(top / "digits.npy", (rng.random((30, 28, 28)) < 0.2).astype(np.uint8))
    np.savez(top / "both.npz", one=pixels, two=np.arange(9))
    (top / "link").symlink_to("0.png")
    bbcodec.compress(top, folder / "a.bb", codec=codec)
    with Archive(folder / "a.bb") as archive:
        files = {name: archive.read_bytes(name) for name in archive.names}
        chunks = [(chunk.start, chunk.end) for chunk in archive._file.directory.chunks]
    return Corpus((folder / "a.bb").read_bytes(), files, chunks)


# --- damage ----------------------------------------------------------------------------------------------------------

Damage = Callable[[random.Random, bytearray, Corpus], None]


def _place(rng: random.Random, data: bytearray, length: int) -> int:
    return rng.randrange(max(1, len(data) - length))


def _fill(rng: random.Random, data: bytearray, length: int, content: bytes | None = None, step: int = 1) -> None:
    at = _place(rng, data, length) // step * step
    length = min(length, len(data) - at)
    data[at : at + length] = rng.randbytes(length) if content is None else content * length


def _cut_out(rng: random.Random, data: bytearray, length: int) -> None:
    at = _place(rng, data, length)
    del data[at : at + length]


def _insert(rng: random.Random, data: bytearray, content: bytes) -> None:
    at = _place(rng, data, 0)
    data[at:at] = content


def _flip(rng: random.Random, data: bytearray, first: int = 0, last: int | None = None) -> None:
    data[rng.randrange(first, len(data) if last is None else last)] ^= 1 << rng.randrange(8)


def _flips(rng: random.Random, data: bytearray) -> None:
    for _ in range(rng.randrange(2, 50)):
        _flip(rng, data)


def _swap(rng: random.Random, data: bytearray, corpus: Corpus, copy: bool) -> None:
    """Two chunks of equal length change places, or one is copied over the other; also two ranges of other bytes."""
    equal = [(a, b) for a in corpus.chunks for b in corpus.chunks if a < b and a[1] - a[0] == b[1] - b[0]]
    (a, b), (c, d) = rng.choice(equal)
    one, other = bytes(data[a:b]), bytes(data[c:d])
    data[a:b] = other
    if not copy:
        data[c:d] = one


def _move(rng: random.Random, data: bytearray) -> None:
    length = rng.choice([512, 4096, HOLE])
    at, to = _place(rng, data, length), _place(rng, data, length)
    data[to : to + length] = data[at : at + length]


def _reverse(rng: random.Random, data: bytearray) -> None:
    at = _place(rng, data, 4096)
    data[at : at + 4096] = data[at : at + 4096][::-1]


def _map(data: bytearray, old: bytes, new: bytes) -> None:
    data[:] = data.replace(old, new)


DAMAGES: Final[dict[str, Damage]] = {
    "a bit": lambda r, d, c: _flip(r, d),
    "several bits": lambda r, d, c: _flips(r, d),
    "a bit of the header": lambda r, d, c: _flip(r, d, 0, 13),
    "a bit of the end": lambda r, d, c: _flip(r, d, len(d) - 400),
    "a byte": lambda r, d, c: _fill(r, d, 1),
    "a sector of zeros": lambda r, d, c: _fill(r, d, 512, b"\0", 512),
    "a sector of noise": lambda r, d, c: _fill(r, d, 512, None, 512),
    "64 kB of zeros": lambda r, d, c: _fill(r, d, HOLE, b"\0", 4096),
    "64 kB of noise": lambda r, d, c: _fill(r, d, HOLE, None, 4096),
    "cut at the end": lambda r, d, c: d.__delitem__(slice(_place(r, d, 0), None)),
    "cut at the front": lambda r, d, c: d.__delitem__(slice(0, _place(r, d, 0))),
    "a byte lost": lambda r, d, c: _cut_out(r, d, 1),
    "a range lost": lambda r, d, c: _cut_out(r, d, r.randrange(1, HOLE)),
    "a byte more": lambda r, d, c: _insert(r, d, r.randbytes(1)),
    "a range more": lambda r, d, c: _insert(r, d, r.randbytes(r.randrange(1, HOLE))),
    "a range elsewhere": lambda r, d, c: _move(r, d),
    "a range backwards": lambda r, d, c: _reverse(r, d),
    "equal chunks swapped": lambda r, d, c: _swap(r, d, c, False),
    "an equal chunk copied": lambda r, d, c: _swap(r, d, c, True),
    "line ends of DOS": lambda r, d, c: _map(d, b"\n", b"\r\n"),
    "something behind": lambda r, d, c: d.extend(r.randbytes(r.randrange(1, HOLE))),
}  # fmt: skip


def damaged_case(corpus: Corpus, rng: random.Random, folder: Path) -> tuple[str, Callable[[], str]]:
    """A damaged archive, and what reading it comes to."""
    kind = rng.choice(list(DAMAGES))
    data = bytearray(corpus.archive)
    DAMAGES[kind](rng, data, corpus)
    (folder / "bad.bb").write_bytes(data)
    return kind, lambda: judged(folder, corpus.files)


def judged(folder: Path, files: dict[str, bytes] | None) -> str:
    """How restoring `bad.bb` ends. files: what is right; None: whatever."""
    told = False
    try:
        bbcodec.decompress(folder / "bad.bb", folder / "out")
    except BBCodecError:
        told = True
    if files is None:
        return "told" if told else "harmless"
    found = {str(path.relative_to(folder / "out")) for path in (folder / "out").rglob("*") if not path.is_dir()}
    for name in found:
        if name not in files or content_of(folder / "out" / name) != files[name]:
            return "wrong"
    return "told" if told else "harmless" if found == set(files) else "silent"


def content_of(path: Path) -> bytes:
    """What `Archive.read_bytes` gives of a restored file or link."""
    return os.fsencode(os.readlink(path)) if path.is_symlink() else path.read_bytes()


# --- hostile archives and codecs -------------------------------------------------------------------------------------


def hostile_case(corpus: Corpus, rng: random.Random, folder: Path) -> tuple[str, Callable[[], str]]:
    """An archive whose checksums are right, with one thing changed behind them."""
    (folder / "good.bb").write_bytes(corpus.archive)
    with Archive(folder / "good.bb") as archive:
        entries, records = list(archive.files), list(archive.codecs)
        chunks = [chunk for chunk in archive._file.directory.chunks if chunk.type != "D"]
        numbers = {id(chunk): n for n, chunk in enumerate(chunks)}
        renumbered = [numbers.get(id(chunk), 0) for chunk in archive._file.directory.chunks]
        entries = [entry.renumbered(renumbered) for entry in entries]
        bodies = [archive._file.body(chunk) for chunk in chunks]
    kind = rng.choice(["a chunk", "a field of an entry", "a place", "a type of a chunk"])
    types = [chunk.type for chunk in chunks]
    number = rng.randrange(len(chunks))
    if kind == "a chunk":
        body = bytearray(bodies[number])
        _flip(rng, body, 0, min(len(body), rng.choice([4, 20, 100, len(body)])))
        bodies[number] = bytes(body)
    elif kind == "a type of a chunk":
        types[number] = rng.choice("LSBC")
    else:
        which = rng.randrange(len(entries))
        entries[which] = changed_entry(rng, entries[which], kind)
    with suppress(BBCodecError, ValueError, TypeError, KeyError, IndexError, OverflowError):  # which nobody can write
        with open(folder / "bad.bb", "wb") as stream:
            writer = ContainerWriter(stream)
            for record in records:
                writer.add_codec(record.digest, record.name, None)
            for type_, body in zip(types, bodies, strict=True):
                writer.add(type_, body)
            writer.add_files(entries)
            writer.finish()
        return kind, lambda: judged(folder, None)
    return hostile_case(corpus, rng, folder)


NUMBERS: Final = (0, 1, 2, 3, 255, 2**8, 2**16, 2**24, 2**31, 2**32 - 1, 2**40, 2**63 - 1, -1)


def changed_entry(rng: random.Random, entry: Entry, kind: str) -> Entry:
    """An entry with another number in one field, or with other places."""
    if kind == "a place" and entry.places:
        places = list(entry.places)
        at = rng.randrange(len(places))
        changed: Any = {rng.choice(["chunk", "position", "length"]): rng.choice(NUMBERS)}
        places[at] = replace(places[at], **changed)
        return replace(entry, places=tuple(places * rng.choice([1, 1, 2, 1000])))
    numeric = [one.name for one in fields(entry) if type(getattr(entry, one.name)) is int]
    return replace(entry, **{rng.choice(numeric): rng.choice(NUMBERS)})


def codec_case(corpus: Corpus, rng: random.Random, folder: Path) -> tuple[str, Callable[[], str]]:
    """A codec file with bytes changed, as if it had come in an archive."""
    content = bytearray(rng.choice(FAST_CODECS).content)
    header = 8 + int.from_bytes(content[:8], "little")
    kind = rng.choice(["header", "tensors"])
    for _ in range(rng.randrange(1, 4)):
        if kind == "header":
            content[rng.randrange(8, header)] = rng.choice(b'0123456789-eE[]{}":,.')
        else:
            _fill(rng, content, rng.choice([1, 2, 64]))

    def load() -> str:
        try:
            source = CodecSource.of(parse_codec(bytes(content), "codec"), len(content))
            CodecPool([source], "cpu").codec(source)
        except BBCodecError:
            return "told"
        return "harmless"

    return f"codec, {kind}", load


# --- kills and full disks --------------------------------------------------------------------------------------------


def full_disk_case(corpus: Corpus, rng: random.Random, folder: Path) -> tuple[str, Callable[[], str]]:
    """Writing fails from some byte of some file on; nothing is left."""
    (folder / "bad.bb").write_bytes(corpus.archive)
    compressing, most = rng.random() < 0.5, rng.randrange(2**18)
    if compressing:
        (folder / "in").mkdir()
        for name, content in list(corpus.files.items())[:6]:
            (folder / "in" / name.replace("/", "-")).write_bytes(content)

    def work() -> str:
        resource.setrlimit(resource.RLIMIT_FSIZE, (most, most))
        try:
            if compressing:
                bbcodec.compress(folder / "in", folder / "new.bb", codec="none")
            else:
                bbcodec.decompress(folder / "bad.bb", folder / "out")
        except BBCodecError:
            left = (folder / "new.bb").exists() or any(folder.rglob(".bbcodec-*"))
            return "stray" if left else "told"
        return "harmless"

    return "full disk, compress" if compressing else "full disk, decompress", work


def kill_case(corpus: Corpus, rng: random.Random, folder: Path) -> tuple[str, Callable[[], str]]:
    """A command that is killed, and the same command once more."""
    (folder / "bad.bb").write_bytes(corpus.archive)
    bbcodec.decompress(folder / "bad.bb", folder / "in")
    tool, kind = Path(sys.executable).parent / "bbcodec", rng.choice(["compress", "decompress"])
    words = ["compress", folder / "in", "-o", folder / "new.bb"] if kind == "compress" else []
    words = words or ["decompress", folder / "bad.bb", "-o", folder / "out"]
    line = [tool, *words, "-f", "-q", "--jobs", "1"]

    def work() -> str:
        process = subprocess.Popen(line, stderr=subprocess.DEVNULL)
        time.sleep(rng.uniform(0.2, 3))
        process.kill()
        process.wait()
        if kind == "compress" and (folder / "new.bb").exists():
            bbcodec.verify(folder / "new.bb")
        elif kind == "decompress":
            for name, content in corpus.files.items():
                path = folder / "out" / name
                if os.path.lexists(path) and content_of(path) != content:
                    return "wrong"
        subprocess.run(line, check=True)
        return "stray" if any(folder.rglob(".bbcodec-*")) else "harmless"

    return f"killed, {kind}", work


# --- the campaign ----------------------------------------------------------------------------------------------------

Case = Callable[[Corpus, random.Random, Path], tuple[str, Callable[[], str]]]
CASES: Final[dict[str, tuple[Case, int]]] = {  # and how often of each hundred
    "damaged": (damaged_case, 60), "hostile": (hostile_case, 20), "codec": (codec_case, 10),
    "full disk": (full_disk_case, 9), "killed": (kill_case, 1),
}  # fmt: skip
OUTCOMES: Final = ("told", "harmless", *FORBIDDEN)


def outcome_of(work: Callable[[], str], seconds: int) -> tuple[str, str]:
    """How a case ends in a process of its own, and what it says of an exception that is none of bbcodec's."""
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
    if not told:
        slow = used.ru_utime + used.ru_stime >= seconds or os.WTERMSIG(status) == signal.SIGKILL
        return ("slow" if slow else "crash"), ""
    return told.partition(" ")[0], told.partition(" ")[2]


def campaign(seconds: float, seed: int, without: tuple[str, ...] = (), most: int = 10**9) -> dict[str, Any]:
    """Cases for so many seconds, at most `most`: counts of outcomes by kind, and what led to those that must not be."""
    counts: dict[str, Counter[str]] = {}
    found: list[dict[str, Any]] = []
    names = [name for name in CASES if name not in without]
    if "codec" in names:  # what these compile is compiled here, once, not in every case
        for codec in FAST_CODECS:
            for engine in (True, False):
                bbcodec.load_codec(codec.content, "cpu", engine)
    with tempfile.TemporaryDirectory(prefix="bbcodec-reliability-") as place:
        corpus = make_corpus(Path(place), seed, FAST_CODEC if "codec" in names else "none")
        for number in islice(_numbers(seconds), most):
            rng = random.Random(f"{seed} {number}")
            name = rng.choices(names, [CASES[one][1] for one in names])[0]
            folder = Path(place, "case")
            folder.mkdir()
            kind, work = CASES[name][0](corpus, rng, folder)
            outcome, why = outcome_of(work, SECONDS)
            counts.setdefault(f"{name}: {kind}", Counter())[outcome] += 1
            if outcome in FORBIDDEN:
                found.append({"number": number, "kind": f"{name}: {kind}", "outcome": outcome, "why": why})
            shutil.rmtree(folder, ignore_errors=True)
    total = sum(counts.values(), Counter())
    return {
        "cases": sum(total.values()),
        "outcomes": {outcome: total[outcome] for outcome in OUTCOMES},
        "kinds": {kind: {one: counts[kind][one] for one in OUTCOMES if counts[kind][one]} for kind in sorted(counts)},
        "found": found,
    }


def _numbers(seconds: float) -> Iterator[int]:
    """0, 1, 2, ... until the time is up."""
    end, number = time.monotonic() + seconds, 0
    while time.monotonic() < end:
        yield number
        number += 1


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--hours", type=float, default=1.0, help="how long (1)")
    parser.add_argument("--seed", type=int, default=0, help="another seed gives other cases (0)")
    parser.add_argument("--out", type=Path, default=HERE / "results" / "reliability.json", help="where the result goes")
    options = parser.parse_args()
    result = campaign(3600 * options.hours, options.seed)
    save(options, parser, "made from the seed", result, folder="")
    sys.exit(any(result["outcomes"][outcome] for outcome in FORBIDDEN))


if __name__ == "__main__":
    main()
