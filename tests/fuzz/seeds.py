"""The seeds of the fuzz targets, made from the formats as they are: `python tests/fuzz/seeds.py` writes them.

They are small, so that changes hit something. Some bytes come from zlib, libwebp and Pillow, in the versions of
constraints.txt.
"""

import io
import json
import os
import shutil
import struct
import sys
import tempfile
import zlib
from dataclasses import replace
from pathlib import Path

import numpy as np
from PIL import Image, PngImagePlugin
from targets import shard

import bbcodec
from bbcodec.archive.format.chunks import Chunk, SheetBody, pack_bytes
from bbcodec.archive.format.header import FOOTER_BYTES, HEADER_BYTES
from bbcodec.archive.format.index import (
    CodecRecord,
    Directory,
    Entry,
    Place,
    pack_directory,
)
from bbcodec.archive.format.shards import Shard, pack_manifest
from bbcodec.archive.recovery_blocks import add_recovery
from bbcodec.binary import digest64, take_varint, unpack_method
from bbcodec.codec.catalogue import split_codec
from bbcodec.codec.codec import PixelFormat
from bbcodec.codec.message import LearnedMessage
from bbcodec.codec.stored import StoredCodec
from bbcodec.codec.weights import tails
from bbcodec.coder.ans import AnsStack
from bbcodec.coder.kernels import geometric
from bbcodec.images.array_views import ArrayView
from bbcodec.images.codings import coding_named, file_codings
from bbcodec.images.codings.base import FileFacts
from bbcodec.images.formats import PIXEL_FORMS
from bbcodec.images.image_files import split_image
from bbcodec.images.npy import MemberLayout, pack_members
from bbcodec.prediction.streams import pack_images
from bbcodec.sample_formats import SAMPLE_FORMATS

FOLDER = Path(__file__).parent / "seeds"
NOON = 946728000  # seconds: 1 January 2000

Seeds = dict[str, bytes]


def ramp(*shape: int, top: int = 256) -> np.ndarray:
    """Smooth values of uint8 in a shape."""
    return (np.indices(shape).sum(0) * 5 % top).astype(np.uint8)


def images() -> Seeds:
    """Files of every form that is taken apart, and some that are not."""
    grey, colour = Image.fromarray(ramp(6, 9)), Image.fromarray(ramp(7, 5, 3))
    alpha, palette = Image.fromarray(ramp(5, 4, 4)), Image.fromarray(ramp(8, 8, top=4), "P")
    palette.putpalette(bytes(range(12)))
    words = Image.fromarray((np.indices((4, 5)).sum(0) * 7919 % 65536).astype(np.uint16))
    about = PngImagePlugin.PngInfo()
    about.add_text("Title", "a")
    found = {
        "grey.png": saved(grey, "PNG"), "colour.png": saved(colour, "PNG", pnginfo=about, dpi=(72, 72)),
        "alpha.png": saved(alpha, "PNG"), "palette.png": saved(palette, "PNG", bits=2, transparency=b"\0\x80"),
        "words.png": saved(words, "PNG"), "bits.png": saved(grey.convert("1"), "PNG"),
        "colour.webp": saved(colour, "WEBP", lossless=True),
        "alpha.webp": saved(alpha, "WEBP", lossless=True, exact=True),
        "exif.webp": saved(colour, "WEBP", lossless=True, exif=b"Exif\0\0II*\0\x08\0\0\0\0\0"),
        "colour.jpg": saved(colour, "JPEG"),
    }  # fmt: skip
    for ending, name, image in (
        ("bmp", "BMP", colour), ("pgm", "PPM", grey), ("ppm", "PPM", colour), ("pbm", "PPM", grey.convert("1")),
        ("tga", "TGA", alpha), ("tif", "TIFF", colour), ("sgi", "SGI", colour), ("bmp8", "BMP", palette),
    ):  # fmt: skip
        found[f"raw.{ending}"] = saved(image, name)
    return found | segments()


