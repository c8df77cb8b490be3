"""What `reliability.py` does to bbcodec: damage, holes, full disks, kills. `hostile.py` has more.

Each function makes one case in an empty folder, from a generator of random numbers, and returns what kind it is and
the work to be done, which says how it ended.
"""

from __future__ import annotations

import os
import random
import resource
import struct
import subprocess
import sys
import time
import zlib
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, Final

import msgpack
import numpy as np
from PIL import Image

import bbcodec
from bbcodec.archive.format.header import FOOTER_BYTES, HEADER_BYTES, START
from bbcodec.archive.format.parity import TRAILER_BYTES, Layout
from bbcodec.archive.read.archive import Archive
from bbcodec.archive.recovery_blocks import repair
from bbcodec.binary import take_varint, unpack_method
from bbcodec.errors import BBCodecError

FAST_CODEC: Final = "mnist-binary-fast-1"  # which is loaded in a moment
NOON: Final = 946728000  # seconds: 1 January 2000
HOLE: Final = 2**16
PERCENT: Final = 5

Work = Callable[[], str]
Case = Callable[["Corpus", random.Random, Path], tuple[str, Work]]


# --- the corpus ------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Corpus:
    """An archive of some of everything, and what is in it.

    chunks: first and last byte of each, with its frame. where: by file the chunks that it needs.
    """

    seed: int
    archive: bytes
    files: dict[str, bytes]
    chunks: list[tuple[int, int]]
    where: dict[str, set[int]]
    types: str
    folder: Path

    @cached_property
    def recoverable(self) -> bytes:
        """An archive of 10 MB with recovery blocks."""
        rng, top = np.random.default_rng(self.seed), self.folder / "large"
        top.mkdir()
        for number, size in enumerate((5_000_000, 3_000_000, 1_000_000, *[10_000] * 100)):
            (top / f"{number}.bin").write_bytes(rng.bytes(size))
        set_times(top)
        bbcodec.compress(top, self.folder / "large.bb", codec="none", recovery=PERCENT)
        return (self.folder / "large.bb").read_bytes()

    @cached_property
    def index(self) -> list[Any]:
        """The fields of its index."""
        (length,) = struct.unpack("<I", self.archive[-FOOTER_BYTES:][:4])
        data = self.archive[-FOOTER_BYTES - length : -FOOTER_BYTES]
        pad, position = take_varint(data, 1)
        found: list[Any] = msgpack.unpackb(unpack_method(data[0], data[position + pad :], 2**24))
        return found


def set_times(top: Path) -> None:
    """All to one time, so that archives are always the same."""
    for path in top.rglob("*"):
        os.utime(path, (NOON, NOON), follow_symlinks=False)


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
    set_times(top)
    bbcodec.compress(top, folder / "a.bb", codec=codec)
    with Archive(folder / "a.bb") as archive:
        files = {name: archive.read_bytes(name) for name in archive.names}
        chunks = archive._file.directory.chunks
        where = {os.fsdecode(entry.name): {place.chunk for place in entry.places} for entry in archive.files}
    ranges, types = [(chunk.start, chunk.end) for chunk in chunks], "".join(chunk.type for chunk in chunks)
    return Corpus(seed, (folder / "a.bb").read_bytes(), files, ranges, where, types, folder)


# --- damage ----------------------------------------------------------------------------------------------------------

Damage = Callable[[random.Random, bytearray, Corpus], None]


def _place(rng: random.Random, data: bytearray, length: int) -> int:
    return rng.randrange(max(1, len(data) - length))


def fill(rng: random.Random, data: bytearray, length: int, content: bytes | None = None, step: int = 1) -> None:
    at = _place(rng, data, length) // step * step
    length = min(length, len(data) - at)
    data[at : at + length] = rng.randbytes(length) if content is None else content * length


def _cut_out(rng: random.Random, data: bytearray, length: int) -> None:
    at = _place(rng, data, length)
    del data[at : at + length]


def _insert(rng: random.Random, data: bytearray, content: bytes) -> None:
    at = _place(rng, data, 0)
    data[at:at] = content


def flip(rng: random.Random, data: bytearray, first: int = 0, last: int | None = None) -> None:
    data[rng.randrange(first, len(data) if last is None else last)] ^= 1 << rng.randrange(8)


