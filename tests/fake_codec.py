"""A stand-in for a learned codec, quick and without torch: it knows nothing of models, only of the codec's promises.

It codes all images of a chunk as one deflate stream of differences between neighbours, and checks what it decodes.
"""

import json
import struct
import zlib
from pathlib import Path

import numpy as np

from bbcodec.archive import Setting, compress_with
from bbcodec.catalogue import CodecFile, parse_codec
from bbcodec.errors import CoderError, InputError


class FakeCodec:
    safe = False

    def __init__(self, header: dict):
        self.header = header

    def set_safe(self, safe):
        self.safe = safe

    def encode_message(self, images):
        side = self.header["card"].get("side")
        if side and images.shape[1:3] != (side, side):
            raise InputError(f"takes {side}x{side}")
        if self.header["pixels"]["levels"] == 2:
            numbers = np.packbits(images)
        else:
            numbers = np.diff(images, axis=2, prepend=np.zeros_like(images[:, :, :1]))
        return zlib.compress(numbers.tobytes(), 9) + bytes(self.header["card"].get("waste", 0))

    def decode_message(self, data, count, height, width):
        try:
            state = zlib.decompressobj()
            content = state.decompress(data)
        except zlib.error as error:
            raise CoderError(str(error)) from None
        shape = (count, height, width, self.header["pixels"]["channels"])
        if self.header["pixels"]["levels"] == 2:
            return np.unpackbits(np.frombuffer(content, np.uint8), count=int(np.prod(shape))).reshape(shape)
        if len(content) != np.prod(shape):
            raise CoderError("another length")
        return np.cumsum(np.frombuffer(content, np.uint8).reshape(shape), axis=2, dtype=np.uint8)


class LyingCodec(FakeCodec):
    """Decodes to other pixels than were encoded, as a codec on inexact arithmetic would."""

    def decode_message(self, data, count, height, width):
        images = super().decode_message(data, count, height, width)
        images[0, 0, 0, 0] ^= 1
        return images


class HastyCodec(FakeCodec):
    """Decodes to other pixels, but not on the safe path: a kernel that is inexact at some shape."""

    def decode_message(self, data, count, height, width):
        images = super().decode_message(data, count, height, width)
        images[0, 0, 0, 0] ^= not self.safe
        return images


def load_hasty(content, device):
    return HastyCodec(read_header(content))


def load_fake(content, device):
    return FakeCodec(read_header(content))


def load_lying(content, device):
    return LyingCodec(read_header(content))


def read_header(content):
    length = struct.unpack("<Q", content[:8])[0]
    return json.loads(json.loads(content[8 : 8 + length])["__metadata__"]["bbcodec"])


def fake_content(channels=1, levels=256, **card) -> bytes:
    about = {"format": 1, "family": "fake", "pixels": {"channels": channels, "levels": levels}, "card": card}
    header = json.dumps({"__metadata__": {"bbcodec": json.dumps(about)}}).encode()
    return struct.pack("<Q", len(header)) + header


def fake_codec(name="fake", *, shipped=False, **about) -> CodecFile:
    return parse_codec(fake_content(**about), name, shipped=shipped)


def squeeze(inputs, output: Path, codecs=(), *, embed=True, force=False, verify=True, jobs=1, load=load_fake):
    """compress() with fake codecs."""
    return compress_with(list(codecs), inputs, output, embed, force, verify, Setting(jobs, "cpu", None, load))
