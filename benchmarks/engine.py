"""Where the compiled engine spends its time on a photo, beside the time that its products alone would take.

    python benchmarks/engine.py [--kernels NAME...] [--times 5]

A photo of 768 x 512 is drawn from nets of random weights, coded and decoded. Microseconds of CPU time a pixel, the best
of some runs, one thread: of the net, the distribution and rANS each way, and of the whole, with megabytes of pixels a
second. The floor is the number of multiply-adds over the rate of products of a wave of this size.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from common import HERE, save

from bbcodec.coder.ans import AnsStack
from bbcodec.engine import products
from bbcodec.engine.compiling import FEATURES, Kernels, address, available, compiled
from bbcodec.engine.local_net import SKEW, packed
from bbcodec.engine.logistic import mixture, mixture_intervals, mixture_pop, room
from bbcodec.engine.rans import push_intervals
from bbcodec.engine.waves import LocalCoder

HEIGHT, WIDTH = 512, 768
PIXELS = HEIGHT * WIDTH
NETS = {"64 hidden, 5 blocks": (64, 5), "32 hidden, 4 blocks": (32, 4)}
COMPONENTS = 5
RADIUS = 3


@compiled
def inner_products(kernels, rows, offsets, matrix, out, count, times):
    """Inner products of `count` rows over and over."""
    for _ in range(times):
        products.inner_to_bytes(
            kernels, address(rows), 64, offsets, 64, matrix, address(out), out.shape[1], np.int64(0), np.int64(0), count
        )


@compiled
def wide_products(kernels, rows, offsets, matrix, out, count, times):
    """Wide products of `count` rows over and over."""
    for _ in range(times):
        products.wide_to_words(
            kernels, address(rows), 128, offsets, 64, matrix, address(out), 256, np.int64(0), np.int64(0), count
        )


def seconds(run: Callable[[], Any], times: int) -> float:
    """CPU time of the quickest of some runs, after one that may compile."""
    run()
    best = float("inf")
    for _ in range(times):
        start = time.process_time()
        run()
        best = min(best, time.process_time() - start)
    return best


def taps(radius: int, own: bool) -> list[tuple[int, int]]:
    """The open taps of a kernel; own: with the pixel itself."""
    rows, columns = range(-radius, 1), range(-radius, radius + 1)
    return [(di, dj) for di in rows for dj in columns if dj + SKEW * di < 0 or (own and di == dj == 0)]


def random_net(hidden: int, blocks: int, parameters: int) -> dict[str, np.ndarray]:
    """Weights of a net, small enough for the bounds, whose parameters spread as those of a trained one."""
    rng = np.random.default_rng(0)
    here = [(0, 0)]
    layers: dict[str, tuple[list[tuple[int, int]], int, int, type, int]] = {
        "stem": (taps(RADIUS, False), 4, hidden, np.int16, 6),
        "neck": (here, hidden, hidden, np.int8, 8),
        "head": (here, hidden, parameters, np.int16, 7),
        "skip": (taps(2, False), 4, parameters, np.int16, 10),
    }
    for block in range(blocks):
        layers[f"blocks.{block}.spatial"] = taps(1, True), hidden, hidden, np.int8, 9
        layers[f"blocks.{block}.pointwise"] = here, hidden, hidden, np.int8, 7
    net: dict[str, np.ndarray] = {}
    for name, (places, inputs, outputs, dtype, shift) in layers.items():
        net[f"{name}.weight"] = rng.integers(-60, 61, (len(places) * inputs, outputs)).astype(dtype)
        net[f"{name}.bias"] = np.full(outputs, 1 << (shift - 1), np.int32)
        net[f"{name}.shift"] = np.full(outputs, shift, np.int8)
        net[f"{name}.taps"] = np.array(places, np.int8)
    scales = slice(6 * COMPONENTS, 9 * COMPONENTS)  # about four levels
    net["head.bias"][scales] += int(256 * np.log(4)) << 7
    return net


def floor(net: dict[str, np.ndarray], kernels: Kernels, times: int) -> tuple[float, float, float]:
    """Microseconds a pixel that the products take; 10**9 multiply-adds a second of inner and of wide products."""
    rng = np.random.default_rng(0)
    count, zeros, shifts = WIDTH // 2, np.zeros(64, np.int32), np.full(64, 8, np.int8)
    offsets = np.arange(5, dtype=np.int64) * count
    cases = ((inner_products, np.int8, np.uint8, np.uint8, 1), (wide_products, np.int16, np.int16, np.int32, 2))
    rates = []
    for run, weight, activation, result, size in cases:
        rows = rng.integers(0, 128, (6 * count, 64)).astype(activation)
        matrix = products.pack(rng.integers(-100, 101, (5, 64, 64)).astype(weight), zeros, shifts)
        out, places = np.zeros((count, 64), result), offsets * 64 * size
        best = seconds(lambda: run(kernels, rows, places, matrix, out, count, 20), times)  # noqa: B023
        rates.append(20 * count * 5 * 64 * 64 / best)
    wide = {"stem.weight", "head.weight", "skip.weight"}
    sizes = [sum(x.size for name, x in net.items() if name.endswith("weight") and (name in wide) == w) for w in (0, 1)]
    return 1e6 * sum(n / rate for n, rate in zip(sizes, rates, strict=True)), rates[0] / 1e9, rates[1] / 1e9


def measure(name: str, kernels: Kernels, times: int) -> dict[str, Any]:
    """The row of a net: microseconds a pixel of each part, and MB/s."""
    family, (hidden, blocks) = mixture(3, COMPONENTS), NETS[name]
    net = random_net(hidden, blocks, family.size)
    coder = LocalCoder(packed(net, ((np.arange(256) - 128) * 8).astype(np.int16), 256), family, kernels)
    images = coder.pop(AnsStack.seeded(0, 16), (1, HEIGHT, WIDTH))
    full, empty = AnsStack.seeded(1, 16), AnsStack.seeded(1, 16).bits
    coder.push(full, images)
    message = full.flatten()

    values = np.ascontiguousarray(images.transpose(0, 2, 3, 1).reshape(PIXELS, 3).astype(np.int32))
    params = np.pad(coder.parameters(images).reshape(PIXELS, -1), ((0, 0), (0, -family.size % 16)))
    order, memory, popped = np.arange(PIXELS), room(family), values.copy()
    starts, masses = np.zeros(values.size, np.int32), np.zeros(values.size, np.int32)
    heads, words = np.full(16, 1 << 31, np.uint64), np.zeros(values.size, np.uint32)

    def locate() -> None:
        mixture_intervals(kernels, family, params, order, values, memory, starts, masses)

    locate()
    filled = heads.copy()
    n = push_intervals(kernels, filled, words, 0, starts, masses, 24)
    parts: dict[str, Callable[[], Any]] = {
        "net": lambda: coder.parameters(images),
        "distribution_in": locate,
        "rans_in": lambda: push_intervals(kernels, heads.copy(), words, 0, starts, masses, 24),
        "distribution_and_rans_out": lambda: mixture_pop(
            kernels, filled.copy(), words, n, popped, family, params, order, memory
        ),
        "in": lambda: coder.push(AnsStack.seeded(1, 16), images),
        "out": lambda: coder.pop(AnsStack.unflatten(message, 16), (1, HEIGHT, WIDTH)),
    }
    least, inner, wide = floor(net, kernels, times)
    microseconds = {part: round(1e6 * seconds(run, times) / PIXELS, 3) for part, run in parts.items()}
    return {
        "net": name,
        "kernels": kernels.name,
        "bits_per_dim": round((full.bits - empty) / values.size, 2),
        "inner_gmac_per_s": round(inner),
        "wide_gmac_per_s": round(wide),
        "floor_us_per_pixel": round(least, 3),
        "us_per_pixel": microseconds,
        "mb_per_s": {way: round(3 / microseconds[way], 2) for way in ("in", "out")},
    }


def main() -> None:
    """Measure and save."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--kernels", nargs="+", choices=FEATURES, default=available()[:1], help="(the fastest here)")
    parser.add_argument("--times", type=int, default=5, help="runs of each part, the quickest counts")
    parser.add_argument("--out", type=Path, default=HERE / "results" / "engine.json", help="where the result goes")
    options = parser.parse_args()
    rows = [measure(net, Kernels(name), options.times) for name in options.kernels for net in NETS]
    data = f"a photo of {WIDTH} x {HEIGHT} drawn from nets of random weights, {COMPONENTS} components"
    save(options, parser, data, {"rows": rows}, folder="")


if __name__ == "__main__":
    main()
