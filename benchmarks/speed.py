"""How fast? Photos both ways, by commands and codecs, beside PNG, WebP and JPEG XL in the same run; and digits.

    python benchmarks/speed.py --data DATA [--threads 1 2] [--repeat 3] [--count 24]

MB/s are millions of bytes of raw pixels a second: the best of --repeat runs, between which all that is compared takes
its turns. `bbcodec` commands are timed from start to end of their process, on as many cores and with as many jobs as
the row says, with the check of the result and without, by default and with other options; "encode" and "decode" are
calls of a codec, which then codes all images alone, in a process that runs already, on one thread. Peers code whole
photos side by side, each on one thread. "One photo" is wall time of the third run of `bbcodec compress` and
`decompress`, as typed in a shell. Digits are 10,000 binarised MNIST images as one array.

Needs Kodak in DATA/kodak, or other PNG files in DATA; digits need DATA/mnist_test.npy. Run on an idle machine.
"""

from __future__ import annotations

import argparse
import io
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from common import (
    Pixels,
    arguments,
    bbcodec,
    bits_per_dim,
    jpegxl_encoded,
    load_average,
    on_cores,
    photo_files,
    pixels,
    save,
)
from mnist_binary import binarised
from PIL import Image

from bbcodec.engine.compiling import choose

Key = tuple[str, str, int, str]  # photos or digits, what, threads (and cores), way
Job = tuple[Key, Callable[[], Any]]
Seconds = dict[Key, list[float]]
COMMANDS = ("compress", "compress_checked", "decompress")
PHOTO_OPTIONS = ("", "--fast", "--codec none", "--mix")
DIGIT_OPTIONS = ("", "--fast")


@dataclass(frozen=True)
class Images:
    """What codecs are timed on: as files for commands, as batches (N, H, W, C) for calls."""

    kind: str
    options: tuple[str, ...]  # of `compress`, in words
    inputs: list[Path]
    batches: list[Pixels]
    amount: float  # megabytes of pixels, or number of images

    @property
    def codecs(self) -> list[str]:
        """Names of the shipped codecs for them."""
        return shipped(self.batches[0].shape[-1], 256 if self.kind == "photos" else 2) if self.batches else []

    @property
    def dims(self) -> int:
        """Values in all."""
        return sum(batch.size for batch in self.batches)


def shipped(channels: int, levels: int) -> list[str]:
    """Names of the shipped codecs for such pixels."""
    from bbcodec.codec.catalogue import shipped_codecs

    return [codec.name for codec in shipped_codecs() if (codec.channels, codec.levels) == (channels, levels)]


# --- jobs: what is timed, in an order in which each finds what it needs ----------------------------------------------


def commands(images: Images, options: str, folder: Path, threads: int) -> Iterator[Job]:
    """The commands with some options of `compress`. The last one restores what the second one wrote."""
    archive, restored = written(folder, images, options)
    how = ["--force", "--jobs", str(threads)]
    compress = ["compress", *images.inputs, "-o", archive, *how, *options.split()]
    lines = [*compress, "--no-verify"], compress, ["decompress", archive, "-o", restored, *how]
    for way, words in zip(COMMANDS, lines, strict=True):
        yield (images.kind, options, threads, way), lambda words=words: bbcodec(*words)


def written(folder: Path, images: Images, options: str) -> tuple[Path, Path]:
    """Where commands write: the archive, and the folder with what was restored from it."""
    name = f"{images.kind} {options}".replace(" ", "-")
    return folder / f"{name}.bb", folder / f"{name}-restored"


def calls(images: Images, codec: str) -> Iterator[Job]:
    """The codec called from Python, batch by batch."""
    import bbcodec as package

    loaded = package.load_codec(codec, device="cpu")
    if "torch" in sys.modules:
        sys.modules["torch"].set_num_threads(1)
    messages = [loaded.encode(batch) for batch in images.batches]

    def decode() -> None:
        for batch, message in zip(images.batches, messages, strict=True):
            if not np.array_equal(loaded.decode(message), batch):
                sys.exit(f"{codec} did not restore its images")

    yield (images.kind, codec, 1, "encode"), lambda: [loaded.encode(batch) for batch in images.batches]
    yield (images.kind, codec, 1, "decode"), decode


