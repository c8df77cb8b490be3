"""What the benchmarks share: the command line tool, the peers, and how results are written."""

from __future__ import annotations

import argparse
import importlib.metadata
import io
import json
import os
import platform
import subprocess
import sys
import time
import zipfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

if TYPE_CHECKING:
    from bbcodec.codec.catalogue import CodecFile

HERE = Path(__file__).resolve().parent
PLACES = (HERE.parent / "models" / "zoo", HERE / "codecs")  # of trained codecs
# Modules are compiled once, as where pip installs them; some shells forbid that for development.
ENVIRONMENT = {name: value for name, value in os.environ.items() if name != "PYTHONDONTWRITEBYTECODE"}
Pixels = NDArray[np.uint8]


def arguments(doc: str, name: str, *, data: bool = True) -> argparse.ArgumentParser:
    """A parser with the options of every benchmark: --data, if it reads a folder, and --out."""
    parser = argparse.ArgumentParser(description=doc, formatter_class=argparse.RawDescriptionHelpFormatter)
    if data:
        parser.add_argument("--data", type=Path, required=True, help="folder of data sets (see benchmarks/README.md)")
    parser.add_argument("--out", type=Path, default=HERE / "results" / f"{name}.json", help="where the result goes")
    return parser


def needed(path: Path) -> Path:
    """The path, or a message that it is missing."""
    if not path.exists():
        sys.exit(f"{path} is missing: --data names a folder laid out as benchmarks/README.md says")
    return path


def environment() -> dict[str, Any]:
    """The machine and the versions, without anything that changes from run to run."""
    cpu = platform.processor()
    for line in Path("/proc/cpuinfo").read_text().splitlines() if Path("/proc/cpuinfo").exists() else ():
        if line.startswith("model name"):
            cpu = line.partition(":")[2].strip()
            break
    versions: dict[str, str | None] = {}
    for package in ("bbcodec", "torch", "numpy", "numba", "pillow", "imagecodecs", "lepton_jpeg_python"):
        try:
            versions[package] = importlib.metadata.version(package)
        except importlib.metadata.PackageNotFoundError:
            versions[package] = None
    return {
        "cpu": cpu,
        "cores": len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count(),
        "system": f"{platform.system()} {platform.machine()}",
        "python": platform.python_version(),
        "versions": versions,
    }


def command(options: argparse.Namespace, defaults: argparse.ArgumentParser, folder: str = "DATA") -> str:
    """The command that was run, with the data folder, if it takes one, called DATA or PREPARED."""
    words = ["python", f"benchmarks/{Path(sys.argv[0]).name}", *([f"--data {folder}"] if folder else [])]
    for key, value in vars(options).items():
        if key not in ("data", "out") and value != defaults.get_default(key):
            words.append(f"--{key.replace('_', '-')}")
            values = value if isinstance(value, list) else [] if value is True else [value]
            words += [Path(str(part)).name for part in values]  # no paths
    return " ".join(words)


def save(
    options: argparse.Namespace,
    parser: argparse.ArgumentParser,
    data: str,
    result: dict[str, Any],
    folder: str = "DATA",
) -> None:
    """Write the result with its command, data and environment, and print it."""
    record = {"command": command(options, parser, folder), "data": data, "environment": environment(), **result}
    text = json.dumps(record, indent=1, ensure_ascii=False)
    options.out.parent.mkdir(parents=True, exist_ok=True)
    options.out.write_text(text + "\n", encoding="utf-8")
    print(text)


def bits_per_dim(n_bytes: float, dims: int) -> float:
    """Bits per dimension, to five places."""
    return round(8 * n_bytes / dims, 5)


def bbcodec(*words: str | Path, quiet: bool = True) -> tuple[str, float]:
    """Run the installed tool in a process of its own: (stdout, seconds). Leaves with its message if it fails."""
    tool = Path(sys.executable).parent / "bbcodec"
    start = time.perf_counter()
    stderr = subprocess.PIPE if quiet else None
    result = subprocess.run([tool, *words], stdout=subprocess.PIPE, stderr=stderr, text=True, env=ENVIRONMENT)
    seconds = time.perf_counter() - start
    if result.returncode:
        sys.exit(f"bbcodec {' '.join(map(str, words))} left with {result.returncode}: {result.stderr or ''}")
    return result.stdout, seconds


def measured(*words: str | Path) -> tuple[float, int]:
    """Run the installed tool: (seconds, most bytes of memory that it and its workers held together at any time).

    Memory is what is private to each, and the files that one of them has mapped, of that which has most: they share
    libraries, also with other programs, so that the kernel's proportional sizes would depend on what else runs. It is
    looked at ten times a second.
    """
    tool = Path(sys.executable).parent / "bbcodec"
    start = time.perf_counter()
    process = subprocess.Popen([tool, *words], stderr=subprocess.PIPE, text=True)
    most = 0
    while process.poll() is None:
        held = [_held(number) for number in _tree(process.pid)]
        most = max(most, sum(private for private, _ in held) + max(mapped for _, mapped in held))
        time.sleep(0.1)
    if process.returncode:
        told = process.stderr.read() if process.stderr else ""
        sys.exit(f"bbcodec {' '.join(map(str, words))} left with {process.returncode}: {told}")
    return time.perf_counter() - start, most


