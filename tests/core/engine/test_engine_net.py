import numpy as np
import pytest
from nets import EMBEDDING, INSIDE, random_net

from bbcodec.engine.local_net import packed


def test_channels_are_padded_and_taps_become_waves():
    net = packed(random_net(0, hidden=20, inner=36, radii=(1, 0), radius=2), EMBEDDING, INSIDE)
    assert (net.channels, net.pixel_width, net.stem_width, net.hidden, net.inner, net.neck_width, net.parameters) == (
        3,
        4,
        20,
        32,
        48,
        32,
        60,
    )
    assert (net.depth, net.block_depth) == (6, 3)
    assert net.spatial_count.tolist() == [5, 1]
    assert net.spatial_taps[0].tolist() == [[-1, -3], [-1, -2], [-1, -1], [0, -1], [0, 0]]
    assert net.spatial.weight.shape == (2, 3, 5 * 32 // 4, 16, 4)
    assert not net.spatial.weight[1, :, 32 // 4 :].any()


def test_weights_are_packed_by_block_step_channel_and_input():
    arrays = random_net(0, hidden=16, inner=32, radii=(1,))
    net = packed(arrays, EMBEDDING, INSIDE)
    weight = arrays["blocks.0.spatial.weight"].reshape(5, 16, 32)
    for tap, i, o in ((0, 0, 0), (3, 7, 18), (4, 15, 31)):
        assert net.spatial.weight[0, o // 16, tap * 4 + i // 4, o % 16, i % 4] == weight[tap, i, o]


def change(net, name, index, number):
    net[name][index] = number


BAD = {
    "stem breaks the bound of exact sums": lambda net: change(net, "stem.bias", 3, 2**24 - 1),
    "neck breaks the bound of exact sums": lambda net: change(net, "neck.weight", (0, 0), -128),
    "head breaks the bound of exact sums": lambda net: change(net, "head.weight", (0, 0), 2048),
    "skip has shifts -1 to": lambda net: change(net, "skip.shift", 0, -1),
    "blocks.4.spatial has shifts .* to 25": lambda net: change(net, "blocks.4.spatial.shift", 0, 25),
    "no array 'neck.bias'": lambda net: net.pop("neck.bias"),
    "stem has 1 inputs": lambda net: net.update({"stem.weight": net["stem.weight"][:22]}),
    "neck has weights .* expected 64 inputs": lambda net: net.update({"neck.weight": net["neck.weight"][:60]}),
    "head has weights .* int8 .* expected .* int16": lambda net: net.update(
        {"head.weight": net["head.weight"].astype(np.int8)}
    ),
    "skip has .* biases": lambda net: net.update({"skip.bias": net["skip.bias"][:-1]}),
    "blocks.0.spatial has taps at pixels that are not decoded": lambda net: net.update(
        {"blocks.0.spatial.taps": -net["blocks.0.spatial.taps"]}
    ),
    "stem has taps at pixels that are not decoded": lambda net: net["stem.taps"].__setitem__(-1, 0),
    "blocks.1.spatial has weights": lambda net: net.update(
        {"blocks.1.spatial.weight": net["blocks.1.spatial.weight"][:, :16]}
    ),
}


@pytest.mark.parametrize("message", BAD)
def test_layers_that_do_not_fit_are_refused(message):
    net = random_net(0)
    BAD[message](net)
    with pytest.raises(ValueError, match=message):
        packed(net, EMBEDDING, INSIDE)
