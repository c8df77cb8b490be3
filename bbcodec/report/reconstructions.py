"""What latents know of images: others that were drawn given the same latents (`Codec.reconstruct`), for the eye."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

import numpy as np
from numpy.typing import NDArray

from bbcodec.codec.codec import Codec
from bbcodec.codec.pool import MessageCodec

Images = NDArray[np.uint8]

MOST: Final = 8
MOST_PIXELS: Final = 2**16  # of an image: drawing one takes as long as decoding it


def reconstructions(codec: MessageCodec, pictures: Mapping[str, Images]) -> dict[str, Images]:
    """Reconstructions of up to 8 pictures (H, W, C) of 256 levels that a codec takes, by name; of none without latents.

    Pictures of two levels are 0 and 255, and so are their reconstructions.
    """
    if not isinstance(codec, Codec):
        return {}
    scale = np.uint8(255 // (codec.pixels.levels - 1))
    found: dict[str, Images] = {}
    for name, picture in pictures.items():
        if len(found) == MOST or picture.shape[0] * picture.shape[1] > MOST_PIXELS:
            continue
        if picture.shape[2] != codec.pixels.channels:
            continue
        image = picture[None] // scale
        latents = codec.latents(image)
        if not latents:
            return {}
        found[name] = codec.draw(image.shape[:3], latents)[0] * scale
    return found
