"""Codecs that learn a little more, from the images that they are to code, and are stored as differences.

Whole weights move by whole steps from those of the codec that it began with, at the same shifts, so that what was
learned takes few bytes.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from typing import Final

import numpy as np
import torch

from bbcodec.archive.adaptation import Adapted, Watch
from bbcodec.archive.write.learnable import LearnableImages
from bbcodec.codec.catalogue import CodecFile, parse_codec
from bbcodec.codec.codec import Codec
from bbcodec.codec.file import load_codec
from bbcodec.codec.pool import Pixels
from bbcodec.codec.stored import as_difference
from bbcodec.codec.torch_backend import torch_of
from bbcodec.exact.layers import exact_layers
from bbcodec.exact.quantised import InnerLayer, ShiftedLayer
from bbcodec.models.families import TrainableModel, find_family
from bbcodec.models.training.cards import packed
from bbcodec.models.training.data import Dataset
from bbcodec.models.training.recipes import TrainingSettings
from bbcodec.models.training.stopping import Forecast, Readings
from bbcodec.models.training.trainer import Diverged, Trainer

CROP: Final = 64
CROP_PIXELS: Final = 4 * CROP**2  # of a batch
# Weights of 8 bits move by a step of 2, or of 4 where few images pay for what is learned; others by 1. Longer steps
# take fewer bytes, and the codec learns less.
INNER_STEP: Final = 2
FEW_BYTES: Final = 2**23  # raw
# Parts of codecs with latents that stay as they are where few images pay for what is learned: what latents mean takes
# more bytes to change than that saves; how likely they are, and the pixels given them, do not.
KEPT_OF_FEW: Final = ("encoder", "context_net")
# In each step, weights go back by this share, times the factor of the learning rates, to where they began: how far the
# noise of small batches moves them costs bytes.
RETURN: Final = 5e-4
TRIAL_VALUES: Final = 2**20  # on which a codec is chosen
MEASURED_VALUES: Final = 2**25


def learn(
    images: LearnableImages,
    codecs: Sequence[CodecFile],
    seconds: float,
    threads: int,
    watch: Watch,
    least: float = 0.0,
) -> Adapted:
    """See `bbcodec.archive.adaptation.Learner`."""
    tried = _some(images.images, TRIAL_VALUES)
    trials = [bits_of(load_codec(one.content, "cpu"), tried) for one in codecs]
    base = codecs[int(np.argmin(trials))]
    start = time.monotonic()
    few = images.raw_bytes < FEW_BYTES
    trainer = _trainer(images.images, base, seconds, threads, few)
    forecast = Forecast(60 * trainer.settings.minutes, least)
    _run(trainer, watch, Readings(trainer, base, images.total), forecast)
    card = {"data": f"{len(images.images):,} images of an archive", "steps": trainer.step, "began_with": base.name}
    content = packed(trainer.average, trainer.family, trainer.config, trainer.dataset.pixels, card)
    if base.shipped:
        content = as_difference(content, base)
    took = time.monotonic() - start
    some = _some(images.images, MEASURED_VALUES)
    values = sum(image.size for image in some)
    before, after = (bits_of(load_codec(one, "cpu"), some) for one in (base.content, content))
    saved = int((before - after) / 8 * images.total / values)
    codec = parse_codec(content, f"{base.name}, adapted")
    return Adapted(codec, base, before / values, after / values, took, saved, forecast.is_over)


def bits_of(codec: Codec, images: Sequence[Pixels]) -> float:
    """The bits of the messages of images (H, W, C), those of one size together."""
    sizes = {image.shape for image in images}
    batches = [np.stack([image for image in images if image.shape == size]) for size in sorted(sizes)]
    return float(sum(8 * len(codec.encode_message(batch)) for batch in batches))


def _some(images: Sequence[Pixels], values: int) -> list[Pixels]:
    """Images of so many values, at least one."""
    ends = np.cumsum([image.size for image in images])
    return list(images[: max(1, int(np.searchsorted(ends, values, "right")))])


def _trainer(images: Sequence[Pixels], base: CodecFile, seconds: float, threads: int, few: bool) -> Trainer:
    """A training run that begins with a codec and moves its weights by steps. few: images, so that less may change."""
    codec = load_codec(base.content, "cpu", engine=False)
    model = torch_of(codec).model
    assert isinstance(model, TrainableModel)
    torch.set_num_threads(threads)
    crop = min(CROP, Dataset(list(images), list(images[:1]), codec.pixels).max_crop_side())
    large = [image for image in images if min(image.shape[:2]) >= crop]
    unit = min(image.size for image in large)
    often = [image for image in large for _ in range(round(image.size / unit))]  # in proportion to their pixels
    dataset = Dataset(often, large[:1], codec.pixels)
    settings = TrainingSettings(
        minutes=max(seconds, 1) / 60, crop=crop, batch=max(1, CROP_PIXELS // crop**2), warm_up=50, rounding_from=0.0,
        average=0.99, weight_decay=0.0,
    )  # fmt: skip
    trainer = Trainer(find_family(base.family), model.config, settings, dataset, start=model)
    step = 2 * INNER_STEP if few else INNER_STEP
    for model in (trainer.model, trainer.average):
        for name, layer in exact_layers(model).items():
            assert isinstance(layer, ShiftedLayer)
            layer.learn_difference(step if isinstance(layer, InnerLayer) else 1)
            layer.requires_grad_(not (few and name.startswith(KEPT_OF_FEW)))
    return trainer


def _run(trainer: Trainer, watch: Watch, readings: Readings, forecast: Forecast) -> None:
    """Train until time is over or more does not pay, the loss diverges, memory ends, or nobody wants to go on."""
    weights: list[torch.Tensor] = [weight for weight in trainer.model.parameters() if weight.requires_grad]
    begun = [weight.detach().clone() for weight in weights]
    go_on = True
    while go_on and (share := forecast.share(trainer.spent)) < 1:
        try:
            if forecast.is_due(start := trainer.spent):
                with trainer.timed():
                    n_bytes = readings.n_bytes()
                forecast.note(start, n_bytes, trainer.spent - start)
                share = forecast.share(trainer.spent)
            with trainer.timed():
                trainer.advance(share)
                with torch.no_grad():
                    torch._foreach_lerp_(weights, begun, RETURN * trainer.rate_factor(share))
        except (Diverged, MemoryError):
            break
        except RuntimeError as error:
            if "alloc" in str(error):  # how torch says that memory has ended
                break
            raise
        go_on = watch(round(1000 * trainer.spent), round(1000 * forecast.end), trainer.recent)
