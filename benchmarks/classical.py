"""What classical codecs make of the test images: PNG, WebP, JPEG XL, sheets of many, and an archive without a codec.

    python benchmarks/classical.py --data PREPARED [--only FILE...]

PREPARED is what benchmarks/prepare.py wrote. The figures are those that `bbcodec evaluate` puts beside a codec's, here
measured once for all codecs of the same images. Rows that are not measured now stay as they are in the result.
"""

from __future__ import annotations

import json
import time
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
from common import arguments, environment, needed
from trained import ENTRIES

from bbcodec.options import RunOptions
from bbcodec.report.baselines import measure_baselines

SETS = {entry.test: entry.data for entry in ENTRIES}


def measure(path: Path, jobs: int) -> dict[str, Any]:
    """The row of an array of test images."""
    start = time.perf_counter()
    baselines = measure_baselines(path, (), RunOptions(jobs))
    return {
        "test": path.name,
        "data": SETS[path.name],
        "dims": np.load(path, mmap_mode="r").size,
        "peers": [asdict(baseline) for baseline in baselines],
        "seconds": round(time.perf_counter() - start, 1),
        "environment": environment(),
    }


def main() -> None:
    """Measure, and write the result after each row."""
    parser = arguments(__doc__, "classical")
    parser.add_argument("--only", nargs="+", choices=SETS, metavar="FILE", help=f"of {', '.join(SETS)} (all)")
    parser.add_argument("--jobs", type=int, default=2, help="processes, which change no figure")
    options = parser.parse_args()
    rows: dict[str, Any] = {}
    if options.out.exists():
        rows = {row["test"]: row for row in json.loads(options.out.read_text(encoding="utf-8"))["rows"]}
    for name in options.only or SETS:
        rows[name] = measure(needed(options.data / name), options.jobs)
        record = {
            "command": "python benchmarks/classical.py --data PREPARED",
            "data": "test images as benchmarks/prepare.py writes them",
            "environment": environment(),
            "rows": [rows[name] for name in SETS if name in rows],
        }
        options.out.write_text(json.dumps(record, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")
        print(f"{name}: {rows[name]['seconds']} s", flush=True)


if __name__ == "__main__":
    # Workers import this file, too.
    main()
