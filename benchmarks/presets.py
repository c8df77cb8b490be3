"""What a new user gets: `bbcodec train` with each preset on two kinds of images, and its codec on test images.

    python benchmarks/presets.py --data PREPARED [--minutes 20] [--presets balanced] [--sets microscopy]

PREPARED is what benchmarks/prepare.py wrote. Nothing is set but the preset and the time. The test images are compressed
one by one in WebP and JPEG XL, and in one archive with the codec. Rows that are not measured now stay as they are.
"""

from __future__ import annotations

import json
import tempfile
from pathlib import Path
from typing import Any

from common import arguments, bbcodec, command, environment, needed

SETS = {
    "microscopy": ("microscopy_train.npy", "microscopy_test.npy"),
    "sprites": ("sprites_train", "sprites_test"),
}
PRESETS = ("fast", "balanced", "strong")


def measure(name: str, preset: str, data: Path, minutes: float, threads: int) -> dict[str, Any]:
    """A row: what a preset reaches on a set."""
    train, test = (needed(data / part) for part in SETS[name])
    with tempfile.TemporaryDirectory(prefix="bbcodec-presets-") as folder:
        codec = Path(folder) / "mine.bbc"
        words = (train, "-o", codec, "--preset", preset, "--minutes", str(minutes), "--threads", str(threads))
        summary = json.loads(bbcodec("train", *words, "--json")[0])
        report = json.loads(bbcodec("evaluate", codec, test, "--json", "--iwae", "0")[0])
        archive = Path(folder) / "test.bb"
        seconds = bbcodec("compress", test, "-o", archive, "--codec", codec, "--no-verify", "--jobs", "1")[1]
    peers = {peer["key"]: peer["bits_per_dim"] for peer in report["peers"]}
    return {
        "set": name,
        "preset": preset,
        "test": f"{name}, {report['images']} test images",
        "parameters": summary["parameters"],
        "codec_bytes": summary["codec_bytes"],
        "steps": summary["steps"],
        "images_per_second": summary["images_per_second"],
        "coded_mb_per_second": round(report["dims"] / seconds / 1e6, 3),
        "bits_per_dim": round(report["measured_bits_per_dim"], 5),
        "peers": {key: value and round(value, 5) for key, value in peers.items()},
        "learned_images": report["learned_images"],
        "pays_after_images": report["pays_after_images"],
        "environment": environment(),
    }


def measured_before(path: Path, minutes: float) -> dict[str, Any]:
    """The rows of a result, if it is of runs of the same length."""
    before = json.loads(path.read_text(encoding="utf-8")) if path.exists() else {}
    return {f"{row['set']} {row['preset']}": row for row in before.get("rows", ()) if before["minutes"] == minutes}


def main() -> None:
    """Measure, and write the result after each row."""
    parser = arguments(__doc__, "presets")
    parser.add_argument("--minutes", type=float, default=20, help="of training, each")
    parser.add_argument("--threads", type=int, default=2, help="of training")
    parser.add_argument("--presets", nargs="+", choices=PRESETS, default=list(PRESETS))
    parser.add_argument("--sets", nargs="+", choices=SETS, default=list(SETS))
    parser.add_argument("--busy", action="store_true", help="other work goes on beside: the table says so")
    options = parser.parse_args()
    told = command(options, parser, "PREPARED")
    for name in options.sets:
        for preset in options.presets:
            row = measure(name, preset, options.data, options.minutes, options.threads)
            rows = measured_before(options.out, options.minutes)
            rows[f"{name} {preset}"] = {**row, "busy": options.busy, "command": told}
            order = [f"{one} {other}" for one in SETS for other in PRESETS]
            record = {
                "command": f"python benchmarks/presets.py --data PREPARED --minutes {options.minutes:g}",
                "data": "images as benchmarks/prepare.py writes them",
                "environment": environment(),
                "minutes": options.minutes,
                "threads": options.threads,
                "rows": [rows[key] for key in order if key in rows],
            }
            options.out.write_text(json.dumps(record, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")
            print(f"{name}, {preset}: {row['bits_per_dim']} bits/dim")


if __name__ == "__main__":
    main()
