"""Parts of benchmarks whose errors would show late: rendered pages, what logs say, how images are batched."""

import json
import shutil
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest

ROOT = Path(__file__).resolve().parents[1]


@pytest.fixture(autouse=True)
def importable(monkeypatch):
    monkeypatch.syspath_prepend(str(ROOT / "benchmarks"))
    yield
    for name in ("common", "curves", "readme_table", "roundtrips"):
        sys.modules.pop(name, None)


def a_run(folder: Path, name: str, monkeypatch) -> None:
    """Eight minutes in 160 lines, held-out images tried 16 times, just after each share; the best one in the middle."""
    import curves

    (folder / f"{name}.training").mkdir()
    lines = []
    for tick in range(1, 161):
        share = tick / 160 + 0.0008 * (tick < 160)
        lines.append({"kind": "train", "step": 10 * tick, "minutes": round(8 * share, 2), "share": share})
        if tick % 10 == 0:
            lines.append(
                {"kind": "valid", "step": 10 * tick, "share": share, "valid_bits_per_dim": abs(tick - 80) / 10}
            )
    (folder / f"{name}.training" / "log.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    card = {"data": f"Digits, {name}", "minutes": 4.0, "steps": 800, "device": "CPU"}
    monkeypatch.setattr(curves, "read_codec", lambda path: SimpleNamespace(card=card, family="vlae"))


def test_quarters_are_those_of_the_run(tmp_path, monkeypatch):
    import curves

    a_run(tmp_path, "digits", monkeypatch)
    row = curves.measure(tmp_path, "digits")
    assert row["quarters"] == [4.0, 0.0, 4.0, 8.0]
    assert (row["minutes"], row["steps"], len(row["points"])) == (8.0, 1600, 16)
    assert row["points"][7] == [4.01, 0.0]


@pytest.mark.parametrize("count", [1, 2, 3])
def test_curves_have_a_panel_for_each_data_set(tmp_path, monkeypatch, count):
    import curves

    rows = []
    for number in range(count):
        a_run(tmp_path, f"set{number}", monkeypatch)
        rows.append(curves.measure(tmp_path, f"set{number}"))
    monkeypatch.setattr(curves, "PICTURE", tmp_path / "curves.png")
    figure = curves.draw(rows)
    assert sum(panel.get_visible() for panel in figure.axes) == count
    assert (tmp_path / "curves.png").stat().st_size > 1000


def test_images_of_several_sizes_have_a_message_each():
    import roundtrips

    alike = [np.zeros((5, 6, 1), np.uint8)] * 4
    assert [len(batch) for batch in roundtrips.batches_of(alike)] == [4, 1, 1]
    batches = roundtrips.batches_of([*alike, np.zeros((6, 5, 1), np.uint8)])
    assert [batch.shape for batch in batches] == [(1, 5, 6, 1)] * 4 + [(1, 6, 5, 1)]


PAGES = ("README.md", "docs/results.md")


@pytest.mark.parametrize("name", PAGES)
def test_pages_say_what_was_measured(name):
    import readme_table

    page = (ROOT / name).read_text(encoding="utf-8")
    assert page == readme_table.replaced(page, readme_table.PAGES[name](ROOT / "benchmarks" / "results"))
    assert tuple(readme_table.PAGES) == PAGES


@pytest.mark.parametrize("name", PAGES)
def test_a_changed_figure_is_caught_and_written_anew(tmp_path, name):
    for folder in ("benchmarks", "benchmarks/results", "docs"):
        (tmp_path / folder).mkdir()
    sources = sorted((ROOT / "benchmarks/results").glob("*.json"))
    for path in (ROOT / "benchmarks/readme_table.py", *(ROOT / page for page in PAGES), *sources):
        shutil.copy(path, tmp_path / path.relative_to(ROOT))
    (tmp_path / name).write_text((ROOT / name).read_text(encoding="utf-8").replace("2.860", "2.460"), encoding="utf-8")

    def rendered(*options: str) -> tuple[int, str]:
        command = [sys.executable, str(tmp_path / "benchmarks/readme_table.py"), *options]
        result = subprocess.run(command, capture_output=True, text=True, check=False)
        return result.returncode, result.stderr

    assert rendered("--check") == (
        1,
        f"{name} differs from benchmarks/results: run python benchmarks/readme_table.py\n",
    )
    assert rendered() == (0, "")
    assert rendered("--check") == (0, "")
    assert (tmp_path / name).read_text(encoding="utf-8") == (ROOT / name).read_text(encoding="utf-8")


def test_a_page_without_markers_is_refused():
    import readme_table

    for page in ("", readme_table.START, readme_table.END):
        with pytest.raises(ValueError, match="expected the markers"):
            readme_table.replaced(page, "text")


@pytest.mark.parametrize(
    ("rate", "text"), [(0.559, "0.56"), (0.5, "0.50"), (7.95, "8.0"), (23.2, "23"), (123.4, "123")]
)
def test_rates_have_two_digits(rate, text):
    import readme_table

    assert readme_table.two_digits(rate) == text
