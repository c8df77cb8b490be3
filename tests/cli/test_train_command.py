"""`bbcodec train`: what it asks of the library, what it prints, and a real run that is stopped and resumed."""

import json
import os
import pty
import signal
import subprocess
import sys
import time
from contextlib import suppress
from dataclasses import asdict, replace
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from tiny_models import SIZES, pictures

from bbcodec.cli.main import main
from bbcodec.cli.signals import StopSignals, Terminated
from bbcodec.cli.train import TrainingDisplay
from bbcodec.codec.file import load_codec
from bbcodec.models.training.recipes import read_recipe
from bbcodec.models.training.run import TrainingSummary

SCRIPT = str(Path(sys.executable).parent / "bbcodec")
TINY = [word for name, value in SIZES.items() for word in ("--set", f"{name}={value}")]
SUMMARY = TrainingSummary("my.bbc", "vlae", 1234, 98765, 400, 20.5, 325.2, 50, 3.2, 3.5, 4.25, 3.4, 1204, 300)
STEP = {"step": 1, "share": 0.25, "bits_per_dim": 3.25, "images_per_second": 27.44, "seconds_left": 83}
REPORT = {
    "step": 100, "share": 0.25, "train_bits_per_dim": 3.2, "valid_bits_per_dim": 3.3, "rate_bits_per_dim": 0.01,
    "exact": False, "best": True,
}  # fmt: skip
FACTS = {
    "model": "vlae",
    "parameters": 99,
    "pixels": {"channels": 3, "levels": 256},
    "train_images": 9,
    "valid_images": 1,
}
LINES = [
    "vlae of 99 weights: 9 RGB images to train on, 1 held out",
    "step 100 (25 %): 3.2000 bits/dim, held out 3.3000 (latents 0.0100), the best so far",
    "3 images left out",
    "my.bbc: 3.2000 bits/dim on 50 held-out images (WebP 3.5000, PNG 4.2500, an archive without a codec 3.4000), "
    "98.8 kB, 20 min 30 s",
    "it pays for its own bytes after 1,204 images like these",
    "to use it: bbcodec compress --codec my.bbc IMAGES -o out.bb",
]


@pytest.fixture(autouse=True)
def one_thread(monkeypatch):
    """And no compiler, which would take longer than tiny models learn."""
    monkeypatch.setenv("PATH", "")
    threads = torch.get_num_threads()
    yield
    torch.set_num_threads(threads)


@pytest.fixture
def images(tmp_path) -> Path:
    folder = tmp_path / "in"
    folder.mkdir()
    for number, pixels in enumerate(pictures("grey", 30, 8, 8)):
        Image.fromarray(pixels[..., 0]).save(folder / f"{number}.png")
    return folder


@pytest.fixture
def asked(monkeypatch):
    """What the library is asked for; it answers at once."""
    calls = []

    def answer(inputs, output, **options):
        watch = options["watch"]
        watch.started(FACTS)
        watch.step(STEP)
        watch.report(REPORT)
        watch.note("3 images left out")
        calls.append((inputs, output, {key: value for key, value in options.items() if key != "watch"}))
        return SUMMARY

    monkeypatch.setattr("bbcodec.models.training.run.train", answer)
    return calls


DEFAULTS = {
    "valid": (), "family": None, "preset": None, "recipe": None, "overrides": {}, "init_from": None, "resume": False,
    "force": False, "threads": None, "device": "auto",
}  # fmt: skip


