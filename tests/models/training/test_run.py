"""Whole runs: a codec comes out; stopped and killed ones go on as if nothing had been; lost ones are rolled back."""

import hashlib
import json
import math
import os
import random
import signal
import subprocess
import sys
import time
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from PIL import Image
from tiny_models import SIZES, pictures

from bbcodec import compress
from bbcodec.codec.catalogue import shipped_codecs
from bbcodec.codec.file import load_codec
from bbcodec.errors import BBCodecError, InputError, TargetExists, TrainingDiverged
from bbcodec.models.families import Family, family_names, find_family
from bbcodec.models.training import run as module
from bbcodec.models.training.cards import archive_bits_per_dim, file_bits_per_dim
from bbcodec.models.training.checkpoints import WorkFolder
from bbcodec.models.training.loop import Diverged, Run
from bbcodec.models.training.recipes import Recipe
from bbcodec.models.training.run import Silent, train
from bbcodec.models.vlae import Vlae

TINY = {**SIZES, "batch": 8, "epochs": 3.0, "learning_rate": 0.01, "warm_up": 5, "free_nats": 0.0}


@pytest.fixture(autouse=True)
def quick(monkeypatch):
    """One thread; and few reports, as each tries the held-out images, writes a codec, and draws."""
    threads = torch.get_num_threads()
    monkeypatch.setattr(module, "REPORTS", 2)
    yield
    torch.set_num_threads(threads)


@pytest.fixture
def images(tmp_path):
    np.save(tmp_path / "images.npy", pictures("grey", 44, 12, 10)[..., 0])
    return tmp_path / "images.npy"


class Listener(Silent):
    """A watcher who remembers."""

    def __init__(self):
        self.facts, self.steps, self.reports, self.notes = {}, [], [], []

    def started(self, facts):
        self.facts = facts

    def step(self, event):
        self.steps.append(event)

    def report(self, event):
        self.reports.append(event)

    def note(self, line):
        self.notes.append(line)


def learnt(folder):
    """What a run has learnt: all tensors of its checkpoint, and its codec."""
    state = torch.load(folder / "my.training" / "checkpoint.pt", weights_only=True)
    seen = hashlib.blake2b(digest_size=16)
    for part in (state["model"], state["average"], *(o["state"][k] for o in state["optimisers"] for k in o["state"])):
        for name, tensor in sorted(part.items()):
            seen.update(name.encode())
            seen.update(np.ascontiguousarray(torch.as_tensor(tensor).numpy()))
    codec = load_codec(folder / "my.bbc", "cpu")
    weights = {name: tensor.numpy().tobytes() for name, tensor in codec.model.state_dict().items()}
    return state["counts"]["step"], seen.hexdigest(), weights


def test_a_codec_comes_out_that_codes_the_images(images, tmp_path, monkeypatch):
    monkeypatch.setattr(module, "REPORTS", 4)
    listener = Listener()
    summary = train([images], tmp_path / "my.bbc", overrides=TINY, threads=1, watch=listener)
    codec = load_codec(tmp_path / "my.bbc", "cpu")
    x = np.load(images)[..., None]
    assert np.array_equal(codec.decode(codec.encode(x)), x)
    assert summary.codec_bytes == (tmp_path / "my.bbc").stat().st_size
    assert summary.bits_per_dim == codec.card["bits_per_dim"]
    assert (summary.steps, summary.valid_images, summary.model) == (18, 2, "vlae")
    assert (codec.card["steps"] <= 18, codec.card["images"], codec.card["data"]) == (True, 42, "42 images")
    assert listener.facts["train_images"] == 42
    assert len(listener.reports) == 4
    assert (
        min(r["valid_bits_per_dim"] for r in listener.reports)
        == [r for r in listener.reports if r["best"]][-1]["valid_bits_per_dim"]
    )
    folder = tmp_path / "my.training"
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


