"""Messages of learned codecs as archives hold them."""

from __future__ import annotations

from dataclasses import dataclass

from bbcodec.binary import pack_varint, take_shape


@dataclass(frozen=True)
class LearnedMessage:
    """Images coded by a learned codec, with their shape, codec and digest: the body of an `L` chunk."""

    codec_id: bytes
    digest: bytes
    count: int
    height: int
    width: int
    stream: bytes

    def pack(self) -> bytes:
        """The body of the chunk."""
        shape = pack_varint(self.count) + pack_varint(self.height) + pack_varint(self.width)
        return self.codec_id[:4] + self.digest + shape + self.stream

    @classmethod
    def unpack(cls, body: bytes) -> LearnedMessage:
        """The message in a body. Raises DamagedArchive where a size is zero or beyond its bound."""
        count, height, width, position = take_shape(body, 12, 1)
        return cls(body[:4], body[4:12], count, height, width, body[position:])
