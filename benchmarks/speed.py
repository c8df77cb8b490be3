"""How fast? The 24 Kodak photos both ways, beside JPEG XL and WebP in the same run, and where the time goes.

    python benchmarks/speed.py --data DATA

MB/s are millions of bytes of raw pixels a second, all cores, the best of --repeat runs. The command line is timed from
start to end of its process, with the check of the result and without; "codec" is the codec called in a process that
runs already. The profiles are of one process, start-up included. Needs DATA/kodak/*.png; run on an idle machine.
"""

from __future__ import annotations

import cProfile
import pstats
import tempfile
import time
from collections import defaultdict
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from common import Pixels, arguments, bbcodec, jpegxl_encoded, needed, pixels, save, webp_bytes
from PIL import Image

# Own time of every function goes to the first room whose mark is in its file name or name.
ROOMS = {
    "coder kernels": ("coder/kernels/", "/ans.py", "distributions/"),
    "network": ("torch/", "built-in method torch", "method 'round", "exact/", "TensorBase"),
    "classical trials": ("PIL/", "ImagingEncoder", "ImagingDecoder", "_webp", "imagecodecs", "zlib", "'encode' of"),
    "files and digests": ("_io", "posix", "hashlib", "blake2", "pathlib", "crc32"),
    "imports and compilation": ("importlib", "numba/", "llvmlite", "marshal"),
}


def best(repeat: int, call: Callable[[], Any]) -> float:
    """Seconds of the fastest run."""
    seconds = []
    for _ in range(repeat):
        start = time.perf_counter()
        call()
        seconds.append(time.perf_counter() - start)
    return min(seconds)


def with_start_up(codec: str, files: list[Path], repeat: int) -> dict[str, float]:
    """Seconds of whole processes."""
    with tempfile.TemporaryDirectory(prefix="bbcodec-speed-") as name:
        archive, restored = Path(name, "kodak.bb"), Path(name, "restored")
        words = [*files, "-o", archive, "--force", "--codec", codec]
        return {
            "compress_and_verify": best(repeat, lambda: bbcodec("compress", *words)),
            "compress": best(repeat, lambda: bbcodec("compress", *words, "--no-verify")),
            "decompress": best(repeat, lambda: bbcodec("decompress", archive, "-o", restored, "--force")),
        }


def codec_alone(name: str, photos: list[Pixels], repeat: int) -> dict[str, float]:
    """Seconds of the learned codec in a process that runs already, photo by photo."""
    import bbcodec

    codec = bbcodec.load_codec(name)
    codec.decode_message(codec.encode_message(photos[0][None, :64, :64]), 1, 64, 64)  # compile
    messages = [codec.encode_message(photo[None]) for photo in photos]

    def decode() -> None:
        for photo, message in zip(photos, messages, strict=True):
            if not np.array_equal(codec.decode_message(message, 1, *photo.shape[:2])[0], photo):
                raise SystemExit("a photo was not restored")

    return {
        "encode": best(repeat, lambda: [codec.encode_message(photo[None]) for photo in photos]),
        "decode": best(repeat, decode),
    }


def peers(photos: list[Pixels], repeat: int, threads: int) -> dict[str, dict[str, float]]:
    """Seconds of JPEG XL and WebP on the same photos."""
    images = [Image.fromarray(photo) for photo in photos]
    found = {"webp_m6": {"encode": best(1, lambda: [webp_bytes(image) for image in images])}}
    if jpegxl_encoded(photos[0][:8, :8], 7) is None:
        return found
    import imagecodecs

    def encode_all(effort: int) -> list[bytes | None]:
        return [jpegxl_encoded(photo, effort, threads) for photo in photos]

    def decode_all(files: list[bytes | None]) -> None:
        for data in files:
            imagecodecs.jpegxl_decode(data, numthreads=threads)

    for effort in (7, 9):
        found[f"jpegxl_e{effort}"] = {
            "encode": best(1, partial(encode_all, effort)),
            "decode": best(repeat, partial(decode_all, encode_all(effort))),
        }
    return found


def shares(recorder: cProfile.Profile) -> dict[str, float]:
    """The share of the time that each room takes, by its functions' own time."""
    times: defaultdict[str, float] = defaultdict(float)
    stats = pstats.Stats(recorder).stats  # type: ignore[attr-defined]
    for (file, _, function), (_, _, own, _, _) in stats.items():
        where = f"{file} {function}"
        room = next((room for room, marks in ROOMS.items() if any(mark in where for mark in marks)), "the rest")
        times[room] += own
    total = sum(times.values())
    return {room: round(seconds / total, 3) for room, seconds in sorted(times.items(), key=lambda item: -item[1])}


def profiles(codec: str, files: list[Path]) -> dict[str, dict[str, float]]:
    """Where compression (without the check of its result) and decompression spend their time."""
    import bbcodec

    with tempfile.TemporaryDirectory(prefix="bbcodec-profile-") as name:
        into, back = cProfile.Profile(), cProfile.Profile()
        archive = Path(name, "kodak.bb")
        into.runcall(bbcodec.compress, files, archive, codec=codec, jobs=1, verify=False)
        back.runcall(bbcodec.decompress, archive, Path(name, "restored"), jobs=1)
    return {"compress": shares(into), "decompress": shares(back)}


def rates(seconds: dict[str, float], megabytes: float) -> dict[str, float]:
    """MB/s for seconds."""
    return {name: round(megabytes / value, 3) for name, value in seconds.items()}


def main() -> None:
    """Measure and write the result."""
    parser = arguments(__doc__, "speed")
    parser.add_argument("--codec", default="photo-2", help="name or file")
    parser.add_argument("--repeat", type=int, default=2, help="runs of each measurement; the fastest counts")
    parser.add_argument("--threads", type=int, default=4, help="threads for JPEG XL")
    parser.add_argument("--count", type=int, default=24, help="how many photos")
    options = parser.parse_args()
    files = sorted(needed(options.data / "kodak").glob("*.png"))[: options.count]
    photos = [pixels(path) for path in files]
    megabytes = sum(photo.size for photo in photos) / 1e6
    result = {
        "unit": "MB/s of raw pixels",
        "command_line_with_start_up": rates(with_start_up(options.codec, files, options.repeat), megabytes),
        "codec": rates(codec_alone(options.codec, photos, options.repeat), megabytes),
        "peers": {
            name: rates(seconds, megabytes)
            for name, seconds in peers(photos, options.repeat, options.threads).items()
        },
        "profile": profiles(options.codec, files[:6]),
    }
    save(options, parser, f"Kodak, {len(files)} photos, {megabytes:.1f} MB of pixels", result)


if __name__ == "__main__":
    main()
