"""Image files taken apart and joined again: nothing that a file says about its picture may be lost."""

import io
import struct
import time
import warnings

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from image_examples import opened, pillow_image, png_chunk, png_of, random_samples, saved, sizes
from PIL import Image, PngImagePlugin, TiffImagePlugin

from bbcodec.errors import DamagedArchive
from bbcodec.images import image_files as pictures
from bbcodec.images.formats import PIXEL_FORMS, form_named, form_of_format, png
from bbcodec.images.formats.base import MAX_SKELETON_BYTES
from bbcodec.images.image_files import Picture, join_bands, join_image, palette, split_image
from bbcodec.sample_formats import SAMPLE_FORMATS


def check_same_picture(first, second):
    """All that Pillow knows of the two is equal. Written apart from `bbcodec.images.probe.facts` on purpose."""
    one, two = opened(first), opened(second)
    for fact in ("format", "mode", "size", "info"):
        assert getattr(one, fact) == getattr(two, fact), fact
    assert np.array_equal(np.asarray(one), np.asarray(two))
    assert one.getpalette("RGBA") == two.getpalette("RGBA") if one.mode == "P" else True
    assert dict(one.getexif()) == dict(two.getexif())
    assert getattr(one, "text", None) == getattr(two, "text", None)


def picture(sample_format="RGB8", width=13, height=9, seed=0):
    return pillow_image(random_samples(sample_format, width, height, seed), sample_format)


@settings(max_examples=120)
@given(st.sampled_from(sorted(SAMPLE_FORMATS)), sizes(20), st.booleans(), st.integers(0, 99))
def test_every_sample_format_of_png_comes_back(sample_format, size, interlaced, seed):
    samples = random_samples(sample_format, *size, seed)
    data = png_of(samples, sample_format, interlaced=interlaced)
    split = split_image(data)
    assert (split.form, split.sample_format) == ("png", sample_format)
    assert np.array_equal(split.samples, samples)
    check_same_picture(data, join_image(split))
    assert (palette("png", sample_format, split.skeleton) is not None) == SAMPLE_FORMATS[sample_format].indexed


def test_all_that_a_png_says_comes_back():
    info = PngImagePlugin.PngInfo()
    info.add_text("Title", "ein Bild")
    info.add_itxt("Comment", "späße", lang="de", tkey="Kommentar")
    info.add_text("Long", "x" * 2000, zip=True)
    exif = Image.Exif()
    exif[0x010E] = "described"
    exif[0x8769] = {0x829A: TiffImagePlugin.IFDRational(1, 50)}
    options = {"pnginfo": info, "exif": exif, "dpi": (300, 300), "icc_profile": b"profile" * 40}
    data = saved(picture(), "PNG", transparency=(1, 2, 3), **options)
    chunks = [
        png_chunk(b"gAMA", struct.pack(">I", 45455)),
        png_chunk(b"tIME", b"\x07\xe9\x01\x02\x03\x04\x05"),
        png_chunk(b"sBIT", b"\5\6\5"),
        png_chunk(b"bKGD", bytes(6)),
        png_chunk(b"prVt", b"private"),
    ]
    data = data[:33] + b"".join(chunks) + data[33:]
    split = split_image(data)
    joined = join_image(split)
    check_same_picture(data, joined)
    wanted = {"Title", "Comment", "Long", "dpi", "icc_profile", "transparency", "gamma", "exif"}
    assert set(opened(joined).info) >= wanted
    assert list(png.read_chunks(io.BytesIO(joined))) == list(png.read_chunks(io.BytesIO(data)))
    assert len(list(png.read_chunks(io.BytesIO(joined)))) >= 14


def test_exif_with_a_fraction_of_nothing_comes_back():
    """0/0 is not equal to itself as a number; it is the same metadata nevertheless."""
    exif = Image.Exif()
    exif[0x011A] = TiffImagePlugin.IFDRational(0, 0)
    data = saved(picture(), "PNG", exif=exif)
    assert split_image(data) is not None


