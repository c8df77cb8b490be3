"""Arrays of any type, order and layout of channels are seen as images, and come back as they were."""

import io
from itertools import pairwise
from types import SimpleNamespace

import msgpack
import numpy as np
import pytest
import reference_reader
from fake_codec import squeeze
from folders import ALL, FAKE, quick_webp, smooth
from hypothesis import example, given, settings
from hypothesis import strategies as st

import bbcodec
from bbcodec.archive.read.archive import Archive
from bbcodec.archive.write import tasks as planning
from bbcodec.errors import DamagedArchive
from bbcodec.images.array_files import ArrayWriter
from bbcodec.images.array_views import (
    DEEP,
    DEEP_SIGNED,
    SAME,
    UNIT,
    WHOLE,
    ArrayView,
    find_values,
    levels_as,
    seen_shape,
)
from bbcodec.images.npy import MemberLayout, pack_members, seen_images, split_npy, unpack_members

TYPES = ["|b1", "|u1", "|i1", "<u2", ">u2", "<i4", ">i8", "<f2", "<f4", ">f4", "<f8"]


@pytest.fixture(autouse=True, scope="module")
def _quick():
    """Sizes are compared with each other alone."""
    with quick_webp():
        yield


def saved(array):
    stream = io.BytesIO()
    np.save(stream, array)
    return stream.getvalue()


def pictures(channels=3, count=6):
    return np.stack([smooth(48, 48, channels, seed) for seed in range(count)])


@st.composite
def arrays(draw):
    """Arrays of up to 256 values of any type, in any order."""
    dtype = np.dtype(draw(st.sampled_from(TYPES)))
    shapes = (13, 14), (2, 3, 4), (5, 6, 4), (5, 6, 3), (2, 5, 6, 4), (9, 3, 4, 5), (2, 4, 5, 6), (2, 2, 3, 4, 5)
    shape = draw(st.sampled_from(shapes))
    levels = np.random.default_rng(draw(st.integers(0, 99))).integers(0, draw(st.integers(1, 256)), shape)
    how = draw(st.sampled_from(["whole", "unit", "few", "bits"]))
    if how == "bits" and dtype.kind != "b":
        table = np.random.default_rng(draw(st.integers(0, 99))).bytes(256 * dtype.itemsize)
        array = np.frombuffer(table, dtype)[levels]
    elif how == "unit":
        array = (levels / 255).astype(dtype)
    else:
        array = (levels if how == "whole" else levels * 7 - 9).astype(dtype)
    return np.asfortranarray(array) if draw(st.booleans()) else array


