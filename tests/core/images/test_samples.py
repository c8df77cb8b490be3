"""Arrays of samples, in bands and as rows of bytes."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from image_examples import pillow_image, png_rows, random_samples, sizes

from bbcodec.images.formats.png import DEEP_COLOUR
from bbcodec.images.samples import (
    band_rows,
    bands_of,
    check_samples,
    checked_bands,
    image_bands,
    image_samples,
    packed_rows,
)
from bbcodec.sample_formats import SAMPLE_FORMATS


@pytest.mark.parametrize("sample_format", [name for name in SAMPLE_FORMATS if name not in DEEP_COLOUR])
def test_samples_of_a_pillow_image(sample_format):
    samples = random_samples(sample_format, 13, 9)
    image = pillow_image(samples, sample_format)
    assert image.mode == SAMPLE_FORMATS[sample_format].mode
    assert np.array_equal(image_samples(image, SAMPLE_FORMATS[sample_format]), samples)
    assert np.array_equal(np.concatenate(list(image_bands(image, SAMPLE_FORMATS[sample_format]))), samples)
    assert image_samples(image, SAMPLE_FORMATS[sample_format]).dtype == SAMPLE_FORMATS[sample_format].dtype


@given(st.sampled_from(sorted(SAMPLE_FORMATS)), sizes(20), st.integers(0, 99))
def test_rows_are_packed_as_bits_in_order(sample_format, size, seed):
    samples = random_samples(sample_format, *size, seed)
    depth = SAMPLE_FORMATS[sample_format].depth
    rows = packed_rows(samples, depth)
    assert b"".join(b"\0" + row.tobytes() for row in rows) == png_rows(samples, depth)


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
            list(checked_bands(bands, SAMPLE_FORMATS["L4"], 5, 4))
