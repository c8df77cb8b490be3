"""Chunks of arrays as bytes: images by a learned codec, or by a codec of numcodecs where that is shorter.

A chunk becomes two bytes, the version 2 and how it is coded, in the shortest way of these:

    0    by the fallback: the digest of its bytes, the low ones first, 8 bytes; and the stream of all values
    1    by the learned codec: a message as the body of an `L` chunk
    2    images of 16 bits, by a storage coding of archives: the digest, 8 bytes; the number of the coding; and sheets
         of as many images as it takes, each behind its length, a varint

Shape, type and both codecs are in the array's metadata.
"""

from __future__ import annotations

import base64
import binascii
import math
from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from functools import cache, cached_property
from typing import Any, Final

import numcodecs
import numpy as np
from numpy.typing import DTypeLike, NDArray

from bbcodec.binary import digest64, pack_varint, take_varint
from bbcodec.codec.catalogue import CodecFile, find_codec, parse_codec, shipped_codecs
from bbcodec.codec.message import LearnedMessage
from bbcodec.codec.pool import CodecPool, CodecSource
from bbcodec.errors import BBCodecError, DamagedArchive, InputError, MissingCodec, VerificationFailed
from bbcodec.images.codings import CODINGS, coding_number
from bbcodec.options import PathLike

VERSION: Final = 2
FALLBACK, LEARNED, CODED = 0, 1, 2
DIGEST_BYTES: Final = 8
# Storage codings of archives for images of 16 bits.
DEEP_CODINGS: Final = [one for one in CODINGS if "uint16" in one.sheet_types and not (one.on_request or one.needs)]
LOSSLESS: Final = ("zstd", "blosc", "zlib", "gzip", "bz2", "lzma", "lz4")  # codecs of numcodecs
DEFAULT_FALLBACK: Final[Mapping[str, Any]] = {"id": "zstd", "level": 9}

Values = NDArray[Any]
Shape = tuple[int, ...]


@cache
def _pool(source: CodecSource) -> CodecPool:
    """The codec of a source, loaded once in a process."""
    return CodecPool([source])


@dataclass(frozen=True)
class ChunkCoder:
    """Codes chunks (..., H, W) of uint8 or uint16, or (..., H, W, 3) of uint8; others, by the fallback.

    source: the learned codec. content: its file, if an array's metadata are to keep it. fallback: the configuration of
    a codec of numcodecs. verify: decode what was encoded.
    """

    source: CodecSource
    content: bytes | None
    fallback: Mapping[str, Any]
    verify: bool = True

    @classmethod
    def of(
        cls, codec: PathLike, fallback: Mapping[str, Any] | None = None, *, embed: bool = True, verify: bool = True
    ) -> ChunkCoder:
        """With a codec by its shipped name, path or URL. Raises MissingCodec, BadCodecFile or InputError."""
        found = find_codec(codec)
        content = found.content if embed and not found.shipped else None
        return cls(CodecSource.of(found), content, _checked(fallback or DEFAULT_FALLBACK), verify)

    @classmethod
    def from_config(cls, config: Mapping[str, Any]) -> ChunkCoder:
        """From what `config` wrote. Raises MissingCodec, BadCodecFile, or InputError for another configuration."""
        try:
            digest, name, content = str(config["digest"]), str(config["codec"]), config.get("content")
            fallback = _checked(config["fallback"])
            embedded = None if content is None else base64.b64decode(content, validate=True)
        except (KeyError, TypeError, AttributeError, binascii.Error) as error:
            raise InputError(f"the metadata of an array have no codec of bbcodec: {error}") from None
        codec = _found(digest, name) if embedded is None else parse_codec(embedded, name)
        if codec.digest.hex() != digest:
            raise MissingCodec(
                f"an array needs the codec {name!r} of digest {digest}, not that of {codec.digest.hex()}"
            )
        stored = None if embedded is None else len(embedded)  # which may be a stranger's
        return cls(CodecSource.of(codec, stored), embedded, fallback)

    def config(self) -> dict[str, Any]:
        """What an array's metadata keep: the codec by name and digest, its file unless it is shipped, the fallback."""
        about = {"codec": self.source.name, "digest": self.source.digest.hex(), "fallback": dict(self.fallback)}
        return about | ({} if self.content is None else {"content": base64.b64encode(self.content).decode()})

    @cached_property
    def _fallback(self) -> Any:
        return numcodecs.get_codec(dict(self.fallback))

    # encoding

    def encode(self, values: Values) -> bytes:
        """The bytes of a chunk. Raises VerificationFailed if they do not decode to it."""
        values = np.ascontiguousarray(values)
        coded = min(self._ways(_little(values)), key=len)
        if self.verify:
            try:
                same = self.decode(coded, values.shape, values.dtype).tobytes() == values.tobytes()
            except BBCodecError as error:
                raise VerificationFailed(f"a chunk does not decode: {error}") from None
            if not same:
                raise VerificationFailed("a chunk does not decode to what it was")
        return coded

    def _ways(self, values: Values) -> Iterator[bytes]:
        """The bytes of a chunk in each way that takes it."""
        digest = digest64(values.tobytes())
        yield bytes([VERSION, FALLBACK]) + digest + bytes(self._fallback.encode(_numbers(values)))
        like = self._image_shape(values.shape, values.dtype)
        if like is not None:
            with suppress(InputError):  # more levels, or another size
                message = _pool(self.source).encode(self.source, values.reshape(like))[0]
                yield bytes([VERSION, LEARNED]) + message.pack()
        for coding in DEEP_CODINGS if values.dtype == np.uint16 and values.ndim > 1 else ():
            images = values.reshape(-1, *values.shape[-2:], 1)
            at_once = coding.sheet_images(images.shape[1:])
            if at_once and images.size:
                sheets = [
                    coding.encode_sheet(images[n : n + at_once], hard=False) for n in range(0, len(images), at_once)
                ]
                body = b"".join(pack_varint(len(sheet)) + sheet for sheet in sheets)
                yield bytes([VERSION, CODED]) + digest + bytes([coding_number(coding.name)]) + body

    def _image_shape(self, shape: Shape, kind: np.dtype[Any]) -> tuple[int, int, int, int] | None:
        """The shape (N, H, W, C) of a chunk for the codec; None if it is no images of its channels and type."""
        like = tuple(shape) if self.source.channels == 3 else (*shape, 1)
        deep = self.source.levels == 65536
        if kind != (np.uint16 if deep else np.uint8) or len(like) < 3 or like[-1] != self.source.channels:
            return None
        if not math.prod(like):
            return None
        return math.prod(like[:-3]), like[-3], like[-2], like[-1]

    # decoding

    def decode(self, data: bytes, shape: Sequence[int], dtype: DTypeLike) -> Values:
        """The chunk of these bytes. Raises DamagedArchive for others than `encode` made of one of this shape."""
        kind = np.dtype(dtype)
        if len(data) < 2 or data[0] != VERSION:
            raise DamagedArchive("a chunk does not begin as one of bbcodec does")
        ways = {FALLBACK: self._decode_fallback, LEARNED: self._decode_message, CODED: _decode_coded}
        if data[1] not in ways:
            raise DamagedArchive(f"a chunk is damaged: it is coded in no known way, {data[1]}")
        values = ways[data[1]](data[2:], tuple(shape), kind.newbyteorder("<"))
        return values.astype(kind, copy=False)

    def _decode_message(self, body: bytes, shape: Shape, kind: np.dtype[Any]) -> Values:
        message, like = LearnedMessage.unpack(body), self._image_shape(shape, kind)
        if like is None or (message.count, message.height, message.width) != like[:3]:
            raise DamagedArchive("a chunk is damaged: it holds images of another shape than the array's chunks")
        return _pool(self.source).decode(message)[1].reshape(shape)

    def _decode_fallback(self, body: bytes, shape: Shape, kind: np.dtype[Any]) -> Values:
        try:
            raw = bytes(self._fallback.decode(body[DIGEST_BYTES:]))
        except Exception as error:  # each codec of numcodecs has its own
            raise DamagedArchive(f"a chunk is damaged: {type(error).__name__}, {error}") from None
        if len(raw) != math.prod(shape) * kind.itemsize or digest64(raw) != body[:DIGEST_BYTES]:
            raise DamagedArchive("a chunk is damaged: its digest differs")
        return np.frombuffer(raw, np.uint8).view(kind).reshape(shape)


