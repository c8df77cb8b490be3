"""JPEG files of sixty kinds of photo and writer: every byte back, and how many bytes the archive takes.

Twenty kinds of file are made of three photos each, by Pillow, and where they are installed by jpegtran and ImageMagick.
"""

from __future__ import annotations

import argparse
import io
import shutil
import subprocess
import sys
import tempfile
from collections import defaultdict
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from common import arguments, bbcodec, listed, needed, save, zip_bytes
from PIL import Image, ImageCms

PHOTOS_A_KIND = 3
Maker = Callable[[Image.Image], bytes]


def pillow(image: Image.Image, mode: str = "RGB", **options: Any) -> bytes:
    """A file of Pillow's."""
    stream = io.BytesIO()
    image.convert(mode).save(stream, "JPEG", **options)
    return stream.getvalue()


def with_exif(image: Image.Image) -> bytes:
    """A file as of a phone: EXIF with a preview, and a colour profile."""
    exif = Image.Exif()
    exif[0x010F], exif[0x0110], exif[0x0112] = "Maker", "Model", 6
    preview = image.copy()
    preview.thumbnail((160, 120))
    profile = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
    app1 = exif.tobytes() + pillow(preview, quality=70)
    return pillow(image, quality=88, exif=app1[:65000], icc_profile=profile)


def two_pictures(image: Image.Image) -> bytes:
    """A file with a second picture, as stereo and portrait cameras write it."""
    stream = io.BytesIO()
    small = image.resize((image.width // 2, image.height // 2))
    image.save(stream, "MPO", save_all=True, append_images=[small], quality=85)
    return stream.getvalue()


def tool(words: list[str], image: Image.Image, **options: Any) -> bytes:
    """What a program makes of a file of Pillow's, from its standard input."""
    return subprocess.run(words, input=pillow(image, **options), stdout=subprocess.PIPE, check=True).stdout


KINDS: dict[str, Maker] = {
    "quality 30": partial(pillow, quality=30),
    "quality 50": partial(pillow, quality=50),
    "quality 75": partial(pillow, quality=75),
    "quality 85, optimised": partial(pillow, quality=85, optimize=True),
    "quality 90, 4:4:4": partial(pillow, quality=90, subsampling=0),
    "quality 92, 4:2:2": partial(pillow, quality=92, subsampling=1),
    "quality 95": partial(pillow, quality=95),
    "quality 98, 4:4:4": partial(pillow, quality=98, subsampling=0),
    "progressive, quality 85": partial(pillow, quality=85, progressive=True),
    "progressive, quality 95, 4:4:4": partial(pillow, quality=95, subsampling=0, progressive=True),
    "grey": partial(pillow, mode="L", quality=80),
    "grey, progressive": partial(pillow, mode="L", quality=90, progressive=True),
    "CMYK": partial(pillow, mode="CMYK", quality=85),
    "restart markers": partial(pillow, quality=85, restart_marker_rows=1),
    "EXIF with preview, ICC profile": with_exif,
    "bytes behind the end": lambda image: pillow(image, quality=85, comment=b"edited") + b"\0trailer\xff" * 100,
    "cut at two thirds": lambda image: (data := pillow(image, quality=85))[: len(data) * 2 // 3],
    "two pictures (MPO)": two_pictures,
}
TOOLS: dict[str, tuple[str, Maker]] = {
    "jpegtran: rotated, progressive": (
        "jpegtran", partial(tool, ["jpegtran", "-rotate", "90", "-progressive", "-copy", "all"], quality=88),
    ),
    "ImageMagick: quality 92": (
        "convert", partial(tool, ["convert", "jpg:-", "-resize", "90%", "-quality", "92", "jpg:-"], quality=98),
    ),
}  # fmt: skip


def make(data: Path, folder: Path) -> dict[str, str]:
    """Write the files; says which kind each name is."""
    sources = sorted(needed(data / "kodak").glob("*.png")) + sorted(needed(data / "photos" / "valid").glob("*.*"))
    tools = {kind: maker for kind, (program, maker) in TOOLS.items() if shutil.which(program)}
    for kind in TOOLS.keys() - tools.keys():
        print(f"left out, as its program is not installed: {kind}", file=sys.stderr)
    kinds = {}
    for number, (kind, maker) in enumerate({**KINDS, **tools}.items()):
        for photo in range(PHOTOS_A_KIND):
            with Image.open(sources[(PHOTOS_A_KIND * number + photo) % len(sources)]) as image:
                name = f"{number:02}-{photo}.jpg"
                (folder / name).write_bytes(maker(image.convert("RGB")))
                kinds[name] = kind
    return kinds


def stored(folder: Path, work: Path) -> dict[str, Any]:
    """Compress and restore the folder: bytes, times, how files are stored, and whether every byte came back."""
    archive, restored = work / "out.bb", work / "restored"
    _, seconds = bbcodec("compress", folder, "-o", archive, "--codec", "none", "--no-verify")
    _, back = bbcodec("decompress", archive, "-o", restored)
    how: dict[str, int] = defaultdict(int)
    rows = listed(archive)["files"]
    for row in rows:
        how[row["how"]] += 1
    equal = sum((folder / row["name"]).read_bytes() == (restored / row["name"]).read_bytes() for row in rows)
    size = archive.stat().st_size
    archive.unlink()
    shutil.rmtree(restored)
    return {
        "archive_bytes": size, "byte_for_byte": equal, "how": dict(sorted(how.items())),
        "seconds_compress": round(seconds, 1), "seconds_decompress": round(back, 1),
        "stored": {row["name"]: row["stored_bytes"] for row in rows},
    }  # fmt: skip


def jpegxl_bytes(path: Path) -> int:
    """Bytes as JPEG XL from which the file can be rebuilt; those of the file where libjxl does not take it."""
    import imagecodecs

    data = path.read_bytes()
    try:
        return len(imagecodecs.jpegxl_encode_jpeg(data, numthreads=1))
    except imagecodecs.JpegxlError:
        return len(data)


def main() -> None:
    parser: argparse.ArgumentParser = arguments(__doc__ or "", "jpegs")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as place:
        folder, work = Path(place, "in"), Path(place, "work")
        folder.mkdir()
        work.mkdir()
        kinds = make(options.data, folder)
        sizes = {name: (folder / name).stat().st_size for name in kinds}
        archived = stored(folder, work)
        jpegxl = {name: jpegxl_bytes(folder / name) for name in kinds}
        zipped = zip_bytes([folder / name for name in sorted(kinds)])
    each = archived.pop("stored")
    rows = []
    for kind in dict.fromkeys(kinds.values()):
        names = [name for name in kinds if kinds[name] == kind]
        sums = [int(np.sum([of[name] for name in names])) for of in (sizes, each, jpegxl)]
        columns = ("file_bytes", "stored", "jpegxl")
        rows.append({"kind": kind, **dict(zip(columns, sums, strict=True))})
    result = {
        "files": len(kinds), "file_bytes": sum(sizes.values()), "zip_bytes": zipped,
        "jpegxl_bytes": sum(jpegxl.values()), **archived, "kinds": rows,
    }  # fmt: skip
    save(options, parser, f"{len(kinds)} JPEG files made of Kodak and ImageNet photos", result)


if __name__ == "__main__":
    main()
