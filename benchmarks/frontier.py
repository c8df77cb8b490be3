"""Which local net? Bits/dim over MB/s of nets of different shapes, all trained for the same number of steps.

    python benchmarks/frontier.py --data PREPARED --work FOLDER [--steps 3000] [--arms ARM...]    # what is missing
    python benchmarks/frontier.py --data PREPARED --work FOLDER --speed-only                      # on an idle machine

PREPARED is what benchmarks/prepare.py wrote. Steps and not minutes, so that other work on the machine changes nothing:
all arms see the same crops in the same order. Each arm is one run of `bbcodec.models.training`, with one thread; it is
measured on held-out images, by messages of its codec. The codecs stay in FOLDER, and an arm whose result is there is
not trained again: a run that was stopped goes on where it was. Speeds are those of the compiled engine, one thread,
CPU time of the best of some runs, on a picture of 768 x 512 pixels put together from held-out images.

After so few steps no net is done: wide and deep ones have more to gain from training than small ones.
"""

from __future__ import annotations

import argparse
import json
import os
from pathlib import Path
from typing import Any

import numpy as np
from common import Pixels, arguments, command, environment, needed, pixels

HEIGHT, WIDTH = 512, 768

# What all arms of a set share. Crops hold as many pixels a step as whole images of CIFAR-10 do.
SETS: dict[str, dict[str, Any]] = {
    "photos": {"crop": 64, "batch": 4, "flips": True},
    "cifar": {"crop": 0, "batch": 16, "flips": True},
}
SOURCES = {"photos": (["photos/train", "photos/train2"], ["photos/valid"]), "cifar": (["cifar10_train.npy"], [])}
COMMON: dict[str, Any] = {"components": 5, "joint": True, "latent_channels": 0, "radius": 3}

# hidden x inner channels, blocks with a 3 x 3 layer; then what is unusual.
ARMS: dict[str, dict[str, Any]] = {
    "64 x 128, 3": {"hidden": 64, "inner": 128, "layers": 3},
    "64 x 128, 4": {"hidden": 64, "inner": 128, "layers": 4},
    "64 x 128, 2": {"hidden": 64, "inner": 128, "layers": 2},
    "64 x 64, 4": {"hidden": 64, "inner": 64, "layers": 4},
    "64 x 64, 6": {"hidden": 64, "inner": 64, "layers": 6},
    "96 x 96, 3": {"hidden": 96, "inner": 96, "layers": 3},
    "48 x 96, 3": {"hidden": 48, "inner": 96, "layers": 3},
    "48 x 48, 4": {"hidden": 48, "inner": 48, "layers": 4},
    "32 x 64, 3": {"hidden": 32, "inner": 64, "layers": 3},
    "32 x 32, 4": {"hidden": 32, "inner": 32, "layers": 4},
    "64 x 128, 1 and 4 pointwise": {"hidden": 64, "inner": 128, "layers": 1, "between": 4},
    "64 x 128, 1 and 4 pointwise, radius 5": {"hidden": 64, "inner": 128, "layers": 1, "between": 4, "radius": 5},
    "64 x 128, 2 and 2 pointwise": {"hidden": 64, "inner": 128, "layers": 2, "between": 1},
    "64 x 128, 3, radius 2": {"hidden": 64, "inner": 128, "layers": 3, "radius": 2},
    "64 x 128, 3, radius 4": {"hidden": 64, "inner": 128, "layers": 3, "radius": 4},
    "64 x 128, 3, 5 components apart": {"hidden": 64, "inner": 128, "layers": 3, "joint": False},
    "64 x 128, 3, 3 components": {"hidden": 64, "inner": 128, "layers": 3, "components": 3},
    "64 x 128, 3, 10 components": {"hidden": 64, "inner": 128, "layers": 3, "components": 10},
}


def file_name(images: str, arm: str, steps: int) -> str:
    """The codec of an arm, without its suffix: the number of steps is in it, as a shorter run is another one."""
    words = "".join(letter if letter.isalnum() else " " for letter in arm).split()
    return "-".join([images, *words, str(steps)])


def train_arm(options: argparse.Namespace, images: str, arm: str, codec: Path) -> dict[str, Any]:
    """Train an arm, or go on with it; what was done. The codec is then at `codec`."""
    from bbcodec.models.training.batches import steps_per_epoch
    from bbcodec.models.training.preparation import prepare
    from bbcodec.models.training.recipes import Recipe
    from bbcodec.models.training.run import train

    inputs, valid = ([needed(options.data / name) for name in names] for names in SOURCES[images])
    settings = {**COMMON, **SETS[images], **ARMS[arm], "seed": options.seed}
    plan = prepare(inputs, valid, Recipe("", "vlae"), settings)
    settings["epochs"] = options.steps / steps_per_epoch(plan.dataset, plan.settings)
    side = plan.settings.crop or len(plan.dataset.train[0])
    del plan
    loads = [os.getloadavg()[0]]
    summary = train(inputs, codec, valid=valid, family="vlae", overrides=settings, resume=True, threads=1, device="cpu")
    loads.append(os.getloadavg()[0])
    if summary.steps != options.steps:
        raise SystemExit(f"{arm} was trained for {summary.steps:,} steps, not for {options.steps:,}")
    return {
        "settings": settings,
        "parameters": summary.parameters,
        "steps": summary.steps,
        "pixels_a_step": settings["batch"] * side**2,
        "minutes": summary.minutes,
        "bits_per_dim": summary.bits_per_dim,
        "webp_bits_per_dim": summary.webp_bits_per_dim,
        "held_out_images": summary.valid_images,
        "codec_bytes": summary.codec_bytes,
        "load_average_before_and_after": [round(load, 1) for load in loads],
        "environment": environment(),
    }


