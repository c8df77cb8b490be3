"""TIFF files taken apart and joined: their samples, and every byte."""

import contextlib
import io
import struct
import warnings
import zlib
from dataclasses import replace
from functools import partial

import imagecodecs
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from image_examples import opened, random_samples, saved
from PIL import Image
from tiff_examples import page, tiff

from bbcodec.errors import DamagedArchive
from bbcodec.images.formats import find_samples, segment_skeletons
from bbcodec.images.formats import tiff as reader
from bbcodec.images.formats.base import Unfit
from bbcodec.images.formats.segment_layouts import EDGE, GIVEN, MOST_SKELETON_BYTES, ZEROS
from bbcodec.images.formats.segments import FORM
from bbcodec.images.image_files import Picture, join_image, palette, split_image
from bbcodec.images.large_images import split_large
from bbcodec.images.probe import probe, why_not_pixels
from bbcodec.images.samples import packed_rows, unpacked_rows
from bbcodec.sample_formats import SAMPLE_FORMATS


def smooth(height, width, channels=1, dtype=np.uint8, seed=0):
    """Samples (H, W, C) from 0 to the highest."""
    name = {1: "L8", 2: "LA8", 3: "RGB8", 4: "RGBA8"}.get(channels, "L8")
    samples = random_samples(name, width, height, seed).astype(dtype)
    samples = samples if samples.shape[2] == channels else np.repeat(samples, channels, axis=2) + np.arange(channels)
    return (samples.astype(np.int64) * (257 if dtype == np.uint16 else 1)).astype(dtype)


def stacked(pages):
    """Pages (H, W, C) as the picture that they are stored as: of groups of channels below each other, if need be."""
    channels, dtype = pages[0].shape[2], pages[0].dtype
    if channels in (3, 4) or (dtype == np.uint8 and channels == 2):
        return np.concatenate(pages)
    return np.concatenate([one[..., channel : channel + 1] for one in pages for channel in range(channels)])


def skeleton_of(picture):
    return segment_skeletons.unpack_skeleton(picture.outline)


layouts = st.fixed_dictionaries({
    "tile": st.none() | st.tuples(st.sampled_from([1, 5, 16]), st.sampled_from([4, 16, 48])),
    "rows": st.integers(1, 30), "planar": st.booleans(), "fill": st.sampled_from(["zeros", "edge", "noise"]),
})  # fmt: skip
files = st.fixed_dictionaries({
    "order": st.sampled_from("<>"), "big": st.booleans(), "gap": st.sampled_from([0, 0, 3]), "shuffled": st.booleans(),
})  # fmt: skip


@settings(deadline=None, max_examples=150)
@given(
    st.tuples(st.integers(1, 40), st.integers(1, 40)),
    st.sampled_from([1, 2, 3, 4, 5]),
    st.sampled_from([np.uint8, np.uint16]),
    st.integers(1, 3),
    layouts,
    files,
)
def test_every_layout_comes_back(size, channels, dtype, n_pages, layout, file):
    pages = [smooth(*size, channels, dtype, seed) for seed in range(n_pages)]
    data = tiff([page(one, file["order"], **layout) for one in pages], **file)
    picture = split_image(data, exact=True)
    assert (picture.form, join_image(picture)) == ("segments", data)
    assert np.array_equal(picture.samples, stacked(pages))
    seen = probe(data)
    assert (seen.height, seen.width, seen.frames) == (*picture.samples.shape[:2], 1)
    assert SAMPLE_FORMATS[picture.sample_format].mode == seen.mode


