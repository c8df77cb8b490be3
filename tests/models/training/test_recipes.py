"""Settings of training: each is checked and keeps its type; assignments and recipes say what they say, or why not."""

import json
from dataclasses import asdict, dataclass, fields, replace
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bbcodec.errors import InputError
from bbcodec.models.training.recipes import (
    RULES,
    Recipe,
    TrainingSettings,
    configure,
    parse_assignment,
    read_recipe,
    typed,
)
from bbcodec.models.vlae_config import VlaeConfig

DOCS = Path(__file__).resolve().parents[3] / "docs" / "training.md"

BAD = [
    ("minutes", 0), ("minutes", -1.0), ("minutes", float("nan")), ("minutes", float("inf")), ("minutes", "20"),
    ("epochs", -0.1), ("epochs", None), ("batch", 0), ("batch", 1.0), ("batch", True), ("crop", -1), ("crop", 64.0),
    ("flips", 1), ("flips", "true"), ("turns", 1), ("binarise", 0), ("learning_rate", 0.0), ("muon_rate", -0.02),
    ("weight_decay", -0.1), ("warm_up", -1), ("free_nats", -1e-9), ("rate_weight", -0.1), ("word_dropout", -0.1),
    ("word_dropout", 1.0),
    ("rounding_from", 0.67), ("rounding_from", -0.1), ("average", 1.0), ("average", -0.5), ("clip", 0),
    ("valid_images", 0), ("seed", -1), ("seed", 2**63),
]  # fmt: skip


@dataclass(frozen=True)
class Config:
    """With a field of each type that a config may have."""

    channels: int = 3
    levels: int = 256
    share: float = 0.5
    gated: bool = True
    decoder: str = "mlp"
    sizes: tuple[int, ...] = (1, 2)

    def __post_init__(self):
        if self.channels == 7:
            raise ValueError("seven channels")


def test_every_setting_has_a_rule_and_is_explained():
    text = DOCS.read_text(encoding="utf-8")
    names = [one.name for one in fields(TrainingSettings)]
    assert list(RULES) == names
    assert [name for name in names if f"| `{name}` |" not in text] == []


@pytest.mark.parametrize(("name", "value"), BAD)
def test_values_that_cannot_be_are_refused_by_name(name, value):
    with pytest.raises(InputError) as caught:
        replace(TrainingSettings(), **{name: value})
    assert str(caught.value).startswith(f"{name} is {value!r}, expected ")
    assert "\n" not in str(caught.value)


def test_every_setting_can_be_wrong():
    assert {name for name, _ in BAD} == set(RULES)


def test_ends_that_are_allowed():
    ends = {
        "epochs": 0,
        "crop": 0,
        "warm_up": 0,
        "free_nats": 0,
        "rate_weight": 0,
        "word_dropout": 0,
        "rounding_from": 2 / 3,
        "average": 0,
        "seed": 2**63 - 1,
    }
    assert asdict(TrainingSettings(**ends)) | ends == asdict(TrainingSettings(**ends))


def test_values_keep_the_types_of_their_fields():
    settings = TrainingSettings(minutes=3, epochs=1, clip=2)
    kinds = {one.name: type(getattr(settings, one.name)).__name__ for one in fields(settings)}
    assert kinds == {one.name: one.type for one in fields(settings)}
    assert json.loads(json.dumps(asdict(settings))) == asdict(settings)


def test_one_namespace_for_the_model_and_its_training():
    config, settings = configure(
        Config, {"share": 1, "sizes": [4, 5], "minutes": 9, "flips": True}, {"minutes": 30, "decoder": "cnn"}
    )
    assert config == Config(share=1.0, sizes=(4, 5), decoder="cnn")
    assert isinstance(config.share, float)
    assert settings == TrainingSettings(minutes=30.0, flips=True)
    assert configure(VlaeConfig, {}, {}) == (VlaeConfig(), TrainingSettings())


@pytest.mark.parametrize(
    ("overrides", "message"),
    [
        ({"hiden": 48}, r"^unknown setting 'hiden' \(did you mean hidden\?\): expected one of channels, .*minutes"),
        ({"xyzzy": 1}, r"^unknown setting 'xyzzy': expected one of "),
        ({"hidden": 48.0}, r"^hidden is 48.0, expected a whole number$"),
        ({"hidden": True}, r"^hidden is True, expected a whole number$"),
        ({"hidden": "48"}, r"^hidden is '48', expected a whole number$"),
        ({"batch": -2}, r"^batch is -2, expected a whole number from 1 to 65,536$"),
    ],
)
def test_what_cannot_be_set_is_told(overrides, message):
    with pytest.raises(InputError, match=message):
        configure(VlaeConfig, {}, overrides)


