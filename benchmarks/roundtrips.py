"""Every model family on every data set that it fits: a codec that has hardly learned gives every pixel back.

    python benchmarks/roundtrips.py --data PREPARED [--minutes 0.05]

PREPARED is what benchmarks/prepare.py wrote. A codec of each family is trained for some seconds on the training images,
and codes test images of that set, in one message and in messages of one image, with one thread; another process, with
all threads, decodes them. Leaves with status 1 if a pixel differs.
"""

from __future__ import annotations

import json
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

import numpy as np
from common import Pixels, arguments, needed, save
from PIL import Image

FAMILIES = ("vlae", "delta-vae", "vamp", "attentive")
SETS = {  # training images, test images, how many of them, and whether two levels are made of grey
    "CIFAR-10": ("cifar10_train.npy", "cifar10_test.npy", 20, False),
    "MNIST": ("mnist_train.npy", "mnist_test.npy", 20, False),
    "MNIST, binarised": ("mnist_train.npy", "mnist_binary_test.npy", 20, True),
    "Omniglot, binarised": ("omniglot28_train.npy", "omniglot28_binary_test.npy", 20, True),
    "Caltech-101 silhouettes": ("caltech101_train.npy", "caltech101_test.npy", 20, False),
    "Frey faces": ("freyfaces_train.npy", "freyfaces_test.npy", 20, False),
    "microscopy": ("microscopy_train_part.npy", "microscopy_test.npy", 2, False),
    "sprites": ("sprites_train", "sprites_test", 20, False),
    "photos": ("photos/train", "photos/valid", 2, False),
}
ALONE = 2  # images that also have a message each
INPUT_ERROR = 3  # the exit code where a family does not take such images


def images_of(path: Path, count: int) -> list[Pixels]:
    """The first images (H, W, C) of an array or a folder."""
    if path.suffix == ".npy":
        array = np.load(path, mmap_mode="r")[:count]
        return [np.array(image).reshape(*image.shape[:2], -1) for image in array]
    return [np.asarray(Image.open(file).convert("RGB")) for file in sorted(path.iterdir())[:count]]


def batches_of(images: list[Pixels]) -> list[Pixels]:
    """Batches (N, H, W, C): all images together, if they have one size, and some alone."""
    alike = len({image.shape for image in images}) == 1
    if not alike:
        return [image[None] for image in images]
    return [np.stack(images), *(image[None] for image in images[:ALONE])]


DECODE = """
import sys, numpy, bbcodec
codec = bbcodec.load_codec(sys.argv[1], device="cpu")
with numpy.load(sys.argv[2]) as messages:
    numpy.savez(sys.argv[3], *[codec.decode(message.tobytes()) for message in messages.values()])
"""


def measure(family: str, name: str, data: Path, minutes: float) -> dict[str, Any]:
    """The row of a family on a set; `refused` says why it does not fit."""
    import torch

    import bbcodec

    train, test, count, two = SETS[name]
    tool = Path(sys.executable).parent / "bbcodec"
    with tempfile.TemporaryDirectory(prefix="bbcodec-roundtrips-") as place:
        folder = Path(place)
        words = f"--model {family} --preset fast --minutes {minutes} --set valid_images=2".split()
        words += ["--set", f"binarise={str(two).lower()}"]
        done = subprocess.run(
            [tool, "train", needed(data / train), "-o", folder / "a.bbc", "-q", *words], capture_output=True, text=True
        )
        if done.returncode not in (0, INPUT_ERROR):
            sys.exit(f"{family} on {name}: {done.stderr}")
        if done.returncode:
            return {"family": family, "set": name, "refused": done.stderr.strip()}
        torch.set_num_threads(1)
        codec = bbcodec.load_codec(folder / "a.bbc", device="cpu")
        batches = batches_of(images_of(needed(data / test), count))
        messages = [codec.encode(batch) for batch in batches]
        np.savez(folder / "messages.npz", *[np.frombuffer(message, np.uint8) for message in messages])
        files = [folder / one for one in ("a.bbc", "messages.npz", "back.npz")]
        subprocess.run([sys.executable, "-c", DECODE, *files], check=True, cwd=folder)  # away from ./bbcodec
        with np.load(folder / "back.npz") as back:
            same = [np.array_equal(one, other) for one, other in zip(back.values(), batches, strict=True)]
    return {
        "family": family,
        "set": name,
        "images": sum(map(len, batches)),
        "pixels": sum(batch[..., 0].size for batch in batches),
        "messages": len(messages),
        "same": sum(same),
        "bytes": sum(map(len, messages)),
    }


def main() -> None:
    """Measure and write the result."""
    parser = arguments(__doc__, "roundtrips")
    parser.add_argument("--minutes", type=float, default=0.05, help="of training, each")
    options = parser.parse_args()
    rows = []
    for name in SETS:
        for family in FAMILIES:
            rows.append(measure(family, name, options.data, options.minutes))
            print(json.dumps(rows[-1]), file=sys.stderr, flush=True)
    save(
        options,
        parser,
        "first test images of each set, as benchmarks/prepare.py writes them",
        {"rows": rows},
        "PREPARED",
    )
    if any(row["same"] != row["messages"] for row in rows if "refused" not in row):
        sys.exit("not every pixel came back")


if __name__ == "__main__":
    main()