@pytest.mark.parametrize(
    ("words", "changes"),
    [
        ([], {}),
        (["--valid", "v", "--valid", "w.npy"], {"valid": ("v", "w.npy")}),
        (["--model", "vamp", "--preset", "fast"], {"family": "vamp", "preset": "fast"}),
        (["--set", "hidden=48", "--set", "flips=true"], {"overrides": {"hidden": 48, "flips": True}}),
        (["--minutes", "3"], {"overrides": {"minutes": 3.0, "epochs": 0.0}}),
        (["--set", "epochs=4", "--minutes", "3"], {"overrides": {"minutes": 3.0, "epochs": 0.0}}),
        (["--epochs", "2.5", "--seed", "7"], {"overrides": {"epochs": 2.5, "seed": 7}}),
        (["--init-from", "photo-3", "--resume"], {"init_from": "photo-3", "resume": True}),
        (["-f", "--threads", "3", "--device", "cpu"], {"force": True, "threads": 3, "device": "cpu"}),
    ],
)
def test_options_become_one_call(words, changes, asked):
    assert main(["train", "a", "b.npz", "-o", "my.bbc", *words]) == 0
    assert asked == [(("a", "b.npz"), "my.bbc", DEFAULTS | changes)]


def test_a_recipe_is_read(asked, tmp_path):
    path = tmp_path / "mine-1.toml"
    path.write_text('model = "vamp"\n[settings]\nminutes = 3\n')
    assert main(["train", "a", "-o", "my.bbc", "--config", str(path)]) == 0
    assert asked[0][2] == DEFAULTS | {"recipe": read_recipe(path)}


def test_lines_tell_how_training_goes(asked, capsys):
    assert main(["train", "a", "-o", "my.bbc"]) == 0
    assert capsys.readouterr() == ("", "\n".join(LINES) + "\n")
    assert main(["train", "a", "-o", "my.bbc", "-q"]) == 0
    assert capsys.readouterr() == ("", "")
    assert main(["train", "a", "-o", "my.bbc", "-q", "--json"]) == 0
    out, err = capsys.readouterr()
    assert (json.loads(out), err) == (asdict(SUMMARY), "")


def test_only_the_first_of_several_processes_speaks(asked, capsys, monkeypatch):
    monkeypatch.setenv("RANK", "1")
    assert main(["train", "a", "-o", "my.bbc", "--json"]) == 0
    assert capsys.readouterr() == ("", "")
    monkeypatch.setenv("RANK", "0")
    assert main(["train", "a", "-o", "my.bbc"]) == 0
    assert capsys.readouterr().err.splitlines() == LINES


@pytest.mark.parametrize(
    ("rate", "others", "told"),
    [
        (3.6, (3.5, 4.25, 3.5), "WebP is shorter: train longer"),
        (3.5, (3.6, 3.5, 3.7), "PNG is shorter: train longer"),
        (3.45, (3.5, 4.25, 3.4), "an archive without a codec is shorter: train longer"),
    ],
)
def test_a_codec_that_does_not_pay_is_told(asked, capsys, monkeypatch, rate, others, told):
    worse = TrainingSummary("my.bbc", "vlae", 1234, 98765, 400, 20.5, 325.2, 50, rate, *others)
    monkeypatch.setattr("bbcodec.models.training.run.train", lambda *_, **__: worse)
    assert main(["train", "a", "-o", "my.bbc"]) == 0
    assert told in capsys.readouterr().err


def test_a_run_that_learned_nothing_is_told(asked, capsys, monkeypatch):
    monkeypatch.setattr("bbcodec.models.training.run.train", lambda *_, **__: replace(SUMMARY, kept_step=0))
    assert main(["train", "a", "-o", "my.bbc"]) == 0
    assert "no step made them shorter" in capsys.readouterr().err


def test_what_is_not_known_of_others_is_not_told(asked, capsys, monkeypatch):
    unknown = replace(SUMMARY, archive_bits_per_dim=None)
    monkeypatch.setattr("bbcodec.models.training.run.train", lambda *_, **__: unknown)
    assert main(["train", "a", "-o", "my.bbc"]) == 0
    assert "(WebP 3.5000, PNG 4.2500), 98.8 kB" in capsys.readouterr().err


def test_an_interrupt_that_was_lost_ends_training_at_the_next_step():
    """Exceptions of signals vanish where compiled code calls back."""
    signals = StopSignals()
    display = TrainingDisplay(signals, quiet=True)
    display.step(STEP)
    for number, interrupt in ((signal.SIGTERM, Terminated), (signal.SIGINT, KeyboardInterrupt)):
        signals.received.append(number)
        with pytest.raises(interrupt):
            display.step(STEP)


