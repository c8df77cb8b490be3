"""Grey images of 9 to 16 bits: what `predicted` takes of them, beside JPEG XL, PNG, and high and low bytes as WebP.

    pip install pydicom pydicom-data nibabel dipy imagecodecs
    python benchmarks/sixteen_bits.py

Images are those that these packages and matplotlib bring along (all under the MIT or BSD licence, but matplotlib under
its own): CT, MR, X-ray and elevation. Where files hold volumes, slices are coded together, by JPEG XL each alone.
"""

from __future__ import annotations

import gzip
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
from common import arguments, save
from numpy.typing import NDArray

from bbcodec.images.codings import coding_named
from bbcodec.images.planes import SPLIT, to_planes

DEEP = 65536
# Of DICOM files by package and folder; `UNCR` are not compressed, others by JPEG 2000 or JPEG without loss.
DICOM = {
    ("data_store", "data"): (
        "693_UNCR", "bad_sequence", "explicit_VR-UN", "eCT_Supplemental", "MR2_UNCR", "MR-SIEMENS-DICOM-WithOverlays",
        "emri_small", "RG1_UNCR", "RG3_UNCR",
    ),
    ("pydicom", "data/test_files"): ("CT_small", "J2K_pixelrep_mismatch", "MR_small"),
    ("nibabel", "nicom/tests/data"): ("slicethickness_empty_string",),
}  # fmt: skip


def folder(package: str) -> Path:
    """Where an installed package lies. Raises SystemExit, and says what is missing."""
    spec = find_spec(package)
    if spec is None or not spec.submodule_search_locations:
        raise SystemExit(f"{package} is not installed: pip install pydicom pydicom-data nibabel dipy imagecodecs")
    return Path(next(iter(spec.submodule_search_locations)))


def dicom(path: Path) -> NDArray[Any]:
    """The images (N, H, W) of a DICOM file, as they are stored."""
    import imagecodecs
    import pydicom
    from pydicom.encaps import generate_frames

    data = pydicom.dcmread(path)
    syntax, count = data.file_meta.TransferSyntaxUID, int(data.get("NumberOfFrames", 1))
    kind = np.int16 if data.PixelRepresentation else np.uint16
    if not syntax.is_compressed:
        order = "<" if syntax.is_little_endian else ">"
        values = np.frombuffer(data.PixelData, np.dtype(kind).newbyteorder(order))[: count * data.Rows * data.Columns]
        return values.reshape(count, data.Rows, data.Columns)
    decode = imagecodecs.jpeg2k_decode if "2000" in syntax.name else imagecodecs.ljpeg_decode
    frames = generate_frames(data.PixelData, number_of_frames=count)
    return np.stack([decode(frame) for frame in frames]).astype(np.uint16).view(kind)


def nifti(path: Path) -> NDArray[Any]:
    """The slices (N, H, W) of a volume, as they are stored."""
    import nibabel

    values = np.asanyarray(nibabel.load(path).dataobj.get_unscaled())  # type: ignore[attr-defined]
    return values.reshape(*values.shape[:2], -1).transpose(2, 1, 0)


def images() -> dict[str, NDArray[np.uint16]]:
    """Images (N, H, W) by name; the lowest value of each is 0."""
    found: dict[str, NDArray[Any]] = {}
    for (package, inside), names in DICOM.items():
        found |= {name: dicom(folder(package) / inside / f"{name}.dcm") for name in names}
    for package, name in (
        ("dipy", "data/files/S0_10slices.nii.gz"), ("dipy", "data/files/aniso_vox.nii.gz"),
        ("nibabel", "tests/data/example4d.nii.gz"), ("nibabel", "tests/data/anatomical.nii"),
    ):  # fmt: skip
        found[name.rsplit("/", 1)[1]] = nifti(folder(package) / name)
    samples = folder("matplotlib") / "mpl-data" / "sample_data"
    slice_ = np.frombuffer(gzip.decompress((samples / "s1045.ima.gz").read_bytes()), ">u2")
    found["s1045.ima"] = slice_.reshape(1, 256, 256)
    found["jacksboro_fault_dem"] = np.load(samples / "jacksboro_fault_dem.npz")["elevation"][None]
    return {name: (values.astype(int) - int(values.min())).astype(np.uint16) for name, values in found.items()}


def measured(stack: NDArray[np.uint16]) -> dict[str, int]:
    """Bytes of images (N, H, W) by coding. Raises SystemExit if they do not come back."""
    import imagecodecs

    predicted = coding_named("predicted")
    together = predicted.encode_sheet(stack[..., None])
    if not np.array_equal(predicted.decode_sheet(together, (*stack.shape, 1))[..., 0], stack):
        raise SystemExit("predicted images do not come back")
    png = bytes_split = jpegxl = 0
    for image in stack:
        jpegxl += len(imagecodecs.jpegxl_encode(np.ascontiguousarray(image), lossless=True, effort=7, numthreads=1))
        png += len(coding_named("png").encode(image[..., None], DEEP))
        planes = to_planes(image[..., None], "L16", SPLIT) or []
        bytes_split += sum(len(coding_named("webp").encode(plane, 256)) for plane in planes)
    return {"predicted": len(together), "jpegxl_7": jpegxl, "webp_of_bytes": bytes_split, "png": png}


def main() -> None:
    """Measure all images, and write the result."""
    parser = arguments(__doc__, "sixteen_bits", data=False)
    options = parser.parse_args()
    rows: dict[str, dict[str, Any]] = {}
    for name, stack in images().items():
        rows[name] = {"shape": list(stack.shape), "highest": int(stack.max()), **measured(stack)}
        print(name, rows[name], flush=True)
    codings = ("predicted", "jpegxl_7", "webp_of_bytes", "png")
    sums = {coding: sum(row[coding] for row in rows.values()) for coding in codings}
    ratios = np.array([row["predicted"] / row["jpegxl_7"] for row in rows.values()])
    result = {
        "images": rows,
        "bytes": sums,
        "mean_ratio_to_jpegxl_7": round(float(np.exp(np.log(ratios).mean())), 4),
        "shorter_than_jpegxl_7": int((ratios < 1).sum()),
    }
    data = "images that pydicom, pydicom-data, nibabel, dipy and matplotlib bring along"
    save(options, parser, data, result, folder="")


if __name__ == "__main__":
    main()
