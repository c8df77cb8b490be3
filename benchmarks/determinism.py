"""Do archives travel? The same images coded under many settings, every message compared and decoded under all others.

    python benchmarks/determinism.py --data DATA

Each setting runs in a process of its own: thread counts, oneDNN on and off, plain instruction sets, reduced precision,
bfloat16 autocast, and an accelerator where there is one. For each batch of images, and a codec of every model family,
all messages must be equal to the last byte, and each setting must decode the messages of all others to the same pixels.
As a control, an ordinary float network runs under the same settings: how many different results it gives shows that
they do change the arithmetic.

Needs DATA/mnist_test.npy and DATA/kodak/*.png.
"""

from __future__ import annotations

import hashlib
import json
import os
import subprocess
import sys
import tempfile
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from common import Pixels, arguments, needed, pixels, save, trained_codec
from mnist_binary import binarised

BATCHES = [1, 15, 16, 64, 200]  # from 16 on, other kernels may be taken
CODECS = {
    "photos": "photo-2",
    "digits": "mnist-binary-2",
    "digits-delta-vae": "mnist-binary-delta-vae-2",
    "digits-vamp": "mnist-binary-vamp-2",
    "digits-attentive": "mnist-binary-attentive-2",
}


@dataclass(frozen=True)
class Setting:
    """What is different in one process."""

    threads: int = 4
    env: dict[str, str] = field(default_factory=dict)
    onednn: bool = True
    precision: str = "highest"
    autocast: bool = False
    device: str = "cpu"


SETTINGS = {
    "1 thread": Setting(threads=1),
    "2 threads": Setting(threads=2),
    "4 threads": Setting(),
    "oneDNN off": Setting(onednn=False),
    "oneDNN off, 1 thread": Setting(threads=1, onednn=False),
    "ATEN_CPU_CAPABILITY=default": Setting(env={"ATEN_CPU_CAPABILITY": "default"}),
    "ATEN_CPU_CAPABILITY=avx2": Setting(env={"ATEN_CPU_CAPABILITY": "avx2"}),
    "ONEDNN_MAX_CPU_ISA=SSE41": Setting(env={"ONEDNN_MAX_CPU_ISA": "SSE41"}),
    "ONEDNN_MAX_CPU_ISA=AVX2": Setting(env={"ONEDNN_MAX_CPU_ISA": "AVX2"}),
    "plain everything": Setting(1, {"ATEN_CPU_CAPABILITY": "default", "ONEDNN_MAX_CPU_ISA": "SSE41"}, onednn=False),
    "matmul precision medium": Setting(precision="medium"),
    "bfloat16 autocast": Setting(autocast=True),
    "cuda": Setting(device="cuda"),
}


def cases(data: Path, batches: list[int]) -> dict[str, Pixels]:
    """Name -> images (N, H, W, C): kind of image and batch size are in the name."""
    digits = binarised(np.load(needed(data / "mnist_test.npy")))[..., None]
    photos = [pixels(path) for path in sorted(needed(data / "kodak").glob("*.png"))]
    crops = np.stack([photo[i : i + 32, 64:96] for photo in photos for i in range(32, 320, 32)])
    images = {kind: crops if kind == "photos" else digits for kind in CODECS}
    return {f"{kind} {n}": some[:n] for kind, some in images.items() for n in batches if n <= len(some)}


def digest(data: bytes) -> str:
    """A short name of some bytes."""
    return hashlib.blake2b(data, digest_size=8).hexdigest()


def float_control() -> str:
    """Digest of what an ordinary float32 convolutional network gives."""
    import torch

    generator = torch.Generator().manual_seed(0)
    x = torch.randn(16, 16, 24, 24, generator=generator)
    with torch.no_grad():
        for _ in range(3):
            x = torch.tanh(torch.conv2d(x, torch.randn(16, 16, 3, 3, generator=generator) / 12, padding=1)).float()
    return digest(x.numpy().tobytes())


def codec_path(name: str) -> Path:
    """The file of a codec. Leaves with a message where it is not there."""
    found = trained_codec(name)
    if found is None:
        sys.exit(f"there is no codec {name}")
    return found[0]


