"""What parts of the models are for: the same budget with and without them, beside what the papers found.

    python benchmarks/ablations.py --data PREPARED [--times 1] [--only EXPERIMENT...] [--missing]

PREPARED is what benchmarks/prepare.py wrote. Every arm of an experiment is trained for the same number of steps on the
same batches, several times with other seeds, and measured on the first test images. Pixels of two levels are drawn
anew at each use, where grey ones say how likely they are. Steps and not minutes, so that other work on the machine
changes nothing: on one CPU the same command gives the same weights. The decoder alone is an arm of most experiments:
where a model leaves its latents idle, that is as good. A decoder that does not see its surroundings can then but know
how often each pixel is 1.
Arms that are not measured now stay as they are in the result; with --missing, those are measured that it lacks.
"""

from __future__ import annotations

import argparse
import json
import math
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from common import Pixels, arguments, bbcodec, command, environment, needed

from bbcodec.codec.device import one_thread
from bbcodec.codec.file import load_codec
from bbcodec.model.bounds import iwae
from bbcodec.report.coding_costs import UNITS_PER_BIT, importance_weights_of, measure_message

IWAE_IMAGES, IWAE_DRAWS = 25, 100  # on which the gap between the bounds is measured
WEIGHT_DECAY = 0.2  # as by default; rows of runs from before there was any do not say it
FREQUENCIES: dict[str, Any] = {"pixels": "frequencies"}  # an arm that needs no training


@dataclass(frozen=True)
class Images:
    """Files of training and of test images. drawn: training images are grey, and made two-level by chance."""

    train: str
    test: str
    drawn: bool = False


MNIST = Images("mnist_train.npy", "mnist_binary_test.npy", drawn=True)
OMNIGLOT = Images("omniglot28_train.npy", "omniglot28_binary_test.npy", drawn=True)
CALTECH = Images("caltech101_train.npy", "caltech101_test.npy")
GREY_MNIST = Images("mnist_train.npy", "mnist_test.npy")
CIFAR = Images("cifar10_train.npy", "cifar10_test.npy")
FACES = Images("freyfaces_train.npy", "freyfaces_test.npy")


@dataclass(frozen=True)
class Experiment:
    """A question: what the papers found, settings that all arms have, and those in which each differs."""

    name: str
    question: str
    paper: str
    model: str
    epochs: float
    common: dict[str, Any]
    arms: dict[str, dict[str, Any]]
    images: Images = MNIST
    seeds: int = 3


DELTA = {"hidden": 32, "layers": 4, "attentions": 1, "heads": 1, "width": 16, "blocks": 2, "batch": 16}
VAMP = {"layers": 2, "decoder": "conv", "features": 16, "components": 200, "batch": 100, "free_nats": 0.05}
ATTENTIVE = {"local_layers": 0, "latent_channels": 2, "free_nats": 0.02, "batch": 32}
VLAE = {"latent_channels": 1, "latent_stride": 4, "context_stride": 1, "prior_layers": 3, "free_nats": 0.2, "batch": 21}
# Multiply-adds a pixel of a digit: 26,336 of the decoder, 5,270 more of encoder, prior and context net.
WORTH = {"layers": 2, "radius": 2, "batch": 32}
WORTH_ARMS: dict[str, dict[str, Any]] = {
    "with latents": {
        **{"hidden": 32, "inner": 64, "latent_channels": 2, "latent_stride": 4, "context_stride": 1, "width": 24},
        **{"blocks": 1, "prior_hidden": 16, "prior_layers": 2, "free_nats": 0.1},
    },
    "decoder alone, the same": {"hidden": 32, "inner": 64, "latent_channels": 0},
    "decoder alone, of as many multiply-adds": {"hidden": 36, "inner": 68, "latent_channels": 0},
}
# Of 36,600 multiply-adds a pixel of the decoder, all else has 1,400 more.
COLOUR_ARMS: dict[str, dict[str, Any]] = {
    "with latents": {
        **{"hidden": 32, "inner": 64, "latent_channels": 2, "latent_stride": 8, "context_stride": 4, "width": 24},
        **{"blocks": 1, "prior_hidden": 16, "prior_layers": 2, "free_nats": 0.5},
    },
    "decoder alone, the same": {"hidden": 32, "inner": 64, "latent_channels": 0},
    "decoder alone, of as many multiply-adds": {"hidden": 33, "inner": 65, "latent_channels": 0},
}
GREY_WORTH = {**WORTH, "components": 5}
COLOUR_WORTH = {"layers": 2, "radius": 2, "batch": 16, "components": 5, "joint": True}
COMMITTED = {"prior": "independent", "rows": 28}
FLOW = {**WORTH, **WORTH_ARMS["with latents"]}
GLOBAL = "what a local decoder cannot see, latents tell for fewer bits (Chen et al. 2017, sections 2.3 and 4)"

