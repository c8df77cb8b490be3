import hashlib
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from nets import EMBEDDING, INSIDE, oracle, random_net

from bbcodec.coder.ans import AnsStack
from bbcodec.distributions import Bernoulli, Gaussian, LogisticMixture
from bbcodec.engine.bernoulli import bernoulli
from bbcodec.engine.compiling import Kernels, available, choose
from bbcodec.engine.gaussian import gaussian
from bbcodec.engine.local_net import packed
from bbcodec.engine.logistic import mixture, mixture_push, room
from bbcodec.engine.waves import LocalCoder
from bbcodec.errors import CoderError, StackUnderflow

# images, channels, height, width, stride of the context (0: none), and the net
CASES = [
    ((1, 3, 9, 13), 0, {}),
    ((3, 3, 16, 5), 4, {"hidden": 24, "inner": 40, "radii": (1, 0, 2)}),
    ((2, 1, 1, 1), 1, {"radii": ()}),
    ((2, 1, 7, 1), 8, {"radii": (0, 0), "radius": 1}),
    ((1, 3, 1, 9), 0, {"extreme": True, "hidden": 16, "inner": 16}),
    ((2, 3, 30, 33), 2, {"extreme": True}),
    ((5, 3, 4, 40), 0, {"radius": 5, "hidden": 48, "inner": 20, "radii": (2,)}),
]