def test_without_a_codec_images_take_what_an_archive_of_their_files_takes(tmp_path, monkeypatch):
    """Of two sizes, each of which has sheets; but for the container, which messages do not have either."""
    images = [*pictures("RGB", 30, 12, 10), *pictures("RGB", 20, 9, 16, 1)]
    (tmp_path / "in").mkdir()
    for number, image in enumerate(images):
        Image.fromarray(image).save(tmp_path / "in" / f"{number:03}.png")
    compress(tmp_path / "in", tmp_path / "a.bb", codec="none")
    dims = sum(image.size for image in images)
    whole = 8 * (tmp_path / "a.bb").stat().st_size / dims
    assert 0.8 * whole < archive_bits_per_dim(images) < whole
    assert archive_bits_per_dim(images) < file_bits_per_dim(images, 256, "webp")
    large = np.zeros((1100, 1000, 3), np.uint8)
    assert 0 < archive_bits_per_dim([large]) < 0.01
    noise = np.random.default_rng(0).integers(0, 256, (1100, 1000, 1), dtype=np.uint8)
    assert archive_bits_per_dim([noise, noise[::-1]]) > 7  # none is left out
    long = np.zeros((17000, 2, 1), np.uint8)
    assert file_bits_per_dim([long], 256, "webp") == file_bits_per_dim([long], 256, "png")
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path / "nowhere"))
    assert archive_bits_per_dim(images) is None


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
            delta = load_codec(tmp_path / "my.bbc", "cpu").model.committed_rate(torch.Size((1, 1, 12, 10)))
            assert lines[0]["committed_bits_per_dim"] == pytest.approx(delta / 120 / math.log(2), abs=1e-5)
            assert np.mean([line["train_z"] / line["committed_bits_per_dim"] for line in lines]) > 1


def test_a_run_that_is_stopped_goes_on_as_if_nothing_had_happened(images, tmp_path, monkeypatch):
    """Stopped twice, between two steps, before and after the network rounds; checkpoints are written at every step."""
    (tmp_path / "whole").mkdir()
    train([images], tmp_path / "whole" / "my.bbc", overrides=TINY, threads=1)
    (tmp_path / "parts").mkdir()
    output = tmp_path / "parts" / "my.bbc"
    monkeypatch.setattr(module, "CHECKPOINT_SECONDS", 0.0)
    real = Run.advance
    for stop in (4, 14):

        def advance(run, share, stop=stop):
            if run.step == stop:
                raise KeyboardInterrupt
            return real(run, share)

        monkeypatch.setattr(Run, "advance", advance)
        with pytest.raises(KeyboardInterrupt):
            train([images], output, overrides=TINY, threads=1, resume=True)
        assert not output.exists()
        assert WorkFolder(output).best.exists() == (stop == 14)
    monkeypatch.setattr(Run, "advance", real)
    listener = Listener()
    train([images], output, overrides=TINY, threads=1, resume=True, watch=listener)
    assert listener.notes[0].startswith("going on at step 14")
    assert learnt(tmp_path / "whole") == learnt(tmp_path / "parts")
    steps = [json.loads(line)["step"] for line in (tmp_path / "parts/my.training/log.jsonl").read_text().splitlines()]
    assert steps == sorted(steps)


def test_a_finished_run_can_go_on_for_longer(images, tmp_path):
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
    with pytest.raises(InputError, match="with other images, or a seed that holds others out: give"):
        train([tmp_path / "others.npy"], tmp_path / "my.bbc", overrides=TINY, threads=1, resume=True)


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
    listener = Listener()
    settings = {**TINY, "epochs": epochs}
    train([images], tmp_path / "my.bbc", overrides=settings, threads=1, resume=True, watch=listener)
    assert any("is gone or damaged" in note for note in listener.notes)
    assert load_codec(tmp_path / "my.bbc", "cpu").card["steps"] == epochs * 6


def test_what_is_there_is_not_overwritten_unless_asked(images, tmp_path):
    (tmp_path / "my.bbc").write_bytes(b"mine")
    with pytest.raises(TargetExists, match="--force"):
        train([images], tmp_path / "my.bbc", overrides=TINY)
    assert (tmp_path / "my.bbc").read_bytes() == b"mine"
    assert not (tmp_path / "my.training").exists()
    train([images], tmp_path / "my.bbc", overrides={**TINY, "epochs": 1.0}, threads=1, force=True)
    assert (tmp_path / "my.bbc").read_bytes() != b"mine"