def refitted(member, split):
    """What the reader makes of a member, and what the reference reader makes of it."""
    pixels, count = member.images.pixels[:], len(member.images.pixels)
    parts = min(2, count)
    view = ArrayView(**{**vars_of(member.view), "split": split, "parts": parts})
    contents = [pixels.tobytes()]
    if split:
        edges = [count * part // parts for part in range(parts + 1)]
        some = [pixels[first:last] for first, last in pairwise(edges)]
        contents = [plane.tobytes() for part in some for plane in (part[..., :3], part[..., 3:])]
    skeleton = pack_members([MemberLayout("", 0, (), member.header, len(contents), view)], zipped=False)
    stream = io.BytesIO()
    writer = ArrayWriter(stream, *unpack_members(skeleton))
    for content in contents:
        writer.add(content)
    writer.close()
    _, [row] = msgpack.unpackb(skeleton)
    told = reference_reader.Archive.member(SimpleNamespace(part=contents.__getitem__), row[3], row[5:], range(row[4]))
    return stream.getvalue(), told


def vars_of(view):
    return {name: getattr(view, name) for name in ("descr", "shape", "fortran", "values", "split", "parts")}


@settings(max_examples=100, deadline=None)
@given(arrays())
@example(np.zeros((2, 5, 6, 4), np.float32))
@example(np.array([[0.0, -0.0], [np.nan, np.inf]]).repeat(9, 1))
@example(np.full((2, 3, 4), 255, ">u2"))
def test_any_array_of_256_values_comes_back(tmp_path_factory, array):
    path = tmp_path_factory.mktemp("arrays") / "a.npy"
    path.write_bytes(saved(array))
    member = split_npy(str(path))
    if member is None:
        assert len(np.unique(array)) * 4 > array.size
        return
    assert member.images.pixels.shape == seen_shape(array.shape).images
    assert member.images.pixels[:].max() < member.images.levels
    for split in (False, True) if member.images.pixels.shape[3] == 4 else (False,):
        assert refitted(member, split) == (path.read_bytes(), path.read_bytes())


@pytest.mark.parametrize("dtype", [*TYPES[3:], "<u4"])
def test_more_than_256_values_are_no_levels(dtype):
    values = np.arange(300) * (1 if dtype[1] == "u" else 300)  # too far apart for 16 bits
    values = (values if dtype[1] in "iu" else values * 0.001).astype(dtype)
    expected = (DEEP, 65536) if dtype[1] == "u" else None
    assert find_values([values[:200], values[200:]], np.dtype(dtype)) == expected


@pytest.mark.parametrize(
    ("values", "dtype", "found"),
    [
        ([0, 1], "|u1", (SAME, 2)), ([0, 9], "|u1", (bytes([0, 9]), 2)), ([0, 9, 99], "|u1", (SAME, 256)),
        ([0, 255], "<f4", (np.array([0, 255], "<f4").tobytes(), 2)), ([0, 1], "<f4", (WHOLE, 2)),
        ([0, 7, 255], ">u2", (WHOLE, 256)), ([0, 0.2, 1], "<f8", (UNIT, 256)), ([True], "|b1", (SAME, 2)),
        ([-1, 5, 300], "<i4", (np.array([-1, 5, 300], "<i4").tobytes(), 256)),
    ],
)  # fmt: skip
def test_what_levels_stand_for(values, dtype, found):
    assert find_values([np.array(values, dtype).repeat(4)], np.dtype(dtype)) == found


@pytest.mark.parametrize(
    ("dtype", "change", "values"),
    [
        ("<u2", 0, DEEP), (">u2", 0, DEEP), ("<i2", 0, DEEP), ("<i2", -500, DEEP_SIGNED), (">i4", -500, DEEP_SIGNED),
        ("<i8", 0, DEEP), ("<f4", 0, DEEP), ("<f8", -0.5, None), ("<f4", np.nan, None), ("<f4", -40000, None),
        ("<u2", 64800, DEEP), ("<u4", 70000, None),
    ],
)  # fmt: skip
def test_whole_numbers_of_16_bits_are_deep_images(tmp_path, dtype, change, values):
    array = np.arange(2 * 20 * 30).reshape(2, 20, 30) % 701
    array = np.where(array == 3, change, array).astype(dtype)
    for order in "CF":
        path = tmp_path / f"{order}.npy"
        path.write_bytes(saved(np.asarray(array, order=order)))
        member = split_npy(str(path))
        if values is None:
            assert member is None
            continue
        assert (member.view.values, member.images.levels) == (values, 65536)
        assert member.images.pixels.shape == (2, 20, 30, 1)
        pixels = member.images.pixels[:]
        assert pixels.dtype == np.uint16
        assert np.array_equal(pixels[..., 0].astype(int), array.astype(int) + (2**15 if values == DEEP_SIGNED else 0))
        assert refitted(member, False) == (path.read_bytes(), path.read_bytes())


def test_arrays_of_16_bits_are_images_of_an_archive(tmp_path):
    """Whole, and one by one."""
    array = np.cumsum(np.random.default_rng(0).normal(0, 90, (7, 90, 80)), 2).astype(np.int16)
    np.save(tmp_path / "a.npy", array)
    bbcodec.compress(tmp_path / "a.npy", tmp_path / "a.bb", codec="none")
    assert (tmp_path / "a.bb").stat().st_size < 0.6 * array.nbytes
    bbcodec.decompress(tmp_path / "a.bb", tmp_path / "back")
    assert (tmp_path / "back" / "a.npy").read_bytes() == (tmp_path / "a.npy").read_bytes()
    with bbcodec.open(tmp_path / "a.bb") as opened:
        assert opened.count("a.npy") == 7
        shown = opened.pixels("a.npy", 5)
    assert np.array_equal(shown[..., 0], ((array[5].astype(int) + 2**15) >> 8).astype(np.uint8))


def test_a_few_measurements_are_no_image():
    assert find_values([np.random.default_rng(0).normal(size=200)], np.dtype("<f8")) is None
    assert find_values([np.array([3.5, 7.25])], np.dtype("<f8")) is None


def test_a_share_of_255_is_what_training_pipelines_compute():
    bytes_ = np.arange(256, dtype=np.uint8)
    assert np.array_equal(levels_as(UNIT, np.dtype("<f4")), bytes_.astype(np.float32) / 255)
    assert np.array_equal(levels_as(UNIT, np.dtype("<f8")), bytes_ / 255)


LAYOUTS = {
    "nchw": lambda images: np.ascontiguousarray(images.transpose(0, 3, 1, 2)),
    "fortran": np.asfortranarray,
    "unit": lambda images: images.astype(np.float32) / 255,
    "whole": lambda images: images.astype(">i4"),
    "big_endian": lambda images: images.astype(">u2"),
    "five axes": lambda images: images.reshape(3, -1, 48, 48, 3),
    "rgba": lambda images: np.concatenate([images, np.full_like(images[..., :1], 255)], axis=3),
}


def compressed(path, array):
    """The size of an archive of an array, without a codec."""
    path.with_suffix(".npy").write_bytes(saved(array))
    bbcodec.compress(path.with_suffix(".npy"), path, codec="none")
    return path.stat().st_size


@pytest.fixture(scope="module")
def plain_size(tmp_path_factory):
    return compressed(tmp_path_factory.mktemp("plain") / "plain.bb", pictures())


@pytest.mark.parametrize("layout", LAYOUTS)
def test_an_array_in_any_layout_costs_as_its_images(tmp_path, layout, plain_size):
    """Within 1 percent, and 64 bytes for alpha of one value; by name, too."""
    images = pictures()
    size = compressed(tmp_path / "other.bb", LAYOUTS[layout](images))
    assert size <= 1.01 * plain_size + (100 if layout == "rgba" else 0)
    with bbcodec.open(tmp_path / "other.bb") as archive:
        assert archive.read_bytes("other.npy") == (tmp_path / "other.npy").read_bytes()
        assert archive.count("other.npy") == 6
        shown = archive.images("other.npy", 2, 5)
        assert np.array_equal(shown[..., :3], images[2:5])
        assert archive["other.npy"].dtype == LAYOUTS[layout](images).dtype


def test_masks_of_any_two_values_go_to_codecs_for_two_levels(tmp_path):
    mask = smooth(60, 28)[None, ..., 0].repeat(9, 0) > 99
    for name, array in {"a": mask.astype(np.uint8), "b": mask, "c": mask * np.uint8(255), "d": mask * 7.5 - 1}.items():
        np.save(tmp_path / "x.npy", array)
        squeeze(tmp_path / "x.npy", tmp_path / f"{name}.bb", ALL)
        with Archive(tmp_path / f"{name}.bb", run=FAKE) as archive:
            assert archive.files[0].mode == "1"
            assert archive.read_bytes("x.npy") == (tmp_path / "x.npy").read_bytes()
            shown = archive.images("x.npy", 0, 9)[..., 0]
            assert np.array_equal(shown, array if name == "c" else mask)
    sizes = [(tmp_path / f"{name}.bb").stat().st_size for name in "abcd"]
    assert max(sizes) <= sizes[0] + 100


def test_label_maps_of_wide_types_are_indices(tmp_path):
    indices = np.unique(pictures(1, 12)[..., 0] // 60, return_inverse=True)[1].reshape(12, 48, 48)
    labels = np.array([-1, 0, 7, 1000, 70000])[indices]
    np.save(tmp_path / "x.npy", labels)
    squeeze(tmp_path / "x.npy", tmp_path / "a.bb")
    with Archive(tmp_path / "a.bb") as archive:
        assert (archive.files[0].form, archive.files[0].mode) == ("arrays", "L")
        assert np.array_equal(archive["x.npy"], labels)
        assert np.array_equal(archive.images("x.npy", 0, 12)[..., 0], indices)


@pytest.mark.parametrize("layout", ["rgba", "nchw", "fortran"])
def test_large_arrays_are_cut_and_read_in_part(tmp_path, monkeypatch, layout):
    monkeypatch.setattr(planning, "GROUP_VALUES", 2 * 48 * 48 * 4)
    images = np.concatenate([pictures(), pictures(1)], axis=3) if layout == "rgba" else pictures()
    np.save(tmp_path / "x.npy", LAYOUTS[layout](images) if layout != "rgba" else images)
    squeeze(tmp_path / "x.npy", tmp_path / "a.bb", ALL)
    with Archive(tmp_path / "a.bb", run=FAKE) as archive:
        assert len(archive.files[0].content) >= 3
        for start, stop in ((0, 1), (1, 5), (5, 6), (0, 6)):
            assert np.array_equal(archive.images("x.npy", start, stop), images[start:stop])
            chunk = archive.files[0].content[0].chunk
            assert archive.chunk_of("x.npy", start) >= chunk
        assert archive.read_bytes("x.npy") == (tmp_path / "x.npy").read_bytes()
        archive.verify()


def test_a_sheet_of_four_channels_is_kept_where_it_is_shorter(tmp_path):
    """Alpha that follows from the colours."""
    images = np.random.default_rng(0).integers(0, 9, (6, 20, 20, 1), np.uint8).repeat(4, 3) * 20
    np.save(tmp_path / "x.npy", images)
    squeeze(tmp_path / "x.npy", tmp_path / "a.bb")
    with Archive(tmp_path / "a.bb") as archive:
        assert len(archive.files[0].content) == 1
        assert np.array_equal(archive["x.npy"], images)


def test_arrays_in_zips_are_seen_too(tmp_path):
    arrays = {name: change(pictures(count=3)) for name, change in LAYOUTS.items()}
    np.savez(tmp_path / "x.npz", **arrays, other=np.arange(1000.0))
    squeeze(tmp_path / "x.npz", tmp_path / "a.bb")
    with Archive(tmp_path / "a.bb") as archive:
        assert archive.files[0].form == "arrays"
        assert archive.read_bytes("x.npz") == (tmp_path / "x.npz").read_bytes()
        assert (tmp_path / "a.bb").stat().st_size < (tmp_path / "x.npz").stat().st_size / 4


@pytest.mark.parametrize("layout", LAYOUTS)
def test_images_of_arrays_in_memory(layout):
    found = seen_images(LAYOUTS[layout](pictures()))
    assert np.array_equal(found.pixels[..., :3], pictures())


GOOD = ["<f4", [2, 3, 4, 5], False, WHOLE, False, 1]


@pytest.mark.parametrize(
    "view",
    [
        [], GOOD[:5], [*GOOD, 1], ["<f3", *GOOD[1:]], ["<O8", *GOOD[1:]], [5, *GOOD[1:]], ["=f4", *GOOD[1:]],
        ["<f4", [5], *GOOD[2:]], ["<f4", [2, 3, 0], *GOOD[2:]], ["<f4", [-2, -3, 4], *GOOD[2:]],
        ["<f4", [True, 3, 4], *GOOD[2:]], ["<f4", [2**40, 2**40], *GOOD[2:]], ["<f4", [1] * 40, *GOOD[2:]],
        [*GOOD[:2], 0, *GOOD[3:]], [*GOOD[:3], 5, *GOOD[4:]], ["<u2", [2, 5, 4], False, DEEP, False, 1],
        ["|u1", [2, 5, 6], False, DEEP, False, 1], [*GOOD[:3], b"", *GOOD[4:]],
        [*GOOD[:3], b"12345", *GOOD[4:]], [*GOOD[:3], bytes(4 * 257), *GOOD[4:]], [*GOOD[:3], SAME, *GOOD[4:]],
        [*GOOD[:4], True, 1], [*GOOD[:5], 0], [*GOOD[:5], 7], ["<i4", *GOOD[1:3], UNIT, *GOOD[4:]],
        ["<f8", [2**13, 2**13], True, WHOLE, False, 1],
    ],
)  # fmt: skip
def test_views_that_no_array_has_are_damage(view):
    good = msgpack.packb([False, [["", 0, [], 128, 1, GOOD]]])
    assert unpack_members(good)[1][0].view.seen.images == (2, 4, 5, 3)
    with pytest.raises(DamagedArchive):
        unpack_members(msgpack.packb([False, [["", 0, [], 128, 1, view]]]))


@pytest.mark.parametrize("header", [-1, 0, 15, 2**14 + 1, 2**60, "text", None])
def test_headers_of_impossible_lengths_are_damage(header):
    with pytest.raises(DamagedArchive):
        unpack_members(msgpack.packb([False, [["", 0, [], header, 1, GOOD]]]))


@pytest.mark.parametrize("split", [False, True])
@pytest.mark.parametrize("size", [0, 1, 79, 81, 80 * 2, 80 * 4, 80 * 3 - 1])
def test_content_of_another_length_is_damage(split, size):
    view = ArrayView("|u1", (3, 4, 5, 4), False, SAME, split, 2)
    writer = ArrayWriter(io.BytesIO(), False, [MemberLayout("", 0, (), b"", 1, view)])
    with pytest.raises(DamagedArchive):
        writer.add(bytes(size))


def test_levels_beyond_the_table_and_too_much_output_are_damage():
    view = ArrayView("<f8", (1, 4, 5), False, bytes(16))
    with pytest.raises(DamagedArchive, match="no value"):
        ArrayWriter(io.BytesIO(), False, [MemberLayout("", 0, (), b"", 1, view)]).add(bytes(19) + b"\2")
    with pytest.raises(DamagedArchive, match="longer"):
        ArrayWriter(io.BytesIO(), False, [MemberLayout("", 0, (), b"", 1, view)], limit=159).add(bytes(20))
