"""PNG files of 16 bits and several channels, of which Pillow shows the high bytes: byte for byte by their samples."""

import io

import numpy as np
import pytest
from image_examples import png_chunk, png_of, random_samples

from bbcodec.images.formats.base import Outline
from bbcodec.images.formats.png import write_png
from bbcodec.images.image_files import join_image, split_image
from bbcodec.images.large_images import split_large
from bbcodec.images.planes import BLACK_AND_WHITE, WHOLE, from_planes, layouts_of, plane_shapes, to_planes
from bbcodec.images.probe import probe, why_not_pixels

FORMATS = {"RGB16": 3, "RGBA16": 4}


def smooth(height, width, channels):
    steps = np.random.default_rng(0).integers(-900, 901, (height, width, channels))
    return (np.cumsum(steps, 1) + 30000).astype(np.uint16)


def filtered_file(samples, sample_format, level):
    """By all filters, as they have the least sums."""
    stream, (height, width) = io.BytesIO(), samples.shape[:2]
    write_png(stream, Outline("png", sample_format, width, height, b""), [samples], level, True)
    return stream.getvalue()


@pytest.mark.parametrize("sample_format", FORMATS)
def test_samples_are_those_of_the_file_and_its_bytes_come_back(sample_format):
    about = png_chunk(b"tEXt", b"Title\0a"), png_chunk(b"tIME", bytes(7))
    for samples in smooth(19, 23, FORMATS[sample_format]), random_samples(sample_format, 5, 3):
        files = [png_of(samples, sample_format, interlaced=interlaced) for interlaced in (False, True)]
        files += [png_of(samples, sample_format, *about), png_of(samples, sample_format, interlaced=True) + b"tail"]
        files += [filtered_file(samples, sample_format, level) for level in (1, 6, 9)]
        for data in files:
            picture = split_image(data)
            assert (picture.form, picture.sample_format) == ("png", sample_format)
            assert picture.samples.dtype == np.uint16
            assert np.array_equal(picture.samples, samples)
            assert join_image(picture) == data
            assert split_image(data, exact=True).skeleton == picture.skeleton


@pytest.mark.parametrize("sample_format", FORMATS)
def test_large_files_are_taken_apart_into_a_file(tmp_path, sample_format):
    samples = smooth(120, 90, FORMATS[sample_format])
    (tmp_path / "a.png").write_bytes(filtered_file(samples, sample_format, 6))
    picture = split_large(tmp_path / "a.png", tmp_path / "spool")
    assert np.array_equal(picture.samples, samples)
    assert probe(tmp_path / "a.png") == ("PNG", sample_format.removesuffix("16"), 90, 120, 1)


def test_files_that_cannot_be_made_again_are_kept(tmp_path):
    data = png_of(smooth(9, 8, 3), "RGB16")
    length = int.from_bytes(data[33:37], "big")
    longer = data[:33] + png_chunk(b"IDAT", data[41 : 41 + length] + b"more") + png_chunk(b"IEND", b"")
    assert split_image(longer) is None
    (tmp_path / "a.png").write_bytes(longer)
    assert why_not_pixels(tmp_path / "a.png") == "16 bits a channel, and made in an unknown way"
    for size in range(len(data)):
        assert split_image(data[:size]) is None
    assert split_image(data[:50] + bytes([data[50] ^ 1]) + data[51:]) is None


def test_planes_have_65536_levels():
    samples = smooth(4, 5, 3)
    assert layouts_of(samples, "RGB16", None) == (WHOLE,)
    assert plane_shapes("RGB16", WHOLE) == [(3, 65536)]
    again = from_planes(to_planes(samples, "RGB16", WHOLE), "RGB16", WHOLE)
    assert again.dtype == np.uint16
    assert np.array_equal(again, samples)
    two = np.zeros((4, 5, 3), np.uint16)
    two[1:3] = 65535
    assert layouts_of(two, "RGB16", None) == (BLACK_AND_WHITE,)
