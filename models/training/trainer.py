"""The state of a training run: a model, its average, its optimisers, and how far it has come.

The loss is the negative ELBO of the network that is coded. First the network trains without rounding, saturating like
the exact one, then with rounding (straight-through gradients); latents are rounded to their grid throughout. The codec
is the moving average of the weights. All randomness of a step follows from the seed and the number of the step, so that
an interrupted run continues as if it had not been interrupted.
"""

from __future__ import annotations

import json
import math
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict
from typing import Any

import torch
from torch import Tensor, nn

from bbcodec.exact.arithmetic import guard
from bbcodec.exact.layers import set_exact
from bbcodec.model.interpreters import elbo, sample
from bbcodec.models.families import Family, TrainableModel
from bbcodec.models.training.batches import batch, steps_per_epoch, validation_batches
from bbcodec.models.training.data import Dataset
from bbcodec.models.training.distributed import Process
from bbcodec.models.training.muon import Muon, inner_weights
from bbcodec.models.training.recipes import TrainingSettings

LONGEST_WARM_UP = 0.05  # share of a run
FINAL_RATE = 0.01  # of the learning rate, at the end of a run
SMOOTHING = 0.98  # decay, a step, of the running mean of the loss
DIVERGED = 2.0  # times the lowest loss so far: a loss that still falls never gets there
INITIAL_IMAGES = 1000  # training images for data-dependent initialisation
PATIENCE = 10  # steps in a row without a finite gradient


class Diverged(Exception):
    """The loss is not finite, or has risen far above its lowest value."""


def compiler_failures() -> tuple[type[Exception], ...]:
    """The exceptions of torch when it cannot compile. (Their module takes seconds to import.)"""
    from torch._dynamo.exc import TorchDynamoException

    return (TorchDynamoException,)


class Objective:
    """The loss of a model."""

    def __init__(
        self, model: TrainableModel, free_nats: float, rate_weight: float = 1.0, word_dropout: float = 0.0
    ) -> None:
        """free_nats: a latent's mean rate in a batch costs nothing below this while the network does not round.

        rate_weight: of rates in the loss. word_dropout: share of pixels that a decoder does not see in that time
        (Bowman et al. 2016, section 3.1).
        """
        self.model, self.free_nats, self.rate_weight, self.word_dropout = model, free_nats, rate_weight, word_dropout

    def __call__(self, images: Tensor, generator: torch.Generator, exact: bool) -> tuple[Tensor, dict[str, Tensor]]:
        """The loss in nats per dimension, and the cost of each site in bits/dim. images: (B, C, H, W)."""
        drawn: dict[str, Tensor] = {}
        rates: dict[str, Tensor] | None = None if exact or not self.free_nats else {}
        self.model.seen = None if exact or not self.word_dropout else self._seen(images, generator)
        terms = elbo(self.model, images, generator, drawn, rates)
        self.model.seen = None
        dims = images[0].numel()
        loss = images.new_zeros(())
        for name, nats in terms.items():
            cost = -nats.mean()
            if rates is not None and name in rates:
                cost = rates[name].mean(0).clamp_min(self.free_nats).sum()
            elif rates is not None and name in drawn:  # of all its latents together, where they have no rates
                cost = cost.clamp_min(self.free_nats * drawn[name][0].numel())
            loss = loss + cost / dims * (self.rate_weight if name in drawn else 1)
        for nats in self.model.auxiliary_losses(images, drawn).values():
            loss = loss + nats.mean() / dims
        return loss, {name: -nats.detach().mean() / dims / math.log(2) for name, nats in terms.items()}

    def _seen(self, images: Tensor, generator: torch.Generator) -> Tensor:
        """Which pixels a decoder sees: (B, 1, H, W) of 0 and 1."""
        size = len(images), 1, *images.shape[2:]
        return (torch.rand(size, generator=generator, device=images.device) >= self.word_dropout).to(images.dtype)


