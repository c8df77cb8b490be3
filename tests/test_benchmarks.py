"""Parts of benchmarks whose errors would show late: rendered pages, what logs say, how images are batched."""

import argparse
import json
import shutil
import subprocess
import sys
import time
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest

ROOT = Path(__file__).resolve().parents[1]


@pytest.fixture(autouse=True)
def importable(monkeypatch):
    monkeypatch.syspath_prepend(str(ROOT / "benchmarks"))
    before = set(sys.modules)
    yield
    for name in set(sys.modules) - before:
        file = getattr(sys.modules[name], "__file__", None) or ""
        if Path(file).parent == ROOT / "benchmarks":
            del sys.modules[name]


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
TABLES = ("cluster_tables.py", "folder_tables.py", "model_tables.py", "reliability_tables.py", "speed_tables.py")
RENDERERS = ("readme_table.py", *TABLES)


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
    for path in (*(ROOT / "benchmarks" / name for name in RENDERERS), *(ROOT / page for page in PAGES), *sources):
        shutil.copy(path, tmp_path / path.relative_to(ROOT))
    kodak = json.loads((ROOT / "benchmarks/results/kodak.json").read_text(encoding="utf-8"))
    page, figure = (ROOT / name).read_text(encoding="utf-8"), f"{kodak['peers']['jpegxl_e7']['bits_per_dim']:.3f}"
    assert figure in page
    (tmp_path / name).write_text(page.replace(figure, "9.999"), encoding="utf-8")

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


# --- speeds ----------------------------------------------------------------------------------------------------------

RATES = {"by_threads": {"1": {"compress": 1.5, "decompress": 2.5}, "2": {"compress": 2.5, "compress_checked": 1.25}}}
CALLS = {"by_threads": {"1": {"encode": 1.0, "decode": 9.0}}}
COSTS = {"net": 0.5, "distribution_in": 0.1, "rans_in": 0.02, "distribution_and_rans_out": 0.2, "in": 0.6, "out": 0.7}
FLOOR = {
    "multiply_adds": {"inner": 100_000, "wide": 9000},
    "inner_gmac_per_s": 300,
    "wide_gmac_per_s": 150,
    "floor_us_per_pixel": 0.4,
}
ALONE = {"compress_checked": 1.5, "decompress": 0.75}
RESULTS = {
    "speed": {
        "unit": "MB/s",
        "commands": {words: {**RATES, "one_photo_seconds": ALONE} for words in ("", "--mix")},
        "codecs": {"photo-9": CALLS},
        "peers": {"png": {"bytes": 7, **CALLS}},
        "digits": {"images": 100, "commands": {"": {"bits_per_dim": 0.15, **RATES}}, "codecs": {"digits-9": CALLS}},
    },
    "profile": {
        "codec": "photo-9",
        "pixels": 400_000,
        **{
            command: {"whole_ms": 900, "start_and_end_of_the_process_ms": 80, "ms": {"work": {"engine": 500}}}
            for command in ("compress", "decompress")
        },
        "engine": {"kernels": "avx2", "us_per_pixel": COSTS, **FLOOR},
    },
    "engine": {
        "rows": [{"net": "a", "kernels": "avx2", **FLOOR, "us_per_pixel": COSTS, "mb_per_s": {"in": 5.0, "out": 4.3}}]
    },
    "scaling": {
        "codec": "photo-9",
        "most_growth_of_time_a_pixel": 1.1,
        "most_memory_mb": 400,
        "rows": [
            {
                "images": 1,
                "side": 32,
                "cores": 1,
                **{key: dict.fromkeys(("compress_checked", "decompress"), 1) for key in ("seconds", "memory_mb")},
                "us_per_pixel": {"compress_checked": 0.0, "decompress": 0.0},
            }
        ],
    },
    "frontier": {
        "rows": [
            {"set": "photos", "arm": "small", "steps": 10, "parameters": 1000, "bits_per_dim": 4.0},
            {
                **{"set": "photos", "arm": "large", "steps": 10, "parameters": 2000, "bits_per_dim": 3.5},
                "speed": {"us_per_pixel": COSTS, "mb_per_s": {"in": 5.0, "out": 4.3}, "load_average": 3.0},
            },
        ]
    },
    "device": {
        "device": "a GPU",
        "rows": [
            {"codec": "bad", "failed": "known answers"},
            {
                **{"codec": "good", "known_answers": "fast path", "messages_equal": 3, "of": 3, "decoded_right": 6},
                **{"decodings": 6, "mb_per_s": {"in": 0.5, "out": 0.25}},
            },
        ],
    },
}


