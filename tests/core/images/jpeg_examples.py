"""JPEG files made by Pillow, for tests."""

import io
from typing import Any

import numpy as np
from PIL import Image


def slope(height: int, width: int, mode: str, seed: int = 0) -> np.ndarray:
    """A gradient with some noise, (H, W) or (H, W, C), somewhat like a photo."""
    channels = {"L": 1, "RGB": 3, "CMYK": 4}[mode]
    i, j, c = np.mgrid[:height, :width, :channels]
    noise = np.random.default_rng(seed).integers(-6, 7, (height, width, 1))
    values = (128 + 60 * np.sin(i / 9 + c) + 50 * np.cos(j / 13) + noise).clip(0, 255).astype(np.uint8)
    return values[:, :, 0] if channels == 1 else values


def jpeg(pixels: np.ndarray, **options: Any) -> bytes:
    """A JPEG file of grey, RGB or CMYK pixels."""
    image = Image.fromarray(pixels, "CMYK" if pixels.ndim == 3 and pixels.shape[2] == 4 else None)
    stream = io.BytesIO()
    image.save(stream, "JPEG", **options)
    return stream.getvalue()
