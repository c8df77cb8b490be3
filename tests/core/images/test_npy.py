"""Array files without a skeleton: their header follows from the directory."""

import io
from dataclasses import replace

import numpy as np
import pytest
from fake_codec import squeeze
from hypothesis import given
from hypothesis import strategies as st

from bbcodec.archive.read import archive as archives
from bbcodec.archive.read.archive import Archive
from bbcodec.errors import DamagedArchive
from bbcodec.images.npy import USUAL_BYTES, MemberLayout, usual_header, usual_shape

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
