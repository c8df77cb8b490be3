"""Strange image files, several hundred: all that Pillow can write, files written by hand, and broken ones.

`make` writes them, the same at each call; `check_same` compares two files by all that Pillow sees. Nothing of bbcodec
is used here.

    python tests/strange.py FOLDER
"""

import io
import random
import shutil
import struct
import subprocess
import sys
import warnings
import zlib
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from itertools import product
from pathlib import Path

import numpy as np
from PIL import ExifTags, Image, ImageSequence, PngImagePlugin, TiffImagePlugin

Files = Iterator[tuple[str, bytes | None]]  # None where this Pillow does not write such a file

SIZES = ((1, 1), (1, 37), (41, 1), (8, 8), (33, 17))
CHANNELS = {
    "L": 1,
    "LA": 2,
    "RGB": 3,
    "RGBA": 4,
    "RGBX": 4,
    "CMYK": 4,
    "YCbCr": 3,
    "LAB": 3,
    "HSV": 3,
    "La": 2,
    "RGBa": 4,
}
ALL_MODES = (*CHANNELS, "1", "P", "PA", "I", "F", "I;16", "I;16B")


@contextmanager
def quietly() -> Iterator[None]:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        yield


def picture(mode: str, size: tuple[int, int] = (33, 17), seed: int = 0) -> Image.Image:
    """A smooth and noisy image of a mode."""
    width, height = size
    generator = np.random.default_rng(seed)

    def values(channels: int, top: int) -> np.ndarray:
        steps = generator.integers(-max(1, top // 40), max(1, top // 40) + 1, (height, width, channels))
        return (np.cumsum(steps, axis=1) + generator.integers(0, top, (height, 1, channels))) % top

    if mode in CHANNELS:
        return Image.frombytes(mode, size, values(CHANNELS[mode], 256).astype(np.uint8).tobytes())
    if mode == "1":
        return Image.fromarray(values(1, 9)[:, :, 0] > 4)
    if mode in ("P", "PA"):
        image = Image.fromarray(values(1, 256)[:, :, 0].astype(np.uint8)).convert("P")
        image.putpalette(generator.integers(0, 256, 768, dtype=np.uint8).tobytes())
        return image.convert(mode)
    if mode == "F":
        return Image.fromarray((values(1, 1000)[:, :, 0] / 7).astype(np.float32))
    if mode == "I":
        return Image.fromarray(values(1, 2**31)[:, :, 0].astype(np.int32))
    order = ">u2" if mode == "I;16B" else "<u2"
    return Image.frombytes(mode, size, values(1, 2**16)[:, :, 0].astype(order).tobytes())


def saved(image: Image.Image, format: str, **options: object) -> bytes | None:
    """The file of an image, or None where Pillow does not write such a one."""
    stream = io.BytesIO()
    with quietly():
        try:
            image.save(stream, format, **options)
        except Exception:  # whatever Pillow raises: it does not write this
            return None
    return stream.getvalue()


def indexed(colours: int, used: int, seed: int = 0) -> Image.Image:
    """An image of indices below `used`, with a palette of `colours`."""
    generator = np.random.default_rng(seed)
    image = Image.frombytes("P", (33, 17), generator.integers(0, used, (17, 33), dtype=np.uint8).tobytes())
    image.putpalette(generator.integers(0, 256, 3 * colours, dtype=np.uint8).tobytes())
    return image


# --- PNG by hand -----------------------------------------------------------------------------------------------------


def chunk(kind: bytes, data: bytes) -> bytes:
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))


def png(
    depth: int, color: int, size: tuple[int, int], before: bytes = b"", after: bytes = b"", interlaced: int = 0,
    seed: int = 0, most: int | None = None,
) -> bytes:  # fmt: skip
    """A PNG of random samples; `most` bounds the bytes of rows, so that indices stay in a small palette."""
    width, height = size
    channels = {0: 1, 2: 3, 3: 1, 4: 2, 6: 4}[color]
    passes = [(0, 0, 8, 8), (4, 0, 8, 8), (0, 4, 4, 8), (2, 0, 4, 4), (0, 2, 2, 4), (1, 0, 2, 2), (0, 1, 1, 2)]
    generator = random.Random(seed)
    rows = b""
    for column, row, across, down in passes if interlaced else [(0, 0, 1, 1)]:
        columns, lines = -(-max(0, width - column) // across), -(-max(0, height - row) // down)
        length = (columns * channels * depth + 7) // 8
        for _ in range(lines if columns else 0):
            content = bytes(generator.randrange(most or 256) for _ in range(length))
            rows += bytes([generator.randrange(5) if most is None and color != 3 else 0]) + content
    header = chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, depth, color, 0, 0, interlaced))
    return b"\x89PNG\r\n\x1a\n" + header + before + chunk(b"IDAT", zlib.compress(rows)) + after + chunk(b"IEND", b"")