def test_exact_files_are_joined_with_every_byte_or_not_split():
    for data in (saved(picture(), "BMP"), saved(picture(), "PNG")):
        assert join_image(split_image(data, exact=True)) == data
    webp = saved(picture(), "WEBP", lossless=True)
    assert split_image(webp) is not None
    assert split_image(webp, exact=True) is None


# --- what is not split

KEPT = {
    "jpeg": lambda: saved(picture(), "JPEG"),
    "gif": lambda: saved(picture("L8"), "GIF"),
    "CMYK": lambda: saved(picture().convert("CMYK"), "TIFF"),
    "float": lambda: saved(Image.new("F", (3, 3), 0.5), "TIFF"),
    "animated PNG": lambda: saved(picture(), "PNG", save_all=True, append_images=[picture(seed=1)]),
    "PNG with much after the end": lambda: saved(picture(), "PNG") + bytes(2**18 + 1),
    "text": lambda: b"just text",
    "nothing": lambda: b"",
    "half a PNG": lambda: saved(picture(), "PNG")[:-30],
}


@pytest.mark.parametrize("case", KEPT)
def test_files_that_cannot_be_joined_again_are_not_split(case):
    assert split_image(KEPT[case]()) is None


def test_bytes_after_the_end_come_back():
    data = saved(picture(), "PNG", dpi=(72, 72)) + b"more"
    joined = join_image(split_image(data))
    check_same_picture(data, joined)
    assert joined.endswith(b"IEND\xaeB`\x82more")


def test_indices_without_colours_are_split():
    data = png_of(random_samples("P8", 3, 3), "P8", png_chunk(b"PLTE", b""))
    split = split_image(data)
    assert palette("png", "P8", split.skeleton) is None
    check_same_picture(data, join_image(split))


def test_a_png_with_a_wrong_crc_is_not_split():
    data = bytearray(saved(picture(), "PNG", dpi=(72, 72)))
    data[data.index(b"pHYs") + 4 + 9] ^= 1
    assert split_image(bytes(data)) is None


def test_a_picture_that_joins_differently_is_not_split(monkeypatch):
    """The trial that `split_image` makes: were the writer to lose something, the file is kept."""
    data = saved(picture(), "PNG", dpi=(300, 300))
    raw = saved(picture(), "BMP")
    good, right = saved(picture(), "PNG"), join_image
    for wrong in (good, saved(picture(seed=1), "PNG", dpi=(300, 300)), saved(picture(), "PNG", dpi=(300, 301)), raw):
        monkeypatch.setattr(pictures, "join_image", lambda *_, wrong=wrong, **__: wrong)
        assert split_image(data) is None
    monkeypatch.setattr(pictures, "join_image", right)
    assert split_image(data) is not None


def test_decompression_bombs_are_not_opened(monkeypatch):
    data = saved(picture(), "PNG")
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 50)
    assert split_image(data) is None


@settings(max_examples=200)
@given(st.data())
def test_damaged_files_are_split_right_or_not_at_all(data):
    """Whatever a changed byte does to a file, what is split gives the same picture again."""
    sample_format = data.draw(st.sampled_from(["L8", "P4", "RGBA8"]))
    format = data.draw(st.sampled_from(["PNG", "TIFF", "TGA"] + (["WEBP"] if sample_format == "RGBA8" else ["BMP"])))
    options = {"lossless": True, "exact": True} if format == "WEBP" else {}
    file = bytearray(saved(picture(sample_format), format, **options))
    file[data.draw(st.integers(0, len(file) - 1))] ^= data.draw(st.integers(1, 255))
    split = split_image(bytes(file))
    joined = join_image(split) if split is not None else file
    if joined != file:  # else Pillow may see nothing in either
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            check_same_picture(bytes(file), joined)


# --- joining what does not fit


