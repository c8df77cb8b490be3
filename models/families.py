"""The model families that are installed, as training needs them: config, model, and presets.

A family is one object of class `Family`, which an entry point of the group `bbcodec.families` names.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from importlib.metadata import entry_points
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
import torch
from torch import Tensor

from bbcodec.codec.codec import PixelFormat
from bbcodec.errors import InputError
from bbcodec.model.latent_model import LatentModel

if TYPE_CHECKING:
    from numpy.typing import NDArray

GROUP = "bbcodec.families"
PresetName = Literal["fast", "balanced", "strong"]
PRESETS: tuple[PresetName, ...] = ("fast", "balanced", "strong")
Preset = Callable[[PresetName, PixelFormat, tuple[int, int], bool], dict[str, Any]]
Variants = Callable[[PixelFormat, tuple[int, int], bool], dict[str, dict[str, Any]]]


class TrainableModel(LatentModel):
    """A model with its config, and hooks for training, which do nothing by default."""

    config: Any  # of the family's config class
    seen: Tensor | None = None  # (B, 1, H, W) of 0 and 1: pixels that the decoder sees, in training; None: all

    def shown(self, embed: Callable[[Tensor], Tensor]) -> Callable[[Tensor], Tensor]:
        """`embed`, the decoder's input from images (B, C, H, W), but for pixels that it does not see: as if outside."""
        seen = self.seen
        return embed if seen is None else lambda images: embed(images) * seen

    def start_at_errors(self) -> None:
        """Begin with what is known of pixels that are tokens of prediction errors, before weights are loaded."""

    def initialise_from(self, images: Tensor) -> None:
        """Data-dependent initialisation, from training images (B, C, H, W), before the first step."""

    def auxiliary_losses(self, images: Tensor, drawn: dict[str, Tensor]) -> dict[str, Tensor]:
        """Losses added to the negative ELBO, nats of each image (B,). drawn: the latents by site."""
        return {}

    def committed_rate(self, shape: torch.Size) -> float:
        """Lower bound on the rate of the latents of one image of a batch (B, C, H, W), in nats."""
        return 0.0

    def preview(self) -> NDArray[np.uint8] | None:
        """What the model itself has to show during training, (N, H, W, C) uint8, such as pseudo-inputs."""
        return None

    def compile_for_training(self) -> None:
        """Make training steps quicker: fuse their most expensive parts on CPUs, and compile them on accelerators."""


@dataclass(frozen=True)
class Family:
    """A model family.

    config: its frozen dataclass, with `channels` and `levels`; raises ValueError for impossible sizes.
    model: its class, made from such a config.
    preset: (name, pixels, (height, width) of the smallest image, whether all images have that size) -> fields of the
        config and of `bbcodec.models.training.recipes.TrainingSettings`.
    variants: (pixels, size, whether all have it) -> changes of a preset that are worth a trial, by their names.
    """

    name: str
    config: type[Any]
    model: Callable[[Any], TrainableModel]
    preset: Preset
    variants: Variants = field(default=lambda *_: {})

    def build(self, config: Mapping[str, Any], /) -> TrainableModel:
        """A model from the config in a codec file. Raises TypeError for unknown keys, ValueError for bad values."""
        return self.model(self.config(**config))


def family_names() -> list[str]:
    """The installed families, sorted by name."""
    return sorted(entry.name for entry in entry_points(group=GROUP))


def find_family(name: str) -> Family:
    """The family called `name`. Raises InputError if there is none."""
    for entry in entry_points(group=GROUP, name=name):
        family: Family = entry.load()
        return family
    raise InputError(f"unknown model family {name!r}: expected one of {', '.join(family_names())}")
