"""What parts of the models are for: the same budget with and without them, beside what the papers found.

    python benchmarks/ablations.py --data PREPARED [--times 1] [--only EXPERIMENT...]

PREPARED is what benchmarks/prepare.py wrote. Every arm of an experiment is trained for the same number of steps on the
same batches of binarised MNIST (the last experiment: of Omniglot), whose pixels are drawn anew at each use, and
measured on the first test images. Steps and not minutes, so that other work on the machine changes nothing: on one CPU
the same command gives the same weights. The decoder alone is an arm of each experiment: where a model leaves its
latents idle, that is as good. A decoder that does not see its surroundings can then but know how often each pixel is 1.
Arms that are not measured now stay as they are in the result.
"""

from __future__ import annotations

import json
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from common import arguments, bbcodec, command, environment, needed

TRAIN, TEST = "mnist_train.npy", "mnist_binary_test.npy"
IWAE_IMAGES = "25"  # on which the gap between the bounds is measured
OMNIGLOT = "omniglot28_train.npy", "omniglot28_binary_test.npy"
FREQUENCIES: dict[str, Any] = {"pixels": "frequencies"}  # an arm that needs no training


@dataclass(frozen=True)
class Experiment:
    """A question: what the papers found, settings that all arms have, and those in which each differs.

    images: files of training images, grey, and of test images, of two levels.
    """

    name: str
    question: str
    paper: str
    model: str
    epochs: float
    common: dict[str, Any]
    arms: dict[str, dict[str, Any]]
    images: tuple[str, str] = (TRAIN, TEST)


DELTA = {"hidden": 32, "layers": 4, "attentions": 1, "heads": 1, "width": 16, "blocks": 2, "batch": 16}
VAMP = {"layers": 2, "decoder": "conv", "features": 16, "components": 200, "batch": 100, "free_nats": 0.05}
ATTENTIVE = {"local_layers": 0, "latent_channels": 2, "free_nats": 0.02, "batch": 32}
VLAE = {"latent_channels": 1, "latent_stride": 4, "context_stride": 1, "prior_layers": 3, "free_nats": 0.2, "batch": 21}
# 8-bit nets. Multiply-adds a pixel of a digit: 26,336 of the decoder, 5,270 more of encoder, prior and context net.
WORTH = {"layers": 2, "radius": 2, "batch": 32}
WORTH_ARMS: dict[str, dict[str, Any]] = {
    "with latents": {
        **{"hidden": 32, "inner": 64, "latent_channels": 2, "latent_stride": 4, "context_stride": 1, "width": 24},
        **{"blocks": 1, "prior_hidden": 16, "prior_layers": 2, "free_nats": 0.1},
    },
    "decoder alone, the same": {"hidden": 32, "inner": 64, "latent_channels": 0},
    "decoder alone, of as many multiply-adds": {"hidden": 36, "inner": 68, "latent_channels": 0},
}
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
            "2 layers, radius 1": {"layers": 2, "radius": 1, "hidden": 40},
            "4 layers, radius 2": {"layers": 4, "radius": 2, "hidden": 32},
            "8 layers, radius 3": {"layers": 8, "radius": 3, "hidden": 24},
            "8 layers, decoder alone": {"layers": 8, "radius": 3, "hidden": 24, "latent_channels": 0},
        },
    ),
    Experiment("worth on MNIST", "what are latents worth on digits?", GLOBAL, "vlae", 1.0, WORTH, WORTH_ARMS),
    Experiment(
        "worth on Omniglot", "what are latents worth on glyphs?", GLOBAL, "vlae", 3.0, WORTH, WORTH_ARMS, OMNIGLOT
    ),
)


