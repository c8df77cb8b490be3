"""Do archives travel? The same images coded under many settings, every message compared and decoded under all others.

    python benchmarks/determinism.py --data DATA

Each setting runs in a process of its own: thread counts, oneDNN on and off, plain instruction sets, reduced precision,
bfloat16 autocast, and an accelerator where there is one. For each batch of images all messages must be equal to the
last byte, and each setting must decode the messages of all others to the same pixels. As a control, an ordinary float
network runs under the same settings: how many different results it gives shows that they do change the arithmetic.

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
from common import Pixels, arguments, needed, pixels, save
from mnist_binary import binarised

BATCHES = (1, 15, 16, 64, 200)


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


def cases(data: Path) -> dict[str, Pixels]:
    """Name -> images (N, H, W, C): codec and batch size are in the name."""
    digits = binarised(np.load(needed(data / "mnist_test.npy")))[..., None]
    photos = [pixels(path) for path in sorted(needed(data / "kodak").glob("*.png"))]
    corners = [(i, j) for i in (0, 48, 96) for j in (0, 48, 96)]
    crops = np.stack([photo[i : i + 48, j : j + 48] for photo in photos for i, j in corners])
    return {f"mnist-binary-1 {n}": digits[:n] for n in BATCHES} | {f"photo-1 {n}": crops[:n] for n in BATCHES}


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


def work(name: str, folder: Path) -> None:
    """In a process of its own: code all cases and decode all messages that are in the folder."""
    import torch

    import bbcodec

    setting = SETTINGS[name]
    torch.set_num_threads(setting.threads)
    torch.backends.mkldnn.set_flags(setting.onednn)
    torch.set_float32_matmul_precision(setting.precision)
    codecs = {codec: bbcodec.load_codec(codec, device=setting.device) for codec in ("mnist-binary-1", "photo-1")}
    report: dict[str, Any] = {"messages": {}, "decoded": {}}
    with torch.autocast("cpu", enabled=setting.autocast):
        report["control"] = float_control()
        with np.load(folder / "cases.npz") as arrays:
            for case, images in arrays.items():
                codec = codecs[case.split()[0]]
                message = codec.encode_message(images)
                report["messages"][case] = digest(message)
                path = folder / digest(message)
                path.write_bytes(message)
        for path in sorted(folder.glob("wanted-*.json")):
            for case, found in json.loads(path.read_text()):
                images = np.load(folder / "cases.npz")[case]
                codec = codecs[case.split()[0]]
                back = codec.decode_message((folder / found).read_bytes(), *images.shape[:3])
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
    options = parser.parse_args()
    if options.worker:
        work(options.worker, options.data)
        return
    with tempfile.TemporaryDirectory(prefix="bbcodec-determinism-") as name:
        folder = Path(name)
        np.savez(folder / "cases.npz", **cases(options.data))
        coded = {setting: run(setting, folder) for setting in available()}
        every = sorted({pair for report in coded.values() for pair in report["messages"].items()})
        (folder / "wanted-all.json").write_text(json.dumps(every))
        decoded = {setting: run(setting, folder)["decoded"] for setting in available()}
    matrix = {
        encoder: {
            decoder: all(decoded[decoder][f"{case} {found}"] for case, found in coded[encoder]["messages"].items())
            for decoder in decoded
        }
        for encoder in coded
    }
    distinct = {case: len({report["messages"][case] for report in coded.values()}) for case, _ in every}
    result = {
        "settings": list(coded),
        "cases": "codec and number of images",
        "distinct_messages": distinct,
        "distinct_results_of_a_float_network": len({report["control"] for report in coded.values()}),
        "decoded_right": {"pairs": sum(map(sum, (row.values() for row in matrix.values()))), "of": len(matrix) ** 2},
        "matrix": {encoder: [int(ok) for ok in row.values()] for encoder, row in matrix.items()},
    }
    save(options, parser, "binarised MNIST test images; 48 x 48 crops of Kodak", result)
    if set(distinct.values()) != {1} or not all(all(row.values()) for row in matrix.values()):
        sys.exit("archives would not travel")


if __name__ == "__main__":
    main()
