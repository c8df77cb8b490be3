"""The codecs that work needs, loaded when first used: encodes and decodes messages, checked by their digests."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import cached_property, partial
from typing import TYPE_CHECKING, Any, Final, Protocol

import numpy as np
from numpy.typing import NDArray

from bbcodec.binary import MAX_VALUES, digest64
from bbcodec.codec.catalogue import CodecFile
from bbcodec.codec.device import one_thread
from bbcodec.codec.message import LearnedMessage
from bbcodec.errors import CoderError, DamagedArchive, InputError
from bbcodec.options import Limits

if TYPE_CHECKING:
    from bbcodec.codec.stored import StoredCodec

Pixels = NDArray[Any]  # uint8, or uint16 of 65,536 levels
Bits = NDArray[np.float64]

SAMPLE_VALUES: Final = 2**18  # pixel values on which a codec is chosen among several


class MessageCodec(Protocol):
    """What a pool needs of a learned codec (`bbcodec.codec.codec.Codec`)."""

    @property
    def safe(self) -> bool:
        """Whether it computes on a path that no kernel can make inexact."""

    @property
    def concurrent(self) -> bool:
        """Whether several threads may code at once."""

    @property
    def mixes(self) -> bool:
        """Whether it codes messages whose probabilities are mixed with those of contexts that learn."""

    def set_safe(self, safe: bool) -> None:
        """Compute on the slow path that no kernel can make inexact, or on the fast one."""

    def encode_message(self, images: Pixels, bits: Bits | None = None, mix: bool = False) -> bytes:
        """The message of uint8 images (N, H, W, C); `bits` (N,) receives the bits that each image adds to it.

        mix: with contexts that learn, if it can.
        """

    def decode_message(self, data: bytes, count: int, height: int, width: int) -> Pixels:
        """The images of a message."""


Loader = Callable[[bytes, str], MessageCodec]


@dataclass(frozen=True)
class CodecSource:
    """A codec that may be needed: the content of its file, and the pixels that it takes.

    stored_bytes: what it takes in an archive that it comes from, and which may be a stranger's; None for others.
    """

    digest: bytes
    name: str
    channels: int
    levels: int
    content: bytes = field(repr=False)
    stored_bytes: int | None = None

    @cached_property
    def compiled(self) -> bool:
        """Whether it has an engine for CPUs, which is fast and needs little memory. The same on every machine."""
        from bbcodec.codec.engine_backend import runs_without_torch

        return runs_without_torch(self.content, "cpu")

    @classmethod
    def of(cls, codec: CodecFile, stored_bytes: int | None = None) -> CodecSource:
        """The source of a codec file."""
        return cls(codec.digest, codec.name, codec.channels, codec.levels, codec.content, stored_bytes)


def load_content(
    content: bytes, device: str, engine: bool = True, check: Callable[[StoredCodec], None] | None = None
) -> MessageCodec:
    """The codec in the bytes of a `.bbc` file, coded by the engine if it has one. Others import torch."""
    from bbcodec.codec.file import load_codec

    codec: MessageCodec = load_codec(content, device, engine, check)
    return codec


class CodecPool:
    """The codecs of one process, loaded when first needed; several threads may use it, and a pickle holds no codec."""

    def __init__(
        self,
        sources: Iterable[CodecSource] = (),
        device: str = "auto",
        load: Loader | None = None,
        limits: Limits = Limits(),  # noqa: B008  frozen
    ) -> None:
        """Keep the sources and load nothing yet. `load` loads a codec from the bytes of its file, for a device."""
        self.sources, self.limits = tuple(sources), limits
        self.kept: dict[Any, Any] = {}  # what readers keep beside codecs (`bbcodec.archive.read.kept_chunks`)
        self._device, self._load = device, load
        self._loaded: dict[tuple[bytes, bool], MessageCodec] = {}
        self._failed: dict[tuple[bytes, bool], Exception] = {}
        self._lock = threading.RLock()

    def extended(self, sources: Iterable[CodecSource]) -> CodecPool:
        """A pool with more sources that shares the loaded codecs and kept chunks of this one."""
        pool = CodecPool((*self.sources, *sources), self._device, self._load, self.limits)
        pool.kept, pool._loaded, pool._failed, pool._lock = self.kept, self._loaded, self._failed, self._lock
        return pool

    def __reduce__(self) -> tuple[Any, ...]:
        """The sources alone, for worker processes: each loads codecs itself."""
        return CodecPool, (self.sources, self._device, self._load, self.limits)

    @property
    def concurrent(self) -> bool:
        """Whether threads can share it: all codecs run without PyTorch, which has too many small steps for them."""
        if self._load is not None:
            return all(self.codec(source).concurrent for source in self.sources)
        return self._device in ("auto", "cpu") and all(source.compiled for source in self.sources)

    def codec(self, source: CodecSource, engine: bool = True) -> MessageCodec:
        """The codec of a source, loaded on first use. engine: as for `bbcodec.codec.file.load_codec`."""
        key = source.digest, engine
        with self._lock:
            if key in self._failed:
                raise self._failed[key]  # testing a codec takes long: once is enough
            if key not in self._loaded:
                try:
                    self._loaded[key] = self._loaded_anew(source, engine)
                except Exception as error:
                    self._failed[key] = error
                    raise
            return self._loaded[key]

    def _loaded_anew(self, source: CodecSource, engine: bool) -> MessageCodec:
        if self._load is not None:
            return self._load(source.content, self._device)
        return load_content(source.content, self._device, engine, self._check(source))

    def _check(self, source: CodecSource) -> Callable[[StoredCodec], None] | None:
        """What keeps the codec of an archive within the limits; None for one that the user chose."""
        if source.stored_bytes is None:
            return None
        from bbcodec.codec.cost import check_cost

        return partial(check_cost, stored_bytes=source.stored_bytes, limits=self.limits)

    @contextmanager
    def _using(self, codec: MessageCodec) -> Iterator[None]:
        """Within, a codec may code: by one thread at a time, unless it can be used by several."""
        if codec.concurrent:
            yield
            return
        with self._lock, one_thread():
            yield

    def choose(self, images: Pixels, levels: int) -> CodecSource | None:
        """Of the codecs that take such pixels, the one with the shortest message of a few images; None if none fits.

        Messages are plain ones: these are faster, and a codec that knows the images better mixes better.
        """
        fitting = self.fitting(images, levels)
        few = images[: max(1, SAMPLE_VALUES // images[0].size)]
        sizes = [self._size(source, few) if len(fitting) > 1 else 0 for source in fitting]
        return fitting[int(np.argmin(sizes))] if fitting and np.isfinite(min(sizes)) else None

    def fitting(self, images: Pixels, levels: int) -> list[CodecSource]:
        """The codecs for images (N, H, W, C) of so many channels and levels, of whatever size."""
        return [one for one in self.sources if (one.channels, one.levels) == (images.shape[3], levels)]

    def _size(self, source: CodecSource, images: Pixels) -> float:
        try:
            return len(self.encode(source, images)[0].stream)
        except InputError:
            return np.inf  # a codec for images of another size

    def encode(self, source: CodecSource, images: Pixels, mix: bool = False) -> tuple[LearnedMessage, Bits]:
        """A message of uint8 images (N, H, W, C), and the bits that each image adds to it. Raises InputError.

        mix: with contexts that learn, if the codec can.
        """
        bits, codec = np.zeros(len(images)), self.codec(source)
        with self._using(codec):
            stream = codec.encode_message(images, bits, mix)
        count, height, width = images.shape[:3]
        return LearnedMessage(source.digest[:4], pixel_digest(images), count, height, width, stream), bits

    def decode(self, message: LearnedMessage) -> tuple[CodecSource, Pixels]:
        """The codec of a message and its images, checked against their digest. Raises DamagedArchive."""
        source = next((source for source in self.sources if source.digest[:4] == message.codec_id), None)
        if source is None:
            raise DamagedArchive("a chunk needs a codec that is damaged, or that the index does not know")
        if message.count * message.height * message.width * source.channels > MAX_VALUES:
            raise DamagedArchive("a chunk says it holds more pixels than the format allows")
        codec = self.codec(source)
        with self._using(codec):
            try:
                return source, _decoded(codec, message)
            except DamagedArchive:
                # The chunk's CRC-32 holds, so a kernel may be inexact at a shape that the known-answer test lacks.
                if codec.safe:
                    raise
                codec.set_safe(True)
                try:
                    return source, _decoded(codec, message)
                finally:
                    codec.set_safe(False)


def pixel_digest(images: Pixels) -> bytes:
    """The digest of pixels in chunks."""
    return digest64(pixel_bytes(images))


def pixel_bytes(images: Pixels) -> bytes:
    """Pixels as bytes: one each, or two, the low one first."""
    return images.astype(images.dtype.newbyteorder("<"), copy=False).tobytes()


def _decoded(codec: MessageCodec, message: LearnedMessage) -> Pixels:
    """The images of a learned chunk, checked against their digest. Raises DamagedArchive."""
    try:
        images = codec.decode_message(message.stream, message.count, message.height, message.width)
    except (CoderError, InputError) as error:
        raise DamagedArchive(f"a chunk does not decode: {error}") from None
    if pixel_digest(images) != message.digest:
        raise DamagedArchive("a chunk decodes to other pixels than were stored: its digest differs")
    return images