EXPERIMENTS = (
    Experiment(
        "committed rate",
        "does a committed rate keep latents in use under a strong decoder?",
        "a plain VAE with this decoder collapses, a delta-VAE does not (Razavi et al. 2019, sections 2 and 4)",
        "delta-vae",
        0.16,
        DELTA,
        {
            "AR(1) prior": {"prior": "ar1"},
            "independent": {"prior": "independent", "rate_bits": 12, "rows": 28},
            "standard prior, a plain VAE": {"prior": "standard"},
            "decoder alone": {"latent_channels": 0},
        },
    ),
    Experiment(
        "encoder",
        "should the encoder of a row see the rows above it?",
        "at 6 layers without attention yes: non-causal is the better one; with attention or more layers no "
        "(Razavi et al. 2019, table 6)",
        "delta-vae",
        0.16,
        {**DELTA, "layers": 6, "attentions": 0, "encoder_attentions": 0},
        {
            "anti-causal": {"encoder": "anti-causal"},
            "non-causal": {"encoder": "non-causal"},
            "decoder alone": {"latent_channels": 0},
        },
    ),
    Experiment(
        "prior",
        "is a mixture of posteriors at learned pseudo-inputs a better prior?",
        "VampPrior is better than a mixture of Gaussians, and that than the standard prior (Tomczak & Welling 2018, "
        "table 2 and figure 2)",
        "vamp",
        0.68,
        VAMP,
        {
            **{name: {"prior": name} for name in ("standard", "mog", "vamp", "weighted", "vamp-data")},
            "decoder alone": FREQUENCIES,
        },
    ),
    Experiment(
        "attention",
        "what do attention over depth and over places give?",
        "both help (Apostolopoulou et al. 2022, section 3.2)",
        "attentive",
        0.5,
        ATTENTIVE,
        {
            "both": {},
            "over depth alone": {"nonlocal_blocks": False},
            "over places alone": {"depth_prior": False, "depth_posterior": False},
            "neither": {"depth_prior": False, "depth_posterior": False, "nonlocal_blocks": False},
            "decoder alone": FREQUENCIES,
        },
    ),
    Experiment(
        "receptive field",
        "how much do latents say where the decoder sees more?",
        "the further a decoder sees, the less it leaves to the latents (Chen et al. 2017, section 2.3 and figure 2)",
        "vlae",
        0.32,
        VLAE,
        {
            "2 layers, radius 1": {"layers": 2, "radius": 1, "hidden": 40, "inner": 80},
            "4 layers, radius 2": {"layers": 4, "radius": 2, "hidden": 32, "inner": 64},
            "8 layers, radius 3": {"layers": 8, "radius": 3, "hidden": 24, "inner": 48},
            "8 layers, decoder alone": {"layers": 8, "radius": 3, "hidden": 24, "inner": 48, "latent_channels": 0},
        },
    ),
    Experiment(
        "flow",
        "is an autoregressive flow a better prior of a VLAE than a standard normal?",
        "it is, and as good as an inverse flow as posterior or better (Chen et al. 2017, section 3.2)",
        "vlae",
        0.4,
        FLOW,
        {"autoregressive flow": {}, "standard normal": {"prior_layers": 0}, "decoder alone": {"latent_channels": 0}},
    ),
    Experiment(
        "rate and distortion",
        "what do committed rates, weights of rates, free bits and word dropout buy?",
        "at any rate, committed ones are as good as free bits or beta, or better, and more stable (Razavi et al. 2019, "
        "section 4.3 and figure 4)",
        "delta-vae",
        0.16,
        {**DELTA, "prior": "standard"},
        {
            **{f"committed, {bits} bits": COMMITTED | {"rate_bits": bits} for bits in (6, 12, 24)},
            **{f"beta {beta}": {"rate_weight": beta} for beta in (0.3, 0.6)},
            **{f"free, {nats} nats a latent": {"free_nats": nats} for nats in (0.03, 0.1)},
            **{f"word dropout, {share:.0%}": {"word_dropout": share} for share in (0.1, 0.3)},
        },
    ),
    Experiment(
        "pseudo-inputs",
        "how many pseudo-inputs does a VampPrior need?",
        "some hundred; more do not help (Tomczak & Welling 2018, section 5 and figure 2)",
        "vamp",
        0.68,
        {**VAMP, "prior": "vamp"},
        {f"{count} pseudo-inputs": {"components": count} for count in (10, 50, 500)},
    ),
    Experiment(
        "depth",
        "does attention over depth let a deeper hierarchy do better?",
        "it helps at any depth (Apostolopoulou et al. 2022, table 5)",
        "attentive",
        0.25,
        {**ATTENTIVE, "nonlocal_blocks": False},
        {
            f"{layers} layers, {told}": {"layers": layers, "depth_prior": depth, "depth_posterior": depth}
            for layers in (3, 6, 12)
            for told, depth in (("with it", True), ("without", False))
        },
    ),
    Experiment(
        "weight decay",
        "do inner weights that decay learn better?",
        "so they do in large language models, above all in long runs (Liu et al. 2025, section 2.2)",
        "vlae",
        16.0,
        {**GREY_WORTH, **WORTH_ARMS["decoder alone, the same"]},
        {f"{decay} of the rate": {"weight_decay": decay} for decay in (0.0, 0.1, 0.2, 0.4)},
        FACES,
        seeds=2,
    ),
    Experiment("worth on MNIST", "what are latents worth on digits?", GLOBAL, "vlae", 0.4, WORTH, WORTH_ARMS),
    Experiment(
        "worth on Omniglot", "what are latents worth on glyphs?", GLOBAL, "vlae", 1.2, WORTH, WORTH_ARMS, OMNIGLOT
    ),
    Experiment(
        "worth on Caltech", "what are latents worth on silhouettes?", GLOBAL, "vlae", 6.0, WORTH, WORTH_ARMS, CALTECH
    ),
    Experiment(
        "worth on grey MNIST",
        "what are latents worth on digits of 256 levels?",
        GLOBAL,
        "vlae",
        0.3,
        GREY_WORTH,
        WORTH_ARMS,
        GREY_MNIST,
        seeds=2,
    ),
    Experiment(
        "worth on Frey faces",
        "what are latents worth on faces of one person?",
        GLOBAL,
        "vlae",
        12.0,
        GREY_WORTH,
        WORTH_ARMS,
        FACES,
        seeds=2,
    ),
    Experiment(
        "worth on CIFAR-10",
        "what are latents worth on small photos?",
        GLOBAL,
        "vlae",
        0.2,
        COLOUR_WORTH,
        COLOUR_ARMS,
        CIFAR,
        seeds=2,
    ),
)