def picture(data: Path) -> Pixels:
    """A picture (1, H, W, 3) of held-out photos side by side, cut to tiles of one size."""
    tiles = []
    for path in sorted(needed(data / "photos/valid").iterdir()):
        tile = pixels(path)
        if tile.ndim == 3 and min(tile.shape[:2]) >= 128:
            tiles += [tile[i : i + 128, j : j + 128, :3] for i in (0,) for j in range(0, tile.shape[1] - 127, 128)]
    if not tiles:
        raise SystemExit(f"{data}/photos/valid holds no RGB image of 128 x 128 pixels")
    rows = [[tiles[(6 * i + j) % len(tiles)] for j in range(WIDTH // 128)] for i in range(HEIGHT // 128)]
    return np.concatenate([np.concatenate(row, 1) for row in rows])[None]


def speed(codec: Path, images: Pixels, times: int) -> dict[str, Any]:
    """Microseconds a pixel of a codec, the products alone among them. Empty where the engine has no such net."""
    from engine import coder_of, floor, parts

    import bbcodec

    coder = coder_of(bbcodec.load_codec(codec, device="cpu"))
    if coder is None:
        return {}
    before = os.getloadavg()[0]
    microseconds = parts(coder, np.ascontiguousarray(images.transpose(0, 3, 1, 2)), times)
    return {
        "kernels": coder.kernels.name,
        **floor(coder.net, coder.kernels, times),
        "us_per_pixel": microseconds,
        "mb_per_s": {way: round(3 / microseconds[way], 2) for way in ("in", "out")},
        "load_average": round(before, 1),
        "environment": environment(),
    }


def results(path: Path) -> dict[tuple[str, str, int], dict[str, Any]]:
    """The rows of a result by set, arm and steps."""
    rows = json.loads(path.read_text(encoding="utf-8"))["rows"] if path.exists() else []
    return {(row["set"], row["arm"], row["steps"]): row for row in rows}


def keep(options: argparse.Namespace, parser: argparse.ArgumentParser, row: dict[str, Any]) -> None:
    """Write the result with this row in it, by set and number of steps, in the order of ARMS."""
    rows = results(options.out)
    rows[row["set"], row["arm"], row["steps"]] = row
    names = list(ARMS)
    order = sorted(rows, key=lambda one: (one[0], one[2], names.index(one[1]) if one[1] in names else len(names)))
    record = {
        "command": command(argparse.Namespace(steps=options.steps), parser, "PREPARED"),
        "data": "held-out images of the photos, and of CIFAR-10's training images",
        "environment": environment(),
        "rows": [rows[one] for one in order],
    }
    options.out.parent.mkdir(parents=True, exist_ok=True)
    options.out.write_text(json.dumps(record, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")


def missing(options: argparse.Namespace) -> list[tuple[str, str]]:
    """Sets and arms that are still to be trained."""
    done = results(options.out)
    wanted = [(images, arm, options.steps) for images in options.sets for arm in options.arms]
    return [one[:2] for one in wanted if one not in done]


def main() -> None:
    """Train what is missing, or measure the speed of what was trained; the result is written after each arm."""
    parser = arguments(__doc__ or "", "frontier")
    parser.add_argument("--work", type=Path, required=True, help="folder for codecs and unfinished runs")
    parser.add_argument("--sets", nargs="+", choices=SETS, default=["photos"], help="images to train on")
    parser.add_argument("--arms", nargs="+", choices=ARMS, default=list(ARMS), metavar="ARM", help="(all)")
    parser.add_argument("--steps", type=int, default=3000, help="training steps of each arm")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--speed-only", action="store_true", help="measure the codecs in --work, train nothing")
    parser.add_argument("--times", type=int, default=5, help="runs of each part, the quickest counts")
    options = parser.parse_args()
    options.work.mkdir(parents=True, exist_ok=True)
    for images, arm in [] if options.speed_only else missing(options):
        print(f"{images}, {arm}: {options.steps:,} steps", flush=True)
        row = train_arm(options, images, arm, options.work / f"{file_name(images, arm, options.steps)}.bbc")
        keep(options, parser, {"set": images, "arm": arm, **row})
        print(f"{images}, {arm}: {row['bits_per_dim']} bits/dim after {row['minutes']} minutes", flush=True)
    some = picture(options.data)
    for (images, arm, steps), row in results(options.out).items():
        codec = options.work / f"{file_name(images, arm, steps)}.bbc"
        if codec.exists() and (options.speed_only or "speed" not in row):
            keep(options, parser, {**row, "speed": speed(codec, some, options.times)})


if __name__ == "__main__":
    main()
