"""PNG files of many writers with every byte kept: how many come back from their pixels, by default too, at what cost.

Each writer makes the same pictures. What it takes to make their files again is compressed, and compared with their
pixels as WebP. Writers whose programs or packages are not installed are left out.
"""

from __future__ import annotations

import io
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Callable
from functools import partial
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
from common import arguments, needed, save
from PIL import Image

from bbcodec.binary import shortest
from bbcodec.images.formats import form_named
from bbcodec.images.formats.webp import encode_webp
from bbcodec.images.image_files import join_image, split_image

SIDES = 256, 192  # of the part of each photo
Maker = Callable[[Image.Image], bytes]


def pillow(image: Image.Image, **options: Any) -> bytes:
    stream = io.BytesIO()
    image.save(stream, "PNG", **options)
    return stream.getvalue()


def opencv(image: Image.Image, options: tuple[int, ...] = ()) -> bytes:
    import cv2

    pixels = np.asarray(image)
    found: bytes = cv2.imencode(".png", pixels[..., ::-1] if pixels.ndim == 3 else pixels, list(options))[1].tobytes()
    return found


def oxipng(image: Image.Image, level: int) -> bytes:
    from oxipng import oxipng as module

    found: bytes = module.optimize_from_memory(pillow(image), level=level)
    return found


def program(words: list[str], image: Image.Image) -> bytes:
    """What a program makes of a file of Pillow's; IN and OUT are the names of its files."""
    with tempfile.TemporaryDirectory() as place:
        names = {"IN": str(Path(place, "in.png")), "OUT": str(Path(place, "out.png"))}
        Path(names["IN"]).write_bytes(pillow(image))
        subprocess.run([names.get(word, word) for word in words], check=True, capture_output=True)
        return Path(names["OUT"]).read_bytes()


def writers() -> dict[str, Maker]:
    """The writers that are installed, by what reports call them."""
    found: dict[str, Maker] = {"Pillow, as it comes": pillow, "Pillow, optimize": partial(pillow, optimize=True)}
    found |= {f"Pillow, level {level}": partial(pillow, compress_level=level) for level in (1, 3, 9)}
    if find_spec("cv2"):
        import cv2

        level, strategy = cv2.IMWRITE_PNG_COMPRESSION, cv2.IMWRITE_PNG_STRATEGY
        found["OpenCV, as it comes"] = opencv
        found |= {f"OpenCV, level {number}": partial(opencv, options=(level, number)) for number in (9,)}
        found["OpenCV, Huffman only"] = partial(opencv, options=(strategy, cv2.IMWRITE_PNG_STRATEGY_HUFFMAN_ONLY))
    programs = {
        "ImageMagick": ["convert", "IN", "-strip", "OUT"],
        "ImageMagick, quality 95": ["convert", "IN", "-strip", "-quality", "95", "OUT"],
        "pngcrush": ["pngcrush", "-q", "IN", "OUT"],
        "optipng": ["optipng", "-quiet", "-o2", "IN", "-out", "OUT"],
        "zopflipng": ["zopflipng", "--iterations=3", "IN", "OUT"],
    }
    found |= {name: partial(program, words) for name, words in programs.items() if shutil.which(words[0])}
    if find_spec("oxipng"):
        found["oxipng, level 2"] = partial(oxipng, level=2)
    return found


def row(name: str, files: dict[str, bytes]) -> dict[str, Any]:
    """Files of a writer: how many are made again from their pixels, and the bytes of what that takes."""
    found = {file: split_image(data, exact=True) for file, data in files.items()}
    exact = {file: picture for file, picture in found.items() if picture and join_image(picture) == files[file]}
    plain = [split_image(files[file]) for file in exact]
    skeletons = [[one.skeleton for one in some if one] for some in (exact.values(), plain)]
    making, before = (len(shortest(b"".join(some))[1]) for some in skeletons)
    webp = sum(len(encode_webp(one.samples)) for one in exact.values())
    usual = [one for one in (split_image(data, exact=None) for data in files.values()) if one]
    by_default = sum(form_named(one.form).keeps_bytes(one.skeleton) for one in usual)
    print(name, len(files), len(exact), by_default, making - before, webp, file=sys.stderr)
    return {
        "writer": name, "files": len(files), "by_pixels": len(exact), "by_default": by_default,
        "file_bytes": sum(map(len, files.values())), "making_bytes": making - before, "webp_bytes": webp,
    }  # fmt: skip


def pictures(data: Path) -> dict[str, Image.Image]:
    """Parts of every sixth photo, in colour, and of one in grey and one with a palette."""
    found = {}
    for path in sorted(needed(data / "kodak").glob("*.png"))[::6]:
        with Image.open(path) as image:
            found[path.name] = image.convert("RGB").crop((0, 0, *SIDES))
    first = next(iter(found.values()))
    return found | {"grey.png": first.convert("L"), "palette.png": first.convert("P")}


def main() -> None:
    parser = arguments(__doc__ or "", "pngs")
    options = parser.parse_args()
    images = pictures(options.data)
    rows = [row(name, {file: make(image) for file, image in images.items()}) for name, make in writers().items()]
    kodak = {path.name: path.read_bytes() for path in sorted((options.data / "kodak").glob("*.png"))[::6]}
    rows.append(row("Kodak, files as they come", kodak))
    what = f"parts of {SIDES[0]} x {SIDES[1]} of four Kodak photos, one grey, one with a palette; and the four photos"
    save(options, parser, what, {"rows": rows})


if __name__ == "__main__":
    main()