def lose(monkeypatch, times):
    """The loss is lost at step 10, so many times."""
    real, left = Run.advance, [times]

    def advance(run, share):
        if run.step == 10 and left[0]:
            left[0] -= 1
            raise Diverged("at step 10 the loss is nan")
        return real(run, share)

    monkeypatch.setattr(Run, "advance", advance)


def test_a_loss_that_is_lost_once_is_rolled_back(images, tmp_path, monkeypatch):
    lose(monkeypatch, 1)
    listener = Listener()
    summary = train([images], tmp_path / "my.bbc", overrides=TINY, threads=1, watch=listener)
    assert any("half the learning rate" in note for note in listener.notes)
    assert summary.steps == 18
    state = torch.load(tmp_path / "my.training" / "checkpoint.pt", weights_only=True)
    assert (state["rolled_back"], state["losses"]["caution"]) == (True, 0.5)
    lines = [json.loads(line) for line in (tmp_path / "my.training" / "log.jsonl").read_text().splitlines()]
    assert [line["why"] for line in lines if line["kind"] == "rolled_back"] == ["at step 10 the loss is nan"]


def test_a_loss_that_is_lost_twice_is_reported_and_the_best_codec_stays(images, tmp_path, monkeypatch):
    lose(monkeypatch, 2)
    with pytest.raises(TrainingDiverged, match=r"best\.bbc"):
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
    train([images], tmp_path / "plain" / "my.bbc", overrides=TINY, threads=1)
    monkeypatch.setattr(module, "can_compile", lambda device, prepared: (True, []))
    monkeypatch.setattr(Vlae, "speed_up", lambda model: model.local.compile(backend=broken))
    listener = Listener()
    train([images], tmp_path / "compiled" / "my.bbc", overrides=TINY, threads=1, watch=listener)
    why = "torch could not compile the model (no process can be started): training goes on without, and is slower"
    assert listener.notes == [why]
    assert learnt(tmp_path / "compiled") == learnt(tmp_path / "plain")
    with pytest.raises(RuntimeError, match="no process can be started"):
        torch.compile(torch.square, backend=broken)(torch.ones(3))


@pytest.mark.parametrize(("compiled", "ranks"), [(True, 2), (False, 1)])
def test_a_compiler_that_fails_twice_or_for_one_of_several_ends_the_run(compiled, ranks):
    loop = SimpleNamespace(run=SimpleNamespace(compiled=compiled, ranks=ranks))
    with pytest.raises(RuntimeError, match="no process"):
        module._Loop.do_without_compiler(loop, RuntimeError("no process"))


def test_pictures_that_cannot_be_written_do_not_end_a_run(images, tmp_path):
    (tmp_path / "my.training" / "curves.png").mkdir(parents=True)
    listener = Listener()
    train([images], tmp_path / "my.bbc", overrides=TINY, threads=1, watch=listener)
    assert [note for note in listener.notes if "training goes on without a picture" in note and "curves.png" in note]
    assert len(listener.notes) == 1
    assert (tmp_path / "my.training" / "samples.png").is_file()
    assert load_codec(tmp_path / "my.bbc", "cpu").card["steps"] == 18


