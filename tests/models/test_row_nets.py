"""Networks for latents in rows: means of rows, and the choice of a prior. (As parts of a model: test_delta_vae.py.)"""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from bbcodec.errors import BadCodecFile
from bbcodec.models.row_nets import PriorChoice, row_means


@given(st.integers(0, 2**31), st.integers(1, 9))
@settings(max_examples=20, deadline=None)
def test_row_means_are_rounded_half_up(seed, width):
    h = np.random.default_rng(seed).integers(-2047, 2048, (2, 3, 4, width))
    expected = np.array([(2 * int(row.sum()) + width) // (2 * width) for row in h.reshape(-1, width)])
    x = torch.from_numpy(h).float().requires_grad_()
    found = row_means(x, True)
    assert torch.equal(found.detach(), torch.from_numpy(expected.reshape(2, 3, 4)).float().transpose(1, 2))
    found.sum().backward()
    assert torch.allclose(x.grad, torch.full_like(x, 1 / width))


def test_a_choice_is_zero_or_one():
    choice = PriorChoice()
    for good in (1, 0):
        choice.load_stored(torch.tensor([good], dtype=torch.int8))
        assert choice.auxiliary == bool(good)
        assert choice.stored()["auxiliary"].tolist() == [good]
    for bad in (torch.tensor([2], dtype=torch.int8), torch.tensor([1]), torch.tensor(1, dtype=torch.int8)):
        with pytest.raises(BadCodecFile, match=r"0 or 1|of type int8"):
            choice.load_stored(bad)


def test_the_choice_follows_what_was_saved():
    choice = PriorChoice()
    assert not choice.auxiliary
    choice.update(torch.tensor([3.0, -1.0]))
    assert choice.auxiliary
    choice.update(torch.tensor([-3.0, 1.0]))
    choice.update(torch.tensor([-3.0, 1.0]))
    assert not choice.auxiliary