def segments() -> Seeds:
    """TIFF and DICOM files: strips, tiles, planes, pages and frames."""
    from dicom_examples import dicom
    from tiff_examples import page, tiff

    words = ramp(6, 7, 3).astype(np.uint16) * 200
    indexed = page(ramp(4, 5, 1, top=16), t258=8, t262=3)
    indexed[0][320] = (3, [number * 60 for number in range(768)])
    return {
        "strips.tif": tiff([page(ramp(7, 5, 3), rows=3)]),
        "tiles.tif": tiff([page(words, ">", tile=(4, 16))], ">", big=True),
        "planes.tif": tiff([page(ramp(4, 5, 3), planar=True, rows=2), page(ramp(4, 5, 3) ^ 7, planar=True, rows=2)]),
        "noise.tif": tiff([page(ramp(5, 9, 1), tile=(4, 8), fill="noise", t339=2)], gap=1, shuffled=True),
        "indexed.tif": tiff([indexed]),
        "frames.dcm": dicom(ramp(2, 4, 5, 3), planar=True), "words.dcm": dicom(words[None, ..., :1], ">", signed=True),
        "implicit.dcm": dicom(ramp(1, 4, 5, 1), explicit=False),
        "deflated.tif": tiff([page(counted(6, 7, 3), rows=4, t259=8, encode=zlib.compress, predictor=True)]),
        "lzw.tif": saved(Image.fromarray(counted(9, 7, 3)), "TIFF", compression="tiff_lzw"),
        "packbits.tif": saved(Image.fromarray(counted(9, 7, 3)), "TIFF", compression="packbits"),
    }  # fmt: skip


def counted(*shape: int) -> np.ndarray:
    """The samples that `targets.skeleton` joins: only of these are compressed segments as long as is said."""
    return np.arange(np.prod(shape)).reshape(shape).astype(np.uint8)


def saved(image: Image.Image, form: str, **options: object) -> bytes:
    stream = io.BytesIO()
    image.save(stream, form, **options)
    return stream.getvalue()


def skeletons() -> Seeds:
    """Those of the images."""
    found = {}
    for name, data in images().items():
        picture = split_image(data)
        if picture is not None:
            height, width = picture.samples.shape[:2]
            numbers = PIXEL_FORMS.index(picture.form), list(SAMPLE_FORMATS).index(picture.sample_format)
            found[name] = bytes([*numbers, width - 1, height - 1]) + picture.skeleton
    return found


def file_streams() -> Seeds:
    """JPEG files as archives hold them."""
    found = {}
    for number, coding in enumerate(file_codings("JPEG")):
        for name, image in ("grey", Image.fromarray(ramp(6, 9))), ("colour", Image.fromarray(ramp(20, 30, 3))):
            for progressive in (False, True):
                data = saved(image, "JPEG", progressive=progressive)
                facts = FileFacts(len(data), image.width, image.height)
                about = bytes([number, image.width - 1, image.height - 1]) + len(data).to_bytes(2, "little")
                name = f"{coding.name}-{name}{'-progressive' * progressive}"
                found[name] = about + coding.encode_file(data, facts)
    return found


def array_files() -> Seeds:
    """Array files, and skeletons."""
    stream, zipped, seen = io.BytesIO(), io.BytesIO(), io.BytesIO()
    np.save(stream, ramp(3, 4, 5))
    np.save(seen, np.asfortranarray(ramp(2, 4, 3, 5, top=3).astype(">f4")))
    view = ArrayView("<f4", (2, 3, 4, 4), False, np.arange(9, dtype="<f4").tobytes(), True, 2)
    np.savez_compressed(zipped, one=ramp(2, 3, 4, 3), two=np.arange(3.0))
    usual = MemberLayout("", 0, (), stream.getvalue()[:128], 2)
    dated = MemberLayout("one.npy", 8, (2000, 1, 1, 0, 0, 0), b"header", 1)
    return {
        "images.npy": stream.getvalue(), "two.npz": zipped.getvalue(),
        "seen.npy": seen.getvalue(), "view.skeleton": pack_members([replace(usual, view=view)], zipped=False),
        "npy.skeleton": pack_members([usual], zipped=False), "npz.skeleton": pack_members([dated], zipped=True),
    }  # fmt: skip


