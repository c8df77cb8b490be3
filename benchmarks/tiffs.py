"""TIFF and DICOM files of many writers: how many come back byte for byte by their pixels, and what they take.

Each writer makes the same pictures. Files that are not made again from their pixels are kept as they are. Beside the
archive: a zip of the files by `zip -9`. Writers whose programs or packages are not installed are left out. --real adds
rows of folders of files that are there.
"""

from __future__ import annotations

import io
import os
import shutil
import subprocess
import sys
import tempfile
import zipfile
from collections.abc import Callable
from functools import partial
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
from common import arguments, needed, save
from numpy.typing import NDArray
from PIL import Image

import bbcodec

SIDES = 144, 96  # of the part of each photo
PREDICTOR = 317
Picture = NDArray[Any]
Maker = Callable[[Picture], bytes]


def pillow(picture: Picture, compression: str, tags: dict[int, int] | None = None) -> bytes:
    stream = io.BytesIO()
    Image.fromarray(picture).save(stream, "TIFF", compression=compression, tiffinfo=tags or {})
    return stream.getvalue()


def tifffile(picture: Picture, stack: bool = False, planar: bool = False, **options: Any) -> bytes:
    """A file of tifffile's; stack: three pages of it. planar: colours apart."""
    import tifffile as module

    stream = io.BytesIO()
    photometric = "rgb" if picture.ndim == 3 else "minisblack"
    pages = np.stack([picture, picture[::-1], picture[:, ::-1]]) if stack else picture
    if planar and picture.ndim == 3:
        pages, options = np.moveaxis(pages, -1, -3), {**options, "planarconfig": "separate"}
    module.imwrite(stream, pages, photometric=photometric, **options)
    return stream.getvalue()


def magick(picture: Picture, compression: str) -> bytes:
    with tempfile.TemporaryDirectory() as place:
        one, other = Path(place, "in.tif"), Path(place, "out.tif")
        one.write_bytes(pillow(picture, "raw"))
        words = ["convert", str(one), "-compress", compression, str(other)]
        subprocess.run(words, check=True, capture_output=True)
        return other.read_bytes()


def dicom(picture: Picture, implicit: bool) -> bytes:
    """A file of pydicom's, of two frames."""
    from pydicom import Dataset
    from pydicom.dataset import FileMetaDataset
    from pydicom.uid import ExplicitVRLittleEndian, ImplicitVRLittleEndian, generate_uid

    data, meta, stream = Dataset(), FileMetaDataset(), io.BytesIO()
    meta.TransferSyntaxUID = ImplicitVRLittleEndian if implicit else ExplicitVRLittleEndian
    meta.MediaStorageSOPClassUID = "1.2.840.10008.5.1.4.1.1.7.2"
    meta.MediaStorageSOPInstanceUID = generate_uid("1.2.3.", ["benchmark"])
    data.file_meta = meta
    data.Rows, data.Columns = picture.shape[:2]
    data.SamplesPerPixel = 3 if picture.ndim == 3 else 1
    data.PhotometricInterpretation = "RGB" if picture.ndim == 3 else "MONOCHROME2"
    if picture.ndim == 3:
        data.PlanarConfiguration = 0
    data.BitsAllocated = data.BitsStored = 8 * picture.itemsize
    data.HighBit, data.PixelRepresentation, data.NumberOfFrames = data.BitsStored - 1, 0, 2
    data.PixelData = np.stack([picture, picture[::-1]]).tobytes()
    data.save_as(stream, enforce_file_format=True)
    return stream.getvalue()