def measure(experiment: Experiment, changes: dict[str, Any], train: Path, test: Path, times: float) -> dict[str, Any]:
    """The row of an arm."""
    settings = {"binarise": True, "epochs": experiment.epochs * times, **experiment.common, **changes}
    words = [f"{key}={str(value).lower() if isinstance(value, bool) else value}" for key, value in settings.items()]
    assignments = [part for word in words for part in ("--set", word)]
    with tempfile.TemporaryDirectory(prefix="bbcodec-ablations-") as folder:
        codec = Path(folder) / "arm.bbc"
        about = ("--model", experiment.model, "--threads", "1", "--json")
        summary = json.loads(bbcodec("train", train, "-o", codec, *about, *assignments)[0])
        how = ("--json", "--iwae", "100", "--iwae-images", IWAE_IMAGES, "--no-peers", "--jobs", "1")
        report = json.loads(bbcodec("evaluate", codec, test, *how)[0])
    return {
        "settings": settings,
        "parameters": summary["parameters"],
        "steps": summary["steps"],
        "rate_nats": {row["name"]: round(row["nats_per_image"], 3) for row in report["layers"] if row["latent"]},
        "negative_elbo_nats": round(report["nats_per_image"]["negative_elbo"], 3),
        "iwae_nats": round(report["nats_per_image"]["iwae_100"], 3),
        "file_bits_per_dim": round(report["measured_bits_per_dim"], 5),
        "environment": environment(),
    }


def frequencies(train: Path, test: Path) -> dict[str, Any]:
    """The row of a decoder that sees neither latents nor its surroundings: each pixel by its mean over all images."""
    grey = np.load(train)
    share = (grey.sum(0, dtype=np.float64) / 255 + 1) / (len(grey) + 2)
    x = np.load(test)
    nats = -np.log(np.where(x == 1, share, 1 - share)).sum() / len(x)
    return {
        "settings": FREQUENCIES,
        "parameters": share.size,
        "steps": 0,
        "rate_nats": {},
        "negative_elbo_nats": round(float(nats), 3),
        "iwae_nats": round(float(nats), 3),
        "file_bits_per_dim": None,
        "environment": environment(),
    }


def measured_before(path: Path, times: float) -> dict[tuple[str, str], Any]:
    """The rows of a result, if it is of runs of the same length."""
    before = json.loads(path.read_text(encoding="utf-8")) if path.exists() else {}
    return {(row["experiment"], row["arm"]): row for row in before.get("rows", ()) if before["times"] == times}


def main() -> None:
    """Measure, and write the result after each arm."""
    parser = arguments(__doc__, "ablations")
    parser.add_argument("--times", type=float, default=1, help="so many times as long as each experiment says")
    parser.add_argument("--images", type=int, default=1000, help="first images of the test set that are measured")
    parser.add_argument("--only", nargs="+", choices=[one.name for one in EXPERIMENTS], help="experiments (all)")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        test = Path(folder) / "test.npy"
        for experiment in EXPERIMENTS:
            if options.only and experiment.name not in options.only:
                continue
            train, whole = (needed(options.data / name) for name in experiment.images)
            np.save(test, np.load(whole)[: options.images])
            for arm, changes in experiment.arms.items():
                if changes is FREQUENCIES:
                    row = frequencies(train, test)
                else:
                    row = measure(experiment, changes, train, test, options.times)
                keep(options, parser, (experiment.name, arm), row)
                told = f"rates {row['rate_nats']}, negative ELBO {row['negative_elbo_nats']} nats"
                print(f"{experiment.name}, {arm}: {told}", flush=True)


def keep(options: Any, parser: Any, key: tuple[str, str], row: dict[str, Any]) -> None:
    """Write the result with this arm in it."""
    rows = measured_before(options.out, options.times)
    rows[key] = {"experiment": key[0], "arm": key[1], **row}
    order = [(one.name, arm) for one in EXPERIMENTS for arm in one.arms]
    options.only, chosen = None, options.only  # the command that is recorded makes all rows
    record = {
        "command": command(options, parser, "PREPARED"),
        "data": f"binarised MNIST, and Omniglot where it is named; the first {options.images:,} test images",
        "environment": environment(),
        "times": options.times,
        "experiments": {one.name: {"question": one.question, "paper": one.paper} for one in EXPERIMENTS},
        "rows": [rows[one] for one in order if one in rows],
    }
    options.only = chosen
    options.out.write_text(json.dumps(record, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
