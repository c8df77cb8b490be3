"""What an image shows, as uint8 pixels: for those who want numbers, not files."""

from __future__ import annotations

import numpy as np
from PIL import Image

from bbcodec.errors import InputError
from bbcodec.sample_formats import SAMPLE_FORMATS, Bytes, Samples, grey_step

MODES = {1: "L", 2: "LA", 3: "RGB", 4: "RGBA"}  # of pixels with so many channels


def samples_shown(samples: Samples, kind: str, palette: Bytes | None) -> Bytes | None:
    """Pixels uint8 (H, W, C) that samples (H, W, c) of a kind show; None for indices whose palette is not known."""
    about = SAMPLE_FORMATS[kind]
    if about.indexed:
        known = palette is not None and int(samples.max()) < len(palette)
        return palette[samples[:, :, 0]] if palette is not None and known else None
    if about.depth == 16:
        return (samples >> np.uint16(8)).astype(np.uint8)
    return samples * np.uint8(255 if about.depth == 1 else grey_step(about))


def image_shown(image: Image.Image) -> Bytes:
    """Pixels uint8 (H, W, C) of a Pillow image.

    Grey, RGB and alpha stay as they are, two levels become 0 and 255, of 16 bits the high ones are taken, colours
    of a palette are looked up (RGBA where some are transparent), and all else is converted to RGB by Pillow.
    """
    if image.mode.startswith("I;16"):
        return samples_shown(np.asarray(image)[:, :, None].astype(np.uint16), "L16", None)  # type: ignore[return-value]
    if image.mode == "1":
        image = image.convert("L")
    elif image.mode not in MODES.values():
        image = image.convert("RGBA" if image.has_transparency_data else "RGB")
    pixels = np.array(image)
    return pixels if pixels.ndim == 3 else pixels[:, :, None]


def converted(pixels: Bytes, mode: str) -> Bytes:
    """Pixels uint8 (H, W, C) in another of the modes `L`, `LA`, `RGB`, `RGBA`, as Pillow converts them."""
    if mode not in MODES.values():
        raise InputError(f"pixels can be of mode {', '.join(MODES.values())}, not {mode!r}")
    if MODES[pixels.shape[2]] == mode:
        return pixels
    return image_shown(Image.fromarray(pixels[:, :, 0] if pixels.shape[2] == 1 else pixels).convert(mode))
