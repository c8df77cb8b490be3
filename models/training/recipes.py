"""Settings of a training run: their checks, recipe files, and assignments on the command line.

Settings and the fields of a model's config share one flat namespace: `--set hidden=48 --set minutes=30`.
A recipe is a short TOML file that names a model and sets some of them.
"""

from __future__ import annotations

import difflib
import math
import os
import tomllib
from collections.abc import Callable, Iterable, Mapping
from dataclasses import MISSING, dataclass, field, fields
from pathlib import Path
from typing import Any, Final, NamedTuple, TypeVar, get_args, get_origin, get_type_hints

from bbcodec.errors import InputError

Config = TypeVar("Config")  # a family's frozen config dataclass

LATEST_ROUNDING: Final = 2 / 3  # at least the last third of a run trains the network that is coded


class Rule(NamedTuple):
    """The valid values of a setting: in words, and as a test."""

    expected: str
    holds: Callable[[Any], bool]


ABOVE_ZERO: Final = Rule("a number above 0", lambda value: value > 0)
FROM_ZERO: Final = Rule("a number of at least 0", lambda value: value >= 0)
COUNT: Final = Rule("a whole number of at least 1", lambda value: value >= 1)
BATCH: Final = Rule("a whole number from 1 to 65,536", lambda value: 1 <= value <= 2**16)
COUNT_FROM_ZERO: Final = Rule("a whole number of at least 0", lambda value: value >= 0)

RULES: Final = {
    "minutes": ABOVE_ZERO,
    "epochs": FROM_ZERO,
    "batch": BATCH,
    "crop": COUNT_FROM_ZERO,
    "flips": Rule("true or false", lambda value: True),
    "turns": Rule("true or false", lambda value: True),
    "binarise": Rule("true or false", lambda value: True),
    "learning_rate": ABOVE_ZERO,
    "muon_rate": ABOVE_ZERO,
    "weight_decay": Rule("a number from 0 to 10", lambda value: 0 <= value <= 10),
    "warm_up": COUNT_FROM_ZERO,
    "free_nats": FROM_ZERO,
    "rate_weight": FROM_ZERO,
    "word_dropout": Rule("a share from 0 to below 1", lambda value: 0 <= value < 1),
    "rounding_from": Rule("a share from 0 to 2/3", lambda value: 0 <= value <= LATEST_ROUNDING),
    "average": Rule("a number from 0 to below 1", lambda value: 0 <= value < 1),
    "clip": ABOVE_ZERO,
    "valid_images": COUNT,
    "seed": Rule("a whole number from 0 to below 2**63", lambda value: 0 <= value < 2**63),
}


@dataclass(frozen=True)
class TrainingSettings:
    """How a model is trained; `docs/training.md` explains each setting. Raises InputError for an invalid value."""

    minutes: float = 20.0  # length of the run, unless epochs is given
    epochs: float = 0.0  # if above 0, length in passes over the training images; minutes is then ignored
    batch: int = 16  # images a step, of all processes together
    crop: int = 0  # side of random square crops, in pixels; 0: whole images, all of one size
    flips: bool = False  # mirror images left to right with probability 1/2
    turns: bool = False  # turn images by quarters of a circle, each as likely; by halves if they are not square
    binarise: bool = False  # two-level models of grey images: pixel = uniform(0, 1) < value / 255, drawn at each use
    learning_rate: float = 2e-3  # of Adam: biases, first and last layers
    muon_rate: float = 0.02  # of Muon: inner weights
    weight_decay: float = 0.2  # of these, times muon_rate, a step
    warm_up: int = 200  # steps in which the rates rise
    free_nats: float = 0.05  # of each latent: a rate below this costs nothing while the network does not round
    rate_weight: float = 1.0  # of the rates of latents in the loss (Higgins et al. 2017)
    word_dropout: float = 0.0  # share of pixels hidden from the decoder while the network does not round
    rounding_from: float = 0.6  # share of the run after which the network rounds
    average: float = 0.998  # decay of the weights' moving average, a step
    clip: float = 1.0  # largest norm of a gradient
    valid_images: int = 1000  # maximum number held out
    seed: int = 0  # of everything random

    def __post_init__(self) -> None:
        hints = get_type_hints(type(self))
        for name, rule in RULES.items():
            given = getattr(self, name)
            value = typed(name, given, hints[name], rule.expected)
            if not rule.holds(value):
                raise InputError(f"{name} is {given!r}, expected {rule.expected}")
            object.__setattr__(self, name, value)


# --- values ----------------------------------------------------------------------------------------------------------


def typed(name: str, value: Any, field_type: Any, expected: str = "") -> Any:
    """`value` as a field of this type holds it: integers become floats where needed, and lists tuples.

    Raises InputError for a value of another type, with `name` and `expected` in its message.

    >>> typed("minutes", 20, float), typed("sizes", [1, 2], tuple[int, ...])
    (20.0, (1, 2))
    """
    if get_origin(field_type) is tuple and isinstance(value, (list, tuple)):
        parts = get_args(field_type)
        types = parts[:1] * len(value) if parts[1:] == (...,) else parts
        if len(types) == len(value):
            return tuple(typed(f"{name}[{n}]", one, types[n]) for n, one in enumerate(value))
    whole = isinstance(value, int) and not isinstance(value, bool)
    if field_type is float and (whole or isinstance(value, float)) and math.isfinite(value):
        return float(value)
    if field_type is int and whole:
        return value
    if isinstance(field_type, type) and field_type not in (int, float) and isinstance(value, field_type):
        return value
    raise InputError(f"{name} is {value!r}, expected {expected or _described(field_type)}")


