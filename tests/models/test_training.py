"""Training on a clock of its own: the loss falls, runs go on where they stopped, codecs and cards come out."""

import json
import math
from dataclasses import replace
from types import SimpleNamespace

import click
import numpy as np
import pytest
import torch
from bbcodec.models import training
from bbcodec.models.data import LOADERS, Images
from bbcodec.models.recipes import RECIPES, Recipe
from bbcodec.models.training import WARM_UP, Run, finish, measure, save_checkpoint, train
from click.testing import CliRunner
from tiny_models import CONFIGS, KINDS, pictures

from bbcodec.codec import load_codec
from bbcodec.exact.layers import exact_layers
from bbcodec.interpreters import elbo


def recipe(kind: str = "grey", **changes) -> Recipe:
    sizes = {"batch": 8, "crop": 8, "learning_rate": 0.01, "rounding_from": 0.5, **changes}
    return Recipe(CONFIGS[kind], "tiny", "slopes", minutes=1, **sizes)


def images(kind: str = "grey") -> Images:
    return Images(list(pictures(kind, 40, 12, 10)), list(pictures(kind, 6, 12, 10, 1)))


@pytest.fixture(autouse=True)
def clock(monkeypatch):
    """A clock that ticks a second each time it is read; a step of training reads it twice, so it takes a second."""
    state = SimpleNamespace(now=0.0)

    def monotonic():
        state.now += 1
        return state.now

    monkeypatch.setattr(training, "time", SimpleNamespace(monotonic=monotonic))
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield state
    torch.set_num_threads(threads)


def run(kind: str = "grey", seconds: float = 12, **changes) -> Run:
    return Run(recipe(kind, **changes), images(kind), seconds, compiled=False)


@pytest.mark.parametrize("kind", KINDS)
def test_learning_lowers_the_loss(kind, monkeypatch):
    monkeypatch.setattr(training, "WARM_UP", 5)
    r = run(kind, 50)
    before = sum(r.validate(6).values())
    while r.done < 1:
        r.advance()
    assert r.step == 50
    assert sum(r.validate(6).values()) < 0.96 * before


def test_the_network_rounds_from_the_share_that_the_recipe_says():
    r = run(seconds=10)
    exact = []
    while r.done < 1:
        r.advance()
        exact.append(all(layer.exact for layer in exact_layers(r.model).values()))
    assert exact == [False] * 5 + [True] * 5


def test_the_rate_warms_up_and_falls():
    r = run(seconds=10**6)
    assert r.rate() == pytest.approx(0.01 / WARM_UP)
    r.step = WARM_UP
    assert r.rate() == pytest.approx(0.01)
    r.spent = r.seconds / 2
    assert r.rate() == pytest.approx(0.01 * (0.01 + 0.99 / 2))
    r.spent = r.seconds
    assert r.rate() == pytest.approx(1e-4)
    r.spent = 2 * r.seconds
    assert r.rate() == pytest.approx(1e-4)


def test_the_loss_is_the_negative_elbo_per_dimension():
    r = run(free_nats=0.0)
    x = r.images.batch(4, 8, np.random.default_rng(0))
    torch.manual_seed(1)
    loss, parts = r.loss(x)
    torch.manual_seed(1)
    terms = elbo(r.model, x)
    expected = {name: -nats.mean().item() / 64 for name, nats in terms.items()}
    assert loss.item() == pytest.approx(sum(expected.values()), rel=1e-5)
    assert parts == pytest.approx({name: nats / math.log(2) for name, nats in expected.items()}, rel=1e-5)


def test_a_rate_below_the_free_nats_is_not_charged_until_the_network_rounds():
    """8 x 8 pixels have 2 x 2 x 2 latents."""
    r = run(free_nats=1000.0)
    x = r.images.batch(4, 8, np.random.default_rng(0))
    losses = {}
    for exact in (False, True):
        training.set_exact(r.model, exact)
        loss, parts = r.loss(x)
        losses[exact] = loss.item() - parts["x"] * math.log(2)
    assert losses[False] == pytest.approx(1000 * 8 / 64)
    assert losses[True] < 10


