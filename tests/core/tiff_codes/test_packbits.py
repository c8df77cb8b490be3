"""PackBits streams made again as libtiff makes them."""

import io

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from bbcodec.errors import DamagedArchive
from bbcodec.tiff_codes import packbits


def runs(width, height, seed, most):
    rng = np.random.default_rng(seed)
    values, times = rng.integers(0, 4, width * height, np.uint8), rng.integers(1, most + 1, width * height)
    return np.repeat(values, times)[: width * height].reshape(height, width)


def by_libtiff(content):
    stream = io.BytesIO()
    Image.fromarray(content).save(stream, "TIFF", compression="packbits", strip_size=2**20)
    with Image.open(stream) as again:
        (start,), (length,) = again.tag_v2[273], again.tag_v2[279]
    return stream.getvalue()[start : start + length]


def test_the_example_of_apple():
    """Technical note 1023."""
    content = bytes.fromhex("aaaaaa80002aaaaaaaaa80002a22aaaaaaaaaaaaaaaaaaaa")
    packed = bytes.fromhex("feaa0280002afdaa0380002a22f7aa")
    assert packbits.made_again(np.frombuffer(content, np.uint8), len(content), 99) == packed
    taken, length = packbits.taken_apart(packed + b"more", len(content))
    assert (taken.tobytes(), length) == (content, len(packed))


@settings(deadline=None, max_examples=100)
@given(st.integers(1, 400), st.integers(1, 5), st.integers(0, 99), st.sampled_from([1, 2, 3, 300]))
def test_streams_of_libtiff(width, height, seed, most):
    content = runs(width, height, seed, most)
    stream = by_libtiff(content)
    taken, length = packbits.taken_apart(stream, content.size)
    assert np.array_equal(taken, content.ravel())
    assert length == len(stream)
    assert packbits.made_again(taken, width, length) == stream
    with pytest.raises(DamagedArchive):
        packbits.made_again(taken, width, length - 1)


@pytest.mark.parametrize("run", [2, 3, 130])
def test_literal_bytes_of_every_length_around_a_run(run):
    """Where they and a run of two become 128 bytes, and where that is one too many."""
    for before in (*range(1, 4), *range(122, 132)):
        content = np.concatenate([np.arange(before) % 200, np.full(run, 250), np.arange(9)]).astype(np.uint8)
        stream = by_libtiff(content[None])
        assert packbits.made_again(content, len(content), len(stream)) == stream


@given(st.binary(max_size=40), st.integers(1, 300))
def test_any_stream_is_taken_apart_or_not(stream, size):
    found = packbits.taken_apart(stream, size)
    assert found is None or (len(found[0]) == size and found[1] <= len(stream))
