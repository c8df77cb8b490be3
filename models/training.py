"""Training a VLAE into a codec: `python -m bbcodec.models.training photo-1 --data DATA --out photo-1.bbc`.

The loss is the negative ELBO of the coded network. The network first learns without rounding, saturating like the
exact one, then with it (straight-through gradients); latents are rounded to their grid throughout. Weights are
averaged (EMA) for the codec. The run is bounded in time and goes on from its checkpoint when started again.
"""

from __future__ import annotations

import json
import math
import platform
import time
from dataclasses import asdict
from functools import cache, partial
from pathlib import Path
from typing import Any

import click
import numpy as np
import torch
from bbcodec.models.data import LOADERS, Images
from bbcodec.models.recipes import RECIPES, Recipe
from bbcodec.models.vlae import Vlae
from torch import Tensor

from bbcodec.codec import Codec, PixelFormat, load_codec, save_codec
from bbcodec.distributions.logistic import LogisticMixture
from bbcodec.exact.layers import set_exact
from bbcodec.interpreters import elbo

AVERAGE = 0.998  # decay of the weights' moving average, a step
WARM_UP = 200  # steps
CHECKPOINT_SECONDS = 240
REPORT_SECONDS = 120


@cache
def compiled_mixture() -> type[LogisticMixture]:
    """The logistic mixture with a compiled `log_prob`: the greatest single cost of a training step otherwise.

    Made when it is wanted: torch's compiler takes seconds to import.
    """
    return type("CompiledMixture", (LogisticMixture,), {"log_prob": torch.compile(LogisticMixture.log_prob)})


class Run:
    """One training run: model, averaged model, optimiser, and how much of its time is spent."""

    def __init__(self, recipe: Recipe, images: Images, seconds: float, compiled: bool = True) -> None:
        """seconds: the length of the whole run; compiled: three times faster, but needs a C++ compiler."""
        torch.manual_seed(0)
        self.recipe, self.images, self.seconds = recipe, images, seconds
        self.model, self.average = Vlae(recipe.model), Vlae(recipe.model)
        self.average.load_state_dict(self.model.state_dict())
        self.optimiser = torch.optim.Adam(self.model.parameters(), recipe.learning_rate, betas=(0.9, 0.98), fused=True)
        self.generator = np.random.default_rng(0)
        self.step, self.spent = 0, 0.0
        for net in (self.model, self.average):
            net.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
        if compiled:
            self.model.local.compile()
            if recipe.model.levels == 256:
                self.model.family = partial(compiled_mixture(), channels=recipe.model.channels)

    @property
    def done(self) -> float:
        """The share of the time that is spent."""
        return self.spent / self.seconds

    def rate(self) -> float:
        """The learning rate now: a warm-up, then a cosine down to 1 %."""
        cosine = 0.5 * (1 + math.cos(math.pi * min(1.0, self.done)))
        return self.recipe.learning_rate * min(1.0, (self.step + 1) / WARM_UP) * (0.01 + 0.99 * cosine)

    def loss(self, images: Tensor) -> tuple[Tensor, dict[str, float]]:
        """Nats per dimension, and bits/dim of each site."""
        terms = elbo(self.model, images)
        dims = images[0].numel()
        latents = (
            images.shape[2] * images.shape[3] / self.recipe.model.latent_stride**2 * self.recipe.model.latent_channels
        )
        free = 0.0 if self.model.local.stem.exact else self.recipe.free_nats * latents
        rate = (-terms["z"].mean()).clamp_min(free)
        loss = (rate - terms["x"].mean()) / dims
        return loss, {name: -t.mean().item() / dims / math.log(2) for name, t in terms.items()}

    def advance(self) -> dict[str, float]:
        """One step of training; a step whose gradient is not finite is left out."""
        start = time.monotonic()
        set_exact(self.model, self.done >= self.recipe.rounding_from)
        for group in self.optimiser.param_groups:
            group["lr"] = self.rate()
        batch = self.images.batch(self.recipe.batch, self.recipe.crop, self.generator)
        loss, parts = self.loss(batch.contiguous(memory_format=torch.channels_last))
        self.optimiser.zero_grad()
        loss.backward()  # type: ignore[no-untyped-call]
        norm = torch.nn.utils.clip_grad_norm_(self.model.parameters(), 1.0, foreach=True)
        if torch.isfinite(norm):
            self.optimiser.step()
        decay = min(AVERAGE, (self.step + 1) / (self.step + 10))
        with torch.no_grad():
            torch._foreach_lerp_(list(self.average.parameters()), list(self.model.parameters()), 1 - decay)
        self.step += 1
        self.spent += time.monotonic() - start
        return parts

    @torch.no_grad()
    def validate(self, count: int) -> dict[str, float]:
        """Bits/dim of the averaged weights, rounding, on held-out images."""
        set_exact(self.average, True)
        images = self.images.validation(count, self.recipe.crop)
        sums: dict[str, float] = {}
        for part in torch.split(images, self.recipe.batch):
            for name, nats in elbo(self.average, part).items():
                sums[name] = sums.get(name, 0.0) - nats.sum().item()
        return {name: nats / images.numel() / math.log(2) for name, nats in sums.items()}

    def state(self) -> dict[str, Any]:
        """All that is needed to go on."""
        return {
            "model": self.model.state_dict(),
            "average": self.average.state_dict(),
            "optimiser": self.optimiser.state_dict(),
            "generator": self.generator.bit_generator.state,
            "torch": torch.get_rng_state(),
            "step": self.step,
            "spent": self.spent,
        }

    def restore(self, state: dict[str, Any]) -> None:
        """Go on from a state."""
        self.model.load_state_dict(state["model"])
        self.average.load_state_dict(state["average"])
        self.optimiser.load_state_dict(state["optimiser"])
        self.generator.bit_generator.state = state["generator"]
        torch.set_rng_state(state["torch"])
        self.step, self.spent = state["step"], state["spent"]


