"""The program of a VLAE in compiled code, for 8-bit decoders. Without PyTorch."""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import AbstractContextManager, nullcontext
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from bbcodec.engine.local_distribution import LocalDistribution
from bbcodec.engine.local_net import laid_out, packed
from bbcodec.engine.logistic import mixture
from bbcodec.engine.waves import LocalCoder
from bbcodec.model.program import Observed, Program
from bbcodec.models.vlae_config import VlaeConfig

# What nets see of pixels, as `bbcodec.models.pixel_nets` embeds them: each level, and that there is a pixel.
LEVELS: Final = ((np.arange(256) - 128) * 8).astype(np.int16)
INSIDE: Final = 256

Values = NDArray[Any]


class VlaeEngine:
    """The pixels of images (B, C, H, W) uint8, by the local decoder."""

    image_size = None

    def __init__(self, config: VlaeConfig, tensors: Mapping[str, Values]) -> None:
        """tensors: by name, as in codec files. Raises KeyError or ValueError for what cannot be, or is not known."""
        c = config
        net = {name.removeprefix("local."): one for name, one in tensors.items() if name.startswith("local.")}
        if len(net) < len(tensors):
            raise ValueError("tensors of no part of the model")
        self.lanes = c.lanes
        arrays = laid_out(net, c.radii, c.radius)
        self.coder = LocalCoder(packed(arrays, LEVELS, INSIDE), mixture(c.channels, c.components, c.joint))

    def program(
        self, shape: tuple[int, int, int, int], images: Values | None = None
    ) -> Program[LocalDistribution, Values]:
        """The pixels x."""
        images = yield Observed("x", likelihood=lambda: LocalDistribution(self.coder, shape), value=images)
        return images

    def exactly(self) -> AbstractContextManager[None]:
        """Nothing: integers are exact anywhere."""
        return nullcontext()


def engine(config: Mapping[str, Any], tensors: Mapping[str, Values]) -> VlaeEngine | None:
    """The program of a codec's config and tensors; None if its decoder is not of 8 bits, or has latents or two levels.

    Raises KeyError, TypeError or ValueError for numbers that cannot be.
    """
    c = VlaeConfig(**config)
    return VlaeEngine(c, tensors) if c.inner and c.levels == 256 and not c.latent_channels else None
