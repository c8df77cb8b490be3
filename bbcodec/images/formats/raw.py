"""Files that contain their samples as plain bytes: BMP, PBM, PGM, PPM, TGA, uncompressed TIFF and others.

Nothing is known of the formats here. Where a file has, from the place that Pillow reads first, exactly the samples in
one of the layouts below, the bytes before and after are its metadata, and it comes back byte for byte.

Metadata is the number of the layout (one byte), the count of bytes before the samples (varint), those bytes, and the
bytes after the samples.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from typing import BinaryIO, Final, NamedTuple

import numpy as np
from PIL import Image

from bbcodec.binary import pack_varint, take_varint
from bbcodec.errors import DamagedArchive
from bbcodec.sample_formats import (
    MAX_METADATA_BYTES,
    SAMPLE_FORMATS,
    Bytes,
    SampleFormat,
    Samples,
    counted,
    packed_rows,
    sample_format_named,
)

PACKED: Final = ("L1", "L2", "L4", "P1", "P2", "P4")
BYTES: Final = ("L8", "LA8", "RGB8", "RGBA8", "P8")


class Layout(NamedTuple):
    """How rows of samples of some kinds lie in a file, without gaps but for the alignment of rows."""

    kinds: tuple[str, ...]
    bottom_up: bool = False
    blue_first: bool = False  # BGR and BGRA
    align: int = 1  # rows are filled with zeros to a multiple of so many bytes
    inverted: bool = False  # the highest sample is 0
    low_byte_first: bool = False  # of 16 bits
    whole_bytes: bool = False  # a sample of one bit is a byte, 0 or 255
    filler: int | None = None  # a byte of this value after each pixel

    def rows(self, samples: Samples, kind: SampleFormat) -> Bytes:
        """Samples (H, W, C) as rows of bytes (H, n), from top to bottom."""
        if self.blue_first:
            samples = samples[:, :, [2, 1, 0, 3][: kind.channels]]
        if self.filler is not None:
            samples = np.pad(samples, ((0, 0), (0, 0), (0, 1)), constant_values=self.filler)
        if self.inverted:
            samples = samples ^ np.uint8(2**kind.depth - 1)
        if self.low_byte_first:
            samples = samples.byteswap()
        if self.whole_bytes:
            samples = samples * np.uint8(255)
        rows = packed_rows(samples, 8 if self.whole_bytes else kind.depth)
        return np.pad(rows, ((0, 0), (0, -rows.shape[1] % self.align)))

    def row_bytes(self, kind: SampleFormat, width: int) -> int:
        """Bytes of a row."""
        return self.rows(np.zeros((1, width, kind.channels), kind.dtype), kind).size


# The number of a layout is its place here; it is part of the format, so new ones go to the end.
LAYOUTS: Final = (
    Layout((*BYTES, *PACKED, "L16")),
    Layout((*BYTES, *PACKED, "L16"), bottom_up=True),
    Layout((*BYTES, *PACKED), bottom_up=True, align=4),
    Layout(("RGB8", "RGBA8"), blue_first=True),
    Layout(("RGB8", "RGBA8"), blue_first=True, bottom_up=True),
    Layout(("RGB8",), blue_first=True, bottom_up=True, align=4),
    Layout(("L1", "L2", "L4", "L8"), inverted=True),
    Layout(("L16",), low_byte_first=True),
    Layout(("L16",), low_byte_first=True, bottom_up=True),
    Layout(("L1",), whole_bytes=True),
    Layout(("RGB8",), blue_first=True, bottom_up=True, filler=0),
    Layout(("RGB8",), blue_first=True, bottom_up=True, filler=255),
    Layout(("RGB8",), blue_first=True, filler=0),
    Layout(("RGB8",), blue_first=True, filler=255),
)


class Place(NamedTuple):
    """Where Pillow starts to read the samples of an open image file, and their kind."""

    sample_format: str
    start: int


def place_of(image: Image.Image) -> Place | None:
    """Where the samples of an image that is open but not loaded begin, if they may be plain; else None."""
    tiles = getattr(image, "tile", None)
    if not tiles or tiles[0][0] != "raw":  # Pillow's decoder for plain bytes
        return None
    _, _, start, arguments = tiles[0]
    raw_mode = str(arguments if isinstance(arguments, str) else next(iter(arguments or ()), ""))
    depth = {"1": 1, "2": 2, "4": 4}.get(raw_mode.removesuffix("I").rstrip(";").partition(";")[2], 8)
    if image.mode.startswith("I"):
        kind = "L16" if "16" in raw_mode else ""
    elif image.mode in ("L", "P"):
        kind = f"{image.mode}{depth}"
    else:
        kind = {"1": "L1", "LA": "LA8", "RGB": "RGB8", "RGBA": "RGBA8"}.get(image.mode, "")
    return Place(kind, start) if kind in SAMPLE_FORMATS and start >= 0 else None


def take_apart(
    stream: BinaryIO, place: Place, width: int, height: int, bands: Callable[[], Iterable[Samples]]
) -> bytes | None:
    """The metadata of a file that has the samples of `bands` at its place in one of the layouts, or None."""
    size, kind = stream.seek(0, 2), SAMPLE_FORMATS[place.sample_format]
    for number, layout in enumerate(LAYOUTS):
        if place.sample_format not in layout.kinds:
            continue
        length = layout.row_bytes(kind, width) * height
        if not place.start <= size - length <= MAX_METADATA_BYTES:
            continue
        if all(_holds(stream, place.start + offset, rows) for offset, rows in _placed(layout, kind, height, bands())):
            stream.seek(0)
            before = stream.read(place.start)
            stream.seek(place.start + length)
            return bytes([number]) + pack_varint(len(before)) + before + stream.read()
    return None


def _holds(stream: BinaryIO, offset: int, rows: Bytes) -> bool:
    stream.seek(offset)
    return stream.read(rows.nbytes) == rows.tobytes()


def _placed(layout: Layout, kind: SampleFormat, height: int, bands: Iterable[Samples]) -> Iterator[tuple[int, Bytes]]:
    """The rows of each band in the order of the file, and how far they lie behind the first byte of samples."""
    top = 0
    for band in bands:
        rows = layout.rows(band, kind)
        top += len(rows)
        first = height - top if layout.bottom_up else top - len(rows)
        yield first * rows.shape[1], rows[::-1] if layout.bottom_up else rows


def write_raw(stream: BinaryIO, kind: str, width: int, height: int, metadata: bytes, bands: Iterable[Samples]) -> None:
    """Write the file of samples that come as bands of rows (h, W, C), from top to bottom, to a seekable stream.

    Raises DamagedArchive for metadata that is not of such a file, ValueError for bands that are not of this kind and
    size.
    """
    if not metadata or metadata[0] >= len(LAYOUTS) or kind not in LAYOUTS[metadata[0]].kinds:
        raise DamagedArchive(f"an image of the archive has an unknown layout of {kind}")
    layout, description = LAYOUTS[metadata[0]], sample_format_named(kind)
    before, position = take_varint(metadata, 1)
    if position + before > len(metadata):
        raise DamagedArchive("the metadata of an image of the archive is cut short")
    start = stream.tell() + before
    stream.write(metadata[position : position + before])
    for offset, rows in _placed(layout, description, height, counted(bands, description, width, height)):
        stream.seek(start + offset)
        stream.write(rows.tobytes())
    stream.seek(start + layout.row_bytes(description, width) * height)
    stream.write(metadata[position + before :])