@pytest.mark.parametrize(
    ("overrides", "message"),
    [
        ({"decoder": 3}, "decoder is 3, expected text"),
        ({"gated": "yes"}, "gated is 'yes', expected true or false"),
        ({"sizes": 3}, "sizes is 3, expected a list of values"),
        ({"sizes": [1, 2.5]}, r"sizes\[1\] is 2.5, expected a whole number"),
        ({"share": float("inf")}, "share is inf, expected a number"),
        ({"channels": 7}, "invalid model: seven channels"),
    ],
)
def test_configs_are_checked_like_settings(overrides, message):
    with pytest.raises(InputError, match=f"^{message}$"):
        configure(Config, {}, overrides)


def test_a_config_may_not_take_the_names_of_settings():
    @dataclass(frozen=True)
    class Clash:
        batch: int = 1

    with pytest.raises(ValueError, match="'batch'"):
        configure(Clash, {}, {})


def test_a_field_without_a_default_must_be_set():
    @dataclass(frozen=True)
    class Strict:
        depth: int

    with pytest.raises(InputError, match="depth must be set"):
        configure(Strict, {}, {})
    assert configure(Strict, {"depth": 2}, {})[0] == Strict(2)


def test_pairs_have_two_values():
    assert typed("pair", [1, 2.5], tuple[int, float]) == (1, 2.5)
    with pytest.raises(InputError, match="pair"):
        typed("pair", [1], tuple[int, float])


# --- assignments


VALUES = st.integers() | st.floats(allow_nan=False) | st.booleans() | st.lists(st.integers(), max_size=3)


@given(VALUES)
def test_assignments_say_values_as_toml_does(value):
    text = json.dumps(value) if not isinstance(value, float) else repr(value)
    if isinstance(value, int) and not isinstance(value, bool) and not -(2**63) <= value < 2**63:
        return  # TOML's whole numbers end there
    key, parsed = parse_assignment(f"key = {text}")
    assert key == "key"
    assert (type(parsed), parsed) == (type(value), value)


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("a=cnn", "cnn"), ("a='x'", "x"), ('a="1"', "1"), ("a=x=y", "x=y"), ("a=True", True), ("a=False", False),
        ("a=1\nb=2", "1\nb=2"), ("a=1e-3", 1e-3), ("a=2.", "2."),
    ],
)  # fmt: skip
def test_what_is_not_toml_is_a_text(text, value):
    assert parse_assignment(text) == ("a", value)


@pytest.mark.parametrize("text", ["", "hidden", "=3", "hidden=", " = "])
def test_assignments_without_key_or_value(text):
    with pytest.raises(InputError, match="expected key=value"):
        parse_assignment(text)


# --- recipes

ROOT = Path(__file__).resolve().parents[3]


def test_a_recipe_is_short(tmp_path):
    path = tmp_path / "mnist-1.toml"
    path.write_text(
        'model = "vlae"\ndata = "MNIST"\nprepare = "mnist_train.npy"\nvalid = ["a", "b"]\n'
        "[settings]\nhidden = 48\nminutes = 30\n"
    )
    assert read_recipe(path) == Recipe(
        "mnist-1", "vlae", data="MNIST", prepare=("mnist_train.npy",), valid=("a", "b"),
        settings={"hidden": 48, "minutes": 30},
    )  # fmt: skip
    path.write_text("")
    assert read_recipe(str(path)) == Recipe("mnist-1")


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("modle = 'vlae'", r"unknown key 'modle' \(did you mean model\?\)"),
        ("hidden = 48", "unknown key 'hidden'"),
        ("model = 3", "model is 3, expected text"),
        ("prepare = 3", "prepare is 3, expected a list of values"),
        ("settings = 1", "settings is 1"),
        ("model = ", "is not valid TOML"),
        (b"\xff\xfe", "is not valid TOML"),
    ],
)
def test_recipes_that_say_something_else(text, message, tmp_path):
    path = tmp_path / "bad.toml"
    path.write_bytes(text if isinstance(text, bytes) else text.encode())
    with pytest.raises(InputError, match=message) as caught:
        read_recipe(path)
    assert str(path) in str(caught.value)


def test_a_codec_to_start_from_may_lie_beside_the_recipe(tmp_path):
    """Else it is the name of a shipped codec, or a path from where one is."""
    (tmp_path / "codecs").mkdir()
    (tmp_path / "codecs" / "first.bbc").touch()
    (tmp_path / "recipe.toml").write_text('init_from = "codecs/first.bbc"')
    assert read_recipe(tmp_path / "recipe.toml").init_from == str(tmp_path / "codecs" / "first.bbc")
    (tmp_path / "recipe.toml").write_text('init_from = "photo-3"')
    assert read_recipe(tmp_path / "recipe.toml").init_from == "photo-3"


def test_every_recipe_starts_from_a_codec_that_is_there():
    recipes = [path for folder in ("models/zoo", "benchmarks/codecs") for path in (ROOT / folder).glob("*.toml")]
    assert len(recipes) > 10
    for path in recipes:
        start = read_recipe(path).init_from
        assert start is None or Path(start).is_file()


def test_a_recipe_that_is_not_there(tmp_path):
    with pytest.raises(InputError, match=r"no\.toml cannot be read: No such file"):
        read_recipe(tmp_path / "no.toml")
