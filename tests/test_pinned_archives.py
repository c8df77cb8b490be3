"""Archives of every form in which files are stored, pinned by digests of their bytes.

A change that is meant to leave the format alone leaves these alone. Digests are BLAKE2b-128, and hold with the versions
of constraints.txt, as PNG, WebP and JPEG XL streams are up to the zlib, libwebp and libjxl of the day. Each case also
says which chunks there are and how files are stored, as read by the reference reader and listed by bbcodec, so that no
digest is of something else than its case is meant for.

After a change on purpose, `PRINT_PINS=1 pytest tests/test_pinned_archives.py` prints what is found and compares
nothing; the literals below are replaced by hand.
"""

import os
import zipfile
import zlib
from collections import Counter
from collections.abc import Callable
from contextlib import nullcontext
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pytest
import reference_reader
from dicom_examples import dicom
from PIL.PngImagePlugin import PngInfo
from pinned_inputs import (
    echoes,
    grey_echoes,
    interlaced,
    natural,
    random,
    save,
    save_indexed,
    settle,
    strokes,
    zipped,
)
from pins import CODECS, check_digests, stored_as, without_predicted
from tiff_examples import page, tiff

import bbcodec

Fill = Callable[[Path], None]


class Case(NamedTuple):
    """What fills a folder, how it is compressed, and what comes of it."""

    fill: Fill
    options: dict[str, Any]
    digest: str
    chunks: str
    stored: dict[str, int]


CASES: dict[str, Case] = {}


def pinned(digest: str, chunks: str, stored: dict[str, int], **options: Any) -> Callable[[Fill], None]:
    """Make a function that fills a folder a case of its name.

    digest: of the archive; chunks: their types in order; stored: how many files are stored in which way, as `stored_as`
    tells; options: of `bbcodec.compress`, by default without a codec, and `predicted`: whether that is a way to code,
    which of such small and simple images would leave nothing to codecs.
    """

    def add(fill: Fill) -> None:
        CASES[fill.__name__] = Case(fill, {"codec": "none", "verify": False, **options}, digest, chunks, stored)

    return add


@pinned("8801efa68fb8f90e059c7d0288389bf2", "DL", {"png RGB8: learned": 2}, codec="photo-3", predicted=False)
def learned_rgb(top: Path) -> None:
    for number, pixels in enumerate(natural(2, 40, 48, 3)):
        save(top / f"{number}.png", pixels)


@pinned("569d19be9fe8b4ab7edbc8cf7870dcea", "DL", {"png L8: learned": 3}, codec="auto", predicted=False)
def learned_grey(top: Path) -> None:
    for number, pixels in enumerate(natural(3, 40, 48, 1)):
        save(top / f"{number}.png", pixels)


@pinned(
    "2fe5b54c7140febc4fc9926b69aa3855", "DLLLB", {"png L1: learned": 20, "arrays: learned": 2},
    codec="auto", predicted=False,
)  # fmt: skip
def learned_two_levels(top: Path) -> None:
    for number, pixels in enumerate(strokes(20)):
        save(top / f"{number:02}.png", pixels == 1)
    np.save(top / "many.npy", strokes(24, seed=1)[..., 0])
    np.save(top / "mask.npy", strokes(24, seed=2)[..., 0] == 1)


@pinned("b60adec66941c480f266884d1972e920", "DCL", {"png L1: learned": 9}, codec="echo", predicted=False)
def embedded_codec(top: Path) -> None:
    for number, pixels in enumerate(echoes(9, 128)):
        save(top / f"{number:02}.png", pixels == 1)


@pinned(
    "2544b05b996c2b71b5b3e6ec576c641b", "DL", {"arrays: learned": 1}, codec="echo", embed_codec=False, predicted=False
)
def codec_left_out(top: Path) -> None:
    np.save(top / "echoes.npy", echoes(4, 96))


