"""How far is the file from the theory? 10,000 binarised MNIST test images against the negative ELBO of their codec.

    python benchmarks/mnist_binary.py --data DATA [--codec mnist-binary-fast-1 --orders 30]

Needs DATA/mnist_test.npy. A pixel is 1 where numpy.random.default_rng(0).random(...) < value / 255, drawn over the
whole test array in order. The images go through the command line as one .npy file. The negative ELBO comes from the
loaded model by Monte Carlo, from the log-probabilities that training uses, and not from the coder.

Bits back draws latents from the bits of the images before, so that the size is a sum of random terms, and one file is
one draw: --orders codes the images once in each of so many random orders, as one message.
"""

from __future__ import annotations

import math
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np
from common import Pixels, arguments, bbcodec, listed, needed, save


def binarised(grey: Pixels) -> Pixels:
    """Grey levels (N, H, W) to pixels of 0 and 1, the same ones each time."""
    return (np.random.default_rng(0).random(grey.shape) < grey / 255).astype(np.uint8)


def negative_elbo(codec: str, images: Pixels, draws: int, batch: int = 500) -> np.ndarray:
    """Nats of each image: (draws, N). images: (N, H, W)."""
    import torch

    import bbcodec
    from bbcodec.exact.arithmetic import guard
    from bbcodec.model.interpreters import elbo

    model = bbcodec.load_codec(codec, engine=False).backend.model
    x = torch.from_numpy(images[:, None].astype(np.float32))
    rows = []
    for draw in range(draws):
        generator = torch.Generator().manual_seed(draw)
        with torch.no_grad(), guard():
            rows.append(torch.cat([-sum(elbo(model, part, generator).values()) for part in x.split(batch)]).numpy())
    return np.stack(rows).astype(np.float64)


def alone(name: str, images: Pixels, nats: np.ndarray) -> dict[str, Any]:
    """Images coded one by one: bytes of a message of one image, against what the image tells."""
    import bbcodec

    codec = bbcodec.load_codec(name)
    n_bytes = [len(codec.encode_message(image[None, ..., None])) for image in images]
    information = nats / math.log(2) / 8
    return {
        "images": len(images),
        "mean_message_bytes": round(float(np.mean(n_bytes)), 2),
        "mean_information_bytes": round(float(information.mean()), 2),
        "mean_overhead_bytes": round(float(np.mean(n_bytes) - information.mean()), 2),
    }


def excess_of_orders(name: str, images: Pixels, expected: float, orders: int) -> dict[str, Any]:
    """Percent over the expected bits/dim of one message of all images (N, H, W), in so many random orders."""
    import bbcodec

    codec, rng = bbcodec.load_codec(name), np.random.default_rng(1)
    shuffled = (np.ascontiguousarray(images[rng.permutation(len(images))][..., None]) for _ in range(orders))
    excess = [100 * (8 * len(codec.encode_message(order)) / images.size / expected - 1) for order in shuffled]
    spread = {"mean": np.mean(excess), "standard_deviation": np.std(excess), "least": min(excess), "most": max(excess)}
    return {"orders": orders, **{key: round(float(value), 3) for key, value in spread.items()}}


def main() -> None:
    """Measure and write the result."""
    parser = arguments(__doc__, "mnist_binary")
    parser.add_argument("--codec", default="mnist-binary-3", help="name or file")
    parser.add_argument("--draws", type=int, default=5, help="samples of the latents for the ELBO")
    parser.add_argument("--orders", type=int, default=0, help="random orders in which the images are coded, too")
    parser.add_argument("--count", type=int, default=10_000, help="how many test images")
    options = parser.parse_args()
    images = binarised(np.load(needed(options.data / "mnist_test.npy")))[: options.count]
    with tempfile.TemporaryDirectory(prefix="bbcodec-mnist-") as name:
        folder = Path(name)
        np.save(folder / "digits.npy", images)
        archive = folder / "digits.bb"
        seconds_in = bbcodec("compress", folder / "digits.npy", "-o", archive, "--codec", options.codec)[1]
        seconds_out = bbcodec("decompress", archive, "-o", folder / "restored")[1]
        (restored,) = (folder / "restored").rglob("*.npy")
        if not np.array_equal(np.load(restored), images):
            raise SystemExit("the array was not restored")
        size, how = archive.stat().st_size, [entry["how"] for entry in listed(archive)["files"]]
    start = time.perf_counter()
    nats = negative_elbo(options.codec, images, options.draws)
    per_draw = nats.mean(1) / images[0].size / math.log(2)
    measured, expected = 8 * size / images.size, float(per_draw.mean())
    orders = excess_of_orders(options.codec, images, expected, options.orders) if options.orders else {}
    result = {
        "codec": Path(options.codec).name,
        "file_bytes": size,
        "stored_as": how,
        "file_bits_per_dim": round(measured, 5),
        "negative_elbo_bits_per_dim": round(expected, 5),
        "negative_elbo_standard_deviation_of_draws": round(float(per_draw.std()), 6),
        "negative_elbo_nats_per_image": round(float(nats.mean()), 3),
        "excess_percent": round(100 * (measured / expected - 1), 3),
        **({"excess_percent_of_orders": orders} if orders else {}),
        "one_image_alone": alone(options.codec, images[:100], nats[:, :100].mean(0)),
        "seconds": {
            "compress_and_verify": round(seconds_in, 2),
            "decompress": round(seconds_out, 2),
            "negative_elbo": round(time.perf_counter() - start, 2),
        },
        "pixels_compared": "all equal",
    }
    save(options, parser, f"MNIST, {len(images)} test images, binarised with default_rng(0)", result)


if __name__ == "__main__":
    main()
