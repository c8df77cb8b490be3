"""Masked convolutions: in parallel, wave by wave, and by the definition, all the same to the last bit."""

import numpy as np
import oracle
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from whole_numbers import activations, check_equal, fill, tensor

from bbcodec.errors import BadCodecFile
from bbcodec.exact.arithmetic import BOUND, guard
from bbcodec.exact.layers import set_safe
from bbcodec.exact.masked_conv import MaskedConv
from bbcodec.exact.wave_order import WaveOrder

SIDES = st.sampled_from([(1, 1), (1, 9), (9, 1), (2, 2), (5, 3), (6, 11)])
SEEDS = st.integers(0, 2**31)
MASKS = st.sampled_from([("A", 1), ("A", 2), ("A", 3), ("B", 0), ("B", 1)])


def numpy_mask(layer: MaskedConv) -> np.ndarray:
    return layer.mask.numpy().astype(np.int64)


def open_by_definition(radius: int, mask_type: str, skew: int) -> np.ndarray:
    """1 at the taps of smaller wave number, and (mask type B) at the pixel itself."""
    mask = np.zeros((radius + 1, 2 * radius + 1), np.int64)
    for a, b in np.ndindex(*mask.shape):
        t = oracle.wave_number(a - radius, b - radius, skew)
        mask[a, b] = t < 0 or (mask_type == "B" and (a, b) == (radius, radius))
    return mask


@pytest.mark.parametrize(("mask_type", "radius"), [("A", 1), ("A", 2), ("A", 3), ("B", 0), ("B", 1), ("B", 2)])
@pytest.mark.parametrize("skew", [2, 3, 4])
def test_open_taps_are_those_of_earlier_waves(mask_type, radius, skew):
    layer = MaskedConv(2, 3, radius, mask_type, skew=skew)
    expected = open_by_definition(radius, mask_type, skew)
    assert (numpy_mask(layer) == expected).all()
    assert (layer.masked_weight().detach().numpy()[:, :, expected == 0] == 0).all()
    back = [-oracle.wave_number(a - radius, b - radius, skew) for a, b in np.argwhere(expected)]
    assert layer.depth == max(back)


def test_closed_taps_stay_closed_whatever_the_real_weights_are():
    """An optimiser may move them; neither the outputs nor the whole numbers follow."""
    layer = MaskedConv(2, 3, 2, "A")
    x = tensor(activations((2, 2, 6, 6), BOUND, 0))
    before = layer(x).detach()
    with torch.no_grad():
        layer.weight += 3 * (1 - layer.mask)
    assert torch.equal(layer(x), before)
    assert (layer.integers()["weight"].numpy()[:, :, numpy_mask(layer) == 0] == 0).all()


@given(SEEDS, SIDES, MASKS, st.integers(2, 4), st.booleans())
@settings(max_examples=60, deadline=None)
def test_masked_conv_in_parallel(seed, sides, mask_and_radius, skew, safe):
    mask_type, radius = mask_and_radius
    layer = MaskedConv(3, 4, radius, mask_type, skew=skew)
    whole = fill(layer, seed, numpy_mask(layer))
    set_safe(layer, safe)
    x = activations((2, 3, *sides), BOUND, seed)
    with torch.no_grad(), guard():
        check_equal(layer(tensor(x)), oracle.masked_conv(whole, x, mask_type, skew))


@given(SEEDS, SIDES, MASKS, st.integers(2, 4), st.booleans())
@settings(max_examples=60, deadline=None)
def test_masked_conv_in_waves(seed, sides, mask_and_radius, skew, safe):
    """Mask type A: inputs go into the ring after the wave was read, as when decoding; type B: before."""
    mask_type, radius = mask_and_radius
    layer = MaskedConv(3, 4, radius, mask_type, skew=skew)
    whole = fill(layer, seed, numpy_mask(layer))
    set_safe(layer, safe)
    height, width = sides
    x = activations((2, 3, height, width), BOUND, seed)
    pixels = tensor(x).permute(2, 3, 0, 1).contiguous()
    out = torch.full((height, width, 2, 4), float("nan"))
    with torch.no_grad(), guard():
        matrix = layer.matrix()
        ring = layer.ring(height, 2)
        for wave in WaveOrder(height, width, skew):
            i, j = wave.pixels()
            if mask_type == "B":
                ring.put(wave, pixels[i, j])
            out[i, j] = layer.wave(matrix, ring, wave).round()
            if mask_type == "A":
                ring.put(wave, pixels[i, j])
    check_equal(out.permute(2, 3, 0, 1), oracle.masked_conv(whole, x, mask_type, skew))


def test_stored_whole_numbers_leave_out_closed_taps():
    layer = MaskedConv(2, 3, 2, "A")
    layer.freeze()
    stored = layer.stored()
    assert stored["weight"].shape == (3, 2, len(layer.taps))
    again = MaskedConv(2, 3, 2, "A")
    again.load_stored(**stored)
    for name, value in again.integers().items():
        assert torch.equal(value, layer.integers()[name])
    with pytest.raises(BadCodecFile, match="taps"):
        again.load_stored(**stored | {"weight": stored["weight"][:, :, 1:]})


def test_held_levels_stay_while_differences_are_learnt():
    """The sums over the taps of held inputs do not follow the optimiser; the other inputs' do."""
    layer = MaskedConv(3, 4, 1, "A")
    layer.hold_level(2)
    before = layer.masked_weight().detach().sum((2, 3))
    with torch.no_grad():
        layer.weight.add_(torch.rand_like(layer.weight))
    after = layer.masked_weight().detach()
    assert torch.allclose(after.sum((2, 3))[:, :2], before[:, :2], atol=1e-5)
    assert not torch.allclose(after.sum((2, 3))[:, 2:], before[:, 2:], atol=1e-2)
    assert (after[:, :, layer.mask == 0] == 0).all()