@pytest.mark.parametrize("depth", [1, 2, 4])
@pytest.mark.parametrize("photometric", [0, 1, 3])
@pytest.mark.parametrize("order", ["<", ">"])
def test_samples_of_few_bits(depth, photometric, order):
    samples = random_samples(f"L{depth}", 29, 11)
    rows = packed_rows(samples, depth)
    tags, _ = page(samples, rows=4)
    tags |= {258: (3, [depth]), 262: (3, [photometric])}
    if photometric == 3:
        tags |= {320: (3, [number * 257 * 3 % 65536 for number in range(3 * 2**depth)])}
    data = tiff([(tags, [rows[top : top + 4].tobytes() for top in range(0, 11, 4)])], order)
    picture = split_image(data)
    expected = samples if photometric else samples ^ np.uint8(2**depth - 1)
    assert picture.sample_format == ("P" if photometric == 3 else "L") + str(depth)
    assert np.array_equal(picture.samples, expected)
    assert join_image(picture) == data
    colours = palette(picture.form, picture.sample_format, picture.skeleton)
    if photometric == 3:
        assert np.array_equal(colours.T.ravel(), np.arange(3 * 2**depth) * 257 * 3 % 65536 >> 8)
    else:
        assert colours is None
    with Image.open(io.BytesIO(data)) as image:
        shown = np.asarray(image.convert("RGB"))
    grey = expected * np.uint8(255 // (2**depth - 1))
    assert np.array_equal(shown, colours[samples[:, :, 0]] if photometric == 3 else np.repeat(grey, 3, axis=2))


@given(st.sampled_from([1, 2, 4, 8, 16]), st.tuples(st.integers(1, 20), st.integers(1, 20)), st.integers(0, 9))
def test_rows_are_unpacked_as_they_were_packed(depth, size, seed):
    samples = random_samples(f"L{depth}", *size, seed)
    assert np.array_equal(unpacked_rows(packed_rows(samples, depth), size[0], depth), samples[:, :, 0])


def test_signed_samples_are_moved_to_the_middle():
    samples = smooth(9, 14, 1, np.uint16)
    data = tiff([page(samples, t339=2)])
    picture = split_image(data)
    assert np.array_equal(picture.samples, samples ^ np.uint16(0x8000))
    assert join_image(picture) == data


@pytest.mark.parametrize(("fill", "number"), [("zeros", ZEROS), ("edge", EDGE), ("noise", GIVEN)])
def test_what_is_beyond_the_edges_is_told_shortly(fill, number):
    data = tiff([page(smooth(30, 40) | np.uint8(1), tile=(16, 32), fill=fill)])
    skeleton = skeleton_of(split_image(data))
    assert skeleton.layout.fill == number
    assert len(skeleton.padding) == (2 * 2 * 16 * 32 - 30 * 40 if number == GIVEN else 0)


def test_numbers_that_tell_of_segments_are_not_stored():
    """Else a segment costs 8 bytes or more that do not shrink."""
    one = smooth(200, 40)
    files = [tiff([page(one, rows=1)], gap=gap) for gap in (0, 1)]
    skeletons = [skeleton_of(split_image(data)) for data in files]
    assert all([pointers.count for pointers in one.pointers] == [200, 200] for one in skeletons)
    assert all(one.rest.count(b"\0") > 200 * 8 for one in skeletons)


encoders = st.sampled_from([
    (8, partial(zlib.compress, level=1)), (8, zlib.compress), (32946, partial(zlib.compress, level=9)),
    (5, imagecodecs.lzw_encode), (8, imagecodecs.deflate_encode),
])  # fmt: skip


@settings(deadline=None, max_examples=25)
@given(
    st.tuples(st.integers(1, 40), st.integers(1, 90)),
    st.sampled_from([1, 3, 5]),
    st.sampled_from([np.uint8, np.uint16]),
    encoders,
    st.booleans(),
    layouts,
    files,
)
def test_compressed_segments_come_back(size, channels, dtype, encoder, predictor, layout, file):
    pages = [smooth(*size, channels, dtype, seed) for seed in range(2)]
    compression, encode = encoder
    more = {"t259": compression, "encode": encode, "predictor": predictor}
    data = tiff([page(one, file["order"], **layout, **more) for one in pages], **file)
    picture = split_image(data, exact=True)
    assert join_image(picture) == data
    assert np.array_equal(picture.samples, stacked(pages))
    assert split_image(data[:-1]) is None


@pytest.mark.parametrize("compression", ["tiff_lzw", "tiff_deflate", "tiff_adobe_deflate", "packbits"])
@pytest.mark.parametrize("mode", ["1", "L", "LA", "RGB", "RGBA", "P", "I;16"])
def test_compressed_files_of_pillow(compression, mode):
    image = Image.fromarray(smooth(70, 133)[:, :, 0]).convert(mode)
    predictor = {"tiffinfo": {317: 2}} if compression == "tiff_lzw" and mode != "1" else {}
    data = saved(image, "TIFF", compression=compression, **predictor)
    picture = split_image(data)
    assert join_image(picture) == data
    assert np.array_equal(picture.samples.squeeze(), np.asarray(opened(data)).astype(picture.samples.dtype))


def test_other_encoders_are_told(tmp_path):
    samples = smooth(30, 40)
    foreign = bytes([0, 9, 128] * 1200)  # literal bytes one by one, with what means nothing
    for compression, encode, reason in (
        (8, lambda raw: zlib.compress(raw)[:-1], "segments that do not unpack to their size"),
        (8, lambda raw: b"no zlib", "segments that do not unpack"),
        (5, lambda raw: b"no LZW", "compressed by another LZW than libtiff's"),
        (32773, lambda raw: foreign, "compressed by other PackBits than libtiff's"),
    ):
        data = tiff([page(samples, t259=compression, encode=encode)])
        _, found = find_samples(io.BytesIO(data))
        with pytest.raises(Unfit, match=reason):
            list(found.bands())
        assert split_image(data) is None
        (tmp_path / "a.tif").write_bytes(data)
        assert why_not_pixels(tmp_path / "a.tif") == reason


@pytest.mark.parametrize("encode", [zlib.compress, imagecodecs.lzw_encode])
def test_changed_recipes_are_damage_or_other_files(encode):
    picture = split_image(tiff([page(smooth(12, 40), rows=5, t259=8 if encode is zlib.compress else 5, encode=encode)]))
    skeleton = skeleton_of(picture)
    long = replace(skeleton, spans=[span._replace(length=2**31) for span in skeleton.spans])
    other = replace(skeleton, recipe_of=[9] * 3)
    for changed in (long, other, replace(skeleton, recipes=[b""]), replace(skeleton, recipes=[bytes(9)])):
        with pytest.raises(DamagedArchive):
            join_image(replace(picture, skeleton=segment_skeletons.pack_skeleton(changed)))
    unknown = replace(skeleton, layout=replace(skeleton.layout, compression=4))
    with pytest.raises(DamagedArchive, match="unknown compression, 4"):
        join_image(replace(picture, skeleton=segment_skeletons.pack_skeleton(unknown)))


def test_pages_of_another_kind_are_kept_as_they_are():
    pages = [page(smooth(30, 40, 3)), page(smooth(15, 20, 3), rows=2), page(smooth(30, 40, 3, seed=1))]
    data = tiff(pages)
    picture = split_image(data)
    assert picture.samples.shape == (60, 40, 3)
    assert join_image(picture) == data
    large = [page(smooth(2100, 2100)), page(smooth(2100, 2090))]
    assert split_image(tiff(large)) is None
    assert why_not(tiff(large)) == "pages of several kinds"


def why_not(data):
    with pytest.raises(Unfit) as caught:
        reader.find_segments(io.BytesIO(data))
    return str(caught.value)


def test_what_is_not_taken_is_told(tmp_path):
    plain = smooth(9, 14)
    for data, reason in (
        (tiff([page(plain, t258=32)]), "32 bits a sample"),
        (tiff([page(plain, t339=3)]), "floats"),
        (tiff([page(plain, t259=7)]), "compressed: JPEG"),
        (tiff([page(plain, t259=8, t317=3)]), "another predictor (3)"),
        (tiff([page(plain, t266=2)]), "another order of bits"),
        (tiff([page(smooth(9, 14, 3), t262=6)]), "another colour space (6)"),
        (tiff([page(plain, rows=3, t278=2)]), "another number of segments than its size"),
    ):
        assert why_not(data) == reason
        assert split_image(data) is None
        (tmp_path / "a.tif").write_bytes(data)
        assert why_not_pixels(tmp_path / "a.tif") == reason


def test_broken_files_are_kept_as_they_are():
    good = tiff([page(smooth(20, 20), rows=7), page(smooth(20, 20, seed=1), rows=7)])
    looped = bytearray(good)
    looped[-4:] = good[4:8]
    overlapping = bytearray(good)
    at = good.index(struct.pack("<III", 8, 148, 288))
    overlapping[at + 4 : at + 8] = struct.pack("<I", 100)
    for data in (bytes(looped), bytes(overlapping), good[:-3], good[:30], b"II*\0", b"MM\0*" + bytes(4), good[:8]):
        assert split_image(data) is None


@settings(deadline=None, max_examples=200)
@given(st.integers(0, 600), st.integers(0, 255))
def test_changed_files_come_back_or_are_kept(place, value):
    data = bytearray(tiff([page(smooth(9, 14, 3, np.uint16), tile=(4, 16), planar=True)], ">", big=True))
    data[place % len(data)] = value
    picture = split_image(bytes(data))
    assert picture is None or join_image(picture) == data


@settings(deadline=None, max_examples=200)
@given(st.integers(0, 200), st.integers(0, 255), st.booleans())
def test_changed_skeletons_are_damage_or_other_files(place, value, cut):
    picture = split_image(tiff([page(smooth(12, 14), tile=(5, 16), fill="noise")]))
    changed = bytearray(picture.skeleton)
    changed[place % 60] = value
    with contextlib.suppress(DamagedArchive):
        join_image(replace(picture, skeleton=bytes(changed[:place] if cut else changed)))


@given(st.binary(max_size=40), st.sampled_from(sorted(SAMPLE_FORMATS)))
def test_any_skeleton_joins_or_is_damage(skeleton, sample_format):
    with contextlib.suppress(DamagedArchive):
        join_image(Picture("segments", sample_format, random_samples(sample_format, 3, 2), skeleton))
        FORM.palette(SAMPLE_FORMATS[sample_format], skeleton)


def test_a_few_bytes_do_not_make_a_large_file():
    """Tiles that are far larger than the image, and numbers that are told again and again."""
    picture = split_image(tiff([page(smooth(12, 14), tile=(5, 16))]))
    skeleton = skeleton_of(picture)
    wide = replace(skeleton, layout=replace(skeleton.layout, columns=2**30))
    pointers = replace(skeleton, pointers=skeleton.pointers[:1] * 9)
    for changed in (wide, pointers):
        with pytest.raises(DamagedArchive):
            join_image(replace(picture, skeleton=segment_skeletons.pack_skeleton(changed)))


def test_large_pages_are_taken_apart_and_joined_in_bands(tmp_path):
    samples = smooth(900, 700, 3)
    data = tiff([page(samples), page(samples[::-1])])
    (tmp_path / "a.tif").write_bytes(data)
    found = split_large(tmp_path / "a.tif", tmp_path / "spool", exact=True)
    assert isinstance(found.samples, np.memmap)
    assert np.array_equal(found.samples, np.concatenate([samples, samples[::-1]]))
    assert skeleton_of(found).layout.rows < 900
    assert join_image(found) == data == join_image(split_image(data))


def test_files_of_pillow_show_what_pillow_sees():
    for mode in ("1", "L", "LA", "RGB", "RGBA", "P", "I;16"):
        image = Image.fromarray(smooth(17, 33)[:, :, 0]).convert(mode)
        data = saved(image, "TIFF")
        picture = split_image(data)
        assert join_image(picture) == data
        assert np.array_equal(picture.samples.squeeze(), np.asarray(opened(data)).astype(picture.samples.dtype))


@pytest.mark.parametrize("more", [{}, {"ome": True}, {"imagej": True}, {"bigtiff": True, "tile": (16, 16)}])
def test_stacks_of_tifffile(more):
    tifffile = pytest.importorskip("tifffile")
    stack = np.stack([smooth(20, 30, 1, np.uint16, seed)[:, :, 0] for seed in range(4)])
    stream = io.BytesIO()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        tifffile.imwrite(stream, stack, photometric="minisblack", **more)
    picture = split_image(stream.getvalue())
    assert np.array_equal(picture.samples, stack.reshape(80, 30, 1))
    assert join_image(picture) == stream.getvalue()


def test_much_besides_the_pixels_is_kept_as_bytes():
    data = tiff([page(smooth(9, 9))]) + bytes(MOST_SKELETON_BYTES)
    assert split_image(data) is None
