"""The sizes of a dense VAE (`bbcodec.models.vae`). Without PyTorch."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from bbcodec.models.configs import PixelSizes, check_config

MAX_PIXELS: Final = 1024  # of an image: 32 x 32; as many inputs as an exact sum takes
RANGES: Final = {"height": (1, MAX_PIXELS), "width": (1, MAX_PIXELS), "hidden": (1, 1024), "layers": (1, 8)}


@dataclass(frozen=True)
class VaeConfig(PixelSizes):
    """Sizes of a dense VAE. Raises ValueError for impossible ones."""

    channels: int = 1  # of the image
    levels: int = 2  # of a pixel
    height: int = 28  # of the images, in pixels
    width: int = 28
    hidden: int = 200  # units of the dense layers
    layers: int = 1  # of them, in the encoder and in the decoder
    latents: int = 40
    steps_per_unit: int = 8  # of the latents' grid

    def __post_init__(self) -> None:
        check_config(self, RANGES)
        if self.levels != 2:
            raise ValueError(f"levels is {self.levels}, expected 2")
        if self.pixels > MAX_PIXELS:
            raise ValueError(f"images have {self.pixels} pixels, expected at most {MAX_PIXELS}")

    @property
    def lanes(self) -> int:
        """Heads of the stack of large messages: two divide at the same time; each costs some 50 bits."""
        return 2

    @property
    def pixels(self) -> int:
        """Pixels of an image."""
        return self.height * self.width

    @property
    def latent_bound(self) -> int:
        """The largest magnitude of a latent, in steps of the grid."""
        return 8 * self.steps_per_unit - 1
