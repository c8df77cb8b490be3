"""The streams of `predicted`: against an implementation in plain Python, written from docs/coding.md 15.4 to 15.6."""

import zlib
from contextlib import suppress
from itertools import pairwise

import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from pinned_inputs import natural
from plain_pixels import plain_pixels
from plain_prediction import plain_stream

from bbcodec.binary import pack_varint, shortest
from bbcodec.errors import DamagedArchive
from bbcodec.prediction import groups, residuals
from bbcodec.prediction.channels import from_planes, to_planes
from bbcodec.prediction.stacks import parts_of
from bbcodec.prediction.streams import bits_of_last_rows, pack_images, unpack_images
from bbcodec.prediction.used_values import UsedValues


def made(kind, shape, dtype, seed):
    """Images (N, H, W, C) of a kind, over all values of the type."""
    random, most = np.random.default_rng(seed), np.iinfo(dtype).max
    if kind == "walk":
        values = np.cumsum(np.cumsum(random.normal(0, most / 99, shape), 1), 2)
    elif kind == "alike":  # channels and images
        values = np.cumsum(random.normal(0, most / 99, (1, *shape[1:3], 1)), 2) + random.integers(0, 3, shape)
    elif kind == "few":
        values = random.choice(random.integers(0, most + 1, 5), shape)
    elif kind == "drawn":  # what is repeated, of many colours
        tile = random.integers(0, most + 1, (1, -(-shape[1] // 2), -(-shape[2] // 3), shape[3]))
        values = np.tile(tile, (shape[0], 2, 3, 1))[:, : shape[1], : shape[2]]
        values = np.stack([np.roll(image, 5 * number, 1) for number, image in enumerate(values)])
    elif kind == "areas":  # of few colours
        colours = random.integers(0, most + 1, (7, shape[3]))
        values = colours[np.cumsum(random.random(shape[:3]) < 0.2, 2) % 7]
    elif kind == "ends":
        values = random.integers(0, 2, shape) * most
    else:
        values = random.integers(0, most + 1, shape)
    return (values.astype(np.int64) % (most + 1)).astype(dtype)


@st.composite
def stacks(draw):
    shape = tuple(draw(st.integers(1, most)) for most in (3, 9, 9, 4))
    kind = draw(st.sampled_from(["noise", "walk", "alike", "few", "areas", "drawn", "ends"]))
    return made(kind, shape, draw(st.sampled_from([np.uint8, np.uint16])), draw(st.integers(0, 999)))


@settings(max_examples=10, deadline=None)
@given(stacks())
@example(np.zeros((1, 1, 1, 1), np.uint8))
@example(np.full((2, 3, 4, 3), 65535, np.uint16))
@example(made("walk", (1, 40, 50, 1), np.uint16, 3))
@example(made("areas", (3, 12, 20, 3), np.uint8, 3))
@example(made("drawn", (1, 40, 57, 4), np.uint8, 3))
@example(made("drawn", (2, 34, 51, 3), np.uint8, 4))
@example(np.random.default_rng(0).integers(0, 256, (2, 9, 40, 1)).repeat(2, 1).astype(np.uint8))
@example(made("alike", (3, 20, 20, 3), np.uint8, 4))
@example(np.where(np.arange(900).reshape(1, 30, 30, 1) == 620, 65535, 0).astype(np.uint16))
def test_images_come_back_and_are_coded_as_the_page_says(images):
    data = pack_images(images)
    again = unpack_images(data, images.shape)
    assert again.dtype == images.dtype
    assert np.array_equal(again, images)
    assert data == (said_by_colours if data[0] & 64 else said_by_pixels if data[0] & 32 else said_by_errors)(images)


def said_by_errors(images):
    """The stream of images as the page has it, by errors."""
    parts, (count, height, width, channels) = parts_of(images), images.shape
    planes, taken = to_planes(images.reshape(count * parts, height // parts, width, channels))
    used = [UsedValues.of(plane) for plane in planes]
    ranks = np.stack([one.ranks(plane) for one, plane in zip(used, planes, strict=True)], 1)
    messages = plain_stream(ranks.tolist(), [one.most for one in used], images.dtype == np.uint16)
    head = bytes([taken[0] + 128 * (images.dtype == np.uint16), *taken[1:]]) + pack_varint(parts)
    return head + b"".join(one.pack() for one in used) + b"".join(pack_varint(size) + words for size, words in messages)


def said_by_pixels(images):
    """The same pixel by pixel."""
    parts, (count, height, width, channels) = parts_of(images), images.shape
    order = {2: (1, 0), 3: (1, 0, 2), 4: (3, 1, 0, 2)}[channels]
    numbers = [int.from_bytes(bytes(pixel[c] for c in order), "big") for pixel in images.reshape(-1, channels).tolist()]
    pixels = np.reshape(numbers, (count * parts, height // parts, width)).tolist()
    head = bytes([32]) + pack_varint(parts)
    return head + b"".join(pack_varint(size) + words for size, words in plain_pixels(pixels, channels, 255))


def said_by_colours(images):
    """The same by colours."""
    parts, (count, height, width, channels) = parts_of(images), images.shape
    pixels = [tuple(pixel) for pixel in images.reshape(-1, channels).tolist()]
    colours = sorted(set(pixels))
    indices = np.reshape([colours.index(pixel) for pixel in pixels], (count * parts, height // parts, width))
    messages = plain_pixels(indices.tolist(), 1, len(colours) - 1)
    wide = images.dtype == np.uint16
    channel_values = np.transpose(colours).tolist()
    less = [[(b - a) % (65536 if wide else 256) for a, b in pairwise((0, *values))] for values in channel_values]
    method, table = shortest(np.array(less, ">u2" if wide else "u1").tobytes())
    head = bytes([64 + 128 * wide]) + pack_varint(parts) + pack_varint(len(colours) - 1)
    head += bytes([method]) + pack_varint(len(table)) + table
    return head + b"".join(pack_varint(size) + words for size, words in messages)


def test_known_streams():
    """The same on every machine."""
    both = np.uint8, np.uint16
    found = {kind: [zlib.crc32(pack_images(made(kind, (2, 40, 48, 3), dtype, 7))) for dtype in both] for kind in KNOWN}
    assert found == KNOWN


KNOWN = {"walk": [4210343770, 1888484289], "areas": [2119627087, 3166387372], "drawn": [2527744488, 2861550340]}


@pytest.mark.parametrize(("kind", "width"), [("walk", 20), ("areas", 20), ("drawn", 57)])
def test_rows_are_coded_in_groups(monkeypatch, kind, width):
    """What was learned goes on: the rows after the first group take no more than in one."""
    monkeypatch.setattr(groups, "GROUP", 500)
    images = made(kind, (2, 31, width, 3), np.uint8, 1)
    data = pack_images(images)
    assert np.array_equal(unpack_images(data, images.shape), images)
    monkeypatch.undo()
    assert 0 < len(data) - len(pack_images(images)) < 13 * 8 * 8 // 8
    with pytest.raises(DamagedArchive):
        unpack_images(data, images.shape)


@pytest.mark.parametrize("channels", [1, 2, 3, 4])
@pytest.mark.parametrize("dtype", [np.uint8, np.uint16])
def test_channels_are_less_others_where_that_is_smoother(channels, dtype):
    for kind in ("alike", "noise"):
        images = made(kind, (2, 9, 11, channels), dtype, 5)
        planes, taken = to_planes(images)
        assert planes.shape == (channels, 2, 9, 11)
        assert len(taken) == channels
        assert taken[0] == 0
        assert (max(taken) > 0) == (kind == "alike" and channels > 1 and dtype == np.uint8)
        assert np.array_equal(from_planes(planes, taken, dtype), images)


@pytest.mark.parametrize("group", [groups.GROUP, 100])
def test_the_last_rows_cost_what_they_add(monkeypatch, group):
    """Of one channel, what an image costs more than its rows above; of several, together the whole message."""
    monkeypatch.setattr(groups, "GROUP", group)
    grey, colour = natural(1, 40, 30, 1), natural(2, 30, 40, 3)
    whole, last = (bits_of_last_rows(grey, rows) for rows in (40, 9))
    assert bits_of_last_rows(grey[:, :31], 31) == pytest.approx(whole - last, rel=1e-6)
    assert 0.7 * whole < last * 40 / 9 < 1.3 * whole
    monkeypatch.undo()
    said = 8 * len(pack_images(colour))
    monkeypatch.setattr(groups, "GROUP", group)
    assert said - 8 * 100 < bits_of_last_rows(colour, 30) < said
    assert 0 < bits_of_last_rows(colour, 10) < said / 2


def test_least_squares_pay():
    """Of blurred noise, as of scans that were scaled up, many neighbours together say more than the nearest."""
    noise = np.random.default_rng(5).normal(0, 2000, (130, 130))
    for axis in (0, 1) * 3:
        noise = (noise + np.roll(noise, 1, axis)) / 2
    values = np.maximum(noise + 8000, 0).astype(np.uint16)[None, None]
    most = np.array([int(values.max())])
    narrow, wide = (len(residuals.encode(values, most, wide)) for wide in (False, True))
    assert wide < 0.97 * narrow


def test_the_image_before_helps():
    """Slices that are nearly the same cost less than the first."""
    first = made("walk", (1, 48, 48, 1), np.uint16, 2)
    noise = np.random.default_rng(0).integers(0, 3, (4, 48, 48, 1)).astype(np.uint16)
    together = len(pack_images(first // 2 + noise))
    assert together < 0.7 * sum(len(pack_images(first // 2 + noise[k : k + 1])) for k in range(4))


def test_pages_below_each_other_are_seen():
    """A stack as one tall image takes as many bytes as its images; others stay one."""
    page = made("walk", (1, 48, 40, 1), np.uint16, 2) // 2
    pages = page + np.random.default_rng(0).integers(0, 3, (4, 48, 40, 1)).astype(np.uint16)
    tall = pages.reshape(1, 192, 40, 1)
    assert parts_of(tall) == 4
    assert parts_of(pages) == parts_of(made("walk", (1, 192, 40, 1), np.uint16, 2)) == 1
    data = pack_images(tall)
    assert len(data) == len(pack_images(pages))
    assert np.array_equal(unpack_images(data, tall.shape), tall)
    for bad in (0, 5, 193):
        with pytest.raises(DamagedArchive):
            unpack_images(data[:1] + bytes([bad]) + data[2:], tall.shape)


def test_channels_that_are_equal_cost_next_to_nothing():
    grey = made("walk", (1, 64, 64, 1), np.uint8, 2)
    assert len(pack_images(grey.repeat(3, axis=3))) < len(pack_images(grey)) + 60


@settings(max_examples=100, deadline=None)
@given(st.data())
def test_damage_is_damage_or_other_images(data):
    kind, dtype = (
        data.draw(st.sampled_from(["walk", "areas", "drawn"])),
        data.draw(st.sampled_from([np.uint8, np.uint16])),
    )
    images = made(kind, (2, 9, 7, data.draw(st.integers(1, 4))), dtype, 8)
    stored = bytearray(pack_images(images))
    stored[data.draw(st.integers(0, len(stored) - 1))] ^= data.draw(st.integers(1, 255))
    with suppress(DamagedArchive):
        assert unpack_images(bytes(stored), images.shape).shape == images.shape


@pytest.mark.parametrize("kind", ["walk", "areas"])
def test_cut_and_longer_streams_are_damage(kind):
    images = made(kind, (1, 9, 7, 3), np.uint8, 8)
    stored = pack_images(images)
    for bad in (*(stored[:size] for size in range(len(stored))), stored + b"\0", stored + bytes(8)):
        with pytest.raises(DamagedArchive):
            unpack_images(bad, images.shape)
    for shape in ((1, 9, 8, 3), (1, 8, 7, 3), (2, 9, 7, 3)):
        with pytest.raises(DamagedArchive):
            unpack_images(stored, shape)


def test_impossible_channels_are_damage():
    images = made("alike", (1, 9, 7, 3), np.uint8, 8)
    stored = bytearray(pack_images(images))
    for at, value in ((0, 1), (0, 2), (1, 2), (2, 3), (1, 255)):
        with pytest.raises(DamagedArchive):
            unpack_images(bytes([*stored[:at], value, *stored[at + 1 :]]), images.shape)


def test_lengths_of_a_stranger_take_no_memory():
    stored = bytes([0, 1]) + UsedValues.of(np.zeros((1, 1, 1), np.uint16)).pack() + pack_varint(2**31) + bytes(99)
    with pytest.raises(DamagedArchive):
        unpack_images(stored, (1, 3, 3, 1))


@pytest.mark.parametrize("word", [0, 2**32 - 1, 0xAAAAAAAA])
def test_errors_far_beyond_what_is_likely_are_damage(word):
    """Where the distribution has no mass left to divide."""
    head = bytes([0, 1]) + UsedValues.of(np.array([[[0, 255]]], np.uint16)).pack()
    words = np.array([2**20, *[word] * 99], "<u4").tobytes()
    with pytest.raises(DamagedArchive):
        unpack_images(head + pack_varint(100) + words, (1, 9, 9, 1))
