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
from common import HERE, Pixels, load_average, save

from bbcodec.codec.codec import Codec
from bbcodec.coder.ans import AnsStack
from bbcodec.engine import products
from bbcodec.engine.compiling import FEATURES, Kernels, address, available, compiled
from bbcodec.engine.families import note, pop_pixels, room
from bbcodec.engine.local_net import SKEW, Packed, packed
from bbcodec.engine.logistic import mixture
from bbcodec.engine.rans import push_intervals
from bbcodec.engine.waves import LocalCoder

HEIGHT, WIDTH = 512, 768
PIXELS = HEIGHT * WIDTH
NETS = {"64 hidden, 5 blocks": (64, 5), "32 hidden, 4 blocks": (32, 4)}
COMPONENTS = 5
RADIUS = 3
HEADS = 16  # of the stack of a large message


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


@compiled
def locate(kernels, family, params, order, values, room, starts, masses):
    """Note the intervals of values (N, C); how many."""
    return note(family, params, order, len(order), values, room, starts, masses, np.int64(0))


@compiled
def draw(kernels, heads, words, n, family, params, order, values, room):
    """Pop values (N, C); the new n."""
    return pop_pixels(family, heads, words, n, params, order, len(order), values, room)


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


def coder_of(codec: Codec) -> LocalCoder | None:
    """The local net that codes the pixels of a codec, where that is one of the engine."""
    coder = getattr(getattr(codec.backend, "program", None), "local", None)
    return coder if isinstance(coder, LocalCoder) else None


def multiply_adds(net: Packed) -> tuple[int, int]:
    """Multiply-adds a pixel of inner and of wide products. Channels count as padded."""
    blocks, inputs = len(net.spatial_count), net.channels + 1
    inner = (int(net.spatial_count.sum()) + blocks) * net.hidden * net.inner + net.hidden * net.neck_width
    wide = len(net.stem_taps) * inputs * net.stem_width
    wide += (net.neck_width + len(net.skip_taps) * inputs) * net.parameters
    return inner, wide


def rates(kernels: Kernels, times: int) -> tuple[float, float]:
    """Multiply-adds a second of inner and of wide products, of 384 pixels, 64 channels and five taps."""
    rng = np.random.default_rng(0)
    count, zeros, shifts = WIDTH // 2, np.zeros(64, np.int32), np.full(64, 8, np.int8)
    offsets = np.arange(5, dtype=np.int64) * count
    cases = ((inner_products, np.int8, np.uint8, np.uint8, 1), (wide_products, np.int16, np.int16, np.int32, 2))
    found = []
    for run, weight, activation, result, size in cases:
        rows = rng.integers(0, 128, (6 * count, 64)).astype(activation)
        matrix = products.pack(rng.integers(-100, 101, (5, 64, 64)).astype(weight), zeros, shifts)
        out, places = np.zeros((count, 64), result), offsets * 64 * size
        best = seconds(lambda: run(kernels, rows, places, matrix, out, count, 20), times)  # noqa: B023
        found.append(20 * count * 5 * 64 * 64 / best)
    return found[0], found[1]


def floor(net: Packed, kernels: Kernels, times: int) -> dict[str, Any]:
    """The time that the products of a net take at the rate of this machine."""
    amounts, speeds = multiply_adds(net), rates(kernels, times)
    return {
        "multiply_adds": {"inner": amounts[0], "wide": amounts[1]},
        "inner_gmac_per_s": round(speeds[0] / 1e9),
        "wide_gmac_per_s": round(speeds[1] / 1e9),
        "floor_us_per_pixel": round(1e6 * sum(n / rate for n, rate in zip(amounts, speeds, strict=True)), 3),
    }


def parts(coder: LocalCoder, images: Pixels, times: int) -> dict[str, float]:
    """Microseconds of CPU time a pixel of the parts of coding images (B, C, H, W), and of the whole each way."""
    family, kernels, pixels = coder.family, coder.kernels, images[:, 0].size
    full = AnsStack.seeded(1, HEADS)
    coder.push(full, images)
    message = full.flatten()
    values = np.ascontiguousarray(images.transpose(0, 2, 3, 1).reshape(pixels, -1).astype(np.int32))
    params = np.pad(coder.parameters(images).reshape(pixels, -1), ((0, 0), (0, -family.size % 16)))
    order, memory, popped = np.arange(pixels), room(family), values.copy()
    starts, masses = np.zeros(values.size, np.int32), np.zeros(values.size, np.int32)
    heads, words = np.full(HEADS, 1 << 31, np.uint64), np.zeros(values.size, np.uint32)
    locate(kernels, family, params, order, values, memory, starts, masses)
    filled = heads.copy()
    n = push_intervals(kernels, filled, words, 0, starts, masses, family.precision)
    runs: dict[str, Callable[[], Any]] = {
        "net": lambda: coder.parameters(images),
        "distribution_in": lambda: locate(kernels, family, params, order, values, memory, starts, masses),
        "rans_in": lambda: push_intervals(kernels, heads.copy(), words, 0, starts, masses, family.precision),
        "distribution_and_rans_out": lambda: draw(
            kernels, filled.copy(), words, n, family, params, order, popped, memory
        ),
        "in": lambda: coder.push(AnsStack.seeded(1, HEADS), images),
        "out": lambda: coder.pop(AnsStack.unflatten(message, HEADS), (len(images), *images.shape[2:])),
    }
    return {part: round(1e6 * seconds(run, times) / pixels, 3) for part, run in runs.items()}


def measure(name: str, kernels: Kernels, times: int) -> dict[str, Any]:
    """The row of a net: microseconds a pixel of each part, and MB/s."""
    family, (hidden, blocks) = mixture(3, COMPONENTS), NETS[name]
    net = packed(random_net(hidden, blocks, family.size), ((np.arange(256) - 128) * 8).astype(np.int16), 256)
    coder = LocalCoder(net, family, kernels)
    images = coder.pop(AnsStack.seeded(0, HEADS), (1, HEIGHT, WIDTH))
    stack, empty = AnsStack.seeded(1, HEADS), AnsStack.seeded(1, HEADS).bits
    coder.push(stack, images)
    microseconds = parts(coder, images, times)
    return {
        "net": name,
        "kernels": kernels.name,
        "bits_per_dim": round((stack.bits - empty) / images.size, 2),
        **floor(net, kernels, times),
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
    before = load_average()
    rows = [measure(net, Kernels(name), options.times) for name in options.kernels for net in NETS]
    data = f"a photo of {WIDTH} x {HEIGHT} drawn from nets of random weights, {COMPONENTS} components"
    save(options, parser, data, {"load_average": before, "rows": rows}, folder="")


if __name__ == "__main__":
    main()
