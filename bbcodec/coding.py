"""The work on one chunk: from files to a chunk's body, and back. Each function here runs in any process, alone.

A `Bench` is what a process has at hand: the codecs, loaded when first needed. `run_tasks` spreads tasks over processes
and gives their results back in order.
"""

from __future__ import annotations

import multiprocessing
import os
import signal
import sys
import threading
from collections import Counter, deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from itertools import accumulate
from typing import Final, Protocol, TypeVar

import numpy as np

from bbcodec.container import (
    BYTES,
    FRAME_BYTES,
    LEARNED,
    MAX_VALUES,
    MODES,
    PIXEL_FORMS,
    Chunk,
    File,
    LearnedBody,
    digest64,
    pack_bytes,
    read_body,
    unpack_bytes,
)
from bbcodec.errors import BBCodecError, CoderError, DamagedArchive, InputError
from bbcodec.images import (
    CHANNELS,
    WEBP_MAX_SIDE,
    Picture,
    Pixels,
    Probe,
    decode_stored,
    encode_png,
    encode_webp,
    join_image,
    split_image,
)
from bbcodec.planning import ArrayTask, BytesTask, ImageTask

SAMPLE_VALUES: Final = 2**18  # pixel values on which a codec is chosen among several
LEVELS: Final = {"1": 2, "L": 256, "RGB": 256}

T = TypeVar("T")
R = TypeVar("R")


class Codec(Protocol):
    """What is asked of a learned codec (`bbcodec.codec.Codec`)."""

    safe: bool

    def set_safe(self, safe: bool) -> None:
        """Compute on the slow path that no kernel can make inexact, or on the fast one."""

    def encode_message(self, images: Pixels) -> bytes:
        """One message for uint8 images (N, H, W, C)."""

    def decode_message(self, data: bytes, count: int, height: int, width: int) -> Pixels:
        """The images of a message."""


Loader = Callable[[bytes, str], Codec]


@dataclass(frozen=True)
class CodecSource:
    """A codec that work may need: the content of its file, and the pixels that it takes."""

    digest: bytes
    name: str
    channels: int
    levels: int
    content: bytes = field(repr=False)


def load_installed(content: bytes, device: str) -> Codec:
    """The codec in the bytes of a `.bbc` file. Imports torch."""
    import torch  # noqa: F401  # now, so that its threads can be counted

    from bbcodec.codec import load_codec

    with one_thread():
        codec: Codec = load_codec(content, device=device)
    return codec


@contextmanager
def one_thread() -> Iterator[None]:
    """One torch thread in this process, for a while: chunks go to processes, and a chain has many small steps.

    Measured on four busy cores, 300 digits, encoded: 0.9 s with one thread, 25 s with two.
    """
    torch = sys.modules.get("torch")
    if torch is None:
        yield
        return
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(before)


