"""Bounds of several draws: against the evidence of a small program, and by the formula."""

import math

import numpy as np
import pytest
import torch
from small_programs import OneLatent

from bbcodec.distributions.bernoulli import Bernoulli
from bbcodec.model.bounds import importance_weights, iwae
from bbcodec.model.latent_model import LatentModel
from bbcodec.model.program import Observed


def test_importance_weights_of_every_latent_give_the_evidence():
    """With all four latents of the posterior drawn equally often, the mean weight is p(x) less what q leaves out."""
    model = OneLatent()
    images = torch.tensor([[0.0, 1.0], [1.0, 1.0]]).reshape(2, 1, 1, 2)
    weights = importance_weights(model, images, 4000, torch.Generator().manual_seed(0))
    joint = [
        Bernoulli(torch.tensor([[64.0 * z, -64.0 * z]] * 2)).log_prob(images.reshape(2, 2)).exp() / 16 for z in range(4)
    ]
    expected = torch.stack(joint).sum(0).log().numpy()
    assert iwae(weights, 4000) == pytest.approx(expected, abs=0.05)
    assert (iwae(weights, 1) < iwae(weights, 10)).all()
    assert (iwae(weights, 10) < iwae(weights, 4000)).all()


class Alone(LatentModel):
    """Pixels whose log odds are 2, and how often they were asked for."""

    asked = 0

    def program(self, shape, images=None):
        self.asked += 1
        yield Observed("x", likelihood=lambda: Bernoulli(torch.full(shape, 256.0)), value=images)


def test_without_latents_one_draw_stands_for_all():
    model, images = Alone(), torch.tensor([[0.0, 1.0], [1.0, 1.0]]).reshape(2, 1, 1, 2)
    weights = importance_weights(model, images, 7)
    assert model.asked == 1
    expected = Bernoulli(torch.full((2, 2), 256.0)).log_prob(images.reshape(2, 2)).numpy()
    assert np.array_equal(weights, [expected] * 7)


def test_the_bound_of_one_draw_is_the_mean_of_the_weights():
    weights = np.random.default_rng(0).normal(size=(12, 3))
    assert iwae(weights, 1) == pytest.approx(weights.mean(0))


@pytest.mark.parametrize("k", [1, 3, 5, 12])
def test_importance_weighted_bound_by_the_formula(k):
    weights = np.random.default_rng(1).normal(size=(12, 3))
    groups = [np.log(np.exp(weights[i : i + k]).mean(0)) for i in range(0, 12 - k + 1, k)]
    assert iwae(weights, k) == pytest.approx(np.mean(groups, axis=0))


def test_weights_far_from_zero_neither_overflow_nor_vanish():
    weights = np.array([[-2e6, 3e5], [-2e6 + 1, 3e5 + 1]])
    expected = np.log((1 + math.e) / 2)
    assert iwae(weights, 2) == pytest.approx(np.array([-2e6, 3e5]) + expected)


def test_more_draws_than_there_are_is_a_wrong_call():
    with pytest.raises(ValueError, match="k is 3"):
        iwae(np.zeros((2, 1)), 3)