@pinned(
    "701bd9b51bb38308861a1fdb96e2c501", "DB",
    {"png L1: predicted": 1, "png L8: predicted": 1, "png L8 black and white: predicted": 1,
     "png L16: predicted": 1, "png RGB8: predicted": 1, "png RGBA8: predicted": 1},
)  # fmt: skip
def predicted(top: Path) -> None:
    """By errors, and by colours: of two levels, grey, a palette, and more channels."""
    save(top / "natural.png", natural(1, 40, 31, 3)[0])
    levels = natural(1, 40, 32, 1)[0] // 32
    save(top / "levels.png", levels)
    save(top / "bits.png", levels[:39, :, 0] > 3)
    save(top / "colours.png", random(8, 4)[levels[:38, :, 0]])
    save(top / "words.png", (random(8) * np.uint16(257))[levels[:37]])
    save(top / "mask.png", (levels[:36] > 3) * np.uint8(255))


@pinned(
    "44d286062efff4aafb38b30b125d9035", "DB",
    {"png L1: webp": 1, "png L2: webp": 1, "png L4: webp": 1, "png L8: webp": 1, "png RGB8: webp": 1, "png L8: png": 1,
     "png L16: png": 1}, predicted=False,
)  # fmt: skip
def alone(top: Path) -> None:
    """An image of its size alone: WebP, or PNG where that is shorter or the only one."""
    save(top / "natural.png", natural(1, 40, 31, 3)[0])
    save(top / "grey.png", natural(1, 40, 33, 1)[0])
    save(top / "noise.png", random(5, 3))
    save(top / "deep.png", random(40, 40, top=4) * np.uint16(0x1234), compress_level=0)
    for depth, step in ((1, 255), (2, 85), (4, 17)):
        grey = random(9, 7 + depth, top=2**depth) * np.uint8(step)
        save(top / f"grey {depth}.png", grey == 255 if depth == 1 else grey, bits=depth)


@pinned(
    "e1a69893afad61aaadeb21a524171bcc", "DSSS",
    {"folder": 3, "png RGB8: sheet lzma": 8, "png RGB8: sheet lzma-planar": 8, "png RGB8: sheet predicted": 6},
)  # fmt: skip
def sheets(top: Path) -> None:
    """Slopes predicted; noise that comes again in LZMA, its channels together or apart."""
    for number, pixels in enumerate(natural(6, 16, 16, 3)):
        save(top / "webp" / f"{number}.png", pixels)
    for number in range(8):
        save(top / "lzma" / f"{number}.png", np.roll(random(24, 23, 3), 24 * number % 23, 0))
    planes = random(22, 24)
    for number in range(8):
        some = [np.roll(planes, 3 * number + channel, channel % 2) for channel in range(3)]
        save(top / "planar" / f"{number}.png", np.stack(some, 2))


