"""The known-answer test notices changed weights and wrong arithmetic, and takes the safe path where that is right."""

import hashlib
from contextlib import suppress
from copy import deepcopy

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from tiny_models import (
    CARD,
    CONFIGS,
    KINDS,
    SIZES,
    edited_codec_file,
    header_of,
    pictures,
    pixel_format,
    tensors_of,
    tiny,
)

from bbcodec.codec import known_answers
from bbcodec.codec.codec import SEED, PixelFormat
from bbcodec.codec.engine_backend import EngineBackend
from bbcodec.codec.file import load_codec, save_codec
from bbcodec.codec.known_answers import KNOWN_ANSWERS, answers, difference, known_images
from bbcodec.codec.torch_backend import TorchBackend
from bbcodec.coder.ans import AnsStack
from bbcodec.errors import BadCodecFile, CoderError, InexactArithmetic
from bbcodec.exact.layers import exact_layers
from bbcodec.models.vlae import Vlae
from bbcodec.models.vlae_config import VlaeConfig


@pytest.fixture(autouse=True, scope="module")
def _small_answers():
    """These are tests of the whole."""


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
    """Any layer with the signs of its weights or biases turned, which keeps every bound, has another first answer."""
    tensors = tensors_of(contents["RGB"])
    names = [name for name in tensors if not name.endswith("shift")]
    assert len(names) == 2 * len(exact_layers(tiny("RGB")))
    codec = load_codec(contents["RGB"], "cpu", engine=False)
    backend, known = codec.backend, header_of(contents["RGB"])["known_answers"]
    assert answers(backend, codec.pixels) == known
    images = next(known_images(pixel_format("RGB")))

    def words():
        stack = AnsStack.seeded(SEED)
        with suppress(CoderError):  # wrong parameters may pop more than the stack holds
            backend.encode(stack, images)
        return stack.flatten().astype("<u4").tobytes()

    expected = words()
    assert hashlib.blake2b(expected, digest_size=16).hexdigest() == known[0]
    for name in names:
        layer_name, part = name.rsplit(".", 1)
        layer = exact_layers(backend.model)[layer_name]
        stored = layer.stored()
        layer.load_stored(**{**stored, part: -stored[part]})
        assert stored[part].any()
        assert words() != expected, name
        layer.load_stored(**stored)
    assert difference(backend, codec.pixels, known) is None
    layer.load_stored(**{**stored, part: -stored[part]})
    assert difference(backend, codec.pixels, known) is not None


def test_changed_weights_are_refused(contents):
    """Even where they keep every bound."""
    tensors = tensors_of(contents["grey"])
    changed = {**tensors, "local.stem.weight": -tensors["local.stem.weight"]}
    with pytest.raises(BadCodecFile, match="fails its known-answer test: two ways"):
        load_codec(edited_codec_file(contents["grey"], changed), "cpu")


def test_other_known_answers_are_refused(contents):
    known = header_of(contents["grey"])["known_answers"]
    assert len(set(known)) == 2 * len(KNOWN_ANSWERS)  # of one head and of all
    for n in (0, len(known) - 1):
        other = [*known[:n], "0" * 32, *known[n + 1 :]]
        with pytest.raises(BadCodecFile):
            load_codec(edited_codec_file(contents["grey"], known_answers=other), "cpu")
    with pytest.raises(BadCodecFile):
        load_codec(edited_codec_file(contents["grey"], known_answers=[]), "cpu")


def test_where_two_ways_of_computing_agree_no_third_is_tried(contents, monkeypatch):
    """A file may be made so that its last answer alone is wrong: all answers are computed once, and the last again."""
    known = header_of(contents["grey"])["known_answers"]
    asked = []
    real = known_answers._answer
    monkeypatch.setattr(known_answers, "_answer", lambda one, *question: asked.append(one.safe) or real(one, *question))
    for number in range(len(known)):
        other = [*known[:number], "0" * 32, *known[number + 1 :]]
        asked.clear()
        with pytest.raises(BadCodecFile):
            load_codec(edited_codec_file(contents["grey"], known_answers=other), "cpu", engine=False)
        assert asked == [False] * (number + 1) + [True]
    asked.clear()
    with pytest.raises(BadCodecFile):
        load_codec(edited_codec_file(contents["grey"], known_answers=[*known, "0" * 32]), "cpu")
    assert asked == []  # nobody asks so many questions


def slightly_wrong(function):
    """One in seven outputs is off by a little, as Winograd's algorithm leaves them."""

    def call(*arguments, **keywords):
        y = function(*arguments, **keywords)
        return y + (torch.arange(y.numel()) % 7 == 0).view(y.shape) * 1.0

    return call


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("kernel", ["conv2d", "conv_transpose2d"])
def test_a_wrong_kernel_is_noticed_and_gone_around(contents, networks, kind, kernel, monkeypatch):
    """The safe path gives the same messages, and reads those of the fast one."""
    images = pictures(kind, 5, 9, 10)
    expected = networks[kind].encode(images)
    monkeypatch.setattr(F, kernel, slightly_wrong(getattr(F, kernel)))
    assert networks[kind].encode(images) != expected  # the kernel is really used, and really wrong
    codec = load_codec(contents[kind], "cpu", engine=False)
    assert codec.safe
    assert all(layer.safe for layer in exact_layers(codec.backend.model).values())
    assert codec.encode(images) == expected
    assert np.array_equal(codec.decode(expected), images)


def test_a_wrong_matrix_product_is_noticed(contents, monkeypatch):
    """It would spoil decoding only: waves are matrix products on both paths, in float64 on the safe one."""
    real = torch.addmm
    wrong = slightly_wrong(real)
    monkeypatch.setattr(torch, "addmm", lambda b, x, w: (wrong if w.dtype == torch.float32 else real)(b, x, w))
    assert load_codec(contents["grey"], "cpu", engine=False).safe


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
    with pytest.raises(InexactArithmetic, match="not even the safe path"):
        save_codec(tiny("grey"), "vlae", CONFIGS["grey"], pixel_format("grey"), CARD)


def test_what_is_saved_was_restored_by_the_engine_or_else_by_the_network(monkeypatch):
    """By the network alone where the engine is wrong, and then on the safe path."""
    config = VlaeConfig(channels=1, **SIZES)
    model = Vlae(config)

    def save():
        return save_codec(deepcopy(model), "vlae", config, PixelFormat(1, 256), CARD)

    asked = []
    in_engine, in_network = EngineBackend.decode, TorchBackend.decode
    monkeypatch.setattr(TorchBackend, "decode", lambda one, *about: asked.append(one.safe) or in_network(one, *about))
    content = save()
    assert asked == []
    monkeypatch.setattr(EngineBackend, "decode", lambda *about: 255 - in_engine(*about))
    assert save() == content
    assert asked == [True] * len(header_of(content)["known_answers"])
    monkeypatch.setattr(TorchBackend, "decode", lambda *about: 255 - in_network(*about))
    with pytest.raises(InexactArithmetic, match="not even the safe path"):
        save()


def test_a_machine_on_which_nothing_is_right_is_refused(contents, monkeypatch):
    monkeypatch.setattr(F, "conv2d", slightly_wrong(F.conv2d))
    monkeypatch.setattr(F, "unfold", slightly_wrong(F.unfold))
    with pytest.raises(InexactArithmetic, match="safe path"):
        load_codec(contents["grey"], "cpu", engine=False)
