"""Whole runs: a codec comes out; interrupted and killed runs continue as if nothing had happened."""

import json
import math
import os
import random
import signal
import subprocess
import sys
import time

import numpy as np
import pytest
import torch
from small_runs import TINY, RecordingWatcher, trained_tensors
from tiny_models import pictures

from bbcodec.codec.file import load_codec
from bbcodec.errors import InputError, TargetExists
from bbcodec.models.training import loop
from bbcodec.models.training.cards import archive_bits_per_dim, file_bits_per_dim
from bbcodec.models.training.checkpoints import WorkFolder
from bbcodec.models.training.plots import draw_curves
from bbcodec.models.training.run import default_threads, train
from bbcodec.models.training.trainer import Trainer

pytestmark = pytest.mark.usefixtures("quick")


def test_a_codec_comes_out_that_codes_the_images(images, tmp_path, monkeypatch):
    monkeypatch.setattr(loop, "REPORTS", 4)
    monkeypatch.setattr(loop, "draw_curves", draw_curves)
    watcher = RecordingWatcher()
    summary = train([images], tmp_path / "my.bbc", overrides=TINY, threads=1, watch=watcher)
    codec = load_codec(tmp_path / "my.bbc", "cpu")
    x = np.load(images)[..., None]
    assert np.array_equal(codec.decode(codec.encode(x)), x)
    assert summary.codec_bytes == (tmp_path / "my.bbc").stat().st_size
    assert summary.bits_per_dim == codec.card["bits_per_dim"]
    assert (summary.steps, summary.valid_images, summary.model) == (18, 2, "vlae")
    assert (codec.card["steps"] <= 18, codec.card["images"], codec.card["data"]) == (True, 42, "42 images")
    assert watcher.facts["train_images"] == 42
    assert len(watcher.reports) == 4
    assert (
        min(r["valid_bits_per_dim"] for r in watcher.reports)
        == [r for r in watcher.reports if r["best"]][-1]["valid_bits_per_dim"]
    )
    folder = tmp_path / "my.training"
    assert all((folder / name).read_bytes().startswith(b"\x89PNG") for name in ("curves.png", "samples.png"))
    made = {"checkpoint.pt", "log.jsonl", "curves.png", "samples.png", "best.bbc", "card.md", "lock"}
    assert {path.name for path in folder.iterdir()} == made
    assert str(codec.card["bits_per_dim"]) in (folder / "card.md").read_text()
    lines = [json.loads(line) for line in (folder / "log.jsonl").read_text().splitlines()]
    assert {line["kind"] for line in lines} == {"train", "valid"}
    assert lines[-1]["step"] == 18
    assert all(math.isfinite(line["train_x"]) for line in lines if line["kind"] == "train")


def test_held_out_images_are_coded_as_the_card_says(images, tmp_path):
    np.save(tmp_path / "valid.npy", pictures("grey", 5, 12, 10, 7)[..., 0])
    summary = train([images], tmp_path / "my.bbc", valid=[tmp_path / "valid.npy"], overrides=TINY, threads=1)
    valid = np.load(tmp_path / "valid.npy")[..., None]
    message = load_codec(tmp_path / "my.bbc", "cpu").encode_message(valid)
    assert summary.bits_per_dim == round(8 * len(message) / valid.size, 4)
    assert summary.valid_images == 5
    assert summary.archive_bits_per_dim == round(archive_bits_per_dim(list(valid)), 4)
    assert summary.webp_bits_per_dim == round(file_bits_per_dim(list(valid), 256, "webp"), 4)


