"""Classical codecs on the same images: sizes of real streams, of all images once, and what is estimated is said."""

import sys
from collections import Counter

import numpy as np
import pytest
from PIL import Image

from bbcodec.archive.write.scan import scan
from bbcodec.images.codings import coding_named
from bbcodec.images.formats.webp import encode_webp
from bbcodec.options import RunOptions
from bbcodec.report import baselines
from bbcodec.report.baselines import (
    Placement,
    coded_bytes,
    file_tasks,
    find_sources,
    measure_baselines,
    sheet_tasks,
    split_by_placement,
)

QUICK = RunOptions(1, "cpu")


def slopes(count, height, width, channels=1, seed=0):
    rng = np.random.default_rng(seed)
    steps = rng.integers(-2, 3, (count, height, width, channels))
    return (np.cumsum(np.cumsum(steps, 1), 2) % 256).astype(np.uint8)


def measured(inputs):
    return {one.key: one for one in measure_baselines(inputs, (), QUICK)}


@pytest.fixture
def folder(tmp_path):
    """Seven grey images of one size, an array of the same format, one larger, and two of two levels."""
    top = tmp_path / "in"
    top.mkdir()
    for number, image in enumerate(slopes(7, 12, 20)):
        Image.fromarray(image[..., 0]).save(top / f"{number}.png")
    (top / "copy.png").write_bytes((top / "0.png").read_bytes())
    np.save(top / "more.npy", slopes(5, 12, 20, seed=1))
    Image.fromarray(slopes(1, 30, 31, 3)[0]).save(top / "large.png")
    for number in range(2):
        Image.fromarray(slopes(1, 9, 9, seed=number)[0, ..., 0] > 127).save(top / f"bits{number}.png")
    (top / "notes.txt").write_text("no image")
    return top


def test_images_are_found_once_with_those_of_arrays(folder):
    entries = [entry for entry in scan([folder]).entries if entry.name != b"copy.png"]
    sources = list(find_sources(entries))
    assert Counter({("L", 12, 20): 12, ("RGB", 30, 31): 1, ("1", 9, 9): 2}) == sum(
        (Counter({source.format: source.count}) for source in sources), Counter()
    )
    small, large = split_by_placement(sources)
    assert {source.format for source in small} == {("L", 12, 20), ("1", 9, 9)}
    assert [source.format for source in large] == [("RGB", 30, 31)]


def test_a_file_each_is_the_sum_of_all(folder):
    found = measured(folder)
    grey = [*slopes(7, 12, 20), *slopes(5, 12, 20, seed=1)]
    bits = [(slopes(1, 9, 9, seed=number)[0] > 127).astype(np.uint8) for number in range(2)]
    large = slopes(1, 30, 31, 3)[0]
    png = sum(len(coding_named("png").encode(image, 256)) for image in [*grey, large])
    assert found["png"].bytes == png + sum(len(coding_named("png").encode(image, 2)) for image in bits)
    assert found["webp"].bytes == sum(len(encode_webp(image)) for image in [*grey, large, *(255 * b for b in bits)])
    assert not any(one.estimated for one in found.values())
    files = [path for path in folder.iterdir() if path.name not in ("copy.png", "notes.txt")]
    assert found["inputs"].bytes == sum(path.stat().st_size for path in files)


def test_sheets_hold_all_small_images_of_one_format(folder):
    found = measured(folder)
    alone = len(encode_webp(slopes(1, 30, 31, 3)[0]))
    sheets = sum(coded_bytes(None, task)["webp"] for task in sheet_tasks(small_sources(folder), False))
    assert found["webp_sheet"].bytes == sheets + alone
    assert found["webp_sheet"].bytes < found["webp"].bytes
    assert found["jpegxl_sheet"].bytes < found["jpegxl"].bytes


def small_sources(folder):
    return split_by_placement(find_sources(entry for entry in scan([folder]).entries if entry.name != b"copy.png"))[0]


