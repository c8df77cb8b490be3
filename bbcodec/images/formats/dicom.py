"""Where the samples of DICOM files lie that are not compressed: frames of grey or colour, of 8 and 16 bits.

Little of DICOM (PS3.5) is needed for that: elements are walked through, sequences too, up to the pixel data. So no
package that reads and writes all of it is. Numbers of elements are group << 16 | element.
"""

from __future__ import annotations

import os
import struct
from collections.abc import Iterator
from typing import BinaryIO, Final, NamedTuple

from bbcodec.images.formats.base import Unfit
from bbcodec.images.formats.segment_layouts import MOST_SEGMENTS, Layout
from bbcodec.images.formats.segment_skeletons import Segmented, Span, in_bands
from bbcodec.sample_formats import SAMPLE_FORMATS

PREAMBLE_BYTES: Final = 128
PREFIX: Final = b"DICM"
TRANSFER_SYNTAX: Final = 0x00020010
SAMPLES, PHOTOMETRIC, PLANAR, FRAMES = 0x00280002, 0x00280004, 0x00280006, 0x00280008
HEIGHT, WIDTH, BITS, SIGN = 0x00280010, 0x00280011, 0x00280100, 0x00280103
PIXELS: Final = 0x7FE00010
READ_ELEMENTS: Final = (TRANSFER_SYNTAX, SAMPLES, PHOTOMETRIC, PLANAR, FRAMES, HEIGHT, WIDTH, BITS, SIGN)
MOST_VALUE_BYTES: Final = 64  # of an element that is read
ITEM, ITEM_END, SEQUENCE_END = 0xFFFEE000, 0xFFFEE00D, 0xFFFEE0DD
UNDEFINED: Final = 2**32 - 1  # a length: up to an end
LONG: Final = (b"OB", b"OD", b"OF", b"OL", b"OV", b"OW", b"SQ", b"SV", b"UC", b"UN", b"UR", b"UT", b"UV")
MOST_ELEMENTS: Final = 2**18
MOST_DEPTH: Final = 64


class Syntax(NamedTuple):
    """How elements are written: byte order as of `struct`, and whether their types are."""

    order: str
    explicit: bool


META: Final = Syntax("<", True)  # of the elements of group 2, which come first
IMPLICIT: Final = Syntax("<", False)
SYNTAXES: Final = {
    b"1.2.840.10008.1.2": IMPLICIT,
    b"1.2.840.10008.1.2.1": META,
    b"1.2.840.10008.1.2.2": Syntax(">", True),
}


class Element(NamedTuple):
    """An element outside all sequences, and where its value lies."""

    number: int
    start: int
    length: int


def find_segments(stream: BinaryIO) -> Segmented | None:
    """Where the samples of a DICOM file lie; None for other files. Raises Unfit or struct.error."""
    stream.seek(PREAMBLE_BYTES)
    if stream.read(len(PREFIX)) != PREFIX:
        return None
    size, at = stream.seek(0, os.SEEK_END), PREAMBLE_BYTES + len(PREFIX)
    values: dict[int, bytes] = {}
    for element in _elements(stream, at, META, size, only_meta=True):
        _note(stream, element, values)
        at = element.start + element.length
    name = values.get(TRANSFER_SYNTAX, b"").rstrip(b"\0 ")
    if name not in SYNTAXES:
        raise Unfit(f"transfer syntax {name.decode('latin-1') or 'not told'}")
    for element in _elements(stream, at, SYNTAXES[name], size):
        if element.number == PIXELS:
            return _segmented(values, SYNTAXES[name], element, size)
        _note(stream, element, values)
    raise Unfit("no pixels")


def _elements(stream: BinaryIO, at: int, syntax: Syntax, size: int, *, only_meta: bool = False) -> Iterator[Element]:
    """The elements from a place on that lie in no sequence; only_meta: as long as they are of group 2."""
    around: list[Syntax] = []  # of the sequences and items that the place lies in
    for _ in range(MOST_ELEMENTS):
        if at + 8 > size:
            return
        stream.seek(at)
        head = stream.read(12)
        group, element = struct.unpack(syntax.order + "HH", head[:4])
        number = group << 16 | element
        if only_meta and group != TRANSFER_SYNTAX >> 16:
            return
        kind = head[4:6] if syntax.explicit and group != ITEM >> 16 else b""
        if kind in LONG:
            (length,), at = struct.unpack(syntax.order + "I", head[8:12]), at + 12
        elif kind:
            (length,), at = struct.unpack(syntax.order + "H", head[6:8]), at + 8
        else:
            (length,), at = struct.unpack(syntax.order + "I", head[4:8]), at + 8
        if number in (ITEM_END, SEQUENCE_END):
            if not around:
                raise Unfit("sequences that end before they begin")
            syntax = around.pop()
        elif length == UNDEFINED and number != PIXELS:
            if len(around) == MOST_DEPTH:
                raise Unfit("too many sequences in each other")
            around.append(syntax)
            syntax = IMPLICIT if kind == b"UN" else syntax  # PS3.5, 6.2.2
        else:
            if not around:
                yield Element(number, at, length)
            at += length
    raise Unfit("too many elements")


def _note(stream: BinaryIO, element: Element, values: dict[int, bytes]) -> None:
    """Take in the value of an element, if it is one that is read."""
    if element.number in READ_ELEMENTS and element.length <= MOST_VALUE_BYTES:
        stream.seek(element.start)
        values[element.number] = stream.read(element.length)


def _segmented(values: dict[int, bytes], syntax: Syntax, pixels: Element, size: int) -> Segmented:
    """The frames in the pixel data. Raises Unfit."""

    def number(element: int, default: int | None = None) -> int:
        data = values.get(element, b"")
        if len(data) != 2 and default is None:
            raise Unfit(f"no single value of the element {element:08x}")
        return default if default is not None and len(data) != 2 else int(struct.unpack(syntax.order + "H", data)[0])

    samples, bits, height, width = number(SAMPLES), number(BITS), number(HEIGHT), number(WIDTH)
    frames = int(values.get(FRAMES, b"1").strip(b"\0 ") or b"1")
    if pixels.length == UNDEFINED:
        raise Unfit("compressed frames")
    if bits not in (8, 16) or samples not in (1, 3) or min(height, width, frames) < 1:
        raise Unfit(f"{samples} x {bits} bits a sample")
    colours = samples == 3 and bits == 8 and values.get(PHOTOMETRIC, b"").strip(b"\0 ") == b"RGB"
    sample_format = "RGB8" if colours else f"L{bits}"
    layout = Layout(
        pages=frames, groups=1 if colours else samples, height=height, width=width, rows=height, columns=width,
        planar=samples > 1 and number(PLANAR, 0) == 1, low_first=syntax.order == "<",
        flips=2 ** (bits - 1) if number(SIGN, 0) else 0,
    )  # fmt: skip
    about = SAMPLE_FORMATS[sample_format]
    planes = samples if layout.planar else 1
    length = height * width * samples * bits // 8 // planes
    if frames * planes > MOST_SEGMENTS:
        raise Unfit("too many frames")
    if frames * planes * length > min(pixels.length, size - pixels.start):
        raise Unfit("fewer pixels than it says")
    spans = [Span(pixels.start + frame * length, length) for frame in range(frames * planes)]
    layout, spans = in_bands(layout, about, spans) or (layout, spans)
    return Segmented("DICOM", sample_format, layout, spans)
