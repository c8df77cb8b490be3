"""Array files without a skeleton: their header follows from the directory."""

import io
import tracemalloc
import zipfile
from dataclasses import replace

import numpy as np
import pytest
from fake_codec import squeeze
from folders import smooth
from hypothesis import given
from hypothesis import strategies as st

from bbcodec.archive.read import archive as archives
from bbcodec.archive.read.archive import Archive
from bbcodec.archive.write import array_parts
from bbcodec.errors import DamagedArchive
from bbcodec.images.npy import USUAL_BYTES, MemberLayout, unpack_members, usual_header, usual_shape

SHAPES = {1: (), 2: (1,), 3: (3,)}


def saved(array, version=None):
    """The npy file of an array."""
    stream = io.BytesIO()
    np.lib.format.write_array(stream, array, version)
    return stream.getvalue()


def member(header):
    return MemberLayout("", 0, (), header, 1)


@given(st.sampled_from(sorted(SHAPES)), st.integers(1, 2**40), st.integers(1, 2**31), st.integers(1, 2**31))
def test_the_usual_header_is_the_one_that_numpy_writes(usual, count, height, width):
    shape = count, height, width, *SHAPES[usual]
    stream = io.BytesIO()
    np.lib.format.write_array_header_1_0(stream, {"descr": "|u1", "fortran_order": False, "shape": shape})
    size = USUAL_BYTES + int(np.prod(shape, dtype=object))
    assert usual_header(usual, size, height, width) == stream.getvalue()
    assert usual_shape([member(stream.getvalue())], size, height, width) == usual


def test_other_headers_are_not_usual():
    array = np.zeros((5, 4, 3), np.uint8)
    usual = saved(array)[:128]
    assert usual_shape([member(usual)], 188, 4, 3) == 1
    others = [
        saved(array > 0)[:128],  # of bools
        saved(array, (2, 0))[:128],  # of another version
        saved(array.T)[:128],  # in Fortran's order
        saved(array[0])[:128],
        usual.replace(b" \n", b"\n\n"),
    ]
    assert [usual_shape([member(header)], 188, 4, 3) for header in others] == [0] * len(others)
    assert usual_shape([member(usual)], 189, 4, 3) == 0  # a tail
    assert usual_shape([member(usual)], 188, 3, 4) == 0
    assert usual_shape([member(usual)], 188, 0, 0) == 0
    assert usual_shape([member(usual)] * 2, 188, 4, 3) == 0
    assert usual_shape([replace(member(usual), name="x.npy", date=(1980, 1, 1, 0, 0, 0))], 188, 4, 3) == 0


@pytest.mark.parametrize("size", [0, 127, 128, 139, 141])
def test_a_size_that_the_shape_cannot_have_is_damage(size):
    assert len(usual_header(1, 140, 3, 4)) == 128
    with pytest.raises(DamagedArchive, match="another size than its shape"):
        usual_header(1, size, 3, 4)


@pytest.mark.parametrize(
    ("shape", "usual"), [((6, 9, 8), 1), ((6, 9, 8, 1), 2), ((6, 9, 8, 3), 3), ((9, 8), 0), ((9, 8, 3), 0)]
)
def test_arrays_of_usual_shapes_have_no_skeleton(tmp_path, shape, usual):
    data = saved(np.random.default_rng(1).integers(0, 9, shape, np.uint8))
    (tmp_path / "a.npy").write_bytes(data)
    squeeze(tmp_path / "a.npy", tmp_path / "a.bb")
    with Archive(tmp_path / "a.bb") as archive:
        (file,) = archive.files
        assert (file.skeleton, file.plane_layout) == (not usual, usual)
        assert archive.read_bytes("a.npy") == data
        assert archive.count("a.npy") == (6 if usual else 1)
        archive.verify()


def test_content_of_another_size_than_the_entry_says_is_damage(tmp_path):
    np.save(tmp_path / "a.npy", np.random.default_rng(1).integers(0, 9, (6, 9, 8), np.uint8))
    squeeze(tmp_path / "a.npy", tmp_path / "a.bb")
    for size, verified in ((128 + 5 * 72, True), (128 + 72 + 1, False)):
        with Archive(tmp_path / "a.bb") as archive:
            archive.files[0] = replace(archive.files[0], size=size)
            with pytest.raises(DamagedArchive, match="another size than its shape"):
                archive.read_bytes("a.npy")
            if not verified:
                with pytest.raises(DamagedArchive, match="1 of 1 files"):
                    archive.verify()
    assert archives.decompress(tmp_path / "a.bb", tmp_path / "out").files == 1


# --- hostile files and skeletons


@pytest.mark.parametrize(
    "skeleton",
    [
        b"\x92\xc2\xdd\x00\x40\x00\x00" + b"\x90" * 2**22,  # longer than any
        b"\x92\xc2\xdd\x00\x3f\x00\x00" + b"\x90" * (2**22 - 2**16),  # a list of empty lists
        b"\x92\xc2\xdd\xff\xff\xff\xff\x90",  # of more than there are
        b"\x92" * 2**20,  # nested
        b"\x92\xc2\x91" + b"\x81" * 1000,  # maps
    ],
)
def test_long_skeletons_of_arrays_are_damage(skeleton):
    tracemalloc.start()
    with pytest.raises(DamagedArchive):
        unpack_members(skeleton)
    assert tracemalloc.get_traced_memory()[1] < 100 * len(skeleton) + 2**20
    tracemalloc.stop()