ON_TERMINAL = """
import sys, time
sys.path.insert(0, {folder!r})
from test_train_command import FACTS, REPORT, STEP, SUMMARY
import bbcodec.models.training.run as library
from bbcodec.cli.main import main

def train(inputs, output, watch, **options):
    watch.started(FACTS)
    watch.step(STEP)
    time.sleep(0.3)  # longer than the bar takes between two pictures
    watch.report(REPORT)
    return SUMMARY

library.train = train
sys.exit(main(["train", "a", "-o", "my.bbc"]))
"""


def test_a_terminal_shows_a_bar(tmp_path):
    """With bits/dim, speed and time left; lines stay above it."""
    code = ON_TERMINAL.format(folder=str(Path(__file__).parent))
    path = os.pathsep.join(entry for entry in sys.path if entry)
    pid, terminal = pty.fork()
    if pid == 0:
        os.chdir(tmp_path)  # with -c, python looks into the working folder first: not for the checkout's
        os.environ.update(COLUMNS="140", TERM="xterm", PYTHONPATH=path)
        os.execv(sys.executable, [sys.executable, "-c", code])
    text = b""
    with suppress(OSError):  # the end, on Linux
        while piece := os.read(terminal, 2**16):
            text += piece
    os.close(terminal)
    assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 0, text.decode()
    shown = text.decode()
    assert "3.250 bits/dim, 27.4 images/s, 1 min 23 s left" in shown
    assert "25%" in shown
    assert all(line in shown for line in (*LINES[:2], *LINES[3:]))


# --- interrupts


@pytest.mark.parametrize(
    ("stop", "code", "what"),
    [(KeyboardInterrupt(), 130, "interrupted"), (Terminated(signal.SIGTERM), 143, "terminated")],
)
def test_a_stop_tells_how_to_resume(stop, code, what, tmp_path, capsys, monkeypatch):
    def stopping(*_, **__):
        raise stop

    monkeypatch.setattr("bbcodec.models.training.run.train", stopping)
    work = tmp_path / "my.training"
    for files, message in (
        ([], "nothing was saved yet"),
        (["checkpoint.pt"], "continue with the same command and --resume, without --force"),
        (["checkpoint.pt", "best.bbc"], f"without --force; the best codec so far is {work / 'best.bbc'}"),
    ):
        work.mkdir(exist_ok=True)
        for name in files:
            (work / name).touch()
        assert main(["train", "a", "-o", str(tmp_path / "my.bbc")]) == code
        (line,) = capsys.readouterr().err.splitlines()
        assert line.startswith(f"bbcodec: {what}: ")
        assert line.endswith(message)


# --- real runs


def test_a_run_that_was_stopped_goes_on_to_a_codec(images, tmp_path, capsys):
    """A real process, ended by SIGTERM; the same command ends the run, and the codec is one to compress with."""
    output = tmp_path / "my.bbc"
    words = ["train", str(images), "-o", str(output), "--threads", "1", "--set", "batch=8", *TINY]
    best = tmp_path / "my.training" / "best.bbc"
    process = subprocess.Popen(
        [SCRIPT, *words, "--epochs", "60"],
        stderr=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        env={**os.environ, "OMP_WAIT_POLICY": "PASSIVE"},
    )
    end = time.monotonic() + 300
    while not best.exists() and time.monotonic() < end and process.poll() is None:
        time.sleep(0.01)
    process.terminate()
    out, err = process.communicate(timeout=120)
    assert (process.returncode, out) == (143, ""), err
    assert err.splitlines()[-1].endswith(f"--force; the best codec so far is {best}")
    assert load_codec(best, "cpu").pixels.channels == 1
    assert not output.exists()
    assert main([*words, "--epochs", "1"]) == 4  # not without --resume
    capsys.readouterr()
    assert main([*words, "--epochs", "1", "--resume", "--json"]) == 0
    told = json.loads(capsys.readouterr().out)
    assert told["codec_bytes"] == output.stat().st_size
    assert {"checkpoint.pt", "log.jsonl", "curves.png", "samples.png", "best.bbc", "card.md", "lock"} == {
        path.name for path in best.parent.iterdir()
    }
    archive = str(tmp_path / "out.bb")
    assert main(["compress", str(images), "-o", archive, "--codec", str(output), "-q"]) == 0
    assert main(["decompress", archive, "-o", str(tmp_path / "out"), "-q"]) == 0
    for path in images.iterdir():
        assert np.array_equal(np.asarray(Image.open(tmp_path / "out" / path.name)), np.asarray(Image.open(path)))


