"""Codecs: messages that restore every pixel, or say that they are damaged."""

from itertools import pairwise

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from tiny_models import CONFIGS, KINDS, SIZES, pictures, pixel_format

from bbcodec.binary import pack_varint
from bbcodec.codec.codec import GROWTH_UNIT, SEED, PixelFormat, batch_widths
from bbcodec.codec.file import load_codec
from bbcodec.coder.ans import AnsStack
from bbcodec.coder.vectors import LANES
from bbcodec.errors import DamagedArchive, InputError
from bbcodec.model.coding import account

# --- batches of a chain ----------------------------------------------------------------------------------------------


@given(st.integers(0, 5000), st.integers(0, 255), st.integers(1, 300))
def test_batch_widths(count, growth, limit):
    """They cover all images, the first goes alone, none is wider than the limit or than its share of those before."""
    widths = batch_widths(count, growth, limit)
    assert sum(widths) == count
    assert widths[:1] in ([], [1])
    assert all(1 <= width <= limit for width in widths)
    done = np.cumsum([0, *widths])[:-1]
    assert all(w == 1 or w * GROWTH_UNIT <= n * growth for w, n in zip(widths, done, strict=True))
    wide = [min(n * growth // GROWTH_UNIT, limit) for n in done]
    assert all(w >= best for w, best in list(zip(widths, wide, strict=True))[:-1])  # and no narrower either
    assert all(a <= b for a, b in pairwise(widths[:-1]))


def test_batch_widths_without_growth():
    assert batch_widths(5, 0, 100) == [1] * 5
    assert batch_widths(9, 255, 100) == [1, 7, 1]
    assert batch_widths(9, 255, 3) == [1, 3, 3, 2]
    assert batch_widths(0, 16, 100) == []


@pytest.mark.parametrize("growth", [0, 16, 255])
def test_chains_are_coded_last_to_first(codecs, growth, monkeypatch):
    """In batches whose widths are those of batch_widths; so that decoding gives the first images first."""
    codec = codecs["grey"]
    images = pictures("grey", 21, 4, 4)
    seen = []
    real = codec.backend.encode
    monkeypatch.setattr(codec.backend, "encode", lambda s, x, bits: (seen.append(x), real(s, x, bits)))
    codec.chain(images, growth)
    assert [len(x) for x in seen] == batch_widths(21, growth, 10**9)
    assert np.array_equal(np.concatenate(seen[::-1]), images)


# --- messages --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("count", [1, 2, 15, 40])
def test_bits_of_images_are_what_they_add_to_the_message(codecs, kind, count):
    """Each image's own, in order; the rest is the initial bits. The message is the same if nobody asks."""
    images = pictures(kind, count, 8, 7, count)
    bits = np.full(count, np.nan)
    message = codecs[kind].encode_message(images, bits)
    assert message == codecs[kind].encode_message(images)
    assert (bits > 0).all()
    stack = codecs[kind].chain(images, message[0])
    assert bits.sum() == pytest.approx(stack.bits - AnsStack.seeded(0).bits, abs=count * 0.5)
    last = np.zeros(1)
    codecs[kind].encode_message(images[-1:], last)
    assert bits[-1] == pytest.approx(last[0], rel=0.05)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("count", [1, 2, 15, 16, 64])
def test_messages_round_trip(codecs, kind, count):
    images = pictures(kind, count, 8, 7, count)
    message = codecs[kind].encode_message(images)
    found = codecs[kind].decode_message(message, count, 8, 7)
    assert found.dtype == np.uint8
    assert np.array_equal(found, images)


@given(st.data())
@settings(max_examples=40)
def test_any_batch_round_trips(codecs, data):
    """Self-contained: the shape is in the message."""
    kind = data.draw(st.sampled_from(KINDS))
    config = CONFIGS[kind]
    side = st.sampled_from([1, 2, 5, 8, 11])
    shape = data.draw(st.tuples(st.integers(1, 5), side, side, st.just(config.channels)))
    images = data.draw(arrays(np.uint8, shape, elements=st.integers(0, config.levels - 1)))
    message = codecs[kind].encode(images)
    assert np.array_equal(codecs[kind].decode(message), images)
    assert codecs[kind].encode(images) == message


@pytest.mark.parametrize("kind", KINDS)
def test_messages_are_the_same_whatever_threads_and_layout(codecs, kind):
    images = pictures(kind, 5, 12, 9)
    frozen = images.copy()
    frozen.flags.writeable = False
    layouts = [images, np.asfortranarray(images), np.repeat(images, 2, 2)[:, :, ::2], frozen]
    messages = {codecs[kind].encode_message(layout) for layout in layouts}
    before = torch.get_num_threads()
    try:
        for threads in (1, 2, 4):
            torch.set_num_threads(threads)
            messages.add(codecs[kind].encode_message(images))
            assert np.array_equal(codecs[kind].decode_message(min(messages), 5, 12, 9), images)
    finally:
        torch.set_num_threads(before)
    assert len(messages) == 1


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("count", [1, 40])
def test_a_message_is_its_account_and_initial_bits(networks, kind, count):
    """8 bits of growth, two words of head less the 32 bits that a head starts with; no more."""
    codec = networks[kind]
    images = pictures(kind, count, 16, 16)
    message = codec.encode_message(images)
    stack, net = AnsStack.seeded(SEED), 0.0
    end = count
    for width in batch_widths(count, message[0], 10**9):
        rows = account(codec.backend.model, stack, codec.backend.tensor(images[end - width : end]))
        net += sum(row.sum() for row in rows.values()) / 2**24
        end -= width
    expected = net + 32 * stack.initial_words + 8 + 32
    slack = 32 + 2 * np.sqrt(count * 64)  # one word that is not full; 28-bit pushes are off by up to 1/8 bit
    assert abs(8 * len(message) - expected) < slack


@pytest.mark.parametrize("kind", KINDS)
def test_batches_grow_no_faster_than_the_stack_affords(codecs, kind):
    """Initial bits are paid for few images, and yet batches do grow."""
    codec = codecs[kind]
    images = pictures(kind, 80, 6, 6)
    growth = codec.encode_message(images)[0]
    words = codec.chain(images, growth).initial_words
    alone = codec.chain(images, 0).initial_words
    trial = codec.chain(images[-1:], 0).initial_words
    assert growth > 0
    assert words <= max(alone, trial) + 1
    assert len(batch_widths(80, growth, 10**9)) < 40


def test_one_or_two_images_need_no_growth(codecs):
    images = pictures("grey", 3, 8, 8)
    assert [codecs["grey"].encode_message(images[:n])[0] > 0 for n in (1, 2, 3)] == [False, False, True]


@pytest.mark.parametrize(
    "images",
    [
        np.zeros((1, 4, 4, 3), np.uint8),
        np.zeros((4, 4, 1), np.uint8),
        np.zeros((1, 4, 4, 1), np.float32),
        np.zeros((1, 4, 4, 1), np.int64),
        np.zeros((0, 4, 4, 1), np.uint8),
        np.zeros((1, 0, 4, 1), np.uint8),
        np.full((1, 4, 4, 1), 2, np.uint8),
        torch.zeros((1, 4, 4, 1), dtype=torch.uint8),
        [[[[0]]]],
        b"1234",
        None,
    ],
    ids=lambda images: f"{type(images).__name__} {getattr(images, 'dtype', '')} {getattr(images, 'shape', '')}",
)
def test_what_is_no_batch_of_images_is_refused(codecs, images):
    for call in (codecs["binary"].encode, codecs["binary"].encode_message):
        with pytest.raises(InputError, match="codec codec takes"):
            call(images)


def test_more_than_a_message_holds_is_refused(codecs, monkeypatch):
    """Before anything is computed; the archive cuts up what is larger."""
    monkeypatch.setattr(codecs["grey"].backend, "encode", lambda *_: pytest.fail("encoding was tried"))
    row = np.zeros((1, 1, 1, 1), np.uint8)
    with pytest.raises(InputError, match="8388608 pixels"):
        codecs["grey"].encode(np.broadcast_to(row, (1, 2**12, 2**11 + 1, 1)))
    with pytest.raises(InputError, match="268435456 values"):
        codecs["grey"].encode(np.broadcast_to(row, (2**28 + 1, 1, 1, 1)))


def damaged(message):
    """Every byte of a message changed, twice; and every cut; and something at the end."""
    for n in range(len(message)):
        for change in (1, 0xFF):
            yield message[:n] + bytes([message[n] ^ change]) + message[n + 1 :]
        yield message[:n]
    yield from (message + tail for tail in (b"\0", b"\0\0\0\0", message))


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("count", [1, 5])
def test_damaged_messages_are_found_out(codecs, kind, count):
    """DamagedArchive and nothing else. Another growth byte may stand for the same batches, with the same pixels."""
    codec = codecs[kind]
    images = pictures(kind, count, 2, 3)
    message = codec.encode_message(images)
    for n, bad in enumerate(damaged(message)):
        try:
            found = codec.decode_message(bad, count, 2, 3)
        except DamagedArchive:
            continue
        assert n < 2
        assert batch_widths(count, bad[0], 10**9) == batch_widths(count, message[0], 10**9)
        assert np.array_equal(found, images)


@pytest.mark.parametrize("kind", KINDS)
def test_messages_of_another_shape_or_count_are_found_out(codecs, kind):
    images = pictures(kind, 4, 6, 6)
    message = codecs[kind].encode_message(images)
    for shape in [(4, 6, 7), (4, 5, 6), (3, 6, 6), (5, 6, 6), (1, 6, 6), (4, 1, 1), (1, 12, 12)]:
        with pytest.raises(DamagedArchive):
            codecs[kind].decode_message(message, *shape)


def test_damaged_self_contained_messages_are_found_out(codecs):
    codec = codecs["binary"]
    images = pictures("binary", 2, 3, 4)
    for bad in damaged(codec.encode(images)):
        try:
            found = codec.decode(bad)
        except DamagedArchive:
            continue
        assert np.array_equal(found, images)


@pytest.mark.parametrize(
    "shape",
    [(0, 4, 4), (1, 0, 4), (2**32 - 1,) * 3, (1, 2**16, 2**16), (2**31, 1, 1), (1, 1, 2**29), (1, 2**14, 2**14 + 1)],
)
def test_a_shape_that_cannot_be_is_refused_before_anything_is_allocated(codecs, shape, monkeypatch):
    monkeypatch.setattr(codecs["grey"], "decode_message", lambda *_: pytest.fail("decoding was tried"))
    with pytest.raises(DamagedArchive, match=r"is impossible|has no messages"):
        codecs["grey"].decode(b"".join(map(pack_varint, shape)) + bytes(100))


@pytest.mark.parametrize("shape", [(1, 2**12, 2**11 + 1), (1, 1, 2**23 + 1)])
def test_an_image_that_no_encoder_takes_is_not_decoded(codecs, shape, monkeypatch):
    monkeypatch.setattr(codecs["grey"].backend, "decode", lambda *_: pytest.fail("decoding was tried"))
    with pytest.raises(DamagedArchive, match=r"is impossible|has no messages"):
        codecs["grey"].decode_message(bytes(1) + AnsStack.seeded(1, LANES).flatten().tobytes(), *shape)


@pytest.mark.parametrize("shape", [(2**28, 1, 1), (2**20, 16, 16), (1, 2**14, 2**14), (1, 1, 2**28), (2, 2**11, 2**12)])
def test_a_short_message_of_many_pixels_is_refused_early(codecs, shape, monkeypatch):
    """Before the second batch is decoded, whatever its growth byte, also one that no encoder writes."""
    real, batches = codecs["grey"].backend.decode, []
    monkeypatch.setattr(codecs["grey"].backend, "decode", lambda s, x: (batches.append(x[0]), real(s, x))[1])
    for growth in (0, 1, 255):
        batches.clear()
        with pytest.raises(DamagedArchive):
            codecs["grey"].decode_message(bytes([growth]) + AnsStack.seeded(1).flatten().tobytes(), *shape)
        assert len(batches) < 2


@pytest.mark.parametrize("kind", KINDS)
def test_both_paths_write_and_read_the_same_messages(contents, kind):
    codec = load_codec(contents[kind], "cpu")
    images = pictures(kind, 4, 11, 6)
    message = codec.encode_message(images)
    codec.set_safe(True)
    assert codec.encode_message(images) == message
    assert np.array_equal(codec.decode_message(message, 4, 11, 6), images)


def test_pixel_formats():
    assert PixelFormat(3, 256) == pixel_format("RGB")
    assert SIZES["latent_stride"] == CONFIGS["RGB"].latent_stride
