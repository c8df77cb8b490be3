"""The two implementations of one net, PyTorch's layers and the compiled engine, give the same numbers."""

import numpy as np
import pytest
import torch
from whole_numbers import stored_arrays

from bbcodec.engine.compiling import Kernels, available
from bbcodec.engine.local_net import laid_out, packed
from bbcodec.engine.logistic import mixture
from bbcodec.engine.waves import LocalCoder
from bbcodec.exact.arithmetic import guard
from bbcodec.exact.layers import exact_parts, set_safe
from bbcodec.exact.local_net import LocalNet
from bbcodec.models.pixel_nets import embed_levels, start_predictors

EMBEDDING, INSIDE = ((np.arange(256) - 128) * 8).astype(np.int16), 256  # as embed_levels


def a_net(radii, seed):
    torch.manual_seed(seed)
    net = LocalNet(4, 32, 48, radii, 36, 3, 1024)
    start_predictors(net, 3, 3)
    for part in exact_parts(net).values():
        part.freeze()
    return net


@pytest.mark.parametrize("kernels", available())
@pytest.mark.parametrize(
    ("shape", "radii", "stride"), [((1, 1, 1), (1,), 0), ((2, 9, 14), (1, 1, 1), 0), ((3, 17, 6), (1, 0, 1, 0), 4)]
)
def test_parameters_are_those_of_torch(kernels, shape, radii, stride):
    net = a_net(radii, seed=len(radii))
    rng = np.random.default_rng(stride)
    batch, height, width = shape
    images = rng.integers(0, 256, (batch, 3, height, width), np.uint8)
    images[:, :, : height // 2] = 200
    context = None
    if stride:
        context = rng.integers(-3000, 3000, (batch, 32, -(-height // stride), -(-width // stride))).astype(np.int16)
    arrays = laid_out(stored_arrays(net), radii, 3)
    coder = LocalCoder(packed(arrays, EMBEDDING, INSIDE), mixture(3, 3), Kernels(kernels))
    found = coder.parameters(images, context, max(1, stride))
    for safe in (False, True):
        set_safe(net, safe)
        with torch.no_grad(), guard():
            told = None if context is None else torch.from_numpy(context).float()
            expected = net(embed_levels(torch.from_numpy(images).float()), told, max(1, stride))
        assert np.array_equal(found, expected.permute(0, 2, 3, 1).numpy())