def save_checkpoint(run: Run, path: Path) -> None:
    """Write the state beside the old one, then put it in its place."""
    part = path.with_suffix(".part")
    torch.save(run.state(), part)
    part.replace(path)


def train(run: Run, checkpoint: Path, log: Path) -> None:
    """Run to the end of the time, with checkpoints and a log of JSON lines."""
    saved = shown = time.monotonic()
    recent: list[dict[str, float]] = []
    while run.done < 1:
        recent.append(run.advance())
        now = time.monotonic()
        if now - shown > REPORT_SECONDS or run.done >= 1:
            shown = now
            mean = {f"train_{k}": round(float(np.mean([r[k] for r in recent])), 4) for k in recent[0]}
            valid = {f"valid_{k}": round(v, 4) for k, v in run.validate(32).items()}
            line = {"step": run.step, "done": round(run.done, 4), **mean, **valid, "lr": round(run.rate(), 6)}
            with log.open("a") as file:
                file.write(json.dumps(line) + "\n")
            recent = []
        if now - saved > CHECKPOINT_SECONDS:
            saved = now
            save_checkpoint(run, checkpoint)
    save_checkpoint(run, checkpoint)


def measure(codec: Codec, images: Images) -> float:
    """Bits/dim of the validation images as messages: one for images of one size, else one each."""
    binarised = [images.tensor(image[None], np.random.default_rng(1)) for image in images.valid]
    arrays = [x.permute(0, 2, 3, 1).to(torch.uint8).numpy() for x in binarised]
    sizes = {array.shape for array in arrays}
    batches = [np.concatenate(arrays)] if len(sizes) == 1 else arrays
    return sum(8 * len(codec.encode_message(batch)) for batch in batches) / sum(array.size for array in arrays)


def finish(run: Run, name: str, out: Path) -> None:
    """Write the averaged network as a codec file with its card, and the card as a page beside it."""
    model = run.recipe.model
    pixels = PixelFormat(model.channels, model.levels)
    card: dict[str, Any] = {
        "name": name,
        "data": run.recipe.describe,
        "steps": run.step,
        "minutes": round(run.spent / 60, 1),
        "device": f"{platform.machine()} CPU, {torch.get_num_threads()} threads",
        "parameters": sum(p.numel() for p in run.average.parameters()),
    }
    codec = load_codec(save_codec(run.average, "vlae", model, pixels, card), device="cpu")
    card["validation"] = f"{len(run.images.valid)} held-out images, whole"
    card["bits_per_dim"] = round(measure(codec, run.images), 4)
    content = save_codec(run.average, "vlae", model, pixels, card)
    out.write_bytes(content)
    about = {**card, "file": f"{len(content):,} bytes", "rate of the latents": f"{run.validate(32)['z']:.4f} bits/dim"}
    rows = "".join(f"| {key} | {value} |\n" for key, value in about.items())
    sizes = "".join(f"| {key} | {value} |\n" for key, value in asdict(model).items())
    recipe = f"`python -m bbcodec.models.training {name} --data DATA --out {out.name}`"
    out.with_suffix(".md").write_text(
        f"# {name}\n\n| | |\n| --- | --- |\n{rows}\nBits/dim are those of coded messages, without a container. "
        f"Made by {recipe}.\n\n| model | vlae |\n| --- | --- |\n{sizes}"
    )


@click.command()
@click.argument("recipe", type=click.Choice(sorted(RECIPES)))
@click.option("--data", type=click.Path(path_type=Path, exists=True), required=True, help="Folder of the data sets.")
@click.option("--out", type=click.Path(path_type=Path), required=True, help="The codec file to write at the end.")
@click.option("--work", type=click.Path(path_type=Path), default=Path("runs"), help="Folder of checkpoints and logs.")
@click.option(
    "--minutes", type=click.FloatRange(0, min_open=True), help="Length of the whole run; the recipe's if left out."
)
@click.option("--threads", type=click.IntRange(1), default=4, show_default=True)
@click.option("--compile/--no-compile", "compiled", default=True, help="Compile the network (needs a C++ compiler).")
def main(recipe: str, data: Path, out: Path, work: Path, minutes: float | None, threads: int, compiled: bool) -> None:
    """Train RECIPE into a codec file; go on from the checkpoint if there is one."""
    torch.set_num_threads(threads)
    chosen = RECIPES[recipe]
    run = Run(chosen, LOADERS[chosen.data](data), 60 * (minutes or chosen.minutes), compiled)
    work.mkdir(parents=True, exist_ok=True)
    checkpoint = work / f"{recipe}.ckpt"
    if checkpoint.exists():
        run.restore(torch.load(checkpoint, weights_only=True))
    train(run, checkpoint, work / f"{recipe}.log")
    finish(run, recipe, out)


if __name__ == "__main__":
    main()