def test_a_sheet_shows_every_image(folder, monkeypatch):
    shown = []
    monkeypatch.setattr(baselines, "_encode", lambda samples, levels, *_: shown.append((samples, levels)) or b"")
    for task in sheet_tasks(small_sources(folder), False):
        coded_bytes(None, task)
    sheet, levels = next(one for one in shown if one[1] == 256)
    tiles = sheet.reshape(sheet.shape[0] // 12, 12, sheet.shape[1] // 20, 20).swapaxes(1, 2).reshape(-1, 12, 20)
    expected = Counter(image.tobytes() for image in [*slopes(7, 12, 20), *slopes(5, 12, 20, seed=1)])
    assert not expected - Counter(tile.tobytes() for tile in tiles)
    assert levels == 256


def test_sheets_are_not_larger_than_codecs_take(folder, monkeypatch):
    monkeypatch.setattr(baselines, "SHEET_SIDE", 40)
    tasks = list(sheet_tasks(small_sources(folder), False))
    images = [sum(len(some.numbers) for some in task.selections) for task in tasks]
    assert max(images) <= 16
    assert sum(images) == 14


@pytest.mark.parametrize(("highest", "chosen"), [(98, 10), (99, 9), (150, 9)])
def test_the_effort_of_a_sheet_is_chosen_on_its_corner(monkeypatch, highest, chosen):
    seen = []

    def coded(samples, levels, coding, effort=9):
        seen.append((samples.shape, effort))
        return bytes(highest if effort == 10 else 100)

    monkeypatch.setattr(baselines, "_encode", coded)
    assert baselines._sheet_effort(np.zeros((600, 700, 1), np.uint8), 256) == chosen
    assert seen == [((512, 512, 1), 9), ((512, 512, 1), 10)]


def test_a_sheet_is_coded_with_its_effort(folder, monkeypatch):
    efforts = []
    monkeypatch.setattr(baselines, "_sheet_effort", lambda samples, levels: 10)
    monkeypatch.setattr(baselines, "_encode", lambda _, __, coding, effort: efforts.append((coding, effort)) or b"")
    for task in sheet_tasks(small_sources(folder), True):
        coded_bytes(None, task)
    assert set(efforts) == {("webp", 10), ("jpegxl", 10)}
    efforts.clear()
    for task in file_tasks(small_sources(folder), Placement.SMALL, True):
        coded_bytes(None, task)
    assert set(efforts) == {(coding, 9) for coding in ("png", "webp", "jpegxl")}


def test_of_many_images_some_stand_for_all(tmp_path, monkeypatch):
    monkeypatch.setattr(baselines, "SAMPLED_IMAGES", 10)
    same = np.repeat(slopes(1, 8, 8), 35, 0)
    np.save(tmp_path / "a.npy", same)
    found = measured(tmp_path / "a.npy")
    assert found["png"].bytes == 35 * len(coding_named("png").encode(same[0], 256))
    assert found["png"].estimated
    assert not found["webp_sheet"].estimated
    sources = list(find_sources(scan([tmp_path / "a.npy"]).entries))
    picks = [
        number
        for task in file_tasks(sources, Placement.SMALL, False)
        for some in task.selections
        for number in some.numbers
    ]
    assert len(picks) == 10
    assert picks[0] == 0
    assert picks[-1] == 34


def test_images_of_every_mode_are_taken(tmp_path):
    modes = {"RGBA": 4, "LA": 2, "RGB": 3, "L": 1}
    for mode, channels in modes.items():
        samples = slopes(1, 10, 10, channels)[0]
        Image.fromarray(samples if channels > 1 else samples[..., 0]).save(tmp_path / f"{mode}.png")
    Image.fromarray(slopes(1, 10, 10, 3)[0]).convert("P").save(tmp_path / "palette.png")
    Image.fromarray(slopes(1, 10, 10)[0, ..., 0].astype(np.uint16) * 250).save(tmp_path / "deep.png")
    Image.fromarray(slopes(1, 10, 11, 3)[0]).save(tmp_path / "photo.jpg")
    found = measured(tmp_path)
    assert all(found[key].bytes > 0 for key in ("png", "webp", "jpegxl"))
    assert "webp_sheet" not in found


def test_without_imagecodecs_it_is_said(tmp_path, monkeypatch):
    monkeypatch.setattr(baselines, "find_spec", lambda name: None)
    monkeypatch.setitem(sys.modules, "imagecodecs", None)
    np.save(tmp_path / "a.npy", slopes(3, 8, 8))
    found = measured(tmp_path / "a.npy")
    assert found["jpegxl"].bytes is None
    assert "not installed" in found["jpegxl"].note
    assert found["webp"].bytes > 0


def test_jpegxl_of_sixteen_bits_and_of_two_levels_is_real(tmp_path):
    deep = slopes(1, 10, 10)[0].astype(np.uint16) * 250
    sizes = {coding: len(baselines._encode(deep, 2**16, coding)) for coding in ("png", "webp", "jpegxl")}
    assert sizes["webp"] == sizes["png"]
    assert sizes["jpegxl"] > 0


def test_an_image_that_cannot_be_read_counts_as_it_is(tmp_path):
    Image.fromarray(slopes(1, 40, 40, 3)[0]).save(tmp_path / "whole.png")
    data = (tmp_path / "whole.png").read_bytes()
    (tmp_path / "cut.png").write_bytes(data[: len(data) // 2])
    whole, both = measured(tmp_path / "whole.png"), measured(tmp_path)
    for key in ("png", "webp", "jpegxl"):
        extra = both[key].bytes - whole[key].bytes
        assert extra == len(data) // 2