@pinned(
    "c6292bbdf01386462bde8d58a0e4ead9",
    "DSB",
    {"png RGB8: sheet jpegxl": 3, "png RGB8: jpegxl": 1},
    jpegxl=True,
    predicted=False,
)
def jpegxl(top: Path) -> None:
    """Few colours whose numbers are smooth."""
    colours = np.sort(random(16, 3), 0)
    for number, pixels in enumerate(natural(3, 32, 32, 1)):
        save(top / f"{number}.png", colours[pixels[..., 0] // 16])
    save(top / "alone.png", colours[natural(1, 70, 61, 1)[0, ..., 0] // 16])


@pinned(
    "d865c36336492a6efa07b8b81af95440", "DBB",
    {"png P1: predicted": 1, "png P2 zero and one: predicted": 1, "png P4: predicted": 1, "png P8: predicted": 2,
     "png P8 colours: predicted": 1},
)  # fmt: skip
def palettes(top: Path) -> None:
    """Neighbouring colours at distant indices go as colours, indices in order as indices."""
    grey, shuffled = natural(1, 64, 64, 1)[0, ..., 0], np.random.default_rng(0).permutation(256)
    ramp = np.repeat(np.arange(256)[:, None], 3, 1)
    save_indexed(top / "ordered.png", grey[:, :60].copy(), ramp)
    save_indexed(top / "shuffled.png", shuffled[grey].astype(np.uint8), ramp[np.argsort(shuffled)])
    save_indexed(top / "transparent.png", grey[:50], ramp, transparency=bytes(range(255, -1, -1)))
    for depth in (1, 2, 4):
        step = 2 ** (8 - depth)
        save_indexed(top / f"few {depth}.png", grey[:20, : 20 + depth] // step, ramp[::step], bits=depth)


@pinned(
    "91830f9f003fda987bec9b42081de0cc", "DLSB",
    {"png LA8: webp": 1, "png RGBA8 split: learned + sheet lzma": 3, "png RGBA8: webp": 1}, codec="photo-3",
    predicted=False,
)  # fmt: skip
def alpha(top: Path) -> None:
    """Colours that a codec knows, with noise as alpha, are split; flat ones stay whole."""
    for number, pixels in enumerate(natural(3, 32, 32, 3)):
        save(top / f"split {number}.png", np.concatenate([pixels, random(32, 32, 1, seed=number)], 2))
    flat = np.full((30, 40, 4), 200, np.uint8)
    flat[:15, :, 3] = flat[5:9, 3:7] = 0
    save(top / "whole.png", flat)
    save(top / "grey whole.png", flat[:, :36, 2:])


@pinned("da87bce96bcd010962be2490466deb96", "DB", {"png L16 split: predicted + webp": 1, "png L16: predicted": 1})
def sixteen_bits(top: Path) -> None:
    """As two planes, or whole where low bytes follow from high ones."""
    high = natural(1, 64, 64, 1)[0].astype(np.uint16)
    save(top / "split.png", high << 8 | random(64, 64, 1, top=32))
    save(top / "whole.png", random(40, 40, top=4) * np.uint16(0x1234), compress_level=0)


@pinned(
    "22cbbd696513adba6194a0b38e1d2fb4", "DSSSBB",
    {"raw L1: sheet predicted": 2, "segments L1: sheet predicted": 1, "segments L16: predicted": 1,
     "raw L8: sheet predicted": 2, "segments L8: sheet predicted": 1, "raw RGB8: sheet lzma-planar": 3,
     "segments RGB8: sheet lzma-planar": 1},
)  # fmt: skip
def raw_layouts(top: Path) -> None:
    pixels = natural(1, 30, 41, 3)[0]
    for suffix in ("bmp", "ppm", "tga", "tif"):
        save(top / f"rgb.{suffix}", pixels)
    for suffix in ("bmp", "pgm", "tif"):
        save(top / f"grey.{suffix}", pixels[..., :1])
    for suffix in ("pbm", "bmp", "tif"):
        save(top / f"bits.{suffix}", pixels[..., 0] > 128)
    save(top / "deep.tif", pixels[..., 0].astype(np.uint16) << 6)


@pinned(
    "955f5b40f76cfe630ef872579eafb2f7", "DBB",
    {"segments L8: predicted": 1, "segments L16 split: predicted + webp": 1, "segments RGB8: predicted": 2,
     "segments RGB16: predicted": 1},
)  # fmt: skip
def segments(top: Path) -> None:
    """Strips, tiles, planes, pages and frames; plain, by zlib and by libtiff's LZW."""
    (colour, other), (grey,) = natural(2, 60, 83, 3), natural(1, 60, 83, 1)
    pages = [page(colour, ">", tile=(16, 16)), page(other, ">", tile=(16, 16))]
    (top / "pages.tif").write_bytes(tiff(pages, ">", big=True))
    (top / "planes.tif").write_bytes(tiff([page(colour.astype(np.uint16) * 9, planar=True, rows=7)]))
    deflated = {"t259": 8, "encode": zlib.compress, "predictor": True}
    (top / "deflated.tif").write_bytes(tiff([page(grey, rows=11, **deflated)]))
    (top / "frames.dcm").write_bytes(dicom(np.stack([grey, grey[::-1]]).astype(np.uint16) << 4, signed=True))
    save(top / "lzw.tif", colour, compression="tiff_lzw", tiffinfo={317: 2})


@pinned(
    "ab47b9e883947e7b4d41984b7dde1020", "DBB",
    {"bytes: original": 1, "webp RGB8: predicted": 1, "webp RGBA8: predicted": 1},
)  # fmt: skip
def webp_files(top: Path) -> None:
    poor = {"lossless": True, "exact": True, "method": 0, "quality": 0}
    save(top / "rgb.webp", natural(1, 50, 50, 3)[0], **poor)
    save(top / "rgba.webp", natural(1, 50, 50, 4)[0], **poor, icc_profile=b"ICC")
    save(top / "lossy.webp", natural(1, 50, 50, 3)[0], quality=50)


@pinned("10ab385c674841b088ce62ce9f8ed17b", "DSB", {"png L8: sheet predicted": 2})
def png_with_metadata(top: Path) -> None:
    text = PngInfo()
    text.add_text("Title", "a picture")
    text.add_text("Comment", "long " * 99, zip=True)
    pixels = natural(2, 40, 40, 1)
    save(top / "text.png", pixels[0], pnginfo=text, dpi=(300, 300), icc_profile=b"profile" * 20)
    (top / "interlaced.png").write_bytes(interlaced(pixels[1, ..., 0]))


@pinned(
    "c83d896ce6e303cad46619e8288ec281", "DBB", {"jpeg: lepton": 2, "bytes: original": 3},
)  # fmt: skip
def jpeg_files(top: Path) -> None:
    pixels = natural(1, 80, 90, 3)[0]
    save(top / "plain.jpg", pixels)
    save(top / "progressive.jpg", pixels, quality=90, progressive=True)
    save(top / "cut.jpg", pixels[..., 0])
    (top / "cut.jpg").write_bytes((top / "cut.jpg").read_bytes()[:-100])
    save(top / "flat.jpg", np.full((200, 200), 90, np.uint8))
    (top / "cmyk.jpg").write_bytes(b"\xff\xd8 no JPEG")


@pinned(
    "10bc3163e0402fe8916f23495010ba21", "DSBB",
    {"raw RGB8: sheet predicted": 1, "png RGB8: sheet predicted": 1, "bytes: original": 1}, exact_files=True,
)  # fmt: skip
def exact_files(top: Path) -> None:
    save(top / "same.png", natural(1, 40, 40, 3)[0])
    save(top / "same.bmp", natural(1, 40, 40, 3)[0])
    zipped(top / "same.npz", {"x.npy": natural(2, 20, 20, 1)})


@pinned(
    "fede534bfc22ffc569ea75db696cd4fc", "DLL", {"png L8: learned + learned": 1}, codec="grey echo", embed_codec=False,
    predicted=False,
)  # fmt: skip
def tiles(top: Path) -> None:
    """An image of over 2**17 pixels, and a codec that needs PyTorch."""
    save(top / "grey.png", grey_echoes(363, 362))


@pinned(
    "1814c836aa2e6191be45862e14a130c0", "LLDB", {"png L16 split: learned + learned + webp + webp": 1},
    codec="grey echo", embed_codec=False, predicted=False,
)  # fmt: skip
def tiles_of_two_planes(top: Path) -> None:
    save(top / "deep.png", grey_echoes(363, 362).astype(np.uint16) << 8 | random(363, 362, 1, top=32))


@pinned(
    "201af8d159bf3c421aa5b2136cb18e4f", "DLLLBBBBSBSB",
    {"arrays: learned": 2, "arrays: learned + original + original": 1, "arrays: original": 2, "bytes: original": 1,
     "arrays: sheet webp": 2}, codec="grey-3",
    predicted=False,
)  # fmt: skip
def arrays(top: Path) -> None:
    np.save(top / "grey.npy", natural(4, 36, 36, 1)[..., 0])
    np.save(top / "rgb.npy", natural(3, 40, 40, 3))
    np.save(top / "noise.npy", random(3, 30, 30))
    np.save(top / "one.npy", natural(1, 60, 60, 3)[0])
    np.save(top / "numbers.npy", np.arange(300))
    zipped(top / "more.npz", {"x.npy": natural(4, 36, 36, 1), "labels.npy": np.arange(5), "notes": b"bytes " * 50})
    zipped(top / "deflated.npz", {"x.npy": natural(4, 36, 36, 1)}, zipfile.ZIP_DEFLATED)
    zipped(top / "random.npz", {"x": random(500).tobytes()})


@pinned(
    "d156a37a6a351da58e8d6fd0d1512c4c", "DBBBB",
    {"folder": 4, "bytes: original": 4, "link: original": 2, "png RGB8: predicted": 2, "bytes": 1},
    exclude=["*.tmp", "cache/"],
)  # fmt: skip
def folders(top: Path) -> None:
    """Text, an empty file, copies, links, empty folders, names beyond ASCII; and what is excluded."""
    for name in ("a/b", "hollow/inner", "cache"):
        (top / name).mkdir(parents=True)
    (top / "a" / "notes.txt").write_bytes(b"some lines of text\n" * 200)
    (top / "a" / "b" / "copy.txt").write_bytes(b"some lines of text\n" * 200)
    (top / "empty.txt").touch()
    (top / "na\u00efve \u2603.txt").write_bytes(bytes(range(256)))
    (top / "left out.tmp").write_bytes(b"no")
    (top / "cache" / "left out.txt").write_bytes(b"no")
    (top / "a" / "link").symlink_to("../empty.txt")
    (top / "dangling").symlink_to("nowhere")
    save(top / "a" / "picture.png", natural(1, 20, 20, 3)[0])
    save(top / "same picture.png", natural(1, 20, 20, 3)[0])
    save(top / "photo.jpg", natural(1, 20, 20, 3)[0])


@pinned(
    "6291875ab255b94d48c8da3d12940574", "LDBBDB",
    {"bytes: original + original": 1, "bytes: original": 1, "png L8: learned": 1}, codec="grey-3",
    predicted=False,
)  # fmt: skip
def pieces_and_segments(top: Path) -> None:
    """A file of more than 2**24 bytes is in two pieces, and as many bytes of chunks end a segment."""
    save(top / "picture.png", natural(1, 40, 40, 1)[0])
    (top / "large.bin").write_bytes(random(2**24 + 1000).tobytes())
    (top / "notes.txt").write_bytes(b"after the first segment")


def compressed(name: str, folder: Path, **options: Any) -> bytes:
    """The archive of a case."""
    (folder / "in").mkdir()
    CASES[name].fill(folder / "in")
    settle(folder / "in")
    options = CASES[name].options | options
    if options["codec"] in CODECS:
        options["codec"] = CODECS[options["codec"]](folder)
    with nullcontext() if options.pop("predicted", True) else without_predicted():
        bbcodec.compress(folder / "in", folder / "out.bb", device="cpu", **options)
    return (folder / "out.bb").read_bytes()


@pytest.mark.parametrize("name", CASES)
def test_archives(name: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    content = compressed(name, tmp_path)
    archive = reference_reader.Archive(content)
    told = {entry.name.decode(): stored_as(archive, entry) for entry in archive.entries.values()}
    chunks = "".join(chr(content[start]) for start in sorted(archive.parts))
    stored = dict(Counter(how for how, _ in told.values()))
    with bbcodec.open(tmp_path / "out.bb") as opened:
        listed = {file["name"]: file["how"] for file in opened.listing()["files"]}
    assert listed == {file: how for file, (form, how) in told.items() if form != "folder"}
    if os.environ.get("PRINT_PINS"):
        with capsys.disabled():
            print(f"\n{chunks!r}, {stored}", end="")
    else:
        assert (chunks, stored) == (CASES[name].chunks, CASES[name].stored)
    check_digests(name, [content], [CASES[name].digest], capsys)


def test_two_processes_write_the_same(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    name = "pieces_and_segments"
    check_digests(name, [compressed(name, tmp_path, jobs=2, verify=True)], [CASES[name].digest], capsys)