PALETTE = bytes(range(256)) * 3
PNG_TYPES = (
    [(d, 0) for d in (1, 2, 4, 8, 16)] + [(d, 3) for d in (1, 2, 4, 8)] + [(d, c) for c in (2, 4, 6) for d in (8, 16)]
)


def png_types() -> Files:
    for (depth, color), interlaced, size in product(PNG_TYPES, (0, 1), SIZES):
        before = chunk(b"PLTE", PALETTE[: 3 * 2**depth]) if color == 3 else b""
        yield (
            f"type-{color}-{depth}-{interlaced}-{size[0]}x{size[1]}.png",
            png(depth, color, size, before, b"", interlaced),
        )


def png_chunks() -> Files:
    size = (9, 7)
    ancillary = {
        "gAMA": struct.pack(">I", 45455), "cHRM": struct.pack(">8I", *range(1, 9)), "sRGB": b"\0", "sBIT": b"\5\6\5",
        "bKGD": bytes(6), "pHYs": struct.pack(">IIB", 2835, 1417, 1), "tIME": b"\x07\xe9\1\2\3\4\5",
        "tEXt": b"Title\0ein Bild", "zTXt": b"Long\0\0" + zlib.compress(b"x" * 999),
        "iTXt": b"Comment\0\0\0de\0Kommentar\0sp\xc3\xa4\xc3\x9fe", "iCCP": b"icc\0\0" + zlib.compress(b"p" * 200),
        "eXIf": b"II*\0\x08\0\0\0\0\0\0\0\0\0", "tRNS": struct.pack(">3H", 1, 2, 3), "sPLT": b"s\0\x08" + bytes(6),
        "hIST": bytes(4), "oFFs": bytes(9), "prVt": b"private", "aaAa": b"", "vpAg": bytes(9),
    }  # fmt: skip
    for name, data in ancillary.items():
        piece = chunk(name.encode(), data)
        yield f"chunk-before-{name}.png", png(8, 2, size, piece)
        yield f"chunk-after-{name}.png", png(8, 2, size, b"", piece)
        yield f"chunk-twice-{name}.png", png(8, 2, size, piece * 2)
    yield "chunk-all.png", png(8, 2, size, b"".join(chunk(name.encode(), data) for name, data in ancillary.items()))
    for depth, key in ((1, 1), (2, 3), (4, 7), (8, 200), (16, 40000)):
        yield f"grey-key-{depth}.png", png(depth, 0, size, chunk(b"tRNS", struct.pack(">H", key)))
    for colours, alpha in product((1, 2, 5, 256), (0, 1, 255, 256)):
        before = chunk(b"PLTE", PALETTE[: 3 * colours]) + (chunk(b"tRNS", PALETTE[7 : 7 + alpha]) if alpha else b"")
        yield f"palette-{colours}-alpha-{alpha}.png", png(8, 3, size, before, most=colours)
    yield "palette-missing.png", png(8, 3, size)
    yield "palette-short.png", png(8, 3, size, chunk(b"PLTE", PALETTE[:9]))
    yield "palette-of-rgb.png", png(8, 2, size, chunk(b"PLTE", PALETTE[:9]))
    yield "palette-same-colours.png", png(8, 3, size, chunk(b"PLTE", b"abc" * 256))
    yield "animation-of-one.png", png(8, 2, size, chunk(b"acTL", struct.pack(">II", 1, 0)))


