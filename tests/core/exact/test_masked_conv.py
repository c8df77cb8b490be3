"""Masked convolutions: in parallel, wave by wave, and by the definition, all the same to the last bit."""

import math

import numpy as np
import oracle
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from whole_numbers import activations, check_equal, fill, onednn, tensor, threads

from bbcodec.errors import BadCodecFile
from bbcodec.exact.arithmetic import BOUND, guard
from bbcodec.exact.layers import exact_layers, set_safe
from bbcodec.exact.masked_conv import LocalNet, MaskedConv
from bbcodec.exact.wave_order import WaveOrder

SIDES = st.sampled_from([(1, 1), (1, 9), (9, 1), (2, 2), (5, 3), (6, 11)])
SEEDS = st.integers(0, 2**31)
MASKS = st.sampled_from([("A", 1), ("A", 2), ("A", 3), ("B", 0), ("B", 1)])
SILU = oracle.table(lambda x: x / (1 + math.exp(-x)))
TANH = oracle.table(math.tanh)
SIGMOID = oracle.table(lambda x: 1 / (1 + math.exp(-x)))


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


def local_net_oracle(net: LocalNet, wholes: dict[str, oracle.Whole], x: oracle.Ints, context: oracle.Ints | None):
    """LocalNet by its definition: head(silu(neck(h))) + skip(x), h through gated units from silu(stem(x) + context)."""
    s = net.skew
    h = oracle.masked_conv(wholes["stem"], x, "A", s)
    h = SILU(h if context is None else h + context)
    for n in range(len(net.layers)):
        h = oracle.gated(TANH, SIGMOID, h, oracle.masked_conv(wholes[f"layers.{n}"], h, "B", s), 1)
    h = SILU(oracle.masked_conv(wholes["neck"], h, "B", s))
    return oracle.masked_conv(wholes["head"], h, "B", s) + oracle.masked_conv(wholes["skip"], x, "A", s)


def filled_net(seed: int, **sizes: int) -> tuple[LocalNet, dict[str, oracle.Whole]]:
    """A net and its whole numbers: at the bound, which saturates every table, or of fresh real weights, which does not.

    A shift of at least 1 keeps head + skip, a sum of two layers, within 2**24.
    """
    torch.manual_seed(seed)
    net = LocalNet(**{"cin": 2, "hidden": 4, "layers": 2, "cout": 3, "radius": 2} | sizes)
    wholes = {}
    for name, layer in exact_layers(net).items():
        if seed % 3 == 0:
            wholes[name] = fill(layer, seed, numpy_mask(layer), min_shift=1)
            continue
        with torch.no_grad():
            layer.weight.copy_(torch.randn_like(layer.weight) * layer.fan_in**-0.5 * layer.mask)
            layer.bias.normal_()
        layer.freeze()
        parts = {part: value.numpy().astype(np.int64) for part, value in layer.integers().items()}
        wholes[name] = oracle.Whole(parts["weight"], parts["bias"], parts["scale"])
    return net, wholes


def in_waves(net: LocalNet, x: torch.Tensor, context: torch.Tensor | None) -> torch.Tensor:
    """The parameters that `in_waves` gives when the values drawn are those of x: (B, C', H, W)."""
    batch, _, height, width = x.shape
    pixels = x.permute(2, 3, 0, 1).contiguous()
    out = torch.full((height, width, batch, net.head.weight.shape[0]), float("nan"))
    seen = []

    def draw(params, i, j):
        out[i, j] = params
        seen.append(list(zip(i.tolist(), j.tolist(), strict=True)))
        return pixels[i, j]

    with torch.no_grad(), guard():
        net.in_waves((batch, height, width), context, draw)
    assert seen == list(oracle.wave_order(height, width, net.skew))
    return out.permute(2, 3, 0, 1)


