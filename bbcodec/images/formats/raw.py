"""Files that contain their samples as plain bytes: BMP, PBM, PGM, PPM, TGA and others.

Nothing is known of the formats here. Where a file has, from the byte that Pillow reads first, exactly the samples in
one of the layouts below, the bytes before and after are its skeleton, and it is restored byte for byte.

The skeleton is the number of the layout (one byte), the count of bytes before the samples (varint), those bytes, and
the bytes after the samples.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import BinaryIO, Final, NamedTuple

import numpy as np
from PIL import Image

from bbcodec.binary import pack_varint, take_varint
from bbcodec.errors import DamagedArchive
from bbcodec.images.formats.base import MAX_SKELETON_BYTES, BandSource, FileForm, Outline, Parts
from bbcodec.images.samples import Bytes, Samples, checked_bands, packed_rows
from bbcodec.sample_formats import SAMPLE_FORMATS, SampleFormat, sample_format_named

PACKED: Final = ("L1", "L2", "L4", "P1", "P2", "P4")
BYTES: Final = ("L8", "LA8", "RGB8", "RGBA8", "P8")


class RowLayout(NamedTuple):
    """How rows of samples of some formats lie in a file, without gaps except for the alignment of rows."""

    sample_formats: tuple[str, ...]
    bottom_up: bool = False
    blue_first: bool = False  # BGR and BGRA
    align: int = 1  # rows are filled with zeros to a multiple of so many bytes
    inverted: bool = False  # the highest sample is 0
    low_byte_first: bool = False  # of 16 bits
    whole_bytes: bool = False  # a sample of one bit is a byte, 0 or 255
    filler: int | None = None  # a byte of this value after each pixel

    def rows(self, samples: Samples, sample_format: SampleFormat) -> Bytes:
        """Samples (H, W, C) as rows of bytes (H, n), from top to bottom."""
        if self.blue_first:
            samples = samples[:, :, [2, 1, 0, 3][: sample_format.channels]]
        if self.filler is not None:
            samples = np.pad(samples, ((0, 0), (0, 0), (0, 1)), constant_values=self.filler)
        if self.inverted:
            samples = samples ^ np.uint8(2**sample_format.depth - 1)
        if self.low_byte_first:
            samples = samples.byteswap()
        if self.whole_bytes:
            samples = samples * np.uint8(255)
        rows = packed_rows(samples, 8 if self.whole_bytes else sample_format.depth)
        return np.pad(rows, ((0, 0), (0, -rows.shape[1] % self.align)))

    def row_bytes(self, sample_format: SampleFormat, width: int) -> int:
        """Bytes of a row."""
        empty = np.zeros((1, width, sample_format.channels), sample_format.dtype)
        return self.rows(empty, sample_format).size


# The number of a layout is its place here; it is part of the format, so new ones go to the end.
ROW_LAYOUTS: Final = (
    RowLayout((*BYTES, *PACKED, "L16")),
    RowLayout((*BYTES, *PACKED, "L16"), bottom_up=True),
    RowLayout((*BYTES, *PACKED), bottom_up=True, align=4),
    RowLayout(("RGB8", "RGBA8"), blue_first=True),
    RowLayout(("RGB8", "RGBA8"), blue_first=True, bottom_up=True),
    RowLayout(("RGB8",), blue_first=True, bottom_up=True, align=4),
    RowLayout(("L1", "L2", "L4", "L8"), inverted=True),
    RowLayout(("L16",), low_byte_first=True),
    RowLayout(("L16",), low_byte_first=True, bottom_up=True),
    RowLayout(("L1",), whole_bytes=True),
    RowLayout(("RGB8",), blue_first=True, bottom_up=True, filler=0),
    RowLayout(("RGB8",), blue_first=True, bottom_up=True, filler=255),
    RowLayout(("RGB8",), blue_first=True, filler=0),
    RowLayout(("RGB8",), blue_first=True, filler=255),
)


class RawStart(NamedTuple):
    """Where Pillow starts to read the samples of an open image file, and their format."""

    sample_format: str
    offset: int


def start_of(image: Image.Image) -> RawStart | None:
    """Where the samples of an image that is open but not loaded begin, if they may be plain; else None."""
    tiles = getattr(image, "tile", None)
    if not tiles or tiles[0][0] != "raw":  # Pillow's decoder for plain bytes
        return None
    _, _, offset, arguments = tiles[0]
    raw_mode = str(arguments if isinstance(arguments, str) else next(iter(arguments or ()), ""))
    depth = {"1": 1, "2": 2, "4": 4}.get(raw_mode.removesuffix("I").rstrip(";").partition(";")[2], 8)
    if image.mode.startswith("I"):
        sample_format = "L16" if "16" in raw_mode else ""
    elif image.mode in ("L", "P"):
        sample_format = f"{image.mode}{depth}"
    else:
        sample_format = {"1": "L1", "LA": "LA8", "RGB": "RGB8", "RGBA": "RGBA8"}.get(image.mode, "")
    return RawStart(sample_format, offset) if sample_format in SAMPLE_FORMATS and offset >= 0 else None


def find_skeleton(stream: BinaryIO, start: RawStart, width: int, height: int, bands: BandSource) -> bytes | None:
    """The skeleton of a file that has the samples of `bands` from `start` on in one of the layouts, or None."""
    size, sample_format = stream.seek(0, 2), SAMPLE_FORMATS[start.sample_format]
    for number, layout in enumerate(ROW_LAYOUTS):
        if start.sample_format not in layout.sample_formats:
            continue
        length = layout.row_bytes(sample_format, width) * height
        if not start.offset <= size - length <= MAX_SKELETON_BYTES:
            continue
        placed = _placed(layout, sample_format, height, bands(sample_format))
        if all(_holds(stream, start.offset + offset, rows) for offset, rows in placed):
            stream.seek(0)
            before = stream.read(start.offset)
            stream.seek(start.offset + length)
            return bytes([number]) + pack_varint(len(before)) + before + stream.read()
    return None


def _holds(stream: BinaryIO, offset: int, rows: Bytes) -> bool:
    stream.seek(offset)
    return stream.read(rows.nbytes) == rows.tobytes()


def _placed(
    layout: RowLayout, sample_format: SampleFormat, height: int, bands: Iterable[Samples]
) -> Iterator[tuple[int, Bytes]]:
    """The rows of each band in the order of the file, and how far they lie behind the first byte of samples."""
    top = 0
    for band in bands:
        rows = layout.rows(band, sample_format)
        top += len(rows)
        first = height - top if layout.bottom_up else top - len(rows)
        yield first * rows.shape[1], rows[::-1] if layout.bottom_up else rows


class RawFile(FileForm):
    """The bytes before and after the samples are kept: the same file, byte for byte."""

    name = "raw"
    pillow_formats = ("BMP", "DIB", "PPM", "TGA", "SGI", "SUN")
    exact = True

    def take_apart(self, image: Image.Image, stream: BinaryIO, bands: BandSource, exact: bool | None) -> Parts | None:
        """As `FileForm` says."""
        start = start_of(image)
        if start is None:
            return None
        skeleton = find_skeleton(stream, start, image.width, image.height, bands)
        return None if skeleton is None else Parts(start.sample_format, skeleton)

    def join(self, outline: Outline, bands: Iterable[Samples], stream: BinaryIO, *, trial: bool = False) -> None:
        """As `FileForm` says."""
        skeleton, sample_format = outline.skeleton, sample_format_named(outline.sample_format)
        number = skeleton[0] if skeleton else len(ROW_LAYOUTS)
        if number >= len(ROW_LAYOUTS) or outline.sample_format not in ROW_LAYOUTS[number].sample_formats:
            raise DamagedArchive(f"an image of the archive has an unknown layout of {outline.sample_format}")
        layout = ROW_LAYOUTS[number]
        before, position = take_varint(skeleton, 1)
        if position + before > len(skeleton):
            raise DamagedArchive("the skeleton of an image of the archive is cut short")
        start = stream.tell() + before
        stream.write(skeleton[position : position + before])
        checked = checked_bands(bands, sample_format, outline.width, outline.height)
        for offset, rows in _placed(layout, sample_format, outline.height, checked):
            stream.seek(start + offset)
            stream.write(rows.tobytes())
        stream.seek(start + layout.row_bytes(sample_format, outline.width) * outline.height)
        stream.write(skeleton[position + before :])


FORM: Final = RawFile()
