"""A trainer: what steps lower, when the network rounds, how divergence is noticed, and states to continue from."""

import json
import math
from dataclasses import replace
from itertools import pairwise

import numpy as np
import pytest
import torch
from tiny_models import CONFIGS, KINDS, pictures, pixel_format, tiny

from bbcodec.distributions.autoregressive import Autoregressive
from bbcodec.exact.layers import exact_layers
from bbcodec.model.interpreters import elbo
from bbcodec.models.training import trainer as module
from bbcodec.models.training.batches import batch
from bbcodec.models.training.data import Dataset
from bbcodec.models.training.distributed import Process
from bbcodec.models.training.recipes import TrainingSettings
from bbcodec.models.training.trainer import Diverged, Objective, Trainer
from bbcodec.models.vlae import FAMILY, Vlae

SETTINGS = TrainingSettings(epochs=8, batch=8, learning_rate=0.01, rounding_from=0.5, warm_up=5, free_nats=0.0)


@pytest.fixture(autouse=True)
def one_thread():
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


def dataset(kind: str) -> Dataset:
    return Dataset(pictures(kind, 40, 12, 10), pictures(kind, 6, 12, 10, 1), pixel_format(kind))


def new_trainer(kind: str = "grey", start: Vlae | None = None, **changes) -> Trainer:
    return Trainer(FAMILY, CONFIGS[kind], replace(SETTINGS, **changes), dataset(kind), start=start)


def advance(trainer: Trainer, steps: int) -> Trainer:
    for _ in range(steps):
        trainer.advance(trainer.share())
    return trainer


def weights(trainer: Trainer) -> list[torch.Tensor]:
    return [p.detach().clone() for p in (*trainer.model.parameters(), *trainer.average.parameters())]


def same(some: list[torch.Tensor], others: list[torch.Tensor]) -> bool:
    return all(torch.equal(a, b) for a, b in zip(some, others, strict=True))


@pytest.mark.parametrize("kind", KINDS)
def test_learning_lowers_what_held_out_images_cost(kind):
    trainer = new_trainer(kind)
    before = sum(trainer.validate().values())
    advance(trainer, trainer.steps)
    assert trainer.steps == 40
    assert trainer.share() == 1
    assert sum(trainer.validate().values()) < 0.96 * before


def test_the_network_rounds_from_the_share_that_is_set():
    trainer = new_trainer(epochs=2)
    rounding = []
    for _ in range(trainer.steps):
        advance(trainer, 1)
        rounding.append({layer.exact for layer in exact_layers(trainer.model).values()})
    assert rounding == [{False}] * 5 + [{True}] * 5


def test_rates_warm_up_and_fall_to_a_hundredth():
    trainer = new_trainer(warm_up=200)
    assert trainer.rate_factor(0.0) == pytest.approx(1 / 200)
    assert trainer.rate_factor(0.025) == pytest.approx(0.5, rel=0.01)  # a short run, at its first step
    trainer.step = 200
    assert trainer.rate_factor(0.0) == pytest.approx(1)
    assert trainer.rate_factor(0.5) == pytest.approx(0.01 + 0.99 / 2)
    assert trainer.rate_factor(1.0) == pytest.approx(0.01)
    trainer.caution = 0.5
    assert trainer.rate_factor(1.0) == pytest.approx(0.005)
    falling = [trainer.rate_factor(share) for share in np.linspace(0, 1, 11)]
    assert all(a > b for a, b in pairwise(falling))


def test_a_run_that_is_bounded_in_time_is_as_far_as_its_time():
    trainer = new_trainer(epochs=0, minutes=2)
    assert trainer.steps == 0
    trainer.spent = 30
    assert trainer.share() == pytest.approx(0.25)
    trainer.spent = 500
    assert trainer.share() == 1
    with trainer.timed():
        pass
    assert trainer.spent > 500


