"""How training came on: bits/dim on held-out images over the minutes of runs, and what their last part still gave.

    python benchmarks/curves.py --runs FOLDER NAME...

FOLDER holds the runs of `bbcodec train ... -o FOLDER/NAME.bbc`. Runs that are not named stay as they are in the result,
for as long as their codecs are there. Beside it, docs/curves.png shows all runs. Learning rates fall to the end of a
run, so that a longer one is better than the curve goes on to say, and a run that is stopped earlier worse.
"""

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path
from typing import Any

from common import HERE, environment, trained_codec

from bbcodec.codec.catalogue import read_codec

SHARES = (0.25, 0.5, 0.75, 1.0)
PICTURE = HERE.parent / "docs" / "curves.png"


def measure(runs: Path, name: str) -> dict[str, Any]:
    """The row of a run: points (minutes, bits/dim), and bits/dim of the latest one at each quarter."""
    codec = read_codec(runs / f"{name}.bbc")
    card = dict(codec.card)
    lines = [json.loads(line) for line in (runs / f"{name}.training" / "log.jsonl").read_text().splitlines()]
    minutes = {line["step"]: line["minutes"] for line in lines if line["kind"] == "train"}
    tried = [line for line in lines if line["kind"] == "valid" and line["step"] in minutes]
    points = [[minutes[line["step"]], round(line["valid_bits_per_dim"], 5)] for line in tried]
    whole = max(minutes.values())  # of a run that was made longer, too: its shares were once of less
    nearest = [min(tried, key=lambda line: abs(minutes[line["step"]] - share * whole)) for share in SHARES]
    return {
        "codec": name,
        "model": codec.family,
        "data": card["data"],
        "minutes": whole,
        "steps": max(minutes),
        "device": card["device"],
        "points": points,
        "quarters": [round(line["valid_bits_per_dim"], 4) for line in nearest],
    }


def draw(rows: list[dict[str, Any]]) -> Any:
    """A panel for each data set, a curve for each run; the figure that was saved."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    sets = list(dict.fromkeys(row["data"] for row in rows))
    figure = Figure(figsize=(10, 2.9 * -(-len(sets) // 2)), layout="constrained")
    FigureCanvasAgg(figure)
    panels = list(figure.subplots(-(-len(sets) // 2), 2, squeeze=False).flat)
    for panel, data in zip(panels, sets, strict=False):
        some = [row for row in rows if row["data"] == data]
        for row in some:
            panel.plot(*zip(*row["points"], strict=True), ".-", label=row["codec"])
        settled = [bits for row in some for _, bits in row["points"][len(row["points"]) // 4 :]]
        panel.set_ylim(min(settled) - 0.1 * (max(settled) - min(settled)), max(settled) * 1.02)
        panel.set_title(data, fontsize=9)
        panel.set_xlabel("minutes")
        panel.set_ylabel("bits/dim, held out")
        panel.grid(alpha=0.3)
        panel.legend(fontsize=8)
    for panel in panels[len(sets) :]:
        panel.set_visible(False)
    figure.savefig(PICTURE, dpi=90)
    return figure


def main() -> None:
    """Read the logs, write the result and the picture."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("names", nargs="+", metavar="NAME")
    parser.add_argument("--runs", type=Path, required=True, help="where NAME.bbc and NAME.training are")
    parser.add_argument("--out", type=Path, default=HERE / "results" / "curves.json", help="where the result goes")
    options = parser.parse_args()
    rows: dict[str, Any] = {}
    if options.out.exists():
        before = json.loads(options.out.read_text(encoding="utf-8"))["rows"]
        rows = {row["codec"]: row for row in before if trained_codec(row["codec"]) is not None}
    for name in options.names:
        if not (options.runs / f"{name}.bbc").exists():
            sys.exit(f"{options.runs.name}/{name}.bbc is missing: a run that has ended was expected")
        rows[name] = measure(options.runs, name)
    record = {
        "command": "python benchmarks/curves.py --runs FOLDER NAME...",
        "data": "held-out images of each run, as its recipe says",
        "environment": environment(),
        "rows": sorted(rows.values(), key=lambda row: (row["data"], row["codec"])),
    }
    options.out.write_text(json.dumps(record, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")
    draw(record["rows"])


if __name__ == "__main__":
    main()