# --- errors


@pytest.mark.parametrize(
    ("words", "code", "message"),
    [
        (["--minutes", "3", "--epochs", "2"], 2, "--minutes and --epochs are mutually exclusive"),
        (["--resume", "-f"], 2, "--resume and --force are mutually exclusive"),
        (["--minutes", "0"], 2, "--minutes"),
        (["--threads", "0"], 2, "--threads"),
        (["--set", "hidden"], 3, "expected key=value"),
        (["--set", "hiden=3"], 3, "(did you mean hidden?)"),
        (["--set", "batch=0"], 3, "batch is 0, expected a whole number from 1 to 65,536"),
        (["--config", "no.toml"], 3, "no.toml cannot be read"),
        (["--model", "gan"], 3, "unknown model family 'gan'"),
        (["--preset", "huge"], 3, "unknown preset 'huge'"),
        (["--set", "crop=9"], 3, "is as large as crops of 9 x 9 pixels: the smallest is 8 x 8"),
        (["--set", "latent_stride=3"], 3, "powers of two"),
        (["--init-from", "photo-3"], 3, "codec photo-3 takes RGB images, got grey ones"),
        (["--init-from", "no-such"], 7, "no-such"),
    ],
)
def test_what_cannot_be_asked_for_is_told(words, code, message, images, tmp_path, capsys):
    check_refused([str(images), "-o", str(tmp_path / "my.bbc"), *words], code, message, capsys)
    assert not (tmp_path / "my.bbc").exists()
    assert not (tmp_path / "my.training").exists()


def check_refused(words: list[str], code: int, message: str, capsys) -> None:
    assert main(["train", *words]) == code
    out, err = capsys.readouterr()
    assert out == ""
    assert err.count("\n") == 1, err
    assert err.startswith("bbcodec: ")
    assert message in err


def test_bad_data_get_a_clear_line(tmp_path, capsys):
    empty, broken, one, sizes = (tmp_path / name for name in ("empty", "broken", "one", "sizes"))
    for folder in (empty, broken, one, sizes):
        folder.mkdir()
    (broken / "a.png").write_bytes(b"\x89PNG and no more")
    Image.new("L", (8, 8)).save(one / "a.png")
    np.save(tmp_path / "float.npy", np.random.default_rng(0).random((9, 8, 8)))  # measurements, no levels
    for data, message in (
        (tmp_path / "none", "does not exist"),
        (empty, "no images in"),
        (broken, "skipped files that cannot be read"),
        (one, "expected at least 2 images"),
        (tmp_path / "float.npy", "is float64 (9, 8, 8), expected (N, H, W)"),
    ):
        check_refused([str(data), "-o", str(tmp_path / "my.bbc")], 3, message, capsys)


def test_targets_are_not_overwritten_unless_asked(images, tmp_path, capsys):
    (tmp_path / "my.bbc").write_bytes(b"precious")
    check_refused([str(images), "-o", str(tmp_path / "my.bbc")], 4, "use --force", capsys)
    check_refused([str(images), "-o", str(tmp_path / "my.bb")], 3, "a codec name that ends in .bbc", capsys)
    assert (tmp_path / "my.bbc").read_bytes() == b"precious"
