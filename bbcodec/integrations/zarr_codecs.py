"""`bbcodec` as a codec of zarr: of format 3 (`BBCodec`), and of format 2 through numcodecs (`BBNumcodec`).

Both are found by their entry points, `zarr.codecs` and `numcodecs.codecs`, where bbcodec is installed.
"""

from __future__ import annotations

import asyncio
import math
import zlib
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final, Literal, NamedTuple, Self

import numpy as np
from numcodecs.abc import Codec as Numcodec
from numcodecs.compat import ensure_bytes, ndarray_copy
from zarr.abc.codec import ArrayBytesCodec

from bbcodec.binary import pack_varint, take_varint
from bbcodec.errors import DamagedArchive
from bbcodec.integrations.chunk_coder import ChunkCoder
from bbcodec.options import PathLike

NAME: Final = "bbcodec"
MAX_AXES: Final = 32
MAX_CHUNK_BYTES: Final = 2**31  # as of numcodecs' own codecs


@dataclass(frozen=True)
class BBCodec(ArrayBytesCodec):  # type: ignore[misc]  # zarr is optional
    """The serializer of a zarr array of format 3.

    >>> import numpy, zarr
    >>> images = numpy.arange(4096, dtype=numpy.uint8).reshape(4, 32, 32)
    >>> array = zarr.create_array({}, data=images, chunks=(2, 32, 32), serializer=BBCodec("grey-3"), compressors=None)
    >>> bool((array[:] == images).all())
    True
    """

    coder: ChunkCoder
    is_fixed_size = False

    def __init__(
        self,
        codec: PathLike | ChunkCoder = "grey-3",
        *,
        fallback: Mapping[str, Any] | None = None,
        embed: bool = True,
        verify: bool = True,
    ) -> None:
        """codec: a shipped name, the path of a `.bbc` file, or its URL.

        fallback: the configuration of a lossless codec of numcodecs (zstd), for chunks that the codec does not take and
        those that it does not make shorter. embed: keep a codec that is not shipped in the array's metadata. verify:
        decode each chunk that is written. Raises MissingCodec, BadCodecFile or InputError.
        """
        if not isinstance(codec, ChunkCoder):
            codec = ChunkCoder.of(codec, fallback, embed=embed, verify=verify)
        object.__setattr__(self, "coder", codec)

    @classmethod
    def from_dict(cls, data: Mapping[str, Any]) -> Self:
        """From an array's metadata. Raises MissingCodec, BadCodecFile or InputError."""
        return cls(ChunkCoder.from_config(data.get("configuration", {})))

    def to_dict(self) -> dict[str, Any]:
        """For an array's metadata."""
        return {"name": NAME, "configuration": self.coder.config()}

    def compute_encoded_size(self, input_byte_length: int, chunk_spec: Any) -> int:
        """Unknown. Raises NotImplementedError, as zarr asks for."""
        raise NotImplementedError

    async def _encode_single(self, chunk_data: Any, chunk_spec: Any) -> Any:
        coded = await asyncio.to_thread(self.coder.encode, chunk_data.as_numpy_array())
        return chunk_spec.prototype.buffer.from_bytes(coded)

    async def _decode_single(self, chunk_data: Any, chunk_spec: Any) -> Any:
        kind = chunk_spec.dtype.to_native_dtype()
        values = await asyncio.to_thread(self.coder.decode, chunk_data.to_bytes(), chunk_spec.shape, kind)
        return chunk_spec.prototype.nd_buffer.from_numpy_array(values)


def pack_head(values: np.ndarray[Any, Any]) -> bytes:
    """Type, order and shape of a chunk: a byte of length, the name of the type and C or F, the number of axes, and the
    length of each; and a CRC.

    F: the first axis varies fastest in memory, as in arrays of zarr with that order.
    """
    fortran = values.flags.f_contiguous and not values.flags.c_contiguous
    name: bytes = values.dtype.str.encode() + (b"F" if fortran else b"C")
    head = bytes([len(name)]) + name + b"".join(map(pack_varint, (values.ndim, *values.shape)))
    return head + zlib.crc32(head).to_bytes(4, "little")


class Head(NamedTuple):
    """What `pack_head` says of a chunk."""

    shape: tuple[int, ...]
    kind: np.dtype[Any]
    order: Literal["C", "F"]


def take_head(data: bytes) -> tuple[Head, bytes]:
    """Shape, type and order of a chunk, and the rest of it. Raises DamagedArchive."""
    end = 1 + data[0] if data else 0
    count, at = take_varint(data, end)
    shape = []
    for _ in range(min(count, MAX_AXES)):
        length, at = take_varint(data, at)
        shape.append(length)
    if zlib.crc32(data[:at]).to_bytes(4, "little") != data[at : at + 4]:
        raise DamagedArchive("a chunk is damaged: its CRC-32 differs")
    try:
        kind, order = np.dtype(data[1 : end - 1].decode()), data[end - 1 : end]
    except (TypeError, ValueError, SyntaxError) as error:
        raise DamagedArchive(f"a chunk is of no type of numpy: {error}") from None
    if count > MAX_AXES or kind.hasobject or math.prod(shape) * kind.itemsize > MAX_CHUNK_BYTES:
        raise DamagedArchive(f"a chunk says that it is an array of {kind} {tuple(shape)}, which is impossible")
    if order not in (b"C", b"F"):
        raise DamagedArchive("a chunk has no order of its axes")
    return Head(tuple(shape), kind, "F" if order == b"F" else "C"), data[at + 4 :]


class BBNumcodec(Numcodec):  # type: ignore[misc]  # numcodecs is optional
    """The compressor of a zarr array of format 2, and of whatever uses numcodecs.

    Its chunks carry their shape and type, as numcodecs does not tell them when decoding.
    """

    codec_id = NAME

    def __init__(self, codec: PathLike | ChunkCoder = "grey-3", **options: Any) -> None:
        """As `BBCodec`."""
        self._coder = codec if isinstance(codec, ChunkCoder) else ChunkCoder.of(codec, **options)

    def get_config(self) -> dict[str, Any]:
        """For an array's metadata."""
        return {"id": NAME, **self._coder.config()}

    @classmethod
    def from_config(cls, config: Mapping[str, Any]) -> Self:
        """From an array's metadata. Raises MissingCodec, BadCodecFile or InputError."""
        return cls(ChunkCoder.from_config(config))

    def encode(self, buf: Any) -> bytes:
        """The bytes of a chunk, an array or a buffer of bytes. Raises VerificationFailed."""
        values = np.asarray(buf)
        return pack_head(values) + self._coder.encode(values)

    def decode(self, buf: Any, out: Any = None) -> Any:
        """The chunk, into `out` if given. Raises DamagedArchive."""
        head, rest = take_head(ensure_bytes(buf))
        values = self._coder.decode(rest, head.shape, head.kind)
        return ndarray_copy(np.asarray(values, order=head.order), out)
