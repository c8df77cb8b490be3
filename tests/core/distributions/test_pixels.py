"""A family over pixels as one over images: the same numbers in another order of axes."""

import numpy as np
import pytest
import torch
from checks import check_push_pop, check_sample, check_underflow, random_stack

from bbcodec.coder.ans import AnsStack
from bbcodec.distributions.bernoulli import Bernoulli
from bbcodec.distributions.logistic import LogisticMixture
from bbcodec.distributions.pixels import Pixels
from bbcodec.errors import CoderError


def some(kind):
    g = torch.Generator().manual_seed(0)
    if kind == "binary":
        return Bernoulli(torch.randint(-400, 400, (3, 4, 5, 1), generator=g).float())
    return LogisticMixture(torch.randint(-400, 400, (3, 4, 5, 24), generator=g).float(), 3)


@pytest.mark.parametrize("kind", ["binary", "RGB"])
def test_images_are_their_pixels(kind):
    family = some(kind)
    d = Pixels(family)
    assert d.shape == (3, family.shape[3], 4, 5)
    value = d.rsample(torch.Generator().manual_seed(1))
    assert torch.equal(value, family.rsample(torch.Generator().manual_seed(1)).permute(0, 3, 1, 2))
    pixels = value.permute(0, 2, 3, 1)
    assert torch.equal(d.log_prob(value), family.log_prob(pixels))
    assert np.array_equal(d.information(value), family.information(pixels))
    one, other = AnsStack.seeded(), AnsStack.seeded()
    d.push(one, value)
    family.push(other, pixels)
    assert np.array_equal(one.flatten(), other.flatten())
    check_push_pop(d, value)
    check_sample(d)


def test_failures_leave_the_stack():
    d, stack = Pixels(some("binary")), random_stack(0)
    before = stack.flatten()
    with pytest.raises(CoderError):
        d.push(stack, torch.full(d.shape, 2.0))
    with pytest.raises(ValueError, match="shape"):
        d.push(stack, torch.zeros(3, 1, 5, 4))
    assert np.array_equal(stack.flatten(), before)
    check_underflow(d, AnsStack())
