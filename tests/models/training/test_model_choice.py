"""Which model a run trains: what is tried, what is chosen, and that a resumed run keeps to it."""

import json

import numpy as np
import pytest
from small_runs import TINY, RecordingWatcher
from tiny_models import pictures

from bbcodec.codec.catalogue import shipped_codecs
from bbcodec.errors import InputError
from bbcodec.models.training import model_choice
from bbcodec.models.training.distributed import Process
from bbcodec.models.training.model_choice import TRIAL_SHARE, Trial, choose, is_start, plans_to_try
from bbcodec.models.training.preparation import load_images
from bbcodec.models.training.recipes import Recipe
from bbcodec.models.training.run import train
from bbcodec.models.training.trainer import Trainer
from bbcodec.models.training.watcher import SilentWatcher

pytestmark = pytest.mark.usefixtures("quick")
NO_LATENTS = {name: value for name, value in TINY.items() if name not in ("latent_channels", "radius")}


@pytest.fixture
def dataset(images):
    return load_images([images], [], Recipe(""), {})


@pytest.fixture
def every_trial(monkeypatch):
    """However short runs are, there are trials."""
    monkeypatch.setattr(model_choice, "FEWEST_STEPS", 0.1)


def named(plans):
    return [plan.name for plan in plans]


def test_shipped_codecs_and_new_nets_are_tried(dataset):
    plans = plans_to_try(dataset, Recipe(""), {"minutes": 20})
    assert named(plans) == ["grey-3", "a new net without latents", "a new net with latents"]
    assert [plan.config.latent_channels > 0 for plan in plans] == [False, False, True]
    assert [plan.start is not None for plan in plans] == [True, False, False]
    assert plans[0].initial_codec.startswith("grey-3, digest ")


@pytest.mark.parametrize(
    ("recipe", "settings", "names"),
    [
        (Recipe("", model="vlae"), {"minutes": 20}, [""]),
        (Recipe("", init_from="grey-3"), {"minutes": 20}, [""]),
        (Recipe(""), {"minutes": 0.5}, ["grey-3"]),
        (Recipe(""), {"epochs": 1.0}, ["grey-3"]),
        (Recipe(""), {"minutes": 20, "hidden": 8}, ["a new net without latents", "a new net with latents"]),
        (Recipe("", model="auto", settings={"width": 8}), {}, ["a new net without latents", "a new net with latents"]),
        (Recipe(""), {"minutes": 20, "latent_channels": 1}, ["a new net as set"]),
        (Recipe("", preset="fast"), {"minutes": 20}, ["a new net without latents", "a new net with latents"]),
    ],
)
def test_what_is_said_is_not_tried(dataset, recipe, settings, names):
    assert named(plans_to_try(dataset, recipe, settings)) == names


def test_starts_code_these_images_without_pytorch(dataset):
    starts = [codec.name for codec in shipped_codecs() if is_start(codec, dataset, Recipe(""))]
    assert starts == ["grey-3"]


@pytest.mark.parametrize("best", range(3))
def test_the_smallest_archive_is_chosen(dataset, monkeypatch, best):
    """Bits/dim alone do not decide."""
    plans = plans_to_try(dataset, Recipe(""), {"minutes": 20})
    order = named(plans)
    sizes = [Trial(name, 1.0 + (n == best), 100, 1000 - (n == best)) for n, name in enumerate(order)]
    seen = []

    def tried(plan, process, watch):
        seen.append((plan.name, plan.settings.minutes))
        return sizes[order.index(plan.name)]

    monkeypatch.setattr(model_choice, "tried", tried)
    watcher = RecordingWatcher()
    plan, trials = choose(plans, Process(), watcher)
    assert (plan.name, trials) == (order[best], sizes)
    assert seen == [(name, pytest.approx(20 * TRIAL_SHARE / 3)) for name in order]
    assert plan.settings.minutes == pytest.approx(20 * (1 - TRIAL_SHARE))
    assert watcher.notes == [str(trial) for trial in sizes]


def test_an_archive_of_all_images_is_estimated(images, every_trial):
    """With the bytes of the codec, so that few images choose a small one."""
    trials = []
    for settings in ({}, {"hidden": 64}):
        settings = {**NO_LATENTS, **settings, "latent_channels": 0}
        (plan,) = plans_to_try(load_images([images], [], Recipe(""), settings), Recipe(""), settings)
        trials.append(model_choice.tried(plan, Process(), SilentWatcher()))
    small, large = trials
    assert large.codec_bytes > 2 * small.codec_bytes
    for trial in trials:
        pixels = 44 * 12 * 10
        assert trial.archive_bytes == trial.codec_bytes + round(trial.bits_per_dim * pixels / 8)
    assert small.archive_bytes < large.archive_bytes


def lines_of(output):
    return [json.loads(line) for line in (output.with_suffix(".training") / "log.jsonl").read_text().splitlines()]


def test_a_resumed_run_keeps_the_model_that_was_chosen(images, tmp_path, every_trial, monkeypatch):
    output = tmp_path / "my.bbc"
    real = Trainer.advance
    whole = {"stop": False}

    def advance(run, share):
        if whole["stop"] and run.step == 7:
            raise KeyboardInterrupt
        return real(run, share)

    monkeypatch.setattr(Trainer, "advance", advance)
    real_choose = model_choice.choose
    monkeypatch.setattr("bbcodec.models.training.run.choose", lambda *a: (whole.update(stop=True), real_choose(*a))[1])
    settings = {**NO_LATENTS, "epochs": 4.0}
    with pytest.raises(KeyboardInterrupt):
        train([images], output, overrides=settings, threads=1)
    trials = [line for line in lines_of(output) if line["kind"] == "trial"]
    (chosen,) = [line["name"] for line in lines_of(output) if line["kind"] == "chosen"]
    assert [trial["name"] for trial in trials] == ["a new net without latents", "a new net with latents"]
    assert chosen == min(trials, key=lambda trial: trial["archive_bytes"])["name"]
    whole["stop"] = False
    watcher = RecordingWatcher()
    summary = train([images], output, overrides=settings, threads=1, resume=True, watch=watcher)
    assert summary.steps == round(4 * 6 * (1 - TRIAL_SHARE))
    assert not any(note.startswith("tried") for note in watcher.notes)
    assert (watcher.facts["config"]["latent_channels"] > 0) == (chosen == "a new net with latents")


def test_what_is_wrong_is_said_before_any_trial(tmp_path, every_trial):
    np.save(tmp_path / "one.npy", pictures("grey", 1, 12, 10)[..., 0])
    with pytest.raises(InputError, match="expected at least 2 images"):
        train([tmp_path / "one.npy"], tmp_path / "my.bbc")
    assert {path.name for path in tmp_path.iterdir()} == {"one.npy"}
