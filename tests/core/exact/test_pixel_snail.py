"""PixelSNAIL: position codes, and that all ways of evaluating the net agree. (As a decoder: test_delta_vae.py.)"""

import pytest
import torch

from bbcodec.exact.arithmetic import guard
from bbcodec.exact.layers import exact_layers
from bbcodec.exact.pixel_snail import AttentionSizes, PixelSnail, coordinate_code, evenly_spread, memory_rows


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
