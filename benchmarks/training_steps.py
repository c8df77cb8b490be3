"""How long a training step takes: as `bbcodec train` makes it, and with torch alone.

    python benchmarks/training_steps.py [--threads 1 2] [--steps 5]

Nets are of the sizes of shipped codecs, untrained; images are noise, in the numbers and sizes of their training. A step
is the loss and its gradients. Beside fused steps are those that torch compiles, and those it does not, whose mixtures
of logistics are torch's too. The first two steps, in which code is compiled or loaded, are told apart; of those after
them the best counts.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from functools import partial
from typing import Any

import torch
from common import arguments, save

from bbcodec.codec.catalogue import find_codec
from bbcodec.codec.stored import StoredCodec
from bbcodec.models.families import find_family
from bbcodec.models.fused_blocks import product_type
from bbcodec.models.fused_mixture import FusedMixture
from bbcodec.models.training.trainer import Objective
from bbcodec.models.vlae import Vlae

SHAPES = {  # of the images of a step: (B, C, H, W)
    "photo-3": (4, 3, 64, 64),
    "grey-3": (4, 1, 64, 64),
    "mnist-binary-3": (64, 1, 28, 28),
}


def compiled_by_torch(model: Vlae) -> None:
    """The decoder as torch compiles it, and the fused likelihood."""
    c = model.config
    model.local.compile()
    if c.levels == 256:
        model.family = partial(FusedMixture, channels=c.channels, joint=c.joint)


WAYS: dict[str, Callable[[Vlae], None]] = {
    "torch": lambda model: None,
    "torch, compiled": compiled_by_torch,
    "fused": lambda model: model.compile_for_training(),
}


def seconds(name: str, way: str, steps: int) -> tuple[float, float]:
    """The first two steps together, and the best of those after them."""
    stored = StoredCodec.read(find_codec(name))
    torch.manual_seed(0)
    model: Any = find_family(stored.family).build(stored.config)
    model.to(memory_format=torch.channels_last)
    WAYS[way](model)
    objective, generator = Objective(model, 0.05), torch.Generator().manual_seed(0)
    images = torch.randint(0, model.config.levels, SHAPES[name], generator=generator).float()
    images = images.contiguous(memory_format=torch.channels_last)
    took = []
    for _ in range(steps + 2):
        model.zero_grad()
        start = time.perf_counter()
        objective(images, generator, False)[0].backward()
        took.append(time.perf_counter() - start)
    return sum(took[:2]), min(took[2:])


def main() -> None:
    """Measure, and write the result."""
    parser = arguments(__doc__, "training_steps", data=False)
    parser.add_argument("--threads", type=int, nargs="+", default=[1, 2])
    parser.add_argument("--steps", type=int, default=5, help="of which the best counts")
    options = parser.parse_args()
    rows = []
    for name in SHAPES:
        for threads in options.threads:
            torch.set_num_threads(threads)
            took = {way: seconds(name, way, options.steps) for way in WAYS}
            milliseconds = {way: round(1000 * best, 1) for way, (_, best) in took.items()}
            first = {way: round(seconds, 1) for way, (seconds, _) in took.items()}
            row = {"net": name, "images": SHAPES[name], "threads": threads, "milliseconds": milliseconds}
            rows.append(row | {"first_steps_seconds": first})
            print(rows[-1], flush=True)
    products = str(product_type()).removeprefix("torch.")
    save(options, parser, "noise", {"products": products, "rows": rows}, folder="")


if __name__ == "__main__":
    main()
