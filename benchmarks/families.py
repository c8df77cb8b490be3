"""The model families side by side on binarised MNIST: speed both ways, where the time goes, and what few images cost.

    python benchmarks/families.py --data PREPARED

PREPARED is what benchmarks/prepare.py wrote. A codec of each family codes the first test images in a process that runs
already, on one thread; and the first 100 alone, whose message starts from bits that carry nothing yet.
"""

from __future__ import annotations

import json
import tempfile
from pathlib import Path
from typing import Any

import numpy as np
from common import Pixels, arguments, bbcodec, best, needed, save, trained_codec
from sampling import by_room, sampled

CODECS = ("mnist-binary-3", "mnist-binary-delta-vae-2", "mnist-binary-vamp-3", "mnist-binary-attentive-3")
FEW = 100


def speed(path: Path, images: Pixels, repeat: int) -> dict[str, Any]:
    """Images a second both ways, and the shares of the time."""
    import torch

    import bbcodec as package

    torch.set_num_threads(1)
    codec = package.load_codec(path, device="cpu")
    message = codec.encode_message(images[:FEW])
    codec.decode_message(message, FEW, *images.shape[1:3])  # compile
    message = codec.encode_message(images)

    def decode() -> None:
        if not np.array_equal(codec.decode_message(message, *images.shape[:3]), images):
            raise SystemExit(f"{path.name} did not give every pixel back")

    seconds = {"encode": best(repeat, lambda: codec.encode_message(images)), "decode": best(repeat, decode)}
    profiles = {}
    for name, call in (("encode", lambda: codec.encode_message(images)), ("decode", decode)):
        profiles[name] = by_room(sampled(call))
    return {
        "images_per_second": {name: round(len(images) / value, 1) for name, value in seconds.items()},
        "mb_per_second": {name: round(images.size / value / 1e6, 3) for name, value in seconds.items()},
        "shares_of_time": profiles,
    }


def few(path: Path, images: Pixels) -> dict[str, Any]:
    """The first 100 images: how far their message is from the bound, and what of it is initial bits."""
    with tempfile.TemporaryDirectory() as folder:
        array = Path(folder) / "few.npy"
        np.save(array, images[:FEW, ..., 0])
        told = bbcodec("evaluate", path, array, "--json", "--iwae", "0", "--no-peers", "--jobs", "1")[0]
    report = json.loads(told)
    ends = {row["key"]: row["units"] / report["units_per_bit"] for row in report["chain"]}
    bound = ends["negative_elbo"]
    popped = sum(row["popped_bits_per_dim"] for row in report["layers"] if row["latent"])
    return {
        "negative_elbo_bits": round(bound),
        "message_over_negative_elbo_percent": round(100 * (ends["initial"] / bound - 1), 2),
        "of_which_initial_percent": round(100 * report["initial_bits"] / bound, 2),
        "popped_over_image": round(popped * report["dims"] / bound, 2),
    }


def main() -> None:
    """Measure and write the result."""
    parser = arguments(__doc__, "families")
    parser.add_argument("--count", type=int, default=1000, help="images whose coding is timed")
    parser.add_argument("--repeat", type=int, default=2, help="runs of each measurement; the fastest counts")
    options = parser.parse_args()
    images = np.load(needed(options.data / "mnist_binary_test.npy"))[: options.count, ..., None]
    rows = []
    for name in CODECS:
        found = trained_codec(name)
        if found is None:
            raise SystemExit(f"there is no codec {name}")
        path, codec = found
        about = {"codec": name, "model": codec.family, "parameters": codec.card["parameters"]}
        rows.append({**about, **speed(path, images, options.repeat), "first_100": few(path, images)})
    data = f"MNIST, the first {options.count:,} test images, binarised with default_rng(0)"
    save(options, parser, data, {"rows": rows}, "PREPARED")


if __name__ == "__main__":
    main()