def png_broken() -> Files:
    good = png(8, 2, (9, 7), chunk(b"tEXt", b"Title\0ein Bild"))
    start = good.index(b"IDAT") - 4
    pixels = good[start + 8 : -16]
    yield "two-idat.png", good[:start] + chunk(b"IDAT", pixels[:9]) + chunk(b"IDAT", pixels[9:]) + good[-12:]
    yield (
        "apart-idat.png",
        good[:start] + chunk(b"IDAT", pixels[:9]) + chunk(b"tEXt", b"a\0b") + chunk(b"IDAT", pixels[9:]) + good[-12:],
    )
    yield "empty-idat.png", good[:start] + chunk(b"IDAT", b"") + good[start:]
    yield "tail.png", good + b"some bytes after the end"
    yield "zip-tail.png", good + b"PK\5\6" + bytes(18)
    yield "no-iend.png", good[:-12]
    yield "no-idat.png", good[:start] + good[-12:]
    yield "more-pixels.png", good[:start] + chunk(b"IDAT", zlib.compress(bytes(9999))) + good[-12:]
    yield "fewer-pixels.png", good[:start] + chunk(b"IDAT", zlib.compress(bytes(99))) + good[-12:]
    yield "zlib-tail.png", good[:start] + chunk(b"IDAT", pixels + b"tail") + good[-12:]
    yield "wrong-adler.png", good[:start] + chunk(b"IDAT", pixels[:-1] + b"\0") + good[-12:]
    yield "wrong-crc.png", good[:40] + bytes([good[40] ^ 1]) + good[41:]
    yield "ihdr-twice.png", good[:33] + good[8:]
    yield "huge.png", good[:16] + struct.pack(">II", 2**31 - 1, 2**31 - 1) + good[24:]
    yield "iend-data.png", good[:-12] + chunk(b"IEND", b"data")


# --- by Pillow -------------------------------------------------------------------------------------------------------

EXTENSIONS = {
    "PNG": "png", "BMP": "bmp", "DIB": "dib", "GIF": "gif", "TIFF": "tif", "WEBP": "webp", "JPEG": "jpg", "ICO": "ico",
    "JPEG2000": "jp2", "TGA": "tga", "PCX": "pcx", "PPM": "ppm", "SGI": "sgi", "DDS": "dds", "XBM": "xbm", "MSP": "msp",
    "SPIDER": "spi", "IM": "im", "ICNS": "icns", "AVIF": "avif", "MPO": "mpo", "PDF": "pdf", "EPS": "eps", "BLP": "blp",
    "QOI": "qoi",
}  # fmt: skip


def formats() -> Files:
    """Every mode that each format takes."""
    for (format, extension), mode in product(EXTENSIONS.items(), ALL_MODES):
        if format == "AVIF" and mode != "RGB":
            continue  # slow
        for size in ((33, 17), (1, 1)) if format in ("BMP", "PPM", "TGA", "TIFF", "GIF", "WEBP") else ((33, 17),):
            data = saved(picture(mode, size), format)
            yield f"{format}-{mode.replace(';', '-')}-{size[0]}x{size[1]}.{extension}", data


def metadata_options() -> dict[str, dict[str, object]]:
    exif = Image.Exif()
    exif[0x010E], exif[0x011A], exif[0x0112] = "described", TiffImagePlugin.IFDRational(0, 0), 6
    exif[ExifTags.IFD.Exif] = {0x829A: TiffImagePlugin.IFDRational(1, 50), 0x9286: b"UNICODE\0x"}
    exif[ExifTags.IFD.GPSInfo] = {1: "N", 2: (1.0, 2.0, 3.0)}
    return {
        "plain": {},
        "exif": {"exif": exif},
        "bad-exif": {"exif": b"Exif\0\0MM\0*\0\0\0\x08\0\xff"},
        "dpi": {"dpi": (72, 300)},
        "icc": {"icc_profile": b"not a profile" * 20},
        "xmp": {"xmp": b"<x:xmpmeta/>"},
        "comment": {"comment": b"words"},
    }


def with_metadata() -> Files:
    for format, mode in product(
        ("PNG", "WEBP", "TIFF", "JPEG", "BMP", "GIF", "JPEG2000", "MPO", "AVIF"), ("L", "RGB", "RGBA", "P")
    ):
        if format == "AVIF" and mode != "RGBA":
            continue
        for name, options in metadata_options().items():
            lossless = {"lossless": True, "exact": True} if format == "WEBP" else {}
            data = saved(picture(mode), format, **options, **lossless)
            yield f"metadata-{name}-{mode}.{EXTENSIONS[format]}", data


