"""LZW streams made again bit for bit: libtiff's from two bytes, others from when they clear their table."""

import contextlib
import io

import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from PIL import Image

from bbcodec.errors import DamagedArchive
from bbcodec.tiff_codes.lzw import AS_LIBTIFF, EACH, LZW, pack_recipe, unpack_recipe


def content_of(kind, size, seed):
    """Bytes of which codes become long, or hardly, or of which the ratio falls in the middle."""
    rng = np.random.default_rng(seed)
    if kind == "noise":
        return rng.integers(0, 256, size, np.uint8)
    if kind == "few":
        return rng.integers(0, 3, size, np.uint8)
    if kind == "flat":
        return np.full(size, seed, np.uint8)
    if kind == "falling":
        return np.where(np.arange(size) < size // 2, seed, rng.integers(0, 256, size)).astype(np.uint8)
    return (np.cumsum(rng.integers(-1, 2, size)) & 255).astype(np.uint8)


KINDS = ("noise", "few", "flat", "falling", "steps")
contents = st.builds(content_of, st.sampled_from(KINDS), st.integers(1, 60000), st.integers(0, 9))


def by_libtiff(content):
    """The stream that Pillow has libtiff write of one strip."""
    stream = io.BytesIO()
    image = Image.fromarray(content.reshape(1, -1))
    image.save(stream, "TIFF", compression="tiff_lzw", tiffinfo={278: 1}, strip_size=2**20)
    with Image.open(stream) as again:
        (start,), (length,) = again.tag_v2[273], again.tag_v2[279]
    return stream.getvalue()[start : start + length]


def test_the_example_of_the_specification():
    """TIFF 6.0, section 13."""
    codes = [256, 7, 258, 8, 8, 258, 6, 6, 257]
    bits = "".join(format(code, "09b") for code in codes)
    expected = int(bits.ljust(88, "0"), 2).to_bytes(11, "big")
    content = np.array([7, 7, 7, 8, 8, 7, 7, 6, 6], np.uint8)
    assert LZW().made_again(content, pack_recipe(AS_LIBTIFF, (), True), 99) == expected
    taken, recipe, length = LZW().taken_apart(expected + b"more", 9)
    assert (taken.tobytes(), recipe, length) == (content.tobytes(), pack_recipe(AS_LIBTIFF, (), True), 11)


@settings(deadline=None, max_examples=60)
@given(contents)
@example(content_of("falling", 60000, 3))
@example(content_of("noise", 3837, 0))
@example(content_of("noise", 3836, 0))
@example(content_of("noise", 3835, 0))
@example(content_of("flat", 60000, 0))
def test_streams_of_libtiff_take_two_bytes(content):
    stream, codes = by_libtiff(content), LZW()
    taken, recipe, length = codes.taken_apart(stream, len(content))
    assert np.array_equal(taken, content)
    assert (recipe, length) == (pack_recipe(AS_LIBTIFF, (), True), len(stream))
    assert codes.made_again(content, recipe, length) == stream


@settings(deadline=None, max_examples=60)
@given(contents, st.lists(st.integers(1, 4500), max_size=6), st.booleans(), st.sampled_from([EACH, 300, 5000]))
def test_streams_of_others_are_made_again_and_decoded_by_others(content, clears, ended, rule):
    imagecodecs = pytest.importorskip("imagecodecs")
    codes = LZW()
    recipe = pack_recipe(rule, tuple(clears) if rule == EACH else (), ended)
    stream = codes.made_again(content, recipe, 3 * len(content) + 99)
    taken, found, length = codes.taken_apart(stream, len(content))
    assert np.array_equal(taken, content)
    assert codes.made_again(content, found, length) == stream
    if ended and (rule == 300 or len(content) < 3800):  # no decoder has to take more codes than a table holds
        assert imagecodecs.lzw_decode(stream, out=len(content)) == content.tobytes()


@given(st.binary(min_size=1, max_size=60), st.integers(1, 300))
def test_any_stream_is_taken_apart_or_not(stream, size):
    found = LZW().taken_apart(stream, size)
    assert found is None or LZW().made_again(found[0], found[1], found[2]) == stream[: found[2]]


@given(st.binary(max_size=12), st.binary(min_size=1, max_size=40), st.integers(0, 60))
def test_any_recipe_makes_a_stream_or_is_damage(recipe, content, most):
    with contextlib.suppress(DamagedArchive):
        assert len(LZW().made_again(np.frombuffer(content, np.uint8), recipe, most)) <= most


@given(st.sampled_from([EACH, AS_LIBTIFF, 3837]), st.lists(st.integers(0, 2**32 - 1), max_size=4), st.booleans())
def test_recipes_are_unpacked_as_they_were_packed(rule, clears, ended):
    clears = tuple(clears) if rule == EACH else ()
    assert unpack_recipe(pack_recipe(rule, clears, ended)) == (rule, clears, ended)


def test_one_encoder_makes_many_streams():
    """Strings of one are not those of the next."""
    codes = LZW()
    for seed in range(5):
        content = content_of("steps", 9000, seed)
        assert codes.taken_apart(by_libtiff(content), 9000)[1] == pack_recipe(AS_LIBTIFF, (), True)
