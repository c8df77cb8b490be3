"""Codecs: messages that give every pixel back or say so, files that are whole or refused, arithmetic that is tested."""

import json
import time
from importlib.resources import files
from itertools import pairwise

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from safetensors.torch import load as load_tensors
from safetensors.torch import save as save_tensors
from tiny_models import CONFIGS, KINDS, SIZES, pictures, pixel_format, tiny

import bbcodec.codec.codec
from bbcodec.binary import pack_varint
from bbcodec.codec.catalogue import shipped_codecs
from bbcodec.codec.codec import (
    GROWTH_UNIT,
    KNOWN_ANSWERS,
    SEED,
    PixelFormat,
    Recorder,
    answers,
    batch_widths,
    codec_header,
    known_images,
    load_codec,
    save_codec,
)
from bbcodec.coder.ans import AnsStack
from bbcodec.distributions.bernoulli import Bernoulli
from bbcodec.errors import BadCodecFile, CoderError, DamagedArchive, InexactArithmetic, InputError, MissingCodec
from bbcodec.exact.layers import exact_layers
from bbcodec.exact.masked_conv import MaskedConv
from bbcodec.model.interpreters import account

CARD = {"bits_per_dim": 1.5, "data": "none"}


@pytest.fixture(scope="module")
def contents():
    """The codec file of each kind."""
    return {kind: save_codec(tiny(kind), "vlae", CONFIGS[kind], pixel_format(kind), CARD) for kind in KINDS}


@pytest.fixture(scope="module")
def codecs(contents):
    return {kind: load_codec(content, "cpu") for kind, content in contents.items()}


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
    real = bbcodec.codec.codec.encode
    monkeypatch.setattr(bbcodec.codec.codec, "encode", lambda m, s, x, rows: (seen.append(x), real(m, s, x, rows)))
    codec.chain(images, growth)
    assert [len(x) for x in seen] == batch_widths(21, growth, 10**9)
    assert torch.equal(torch.cat(seen[::-1]), codec.tensor(images))


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
    assert bits.sum() == pytest.approx(stack.bits - bbcodec.codec.codec.AnsStack.seeded(0).bits, abs=count * 0.5)
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
def test_a_message_is_its_account_and_initial_bits(codecs, kind, count):
    """8 bits of growth, two words of head less the 32 bits that a head starts with; no more."""
    codec = codecs[kind]
    images = pictures(kind, count, 16, 16)
    message = codec.encode_message(images)
    stack, net = AnsStack.seeded(SEED), 0.0
    end = count
    for width in batch_widths(count, message[0], 10**9):
        rows = account(codec.model, stack, codec.tensor(images[end - width : end]))
        net += sum(row.sum() for row in rows.values()) / 2**24
        end -= width
    expected = net + 32 * stack.initial_words + 8 + 32
    slack = 32 + 2 * np.sqrt(count * 64)  # one word that is not full; 28-bit pushes are off by up to 1/8 bit
    assert abs(8 * len(message) - expected) < slack


@pytest.mark.parametrize("kind", KINDS)
def test_batches_grow_no_faster_than_the_stack_affords(codecs, kind):
    """Initial bits are paid for few images, and yet batches do grow."""
    codec = codecs[kind]
    images = pictures(kind, 200, 8, 8)
    growth = codec.encode_message(images)[0]
    words = codec.chain(images, growth).initial_words
    alone = codec.chain(images, 0).initial_words
    trial = codec.chain(images[-1:], 0).initial_words
    assert growth > 0
    assert words <= max(alone, trial) + 1
    assert len(batch_widths(200, growth, 10**9)) < 100


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
    monkeypatch.setattr(bbcodec.codec.codec, "encode", lambda *_: pytest.fail("encoding was tried"))
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
    images = pictures(kind, count, 3, 4)
    message = codec.encode_message(images)
    for n, bad in enumerate(damaged(message)):
        try:
            found = codec.decode_message(bad, count, 3, 4)
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
    with pytest.raises(DamagedArchive, match="cannot be"):
        codecs["grey"].decode(b"".join(map(pack_varint, shape)) + bytes(100))


@pytest.mark.parametrize("shape", [(1, 2**12, 2**11 + 1), (1, 1, 2**23 + 1)])
def test_an_image_that_no_encoder_takes_is_not_decoded(codecs, shape, monkeypatch):
    monkeypatch.setattr(bbcodec.codec.codec, "decode", lambda *_: pytest.fail("decoding was tried"))
    with pytest.raises(DamagedArchive, match="cannot be"):
        codecs["grey"].decode_message(bytes(1) + AnsStack.seeded(1).flatten().tobytes(), *shape)


