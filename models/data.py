"""Training data: batches of images from a folder of photos or from arrays, as float32 whole numbers (B, C, H, W)."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from bbcodec.errors import InputError


@dataclass
class Images:
    """Images of one kind, each (H, W, C) uint8, for training and for validation."""

    train: list[np.ndarray]
    valid: list[np.ndarray]
    binarise: bool = False  # draw pixel = uniform(0, 1) < value / 255 afresh each time

    def batch(self, size: int, crop: int | None, generator: np.random.Generator) -> Tensor:
        """A random training batch; crops are placed at random and mirrored half of the time."""
        chosen = [self.train[i] for i in generator.integers(len(self.train), size=size)]
        if crop is not None:
            chosen = [random_crop(image, crop, generator) for image in chosen]
        return self.tensor(np.stack(chosen), generator)

    def validation(self, count: int, crop: int | None) -> Tensor:
        """The same validation batch each time: `count` images, or their middles."""
        chosen = self.valid[:count]
        if crop is not None:
            chosen = [i[(len(i) - crop) // 2 :, (i.shape[1] - crop) // 2 :][:crop, :crop] for i in chosen]
        return self.tensor(np.stack(chosen), np.random.default_rng(1))

    def tensor(self, images: np.ndarray, generator: np.random.Generator) -> Tensor:
        """(B, H, W, C) uint8 to (B, C, H, W) float32."""
        x = torch.from_numpy(images.transpose(0, 3, 1, 2).astype(np.float32))
        if self.binarise:
            x = (torch.from_numpy(generator.random(x.shape, np.float32)) < x / 255).float()
        return x


def random_crop(image: np.ndarray, side: int, generator: np.random.Generator) -> np.ndarray:
    """A square of an image at least that large, mirrored half of the time."""
    i = generator.integers(len(image) - side + 1)
    j = generator.integers(image.shape[1] - side + 1)
    square = image[i : i + side, j : j + side]
    return square[:, ::-1] if generator.random() < 0.5 else square


def photos(folder: Path, mode: str = "RGB", smallest: int = 96) -> list[np.ndarray]:
    """The images of a folder in the order of their names, (H, W, C) uint8, without those smaller than `smallest`."""
    if not folder.is_dir():
        raise InputError(f"there is no folder {folder}: a folder of images was expected")
    images = []
    for path in sorted(folder.iterdir()):
        try:
            with Image.open(path) as image:
                pixels = np.asarray(image.convert(mode))
        except OSError as error:
            raise InputError(f"{path} is not an image that can be read: {error}") from None
        if min(pixels.shape[:2]) >= smallest:
            images.append(pixels if pixels.ndim == 3 else pixels[..., None])
    if not images:
        raise InputError(f"{folder}: no images of at least {smallest} x {smallest} pixels")
    return images


def load_photos(data: Path) -> Images:
    """RGB photos: DATA/photos/train and DATA/photos/valid."""
    return Images(photos(data / "photos/train"), photos(data / "photos/valid"))


def load_grey(data: Path) -> Images:
    """Luminance of the photos, and the microscopy images of DATA/microscopy_256_grey.npz."""
    with np.load(data / "microscopy_256_grey.npz") as arrays:
        train, test = (list(arrays[key].astype(np.uint8)[..., None]) for key in ("train", "test"))
    held_out = train[-20:]  # the test images stay untouched
    del test
    return Images(photos(data / "photos/train", "L") + train[:-20], photos(data / "photos/valid", "L") + held_out)


def load_mnist_binary(data: Path) -> Images:
    """MNIST, 59,000 training images and the last 1,000 for validation, binarised at random (DATA/mnist.npz)."""
    with np.load(data / "mnist.npz") as arrays:
        images = list(arrays["train"].astype(np.uint8)[..., None])
    return Images(images[:-1000], images[-1000:], binarise=True)


LOADERS: dict[str, Callable[[Path], Images]] = {
    "photos": load_photos,
    "grey": load_grey,
    "mnist-binary": load_mnist_binary,
}
