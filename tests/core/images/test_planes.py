"""Samples as planes and back, in each layout."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from image_examples import pillow_image, random_palette, random_samples, sizes

from bbcodec.errors import DamagedArchive
from bbcodec.images.planes import (
    BLACK_AND_WHITE,
    COLOURS,
    PLANE_LAYOUTS,
    SPLIT,
    TWO_LEVELS,
    ZERO_AND_ONE,
    from_planes,
    layouts_of,
    plane_layouts,
    plane_shapes,
    to_planes,
)
from bbcodec.sample_formats import SAMPLE_FORMATS


def palette_of(sample_format, channels):
    return random_palette(2 ** SAMPLE_FORMATS[sample_format].depth, channels) if channels else None


CASES = [
    (sample_format, layout, channels)
    for sample_format in SAMPLE_FORMATS
    for channels in ((0, 3, 4) if SAMPLE_FORMATS[sample_format].indexed else (0,))
    for layout in plane_layouts(sample_format, palette_of(sample_format, channels))
    if layout not in TWO_LEVELS
]
LEVEL_CASES = [
    (sample_format, layout) for sample_format in SAMPLE_FORMATS for layout in plane_layouts(sample_format, None)
    if layout in TWO_LEVELS
]  # fmt: skip


def test_the_plane_layouts_that_there_are():
    assert sorted(PLANE_LAYOUTS) == [0, SPLIT, COLOURS, SPLIT | COLOURS, *TWO_LEVELS]
    assert len(CASES) == 7 + 3 * 2 + 4 * (1 + 2 + 3)
    assert len(LEVEL_CASES) == 4 * 2 + 5 + 3
    assert plane_layouts("L1", None) == plane_layouts("P1", None) == (0,)
    assert plane_layouts("L16", None) == (0, 1, 4, 8)
    assert plane_layouts("RGBA8", None) == (0, 1, 4)
    assert plane_layouts("RGB8", None) == (0, 4)
    assert plane_layouts("P4", None) == (0, 8)
    assert plane_layouts("P4", random_palette(16)) == (0, 2, 8)
    assert plane_layouts("P4", random_palette(16, 4)) == (0, 2, 3, 8)


def two_values(sample_format, layout):
    """The pixels that a layout of two levels has."""
    _, channels, depth = SAMPLE_FORMATS[sample_format]
    top = 2**depth - 1 if layout == BLACK_AND_WHITE else 1
    alpha = (top,) if channels in (2, 4) else ()
    return [(value,) * (channels - len(alpha)) + alpha for value in (0, top)]


@pytest.mark.parametrize(("sample_format", "layout"), LEVEL_CASES)
def test_samples_of_two_values_are_two_levels(sample_format, layout):
    levels = np.random.default_rng(0).integers(0, 2, (9, 7))
    samples = np.array(two_values(sample_format, layout), SAMPLE_FORMATS[sample_format].dtype)[levels]
    (plane,) = to_planes(samples, sample_format, layout)
    assert np.array_equal(plane, levels[..., None])
    assert plane.dtype == np.uint8
    assert plane_shapes(sample_format, layout) == [(1, 2)]
    again = from_planes([plane], sample_format, layout)
    assert again.dtype == samples.dtype
    assert np.array_equal(again, samples)
    assert layouts_of(samples, sample_format, None) == (layout,)
    for place in (0, 0), (8, 6):
        for channel in range(samples.shape[2]):
            other = samples.copy()
            other[*place, channel] = 2 if samples[0, 0].max() < 4 else 3
            assert to_planes(other, sample_format, layout) is None
            assert not set(layouts_of(other, sample_format, None)) & set(TWO_LEVELS)
    with pytest.raises(DamagedArchive):
        from_planes([plane * np.uint8(2)], sample_format, layout)


def test_samples_of_one_value_may_be_black_of_both():
    black = np.zeros((3, 4, 1), np.uint8)
    assert layouts_of(black, "L8", None) == TWO_LEVELS
    assert layouts_of(black + np.uint8(1), "L8", None) == (ZERO_AND_ONE,)
    assert layouts_of(black + np.uint8(255), "L8", None) == (BLACK_AND_WHITE,)
    assert layouts_of(black.repeat(4, 2), "RGBA8", None) == (0, 1)  # transparent


def test_the_shapes_of_planes():
    for sample_format, layout, channels, shapes in [
        ("L1", 0, 0, [(1, 2)]),
        ("L2", 0, 0, [(1, 256)]),
        ("L16", 0, 0, [(1, 65536)]),
        ("L16", 1, 0, [(1, 256), (1, 256)]),
        ("LA8", 0, 0, [(2, 256)]),
        ("LA8", 1, 0, [(1, 256), (1, 256)]),
        ("RGBA8", 1, 0, [(3, 256), (1, 256)]),
        ("P1", 0, 0, [(1, 2)]),
        ("P1", 2, 3, [(3, 256)]),
        ("P4", 0, 3, [(1, 256)]),
        ("P8", 2, 4, [(4, 256)]),
        ("P8", 3, 4, [(3, 256), (1, 256)]),
    ]:
        assert plane_shapes(sample_format, layout, channels) == shapes
    for sample_format, layout, channels in [
        ("L8", 1, 0),
        ("RGB8", 2, 0),
        ("P8", 2, 0),
        ("P8", 3, 3),
        ("P8", 1, 4),
        ("P9", 0, 0),
        ("L8", 5, 0),
        ("L1", 4, 0),
        ("P8", 4, 0),
        ("RGB8", 8, 0),
    ]:
        with pytest.raises(DamagedArchive):
            plane_shapes(sample_format, layout, channels)


@given(st.sampled_from(CASES), sizes(12), st.integers(0, 99))
def test_planes_give_the_samples_back(case, size, seed):
    sample_format, layout, channels = case
    palette = palette_of(sample_format, channels)
    samples = random_samples(sample_format, *size, seed)
    planes = to_planes(samples, sample_format, layout, palette)
    for plane, (depth, levels) in zip(planes, plane_shapes(sample_format, layout, channels), strict=True):
        assert plane.shape == (size[1], size[0], depth)
        assert plane.dtype == (np.uint16 if levels == 65536 else np.uint8)
        assert int(plane.max()) < levels
        assert plane.flags.c_contiguous
    again = from_planes(planes, sample_format, layout, palette)
    assert again.dtype == samples.dtype
    assert np.array_equal(again, samples)


def test_what_planes_hold():
    assert to_planes(np.array([[[0], [1], [3]]], np.uint8), "L2", 0)[0].tolist() == [[[0], [85], [255]]]
    assert to_planes(np.array([[[15], [2]]], np.uint8), "L4", 0)[0].tolist() == [[[255], [34]]]
    high, low = to_planes(np.array([[[0x1234]]], np.uint16), "L16", 1)
    assert (high.item(), low.item()) == (0x12, 0x34)
    colours, alpha = to_planes(np.array([[[1, 2, 3, 4]]], np.uint8), "RGBA8", 1)
    assert (colours.tolist(), alpha.tolist()) == ([[[1, 2, 3]]], [[[4]]])
    palette = np.array([[9, 8, 7, 6], [5, 4, 3, 2]], np.uint8)
    assert to_planes(np.array([[[1]]], np.uint8), "P1", 2, palette)[0].tolist() == [[[5, 4, 3, 2]]]


@pytest.mark.parametrize("sample_format", ["L2", "L4"])
def test_grey_is_what_pillow_shows(sample_format):
    samples = random_samples(sample_format, 9, 7)
    assert np.array_equal(
        to_planes(samples, sample_format, 0)[0][:, :, 0], np.asarray(pillow_image(samples, sample_format))
    )


def test_colours_that_are_twice_in_the_palette():
    palette = np.array([[1, 1, 1], [2, 2, 2], [1, 1, 1], [3, 3, 3]], np.uint8)
    lowest = np.array([[[0], [1], [3]]], np.uint8)
    assert np.array_equal(from_planes(to_planes(lowest, "P2", 2, palette), "P2", 2, palette), lowest)
    assert to_planes(lowest + np.uint8([[[2], [0], [0]]]), "P2", 2, palette) is None
    alpha = np.column_stack((palette, [0, 0, 9, 0])).astype(np.uint8)
    assert to_planes(np.array([[[2]]], np.uint8), "P2", 2, alpha) is not None


def test_indices_beyond_the_palette_stay_indices():
    samples = np.array([[[5]]], np.uint8)
    assert to_planes(samples, "P4", 2, random_palette(5)) is None
    assert from_planes(to_planes(samples, "P4", 0, random_palette(5)), "P4", 0, random_palette(5)) == samples


@pytest.mark.parametrize(
    ("planes", "sample_format", "layout", "palette"),
    [
        ([np.full((1, 1, 1), 2, np.uint8)], "L1", 0, None),
        ([np.full((1, 1, 1), 2, np.uint8)], "P1", 0, None),
        ([np.full((1, 1, 1), 84, np.uint8)], "L2", 0, None),
        ([np.full((1, 1, 1), 16, np.uint8)], "P4", 0, None),
        ([np.full((1, 1, 1), 4, np.uint8)], "P2", 0, None),
        ([np.zeros((1, 1, 3), np.uint8) + 1], "P1", 2, np.zeros((1, 3), np.uint8)),
        ([np.full((1, 1, 3), 255, np.uint8)], "P1", 2, np.zeros((1, 3), np.uint8)),
        ([np.zeros((1, 1, 1), np.uint8)], "RGB8", 0, None),
        ([np.zeros((1, 1), np.uint8)], "L8", 0, None),
        ([np.zeros((1, 1, 3), np.uint8)], "RGBA8", 1, None),
        ([np.zeros((1, 1, 3), np.uint8), np.zeros((1, 2, 1), np.uint8)], "RGBA8", 1, None),
        ([], "L8", 0, None),
        ([np.zeros((1, 1, 1), np.uint8)], "L8", 2, None),
        ([np.full((1, 1, 1), 256, np.uint16), np.zeros((1, 1, 1), np.uint8)], "L16", 1, None),
    ],
)
def test_planes_that_no_encoder_writes_are_damage(planes, sample_format, layout, palette):
    with pytest.raises(DamagedArchive):
        from_planes(planes, sample_format, layout, palette)
