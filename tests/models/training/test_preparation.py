"""What a run is made of: options, recipes and codecs to start from; and what is refused before the first step."""

import pytest
import torch
from small_runs import TINY, RecordingWatcher
from tiny_models import SIZES

from bbcodec.codec.file import load_codec
from bbcodec.errors import BBCodecError, InputError
from bbcodec.models.training.recipes import Recipe
from bbcodec.models.training.run import train

pytestmark = pytest.mark.usefixtures("quick")


def test_training_goes_on_from_a_codec(images, tmp_path):
    """The model is the codec's, whatever the preset says, and its weights are where learning starts."""
    train([images], tmp_path / "first.bbc", overrides=TINY, threads=1)
    settings = {"epochs": 1.0, "batch": 8, "learning_rate": 1e-9}
    train([images], tmp_path / "second.bbc", overrides=settings, init_from=tmp_path / "first.bbc", threads=1)
    first, second = (load_codec(tmp_path / f"{name}.bbc", "cpu", engine=False) for name in ("first", "second"))
    assert second.backend.model.config == first.backend.model.config
    assert second.card["began_with"] == f"first, digest {first.digest}"
    assert second.card["bits_per_dim"] == pytest.approx(first.card["bits_per_dim"], rel=1e-3)
    with pytest.raises(InputError, match="the model of codec first differs"):
        train([images], tmp_path / "x.bbc", overrides={"hidden": 4}, init_from=tmp_path / "first.bbc")
    with pytest.raises(InputError, match="photo-3 takes RGB images, got grey ones"):
        train([images], tmp_path / "x.bbc", init_from="photo-3")


def test_runs_that_begin_with_a_codec_take_longer_steps_unless_told_otherwise(images, tmp_path):
    rates = {}
    for name, about in (("first", {}), ("second", {}), ("third", {"muon_rate": 0.01})):
        watcher, output = RecordingWatcher(), tmp_path / name / "my.bbc"
        output.parent.mkdir()
        begun = {"init_from": tmp_path / "first" / "my.bbc"} if rates else {}
        train([images], output, overrides={**TINY, "epochs": 1.0, **about}, threads=1, watch=watcher, **begun)
        rates[name] = watcher.facts["settings"]["muon_rate"]
    assert rates == {"first": 0.02, "second": 0.06, "third": 0.01}


def test_no_run_makes_a_codec_worse(images, tmp_path):
    """Steps so long that they spoil the codec."""
    first, second, watcher = tmp_path / "first.bbc", tmp_path / "second.bbc", RecordingWatcher()
    assert train([images], first, overrides=TINY, threads=1).kept_step > 0
    long = {"epochs": 1.0, "batch": 8, "learning_rate": 0.2, "muon_rate": 2.0}
    summary = train([images], second, overrides=long, init_from=first, threads=1, watch=watcher)
    assert summary.kept_step == 0
    assert [report["step"] for report in watcher.reports if report["best"]] == [0]
    assert len(watcher.reports) > 1
    before, after = (load_codec(path, "cpu", engine=False) for path in (first, second))
    assert after.card["bits_per_dim"] == before.card["bits_per_dim"]
    weights = after.backend.model.state_dict()
    assert all(torch.equal(tensor, weights[name]) for name, tensor in before.backend.model.state_dict().items())


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"family": "vgae"}, "unknown model family 'vgae'"),
        ({"preset": "quick"}, "unknown preset 'quick'"),
        ({"output": "my.bin"}, r"ends in \.bbc, got .*my\.bin"),
        ({"overrides": {"hiden": 3}}, "hidden"),
        ({"overrides": {"latent_stride": 3}}, "invalid model: strides are 3"),
        ({"overrides": {"epochs": "many"}}, "epochs"),
        ({"device": "cuda:77"}, "no device"),
        ({"overrides": {"channels": 3}}, "channels is 3 and levels 256, but the images have 1 and 256"),
        ({"overrides": {"levels": 2}}, "channels is 1 and levels 2, but the images have 1 and 256"),
        (
            {"overrides": {"height": 9}, "family": "vamp"},
            r"invalid model: expected images of \(9, 10\), height and width, got \(12, 10\)",
        ),
        ({"overrides": {"seed": -1}}, "seed is -1"),
        ({"overrides": {"valid_images": -5}}, "valid_images is -5"),
        ({"overrides": {"batch": 10**11}}, "batch is 100000000000, expected a whole number from 1 to 65,536"),
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
    codec = load_codec(tmp_path / "my.bbc", "cpu", engine=False)
    assert codec.card["data"] == "slopes"
    assert (codec.backend.model.config.layers, codec.backend.model.config.hidden) == (2, SIZES["hidden"])


def test_a_recipe_that_is_wrong_is_named(images, tmp_path):
    wrong = Recipe("tiny-1", settings={**TINY, "hiden": 3})
    with pytest.raises(InputError, match=r"^tiny-1\.toml: unknown setting 'hiden'"):
        train([images], tmp_path / "my.bbc", recipe=wrong)
    with pytest.raises(InputError, match=r"^unknown setting 'laters'"):
        train([images], tmp_path / "my.bbc", recipe=Recipe("tiny-1", settings=TINY), overrides={"laters": 2})
