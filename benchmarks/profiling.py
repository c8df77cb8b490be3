"""Where the time of one `compress` and one `decompress` goes, and what the multiply-adds alone would take.

    python benchmarks/profiling.py --data DATA [--codec photo-3] [--count 1]

The photos (Kodak, or the PNG files of DATA) are compressed with the check of the result, and restored, with one job on
one core. Each command runs --repeat times; a sampler (benchmarks/sampling.py) watches the last run. Seconds are told by
phase (start-up, codec, check) and by room (imports, engine, files). Beside them are the parts of the engine, measured
one by one in a process that runs already, and the floor: multiply-adds a pixel over the rate at which this machine
multiplies. Run on an idle machine.
"""

from __future__ import annotations

import json
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np
from common import HERE, Pixels, arguments, codec_words, load_average, on_cores, photo_files, pixels, save
from engine import coder_of, floor, parts

SMALLEST = 0.002  # share of the time, of a place that is told


def sampled_command(*words: str | Path) -> tuple[list[tuple[str, str, float]], float]:
    """Run a command under the sampler: phase, room and seconds of each place; and the seconds of the whole process."""
    with tempfile.TemporaryDirectory(prefix="bbcodec-profile-") as name:
        out = Path(name, "places.json")
        start = time.perf_counter()
        run = subprocess.run([sys.executable, HERE / "sampling.py", out, *words], stderr=subprocess.PIPE, text=True)
        seconds = time.perf_counter() - start
        if run.returncode:
            sys.exit(f"bbcodec {' '.join(map(str, words))} left with {run.returncode}: {run.stderr}")
        return [tuple(place) for place in json.loads(out.read_text())], seconds


def told(places: list[tuple[str, str, float]], whole: float) -> dict[str, Any]:
    """Milliseconds of each phase and its rooms; what the sampler did not see is the start and end of the process."""
    phases: dict[str, dict[str, float]] = {}
    for phase, room, seconds in sorted(places, key=lambda place: -place[2]):
        if seconds > SMALLEST * whole:
            phases.setdefault(phase, {})[room] = round(1000 * seconds)
    unseen = whole - sum(seconds for *_, seconds in places)
    return {"whole_ms": round(1000 * whole), "start_and_end_of_the_process_ms": round(1000 * unseen), "ms": phases}


def engine(codec: str | Path, photo: Pixels, times: int) -> dict[str, Any]:
    """The parts of the engine for a photo (H, W, C), microseconds a pixel. Empty where it does not code such pixels."""
    import bbcodec

    coder = coder_of(bbcodec.load_codec(codec, device="cpu"))
    if coder is None:
        return {}
    microseconds = parts(coder, np.ascontiguousarray(photo.transpose(2, 0, 1)[None]), times)
    return {"kernels": coder.kernels.name, **floor(coder.net, coder.kernels, times), "us_per_pixel": microseconds}


def main() -> None:
    """Measure and write the result."""
    parser = arguments(__doc__ or "", "profiling")
    parser.add_argument("--codec", default="photo-3", help="name of a trained codec, or a .bbc file")
    parser.add_argument("--count", type=int, default=1, help="how many photos")
    parser.add_argument("--repeat", type=int, default=3, help="runs of each command; the last one is told")
    parser.add_argument("--times", type=int, default=5, help="runs of each part of the engine, the quickest counts")
    options = parser.parse_args()
    choice, source = codec_words(options.codec)
    files, before = photo_files(options.data, options.count), load_average()
    photos = [pixels(path) for path in files]
    with tempfile.TemporaryDirectory(prefix="bbcodec-profile-") as name, on_cores(1):
        archive = Path(name, "photos.bb")
        commands: dict[str, list[str | Path]] = {
            "compress": ["compress", *files, "-o", archive, "--force", "--jobs", "1", *choice],
            "decompress": ["decompress", archive, "-o", Path(name, "restored"), "--force", "--jobs", "1", *source],
        }
        profiles = {}
        for command, words in commands.items():
            for _ in range(options.repeat):
                places, seconds = sampled_command(*words)
            profiles[command] = told(places, seconds)
        inside = engine(choice[1], photos[0], options.times)
    count = sum(photo[..., 0].size for photo in photos)
    result = {"codec": Path(options.codec).name, "pixels": count, "load_average": before, **profiles, "engine": inside}
    save(options, parser, f"{len(files)} photos, {count / 1e6:.2f} megapixels", result)


if __name__ == "__main__":
    main()
