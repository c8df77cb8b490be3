"""Samples of every format, from flat to noise."""

import numpy as np
from fake_codec import familiar
from folders import smooth

from bbcodec.sample_formats import SAMPLE_FORMATS


def samples_of(sample_format, height, width, how, seed):
    """Samples (H, W, C) of a format: flat, a gradient, smooth, noise, or what the fake codecs know."""
    about = SAMPLE_FORMATS[sample_format]
    top = 2**about.depth
    if how == "flat":
        return np.full((height, width, about.channels), seed % top, about.dtype)
    if how == "gradient":
        slope = np.add.outer(np.arange(height) * 3, np.arange(width) * 2 + seed)[..., None]
        return (slope * [1, 2, 3, 1][: about.channels] % top).astype(about.dtype)
    if how == "smooth":
        return (smooth(height, width, about.channels, seed).astype(int) * top // 256).astype(about.dtype)
    if how == "noise":
        return np.random.default_rng(seed).integers(0, top, (height, width, about.channels)).astype(about.dtype)
    return (familiar(height, width, about.channels, seed).astype(int) * top // 256).astype(about.dtype)