@pytest.mark.parametrize("name", RESULTS)
def test_rows_of_a_table_have_as_many_cells_as_its_head(name):
    import speed_tables

    lines = list(getattr(speed_tables, name)(RESULTS[name]))
    heads = [n for n, line in enumerate(lines[1:]) if line.startswith("| ---")]
    assert heads
    cells = 0
    for n, line in enumerate(lines):
        cells = line.count("|") if n in heads else cells
        assert not line.startswith("|") or line.count("|") == cells, line


def test_a_frontier_shows_the_nets_that_none_beats_in_both():
    import speed_tables

    text = "\n".join(speed_tables.frontier(RESULTS["frontier"]))
    assert "| **large** | 2,000 | 3.5000 | 0.50 | 5.0 | 4.3 |\n| small | 1,000 | 4.0000 |  |  |  |" in text
    assert "busy (load 3)" in text


def test_what_is_compared_takes_turns():
    import speed

    order = []
    jobs = [(("photos", name, 1, "encode"), lambda name=name: order.append(name)) for name in "ab"]
    seconds = speed.timed(jobs, 3)
    assert order == ["a", "b"] * 3
    assert {len(each) for each in seconds.values()} == {3}
    found = speed.rates({("photos", "a", 2, "encode"): [4.0, 2.0, 3.0]}, "photos", "a", 10)
    assert found == {"by_threads": {"2": {"encode": 5.0}}, "seconds": {"2": {"encode": [4.0, 2.0, 3.0]}}}


def within(*callers: tuple[str, str]) -> tuple[str, str]:
    """The place of code that functions of these files called, the outermost first."""
    from sampling import place_of

    def call() -> tuple[str, str]:
        return place_of(sys._getframe())

    for file, function in reversed(callers):
        space: dict = {"call": call}
        code = compile("def named(): return call()", file, "exec")
        exec(code, space)
        space["named"].__code__ = space["named"].__code__.replace(co_name=function)
        call = space["named"]
    return call()


LOAD = "x/bbcodec/codec/file.py", "load_codec"


@pytest.mark.parametrize(
    ("callers", "place"),
    [
        ([LOAD, ("x/bbcodec/codec/known_answers.py", "answers"), ("x/bbcodec/engine/waves.py", "_run")],
         ("known answers", "engine")),
        ([LOAD, ("x/numba/core/dispatcher.py", "compile")], ("codec file", "compiled code, loaded")),
        ([("x/bbcodec/engine/waves.py", "_run"), ("x/numba/core/dispatcher.py", "compile")],
         ("work", "compiled code, loaded")),
        ([("<frozen importlib._bootstrap>", "_call")], ("start-up", "imports")),
        ([LOAD, ("<frozen importlib._bootstrap>", "_call")], ("codec file", "imports")),
        ([("<frozen importlib._bootstrap>", "_call"), ("x/bbcodec/engine/waves.py", "<module>")],
         ("start-up", "imports")),
        ([("x/bbcodec/archive/compress.py", "_verify_written"), ("x/PIL/Image.py", "load")],
         ("check of the result", "classical trials")),
        ([("x/elsewhere.py", "f")], ("work", "the rest")),
    ],
)  # fmt: skip
def test_a_sample_tells_phase_and_room(callers, place):
    assert within(*callers) == place


def test_a_sampler_counts_all_the_time():
    from sampling import by_room, sampled

    start = time.perf_counter()
    seconds = sampled(lambda: time.sleep(0.1))
    assert 0.05 < sum(seconds.values()) <= time.perf_counter() - start
    assert by_room({("a", "x"): 1.0, ("b", "y"): 6.0, ("c", "x"): 1.0}) == {"y": 0.75, "x": 0.25}


def scaled(rows: dict[tuple[int, int], float], memory: int = 100) -> dict:
    """What scaling claims of seconds by images and side."""
    import scaling

    both = ("compress_checked", "decompress")
    return scaling.claims(
        scaling.with_rates(
            [
                {
                    **{"images": count, "side": side, "pixels": count * side**2, "cores": 1},
                    "seconds": dict.fromkeys(both, seconds),
                    "memory_mb": dict.fromkeys(both, memory),
                }
                for (count, side), seconds in rows.items()
            ]
        )
    )