def _tree(process: int) -> list[int]:
    """A process and those below it."""
    found = [process]
    with suppress(OSError):
        for task in Path(f"/proc/{process}/task").iterdir():
            for child in (task / "children").read_text().split():
                found += _tree(int(child))
    return found


def _held(process: int) -> tuple[int, int]:
    """Bytes of a process that are its own, and bytes of files that it has mapped."""
    with suppress(OSError):
        _, resident, mapped, *_ = Path(f"/proc/{process}/statm").read_text().split()
        page = os.sysconf("SC_PAGE_SIZE")
        return page * (int(resident) - int(mapped)), page * int(mapped)
    return 0, 0


def best(repeat: int, call: Callable[[], Any]) -> float:
    """Seconds of the fastest run."""
    found = []
    for _ in range(repeat):
        start = time.perf_counter()
        call()
        found.append(time.perf_counter() - start)
    return min(found)


@contextmanager
def on_cores(count: int) -> Iterator[None]:
    """Within, this process and those that it starts run on so many cores, where the system can be told so."""
    if not hasattr(os, "sched_setaffinity"):
        yield
        return
    before = os.sched_getaffinity(0)
    os.sched_setaffinity(0, sorted(before)[:count])
    try:
        yield
    finally:
        os.sched_setaffinity(0, before)


def load_average() -> float | None:
    """How many processes wanted to run in the last minute: timings are only good on a machine that was idle."""
    return round(os.getloadavg()[0], 1) if hasattr(os, "getloadavg") else None


def photo_files(data: Path, count: int) -> list[Path]:
    """The first photos: those of Kodak where DATA has them, or else the PNG files of the folder itself."""
    folder = data / "kodak" if (data / "kodak").is_dir() else needed(data)
    files = sorted(folder.glob("*.png"))[:count]
    if not files:
        sys.exit(f"{folder} holds no PNG files")
    return files


def trained_codec(name: str) -> tuple[Path, CodecFile] | None:
    """The file of a codec, shipped or not; None where it is not there."""
    from bbcodec.codec.catalogue import read_codec

    for place in PLACES:
        path = place / f"{name}.bbc"
        if path.exists():
            return path, read_codec(path)
    return None


def codec_words(name: str) -> tuple[list[str | Path], list[str | Path]]:
    """Options that make `compress` use a codec, not embedded, and `decompress` find it: (of the one, of the other).

    name: of a trained codec, or a path. Leaves with a message if there is none.
    """
    found = (Path(name), None) if name.endswith(".bbc") else trained_codec(name)
    if found is None or not found[0].exists():
        sys.exit(f"there is no codec {name}")
    path = found[0]
    if path.parent == PLACES[0]:
        return ["--codec", path.stem], []
    return ["--codec", path, "--no-embed-codec"], ["--codec", path]


def listed(archive: Path) -> dict[str, Any]:
    """What `bbcodec list --json` says."""
    found: dict[str, Any] = json.loads(bbcodec("list", archive, "--json")[0])
    return found


def pixels(path: Path) -> Pixels:
    """The pixels of an image file, (H, W) or (H, W, C)."""
    with Image.open(path) as image:
        return np.asarray(image)


def webp_bytes(image: Image.Image, quality: int = 80) -> int:
    """Size as lossless WebP, method 6. Quality 100 is tried hardest: 0.2 % smaller on photos, twenty times slower."""
    buffer = io.BytesIO()
    image.save(buffer, "WEBP", lossless=True, quality=quality, method=6, exact=True)
    return buffer.tell()


def zip_bytes(paths: list[Path]) -> int:
    """Size of a zip file of these files, deflated as far as it goes."""
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED, compresslevel=9) as archive:
        for path in paths:
            archive.write(path, path.name)
    return buffer.tell()


def png_bytes(image: Image.Image) -> int:
    """Size as PNG with Pillow's `optimize`."""
    buffer = io.BytesIO()
    image.save(buffer, "PNG", optimize=True)
    return buffer.tell()


def jpegxl_encoded(array: Pixels, effort: int, threads: int = 1) -> bytes | None:
    """Lossless JPEG XL, or None where imagecodecs is not installed (the `peers` extra)."""
    try:
        import imagecodecs
    except ImportError:
        return None
    return bytes(imagecodecs.jpegxl_encode(array, effort=effort, lossless=True, numthreads=threads))