def _flips(rng: random.Random, data: bytearray) -> None:
    for _ in range(rng.randrange(2, 50)):
        flip(rng, data)


def _swap(rng: random.Random, data: bytearray, corpus: Corpus, copy: bool) -> None:
    """Two chunks of equal length change places, or one is copied over the other."""
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
    "a bit": lambda r, d, c: flip(r, d),
    "several bits": lambda r, d, c: _flips(r, d),
    "a bit of the header": lambda r, d, c: flip(r, d, 0, 13),
    "a bit of the end": lambda r, d, c: flip(r, d, len(d) - 400),
    "a byte": lambda r, d, c: fill(r, d, 1),
    "a sector of zeros": lambda r, d, c: fill(r, d, 512, b"\0", 512),
    "a sector of noise": lambda r, d, c: fill(r, d, 512, None, 512),
    "64 kB of zeros": lambda r, d, c: fill(r, d, HOLE, b"\0", 4096),
    "64 kB of noise": lambda r, d, c: fill(r, d, HOLE, None, 4096),
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


def damaged_case(corpus: Corpus, rng: random.Random, folder: Path) -> tuple[str, Work]:
    """A damaged archive, in every second case with the checksums of its chunks made right, and what reading it gives.

    Files are expected of all chunks that the damage left alone, where it is in one place of 64 kB, or spares the index.
    """
    kind = rng.choice(list(DAMAGES))
    data = bytearray(corpus.archive)
    DAMAGES[kind](rng, data, corpus)
    expected: Iterable[str] = ()
    if len(data) == len(corpus.archive):
        changed = np.flatnonzero(np.frombuffer(data, np.uint8) != np.frombuffer(corpus.archive, np.uint8))
        first, last = (int(changed[0]), int(changed[-1])) if len(changed) else (0, 0)
        if last - first < HOLE or (first >= HEADER_BYTES and last < corpus.chunks[-1][1]):
            starts = [start for start, _ in corpus.chunks]
            hit = set(np.searchsorted(starts, changed, "right") - 1)
            expected = [name for name in corpus.files if not corpus.where[name] & hit]
        if rng.random() < 0.5:
            kind += ", checksums made right"
            _make_right(data, corpus)
    (folder / "bad.bb").write_bytes(data)
    return kind, lambda: judged(folder, corpus.files, expected)


def _make_right(data: bytearray, corpus: Corpus) -> None:
    """The checksums of all chunks but directories, as bad memory while writing leaves them."""
    for (start, end), kind in zip(corpus.chunks, corpus.types, strict=True):
        if kind != "D":
            data[end - 4 : end] = struct.pack("<I", zlib.crc32(data[start : end - 4]))


def judged(folder: Path, files: dict[str, bytes], expected: Iterable[str] = (), compared: bool = True) -> str:
    """How restoring `bad.bb` ends. expected: files that must be restored; compared: so must all others be, or told."""
    told = False
    try:
        bbcodec.decompress(folder / "bad.bb", folder / "out")
    except BBCodecError:
        told = True
    found = {str(path.relative_to(folder / "out")) for path in (folder / "out").rglob("*") if not path.is_dir()}
    if not set(expected) <= found:
        return f"lost {sorted(set(expected) - found)}"[:300]
    for name in found if compared else expected:
        if name not in files or content_of(folder / "out" / name) != files[name]:
            return f"wrong {name}"
    if compared and not told and found != set(files):
        return "silent"
    return "told" if told else "harmless"


def content_of(path: Path) -> bytes:
    """What `Archive.read_bytes` gives of a restored file or link."""
    return os.fsencode(os.readlink(path)) if path.is_symlink() else path.read_bytes()


# --- holes that are repaired -----------------------------------------------------------------------------------------


