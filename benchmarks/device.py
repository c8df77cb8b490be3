"""Does every codec compute on an accelerator what it computes on a CPU, and how fast? One command, a few minutes.

    python benchmarks/device.py [--device cuda] [--seconds 420] [--codecs NAME...] [--allow-cpu]

Each trained codec that lies here, shipped or not, is loaded with its network on the device, which runs its known
answers; batches of 1 to 64 images are then coded there and on the CPU (by the compiled engine where the codec has one).
Messages must be equal to the last byte, and each side must decode those of the other. Last comes MB/s of one large
image, or of 200 small ones. The result is written after each codec; those for which no time is left are named in it.
Without an accelerator the script says so and leaves with status 1; with --allow-cpu the network runs on the CPU, a
rehearsal. It needs no data.
"""

from __future__ import annotations

import argparse
import json
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from common import HERE, PLACES, Pixels, command, environment

from bbcodec.errors import BBCodecError

if TYPE_CHECKING:
    from bbcodec.codec.codec import Codec

BATCHES = ((1, 40, 56), (16, 24, 24), (64, 12, 12))  # images, height, width
SPEED_SIDES = ((64, 64), (256, 256), (512, 768))  # larger ones while there is time
SPEED_IMAGES = 200  # of a codec that takes one size alone
LONGEST = 8.0  # seconds that coding an image one way may be expected to take


def scenes(shape: tuple[int, int, int, int], levels: int, seed: int) -> Pixels:
    """Images (N, H, W, C): shaded discs with a little noise, so that codecs have something to find."""
    count, height, width, channels = shape
    rng = np.random.default_rng(seed)
    i, j = np.mgrid[:height, :width]
    x = np.zeros(shape)
    for n in range(count):
        for _ in range(6):
            row, column, radius = rng.uniform(0, height), rng.uniform(0, width), rng.uniform(2, 2 + min(height, width))
            inside = ((i - row) ** 2 + (j - column) ** 2 < radius**2)[..., None]
            x[n] = np.where(inside, rng.uniform(0, 255, channels) + (i + j)[..., None] * rng.uniform(-0.2, 0.2), x[n])
    x = (x + rng.normal(0, 2, shape)).clip(0, 255)
    return (x > 128).astype(np.uint8) if levels == 2 else x.astype(np.uint8)


def codec_files(names: list[str] | None) -> list[Path]:
    """The trained codecs that lie here, shipped ones first; or those of these names."""
    found = [path for place in PLACES for path in sorted(place.glob("*.bbc"))]
    known = {path.stem for path in found}
    for name in names or ():
        if name not in known:
            sys.exit(f"there is no codec {name}")
    return [path for path in found if names is None or path.stem in names]


def compare(there: Codec, here: Codec) -> dict[str, Any]:
    """Whether both write the same messages, and decode each other's."""
    equal, decoded, pairs = 0, 0, 0
    for number, (count, *sides) in enumerate(BATCHES):
        height, width = there.backend.image_size or sides
        images = scenes((count, height, width, there.pixels.channels), there.pixels.levels, number)
        messages = there.encode(images), here.encode(images)
        equal += messages[0] == messages[1]
        for codec, message in ((there, messages[1]), (here, messages[0])):
            pairs += 1
            try:
                decoded += bool(np.array_equal(codec.decode(message), images))
            except BBCodecError:
                continue
    return {"messages_equal": equal, "of": len(BATCHES), "decoded_right": decoded, "decodings": pairs}


def speed(codec: Codec, deadline: float) -> dict[str, Any]:
    """MB/s both ways of the largest image that there is time for."""
    channels, levels = codec.pixels.channels, codec.pixels.levels
    size = codec.backend.image_size
    shapes = [(SPEED_IMAGES, *size)] if size else [(1, *sides) for sides in SPEED_SIDES]
    found: dict[str, Any] = {}
    slowest = float("inf")  # values a second
    for shape in shapes:
        images = scenes((*shape, channels), levels, 7)
        if images.size / slowest > min(LONGEST, deadline - time.monotonic()):
            break
        codec.encode(images[:1])  # what is compiled or chosen by shape is so now
        start = time.perf_counter()
        message = codec.encode(images)
        middle = time.perf_counter()
        back = codec.decode(message)
        end = time.perf_counter()
        if not np.array_equal(back, images):
            return {"failed": "images were not restored"}
        rates = {"in": images.size / (middle - start), "out": images.size / (end - middle)}
        slowest = min(rates.values())
        found = {"shape": list(images.shape), "mb_per_s": {way: round(rate / 1e6, 4) for way, rate in rates.items()}}
    return found


def measure(path: Path, device: str, deadline: float) -> dict[str, Any]:
    """The row of a codec."""
    import bbcodec

    start = time.monotonic()
    try:
        there = bbcodec.load_codec(path, device=device, engine=False)
    except BBCodecError as error:
        return {"codec": path.stem, "failed": str(error)}
    here = bbcodec.load_codec(path, device="cpu")
    return {
        "codec": path.stem,
        "known_answers": "safe path" if there.safe else "fast path",
        "beside": type(here.backend).__name__,
        **compare(there, here),
        **speed(there, deadline),
        "seconds": round(time.monotonic() - start, 1),
    }


def describe(device: str) -> str:
    """The accelerator in words. Leaves with a message where there is none."""
    import torch

    if device == "cpu":
        return "CPU, no accelerator"
    return f"{torch.cuda.get_device_name()}, CUDA {torch.version.cuda}"


def good(row: dict[str, Any]) -> bool:
    """Whether a codec may be used on the device."""
    return "failed" not in row and row["messages_equal"] == row["of"] and row["decoded_right"] == row["decodings"]


def main() -> None:
    """Check and measure codec after codec; leaves with status 1 if one is not exact, or if there is no accelerator."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--device", default="cuda", help="as bbcodec.load_codec takes it")
    parser.add_argument("--allow-cpu", action="store_true", help="run on the CPU where there is no such device")
    parser.add_argument("--seconds", type=float, default=420, help="start no codec after so many seconds")
    parser.add_argument("--codecs", nargs="+", help="names of trained codecs (all)")
    parser.add_argument("--out", type=Path, default=HERE / "results" / "device.json", help="where the result goes")
    options = parser.parse_args()
    import torch

    torch.set_num_threads(1)  # waves are small: more threads wait for each other
    begun, device = time.monotonic(), options.device
    if device != "cpu" and not torch.cuda.is_available():
        print("no accelerator: torch finds no CUDA device here", file=sys.stderr)
        if not options.allow_cpu:
            sys.exit(1)
        device = "cpu"
    paths, rows, late = codec_files(options.codecs), [], []
    options.out.parent.mkdir(parents=True, exist_ok=True)
    for path in paths:
        if time.monotonic() - begun > options.seconds:
            late.append(path.stem)
            continue
        rows.append(measure(path, device, begun + options.seconds))
        print(json.dumps(rows[-1]), flush=True)
        record = {
            "command": command(options, parser, ""),
            "data": "shaded discs with noise",
            "environment": environment(),
            "device": describe(device),
            "exact": all(map(good, rows)),
            "rows": rows,
        }
        options.out.write_text(json.dumps(record, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")
    if late:
        print(f"no time was left for {', '.join(late)}", file=sys.stderr)
    if not all(map(good, rows)):
        sys.exit("a codec is not exact on this device")


if __name__ == "__main__":
    main()
