"""Samples and files for the tests of images."""

import io
import struct
import zlib

import numpy as np
from hypothesis import strategies as st
from PIL import Image

from bbcodec.sample_formats import SAMPLE_FORMATS

PNG_HEADER = {
    "L1": (1, 0), "L2": (2, 0), "L4": (4, 0), "L8": (8, 0), "L16": (16, 0), "LA8": (8, 4), "RGB8": (8, 2),
    "RGBA8": (8, 6), "P1": (1, 3), "P2": (2, 3), "P4": (4, 3), "P8": (8, 3), "RGB16": (16, 2), "RGBA16": (16, 6),
}  # fmt: skip


def random_samples(sample_format, width, height, seed=0):
    """Samples of a sample_format that a filter can shorten, with the highest and the lowest value among them."""
    about = SAMPLE_FORMATS[sample_format]
    generator = np.random.default_rng(seed)
    top = 2**about.depth
    steps = generator.integers(-max(1, top // 30), max(1, top // 30) + 1, (height, width, about.channels))
    samples = (np.cumsum(steps, axis=1) + generator.integers(0, top, (height, 1, about.channels))) % top
    samples[0, 0], samples[-1, -1] = 0, top - 1
    return samples.astype(about.dtype)


def sizes(most=40):
    return st.tuples(st.integers(1, most), st.integers(1, most))


def saved(image, format, **options):
    stream = io.BytesIO()
    image.save(stream, format, **options)
    return stream.getvalue()


def opened(data):
    image = Image.open(io.BytesIO(data))
    image.load()
    return image


def pillow_image(samples, sample_format):
    """The Pillow image of samples of a sample_format, made by Pillow's own means."""
    about = SAMPLE_FORMATS[sample_format]
    height, width = samples.shape[:2]
    if sample_format == "L1":
        return Image.fromarray(samples[:, :, 0].astype(bool))
    if about.mode == "P":
        image = Image.frombytes("P", (width, height), samples.tobytes())
        image.putpalette(random_palette(2**about.depth).tobytes())
        return image
    if about.depth < 8:
        samples = samples * np.uint8(255 // (2**about.depth - 1))
    return Image.frombytes(about.mode, (width, height), samples.tobytes())


def random_palette(count, channels=3, seed=0):
    """Distinct colours (count, channels)."""
    generator = np.random.default_rng(seed)
    colours = generator.integers(0, 256, (count, channels), dtype=np.uint8)
    colours[:, 0] = np.arange(count) * 255 // max(1, count - 1)
    return colours


def png_chunk(sample_format, data):
    return struct.pack(">I", len(data)) + sample_format + data + struct.pack(">I", zlib.crc32(sample_format + data))


def png_file(width, height, depth, color, rows, before=b"", after=b"", interlaced=0):
    """A PNG of rows that are filtered already."""
    header = png_chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, depth, color, 0, 0, interlaced))
    pixels = png_chunk(b"IDAT", zlib.compress(rows))
    return b"\x89PNG\r\n\x1a\n" + header + before + pixels + after + png_chunk(b"IEND", b"")


def png_rows(samples, depth):
    """Rows of a PNG without filters, bit by bit."""
    rows = b""
    for row in samples.reshape(len(samples), -1):
        bits = "".join(format(int(value), f"0{depth}b") for value in row)
        bits += "0" * (-len(bits) % 8)
        rows += b"\0" + bytes(int(bits[place : place + 8], 2) for place in range(0, len(bits), 8))
    return rows


def png_of(samples, sample_format, before=b"", after=b"", interlaced=False):
    """A PNG of samples, written without help: bits as text, Adam7 pixel by pixel."""
    depth, color = PNG_HEADER[sample_format]
    height, width = samples.shape[:2]
    if SAMPLE_FORMATS[sample_format].mode == "P" and b"PLTE" not in before:
        before += png_chunk(b"PLTE", random_palette(2**depth).tobytes())
    if not interlaced:
        return png_file(width, height, depth, color, png_rows(samples, depth), before, after)
    # The pattern of 8 by 8 pixels in section 8.1 of the specification: the pass of each.
    pattern = ["16462646", "77777777", "56565656", "77777777", "36463646", "77777777", "56565656", "77777777"]
    rows = b""
    for number in "1234567":
        for y in range(height):
            row = [samples[y, x] for x in range(width) if pattern[y % 8][x % 8] == number]
            if row:
                rows += png_rows(np.array([row]), depth)
    return png_file(width, height, depth, color, rows, before, after, interlaced=1)
