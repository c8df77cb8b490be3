"""The sizes of a VLAE (`bbcodec.models.vlae`). Without PyTorch."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from bbcodec.models.configs import PixelSizes, check_config, check_joint, check_strides

RANGES: Final = {  # other integers: 1 to 256
    "latent_channels": (0, 256), "components": (1, 32), "between": (0, 16),
    "prior_layers": (0, 256),
}  # fmt: skip
PRIOR_RADIUS: Final = 2  # of the stem of the prior


@dataclass(frozen=True)
class VlaeConfig(PixelSizes):
    """Sizes of a VLAE. Raises ValueError for impossible ones.

    `latent_stride` and `context_stride` are powers of two, the second at most the first.
    """

    channels: int = 3  # of the image: 1 or 3
    levels: int = 256  # of a pixel: 2 or 256
    hidden: int = 64  # channels of the local decoder
    layers: int = 5  # blocks of the decoder with a 3 x 3 layer
    inner: int = 128  # channels inside blocks
    between: int = 0  # pointwise blocks after each block with a 3 x 3 layer
    radius: int = 3  # of the decoder's stem
    components: int = 5  # of the logistic mixture
    joint: bool = False  # the channels of a pixel come from one component
    latent_channels: int = 2  # 0 for the local decoder alone
    latent_stride: int = 16  # image pixels a latent, each way
    context_stride: int = 4  # image pixels a value of the decoder's context, each way
    width: int = 32  # channels of the encoder and of the context net
    blocks: int = 2  # residual blocks of each, at the latents' resolution
    prior_hidden: int = 32  # channels of the prior's local net
    prior_layers: int = 2  # its blocks; 0 for a standard normal prior
    steps_per_unit: int = 8  # of the latents' grid

    def __post_init__(self) -> None:
        check_config(self, RANGES)
        check_joint(self)
        check_strides(self.latent_stride, self.context_stride)

    @property
    def params(self) -> int:
        """Parameters of a pixel's distribution."""
        return self.pixel_params(self.components, self.joint)

    @property
    def lanes(self) -> int:
        """Heads of the stack of large messages: as many as the engine decodes pixels at a time."""
        return 16 if self.levels == 256 else 1

    @property
    def radii(self) -> list[int]:
        """How far each block looks."""
        return ([1] + [0] * self.between) * self.layers

    @property
    def prior_radii(self) -> list[int]:
        """The same of the prior."""
        return [1] * self.prior_layers

    @property
    def part_names(self) -> tuple[str, ...]:
        """Parts of a model, as codec files name them."""
        if not self.latent_channels:
            return ("local",)
        return ("local", *(("prior_net",) if self.prior_layers else ()), "encoder", "context_net")

    @property
    def halvings(self) -> int:
        """Halvings of the resolution from the image to the latents."""
        return self.latent_stride.bit_length() - 1

    @property
    def doublings(self) -> int:
        """Doublings of the resolution from the latents to the decoder's context."""
        return self.halvings - (self.context_stride.bit_length() - 1)
