"""What an image shows, as uint8 pixels: for those who want numbers, not files."""

from __future__ import annotations

import numpy as np
from PIL import Image

from bbcodec.errors import InputError
from bbcodec.images.samples import Bytes, Samples
from bbcodec.sample_formats import SAMPLE_FORMATS, pixel_mode

MODES = tuple(pixel_mode(channels) for channels in (1, 2, 3, 4))


def samples_shown(samples: Samples, sample_format: str, palette: Bytes | None) -> Bytes | None:
    """Pixels uint8 (H, W, C) that samples (H, W, c) show; None for indices whose palette is not known."""
    description = SAMPLE_FORMATS[sample_format]
    if description.indexed:
        known = palette is not None and int(samples.max()) < len(palette)
        return palette[samples[:, :, 0]] if palette is not None and known else None
    if description.depth == 16:
        return (samples >> np.uint16(8)).astype(np.uint8)
    return samples * np.uint8(255 if description.depth == 1 else description.grey_step)


def image_shown(image: Image.Image) -> Bytes:
    """Pixels uint8 (H, W, C) of a Pillow image.

    Grey, RGB and alpha stay as they are, two levels become 0 and 255, 16 bits are cut to the high 8, indices become
    their colours (RGBA where some are transparent), and Pillow converts everything else to RGB.
    """
    if image.mode.startswith("I;16"):
        return samples_shown(np.asarray(image)[:, :, None].astype(np.uint16), "L16", None)  # type: ignore[return-value]
    if image.mode == "1":
        image = image.convert("L")
    elif image.mode not in MODES:
        image = image.convert("RGBA" if image.has_transparency_data else "RGB")
    pixels = np.array(image)
    return pixels if pixels.ndim == 3 else pixels[:, :, None]


def converted(pixels: Bytes, mode: str) -> Bytes:
    """Pixels uint8 (H, W, C) in another of the modes `L`, `LA`, `RGB`, `RGBA`, as Pillow converts them."""
    if mode not in MODES:
        raise InputError(f"expected a mode of {', '.join(MODES)}, got {mode!r}")
    if pixel_mode(pixels.shape[2]) == mode:
        return pixels
    return image_shown(Image.fromarray(pixels[:, :, 0] if pixels.shape[2] == 1 else pixels).convert(mode))