def settings_of(experiment: Experiment, changes: dict[str, Any], seed: int, times: float) -> dict[str, Any]:
    """The settings of a run; those of an arm that needs no training as they are."""
    if changes is FREQUENCIES:
        return FREQUENCIES
    drawn = {"binarise": True} if experiment.images.drawn else {}
    always = {"epochs": experiment.epochs * times, "seed": seed, "weight_decay": WEIGHT_DECAY}
    return {**drawn, **always, **experiment.common, **changes}


def measure(model: str, settings: dict[str, Any], train: Path, test: Path) -> dict[str, Any]:
    """The row of a run."""
    words = [f"{key}={str(value).lower() if isinstance(value, bool) else value}" for key, value in settings.items()]
    assignments = [part for word in words for part in ("--set", word)]
    with tempfile.TemporaryDirectory(prefix="bbcodec-ablations-") as folder:
        codec = Path(folder) / "arm.bbc"
        about = ("--model", model, "--threads", "1", "--json")
        summary = json.loads(bbcodec("train", train, "-o", codec, *about, *assignments)[0])
        return {"parameters": summary["parameters"], "steps": summary["steps"], **bounds(codec, np.load(test))}


def bounds(path: Path, images: Pixels) -> dict[str, Any]:
    """What a codec makes of images (N, H, W) or (N, H, W, C): all of them one message, in no archive."""
    images = images if images.ndim == 4 else images[..., None]
    codec = load_codec(path, "cpu", engine=False)
    with one_thread():
        costs = measure_message(codec, images, codec.encode_message(images))
        weights = importance_weights_of(codec, images[:IWAE_IMAGES], IWAE_DRAWS, seed=0)
    nats = {name: float(site.elbo.mean()) / UNITS_PER_BIT * math.log(2) for name, site in costs.sites.items()}
    gap = float((iwae(weights, IWAE_DRAWS) - iwae(weights, 1)).mean())
    return {
        "rate_nats": {name: round(nats[name], 3) for name, site in costs.sites.items() if site.latent},
        "negative_elbo_nats": round(sum(nats.values()), 3),
        "iwae_nats": round(sum(nats.values()) - gap, 3),
        "message_bits_per_dim": round(8 * costs.message_bytes / images.size, 5),
    }