def test_the_loss_is_the_negative_elbo_per_dimension():
    model, images = tiny("grey"), torch.from_numpy(pictures("grey", 4, 8, 8)).permute(0, 3, 1, 2).float()
    for exact in (False, True):
        loss, parts = Objective(model, 0.0)(images, torch.Generator().manual_seed(1), exact)
        terms = elbo(model, images, torch.Generator().manual_seed(1))
        expected = {name: -nats.mean().item() / 64 for name, nats in terms.items()}
        assert loss.item() == pytest.approx(sum(expected.values()), rel=1e-5)
        assert {name: value.item() for name, value in parts.items()} == pytest.approx(
            {name: nats / math.log(2) for name, nats in expected.items()}, rel=1e-5
        )


def test_a_rate_below_the_free_nats_is_not_charged_until_the_network_rounds():
    """8 x 8 pixels have 2 x 2 x 2 latents."""
    model, images = tiny("grey"), torch.from_numpy(pictures("grey", 4, 8, 8)).permute(0, 3, 1, 2).float()
    losses = {}
    for exact in (False, True):
        loss, parts = Objective(model, 1000.0)(images, torch.Generator().manual_seed(1), exact)
        losses[exact] = loss.item() - parts["x"].item() * math.log(2)
    assert losses[False] == pytest.approx(1000 * 8 / 64)
    assert losses[True] < 10


def test_each_latent_has_free_nats_of_its_own():
    """Of the mean over a batch: what one latent says beyond them does not pay for those that say nothing."""
    model, images = tiny("grey"), torch.from_numpy(pictures("grey", 4, 8, 8)).permute(0, 3, 1, 2).float()
    rates = {}
    elbo(model, images, torch.Generator().manual_seed(1), rates=rates)
    means = rates["z"].detach().mean(0)
    assert means.shape == (2, 2, 2)
    free = float(means.median()) + 0.01
    loss, parts = Objective(model, free)(images, torch.Generator().manual_seed(1), False)
    charged = 64 * (loss.item() - parts["x"].item() * math.log(2))
    assert charged == pytest.approx(means.clamp_min(free).sum().item(), rel=1e-4)
    assert charged > max(means.sum().item(), 8 * free) + 0.01
    assert parts["z"].item() == pytest.approx(means.sum().item() / 64 / math.log(2), rel=1e-4)


def test_layers_without_rates_of_latents_have_their_free_nats_together(monkeypatch):
    model, images = tiny("grey"), torch.from_numpy(pictures("grey", 4, 8, 8)).permute(0, 3, 1, 2).float()
    monkeypatch.setattr(Autoregressive, "log_probs", lambda prior, value: None)
    loss, parts = Objective(model, 1000.0)(images, torch.Generator().manual_seed(1), False)
    assert loss.item() - parts["x"].item() * math.log(2) == pytest.approx(1000 * 8 / 64)
    loss, parts = Objective(model, 1e-3)(images, torch.Generator().manual_seed(1), False)
    assert loss.item() == pytest.approx(math.log(2) * sum(part.item() for part in parts.values()), rel=1e-5)


@pytest.mark.parametrize("exact", [False, True])
def test_rates_count_by_their_weight(exact):
    model, images = tiny("grey"), torch.from_numpy(pictures("grey", 4, 8, 8)).permute(0, 3, 1, 2).float()
    loss, parts = Objective(model, 0.0, rate_weight=3.0)(images, torch.Generator().manual_seed(1), exact)
    assert loss.item() == pytest.approx(math.log(2) * (3 * parts["z"].item() + parts["x"].item()), rel=1e-5)


def test_a_decoder_sees_no_hidden_pixels_until_the_network_rounds():
    """Parameters of a pixel are then those of one that has nothing but what lies outside around it."""
    model, images = tiny("grey"), torch.from_numpy(pictures("grey", 4, 8, 8)).permute(0, 3, 1, 2).float()
    costs = {}
    for share in (0.0, 0.5, 1 - 1e-6):
        for exact in (False, True):
            objective = Objective(model, 0.0, word_dropout=share)
            costs[share, exact] = objective(images, torch.Generator().manual_seed(1), exact)[1]["x"].item()
            assert model.seen is None
    assert costs[0.5, True] == costs[1 - 1e-6, True] == costs[0.0, True]
    assert len({costs[share, False] for share in (0.0, 0.5, 1 - 1e-6)}) == 3
    model.seen = torch.zeros(4, 1, 8, 8)
    blind = elbo(model, images, torch.Generator().manual_seed(1))["x"]
    likelihood = model.likelihood(model.posterior(images).rsample(torch.Generator().manual_seed(1)), images.shape)
    params = model.local(torch.zeros(4, 2, 8, 8), likelihood.context, likelihood.stride)
    assert torch.equal(blind, likelihood.family(params.permute(0, 2, 3, 1)).log_prob(images.permute(0, 2, 3, 1)))