def some(shape, stride, net, kernels=None, seed=0):
    """A coder, its net, images and a context (or None)."""
    batch, channels, height, width = shape
    family = mixture(channels, 5)
    arrays = random_net(seed, channels, params=family.size, **net)
    rng = np.random.default_rng(seed)
    images, context = rng.integers(0, 256, shape).astype(np.uint8), None
    if stride:
        hidden = arrays["stem.weight"].shape[1]
        size = (batch, hidden, -(-height // stride), -(-width // stride))
        context = rng.integers(-1500, 1500, size).astype(np.int16)
    return LocalCoder(packed(arrays, EMBEDDING, INSIDE), family, kernels), arrays, images, context


def check(shape, stride, net, kernels=None, seed=0, lanes=(1, 16)):
    """Parameters are those of the oracle, and popping undoes pushing; the messages."""
    coder, arrays, images, context = some(shape, stride, net, kernels, seed)
    expected = oracle(arrays, EMBEDDING, INSIDE, images, context, stride or 1)
    assert np.array_equal(coder.parameters(images, context, stride or 1), expected)
    messages = []
    for n in lanes:
        stack = AnsStack.seeded(seed, n)
        before = stack.flatten()
        coder.push(stack, images, context, stride or 1)
        messages.append(stack.flatten())
        popped = coder.pop(stack, (shape[0], *shape[2:]), context, stride or 1)
        assert np.array_equal(popped, images)
        assert np.array_equal(stack.flatten(), before)
    return messages


@pytest.mark.parametrize("case", CASES, ids=lambda case: "x".join(map(str, case[0])))
def test_all_kernels_give_the_numbers_of_int64(case):
    first, *others = [check(*case, Kernels(name)) for name in available()]
    for other in others:
        assert all(np.array_equal(a, b) for a, b in zip(first, other, strict=True))


@settings(deadline=None, max_examples=30)
@given(
    st.tuples(st.integers(1, 4), st.sampled_from([1, 3]), st.integers(1, 20), st.integers(1, 20)),
    st.integers(0, 5),
    st.sampled_from([16, 30, 64]),
    st.lists(st.integers(0, 2), max_size=3),
    st.integers(1, 4),
    st.integers(0, 2**32),
)
def test_sizes_of_all_sorts(shape, stride, hidden, radii, radius, seed):
    check(shape, stride, {"hidden": hidden, "inner": 32, "radii": radii, "radius": radius}, seed=seed, lanes=(16,))


def test_images_of_any_content_come_first_what_they_are_not_yet():
    """Parameters of a pixel depend on pixels of earlier waves alone."""
    coder, _, images, _ = some((1, 3, 9, 13), 0, {})
    before = coder.parameters(images)
    i, j = 4, 6
    images[:, :, i, j] ^= 255
    changed = (coder.parameters(images) != before).any(-1)[0]
    wave = np.arange(9)[:, None] * 2 + np.arange(13)
    assert changed.any()
    assert not changed[wave <= wave[i, j]].any()


@pytest.mark.parametrize("lanes", [1, 16])
def test_the_order_of_symbols_is_that_of_the_format(lanes):
    """Wave by wave, a push each; in a wave image by image, in an image row by row."""
    shape = (3, 3, 21, 10)
    coder, arrays, images, _ = some(shape, 0, {"hidden": 16, "inner": 16, "radii": (1,)})
    family, params = coder.family, oracle(arrays, EMBEDDING, INSIDE, images)
    stack, expected = AnsStack.seeded(1, lanes), AnsStack.seeded(1, lanes)
    costs = coder.push(stack, images)
    for t in range(10 + 2 * 20 - 1, -1, -1):
        places = [(b, i, t - 2 * i) for b in range(3) for i in range(21) if 0 <= t - 2 * i < 10]
        rows = np.pad(np.array([params[b, i, j] for b, i, j in places], np.int32), ((0, 0), (0, 4)))
        values = np.array([images[b, :, i, j] for b, i, j in places], np.int32)
        order, starts, masses = np.arange(len(rows)), np.zeros(values.size, np.int32), np.zeros(values.size, np.int32)
        expected.push(
            lambda *a: mixture_push(choose(), *a),  # heads, words, n, values and the rest
            values,
            (family, rows, order, room(family), starts, masses),
        )
    assert np.array_equal(stack.flatten(), expected.flatten())
    pixels = torch.from_numpy(images).permute(0, 2, 3, 1).float()
    bits = LogisticMixture(torch.from_numpy(params).float(), 3).information(pixels)
    assert np.array_equal(costs, bits)


def test_a_pop_past_the_end_leaves_the_stack():
    coder, _, _, _ = some((1, 3, 9, 13), 0, {})
    stack = AnsStack(16)
    with pytest.raises(StackUnderflow):
        coder.pop(stack, (1, 9, 13))
    assert np.array_equal(stack.flatten(), AnsStack(16).flatten())


def test_a_context_must_fit():
    coder, _, images, context = some((2, 3, 9, 13), 4, {})
    for bad in (context.astype(np.int32), context[:1], context[:, :-1], context[..., :-1]):
        with pytest.raises(ValueError, match=r"context is .*, expected \(2, 64, 3, 4\) int16"):
            coder.parameters(images, bad, 4)


def test_net_and_family_must_fit():
    coder, _, _, _ = some((1, 3, 2, 2), 0, {})
    with pytest.raises(ValueError, match="a net of 3 channels, 60 parameters and 256 levels, expected 3, 120 and 256"):
        LocalCoder(coder.net, mixture(3, 10))


@pytest.mark.parametrize(
    "images", [np.zeros((1, 1, 4, 4), np.uint8), np.zeros((1, 3, 4, 4), np.int32), np.zeros((1, 3, 0, 4), np.uint8)]
)
def test_images_must_fit(images):
    coder, _, _, _ = some((1, 3, 2, 2), 0, {})
    with pytest.raises(ValueError, match=r"images are .*, expected \(B, 3, H, W\) uint8"):
        coder.parameters(images)


def symbol_order(values, places):
    """Values (B, C, H, W) at places (b, i, j), in the order of coding: groups of 16 places, in these by channel."""
    rows = np.array([values[b, :, i, j] for b, i, j in places])
    return np.concatenate([rows[first : first + 16].T.reshape(-1) for first in range(0, len(rows), 16)])


def check_family(family, reference, values, embedding, lanes):
    """Parameters are those of the oracle, the message that of a distribution, wave by wave.

    reference(logits or whatever: (B, P, H, W) and the order) makes the distribution of some symbols.
    """
    batch, channels, height, width = values.shape
    arrays = random_net(0, channels, params=family.size, hidden=16, inner=16, radii=(1,))
    coder = LocalCoder(packed(arrays, embedding, INSIDE), family)
    params = oracle(arrays, embedding, INSIDE, values - values.dtype.type(family.lowest))
    assert np.array_equal(coder.parameters(values), params)
    stack, expected = AnsStack.seeded(1, lanes), AnsStack.seeded(1, lanes)
    costs, sums = coder.push(stack, values), np.zeros(batch)
    image_of = np.broadcast_to(np.arange(batch)[:, None, None, None], values.shape)
    for t in range(width + 2 * (height - 1) - 1, -1, -1):
        places = [(b, i, t - 2 * i) for b in range(batch) for i in range(height) if 0 <= t - 2 * i < width]
        if places:
            parts = np.split(params.transpose(0, 3, 1, 2), family.size // channels, 1)
            ordered = [torch.from_numpy(symbol_order(part, places)).float() for part in parts]
            each = reference(*ordered).push_measured(expected, torch.from_numpy(symbol_order(values, places)).float())
            sums += np.bincount(symbol_order(image_of, places), each, batch)
    assert np.array_equal(stack.flatten(), expected.flatten())
    assert np.array_equal(costs, sums)
    assert np.array_equal(coder.pop(stack, (batch, height, width)), values)
    assert np.array_equal(stack.flatten(), AnsStack.seeded(1, lanes).flatten())
    drawn = coder.pop(stack, (batch, height, width))
    coder.push(stack, drawn)
    assert np.array_equal(coder.pop(stack, (batch, height, width)), drawn)
    return coder


@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize("lanes", [1, 16])
def test_pixels_of_two_levels(lanes, channels):
    images = np.random.default_rng(0).integers(0, 2, (3, channels, 21, 10)).astype(np.uint8)
    coder = check_family(bernoulli(channels), Bernoulli, images, np.array([-256, 256], np.int16), lanes)
    images[0, 0, 0, 0] = 2
    with pytest.raises(CoderError, match="pixels are 0 to 2, expected 0 to 1"):
        coder.push(AnsStack(), images)


@pytest.mark.parametrize("lanes", [1, 16])
@pytest.mark.parametrize(("channels", "steps"), [(1, 1), (2, 8), (5, 64)])
def test_latents(channels, steps, lanes):
    family = gaussian(channels, steps)
    bound, rng = 8 * steps - 1, np.random.default_rng(0)
    latents = np.clip(rng.normal(0, steps, (2, channels, 9, 11)).round(), -bound, bound).astype(np.int16)
    latents[0, 0, :2, :2] = [[-bound, bound], [bound, -bound]]
    # what nets see of latents are activations, +-2047; a table of half of them keeps random nets within the bounds
    embedding = (np.arange(-bound, bound + 1) * (128 // steps)).astype(np.int16)

    def reference(mean, log_sigma):
        return Gaussian(mean, log_sigma, steps)

    check_family(family, reference, latents, embedding, lanes)


def test_the_grid_of_latents_is_that_of_the_family():
    for steps in (1, 8, 64):
        d, family = Gaussian(torch.zeros(1), torch.zeros(1), steps), gaussian(1, steps)
        assert (d.bound, d.log_sigma_min) == (family.bound, family.log_sigma_min)
    with pytest.raises(ValueError, match="expected a power of two"):
        gaussian(1, 3)


def test_threads_work_side_by_side():
    coder, arrays, images, _ = some((2, 3, 60, 50), 0, {})
    expected = oracle(arrays, EMBEDDING, INSIDE, images)
    with ThreadPoolExecutor(4) as pool:
        assert all(np.array_equal(found, expected) for found in pool.map(coder.parameters, [images] * 12))


GOLDEN_DRAWN = [129, 123, 130, 118, 126, 131, 123, 142, 108, 140, 134, 132, 127, 130, 132, 138, 130, 139]
GOLDEN_DRAWN += [115, 128, 170, 133, 153, 116, 128, 128, 139, 147, 131, 129, 101, 133, 115, 143, 121, 125]


def test_the_format_has_not_changed():
    """Golden: what a pop draws from fixed words, and the digest of what pushing a ramp leaves."""
    arrays = random_net(0, hidden=32, inner=32, radii=(1, 0))
    for name, numbers in arrays.items():
        layer, part = name.rsplit(".", 1)
        shift = {"stem": 6, "neck": 6, "head": 2, "skip": 5}.get(layer, 7)
        if part == "weight":
            numbers[:] = (np.arange(numbers.size) * 7919 % 61 - 30).reshape(numbers.shape)
        elif part != "taps":
            numbers[:] = shift if part == "shift" else 1 << (shift - 1)
    coder = LocalCoder(packed(arrays, EMBEDDING, INSIDE), mixture(3, 5))
    stack = AnsStack.seeded(7, 16)
    drawn = coder.pop(stack, (1, 3, 4))
    ramp = (np.arange(2 * 3 * 40 * 30) // 5 % 256).astype(np.uint8).reshape(2, 3, 40, 30)
    coder.push(stack, ramp)
    assert drawn.reshape(-1).tolist() == GOLDEN_DRAWN
    assert hashlib.blake2b(stack.flatten().astype("<u4").tobytes(), digest_size=8).hexdigest() == "5d40eefc5c20ddff"
