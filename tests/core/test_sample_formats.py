"""Kinds of samples."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from image_examples import pillow_image, png_rows, random_samples, sizes

from bbcodec.errors import DamagedArchive
from bbcodec.sample_formats import (
    SAMPLE_FORMATS,
    band_rows,
    bands_of,
    check_samples,
    counted,
    grey_step,
    image_samples,
    packed_rows,
    sample_format_named,
)


@pytest.mark.parametrize("kind", SAMPLE_FORMATS)
def test_samples_of_a_pillow_image(kind):
    samples = random_samples(kind, 13, 9)
    image = pillow_image(samples, kind)
    assert image.mode == SAMPLE_FORMATS[kind].mode
    assert np.array_equal(image_samples(image, SAMPLE_FORMATS[kind]), samples)
    assert image_samples(image, SAMPLE_FORMATS[kind]).dtype == SAMPLE_FORMATS[kind].dtype


@given(st.sampled_from(sorted(SAMPLE_FORMATS)), sizes(20), st.integers(0, 99))
def test_rows_are_packed_as_bits_in_order(kind, size, seed):
    samples = random_samples(kind, *size, seed)
    depth = SAMPLE_FORMATS[kind].depth
    rows = packed_rows(samples, depth)
    assert b"".join(b"\0" + row.tobytes() for row in rows) == png_rows(samples, depth)


def test_grey_steps_reach_white():
    assert {kind: grey_step(SAMPLE_FORMATS[kind]) for kind in ("L2", "L4", "L8", "P2", "P4", "RGB8")} == {
        "L2": 85, "L4": 17, "L8": 1, "P2": 1, "P4": 1, "RGB8": 1,
    }  # fmt: skip


def test_bands_are_the_samples():
    samples = random_samples("RGB8", 3000, 300)
    bands = list(bands_of(samples))
    assert len(bands) > 3
    assert max(len(band) for band in bands) == band_rows(9000)
    assert np.array_equal(np.concatenate(bands), samples)


def test_wrong_samples_and_bands_are_refused():
    good = random_samples("L4", 5, 4)
    for bad in (good[:, :, 0], good[:0], good.astype(np.uint16), good + 1, good.repeat(2, axis=2)):
        with pytest.raises(ValueError, match=r"expected|below"):
            check_samples(bad, SAMPLE_FORMATS["L4"])
    for bands in ([good[:2]], [good, good], [good[:, :3], good[:, 3:]], []):
        with pytest.raises(ValueError, match="4 rows of 5 pixels"):
            list(counted(bands, SAMPLE_FORMATS["L4"], 5, 4))


def test_unknown_kinds_are_damage():
    with pytest.raises(DamagedArchive, match="RGB16"):
        sample_format_named("RGB16")
