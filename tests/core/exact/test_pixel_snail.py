"""PixelSNAIL: position codes, and that all ways of evaluating the net agree. (As a decoder: test_delta_vae.py.)"""

import math

import numpy as np
import oracle
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from whole_numbers import activations, check_equal, fill, tensor

from bbcodec.exact.arithmetic import BOUND, guard
from bbcodec.exact.layers import exact_layers, set_safe
from bbcodec.exact.pixel_snail import AttentionSizes, PixelSnail, coordinate_code, evenly_spread, memory_rows

SILU = oracle.table(lambda x: x / (1 + math.exp(-x)))
TANH = oracle.table(math.tanh)
SIGMOID = oracle.table(lambda x: 1 / (1 + math.exp(-x)))


def test_coordinates_have_codes_of_their_own():
    codes = coordinate_code(torch.arange(256))
    assert codes.shape == (256, 8)
    assert codes.abs().max() == 256
    assert len({tuple(row) for row in codes.tolist()}) == 256
    assert torch.equal(coordinate_code(torch.arange(256, 260)), codes[:4])


def test_blocks_are_spread_evenly_and_the_last_one_comes_last():
    layers = [list(evenly_spread(blocks, 6)) for blocks in (0, 1, 2, 6)]
    assert layers == [[], [6], [3, 6], [1, 2, 3, 4, 5, 6]]
    for count in range(1, 20):
        for blocks in range(1, count + 1):
            found = evenly_spread(blocks, count)
            assert list(found.values()) == list(range(blocks))
            assert max(found) == count


@pytest.mark.parametrize("memory_channels", [0, 3])
@pytest.mark.parametrize("blocks", [0, 1, 2])
@pytest.mark.parametrize("causal", [True, False])
def test_in_parallel_and_in_waves(memory_channels, blocks, causal):
    torch.manual_seed(0)
    net = PixelSnail(2, 6, 2, 3, AttentionSizes(blocks, 2, 4, 15), memory_channels, causal, radius=1, bound=256)
    with torch.no_grad():
        for layer in exact_layers(net).values():
            layer.bias.normal_(0, 0.3)
            if not layer.weight.any():
                layer.weight.normal_(0, 0.1)
    batch, height, width = 3, 5, 6
    x = torch.randint(-256, 257, (batch, 2, height, width)).float()
    memory = memory_rows(torch.randint(-500, 501, (batch, height, 3)).float()) if memory_channels else None
    out = torch.full((height, width, batch, 3), torch.nan)

    def draw(params, i, j):
        out[i, j] = params
        return x.permute(2, 3, 0, 1)[i, j]

    with torch.no_grad(), guard():
        expected = net(x, memory)
        net.in_waves((batch, height, width), memory, draw)
    assert torch.equal(expected, expected.round())
    assert torch.equal(out.permute(2, 3, 0, 1), expected)


# --- the stack of masked convolutions by its definition ---------------------------------------------------------------


def by_definition(net: PixelSnail, wholes: dict[str, oracle.Whole], x: oracle.Ints) -> oracle.Ints:
    """head(silu(neck(h))) + skip(x), h through gated units from silu(stem(x))."""
    s = net.skew
    h = SILU(oracle.masked_conv(wholes["stem"], x, "A", s))
    for n in range(len(net.layers)):
        h = oracle.gated(TANH, SIGMOID, h, oracle.masked_conv(wholes[f"layers.{n}"], h, "B", s), 1)
    h = SILU(oracle.masked_conv(wholes["neck"], h, "B", s))
    return oracle.masked_conv(wholes["head"], h, "B", s) + oracle.masked_conv(wholes["skip"], x, "A", s)


def filled_net(seed: int, layers: int, radius: int) -> tuple[PixelSnail, dict[str, oracle.Whole]]:
    """A net without attention, and its whole numbers: at the bound, which saturates every table, or of real weights.

    A shift of at least 1 keeps head + skip, a sum of two layers, within 2**24.
    """
    torch.manual_seed(seed)
    net = PixelSnail(2, 4, layers, 3, AttentionSizes(0, 1, 4, 15), radius=radius)
    wholes = {}
    for name, layer in exact_layers(net).items():
        if seed % 3 == 0:
            wholes[name] = fill(layer, seed, layer.mask.numpy().astype(np.int64), min_shift=1)
            continue
        with torch.no_grad():
            layer.weight.copy_(torch.randn_like(layer.weight) * layer.fan_in**-0.5 * layer.mask)
            layer.bias.normal_()
        layer.freeze()
        parts = {part: value.numpy().astype(np.int64) for part, value in layer.integers().items()}
        wholes[name] = oracle.Whole(parts["weight"], parts["bias"], parts["scale"])
    return net, wholes


@given(
    st.integers(0, 2**31),
    st.sampled_from([(1, 1), (1, 9), (9, 1), (2, 2), (5, 3), (6, 11)]),
    st.sampled_from([1, 3]),
    st.integers(0, 3),
    st.booleans(),
)
@settings(max_examples=40, deadline=None)
def test_without_attention_it_is_what_its_definition_says(seed, sides, radius, layers, safe):
    """All at once, one image at a time, and in waves."""
    net, wholes = filled_net(seed, layers, radius)
    set_safe(net, safe)
    x = activations((2, 2, *sides), BOUND, seed)
    expected = by_definition(net, wholes, x)
    out = np.zeros((*sides, 2, 3))

    def draw(params, i, j):
        out[i, j] = params.numpy()
        return tensor(x).permute(2, 3, 0, 1)[i, j]

    with torch.no_grad(), guard():
        check_equal(net(tensor(x)), expected)
        net.in_waves((2, *sides), None, draw)
    assert (out.transpose(2, 3, 0, 1) == expected).all()


@pytest.mark.parametrize("fusable", [True, False])
def test_some_images_at_a_time_and_without_kernels_in_one_pass(fusable, monkeypatch):
    """Accelerators have no such kernels."""
    monkeypatch.setattr("bbcodec.exact.pixel_snail.BAND_PIXELS", 1)
    if not fusable:
        monkeypatch.setattr("bbcodec.exact.pixel_snail.fusable", lambda y, exact: False)
    net, wholes = filled_net(1, 2, 2)
    x = activations((3, 2, 5, 4), BOUND, 1)
    with torch.no_grad(), guard():
        check_equal(net(tensor(x)), by_definition(net, wholes, x))
        out = torch.zeros(5, 4, 3, 3)

        def draw(params, i, j):
            out[i, j] = params
            return tensor(x).permute(2, 3, 0, 1)[i, j]

        net.in_waves((3, 5, 4), None, draw)
    check_equal(out.permute(2, 3, 0, 1), by_definition(net, wholes, x))