def pngs() -> Files:
    info = PngImagePlugin.PngInfo()
    info.add_text("Title", "ein Bild")
    info.add_itxt("Comment", "späße", lang="de", tkey="Kommentar")
    info.add_text("Long", "x" * 2000, zip=True)
    frames = [picture("RGBA", seed=seed) for seed in range(1, 4)]
    for mode in ("1", "L", "LA", "P", "RGB", "RGBA", "I;16"):
        yield f"text-{mode.replace(';', '-')}.png", saved(picture(mode), "PNG", pnginfo=info)
    for bits, count in product((1, 2, 4, 8), (1, 2, 3, 16, 256)):
        data = saved(indexed(count, min(count, 2**bits)), "PNG", bits=bits)
        yield f"bits-{bits}-colours-{count}.png", data
        yield (
            f"transparent-{bits}-{count}.png",
            saved(indexed(count, min(count, 2**bits)), "PNG", bits=bits, transparency=0),
        )
    for disposal, blend, first in product((0, 1, 2), (0, 1), (False, True)):
        options = {
            "disposal": disposal,
            "blend": blend,
            "default_image": first,
            "duration": [10, 20, 30, 40],
            "loop": 3,
        }
        data = saved(picture("RGBA"), "PNG", save_all=True, append_images=frames, **options)
        yield f"animated-{disposal}-{blend}-{int(first)}.png", data


def gifs() -> Files:
    for colours, used in ((1, 1), (2, 2), (5, 5), (256, 256), (256, 3)):
        yield f"colours-{colours}-{used}.gif", saved(indexed(colours, used), "GIF")
        yield (
            f"transparent-{colours}-{used}.gif",
            saved(indexed(colours, used), "GIF", transparency=0, interlace=0),
        )
    for mode, disposal, loop in product(("P", "RGB", "L", "RGBA"), (0, 1, 2, 3), (0, 2, None)):
        options = {"duration": [0, 50, 90], "disposal": disposal} | ({} if loop is None else {"loop": loop})
        frames = [picture(mode, seed=seed) for seed in (1, 2)]
        yield (
            f"animated-{mode}-{disposal}-{loop}.gif",
            saved(picture(mode), "GIF", save_all=True, append_images=frames, **options),
        )


def webps() -> Files:
    ways: dict[str, dict[str, object]] = {
        "lossless": {"lossless": True},
        "exact": {"lossless": True, "exact": True},
        "lossy": {"quality": 60},
        "near": {"lossless": True, "quality": 10},
        "alpha": {"quality": 60, "alpha_quality": 20},
        "method": {"method": 0},
    }
    for mode, (name, options) in product(("RGB", "RGBA", "L", "LA", "P"), ways.items()):
        yield f"{name}-{mode}.webp", saved(picture(mode), "WEBP", **options)
    hidden = picture("RGBA")
    hidden.putalpha(0)
    yield "hidden.webp", saved(hidden, "WEBP", lossless=True, exact=True)
    opaque = picture("RGBA")
    opaque.putalpha(255)
    yield "opaque.webp", saved(opaque, "WEBP", lossless=True)
    for lossless, loop in product((True, False), (0, 5)):
        options = {"lossless": lossless, "loop": loop, "duration": [10, 20], "background": (1, 2, 3, 4)}
        data = saved(picture("RGBA"), "WEBP", save_all=True, append_images=[picture("RGBA", seed=1)], **options)
        yield f"animated-{int(lossless)}-{loop}.webp", data


def tiffs() -> Files:
    plain = ("raw", "tiff_deflate", "tiff_adobe_deflate", "tiff_lzw", "packbits", "lzma", "zstd")
    pairs = list(product(plain, ("1", "L", "LA", "RGB", "RGBA", "P", "CMYK", "I;16", "F", "LAB")))
    pairs += [("group3", "1"), ("group4", "1"), ("tiff_ccitt", "1"), ("jpeg", "L"), ("jpeg", "RGB")]
    for compression, mode in pairs:
        yield f"{compression}-{mode.replace(';', '-')}.tif", saved(picture(mode), "TIFF", compression=compression)
    for mode in ("1", "L", "RGB", "P", "I;16"):
        pages = [picture(mode, seed=1), picture("RGB", (5, 9), seed=2)]
        yield (
            f"pages-{mode.replace(';', '-')}.tif",
            saved(picture(mode), "TIFF", save_all=True, append_images=pages),
        )
        yield f"big-{mode.replace(';', '-')}.tif", saved(picture(mode), "TIFF", big_tiff=True)
        for rows in (1, 5):
            strips = saved(picture(mode), "TIFF", tiffinfo={278: rows}, strip_size=rows * 33)
            yield f"strips-{rows}-{mode.replace(';', '-')}.tif", strips