def test_what_a_model_learns_beside_the_elbo_is_added_to_the_loss_alone(monkeypatch):
    model, images = tiny("grey"), torch.from_numpy(pictures("grey", 4, 8, 8)).permute(0, 3, 1, 2).float()
    plain, parts = Objective(model, 0.0)(images, torch.Generator().manual_seed(1), True)
    seen = {}

    def auxiliary(images, drawn):
        seen.update(drawn)
        return {"more": torch.full((4,), 64.0)}

    monkeypatch.setattr(model, "auxiliary_losses", auxiliary)
    loss, again = Objective(model, 0.0)(images, torch.Generator().manual_seed(1), True)
    assert loss.item() == pytest.approx(plain.item() + 1, rel=1e-6)
    assert again == parts
    assert seen["z"].shape == (4, 2, 2, 2)


def test_a_step_without_a_finite_gradient_is_left_out_and_ten_in_a_row_are_too_many(monkeypatch):
    trainer = advance(new_trainer(), 1)
    before = weights(trainer)
    real = trainer.objective
    monkeypatch.setattr(trainer, "objective", lambda *a: (real(*a)[0] * math.nan, {"x": torch.tensor(math.nan)}))
    advance(trainer, module.PATIENCE - 1)
    assert same(before, weights(trainer))
    assert trainer.step == module.PATIENCE
    with pytest.raises(Diverged, match="finite"):
        advance(trainer, 1)
    monkeypatch.undo()
    advance(trainer, 1)
    assert trainer.skipped == 0
    assert not same(before, weights(trainer))


def test_a_loss_that_rises_far_above_what_it_was_is_lost():
    trainer = new_trainer()
    trainer.step = 1000
    for _ in range(5):
        trainer.check_loss(3.0, True)

    def rise():
        for _ in range(200):
            trainer.check_loss(9.0, True)

    with pytest.raises(Diverged, match="bits/dim"):
        rise()
    assert trainer.recent == pytest.approx(6.0, rel=0.05)


def test_a_loss_that_wavers_is_not_lost():
    trainer = new_trainer()
    trainer.step = 1000
    for n in range(500):
        trainer.check_loss(3.0 + 2 * math.sin(n), True)


def test_the_average_follows_the_model():
    trainer = new_trainer()
    for _ in range(3):
        start = [p.clone() for p in trainer.average.parameters()]
        decay = (trainer.step + 1) / (trainer.step + 10)
        advance(trainer, 1)
        for a, before, now in zip(trainer.average.parameters(), start, trainer.model.parameters(), strict=True):
            assert torch.allclose(a, decay * before + (1 - decay) * now, atol=1e-6)
    trainer = advance(new_trainer(average=0.0), 1)
    assert same(list(trainer.average.parameters()), list(trainer.model.parameters()))


def test_validation_is_of_the_averaged_network_that_is_coded():
    trainer = advance(new_trainer(), 1)
    expected = trainer.validate()
    with torch.no_grad():
        trainer.model.local.head.bias += 1
    module.set_exact(trainer.average, False)
    assert trainer.validate() == expected
    images = torch.cat(trainer.held_out)
    terms = elbo(trainer.average, images, torch.Generator().manual_seed(0))
    assert expected["x"] == pytest.approx(-terms["x"].mean().item() / 120 / math.log(2), rel=1e-5)