def work(name: str, folder: Path) -> None:
    """In a process of its own: code all cases, decode what came of it, and what other settings made of them."""
    import torch

    import bbcodec

    setting = SETTINGS[name]
    torch.set_num_threads(setting.threads)
    torch.backends.mkldnn.set_flags(setting.onednn)
    torch.set_float32_matmul_precision(setting.precision)
    codecs = {kind: bbcodec.load_codec(codec_path(codec), device=setting.device) for kind, codec in CODECS.items()}
    report: dict[str, Any] = {"messages": {}, "decoded": {}}
    with torch.autocast("cpu", enabled=setting.autocast), np.load(folder / "cases.npz") as arrays:
        report["control"] = float_control()
        wanted = folder / "wanted.json"
        pairs = [tuple(pair) for pair in json.loads(wanted.read_text())] if wanted.exists() else []
        for case, images in arrays.items():
            message = codecs[case.split()[0]].encode_message(images)
            report["messages"][case] = digest(message)
            (folder / digest(message)).write_bytes(message)
            pairs.append((case, digest(message)))
        for case, found in sorted(set(pairs)):
            images, message = arrays[case], (folder / found).read_bytes()
            back = codecs[case.split()[0]].decode_message(message, *images.shape[:3])
            report["decoded"][f"{case} {found}"] = bool(np.array_equal(back, images))
    print(json.dumps(report))


def run(name: str, folder: Path) -> dict[str, Any]:
    """The report of one setting."""
    env = os.environ | SETTINGS[name].env
    words = [sys.executable, __file__, "--data", str(folder), "--worker", name]
    result = subprocess.run(words, env=env, capture_output=True, text=True, check=False)
    if result.returncode:
        sys.exit(f"setting {name!r} failed:\n{result.stderr}")
    report: dict[str, Any] = json.loads(result.stdout.splitlines()[-1])
    return report


def available() -> list[str]:
    """The settings that this machine has."""
    import torch

    return [name for name, s in SETTINGS.items() if s.device == "cpu" or torch.cuda.is_available()]


def main() -> None:
    """Measure and write the result; leaves with status 1 if a message or a pixel differs."""
    parser = arguments(__doc__, "determinism")
    parser.add_argument("--worker", help="run one setting (used by the benchmark itself)")
    parser.add_argument("--batches", type=int, nargs="+", default=BATCHES, help="images in a message")
    options = parser.parse_args()
    if options.worker:
        work(options.worker, options.data)
        return
    with tempfile.TemporaryDirectory(prefix="bbcodec-determinism-") as name:
        folder = Path(name)
        np.savez(folder / "cases.npz", **cases(options.data, options.batches))
        coded = {setting: run(setting, folder) for setting in available()}
        every = sorted({pair for report in coded.values() for pair in report["messages"].items()})
        (folder / "wanted.json").write_text(json.dumps(every))
        for setting, report in coded.items():  # messages that a setting did not write itself are still to be decoded
            if len(report["decoded"]) < len(every):
                report["decoded"] = run(setting, folder)["decoded"]
    matrix = {
        encoder: {
            decoder: all(theirs["decoded"][f"{case} {found}"] for case, found in ours["messages"].items())
            for decoder, theirs in coded.items()
        }
        for encoder, ours in coded.items()
    }
    distinct = {case: len({report["messages"][case] for report in coded.values()}) for case, _ in every}
    result = {
        "settings": list(coded),
        "codecs": CODECS,
        "cases": "kind and number of images",
        "distinct_messages": distinct,
        "distinct_results_of_a_float_network": len({report["control"] for report in coded.values()}),
        "decoded_right": {"pairs": sum(map(sum, (row.values() for row in matrix.values()))), "of": len(matrix) ** 2},
        "matrix": {encoder: [int(ok) for ok in row.values()] for encoder, row in matrix.items()},
    }
    save(options, parser, "binarised MNIST test images; 32 x 32 crops of Kodak", result)
    if set(distinct.values()) != {1} or not all(all(row.values()) for row in matrix.values()):
        sys.exit("archives would not travel")


if __name__ == "__main__":
    main()
