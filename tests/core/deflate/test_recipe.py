"""Streams made again bit for bit: those of zlib from a few bytes, others from what differs, hostile recipes never."""

import zlib
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from bbcodec.binary import pack_varint
from bbcodec.deflate import inflate
from bbcodec.deflate.recipe import (
    DEFAULT,
    FILTERED,
    HUFFMAN_ONLY,
    LEVELS,
    RLE,
    Header,
    Maker,
    Recipe,
    Surprise,
    find_recipe,
    pack_recipe,
    remake,
    take_apart,
    unpack_recipe,
)
from bbcodec.deflate.tables import STORED, TOLD
from bbcodec.errors import DamagedArchive

KINDS = ("noise", "few", "steps", "runs", "phrases", "residuals")


def content_of(kind: str, size: int, seed: int) -> bytes:
    """Bytes of a kind that make zlib take other ways: stored blocks, short and long matches, none at all."""
    rng = np.random.default_rng(seed)
    if kind == "noise":
        return rng.integers(0, 256, size, np.uint8).tobytes()
    if kind == "few":
        return rng.integers(0, 4, size, np.uint8).tobytes()
    if kind == "steps":
        return (np.cumsum(rng.integers(-2, 3, size)) & 255).astype(np.uint8).tobytes()
    if kind == "runs":
        return np.repeat(rng.integers(0, 9, size, np.uint8), rng.integers(1, 400, size))[:size].tobytes()
    if kind == "phrases":
        words = rng.integers(0, 256, 300, np.uint8).tobytes()
        starts, lengths = rng.integers(0, 290, size), rng.integers(1, 60, size)
        return b"".join(words[i : i + n] for i, n in zip(starts, lengths, strict=True))[:size]
    return rng.normal(0, 3, size).round().astype(np.int8).tobytes()


def deflated(data: bytes, maker: Maker) -> bytes:
    state = zlib.compressobj(maker.level, zlib.DEFLATED, -maker.window, maker.memory, maker.strategy)
    return state.compress(data) + state.flush()


def recipe_of(stream: bytes, size: int, window: int) -> Recipe | None:
    taken = take_apart(stream, size)
    return None if taken is None else find_recipe(stream, taken, bytes([(window - 8) << 4 | 8, 0x9C]))


makers = st.builds(Maker, st.integers(1, 9), st.integers(0, 4), st.integers(1, 9), st.integers(9, 15))
contents = st.builds(
    content_of, st.sampled_from(KINDS), st.sampled_from([0, 1, 2, 5, 300, 5000, 40000, 100_000]), st.integers(0, 99)
)


@settings(max_examples=120, deadline=None)
@given(makers, contents)
@example(Maker(1, 0, 2, 9), content_of("noise", 40000, 1))  # which has no recipe
def test_streams_are_those_of_zlib(maker, data):
    """With all of its settings; but which blocks are stored also depends on where zlib's window begins."""
    stream = deflated(data, maker)
    own = remake(np.frombuffer(data, np.uint8), Recipe(maker), len(stream) + 2**16)
    if own != stream:
        recipe = recipe_of(stream, len(data), maker.window)
        if recipe is None:  # of noise: no token tells where a stored block ends, and such files keep their bytes
            taken = take_apart(stream, len(data))
            assert taken is not None
            assert (taken.blocks[:, inflate.TYPE] == STORED).any()
            assert maker.window < 15
            return
        assert (recipe.surprises, recipe.ends) == ((), None)
        assert recipe.kinds is not None
        assert maker.window < 15


@pytest.mark.parametrize("level", range(1, 10))
@pytest.mark.parametrize("strategy", [DEFAULT, FILTERED])
def test_each_level_is_that_of_zlib(level, strategy):
    """Long enough that the window moves, as images are."""
    maker = Maker(level, strategy, 8, 15)
    for kind in ("phrases", "residuals", "few"):
        data = content_of(kind, 150_000, seed=level)
        own = remake(np.frombuffer(data, np.uint8), Recipe(maker), 2**18)
        assert own == deflated(data, maker)