@pytest.mark.parametrize(
    ("form", "sample_format", "samples", "skeleton"),
    [
        ("png", "RGB8", random_samples("L8", 3, 2), b""),
        ("png", "L4", random_samples("L8", 3, 2), b""),
        ("png", "L16", random_samples("L8", 3, 2), b""),
        ("png", "L8", random_samples("L8", 3, 2)[:0], b""),
        ("png", "X", random_samples("L8", 3, 2), b""),
        ("png", "L8", random_samples("L8", 3, 2), b"\xff\xff"),
        ("jpg", "L8", random_samples("L8", 3, 2), b""),
        ("webp", "L8", random_samples("L8", 3, 2), b""),
        ("raw", "L8", random_samples("L8", 3, 2), b""),
    ],
)
def test_parts_that_do_not_fit_are_damage(form, sample_format, samples, skeleton):
    with pytest.raises(DamagedArchive):
        join_image(Picture(form, sample_format, samples, skeleton))


@pytest.mark.parametrize(("form", "in_bands"), [("png", True), ("raw", True), ("webp", False)])
def test_files_are_the_same_from_bands_and_from_memory(form, in_bands):
    samples = random_samples("RGB8", 13, 9)
    options = {"lossless": True} if form == "webp" else {}
    split = split_image(saved(picture(), {"raw": "BMP"}.get(form, form), **options))
    assert form_named(form).joins_in_bands(split.skeleton) == in_bands
    stream = io.BytesIO()
    join_bands(split.outline, iter([samples[:4], samples[4:5], samples[5:]]), stream)
    assert stream.getvalue() == join_image(split)
    for bands in ([samples[:4]], [samples, samples[:1]], [samples[:, :5]], [samples[:, :, :1]]):
        with pytest.raises(ValueError, match="expected"):
            join_bands(split.outline, bands, io.BytesIO())


def test_an_interlaced_png_is_not_joined_in_bands():
    split = split_image(png_of(random_samples("RGB8", 13, 9), "RGB8", interlaced=True))
    assert not form_named("png").joins_in_bands(split.skeleton)


def test_every_file_form_is_as_the_registry_says():
    assert PIXEL_FORMS == ("png", "webp", "raw", "segments")
    forms = [form_named(name) for name in PIXEL_FORMS]
    assert [form.name for form in forms] == list(PIXEL_FORMS)
    assert [form.name for form in forms if form.exact] == ["png", "raw", "segments"]
    taken = [pillow_format for form in forms for pillow_format in form.pillow_formats]
    assert len(taken) == len(set(taken))
    assert all(form_of_format(pillow_format) is form for form in forms for pillow_format in form.pillow_formats)
    assert form_of_format("JPEG") is None
    with pytest.raises(DamagedArchive, match="unknown file form 'jpg'"):
        form_named("jpg")


# --- hostile skeletons


@pytest.mark.parametrize("form", PIXEL_FORMS)
def test_long_skeletons_are_damage(form):
    """They would take thirty times their length, and come from a stream that is a thousandth of it."""
    samples = random_samples("RGB8", 4, 4, 0)
    for skeleton in (bytes(form_named(form).most_skeleton_bytes + 1), bytes(2**24)):
        with pytest.raises(DamagedArchive, match="skeleton of an image has"):
            join_image(Picture(form, "RGB8", samples, skeleton))
        with pytest.raises(DamagedArchive, match="skeleton of an image has"):
            palette(form, "RGB8", skeleton)


def test_many_empty_records_are_joined_in_proportion():
    """A WebP with as many chunks as fit: not one copy of the file for each."""
    records = b"abcd\0" * (MAX_SKELETON_BYTES // 5)
    started = time.process_time()
    joined = join_image(Picture("webp", "RGB8", random_samples("RGB8", 600, 600, 0), records))
    assert time.process_time() - started < 5
    assert joined.count(b"abcd") >= MAX_SKELETON_BYTES // 5