@pytest.mark.parametrize("shape", [(2**28, 1, 1), (2**20, 16, 16), (1, 2**14, 2**14), (1, 1, 2**28), (2, 2**11, 2**12)])
def test_a_short_message_of_many_pixels_is_refused_in_no_time(codecs, shape):
    """Whatever its growth byte, also one that no encoder writes."""
    start = time.process_time()
    for growth in (0, 1, 255):
        with pytest.raises(DamagedArchive):
            codecs["grey"].decode_message(bytes([growth]) + AnsStack.seeded(1).flatten().tobytes(), *shape)
    assert time.process_time() - start < 5


# --- codec files -----------------------------------------------------------------------------------------------------


def edited(content, tensors=None, **header):
    """The file with other tensors or other entries of its header (those that are objects are merged)."""
    about = codec_header(content)
    for key, value in header.items():
        about[key] = {**about[key], **value} if isinstance(value, dict) else value
    return save_tensors(load_tensors(content) if tensors is None else tensors, {"bbcodec": json.dumps(about)})


@pytest.mark.parametrize("kind", KINDS)
def test_files_hold_the_whole_codec(contents, codecs, kind, tmp_path):
    """By bytes, by path; the weights in memory give the same messages as those that were saved."""
    images = pictures(kind, 6, 9, 9)
    expected = codecs[kind].encode(images)
    path = tmp_path / "mine.bbc"
    path.write_bytes(contents[kind])
    for source in (path, str(path), contents[kind]):
        codec = load_codec(source, device="cpu")
        assert codec.encode(images) == expected
        assert codec.digest == codecs[kind].digest
        assert codec.card == CARD
        assert codec.pixels == pixel_format(kind)
        assert codec.file_bytes == len(contents[kind])
        assert not codec.safe
    assert load_codec(path, "cpu").name == "mine"
    again = save_codec(codec.model, "vlae", CONFIGS[kind], pixel_format(kind), CARD)
    assert again == contents[kind]


def test_what_is_coded_is_what_was_learnt(contents):
    """The integers of the file, read back, evaluate as the real weights did when training rounded them."""
    learnt = tiny("grey")
    coded = load_codec(contents["grey"], "cpu").model
    x = torch.randint(0, 256, (2, 1, 9, 9)).float()
    with torch.no_grad():
        for one, other in zip(learnt.posterior(x).parameters(), coded.posterior(x).parameters(), strict=True):
            assert torch.equal(one, other)
        z = learnt.posterior(x).rsample()
        params = [model.likelihood(z, x.shape).in_parallel(x) for model in (learnt, coded)]
    assert torch.equal(*params)


def test_the_digest_names_the_content(contents, codecs):
    other = load_codec(edited(contents["grey"], card={"data": "other"}), "cpu")
    assert other.digest != codecs["grey"].digest
    assert len(other.digest) == 32


@pytest.mark.parametrize("kind", KINDS)
def test_known_images_reach_the_ends(kind):
    """All shapes of the test, all levels, the same every time."""
    one, other = list(known_images(pixel_format(kind))), list(known_images(pixel_format(kind)))
    assert [x.shape[:3] for x in one] == list(KNOWN_ANSWERS)
    assert all(np.array_equal(a, b) for a, b in zip(one, other, strict=True))
    levels = CONFIGS[kind].levels
    assert all(x.shape[3] == CONFIGS[kind].channels for x in one)
    assert set(np.unique(np.concatenate([x.ravel() for x in one]))) == set(range(levels))


def test_every_weight_matters_to_the_known_answers(contents):
    """Any layer with the signs of its weights or biases turned, which keeps every bound, has other answers."""
    tensors = load_tensors(contents["RGB"])
    names = [name for name in tensors if not name.endswith("scale")]
    assert len(names) == 2 * len(exact_layers(tiny("RGB")))
    codec = load_codec(contents["RGB"], "cpu")
    expected = answers(codec)
    assert expected == codec_header(contents["RGB"])["known_answers"]
    for name in names:
        layer_name, part = name.rsplit(".", 1)
        layer = exact_layers(codec.model)[layer_name]
        stored = layer.stored()
        layer.load_stored(**{**stored, part: -stored[part]})
        assert stored[part].any()
        assert answers(codec) != expected
        layer.load_stored(**stored)
    assert answers(codec) == expected


def test_changed_weights_are_refused(contents):
    """Even where they keep every bound."""
    tensors = load_tensors(contents["grey"])
    changed = {**tensors, "lift.weight": -tensors["lift.weight"]}
    with pytest.raises(InexactArithmetic, match="known-answer"):
        load_codec(edited(contents["grey"], changed), "cpu")


