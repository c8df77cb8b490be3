"""A model small enough to know its bounds by heart, and a codec of it that no file holds: two latents, one pattern.

z1 ~ N(0, 2), z2 | z1 ~ N(z1 / 2, 1 / 2); a pixel is that of a fixed random pattern, or its opposite, with log odds
2 z1. The posterior of z1 is a Gaussian around how much an image looks like the pattern; that of z2 is its prior.
"""

import math

import numpy as np
import torch
from fake_codec import fake_content

from bbcodec.codec.catalogue import parse_codec
from bbcodec.codec.codec import Codec, PixelFormat
from bbcodec.codec.torch_backend import TorchBackend
from bbcodec.distributions import Bernoulli, Gaussian, activation
from bbcodec.model.latent_model import LatentModel
from bbcodec.model.program import Latent, Observed

SIDE = 16
STEPS = 8
LOG_SIGMA = -300  # of the posterior of z1, in 1/256
PRIOR, BELOW = (round(256 * math.log(variance) / 2) for variance in (2, 0.5))  # log sigmas of z1, and of z2 given z1


def pattern() -> np.ndarray:
    """1 and -1, (SIDE, SIDE)."""
    return np.random.default_rng(7).integers(0, 2, (SIDE, SIDE)) * 2 - 1


def familiar(count: int, seed: int = 0) -> np.ndarray:
    """Images (N, SIDE, SIDE, 1) of 0 and 1 that the model knows: the pattern or its opposite, a tenth of it wrong."""
    rng = np.random.default_rng(seed)
    signs = pattern() * rng.choice([-1, 1], (count, 1, 1)) * rng.choice([1, -1], (count, SIDE, SIDE), p=[0.9, 0.1])
    return (signs > 0).astype(np.uint8)[..., None]


class PatternModel(LatentModel):
    def __init__(self):
        super().__init__()
        self.pattern = torch.tensor(pattern(), dtype=torch.float32)

    def posterior(self, images):
        looks = ((2 * images[:, 0] - 1) * self.pattern).mean((1, 2))
        mean = (looks * 300).round()[:, None]
        return Gaussian(mean, torch.full_like(mean, LOG_SIGMA), STEPS)

    def program(self, shape, images=None):
        zeros = torch.zeros(shape[0], 1)
        z1 = yield Latent(
            "z1",
            prior=lambda: Gaussian(zeros, torch.full_like(zeros, PRIOR), STEPS),
            posterior=lambda: self.posterior(images),
        )
        a = activation(z1, STEPS)
        yield Latent(
            "z2",
            prior=lambda: Gaussian((a / 2).round(), torch.full_like(zeros, BELOW), STEPS),
            posterior=lambda: Gaussian((a / 2).round(), torch.full_like(zeros, BELOW), STEPS),
        )
        logits = (a[:, :, None, None] * self.pattern).reshape(shape)
        images = yield Observed("x", likelihood=lambda: Bernoulli(logits), value=images)
        return images


def codec_content() -> bytes:
    return fake_content(channels=1, levels=2, pattern=True)


def load_pattern(content, device="cpu", engine=True, check=None):
    """In place of `workers.load_content`."""
    about = parse_codec(content, "pattern")
    return Codec(TorchBackend(PatternModel(), torch.device("cpu")), PixelFormat(1, 2), about)
