"""Mixed messages: those of plain Python, the same from all kernels, and what damage does to them."""

from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from mixing_oracle import PlainMixed
from nets import EMBEDDING, INSIDE, random_net

from bbcodec.binary import pack_varint
from bbcodec.coder.ans import AnsStack
from bbcodec.engine import mixed
from bbcodec.engine.bernoulli import bernoulli
from bbcodec.engine.compiling import Kernels, available
from bbcodec.engine.local_net import packed
from bbcodec.engine.logistic import mixture
from bbcodec.engine.mixed import MixedCoder, groups
from bbcodec.engine.waves import LocalCoder
from bbcodec.errors import BBCodecError


def local(channels=3, joint=True, kernels=None, seed=0, components=3):
    family = mixture(channels, components, joint)
    arrays = random_net(seed, channels, hidden=16, inner=16, radii=(1,), params=family.size)
    return LocalCoder(packed(arrays, EMBEDDING, INSIDE), family, kernels)


def encoded(coder, batches):
    """Messages of batches, and what each image costs in bits."""
    mixing, parts, costs = MixedCoder(coder), [], []
    for images in batches:
        costs.append(np.zeros(len(images), np.int64))
        parts.append(mixing.push(images, costs[-1]))
    return b"".join(parts), [each / 2**24 for each in costs]


def decoded(coder, data, shapes):
    mixing, position, batches = MixedCoder(coder), 0, []
    for shape in shapes:
        images, position = mixing.pop(data, position, shape)
        batches.append(images)
    assert position == len(data)
    return batches


def plain(coder, batches):
    """What plain Python makes of them."""
    mixing = PlainMixed()
    parts = [mixing.batch(x, coder.parameters(x), coder.family.joint) for x in batches]
    return b"".join(pack_varint(count) + words for each in parts for count, words in each)


@st.composite
def pictures(draw, count, channels, height, width):
    """Flat, smooth, extreme and random ones."""
    rng = np.random.default_rng(draw(st.integers(0, 2**32)))
    shape, kind = (count, channels, height, width), draw(st.sampled_from(["flat", "smooth", "extreme", "random"]))
    if kind == "flat":
        return np.full(shape, draw(st.integers(0, 255)), np.uint8)
    if kind == "smooth":
        steps = rng.integers(-3, 4, shape).cumsum(-1) + 3 * np.arange(height)[:, None] + rng.integers(0, 256)
        return (steps // draw(st.sampled_from([1, 4]))).clip(0, 255).astype(np.uint8)
    values = [0, 1, 254, 255] if kind == "extreme" else np.arange(256)
    return rng.choice(np.array(values, np.uint8), shape)


@settings(deadline=None, max_examples=25)
@given(st.data())
def test_messages_are_those_of_plain_python_and_come_back(data):
    channels, joint = data.draw(st.sampled_from([(1, False), (3, False), (3, True)]))
    coder = local(channels, joint, seed=data.draw(st.integers(0, 3)))
    size = [data.draw(st.integers(1, most)) for most in (3, 9, 12)]
    batches = [data.draw(pictures(size[0], channels, *size[1:])) for _ in range(data.draw(st.integers(1, 2)))]
    message, costs = encoded(coder, batches)
    assert message == plain(coder, batches)
    bits = sum(each.sum() for each in costs)
    assert -1 < 8 * len(message) - bits < 8 * 14 * len(batches)  # a head, a length, and a word that is begun
    shapes = [each.shape for each in batches]
    assert all(np.array_equal(a, b) for a, b in zip(decoded(coder, message, shapes), batches, strict=True))


def waves_of(seed, count, channels, height, width):
    """Images whose channels differ little, with noise."""
    rng = np.random.default_rng(seed)
    i, j = np.mgrid[:height, :width]
    x = 128 + 60 * np.sin(i / 9 + seed) * np.cos(j / 11) + rng.normal(0, 2, (count, 1, height, width))
    return (x + rng.integers(-1, 2, (count, channels, height, width))).clip(0, 255).astype(np.uint8)


def test_large_images_of_many_groups_are_the_same_from_all_kernels(monkeypatch):
    monkeypatch.setattr(mixed, "GROUP", 2**10)
    images = waves_of(0, 2, 3, 40, 50)
    assert len(list(groups(images.shape))) > 5
    messages = {encoded(local(kernels=Kernels(name)), [images])[0] for name in available()}
    (message,) = messages
    (back,) = decoded(local(), message, [images.shape])
    assert np.array_equal(back, images)


@pytest.mark.parametrize("shape", [(1, 3, 1, 1), (1, 1, 7, 1), (2, 3, 1, 9), (1, 3, 700, 300), (300, 1, 32, 32)])
def test_groups_cover_all_waves(shape):
    found = list(groups(shape))
    assert found[0][0] == 0
    assert found[-1][1] == shape[3] + 2 * (shape[2] - 1)
    assert all(a[1] == b[0] for a, b in pairwise(found))
    assert sum(samples for _, _, samples in found) == np.prod(shape)


def test_it_learns_from_image_to_image():
    coder, images = local(), waves_of(1, 1, 3, 96, 96)
    alone = coder.push(AnsStack(), images).sum() / 2**24
    first, second = encoded(coder, [images, images])[1]
    assert first.sum() < 0.7 * alone  # a net of random weights knows little
    assert second.sum() < first.sum()


def test_damage_is_found_or_gives_other_images():
    coder, images = local(), waves_of(2, 1, 3, 12, 14)
    message, _ = encoded(coder, [images])
    rng, told = np.random.default_rng(0), 0
    for _ in range(300):
        bad = bytearray(message)
        bad[rng.integers(len(bad))] ^= 1 << rng.integers(8)
        try:
            (found,) = decoded(coder, bytes(bad), [images.shape])
        except (BBCodecError, AssertionError):
            told += 1
        else:
            assert not np.array_equal(found, images)
    assert told > 290  # the stack of a group ends as it began for few others
    for size in range(len(message)):
        with pytest.raises(BBCodecError):
            decoded(coder, message[:size], [images.shape])


def test_only_mixtures_are_mixed():
    family = bernoulli(1)
    arrays = random_net(0, 1, hidden=16, inner=16, radii=(1,), params=family.size)
    levels = np.array([-256, 256], np.int16)
    with pytest.raises(ValueError, match="mixtures of logistics only"):
        MixedCoder(LocalCoder(packed(arrays, levels, INSIDE), family))