def hole_case(corpus: Corpus, rng: random.Random, folder: Path) -> tuple[str, Work]:
    """64 kB lost of an archive of 10 MB with recovery blocks, somewhere, or cut off its end, and repaired."""
    data = bytearray(corpus.recoverable)
    (end,) = struct.unpack("<Q", data[-TRAILER_BYTES:][:8])
    (length,) = struct.unpack("<I", data[end - FOOTER_BYTES :][:4])
    heads = [at - 5 for at in _found(data, START) if at and at < end - HEADER_BYTES]
    parity = [Layout.of(end, PERCENT).parity_start(0, number) for number in range(Layout.of(end, PERCENT).n_parity)]
    places = {
        "the header": [0], "a directory": heads, "the index": [end - FOOTER_BYTES - length],
        "the footer and the first parity": [end - rng.randrange(HOLE)], "parity": parity,
        "the end": [len(data) - HOLE], "a cut end": [0], "anywhere": [rng.randrange(len(data) - HOLE)],
    }  # fmt: skip
    kind = rng.choice(list(places))
    start = rng.choice(places[kind])
    if kind not in ("the header", "the end", "anywhere"):
        start -= rng.randrange(HOLE)
    start = min(max(0, start), len(data) - HOLE)
    if kind == "a cut end":
        del data[-rng.randrange(1, HOLE + 1) :]
    else:
        data[start : start + HOLE] = rng.choice((bytes(HOLE), rng.randbytes(HOLE)))
    (folder / "bad.bb").write_bytes(data)

    def work() -> str:
        try:
            repair(folder / "bad.bb", folder / "good.bb")
        except BBCodecError as error:
            return f"lost {error}"
        return "repaired" if (folder / "good.bb").read_bytes() == corpus.recoverable else "wrong"

    return kind, work


def _found(data: bytearray, what: bytes) -> list[int]:
    """Where bytes are."""
    at, places = data.find(what), []
    while at >= 0:
        places.append(at)
        at = data.find(what, at + 1)
    return places


# --- kills and full disks --------------------------------------------------------------------------------------------


def full_disk_case(corpus: Corpus, rng: random.Random, folder: Path) -> tuple[str, Work]:
    """Writing fails from some byte of some file on; nothing is left."""
    kind = rng.choice(["compress", "compress with recovery", "decompress", "repair"])
    (folder / "bad.bb").write_bytes(corpus.archive)
    (folder / "in").mkdir()
    for name, content in list(corpus.files.items())[:6]:
        (folder / "in" / name.replace("/", "-")).write_bytes(content)
    if kind == "repair":
        bbcodec.compress(folder / "in", folder / "bad.bb", codec="none", recovery=PERCENT, force=True)
    made = folder / ("out" if kind == "decompress" else "new.bb")
    longest = max(map(len, corpus.files.values())) if kind == "decompress" else 2**19
    most = rng.choice((rng.randrange(300), rng.randrange(longest)))

    def work() -> str:
        resource.setrlimit(resource.RLIMIT_FSIZE, (most, most))
        try:
            if kind == "decompress":
                bbcodec.decompress(folder / "bad.bb", made)
            elif kind == "repair":
                repair(folder / "bad.bb", made)
            else:
                bbcodec.compress(folder / "in", made, codec="none", recovery=PERCENT if "recovery" in kind else 0)
        except BBCodecError:
            left = made.is_file() or any(folder.rglob(".bbcodec-*")) or (made.exists() and any(made.iterdir()))
            return "stray" if left else "told"
        return "harmless"

    return kind, work


def kill_case(corpus: Corpus, rng: random.Random, folder: Path) -> tuple[str, Work]:
    """A command that is killed, and the same command once more."""
    (folder / "bad.bb").write_bytes(corpus.archive)
    bbcodec.decompress(folder / "bad.bb", folder / "in")
    kind = rng.choice(["compress", "compress with recovery", "decompress"])
    words: list[Any] = ["compress", folder / "in", "-o", folder / "new.bb", "--codec", "none"]
    words += ["--recovery", str(PERCENT)] if "recovery" in kind else []
    words = ["decompress", folder / "bad.bb", "-o", folder / "out"] if kind == "decompress" else words
    line = [Path(sys.executable).parent / "bbcodec", *words, "-f", "-q", "--jobs", "1"]

    def work() -> str:
        process = subprocess.Popen(line, stderr=subprocess.DEVNULL)
        time.sleep(rng.uniform(0.1, 2.5))
        process.kill()
        process.wait()
        if kind != "decompress" and (folder / "new.bb").exists():
            bbcodec.verify(folder / "new.bb")
        elif kind == "decompress":
            for name, content in corpus.files.items():
                path = folder / "out" / name
                if os.path.lexists(path) and content_of(path) != content:
                    return f"wrong {name}"
        subprocess.run(line, check=True)
        return "stray" if any(folder.rglob(".bbcodec-*")) else "harmless"

    return kind, work
