"""Images of 16 bits as tokens and a rest: against an implementation in plain Python, written from docs/coding.md 15."""

import zlib
from contextlib import suppress
from math import log2

import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from plain_prediction import plain_tokens

from bbcodec.errors import DamagedArchive
from bbcodec.prediction.planes import predicted, restored
from bbcodec.prediction.predictor import errors_of, values_of
from bbcodec.prediction.tokens import errors_of_tokens, fine_size, tokens_of
from bbcodec.prediction.used_values import UsedValues


@st.composite
def deep_images(draw):
    """Images (N, H, W) of different kinds: noise, slopes, waves, few values, in different ranges."""
    random = np.random.default_rng(draw(st.integers(0, 999)))
    shape = draw(st.integers(1, 3)), draw(st.integers(1, 9)), draw(st.integers(1, 9))
    size = draw(st.sampled_from([1, 2, 30, 4096, 65536]))
    kind = draw(st.sampled_from(["noise", "walk", "waves", "few", "ends"]))
    if kind == "walk":
        values = np.cumsum(np.cumsum(random.normal(0, size / 99, shape), 1), 2)
    elif kind == "waves":
        values = np.sin(np.arange(np.prod(shape)).reshape(shape) / 3) * size
    elif kind == "few":
        values = random.choice(random.integers(0, 65536, 5), shape)
    elif kind == "ends":
        values = random.integers(0, 2, shape) * 65535
    else:
        values = random.integers(0, size, shape)
    return (values.astype(np.int64) % 65536).astype(np.uint16)


@settings(max_examples=60, deadline=None)
@given(deep_images())
@example(np.zeros((1, 1, 1), np.uint16))
@example(np.full((2, 3, 4), 65535, np.uint16))
@example((np.arange(1200).reshape(1, 30, 40) % 3 * 32767).astype(np.uint16))
def test_images_come_back_and_are_coded_as_the_page_says(images):
    tokens, rest = predicted(images)
    assert (tokens.shape, tokens.dtype) == (images.shape, np.uint8)
    again = restored(tokens, rest)
    assert again.dtype == np.uint16
    assert np.array_equal(again, images)
    values = UsedValues.of(images)
    plain, fine = plain_tokens(values.ranks(images).tolist(), values.most)
    assert tokens.reshape(-1).tolist() == plain
    assert rest == values.pack() + bytes(int(fine[at : at + 8].ljust(8, "0"), 2) for at in range(0, len(fine), 8))


def test_known_tokens():
    """The same on every machine."""
    images = (np.cumsum(np.cumsum(np.arange(60).reshape(2, 5, 6) ** 3 % 89, 1), 2) * 21 % 4096).astype(np.uint16)
    tokens, rest = predicted(images)
    assert zlib.crc32(tokens.tobytes() + rest) == KNOWN


KNOWN = 575625401


@given(st.lists(st.integers(-65535, 65535), min_size=1, max_size=40))
@example([0, 15, 16, 31, 32, -15, -16, 65535, -65535])
def test_errors_are_tokens_and_fine_bits(numbers):
    errors = np.array(numbers, np.int32).reshape(1, -1)
    tokens, fine = tokens_of(errors)
    assert np.array_equal(errors_of_tokens(tokens, fine), errors)
    assert len(fine) == fine_size(tokens)
    assert 17 <= tokens.min() <= tokens.max() <= 239
    order = np.argsort(errors[0], kind="stable")
    assert (np.diff(tokens[0][order].astype(int)) >= 0).all()


def test_smooth_images_have_small_errors():
    i, j = np.mgrid[:64, :64] / 64
    wave = np.rint(20000 + 15000 * np.sin(7 * i + 3 * j) * np.cos(5 * i * j)).astype(np.uint16)[None]
    assert np.abs(errors_of(wave, 65535)[:, 8:]).mean() < 25
    assert np.abs(np.diff(wave.astype(int))).mean() > 150


@pytest.mark.parametrize(
    ("images", "table"),
    [
        (np.arange(4096).reshape(1, 64, 64), False), (np.arange(16384).reshape(4, 64, 64) % 512 * 8, True),
        (np.arange(4096).reshape(1, 64, 64) * 16, True), (np.full((1, 1, 1), 700), False),
        (np.random.default_rng(1).integers(0, 6000, (1, 64, 64)), False),
        (np.arange(4096).reshape(1, 64, 64) % 30 * 2000 // 29 + 7, True),
    ],
)  # fmt: skip
def test_values_that_are_used_are_found(images, table):
    images = images.astype(np.uint16)
    used = UsedValues.of(images)
    assert (used.used is not None) == table
    assert used.low == images.min()
    ranks = used.ranks(images)
    assert ranks.max() == used.most == (len(np.unique(images)) - 1 if table else np.ptp(images))
    assert np.array_equal(used.values(ranks), images)
    data = b"before" + used.pack() + b"after"
    again, end = UsedValues.take(data, 6)
    assert data[end:] == b"after"
    assert np.array_equal(again.values(ranks), images)


def test_a_table_is_worth_its_bytes():
    few = np.random.default_rng(0).integers(0, 500, (1, 64, 64)).astype(np.uint16) * 7
    _, rest = predicted(few)
    assert len(rest) < few.size * log2(500) / 8


@pytest.mark.parametrize(
    "data", [b"", b"\0", b"\0\0", b"\xff\xff\3\1\0", b"\1\xff\xff\3\0", b"\0\7\1\1", b"\0\7\1\1\0", b"\0\7\1\2\x80\0",
             b"\0\7\1\1\x7f", b"\0\7\1\1\xfe", b"\0\7\2\3abc", b"\0\7\3\3abc", b"\0\xff\xff\xff\xff\xff\0"]
)  # fmt: skip
def test_impossible_values_are_damage(data):
    with pytest.raises(DamagedArchive):
        UsedValues.take(data, 0)


def test_damaged_images_are_damage_or_others():
    random = np.random.default_rng(5)
    images = random.normal(3000, 200, (2, 9, 11)).astype(np.uint16)
    tokens, rest = predicted(images)
    for change in (16, 240, 0, 255):
        damaged = tokens.copy()
        damaged[1, 3, 4] = change
        with pytest.raises(DamagedArchive):
            restored(damaged, rest)
    for bad in (rest[:-1], rest + b"\0", rest[:3], b""):
        with pytest.raises(DamagedArchive):
            restored(tokens, bad)
    for _ in range(200):
        damaged = tokens.copy()
        damaged.reshape(-1)[random.integers(damaged.size)] = random.integers(17, 240)
        extra = fine_size(damaged) - fine_size(tokens)
        filled = rest + bytes(extra) if extra >= 0 else rest[:extra]
        with suppress(DamagedArchive):
            assert not np.array_equal(restored(damaged, filled), images) or np.array_equal(damaged, tokens)


def test_errors_beyond_the_values_are_found_at_once():
    errors = np.zeros((1, 2, 3), np.int32)
    errors[0, 1, 2] = 8
    assert values_of(errors, 7) is None
    assert values_of(errors, 8).tolist() == [[[0, 0, 0], [0, 0, 8]]]
    errors[0, 1, 2] = -1
    assert values_of(errors, 8) is None