def test_a_step_without_a_finite_gradient_is_left_out(monkeypatch):
    r = run()
    r.advance()
    before = [p.clone() for p in r.model.parameters()]
    real = r.loss
    monkeypatch.setattr(r, "loss", lambda x: (real(x)[0] * math.nan, {"x": math.nan}))
    r.advance()
    assert all(torch.equal(a, b) for a, b in zip(before, r.model.parameters(), strict=True))
    monkeypatch.undo()
    assert r.step == 2


def test_the_average_follows_the_model():
    r = run()
    assert all(torch.equal(a, b) for a, b in zip(r.average.parameters(), r.model.parameters(), strict=True))
    for _ in range(3):
        start = [p.clone() for p in r.average.parameters()]
        step = r.step
        r.advance()
        decay = (step + 1) / (step + 10)
        for a, before, now in zip(r.average.parameters(), start, r.model.parameters(), strict=True):
            assert torch.allclose(a, decay * before + (1 - decay) * now, atol=1e-6)


def test_validation_is_of_the_averaged_network_that_is_coded():
    """It rounds whatever was done before; steps of the model alone change nothing."""
    r = run()
    r.advance()
    torch.manual_seed(1)
    expected = r.validate(6)
    with torch.no_grad():
        r.model.local.head.bias += 1
    training.set_exact(r.average, False)
    torch.manual_seed(1)
    assert r.validate(6) == expected


def weights(r: Run) -> list[torch.Tensor]:
    return [p.detach().clone() for p in (*r.model.parameters(), *r.average.parameters())]


@pytest.mark.parametrize("stop", [1, 5, 7])
def test_a_run_that_was_interrupted_goes_on_as_if_it_had_not_been(stop, tmp_path):
    """Before and after the network began to round; everything random is in the checkpoint."""
    whole = run()
    while whole.done < 1:
        whole.advance()
    first = run()
    for _ in range(stop):
        first.advance()
    save_checkpoint(first, tmp_path / "run.ckpt")
    assert [path.name for path in tmp_path.iterdir()] == ["run.ckpt"]
    second = run()
    torch.manual_seed(77)
    second.restore(torch.load(tmp_path / "run.ckpt", weights_only=True))
    assert (second.step, second.spent) == (stop, stop)
    while second.done < 1:
        second.advance()
    assert second.step == whole.step == 12
    assert all(torch.equal(a, b) for a, b in zip(weights(whole), weights(second), strict=True))
    assert not torch.equal(weights(first)[0], weights(whole)[0])


def test_checkpoints_and_reports_come_in_time(tmp_path, monkeypatch):
    """The loop looks at the clock once more a step: a step is three ticks, one of which counts."""
    saved = []
    real = training.save_checkpoint
    monkeypatch.setattr(training, "save_checkpoint", lambda r, path: (saved.append(r.step), real(r, path)))
    monkeypatch.setattr(training, "CHECKPOINT_SECONDS", 10)
    monkeypatch.setattr(training, "REPORT_SECONDS", 13)
    r = run()
    train(r, tmp_path / "run.ckpt", tmp_path / "run.log")
    assert saved == [4, 8, 12, 12]
    lines = [json.loads(line) for line in (tmp_path / "run.log").read_text().splitlines()]
    assert [line["step"] for line in lines] == [5, 10, 12]
    assert lines[-1]["done"] == 1
    assert set(lines[0]) == {"step", "done", "train_z", "train_x", "valid_z", "valid_x", "lr"}
    assert torch.load(tmp_path / "run.ckpt", weights_only=True)["step"] == 12