@given(SEEDS, SIDES, st.sampled_from([1, 3]), st.integers(0, 3), st.booleans(), st.booleans())
@settings(max_examples=40, deadline=None)
def test_local_net(seed, sides, radius, layers, with_context, safe):
    net, wholes = filled_net(seed, radius=radius, layers=layers)
    set_safe(net, safe)
    x = activations((2, 2, *sides), BOUND, seed)
    context = activations((2, 4, *sides), BOUND, seed + 1) if with_context else None
    expected = local_net_oracle(net, wholes, x, context)
    given_context = None if context is None else tensor(context)
    with torch.no_grad(), guard():
        check_equal(net(tensor(x), given_context), expected)
    check_equal(in_waves(net, tensor(x), given_context), expected)


@pytest.mark.parametrize("one_pass", [True, False])
@pytest.mark.parametrize("sides", [(1, 1), (17, 5), (9, 1)])
def test_local_net_in_bands_and_without_fused_kernels(one_pass, sides, monkeypatch):
    """Large images go band by band, here of as few rows as may be; accelerators have no fused kernels."""
    monkeypatch.setattr("bbcodec.exact.masked_conv.BAND_PIXELS", 1)
    if not one_pass:
        monkeypatch.setattr("bbcodec.exact.masked_conv.fusable", lambda y, exact: False)
    for seed in range(3):
        net, wholes = filled_net(seed, layers=2)
        x, context = activations((2, 2, *sides), BOUND, seed), activations((2, 4, *sides), BOUND, seed + 1)
        expected = local_net_oracle(net, wholes, x, context)
        with torch.no_grad(), guard():
            check_equal(net(tensor(x), tensor(context)), expected)
        check_equal(in_waves(net, tensor(x), tensor(context)), expected)


@pytest.mark.parametrize("enabled", [True, False])
@pytest.mark.parametrize("n_threads", [1, 2, 4])
def test_local_net_at_all_batch_sizes_threads_and_kernels(enabled, n_threads):
    net, wholes = filled_net(1, cin=3, hidden=8, cout=6, layers=2)
    x = activations((64, 3, 6, 7), BOUND, 5)
    context = activations((64, 8, 6, 7), BOUND, 6)
    expected = local_net_oracle(net, wholes, x, context)
    with threads(n_threads), onednn(enabled):
        for batch in (1, 15, 16, 64):
            with torch.no_grad(), guard():
                check_equal(net(tensor(x[:batch]), tensor(context[:batch])), expected[:batch])
            check_equal(in_waves(net, tensor(x[:batch]), tensor(context[:batch])), expected[:batch])


@given(SEEDS, st.sampled_from([(1, 6), (4, 1), (4, 5)]), st.data())
@settings(max_examples=30, deadline=None)
def test_a_pixel_changes_no_parameters_of_its_own_wave_or_before(seed, sides, data):
    """The autoregressive order holds through the whole stack, and something later does change."""
    net, _ = filled_net(3 * seed + 1, layers=1)
    height, width = sides
    i = data.draw(st.integers(0, height - 1))
    j = data.draw(st.integers(0, width - 1))
    x = activations((1, 2, height, width), BOUND, seed)
    other = x.copy()
    other[0, :, i, j] = np.where(x[0, :, i, j] > 0, -BOUND, BOUND)
    with torch.no_grad(), guard():
        changed = (net(tensor(x)) != net(tensor(other)))[0].any(0).numpy()
    times = np.array([[oracle.wave_number(a, b, net.skew) for b in range(width)] for a in range(height)])
    assert not changed[times <= times[i, j]].any()
    if j + 1 < width:
        assert changed[times > times[i, j]].any()


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


def test_training_evaluates_the_coded_network():
    """With gradients wanted, and before the whole numbers are fixed, the outputs are the same to the last bit."""
    torch.manual_seed(0)
    net = LocalNet(3, 8, 3, 5)
    x = tensor(activations((4, 3, 12, 12), BOUND, 0))
    with guard():
        learning = net(x)
        assert learning.requires_grad
        for layer in exact_layers(net).values():
            layer.freeze()
        with torch.no_grad():
            assert torch.equal(net(x), learning)
    learning.sum().backward()
    assert all(layer.weight.grad is not None for name, layer in exact_layers(net).items())