def bmp(
    bits: int, compression: int, body: bytes, colours: bytes = b"", size: tuple[int, int] = (4, 4), masks: bytes = b""
) -> bytes:
    start = 54 + len(masks) + len(colours)
    head = b"BM" + struct.pack("<IHHI", start + len(body), 0, 0, start)
    fields = 40, *size, 1, bits, compression, len(body), 2835, 2835, len(colours) // 4, 0
    return head + struct.pack("<IiiHHIIiiII", *fields) + masks + colours + body


def bmps() -> Files:
    generator = random.Random(0)
    for bits, height in product((1, 4, 8, 16, 24, 32), (4, -4)):
        body = generator.randbytes(32 * bits // 8 * 4)  # rows of 32 pixels need no filling
        colours = (
            bytes(x for entry in range(2**bits) for x in (entry * 40 % 256, entry, 255 - entry, 0))
            if bits <= 8
            else b""
        )
        yield f"bits-{bits}-{height}.bmp", bmp(bits, 0, body, colours, (32, height))
        grey = bytes(x for entry in range(2**bits) for x in (entry,) * 3 + (0,)) if bits <= 8 else b""
        yield f"grey-{bits}-{height}.bmp", bmp(bits, 0, body, grey, (32, height))
    for filler in (0, 255):
        body = b"".join(generator.randbytes(3) + bytes([filler]) for _ in range(16))
        yield f"filler-{filler}.bmp", bmp(32, 0, body)
    masks = struct.pack("<4I", 0xFF0000, 0xFF00, 0xFF, 0xFF000000)
    yield "masks-rgba.bmp", bmp(32, 3, generator.randbytes(64), masks=masks)
    yield "masks-565.bmp", bmp(16, 3, generator.randbytes(32), masks=struct.pack("<3I", 0xF800, 0x7E0, 0x1F))
    colours = bytes(x for entry in range(256) for x in (entry, 255 - entry, 7, 0))
    yield "rle8.bmp", bmp(8, 1, b"\4\1\0\0\4\2\0\0\2\3\2\4\0\0\4\5\0\1", colours)
    yield "rle4.bmp", bmp(4, 2, b"\4\x12\0\0\4\x34\0\0\4\x56\0\0\4\x78\0\1", colours[:64])


def pnms() -> Files:
    yield "plain.pbm", b"P1\n3 2\n1 0 1\n0 1 1\n"
    yield "comment.pbm", b"P4\n# words\n9 2\n\xaa\x80\x55\x00"
    yield "plain.pgm", b"P2 2 2 255 1 2 3 4"
    yield "plain.ppm", b"P3 1 1 255 1 2 3"
    yield "15.pgm", b"P5 2 2 15\n\1\2\3\4"
    yield "1023.pgm", b"P5 2 1 1023\n\1\2\3\4"
    yield "16-bit.pgm", b"P5 2 1 65535\n\1\2\3\4"
    yield "16-bit.ppm", b"P6 2 1 65535\n" + bytes(range(1, 13))
    yield "tail.ppm", b"P6 1 1 255\nabctail"
    yield "short.ppm", b"P6 2 2 255\nabc"
    yield "crlf.pgm", b"P5\r\n2 1\r\n255\r\nab"
    yield "two.pgm", b"P5 1 1 255\naP5 1 1 255\nb"
    yield "rgba.pam", b"P7\nWIDTH 1\nHEIGHT 1\nDEPTH 4\nMAXVAL 255\nTUPLTYPE RGB_ALPHA\nENDHDR\nabcd"
    yield "float.pfm", b"Pf\n1 2\n-1.0\n" + struct.pack("<2f", 0.5, float("nan"))
    yield "color.pfm", b"PF\n1 1\n-1.0\n" + bytes(12)


def jpegs() -> Files:
    for mode, progressive, subsampling in product(("L", "RGB", "CMYK"), (False, True), (0, 2)):
        data = saved(picture(mode, (48, 40)), "JPEG", progressive=progressive, subsampling=subsampling)
        yield f"{mode}-{int(progressive)}-{subsampling}.jpg", data
    for lossless, mode in product((True, False), ("L", "LA", "RGB", "RGBA", "I;16")):
        yield (
            f"{int(lossless)}-{mode.replace(';', '-')}.j2k",
            saved(picture(mode), "JPEG2000", irreversible=not lossless, no_jp2=True),
        )
    for pages in (1, 2):
        yield (
            f"pages-{pages}.mpo",
            saved(
                picture("RGB"), "MPO", save_all=True, append_images=[picture("RGB", seed=seed) for seed in range(pages)]
            ),
        )


def others() -> Files:
    for mode, rle in product(("1", "L", "LA", "P", "RGB", "RGBA"), (None, "tga_rle")):
        for orientation in (1, -1):
            data = saved(picture(mode), "TGA", compression=rle, orientation=orientation, id_section=b"id")
            yield f"{mode}-{rle}-{orientation}.tga", data
    for sizes in ([(16, 16)], [(16, 16), (32, 32)]):
        for kind in ("png", "bmp"):
            yield (
                f"icon-{len(sizes)}-{kind}.ico",
                saved(picture("RGBA", (32, 32)), "ICO", sizes=sizes, bitmap_format=kind),
            )


def shapes() -> Files:
    """Long, wide, flat."""
    for size, mode in product(((20000, 3), (3, 20000)), ("1", "L", "RGB", "P")):
        for format in ("PNG", "BMP", "TIFF"):
            yield f"{mode}-{size[0]}x{size[1]}.{EXTENSIONS[format]}", saved(picture(mode, size), format)
    for mode, format in product(("1", "L", "LA", "RGB", "RGBA", "P", "I;16"), ("PNG", "BMP", "TIFF", "WEBP", "TGA")):
        lossless = {"lossless": True} if format == "WEBP" else {}
        flat = saved(Image.new(mode, (40, 30)), format, **lossless)
        yield f"flat-{mode.replace(';', '-')}.{EXTENSIONS[format]}", flat


def damaged() -> Files:
    """Files cut and changed, and ones that are not what they are called."""
    generator = random.Random(0)
    for format in ("PNG", "WEBP", "BMP", "TIFF", "GIF", "TGA", "PPM", "JPEG"):
        lossless = {"lossless": True} if format == "WEBP" else {}
        good, extension = saved(picture("RGB"), format, **lossless), EXTENSIONS[format]
        if good is None:
            continue
        for part in (1, 8, 12, len(good) // 2, len(good) - 1):
            yield f"cut-{part}.{extension}", good[:part]
        for number in range(6):
            place = generator.randrange(min(len(good), 200) if number % 2 else len(good))
            yield f"changed-{number}.{extension}", good[:place] + bytes([good[place] ^ 1 << number]) + good[place + 1 :]
        yield f"longer.{extension}", good + bytes(7)
        yield f"misnamed-{format}.{'jpg' if format != 'JPEG' else 'png'}", good
        yield f"empty.{extension}", b""
        yield f"text.{extension}", b"this is no image\n"
    yield "no-extension", saved(picture("RGB"), "PNG")
    yield "zeros.png", bytes(1000)


SOURCES = (
    png_types, png_chunks, png_broken, formats, with_metadata, pngs, gifs, webps, tiffs, bmps, pnms, jpegs, others,
    shapes, damaged,
)  # fmt: skip


def make(folder: str | Path) -> int:
    """Write all files, each source in a new folder of its own; how many there are."""
    count = 0
    for source in SOURCES:
        target = Path(folder, source.__name__)
        target.mkdir(parents=True, exist_ok=True)
        for name, data in source():
            if (target / name).exists():
                raise ValueError(f"two files are called {source.__name__}/{name}")
            if data is not None:
                (target / name).write_bytes(data)
                count += 1
    return count


# --- comparing -------------------------------------------------------------------------------------------------------


MAGICK_LOOKS = {
    "colours": [],
    "depth1": ["-depth", "1"],
    "depth4": ["-depth", "4"],
    "depth16": ["-depth", "16"],
    "grey": ["-colorspace", "Gray"],
    "grey2": ["-colorspace", "Gray", "-depth", "2"],
    "grey16": ["-colorspace", "Gray", "-depth", "16"],
    "black": ["-monochrome"],
    "colors3": ["-colors", "3", "-type", "Palette"],
    "colors200": ["-colors", "200", "-type", "Palette"],
    "alpha": ["-alpha", "set", "-channel", "A", "-fx", "i/w"],
    "greyalpha": ["-colorspace", "Gray", "-alpha", "set", "-channel", "A", "-fx", "j/h"],
    "hole": ["-transparent", "white"],
    "cmyk": ["-colorspace", "CMYK"],
    "lab": ["-colorspace", "Lab"],
    "interlaced": ["-interlace", "Plane"],
    "comment": ["-set", "comment", "a comment", "-density", "123x77", "-gamma", "1.7"],
    "page": ["-repage", "100x100+7+9"],
    "frames": ["(", "+clone", "-flip", ")", "-delay", "7"],
}
MAGICK_FORMATS = (
    "png", "png:8", "png:24", "png:32", "png:48", "png:64", "gif", "gif87", "bmp", "bmp2", "bmp3", "tiff", "tga",
    "pcx", "pnm", "pam", "pfm", "sgi", "sun", "jpg", "jp2", "webp", "ico", "xbm", "xpm", "dds", "psd", "dpx", "fits",
    "avs", "miff",
)  # fmt: skip
MAGICK_COMPRESSIONS = {
    "tiff": ("None", "LZW", "Zip", "RLE", "JPEG", "Group4"),
    "tga": ("None", "RLE"),
    "sgi": ("RLE",),
}


def magick() -> str | None:
    """The program of ImageMagick, if it is installed."""
    for name in ("magick", "convert", "/usr/bin/convert"):
        tool = shutil.which(name)
        if tool and b"ImageMagick" in subprocess.run([tool, "-version"], capture_output=True).stdout:
            return tool
    return None


def make_with_magick(folder: str | Path, tool: str) -> int:
    """Write files in many looks and formats of ImageMagick; gives how many. Some formats do not take some looks."""
    count = 0
    for (look, options), format in product(MAGICK_LOOKS.items(), MAGICK_FORMATS):
        coder, _, bits = format.partition(":")
        for compression in MAGICK_COMPRESSIONS.get(coder, ("Undefined",)):
            path = Path(folder, f"magick_{look}_{coder}{bits}_{compression}.{coder}")
            lossless = ["-define", "webp:lossless=true"] if coder == "webp" else []
            command = [tool, "rose:", *options, "-compress", compression, *lossless, f"{coder}{bits}:{path}"]
            subprocess.run(command, capture_output=True, check=False, timeout=60)
            count += path.exists()
    return count


def seen(path: str | Path) -> list[object] | None:
    """All that Pillow sees of a file, or None where it reads it not or in part."""
    with quietly(), suppress(Exception), Image.open(path) as image:
        found: list[object] = [image.format, getattr(image, "n_frames", 1), getattr(image, "is_animated", False)]
        for frame in ImageSequence.Iterator(image):
            frame.load()
            palette = (frame.palette.mode, bytes(frame.palette.palette)) if frame.palette else None
            shown = frame.getpalette("RGBA") if frame.mode == "P" else None
            found.append((frame.mode, frame.size, palette, shown, frame.tobytes(), described(frame.info)))
        exif = image.getexif()
        found += [described(dict(exif)), [described(exif.get_ifd(number)) for number in ExifTags.IFD]]
        found.append(described(getattr(image, "text", {})))
        found.append(image.convert("RGBA").tobytes() if image.mode in ("1", "L", "LA", "P", "RGB", "RGBA") else None)
        return found
    return None


def described(value: object) -> object:
    """A value made comparable: NaN equals NaN, and the language of a text counts."""
    if isinstance(value, dict):
        return sorted((str(key), described(each)) for key, each in value.items())
    if isinstance(value, (tuple, list)):
        return [described(each) for each in value]
    return f"{type(value).__name__} {value!r} {getattr(value, 'lang', '')} {getattr(value, 'tkey', '')}"


def check_same(first: str | Path, second: str | Path) -> None:
    """Raise AssertionError unless two files have the same bytes, or Pillow reads both and sees the same in them."""
    if Path(first).read_bytes() == Path(second).read_bytes():
        return
    one, two = seen(first), seen(second)
    if one is None or two is None:
        raise AssertionError(f"{first} and {second} differ, and Pillow does not read both")
    if one != two:
        different = [number for number, (a, b) in enumerate(zip(one, two, strict=False)) if a != b]
        raise AssertionError(f"{first} and {second} look different to Pillow, at {different}")


if __name__ == "__main__":
    print(make(sys.argv[1]), "files")
    if tool := magick():
        print(make_with_magick(sys.argv[1], tool), "files by ImageMagick")