@pytest.mark.parametrize("kind", KINDS)
def test_finished_codecs_load_and_say_what_they_are(kind, tmp_path):
    r = run(kind, 3)
    while r.done < 1:
        r.advance()
    finish(r, "mine", tmp_path / "mine.bbc")
    codec = load_codec(tmp_path / "mine.bbc", "cpu")
    assert codec.card["name"] == "mine"
    assert codec.card["data"] == "slopes"
    assert codec.card["steps"] == 3
    assert codec.card["parameters"] == sum(p.numel() for p in r.average.parameters())
    valid = np.stack(r.images.valid)
    message = codec.encode_message(valid)
    assert codec.card["bits_per_dim"] == round(8 * len(message) / valid.size, 4)
    assert np.array_equal(codec.decode_message(message, *valid.shape[:3]), valid)
    page = (tmp_path / "mine.md").read_text()
    assert page.startswith("# mine\n")
    for key, value in {**codec.card, "file": f"{codec.file_bytes:,} bytes", "latent_stride": 4}.items():
        assert f"| {key} | {value} |" in page


def test_images_of_several_sizes_are_measured_one_by_one(tmp_path):
    r = run(seconds=1)
    finish(r, "mine", tmp_path / "mine.bbc")
    codec = load_codec(tmp_path / "mine.bbc", "cpu")
    mixed = Images([], [*pictures("grey", 2, 8, 9), *pictures("grey", 1, 5, 5)])
    expected = sum(len(codec.encode_message(image[None])) for image in mixed.valid)
    assert measure(codec, mixed) == pytest.approx(8 * expected / (2 * 72 + 25))


@pytest.fixture
def command(monkeypatch):
    """The command, with one recipe more."""
    monkeypatch.setitem(RECIPES, "tiny-1", replace(recipe(), minutes=0.1))
    monkeypatch.setitem(LOADERS, "tiny", lambda folder: images())
    argument = next(p for p in training.main.params if p.name == "recipe")
    monkeypatch.setattr(argument, "type", click.Choice(sorted(RECIPES)))
    return training.main


def test_the_command_writes_a_codec_and_goes_on_from_its_checkpoint(command, tmp_path, monkeypatch):
    out, work = tmp_path / "tiny-1.bbc", tmp_path / "runs"
    arguments = ["tiny-1", "--data", str(tmp_path), "--out", str(out), "--work", str(work), "--no-compile"]
    arguments += ["--threads", "1"]
    result = CliRunner().invoke(command, arguments, catch_exceptions=False)
    assert result.exit_code == 0
    codec = load_codec(out, "cpu")
    assert codec.card["steps"] == 6
    assert codec.name == codec.card["name"] == "tiny-1"
    assert out.with_suffix(".md").exists()
    assert sorted(path.name for path in work.iterdir()) == ["tiny-1.ckpt", "tiny-1.log"]
    first = out.read_bytes()
    out.unlink()
    assert CliRunner().invoke(command, arguments, catch_exceptions=False).exit_code == 0
    assert out.read_bytes() == first  # nothing was left to learn
    more = CliRunner().invoke(command, [*arguments, "--minutes", "0.15"], catch_exceptions=False)
    assert more.exit_code == 0
    assert load_codec(out, "cpu").card["steps"] == 9


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        (["--minutes", "-1"], "--minutes"),
        (["--minutes", "0"], "--minutes"),
        (["--threads", "0"], "--threads"),
        (["--data", "no/such/folder"], "--data"),
    ],
)
def test_the_command_refuses_what_it_cannot_do(command, tmp_path, changed, message):
    arguments = ["tiny-1", "--data", str(tmp_path), "--out", str(tmp_path / "x.bbc"), "--work", str(tmp_path / "w")]
    result = CliRunner().invoke(command, [*arguments, "--no-compile", "--threads", "1", *changed])
    assert result.exit_code == 2
    assert message in result.output
    assert not (tmp_path / "w").exists()


def test_an_unknown_recipe_is_refused(command, tmp_path):
    result = CliRunner().invoke(command, ["photo-99", "--data", str(tmp_path), "--out", "x.bbc"])
    assert result.exit_code == 2
    assert "photo-1" in result.output