def png(photo: Pixels) -> bytes:
    """As a PNG file, with Pillow's `optimize`."""
    buffer = io.BytesIO()
    Image.fromarray(photo).save(buffer, "PNG", optimize=True)
    return buffer.getvalue()


def webp(photo: Pixels) -> bytes:
    """As lossless WebP, method 6."""
    buffer = io.BytesIO()
    Image.fromarray(photo).save(buffer, "WEBP", lossless=True, quality=80, method=6, exact=True)
    return buffer.getvalue()


def pillow_decoded(data: bytes) -> Pixels:
    """The pixels of an image file."""
    return np.asarray(Image.open(io.BytesIO(data)))


def formats() -> dict[str, tuple[Callable[[Pixels], bytes], Callable[[bytes], Any]]]:
    """How the peers that are installed encode and decode a photo."""
    found: dict[str, tuple[Callable[[Pixels], bytes], Callable[[bytes], Any]]]
    found = {"png": (png, pillow_decoded), "webp_m6": (webp, pillow_decoded)}
    if jpegxl_encoded(np.zeros((8, 8, 3), np.uint8), 7) is not None:
        import imagecodecs

        for effort in (7, 9):
            found[f"jpegxl_e{effort}"] = (
                lambda photo, effort=effort: jpegxl_encoded(photo, effort) or b"",
                lambda data: imagecodecs.jpegxl_decode(data, numthreads=1),
            )
    return found


def peer_jobs(photos: list[Pixels], sizes: dict[str, int], threads: int) -> Iterator[Job]:
    """Encoding and decoding with the peers; sizes receives the bytes of each."""

    def side_by_side(function: Callable[[Any], Any], things: list[Any]) -> list[Any]:
        with ThreadPoolExecutor(threads) as pool:
            return list(pool.map(function, things))

    files: dict[str, list[bytes]] = {}

    def encode_all(name: str, encode: Callable[[Pixels], bytes]) -> None:
        files[name] = side_by_side(encode, photos)
        sizes[name] = sum(map(len, files[name]))

    for name, (encode, decode) in formats().items():
        yield ("photos", name, threads, "encode"), lambda name=name, encode=encode: encode_all(name, encode)
        yield ("photos", name, threads, "decode"), lambda name=name, decode=decode: side_by_side(decode, files[name])


def timed(jobs: list[Job], repeat: int) -> Seconds:
    """Seconds of each run of each job. All take their turns, so that a machine that slows down slows all of them."""
    seconds: Seconds = {key: [] for key, _ in jobs}
    for turn in range(repeat):
        for key, run in jobs:
            with on_cores(key[2]):
                start = time.perf_counter()
                run()
                seconds[key].append(round(time.perf_counter() - start, 3))
            print(f"run {turn + 1}: {', '.join(map(str, key))}: {seconds[key][-1]} s", file=sys.stderr, flush=True)
    return seconds


# --- results ---------------------------------------------------------------------------------------------------------


def rates(seconds: Seconds, kind: str, what: str, amount: float) -> dict[str, Any]:
    """The best rate of each way by threads, and the seconds of all runs; amount: megabytes, or images."""
    best: dict[str, dict[str, float]] = {}
    runs: dict[str, dict[str, list[float]]] = {}
    for (group, name, threads, way), each in seconds.items():
        if (group, name) == (kind, what):
            best.setdefault(str(threads), {})[way] = round(amount / min(each), 3)
            runs.setdefault(str(threads), {})[way] = each
    return {"by_threads": best, "seconds": runs}


