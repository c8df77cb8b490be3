"""DICOM files put together by hand, element by element."""

import struct

LONG = ("OB", "OW", "SQ", "UN", "UT")
SYNTAXES = {("<", False): "1.2.840.10008.1.2", ("<", True): "1.2.840.10008.1.2.1", (">", True): "1.2.840.10008.1.2.2"}


def element(number, kind, value, order="<", explicit=True, length=None):
    """An element; length: what it says of its value, if not how long that is."""
    value += b"\0" * (len(value) % 2)
    length = len(value) if length is None else length
    start = struct.pack(order + "HH", number >> 16, number & 0xFFFF)
    if not explicit:
        return start + struct.pack(order + "I", length) + value
    if kind in LONG:
        return start + kind.encode() + bytes(2) + struct.pack(order + "I", length) + value
    return start + kind.encode() + struct.pack(order + "H", length) + value


def item(number, order="<", value=b"", length=None):
    """What sequences are made of: items, and what ends them."""
    return element(number, "", value, order, False, length)


def sequence(order="<", explicit=True):
    """A sequence of an undefined length, with items of both sorts, and pixels that do not count."""
    pixels = element(0x7FE00010, "OW", bytes(8), order, explicit)
    items = item(0xFFFEE000, order, pixels) + item(0xFFFEE000, order, pixels, 2**32 - 1) + item(0xFFFEE00D, order)
    whole = element(0x00081111, "SQ", items + item(0xFFFEE0DD, order), order, explicit, 2**32 - 1)
    # A sequence of an unknown type is implicit and low byte first, whatever it lies in.
    inner = element(0x7FE00010, "OW", bytes(8), explicit=False)
    unknown = item(0xFFFEE000, value=inner, length=2**32 - 1) + item(0xFFFEE00D) + item(0xFFFEE0DD)
    return whole + (element(0x00091111, "UN", unknown, order, explicit, 2**32 - 1) if explicit else b"")


def dicom(frames, order="<", explicit=True, signed=False, planar=False, behind=b"", **more):
    """A file of frames (N, H, W, C), uint8 or uint16. more: values of elements called `t` and their number."""
    n, height, width, channels = frames.shape
    bits = 8 * frames.itemsize
    numbers = {
        0x00280002: channels, 0x00280006: int(planar), 0x00280010: height, 0x00280011: width, 0x00280100: bits,
        0x00280101: bits, 0x00280103: int(signed),
    }  # fmt: skip
    numbers |= {int(name[1:], 16): value for name, value in more.items()}
    texts = {0x00280004: ("CS", "RGB" if channels == 3 else "MONOCHROME2"), 0x00280008: ("IS", str(n))}
    found = {number: element(number, "US", struct.pack(order + "H", value), order, explicit)
             for number, value in numbers.items()}  # fmt: skip
    found |= {number: element(number, kind, text.encode(), order, explicit) for number, (kind, text) in texts.items()}
    samples = frames.transpose(0, 3, 1, 2) if planar else frames
    pixels = samples.astype(frames.dtype.newbyteorder(order)).tobytes()
    syntax = SYNTAXES[order, explicit].encode()
    meta = element(0x00020010, "UI", syntax)
    meta = element(0x00020000, "UL", struct.pack("<I", len(meta))) + meta
    body = sequence(order, explicit) + b"".join(found[number] for number in sorted(found))
    return bytes(128) + b"DICM" + meta + body + element(0x7FE00010, "OW", pixels, order, explicit) + behind