@settings(max_examples=60, deadline=None)
@given(st.integers(0, 9), makers, contents)
def test_whatever_zlib_made_is_found(level, maker, data):
    maker = Maker(level, maker.strategy, maker.memory, maker.window)
    stream = deflated(data, maker)
    recipe = recipe_of(stream, len(data), maker.window)
    if recipe is None:  # tokens of stored blocks are not known
        assert maker.memory < 8
        return
    packed = pack_recipe(recipe)
    assert unpack_recipe(b"x" + packed, 1) == (recipe, 1 + len(packed))
    assert remake(np.frombuffer(data, np.uint8), recipe, len(stream)) == stream


@pytest.mark.parametrize("maker", [Maker(level, DEFAULT, 8, 15) for level in (1, 3, 6, 9)] + [
    Maker(6, FILTERED, 8, 15), Maker(9, FILTERED, 9, 15), Maker(6, HUFFMAN_ONLY, 8, 15), Maker(6, RLE, 9, 15),
], ids=str)  # fmt: skip
def test_settings_are_found(maker):
    data = content_of("phrases", 30_000, 1) + content_of("residuals", 80_000, 2)
    found = recipe_of(deflated(data, maker), len(data), 15)
    assert found is not None
    assert (found.surprises, found.ends, found.kinds) == ((), None, None)
    assert (found.maker.level, found.maker.strategy) == (maker.level, maker.strategy)
    assert len(pack_recipe(found)) == 5


def test_what_zlib_would_not_have_done_is_a_surprise():
    """Two streams in one, of different levels: the second is foreseen less well."""
    first, second = content_of("residuals", 60_000, 1), content_of("phrases", 3000, 2)
    state = zlib.compressobj(6, zlib.DEFLATED, -15, 9)
    other = zlib.compressobj(1, zlib.DEFLATED, -15, 9)
    stream = state.compress(first) + state.flush(zlib.Z_FULL_FLUSH) + other.compress(second) + other.flush()
    found = recipe_of(stream, len(first + second), 15)
    if found is not None:  # the flush itself is a block that zlib tells in a way of its own
        assert found.surprises
        assert found.ends


def test_a_token_that_is_another_is_found():
    data = content_of("residuals", 50_000, 3)
    maker = Maker(6, DEFAULT, 8, 15)
    content = np.frombuffer(data, np.uint8)
    taken = take_apart(deflated(data, maker), len(data))
    number = int(np.flatnonzero(taken.tokens > 255)[5])  # a match, written as the literal that it begins with
    place = int(np.maximum(1, taken.tokens[:number] >> 16).sum())
    changed = Recipe(maker, (Surprise(number, data[place]),))
    stream = remake(content, changed, 2**17)
    assert stream != deflated(data, maker)
    assert zlib.decompress(stream, -15) == data
    assert recipe_of(stream, len(data), 15) == changed


@settings(max_examples=40, deadline=None)
@given(st.integers(1, 12), st.sampled_from(KINDS), st.sampled_from([1, 300, 5000, 60_000]), st.integers(0, 99))
def test_streams_of_other_encoders_come_back_with_their_codes_told(level, kind, size, seed):
    """libdeflate finds other matches, ends blocks elsewhere, and builds other codes."""
    imagecodecs = pytest.importorskip("imagecodecs")
    data = content_of(kind, size, seed)
    stream = imagecodecs.deflate_encode(data, level)[2:-4]
    recipe = recipe_of(stream, len(data), 15)
    if recipe is None:  # tokens of stored blocks are not known
        assert (take_apart(stream, len(data)).blocks[:, inflate.TYPE] == STORED).any()
        return
    packed = pack_recipe(recipe)
    assert unpack_recipe(b"x" + packed, 1) == (recipe, 1 + len(packed))
    assert remake(np.frombuffer(data, np.uint8), recipe, len(stream)) == stream


