"""Image files taken apart and joined again: nothing that a file says about its picture may be lost."""

import io
import struct
import warnings
import zlib

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from PIL import Image, PngImagePlugin

from bbcodec import images
from bbcodec.errors import DamagedArchive
from bbcodec.images import Picture, join_image, pixel_image, split_image

MODES = ("1", "L", "RGB")


def picture(mode="RGB", width=13, height=9, seed=0) -> Image.Image:
    """Smooth noise, so that no two rows or columns are equal."""
    generator = np.random.default_rng(seed)
    pixels = np.cumsum(generator.integers(-9, 10, (height, width, images.CHANNELS[mode])), axis=1).astype(np.uint8)
    return pixel_image(pixels & 1 if mode == "1" else pixels, mode)


def saved(image, kind, **options) -> bytes:
    stream = io.BytesIO()
    image.save(stream, kind, **options)
    return stream.getvalue()


def opened(data: bytes) -> Image.Image:
    image = Image.open(io.BytesIO(data))
    image.load()
    return image


def check_same_picture(first: bytes, second: bytes):
    """All that Pillow knows of the two is equal. Written apart from `images._same` on purpose."""
    one, two = opened(first), opened(second)
    for fact in ("format", "mode", "size", "info"):
        assert getattr(one, fact) == getattr(two, fact), fact
    assert np.array_equal(np.asarray(one), np.asarray(two))
    assert dict(one.getexif()) == dict(two.getexif())
    assert getattr(one, "text", None) == getattr(two, "text", None)


def png_chunk(kind: bytes, data: bytes) -> bytes:
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))


def png(width, height, depth, color, rows: bytes, before=b"", after=b"", interlace=0) -> bytes:
    header = png_chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, depth, color, 0, 0, interlace))
    data = png_chunk(b"IDAT", zlib.compress(rows))
    return images.PNG_SIGNATURE + header + before + data + after + png_chunk(b"IEND", b"")


# --- what is split


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("kind", ["PNG", "BMP", "DIB", "PPM", "TIFF"])
@pytest.mark.parametrize("size", [(1, 1), (13, 9), (16, 8), (33, 2)])
def test_plain_files_are_split_and_joined(mode, kind, size):
    data = saved(picture(mode, *size), kind)
    split = split_image(data)
    assert split is not None
    assert (split.mode, split.pixels.shape) == (mode, (size[1], size[0], images.CHANNELS[mode]))
    assert split.form == ("png" if kind == "PNG" else "raw")
    assert np.array_equal(split.pixels[:, :, 0], np.asarray(opened(data)).reshape(*split.pixels.shape)[:, :, 0])
    joined = join_image(split)
    check_same_picture(data, joined)
    if kind != "PNG":
        assert joined == data


def test_lossless_webp_is_split():
    data = saved(picture(), "WEBP", lossless=True)
    split = split_image(data)
    assert split is not None
    assert split.form == "webp"
    check_same_picture(data, join_image(split))


@settings(deadline=None, max_examples=40)
@given(
    st.sampled_from(MODES), st.integers(1, 20), st.integers(1, 20), st.integers(0, 99), st.sampled_from(["PNG", "BMP"])
)
def test_any_size_comes_back(mode, width, height, seed, kind):
    data = saved(picture(mode, width, height, seed), kind)
    split = split_image(data)
    assert split is not None
    check_same_picture(data, join_image(split))


def test_metadata_of_a_png_comes_back():
    info = PngImagePlugin.PngInfo()
    info.add_text("Title", "ein Bild")
    info.add_itxt("Comment", "späße", lang="de", tkey="Kommentar")
    info.add_text("Long", "x" * 2000, zip=True)
    exif = Image.Exif()
    exif[0x010E] = "described"
    image = picture()
    data = saved(
        image, "PNG", pnginfo=info, exif=exif, dpi=(300, 300), icc_profile=b"profile" * 40, transparency=(1, 2, 3)
    )
    chunks = [png_chunk(b"gAMA", struct.pack(">I", 45455)), png_chunk(b"tIME", b"\x07\xe9\x01\x02\x03\x04\x05")]
    header_end = 8 + 25
    data = data[:header_end] + b"".join(chunks) + data[header_end:]
    split = split_image(data)
    assert split is not None
    joined = join_image(split)
    check_same_picture(data, joined)
    assert set(opened(joined).info) >= {
        "Title",
        "Comment",
        "Long",
        "dpi",
        "icc_profile",
        "transparency",
        "gamma",
        "exif",
    }
    kept = [chunk for chunk in images._png_chunks(data) if chunk[0] not in (b"IHDR", b"IDAT", b"IEND")]
    again = [chunk for chunk in images._png_chunks(joined) if chunk[0] not in (b"IHDR", b"IDAT", b"IEND")]
    assert kept == again
    assert len(kept) >= 8


def test_chunks_after_the_pixels_stay_after_them():
    rows = b"".join(b"\0" + bytes([row, row + 1]) for row in range(2))
    before, after = png_chunk(b"gAMA", struct.pack(">I", 45455)), png_chunk(b"tEXt", b"Author\0me")
    data = png(2, 2, 8, 0, rows, before, after)
    split = split_image(data)
    assert split is not None
    kinds = [kind for kind, _ in images._png_chunks(join_image(split))]
    assert kinds == [b"IHDR", b"gAMA", b"IDAT", b"tEXt", b"IEND"]


# --- what is not


def grey16(color=0):
    channels = {0: 1, 2: 3}[color]
    return png(2, 2, 16, color, b"".join(b"\0" + bytes(range(1, 1 + 4 * channels)) for _ in range(2)))


