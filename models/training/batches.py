"""Batches of a training run. Any step can be repeated without the steps before it.

What a step draws (the order of the images, crops, mirror images, turns, binarisation) depends on the seed and the
number of the step alone. Images come in a fresh order in each epoch, and a batch that reaches beyond the end of one
continues with the next, so that all are used equally often.
"""

from __future__ import annotations

from functools import lru_cache

import numpy as np
import torch
from numpy.typing import NDArray

from bbcodec.errors import InputError
from bbcodec.models.training.data import Dataset
from bbcodec.models.training.image_sources import Images, Pixels
from bbcodec.models.training.random_streams import Purpose, generator
from bbcodec.models.training.recipes import TrainingSettings


@lru_cache(maxsize=4)
def order(seed: int, epoch: int, count: int) -> NDArray[np.intp]:
    """The order of the images in an epoch."""
    return generator(seed, Purpose.ORDER, epoch).permutation(count)


def steps_per_epoch(dataset: Dataset, settings: TrainingSettings) -> int:
    """Steps after which every image was used at least once."""
    return -(-len(dataset.train) // settings.batch)


def indices(count: int, settings: TrainingSettings, step: int) -> NDArray[np.intp]:
    """Which of `count` images a step uses, int (B,)."""
    epochs, positions = np.divmod(np.arange(step * settings.batch, (step + 1) * settings.batch), count)
    return np.array([order(settings.seed, int(e), count)[p] for e, p in zip(epochs, positions, strict=True)])


def check_ranks(settings: TrainingSettings, ranks: int) -> None:
    """Raise InputError unless a batch can be split evenly among so many processes."""
    if settings.batch % ranks:
        raise InputError(f"batch is {settings.batch}, expected a multiple of {ranks}, the number of processes")


def batch(dataset: Dataset, settings: TrainingSettings, step: int, rank: int = 0, ranks: int = 1) -> torch.Tensor:
    """The images of a step, float32 whole numbers (B / ranks, C, H, W); with several ranks, the part of this one.

    Raises InputError unless the batch can be split evenly.
    """
    check_ranks(settings, ranks)
    which = indices(len(dataset.train), settings, step)
    random = generator(settings.seed, Purpose.STEP, step)
    images = cropped(dataset.train, which, settings.crop, random)
    if settings.flips:
        images = np.where(random.random(len(images))[:, None, None, None] < 0.5, images[:, :, ::-1], images)
    if settings.turns:
        images = turned(images, random)
    if dataset.binarise:
        images = binarised(images, random)
    share = settings.batch // ranks
    return tensor(images[rank * share : (rank + 1) * share])


def cropped(images: Images, which: NDArray[np.intp], side: int, random: np.random.Generator) -> Pixels:
    """Some images as one array (B, H, W, C): random square crops of this side, or whole ones if it is 0."""
    if not side:
        return np.stack([images[n] for n in which]) if isinstance(images, list) else images[which]
    shares = random.random((len(which), 2))
    out = []
    for n, share in zip(which, shares, strict=True):
        image = images[n]
        top, left = (int(s * (length - side + 1)) for s, length in zip(share, image.shape[:2], strict=True))
        out.append(image[top : top + side, left : left + side])
    return np.stack(out)


def turned(images: Pixels, random: np.random.Generator) -> Pixels:
    """Images (B, H, W, C), each turned by 0 to 3 quarters of a circle, or by 0 or 2 where they are not square."""
    quarters = random.integers(4, size=len(images))
    if images.shape[1] != images.shape[2]:
        quarters &= 2
    return np.stack([np.rot90(image, quarter) for image, quarter in zip(images, quarters, strict=True)])


def binarised(images: Pixels, random: np.random.Generator) -> Pixels:
    """Two levels, 1 with probability value / 255."""
    return (random.random(images.shape, np.float32) < images / np.float32(255)).astype(np.uint8)


def tensor(images: Pixels) -> torch.Tensor:
    """(B, H, W, C) uint8 as (B, C, H, W) float32."""
    return torch.from_numpy(images.transpose(0, 3, 1, 2).astype(np.float32, order="C"))


def held_out_images(dataset: Dataset) -> Images:
    """The held-out images, whole, as they are coded; always the same draw if they are binarised."""
    if not dataset.binarise:
        return dataset.valid
    random = generator(0, Purpose.LEVELS)
    if isinstance(dataset.valid, list):
        return [binarised(image, random) for image in dataset.valid]
    return binarised(dataset.valid, random)


def validation_batches(dataset: Dataset, settings: TrainingSettings) -> list[torch.Tensor]:
    """The held-out images in batches (B, C, H, W), the same each time; with crops, their centre crops."""
    images, side = held_out_images(dataset), settings.crop
    if side:
        images = np.stack([image[_centre(image, 0, side), _centre(image, 1, side)] for image in images])
    whole = np.stack(images) if isinstance(images, list) else images
    return [tensor(whole[at : at + settings.batch]) for at in range(0, len(whole), settings.batch)]


def _centre(image: Pixels, axis: int, side: int) -> slice:
    start = (image.shape[axis] - side) // 2
    return slice(start, start + side)
