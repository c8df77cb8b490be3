"""Muon: orthogonal updates, for the inner weights alone."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from bbcodec.models.training.muon import Muon, inner_weights, orthogonalised
from bbcodec.models.vlae import Vlae
from bbcodec.models.vlae_config import VlaeConfig


@settings(max_examples=20)
@given(st.integers(2, 40), st.integers(2, 40), st.integers(0, 1000))
def test_an_update_keeps_its_directions_and_evens_out_their_sizes(rows, columns, seed):
    matrix = torch.randn(rows, columns, generator=torch.Generator().manual_seed(seed))
    u, s, vh = torch.linalg.svd(matrix, full_matrices=False)
    out = orthogonalised(1000 * matrix)
    inner = u.T @ out @ vh.T
    off = inner - torch.diag(inner.diagonal())
    assert off.abs().max() < 1e-2
    large = inner.diagonal()[s > 0.05 * s.max()]
    assert large.min() > 0.4
    assert large.max() < 1.3


def test_nothing_to_learn_is_no_step():
    assert not orthogonalised(torch.zeros(3, 4)).any()


@pytest.mark.parametrize(("shape", "scale"), [((32, 32), 1.0), ((64, 16), 2.0), ((16, 4, 3, 3), 1.0)])
def test_the_first_step_is_as_long_as_the_rate_says(shape, scale):
    weight = nn.Parameter(torch.zeros(shape))
    optimiser = Muon([weight], lr=0.01)
    weight.grad = torch.randn(shape, generator=torch.Generator().manual_seed(0))
    optimiser.step()
    sizes = torch.linalg.svdvals(weight.detach().flatten(1)) / (0.01 * scale)
    assert sizes.min() > 0.6
    assert sizes.max() < 1.3
    assert (weight.detach() * weight.grad).sum() < 0


def test_momentum_smooths_what_alternates():
    steady, wavering = nn.Parameter(torch.zeros(8, 8)), nn.Parameter(torch.zeros(8, 8))
    optimiser = Muon([steady, wavering], lr=0.01)
    gradient = torch.eye(8)
    for n in range(20):
        steady.grad, wavering.grad = gradient.clone(), (-1) ** n * gradient
        optimiser.step()
    assert wavering.abs().max() < 0.25 * steady.abs().max()


def test_weights_lose_a_share_in_each_step():
    """So that they do not grow without end: what is never updated goes, and the rest stays within 1 / weight_decay."""
    weight = nn.Parameter(torch.diag(torch.tensor([100.0, 0.0, 0.0, 0.0])))
    optimiser = Muon([weight], lr=0.1, weight_decay=0.5)
    gradient = torch.diag(torch.tensor([0.0, 1.0, 1.0, 1.0]))
    weight.grad = torch.zeros(4, 4)
    optimiser.step()
    assert weight[0, 0].item() == pytest.approx(95)
    for _ in range(400):
        weight.grad = gradient.clone()
        optimiser.step()
    assert abs(weight[0, 0].item()) < 1e-3
    assert -2.6 < weight[1, 1].item() < -1.3  # steps are of 0.7 to 1.2 times the rate


def test_weights_that_did_not_take_part_stay():
    weight = nn.Parameter(torch.ones(4, 4))
    Muon([weight], lr=0.01).step()
    assert torch.equal(weight, torch.ones(4, 4))


def test_the_inner_weights_are_those_from_activations_to_activations():
    sizes = {"hidden": 16, "inner": 16, "width": 16, "prior_hidden": 8}
    model = Vlae(VlaeConfig(layers=2, latent_channels=2, latent_stride=4, **sizes))
    names = {id(p): name for name, p in model.named_parameters()}
    found = {names[id(weight)] for weight in inner_weights(model)}
    inner = {"local.blocks.0.spatial.weight", "local.blocks.1.pointwise.weight", "local.neck.weight"}
    assert inner | {"encoder.blocks.0.spatial.weight", "context_net.blocks.1.pointwise.weight"} <= found
    outer = ("stem", "head", "skip", "prior_net", "first", "bias")
    assert not [name for name in found if any(word in name for word in outer)]