def test_an_interrupted_run_continues_as_if_nothing_had_happened(images, tmp_path, monkeypatch):
    """Stopped twice, between two steps, before and after the network rounds; checkpoints are written at every step."""
    (tmp_path / "whole").mkdir()
    train([images], tmp_path / "whole" / "my.bbc", overrides=TINY, threads=1)
    (tmp_path / "parts").mkdir()
    output = tmp_path / "parts" / "my.bbc"
    monkeypatch.setattr(loop, "CHECKPOINT_SECONDS", 0.0)
    real = Trainer.advance
    for stop in (4, 14):

        def advance(run, share, stop=stop):
            if run.step == stop:
                raise KeyboardInterrupt
            return real(run, share)

        monkeypatch.setattr(Trainer, "advance", advance)
        with pytest.raises(KeyboardInterrupt):
            train([images], output, overrides=TINY, threads=1, resume=True)
        assert not output.exists()
        assert WorkFolder(output).best.exists() == (stop == 14)
    monkeypatch.setattr(Trainer, "advance", real)
    watcher = RecordingWatcher()
    train([images], output, overrides=TINY, threads=1, resume=True, watch=watcher)
    assert watcher.notes[0].startswith("resuming at step 14")
    assert trained_tensors(tmp_path / "whole") == trained_tensors(tmp_path / "parts")
    steps = [json.loads(line)["step"] for line in (tmp_path / "parts/my.training/log.jsonl").read_text().splitlines()]
    assert steps == sorted(steps)


def test_a_finished_run_can_be_made_longer(images, tmp_path):
    train([images], tmp_path / "my.bbc", overrides=TINY, threads=1)
    longer = train([images], tmp_path / "my.bbc", overrides={**TINY, "epochs": 4.0}, threads=1, resume=True)
    assert longer.steps == 24


def test_a_checkpoint_of_another_run_is_refused(images, tmp_path):
    train([images], tmp_path / "my.bbc", overrides=TINY, threads=1)
    with pytest.raises(InputError, match="flips=False, not True"):
        train([images], tmp_path / "my.bbc", overrides={**TINY, "flips": True}, threads=1, resume=True)
    with pytest.raises(InputError, match="hidden=8, not 9"):
        train([images], tmp_path / "my.bbc", overrides={**TINY, "hidden": 9}, threads=1, resume=True)
    np.save(tmp_path / "others.npy", pictures("grey", 44, 12, 10, 5)[..., 0])
    with pytest.raises(InputError, match="with other training or held-out images: only the length"):
        train([tmp_path / "others.npy"], tmp_path / "my.bbc", overrides=TINY, threads=1, resume=True)


def test_a_run_from_before_a_setting_was_there_goes_on_with_its_default(images, tmp_path):
    train([images], tmp_path / "my.bbc", overrides=TINY, threads=1)
    checkpoint = tmp_path / "my.training" / "checkpoint.pt"
    state = torch.load(checkpoint, weights_only=True)
    identity = json.loads(state["identity"])
    del identity["settings"]["word_dropout"]
    torch.save(state | {"identity": json.dumps(identity)}, checkpoint)
    longer = {**TINY, "epochs": 4.0}
    with pytest.raises(InputError, match=r"word_dropout=0.0, not 0.1"):
        train([images], tmp_path / "my.bbc", overrides=longer | {"word_dropout": 0.1}, threads=1, resume=True)
    assert train([images], tmp_path / "my.bbc", overrides=longer, threads=1, resume=True).steps == 24


def test_to_resume_what_is_not_there_overwrites_nothing(images, tmp_path):
    """As where the folder of a run was deleted after it had ended."""
    (tmp_path / "my.bbc").write_bytes(b"mine")
    with pytest.raises(TargetExists, match="--init-from"):
        train([images], tmp_path / "my.bbc", overrides=TINY, resume=True)
    assert {path.name for path in tmp_path.iterdir()} == {"images.npy", "my.bbc"}
    assert (tmp_path / "my.bbc").read_bytes() == b"mine"


@pytest.mark.parametrize("damage", ["gone", "cut", "flipped"])
@pytest.mark.parametrize("epochs", [3.0, 4.0])
def test_a_best_codec_that_was_lost_is_made_again(images, tmp_path, damage, epochs):
    train([images], tmp_path / "my.bbc", overrides=TINY, threads=1)
    best = tmp_path / "my.training" / "best.bbc"
    if damage == "gone":
        best.unlink()
    else:
        content = best.read_bytes()
        half = len(content) // 2
        best.write_bytes(content[:5] if damage == "cut" else content[:half] + b"\x7f" * 40 + content[half + 40 :])
    watcher = RecordingWatcher()
    settings = {**TINY, "epochs": epochs}
    train([images], tmp_path / "my.bbc", overrides=settings, threads=1, resume=True, watch=watcher)
    assert any("is missing or damaged" in note for note in watcher.notes)
    assert load_codec(tmp_path / "my.bbc", "cpu").card["steps"] == epochs * 6


