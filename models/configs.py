"""What the configs of model families share: checks of their fields, and the sizes of halved images. Without PyTorch."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import fields
from typing import Any, Final

PIXELS: Final = ((1, 2), (1, 256), (3, 256))  # channels and levels
GRIDS: Final = (1, 2, 4, 8, 16, 32, 64)  # steps a unit of a latent's grid
DEFAULT_RANGE: Final = (1, 256)  # of integer fields


class PixelSizes:
    """A config of a model for pixels of `channels` channels and `levels` levels."""

    channels: int
    levels: int

    @property
    def bound(self) -> int:
        """The largest magnitude of an embedded pixel, in units of 1/256."""
        return 256 if self.levels == 2 else 1024

    def pixel_params(self, components: int, joint: bool = False) -> int:
        """Parameters of a pixel's distribution: of a Bernoulli for 2 levels, of a `LogisticMixture` for 256."""
        if self.levels == 2:
            return self.channels
        rows = 2 * self.channels + (1 if joint else self.channels) + (3 if self.channels == 3 else 0)
        return rows * components


def check_config(
    config: Any, ranges: Mapping[str, tuple[int, int]], choices: Mapping[str, Sequence[str]] | None = None
) -> None:
    """Raise ValueError unless all fields of a config, which an archive from anywhere may hold, are valid.

    config: a dataclass with `channels`, `levels` and `steps_per_unit`. Fields are booleans where the default is one,
    one of `choices`, or integers in `ranges`, by default from 1 to 256.
    """
    for one in fields(config):
        value = getattr(config, one.name)
        if type(one.default) is bool:
            fits, expected = type(value) is bool, "true or false"
        elif choices and one.name in choices:
            fits, expected = value in choices[one.name], f"one of {', '.join(choices[one.name])}"
        else:
            low, high = ranges.get(one.name, DEFAULT_RANGE)
            fits, expected = type(value) is int and low <= value <= high, f"a whole number from {low} to {high}"
        if not fits:
            raise ValueError(f"{one.name} is {value!r}, expected {expected}")
    if (config.channels, config.levels) not in PIXELS:
        raise ValueError(f"expected 1 channel x 2 levels, 1 x 256 or 3 x 256, got {config.channels} x {config.levels}")
    if config.steps_per_unit not in GRIDS:
        raise ValueError(f"steps_per_unit is {config.steps_per_unit}, expected a power of two from 1 to 64")


def check_joint(config: Any) -> None:
    """Raise ValueError for a config of grey images with `joint` channels."""
    if config.joint and config.channels == 1:
        raise ValueError("joint is true, expected false for grey images")


def check_strides(latent_stride: int, context_stride: int) -> None:
    """Raise ValueError unless both are powers of two, the first above 1, the second at most the first."""
    strides = latent_stride, context_stride
    if any(stride & (stride - 1) for stride in strides) or latent_stride < 2 or context_stride > latent_stride:
        raise ValueError(
            f"strides are {latent_stride} and {context_stride}, expected powers of two, the second at most the first"
        )


def halved_sizes(height: int, width: int, halvings: int) -> list[tuple[int, int]]:
    """Height and width of an image, and after each of the halvings, rounded up."""
    out = [(height, width)]
    for _ in range(halvings):
        out.append(((out[-1][0] + 1) // 2, (out[-1][1] + 1) // 2))
    return out