KEPT = {
    "palette": lambda: saved(picture().quantize(8), "PNG"),
    "alpha": lambda: saved(picture().convert("RGBA"), "PNG"),
    "grey alpha": lambda: saved(picture().convert("LA"), "PNG"),
    "jpeg": lambda: saved(picture(), "JPEG"),
    "gif": lambda: saved(picture("L"), "GIF"),
    "16-bit grey": lambda: grey16(0),
    "16-bit RGB, which Pillow shows as 8": lambda: grey16(2),
    "2-bit grey, which Pillow shows as L": lambda: png(2, 2, 2, 0, b"\0\x60\0\xb0"),
    "interlaced": lambda: png(1, 1, 8, 0, b"\0\x07", interlace=1),
    "animated": lambda: saved(picture(), "PNG", save_all=True, append_images=[picture(seed=1)]),
    "animation of one frame": lambda: png(1, 1, 8, 0, b"\0\x07", before=png_chunk(b"acTL", struct.pack(">II", 1, 0))),
    "bytes after the end": lambda: saved(picture(), "PNG") + b"more",
    "PPM of 16 bits": lambda: b"P6 2 1 65535\n" + bytes(range(1, 13)),
    "lossy WebP": lambda: saved(picture(), "WEBP", quality=50),
    "WebP with alpha": lambda: saved(Image.new("RGBA", (3, 3), (1, 2, 3, 4)), "WEBP", lossless=True, exact=True),
    "WebP with metadata": lambda: saved(picture(), "WEBP", lossless=True, exif=b"Exif\0\0II*\0\x08\0\0\0\0\0"),
    "compressed TIFF": lambda: saved(picture(), "TIFF", compression="tiff_deflate"),
    "TIFF of two pages": lambda: saved(picture(), "TIFF", save_all=True, append_images=[picture(seed=1)]),
    "text": lambda: b"just text",
    "nothing": lambda: b"",
    "half a PNG": lambda: saved(picture(), "PNG")[:-30],
    "a BMP with trailing metadata over the bound": lambda: saved(picture(), "BMP") + bytes(2**18),
}


@pytest.mark.parametrize("case", KEPT)
def test_files_that_cannot_be_joined_again_are_not_split(case):
    data = KEPT[case]()
    assert split_image(data) is None


def test_a_png_with_a_wrong_crc_is_not_split():
    data = bytearray(saved(picture(), "PNG", dpi=(72, 72)))
    place = data.index(b"pHYs") + 4 + 9
    data[place] ^= 1
    assert split_image(bytes(data)) is None


def test_a_picture_that_joins_differently_is_not_split(monkeypatch):
    """The trial that `split_image` makes: were the writer to lose something, the file is kept."""
    data = saved(picture(), "PNG", dpi=(300, 300))
    assert split_image(data) is not None
    monkeypatch.setattr(images, "_join_png", lambda split: saved(pixel_image(split.pixels, split.mode), "PNG"))
    assert split_image(data) is None


def test_decompression_bombs_are_not_opened(monkeypatch):
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 50)
    assert split_image(saved(picture(), "PNG")) is None


@settings(deadline=None, max_examples=150)
@given(st.data())
def test_damaged_files_are_split_right_or_not_at_all(data):
    """Whatever a changed byte does to a file, what is split gives the same picture again."""
    kind = data.draw(st.sampled_from(["PNG", "BMP", "PPM", "TIFF", "WEBP"]))
    file = bytearray(
        saved(picture("L" if kind != "WEBP" else "RGB"), kind, **({"lossless": True} if kind == "WEBP" else {}))
    )
    file[data.draw(st.integers(0, len(file) - 1))] ^= data.draw(st.integers(1, 255))
    split = split_image(bytes(file))
    if split is not None:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            check_same_picture(bytes(file), join_image(split))


# --- pixels stored classically


@settings(deadline=None, max_examples=60)
@given(st.data(), st.sampled_from(MODES), st.sampled_from(["webp", "png"]))
def test_webp_and_png_give_all_pixels_back(data, mode, how):
    shape = data.draw(st.tuples(st.integers(1, 20), st.integers(1, 20), st.just(images.CHANNELS[mode])))
    pixels = data.draw(hnp.arrays(np.uint8, shape, elements=st.integers(0, 1 if mode == "1" else 255)))
    encode = images.encode_webp if how == "webp" else images.encode_png
    stored = encode(pixels, mode)
    assert np.array_equal(images.decode_stored(stored, how, mode, shape[1], shape[0]), pixels)


def test_stored_images_must_be_what_the_index_says():
    pixels = np.arange(48, dtype=np.uint8).reshape(4, 4, 3)
    webp, png_ = images.encode_webp(pixels, "RGB"), images.encode_png(pixels, "RGB")
    for data, how, mode, width in [
        (webp, "webp", "RGB", 5),
        (png_, "png", "L", 4),
        (png_, "webp", "RGB", 4),
        (webp[:-9], "webp", "RGB", 4),
        (b"", "png", "RGB", 4),
        (images.encode_png(pixels[:, :, :1], "L"), "png", "1", 4),
    ]:
        with pytest.raises(DamagedArchive):
            images.decode_stored(data, how, mode, width, 4)


def test_metadata_of_another_form_is_damage():
    pixels = np.zeros((2, 2, 3), np.uint8)
    for metadata in (b"", b"\x63", b"\x00\x80"):
        with pytest.raises(DamagedArchive):
            join_image(Picture("raw", "RGB", pixels, metadata))
    with pytest.raises(DamagedArchive):
        join_image(Picture("png", "RGB", pixels, b"\xff\xff"))
    with pytest.raises(DamagedArchive):
        join_image(Picture("png", "RGB", pixels[:, :, :1], b""))