def test_what_is_told_of_another_encoder_is_a_part_of_its_stream():
    imagecodecs = pytest.importorskip("imagecodecs")
    data = content_of("steps", 60_000, 1)
    stream = imagecodecs.deflate_encode(data, 6)[2:-4]
    recipe = recipe_of(stream, len(data), 15)
    assert set(recipe.kinds) == {TOLD}
    assert len(recipe.headers) == len(recipe.kinds)
    assert len(recipe.surprises) < len(take_apart(stream, len(data)).tokens) / 8


def test_codes_that_are_none_are_damage():
    imagecodecs = pytest.importorskip("imagecodecs")
    data = content_of("steps", 20_000, 1)
    stream = imagecodecs.deflate_encode(data, 6)[2:-4]
    recipe = recipe_of(stream, len(data), 15)
    first = recipe.headers[0]
    for header in (Header(first.data, first.bits - 1), Header(b"", 0), Header(b"\xff" * 40, 320)):
        with pytest.raises(DamagedArchive, match="codes that are none"):
            remake(np.frombuffer(data, np.uint8), replace(recipe, headers=(header, *recipe.headers[1:])), 2**16)
    with pytest.raises(DamagedArchive):
        unpack_recipe(pack_recipe(recipe)[:-1], 0)


def test_streams_that_are_none():
    data = content_of("few", 3000, 0)
    stream = deflated(data, Maker(6, DEFAULT, 8, 15))
    assert take_apart(stream, 3000) is not None
    for wrong, size in (
        (stream, 2999),
        (stream, 3001),
        (stream[:-1], 3000),
        (stream + b"\0", 3000),
        (b"", 0),
        (b"\7", 9),
    ):
        assert take_apart(wrong, size) is None


@settings(max_examples=200, deadline=None)
@given(st.binary(max_size=300), st.integers(0, 2000))
def test_any_bytes_are_a_stream_or_none(data, size):
    taken = take_apart(data, size)
    if taken is not None:
        assert zlib.decompressobj(-15).decompress(data) == taken.content.tobytes()


TOKENS = [0, 255, 3 << 16 | 1, 258 << 16 | 2**15, 9 << 16 | 5]


@settings(max_examples=200, deadline=None)
@given(
    st.integers(0, 255), st.integers(0, 255),
    st.lists(st.tuples(st.integers(0, 400), st.sampled_from(TOKENS)), max_size=4),
    st.none() | st.lists(st.integers(0, 2**31), max_size=5), st.none() | st.lists(st.integers(0, 3), max_size=5),
    st.binary(max_size=30), st.integers(0, 400),
)  # fmt: skip
def test_any_recipe_makes_a_stream_or_is_damage(settings_byte, sizes_byte, surprises, ends, kinds, told, most):
    """Of a stranger: nothing is read or written beyond what is there."""
    head = bytes([settings_byte, sizes_byte])
    numbers = sorted(dict(surprises).items())
    recipe = Recipe(
        Maker(6, 0, 8, 15), tuple(map(Surprise._make, numbers)), ends and tuple(ends), kinds and tuple(kinds)
    )
    headers = pack_varint(8 * len(told)) + told if kinds and TOLD in kinds else b""
    data = head + pack_recipe(recipe)[2:] + headers * (kinds or []).count(TOLD)
    content = np.frombuffer(content_of("few", 300, 1), np.uint8)
    try:
        found, end = unpack_recipe(data, 0)
        assert end == len(data)
        assert len(remake(content, found, most)) <= most
    except DamagedArchive:
        return


@settings(max_examples=200)
@given(st.binary(max_size=40))
def test_any_bytes_are_a_recipe_or_damage(data):
    try:
        recipe, end = unpack_recipe(data, 0)
    except DamagedArchive:
        return
    assert unpack_recipe(pack_recipe(recipe), 0)[0] == recipe
    assert end <= len(data)


def test_levels_are_those_of_zlib():
    assert len(LEVELS) == 10
    assert [level[1:] for level in LEVELS[1:]] == [
        (4, 4, 8, 4), (4, 5, 16, 8), (4, 6, 32, 32), (4, 4, 16, 16), (8, 16, 32, 32), (8, 16, 128, 128),
        (8, 32, 128, 256), (32, 128, 258, 1024), (32, 258, 258, 4096),
    ]  # fmt: skip
