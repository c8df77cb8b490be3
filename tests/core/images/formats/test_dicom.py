"""DICOM files taken apart and joined: their frames, and every byte."""

import io
import struct

import numpy as np
import pytest
from dicom_examples import SYNTAXES, dicom, element, item
from hypothesis import given, settings
from hypothesis import strategies as st
from image_examples import random_samples

from bbcodec.images.formats import dicom as reader
from bbcodec.images.formats.base import Unfit
from bbcodec.images.image_files import join_image, split_image
from bbcodec.images.large_images import split_large
from bbcodec.images.probe import probe


def frames_of(n, height, width, channels=1, dtype=np.uint8):
    name = "RGB8" if channels == 3 else "L8"
    frames = np.stack([random_samples(name, width, height, seed) for seed in range(n)])
    return (frames.astype(np.int64) * (257 if dtype == np.uint16 else 1)).astype(dtype)


@settings(deadline=None, max_examples=80)
@given(
    st.tuples(st.integers(1, 4), st.integers(1, 30), st.integers(1, 30)),
    st.sampled_from([1, 3]),
    st.sampled_from([np.uint8, np.uint16]),
    st.sampled_from(sorted(SYNTAXES)),
    st.booleans(),
    st.booleans(),
    st.sampled_from([b"", element(0xFFFCFFFC, "OB", bytes(20))]),
)
def test_every_file_comes_back(size, channels, dtype, syntax, signed, planar, behind):
    frames = frames_of(*size, channels, dtype)
    data = dicom(frames, *syntax, signed=signed, planar=planar and channels == 3, behind=behind)
    picture = split_image(data, exact=True)
    assert (picture.form, join_image(picture)) == ("segments", data)
    moved = frames ^ dtype(2 ** (8 * frames.itemsize - 1) if signed else 0)
    rows = moved.reshape(-1, *moved.shape[2:])
    if dtype == np.uint16 and channels == 3:
        rows = moved.transpose(0, 3, 1, 2).reshape(-1, size[2], 1)
    assert np.array_equal(picture.samples, rows)
    seen = probe(data)
    assert (seen.format, seen.height, seen.width) == ("DICOM", *picture.samples.shape[:2])


def test_a_preamble_may_be_that_of_a_tiff():
    data = b"II*\0" + dicom(frames_of(1, 9, 7))[4:]
    assert join_image(split_image(data)) == data


def test_large_frames_are_taken_apart_in_bands(tmp_path):
    data = dicom(frames_of(2, 700, 900))
    (tmp_path / "a").write_bytes(data)
    found = split_large(tmp_path / "a", tmp_path / "spool")
    assert join_image(found) == data == join_image(split_image(data))


def why_not(data):
    with pytest.raises(Unfit) as caught:
        reader.find_segments(io.BytesIO(data))
    assert split_image(data) is None
    return str(caught.value)


def test_what_is_not_taken_is_told():
    frames = frames_of(1, 9, 8)
    good = dicom(frames)
    assert why_not(good.replace(b"1.2.840.10008.1.2.1\0", b"1.2.840.10008.1.2.5\0")) == (
        "transfer syntax 1.2.840.10008.1.2.5"
    )
    assert why_not(dicom(frames, t00280100=32)) == "1 x 32 bits a sample"
    assert why_not(dicom(frames, t00280010=10)) == "fewer pixels than it says"
    assert why_not(good[:-1]) == "fewer pixels than it says"
    assert why_not(good[:-80]) == "no pixels"
    assert why_not(good[:140] + item(0xFFFEE0DD) + good[140:]) == "transfer syntax not told"
    deep = element(0x00081111, "SQ", b"", length=2**32 - 1) * 70
    at = good.index(struct.pack("<HH", 8, 0x1111))
    assert why_not(good[:at] + deep + good[at:]) == "too many sequences in each other"
    assert why_not(good[:at] + item(0xFFFEE0DD) + good[at:]) == "sequences that end before they begin"
    compressed = struct.pack("<HH2sHI", 0x7FE0, 0x10, b"OB", 0, 2**32 - 1)
    assert why_not(good[: good.index(struct.pack("<HH2s", 0x7FE0, 0x10, b"OW"), at + 200)] + compressed) == (
        "compressed frames"
    )


@settings(deadline=None, max_examples=200)
@given(st.integers(128, 700), st.integers(0, 255))
def test_changed_files_come_back_or_are_kept(place, value):
    data = bytearray(dicom(frames_of(2, 9, 8), explicit=place % 2 == 0))
    data[place % len(data)] = value
    picture = split_image(bytes(data))
    assert picture is None or join_image(picture) == data