def _described(field_type: Any) -> str:
    """A type in words."""
    known = {int: "a whole number", float: "a number", bool: "true or false", str: "text"}
    if get_origin(field_type) is tuple:
        return "a list of values"
    return known.get(field_type, f"a value of type {field_type}")


def refuse_unknown(keys: Iterable[str], known: Iterable[str], what: str) -> None:
    """Raise InputError for the first unknown key, with the closest known one and a list of all; what: a noun for it."""
    names = list(known)
    for key in keys:
        if key not in names:
            close = difflib.get_close_matches(key, names, 1)
            hint = f" (did you mean {close[0]}?)" if close else ""
            raise InputError(f"unknown {what} {key!r}{hint}: expected one of {', '.join(names)}")


def configure(
    config_class: type[Config], defaults: Mapping[str, Any], overrides: Mapping[str, Any]
) -> tuple[Config, TrainingSettings]:
    """The config of a model and the settings of its training, from one flat namespace of the fields of both.

    defaults: of a preset; overrides: of a recipe and the user, which win. Raises InputError for unknown keys, for
    values of another type than their fields, and for values that the config class refuses.
    """
    model_names = [one.name for one in fields(config_class)]  # type: ignore[arg-type]  # a dataclass
    names = [one.name for one in fields(TrainingSettings)]
    both = set(model_names) & set(names)
    if both:
        raise ValueError(f"{config_class.__name__} and the settings of training share the names {sorted(both)}")
    values = {**defaults, **overrides}
    refuse_unknown(values, model_names + names, "setting")
    hints = get_type_hints(config_class)
    sizes = {key: typed(key, value, hints[key]) for key, value in values.items() if key in hints}
    missing = [name for name in model_names if name not in sizes and _is_required(config_class, name)]
    if missing:
        raise InputError(f"{', '.join(missing)} must be set: the model has no default")
    try:
        config = config_class(**sizes)
    except (TypeError, ValueError) as error:
        raise InputError(f"invalid model: {error}") from None
    return config, TrainingSettings(**{key: value for key, value in values.items() if key in names})


def _is_required(config_class: Any, name: str) -> bool:
    one = next(one for one in fields(config_class) if one.name == name)
    return one.default is MISSING and one.default_factory is MISSING


def parse_assignment(text: str) -> tuple[str, Any]:
    """Key and value of `key=value`. Values are TOML; what is not is text.

    Raises InputError if there is no key or no value.

    >>> parse_assignment("hidden=48"), parse_assignment("flips = true"), parse_assignment("decoder=mlp")
    (('hidden', 48), ('flips', True), ('decoder', 'mlp'))
    """
    key, sign, value = (part.strip() for part in text.partition("="))
    if not key or not sign or not value:
        raise InputError(f"expected key=value, as in hidden=48, got {text!r}")
    try:
        parsed = tomllib.loads(f"value = {value}")
    except tomllib.TOMLDecodeError:
        return key, {"True": True, "False": False}.get(value, value)
    return key, parsed["value"] if len(parsed) == 1 else value


# --- recipes ---------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Recipe:
    """The content of a recipe file; `name` is that of the file. What the file leaves out is empty."""

    name: str
    model: str = ""  # name of the family
    preset: str = ""
    data: str = ""  # the training images in words, for the card
    prepare: tuple[str, ...] = ()  # the training images: names in the folder that `benchmarks/prepare.py` writes
    valid: tuple[str, ...] = ()  # the held-out images there; by default some of the training images
    init_from: str | None = None  # a codec with the initial weights: its name, or its path relative to the recipe
    settings: Mapping[str, Any] = field(default_factory=dict)  # overrides for `configure`


def read_recipe(path: str | os.PathLike[str]) -> Recipe:
    """The recipe in a TOML file. Raises InputError if it cannot be read, or has unknown keys or values."""
    path = Path(path)
    try:
        content = tomllib.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise InputError(f"{path} cannot be read: {error.strerror or error}") from None
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise InputError(f"{path} is not valid TOML: {error}") from None
    types = {"model": str, "preset": str, "data": str, "init_from": str, "settings": dict}
    lists = {"prepare": tuple[str, ...], "valid": tuple[str, ...]}
    try:
        refuse_unknown(content, [*types, *lists], "key")
        for key, value in content.items():
            several = [value] if key in lists and isinstance(value, str) else value
            content[key] = typed(key, several, (types | lists)[key])
    except InputError as error:
        raise InputError(f"{path}: {error}") from None
    codec = path.parent / content.get("init_from", "")
    if codec.is_file():
        content["init_from"] = os.path.normpath(codec)
    return Recipe(path.name.removesuffix(".toml"), **content)
