"""What the shipped codecs are: model sizes, data, and how they were trained."""

from __future__ import annotations

from dataclasses import dataclass

from bbcodec.models.vlae import VlaeConfig


@dataclass(frozen=True)
class Recipe:
    """A model, its data (names that `bbcodec.models.data.load` knows) and the settings of its training."""

    model: VlaeConfig
    data: str
    describe: str  # the data in words, for the card
    minutes: float
    batch: int
    crop: int | None = None  # side of random crops of large images
    learning_rate: float = 2e-3
    free_nats: float = 0.05  # a latent's rate below this is not charged while the network does not round
    rounding_from: float = 0.6  # the share of the time after which the network rounds


RECIPES = {
    "photo-1": Recipe(
        model=VlaeConfig(channels=3, hidden=64, layers=5, components=5, latent_channels=2, latent_stride=32, width=40),
        data="photos",
        describe="1,000 RGB photos (ImageNet samples, halved from JPEG, about 250 x 190)",
        minutes=66,
        batch=4,
        crop=64,
        free_nats=0.5,
    ),
    "grey-1": Recipe(
        model=VlaeConfig(channels=1, hidden=64, layers=5, components=5, latent_channels=2, latent_stride=32, width=32),
        data="grey",
        describe="luminance of 1,000 photos (ImageNet samples, halved from JPEG), 254 cell images (DSB 2018 stage 1)",
        minutes=50,
        batch=4,
        crop=64,
        free_nats=0.5,
    ),
    "mnist-binary-1": Recipe(
        model=VlaeConfig(
            channels=1,
            levels=2,
            hidden=32,
            layers=4,
            radius=2,
            latent_channels=1,
            latent_stride=4,
            context_stride=1,
            width=48,
            prior_hidden=48,
            prior_layers=4,
        ),
        data="mnist-binary",
        describe="59,000 training images of MNIST, binarised afresh at each epoch",
        minutes=40,
        batch=64,
        free_nats=0.2,
    ),
}