def test_both_optimisers_have_their_share_of_the_weights():
    """Wide enough for Muon; the gradient of every weight is used once."""
    config = replace(CONFIGS["grey"], hidden=16, inner=16, width=16)
    trainer = Trainer(FAMILY, config, SETTINGS, dataset("grey"))
    groups = [
        {id(p) for group in optimiser.param_groups for p in group["params"]} for optimiser, _ in trainer.optimisers
    ]
    assert len(groups) == 2
    assert not groups[0] & groups[1]
    assert groups[0] | groups[1] == {id(p) for p in trainer.model.parameters()}
    assert id(trainer.model.local.blocks[0].spatial.weight) in groups[1]
    assert id(trainer.model.local.head.weight) in groups[0]
    before = weights(trainer)
    advance(trainer, 2)
    assert not any(torch.equal(a, b) for a, b in zip(before, weights(trainer), strict=True) if a.requires_grad)


@pytest.mark.parametrize("stop", [1, 5, 7])
def test_a_run_that_goes_on_from_its_state_is_as_if_it_had_not_stopped(stop):
    """Before and after the network began to round."""
    whole = advance(new_trainer(epochs=2), 10)
    first = advance(new_trainer(epochs=2), stop)
    state = first.state()
    second = new_trainer(epochs=2)
    torch.manual_seed(77)
    second.restore(state)
    assert second.step == stop
    advance(second, 10 - stop)
    assert same(weights(whole), weights(second))
    assert (whole.recent, whole.lowest) == (second.recent, second.lowest)
    assert not same(weights(new_trainer(epochs=2)), weights(whole))


def test_the_seed_decides():
    assert same(weights(advance(new_trainer(seed=1), 2)), weights(advance(new_trainer(seed=1), 2)))
    assert not same(weights(advance(new_trainer(seed=1), 2)), weights(advance(new_trainer(seed=2), 2)))


def test_rolling_back_halves_the_rates_and_keeps_the_time():
    trainer = advance(new_trainer(), 2)
    state, then = {**trainer.state()}, weights(trainer)
    state["model"] = {key: value.clone() for key, value in state["model"].items()}
    state["average"] = {key: value.clone() for key, value in state["average"].items()}
    advance(trainer, 3)
    trainer.spent = 100.0
    trainer.roll_back(state)
    assert (trainer.step, trainer.spent, trainer.caution, trainer.rolled_back) == (2, 100.0, 0.5, True)
    assert same(then, weights(trainer))


def test_the_identity_of_a_run_is_all_but_its_length():
    identity = new_trainer().identity()
    assert json.loads(json.dumps(identity)) == identity
    assert new_trainer(epochs=3, minutes=5).identity() == identity
    assert new_trainer(batch=4).identity() != identity
    other = Trainer(FAMILY, CONFIGS["grey"], SETTINGS, replace(dataset("grey"), valid=pictures("grey", 6, 12, 10, 2)))
    assert other.identity() != identity


def test_training_goes_on_from_the_weights_of_a_codec():
    start = tiny("grey", seed=3)
    trainer = new_trainer(start=start)
    assert same(list(start.parameters()), list(trainer.model.parameters()))
    assert same(list(start.parameters()), list(trainer.average.parameters()))
    assert not same(list(advance(trainer, 1).model.parameters()), list(start.parameters()))


def test_samples_are_images_of_the_size_that_is_learnt():
    drawn = new_trainer("RGB", crop=8).samples(3)
    assert drawn.shape == (3, 3, 8, 8)
    assert torch.equal(drawn, drawn.round())
    assert torch.equal(drawn, new_trainer("RGB", crop=8).samples(3))


def test_ranks_see_parts_of_one_batch_and_latents_of_their_own():
    data = dataset("grey")
    whole = batch(data, SETTINGS, 3)
    parts = [batch(data, SETTINGS, 3, rank, 2) for rank in range(2)]
    assert torch.equal(torch.cat(parts), whole)
    trainers = [Trainer(FAMILY, CONFIGS["grey"], SETTINGS, data, process=Process(rank=rank)) for rank in range(3)]
    seeds = {trainer.latent_generator().initial_seed() for trainer in trainers}
    assert len(seeds) == 3