def test_time_that_grows_faster_than_pixels_is_found():
    linear = {(1, 32): 1.0, (1, 1000): 2.0, (1, 2000): 5.0, (1, 4000): 17.0}
    assert scaled(linear) == {
        **{"most_memory_mb": 100, "memory_holds": True},
        **{"most_growth_of_time_a_pixel": 1.0, "linear": True},
    }
    assert not scaled({**linear, (1, 4000): 26.0})["linear"]
    assert scaled({**linear, (1, 100): 1.5, (10, 32): 2.0})["linear"]  # where start-up is most of the time
    assert not scaled(linear, 1500)["memory_holds"]


def test_small_images_of_scaling_are_all_different(tmp_path):
    import scaling
    from PIL import Image

    rng = np.random.default_rng(0)
    Image.fromarray(rng.integers(0, 256, (64, 96, 3), np.uint8)).save(tmp_path / "a.png")
    crops = [crop.tobytes() for crop in scaling.crops([tmp_path / "a.png"])]
    assert len(crops) == len(set(crops)) == 2 * 3 * 8


def test_a_frontier_goes_on_where_it_was(tmp_path):
    import frontier

    options = argparse.Namespace(
        out=tmp_path / "frontier.json", steps=10, sets=["photos"], arms=["64 x 64, 4", "32 x 64, 3"], data=tmp_path
    )
    parser = argparse.ArgumentParser()
    assert [arm for _, arm in frontier.missing(options)] == options.arms
    frontier.keep(options, parser, {"set": "photos", "arm": "32 x 64, 3", "steps": 10, "bits_per_dim": 4})
    assert [arm for _, arm in frontier.missing(options)] == ["64 x 64, 4"]
    frontier.keep(options, parser, {"set": "photos", "arm": "64 x 64, 4", "steps": 20, "bits_per_dim": 3})
    assert [arm for _, arm in frontier.missing(options)] == ["64 x 64, 4"]  # of another length
    assert len(frontier.results(options.out)) == 2


def test_frontier_arms_have_files_of_their_own():
    import frontier

    names = {frontier.file_name(images, arm, 10) for images in frontier.SETS for arm in frontier.ARMS}
    assert len(names) == len(frontier.SETS) * len(frontier.ARMS)


def test_without_an_accelerator_nothing_is_claimed(tmp_path, monkeypatch, capsys):
    import device
    import torch

    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    monkeypatch.setattr(sys, "argv", ["device.py", "--out", str(tmp_path / "device.json")])
    threads = torch.get_num_threads()
    try:
        with pytest.raises(SystemExit) as left:
            device.main()
    finally:
        torch.set_num_threads(threads)
    assert left.value.code == 1
    assert capsys.readouterr().err == "no accelerator: torch finds no CUDA device here\n"
    assert not (tmp_path / "device.json").exists()


def test_a_codec_that_differs_on_a_device_is_not_good():
    import device

    row = RESULTS["device"]["rows"][1]
    assert device.good(row)
    assert not any(device.good({**row, **change}) for change in ({"messages_equal": 2}, {"decoded_right": 5}))
    assert not device.good(RESULTS["device"]["rows"][0])


def test_a_job_on_paper_takes_what_its_parts_take():
    """An image a megabyte and a millisecond of its driver; 2 MB/s by two threads, 1 MB/s with decoding."""
    import cluster_tables

    driver = {
        "pixels_bytes_an_image": 10**6,
        "milliseconds_an_image": {"all": 1.0},
        "memory_bytes_an_image": 1000,
        "file_bytes_an_image": 50_000,
        "received_bytes_an_image": 10_000,
    }
    rates = {"by_threads": {"2": {"compress": 2.0, "compress_checked": 1.0}}}
    lines = list(cluster_tables.on_paper(driver, dict.fromkeys(cluster_tables.COMMANDS, rates)))
    # 10**8 images: 10**8 s of one core, 2 * 10**8 s with decoding, 10**5 s of the driver
    row = "| by default | 10 | 173.61 h | 27.78 h | 176.39 h | 27,778 | 55,556 |"
    assert row in lines
    assert "1,000 images a second, needs 100 GB" in lines[-1]
    assert "1.0 TB of archive" in lines[-1]
    assert "first, 5.0 TB," in lines[-1]