def test_known_answers_see_all_that_goes_by():
    """Symbols and parameters, of pushes and of pops."""
    digests = set()
    zero, one = torch.zeros(1, 40), torch.ones(1, 40)
    for logit, value in ((zero, zero), (one, zero), (zero, one)):
        recorder = Recorder.seeded(0)
        Bernoulli(logit).push(recorder, value)
        digests.add(recorder.seen.hexdigest())
    for logit in (zero, 512 * one):
        recorder = Recorder.seeded(0)
        Bernoulli(logit).pop(recorder)
        digests.add(recorder.seen.hexdigest())
    assert len(digests) == 5


def test_other_known_answers_are_refused(contents):
    known = codec_header(contents["grey"])["known_answers"]
    assert len(set(known)) == 2 * len(KNOWN_ANSWERS)
    for n in (0, len(known) - 1):
        with pytest.raises(InexactArithmetic):
            load_codec(edited(contents["grey"], known_answers=[*known[:n], "0" * 32, *known[n + 1 :]]), "cpu")
    with pytest.raises(InexactArithmetic):
        load_codec(edited(contents["grey"], known_answers=[]), "cpu")


def broken_files(content):
    """A name, and a file that is not a whole codec."""
    tensors = load_tensors(content)
    weight = next(name for name in tensors if name.endswith("weight"))
    layer = weight.removesuffix("weight")
    w, b, s = (tensors[layer + part] for part in ("weight", "bias", "scale"))
    one = torch.zeros_like(w)
    one.view(-1)[0] = 2048  # within the bound of the sum
    several = {
        "a weight over 2047": {weight: one, layer + "bias": torch.zeros_like(b)},
        "weights that break the bound": {weight: torch.full_like(w, 2047)},
        "the least int16": {weight: torch.full_like(w, -(2**15))},
        "a bias that breaks the bound": {layer + "bias": torch.full_like(b, 2**24)},
        "the least int32": {layer + "bias": torch.full_like(b, -(2**31))},
        "a scale out of bounds": {layer + "scale": torch.full_like(s, 100)},
        "fractions": {weight: w.float() + 0.5},
        "float weights": {weight: w.float()},
        "another shape of weights": {weight: w[:, :-1].contiguous()},
        "another shape of biases": {layer + "bias": b[:-1].contiguous()},
        "another shape of scales": {layer + "scale": s[None]},
        "an extra tensor": {"extra": w.clone()},
    }
    yield from ((name, edited(content, {**tensors, **changes})) for name, changes in several.items())
    masked = next(name for name, part in exact_layers(tiny("grey")).items() if isinstance(part, MaskedConv))
    taps = tensors[f"{masked}.weight"]
    yield "fewer taps", edited(content, {**tensors, f"{masked}.weight": taps[..., :-1].contiguous()})
    for name in (weight, layer + "bias", layer + "scale"):
        yield f"no {name}", edited(content, {k: v for k, v in tensors.items() if k != name})
    configs = {
        "an unknown key": {"colour": 1},
        "no number": {"hidden": "8"},
        "a fraction": {"latent_stride": 4.0},
        "a negative size": {"hidden": -1},
        "no radius": {"radius": 0},
        "latents away": {"latent_channels": 0},
        "no stride": {"context_stride": 0},
        "a huge net": {"layers": 10**9},
        "another net": {"hidden": 12},
        "a grid that cannot be": {"steps_per_unit": 7},
        "components that cannot be": {"components": 0},
        "too many components": {"components": 33},
    }
    yield from ((name, edited(content, config=changes)) for name, changes in configs.items())
    yield "no config", edited(content, config=5)
    yield "pixels of another model", edited(content, pixels={"channels": 3})
    yield "levels of another model", edited(content, pixels={"levels": 2})
    yield "unknown family", edited(content, family="pixelcnn")
    yield "unknown version", edited(content, format=2)
    yield "no version", edited(content, format=None)
    yield "no known answers", edited(content, known_answers=None)
    for length in (0, 7, 8, 200, len(content) // 2, len(content) - 1):
        yield f"cut to {length}", content[:length]
    yield "a tail", content + b"\0"
    yield "not a codec at all", b"\x89PNG\r\n\x1a\n" + bytes(1000)
    yield "a huge header", (2**63).to_bytes(8, "little") + content[8:]


def test_broken_files_are_refused(contents):
    """All as BadCodecFile, whose message is one line."""
    wrong = {}
    for name, content in broken_files(contents["grey"]):
        try:
            load_codec(content, "cpu")
        except BadCodecFile as error:
            if "\n" in str(error):
                wrong[name] = "more than a line"
        except Exception as error:
            wrong[name] = type(error).__name__
        else:
            wrong[name] = "loaded"
    assert wrong == {}


def test_saving_refuses_what_breaks_the_bound(monkeypatch):
    model = tiny("grey")
    layer = next(iter(exact_layers(model).values()))
    monkeypatch.setattr(layer, "scales", lambda weight, bias: torch.full_like(bias, 2.0**14))
    with pytest.raises(BadCodecFile, match="bound"):
        save_codec(model, "vlae", CONFIGS["grey"], pixel_format("grey"), {})


def test_missing_codecs(tmp_path):
    for name in ("no-such-codec", tmp_path / "none.bbc"):
        with pytest.raises(MissingCodec):
            load_codec(name)


@pytest.mark.parametrize("name", [codec.name for codec in shipped_codecs()])
def test_shipped_codecs(name):
    """They load and pass their test, are small, have a card, and code."""
    codec = load_codec(name, "cpu")
    assert codec.file_bytes <= 2 * 2**20
    card = (files("bbcodec.models") / "zoo" / f"{name}.md").read_text(encoding="utf-8")
    assert card.startswith(f"# {name}\n")
    assert codec.card["data"] in card
    assert 0 < codec.card["bits_per_dim"] < 8
    assert not codec.safe
    rng = np.random.default_rng(0)
    images = rng.integers(0, codec.pixels.levels, (3, 28, 28, codec.pixels.channels), dtype=np.uint8)
    assert np.array_equal(codec.decode(codec.encode(images)), images)


# --- arithmetic that is wrong ----------------------------------------------------------------------------------------


def slightly_wrong(function):
    """One in seven outputs is off by a little, as Winograd's algorithm leaves them."""

    def call(*arguments, **keywords):
        y = function(*arguments, **keywords)
        return y + (torch.arange(y.numel()) % 7 == 0).view(y.shape) * 1.0

    return call


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("kernel", ["conv2d", "conv_transpose2d"])
def test_a_wrong_kernel_is_noticed_and_gone_around(contents, codecs, kind, kernel, monkeypatch):
    """The safe path gives the same messages, and reads those of the fast one."""
    images = pictures(kind, 5, 9, 10)
    expected = codecs[kind].encode(images)
    monkeypatch.setattr(F, kernel, slightly_wrong(getattr(F, kernel)))
    assert codecs[kind].encode(images) != expected  # the kernel is really used, and really wrong
    codec = load_codec(contents[kind], "cpu")
    assert codec.safe
    assert all(layer.safe for layer in exact_layers(codec.model).values())
    assert codec.encode(images) == expected
    assert np.array_equal(codec.decode(expected), images)


def test_a_wrong_matrix_product_is_noticed(contents, monkeypatch):
    """It would spoil decoding only: waves are matrix products on both paths, in float64 on the safe one."""
    real = torch.addmm
    wrong = slightly_wrong(real)
    monkeypatch.setattr(torch, "addmm", lambda b, x, w: (wrong if w.dtype == torch.float32 else real)(b, x, w))
    assert load_codec(contents["grey"], "cpu").safe


@pytest.mark.parametrize("kind", KINDS)
def test_a_codec_saved_on_a_machine_with_a_wrong_kernel_is_the_same(contents, kind, monkeypatch):
    """Its known answers are right: else it could be used there alone."""
    model = tiny(kind)
    monkeypatch.setattr(F, "conv2d", slightly_wrong(F.conv2d))
    assert save_codec(model, "vlae", CONFIGS[kind], pixel_format(kind), CARD) == contents[kind]
    assert not any(layer.safe for layer in exact_layers(model).values())


def test_no_codec_is_saved_on_a_machine_on_which_nothing_is_right(monkeypatch):
    """Encoding and decoding differ there, which the known answers must not make the rule."""
    monkeypatch.setattr(F, "unfold", slightly_wrong(F.unfold))
    with pytest.raises((InexactArithmetic, CoderError)):
        save_codec(tiny("grey"), "vlae", CONFIGS["grey"], pixel_format("grey"), CARD)


def test_a_machine_on_which_nothing_is_right_is_refused(contents, monkeypatch):
    monkeypatch.setattr(F, "conv2d", slightly_wrong(F.conv2d))
    monkeypatch.setattr(F, "unfold", slightly_wrong(F.unfold))
    with pytest.raises(InexactArithmetic, match="safe path"):
        load_codec(contents["grey"], "cpu")


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
