"""Independent random numbers for each purpose of a run, from its seed: any draw can be repeated on its own."""

from __future__ import annotations

from enum import IntEnum

import numpy as np


class Purpose(IntEnum):
    """What random numbers are for. No two purposes share any."""

    ORDER = 0  # of the images in an epoch
    STEP = 1  # crops, mirror images and binarisation of a training step
    HELD_OUT = 2  # which images are held out
    LEVELS = 3  # binarisation of the held-out images


def generator(seed: int, purpose: Purpose, number: int = 0) -> np.random.Generator:
    """Random numbers that depend on a seed, a purpose, and a number (of an epoch or a step) alone."""
    return np.random.Generator(np.random.Philox(np.random.SeedSequence((seed, int(purpose), number))))