def test_what_is_there_is_not_overwritten_unless_asked(images, tmp_path):
    (tmp_path / "my.bbc").write_bytes(b"mine")
    with pytest.raises(TargetExists, match="--force"):
        train([images], tmp_path / "my.bbc", overrides=TINY)
    assert (tmp_path / "my.bbc").read_bytes() == b"mine"
    assert not (tmp_path / "my.training").exists()
    train([images], tmp_path / "my.bbc", overrides={**TINY, "epochs": 1.0}, threads=1, force=True)
    assert (tmp_path / "my.bbc").read_bytes() != b"mine"


COMMAND = """
import json, sys
from bbcodec.models.training import loop
from bbcodec.models.training.run import train
loop.CHECKPOINT_SECONDS = 0.05
train([sys.argv[1]], sys.argv[2], overrides=json.loads(sys.argv[3]), threads=1, resume=True)
"""


@pytest.mark.parametrize(("said", "ranks", "threads"), [("3", 2, 3), ("", 1, 8), ("0", 2, 4), ("many", 16, 1)])
def test_threads_are_those_of_openmp_or_a_share_of_the_cores(said, ranks, threads, monkeypatch):
    monkeypatch.setenv("OMP_NUM_THREADS", said)
    monkeypatch.setattr(os, "sched_getaffinity", lambda process: set(range(8)))
    assert default_threads(ranks) == threads


def started(images, output, settings):
    command = [sys.executable, "-c", COMMAND, str(images), str(output), json.dumps(settings)]
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    elsewhere = output.parent  # `python -c` would import the bare folders of a checkout
    return subprocess.Popen(command, env=environment, stderr=subprocess.PIPE, cwd=elsewhere)


def killed_and_resumed(images, folder, settings, kills, seed):
    """Start a run again and again, and kill it at random moments after its first checkpoint."""
    moments = random.Random(seed)
    done = 0
    while done < kills:
        process = started(images, folder / "my.bbc", settings)
        while not (folder / "my.training" / "checkpoint.pt").exists() and process.poll() is None:
            time.sleep(0.05)
        before = (folder / "my.training" / "checkpoint.pt").stat().st_mtime_ns
        limit = time.monotonic() + 60
        while (folder / "my.training" / "checkpoint.pt").stat().st_mtime_ns == before and process.poll() is None:
            assert time.monotonic() < limit
            time.sleep(0.02)
        time.sleep(moments.uniform(0, 0.3))
        process.send_signal(signal.SIGKILL)
        process.communicate()
        assert process.returncode == -signal.SIGKILL, "the run ended before it was killed: make it longer"
        done += 1
    process = started(images, folder / "my.bbc", settings)
    assert process.communicate()[1] == b""
    assert process.returncode == 0


@pytest.mark.slow
def test_a_run_that_is_killed_ten_times_learns_the_same(images, tmp_path):
    settings = {**TINY, "epochs": 150.0}
    for name, kills in (("whole", 0), ("parts", 10)):
        (tmp_path / name).mkdir()
        killed_and_resumed(images, tmp_path / name, settings, kills, 0)
    assert trained_tensors(tmp_path / "whole") == trained_tensors(tmp_path / "parts")


@pytest.mark.slow
def test_two_processes_learn_one_model(images, tmp_path):
    """Under torchrun, on the CPU: the weights are those of one process but for the latents that each draws."""
    script = tmp_path / "script.py"
    script.write_text(COMMAND)
    command = [sys.executable, "-m", "torch.distributed.run", "--nproc-per-node", "2", "--master-port", "29637"]
    arguments = [str(script), str(images), str(tmp_path / "my.bbc"), json.dumps(TINY)]
    subprocess.run([*command, *arguments], check=True, timeout=300, env={**os.environ, "OMP_NUM_THREADS": "1"})
    codec = load_codec(tmp_path / "my.bbc", "cpu")
    assert "2 x CPU" in codec.card["device"]
    x = np.load(images)[..., None]
    assert np.array_equal(codec.decode(codec.encode(x)), x)