def writers() -> dict[str, Maker]:
    """The writers that are installed, by what reports call them."""
    found: dict[str, Maker] = {}
    for name, compression in (
        ("uncompressed", "raw"), ("LZW", "tiff_lzw"), ("deflate", "tiff_adobe_deflate"), ("PackBits", "packbits"),
    ):  # fmt: skip
        found[f"Pillow, {name}"] = partial(pillow, compression=compression)
    found["Pillow, LZW, predictor"] = partial(pillow, compression="tiff_lzw", tags={PREDICTOR: 2})
    if find_spec("tifffile"):
        tiles = {"tile": (64, 64)}
        found |= {
            "tifffile, as it comes": tifffile,
            "tifffile, OME, 3 pages": partial(tifffile, stack=True, ome=True),
            "tifffile, BigTIFF, tiles, planar, high byte first": partial(
                tifffile, planar=True, bigtiff=True, byteorder=">", **tiles
            ),
            "tifffile, LZW, predictor, tiles": partial(tifffile, compression="lzw", predictor=True, **tiles),
            "tifffile, zlib": partial(tifffile, compression="zlib"),
            "tifffile, zlib, predictor, tiles": partial(tifffile, compression="zlib", predictor=True, **tiles),
            "tifffile, PackBits": partial(tifffile, compression="packbits"),
            "tifffile, zstd": partial(tifffile, compression="zstd"),
        }
    if shutil.which("convert"):
        found |= {f"ImageMagick, {name}": partial(magick, compression=name) for name in ("None", "LZW", "Zip", "RLE")}
    if find_spec("pydicom"):
        found["pydicom, explicit, 2 frames"] = partial(dicom, implicit=False)
        found["pydicom, implicit, 2 frames"] = partial(dicom, implicit=True)
    return found


def row(name: str, folder: Path, codec: str) -> dict[str, Any]:
    """The files of a folder in an archive, and in a zip."""
    with tempfile.TemporaryDirectory() as place:
        archive = Path(place, "a.bb")
        bbcodec.compress(folder, archive, codec=codec)
        with bbcodec.open(archive) as opened:
            by_pixels = sum(entry.form == "segments" for entry in opened.files)
            files = {path.name: path.read_bytes() for path in sorted(folder.iterdir())}
            same = sum(opened.read_bytes(file) == data for file, data in files.items())
        zipped = Path(place, "a.zip")
        with zipfile.ZipFile(zipped, "w", zipfile.ZIP_DEFLATED, compresslevel=9) as out:
            for file, data in files.items():
                out.writestr(file, data)
        found = {
            "writer": name, "files": len(files), "same_bytes": same, "by_pixels": by_pixels,
            "file_bytes": sum(map(len, files.values())), "zip_bytes": os.path.getsize(zipped),
            "archive_bytes": os.path.getsize(archive),
        }  # fmt: skip
    print(*found.values(), file=sys.stderr)
    return found


def pictures(data: Path) -> dict[str, Picture]:
    """Parts of two photos in colour, one in grey of 8 bits, one of 12 bits in 16, and a map of five labels."""
    colour = []
    for path in sorted(needed(data / "kodak").glob("*.png"))[::12]:
        with Image.open(path) as image:
            colour.append(np.asarray(image.convert("RGB").crop((0, 0, *SIDES))))
    found = {f"colour{number}": one for number, one in enumerate(colour)}
    sums = colour[0].astype(np.uint16) @ np.array([4, 9, 3], np.uint16)  # up to 4,080
    grey = (sums >> 4).astype(np.uint8)
    return found | {"grey": grey, "deep": sums, "labels": grey // 52}


def main() -> None:
    parser = arguments(__doc__ or "", "tiffs")
    parser.add_argument("--codec", default="auto", help="as of bbcodec compress; none: without learned codecs")
    parser.add_argument("--real", type=Path, nargs="*", default=[], help="folders of files that are measured as well")
    options = parser.parse_args()
    images, rows = pictures(options.data), []
    for name, make in writers().items():
        with tempfile.TemporaryDirectory() as place:
            for file, picture in images.items():
                Path(place, f"{file}.{'dcm' if 'dicom' in name else 'tif'}").write_bytes(make(picture))
            rows.append(row(name, Path(place), options.codec))
    rows += [row(folder.name, folder, options.codec) for folder in options.real]
    size = f"{SIDES[0]} x {SIDES[1]}"
    what = f"parts of {size} of two Kodak photos in colour, one in grey of 8 and of 12 bits and of five levels"
    save(options, parser, what, {"rows": rows})


if __name__ == "__main__":
    main()
