"""Images for tests of training data."""

from pathlib import Path

import numpy as np
from PIL import Image

from bbcodec.codec.codec import PixelFormat
from bbcodec.models.training.data import Dataset

RGB, GREY, BINARY = PixelFormat(3, 256), PixelFormat(1, 256), PixelFormat(1, 2)


def noise(*shape: int, seed: int = 0, top: int = 256) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, top, shape, dtype=np.uint8)


def save(folder: Path, name: str, pixels: np.ndarray, mode: str | None = None) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    image = Image.fromarray(pixels)
    (image.convert(mode) if mode else image).save(folder / name)
    return folder / name


def some(count: int, height: int = 6, width: int = 5, channels: int = 1, **changes) -> Dataset:
    """`count` training images, whose first values are the number of the image."""
    images = noise(count, height, width, channels)
    images[:, 0, 0, 0] = np.arange(count) % 256
    images[:, 0, 1, 0] = np.arange(count) // 256
    pixels = {1: GREY, 3: RGB}[channels]
    return Dataset(images, noise(4, height, width, channels, seed=1), pixels, **changes)


def sizes(*pairs: tuple[int, int]) -> list[np.ndarray]:
    return [noise(height, width, 3, seed=n) for n, (height, width) in enumerate(pairs)]
