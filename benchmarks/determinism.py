"""Do archives travel? The same images coded under many settings, every message compared and decoded under all others.

    python benchmarks/determinism.py --data DATA

Each setting runs in a process of its own: thread counts, oneDNN on and off, plain instruction sets, reduced precision,
bfloat16 autocast, the safe path, and an accelerator where there is one, all with PyTorch; and the compiled engine with
each of its kernels that this machine has, four messages at a time. For each batch of images, and a codec of every model
family, all messages must be equal to the last byte, and each setting must decode the messages of all others to the same
pixels. The engine takes part where a codec has one. As a control, an ordinary float network runs under PyTorch's
settings: how many different results it gives shows that they do change the arithmetic.

Needs DATA/mnist_test.npy and DATA/kodak/*.png.
"""

from __future__ import annotations

import hashlib
import json
import os
import subprocess
import sys
import tempfile
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from common import Pixels, arguments, needed, pixels, save, trained_codec
from mnist_binary import binarised

from bbcodec.codec.engine_backend import runs_without_torch
from bbcodec.engine.compiling import FEATURES, VARIABLE
from bbcodec.engine.compiling import available as kernels

if TYPE_CHECKING:
    from bbcodec.codec.codec import Codec

BATCHES = [1, 15, 16, 64, 200]  # from 16 on, other kernels may be taken
CODECS = {
    "photos": "photo-3",
    "photos-8bit": "photo-8bit-1",
    "digits": "mnist-binary-3",
    "digits-delta-vae": "mnist-binary-delta-vae-2",
    "digits-vamp": "mnist-binary-vamp-3",
    "digits-attentive": "mnist-binary-attentive-3",
}


@dataclass(frozen=True)
class Setting:
    """What is different in one process."""

    threads: int = 4
    env: dict[str, str] = field(default_factory=dict)
    onednn: bool = True
    precision: str = "highest"
    autocast: bool = False
    safe: bool = False
    device: str = "cpu"
    engine: bool = False


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
    "safe path": Setting(threads=1, safe=True),
    "cuda": Setting(device="cuda"),
    **{f"engine, {name}": Setting(engine=True, env={VARIABLE: name}) for name in FEATURES},
}


def cases(data: Path, batches: list[int], kinds: list[str]) -> dict[str, Pixels]:
    """Name -> images (N, H, W, C): kind of image and batch size are in the name."""
    digits = binarised(np.load(needed(data / "mnist_test.npy")))[..., None]
    photos = [pixels(path) for path in sorted(needed(data / "kodak").glob("*.png"))]
    crops = np.stack([photo[i : i + 32, 64:96] for photo in photos for i in range(32, 320, 32)])
    images = {kind: crops if kind.startswith("photos") else digits for kind in kinds}
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


def load(setting: Setting, kinds: set[str]) -> dict[str, Codec]:
    """The codecs that a setting runs, by kind: those that have an engine, or all, with their networks."""
    import bbcodec

    paths = {kind: codec_path(codec) for kind, codec in CODECS.items() if kind in kinds}
    if setting.engine:
        paths = {kind: path for kind, path in paths.items() if runs_without_torch(path.read_bytes(), "cpu")}
    codecs = {kind: bbcodec.load_codec(path, setting.device, setting.engine) for kind, path in paths.items()}
    for codec in codecs.values():
        codec.set_safe(setting.safe)
    return codecs


def work(name: str, folder: Path) -> None:
    """In a process of its own: code all cases, decode what came of it, and what other settings made of them."""
    import torch

    setting = SETTINGS[name]
    torch.set_num_threads(setting.threads)
    torch.backends.mkldnn.set_flags(setting.onednn)
    torch.set_float32_matmul_precision(setting.precision)
    report: dict[str, Any] = {"messages": {}, "decoded": {}}
    with (
        torch.autocast("cpu", enabled=setting.autocast),
        np.load(folder / "cases.npz") as arrays,
        ThreadPoolExecutor(setting.threads) as threads,
    ):
        codecs = load(setting, {case.split()[0] for case in arrays})
        each = threads.map if setting.engine else map  # autocast, and the number of threads, are this thread's own
        report["control"] = float_control()
        wanted = folder / "wanted.json"
        pairs = [tuple(pair) for pair in json.loads(wanted.read_text())] if wanted.exists() else []
        images = {case: arrays[case] for case in arrays if case.split()[0] in codecs}

        def encode(case: str) -> bytes:
            return codecs[case.split()[0]].encode_message(images[case])

        def decode(case: str, found: str) -> bool:
            message, shape = (folder / found).read_bytes(), images[case].shape[:3]
            return bool(np.array_equal(codecs[case.split()[0]].decode_message(message, *shape), images[case]))

        for case, message in zip(images, each(encode, images), strict=True):
            report["messages"][case] = digest(message)
            (folder / digest(message)).write_bytes(message)
            pairs.append((case, digest(message)))
        pairs = sorted({pair for pair in pairs if pair[0] in images})
        for (case, found), right in zip(pairs, each(decode, *zip(*pairs, strict=True)), strict=True):
            report["decoded"][f"{case} {found}"] = right
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

    def here(setting: Setting) -> bool:
        if setting.engine:
            return setting.env[VARIABLE] in kernels()
        return setting.device == "cpu" or torch.cuda.is_available()

    return [name for name, setting in SETTINGS.items() if here(setting)]


def travels(ours: dict[str, Any], theirs: dict[str, Any]) -> bool:
    """Whether a setting decoded all that another one wrote, of the codecs that both run."""
    pairs = [(case, found) for case, found in ours["messages"].items() if case in theirs["messages"]]
    return all(theirs["decoded"][f"{case} {found}"] for case, found in pairs)


def main() -> None:
    """Measure and write the result; leaves with status 1 if a message or a pixel differs."""
    parser = arguments(__doc__, "determinism")
    parser.add_argument("--worker", help="run one setting (used by the benchmark itself)")
    parser.add_argument("--batches", type=int, nargs="+", default=BATCHES, help="images in a message")
    parser.add_argument("--kinds", nargs="+", choices=CODECS, default=list(CODECS), help="codecs (all)")
    parser.add_argument("--settings", nargs="+", choices=SETTINGS, metavar="SETTING", help="(all that are here)")
    options = parser.parse_args()
    if options.worker:
        work(options.worker, options.data)
        return
    with tempfile.TemporaryDirectory(prefix="bbcodec-determinism-") as name:
        folder = Path(name)
        np.savez(folder / "cases.npz", **cases(options.data, options.batches, options.kinds))
        chosen = [setting for setting in available() if setting in (options.settings or SETTINGS)]
        coded = {setting: run(setting, folder) for setting in chosen}
        every = sorted({pair for report in coded.values() for pair in report["messages"].items()})
        (folder / "wanted.json").write_text(json.dumps(every))
        for setting, report in coded.items():  # messages that a setting did not write itself are still to be decoded
            if len(report["decoded"]) < sum(case in report["messages"] for case, _ in every):
                report["decoded"] = run(setting, folder)["decoded"]
    matrix = {
        encoder: {decoder: travels(ours, theirs) for decoder, theirs in coded.items()}
        for encoder, ours in coded.items()
    }
    distinct = {case: len({found for one, found in every if one == case}) for case, _ in every}
    result = {
        "settings": list(coded),
        "codecs": {kind: CODECS[kind] for kind in options.kinds},
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
