"""What Pillow sees of a file."""

import io
import struct
import zlib

import pytest
from image_examples import opened, pillow_image, png_chunk, random_samples, saved
from PIL import Image, PngImagePlugin

from bbcodec.images.pillow import MAX_PIXELS, strictly
from bbcodec.images.probe import Probe, facts, probe, why_not_pixels
from bbcodec.sample_formats import SAMPLE_FORMATS


def picture(sample_format="RGB8"):
    return pillow_image(random_samples(sample_format, 13, 9), sample_format)


def test_probe_reads_paths_bytes_and_streams(tmp_path):
    data = saved(picture(), "PNG")
    path = tmp_path / "a.png"
    path.write_bytes(data)
    for source in (path, str(path), data, io.BytesIO(data)):
        assert probe(source) == Probe("PNG", "RGB", 13, 9, 1)
    for nothing in (tmp_path / "b.png", b"", b"text"):
        assert probe(nothing) is None


@pytest.mark.parametrize("sample_format", SAMPLE_FORMATS)
def test_every_sample_format_may_be_split(sample_format):
    assert probe(saved(picture(sample_format), "PNG")).may_split


@pytest.mark.parametrize("format", ["JPEG", "GIF", "ICO", "JPEG2000"])
def test_other_formats_may_not(format):
    assert not probe(saved(picture(), format)).may_split


def test_animations_may_not():
    assert not probe(saved(picture(), "PNG", save_all=True, append_images=[picture("RGBA8")])).may_split


def png_of_size(width, height):
    header = png_chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, 8, 0, 0, 0, 0))
    return b"\x89PNG\r\n\x1a\n" + header + png_chunk(b"IDAT", zlib.compress(b"")) + png_chunk(b"IEND", b"")


def test_bombs():
    """A large image is seen, one beyond all bounds is not, and the bound outside is as it was."""
    before = Image.MAX_IMAGE_PIXELS
    assert probe(png_of_size(2**14, 2**15)).may_split
    assert probe(png_of_size(2**15, 2**15 + 1)) is None
    with pytest.raises(Image.DecompressionBombError), strictly(MAX_PIXELS):
        Image.open(io.BytesIO(png_of_size(2**16, 2**16)))
    assert before == Image.MAX_IMAGE_PIXELS


def itxt(language):
    info = PngImagePlugin.PngInfo()
    info.add_itxt("Comment", "x", lang=language)
    return info


def exif(value):
    found = Image.Exif()
    found[0x8769] = {0x829A: value}
    return found


@pytest.mark.parametrize(
    ("sample_format", "one", "two"),
    [
        ("RGB8", {}, {"dpi": (72, 72)}),
        ("RGB8", {}, {"transparency": (0, 0, 0)}),
        ("RGB8", {"pnginfo": itxt("de")}, {"pnginfo": itxt("en")}),
        ("RGB8", {"icc_profile": b"a"}, {"icc_profile": b"b"}),
        ("RGB8", {"exif": exif(0.25)}, {"exif": exif(0.5)}),
        ("P4", {}, {"transparency": bytes(4)}),
    ],
)
def test_facts_tell_files_apart(sample_format, one, two):
    first, second = (opened(saved(picture(sample_format), "PNG", **options)) for options in (one, two))
    assert facts(first) != facts(second)
    assert facts(first) == facts(opened(saved(picture(sample_format), "PNG", **one)))


def test_facts_tell_palettes_and_sizes_apart():
    one = picture("P4")
    other = picture("P4")
    other.putpalette(bytes(48))
    found = [facts(opened(saved(image, "PNG"))) for image in (one, other, one.crop((0, 0, 5, 5)), one.convert("L"))]
    assert all(found[0] != other for other in found[1:])


def test_what_keeps_an_image_from_its_pixels(tmp_path):
    reasons = {}
    for name, image, options in (
        ("a.gif", Image.new("L", (9, 9)), {}),
        ("a.tif", Image.new("L", (9, 9)), {"compression": "zstd"}),
        ("b.tif", Image.new("I", (9, 9)), {}),
        ("c.tif", Image.new("CMYK", (9, 9)), {}),
        ("d.png", Image.new("L", (9, 9)), {"save_all": True, "append_images": [Image.new("L", (9, 9), 1)]}),
        ("e.png", Image.new("L", (9, 9)), {}),
    ):
        image.save(tmp_path / name, **options)
        reasons[name] = why_not_pixels(tmp_path / name)
    (tmp_path / "f").write_text("no image")
    assert reasons == {
        "a.gif": "GIF", "a.tif": "compressed: zstd", "b.tif": "32 bits a sample", "c.tif": "another colour space (5)",
        "d.png": "2 frames", "e.png": "",
    }  # fmt: skip
    assert why_not_pixels(tmp_path / "f") == why_not_pixels(tmp_path / "nope") == ""