def _decode_coded(body: bytes, shape: Shape, kind: np.dtype[Any]) -> Values:
    """The chunk of a storage coding for images of 16 bits. Raises DamagedArchive."""
    coding = next((one for one in DEEP_CODINGS if bytes([coding_number(one.name)]) == body[8:9]), None)
    if coding is None or kind != np.uint16 or len(shape) < 2 or not math.prod(shape):
        raise DamagedArchive("a chunk is damaged: it is coded as images of 16 bits, and is none")
    count, at_once = math.prod(shape[:-2]), coding.sheet_images((shape[-2], shape[-1], 1))
    if not at_once:
        raise DamagedArchive(f"a chunk is damaged: {coding.name} takes no images of {shape[-2]} x {shape[-1]}")
    at, images = DIGEST_BYTES + 1, []
    for first in range(0, count, at_once):
        length, start = take_varint(body, at)
        at = start + length
        images.append(coding.decode_sheet(body[start:at], (min(at_once, count - first), shape[-2], shape[-1], 1)))
    values: Values = np.concatenate(images).astype(kind, copy=False).reshape(shape)
    if at != len(body) or digest64(values.tobytes()) != body[:DIGEST_BYTES]:
        raise DamagedArchive("a chunk is damaged: its digest differs")
    return values


def _little(values: Values) -> Values:
    """Values with the lowest byte first."""
    return values.astype(values.dtype.newbyteorder("<"), copy=False)


def _numbers(values: Values) -> Values:
    """Values as whole numbers of as many bytes: codecs of numcodecs look at sizes of numbers, and take no other."""
    size = values.dtype.itemsize
    return np.frombuffer(values.tobytes(), f"<u{size}" if size in (1, 2, 4, 8) else np.uint8)


def _found(digest: str, name: str) -> CodecFile:
    """A codec that is installed, or a file. Raises MissingCodec."""
    return next((one for one in shipped_codecs() if one.digest.hex() == digest), None) or find_codec(name)


def _checked(fallback: Mapping[str, Any]) -> Mapping[str, Any]:
    """A configuration of numcodecs. Raises InputError unless the codec is lossless and takes it."""
    if not isinstance(fallback, Mapping) or fallback.get("id") not in LOSSLESS:
        raise InputError(f"fallback: expected the configuration of one of {', '.join(LOSSLESS)}, got {fallback!r}")
    try:
        numcodecs.get_codec(dict(fallback))
    except Exception as error:
        raise InputError(f"fallback: {fallback!r} is refused: {error}") from None
    return dict(fallback)