def test_many_arrays_of_one_file_come_back_or_stay_bytes(tmp_path, monkeypatch):
    """Also where their headers take more than a skeleton may."""
    np.savez(tmp_path / "a.npz", **{f"array{n}": np.full((2, 9, 8), n, np.uint8) for n in range(60)})
    monkeypatch.setattr(array_parts, "packed_file_size", lambda file, bar: file.length)
    for most, form in ((2**22, "arrays"), (1000, "bytes")):
        monkeypatch.setattr(array_parts, "MAX_ARRAY_SKELETON_BYTES", most)
        squeeze(tmp_path / "a.npz", tmp_path / "a.bb", force=True)
        with Archive(tmp_path / "a.bb") as archive:
            assert archive.files[0].form == form
            assert len(archive["a.npz"] if form == "arrays" else np.load(io.BytesIO(archive.read_bytes("a.npz")))) == 60


HOSTILE_SHAPES = [
    "(5, -2, -3)",
    "(0, 4)",
    "(1, 0, 4)",
    "(2, 3, 1e999)",
    "(" + "9" * 3000 + ", 3)",
    "3",
    "(True, 3, 10)",
]
HOSTILE_HEADERS = [
    *(f"{{'descr': '|u1', 'fortran_order': False, 'shape': {shape}, }}" for shape in HOSTILE_SHAPES),
    "{'descr': '|u1', 'fortran_order': 0, 'shape': (3, 10), }",
    "{'descr': [('a', 'O')], 'fortran_order': False, 'shape': (3, 10), }",
    "{'descr': {}, 'fortran_order': False, 'shape': (3, 10), }",
    *("(" * 5000, "{'descr': '|u1", '"' * 3, "1e999", "{", ""),
]


@pytest.mark.parametrize("header", HOSTILE_HEADERS)
@pytest.mark.parametrize("version", [b"\1\0", b"\2\0"])
def test_any_header_of_an_array_file_is_stored(tmp_path, header, version):
    text = header.encode() + b"\n"
    length = len(text).to_bytes(2 if version == b"\1\0" else 4, "little")
    for tail in (b"", bytes(30)):
        data = b"\x93NUMPY" + version + length + text + tail
        (tmp_path / "a.npy").write_bytes(data)
        squeeze(tmp_path / "a.npy", tmp_path / "a.bb", force=True)
        with Archive(tmp_path / "a.bb") as archive:
            assert archive.read_bytes("a.npy") == data


@pytest.mark.parametrize(("usual", "height", "width"), [(4, 1, 0), (9, 3, 4), (1, 0, 4), (1, 3, 0), (-1, 3, 4)])
def test_shapes_that_no_array_has_are_damage(usual, height, width):
    with pytest.raises(DamagedArchive):
        usual_header(usual, 140, height, width)


# --- zips come back byte for byte


def edited(data, change):
    """An npz file with the first header of its directory changed."""
    at = data.index(b"PK\x01\x02")
    return data[:at] + change(bytearray(data[at:]))


def with_attributes(directory):
    directory[38:42] = bytes.fromhex("0000ed81")
    return bytes(directory)


NPZ_FILES = {
    "plain": (lambda data: data, "arrays"),
    "tail": (lambda data: data + b"sixteen bytes ...", "bytes"),
    "front": (lambda data: b"#!/bin/sh\n" + data, "bytes"),
    "attributes": (lambda data: edited(data, with_attributes), "bytes"),
}


@pytest.mark.parametrize("case", NPZ_FILES)
@pytest.mark.parametrize("save", [np.savez, np.savez_compressed])
def test_zips_come_back_byte_for_byte(tmp_path, case, save):
    change, form = NPZ_FILES[case]
    stream = io.BytesIO()
    save(stream, images=np.stack([smooth(60, 60, 3, seed) for seed in range(4)]), floats=np.arange(9.0))
    data = change(stream.getvalue())
    (tmp_path / "a.npz").write_bytes(data)
    summary = squeeze(tmp_path / "a.npz", tmp_path / "a.bb")
    with Archive(tmp_path / "a.bb") as archive:
        assert (archive.files[0].form, archive.read_bytes("a.npz")) == (form, data)
    assert summary.rewritten == (form == "arrays" and save is np.savez_compressed)  # which is up to zlib


def test_a_zip_of_another_tool_comes_back_byte_for_byte(tmp_path):
    with zipfile.ZipFile(tmp_path / "a.npz", "w", zipfile.ZIP_DEFLATED, compresslevel=9) as archive:
        for number in range(3):
            archive.writestr(f"{number}.npy", saved(np.full((8, 8), number, np.uint8)))
    squeeze(tmp_path / "a.npz", tmp_path / "a.bb")
    with Archive(tmp_path / "a.bb") as opened:
        assert opened.read_bytes("a.npz") == (tmp_path / "a.npz").read_bytes()


@pytest.mark.filterwarnings("error")
def test_headers_of_python_2_are_read_in_silence(tmp_path):
    """Their shapes are of long integers."""
    images = np.tile(np.arange(40, dtype=np.uint8), (3, 30, 1))
    data = saved(images).replace(b"(3, 30, 40)", b"(3L, 30L, 40L)", 1).replace(b"   \n", b"\n", 1)
    (tmp_path / "a.npy").write_bytes(data)
    squeeze(tmp_path / "a.npy", tmp_path / "a.bb")
    with Archive(tmp_path / "a.bb") as archive:
        assert (archive.files[0].form, archive.count("a.npy")) == ("arrays", 3)
        assert archive.read_bytes("a.npy") == data
