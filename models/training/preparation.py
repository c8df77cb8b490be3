"""Before a training run: its model, settings and images, from inputs, recipe and options."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch

from bbcodec.codec.codec import Codec
from bbcodec.codec.file import load_codec
from bbcodec.codec.torch_backend import torch_of
from bbcodec.errors import InputError
from bbcodec.models.families import PRESETS, Family, PresetName, TrainableModel, find_family
from bbcodec.models.training.batches import check_ranks, steps_per_epoch
from bbcodec.models.training.data import Dataset, check_codec, fit, load_dataset
from bbcodec.models.training.distributed import Process
from bbcodec.models.training.recipes import RULES, Recipe, TrainingSettings, configure
from bbcodec.models.training.trainer import Trainer

MUON_RATE_OF_CODECS = 0.06  # where a run begins with a codec: its inner weights have grown, and move less for a step
COMPILED_MINUTES, COMPILED_STEPS = 3.0, 500  # shorter runs end before compilation pays off
DEFAULT_FAMILY, DEFAULT_PRESET = "vlae", "balanced"


@dataclass(frozen=True)
class TrainingPlan:
    """All that a run is made of."""

    family: Family
    config: Any  # of the family
    settings: TrainingSettings
    dataset: Dataset
    recipe: Recipe
    start: TrainableModel | None  # with the initial weights
    initial_codec: str  # its name and digest, for cards; empty for random weights
    name: str = ""  # what it is called among others that are tried

    def trainer(self, process: Process, compiled: bool) -> Trainer:
        """The run before its first step. Raises InputError if images and model do not fit."""
        check_ranks(self.settings, process.ranks)
        try:
            return Trainer(
                self.family, self.config, self.settings, self.dataset,
                start=self.start, process=process, compiled=compiled,
            )  # fmt: skip
        except ValueError as error:
            raise InputError(f"invalid model: {error}") from None

    def facts(self, trainer: Trainer) -> dict[str, Any]:
        """The plan for `Watcher.started`."""
        return {
            "model": self.family.name,
            "parameters": sum(p.numel() for p in trainer.model.parameters()),
            "pixels": asdict(self.dataset.pixels),
            "train_images": len(self.dataset.train),
            "valid_images": len(self.dataset.valid),
            "settings": asdict(self.settings),
            "config": asdict(self.config),
            "steps": trainer.steps,
            "step": trainer.step,
        }


def prepare(
    inputs: Sequence[Path], valid: Sequence[Path], recipe: Recipe, overrides: Mapping[str, Any]
) -> TrainingPlan:
    """Images, model and settings of a run; overrides win over the settings of the recipe.

    Raises InputError, MissingCodec or BadCodecFile.
    """
    return plan_for(load_images(inputs, valid, recipe, overrides), recipe, overrides)


def load_images(inputs: Sequence[Path], valid: Sequence[Path], recipe: Recipe, overrides: Mapping[str, Any]) -> Dataset:
    """The images of a run, all sizes of them. Raises InputError."""
    wanted = {**recipe.settings, **overrides}
    return load_dataset(
        inputs,
        valid,
        levels=2 if wanted.get("binarise") else None,
        valid_images=_valid_count(wanted, "valid_images", TrainingSettings.valid_images),
        seed=_valid_count(wanted, "seed", TrainingSettings.seed),
    )


def plan_for(
    dataset: Dataset,
    recipe: Recipe,
    overrides: Mapping[str, Any],
    name: str = "",
    variant: Mapping[str, Any] | None = None,
) -> TrainingPlan:
    """Model and settings for the images of `load_images`; overrides win over the recipe, and both over the variant.

    variant: changes of the preset; name: what to call it. Raises InputError, MissingCodec or BadCodecFile.
    """
    preset = _preset_name(recipe.preset or DEFAULT_PRESET)
    codec = load_codec(recipe.init_from, device="cpu", engine=False) if recipe.init_from else None
    family = find_family(recipe.model or (codec.family if codec else DEFAULT_FAMILY))
    wanted = {**recipe.settings, **overrides}
    defaults = family.preset(preset, dataset.pixels.seen, *sizes_of(dataset))
    defaults |= {**(variant or {}), **asdict(dataset.pixels.seen)}
    start = None
    if codec is not None:
        check_codec(dataset, codec.name, codec.pixels)
        start = _model_of(codec, family)
        defaults |= asdict(start.config) | {"muon_rate": MUON_RATE_OF_CODECS}
    try:
        config, settings = configure(family.config, defaults, wanted)
    except InputError as error:
        raise _named_after_recipe(error, family, defaults, recipe) from None
    _check_pixels(config, dataset)
    if codec is not None and start is not None and config != start.config:
        raise InputError(f"the model of codec {codec.name} differs from these settings: leave its sizes out")
    initial_codec = f"{codec.name}, digest {codec.digest}" if codec else ""
    return TrainingPlan(family, config, settings, fit(dataset, settings), recipe, start, initial_codec, name)


def sizes_of(dataset: Dataset) -> tuple[tuple[int, int], bool]:
    """What presets ask about images: height and width, of each or of crops, and whether all images have them."""
    side = dataset.max_crop_side()
    return dataset.size or (side, side), dataset.size is not None


def _preset_name(name: str) -> PresetName:
    for known in PRESETS:
        if known == name:
            return known
    raise InputError(f"unknown preset {name!r}: expected one of {', '.join(PRESETS)}")


def _valid_count(settings: Mapping[str, Any], name: str, default: int) -> int:
    """A setting that images are read with; the default for an invalid one, which `configure` refuses later."""
    value = settings.get(name, default)
    return value if isinstance(value, int) and RULES[name].holds(value) else default


def _check_pixels(config: Any, dataset: Dataset) -> None:
    """Raise InputError unless the model is one of the pixels of the images."""
    pixels = dataset.pixels.seen
    if (config.channels, config.levels) != (pixels.channels, pixels.levels):
        raise InputError(
            f"channels is {config.channels} and levels {config.levels}, but the images have {pixels.channels} and "
            f"{pixels.levels}: leave both out (binarise=true makes grey images two-level)"
        )


def _named_after_recipe(error: InputError, family: Family, defaults: Mapping[str, Any], recipe: Recipe) -> InputError:
    """The error of `configure`, with the name of the recipe if that alone causes it."""
    try:
        configure(family.config, defaults, recipe.settings)
    except InputError as alone:
        if recipe.name and str(alone) == str(error):
            return InputError(f"{recipe.name}.toml: {error}")
    return error


def _model_of(codec: Codec, family: Family) -> TrainableModel:
    """The model of a codec to start from. Raises InputError if it is of another family."""
    model = torch_of(codec).model
    if codec.family != family.name or not isinstance(model, TrainableModel):
        raise InputError(f"codec {codec.name} is of family {codec.family}, expected {family.name}")
    return model


def worth_compiling(device: torch.device, plan: TrainingPlan) -> bool:
    """Whether to compile parts of the model: on accelerators, unless the run is short."""
    settings = plan.settings
    steps = settings.epochs * steps_per_epoch(plan.dataset, settings)
    short = steps < COMPILED_STEPS if settings.epochs else settings.minutes < COMPILED_MINUTES
    return device.type != "cpu" and not short
