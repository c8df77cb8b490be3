"""The loop of a run: recovery from divergence and from failed compilers and plots, and what it logs."""

import json
import math
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from small_runs import TINY, RecordingWatcher, trained_tensors

from bbcodec.codec.file import load_codec
from bbcodec.errors import TrainingDiverged
from bbcodec.models.training import loop
from bbcodec.models.training.distributed import Process
from bbcodec.models.training.loop import TrainingLoop
from bbcodec.models.training.plots import draw_curves
from bbcodec.models.training.run import train
from bbcodec.models.training.trainer import Diverged, Trainer
from bbcodec.models.vlae import Vlae

pytestmark = pytest.mark.usefixtures("quick")


def diverge(monkeypatch, times):
    """The loss diverges at step 10, so many times."""
    real, left = Trainer.advance, [times]

    def advance(run, share):
        if run.step == 10 and left[0]:
            left[0] -= 1
            raise Diverged("the loss is nan at step 10")
        return real(run, share)

    monkeypatch.setattr(Trainer, "advance", advance)


def test_a_loss_that_diverges_once_is_rolled_back(images, tmp_path, monkeypatch):
    diverge(monkeypatch, 1)
    watcher = RecordingWatcher()
    summary = train([images], tmp_path / "my.bbc", overrides=TINY, threads=1, watch=watcher)
    assert any("half the learning rate" in note for note in watcher.notes)
    assert summary.steps == 18
    state = torch.load(tmp_path / "my.training" / "checkpoint.pt", weights_only=True)
    assert (state["rolled_back"], state["losses"]["caution"]) == (True, 0.5)
    lines = [json.loads(line) for line in (tmp_path / "my.training" / "log.jsonl").read_text().splitlines()]
    assert [line["why"] for line in lines if line["kind"] == "rolled_back"] == ["the loss is nan at step 10"]


def test_a_loss_that_diverges_twice_is_reported_and_the_best_codec_stays(images, tmp_path, monkeypatch):
    diverge(monkeypatch, 2)
    with pytest.raises(TrainingDiverged, match=r"diverged again after it was rolled back: .*best\.bbc"):
        train([images], tmp_path / "my.bbc", overrides=TINY, threads=1)
    assert not (tmp_path / "my.bbc").exists()
    assert load_codec(tmp_path / "my.training" / "best.bbc", "cpu").card["steps"] > 0


@pytest.mark.filterwarnings("ignore:The .grad attribute of a Tensor that is not a leaf")  # of torch's own tracing
def test_a_compiler_that_fails_is_done_without(images, tmp_path, monkeypatch):
    """The weights are those of a run that never asked for it; what torch compiles later is compiled again."""

    def broken(graph, inputs):
        raise OSError("no process can be started")

    for name in ("plain", "compiled"):
        (tmp_path / name).mkdir()
    monkeypatch.setattr(Vlae, "compile_for_training", lambda model: None)
    train([images], tmp_path / "plain" / "my.bbc", overrides=TINY, threads=1)
    monkeypatch.setattr("bbcodec.models.training.run.worth_compiling", lambda device, plan: True)
    monkeypatch.setattr(Vlae, "compile_for_training", lambda model: model.local.compile(backend=broken))
    watcher = RecordingWatcher()
    train([images], tmp_path / "compiled" / "my.bbc", overrides=TINY, threads=1, watch=watcher)
    note = "torch could not compile the model (no process can be started): continuing without, which is slower"
    assert watcher.notes == [note]
    assert trained_tensors(tmp_path / "compiled") == trained_tensors(tmp_path / "plain")
    with pytest.raises(RuntimeError, match="no process can be started"):
        torch.compile(torch.square, backend=broken)(torch.ones(3))


@pytest.mark.parametrize(("compiled", "ranks"), [(True, 2), (False, 1)])
def test_a_compiler_that_fails_twice_or_for_one_of_several_ends_the_run(compiled, ranks):
    one = SimpleNamespace(trainer=SimpleNamespace(compiled=compiled, process=Process(ranks=ranks)))
    with pytest.raises(RuntimeError, match="no process"):
        TrainingLoop.disable_compilation(one, RuntimeError("no process"))


def test_plots_that_cannot_be_written_do_not_end_a_run(images, tmp_path, monkeypatch):
    monkeypatch.setattr(loop, "draw_curves", draw_curves)
    (tmp_path / "my.training" / "curves.png").mkdir(parents=True)
    watcher = RecordingWatcher()
    train([images], tmp_path / "my.bbc", overrides=TINY, threads=1, watch=watcher)
    assert [note for note in watcher.notes if "continuing without a plot" in note and "curves.png" in note]
    assert len(watcher.notes) == 1
    assert (tmp_path / "my.training" / "samples.png").is_file()
    assert load_codec(tmp_path / "my.bbc", "cpu").card["steps"] == 18


def test_the_log_of_a_delta_vae_shows_that_its_rate_is_never_under_delta(images, tmp_path):
    """A VAE that commits to nothing says nothing of it."""
    sizes = {"hidden": 8, "layers": 1, "attentions": 0, "radius": 1, "width": 8, "blocks": 1, "encoder_attentions": 0}
    common = {**sizes, "rows": 12, "latent_channels": 2, "auxiliary": 4, **{k: TINY[k] for k in ("batch", "epochs")}}
    for prior, expected in (("ar1", True), ("standard", False)):
        train([images], tmp_path / "my.bbc", family="delta-vae", overrides={**common, "prior": prior}, force=True)
        text = (tmp_path / "my.training" / "log.jsonl").read_text()
        lines = [line for line in map(json.loads, text.splitlines()) if line["kind"] == "train"]
        assert lines
        assert all(("committed_bits_per_dim" in line) == expected for line in lines)
        seen = next(line for line in map(json.loads, text.splitlines()) if line["kind"] == "valid")
        bound = [line["train_z"] + line["train_x"] for line in lines if line["step"] <= seen["step"]]
        assert seen["train_bits_per_dim"] == pytest.approx(np.mean(bound), abs=0.15)  # without the auxiliary's loss
        if expected:
            delta = load_codec(tmp_path / "my.bbc", "cpu").backend.model.committed_rate(torch.Size((1, 1, 12, 10)))
            assert lines[0]["committed_bits_per_dim"] == pytest.approx(delta / 120 / math.log(2), abs=1e-5)
            assert np.mean([line["train_z"] / line["committed_bits_per_dim"] for line in lines]) > 1