class Trainer:
    """The state of a training run in one process of several that train the same model; one step at a time."""

    def __init__(
        self,
        family: Family,
        config: Any,
        settings: TrainingSettings,
        dataset: Dataset,
        *,
        start: TrainableModel | None = None,
        process: Process | None = None,
        compiled: bool = False,
    ) -> None:
        """config: of the family; start: a model with the initial weights.

        compiled: compile parts of the model on accelerators; on CPUs they are always fused.

        Raises ValueError where a layer would have too many inputs, or where the model takes images of another size.
        """
        deep, dataset = dataset.pixels.deep, dataset.seen()
        self.family, self.config, self.settings, self.dataset = family, config, settings, dataset
        self.process = process or Process()
        self.device = self.process.device
        torch.manual_seed(settings.seed)
        self.model, self.average = self._new_model(), self._new_model()
        if deep:
            self.model.start_at_errors()
        if start is not None:
            self.model.load_state_dict(start.state_dict())
        self._check_image_size()
        first = [batch(dataset, settings, step) for step in range(-(-INITIAL_IMAGES // settings.batch))]
        self.model.initialise_from(torch.cat(first).to(self.device))
        self.process.share_weights(self.model)
        self.average.load_state_dict(self.model.state_dict())
        self.compiled = compiled
        if compiled or self.device.type == "cpu":
            self.model.compile_for_training()
        self.objective = Objective(self.model, settings.free_nats, settings.rate_weight, settings.word_dropout)
        self.optimisers = self._optimisers()
        self.step, self.spent, self.tick = 0, 0.0, 0  # steps, seconds, and shares of the run that were logged
        self.best = math.inf  # bits/dim on held-out images of the best codec so far
        self.caution, self.rolled_back = 1.0, False  # factor of the learning rates
        self.recent, self.lowest, self.skipped = math.nan, math.inf, 0  # running mean of the loss; its minimum
        self.held_out = validation_batches(dataset, settings)

    def _new_model(self) -> TrainableModel:
        model = self.family.build(asdict(self.config)).to(self.device)
        model.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
        return model

    def _check_image_size(self) -> None:
        crop = self.settings.crop
        size = (crop, crop) if crop else self.dataset.size
        if self.model.image_size not in (None, size):
            raise ValueError(f"expected images of {self.model.image_size}, height and width, got {size}")

    def _optimisers(self) -> list[tuple[torch.optim.Optimizer, float]]:
        """The optimisers, each with its learning rate."""
        inner = inner_weights(self.model)
        chosen = {id(weight) for weight in inner}
        others = [p for p in self.model.parameters() if p.requires_grad and id(p) not in chosen]
        rate, muon_rate = self.settings.learning_rate, self.settings.muon_rate
        pairs: list[tuple[torch.optim.Optimizer, float]] = [
            (torch.optim.Adam(others, rate, betas=(0.9, 0.98), fused=True), rate)
        ]
        if inner:
            pairs.append((Muon(inner, muon_rate, weight_decay=self.settings.weight_decay), muon_rate))
        return pairs

    # --- progress ----------------------------------------------------------------------------------------------------

    @property
    def steps(self) -> int:
        """Steps of the whole run; 0 if its length is given in minutes."""
        each = steps_per_epoch(self.dataset, self.settings)
        return max(1, round(self.settings.epochs * each)) if self.settings.epochs else 0

    def share(self) -> float:
        """The share of the run that is done, 0 to 1, the same for all ranks."""
        if self.steps:
            return min(1.0, self.step / self.steps)
        return min(1.0, self.process.broadcast_number(self.spent / (60 * self.settings.minutes)))

    def event(self, share: float) -> dict[str, float]:
        """How far the run has come, for `Watcher.step`."""
        images = self.step * self.settings.batch / max(self.spent, 1e-9)
        left = self.spent * (1 - share) / max(share, 1e-9) if self.steps else 60 * self.settings.minutes - self.spent
        return {
            "step": self.step, "share": share, "bits_per_dim": self.recent, "images_per_second": images,
            "seconds_left": max(0.0, left),
        }  # fmt: skip

    def rate_factor(self, share: float) -> float:
        """The factor of the learning rates: a warm-up, shorter in short runs, then a cosine down to 1 %."""
        cosine = 0.5 * (1 + math.cos(math.pi * share))
        warm = min(1.0, max((self.step + 1) / max(1, self.settings.warm_up), share / LONGEST_WARM_UP))
        return self.caution * warm * (FINAL_RATE + (1 - FINAL_RATE) * cosine)

    def rounds(self, share: float) -> bool:
        """Whether the network rounds at this share of the run."""
        return share >= self.settings.rounding_from

    @contextmanager
    def timed(self) -> Iterator[None]:
        """Count the time within as time of the run."""
        start = time.monotonic()
        try:
            yield
        finally:
            self.spent += time.monotonic() - start

    # --- steps -------------------------------------------------------------------------------------------------------

    def advance(self, share: float) -> dict[str, float]:
        """Take one step; bits/dim of each site. A step without a finite gradient is skipped. Raises Diverged."""
        exact = self.rounds(share)
        set_exact(self.model, exact)
        for optimiser, rate in self.optimisers:
            for group in optimiser.param_groups:
                group["lr"] = rate * self.rate_factor(share)
        images = batch(self.dataset, self.settings, self.step, self.process.rank, self.process.ranks)
        images = images.to(self.device).contiguous(memory_format=torch.channels_last)
        fast = self.device.type == "cuda" and not exact
        with torch.autocast(self.device.type, torch.bfloat16, enabled=fast):
            loss, parts = self.objective(images, self.latent_generator(), exact)
        for optimiser, _ in self.optimisers:
            optimiser.zero_grad(set_to_none=True)
        torch.autograd.backward(loss)
        self.process.average_gradients(self.model)
        norm = nn.utils.clip_grad_norm_(self.model.parameters(), self.settings.clip, foreach=True)
        self.check_loss(self.process.mean(torch.stack(list(parts.values())).sum()), bool(torch.isfinite(norm)))
        if torch.isfinite(norm):
            for optimiser, _ in self.optimisers:
                optimiser.step()
            self.update_average()
        self.step += 1
        return {name: value.item() for name, value in parts.items()}

    def latent_generator(self) -> torch.Generator:
        """The random source of this step's latents, a different one for each rank."""
        seed = (self.settings.seed * 1_000_003 + self.step) * 1009 + self.process.rank
        return torch.Generator(self.device).manual_seed(seed % 2**63)

    def check_loss(self, bits: float, finite: bool) -> None:
        """Update the running mean of the loss. Raises Diverged if it is far above its minimum, or long not finite."""
        self.skipped = 0 if finite and math.isfinite(bits) else self.skipped + 1
        if self.skipped >= PATIENCE:
            raise Diverged(f"no finite gradient in {PATIENCE} steps in a row, up to step {self.step}")
        if self.skipped:
            return
        self.recent = bits if math.isnan(self.recent) else SMOOTHING * self.recent + (1 - SMOOTHING) * bits
        self.lowest = min(self.lowest, self.recent)
        if self.recent > DIVERGED * self.lowest and self.step > self.settings.warm_up:
            raise Diverged(f"the loss rose from {self.lowest:.3f} to {self.recent:.3f} bits/dim at step {self.step}")

    @torch.no_grad()
    def update_average(self) -> None:
        """Move the average towards the model; faster at first, so that it forgets the initial weights."""
        decay = min(self.settings.average, (self.step + 1) / (self.step + 10))
        torch._foreach_lerp_(list(self.average.parameters()), list(self.model.parameters()), 1 - decay)

    # --- evaluation --------------------------------------------------------------------------------------------------

    @torch.no_grad()
    def validate(self) -> dict[str, float]:
        """Bits/dim of each site on the held-out images, by the average with rounding."""
        set_exact(self.average, True)
        sums: dict[str, float] = {}
        dims = 0
        for number, images in enumerate(self.held_out):
            generator = torch.Generator(self.device).manual_seed(number)
            with guard():
                terms = elbo(self.average, images.to(self.device), generator)
            for name, nats in terms.items():
                sums[name] = sums.get(name, 0.0) - nats.double().sum().item()
            dims += images.numel()
        return {name: nats / dims / math.log(2) for name, nats in sums.items()}

    def committed_rate(self) -> float:
        """Lower bound on what the latents cost in training, bits/dim."""
        shape = self.held_out[0].shape
        return self.model.committed_rate(shape) / math.prod(shape[1:]) / math.log(2)

    def samples(self, count: int) -> Tensor:
        """Images (count, C, H, W) drawn from the average."""
        set_exact(self.average, True)
        generator = torch.Generator(self.device).manual_seed(0)
        return sample(self.average, torch.Size((count, *self.held_out[0].shape[1:])), generator)

    # --- checkpoints -------------------------------------------------------------------------------------------------

    def identity(self) -> dict[str, Any]:
        """What a resumed run must have in common with its checkpoint: all but the length."""
        settings = {key: value for key, value in asdict(self.settings).items() if key not in ("minutes", "epochs")}
        about: dict[str, Any] = {"model": self.family.name, "sizes": asdict(self.config), "settings": settings}
        about["images"] = self.dataset.digest()
        return about

    def state(self) -> dict[str, Any]:
        """The content of a checkpoint."""
        return {
            "identity": json.dumps(self.identity(), sort_keys=True),
            "model": self.model.state_dict(),
            "average": self.average.state_dict(),
            "optimisers": [optimiser.state_dict() for optimiser, _ in self.optimisers],
            "counts": {"step": self.step, "spent": self.spent, "tick": self.tick, "skipped": self.skipped},
            "losses": {"best": self.best, "recent": self.recent, "lowest": self.lowest, "caution": self.caution},
            "rolled_back": self.rolled_back,
        }

    def restore(self, state: dict[str, Any]) -> None:
        """Continue from a state of a run of the same identity."""
        self.model.load_state_dict(state["model"])
        self.average.load_state_dict(state["average"])
        for (optimiser, _), kept in zip(self.optimisers, state["optimisers"], strict=True):
            optimiser.load_state_dict(kept)
        known = self.state()
        for part in ("counts", "losses"):
            for name in known[part]:
                setattr(self, name, state[part][name])
        self.rolled_back = state["rolled_back"]

    def roll_back(self, state: dict[str, Any]) -> None:
        """Continue from an earlier state at half the learning rates; the time since then stays counted."""
        spent = self.spent
        self.restore(state)
        self.spent, self.caution, self.rolled_back = spent, self.caution / 2, True