def frequencies(train: Path, test: Path) -> dict[str, Any]:
    """The row of a decoder that sees neither latents nor its surroundings: each pixel by its mean over all images."""
    grey = np.load(train)
    share = (grey.sum(0, dtype=np.float64) / 255 + 1) / (len(grey) + 2)
    x = np.load(test)
    nats = -np.log(np.where(x == 1, share, 1 - share)).sum() / len(x)
    return {
        "parameters": share.size,
        "steps": 0,
        "rate_nats": {},
        "negative_elbo_nats": round(float(nats), 3),
        "iwae_nats": round(float(nats), 3),
        "message_bits_per_dim": None,
    }


Key = tuple[str, str, int]  # experiment, arm, seed


def measured_before(path: Path, times: float) -> dict[Key, Any]:
    """The rows of a result, if it is of runs of the same length."""
    before = json.loads(path.read_text(encoding="utf-8")) if path.exists() else {}
    rows = before.get("rows", ()) if before.get("times") == times else ()
    return {(row["experiment"], row["arm"], row["seed"]): row for row in rows}


def runs(only: list[str] | None) -> Iterator[tuple[Experiment, str, int]]:
    """Experiments, arms and seeds, all arms with the first seed first."""
    chosen = [one for one in EXPERIMENTS if not only or one.name in only]
    for seed in range(max(one.seeds for one in chosen)):
        for experiment in (one for one in chosen if seed < one.seeds):
            for arm, changes in experiment.arms.items():
                if seed == 0 or changes is not FREQUENCIES:
                    yield experiment, arm, seed


def main() -> None:
    """Measure, and write the result after each run."""
    parser = arguments(__doc__, "ablations")
    parser.add_argument("--times", type=float, default=1, help="so many times as long as each experiment says")
    parser.add_argument("--images", type=int, default=1000, help="first images of the test set that are measured")
    parser.add_argument("--only", nargs="+", choices=[one.name for one in EXPERIMENTS], help="experiments (all)")
    parser.add_argument(
        "--missing", action="store_true", help="only runs of which the result has none with the same settings"
    )
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        test = Path(folder) / "test.npy"
        for experiment, arm, seed in runs(options.only):
            key, settings = (
                (experiment.name, arm, seed),
                settings_of(experiment, experiment.arms[arm], seed, options.times),
            )
            known = measured_before(options.out, options.times).get(key)
            if options.missing and known and known["settings"] == settings:
                continue
            train, whole = (needed(options.data / name) for name in (experiment.images.train, experiment.images.test))
            np.save(test, np.load(whole)[: options.images])
            simple = settings is FREQUENCIES
            row = frequencies(train, test) if simple else measure(experiment.model, settings, train, test)
            keep(options, parser, key, {"settings": settings, **row, "environment": environment()})
            told = f"rates {row['rate_nats']}, negative ELBO {row['negative_elbo_nats']} nats"
            print(f"{experiment.name}, {arm}, seed {seed}: {told}", flush=True)


def keep(options: Any, parser: Any, key: Key, row: dict[str, Any]) -> None:
    """Write the result with this run in it."""
    rows = measured_before(options.out, options.times)
    rows[key] = dict(zip(("experiment", "arm", "seed"), key, strict=True)) | row
    order = [(one.name, arm, seed) for one in EXPERIMENTS for arm in one.arms for seed in range(one.seeds)]
    given = argparse.Namespace(**vars(options) | {"only": None, "missing": False})  # the command that makes all rows
    record = {
        "command": command(given, parser, "PREPARED"),
        "data": f"the first {options.images:,} test images of binarised MNIST, or of what is named",
        "environment": environment(),
        "times": options.times,
        "experiments": {one.name: {"question": one.question, "paper": one.paper} for one in EXPERIMENTS},
        "rows": [rows[one] for one in order if one in rows],
    }
    options.out.write_text(json.dumps(record, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
