"""A stand-in for a learned codec, quick and without torch: it knows nothing of models, only of the codec's promises.

It knows one pseudo-random pattern by heart and codes each image as its difference from it, so that pictures with that
pattern (`familiar`) are short to it and noise to everything else. It checks what it decodes.
"""

import json
import struct
import zlib
from functools import cache
from pathlib import Path

import numpy as np

from bbcodec.archive.compress import CompressRequest, compress_with
from bbcodec.binary import deflate
from bbcodec.codec.catalogue import MAGIC, CodecFile, parse_codec, split_codec
from bbcodec.errors import CoderError, InputError
from bbcodec.options import RunOptions, StorageOptions


@cache
def pattern(height, width, channels, levels, number=0):
    """What a fake codec knows by heart."""
    return np.random.default_rng([number, levels]).integers(0, levels, (height, width, channels), np.uint8)


def familiar(height=24, width=24, channels=1, seed=0, count=None, levels=256, number=0):
    """Pixels (H, W, C), or (N, H, W, C), that the fake codec codes well and nothing else does."""
    rows = np.random.default_rng(seed).integers(0, levels, (count or 1, height, 1, 1), np.uint8)
    images = ((pattern(height, width, channels, levels, number) + rows.astype(int)) % levels).astype(np.uint8)
    return images if count else images[0]


class FakeCodec:
    safe = concurrent = mixes = False

    def __init__(self, header: dict):
        self.card, self.channels, self.levels = header["card"], *header["pixels"].values()

    def set_safe(self, safe):
        self.safe = safe

    def encode_message(self, images, bits=None, mix=False):
        side = self.card.get("side")
        if side and images.shape[1:3] != (side, side):
            raise InputError(f"takes {side}x{side}")
        assert images.dtype == np.uint8
        assert images.shape[3] == self.channels
        known = pattern(*images.shape[1:], self.levels, self.card.get("number", 0))
        streams = [zlib.compress(((image - known.astype(int)) % self.levels).astype(np.uint8), 9) for image in images]
        if bits is not None:
            bits[:] = [8 * len(stream) for stream in streams]
        return b"".join(streams) + bytes(self.card.get("waste", 0))

    def decode_message(self, data, count, height, width):
        shape = (height, width, self.channels)
        known, images = pattern(*shape, self.levels, self.card.get("number", 0)), []
        for _ in range(count):
            state = zlib.decompressobj()
            try:
                content = state.decompress(data)
            except zlib.error as error:
                raise CoderError(str(error)) from None
            if not state.eof or len(content) != known.size:
                raise CoderError("another length")
            images.append((np.frombuffer(content, np.uint8).reshape(shape) + known.astype(int)) % self.levels)
            data = state.unused_data
        return np.array(images, np.uint8)


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


def load_hasty(content, device, engine=True, check=None):
    return HastyCodec(read_header(content))


def load_fake(content, device, engine=True, check=None):
    return FakeCodec(read_header(content))


def load_lying(content, device, engine=True, check=None):
    return LyingCodec(read_header(content))


def read_header(content):
    return split_codec(content)[0]


def fake_content(channels=1, levels=256, **card) -> bytes:
    about = {"format": 1, "family": "fake", "pixels": {"channels": channels, "levels": levels}, "card": card}
    header = deflate(json.dumps(about).encode())
    return MAGIC + struct.pack("<I", len(header)) + header


def fake_codec(name="fake", *, shipped=False, **about) -> CodecFile:
    return parse_codec(fake_content(**about), name, shipped=shipped)


def squeeze(
    inputs, output: Path, codecs=(), *, embed=True, exact=False, jpegxl=False, exclude=(), force=False, verify=True,
    jobs=1, load=load_fake, report=None, adapt=0, progress=None,
):  # fmt: skip
    """compress() with fake codecs."""
    run = RunOptions(jobs, "cpu", progress, load=load, report=report)
    storage = StorageOptions(exact, jpegxl)
    request = CompressRequest(inputs, output, list(codecs), embed, storage, exclude, force, verify, run, adapt=adapt)
    return compress_with(request)