class Bench:
    """The codecs of one process, loaded when first needed."""

    def __init__(self, sources: Iterable[CodecSource] = (), device: str = "auto", load: Loader | None = None) -> None:
        """Keep the sources; load nothing yet. `load` makes a codec of the bytes of its file, for a device."""
        self.sources = tuple(sources)
        self.setting = (self.sources, device, load)
        self._device, self._load = device, load or load_installed
        self._loaded: dict[bytes, Codec] = {}
        self._last: tuple[LearnedBody, tuple[CodecSource, Pixels]] | None = None

    def codec(self, source: CodecSource) -> Codec:
        """The loaded codec of a source."""
        if source.digest not in self._loaded:
            self._loaded[source.digest] = self._load(source.content, self._device)
        return self._loaded[source.digest]

    def encode(self, images: Pixels, levels: int) -> tuple[CodecSource, bytes] | None:
        """The shortest body of an `L` chunk that a codec gives for uint8 (N, H, W, C), and its codec; None if none can.

        Of several codecs the one that codes a few of the images best is taken.
        """
        fitting = [one for one in self.sources if (one.channels, one.levels) == (images.shape[3], levels)]
        few = images[: max(1, SAMPLE_VALUES // images[0].size)]
        if len(fitting) > 1 and len(few) < len(images):
            tried = self._shortest(fitting, few)
            fitting = [tried[0]] if tried else []
        return self._shortest(fitting, images)

    def _shortest(self, sources: list[CodecSource], images: Pixels) -> tuple[CodecSource, bytes] | None:
        coded: list[tuple[CodecSource, bytes]] = []
        for source in sources:
            # InputError: a codec for images of another size
            with suppress(InputError):
                codec = self.codec(source)
                with one_thread():
                    message = codec.encode_message(images)
                count, height, width = images.shape[:3]
                digest = digest64(images.tobytes())
                body = LearnedBody(source.digest[:4], digest, count, height, width, message)
                coded.append((source, body.pack()))
        return min(coded, key=lambda one: len(one[1]), default=None)

    def decode(self, body: LearnedBody) -> tuple[CodecSource, Pixels]:
        """The codec of an `L` chunk and its images, checked against their digest. Raises DamagedArchive.

        The last chunk is remembered: its images are often asked for one after another.
        """
        if self._last is None or self._last[0] != body:
            self._last = body, self._decode(body)
        return self._last[1]

    def _decode(self, body: LearnedBody) -> tuple[CodecSource, Pixels]:
        source = next((source for source in self.sources if source.digest[:4] == body.codec_id), None)
        if source is None:
            raise DamagedArchive("a chunk names a codec that the index does not know")
        if body.count * body.height * body.width * source.channels > MAX_VALUES:
            raise DamagedArchive("a chunk says it holds more pixels than the format allows")
        codec = self.codec(source)
        with one_thread():
            try:
                return source, _decoded(codec, body)
            except DamagedArchive:
                # The chunk's CRC-32 holds, so perhaps a kernel is inexact at a shape that the known-answer test lacks.
                if codec.safe:
                    raise
                codec.set_safe(True)
                try:
                    return source, _decoded(codec, body)
                finally:
                    codec.set_safe(False)


def _decoded(codec: Codec, body: LearnedBody) -> Pixels:
    """The images of a learned chunk, checked against their digest. Raises DamagedArchive."""
    try:
        images = codec.decode_message(body.message, body.count, body.height, body.width)
    except (CoderError, InputError) as error:
        raise DamagedArchive(f"a chunk does not decode: {error}") from None
    if digest64(images.tobytes()) != body.digest:
        raise DamagedArchive("a chunk decodes to other pixels than were stored: its digest differs")
    return images


# --- encoding --------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Stored:
    """How one file is stored: the fields of its index entry that depend on content, and its part of a `B` chunk.

    `part` is None where the content is in the chunk of the same result; `length` is its length there, if bytes.
    """

    entry: int
    form: str
    how: str
    size: int
    mode: str = ""
    width: int = 0
    height: int = 0
    metadata: bytes = b""
    part: bytes | None = None
    length: int = 0


@dataclass(frozen=True)
class Coded:
    """What a task gives: at most one finished chunk, the codec it needs, and the files of the task."""

    task: ImageTask | BytesTask | ArrayTask
    files: list[Stored]
    kind: str = ""
    body: bytes = b""
    codec: CodecSource | None = None


def encode_task(bench: Bench, task: ImageTask | BytesTask | ArrayTask) -> Coded:
    """The files of a task, coded."""
    if isinstance(task, ImageTask):
        return encode_images(bench, task)
    if isinstance(task, BytesTask):
        return encode_bytes(task)
    return encode_array(bench, task)


def encode_images(bench: Bench, task: ImageTask) -> Coded:
    """Image files of one mode and size: all by a codec where that is shorter, else each in its best classical way.

    A bits-back chain has one length for all its images, so the choice is made for the chunk as a whole.
    """
    mode, shape = task.expected.mode, (task.expected.height, task.expected.width, CHANNELS[task.expected.mode])
    kept: list[Stored] = []
    split: list[tuple[int, bytes, Picture]] = []
    for entry, path in zip(task.entries, task.paths, strict=True):
        data = read_piece(path, 0, -1)
        picture = split_image(data)
        if picture is None or picture.mode != mode or picture.pixels.shape != shape:
            kept.append(_as_bytes(entry, data, task.expected))
        else:
            split.append((entry, data, picture))
    uses = Counter(picture.metadata for _, _, picture in split)
    costs = {metadata: len(metadata) / count for metadata, count in uses.items()}  # the index holds equal ones once
    classical = [_best_classical(*one, costs[one[2].metadata]) for one in split]
    learned = bench.encode(np.stack([picture.pixels for _, _, picture in split]), LEVELS[mode]) if split else None
    if learned and len(learned[1]) + FRAME_BYTES + sum(map(len, uses)) < sum(cost for cost, _ in classical):
        files = [_as_pixels(entry, data, picture, "learned", None) for entry, data, picture in split]
        return Coded(task, kept + files, LEARNED, learned[1], learned[0])
    return Coded(task, kept + [file for _, file in classical])


def _best_classical(entry: int, data: bytes, picture: Picture, metadata_cost: float) -> tuple[float, Stored]:
    """The fewest bytes, and how: the file itself, a WebP or a PNG of its pixels."""
    ways = [(float(len(data)), "original", data)]
    if max(picture.pixels.shape[:2]) <= WEBP_MAX_SIDE:
        webp = encode_webp(picture.pixels, picture.mode)
        ways.append((len(webp) + metadata_cost, "webp", webp))
    png = encode_png(picture.pixels, picture.mode)
    ways.append((len(png) + metadata_cost, "png", png))
    cost, how, part = min(ways, key=lambda way: way[0])
    if how == "original":
        height, width = picture.pixels.shape[:2]
        return cost, Stored(entry, "bytes", "original", len(data), picture.mode, width, height, part=data)
    return cost, _as_pixels(entry, data, picture, how, part)


def _as_pixels(entry: int, data: bytes, picture: Picture, how: str, part: bytes | None) -> Stored:
    height, width = picture.pixels.shape[:2]
    return Stored(entry, picture.form, how, len(data), picture.mode, width, height, picture.metadata, part)


def _as_bytes(entry: int, data: bytes, seen: Probe | None) -> Stored:
    return Stored(entry, "bytes", "original", len(data), *_seen(seen), part=data)


def _seen(seen: Probe | None) -> tuple[str, int, int]:
    """Mode, width and height for the index."""
    if seen is None:
        return "", 0, 0
    return seen.mode if seen.mode in MODES else "other", seen.width, seen.height


def encode_bytes(task: BytesTask) -> Coded:
    """A chunk of small files, or of one piece of a large file."""
    parts = [read_piece(*piece) for piece in task.pieces]
    files = [
        Stored(entry, "bytes", "original", len(part), *_seen(seen), length=len(part))
        for entry, part, seen in zip(task.entries, parts, task.probes, strict=True)
    ]
    return Coded(task, files, BYTES, pack_bytes(b"".join(parts)))


def encode_array(bench: Bench, task: ArrayTask) -> Coded:
    """A chunk of an array: its images by a codec or its bytes, whichever is shorter."""
    if task.images is None:
        return Coded(task, [], BYTES, pack_bytes(task.rest))
    images = np.array(task.images, order="C")  # a copy: torch dislikes arrays that are mapped read-only
    plain = pack_bytes(images.tobytes())
    learned = bench.encode(images, task.levels)
    if learned and len(learned[1]) < len(plain):
        return Coded(task, [], LEARNED, learned[1], learned[0])
    return Coded(task, [], BYTES, plain)


def read_piece(path: str, start: int, length: int) -> bytes:
    """`length` bytes of a file from `start` (-1: all the rest). Raises InputError."""
    try:
        with open(path, "rb") as stream:
            stream.seek(start)
            data = stream.read(length)
    except OSError as error:
        raise InputError(f"{path} cannot be read: {error.strerror}") from None
    if length >= 0 and len(data) != length:
        raise InputError(f"{path} became shorter while it was read: compress again")
    return data


# --- decoding --------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class DecodeTask:
    """A chunk, and the files that lie in it: all of them in index order, and which of them are wanted.

    `restore`: give files, else only check that they decode.
    """

    path: str
    chunk: Chunk
    files: tuple[File, ...]
    wanted: tuple[int, ...]
    restore: bool = True


@dataclass(frozen=True)
class Decoded:
    """What a chunk gave: the wanted files or pieces, or what is wrong with it."""

    parts: list[bytes]
    damage: str = ""


def decode_task(bench: Bench, task: DecodeTask) -> Decoded:
    """The wanted files of a chunk. Damage is told, not raised: other chunks go on."""
    try:
        with open(task.path, "rb") as stream:
            body = read_body(stream, task.chunk)
        decode = _decode_learned if task.chunk.type == LEARNED else _decode_bytes
        return Decoded(decode(bench, task, body))
    except DamagedArchive as error:
        return Decoded([], str(error))
    except OSError as error:
        raise InputError(f"{task.path} cannot be read: {error.strerror}") from None


def _decode_learned(bench: Bench, task: DecodeTask, body: bytes) -> list[bytes]:
    unpacked = LearnedBody.unpack(body)
    source, images = bench.decode(unpacked)
    if task.files[0].alone:
        return [images.tobytes()] if task.restore else [b""]
    kinds = {(file.width, file.height, CHANNELS[file.mode], LEVELS[file.mode]) for file in task.files}
    if kinds != {(unpacked.width, unpacked.height, source.channels, source.levels)} or len(task.files) != len(images):
        raise DamagedArchive("a chunk holds other images than the index says")
    return [_join(task, task.files[number], images[number]) for number in task.wanted]


def _decode_bytes(bench: Bench, task: DecodeTask, body: bytes) -> list[bytes]:
    content = unpack_bytes(body)
    if task.files[0].alone:
        return [content]
    ends = list(accumulate(file.length for file in task.files))
    if ends[-1] != len(content):
        raise DamagedArchive("the files of a chunk do not add up to its content")
    parts = []
    for number in task.wanted:
        file = task.files[number]
        part = content[ends[number] - file.length : ends[number]]
        if file.form in PIXEL_FORMS:
            part = _join(task, file, decode_stored(part, file.how, file.mode, file.width, file.height))
        parts.append(part)
    return parts


def _join(task: DecodeTask, file: File, pixels: Pixels) -> bytes:
    return join_image(Picture(file.form, file.mode, pixels, file.metadata)) if task.restore else b""


# --- many tasks ------------------------------------------------------------------------------------------------------

_bench: Bench | None = None  # of a worker process


def run_tasks(function: Callable[[Bench, T], R], tasks: Iterable[T], bench: Bench, jobs: int) -> Iterator[R]:
    """function(bench, task) for every task, in order: here for one job, else in worker processes.

    At most three tasks a job are under way or waiting to be taken, which bounds memory. Workers are killed when the
    caller stops early, whatever the reason.
    """
    if jobs <= 1:
        for task in tasks:
            yield function(bench, task)
        return
    before = set(multiprocessing.active_children())
    context = multiprocessing.get_context("spawn")  # a fork would inherit torch's and numba's threads, dead
    pool = ProcessPoolExecutor(jobs, context, _start_worker, bench.setting)
    waiting: deque[Future[R]] = deque()
    try:
        for task in tasks:
            with _no_interrupt():
                waiting.append(pool.submit(_in_worker, function, task))
            if len(waiting) >= 3 * jobs:
                yield waiting.popleft().result()
        while waiting:
            yield waiting.popleft().result()
    except BrokenProcessPool:
        raise BBCodecError("a worker process died, perhaps for lack of memory: try again with --jobs 1") from None
    finally:
        done = not waiting
        pool.shutdown(wait=done, cancel_futures=True)
        if not done:
            for process in set(multiprocessing.active_children()) - before:
                process.kill()


@contextmanager
def _no_interrupt() -> Iterator[None]:
    """Holds Ctrl-C back while processes are started; these inherit it, so that only the parent is interrupted."""
    if not hasattr(signal, "pthread_sigmask"):
        yield
        return
    old = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, old)


def _start_worker(sources: tuple[CodecSource, ...], device: str, load: Loader | None) -> None:
    global _bench
    _bench = Bench(sources, device, load)
    threading.Thread(target=_end_with_parent, daemon=True).start()


def _end_with_parent() -> None:
    """A worker whose parent was killed would wait for work for ever."""
    parent = multiprocessing.parent_process()
    if parent is not None:
        parent.join()
        os._exit(1)


def _in_worker(function: Callable[[Bench, T], R], task: T) -> R:
    if _bench is None:
        raise RuntimeError("a worker was not started by _start_worker")
    return function(_bench, task)
