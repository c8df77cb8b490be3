"""Normals in groups are the same normals; where there is one channel, in the same order."""

import numpy as np
import pytest
import torch

from bbcodec.coder.ans import AnsStack
from bbcodec.distributions.gaussian import Gaussian
from bbcodec.distributions.grouped_gaussian import GroupedGaussian


def normals(shape, seed=0):
    rng = np.random.default_rng(seed)
    mean, log_sigma = (torch.tensor(rng.integers(low, 300, shape)).float() for low in (-300, -200))
    return [family(mean, log_sigma, 8) for family in (Gaussian, GroupedGaussian)]


@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize("pixels", [1, 5, 16, 37])
def test_values_come_back_at_the_cost_of_plain_normals(pixels, channels):
    plain, grouped = normals((2, pixels, channels))
    value = plain.rsample(torch.Generator().manual_seed(0))
    stacks = [AnsStack.seeded(), AnsStack.seeded()]
    for d, stack in zip((plain, grouped), stacks, strict=True):
        d.push(stack, value)
        assert torch.equal(d.pop(stack), value)
        d.push(stack, value)
    assert np.array_equal(grouped.information(value), plain.information(value))
    assert stacks[0].bits == pytest.approx(stacks[1].bits, abs=1)
    same = np.array_equal(stacks[0].flatten(), stacks[1].flatten())
    assert same == (channels == 1 or 2 * pixels == 1)


def test_a_group_is_coded_channel_by_channel():
    """Twenty pixels: channels of the first sixteen, then those of the last four."""
    plain, grouped = normals((1, 20, 2))
    value = plain.rsample(torch.Generator().manual_seed(0))
    order = [*range(0, 32, 2), *range(1, 32, 2), *range(32, 40, 2), *range(33, 40, 2)]
    flat = [x.reshape(1, -1)[:, order] for x in (plain.mean, plain.log_sigma, value)]
    stacks = AnsStack(3), AnsStack(3)
    grouped.push(stacks[0], value)
    Gaussian(*flat[:2], 8).push(stacks[1], flat[2])
    assert np.array_equal(stacks[0].flatten(), stacks[1].flatten())