def test_training_goes_on_from_a_codec(images, tmp_path):
    """The model is the codec's, whatever the preset says, and its weights are where learning starts."""
    train([images], tmp_path / "first.bbc", overrides=TINY, threads=1)
    settings = {"epochs": 1.0, "batch": 8, "learning_rate": 1e-9}
    train([images], tmp_path / "second.bbc", overrides=settings, init_from=tmp_path / "first.bbc", threads=1)
    first, second = (load_codec(tmp_path / f"{name}.bbc", "cpu") for name in ("first", "second"))
    assert second.model.config == first.model.config
    assert second.card["began_with"] == f"first, digest {first.digest}"
    assert second.card["bits_per_dim"] == pytest.approx(first.card["bits_per_dim"], rel=1e-3)
    with pytest.raises(InputError, match="another model"):
        train([images], tmp_path / "x.bbc", overrides={"hidden": 4}, init_from=tmp_path / "first.bbc")
    with pytest.raises(InputError, match="photo-2 takes RGB images, and these are grey"):
        train([images], tmp_path / "x.bbc", init_from="photo-2")


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"family": "vgae"}, "no model family 'vgae'"),
        ({"preset": "quick"}, "no preset 'quick'"),
        ({"output": "my.bin"}, r"ends in \.bbc"),
        ({"overrides": {"hiden": 3}}, "hidden"),
        ({"overrides": {"latent_stride": 3}}, "this model cannot be"),
        ({"overrides": {"epochs": "many"}}, "epochs"),
        ({"device": "cuda:77"}, "no device"),
        ({"overrides": {"channels": 3}}, "channels is 3 and levels 256, but the images have 1 and 256"),
        ({"overrides": {"levels": 2}}, "channels is 1 and levels 2, but the images have 1 and 256"),
        ({"overrides": {"height": 9}, "family": "vamp"}, r"takes images of \(9, 10\), height and width, and these"),
        ({"overrides": {"seed": -1}}, "seed is -1"),
        ({"overrides": {"valid_images": -5}}, "valid_images is -5"),
        ({"overrides": {"batch": 10**11}}, "batch is 100000000000: a whole number from 1 to 65,536"),
    ],
)
def test_what_cannot_be_is_one_clear_line_and_leaves_nothing(images, tmp_path, change, message):
    arguments = {"output": "my.bbc", **change}
    output = tmp_path / arguments.pop("output")
    with pytest.raises(BBCodecError, match=message) as caught:
        train([images], output, **arguments)
    assert "\n" not in str(caught.value)
    assert {path.name for path in tmp_path.iterdir()} == {"images.npy"}


def test_a_recipe_says_what_is_not_said(images, tmp_path):
    recipe = Recipe("tiny-1", data="slopes", settings={**TINY, "epochs": 1.0})
    train([images], tmp_path / "my.bbc", recipe=recipe, overrides={"layers": 2}, threads=1)
    codec = load_codec(tmp_path / "my.bbc", "cpu")
    assert codec.card["data"] == "slopes"
    assert (codec.model.config.layers, codec.model.config.hidden) == (2, SIZES["hidden"])


def test_a_recipe_that_is_wrong_is_named(images, tmp_path):
    wrong = Recipe("tiny-1", settings={**TINY, "hiden": 3})
    with pytest.raises(InputError, match=r"^tiny-1\.toml: there is no setting 'hiden'"):
        train([images], tmp_path / "my.bbc", recipe=wrong)
    with pytest.raises(InputError, match=r"^there is no setting 'laters'"):
        train([images], tmp_path / "my.bbc", recipe=Recipe("tiny-1", settings=TINY), overrides={"laters": 2})


def test_every_family_says_what_it_is():
    assert "vlae" in family_names()
    for name in family_names():
        family = find_family(name)
        assert isinstance(family, Family)
        assert family.name == name


def test_every_shipped_codec_has_a_recipe_that_is_read():
    from importlib.resources import files

    from bbcodec.models.training.recipes import read_recipe

    zoo = files("bbcodec.models.zoo")
    recipes = [read_recipe(path) for path in zoo.iterdir() if path.name.endswith(".toml")]
    assert {recipe.name for recipe in recipes} == {codec.name for codec in shipped_codecs()}
    for recipe in recipes:
        assert recipe.data
        assert recipe.prepare
        find_family(recipe.model)
    assert recipes


COMMAND = """
import json, sys
from bbcodec.models.training import run as module
module.CHECKPOINT_SECONDS = 0.05
module.train([sys.argv[1]], sys.argv[2], overrides=json.loads(sys.argv[3]), threads=1, resume=True)
"""


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
    assert learnt(tmp_path / "whole") == learnt(tmp_path / "parts")


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