def archives() -> Seeds:
    """An archive of some of everything, one with two directories lost, and one with recovery blocks."""
    with tempfile.TemporaryDirectory() as place:
        top = Path(place, "in")
        (top / "deep" / "empty").mkdir(parents=True)
        for number in range(3):
            (top / f"{number}.txt").write_bytes(b"line %d\n" % number * (number * 9))
            (top / "deep" / f"{number}.png").write_bytes(saved(Image.fromarray(ramp(6, 5 + number, 3)), "PNG"))
        (top / "copy.png").write_bytes((top / "deep" / "1.png").read_bytes())
        (top / "words.png").write_bytes(images()["words.png"])
        (top / "palette.png").write_bytes(images()["palette.png"])
        (top / "a.npy").write_bytes(array_files()["images.npy"])
        (top / "link").symlink_to("0.txt")
        for path in [top, *top.rglob("*")]:
            if not path.is_symlink():
                path.chmod(0o755 if path.is_dir() else 0o644)
            os.utime(path, (NOON, NOON), follow_symlinks=False)
        bbcodec.compress(top, Path(place, "a.bb"), codec="none")
        whole = Path(place, "a.bb").read_bytes()
        stream = io.BytesIO(whole)
        add_recovery(stream, 5)
    return {
        "whole": whole, "cut": whole[:-FOOTER_BYTES], "front": bytes(HEADER_BYTES) + whole[HEADER_BYTES:],
        "recovery": stream.getvalue(),
    }  # fmt: skip


def directories() -> Seeds:
    """Directories, most of them stored as they are, where changes meet something."""
    long = [Entry(b"d/%03d" % number, "bytes", size=2, places=(Place(0, number, 2),)) for number in range(40)]
    png = Entry(
        b"e.png", "png", "RGBA", "RGBA8", 1, 9, 8, 300, NOON * 10**9 + 5, 0o600, True,
        (Place(0, 40, 5), Place(1, 0), Place(0, 41, 9, "webp")),
    )  # fmt: skip
    npy = Entry(b"f.npy", "arrays", "L", plane_layout=1, width=4, height=4, size=160, places=(Place(2, 0),))
    chunks = [Chunk("B", 0, 90, 1), Chunk("L", 0, 70, 2**31), Chunk("S", 0, 60, 3), Chunk("C", 0, 50, 4)]
    full = Directory([*long, png, npy], [CodecRecord(bytes(16), "codec", 3)], chunks, ["jpegxl"])
    empty = Directory([], [], [])
    return {
        "full": laid_open(pack_directory(full, 2)), "packed": pack_directory(full, 2),
        "empty": laid_open(pack_directory(empty)),
    }  # fmt: skip


def manifests() -> Seeds:
    """The row of a manifest that names the archive which lies beside it."""
    data = shard()
    row = Shard("a.bb", len(data), data[-21:-13], data[9:13], 1)
    return {"one": pack_manifest([row])[17:]}


def laid_open(data: bytes) -> bytes:
    """A directory stored as it is."""
    pad, position = take_varint(data, 1)
    return b"\0\0" + unpack_method(data[0], data[position + pad :], 2**20)


def chunks() -> Seeds:
    """Types and bodies of chunks."""
    pixels = ramp(2, 4, 5, 3)
    found = {"stored": b"B" + pack_bytes(b"hello", compress=False), "deflated": b"B" + pack_bytes(b"hello " * 40)}
    for name in ("webp", "lzma", "lzma-planar", "predicted"):
        stream = coding_named(name).encode_sheet(pixels)
        found[name] = b"S" + SheetBody(digest64(pixels.tobytes()), name, 3, 2, 4, 5, stream).pack()
    found["learned"] = b"L" + LearnedMessage(b"abcd", bytes(8), 300, 5, 7, b"message").pack()
    return found


