"""The model families that are installed, as training needs them: config, model, and sizes for a kind of images.

A family is one object of class `Family`, which an entry point of the group `bbcodec.families` names.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from importlib.metadata import entry_points
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
import torch
from torch import Tensor

from bbcodec.codec.codec import PixelFormat
from bbcodec.errors import InputError
from bbcodec.model.program import LatentModel

if TYPE_CHECKING:
    from numpy.typing import NDArray

GROUP = "bbcodec.families"
Strength = Literal["fast", "balanced", "strong"]
PRESETS: tuple[Strength, ...] = ("fast", "balanced", "strong")


class TrainableModel(LatentModel):
    """A model with its config, and what training may ask of it: nothing happens unless a family says otherwise."""

    config: Any  # of the family's config class

    def begin(self, images: Tensor) -> None:
        """Look at some training images (B, C, H, W) before the first step."""

    def auxiliary(self, images: Tensor, drawn: dict[str, Tensor]) -> dict[str, Tensor]:
        """Further losses, nats of each image (B,), that are learnt beside the ELBO. drawn: the latents by site."""
        return {}

    def committed_rate(self, shape: torch.Size) -> float:
        """Nats that the latents of each image of a batch (B, C, H, W) cost at least, whatever is learnt."""
        return 0.0

    def pictures(self) -> NDArray[np.uint8] | None:
        """Something to look at while the model learns, (N, H, W, C) uint8."""
        return None

    def speed_up(self) -> None:
        """Compile what training spends its time in."""


@dataclass(frozen=True)
class Family:
    """A model family.

    config: its frozen dataclass, with `channels` and `levels`.
    build: a model from such a config as a mapping; raises TypeError or ValueError.
    preset: (strength, pixels, (height, width) of the smallest image, whether all have that size) to settings that
        suit: fields of the config, and of `bbcodec.models.training.recipes.TrainingSettings`.
    """

    name: str
    config: type[Any]
    build: Callable[[Mapping[str, Any]], TrainableModel]
    preset: Callable[[Strength, PixelFormat, tuple[int, int], bool], dict[str, Any]]


def family_names() -> list[str]:
    """The families that are installed, sorted."""
    return sorted(entry.name for entry in entry_points(group=GROUP))


def find_family(name: str) -> Family:
    """The family called `name`. Raises InputError if there is none."""
    for entry in entry_points(group=GROUP, name=name):
        family: Family = entry.load()
        return family
    raise InputError(f"there is no model family {name!r}: one of {', '.join(family_names())} was expected")
