"""Large images, taken apart into a file and joined in bands."""

import io
import subprocess
import sys

import numpy as np
import pytest
from image_examples import opened, pillow_image, png_of, random_samples, saved
from PIL import Image

from bbcodec.errors import OutputError
from bbcodec.images import large_images as large
from bbcodec.images.image_files import join_bands, join_image, split_image
from bbcodec.images.large_images import split_large
from bbcodec.images.samples import bands_of
from bbcodec.sample_formats import SAMPLE_FORMATS


def split(tmp_path, data, **options):
    path = tmp_path / "image"
    path.write_bytes(data)
    return split_large(path, tmp_path / "spool", **options)


@pytest.mark.parametrize("sample_format", SAMPLE_FORMATS)
def test_as_for_small_images(tmp_path, sample_format):
    data = png_of(random_samples(sample_format, 300, 200), sample_format)
    found, expected = split(tmp_path, data), split_image(data)
    assert found.outline == expected.outline
    assert isinstance(found.samples, np.memmap)
    assert not found.samples.flags.writeable
    assert found.samples.dtype == SAMPLE_FORMATS[sample_format].dtype
    assert np.array_equal(found.samples, expected.samples)
    assert join_image(found) == join_image(expected)


@pytest.mark.parametrize("format", ["BMP", "PPM", "TGA"])
@pytest.mark.parametrize("sample_format", ["L1", "L8", "RGB8"])
def test_raw_files_in_bands(tmp_path, format, sample_format):
    samples = random_samples(sample_format, 701, 600)
    data = saved(pillow_image(samples, sample_format), format)
    found = split(tmp_path, data, exact=True)
    assert (found.form, found.sample_format) == ("raw", sample_format)
    stream = io.BytesIO()
    join_bands(found.outline, bands_of(found.samples), stream)
    assert stream.getvalue() == data


def test_several_bands_of_a_png(tmp_path):
    samples = random_samples("RGB8", 701, 600)
    data = saved(pillow_image(samples, "RGB8"), "PNG", dpi=(300, 300))
    found = split(tmp_path, data)
    stream = io.BytesIO()
    join_bands(found.outline, bands_of(found.samples), stream)
    assert np.array_equal(np.asarray(opened(stream.getvalue())), samples)
    assert opened(stream.getvalue()).info == opened(data).info


def test_others_are_not_split(tmp_path):
    image = pillow_image(random_samples("RGB8", 30, 20), "RGB8")
    for data in (
        saved(image, "JPEG"),
        saved(image, "WEBP", lossless=True),
        saved(image, "TIFF", compression="zstd"),
        png_of(random_samples("RGB8", 30, 20), "RGB8", interlaced=True),
        saved(image, "PNG")[:-20],
        saved(image, "PNG") + bytes(2**18 + 1),
        b"text",
    ):
        assert split(tmp_path, data) is None
    assert split(tmp_path, saved(image, "PNG"), exact=True) is None
    assert split(tmp_path, saved(image, "PNG")) is not None
    assert split_large(tmp_path / "nothing", tmp_path / "spool") is None


def test_no_room_for_temporary_files_is_an_error(tmp_path, monkeypatch):
    """Else the archive would have other bytes on a computer with a full disk: at each of the two files."""
    data = saved(pillow_image(random_samples("RGB8", 300, 200), "RGB8"), "PNG")
    (tmp_path / "image").write_bytes(data)
    with pytest.raises(OutputError, match="TMPDIR"):
        split_large(tmp_path / "image", tmp_path / "no folder" / "spool")

    class Full(io.BytesIO):
        def write(self, data):
            raise OSError(28, "No space left on device")

    monkeypatch.setattr(large.tempfile, "TemporaryFile", lambda dir: Full())
    with pytest.raises(OutputError, match="No space left"):
        split_large(tmp_path / "image", tmp_path / "spool")

    def refuse(dir):
        raise OSError(13, "Permission denied")

    monkeypatch.setattr(large.tempfile, "TemporaryFile", refuse)
    with pytest.raises(OutputError, match="Permission denied"):
        split_large(tmp_path / "image", tmp_path / "spool")


@pytest.mark.parametrize("wrong", ["pixels", "facts", "bytes"])
def test_a_picture_that_joins_differently_is_not_split(tmp_path, monkeypatch, wrong):
    image = pillow_image(random_samples("RGB8", 30, 20), "RGB8")
    other = pillow_image(random_samples("RGB8", 30, 20, seed=1), "RGB8")
    data, joined = {
        "pixels": (saved(image, "PNG"), saved(other, "PNG")),
        "facts": (saved(image, "PNG"), saved(image, "PNG", dpi=(72, 72))),
        "bytes": (saved(image, "BMP"), saved(image, "BMP") + b"more"),
    }[wrong]
    monkeypatch.setattr(large, "join_bands", lambda _, __, stream, **___: stream.write(joined))
    assert split(tmp_path, data) is None


# VmHWM is the peak of this process alone; ru_maxrss would begin with that of its parent.
MEASURE = """
import sys
from pathlib import Path
from bbcodec.images import split_large
assert split_large(sys.argv[1], Path(sys.argv[2])) is not None
print(next(line.split()[1] for line in open("/proc/self/status") if line.startswith("VmHWM")))
"""


@pytest.mark.slow
@pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")
@pytest.mark.parametrize("format", ["PNG", "BMP"])
def test_memory_is_that_of_one_copy(tmp_path, format):
    """10,000 by 10,000 pixels of RGB: Pillow's copy takes 400 MB."""
    generator = np.random.default_rng(0)
    image = Image.new("RGB", (10_000, 10_000))
    slope = np.add.outer(np.arange(500), np.arange(10_000))[:, :, None] // [40, 60, 80]
    for top in range(0, 10_000, 500):
        band = (slope + top // 40 + generator.integers(0, 4, (500, 10_000, 3))).astype(np.uint8)
        image.paste(Image.fromarray(band), (0, top))
    image.save(tmp_path / "image", format, **({"compress_level": 1} if format == "PNG" else {}))
    measured = [sys.executable, "-c", MEASURE, str(tmp_path / "image"), str(tmp_path / "spool")]
    kilobytes = int(subprocess.run(measured, check=True, capture_output=True, text=True).stdout)
    assert kilobytes < 700_000