def predicted() -> Seeds:
    """Streams of images of 8 and 16 bits: smooth, noisy, with a table, in parts, of few colours, and drawn."""
    random = np.random.default_rng(0)
    tall, slope = np.tile(random.integers(0, 256, (16, 9)), (3, 1)), ramp(3, 6, 9, 4)
    areas = random.integers(0, 256, (9, 3))[np.arange(120).reshape(1, 10, 12) // 7 % 9]
    drawn = np.tile(random.integers(0, 256, (1, 17, 17, 4)), (1, 1, 3, 1))
    found = {
        "drawn": drawn,
        "smooth": slope[..., :1], "channels": slope ^ 3, "two": slope[..., 2:], "noise": tall[None, :16, :, None],
        "parts": tall[None, ..., None], "levels": slope[:1, ..., :1] & 1, "colours": areas, "labels": areas[..., :1],
        "pages": areas[..., :1].repeat(3, 0),
    }  # fmt: skip
    seeds = {}
    for name, images in found.items():
        for dtype, most in (np.uint8, 1), (np.uint16, 251):
            values = images.astype(dtype) * dtype(most)
            shape = bytes(size - 1 for size in images.shape)
            seeds[f"{name}{8 * values.itemsize}"] = shape + pack_images(values)
    return seeds


def codec_files() -> Seeds:
    """Codec files: as they are, and with the header laid open. One has an engine."""
    small = {"a.weight": ramp(3, 4, top=50).astype(np.int16) - 25, "a.bias": np.arange(3, dtype=np.int32) << 12}
    config = {"channels": 1, "levels": 256, "height": 4, "width": 3}
    plain = StoredCodec("plain", "vae", config, PixelFormat(1, 256), ["00" * 16], {"note": "x"}, small).pack()
    return {"plain": plain, "open": opened(plain), "engine": opened(with_engine())}


def opened(content: bytes) -> bytes:
    """A codec file as `targets.codec_file` takes it with its header laid open."""
    header, message = split_codec(content)
    text = json.dumps(header, sort_keys=True, separators=(",", ":")).encode()
    return struct.pack("<I", len(text)) + text + message


def with_engine() -> bytes:
    """A codec file of the least network that has an engine, its weights no more than a pattern."""
    from dataclasses import asdict, replace

    from tiny_models import CONFIGS

    from bbcodec.codec.torch_backend import frozen_tensors
    from bbcodec.models.vlae import Vlae

    config = replace(CONFIGS["grey"], inner=6, layers=2, between=1, latent_channels=0)
    tensors = {}
    for name, tensor in frozen_tensors(Vlae(config).eval()).items():
        values = np.arange(tensor.size).reshape(tensor.shape) % 7 - 3
        tensors[name] = (values if name.endswith("weight") else values * 0 + 6).astype(tensor.dtype)
    return StoredCodec("engine", "vlae", asdict(config), PixelFormat(1, 256), ["00" * 16], {}, tensors).pack()


def messages() -> Seeds:
    """Bytes that choose what is popped, and messages."""
    found = {}
    for lanes in (1, 4):
        one = AnsStack.seeded(lanes, lanes)
        symbols = (np.indices((20, 3)).sum(0) - 5).astype(np.int32)
        one.push(geometric.push, symbols, (np.full(20, 24, np.uint8),), tails())
        found[f"lanes{lanes}"] = bytes([lanes - 1, 0, 4, 8, 30, 61, 92, 255]) + one.flatten().astype("<u4").tobytes()
    return found


def make() -> dict[str, Seeds]:
    """All seeds, by target and name."""
    return {
        "container": archives(), "manifest": manifests(), "directory": directories(), "chunk": chunks(),
        "codec_file": codec_files(), "stack": messages(), "image_reader": images(), "skeleton": skeletons(),
        "file_stream": file_streams(), "arrays": array_files(), "predicted": predicted(),
    }  # fmt: skip


def main() -> None:
    shutil.rmtree(FOLDER, ignore_errors=True)
    for target, seeds in make().items():
        (FOLDER / target).mkdir(parents=True)
        for name, data in seeds.items():
            (FOLDER / target / name).write_bytes(data)


if __name__ == "__main__":
    sys.path[:0] = [str(Path(__file__).parents[1]), str(Path(__file__).parents[1] / "core" / "images")]
    main()
