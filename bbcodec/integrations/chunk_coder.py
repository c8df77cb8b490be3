"""Chunks of arrays as bytes: images by a learned codec, or by a codec of numcodecs where that is shorter.

A chunk becomes a byte, the version 1, and for each byte of its values, the highest first, a plane:

    byte       0: by the fallback; 1: by the learned codec
    varint     how many bytes follow
    bytes      0: the digest of the plane, 8 bytes, and its stream; 1: a message as the body of an `L` chunk

Chunks of other types than uint8 and uint16 are one plane, of all their bytes. Shape, type and both codecs are in the
array's metadata.
"""

from __future__ import annotations

import base64
import binascii
import math
from collections.abc import Mapping, Sequence
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
from bbcodec.options import PathLike

VERSION: Final = 1
FALLBACK, LEARNED = 0, 1
LOSSLESS: Final = ("zstd", "blosc", "zlib", "gzip", "bz2", "lzma", "lz4")  # codecs of numcodecs
DEFAULT_FALLBACK: Final[Mapping[str, Any]] = {"id": "zstd", "level": 9}
TYPES: Final = ("uint8", "uint16")

Plane = NDArray[np.uint8]
Values = NDArray[Any]


@cache
def _pool(source: CodecSource) -> CodecPool:
    """The codec of a source, loaded once in a process."""
    return CodecPool([source])


@dataclass(frozen=True)
class ChunkCoder:
    """Codes chunks (..., H, W) or (..., H, W, 3) of uint8 or uint16; what the codec does not take, by the fallback.

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
        coded = bytes([VERSION]) + b"".join(map(self._encode_plane, _planes(values)))
        if self.verify:
            try:
                same = self.decode(coded, values.shape, values.dtype).tobytes() == values.tobytes()
            except BBCodecError as error:
                raise VerificationFailed(f"a chunk does not decode: {error}") from None
            if not same:
                raise VerificationFailed("a chunk does not decode to what it was")
        return coded

    def _encode_plane(self, plane: Plane) -> bytes:
        raw = plane.tobytes()
        tag, body = FALLBACK, digest64(raw) + bytes(self._fallback.encode(raw))
        like = self._image_shape(plane.shape)
        if like is not None:
            try:
                message = _pool(self.source).encode(self.source, plane.reshape(like))[0].pack()
            except InputError:  # more levels, or another size
                message = body
            tag, body = (LEARNED, message) if len(message) < len(body) else (tag, body)
        return bytes([tag]) + pack_varint(len(body)) + body

    def _image_shape(self, shape: Sequence[int]) -> tuple[int, int, int, int] | None:
        """The shape (N, H, W, C) of a plane (..., 1) for the codec; None if it is no images of its channels."""
        like = tuple(shape[:-1]) if self.source.channels == 3 else tuple(shape)
        if shape[-1] != 1 or len(like) < 3 or like[-1] != self.source.channels or not math.prod(like):
            return None
        return math.prod(like[:-3]), like[-3], like[-2], like[-1]

    # decoding

    def decode(self, data: bytes, shape: Sequence[int], dtype: DTypeLike) -> Values:
        """The chunk of these bytes. Raises DamagedArchive for others than `encode` made of one of this shape."""
        kind = np.dtype(dtype)
        if not data or data[0] != VERSION:
            raise DamagedArchive("a chunk does not begin as one of bbcodec does")
        at, planes = 1, []
        for _ in range(kind.itemsize if kind.name in TYPES else 1):
            tag, (length, start) = data[at : at + 1], take_varint(data, at + 1)
            at = start + length
            planes.append(self._decode_plane(tag, data[start:at], (*shape, 1 if kind.name in TYPES else kind.itemsize)))
        if at != len(data):
            raise DamagedArchive("a chunk is damaged: it has another length than it says")
        lowest_first = np.concatenate(planes[::-1], axis=-1)
        little = lowest_first.reshape(-1).view(kind.newbyteorder("<")).reshape(tuple(shape))
        return little.astype(kind, copy=False)

    def _decode_plane(self, tag: bytes, body: bytes, shape: Sequence[int]) -> Plane:
        if tag == bytes([LEARNED]):
            message, like = LearnedMessage.unpack(body), self._image_shape(shape)
            if like is None or (message.count, message.height, message.width) != like[:3]:
                raise DamagedArchive("a chunk is damaged: it holds images of another shape than the array's chunks")
            return _pool(self.source).decode(message)[1].reshape(shape)
        try:
            raw = bytes(self._fallback.decode(body[8:]))
        except Exception as error:  # each codec of numcodecs has its own
            raise DamagedArchive(f"a chunk is damaged: {type(error).__name__}, {error}") from None
        if tag != bytes([FALLBACK]) or len(raw) != math.prod(shape) or digest64(raw) != body[:8]:
            raise DamagedArchive("a chunk is damaged: its digest differs")
        return np.frombuffer(raw, np.uint8).reshape(shape)


def _planes(values: Values) -> list[Plane]:
    """The planes of values, (..., 1) each, the highest bytes first; of other types one, (..., bytes)."""
    little = values.astype(values.dtype.newbyteorder("<"), copy=False)
    lowest_first = np.frombuffer(little.tobytes(), np.uint8).reshape(*values.shape, values.dtype.itemsize)
    if values.dtype.name not in TYPES:
        return [lowest_first]
    return [np.ascontiguousarray(lowest_first[..., n : n + 1]) for n in reversed(range(values.dtype.itemsize))]


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
