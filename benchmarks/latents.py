"""What latents know of digits: linear probes on them, and the pixels that reconstructions share with their originals.

    python benchmarks/latents.py --data PREPARED [--train 10000] [--test 10000] [--drawn 200] [--codecs CODEC...]

PREPARED is what benchmarks/prepare.py wrote, with the labels beside the images: `mnist_train_labels.npy` and
`mnist_test_labels.npy`. A probe is a logistic regression from the latents of a codec to the digit, learned on training
images and tested on test images (scikit-learn); beside it the same from the pixels. Reconstructions are drawn given the
latents of test images; beside them are images drawn given those of others, which say what chance does.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from common import PLACES, Pixels, arguments, needed, save
from numpy.typing import NDArray
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from bbcodec.codec.codec import Codec
from bbcodec.codec.file import load_codec

CODECS = (
    *("mnist-binary-3", "mnist-binary-fast-1", "mnist-binary-delta-vae-2"),
    *("mnist-binary-attentive-3", "mnist-binary-vamp-3"),
)
SEED = 0
BATCH = 500  # images whose latents are drawn at once


def binarised(images: Pixels, seed: int) -> Pixels:
    """Grey images (N, H, W) as two levels (N, H, W, 1): 1 with the probability of the grey."""
    drawn = np.random.default_rng(seed).random(images.shape) < images / 255
    return drawn.astype(np.uint8)[..., None]


def features(codec: Codec, images: Pixels) -> NDArray[np.float64]:
    """The latents of images, (N, latents)."""
    batches = [codec.latents(images[n : n + BATCH], SEED + n) for n in range(0, len(images), BATCH)]
    return np.concatenate([np.hstack([z.reshape(len(z), -1) for z in batch.values()]) for batch in batches]).astype(
        float
    )


def probe(train: NDArray[Any], labels: NDArray[Any], test: NDArray[Any], wanted: NDArray[Any]) -> float:
    """The share of test images of which a linear probe names the digit, to four places."""
    model = make_pipeline(StandardScaler(), LogisticRegression(max_iter=300))
    model.fit(train, labels)
    return round(float((model.predict(test) == wanted).mean()), 4)


def row(name: str, sets: dict[str, Any], drawn: int) -> dict[str, Any]:
    """What the latents of a codec know."""
    path = next(folder / f"{name}.bbc" for folder in PLACES if (folder / f"{name}.bbc").exists())
    codec = load_codec(path)
    train, test = features(codec, sets["train"]), features(codec, sets["test"])
    originals = sets["test"][:drawn]
    again = codec.reconstruct(originals, SEED)
    return {
        "codec": name,
        "model": codec.family,
        "latents": train.shape[1],
        "probe": probe(train, sets["train_labels"], test, sets["test_labels"]),
        "pixels_shared": round(float((again == originals).mean()), 4),
        "pixels_shared_with_others": round(float((np.roll(again, 1, 0) == originals).mean()), 4),
    }


def main() -> None:
    """Measure all codecs."""
    parser = arguments(__doc__, "latents")
    parser.add_argument("--train", type=int, default=10_000, help="training images of probes")
    parser.add_argument("--test", type=int, default=10_000, help="test images of probes")
    parser.add_argument("--drawn", type=int, default=200, help="images that are reconstructed")
    parser.add_argument("--codecs", nargs="+", default=list(CODECS))
    options = parser.parse_args()
    sets: dict[str, Any] = {}
    for part in ("train", "test"):
        images = np.load(needed(options.data / f"mnist_{part}.npy"))
        count = getattr(options, part)
        sets[part] = binarised(images, SEED)[:count]
        sets[f"{part}_labels"] = np.load(needed(options.data / f"mnist_{part}_labels.npy"))[:count]
    flat = [sets[part].reshape(len(sets[part]), -1) for part in ("train", "test")]
    result = {
        "probe_on_pixels": probe(flat[0], sets["train_labels"], flat[1], sets["test_labels"]),
        "rows": [row(name, sets, options.drawn) for name in options.codecs],
    }
    save(
        options,
        parser,
        f"MNIST, binarised, {options.train:,} training and {options.test:,} test images",
        result,
        "PREPARED",
    )


if __name__ == "__main__":
    main()