def rows(images: Images, seconds: Seconds, folder: Path) -> dict[str, Any]:
    """What was measured of the commands, by options. Leaves with a message if an image did not come back."""
    found = {}
    for options in images.options:
        archive, restored = written(folder, images, options)
        back = {path.name: path for path in restored.rglob("*") if path.is_file()}
        for path in images.inputs:
            if path.name not in back or not np.array_equal(content(path), content(back[path.name])):
                sys.exit(f"{path.name} was not restored from an archive made with the options '{options}'")
        size = archive.stat().st_size
        about = {"archive_bytes": size, "bits_per_dim": bits_per_dim(size, images.dims)}
        found[options] = {**about, **rates(seconds, images.kind, options, images.amount)}
    return found


def called(images: Images, seconds: Seconds) -> dict[str, Any]:
    """What was measured of the codecs called from Python."""
    return {codec: rates(seconds, images.kind, codec, images.amount) for codec in images.codecs}


def content(path: Path) -> Pixels:
    """The values in an array file or an image file."""
    return np.load(path) if path.suffix == ".npy" else pixels(path)


def one_photo(options: str, photo: Path, folder: Path, runs: int = 3) -> dict[str, float]:
    """Wall seconds of the last of some runs on one photo."""
    archive, restored = folder / "one.bb", folder / "one"
    lines: dict[str, list[str | Path]] = {
        "compress_checked": ["compress", photo, "-o", archive, "--force", *options.split()],
        "decompress": ["decompress", archive, "-o", restored, "--force"],
    }
    return {way: round([bbcodec(*words)[1] for _ in range(runs)][-1], 2) for way, words in lines.items()}


def chosen_digits(options: argparse.Namespace, folder: Path) -> Images:
    """The digits, where DATA has them, in an array file in the folder."""
    path = options.data / "mnist_test.npy"
    if not path.exists():
        return Images("digits", (), [], [], 0)
    digits = binarised(np.load(path))[: options.digits]
    np.save(folder / "digits.npy", digits)
    return Images("digits", DIGIT_OPTIONS, [folder / "digits.npy"], [digits[..., None]], len(digits))


def main() -> None:
    """Measure and write the result."""
    parser = arguments(__doc__ or "", "speed")
    parser.add_argument("--threads", nargs="+", type=int, default=[1, 2], help="cores, and jobs or threads on them")
    parser.add_argument("--repeat", type=int, default=3, help="runs of each measurement; the fastest counts")
    parser.add_argument("--count", type=int, default=24, help="how many photos")
    parser.add_argument("--digits", type=int, default=10_000, help="how many digits")
    options = parser.parse_args()
    files, before, sizes = photo_files(options.data, options.count), load_average(), dict[str, int]()
    arrays = [pixels(path) for path in files]
    megabytes = sum(array.size for array in arrays) / 1e6
    photos = Images("photos", PHOTO_OPTIONS, files, [array[None] for array in arrays], megabytes)
    with tempfile.TemporaryDirectory(prefix="bbcodec-speed-") as name:
        folder = Path(name)
        digits = chosen_digits(options, folder)
        jobs: list[Job] = []
        for threads in options.threads:
            for images in (photos, digits):
                for words in images.options:
                    jobs += commands(images, words, folder, threads)
            jobs += peer_jobs(arrays, sizes, threads)
        for images in (photos, digits):
            for codec in images.codecs:
                jobs += calls(images, codec)
        seconds = timed(jobs, options.repeat)
        ours, theirs = rows(photos, seconds, folder), rows(digits, seconds, folder)
        for words in photos.options:
            ours[words]["one_photo_seconds"] = one_photo(words, files[0], folder)
    result = {
        "unit": "MB/s of raw pixels",
        "kernels": choose().name,
        "load_average_before_and_after": [before, load_average()],
        "commands": ours,
        "codecs": called(photos, seconds),
        "peers": {peer: {"bytes": size, **rates(seconds, "photos", peer, megabytes)} for peer, size in sizes.items()},
        "digits": {
            "unit": "images/s",
            "images": int(digits.amount),
            "commands": theirs,
            "codecs": called(digits, seconds),
        },
    }
    save(options, parser, f"{files[0].parent.name}, {len(files)} photos, {megabytes:.1f} MB of pixels", result)


if __name__ == "__main__":
    main()
